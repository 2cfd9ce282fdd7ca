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
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import reduce
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT, MAX_BYTES, SHOWN, KEEP = "wellbe-run-log/1", 1 << 24, 10, "Keep the files as evidence, and ask the operator."
LINE_KEYS = ["database_login", "database_role", "database_session", "entry", "written_at"]
MINUTE, LONGEST_GAP, LONGEST_ATTEMPT = timedelta(minutes=1), timedelta(hours=2), timedelta(hours=24)
NUMBER, HASH, NAME = "(0|[1-9][0-9]{0,18})", "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=", r"[^\s\0-\x1f+]+"
BASE64 = r"(?=\S{8})(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
NOTE = re.compile(rf"(([^\0-\x1f]+)\n{NUMBER}\n({HASH})\n)\n((?:— {NAME} {BASE64}\n)+)")
INCLUSION = re.compile(rf"c2sp\.org/tlog-proof@v1\n(?:extra \S*\n)?index {NUMBER}\n((?:{HASH}\n)*)\n(.*)", re.DOTALL)
CONSISTENCY = re.compile(rf"old {NUMBER}\n((?:{HASH}\n)*)\n(.*)", re.DOTALL)  # as c2sp.org/tlog-witness is sent it
Keys, Checkpoint = dict[tuple[str, bytes], Ed25519PublicKey], tuple[str, int, bytes]
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


def refuse(reason: str) -> NoReturn:
    raise ValueError(reason)


def say(text: str) -> None:
    """Print. What could steer a terminal, such as a file name that the operator chose, is escaped."""
    print(re.sub(r"[^ -~\n]", lambda found: ascii(found[0])[1:-1], text))  # noqa: T201


def read(path: str | Path) -> str:
    """The text of a file. Bytes that are no UTF-8 become surrogates, which cannot have been signed."""
    with open(path, "rb") as file:
        return file.read(MAX_BYTES).decode(errors="surrogateescape")


# -- keys and signed notes (c2sp.org/signed-note) ----------------------------------------------------------------------


def verifier_keys(path: str) -> Keys:
    """Keys, one a line: name+id+base64(type and key), where the id is a digest of the rest."""
    lines = [line.strip() for line in read(path).split("\n")]
    parts = [line.split("+", 2) for line in lines if line and not line.startswith("#")]
    found = {(name, bytes.fromhex(key_id)): base64.b64decode(key, validate=True) for name, key_id, key in parts}
    for (name, key_id), key in found.items():
        key[:1] + sha256(f"{name}\n".encode() + key).digest()[:4] == b"\1" + key_id or refuse("mistyped, or no Ed25519")
    return {known: Ed25519PublicKey.from_public_bytes(key[1:]) for known, key in found.items()}


def opened(note: str, keys: Keys, file: str | Path) -> Checkpoint:
    """Origin, size and root of a note. Every signature by a known key must be right, and one must be the log's own."""
    found = NOTE.fullmatch(note) or refuse(f"{file} has no checkpoint and signatures: damaged, or Windows line ends?")
    signers = set()
    for name, signature in (line.split(" ")[1:] for line in found[5].split("\n")[:-1]):
        signed = base64.b64decode(signature)
        if key := keys.get((name, signed[:4])):
            try:
                key.verify(signed[4:], found[1].encode())
            except InvalidSignature:
                refuse(f"{file}: the signature of {name} is wrong, so this is not what was signed. {KEEP}")
            signers.add(name)
    found[2] in signers or refuse(f"{file}: none of your keys has signed the log {found[2]!a}. Have you all its keys?")
    return found[2], int(found[3]), base64.b64decode(found[4])


def proof_of(path: str, form: re.Pattern[str], keys: Keys) -> tuple[int, list[bytes], Checkpoint]:
    """Number, hashes and checkpoint of a proof."""
    found = form.fullmatch(read(path)) or refuse(f"{path} is no such proof: damaged, or Windows line ends? Ask again.")
    return int(found[1]), [base64.b64decode(line) for line in found[2].split()], opened(found[3], keys, path)


