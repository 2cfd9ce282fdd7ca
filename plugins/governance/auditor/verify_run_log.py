"""Verifies a run log on the auditor's own machine; nothing is believed but the public keys that he was given.

Line i of an export is leaf i of a Merkle tree (RFC 6962); a checkpoint signs size and root (c2sp.org/tlog-checkpoint).
What is verified was not changed, removed or slipped in since it was signed; whether it was true then is not shown. Keep
every checkpoint and compare with other auditors: another log could be shown to you alone. Needs Python 3.11 and
cryptography. Exit code 0: verified. 1: NOT VERIFIED. 2: wrong usage, or a file that cannot be read.
"""

import argparse
import base64
import json
import re
import sys
from collections import Counter, namedtuple
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT, MAX_BYTES, SHOWN = "wellbe-run-log/1", 1 << 24, 10
LINE_KEYS = ["database_login", "database_role", "database_session", "entry", "written_at"]
LONGEST_GAP, LONGEST_ATTEMPT, BEGINNING = timedelta(hours=2), timedelta(hours=24), datetime.min.replace(tzinfo=UTC)
KEEP, AGAIN = "Keep the files as evidence and ask why.", "Is it damaged, or has it Windows line ends? Ask for it again."
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
NUMBER, HASH, NAME = "(0|[1-9][0-9]{0,18})", "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=", r"[^\s\0-\x1f+]+"
BASE64 = r"(?=\S{8})(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
NOTE = re.compile(rf"(([^\0-\x1f]+)\n{NUMBER}\n({HASH})\n)\n((?:— {NAME} {BASE64}\n)+)")
INCLUSION = re.compile(rf"c2sp\.org/tlog-proof@v1\n(?:extra \S*\n)?index {NUMBER}\n((?:{HASH}\n)*)\n(.*)", re.DOTALL)
CONSISTENCY = re.compile(rf"old {NUMBER}\n((?:{HASH}\n)*)\n(.*)", re.DOTALL)  # as c2sp.org/tlog-witness is sent it
Keys = dict[tuple[str, bytes], Ed25519PublicKey]
Checkpoint = namedtuple("Checkpoint", "origin size root file")


def demand(is_so: object, otherwise: str) -> None:
    if not is_so:
        raise ValueError(otherwise)


def say(text: str) -> None:  # what could steer a terminal is escaped
    print(re.sub(r"[^ -~\n]", lambda found: ascii(found[0])[1:-1], text))  # noqa: T201


def read(path: str | Path) -> str:  # bytes that are no UTF-8 become surrogates, which cannot have been signed
    with open(path, "rb") as file:
        return file.read(MAX_BYTES).decode(errors="surrogateescape")


def checkpoints_in(folder: str) -> list[Path]:
    return sorted(file for file in Path(folder).iterdir() if file.suffix == ".checkpoint")


def verifier_keys(path: str) -> Keys:
    """Keys, one a line: name+id+base64(type and key), where the id is a digest of the rest (c2sp.org/signed-note)."""
    lines = [line.strip() for line in read(path).split("\n")]
    parts = [line.split("+", 2) for line in lines if line and not line.startswith("#")]
    found = {(name, bytes.fromhex(key_id)): base64.b64decode(key, validate=True) for name, key_id, key in parts}
    for (name, key_id), key in found.items():
        demand(key[:1] == b"\1" and sha256(f"{name}\n".encode() + key).digest()[:4] == key_id, "mistyped")
    return {known: Ed25519PublicKey.from_public_bytes(key[1:]) for known, key in found.items()}


def opened(note: str, keys: Keys, path: str | Path) -> Checkpoint:
    """The checkpoint of a note. Every signature by a known key must be right, and one must be the log's own."""
    found, signers, file = NOTE.fullmatch(note), set(), ascii(str(path))
    if not found:
        raise ValueError(f"{file} holds no checkpoint of three lines with its signatures. {AGAIN}")
    for name, signature in (line.split(" ")[1:] for line in found[5].split("\n")[:-1]):
        signed = base64.b64decode(signature)
        if key := keys.get((name, signed[:4])):
            try:
                key.verify(signed[4:], found[1].encode())
            except InvalidSignature:
                raise ValueError(f"{file}: the signature of {name} is wrong: this was never signed. {KEEP}") from None
            signers.add(name)
    demand(found[2] in signers, f"{file}: none of your keys has signed the log {found[2]!a}. Have you all its keys?")
    return Checkpoint(found[2], int(found[3]), base64.b64decode(found[4]), file)


