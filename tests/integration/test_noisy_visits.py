"""Counts of visits with noise, from the source to the analyst: drawn once, paid for once, nothing exact beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg2
import psycopg2.errors
import pyarrow as pa
import pytest

import builders
from aftermath import entries, outcomes, state, through
from builders import DAY, NOW, POLICY, World
from governance import grids, partitions, sources, steps
from governance.age import whole_years
from governance.anonymisation.budgets import budget, half_width, threshold
from governance.embedded.site import Site
from governance.errors import DisclosureError, RunLogError, SourceUnavailableError
from governance.run_log import Batch
from governance.steps import Workspace
from kept import beginning
from noisy_tables import UNDECIDED, breaks_off, is_refused_under, validated

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1"), pytest.mark.clause("B1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()
TABLES = [spec.table for spec in POLICY.dataset("visits").releases]
BUDGETS = {table: budget(table, POLICY.value(table)) for table in TABLES}
K = int(POLICY.value("k"))
MANY = 250
"""So many visitors of one kind reach every threshold, but once in 10 ** 8 times."""


def released(site: Site) -> dict[str, list[Any]]:
    """Everything that analysts may read of visits."""
    tables = [*TABLES, "privacy_budget", "releases"]
    return {t: builders.read(site, f"SELECT t::text FROM analytics.{t} t ORDER BY 1", role="analyst") for t in tables}


def busy_day(world: World) -> None:
    """Many visitors of one kind, who search and come to the booking pages, most of them in Stockholm; and one of
    another kind, elsewhere."""
    seconds = timedelta(seconds=1)
    at = world.at() - timedelta(hours=1)
    world.execute(
        "INSERT INTO wellbe.page_views (view_id, viewed_at, recorded_at, duration_ms, ip, user_agent, language, url, "
        "session_id, device_id, latitude, longitude) SELECT 100000 + 2 * n + page, %s + page * interval '10 minutes', "
        "%s, 1000, '192.0.2.17', 'Mozilla/5.0 (X11; Linux x86_64; rv:144.0)', 'sv-SE', "
        "CASE page WHEN 0 THEN '/search' ELSE '/booking' END, 'session-' || n, 'device-' || n, 59.3293, 18.0686 "
        "FROM generate_series(1, %s) n, generate_series(0, 1) page",
        at, world.at(), MANY,
    )  # fmt: skip
    world.view(device_id="alone", language="en-US", latitude=40.7128, longitude=-74.006, viewed_at=at + seconds)


@pytest.fixture(scope="module")
def begun(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[World], None]]:
    """A busy day, published."""

    def prepare(world: World) -> None:
        busy_day(world)
        assert through(builders.workspace(site), "visits", KEY).counts["published"] == 2 * MANY + 1

    with beginning(site, tmp_path_factory.mktemp("begun"), prepare) as again:
        yield again


@pytest.fixture
def published(begun: Callable[[World], None], world: World) -> World:
    """That day."""
    begun(world)
    return world


def test_analysts_get_the_counts_of_many_and_not_that_of_one(site: Site, published: World) -> None:
    columns = "country_code, page_category, language_code, sessions_count, sessions_low, sessions_high"
    rows = builders.read(site, f"SELECT {columns} FROM analytics.visits_sessions ORDER BY 2", role="analyst")
    assert [row[:3] for row in rows] == [("SE", "booking", "sv"), ("SE", "search", "sv")]
    width = half_width(BUDGETS["visits_sessions"].scale)
    for *_, count, low, high in rows:
        assert (low, high) == (max(K, count - width), count + width)
        assert abs(count - MANY) < 100
    delays = dict(
        builders.read(site, "SELECT search_to_booking, visitors_count FROM analytics.visits_search_to_booking")
    )
    assert len(delays) == 5
    assert abs(delays["5-29 minutes"] - MANY) < 50
    assert all(abs(n) < 50 for name, n in delays.items() if name != "5-29 minutes")


@pytest.mark.clause("B2")
def test_a_region_is_a_cell_of_the_grid_and_no_finer_place_ever_lands(site: Site, published: World) -> None:
    found = builders.read(site, "SELECT * FROM analytics.visits_regions ORDER BY cell_degrees", role="analyst")
    (stockholm, elsewhere) = found
    assert stockholm[2:5] == (0.5, 59.0, 18.0)
    assert abs(stockholm[5] - MANY) < 100
    assert (elsewhere[1], elsewhere[2:5]) == ("elsewhere", (None, None, None))
    assert abs(elsewhere[5] - 1) < 100
    landed = builders.read(
        site, "SELECT DISTINCT cell_code, latitude_grid_degrees, longitude_grid_degrees FROM vault.page_views"
    )
    assert len(landed) == 2
    for code, latitude, longitude in landed:  # the code says what the coarse coordinates say, and nothing more
        cell = grids.cell(code, 0.5)
        assert (cell.south + 0.25, cell.west + 0.25, cell.degrees) == (latitude, longitude, 0.5)
    everything = json.dumps(builders.read(site, "SELECT t::text FROM records.page_views t"))
    assert "59.3293" not in everything
    assert "18.0686" not in everything


def test_what_is_exact_is_the_auditors_alone(site: Site, published: World) -> None:
    exact = builders.read(
        site, "SELECT table_name, cell, exact, people FROM audit.exact_counts ORDER BY 1, 2", role="auditor"
    )
    assert ("visits_sessions", "SE|desktop|search|sv", MANY, MANY) in exact
    assert ("visits_search_to_booking", "5-29 minutes", MANY, MANY) in exact
    assert [row[2:] for row in exact if row[1] == "elsewhere"] == [(None, None)]  # fewer than k
    measures = "SELECT dataset, k, l, rows, suppressed FROM audit.release_measures"
    assert builders.read(site, measures, role="auditor") == [("visits", MANY, None, 2 * MANY + 1, 0)]
    assert builders.read(site, "SELECT k, l, rows, suppressed FROM analytics.releases", role="analyst") == [(None,) * 4]
    for table in ("audit.exact_counts", "audit.release_measures", "audit.visits_daily", "audit.run_log"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            builders.read(site, f"SELECT * FROM {table}", role="analyst")


def test_the_ledger_says_what_was_spent_and_the_entry_says_the_same(site: Site, published: World) -> None:
    columns = "epsilon, delta, contributions, per_cell, noise_scale, threshold"
    found = builders.read(site, f"SELECT table_name, {columns} FROM analytics.privacy_budget", role="analyst")
    expected = {}
    for table, whole in BUDGETS.items():
        step = whole.step if whole.levels else whole
        least = threshold(step, K * step.per_cell) if whole.delta else None
        expected[table] = (whole.epsilon, whole.delta, whole.contributions, whole.per_cell, step.scale, least)
    assert {name: tuple(spent) for name, *spent in found} == expected
    (entry,) = entries(site, "publish", "outcome")
    assert entry["measures"]["epsilon"] == sum(spent[1] for spent in found) == 3.0
    assert entry["measures"]["delta"] == sum(spent[2] for spent in found) == 2e-6


def test_entries_hold_no_pseudonym_no_place_and_no_address(site: Site, published: World) -> None:
    log = json.dumps(entries(site))
    tokens = builders.read(site, "SELECT visitor_token FROM vault.page_views UNION SELECT session_token FROM "
                                 "vault.page_views UNION SELECT cell_code FROM vault.page_views")  # fmt: skip
    assert len(tokens) > 2 * MANY
    assert not [token for (token,) in tokens if token in log]
    assert "192.0.2." not in log
    assert "device-" not in log


def funnel(site: Site) -> dict[str, int]:
    """Exact clients by furthest step, of a day on which they are k in each."""
    query = "SELECT cell, exact FROM audit.exact_counts WHERE table_name = 'inquiries_funnel'"
    return dict(builders.read(site, query, role="auditor"))


def accepted_client(world: World, number: int, *, born: date | None = date(1980, 5, 17), **accepted: Any) -> None:
    """A client, with an acceptance of the terms."""
    at = world.at() - timedelta(days=30)
    known = {"client_id": number, "recorded_at": at}
    world.insert("clients", **known, version=1, birth_date=born)
    terms = {"acceptance_id": number, "terms_version": "2026-01", "channel": "web", "accepted_at": at}
    world.insert("terms_acceptances", **known | terms | accepted)


def day_around(at: datetime) -> tuple[datetime, datetime]:
    """The Stockholm day around an instant, in winter."""
    begin = at.replace(hour=23, minute=0) - timedelta(days=1)
    return begin, begin + timedelta(days=1)


def test_clients_are_counted_by_how_far_their_inquiries_of_a_day_had_come_two_weeks_later(
    site: Site, world: World
) -> None:
    asked, (_, closed) = world.at() - timedelta(days=14), day_around(world.at())
    begin, end = day_around(asked)
    client, second, known = iter(range(1, 10_000)), timedelta(seconds=1), set[int]()

    def inquiry(client_id: int, at: datetime = asked, **offer: Any) -> None:
        number = world.number()
        if client_id not in known:
            accepted_client(world, client_id)
        known.add(client_id)
        world.insert("inquiries", inquiry_id=number, client_id=client_id, channel="web", received_at=at, recorded_at=at)
        if offer:
            values = {"offer_id": number, "inquiry_id": number, "client_id": client_id, "opened_at": at,
                      "recorded_at": at, "status": "open"} | offer  # fmt: skip
            world.insert("offers", **values)

    for _ in range(11):
        inquiry(next(client))
        inquiry(next(client), recorded_at=closed, status="accepted", closed_at=closed)  # an offer of the day after
    for _ in range(12):
        inquiry(next(client), status="declined", closed_at=asked)
        inquiry(next(client), status="accepted", closed_at=closed)  # too late
    for _ in range(13):
        inquiry(next(client), status="accepted", closed_at=closed - second)
    inquiry(5000), inquiry(5000, status="accepted", closed_at=asked)  # who asks twice counts once
    inquiry(6000, at=begin), inquiry(6001, at=end - second)
    inquiry(6002, at=begin - second), inquiry(6003, at=end)  # other days
    through(builders.workspace(site), "visits", KEY)
    assert funnel(site) == {"inquiry": 24, "offer": 24, "booking": 14}
    columns = "furthest_step, clients_count, clients_low, clients_high"
    found = builders.read(site, f"SELECT {columns} FROM analytics.inquiries_funnel", role="analyst")
    width = half_width(BUDGETS["inquiries_funnel"].scale)
    assert {step for step, *_ in found} == {"inquiry", "offer", "booking"}
    assert all((low, high) == (max(0, n - width), max(0, n + width)) for _, n, low, high in found)


@pytest.mark.clause("M1")
def test_whose_data_is_restricted_who_objected_or_was_erased_is_no_client_of_the_funnel_while_that_stands(
    site: Site, world: World, space: Workspace
) -> None:
    asked = world.at() - timedelta(days=14)

    def request(client: int, kind: str, *statuses: str) -> None:
        for number, status in enumerate(statuses):
            at = asked + timedelta(days=number)
            world.insert("subject_requests", request_id=client, client_id=client, kind=kind, status=status,
                         received_at=asked, recorded_at=at)  # fmt: skip

    for client in range(1, 19):
        inquiry_of(world, client, asked)
        accepted_client(world, client)
    (
        request(16, "erasure", "received", "completed"),
        request(17, "erasure", "received"),
        request(18, "erasure", "refused"),
    )
    request(1, "restriction", "received"), request(2, " Objection", "whatever")
    request(3, "restriction", "received", " Lifted"), request(4, "access", "received")
    request(5, "objection", "lifted", "received"), request(99, "restriction", "received")
    through(space, "visits", KEY)
    assert funnel(site)["inquiry"] == 18 - 5


def inquiry_of(world: World, client: int, asked: datetime) -> None:
    world.insert("inquiries", inquiry_id=client, client_id=client, channel="web", received_at=asked, recorded_at=asked)


def inquiries_counted(site: Site, asked: date) -> int:
    """Clients of the inquiries of a day, as the source counts them two weeks later."""
    closed = asked + timedelta(days=14)
    now = datetime.combine(closed, time(12), UTC) + timedelta(days=1)
    day = partitions.parse(
        closed.isoformat(), time_zone=POLICY.time_zone, dataset="visits", first=date(2020, 1, 1), now=now
    )
    with sources.snapshot(site.dsn("puller"), "a test") as source:
        return source.counts("funnel", day, restriction_over="lifted", adult_years="18")["inquiry"]


@pytest.mark.clause("A1")
@pytest.mark.parametrize(
    ("accepted", "count"),
    [
        (dict, 1),
        (lambda closed: {"accepted_at": closed - timedelta(seconds=1)}, 1),
        (lambda closed: {"accepted_at": closed}, 0),
        (lambda closed: {"recorded_at": closed}, 0),
        (lambda closed: {"accepted_at": "-infinity"}, 0),
        (lambda closed: {"client_id": 2}, 0),
    ],
)
def test_only_clients_who_had_accepted_the_terms_by_then_are_counted(
    site: Site, world: World, accepted: Callable[..., dict[str, Any]], count: int
) -> None:
    asked, (_, closed) = world.at() - timedelta(days=14), day_around(world.at())
    inquiry_of(world, 1, asked)
    accepted_client(world, 1, **(accepted() if accepted is dict else accepted(closed)))
    assert inquiries_counted(site, asked.date()) == count


@pytest.mark.clause("L1")
@pytest.mark.parametrize(
    ("on", "born", "count"),
    [
        (date(2026, 2, 24), date(2008, 2, 24), 1),
        (date(2026, 2, 24), date(2008, 2, 25), 0),
        (date(2026, 2, 28), date(2008, 2, 29), 0),
        (date(2026, 3, 1), date(2008, 2, 29), 1),
        (date(2028, 2, 28), date(2010, 3, 1), 0),
        (date(2028, 2, 29), date(2010, 2, 28), 1),
        (date(2028, 2, 29), date(2010, 3, 1), 0),
        (date(2028, 3, 1), date(2010, 3, 1), 1),
    ],
)
def test_only_adults_are_counted_by_the_age_that_everything_else_goes_by(
    site: Site, world: World, on: date, born: date, count: int
) -> None:
    assert (whole_years(pa.array([born]), pa.array([on])).to_pylist()[0] >= 18) == bool(count)
    world.day = on + timedelta(days=14)
    inquiry_of(world, 1, datetime.combine(on, time(12), UTC))
    accepted_client(world, 1, born=born)
    assert inquiries_counted(site, on) == count


@pytest.mark.clause("L1")
def test_whose_birth_date_is_unknown_is_no_adult_and_the_newest_that_is_known_by_then_counts(
    site: Site, world: World
) -> None:
    asked, (_, closed) = world.at() - timedelta(days=14), day_around(world.at())
    for client in (1, 2, 3, 4):
        inquiry_of(world, client, asked)
        accepted_client(world, client, born=None if client == 1 else date(1980, 5, 17))
    world.insert("clients", client_id=2, version=2, birth_date=date(2020, 5, 17), recorded_at=asked)
    world.insert("clients", client_id=3, version=2, birth_date=date(2020, 5, 17), recorded_at=closed)
    world.insert("clients", client_id=4, version=2, birth_date="infinity", recorded_at=asked)
    assert inquiries_counted(site, asked.date()) == 1  # client 3


def test_without_the_source_nothing_is_published_and_the_task_retries(
    site: Site, world: World, space: Workspace
) -> None:
    busy_day(world)
    batch = steps.validate(space, steps.pull(space, "visits", KEY, builders.run()), builders.run())
    before = state(site)
    away = builders.workspace(site, source_uri=lambda: "postgresql://puller@127.0.0.1:1/wellbe")
    with pytest.raises(SourceUnavailableError, match="the task retries"):
        steps.publish(away, batch, builders.run())
    assert state(site) == before
    assert steps.publish(space, batch, builders.run()).counts["published"] == 2 * MANY + 1


# -- once --------------------------------------------------------------------------------------------------------------


def test_a_run_again_returns_the_published_numbers(site: Site, published: World, space: Workspace) -> None:
    before = released(site)
    again = through(space, "visits", KEY, run_id="again")
    assert again.counts["published"] == 2 * MANY + 1
    assert released(site) == before
    assert outcomes(site, "publish") == ["passed", "replayed"]


@pytest.mark.parametrize("method", ("count", "decide_visits", "spend", "keep_exact", "add", "keep_measures", "append"))
def test_a_publication_that_breaks_off_leaves_nothing_and_the_next_one_all(
    site: Site, world: World, space: Workspace, method: str
) -> None:
    """Killed at every boundary: tests/integration/test_kills.py, `publish visits`."""
    busy_day(world)
    breaks_off(site, space, validated(space, "visits", KEY), method)
    assert all(released(site).values())


def test_a_second_release_of_a_period_is_refused_though_nothing_knows_of_the_first(
    site: Site, published: World, space: Workspace
) -> None:
    gone = ("analytics.releases", "audit.release_measures", "vault.release_ledger")
    builders.tamper(site, *(f"DELETE FROM {table}" for table in gone))
    before = state(site)
    with pytest.raises(DisclosureError, match="the budget of visits_sessions was spent before; a period is published"):
        steps.publish(space, Batch("visits", KEY, "test"), builders.run())
    assert state(site) == before


INSERTS = {
    "visits_sessions": "'SE', 'mobile', 'blog', 'sv', 50, 40, 60",
    "visits_regions": "'0', 256, -90, -180, 50, 40, 60",
    "visits_search_to_booking": "'another class', 50, 40, 60",
    "inquiries_funnel": "'another step', 50, 40, 60",
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("day", (KEY, NEXT))
def test_nobody_adds_counts_to_a_period_whose_budget_was_not_spent_with_them(
    site: Site, published: World, table: str, day: str
) -> None:
    with pytest.raises(psycopg2.errors.RaiseException, match="published once per period"):
        builders.read(site, f"INSERT INTO analytics.{table} VALUES ('{day}', {INSERTS[table]})")


def test_no_budget_is_spent_twice_nor_changed(site: Site, published: World) -> None:
    columns = "table_name, recorded_date, protects, epsilon, delta, contributions, per_cell, noise_scale, policy_digest"
    with pytest.raises(psycopg2.errors.UniqueViolation):
        builders.read(
            site, f"INSERT INTO analytics.privacy_budget ({columns}) SELECT {columns} FROM analytics.privacy_budget"
        )
    for change in ("UPDATE analytics.privacy_budget SET epsilon = 0.1", "DELETE FROM analytics.privacy_budget"):
        with pytest.raises(psycopg2.errors.RaiseException, match="append-only"):
            builders.read(site, change)


@pytest.mark.parametrize(("later", "is_published"), ((timedelta(0), False), (timedelta(microseconds=-1), True)))
def test_counts_that_a_restore_may_have_lost_are_not_drawn_again(
    site: Site, world: World, space: Workspace, later: timedelta, is_published: bool
) -> None:
    busy_day(world)
    end = space.partition("visits", KEY).end
    with builders.past_triggers(site) as cursor:
        cursor.execute("UPDATE control.in_force SET restored_at = %s", (end + later,))
    try:
        assert through(space, "visits", KEY).counts["published"] == 2 * MANY + 1
    finally:
        builders.tamper(site, "UPDATE control.in_force SET restored_at = NULL")
    found = released(site)
    assert [bool(found[table]) for table in TABLES] == [is_published] * len(TABLES)
    assert len(found["privacy_budget"]) == len(TABLES)
    assert bool(builders.read(site, "SELECT 1 FROM audit.exact_counts")) == is_published
    world.day += timedelta(days=1)
    world.view(device_id="next day")
    through(builders.workspace(site, now=NOW + timedelta(days=1)), "visits", NEXT)
    days = "SELECT DISTINCT recorded_date FROM analytics.inquiries_funnel ORDER BY 1"
    assert [day for (day,) in builders.read(site, days)] == [DAY, world.day][not is_published :]


def lost_checkpoint(space: Workspace) -> None:
    """A checkpoint of entries that the run log does not hold, as after its database was put back."""
    signed = steps.checkpoint(space, builders.run())
    lost, signers = replace(signed, size=signed.size + 5), space.signers()
    space.checkpoints().publish(lost, lost.signed(signers.keys))


@pytest.mark.clause("R1")
def test_counts_are_not_drawn_while_the_log_lacks_entries_and_those_of_before_never_again(
    site: Site, world: World
) -> None:
    today = datetime.now(UTC).date()
    for day in (today - timedelta(days=1), today + timedelta(days=1)):
        world.day = day
        busy_day(world)
        world.execute("UPDATE wellbe.page_views SET view_id = view_id + 1000000 WHERE view_id < 1000000")
        space = builders.workspace(site, now=datetime.combine(day, time(12), UTC) + timedelta(days=1), first=day)
        batch = steps.validate(space, steps.pull(space, "visits", day.isoformat(), builders.run()), builders.run())
        if day < today:
            lost_checkpoint(space)
            before = state(site)
            with pytest.raises(RunLogError, match="nothing was published; tell the auditor"):
                steps.publish(space, batch, builders.run())
            assert state(site) == before
            steps.acknowledge_restore(space, "restored from the backup of the night", builders.run())
        steps.publish(space, batch, builders.run())
        assert [bool(rows) for rows in released_on(site, day)] == [day > today] * len(TABLES)


def released_on(site: Site, day: date) -> list[list[Any]]:
    return [builders.read(site, f"SELECT 1 FROM analytics.{t} WHERE recorded_date = %s", day) for t in TABLES]


# -- closed ------------------------------------------------------------------------------------------------------------


def test_a_view_that_comes_after_its_day_was_published_counts_nowhere(site: Site, published: World) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    before = released(site)
    published.view(device_id="late")
    again = through(space, "visits", KEY, run_id="again")
    assert (again.counts["accepted"], again.counts["published"]) == (2 * MANY + 2, 2 * MANY + 1)
    assert released(site) == before
    published.day += timedelta(days=1)
    published.view(device_id="next day")
    through(space, "visits", NEXT)
    terms = entries(site, "publish", "outcome")[-1]["conservation"]
    assert (terms["accepted"], terms["carried_in"], terms["published"], terms["suppressed"]) == (1, 1, 1, 1)
    assert released(site)["visits_sessions"] == before["visits_sessions"]


@pytest.mark.parametrize("why", UNDECIDED)
@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_published_under_a_budget_that(
    site: Site, world: World, space: Workspace, table: str, why: str
) -> None:
    busy_day(world)
    is_refused_under(site, space, validated(space, "visits", KEY), table, why)


@pytest.mark.parametrize("table", TABLES)
def test_every_budget_says_who_decided_it(table: str) -> None:
    decided = POLICY.open_values[table]
    assert (decided.decided_by, decided.is_confirmed) == ("project default, unconfirmed", False)
    assert decided.rationale
