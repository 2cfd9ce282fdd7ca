"""Verifies a run log on the auditor's own machine, with Python 3.11, `cryptography`, and nothing of the operator's.

  python verify_run_log.py log KEYS EXPORT CHECKPOINT [HELD ...]   a whole log; HELD: checkpoints (or folders) you kept
  python verify_run_log.py entry KEYS ENTRY PROOF                  one entry, without seeing any other
  python verify_run_log.py consistency KEYS CHECKPOINT PROOF       that a later log begins with an earlier one
KEYS are the log's public keys, one a line, compared by another way. Line i of an export is leaf i of a Merkle tree (RFC
6962) whose size and root a checkpoint signs (c2sp.org/tlog-checkpoint): nothing changed, went or came in since.
Exit code 0: verified. 1: NOT VERIFIED. 2: wrong usage, or a file that cannot be read.
"""

import base64
import json
import re
import sys
from collections import Counter
from datetime import datetime, timedelta
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NUMBER, HASH = "(0|[1-9][0-9]{0,18})", "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
BASE64 = "(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?"
NOTE = re.compile(rf"(([^\0-\x1f]+)\n{NUMBER}\n({HASH})\n)\n((?:— [^\s+]+ {BASE64}\n){{1,100}})")
PROOF = re.compile(rf"(?:c2sp.org/tlog-proof@v1\n(?:extra {BASE64}\n)?index|old) {NUMBER}\n((?:{HASH}\n)*)\n(.*)", re.S)
FACTS = b'"attempt_id":" "entry_id":" "event":" "phase":"'.split()
MERGE_DELAY, LONGEST_QUIET = timedelta(minutes=30), timedelta(hours=2)
Keys = dict[tuple[str, bytes], Ed25519PublicKey]


class NotVerifiedError(Exception): ...


def matched(form: re.Pattern[str], text: str, what: str) -> tuple[str, ...]:
    if not (found := form.fullmatch(text)):
        raise NotVerifiedError(f"{what}; damaged, or with other line ends? Ask for it again")
    return found.groups()


def require(condition: object, reason: str) -> None:
    if not condition:
        raise NotVerifiedError(f"{reason}. Keep the files as evidence, and ask why")