# -- the Merkle tree (RFC 6962 and 9162, 2.1) --------------------------------------------------------------------------


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def climb(index: int, size: int, level: int, path: list[bytes]) -> tuple[bytes, bytes]:
    """From the node over leaf `index` at `level`, first of the path: root of all leaves up to there, and root of all."""
    inner = (index ^ size - 1).bit_length()  # from this height on, all that is beside the path lies to its left
    needed = 1 + inner - level + (index >> inner).bit_count()
    [len(node) for node in path] == [32] * needed or refuse("The proof has not just the hashes that it needs.")
    part = whole = path[0]
    for height, beside in enumerate(path[1:], level):
        is_right = height >= inner or index >> height & 1
        part = node_hash(beside, part) if is_right else part
        whole = node_hash(beside, whole) if is_right else node_hash(whole, beside)
    return part, whole


def verify_inclusion(index: int, size: int, line: bytes, proof: list[bytes], root: bytes) -> None:
    0 <= index < size or refuse(f"There is no entry {index} in a log of {size}.")
    _, found = climb(index, size, 0, [sha256(b"\0" + line).digest(), *proof])
    found == root or refuse(f"This is not entry {index} of the log that was signed. {KEEP}")


def verify_consistency(old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> None:
    0 < old <= new or refuse(f"Of a log of {old} lines and then {new}, nothing can be proven.")
    level = (old & -old).bit_length() - 1  # of the last perfect tree in the old log, which may be all of it
    path = proof if old & (old - 1) else [old_root, *proof]
    found = climb(old - 1, new, level, path) if old < new else (b"" if proof else old_root, old_root)
    found == (old_root, new_root) or refuse(f"The later log does not begin with the earlier one. {KEEP}")


# -- lines of the log --------------------------------------------------------------------------------------------------

CAPTURED = {f"/entry/{key}": f"(?P<{key}>" for key in ("at", "attempt_id", "entry_id")} | {
    "/written_at": "(?P<written_at>"
}
FIXED = {f"/entry/{key}" for key in ("event", "format", "outcome", "phase")}
NUMBERS = {int: "-?(?:0|[1-9][0-9]{0,17})", float: r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"}
FORMS: dict[tuple[str, str], list[tuple[re.Pattern[str], tuple[str, str, int]]]] = {}


def form_of(value: Any, place: str = "") -> str:
    """A pattern of lines that differ from a parsed one in texts and numbers alone, and so are JSON without parsing."""
    if isinstance(value, dict):
        members = (f"{re.escape(json.dumps(key))}:{form_of(each, f'{place}/{key}')}" for key, each in value.items())
        return rf"\{{{','.join(members)}\}}"
    if isinstance(value, list):
        return rf"\[{','.join(form_of(each, f'{place}/') for each in value)}\]"
    if isinstance(value, str) and place not in FIXED:
        return rf'"{CAPTURED.get(place, "(?:")}[ !#-\[\]-~]*)"'
    return NUMBERS.get(type(value)) or re.escape(json.dumps(value))


def facts_of(text: str) -> tuple[Any, ...]:
    """Of a line: entry_id, attempt_id, at, written_at, event, phase, number of alarms. Parsed if no earlier was alike."""
    hint = text[(at := text.find('"event":')) : at + 24], text[(at := text.find('"phase":', at)) : at + 12]
    for form, told in FORMS.get(hint, ()):
        if found := form.fullmatch(text):
            return *found.group("entry_id", "attempt_id", "at", "written_at"), *told
    document, end = json.JSONDecoder(parse_constant=refuse).raw_decode(text)
    entry, alarms = document["entry"], document["entry"].get("alarms", [])
    texts = (entry["entry_id"], entry["attempt_id"], entry["at"], document["written_at"])
    told = (entry["event"], entry["phase"], len(alarms))
    is_sound = list(document) == LINE_KEYS and end == len(text) and entry["format"] == FORMAT
    is_sound = is_sound and {"intent": True, "outcome": False}[entry["phase"]] is (entry["outcome"] is None)
    is_sound = is_sound and isinstance(alarms, list) and all(isinstance(each, str) for each in (*texts, entry["event"]))
    is_sound or refuse("its keys or values are not of that format")
    if len(FORMS) < 64 and len(FORMS.get(hint, ())) < 8 and len(text) < 8192:  # so that no log can make this slow
        FORMS.setdefault(hint, []).append((re.compile(form_of(document)), told))
    return *texts, *told


def instant(text: str) -> datetime:
    (len(text) == 27 and text[26] == "Z") or refuse(f"{text[:27]!a} is no time")
    return datetime.fromisoformat(text)


class Log:
    """One pass over a log. Kept are ids, attempts and the roots of perfect trees, never lines."""

    def __init__(self, merge_delay: int) -> None:
        self.merge_delay, self.size, self.alarms, self.quiet, self.heartbeats = merge_delay, 0, 0, 0, 0
        self.roots, self.ids, self.attempts = list[bytes](), set[bytes](), dict[str, tuple[int, datetime] | None]()
        self.notices, self.last, self.is_quiet = Counter[str](), datetime.min.replace(tzinfo=UTC), False

    def add(self, line: bytes) -> None:
        self.size, leaf = self.size + 1, line.removesuffix(b"\n")
        try:
            entry_id, attempt, at, written_at, event, phase, alarms = facts_of(leaf.decode())
            key, written, _ = bytes.fromhex(entry_id.replace("-", "")), instant(written_at), instant(at)
            (len(key) == 16 and len(line) < MAX_BYTES) or refuse("its entry_id is no UUID, or it is too long")
        except UNREADABLE as error:
            refuse(
                f"Line {self.size} is no entry of {FORMAT} ({error}). Ask for a new export; if it is the same: {KEEP}"
            )
        key not in self.ids or refuse(f"Line {self.size} has the entry_id of an earlier line. {KEEP}")
        self.ids.add(key)
        node, full = sha256(b"\0" + leaf).digest(), self.size - 1
        while full & 1:
            node, full = node_hash(self.roots.pop(), node), full >> 1
        self.roots.append(node)
        self.alarms += alarms
        self.attempts[attempt] = self.attempts.get(attempt, (self.size, written)) if phase == "intent" else None
        self.watch(written, event == "heartbeat" and phase == "outcome")

    def root(self) -> bytes:
        return reduce(lambda right, left: node_hash(left, right), self.roots[::-1]) if self.roots else sha256().digest()

    def watch(self, written: datetime, is_heartbeat: bool) -> None:
        behind = self.last - written
        if behind / MINUTE > self.merge_delay:
            self.notice("back-dated", f"line {self.size}, written {written}, stands after the heartbeat of {self.last}")
        if is_heartbeat:
            if self.heartbeats and -behind > LONGEST_GAP:
                self.notice("gap", f"no heartbeat from {self.last} to {written}: nothing is proven of this window")
            elif self.is_quiet:
                self.quiet += 1
            self.heartbeats, self.last = self.heartbeats + 1, written
        self.is_quiet = is_heartbeat

    def notice(self, kind: str, text: str) -> None:
        self.notices[kind] += 1
        if self.notices[kind] <= SHOWN:
            say(f"NOTICE, {kind}: {text}.")

    def conclude(self, covered: int) -> None:
        for at, written in filter(None, self.attempts.values()):
            if self.last - written > LONGEST_ATTEMPT:
                self.notice("unanswered", f"what line {at} announced at {written} has no outcome")
        if self.size > covered:
            self.notice("not covered", f"lines from {covered + 1} to {self.size} are younger than the checkpoint")
        say(f"{self.size} entries with {self.alarms} alarms; {self.heartbeats} heartbeats, the last at {self.last}.")
        say(f"{self.quiet} hours in which nothing happened. Notices: {dict(self.notices) or 'none'}.")


# -- commands ----------------------------------------------------------------------------------------------------------


def log(args: argparse.Namespace) -> str:
    """verify a whole log against a checkpoint, and against those that you hold"""
    origin, size, root = opened(read(args.checkpoint), args.keys, args.checkpoint)
    signed, found, sound = {size: (root, args.checkpoint)}, Log(args.merge_delay), 0
    for path in (path for held in args.held for path in sorted(Path(held).glob("*.checkpoint")) or [held]):
        its_origin, its_size, its_root = opened(read(path), args.keys, path)
        its_origin == origin or refuse(f"{path} is of the log {its_origin!a}, not of {origin!a}.")
        its_size <= size or refuse(
            f"{path} has {its_size} lines, the newer {args.checkpoint} {size}: cut, or restored from an older copy. {KEEP}"
        )
        same_root, same = signed.setdefault(its_size, (its_root, path))
        its_root == same_root or refuse(
            f"{path} and {same} sign {its_size} lines that differ: two logs were shown. {KEEP}"
        )
    with open(args.export, "rb") as file:
        lines = iter(lambda: file.readline(MAX_BYTES), b"")
        for mark, (mark_root, path) in sorted(signed.items()):
            for line in islice(lines, mark - found.size):
                found.add(line)
            found.size == mark or refuse(f"...")
            found.root() == mark_root or refuse("...")
            sound = mark
        for line in lines:
            found.add(line)
    found.conclude(size)
    return f"..."
