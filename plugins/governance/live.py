"""What the live schemas hold that no rule of retention covers. Pure.

A table that is forgotten keeps what everybody believes is gone (GDPR Art. 5(1)(e)). So every table needs a rule, and
one that keeps its rows has to say of each column that may name somebody why it may stay. A number that becomes a text
may hold anybody's name from then on: columns whose type may hold anything are declared as such, those of landed and
published tables and of the source with their type.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from governance.errors import shown
from governance.policy import SOURCE_SCHEMA, Policy
from governance.published_tables import of_dataset
from governance.retention_rules import RetentionRule, Store

Tables = Mapping[str, Mapping[str, str]]
"""schema.table -> column -> type."""

NAMES_SOMEBODY = re.compile(
    r"(_encrypted|_token|_key|_id|_ip|_name|_digits|_hash)$"
    r"|^(id|ip|name|login|owner|email|phone|skype|address|postcode|notes|url|user_agent|referrer|message)$"
    r"|name|birth|card|passport|guardian|client|traveller|visitor|device|session|cookie|latitude|longitude"
)
"""Columns that may name somebody, by their names."""
HOLDS_ANYTHING = frozenset({"bytea", "json", "jsonb", "xml", "hstore", "oid"})
"""Types of columns that may name somebody whatever they are called."""
BOUNDED = re.compile(
    r"(smallint|integer|bigint|numeric|real|double precision|boolean|uuid|date|interval"
    r"|(?:time|timestamp)(?: with(?:out)? time zone)?)(\[\])?"
)
"""Types that hold a number, an instant or the like, and arrays of them. Any other may hold a text, whatever it is."""
_MODIFIER = re.compile(r"\([^)]*\)")
NAMES_NOBODY = frozenset({"partition_key", "table_name", "policy_digest"})

OF_A_LANDING = {"row_id": "bigint", "partition_key": "date", "landing_no": "bigint"}
"""What every landed row has beside its dataset's columns."""

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
    declared, outside = _declared(policy), policy.retention.outside_of("warehouse")
    for table in sorted(live):
        if table in outside:
            yield from _undeclared(table, live[table], outside[table])
            continue
        covering = [rule for rule in rules.values() if rule.table == table]
        if not covering:
            yield f"{shown(table)} has no rule"
            continue
        for column, kind in sorted(live[table].items()):
            if gap := _gap(column, kind, covering, declared.get(table)):
                yield f"{shown(table)}.{shown(column)} {gap}"
    yield from _about_nothing(rules, live)
    yield from _places_of_nothing(policy, "warehouse", live)


def gaps_of_source(live: Tables, policy: Policy) -> Iterator[str]:
    """Tables of the source and their personal columns that no rule covers, and rules about what is not there."""
    rules, outside = policy.retention.of("source"), policy.retention.outside_of("source")
    for table in sorted(live):
        if table in outside:
            yield from (f"{gap} at the source" for gap in _undeclared(table, live[table], outside[table]))
            continue
        schema, _, name = table.partition(".")
        covering = [rule for rule in rules.values() if rule.table == table]
        known = policy.source_tables.get(name, {}) if schema == SOURCE_SCHEMA else {}
        if not covering:
            yield f"{shown(table)} at the source has no rule"
            continue
        for column in sorted(live[table]):
            if column not in known:
                yield f"{shown(table)}.{shown(column)} at the source is not declared"
            elif known[column].category.startswith("user.") and not _covers(column, covering):
                yield f"{shown(table)}.{shown(column)} at the source has no rule"
        types = {column: spec.type for column, spec in known.items()}
        yield from (f"{gap}, at the source" for gap in _retyped(table, live[table], types))
    yield from _about_nothing(rules, live)
    yield from _places_of_nothing(policy, "source", live)


