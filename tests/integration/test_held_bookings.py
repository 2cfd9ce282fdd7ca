"""Rows that wait for a release are reached by all that reaches anybody's rows, and a release comes out once, in order,
and the same, whoever is killed, comes twice or comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import boundaries
import builders
from aftermath import entries, outcomes, state
from boundaries import Killed
from builders import DAY, World
from governance import sources, steps, subjects
from governance.anonymisation.daily import waiting_since
from governance.embedded.site import Site
from governance.errors import ContendedError, SourceUnavailableError
from governance.run_log import Batch
from governance.steps import Workspace
from governance.warehouse import Warehouse
from kept import Kept
from release_days import Days, deciding, ten_days_later

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1"), pytest.mark.clause("R1")]

ALONE = {"nights_count": 20}
BORN = date(2010, 3, 10)
ROWS = "SELECT to_jsonb(t)::text FROM {} t ORDER BY 1"
ABOUT = "SELECT dataset, partition_key, k, l, rows, suppressed FROM analytics.releases ORDER BY 2"
MADE = ("analytics.bookings_rows", "analytics.release_bias", "vault.release_ledger", "vault.release_people")


@pytest.fixture
def days(site: Site, world: World) -> Days:
    return Days(site, world, ten_days_later(site))


def made(site: Site) -> dict[str, Any]:
    """All releases, bit by bit, and what is remembered of them."""
    return {table: builders.read(site, ROWS.format(table)) for table in MADE} | {"about": builders.read(site, ABOUT)}


def people(site: Site) -> int:
    """How many people the ledger has."""
    ((count,),) = builders.read(site, "SELECT count(*) FROM vault.release_people")
    return int(count)


def batch(day: date, run_id: str = "test") -> Batch:
    return Batch("bookings", day.isoformat(), run_id)


# -- whom a request is about -------------------------------------------------------------------------------------------


@pytest.mark.clause("M1")
def test_whose_data_is_restricted_or_who_objected_is_in_no_release_while_that_stands(days: Days) -> None:
    restricted, objecting, over, asking, *_ = days.alike(6)
    days.release()
    for row_key, kind, status in (
        (restricted, "restriction", "received"), (objecting, " Objection", "whatever"),
        (over, "restriction", "Lifted"), (asking, "access", "received"),
    ):  # fmt: skip
        request(days, row_key, kind, status)
    days.alike(8)
    key = days.world.day.isoformat()
    landed = steps.validate(days.space, steps.pull(days.space, "bookings", key, builders.run()), builders.run())
    before = state(days.site)
    away = replace(days.space, source_uri=lambda: "postgresql://puller@127.0.0.1:1/wellbe")
    with pytest.raises(SourceUnavailableError):
        steps.publish(away, landed, builders.run())
    assert state(days.site) == before
    assert days.release() == {"accepted": 8, "carried_in": 6, "published": 12, "carried_out": 2}
    assert entries(days.site, "publish", "outcome")[-1]["measures"]["restricted"] == 2
    assert (days.decided(over), days.decided(asking)) == ([(1, "published")], [(1, "published")])
    assert people(days.site) == 12
    days.release()
    request(days, restricted, "restriction", "lifted", later=timedelta(days=3))
    days.alike(10)
    assert days.release() == {"accepted": 10, "carried_in": 2, "published": 11, "carried_out": 1}
    assert days.decided(restricted) == [(3, "published")]
    assert days.decided(objecting) == []  # long after it would have had to be published or suppressed


def request(days: Days, row_key: str, kind: str, status: str, later: timedelta = timedelta()) -> None:
    """A request of the client of a booking, or a newer state of the same one."""
    client = int(row_key.split("/", maxsplit=1)[0]) + 40_000
    at = builders.NOON + later
    days.world.insert(
        "subject_requests", request_id=client, client_id=client, kind=kind, status=status, received_at=builders.NOON,
        recorded_at=at,
    )  # fmt: skip


@pytest.mark.clause("M1")
def test_a_restriction_names_a_client_by_each_scope_that_a_key_of_theirs_may_have(days: Days) -> None:
    key = days.alike(1)[0]
    client, accepted = int(key.split("/")[0]) + 40_000, builders.NOON - timedelta(microseconds=1)
    days.world.insert(
        "terms_acceptances", acceptance_id=1, client_id=client, terms_version="2", channel="web", accepted_at=accepted,
        recorded_at=accepted,
    )  # fmt: skip
    request(days, key, "restriction", "received")
    with sources.snapshot(days.space.source_uri(), "a test") as source:
        found = {row["scope"] for row in source.as_of("restricted_clients", builders.NOW).to_pylist()}
    name, erased = f"client {client}", accepted - timedelta(days=1)
    anew = subjects.begun_anew(
        [name], lambda scopes: {name: erased} if name in scopes else {}, {name: [accepted]}
    )  # fmt: skip
    assert {name, anew[name].scope} < found
    assert len(found) == 3  # the acceptance before the erasure began nothing, and names nobody


@pytest.mark.clause("M1")
def test_what_is_remembered_of_who_was_published_ends_with_the_release_after_their_erasure(days: Days) -> None:
    gone, stays, *_ = days.alike(10)
    days.release()
    assert people(days.site) == 10
    steps.destroy_key(days.space, "subject", f"client {int(gone.split('/')[0]) + 40_000}", "request 17", builders.run())
    published = builders.read(days.site, ROWS.format("analytics.bookings_rows"))
    days.release()
    assert people(days.site) == 9
    assert entries(days.site, "publish", "outcome")[-1]["measures"]["people_forgotten"] == 1
    assert builders.read(days.site, ROWS.format("analytics.bookings_rows")) == published
    days.alike(10)
    back = days.again(stays)
    days.release()
    assert days.decided(back) == [(2, "published")]
    assert entries(days.site, "publish", "outcome")[-1]["measures"]["rows_returning"] == 1


# -- what becomes of rows while they wait ------------------------------------------------------------------------------


@pytest.mark.clause("L3")
def test_what_is_deleted_at_the_source_or_turned_away_while_it_is_held_is_in_no_release(days: Days) -> None:
    deleted, *_ = days.alike(5)
    (minor,) = days.alike(1, travellers=[{"birth_date": BORN}], consents=[{}])
    assert days.release() == {"accepted": 6, "carried_out": 6}
    number = int(deleted.split("/")[0])
    days.world.execute("DELETE FROM wellbe.bookings WHERE booking_id = %s", number)
    days.world.execute("UPDATE wellbe.guardian_consents SET withdrawn_at = %s", builders.NOW)
    steps.pull(days.space, "bookings", DAY.isoformat(), builders.run("again"))
    days.alike(8)
    with pytest.raises(ContendedError, match=f"rows of {DAY} wait for it, and were landed again; validate that first"):
        days.release()
    assert people(days.site) == 0
    steps.consents(days.space, builders.run("consents"))
    assert days.release() == {"accepted": 8, "carried_in": 4, "published": 12}
    assert (days.decided(deleted), days.decided(minor)) == ([], [])


def test_an_amendment_takes_the_place_of_what_is_held_though_it_is_held_itself(days: Days) -> None:
    held, *_ = days.alike(3)
    days.release()
    newer = days.again(held, booking_id=int(held.split("/")[0]), version=2, status="amended", **ALONE)
    assert days.release() == {"accepted": 1, "carried_in": 3, "superseded": 1, "carried_out": 3}
    assert days.decided(held) == [(1, "superseded")]
    days.alike(8)
    assert days.release() == {"accepted": 8, "carried_in": 3, "published": 11}
    assert (days.decided(held), days.decided(newer)) == ([(1, "superseded")], [(2, "published")])


@pytest.mark.clause("A1")
def test_rows_whose_term_ends_while_they_wait_are_ended_and_the_next_release_balances(days: Days) -> None:
    at = days.world.at()
    for hours in (4, 3):
        early = at - timedelta(hours=hours)
        days.alike(1, recorded_at=early, booked_at=early, changed_at=early)
    days.alike(5)
    replay(days.space, DAY)
    assert ended(days, at - timedelta(hours=3.5)) == 1
    assert days.publish() == {"accepted": 7, "carried_out": 6, "erased": 1}
    assert ended(days, at - timedelta(hours=2.5)) == 1
    days.alike(7)
    assert days.release() == {"accepted": 7, "carried_in": 5, "published": 12}
    assert builders.read(days.site, "SELECT count(*) FROM vault.release_ledger") == [(12,)]


def ended(days: Days, due: datetime) -> int:
    """How many bookings that were recorded up to an instant retention ends, under a policy that keeps them ten days."""
    space = deciding(replace(days.space, clock=lambda: due + timedelta(days=10)), {"booking_days": 10})
    rules = {"bookings": space.policy.retention.rules["bookings"]}
    retention = space.policy.retention.model_copy(update={"rules": rules})
    space = replace(space, policy=space.policy.model_copy(update={"retention": retention}))
    return steps.retain(replace(space, database_clock=space.clock), builders.run())["bookings"]


def test_rows_that_are_accepted_while_a_release_is_decided_make_it_try_again(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    days.alike(4)
    late = days.world.booking(with_terms=False, client_id=777)
    days.release()
    accept_terms(days.world, 777)
    key = days.world.day.isoformat()
    landed = steps.validate(days.space, steps.pull(days.space, "bookings", key, builders.run()), builders.run())
    undecided = Warehouse.undecided

    def and_then_more(warehouse: Warehouse, dataset: str, up_to: date) -> Any:
        found = undecided(warehouse, dataset, up_to)
        replay(days.space, DAY)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "undecided", and_then_more)
        with pytest.raises(ContendedError, match="4 rows were to be held, 5 would be: .*the task retries"):
            steps.publish(days.space, landed, builders.run())
    assert days.release() == {"carried_in": 5, "carried_out": 5}
    assert days.decided(late) == []


def replay(space: Workspace, day: date) -> None:
    """Pull and validate a day again."""
    again = builders.run("again")
    steps.validate(space, steps.pull(space, "bookings", day.isoformat(), again), again)


def accept_terms(world: World, client: int) -> None:
    """The terms, accepted in time by a client of whom the source had not heard it."""
    at = builders.NOON - timedelta(days=5)
    world.insert(
        "terms_acceptances", acceptance_id=client, client_id=client, terms_version="1", channel="web", accepted_at=at,
        recorded_at=at,
    )  # fmt: skip


def test_a_row_that_was_accepted_late_waits_from_then_on_as_long_as_any_other(days: Days) -> None:
    late, alone = (days.alike(1, with_terms=False, client_id=client)[0] for client in (777, 778))
    for _ in range(4):
        days.release()
    accept_terms(days.world, 777)
    replay(days.space, DAY)
    days.alike(3)
    assert days.release() == {"accepted": 3, "carried_in": 1, "carried_out": 4}
    days.alike(8)
    assert days.release() == {"accepted": 8, "carried_in": 4, "published": 12}
    assert days.decided(late) == [(5, "published")]
    days.release()
    accept_terms(days.world, 778)
    for _ in range(2):
        replay(days.space, DAY)  # the second makes nothing of it younger
        assert days.release() == {"carried_in": 1, "carried_out": 1}
    assert days.release() == {"carried_in": 1, "suppressed": 1}
    assert days.decided(alone) == [(9, "suppressed")]


# Days of the first release after each landing, of a partition of day 0 with a delay of 7 -> since when its rows wait.
SINCE = [
    ((), 0),
    ((0,), 0),
    ((0, 7), 0),
    ((0, 8), 8),
    ((8,), 8),
    ((0, 7, 8), 8),
    ((0, 8, 15), 8),
    ((0, 8, 16), 16),
    ((0, 3, 6, 9, 12, 15, 18), 18),
]


@pytest.mark.parametrize(("chances", "since"), SINCE)
def test_landings_within_one_delay_give_nobody_more_time(chances: tuple[int, ...], since: int) -> None:
    days = [DAY + timedelta(days=number) for number in chances]
    assert waiting_since(DAY, days, 7) == DAY + timedelta(days=since)


# -- the same release, or none -----------------------------------------------------------------------------------------

FATAL = ("ADBC fetch_arrow_table", "INSERT INTO vault.release_people", "COPY", "INSERT INTO analytics.releases")
ELSEWHERE = """
import sys
from pathlib import Path

