"""Published releases, read as a role that may: what is told of each, and its rows as files.

One release is always the same bytes: as CSV (RFC 4180, UTF-8, a header, NULL as nothing) with its rows in one order.
The digest of a release is the SHA-256 of that. An edge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import psycopg2.extensions
from psycopg2 import sql

from governance.published_tables import RISK, ZONE, PublishedTable
from governance.sources import named_query

Cursor = psycopg2.extensions.cursor
ARROW_TYPES = {
    "date": "date32", "boolean": "bool", "smallint": "int16", "integer": "int32", "bigint": "int64",
    "numeric": "float64", "real": "float32", "double precision": "float64",
}  # fmt: skip
"""Of PostgreSQL types, what a Parquet file has; any other is a text."""
PORTION = 1 << 20
EXACT = ("k", "l", "rows", "suppressed")
"""What is told of a release that was measured on its rows."""


class Sink(Protocol):
    """Takes bytes as they come."""

    def write(self, data: bytes, /) -> object:
        """Take some."""


class _Digest:
    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.sha256.update(data)


def releases(cursor: Cursor, dataset: str | None = None, day: date | None = None) -> list[dict[str, Any]]:
    """What analysts are told of each release, as JSON has it, oldest first: all, of a dataset, or of a partition."""
    cursor.execute(named_query("analytics/releases"), {"dataset": dataset, "day": day})
    return [found for (found,) in cursor.fetchall()]


def settings(cursor: Cursor, dataset: str, day: date) -> dict[str, str]:
    """What policy said at a release of how precise it is."""
    cursor.execute(
        "SELECT setting, value FROM analytics.release_settings WHERE dataset = %s AND partition_key = %s ORDER BY 1",
        (dataset, day),
    )
    return dict(cursor.fetchall())


def told(cursor: Cursor, about: str, dataset: str, day: date) -> list[dict[str, Any]]:
    """What a table about releases says of one of them, as JSON has it."""
    query = "SELECT to_jsonb(t) - 'dataset' - 'partition_key' FROM {} t WHERE dataset = %s AND partition_key = %s"
    cursor.execute(sql.SQL(query + " ORDER BY 1").format(sql.Identifier(ZONE, about)), (dataset, day))
    return [found for (found,) in cursor.fetchall()]


def beside(
    cursor: Cursor, table: PublishedTable, release: Mapping[str, Any], measures: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What may stand beside the rows of a table where they go alone: what is told of the release, and measures.

    Beside counts with noise, what they cost, and nothing exact of the release that they came with. None when the
    release has no such counts: there was no such table then.
    """
    if table.noisy_count is None:
        return dict(release), {name: measures[name] for name in RISK if name in measures}
    cursor.execute(
        "SELECT epsilon, delta FROM analytics.privacy_budget WHERE table_name = %s AND recorded_date = %s",
        (table.name, release["partition_key"]),
    )
    spent = cursor.fetchone()
    if spent is None:
        return None
    return {**release, **dict.fromkeys(EXACT)}, dict(zip(("epsilon", "delta"), spent, strict=True))


def marginals(cursor: Cursor, table: PublishedTable, day: date) -> dict[str, dict[str, int]]:
    """How many rows of a release have each value of each column of texts, one column at a time; NULL is not counted.

    Of counts with noise, what they add up to.
    """
    found: dict[str, dict[str, int]] = {}
    summed = table.noisy_count
    count = sql.SQL("sum({})::bigint").format(sql.Identifier(summed)) if summed else sql.SQL("count(*)")
    for name, column in table.columns.items():
        if column.type == "text":
            query = "SELECT {0}, {3} FROM {1} WHERE {2} = %s AND {0} IS NOT NULL GROUP BY 1 ORDER BY 1"
            here = sql.Identifier(name), sql.Identifier(ZONE, table.name), sql.Identifier(table.day)
            cursor.execute(sql.SQL(query).format(*here, count), (day,))
            found[name] = dict(cursor.fetchall())
    return found


def write_csv(cursor: Cursor, table: PublishedTable, day: date, sink: Sink) -> None:
    """Write a release's rows of one table; none when that day was not released, or nothing of it was published."""
    cursor.execute("SET LOCAL datestyle = 'ISO'; SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1")
    names = [sql.Identifier(name) for name in table.columns]
    in_order = [
        sql.SQL("{}{}").format(name, sql.SQL(' COLLATE "C"' if column.type == "text" else ""))
        for name, column in zip(names, table.columns.values(), strict=True)
    ]
    query = sql.SQL("COPY (SELECT {} FROM {} WHERE {} = {} ORDER BY {}) TO STDOUT WITH (FORMAT CSV, HEADER)").format(
        sql.SQL(", ").join(names),
        sql.Identifier(ZONE, table.name),
        sql.Identifier(table.day),
        sql.Literal(day.isoformat()),
        sql.SQL(", ").join(in_order),
    )
    cursor.copy_expert(query, sink)


def digest(cursor: Cursor, table: PublishedTable, day: date) -> str:
    """SHA-256 of a release's rows of one table, as `write_csv` writes them."""
    taken = _Digest()
    write_csv(cursor, table, day, taken)
    return taken.sha256.hexdigest()


def write_parquet(rows: Path, target: Path, table: PublishedTable, about: Mapping[str, str]) -> int:
    """Turn a CSV of `write_csv` into Parquet, some thousands of rows at a time; returns how many there are.

    `about`: the file's own metadata. The same CSV and metadata are the same bytes.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    types = {name: _arrow(column.type) for name, column in table.columns.items()}
    schema = pa.schema(
        [
            pa.field(name, types[name], metadata={"description": column.description, "kind": column.kind})
            for name, column in table.columns.items()
        ],
        metadata=dict(about),
    )
    convert = csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
        true_values=["t"], false_values=["f"],
    )  # fmt: skip
    count = 0
    with csv.open_csv(rows, convert_options=convert) as batches, parquet.ParquetWriter(target, schema) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
            count += batch.num_rows
    return count


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in portions."""
    taken = hashlib.sha256()
    with path.open("rb") as file:
        while portion := file.read(PORTION):
            taken.update(portion)
    return taken.hexdigest()


def _arrow(kind: str) -> Any:
    import pyarrow as pa

    # By name: `types` of a module that is imported only when a file is written.
    return getattr(pa, {"bool": "bool_"}.get(name := ARROW_TYPES.get(kind, "string"), name))()
