"""What retention does every hour costs what is due, and not what stands there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

import builders
from builders import NOW
from governance.embedded.site import Site
from governance.erasure import Erasure, Places
from governance.first_captures import FirstCaptures
from governance.retention import Table
from governance.sources import named_query

pytestmark = [pytest.mark.pg, pytest.mark.clause("K1")]

RULES = {name: rule for name, rule in builders.POLICY.retention.of("warehouse").items() if rule.act == "delete"}


MANY = """
INSERT INTO vault.release_ledger (dataset, row_key, accepted_partition, release_partition, decision)
SELECT dataset, n, date '2026-03-10' - n % 20, date '2026-03-10' - n % 20, 'published'
FROM generate_series(1, 5000) n, unnest(ARRAY['bookings', 'visits']) dataset
ON CONFLICT DO NOTHING;
ANALYZE vault.release_ledger;
"""
"""A dataset alone says little of a decision there; of an empty table the planner does not know that."""

FORGET = """
SELECT pg_clear_relation_stats(schemaname, tablename), (
    SELECT count(pg_clear_attribute_stats(s.schemaname, s.tablename, s.attname, s.inherited))
    FROM pg_stats s WHERE (s.schemaname, s.tablename) = (t.schemaname, t.tablename)
) FROM pg_tables t WHERE format('%%I.%%I', schemaname, tablename) = ANY (%s)
"""
"""Of a table that had one row when it was looked at, the planner is sure that an index is no use."""


KNOWN = """
DELETE FROM control.first_captures;
INSERT INTO control.first_captures (card_key, captured_at)
SELECT n, %s::timestamptz - (n - 20000) * interval '1 minute' FROM generate_series(19901, 20100) n;
ANALYZE control.first_captures;
"""
"""Some that are due, some that are not."""


class Spy(psycopg2.extensions.cursor):
    """Explains every statement before it does it; every way but one to conditions on an index is made dear."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.scans: list[dict[str, Any]] = []

    def execute(self, query: Any, vars: Any = None) -> None:
        text = self.mogrify(query, vars).decode()
        if not text.startswith("SET"):
            for way in ("seqscan", "indexscan", "indexonlyscan"):
                super().execute(f"SET LOCAL enable_{way} = off")
            super().execute(f"EXPLAIN (FORMAT JSON) {text}")
            (((explained,),),) = self.fetchall()
            self.scans += leaves(explained["Plan"])
        super().execute(query, vars)


def leaves(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Where the rows of a plan come from."""
    for part in plan.get("Plans", []):
        yield from leaves(part)
    if "Plans" not in plan:
        yield plan


@pytest.mark.parametrize("name", RULES)
def test_a_rule_finds_what_is_due_and_what_is_left_of_it_by_an_index_of_its_clock(site: Site, name: str) -> None:
    rule = RULES[name]
    with (
        closing(psycopg2.connect(site.dsn("governance_owner"))) as connection,
        connection.cursor(cursor_factory=Spy) as spy,
    ):
        connection.cursor().execute(FORGET, [[rule.table]])
        connection.cursor().execute(MANY)
        table = Table(spy, builders.POLICY, name, rule, NOW)
        for statement in (table.look, table.breaches, table.account, table.act, table.left):
            statement()
        of_clock = [scan for scan in spy.scans if rule.clock in scan.get("Index Cond", "")]
        whole = [s for s in spy.scans if s.get("Relation Name") == rule.table.partition(".")[2]]
    assert len(of_clock) >= 4 * 2 - 1  # before an instant or after another; what stays lies between them
    assert whole == []


def test_first_captures_are_found_and_noted_without_a_look_at_the_rest(site: Site) -> None:
    with (
        closing(psycopg2.connect(site.dsn("governance_owner"))) as connection,
        connection.cursor(cursor_factory=Spy) as spy,
    ):
        connection.cursor().execute(KNOWN, (NOW,))
        first = FirstCaptures.known(spy, NOW)
        first.note_ended(spy)
        assert len(first.due.split(",")) == 100
        of_table = [scan for scan in spy.scans if scan.get("Relation Name", scan["Node Type"]) != "Function Scan"]
    assert [scan for scan in of_table if scan["Node Type"] == "Seq Scan"] == []
    assert sum("captured_at" in scan.get("Index Cond", "") for scan in spy.scans) >= 2


def test_cards_at_the_source_that_are_due_by_what_we_know_are_found_by_an_index(site: Site) -> None:
    rule = builders.POLICY.retention.rules["cards_at_source"]
    listed = "{" + ",".join(map(str, range(100))) + "}"
    instants = "{" + ",".join([f'"{NOW.isoformat()}"'] * 100) + "}"
    with (
        closing(psycopg2.connect(site.dsn("wellbe_owner"))) as connection,
        connection.cursor(cursor_factory=Spy) as spy,
    ):
        table = Table(spy, builders.POLICY, "cards_at_source", rule, NOW)
        table.counted_from(FirstCaptures(listed, listed, instants, NOW))
        for statement in (table.breaches, table.act, table.left):
            statement()
        of_ids = [scan for scan in spy.scans if "card_id = ANY" in scan.get("Index Cond", "")]
        whole = [scan for scan in spy.scans if scan.get("Relation Name") == "payment_cards"]
        connection.rollback()
    assert len(of_ids) == 3
    assert whole == []


@pytest.mark.clause("L3")
def test_an_erasure_finds_whatever_is_theirs_by_an_index(site: Site) -> None:
    with (
        closing(psycopg2.connect(site.dsn("governance_owner"))) as connection,
        connection.cursor(cursor_factory=Spy) as spy,
    ):
        reached = {place.table for place in builders.POLICY.retention.erasure.values()}
        connection.cursor().execute(FORGET, [list(reached)])
        places = Places(spy, builders.POLICY, "warehouse", Erasure(1, 4711, ((1, 1), (1, 2)), (7,), NOW))
        for statement in (places.standing, places.end, places.unsettled):
            statement()
        spy.execute(named_query("minors_of_booking"), {"booking": 4711})
    tables = {table.partition(".")[2] for table in reached}
    whole = [scan for scan in spy.scans if scan.get("Relation Name") in tables]
    assert {(scan["Relation Name"], scan.get("Filter")) for scan in whole} == set()
    assert len(spy.scans) > 3 * len(tables) / 2