import builders
from governance import steps
from governance.embedded import site as sites
from governance.run_log import Batch
from release_days import ten_days_later

site = sites.load(Path(sys.argv[1]))
steps.publish(ten_days_later(site), Batch("bookings", sys.argv[2], "elsewhere"), builders.run("elsewhere"))
"""


@pytest.fixture
def about_to_be_released(days: Days, tmp_path: Path) -> Iterator[tuple[Days, Kept]]:
    """A day as far as validation, with rows that are held from the day before, one of somebody who was published before
    that, and a second one of a newcomer."""
    before = days.alike(10)
    assert days.release() == {"accepted": 10, "published": 10}
    days.alike(5, **ALONE)
    assert days.release() == {"accepted": 5, "carried_out": 5}
    newcomers = days.alike(19)
    days.alike(8, **ALONE)
    days.again(before[0])
    days.again(newcomers[0])
    replay(days.space, days.world.day)
    with closing(Kept(days.site, tmp_path)) as kept:
        yield days, kept


def test_a_release_is_the_same_however_often_it_was_killed_in_whatever_order_rows_lie_and_in_any_process(
    about_to_be_released: tuple[Days, Kept],
) -> None:
    days, kept = about_to_be_released
    site, day, before = days.site, days.world.day, made(days.site)

    def publish() -> None:
        steps.publish(days.space, batch(day, "again"), builders.run("again"))

    publish()
    expected = made(site)
    assert len(expected["vault.release_ledger"]) == len(before["vault.release_ledger"]) + 23
    told = entries(site, "publish", "outcome")[-1]
    assert (told["measures"]["rows_returning"], told["conservation"]["carried_out"]) == (1, 11)
    for fatal in FATAL:
        kept.put_back()
        assert isinstance(boundaries.run(publish, fatal), Killed)
        assert made(site) == before
        publish()
        assert made(site) == expected
    kept.put_back()
    crossed = boundaries.run(publish)
    kept.put_back()
    assert boundaries.run(publish, len(crossed)) == "the end"
    assert made(site) == expected  # the deed was done; a next try finds it
    publish()
    assert outcomes(site, "publish")[-1] == "replayed"
    assert made(site) == expected
    kept.put_back()
    shuffle(site)
    elsewhere = [sys.executable, "-c", ELSEWHERE, str(site.data_dir), day.isoformat()]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    subprocess.run(elsewhere, check=True, env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": path})
    assert made(site) == expected


def shuffle(site: Site) -> None:
    """Lay the rows that a release reads in another order, as superuser, whom no trigger stops."""
    with builders.past_triggers(site) as cursor:
        for table in ("records.bookings", "records.booking_services", "vault.release_ledger", "vault.release_people"):
            cursor.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table}")
            cursor.execute(f"DELETE FROM {table}")
            cursor.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM kept ORDER BY random()")
            cursor.execute("DROP TABLE kept")


def test_of_two_runs_at_once_one_publishes_and_the_other_finds_it(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    days.alike(11)
    replay(days.space, DAY)
    is_reading, may_go_on = Event(), Event()
    undecided, errors = Warehouse.undecided, []

    def waiting(warehouse: Warehouse, dataset: str, up_to: date) -> Any:
        is_reading.set()
        assert may_go_on.wait(120)
        return undecided(warehouse, dataset, up_to)

    def first() -> None:
        try:
            steps.publish(days.space, batch(DAY, "again"), builders.run("one"))
        except Exception as error:  # noqa: BLE001 -- told to the test
            errors.append(error)
            is_reading.set()

    monkeypatch.setattr(Warehouse, "undecided", waiting)
    one = Thread(target=first)
    one.start()
    try:
        assert is_reading.wait(120)
        with pytest.raises(ContendedError, match="another run is working on this partition; the task retries"):
            steps.publish(days.space, batch(DAY, "again"), builders.run("other"))
    finally:
        may_go_on.set()
        one.join()
    assert errors == []
    before = made(days.site)
    found = steps.publish(days.space, batch(DAY, "again"), builders.run("other"))
    assert (found.counts["published"], outcomes(days.site, "publish")) == (11, ["failed", "passed", "replayed"])
    assert made(days.site) == before


def test_days_that_are_brought_out_of_order_are_released_in_order_and_as_one_after_the_other(
    days: Days, tmp_path: Path
) -> None:
    days.release()  # nothing; from then on there is the key that seeds and numbers come from
    five = [DAY + timedelta(days=number) for number in range(1, 6)]
    for number, day in enumerate(five):
        days.world.day = day
        days.alike(4 + number)
    for number in (3, 1, 4, 0, 2):
        replay(days.space, five[number])
    with closing(Kept(days.site, tmp_path)) as kept:
        for day in five:
            steps.publish(days.space, batch(day), builders.run("in order"))
        expected = made(days.site)
        assert len(expected["analytics.bookings_rows"]) == 30
        kept.put_back()
        waiting, turns = five[::-1], 0
        while waiting:
            turns += 1
            waiting = [day for day in waiting if not is_released(days.space, day)]
        assert turns == 5
        assert made(days.site) == expected
    query = "SELECT partition_key FROM analytics.releases ORDER BY released_at"
    assert builders.read(days.site, query) == [(day,) for day in (DAY, *five)]


def is_released(space: Workspace, day: date) -> bool:
    """Publish a day, or find that the one before it is not published yet."""
    try:
        steps.publish(space, batch(day), builders.run("backwards"))
    except ContendedError as error:
        assert f"partition {day - timedelta(days=1)} has to be published first; the task retries" in str(error)
        return False
    return True
