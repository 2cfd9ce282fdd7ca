"""What analysts are given beside the rows: stable views, a dictionary, notes, bias, and a page whose queries run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
import yaml

import builders
from aftermath import state, through
from builders import DAY, NOW, World
from governance import analytics_contract, analytics_views, published_tables, schema
from governance.datasets import PublishedColumn
from governance.embedded import postgres
from governance.embedded.site import CHECKOUT, Site
from governance.errors import PolicyError
from governance.policy import Policy

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1")]

POLICY = builders.POLICY
PAGE = CHECKOUT / "plugins" / "governance" / "docs" / "analyst-sql.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
TABLES = {table.name: table for table in published_tables.of_policy(POLICY)}


def other(policy: Policy = POLICY, dataset: str = "bookings", **columns: PublishedColumn | None) -> Policy:
    """A policy whose release has other columns: None takes one away."""
    spec = policy.dataset(dataset)
    kept = {name: column for name, column in {**spec.release.columns, **columns}.items() if column is not None}
    release = spec.release.model_copy(update={"columns": kept})
    return policy.model_copy(
        update={"datasets": {**policy.datasets, dataset: spec.model_copy(update={"release": release})}}
    )


def valued(policy: Policy = POLICY, **values: Any) -> Policy:
    """A policy whose open values are others."""
    changed = {name: policy.open_values[name].model_copy(update={"value": value}) for name, value in values.items()}
    return policy.model_copy(update={"open_values": {**policy.open_values, **changed}})


@pytest.fixture(scope="module")
def released(site: Site) -> Iterator[Site]:
    """Two days of both datasets; on the second, k is 5 and not 10 any more, and a crowd of six is from elsewhere."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(site)
    for day, policy in ((DAY, POLICY), (DAY + timedelta(days=1), valued(k=5))):
        world.day = day
        world.crowd(20)
        world.crowd(6, client={"country_code": "PT"})
        world.apart(12)
        world.visitors(200, latitude=59.3, longitude=18.0)  # well above every threshold
        space = builders.workspace(site, now=NOW + timedelta(days=1))
        space = builders.workspace(
            site, now=NOW + timedelta(days=1), policy=policy.model_copy(update={"site": space.policy.site})
        )
        for dataset in POLICY.datasets:
            through(space, dataset, day.isoformat())
    world.close()
    yield site
    builders.empty_warehouse(site)


# -- views and their contract ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_a_published_table_is_a_view_of_every_release_with_the_columns_of_policy(released: Site, table: str) -> None:
    kinds = dict(
        builders.read(released, "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'analytics'::regnamespace")
    )
    assert (kinds[table], kinds[f"{table}_rows"]) == ("v", "r")
    query = "SELECT to_jsonb(t)::text FROM analytics.{} t ORDER BY 1"
    seen = builders.read(released, query.format(table), role="analyst")
    assert seen == builders.read(released, query.format(f"{table}_rows"))
    days = f"SELECT DISTINCT {TABLES[table].day} FROM analytics.{table} ORDER BY 1"
    assert builders.read(released, days, role="analyst") == [(DAY,), (DAY + timedelta(days=1),)]


def test_the_contract_is_what_policy_makes_and_what_the_database_has(site: Site) -> None:
    committed = (CHECKOUT / "expectations" / "contracts" / "analytics.yaml").read_text("utf-8")
    contract = yaml.safe_load(committed)
    assert committed == analytics_contract.text(analytics_contract.contract(POLICY, contract["version"])), (
        "run `governance releases contract expectations/contracts/analytics.yaml`"
    )
    with closing(psycopg2.connect(site.dsn("analyst"))) as connection, connection.cursor() as cursor:
        live = {name: analytics_views.columns(cursor, name) for name in TABLES}
    assert live == analytics_contract.columns(contract)


