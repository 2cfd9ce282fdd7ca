"""Stored ciphertexts, found by their format and rewritten in place: the database's side of `steps.reencryption`.

An edge, as the owner of the database, because no role of a pipeline may change what it has stored. Rows go out in
chunks and come back under other keys, a partition in one transaction with its run-log entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extras import execute_values

from governance.database import translated
from governance.run_log import Entry
from governance.sources import named_query

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 10_000
EARLIER_TOKENS = "^v[0-9]+:"

Rewritten = dict[str, Sequence[Any]]
"""Column -> new values; the column `row_id` says of which rows."""


@dataclass(frozen=True)
class Place:
    """A table of a zone: its ciphertext columns, and those of tokens that were made under a key of the keyring."""

    zone: str
    table: str
    encrypted: tuple[str, ...]
    tokens: tuple[str, ...] = ()

    @property
    def name(self) -> sql.Identifier:
        """The table, for a statement."""
        return sql.Identifier(self.zone, self.table)

    def has_format(self, version: bytes) -> sql.Composable:
        """A condition on rows `t`: a ciphertext of this format; for format 1 also a token of its time."""
        found: list[sql.Composable] = [
            sql.SQL("substring(t.{} for 1) = {}").format(sql.Identifier(name), sql.Literal(version))
            for name in self.encrypted
        ]
        if version == b"\x01":
            found += [
                sql.SQL("t.{} ~ {}").format(sql.Identifier(name), sql.Literal(EARLIER_TOKENS)) for name in self.tokens
            ]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(found))


def partitions(dsn: str, place: Place, version: bytes) -> list[date]:
    """Partitions in which a table holds ciphertexts of a format."""
    query = sql.SQL("SELECT DISTINCT t.partition_key FROM {} t WHERE {} ORDER BY 1")
    with translated(), closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(query.format(place.name, place.has_format(version)))
        return [day for (day,) in cursor.fetchall()]


def rewrite(
    dsn: str, place: Place, day: date, change: Callable[[pa.Table], Rewritten], entry: Callable[[], Entry]
) -> None:
    """Pass a partition's rows of format 1 through `change`, chunk by chunk, and store what comes back.

    `change` gets row_id, row_key, what names their keys (`sql/reencrypt/<table>.sql`) and the ciphertexts. `entry` is
    asked for when all is done; one transaction.
    """
    with translated(f"partition {day} of {place.zone}.{place.table}"):
        connection = psycopg2.connect(dsn)
        try:
            with connection, connection.cursor() as cursor:
                for rows in _chunks(connection, place, day):
                    _store(cursor, place, day, change(rows))
                cursor.execute("SELECT audit.append(%s)", (entry().canonical(),))
        finally:
            connection.close()


def _chunks(connection: psycopg2.extensions.connection, place: Place, day: date) -> Iterator[pa.Table]:
    import pyarrow as pa

    query = sql.SQL(named_query(f"reencrypt/{place.table}")).format(
        table=place.name,
        bookings=sql.Identifier(place.zone, "bookings"),
        columns=sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in place.encrypted),
        is_earlier=place.has_format(b"\x01"),
    )
    with connection.cursor("rows_of_format_1") as rows:
        rows.execute(query, (day,))
        while chunk := rows.fetchmany(CHUNK_ROWS):
            names = [column.name for column in rows.description or ()]
            kinds = [_kind(name) for name in names]
            columns = [
                pa.array([bytes(v) if isinstance(v, memoryview) else v for v in values], kind)
                for values, kind in zip(zip(*chunk, strict=True), kinds, strict=True)
            ]
            yield pa.table(columns, names=names)


def _kind(name: str) -> pa.DataType:
    import pyarrow as pa

    if name in ("row_id", "client_id"):
        return pa.int64()
    return pa.binary() if name.endswith("_encrypted") else pa.string()


def _store(cursor: psycopg2.extensions.cursor, place: Place, day: date, new: Rewritten) -> None:
    names = [name for name in new if name != "row_id"]
    kinds = {name: "text" if name in place.tokens else "bytea" for name in names}
    assignments = sql.SQL(", ").join(
        sql.SQL("{0} = v.{0}::{1}").format(sql.Identifier(name), sql.SQL(kinds[name])) for name in names
    )
    statement = sql.SQL(
        "UPDATE {} t SET {} FROM (VALUES %s) AS v ({}) WHERE t.partition_key = {} AND t.row_id = v.row_id"
    ).format(
        place.name,
        assignments,
        sql.SQL(", ").join(map(sql.Identifier, ["row_id", *names])),
        sql.Literal(day),
    )
    execute_values(cursor, statement, list(zip(new["row_id"], *(new[name] for name in names), strict=True)))