def read(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")  # what is no UTF-8 cannot have been signed


def verifier_keys(path: Path) -> Keys:
    found: Keys = {}
    for line in (line for line in read(path).split("\n") if line.strip() and not line.startswith("#")):
        name, key_id, key = (*line.strip().split("+", 2), "", "")[:3]
        public = base64.b64decode(key)
        if public[:1] != b"\1" or sha256(f"{name}\n".encode() + public).digest()[:4].hex() != key_id:
            raise ValueError(f"{path} holds a line that is no public key, name+id+base64 of Ed25519")
        found[name, bytes.fromhex(key_id)] = Ed25519PublicKey.from_public_bytes(public[1:])
    return found


def opened(note: str, keys: Keys, file: Path) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint. Each signature by a known key is right, and one is the log's own."""
    text, origin, size, root, signatures = matched(NOTE, note, f"{file} is no signed checkpoint")
    lines = [(name, base64.b64decode(signed)) for _, name, signed in map(str.split, signatures.splitlines())]
    known = [(name, signed) for name, signed in lines if (name, signed[:4]) in keys]
    require(origin in dict(known), f"{file}: none of your keys has signed for the log {origin!a}")
    for name, signed in known:
        try:
            keys[name, signed[:4]].verify(signed[4:], text.encode())
        except InvalidSignature:
            require(False, f"{file}: the signature of {name} is wrong: this was not signed")
    return origin, int(size), base64.b64decode(root)


def opened_proof(path: Path, keys: Keys) -> tuple[int, list[bytes], tuple[str, int, bytes]]:
    number, hashes, note = matched(PROOF, read(path), f"{path} is no proof")
    return int(number), [base64.b64decode(line) for line in hashes.split()], opened(note, keys, path)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def verify(span: tuple[int, int], size: int, proof: list[bytes], part: bytes, whole: bytes) -> None:
    """That the leaves from one on to another, a whole log or one entry, are in a log: RFC 6962, 2.1.1 and 2.1.2."""
    require(0 <= span[0] < span[1] <= size, f"this is a proof of entries {span} in a log of {size}")
    beside_all = iter(reversed(proof))

    def roots(start: int, end: int, size: int, known: bytes | None) -> tuple[bytes, bytes]:
        if (start, end) == (0, size):
            node = known or next(beside_all, b"")
            return node, node
        beside, middle = next(beside_all, b""), 1 << (size - 1).bit_length() - 1
        if end <= middle:
            low, node = roots(start, end, middle, known)
            return low, node_hash(node, beside)
        if start >= middle:
            low, node = roots(start - middle, end - middle, size - middle, known)
            return low, node_hash(beside, node)
        low, node = roots(0, end - middle, size - middle, None)
        return node_hash(beside, low), node_hash(beside, node)

    is_so = roots(*span, size, part) == (part, whole) and not list(beside_all)
    require(is_so, "the proof does not lead to the log that was signed")


def facts(leaf: bytes) -> list[bytes]:  # attempt, id, event, phase, instant; quick where no key stands twice
    if leaf.endswith(b'Z"}') and all(leaf.count(key) == 1 for key in FACTS):
        found = [leaf[(start := leaf.index(key) + len(key)) : leaf.index(b'"', start)] for key in FACTS]
        return [*found, leaf[leaf.rindex(b'"written_at":"') + 14 : -2]]
    whole: Any = json.loads(leaf)
    return [*(whole["entry"][key.decode()[1:-3]].encode() for key in FACTS), whole["written_at"].encode()]


class Log:  # one pass over an export; kept are roots of perfect trees, ids and open attempts, never a line
    def __init__(self) -> None:
        self.size, self.roots, self.ids, self.told = 0, list[bytes](), set[bytes](), Counter[str]()
        self.open, self.limit, self.was_beat, self.beat = dict[bytes, bytes](), b"", False, b""

    def add(self, line: bytes) -> None:
        leaf = line.removesuffix(b"\n")
        try:
            attempt, entry_id, event, phase, at = facts(leaf)
            is_beat = event == b"heartbeat" and leaf.startswith(b'{"database_login":"sequencer"')
            if is_beat:
                self.heartbeat(datetime.fromisoformat(at.decode()), at)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise NotVerifiedError(f"line {self.size + 1} is no entry; damaged? Ask for the export again") from None
        node, full = sha256(b"\0" + leaf).digest(), self.size
        while full & 1:
            node, full = node_hash(self.roots.pop(), node), full >> 1
        self.roots.append(node)
        self.ids.add(entry_id)
        self.open.pop(attempt, None) if phase == b"outcome" else self.open.setdefault(attempt, at)
        self.told["entries carry alarms"] += not leaf.startswith(b'"entry":{"alarms":[]', leaf.find(b'"entry":'))
        self.told["entries are heartbeats of another login than the sequencer"] += event == b"heartbeat" and not is_beat
        self.told["entries after a heartbeat are of before it: back-dated, or a clock set back"] += at < self.limit
        self.size, self.was_beat = self.size + 1, is_beat

    def heartbeat(self, moment: datetime, at: bytes) -> None:
        is_late = self.beat and moment - datetime.fromisoformat(self.beat.decode()) > LONGEST_QUIET
        self.told["times there was no heartbeat for two hours: nothing is proven of that time"] += bool(is_late)
        self.told["times nothing happened from one heartbeat to the next"] += self.was_beat
        self.beat, self.limit = at, (moment - MERGE_DELAY).isoformat(timespec="microseconds").encode()


def log(keys: Keys, export: Path, newest: Path, *held: Path) -> str:
    paths = {newest, *(path for given in held for path in list(given.glob("*.checkpoint")) or [given])}
    heads = sorted(((opened(read(path), keys, path), path) for path in paths), key=lambda head: head[0][1])
    (origin, size, _), found = opened(read(newest), keys, newest), Log()
    with export.open("rb") as file:
        for (name, leaves, root), path in heads:
            require(name == origin, f"{path} is of another log, {name!a}: give each log a folder of its own")
            require(leaves <= size, f"{path} is of {leaves} entries, the newest of {size}: cut, or put back")
            while found.size < leaves:
                line = file.readline(1 << 24)
                require(line, f"the export ends after {found.size} entries, {path} says {leaves}: entries are missing")
                found.add(line)
            require(len(found.ids) == found.size, f"an entry stands twice among the first {leaves}")
            whole = reduce(lambda node, left: node_hash(left, node), found.roots[::-1] or [sha256().digest()])
            require(whole == root, f"the first {leaves} entries are not those that {path} was signed for")
        found.told["entries are newer than the checkpoint: not covered yet"] = sum(1 for _ in file)
    old = (datetime.fromisoformat(found.beat.decode()) - timedelta(days=1)).isoformat() if found.beat else ""
    found.told["attempts have no outcome a day later"] = sum(at < old.encode() for at in found.open.values())
    told = "".join(f"NOTICE: {count} {what}\n" for what, count in found.told.items() if count)
    return f"{told}VERIFIED: {size} entries of {origin}, with {len(heads)} checkpoints"


def entry(keys: Keys, path: Path, proof_path: Path) -> str:
    index, proof, (origin, size, root) = opened_proof(proof_path, keys)
    leaf = path.read_bytes().removesuffix(b"\n")
    verify((index, index + 1), size, proof, sha256(b"\0" + leaf).digest(), root)
    return f"{re.sub(rb'[^ -~]', b'?', leaf).decode()}\nVERIFIED: this is entry {index} of {size} of {origin}"


def consistency(keys: Keys, path: Path, proof_path: Path) -> str:
    origin, size, root = opened(read(path), keys, path)
    old, proof, (name, new, new_root) = opened_proof(proof_path, keys)
    require((old, origin) == (size, name), f"the proof is not of the log of {path}")
    verify((0, old), new, proof, root, new_root)
    return f"VERIFIED: the {new} entries of {origin} begin with the {old} of {path}"


def main(arguments: list[str]) -> None:
    try:
        command, keys, *files = arguments
        run: Any = {"log": log, "entry": entry, "consistency": consistency}[command]
        print(run(verifier_keys(Path(keys)), *map(Path, files)))  # noqa: T201
    except NotVerifiedError as error:
        sys.exit(ascii(f"NOT VERIFIED: {error}")[1:-1])  # a file's name is not ours: it may hold line ends
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        print(f"{__doc__}\n{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
