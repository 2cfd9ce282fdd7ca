"""Run logs made without a database: leaves, signed heads and proofs as files, for those who verify them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rfc8785

from governance.merkle import consistency_proof, inclusion_proof, leaf_hash, root
from governance.notes import Checkpoint, Signer, consistency_text, proof_text

ORIGIN = "wellbe.example/run-log/made"
SIGNER = Signer.of_seed(ORIGIN, bytes(range(32)))
OTHER = Signer.of_seed(ORIGIN, bytes(range(1, 33)))
START = datetime(2026, 3, 12, 9, tzinfo=UTC)


def line(event: str, at: datetime, **changes: Any) -> bytes:
    """A leaf as an export has it, without its newline."""
    names = ("database_login", "database_role", "database_session", "written_at")
    entry = {
        "format": "wellbe-run-log/1", "entry_id": str(uuid.uuid4()), "attempt_id": str(uuid.uuid4()), "event": event,
        "phase": "outcome", "at": stamp(at), "dataset": "bookings", "partition_key": "2026-03-10",
        "run": {"dag_id": "bookings", "run_id": "r", "task_id": "t", "try_number": 1, "trigger": "scheduled",
                "triggered_by": None},
        "digests": {"policy": "p", "suite": None, "code": "c"}, "clauses": ["R1"], "outcome": "passed", "counts": {},
        "conservation": {}, "rules": [], "measures": {}, "alarms": [], "error": None,
    }  # fmt: skip
    leaf = {
        "database_login": "sequencer" if event == "heartbeat" else "recorder", "database_role": "loader",
        "database_session": 7, "written_at": stamp(at),
        "entry": entry | {name: value for name, value in changes.items() if name not in names},
    } | {name: value for name, value in changes.items() if name in names}  # fmt: skip
    return rfc8785.dumps(leaf)


def stamp(at: datetime) -> str:
    """An instant as entries write it."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass
class MadeLog:
    """A folder with a log that grows: one heartbeat an hour, some entries between two of them."""

    folder: Path
    lines: list[bytes] = field(default_factory=list)
    now: datetime = START

    def hour(self, entries: int = 3) -> None:
        """So many entries, then the heartbeat of the hour."""
        for _ in range(entries):
            self.now += timedelta(seconds=10)
            self.lines.append(line("pull", self.now))
        self.now = START + timedelta(hours=(self.now - START) // timedelta(hours=1) + 1)
        self.lines.append(line("heartbeat", self.now))

    def hash_of(self, start: int, end: int) -> bytes:
        """Root of some of its leaves."""
        return root([leaf_hash(leaf) for leaf in self.lines[start:end]])

    def export(self, lines: Sequence[bytes] | None = None) -> Path:
        """The log as a file."""
        path = self.folder / "run_log.jsonl"
        path.write_bytes(b"".join(leaf + b"\n" for leaf in (self.lines if lines is None else lines)))
        return path

    def keys(self, *signers: Signer) -> Path:
        """The public keys as a file."""
        path = self.folder / "keys.txt"
        path.write_text("# public keys\n\n" + "".join(f"{signer.verifier}\n" for signer in signers or (SIGNER,)))
        return path

    def note(self, size: int | None = None, *signers: Signer) -> str:
        """A signed head."""
        size = len(self.lines) if size is None else size
        return Checkpoint(ORIGIN, size, self.hash_of(0, size)).signed(signers or (SIGNER,))

    def checkpoint(self, size: int | None = None, *signers: Signer) -> Path:
        """A signed head as a file."""
        size = len(self.lines) if size is None else size
        path = self.folder / f"{size}.checkpoint"
        path.write_text(self.note(size, *signers), "utf-8")
        return path

    def entry(self, index: int) -> tuple[Path, Path]:
        """A leaf and its proof as files."""
        leaf, proof = self.folder / f"{index}.entry", self.folder / f"{index}.tlog-proof"
        leaf.write_bytes(self.lines[index] + b"\n")
        proof.write_text(proof_text(index, inclusion_proof(index, len(self.lines), self.hash_of), self.note()), "utf-8")
        return leaf, proof

    def consistency(self, old: int) -> Path:
        """The proof that the log begins with that of `old` entries."""
        path = self.folder / f"{old}.consistency"
        proof = consistency_proof(old, len(self.lines), self.hash_of)
        path.write_text(consistency_text(old, proof, self.note()), "utf-8")
        return path
