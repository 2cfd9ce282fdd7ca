"""The contract with analysts: tables, columns and types that stay as they are (Open Data Contract Standard). Pure.

A query that was written once must go on meaning the same. So a column may be added, at the end; none is ever removed,
renamed or given another type: what would be that gets a table of a new name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from governance.policy import Policy
from governance.published_tables import PublishedTable, of_policy

API_VERSION = "v3.1.0"
FIRST_VERSION = "1.0.0"
LOGICAL_TYPES = {
    "text": "string", "date": "date", "timestamp with time zone": "timestamp", "boolean": "boolean",
    "smallint": "integer", "integer": "integer", "bigint": "integer", "numeric": "number", "real": "number",
    "double precision": "number",
}  # fmt: skip
"""Of every PostgreSQL type that may be published, what the standard calls it."""

Columns = Mapping[str, str]
"""Column -> PostgreSQL type, in their order."""


def contract(policy: Policy, version: str = FIRST_VERSION) -> dict[str, Any]:
    """The contract as policy makes it, ready to be written as YAML."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": "urn:wellbe:analytics",
        "name": "Published releases",
        "version": version,
        "status": "active",
        "domain": "analytics",
        "description": {
            "purpose": "Anonymised releases for analysis (E1), market research (C6) and third parties (E2).",
            "usage": "One view per table over all releases. Columns are added; none is removed, renamed or retyped.",
            "limitations": "Rows are suppressed, held, coarse or noisy: see analytics.release_bias, analyst-sql.md.",
        },
        "schema": [_table(table) for table in of_policy(policy)],
        "roles": [{"role": "analyst", "access": "read", "description": policy.roles["analyst"].description}],
        "slaProperties": [{"property": "frequency", "value": 1, "unit": "d"}],
    }


def _table(table: PublishedTable) -> dict[str, Any]:
    return {
        "name": table.name,
        "physicalName": f"analytics.{table.name}",
        "physicalType": "view",
        "logicalType": "object",
        "description": table.description,
        "properties": [
            {
                "name": name,
                "logicalType": LOGICAL_TYPES[column.type],
                "physicalType": column.type,
                "required": name == table.day,
                "description": column.description,
                "customProperties": [
                    {"property": "kind", "value": column.kind},
                    {"property": "level", "value": column.level},
                    *([{"property": "values", "value": list(column.values)}] if column.values else []),
                ],
            }
            for name, column in table.columns.items()
        ],
        "customProperties": [{"property": "dataset", "value": table.dataset}],
    }


def text(document: Mapping[str, Any]) -> str:
    """A contract as it stands in its file."""
    head = "# Made from policies/ by `governance releases contract`; do not edit.\n"
    return head + yaml.safe_dump(dict(document), sort_keys=False, width=120, allow_unicode=True)


def columns(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Tables of a contract with their columns and types."""
    return {
        table["name"]: {column["name"]: column["physicalType"] for column in table["properties"]}
        for table in document["schema"]
    }


def broken(table: str, before: Columns, after: Columns) -> Iterator[str]:
    """What of a published table would no longer be as it was, in words; what is added breaks nothing.

    >>> list(broken("bookings", {"a": "text", "b": "text"}, {"a": "date", "c": "text"}))
    ['analytics.bookings.a would be date, it is text', 'analytics.bookings.b would be removed, or renamed']
    """
    for name, kind in before.items():
        if name not in after:
            yield f"analytics.{table}.{name} would be removed, or renamed"
        elif after[name] != kind:
            yield f"analytics.{table}.{name} would be {after[name]}, it is {kind}"


def broken_by(before: Mapping[str, Columns], after: Mapping[str, Columns]) -> list[str]:
    """What of a contract another one would break; a table that is gone loses all its columns."""
    return [problem for table, known in before.items() for problem in broken(table, known, after.get(table, {}))]


def kept_and_added(before: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The order of a view's columns: as they stand, then what is new.

    >>> kept_and_added(["b", "a"], ["a", "b", "c"])
    ['b', 'a', 'c']
    """
    return [*before, *(name for name in wanted if name not in before)]


def next_version(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> str:
    """The version of a contract that follows another: what was added raises the second number, words the third."""
    if before is None:
        return FIRST_VERSION
    version = str(before["version"])
    if {**before, "version": ""} == {**after, "version": ""}:
        return version
    major, minor, patch = map(int, version.split("."))
    return f"{major}.{minor}.{patch + 1}" if columns(before) == columns(after) else f"{major}.{minor + 1}.0"
