"""What the live schemas hold that no rule of retention covers. Pure.

A table that is forgotten keeps what everybody believes is gone (GDPR Art. 5(1)(e)). So every table needs a rule, and
one that keeps its rows has to say of each column that may name somebody why it may stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from governance.errors import shown
from governance.policy import SOURCE_SCHEMA, Policy
from governance.retention_rules import RetentionRule, Store

Tables = Mapping[str, Mapping[str, str]]
"""schema.table -> column -> type."""

OURS_TO_RUN = frozenset({"public.schema_migrations"})
"""Tables of this project's own upkeep, outside of every zone."""

NAMES_SOMEBODY = re.compile(
    r"(_encrypted|_token|_key|_id|_ip|_name|_digits|_hash)$"
    r"|^(id|ip|name|login|owner|email|phone|skype|address|postcode|notes|url|user_agent|referrer|message)$"
    r"|name|birth|card|passport|guardian|client|traveller|visitor|device|session|cookie|latitude|longitude"
)
"""Columns that may name somebody, by their names; bytes may hold anything."""
NAMES_NOBODY = frozenset({"partition_key", "table_name", "policy_digest"})

EVERY = "*"


def tables(columns: Iterable[tuple[Any, ...]]) -> dict[str, dict[str, str]]:
    """From (schema, table, column, type), as `sql/live_columns.sql` brings them; a table without columns is one too.

    >>> tables([("control", "batches", "dataset", "text"), ("control", "empty", None, None)])
    {'control.batches': {'dataset': 'text'}, 'control.empty': {}}
    """
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in columns:
        of_table = found.setdefault(f"{schema}.{table}", {})
        if column is not None:
            of_table[column] = kind
    return found


def gaps_of_warehouse(live: Tables, policy: Policy) -> Iterator[str]:
    """Tables and columns of our database that no rule covers, and rules about what is not there."""
    rules = policy.retention.of("warehouse")
    declared = {
        f"records.{name}": {"row_id", "partition_key", "landing_no", *table.columns}
        for dataset in policy.datasets.values()
        for name, table in dataset.landed.items()
    }
    for table in sorted(live.keys() - OURS_TO_RUN):
        covering = [rule for rule in rules.values() if rule.table == table]
        if not covering:
            yield f"{shown(table)} has no rule"
            continue
        yield from _uncovered(table, live[table], covering)
        for column in sorted(live[table].keys() - declared.get(table, live[table].keys())):
            yield f"{shown(table)}.{shown(column)} is not declared"
    yield from _about_nothing(rules, live)
    yield from _places_of_nothing(policy, "warehouse", live)


def gaps_of_source(live: Tables, policy: Policy) -> Iterator[str]:
    """Tables of the source and their personal columns that no rule covers, and rules about what is not there."""
    rules = policy.retention.of("source")
    here = {table: columns for table, columns in live.items() if table.startswith(f"{SOURCE_SCHEMA}.")}
    for table in sorted(here):
        covering = [rule for rule in rules.values() if rule.table == table]
        known = policy.source_tables.get(table.partition(".")[2], {})
        if not covering:
            yield f"{shown(table)} at the source has no rule"
            continue
        for column in sorted(here[table]):
            if column not in known:
                yield f"{shown(table)}.{shown(column)} at the source is not declared"
            elif known[column].category.startswith("user.") and not _covers(column, covering):
                yield f"{shown(table)}.{shown(column)} at the source has no rule"
    yield from _about_nothing(rules, here)
    yield from _places_of_nothing(policy, "source", here)


def _uncovered(table: str, columns: Mapping[str, str], rules: list[RetentionRule]) -> Iterator[str]:
    for column, kind in columns.items():
        names = column not in NAMES_NOBODY and (kind == "bytea" or NAMES_SOMEBODY.search(column))
        if names and not _covers(column, rules):
            yield f"{shown(table)}.{shown(column)} may name somebody, and no rule says when it ends or why it stays"


def _covers(column: str, rules: list[RetentionRule]) -> bool:
    return any(
        rule.act == "delete" or column in rule.columns or column in rule.identifiers or EVERY in rule.identifiers
        for rule in rules
    )


def _places_of_nothing(policy: Policy, store: Store, live: Tables) -> Iterator[str]:
    """A place of erasure that is not there would be searched in vain (E16)."""
    for name, place in policy.retention.erasure.items():
        if place.store == store and {*place.columns, *place.only} - live.get(place.table, {}).keys():
            yield f"place of erasure {name} is in columns of {place.table} which are not there"
        elif place.store == store and place.table not in live:
            yield f"place of erasure {name} is in {place.table}, which is not there"


def _about_nothing(rules: Mapping[str, RetentionRule], live: Tables) -> Iterator[str]:
    """A rule about a table or column that is not there protects nobody (E16)."""
    for name, rule in rules.items():
        if rule.table not in live:
            yield f"rule {name} is about {rule.table}, which is not there"
            continue
        named = {*rule.key, *rule.only, *rule.columns, *rule.identifiers, *([rule.clock] if rule.clock else [])}
        for column in sorted(named - live[rule.table].keys() - {EVERY}):
            yield f"rule {name} is about {rule.table}.{column}, which is not there"
