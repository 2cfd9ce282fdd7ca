"""Our database: one connection as one role, one transaction per effect, and no change without its run-log entry.

Every changing method takes the entry that records it and appends it in the same transaction; a method returns only
after commit. Errors of the driver may quote rows, so only their SQLSTATE leaves this module.
"""

from __future__ import annotations

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

from governance import patience, settlements
from governance.database import BinaryCopy, translated
from governance.errors import (
    ContendedError,
    GovernanceError,
    PolicyError,
    WarehouseUnavailableError,
    is_lasting,
    trouble,
)
from governance.publications import Publication, Published
from governance.run_log import Batch, Entry, Shard
from governance.settlements import Finding, Settled, SettlementEntry
from governance.sources import named_query

if TYPE_CHECKING:
    import pyarrow as pa


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
    form: str | None  # see `Policy.form`; None: landed before it was noted
    purged: dict[str, int]
    """Rows per table that retention has deleted since it landed."""


@dataclass(frozen=True)
class Landed:
    """Counts of a landing, or of one shard of it: rows per table at the source, landed, and of people who were erased;
    refused per rule."""

    source_counts: dict[str, int]
    landed_counts: dict[str, int]
    refused: dict[str, int]
    dropped: dict[str, int]


class LandingSummary(Protocol):
    """What a shard knows once its last batch has been copied."""

    captures: list[tuple[str, datetime]]  # of cards that were refused as over age: key, and when it was captured

    @property
    def noted(self) -> list[tuple[str, str, str]]:
        """Table, row key and rule of every row that broke a rule on its way."""

    def counts(self) -> Landed:
        """What it brought. Raises when that does not agree with the source's counts; then nothing is landed."""

    def entry(self, landing: Landed | None) -> Entry:
        """The outcome entry. `landing`: the whole of it, for the shard that completes it."""


Transaction = tuple[psycopg2.extensions.cursor, Callable[[Entry], None]]
"""Its cursor, and how entries are appended in it."""


