#!/usr/bin/env python3
"""Verifies the run log on an auditor's own machine: nothing is believed but the public keys that he was given.

Copy this one file; it needs Python 3.11 and `cryptography`, and writes nothing but copies of checkpoints (`pull`). Line i
of an export is leaf i of a Merkle tree (RFC 6962); a checkpoint signs its size and root (c2sp.org/tlog-checkpoint). What
is verified was not changed, removed or slipped in since it was signed; whether it was true then is not shown. Keep every
checkpoint and compare with other auditors: another log could be shown to you alone.
Exit code 0: verified. 1: NOT VERIFIED. 2: wrong usage, or a file that cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LINE_KEYS = ("database_login", "database_role", "database_session", "entry", "written_at")
FORMAT, MAX_LINE, MAX_FILE, SHOWN = "wellbe-run-log/1", 1 << 24, 1 << 20, 10
LONGEST_GAP, LONGEST_ATTEMPT, BEGINNING = timedelta(hours=2), timedelta(hours=24), datetime.min.replace(tzinfo=UTC)
KEEP = "Keep the files as evidence and ask the operator to explain."
NAME, NUMBER, HASH = r"[^\s\0-\x1f+]+", r"(0|[1-9][0-9]{0,18})", r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
NOTE = re.compile(rf"(([^\0-\x1f]+)\n{NUMBER}\n({HASH})\n)\n((?:— {NAME} (?=\S{{8}}){BASE64}\n)+)")
PROOFS = {"entry": r"c2sp\.org/tlog-proof@v1\n(?:extra \S*\n)?index", "consistency": "old"}
Keys = dict[tuple[str, bytes], Ed25519PublicKey]


class NotVerifiedError(Exception):
    """Something is not what was signed; the message says what, where, and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What was signed of a log: its name, how many lines it had, and the root over them."""

    origin: str
    size: int
    root: bytes
    file: str


def demand(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise NotVerifiedError(otherwise)


def say(text: str) -> None:
    """Print. What could steer a terminal, such as a file name that the operator chose, is escaped."""
    print(re.sub(r"[^ -~\n]", lambda found: ascii(found[0])[1:-1], text))


def read(path: str | Path, limit: int = MAX_FILE) -> bytes:
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    demand(len(data) <= limit, f"{path} is too long for what it should be.")
    return data


def keys_of(path: str) -> Keys:
    """Verifier keys, one a line: name+id+base64(type and key), where the id is a digest of the rest."""
    found: Keys = {}
    for line in map(str.strip, read(path).decode(errors="replace").split("\n")):
        if line and not line.startswith("#"):
            name, key_id, key = (*line.split("+", 2), "", "")[:3]
            data = base64.b64decode(key) if re.fullmatch(r"[A-Za-z0-9+/]{44}", key) else b"\0"
            if data[0] != 1 or sha256(f"{name}\n".encode() + data).hexdigest()[:8] != key_id:
                raise argparse.ArgumentTypeError(f"{path} should hold keys, name+id+key; one is mistyped: {line[:99]!a}")
            found[name, bytes.fromhex(key_id)] = Ed25519PublicKey.from_public_bytes(data[1:])
    return found


def files_in(path: str | Path) -> list[Path]:
    """The checkpoints in a folder, or the one file."""
    is_folder = Path(path).is_dir()
    return sorted(f for f in Path(path).iterdir() if f.name.endswith(".checkpoint")) if is_folder else [Path(path)]


def opened(note: bytes, keys: Keys, where: str | Path) -> Checkpoint:
    """The checkpoint of a note. Every signature by a known key must be right, and one must be the log's own."""
    found, signers = NOTE.fullmatch(note.decode(errors="replace")), set()
    if not found:
        raise NotVerifiedError(f"{where} has no checkpoint of three lines and signatures: damaged, or Windows line ends?")
    for name, signature in (line.split(" ")[1:] for line in found[5].split("\n")[:-1]):
        signed = base64.b64decode(signature)
        if key := keys.get((name, signed[:4])):
            try:
                key.verify(signed[4:], found[1].encode())
            except InvalidSignature:
                raise NotVerifiedError(f"{where}: the signature of {name} is wrong; this was not signed. {KEEP}") from None
            signers.add(name)
    demand(found[2] in signers, f"{where}: none of the keys has signed this log, {found[2]!a}. Were you given all keys?")
    return Checkpoint(found[2], int(found[3]), base64.b64decode(found[4]), str(where))


def proof_of(path: str, kind: str) -> tuple[int, list[bytes], bytes]:
    """Number, hashes and note of a proof: c2sp.org/tlog-proof, or the request of c2sp.org/tlog-witness."""
    found = re.fullmatch(rf"{PROOFS[kind]} {NUMBER}\n((?:{HASH}\n)*)\n(.*)", read(path).decode(errors="replace"), re.S)
    if not found:
        raise NotVerifiedError(f"{path} is no proof of {kind}: damaged, or Windows line ends? Ask for it again.")
    return int(found[1]), [base64.b64decode(line) for line in found[2].split()], found[3].encode()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def climb(position: int, last: int, start: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """From a node at `position` of a level that ends with `last`: root of the old tree, and of all (RFC 9162, 2.1)."""
    old = new = start
    for beside in proof:
        demand(last > 0 and len(beside) == 32, "The proof has too many hashes, or one that is none.")
        if position & 1 or position == last:
            old, new = node_hash(beside, old), node_hash(beside, new)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, beside)
        position, last = position >> 1, last >> 1
    demand(last == 0, "The proof has too few hashes.")
    return old, new


def verify_inclusion(index: int, size: int, line: bytes, proof: list[bytes], root: bytes) -> None:
    demand(0 <= index < size, f"There is no entry {index} in a log of {size}.")
    found = climb(index, size - 1, sha256(b"\0" + line).digest(), proof)[1]
    demand(found == root, f"This is not entry {index} of the log that was signed. {KEEP}")


def verify_consistency(old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> None:
    demand(0 < old <= new, f"Of a log of {old} entries and then {new}, nothing can be proven.")
    level = (old & -old).bit_length() - 1  # of the last perfect tree in the old log; a log that is perfect is that tree
    path = proof if old & (old - 1) else [old_root, *proof]
    demand(bool(path), "The proof has too few hashes.")
    ...
