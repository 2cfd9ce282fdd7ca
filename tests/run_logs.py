"""Run logs for tests: filled, sequenced, signed, pulled by an auditor; and what an insider may do to them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

import builders
from builders import NOW
from governance import steps, tiles
from governance.embedded.site import Site
from governance.log_tree import LogTree
from governance.log_verification import Verified, opened_notes, verify
from governance.merkle import leaf_hash
from governance.notes import Checkpoint
from governance.run_log import Attempt, Batch, Digests, Outcome
from governance.signers import CheckpointFolder, Signers
from governance.warehouse import connect

KIT = Path(__file__).parents[1] / "plugins" / "governance" / "auditor" / "verify_run_log.py"


def attempt(event: str = "validate", day: str = "2026-03-10") -> Attempt:
    """An attempt of no dataset in particular."""
    return Attempt(
        str(uuid.uuid4()), event, Batch("bookings", day, "r"), builders.run(), Digests("p", "s", "c"), ("R1", "A1")
    )


def append(site: Site, attempts: int) -> list[str]:
    """Intent and outcome of so many attempts, each in a transaction of its own; returns the ids of the entries."""
    ids = []
    with connect(site.dsn("recorder")) as warehouse:
        for number in range(attempts):
            done = attempt()
            for entry in (
                done.intent(entry_id=str(uuid.uuid4()), at=NOW),
                done.outcome(Outcome.PASSED, entry_id=str(uuid.uuid4()), at=NOW, counts={"rows": number + 10}),
            ):
                warehouse.append(entry)
                ids.append(entry.entry_id)
    return ids


@dataclass
class Insider:
    """Somebody with every right on our database, and with the key that signs: only the auditor's own files are safe."""

    site: Site
    connection: psycopg2.extensions.connection = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.connection = psycopg2.connect(self.site.dsn("postgres"), dbname="governance")
        self.connection.autocommit = True
        self.sql("SET session_replication_role = replica")

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """A statement that no trigger stops."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def order(self) -> list[str]:
        """The entries in the order of the tree, those that wait after them."""
        placed = self.sql(
            "SELECT r.entry_id::text FROM audit.run_log r LEFT JOIN audit.leaves l USING (entry_id) "
            "ORDER BY l.leaf_index NULLS LAST, r.written_at"
        )
        return [entry_id for (entry_id,) in placed]

    def rehash(self, order: Sequence[str] | None = None) -> None:
        """Make the tree anew over the entries as they are now, so that nothing in the database contradicts them."""
        ids = list(self.order() if order is None else order)
        self.sql("TRUNCATE audit.leaves, audit.tiles, audit.pending")
        leaves = dict(self.sql("SELECT r.entry_id::text, audit.leaf(r) FROM audit.run_log r"))
        hashes = [leaf_hash(leaves[entry_id].encode()) for entry_id in ids]
        for (level, number), held in tiles.appended(0, {}, hashes).items():
            self.sql("INSERT INTO audit.tiles VALUES (%s, %s, %s)", level, number, held)
        for index, entry_id in enumerate(ids):
            self.sql("INSERT INTO audit.leaves VALUES (%s, %s)", index, entry_id)

    def resign(self, signers: Signers | None = None) -> Checkpoint:
        """Sign whatever the tree is now, and make every published trace of other heads disappear."""
        signers = signers or Signers.load(self.site.signers_path)
        self.sql("TRUNCATE audit.checkpoints")
        with LogTree.connected(self.site.dsn("sequencer")) as tree:
            head = tree.head(signers.origin)
            note = head.signed(signers.keys)
            tree.keep_checkpoint(head, note)
        for path in self.site.checkpoints_path.glob("*"):
            path.unlink()
        folder = CheckpointFolder(self.site.checkpoints_path)
        folder.publish_keys(signers.verifiers)
        folder.publish(head, note)
        return head

    def close(self) -> None:
        """Log out."""
        self.connection.close()


@dataclass
class Auditor:
    """An auditor with a folder of his own: the keys that he was given, the checkpoints that he pulled."""

    site: Site
    folder: Path
    said: str = ""

    @property
    def keys(self) -> Path:
        """The public keys that he was given, once."""
        return self.folder / "keys.txt"

    @property
    def held(self) -> Path:
        """His checkpoints."""
        return self.folder / "held"

    def meet(self) -> None:
        """Take the public keys, and pull what is published."""
        self.held.mkdir(parents=True, exist_ok=True)
        self.keys.write_bytes((self.site.checkpoints_path / "keys.txt").read_bytes())
        self.pull()

    def pull(self) -> None:
        """Copy every checkpoint that he does not have yet; what he has, nobody replaces."""
        for path in self.site.checkpoints_path.glob("*.checkpoint"):
            if not (self.held / path.name).exists():
                shutil.copy(path, self.held)

    def export(self) -> Path:
        """The log as the operator hands it over."""
        path = self.folder / "run_log.jsonl"
        with LogTree.connected(self.site.dsn("auditor")) as tree, path.open("wb") as file:
            file.writelines(leaf + b"\n" for _, leaf in tree.leaves() if leaf is not None)
        return path

    def newest(self) -> Path:
        """The largest checkpoint that is published."""
        return max(self.site.checkpoints_path.glob("*.checkpoint"))

    def verifies(self) -> bool:
        """Whether the kit takes the log that is handed over, with the newest checkpoint, for the one he knows."""
        code = self.kit("log", self.export(), self.newest(), self.held)
        assert code in (0, 1), self.said
        return code == 0

    def kit(self, command: str, *arguments: object) -> int:
        """Run the kit as he does, with nothing of ours in its path; what it said is in `said`."""
        done = subprocess.run(
            [sys.executable, "-I", str(KIT), command, str(self.keys), *map(str, arguments)],
            capture_output=True, text=True, check=False, cwd=self.folder,
        )  # fmt: skip
        self.said = done.stdout + done.stderr
        return done.returncode


def own_look(site: Site) -> Verified:
    """What the operator's own verification says."""
    folder = CheckpointFolder(site.checkpoints_path)
    with LogTree.connected(site.dsn("auditor")) as tree:
        heads, unsound = opened_notes([*folder.notes(), *tree.checkpoints()], folder.verifiers())
        assert not unsound
        return verify(tree, heads, now=NOW + timedelta(days=400), merge_delay=timedelta(minutes=30))


def signed_log(site: Site, attempts: int = 10) -> Checkpoint:
    """Some entries, in order and signed."""
    append(site, attempts)
    return steps.checkpoint(builders.workspace(site), builders.run())


Tamper = Callable[[Insider], None]


def scalar(site: Site, query: str) -> Any:
    """The one value of a query, as the auditor."""
    with closing(psycopg2.connect(site.dsn("auditor"))) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        ((value,),) = cursor.fetchall()
        return value
