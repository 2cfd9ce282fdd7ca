"""Writing into the source: binary COPY of Arrow batches in one transaction, and the book of what was loaded."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pgpq
import psycopg2
import pyarrow as pa
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from governance.errors import InputError, SourceUnavailableError
from governance.sample.tables import SCHEMAS, Tables

Progress = Callable[[str, int, int], None]  # what is being made, how many parts are done, of how many

_AFRESH = "To fill it anew: `make clean` (it deletes all that this checkout holds), then `make demo`"


@dataclass(frozen=True)
class Loaded:
    """What the source holds after a load, and what the load added.

    `counts` and `added` are rows by table; `planted` counts planted troubles by kind; `malformed` is, for imports, by
    file the number of lines by reason, `lines_read` the number of lines (headers aside): good and malformed lines add
    up to it.
    """

    origin: str
    first_day: date
    last_day: date
    counts: dict[str, int]
    added: dict[str, int]
    planted: dict[str, int] = field(default_factory=dict)
    malformed: dict[str, dict[str, int]] = field(default_factory=dict)
    lines_read: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Earlier:
    """What is in the book already."""

    origin: str
    parameters: dict[str, Any]
    first_day: date
    last_day: date
    counts: dict[str, Any]


def quiet(what: str, done: int, of: int) -> None:
    """Report progress to nobody."""


class _Stream(io.RawIOBase):
    """The bytes of an iterator as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # The encoder hands out nothing until it has gathered enough: an empty chunk is not the end.
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken


class Source:
    """The source within one transaction: nothing is kept unless all of it is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.added: Counter[str] = Counter()
        self.planted: Counter[str] = Counter()

    def copy(self, table: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Write batches of a table's schema by one binary COPY."""
        schema = SCHEMAS[table]
        encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
        stream = io.BufferedReader(_Stream(self._encoded(table, encoder, batches)), 1 << 20)
        statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(
            sql.Identifier("sample" if table == "planted_troubles" else "wellbe", table),
            sql.SQL(", ").join(sql.Identifier(name) for name in schema.names),
        )
        with self._connection.cursor() as cursor:
            cursor.copy_expert(statement, stream, 1 << 20)

    def _encoded(self, table: str, encoder: Any, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
        yield encoder.write_header()
        for part in batches:
            if part.num_rows:
                self.added[table] += part.num_rows
                if table == "planted_troubles":
                    self.planted.update(part.column("kind").to_pylist())
                yield encoder.write_batch(part)
        yield encoder.finish()

    def copy_all(self, tables: Tables) -> None:
        """Write all tables that have rows."""
        for table, batches in tables.items():
            if any(part.num_rows for part in batches):
                self.copy(table, batches)

    def earlier(self) -> list[Earlier]:
        """Return what the book holds, the oldest first. Whoever else loads waits until this transaction ends."""
        with self._connection.cursor() as cursor:
            cursor.execute("LOCK TABLE sample.loads IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute("SELECT origin, parameters, first_day, last_day, counts FROM sample.loads ORDER BY load_id")
            return [Earlier(*row) for row in cursor.fetchall()]

    def known_clients(self, client_ids: list[int]) -> set[int]:
        """Return which of the clients the source has already."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT client_id FROM wellbe.clients WHERE client_id = ANY(%s)", (client_ids,))
            return {row[0] for row in cursor.fetchall()}

    def book(self, origin: str, parameters: dict[str, Any], first: date, last: date, more: dict[str, Any]) -> None:
        """Note what was loaded."""
        counts = {"rows": dict(self.added), "planted": dict(self.planted), **more}
        with self._connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO sample.loads (origin, parameters, first_day, last_day, counts) "
                "VALUES (%s, %s, %s, %s, %s)",
                (origin, json.dumps(parameters), first, last, json.dumps(counts)),
            )

    def analyze(self) -> None:
        """Let the planner know what there is now."""
        with self._connection.cursor() as cursor:
            for table in self.added:
                schema = "sample" if table == "planted_troubles" else "wellbe"
                cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))


@contextmanager
def writing(dsn: str) -> Iterator[Source]:
    """Open the source for one load: committed as a whole at the end, or not at all.

    Raises SourceUnavailableError when the source cannot be reached or is lost on the way.
    """
    try:
        connection = psycopg2.connect(dsn)
    except psycopg2.OperationalError as error:
        raise SourceUnavailableError(
            "The source cannot be reached: see `make status`, start it with `make up`."
        ) from error
    try:
        with connection:
            yield Source(connection)
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise SourceUnavailableError(
            "The source was lost during a load; nothing of it was kept. Run it again."
        ) from error
    finally:
        connection.close()


def refuse_other(earlier: list[Earlier], origin: str, parameters: dict[str, Any]) -> None:
    """Raise InputError when the source was filled another way: one source holds one sample."""
    if all((load.origin, load.parameters) == (origin, parameters) for load in earlier):
        return
    load = earlier[0]
    was = ", ".join(f"{name} {value}" for name, value in sorted(load.parameters.items()))
    raise InputError(
        f"The source holds a sample that was {load.origin} with other parameters ({was}), days {load.first_day} to "
        f"{earlier[-1].last_day}. Ask for the same to add later days. {_AFRESH}."
    )


def state(earlier: list[Earlier], source: Source, origin: str, span: tuple[date, date], told: dict[str, Any]) -> Loaded:
    """Return what the source holds after a load."""
    rows, planted = Counter(source.added), Counter(source.planted)
    for load in earlier:
        rows.update(load.counts["rows"])
        planted.update(load.counts["planted"])
    return Loaded(origin, *span, dict(rows), dict(source.added), dict(planted), **told)