PARTY_SIZE = POLICY.dataset("bookings").release.columns["party_size"]
BROKEN = {
    "a column that is gone": (other(party_size=None), "analytics.bookings.party_size would be removed, or renamed"),
    "a column of another name": (
        other(party_size=None, people=PARTY_SIZE), "analytics.bookings.party_size would be removed, or renamed"),
    "a column of another type": (
        other(party_size=PARTY_SIZE.model_copy(update={"type": "integer"})),
        "analytics.bookings.party_size would be integer, it is text"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_no_migration_breaks_what_analysts_query(released: Site, what: str) -> None:
    policy, said = BROKEN[what]
    before = state(released)
    query = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'analytics' ORDER BY 1"
    views = builders.read(released, query)
    with pytest.raises(PolicyError, match=f"{re.escape(said)}.*nothing was changed; keep the column"):
        schema.migrate(released.dsn("governance_owner"), policy)
    assert (state(released), builders.read(released, query)) == (before, views)


def test_a_column_that_is_added_comes_last_and_is_null_in_earlier_releases(released: Site) -> None:
    owner = released.dsn("governance_owner")
    columns = {"party": PARTY_SIZE, **POLICY.dataset("bookings").release.columns}  # first in policy
    policy = other(**columns)
    with pytest.raises(PolicyError, match="policy publishes party, which analytics.bookings_rows does not have"):
        schema.migrate(owner, policy)
    builders.read(released, "ALTER TABLE analytics.bookings_rows ADD COLUMN party text")
    try:
        schema.migrate(owner, policy)
        with closing(psycopg2.connect(owner)) as connection, connection.cursor() as cursor:
            live = list(analytics_views.columns(cursor, "bookings"))
        assert live == [*POLICY.dataset("bookings").release.columns, "party"]
        assert builders.read(released, "SELECT DISTINCT party FROM analytics.bookings", role="analyst") == [(None,)]
        said = "SELECT kind, since_release FROM analytics.data_dictionary WHERE column_name = 'party'"
        assert builders.read(released, said, role="analyst") == [("quasi-identifier", None)]
        with pytest.raises(PolicyError, match=r"party would be removed"):
            schema.migrate(owner, POLICY)
    finally:
        builders.read(released, "DROP VIEW analytics.bookings; ALTER TABLE analytics.bookings_rows DROP COLUMN party")
        schema.migrate(owner, POLICY)


# -- dictionary --------------------------------------------------------------------------------------------------------


def test_the_dictionary_says_of_every_column_that_an_analyst_reads_what_it_is(released: Site) -> None:
    readable = builders.read(
        released,
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind IN ('r', 'v') "
        "AND has_table_privilege('analyst', c.oid, 'SELECT') AND c.relname <> 'data_dictionary'",
    )
    rows = builders.read(released, "SELECT * FROM analytics.data_dictionary", role="analyst")
    assert {row[:3] for row in rows} == set(readable)
    assert len(rows) == len(readable)
    told = {(row[0], row[1]): row[3:] for row in rows}
    for table in TABLES.values():
        for name, column in table.columns.items():
            kind, levels, values, description, since = told[table.name, name]
            assert (kind, levels) == (column.kind.replace("_", "-"), column.level)
            assert tuple(values or ()) == column.values
            assert column.description in description
            assert since == DAY
    assert {told[key][0] for key in told if key[0] not in TABLES} == {"about releases"}
    assert all(row[6] for row in rows)


# -- notes and settings ------------------------------------------------------------------------------------------------


def test_a_release_says_what_policy_said_and_what_has_changed_since_the_one_before(released: Site) -> None:
    notes = "SELECT dataset, partition_key, what, value_before, value_after, told FROM analytics.release_notes"
    assert sorted(builders.read(released, notes, role="analyst")) == [
        (dataset, DAY + timedelta(days=1), "k", "10", "5",
         "k: fell from 10 to 5; groups are smaller: less is suppressed or coarser")
        for dataset in ("bookings", "visits")
    ]  # fmt: skip
    said = "SELECT dataset, partition_key, value FROM analytics.release_settings WHERE setting = 'k' ORDER BY 1, 2"
    later = DAY + timedelta(days=1)
    assert builders.read(released, said, role="analyst") == [
        ("bookings", DAY, "10"), ("bookings", later, "5"), ("visits", DAY, "10"), ("visits", later, "5"),
    ]  # fmt: skip


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_query_of_the_page_runs_as_an_analyst_and_brings_rows(released: Site, query: str) -> None:
    assert builders.read(released, query, role="analyst")


def test_the_page_asks_about_every_table_that_an_analyst_reads() -> None:
    assert len(QUERIES) > 10
    text = "\n".join(QUERIES)
    for name in (*TABLES, *analytics_views.ABOUT, analytics_views.DICTIONARY):
        assert f"analytics.{name}" in text, name


@pytest.mark.parametrize("command", (r"\d+ analytics.*", r"\dv analytics.*", r"\dn+", r"\dp analytics.*"))
def test_psql_describes_what_analysts_read_though_it_may_not_count_it(site: Site, command: str) -> None:
    done = subprocess.run(
        [postgres.program("psql"), "--no-psqlrc", "--no-password", "--set=ON_ERROR_STOP=1", f"--command={command}"],
        env={"PATH": os.environ["PATH"], **site.libpq_environment("analyst")}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "analytics" in done.stdout
