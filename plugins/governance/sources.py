"""The source, read as role `puller`: schema checks, counts and streamed Arrow batches, in one snapshot.

ADBC streams PostgreSQL's binary COPY into Arrow batches, so memory stays bounded whatever the size of a partition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache, partial
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from governance.errors import (
    UNREACHED,
    GapError,
    GovernanceError,
    SourceUnavailableError,
    is_lasting,
    shown,
    trouble,
)
from governance.partitions import Partition
from governance.patience import Aside, linked
from governance.policy import Policy
from governance.run_log import Shard

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
_INCLUDED = re.compile(r"^\\ir (\w+)\.sql$", re.MULTILINE)

BATCH_BYTES = 4 * 1024 * 1024
"""Size of one streamed batch; some 10,000 page views."""

QUIET_SECONDS = 600
"""How long the source may bring no batch: far longer than the query of a large partition works until its first row, and
a source that takes longer than that for 4 MiB is not slow but broken (7 kB a second)."""

PARTING_SECONDS = 2
"""How long a source that was given up is waited for to take note of it."""

Columns = dict[str, dict[str, str]]
"""table -> column -> PostgreSQL type."""


OF_BOOKINGS: Mapping[str, str] = MappingProxyType({"of_partition": "of_bookings"})
"""What a query of pull includes instead, for some bookings alone."""


def named_query(name: str, instead: Mapping[str, str] = MappingProxyType({})) -> str:
    """The text of `sql/<name>.sql`, with what it includes from there as psql would (`\\ir file.sql`); `instead`: other
    files to include in the place of some."""
    return _INCLUDED.sub(lambda found: named_query(instead.get(found[1], found[1]), instead).rstrip(), _text(name))


@cache
def _text(name: str) -> str:
    """What stands in a file of this package, which is what this process has imported."""
    return resources.files("governance").joinpath("sql", f"{name}.sql").read_text("utf-8")


class Snapshot:
    """A read-only repeatable-read transaction on the source, on one shard of each partition or on all of it.

    Every wait for the source happens in a thread aside. What is open is kept here until that thread has come to
    `_close`: an object of the driver that is freed under a call of its own takes the process down.
    """

    def __init__(self, uri: str, label: str, shard: Shard | None = None) -> None:
        self._uri = uri
        self._label = label
        self._shard = (shard.number, shard.of) if shard else (0, 1)
        self._aside = Aside()
        self._connection: Any = None
        self._cursors: list[Any] = []

    def open(self) -> None:
        """Log in, once, and begin. Raises SourceUnavailableError."""
        import adbc_driver_manager

        try:
            self._wait(self._connect)
        except (adbc_driver_manager.Error, TimeoutError) as error:
            state = getattr(error, "sqlstate", None)
            why = "gave no answer" if self._aside.is_stuck else trouble(state, str(error))
            raise SourceUnavailableError(
                f"{self._label}: the source cannot be reached: it {why} (SQLSTATE {state or 'none'}); nothing was "
                f"changed; check connection wellbe_source and its server, the task retries"
            ) from None
        self.begin()

    def begin(self) -> None:
        """A snapshot of this moment, in the place of the one before. Raises SourceUnavailableError."""
        self.end()
        with self._guarded(), self._cursor() as cursor:
            self._wait(partial(_begin_reading, cursor))

    def end(self) -> None:
        """Let go of the snapshot, and stay. Raises SourceUnavailableError."""
        with self._guarded():
            self._wait(self._connection.rollback)

    def leave(self) -> None:
        """Log out, or, where the source does not answer, leave that to the thread which waits for it."""
        if self._aside.is_stuck and self._connection is not None:
            # One that hangs in a statement, or waits for a lock, ends it; one that is not there is not waited for.
            Aside().end(self._connection.adbc_cancel, PARTING_SECONDS)
        self._aside.end(self._close, PARTING_SECONDS)

    def clock(self) -> datetime:
        """What time it is by the source's clock."""
        ((now,),) = self._table("SELECT clock_timestamp() AS now").to_pydict().values()
        return now  # type: ignore[no-any-return]

    def columns(self) -> Columns:
        """Every column of schema `wellbe`, read from pg_catalog, so that missing grants hide nothing."""
        rows = self._table(named_query("source_columns")).to_pylist()
        columns: Columns = {}
        for row in rows:
            columns.setdefault(row["table_name"], {})[row["column_name"]] = row["column_type"]
        return columns

    def counts(self, dataset: str, partition: Partition, **settings: str) -> dict[str, int]:
        """Rows per landed table that the source holds for the partition; or what else `count_<dataset>.sql` counts."""
        table = self._table(named_query(f"count_{dataset}"), partition, **settings)
        return {row["table_name"]: int(row["rows"]) for row in table.to_pylist()}

    def as_of(self, query: str, now: datetime, clients: Collection[int] = (), over: Collection[str] = ()) -> pa.Table:
        """What a named query brings about an instant, and perhaps clients, and the statuses in which a request is over:
        settings `governance.now`, `.clients` and `.over`."""
        listed = {name: f"{{{','.join(map(str, values))}}}" for name, values in (("clients", clients), ("over", over))}
        return self._table(named_query(query), None, now=now.isoformat(), **listed)

    def unreached(self, dataset: str) -> dict[str, int]:
        """Rows per partitioned table that are recorded ahead of the source's clock, or before all days."""
        table = self._table(named_query(f"unreached_{dataset}"))
        return {row["table_name"]: int(row["rows"]) for row in table.to_pylist()}

    def acceptances(self, partition: Partition, clients: Sequence[str]) -> pa.Table:
        """When clients, named `client N`, accepted the terms, with their birth dates, as known at a partition's end."""
        numbers = [name.removeprefix("client ") for name in clients if name.startswith("client ")]
        return self._table(named_query("acceptances"), partition, clients=f"{{{','.join(numbers)}}}")

    def withdrawn(self) -> list[int]:
        """Bookings of which a guardian's consent was withdrawn."""
        return [int(row["booking_id"]) for row in self._table(named_query("withdrawn_consents")).to_pylist()]

    def travellers(self, bookings: Collection[int], time_zone: str) -> pa.Table:
        """Everyone in every version of some bookings."""
        listed = f"{{{','.join(map(str, bookings))}}}"
        return self._table(named_query("travellers_of_bookings"), bookings=listed, time_zone=time_zone)

    def batches(self, table: str, partition: Partition, bookings: Collection[int] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of the partition for a landed table, streamed; `bookings`: of these alone, where there are any.

        Raises SourceUnavailableError when the connection is lost on the way.
        """
        with self._guarded(), self._cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            only = {"bookings": f"{{{','.join(map(str, bookings))}}}"} if bookings else {}
            query = named_query(f"pull_{table}", OF_BOOKINGS if bookings else {})
            self._wait(partial(self._begin, cursor, query, partition, only))
            reader = self._wait(cursor.fetch_record_batch)
            while (batch := self._wait(partial(next, reader, None))) is not None:
                yield batch

    def table(self, table: str, partition: Partition, bookings: Collection[int]) -> pa.Table:
        """All rows of some bookings in the partition for a landed table, at once; its columns also when there are
        none."""
        listed = f"{{{','.join(map(str, bookings))}}}"
        return self._table(named_query(f"pull_{table}", OF_BOOKINGS), partition, bookings=listed)

    def _table(self, query: str, partition: Partition | None = None, **settings: str) -> pa.Table:
        with self._guarded(), self._cursor() as cursor:
            return self._wait(partial(self._fetched, cursor, query, partition, settings))

    def _fetched(self, cursor: Any, *asked: Any) -> pa.Table:
        self._begin(cursor, *asked)
        return cursor.fetch_arrow_table()

    def _connect(self) -> None:
        import adbc_driver_postgresql.dbapi as adbc

        self._connection = adbc.connect(linked(self._uri))

    def _close(self) -> None:
        # A connection that the server has cut cannot be closed politely; whoever waits for this asks for no result.
        for opened in [*self._cursors, *([self._connection] if self._connection else [])]:
            opened.close()

    def _wait(self, call: Callable[[], T]) -> T:
        return self._aside.call(call, QUIET_SECONDS)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        cursor = self._connection.cursor()
        self._cursors.append(cursor)
        try:
            yield cursor
        finally:
            if not (self._aside.is_stuck or self._aside.is_over):  # a stream that was broken off ends later than we do
                self._wait(cursor.close)
                self._cursors.remove(cursor)

    def _begin(
        self, cursor: Any, query: str, partition: Partition | None, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Ask, having told the query its partition, its shard and what else it needs by settings of the transaction.

        Not as parameters: with those the driver fetches the whole result at once instead of streaming a COPY.
        """
        told = {**(self._of(partition) if partition else {}), **settings}
        if told:
            calls = (f"set_config('governance.{name}', ${n}, true)" for n, name in enumerate(told, start=1))
            cursor.execute(f"SELECT {', '.join(calls)}", tuple(told.values()))
            cursor.fetchall()
        cursor.execute(query)

    def _of(self, partition: Partition) -> dict[str, str]:
        start, end = partition.start.isoformat(), partition.end.isoformat()
        told = {"partition_start": start, "partition_end": end, "time_zone": partition.time_zone}
        return {**told, **dict(zip(("shard", "shards"), map(str, self._shard), strict=True))}

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        import adbc_driver_manager
        import pyarrow as pa

        try:
            yield
        except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
            # The driver's own text may quote a row, so only the state and what to do leave.
            state = getattr(error, "sqlstate", None)
            if self._aside.is_stuck:
                raise SourceUnavailableError(
                    f"{self._label}: no rows came from the source for {QUIET_SECONDS} seconds; nothing was kept; check "
                    f"its server, the network between, and what its session of puller waits for (a lock, a disk); "
                    f"the task retries"
                ) from None
            if is_lasting(state):
                raise GovernanceError(
                    f"{self._label}: the source refused to be read (SQLSTATE {state}); nothing was kept; "
                    f"check the named query, and that puller is granted what policy lets land, every row of it"
                ) from None
            why = trouble(state, str(error))
            if why == UNREACHED and self._still_answers():
                why = "stopped in the middle of its rows, though it is there: a value or a view of it may be at fault"
            raise SourceUnavailableError(
                f"{self._label}: reading the source failed: it {why} "
                f"(SQLSTATE {state or 'none'}); nothing was kept; check connection wellbe_source and its server's log, "
                f"the task retries"
            ) from None

    def _still_answers(self) -> bool:
        """Whether the server takes note, on the same connection, that our transaction is over."""
        import adbc_driver_manager

        try:
            self._wait(self._connection.rollback)
        except (adbc_driver_manager.Error, TimeoutError):
            return False
        return True


def _begin_reading(cursor: Any) -> None:
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    # A policy of the source's owner must not hide rows from counts and rows alike: then the source refuses.
    cursor.execute("SET LOCAL row_security = off")


@contextmanager
def snapshot(uri: str, label: str, shard: Shard | None = None) -> Iterator[Snapshot]:
    """A read-only snapshot of the source, or of one shard of its partitions, closed at the end.

    `label` names dataset and partition in messages. Raises SourceUnavailableError when the source cannot be reached.
    """
    opened = Snapshot(uri, label, shard)
    try:
        opened.open()
        yield opened
    finally:
        opened.leave()


def check_schema(found: Columns, policy: Policy, label: str = "schema wellbe") -> None:
    """Compare the source's live columns with those that policy declares; `label` says whose batch it stops.

    Raises GapError naming every undeclared, missing or retyped column: an unknown column is never ignored (E15, E16).
    """
    declared = {
        table: {name: column.type for name, column in columns.items()}
        for table, columns in policy.source_tables.items()
    }
    if found == declared:
        return
    problems = []
    for table in sorted(found.keys() | declared.keys()):
        live, known = found.get(table, {}), declared.get(table, {})
        for name in sorted(live.keys() | known.keys()):
            place = f"{shown(table)}.{shown(name)}"
            if name not in known:
                problems.append(f"{place} is not declared")
            elif name not in live:
                problems.append(f"{place} is declared but missing")
            elif live[name] != known[name]:
                problems.append(f"{place} is {shown(live[name])}, declared {known[name]}")
    if problems:
        raise GapError(
            f"{label}: the source and the policy disagree about {len(problems)} columns: {'; '.join(problems[:10])}"
            f"{' ...' if len(problems) > 10 else ''}; nothing was pulled; "
            f"declare category, purpose and treatment in policies/ and run `make up`, or mend the source; then run the "
            f"partition again"
        )
