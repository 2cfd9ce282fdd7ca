"""A published release, and nothing else, handed to a registered third party, with its risk figures (E2, C6, H1).

The role that does it can read releases and no personal zone. What is handed over is a folder `<table>-<partition>` at
the third party's endpoint: the rows, as CSV or Parquet, and `release.json`, which has the digests of the rows and what
was measured of them. The folder takes its name when it is whole. An entry says so before, and another after, with the
digest of `release.json`. A release goes to a third party once: whoever asks again gets the same bytes, where the last
try was killed before it could tell, or is told that it was delivered.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import rfc8785

from governance import door, log_entries, partitions, published_tables, released, schema, third_parties, warehouse
from governance.errors import EndpointUnavailableError, GovernanceError, PartitionError
from governance.policy import Policy
from governance.published_tables import PublishedTable
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Outcome, Run
from governance.steps.workspace import Workspace
from governance.third_parties import ThirdParty
from governance.warehouse import Transaction

ROLE = "forwarder"
LOG_READER = "sequencer"
EVENT = "hand_over"
CLAUSES = ("C6", "E2", "H1")
FORMAT = "wellbe-release/1"
SIDECAR = "release.json"
UNKNOWN = "not registered"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class HandOver:
    """What somebody asks for: to hand a partition of a published table to a third party."""

    third_party: str
    table: str
    partition: str | None


@dataclass(frozen=True)
class Delivered:
    """A folder at the endpoint, by name, and the digest of its `release.json`; `is_new` unless delivered before."""

    folder: str
    sidecar_sha256: str
    is_new: bool


def hand_over(workspace: Workspace, asked: HandOver, run: Run) -> Delivered:
    """Hand a published release to a third party, once.

    Raises RecipientError for whoever is not registered, or has no agreement now, or not about this table;
    PartitionError for what is not released; EndpointUnavailableError, WarehouseUnavailableError; GovernanceError when
    other bytes have the place of the delivery.
    """
    with _recorded(workspace, asked, run) as recorded:
        policy, batch = workspace.policy, recorded.attempt.batch
        party_id = asked.third_party if asked.third_party in policy.registered else UNKNOWN
        details = {"third_party": party_id, "table": asked.table if asked.table in _tables(policy) else UNKNOWN}
        recorded.append(recorded.attempt.intent(entry_id=new_id(), at=workspace.clock(), details=details))
        workspace.require_one_time(batch)
        today = workspace.clock().astimezone(ZoneInfo(policy.time_zone)).date()
        table = published_tables.named(policy, asked.table)
        party = third_parties.agreed(policy.registered, asked.third_party, table.name, today)
        day = _day(workspace, table, asked.partition)
        with _alone(workspace, recorded, f"{party_id}/{table.name}/{day}") as (cursor, append):
            delivery = _Delivery(workspace, party_id, party, table, day)
            found = delivery.before(cursor) or delivery.write(cursor)
            told = {**details, "folder": found.folder, "sidecar_sha256": found.sidecar_sha256}
            if found.is_new:
                delivery.note(cursor, found)
            outcome = Outcome.PASSED if found.is_new else Outcome.REPLAYED
            append(recorded.outcome(outcome, details=told, measures=delivery.measures))
    return found


def _tables(policy: Policy) -> dict[str, str]:
    """Published tables and their datasets."""
    return {table.name: table.dataset for table in published_tables.of_policy(policy)}


def _day(workspace: Workspace, table: PublishedTable, key: str | None) -> date:
    return partitions.parse(
        key, time_zone=workspace.policy.time_zone, dataset=table.dataset,
        first=workspace.policy.first_partition(table.dataset), now=workspace.clock(),
    ).day  # fmt: skip


def _recorded(workspace: Workspace, asked: HandOver, run: Run) -> Recorded:
    """The try, refused ones too; what somebody typed that names nothing of ours stays out of the log."""
    dataset = _tables(workspace.policy).get(asked.table, UNKNOWN)
    key = asked.partition if asked.partition and _DAY.fullmatch(asked.partition) else "none"
    digests = Digests(workspace.policy.digest, None, code_digest())
    attempt = Attempt(new_id(), EVENT, Batch(dataset, key, run.run_id), run, digests, CLAUSES)
    return Recorded(
        attempt, dsn=workspace.warehouse_dsn(door.RECORDER), clock=workspace.clock, has_intent=False,
        texts=workspace.policy.texts,
    )  # fmt: skip


@contextmanager
def _alone(workspace: Workspace, recorded: Recorded, what: str) -> Iterator[Transaction]:
    """A transaction as the role, which nobody else has for the same delivery."""
    label = recorded.attempt.batch.label
    with (
        door.lent(workspace, recorded.attempt, ROLE, {}) as lent,  # it reads no personal zone
        warehouse.connect(lent.dsn, label) as connection,
    ):
        schema.require(connection, workspace.policy, label)
        with connection.exclusive(Batch(EVENT, what, "")), connection.ending() as transaction:
            yield transaction


class _Delivery:
    """One release of one table for one third party."""

    def __init__(
        self, workspace: Workspace, party_id: str, party: ThirdParty, table: PublishedTable, day: date
    ) -> None:
        self._workspace, self._id, self._party, self._table, self._day = workspace, party_id, party, table, day
        self._endpoint = Path(party.endpoint)
        self._folder = self._endpoint / f"{table.name}-{day}"
        self.measures: dict[str, Any] = {}

    def before(self, cursor: released.Cursor) -> Delivered | None:
        """What was delivered before, or None."""
        cursor.execute(
            "SELECT sidecar_sha256 FROM sharing.release_deliveries "
            "WHERE third_party = %s AND table_name = %s AND partition_key = %s",
            (self._id, self._table.name, self._day),
        )
        found = cursor.fetchone()
        return Delivered(self._folder.name, found[0], is_new=False) if found else None

    def note(self, cursor: released.Cursor, found: Delivered) -> None:
        """Note the delivery, in the transaction of its entry."""
        cursor.execute(
            "INSERT INTO sharing.release_deliveries (third_party, table_name, partition_key, sidecar_sha256) "
            "VALUES (%s, %s, %s, %s)",
            (self._id, self._table.name, self._day, found.sidecar_sha256),
        )

    def write(self, cursor: released.Cursor) -> Delivered:
        """Write the folder, and give it its name when it is whole."""
        about = self._about(cursor)
        if not self._endpoint.is_dir():
            raise EndpointUnavailableError(
                f"the endpoint of third party {self._id} is not there; nothing was handed over; mount it, the task "
                "retries"
            )
        draft = self._endpoint / f".{self._folder.name}.draft"
        try:
            shutil.rmtree(draft, ignore_errors=True)  # what a kill has left
            draft.mkdir(mode=0o750)
            sidecar = self._fill(cursor, draft, about)
            if self._folder.exists():
                self._require_same(draft)
            else:
                draft.rename(self._folder)
                _settle(self._endpoint)
        except OSError as error:
            raise EndpointUnavailableError(
                f"the endpoint of third party {self._id} cannot be written ({error.strerror}); nothing was handed "
                "over; the task retries"
            ) from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return Delivered(self._folder.name, sidecar, is_new=True)

    def _about(self, cursor: released.Cursor) -> dict[str, Any]:
        """What is told of the release beside its rows; nothing that another try would say otherwise."""
        found = released.releases(cursor, self._table.dataset, self._day)
        entries = log_entries.published(
            self._workspace.warehouse_dsn(LOG_READER), self._table.dataset, self._day.isoformat()
        )
        beside = released.beside(cursor, self._table, found[0], entries[0]["measures"]) if found and entries else None
        if beside is None:
            raise PartitionError(
                f"dataset {self._table.dataset}, partition {self._day}: it is not released; nothing was handed over, "
                "because third parties get published releases alone (E2): publish it first"
            )
        release, measures = beside
        entry = entries[0]  # a partition is published once
        self.measures = {name: value for name, value in measures.items() if value is not None}
        return {
            "format": FORMAT,
            "third_party": self._id,
            "purpose": self._party.purpose,
            "table": self._table.name,
            "release": release,
            "measures": measures,
            "settings": released.settings(cursor, self._table.dataset, self._day),
            "log_entry_id": entry["entry_id"],
            "run_id": entry["run"]["run_id"],
            "columns": {name: column.description for name, column in self._table.columns.items()},
        }

    def _fill(self, cursor: released.Cursor, draft: Path, about: dict[str, Any]) -> str:
        """The rows and the sidecar; returns the digest of the sidecar."""
        rows = draft / f"{self._table.name}.csv"
        with rows.open("wb") as file:
            released.write_csv(cursor, self._table, self._day, file)
        release_sha256 = released.sha256_of(rows)
        if self._party.form == "parquet":
            written = rows.with_suffix(".parquet")
            released.write_parquet(rows, written, self._table, {"release_sha256": release_sha256})
            rows.unlink()
            rows = written
        files: dict[str, Any] = {rows.name: {"sha256": released.sha256_of(rows), "bytes": rows.stat().st_size}}
        sidecar = draft / SIDECAR
        sidecar.write_bytes(rfc8785.dumps({**about, "release_sha256": release_sha256, "files": files}))
        for path in (rows, sidecar):
            _settle(path)
        return released.sha256_of(sidecar)

    def _require_same(self, draft: Path) -> None:
        """A try that was killed before it could tell has left the very same; what is anything else is not replaced."""
        there = {path.name: released.sha256_of(path) for path in self._folder.iterdir() if path.is_file()}
        if there != {path.name: released.sha256_of(path) for path in draft.iterdir()}:
            raise GovernanceError(
                f"the endpoint of third party {self._id} has a folder {self._folder.name} that holds something else; "
                "nothing was handed over: find out who made it, and move it away"
            )


def _settle(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