def gaps_of_databases(databases: Mapping[str, Tables | None], policy: Policy) -> Iterator[str]:
    """Databases of our cluster that policy does not know, and tables in those that it calls empty.

    `databases`: every one beside our own, by name, with its tables; None where the crawl may not look or need not.
    """
    for name in sorted(databases):
        if name not in policy.retention.databases:
            yield f"database {shown(name)} of our cluster is not declared"
        elif policy.retention.databases[name].is_empty:
            yield from (f"{shown(table)} in database {shown(name)} has no rule" for table in databases[name] or ())


def _declared(policy: Policy) -> dict[str, dict[str, str]]:
    """Of landed and published tables: the columns that their datasets declare, with their types."""
    declared = {}
    for dataset in policy.datasets.values():
        for release in of_dataset(dataset):
            published = {name: column.type for name, column in release.columns.items()}
            declared[f"analytics.{release.rows}"] = published
        for name, table in dataset.landed.items():
            landed = {name: column.type for name, column in table.columns.items()}
            declared[f"records.{name}"] = OF_A_LANDING | landed
    return declared


def _undeclared(table: str, columns: Mapping[str, str], known: Container[str]) -> Iterator[str]:
    yield from (f"{shown(table)}.{shown(column)} is not declared" for column in sorted(columns) if column not in known)


def _retyped(table: str, columns: Mapping[str, str], declared: Mapping[str, str]) -> Iterator[str]:
    for column in sorted(columns.keys() & declared.keys()):
        if columns[column] != declared[column]:
            yield f"{shown(table)}.{shown(column)} is {shown(columns[column])}, declared {declared[column]}"


def _gap(column: str, kind: str, covering: list[RetentionRule], declared: Mapping[str, str] | None) -> str | None:
    """What is wrong with a column of ours; `declared`: the types of its table's columns, where a dataset has them."""
    known = declared or {name for rule in covering for name in _names(rule)}
    may_name = column not in NAMES_NOBODY and (kind in HOLDS_ANYTHING or NAMES_SOMEBODY.search(column))
    if may_name and not _covers(column, covering):
        return "may name somebody, and no rule says when it ends or why it stays"
    if column not in known and not any(column in rule.identifiers for rule in covering):
        return "is not declared"
    if declared and kind != declared.get(column, kind):
        return f"is {shown(kind)}, declared {declared[column]}"
    is_bounded = declared or BOUNDED.fullmatch(_MODIFIER.sub("", kind))
    if not is_bounded and not any(column in rule.texts for rule in covering):
        return f"is {shown(kind)}, which may hold anything, and not among its texts"
    return None


def _names(rule: RetentionRule) -> set[str]:
    """Every column of its own table that a rule names."""
    clock = {rule.clock} if rule.clock else set()
    of_account = rule.account.get(rule.table, ())
    return {*rule.key, *rule.only, *rule.columns, *rule.identifiers, *rule.others, *rule.texts, *of_account} | clock


def _covers(column: str, rules: list[RetentionRule]) -> bool:
    return any(
        rule.act == "delete" or column in rule.columns or column in rule.identifiers or EVERY in rule.identifiers
        for rule in rules
    )


def _places_of_nothing(policy: Policy, store: Store, live: Tables) -> Iterator[str]:
    """A place of erasure that is not there would be searched in vain (E16)."""
    for name, place in policy.retention.erasure.items():
        named = {*place.columns, *place.only, *filter(None, (place.began, place.sealed))}
        if place.store == store and named - live.get(place.table, {}).keys():
            yield f"place of erasure {name} is in columns of {place.table} which are not there"
        elif place.store == store and place.table not in live:
            yield f"place of erasure {name} is in {place.table}, which is not there"


def _about_nothing(rules: Mapping[str, RetentionRule], live: Tables) -> Iterator[str]:
    """A rule about a table or column that is not there protects nobody (E16)."""
    for name, rule in rules.items():
        if rule.table not in live:
            yield f"rule {name} is about {rule.table}, which is not there"
            continue
        for column in sorted(_names(rule) - live[rule.table].keys() - {EVERY}):
            yield f"rule {name} is about {rule.table}.{column}, which is not there"
