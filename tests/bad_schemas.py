"""Sources whose columns are not those that policy declares: how each is made, what a data engineer has to be told.

A table is set aside and another one of its name is put in its place, so that nothing of it is lost when it comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from builders import POLICY

TABLES = {table: {name: column.type for name, column in columns.items()} for table, columns in
          POLICY.source_tables.items()}  # fmt: skip
OTHER_TYPES = {
    "text": "character varying(40)",
    "bigint": "numeric",
    "integer": "bigint",
    "boolean": "integer",
    "double precision": "numeric(9,6)",
    "date": "timestamp without time zone",
    "timestamp with time zone": "timestamp without time zone",
}


@dataclass(frozen=True)
class BadSchema:
    """A source with other columns: made by one statement, mended by another; `told` stands in the message."""

    name: str
    make: str
    mend: str
    told: str
    columns: int
    is_pulled_again: bool = True


def replaced(name: str, table: str, columns: Mapping[str, str], told: str, count: int = 1) -> BadSchema:
    """A table with other columns, name -> expression over those of the sound one."""
    listed = ", ".join(f'{expression} AS "{column}"' for column, expression in columns.items())
    return BadSchema(
        name.replace(" ", "_"),
        f"ALTER TABLE wellbe.{table} SET SCHEMA sample; "
        f"CREATE TABLE wellbe.{table} AS SELECT {listed} FROM sample.{table} WITH NO DATA",
        f"DROP TABLE wellbe.{table}; ALTER TABLE sample.{table} SET SCHEMA wellbe",
        told,
        count,
    )


def of_each_column() -> Iterator[BadSchema]:
    """Every column of every table renamed; of a table that a pipeline reads also missing, and of another type."""
    for table, types in TABLES.items():
        for column, declared in types.items():
            place, sound = f"{table}.{column}", {name: name for name in types}
            rest = {name: name for name in types if name != column}
            yield replaced(
                f"{place} renamed", table, {**rest, f"{column}_2": column},
                f"{place} is declared but missing; {place}_2 is not declared", 2,
            )  # fmt: skip
            if table in POLICY.unpulled:
                continue
            other = OTHER_TYPES[declared]
            cast = {**sound, column: f"NULL::{other}"}
            for bad in (
                replaced(f"{place} missing", table, rest, f"{place} is declared but missing"),
                replaced(f"{place} retyped", table, cast, f"{place} is {other}, declared {declared}"),
            ):
                yield replace(bad, is_pulled_again=False)


UNDECLARED = {
    "a plain name": ("loyalty_tier", "loyalty_tier"),
    "another case": ("Recorded_at", "Recorded_at"),
    "a name that is SQL": ("x; DROP TABLE bookings", "x; DROP TABLE bookings"),
    "terminal escapes in the name": ("\x1b[2J\x1b[31mx", r"\x1b[2J\x1b[31mx"),
    "a line break in the name": ("one\nFAILED two", r"one\nFAILED two"),
    "a name that reads backwards": ("\u202eemos", r"\u202eemos"),
    "the longest name": ("n" * 63, "n" * 63),
}


def undeclared() -> Iterator[BadSchema]:
    """A further column in every table, and one of each odd name."""
    for table, types in TABLES.items():
        more = {**{name: name for name in types}, "shoe_size": "NULL::text"}
        yield replaced(f"{table} has one more", table, more, f"{table}.shoe_size is not declared")
    for kind, (name, written) in UNDECLARED.items():
        more = {**{name: name for name in TABLES["clients"]}, name: "NULL::text"}
        yield replaced(f"{kind}", "clients", more, f"clients.{written} is not declared")


def of_tables() -> Iterator[BadSchema]:
    """Tables that are new, gone, or hold what they should not."""
    for table, types in TABLES.items():
        gone = f"{table}.{min(types)} is declared but missing"
        yield BadSchema(
            f"{table}_is_gone", f"ALTER TABLE wellbe.{table} SET SCHEMA sample",
            f"ALTER TABLE sample.{table} SET SCHEMA wellbe", gone, len(types),
        )  # fmt: skip
    views = {name: name for name in TABLES["page_views"]}
    for kind, expression, found in (
        ("an array", "NULL::text[]", "text[]"),
        ("JSON", "NULL::jsonb", "jsonb"),
        ("bytes", "NULL::bytea", "bytea"),
        ("an address", "NULL::inet", "inet"),
        ("an unlimited varchar", "NULL::varchar", "character varying"),
        ("one letter", 'NULL::"char"', '"char"'),
        ("a domain", "NULL::sample.url", "sample.url"),
    ):
        bad = replaced(f"page_views url is {kind}", "page_views", {**views, "url": expression},
                       f"page_views.url is {found}, declared text")  # fmt: skip
        if "domain" in kind:
            bad = BadSchema(bad.name, f"CREATE DOMAIN sample.url AS text; {bad.make}",
                            f"{bad.mend}; DROP DOMAIN sample.url", bad.told, 1)  # fmt: skip
        yield bad
    yield BadSchema("a_new_table", "CREATE TABLE wellbe.allergies (allergy text)", "DROP TABLE wellbe.allergies",
                    "allergies.allergy is not declared", 1)  # fmt: skip
    yield BadSchema("a_new_view_on_a_known_table", "CREATE VIEW wellbe.everyone AS SELECT email FROM wellbe.clients",
                    "DROP VIEW wellbe.everyone", "everyone.email is not declared", 1)  # fmt: skip
    yield BadSchema("a_new_partitioned_table",
                    "CREATE TABLE wellbe.parted (day date) PARTITION BY RANGE (day)", "DROP TABLE wellbe.parted",
                    "parted.day is not declared", 1)  # fmt: skip


SCHEMAS = [*of_each_column(), *undeclared(), *of_tables()]
