"""Our database: one connection as one role, one transaction per effect, and no change without its run-log entry.

Every changing method takes the entry that records it and appends it in the same transaction; a method returns only
after commit. Errors of the driver may quote rows, so only their SQLSTATE leaves this module.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

import psycopg2
import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extras import execute_values

from governance.database import BinaryCopy, translated
from governance.errors import ContendedError, GovernanceError, WarehouseUnavailableError, is_lasting
from governance.run_log import Batch, Entry
from governance.sources import named_query

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CONNECT_SECONDS = 10


@dataclass(frozen=True)
class LandedBatch:
    """State of a partition's batch in landing: counts only."""

    state: str
    run_id: str
    source_counts: dict[str, int]
    landed_counts: dict[str, int]
    refused: dict[str, int]
    dropped: dict[str, int]
    accepted: int | None
    quarantined: int | None


@dataclass(frozen=True)
class Finding:
    """Rows of one landed table that failed one rule, as the query of Great Expectations that names them."""

    table: str
    rule: str
    clause: str
    severity: str
    failed: int
    rows_query: str


@dataclass(frozen=True)
class Settled:
    """Rows per landed table that went to the vault, and that did not."""

    accepted: dict[str, int]
    quarantined: dict[str, int]


@dataclass(frozen=True)
class Published:
    """One published partition of a dataset, as analysts see it."""

    rows: int
    suppressed: int
    k: int | None
    l: int | None  # noqa: E741 -- the name of the measure


@dataclass(frozen=True)
class NewRelease:
    """A release to append: `rows` with the columns of analytics.<table>, `decisions` with row_key, accepted_partition,
    decision."""

    table: str
    rows: pd.DataFrame
    decisions: pd.DataFrame
    published: Published


class LandingSummary(Protocol):
    """What a landing knows once its last batch has been copied."""

    source_counts: dict[str, int]
    landed_counts: dict[str, int]
    dropped: dict[str, int]  # rows per table of people who were erased
    refusals: list[tuple[str, str, str]]  # table, row_key, rule

    @property
    def refused(self) -> dict[str, int]:
        """Refusals per rule."""

    def entry(self) -> Entry:
        """The outcome entry. Raises when the counts do not agree with the source's; then nothing is landed."""


SettlementEntry = Callable[[Settled], Entry]
"""Makes the outcome entry from what was settled; raising undoes the settlement."""


