"""Counts of booking events with noise, from the source to the analyst: of everybody, in every cell, drawn once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, timedelta
from itertools import product
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

import builders
from aftermath import entries, outcomes, state, through
from builders import DAY, NOW, POLICY, World
from governance import published_tables, schema, steps
from governance.anonymisation.budgets import budget, half_width
from governance.anonymisation.levels import domain
from governance.embedded.site import Site
from governance.errors import DisclosureError
from governance.released import marginals
from governance.run_log import Batch
from governance.steps import Workspace
from kept import beginning
from noisy_tables import UNDECIDED, breaks_off, is_refused_under, validated

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()
SPECS = {spec.table: spec for spec in POLICY.dataset("bookings").further}
EVENTS, ORIGINS = SPECS
BUDGETS = {table: budget(table, POLICY.value(table)) for table in SPECS}
BY = {EVENTS: "service_specialty", ORIGINS: "origin_continent"}
COUNTS = "bookings_count, bookings_low, bookings_high"
PLANTED = {("booked", "dental"): 14, ("cancelled", "dental"): 12, ("amended", "ophthalmology"): 11,
           ("booked", "travel"): 3}  # fmt: skip
PROCEDURES: dict[str, dict[str, Any]] = {
    "dental": {"procedure_code": "dental.implant"},
    "ophthalmology": {"procedure_code": "ophthalmology.lasik"},
    "travel": {"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "Arlanda to Lisbon"},
}


def plant(world: World, planted: dict[tuple[str, str], int]) -> list[str]:
    """So many bookings of clients of their own, by event and specialty; returns their row keys."""
    return [
        world.booking(status=event, services=[PROCEDURES[specialty]])
        for (event, specialty), people in planted.items()
        for _ in range(people)
    ]


def client_of(row_key: str) -> int:
    """The client of a booking that a world has made."""
    return int(row_key.split("/", maxsplit=1)[0]) + 40_000


def exact(site: Site, table: str = EVENTS, day: date = DAY) -> dict[tuple[str, ...], tuple[int, int]]:
    """What the auditor knows of a day: cells of at least k people, with bookings and people."""
    query = (
        "SELECT cell, exact, people FROM audit.exact_counts WHERE table_name = %s AND recorded_date = %s "
        "AND exact IS NOT NULL"
    )
    found = builders.read(site, query, table, day, role="auditor")
    return {tuple(cell.split("|")): (count, people) for cell, count, people in found}


def released(site: Site) -> dict[str, list[Any]]:
    """Everything that analysts may read of booking events."""
    tables = [*SPECS, "privacy_budget", "releases"]
    return {t: builders.read(site, f"SELECT t::text FROM analytics.{t} t ORDER BY 1", role="analyst") for t in tables}


@pytest.fixture(scope="module")
def begun(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[World], None]]:
    """A day of bookings, amendments and cancellations, published."""

    def prepare(world: World) -> None:
        plant(world, PLANTED)
        assert through(builders.workspace(site), "bookings", KEY).counts["accepted"] == sum(PLANTED.values())

    with beginning(site, tmp_path_factory.mktemp("begun"), prepare) as again:
        yield again


@pytest.fixture
def published(begun: Callable[[World], None], world: World) -> World:
    """That day."""
    begun(world)
    return world


# -- what analysts get -------------------------------------------------------------------------------------------------


def test_analysts_read_every_cell_with_an_interval_that_holds_the_exact_count(site: Site, published: World) -> None:
    by_continent: Counter[tuple[str, str]] = Counter()
    for (event, _), count in PLANTED.items():
        by_continent[event, "europe"] += count
    held = total = 0
    for table, planted in ((EVENTS, Counter(PLANTED)), (ORIGINS, by_continent)):
        column = SPECS[table].columns[BY[table]]
        cells = set(product(("booked", "amended", "cancelled"), column.values or domain(column) or ()))
        rows = builders.read(
            site, f"SELECT booking_event, {BY[table]}, recorded_date, {COUNTS} FROM analytics.{table}", role="analyst"
        )
        assert len(rows) == len(cells)
        assert {row[:2] for row in rows} == cells
        assert {row[2] for row in rows} == {DAY}
        width = half_width(BUDGETS[table].scale)
        for event, value, _, count, low, high in rows:
            assert (low, high) == (max(0, count - width), max(0, count + width))
            assert abs(count - planted[event, value]) < 50
            held += low <= planted[event, value] <= high
            total += 1
    assert total == 63
    assert held >= 48  # of 63 fewer hold once in 10 ** 9 times, where 95 of 100 are to
    assert builders.read(site, "SELECT count(*) FROM analytics.bookings WHERE booking_event = 'cancelled'") != [(12,)]


def test_what_is_exact_is_the_auditors_alone_and_of_k_people(site: Site, published: World) -> None:
    assert exact(site) == {
        ("booked", "dental"): (14, 14), ("cancelled", "dental"): (12, 12), ("amended", "ophthalmology"): (11, 11)
    }  # fmt: skip
    assert exact(site, ORIGINS) == {
        ("booked", "europe"): (17, 17), ("cancelled", "europe"): (12, 12), ("amended", "europe"): (11, 11)
    }  # fmt: skip
    for table in ("audit.exact_counts", "audit.run_log", *(f"analytics.{table}_rows" for table in SPECS)):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            builders.read(site, f"SELECT * FROM {table}", role="analyst")


def test_the_ledger_says_what_was_spent_and_the_entry_says_the_same(site: Site, published: World) -> None:
    columns = "protects, epsilon, delta, contributions, per_cell, noise_scale, threshold"
    found = builders.read(site, f"SELECT table_name, {columns} FROM analytics.privacy_budget", role="analyst")
    assert {name: tuple(spent) for name, *spent in found} == {
        table: (b.protects, b.epsilon, 0.0, b.contributions, b.per_cell, b.contributions / b.epsilon, None)
        for table, b in BUDGETS.items()
    }
    (entry,) = entries(site, "publish", "outcome")
    assert (entry["measures"]["epsilon"], entry["measures"]["delta"]) == (sum(spent[2] for spent in found), 0)


def test_two_releases_are_compared_by_what_their_counts_add_up_to(site: Site, published: World) -> None:
    table = published_tables.named(POLICY, EVENTS)
    with closing(psycopg2.connect(site.dsn("analyst"))) as connection, connection.cursor() as cursor:
        found = marginals(cursor, table, DAY)
    assert set(found) == {"booking_event", "service_specialty"}
    for column, counts in found.items():
        query = f"SELECT {column}, sum(bookings_count)::bigint FROM analytics.{EVENTS} GROUP BY 1"
        assert counts == dict(builders.read(site, query, role="analyst"))


def test_a_release_says_what_policy_said_of_the_counts(site: Site, published: World) -> None:
    said = "SELECT setting, value FROM analytics.release_settings WHERE setting LIKE 'bookings_events%%epsilon'"
    assert dict(builders.read(site, said, role="analyst")) == {f"{table}.epsilon": "1.0" for table in SPECS}


def test_entries_hold_nobody_and_nothing_that_was_counted_of_few(site: Site, published: World) -> None:
    log = json.dumps(entries(site))
    tokens = builders.read(site, "SELECT client_token FROM vault.bookings")
    assert len(tokens) == sum(PLANTED.values())
    assert not [token for (token,) in tokens if token in log]
    assert "ophthalmology" not in log
    assert "Lindqvist" not in log


# -- who counts --------------------------------------------------------------------------------------------------------


def test_a_client_with_twenty_bookings_moves_the_counts_by_the_bound(
    site: Site, world: World, space: Workspace
) -> None:
    plant(world, {("booked", "dental"): 12, ("cancelled", "dental"): 12})
    (first,) = plant(world, {("booked", "dental"): 1})
    for _ in range(19):
        world.booking(client_id=client_of(first), with_client=False, with_terms=False)
    batch = through(space, "bookings", KEY)
    assert batch.counts["accepted"] == 44
    bound = BUDGETS[EVENTS].contributions
    assert exact(site)["booked", "dental"] == (12 + bound, 13)
    assert exact(site, ORIGINS)["booked", "europe"] == (12 + bound, 13)
    assert exact(site)["cancelled", "dental"] == (12, 12)


def test_only_the_last_event_of_a_booking_on_the_day_counts(site: Site, world: World, space: Workspace) -> None:
    plant(world, {("booked", "dental"): 12})
    for row_key in plant(world, {("booked", "dental"): 11}):
        again = {"client_id": client_of(row_key), "with_client": False, "with_terms": False}
        world.booking(booking_id=int(row_key.split("/", maxsplit=1)[0]), version=2, status="cancelled", **again)
    through(space, "bookings", KEY)
    assert exact(site) == {("booked", "dental"): (12, 12), ("cancelled", "dental"): (11, 11)}


@pytest.mark.clause("M1")
def test_who_was_erased_before_the_day_was_published_does_not_count(site: Site, world: World, space: Workspace) -> None:
    *_, erased = plant(world, {("booked", "dental"): 12})
    batch = steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    steps.destroy_key(space, "subject", f"client {client_of(erased)}", "request 17", builders.run())
    steps.publish(space, batch, builders.run())
    assert exact(site) == {("booked", "dental"): (11, 11)}


def test_a_cancellation_counts_on_its_day_though_its_row_is_held(site: Site, published: World) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    before = builders.read(site, "SELECT row_key FROM vault.bookings WHERE status = 'booked' LIMIT 11")
    published.day += timedelta(days=1)
    for (row_key,) in before:
        again = {"client_id": client_of(row_key), "with_client": False, "with_terms": False}
        published.booking(booking_id=int(row_key.split("/", maxsplit=1)[0]), version=2, status="cancelled", **again)
    through(space, "bookings", NEXT)
    assert sum(count for (event, _), (count, _) in exact(site, ORIGINS, DAY + timedelta(days=1)).items()
               if event == "cancelled") == 11  # fmt: skip
    assert exact(site, EVENTS, DAY)["cancelled", "dental"] == (12, 12)


def test_a_booking_that_is_accepted_after_its_day_was_published_counts_nowhere(site: Site, published: World) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    before = {table: released(site)[table] for table in SPECS}
    plant(published, {("cancelled", "dental"): 10})
    again = through(space, "bookings", KEY, run_id="again")
    assert again.counts["accepted"] == sum(PLANTED.values()) + 10
    assert {table: released(site)[table] for table in SPECS} == before
    published.day += timedelta(days=1)
    plant(published, {("booked", "dental"): 10})
    through(space, "bookings", NEXT)
    assert exact(site, EVENTS, DAY + timedelta(days=1)) == {("booked", "dental"): (10, 10)}
    assert exact(site)["cancelled", "dental"] == (12, 12)


def test_a_day_without_a_booking_has_every_cell_too(site: Site, world: World, space: Workspace) -> None:
    through(space, "bookings", KEY)
    assert outcomes(site, "publish") == ["no_data"]
    counts = builders.read(site, f"SELECT bookings_count FROM analytics.{EVENTS}", role="analyst")
    assert len(counts) == 42
    assert max(abs(count) for (count,) in counts) < 50
    assert len({count for (count,) in counts}) > 1  # noise on nothing


# -- once --------------------------------------------------------------------------------------------------------------


def test_a_run_again_returns_the_published_numbers(site: Site, published: World, space: Workspace) -> None:
    before = released(site)
    assert len(before[EVENTS]) == 42
    through(space, "bookings", KEY, run_id="again")
    assert released(site) == before
    assert outcomes(site, "publish") == ["passed", "replayed"]


def test_a_second_release_of_a_period_is_refused_though_nothing_knows_of_the_first(
    site: Site, published: World, space: Workspace
) -> None:
    builders.tamper(
        site, "DELETE FROM analytics.releases", "DELETE FROM analytics.bookings_rows",
        "DELETE FROM vault.release_ledger", "DELETE FROM vault.release_people",
    )  # fmt: skip
    before = state(site)
    with pytest.raises(DisclosureError, match="the budget of bookings_events was spent before; a period is published"):
        steps.publish(space, Batch("bookings", KEY, "test"), builders.run())
    assert state(site) == before


def test_counts_that_a_restore_may_have_lost_are_not_drawn_again_and_rows_are_released(
    site: Site, world: World, space: Workspace
) -> None:
    plant(world, PLANTED)
    with builders.past_triggers(site) as cursor:
        cursor.execute("UPDATE control.in_force SET restored_at = %s", (space.partition("bookings", KEY).end,))
    try:
        assert through(space, "bookings", KEY).counts["published"] > 0
    finally:
        builders.tamper(site, "UPDATE control.in_force SET restored_at = NULL")
    found = released(site)
    assert [found[table] for table in SPECS] == [[], []]
    assert len(found["privacy_budget"]) == len(SPECS)


@pytest.mark.parametrize("table", SPECS)
@pytest.mark.parametrize("day", (KEY, NEXT))
def test_nobody_adds_counts_to_a_period_whose_budget_was_not_spent_with_them(
    site: Site, published: World, table: str, day: str
) -> None:
    with pytest.raises(psycopg2.errors.RaiseException, match="published once per period"):
        builders.read(site, f"INSERT INTO analytics.{table} VALUES ('{day}', 'lost', 'dental', 50, 40, 60)")


@pytest.mark.parametrize("method", ("spend", "keep_exact", "add", "append"))
def test_a_publication_that_breaks_off_leaves_nothing_and_the_next_one_all(
    site: Site, world: World, space: Workspace, method: str
) -> None:
    """Killed at every boundary: tests/integration/test_kills.py, `publish bookings`."""
    plant(world, PLANTED)
    breaks_off(site, space, validated(space, "bookings", KEY), method)
    assert all(released(site).values())


@pytest.mark.parametrize("why", UNDECIDED)
@pytest.mark.parametrize("table", SPECS)
def test_no_booking_is_published_under_a_budget_that(
    site: Site, world: World, space: Workspace, table: str, why: str
) -> None:
    world.crowd(10)
    is_refused_under(site, space, validated(space, "bookings", KEY), table, why)


# -- a table that is new -----------------------------------------------------------------------------------------------


def test_a_table_that_is_new_to_a_dataset_begins_with_the_next_release(site: Site, published: World) -> None:
    builders.tamper(
        site, f"DELETE FROM analytics.{EVENTS}_rows", f"DROP VIEW analytics.{EVENTS}",
        f"DELETE FROM analytics.column_history WHERE table_name = '{EVENTS}'",
    )  # fmt: skip
    schema.migrate(site.dsn("governance_owner"), POLICY)
    since = f"SELECT DISTINCT since_release FROM analytics.data_dictionary WHERE table_name = '{EVENTS}'"
    assert builders.read(site, since, role="analyst") == [(None,)]
    published.day += timedelta(days=1)
    through(builders.workspace(site, now=NOW + timedelta(days=1)), "bookings", NEXT)
    assert builders.read(site, since, role="analyst") == [(DAY + timedelta(days=1),)]