class Warehouse:
    """A connection to our database as one role, for one hop of one batch."""

    def __init__(self, connection: psycopg2.extensions.connection, dsn: str, label: str) -> None:
        self._connection = connection
        self._label = label
        self._dsn = dsn

    # -- reading ---------------------------------------------------------------------------------------------------

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query without values brings: of the catalog, or of counts."""
        return self._rows(query, ())

    def shape(self) -> str | None:
        """See `schema.shape`; None when the database was never migrated by a version that notes it."""
        if self._rows("SELECT to_regclass('control.in_force') IS NULL", ()) == [(True,)]:
            return None
        rows = self._rows("SELECT shape FROM control.in_force", ())
        return str(rows[0][0]) if rows else None

    def landed_batch(self, dataset: str, day: date) -> LandedBatch | None:
        """State of the partition's batch, or None when it was never pulled."""
        rows = self._rows(
            "SELECT state, run_id, source_counts, landed_counts, refused, dropped, accepted, quarantined, form, "
            "(SELECT coalesce(jsonb_object_agg(table_name, rows), '{}') FROM (SELECT table_name, sum(rows) AS rows "
            "FROM control.purged p WHERE p.landing_no = b.landing_no GROUP BY 1) purged) "
            "FROM control.batches b JOIN control.landings USING (landing_no) "
            "WHERE b.dataset = %s AND b.partition_key = %s",
            (dataset, day),
        )
        return LandedBatch(*rows[0]) if rows else None

    def release(self, dataset: str, day: date, measures: str = "analytics.releases") -> Published | None:
        """What was published of a partition, or None. Of counts with noise, table audit.release_measures has it."""
        query = sql.SQL("SELECT rows, suppressed, k, l FROM {} WHERE dataset = %s AND partition_key = %s")
        rows = self._rows(query.format(sql.Identifier(*measures.split("."))), (dataset, day))
        return Published(*rows[0]) if rows else None

    def destroyed_keys(self) -> set[bytes]:
        """Ids of all keys that the run log calls destroyed."""
        return {bytes.fromhex(key) for (keys,) in self._rows(named_query("destroyed_keys"), ()) for key in keys}

    def first_captures(self, cards: Sequence[str]) -> dict[str, datetime]:
        """The earliest instant of capture that ever came with each of these cards, of those that came before."""
        query = "SELECT card_key, captured_at FROM control.first_captures WHERE card_key = ANY (%s)"
        return dict(self._rows(query, (list(cards),)))

    def published_from(self, dataset: str, day: date) -> list[date]:
        """The partitions, from this one on, that have been released, ascending."""
        query = "SELECT partition_key FROM analytics.releases WHERE dataset = %s AND partition_key >= %s ORDER BY 1"
        return [key for (key,) in self._rows(query, (dataset, day))]

    def undecided(self, dataset: str, up_to: date) -> pa.Table:
        """Accepted rows of the dataset, up to a partition, that no release has decided yet: the publisher's columns."""
        return self.columns_of(dataset, f"undecided_{dataset}", (up_to,))

    def published_of(self, dataset: str, people: Sequence[str], beside: date) -> pa.Table:
        """Rows of people that releases beside one published: the publisher's columns, and release_partition."""
        return self.columns_of(dataset, f"published_{dataset}", (list(people), beside))

    def columns_of(self, dataset: str, query: str, values: tuple[Any, ...]) -> pa.Table:
        """What a named query brings of accepted rows."""
        import adbc_driver_manager
        import adbc_driver_postgresql.dbapi as adbc

        def read() -> pa.Table:
            with adbc.connect(patience.linked(self._dsn)) as connection, connection.cursor() as cursor:
                cursor.execute(named_query(query), values)
                return cursor.fetch_arrow_table()

        try:
            return patience.Aside().only(read, patience.ANSWER_SECONDS)
        except (adbc_driver_manager.Error, TimeoutError) as error:
            state, text = getattr(error, "sqlstate", None), str(error) or patience.SILENT
            failed = (
                f"dataset {dataset}: reading accepted rows failed: our database {trouble(state, text)} "
                f"(SQLSTATE {state or 'none'})"
            )
            if is_lasting(state):
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

    def append(self, *entries: Entry) -> None:
        """Append entries that have no effect of their own, all or none: an intent, a failure, a replay."""
        with self._transaction() as cursor:
            for entry in entries:
                self._append(cursor, entry)

    def open_landing(self, shard: Shard, form: str) -> int:
        """The number of the landing that a shard belongs to. Raises PolicyError when it has rows of another form."""
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO control.landings (landing_id, dataset, partition_key, shards_count, form) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (landing_id) DO NOTHING",
                (shard.landing_id, shard.dataset, shard.partition_key, shard.of, form),
            )
        query = "SELECT landing_no, form FROM control.landings WHERE landing_id = %s"
        ((number, there),) = self._rows(query, (shard.landing_id,))
        self.require_form(there, form)
        return int(number)

    def require_form(self, there: str | None, form: str) -> None:
        """Raise PolicyError when rows were landed in another form than policy asks for."""
        if there not in (None, form):
            raise PolicyError(
                f"{self._label}: its rows were landed before policy declared otherwise how they are made; nothing was "
                f"done; clear this partition's run from its task `plan` on, or put the policy back"
            )

    def landed_shard(self, landing: int, number: int) -> Landed | None:
        """What a shard has brought, or None."""
        rows = self._rows(
            "SELECT source_counts, landed_counts, refused, dropped FROM control.shards "
            "WHERE landing_no = %s AND shard_no = %s",
            (landing, number),
        )
        return Landed(*rows[0]) if rows else None

    def land(
        self,
        batch: Batch,
        landing: int,
        shard: Shard,
        tables: Iterable[tuple[str, Iterator[pa.RecordBatch]]],
        *,
        summary: LandingSummary,
    ) -> bool:
        """Store a shard of a landing from streamed Arrow batches, in one transaction with its entry.

        The shard that completes the landing shows it, in place of the one before. Returns False, with nothing stored,
        when a later landing of the partition has been completed meanwhile. `summary` is asked after the last batch has
        been copied, because the counts are known only then.
        """
        with self._transaction() as cursor:
            for table, batches in tables:
                self._copy(cursor, table, batches)
            counts = summary.counts()
            execute_values(
                cursor,
                "INSERT INTO records.refusals (landing_no, dataset, partition_key, table_name, row_key, rule) "
                "VALUES %s",
                [(landing, batch.dataset, batch.partition_key, *noted) for noted in summary.noted],
            )
            if summary.captures:
                keys, instants = zip(*summary.captures, strict=True)
                cursor.execute("SELECT landing.note_captures(%s, %s)", (list(keys), list(instants)))
            stored = counts.source_counts, counts.landed_counts, counts.refused, counts.dropped
            cursor.execute(
                "INSERT INTO control.shards (landing_no, shard_no, source_counts, landed_counts, refused, dropped) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                (landing, shard.number, *map(json.dumps, stored)),
            )
            cursor.execute("SELECT * FROM landing.complete(%s, %s)", (landing, batch.run_id))
            ((state, *totals),) = cursor.fetchall()
            if state == "overtaken":
                self._connection.rollback()
                return False
            self._append(cursor, summary.entry(Landed(*totals) if state == "complete" else None))
        return True

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
            for table in dict.fromkeys(finding.table for finding in findings):
                settlements.record(cursor, batch, day, [finding for finding in findings if finding.table == table])
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

    @contextmanager
    def publication(self, batch: Batch, day: date) -> Iterator[Publication]:
        """A transaction in which a release is decided, counted and appended; kept when it is left without an error."""
        with self._transaction() as cursor:
            yield Publication(cursor, batch, day, lambda entry: self._append(cursor, entry))

    @contextmanager
    def ending(self) -> Iterator[Transaction]:
        """A transaction in which rows end or are noted: its cursor, and how their entries are appended; kept when it
        is left without an error."""
        with self._transaction() as cursor:
            yield cursor, lambda entry: self._append(cursor, entry)

    # -- inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def exclusive(self, batch: Batch, shard: Shard | None = None) -> Iterator[None]:
        """Hold the partition, or a shard of it, for as long as this connection lives.

        Raises ContendedError when another run holds it. Shards of a partition may be held side by side.
        """
        whole = f"{batch.dataset}/{batch.partition_key}"
        locks = [("pg_try_advisory_lock", whole)]
        if shard:
            locks = [("pg_try_advisory_lock_shared", whole), ("pg_try_advisory_lock", f"{whole}/{shard.number}")]
        try:
            for function, key in locks:
                ((locked,),) = self._rows(f"SELECT {function}(hashtextextended(%s, 0))", (key,))
                if not locked:
                    part = f", {shard.name}" if shard and shard.of > 1 else ""
                    raise ContendedError(
                        f"{batch.label}{part}: another run is working on this partition; the task retries"
                    )
            yield
        finally:
            # A session that is lost by now has lost its locks too; to say so would hide what was done, or why it
            # failed.
            with suppress(WarehouseUnavailableError):
                self._rows("SELECT pg_advisory_unlock_all()", ())

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

    def _rows(self, query: str | sql.Composed, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._transaction() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    @staticmethod
    def _append(cursor: psycopg2.extensions.cursor, entry: Entry) -> None:
        cursor.execute("SELECT audit.append(%s)", (entry.canonical(),))

    @staticmethod
    def _copy(cursor: psycopg2.extensions.cursor, table: str, batches: Iterator[pa.RecordBatch]) -> None:
        first = next(batches, None)
        if first is None:
            return
        columns = sql.SQL(", ").join(map(sql.Identifier, first.schema.names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(
            sql.Identifier("records", table), columns
        )
        source = BinaryCopy(first, batches)
        try:
            # The stub asks for `readline` too; of a source of COPY, psycopg2 calls `read` alone.
            cursor.copy_expert(statement, source)  # type: ignore[arg-type]
        except psycopg2.Error:
            if source.broken_by is not None:
                raise source.broken_by from None
            raise


def clock(dsn: str) -> datetime:
    """What time it is by our database's clock. Raises WarehouseUnavailableError."""
    with connect(dsn, "our database's clock") as connection:
        ((now,),) = connection._rows("SELECT clock_timestamp()", ())
    return now  # type: ignore[no-any-return]


@contextmanager
def connect(dsn: str, label: str = "the warehouse") -> Iterator[Warehouse]:
    """A warehouse connection, closed at the end. Raises WarehouseUnavailableError when there is no server."""
    with translated(label):
        connection = patience.connect(dsn, fallback_application_name="wellbe-governance")
    try:
        yield Warehouse(connection, dsn, label)
    finally:
        connection.close()