class Warehouse:
    """A connection to our database as one role, for one hop of one batch."""

    def __init__(self, connection: psycopg2.extensions.connection, dsn: str, label: str) -> None:
        self._connection = connection
        self._label = label
        self._dsn = dsn

    # -- reading ---------------------------------------------------------------------------------------------------

    def landed_batch(self, dataset: str, day: date) -> LandedBatch | None:
        """State of the partition's batch, or None when it was never pulled."""
        rows = self._rows(
            "SELECT state, run_id, source_counts, landed_counts, refused, dropped, accepted, quarantined "
            "FROM control.batches WHERE dataset = %s AND partition_key = %s",
            (dataset, day),
        )
        return LandedBatch(*rows[0]) if rows else None

    def release(self, dataset: str, day: date) -> Published | None:
        """What was published of a partition, or None."""
        rows = self._rows(
            "SELECT rows, suppressed, k, l FROM analytics.releases WHERE dataset = %s AND partition_key = %s",
            (dataset, day),
        )
        return Published(*rows[0]) if rows else None

    def destroyed_keys(self) -> set[bytes]:
        """Ids of all keys that the run log calls destroyed."""
        return {bytes.fromhex(key) for (keys,) in self._rows(named_query("destroyed_keys"), ()) for key in keys}

    def is_published(self, dataset: str, day: date) -> bool:
        """Whether the partition has been released."""
        return self.release(dataset, day) is not None

    def undecided(self, dataset: str, up_to: date) -> pa.Table:
        """Accepted rows of the dataset, up to a partition, that no release has decided yet: the publisher's columns."""
        import adbc_driver_manager
        import adbc_driver_postgresql.dbapi as adbc

        try:
            with adbc.connect(self._dsn) as connection, connection.cursor() as cursor:
                cursor.execute(named_query(f"undecided_{dataset}"), (up_to,))
                return cursor.fetch_arrow_table()
        except adbc_driver_manager.Error as error:
            failed = f"dataset {dataset}: reading accepted rows failed (SQLSTATE {error.sqlstate or 'none'})"
            if is_lasting(error.sqlstate):
                raise GovernanceError(f"{failed}; nothing was published; check the publisher's grants") from None
            raise WarehouseUnavailableError(f"{failed}; nothing was published; the task retries") from None

    # -- changing --------------------------------------------------------------------------------------------------

    def keep_texts(self, texts: Mapping[str, tuple[str, str]]) -> None:
        """Keep the texts behind digests, digest -> (name, text), so that what entries name can be read for ever."""
        if not texts:
            return
        missing = self._rows("SELECT audit.missing_texts(%s)", (list(texts),))
        with self._transaction() as cursor:
            for (digest,) in missing:
                cursor.execute("SELECT audit.keep_text(%s, %s)", texts[digest])

    def append(self, entry: Entry) -> None:
        """Append an entry that has no effect of its own: an intent, a failure, a replay."""
        with self._transaction() as cursor:
            self._append(cursor, entry)

    def land(
        self,
        batch: Batch,
        day: date,
        tables: Iterable[tuple[str, Iterator[pa.RecordBatch]]],
        *,
        summary: LandingSummary,
    ) -> None:
        """Replace a partition in landing by streamed Arrow batches, in one transaction with its entry.

        `summary` is asked for state and entry after the last batch has been copied, because the counts are known only
        then.
        """
        tables = list(tables)
        with self._transaction() as cursor:
            for table, _ in tables:
                cursor.execute(
                    sql.SQL("DELETE FROM {} WHERE partition_key = %s").format(sql.Identifier("landing", table)), (day,)
                )
            cursor.execute(
                "DELETE FROM quarantine.refusals WHERE dataset = %s AND partition_key = %s", (batch.dataset, day)
            )
            for table, batches in tables:
                self._copy(cursor, table, batches)
                # What has just been loaded is unknown to the planner, and a plan for an empty table takes minutes on
                # a full one.
                cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier("landing", table)))
            entry = summary.entry()
            execute_values(
                cursor,
                "INSERT INTO quarantine.refusals (dataset, partition_key, table_name, row_key, rule) VALUES %s",
                [(batch.dataset, day, *refusal) for refusal in summary.refusals],
            )
            cursor.execute(
                named_query("batch_landed"),
                (
                    batch.dataset,
                    day,
                    batch.run_id,
                    entry.attempt.attempt_id,
                    json.dumps(summary.source_counts),
                    json.dumps(summary.landed_counts),
                    json.dumps(summary.refused),
                    json.dumps(summary.dropped),
                ),
            )
            self._append(cursor, entry)

    def settle(self, batch: Batch, day: date, findings: Sequence[Finding], entry: SettlementEntry) -> Settled:
        """Move a validated batch from landing to vault and quarantine, in one transaction with its entry.

        Each finding's query must name exactly as many rows as Great Expectations counted. Raises GovernanceError when
        it does not: a query that has lost its condition would quarantine, or let pass, the wrong rows.
        """
        with self._transaction() as cursor:
            cursor.execute("SELECT set_config('governance.partition_key', %s, true)", (batch.partition_key,))
            cursor.execute(
                "DELETE FROM quarantine.findings WHERE dataset = %s AND partition_key = %s", (batch.dataset, day)
            )
            for finding in findings:
                self._record_finding(cursor, batch, day, finding)
            cursor.execute("SELECT * FROM landing.settle(%s, %s, %s)", (batch.dataset, day, batch.run_id))
            counts = cursor.fetchall()
            settled = Settled({t: a for t, a, _ in counts}, {t: q for t, _, q in counts})
            root = counts[0][0]
            cursor.execute(
                named_query("batch_settled"),
                (settled.accepted[root], settled.quarantined[root], batch.dataset, day),
            )
            self._append(cursor, entry(settled))
        return settled

    def publish(self, batch: Batch, day: date, release: NewRelease, entry: Entry) -> None:
        """Append a release: its rows, what was decided about each accepted row, and the entry, in one transaction."""
        measured = release.published
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO analytics.releases (dataset, partition_key, k, l, rows, suppressed, policy_digest) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    batch.dataset,
                    day,
                    measured.k,
                    measured.l,
                    measured.rows,
                    measured.suppressed,
                    entry.attempt.digests.policy,
                ),
            )
            self._copy_frame(cursor, ("analytics", release.table), release.rows)
            decisions = release.decisions.assign(dataset=batch.dataset, release_partition=batch.partition_key)
            self._copy_frame(cursor, ("vault", "release_ledger"), decisions)
            self._append(cursor, entry)

    # -- inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def exclusive(self, batch: Batch) -> Iterator[None]:
        """Hold the partition for as long as this connection lives. Raises ContendedError when another run holds it."""
        key = f"{batch.dataset}/{batch.partition_key}"
        ((locked,),) = self._rows("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (key,))
        if not locked:
            raise ContendedError(f"{batch.label}: another run is working on this partition; the task retries")
        try:
            yield
        finally:
            # A session that is lost by now has lost the lock too; to say so would hide what was done, or why it failed.
            with suppress(WarehouseUnavailableError):
                self._rows("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))

    @contextmanager
    def _transaction(self) -> Iterator[psycopg2.extensions.cursor]:
        with translated(self._label):
            try:
                with self._connection.cursor() as cursor:
                    yield cursor
                self._connection.commit()
            except BaseException:
                if not self._connection.closed:
                    self._connection.rollback()
                raise

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._transaction() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    @staticmethod
    def _append(cursor: psycopg2.extensions.cursor, entry: Entry) -> None:
        cursor.execute("SELECT audit.append(%s)", (entry.canonical(),))

    @staticmethod
    def _record_finding(cursor: psycopg2.extensions.cursor, batch: Batch, day: date, finding: Finding) -> None:
        view = sql.Identifier("landing", f"current_{finding.table}")
        # The query comes from Great Expectations, built from a suite of ours; it is read-only on the validator's own
        # view.
        cursor.execute(
            sql.SQL(
                "INSERT INTO quarantine.findings "
                "(dataset, partition_key, table_name, row_id, row_key, root_key, rule, clause, severity) "
                "SELECT DISTINCT %s, %s::date, %s, v.row_id, v.row_key, v.root_key, %s, %s, %s "
                "FROM ({failing}) AS failing JOIN {view} AS v ON v.row_id = failing.row_id ON CONFLICT DO NOTHING"
            ).format(failing=sql.SQL(finding.rows_query.rstrip().rstrip(";").replace("%", "%%")), view=view),
            (batch.dataset, day, finding.table, finding.rule, finding.clause, finding.severity),
        )
        cursor.execute(
            sql.SQL("SELECT count(DISTINCT row_id) FROM ({}) AS failing").format(
                sql.SQL(finding.rows_query.rstrip().rstrip(";"))
            )
        )
        (named,) = cursor.fetchone() or (0,)
        if named != finding.failed:
            raise GovernanceError(
                f"{batch.label}, rule {finding.rule}: the suite counted {finding.failed} failing rows, its query "
                f"names {named}; nothing was settled; check the expectation's conditions"
            )

    @staticmethod
    def _copy(cursor: psycopg2.extensions.cursor, table: str, batches: Iterator[pa.RecordBatch]) -> None:
        first = next(batches, None)
        if first is None:
            return
        columns = sql.SQL(", ").join(map(sql.Identifier, first.schema.names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(
            sql.Identifier("landing", table), columns
        )
        source = BinaryCopy(first, batches)
        try:
            # The stub asks for `readline` too; of a source of COPY, psycopg2 calls `read` alone.
            cursor.copy_expert(statement, source)  # type: ignore[arg-type]
        except psycopg2.Error:
            if source.broken_by is not None:
                raise source.broken_by from None
            raise

    @staticmethod
    def _copy_frame(cursor: psycopg2.extensions.cursor, table: tuple[str, str], frame: pd.DataFrame) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT CSV)").format(sql.Identifier(*table), columns)
        cursor.copy_expert(
            statement, io.StringIO(frame.to_csv(index=False, header=False, quoting=csv.QUOTE_NONNUMERIC))
        )


def clock(dsn: str) -> datetime:
    """What time it is by our database's clock. Raises WarehouseUnavailableError."""
    with connect(dsn, "our database's clock") as connection:
        ((now,),) = connection._rows("SELECT clock_timestamp()", ())
    return now  # type: ignore[no-any-return]


@contextmanager
def connect(dsn: str, label: str = "the warehouse") -> Iterator[Warehouse]:
    """A warehouse connection, closed at the end. Raises WarehouseUnavailableError when there is no server."""
    with translated(label):
        connection = psycopg2.connect(
            dsn, connect_timeout=CONNECT_SECONDS, fallback_application_name="wellbe-governance"
        )
    try:
        yield Warehouse(connection, dsn, label)
    finally:
        connection.close()