def proof_in(path: str, form: re.Pattern[str], keys: Keys) -> tuple[int, list[bytes], Checkpoint]:
    found = form.fullmatch(read(path))
    if not found:
        raise ValueError(f"{path!a} is no proof of this kind. {AGAIN}")
    return int(found[1]), [base64.b64decode(line) for line in found[2].split()], opened(found[3], keys, path)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def climb(index: int, size: int, level: int, path: list[bytes]) -> tuple[bytes, bytes]:
    """From the node above leaf `index` at `level`, first of the path: root of all leaves up to it, and root of all."""
    inner = (index ^ (size - 1)).bit_length()  # from this height on, all that is beside the path lies to its left
    needed = 1 + inner - level + (index >> inner).bit_count()
    demand([len(node) for node in path] == [32] * needed, "The proof has not just the hashes that it needs.")
    part = whole = path[0]
    for height, beside in enumerate(path[1:], level):
        is_right = height >= inner or index >> height & 1
        part = node_hash(beside, part) if is_right else part
        whole = node_hash(beside, whole) if is_right else node_hash(whole, beside)
    return part, whole


def verify_inclusion(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> None:
    demand(0 <= index < size, f"There is no entry {index} in a log of {size}.")
    found = climb(index, size, 0, [leaf, *proof])[1]
    demand(found == root, f"This is not entry {index} of the log that was signed. {KEEP}")


def verify_consistency(old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> None:
    demand(0 < old <= new, f"Of a log of {old} lines and then {new}, nothing can be proven.")
    level = (old & -old).bit_length() - 1  # of the last perfect tree in the old log, which may be all of it
    path = proof if old & (old - 1) else [old_root, *proof]
    found = climb(old - 1, new, level, path) if old < new else (b"" if proof else old_root, old_root)
    demand(found == (old_root, new_root), f"The later log does not begin with the earlier one. {KEEP}")


CAPTURED = {"/entry/at", "/entry/attempt_id", "/entry/entry_id", "/written_at"}
FIXED = {"/entry/event", "/entry/format", "/entry/outcome", "/entry/phase"}
WHOLE = "-?(?:0|[1-9][0-9]{0,17}+)"
NUMBERS = {int: WHOLE, float: rf"{WHOLE}(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"}
FORMS: dict[tuple[str, str], list[tuple[re.Pattern[str], tuple[str, str, int]]]] = {}


def form_of(value: Any, place: str = "") -> str:
    """A pattern for lines that differ from a parsed one in texts and numbers alone: they are JSON of the same form."""
    if isinstance(value, dict):
        members = (f"{re.escape(json.dumps(key))}:{form_of(each, f'{place}/{key}')}" for key, each in value.items())
        return rf"\{{{','.join(members)}\}}"
    if isinstance(value, list):
        return rf"\[{','.join(form_of(each, f'{place}/') for each in value)}\]"
    if isinstance(value, str) and place not in FIXED:
        return rf'"({"" if place in CAPTURED else "?:"}[ !#-\[\]-~]*+)"'
    return NUMBERS.get(type(value)) or re.escape(json.dumps(value))


def facts_of(text: str) -> tuple[tuple[str, ...], tuple[str, str, int]]:
    """Of a line: at, attempt_id, entry_id, written_at; event, phase, number of alarms. Only new forms are parsed."""
    hint = text[(at := text.find('"event":')) : at + 24], text[(at := text.find('"outcome":', at)) : at + 16]
    for form, told in FORMS.get(hint, ()):
        if found := form.fullmatch(text):
            return found.groups(), told
    document, end = json.JSONDecoder(parse_constant=lambda name: demand(False, name)).raw_decode(text)
    entry, alarms = document["entry"], document["entry"].get("alarms", [])
    texts = (entry["at"], entry["attempt_id"], entry["entry_id"], document["written_at"])
    told = (entry["event"], entry["phase"], len(alarms))
    is_in_order = list(document) == LINE_KEYS and list(entry) == sorted(entry) and end == len(text)
    demand(is_in_order, "other keys than those of a line, or not in canonical order")
    demand(entry["format"] == FORMAT, "an unknown format")
    demand({"intent": True, "outcome": False}[told[1]] is (entry["outcome"] is None), "outcome and phase do not agree")
    demand(
        isinstance(alarms, list) and all(isinstance(each, str) for each in (*texts, told[0])), "a value of a wrong kind"
    )
    if len(FORMS) < 64 and len(FORMS.get(hint, ())) < 8 and len(text) < 8192:  # no log can make this slow
        FORMS.setdefault(hint, []).append((re.compile(form_of(document)), told))
    return texts, told


class Log:
    """One pass over a log. Kept are ids, attempts and the roots of perfect trees, never lines."""

    def __init__(self, merge_delay: timedelta) -> None:
        self.merge_delay, self.size, self.alarms, self.quiet, self.heartbeats = merge_delay, 0, 0, 0, 0
        self.roots, self.ids, self.attempts = list[bytes](), set[bytes](), dict[str, tuple[int, datetime] | None]()
        self.notices, self.last, self.floor, self.is_quiet = Counter[str](), BEGINNING, BEGINNING, False

    def add(self, line: bytes) -> None:
        self.size, leaf = self.size + 1, line.removesuffix(b"\n")
        try:
            (at, attempt, entry_id, written_at), (event, phase, alarms) = facts_of(leaf.decode())
            key, written = bytes.fromhex(entry_id.replace("-", "")), datetime.fromisoformat(written_at)
            if (
                len(key) != 16
                or len(line) >= MAX_BYTES
                or not written.tzinfo is datetime.fromisoformat(at).tzinfo is UTC
            ):
                raise ValueError("an entry_id that is no UUID, a time that is not of UTC, or too long a line")
        except UNREADABLE as error:
            raise ValueError(f"Line {self.size} is no entry of {FORMAT} ({str(error):.99}). {AGAIN}") from None
        self.ids.add(key)
        if len(self.ids) < self.size:
            raise ValueError(f"Line {self.size} has the entry_id of an earlier line. {KEEP}")
        node, full = sha256(b"\0" + leaf).digest(), self.size - 1
        while full & 1:
            node, full = sha256(b"\1" + self.roots.pop() + node).digest(), full >> 1
        self.roots.append(node)
        self.alarms += alarms
        if phase == "intent":
            self.attempts.setdefault(attempt, (self.size, written))
        else:
            self.attempts[attempt] = None
        if written < self.floor:
            late = f"line {self.size} was written {written}, yet stands after the heartbeat of {self.last}"
            self.notice("back-dated", f"{late}: back-dated, or a clock was set back")
        self.is_quiet = event == "heartbeat" and phase == "outcome" and self.beat(written)

    def beat(self, at: datetime) -> bool:
        if self.heartbeats and at - self.last > LONGEST_GAP:
            self.notice(
                "no heartbeat", f"from {self.last} to {at} (line {self.size}): nothing is proven of this window"
            )
        else:
            self.quiet += self.is_quiet
        self.heartbeats, self.last, self.floor = self.heartbeats + 1, at, at - min(self.merge_delay, at - BEGINNING)
        return True

    def root(self) -> bytes:
        return reduce(lambda right, left: node_hash(left, right), self.roots[::-1]) if self.roots else sha256().digest()

    def notice(self, kind: str, text: str) -> None:
        self.notices[kind] += 1
        if self.notices[kind] <= SHOWN:
            say(f"NOTICE, {kind}: {text}.")

    def conclude(self, covered: int) -> None:
        for number, written in filter(None, self.attempts.values()):
            if self.last - written > LONGEST_ATTEMPT:
                self.notice("no outcome", f"how that ended which line {number} announced {written} was never written")
        if self.size > covered:
            self.notice("not covered", f"lines {covered + 1} to {self.size} are younger than the checkpoint")
        say(f"Entries: {self.size}, with {self.alarms} alarms. Heartbeats: {self.heartbeats}, the last {self.last}.")
        say(f"{self.quiet} hours in which nothing happened. Notices: {dict(self.notices) or 'none'}.")


def minutes(text: str) -> timedelta:
    return timedelta(minutes=int(text))


def marks_of(args: argparse.Namespace) -> dict[int, Checkpoint]:
    """The new checkpoint and those that are held, by size."""
    new = opened(read(args.checkpoint), args.keys, args.checkpoint)
    marks = {new.size: new}
    for path in (path for held in args.held for path in (Path(held).is_dir() and checkpoints_in(held)) or [held]):
        held = opened(read(path), args.keys, path)
        demand(held.origin == new.origin, f"{held.file} is of the log {held.origin!a}, {new.file} of {new.origin!a}.")
        cut = f"{held.file} has signed {held.size} lines, {new.file} only {new.size}"
        demand(held.size <= new.size, f"{cut}: the log was cut, or restored from an older copy. {KEEP}")
        same = marks.setdefault(held.size, held)
        demand(
            held.root == same.root,
            f"{held.file} and {same.file} have signed {held.size} lines, and not the same. {KEEP}",
        )
    return marks


def log(args: argparse.Namespace) -> str:
    """verify a whole log with a checkpoint, and with those that you hold"""
    marks, found, sound = marks_of(args), Log(args.merge_delay), 0
    with open(args.export, "rb") as file:
        lines = iter(partial(file.readline, MAX_BYTES), b"")
        for size, mark in sorted(marks.items()):
            for line in islice(lines, size - found.size):
                found.add(line)
            end = (
                f"{args.export!a} ends after {found.size} lines, but {mark.file} has signed {size}: its end was cut off"
            )
            demand(found.size == size, f"{end}. {KEEP}")
            edit = f"of the lines {sound + 1} to {size}, one was changed, removed, moved or slipped in"
            demand(found.root() == mark.root, f"{args.export!a} is not what {mark.file} has signed: {edit}. {KEEP}")
            sound = size
        for line in lines:
            found.add(line)
    found.conclude(sound)
    held = f"Every checkpoint that you hold fits, the first of {min(marks)} lines."
    alone = (
        "You compared with none that you hold (--held): had all been rewritten before it was signed, it would not show."
    )
    return f"the first {sound} lines are what {marks[sound].origin!a} has signed. {held if args.held else alone}"


def entry(args: argparse.Namespace) -> str:
    """verify with a tlog-proof that an entry is in the log, and show it"""
    leaf = read(args.leaf).removesuffix("\n").encode(errors="surrogateescape")
    index, proof, signed = proof_in(args.proof, INCLUSION, args.keys)
    verify_inclusion(index, signed.size, sha256(b"\0" + leaf).digest(), proof, signed.root)
    Log(timedelta()).add(leaf)  # it is an entry
    shown = json.dumps(json.loads(leaf), indent=2)
    return f"this is entry {index}, line {index + 1} of the {signed.size} that {signed.origin!a} has signed:\n{shown}"


def consistency(args: argparse.Namespace) -> str:
    """verify with a proof that a later log begins with the one that you hold a checkpoint of"""
    old = opened(read(args.old), args.keys, args.old)
    size, proof, new = proof_in(args.proof, CONSISTENCY, args.keys)
    told = (
        f"{new.file} proves something of {size} lines of {new.origin!a}, {old.file} is of {old.size} of {old.origin!a}"
    )
    demand((size, new.origin) == (old.size, old.origin), f"{told}. Ask for a proof that begins there.")
    verify_consistency(old.size, new.size, proof, old.root, new.root)
    return f"the {new.size} lines that {new.origin!a} has signed begin with the {old.size} of {old.file}"


def pull(args: argparse.Namespace) -> str:
    """copy the checkpoints that were published to those that you hold, and see that none of yours has gone"""
    store, source = checkpoints_in(args.store), checkpoints_in(args.source)
    held, signed, copied = {file.name: read(file) for file in store}, dict[int, Checkpoint](), 0
    gone = sorted(held.keys() - {file.name for file in source})
    wrong = [f"{name!a}, which you hold, has vanished from {args.source!a}. {KEEP}" for name in gone]
    for file in [*store, *source]:
        try:
            new = opened(note := read(file), args.keys, file)
            same = signed.setdefault(new.size, new)
            demand(
                new[:3] == same[:3],
                f"{new.file} and {same.file} have signed {new.size} lines, and not the same. {KEEP}",
            )
            demand(held.get(file.name, note) == note, f"{new.file} is not what you hold under this name. {KEEP}")
            if file.name not in held:
                with open(Path(args.store, file.name), "xb") as copy:
                    copied += bool(copy.write(note.encode(errors="surrogateescape")))
        except (OSError, ValueError) as error:
            wrong.append(str(error))
    demand(not wrong, "\n".join(wrong))
    return f"{copied} checkpoints are new, and the {len(held)} that you held are still published. Verify a log with all of them."


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    places = {log: ["export"], entry: ["leaf", "proof"], consistency: ["old", "proof"], pull: ["source", "store"]}
    for run, names in places.items():
        command = commands.add_parser(run.__name__, help=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("--keys", type=verifier_keys, required=True)
        for name in names:
            command.add_argument(name)
        if run is log:
            command.add_argument("--checkpoint", required=True)
            command.add_argument("--held", nargs="+", action="extend", default=[])
            command.add_argument("--merge-delay", type=minutes, default=timedelta(minutes=30))
    try:
        args = parser.parse_args(argv)
        say(f"VERIFIED: {args.run(args)}")
    except (OSError, OverflowError) as error:
        say(f"Cannot be read: {error}")
        return 2
    except UNREADABLE as error:
        say(f"NOT VERIFIED. {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
