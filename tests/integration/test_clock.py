"""Clocks that are wrong, put back or changed for summer: no key dies early, no row falls between two days, no look is
skipped, and nobody is told of what is not so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pendulum
import psycopg2
import pytest

import builders
from aftermath import entries, outcomes, state, terms, through
from builders import DAY, NOON, NOW, World
from governance import log_entries, sources, steps
from governance.embedded.site import Site
from governance.errors import ClockError, WarehouseUnavailableError
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY = DAY.isoformat()
CARD_DEADLINE = NOON + timedelta(hours=238)
STOCKHOLM = ZoneInfo("Europe/Stockholm")
CHANGES = {date(2026, 3, 29): 23, date(2026, 10, 25): 25}


def at(space: Workspace, site: Site, own: datetime, database: datetime) -> Workspace:
    """The same, on a machine and with a database whose clocks say this."""
    return replace(
        space, clock=lambda: own, database_clock=lambda: database, keys=lambda: builders.key_service(site, own)
    )


# -- clocks that disagree ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hop", ["pull", "validate", "publish"])
@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1), timedelta(minutes=5, seconds=1)])
def test_a_hop_on_a_machine_whose_clock_has_jumped_does_nothing_and_is_tried_again(
    site: Site, world: World, space: Workspace, hop: str, jump: timedelta
) -> None:
    world.visitors()
    wrong = at(space, site, NOW + jump, NOW)
    batch = None if hop == "pull" else steps.pull(space, "visits", KEY, builders.run())
    if hop == "publish":
        assert batch is not None
        batch = steps.validate(space, batch, builders.run())
    before = state(site)
    with pytest.raises(ClockError, match="minutes (ahead of|behind) our database's.*the task retries"):
        if batch is None:
            steps.pull(wrong, "visits", KEY, builders.run())
        else:
            {"validate": steps.validate, "publish": steps.publish}[hop](wrong, batch, builders.run())
    assert state(site) == before
    assert [entry["error"]["type"] for entry in entries(site, hop, "outcome")] == ["ClockError"]
    through(space, "visits", KEY)  # the clock is right again
    assert [t["published"] for t in terms(site)] == [10]


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(hours=-2)])
@pytest.mark.parametrize("whose", ["our database's", "the source's"])
def test_nothing_is_planned_while_clocks_disagree_about_which_days_are_over(
    site: Site, world: World, space: Workspace, jump: timedelta, whose: str
) -> None:
    source = NOW if whose == "our database's" else NOW + jump
    wrong = replace(at(space, site, NOW, NOW + jump if source == NOW else NOW), source_clock=lambda _: source)
    with pytest.raises(ClockError, match=f"minutes (ahead of|behind) {whose}.*the task retries"):
        steps.plan(wrong, "visits", KEY, builders.run())
    assert [entry["error"]["type"] for entry in entries(site, "plan", "outcome")] == ["ClockError"]
    assert len(steps.plan(space, "visits", KEY, builders.run())) == 1


def test_the_clock_of_a_source_is_the_one_of_its_server(site: Site) -> None:
    before = datetime.now(UTC)
    with sources.snapshot(site.dsn("puller"), "a test") as snapshot:
        now = snapshot.clock()
    assert before - timedelta(seconds=1) < now < datetime.now(UTC) + timedelta(seconds=1)


def test_a_clock_that_is_five_minutes_ahead_is_tolerated(site: Site, world: World, space: Workspace) -> None:
    world.visitors()
    through(at(space, site, NOW + timedelta(minutes=5), NOW), "visits", KEY)
    assert outcomes(site, "publish") == ["passed"]


@pytest.mark.clause("K1")
@pytest.mark.parametrize(
    ("own", "database", "destroyed"),
    [
        (timedelta(days=1), timedelta(hours=-1), 0),  # this machine's clock jumped ahead
        (timedelta(hours=-1), timedelta(days=1), 0),  # the database's did
        (timedelta(days=1), timedelta(hours=1), 1),  # they disagree, and it is due by both
        (timedelta(minutes=1), timedelta(0), 1),  # they agree
        (timedelta(minutes=4), timedelta(minutes=-1), 1),  # as nearly as makes no difference
    ],
)
def test_a_key_is_destroyed_when_it_is_due_by_both_clocks_and_not_before(
    site: Site, world: World, space: Workspace, own: timedelta, database: timedelta, destroyed: int
) -> None:
    world.booking(card={})
    steps.pull(space, "bookings", KEY, builders.run())
    apart = abs(own - database) > timedelta(minutes=5)
    counts = steps.keep_keys(at(space, site, CARD_DEADLINE + own, CARD_DEADLINE + database), builders.run())
    with closing(builders.key_service(site)) as service:
        assert sum(census.destroyed for census in service.store.census(0) if census.kind == "card_hour") == destroyed
    assert counts["destroyed"] >= destroyed
    (entry,) = entries(site, "keep_keys", "outcome")
    assert any("due by both" in alarm for alarm in entry["alarms"]) == apart
    assert counts["rewrapped"] == 0 or not apart  # nor is the key that wraps them replaced
    steps.keep_keys(at(space, site, CARD_DEADLINE, CARD_DEADLINE), builders.run())  # the clocks are right again
    with closing(builders.key_service(site)) as service:
        assert sum(census.destroyed for census in service.store.census(0) if census.kind == "card_hour") == 1


@pytest.mark.clause("K1")
def test_a_database_that_is_away_delays_no_deadline(site: Site, world: World, space: Workspace) -> None:
    world.booking(card={})
    steps.pull(space, "bookings", KEY, builders.run())

    def away() -> datetime:
        raise WarehouseUnavailableError("away")

    steps.keep_keys(replace(at(space, site, CARD_DEADLINE, NOW), database_clock=away), builders.run())
    with closing(builders.key_service(site)) as service:
        assert [c.destroyed for c in service.store.census(0) if c.kind == "card_hour"] == [1]


# -- summer time -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", CHANGES)
def test_every_row_around_a_change_of_the_clock_is_in_one_partition(site: Site, world: World, day: date) -> None:
    """Rows every half hour of three days by UTC: the hour that comes twice in autumn, and the one that spring skips."""
    midnights = [datetime(day.year, day.month, day.day, tzinfo=STOCKHOLM).astimezone(UTC) + timedelta(days=n)
                 for n in (-2, 3)]  # fmt: skip
    planted: dict[str, date] = {}
    instant = midnights[0]
    while instant < midnights[1]:
        row = world.view(recorded_at=instant, viewed_at=instant - timedelta(seconds=1))
        planted[row] = instant.astimezone(STOCKHOLM).date()
        instant += timedelta(minutes=30)
    around = [day + timedelta(days=n) for n in (-1, 0, 1)]
    change, later = datetime(day.year, day.month, day.day, 0, 30, tzinfo=UTC), NOW + timedelta(days=300)
    space = builders.workspace(site, now=later, first=around[0])
    for partition in around:
        # The day before is pulled half an hour before the clock changes, and goes on half an hour after.
        begun, ended = (change, change + timedelta(hours=1)) if partition == around[0] else (later, later)
        run = builders.run(str(partition))
        batch = steps.pull(builders.workspace(site, now=begun, first=around[0]), "visits", str(partition), run)
        after = builders.workspace(site, now=ended, first=around[0])
        steps.publish(after, steps.validate(after, batch, run), run)
    assert space.partition("visits", str(day)).end - space.partition("visits", str(day)).start == timedelta(
        hours=CHANGES[day]
    )
    found = builders.read(site, "SELECT row_key, partition_key FROM vault.page_views")
    assert dict(found) == {row: partition for row, partition in planted.items() if partition in around}
    assert len(found) == len(dict(found))
    of_the_day = [partition for _, partition in found if partition == day]
    assert len(of_the_day) == 2 * CHANGES[day]


@pytest.mark.parametrize("day", CHANGES)
def test_the_schedule_names_every_day_once_across_a_change_of_the_clock(day: date) -> None:
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable
    from airflow.timetables.base import TimeRestriction

    from governance.orchestration import DAILY

    timetable = decode_timetable(encode_timetable(DAILY))
    first = pendulum.datetime(day.year, day.month, day.day, tz="Europe/Stockholm").subtract(days=3)
    within = TimeRestriction(earliest=first, latest=first.add(days=7), catchup=True)
    last, keys = None, []
    while info := timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=within):
        keys.append(info.partition_key)
        last = info
        assert info.run_after == pendulum.instance(
            datetime.combine(date.fromisoformat(info.partition_key) + timedelta(days=1), datetime.min.time(), STOCKHOLM)
        )
    assert keys == sorted(set(keys))
    assert {str(day + timedelta(days=n)) for n in (-2, -1, 0, 1, 2)} <= set(keys)


# -- a clock of the database that was put back -------------------------------------------------------------------------


@contextmanager
def clock_put_back(site: Site, by: str) -> Iterator[None]:
    """Everything that the log has now was written so much later than it really was: as after a clock was put back."""
    with builders.past_triggers(site) as cursor:
        for table, column in (("run_log", "written_at"), ("pending", "written_at"), ("sessions", "opened_at")):
            cursor.execute(f"UPDATE audit.{table} SET {column} = {column} + %s::interval", (by,))
    yield


def test_after_a_clock_was_put_back_a_look_begins_anew_and_the_next_where_that_one_ended(
    site: Site, world: World, space: Workspace
) -> None:
    dsn = site.dsn("sequencer")
    steps.checkpoint(space, builders.run())
    assert log_entries.last_at(dsn, "heartbeat") is not None
    with clock_put_back(site, "1 day"):
        assert log_entries.last_at(dsn, "heartbeat") is None  # nobody knows how often an instant came
        steps.checkpoint(space, builders.run())
        (now,) = builders.read(site, "SELECT clock_timestamp()")[0]
        done = log_entries.last_at(dsn, "heartbeat")
    assert done is not None
    assert now - timedelta(minutes=1) < done <= now


def test_a_reader_without_an_entry_is_an_alarm_also_in_an_hour_that_came_twice(
    site: Site, world: World, airflow_tables: Site
) -> None:
    ahead = builders.workspace(site, clock=lambda: datetime.now(UTC) + timedelta(minutes=5))
    steps.checkpoint(ahead, builders.run())
    with clock_put_back(site, "1 day"):
        with closing(psycopg2.connect(site.dsn("pipeline"))):
            pass
        steps.checkpoint(ahead, builders.run())
    told = [entry["alarms"] for entry in entries(site, "heartbeat")]
    assert any("could read without an entry" in alarm for alarm in told[-1] + told[0])
    assert not any("removed" in alarm for alarms in told for alarm in alarms)


def test_entries_of_an_hour_that_came_twice_have_their_places_and_the_log_verifies(
    site: Site, world: World, space: Workspace
) -> None:
    world.visitors()
    steps.pull(space, "visits", KEY, builders.run())
    with clock_put_back(site, "1 day"):
        through(space, "visits", KEY, "second")
        steps.checkpoint(space, builders.run())
    assert builders.read(site, "SELECT count(*) FROM audit.pending") == [(0,)]
    ((placed, written),) = builders.read(
        site, "SELECT (SELECT count(*) FROM audit.leaves), (SELECT count(*) FROM audit.run_log)"
    )
    assert placed == written
