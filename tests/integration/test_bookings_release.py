"""Bookings are released day by day: what is not yet fine enough waits, and who comes again is published among the same
values or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg2
import pytest

import builders
from aftermath import entries, outcomes, state, through
from builders import DAY, World
from governance import steps
from governance.anonymisation import attacking
from governance.anonymisation.composition import Telling
from governance.embedded.site import Site
from governance.errors import DisclosureError
from governance.run_log import Batch
from governance.steps import Workspace
from release_days import Days, ten_days_later

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1")]

TRAVEL = [{"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "Arlanda to Lisbon"}]
ROWS = "SELECT to_jsonb(t)::text FROM {} t ORDER BY 1"
MADE = ("analytics.bookings_rows", "vault.release_ledger", "vault.release_people", "analytics.release_bias")


@pytest.fixture
def later(site: Site) -> Workspace:
    """A workspace ten days after the world's first day, whose policy lets a row wait for two days."""
    return ten_days_later(site)


@pytest.fixture
def days(site: Site, world: World, later: Workspace) -> Days:
    return Days(site, world, later)


def test_rows_of_too_few_people_are_held_and_published_with_those_of_the_next_day(days: Days) -> None:
    first = days.alike(6)
    assert days.release() == {"accepted": 6, "carried_out": 6}
    assert days.decided(first[0]) == []
    assert builders.read(days.site, "SELECT k, l, rows, suppressed FROM analytics.releases") == [(None, None, 0, 0)]
    days.alike(6)
    assert days.release() == {"accepted": 6, "carried_in": 6, "published": 12}
    assert days.decided(first[0]) == [(1, "published")]
    days.alike(10)
    assert days.release() == {"accepted": 10, "published": 10}
    told = "SELECT recorded_date - %s, count(*) FROM analytics.bookings GROUP BY 1 ORDER BY 1"
    assert builders.read(days.site, told, DAY) == [(1, 12), (2, 10)]
    assert outcomes(days.site)[2::3] == ["passed"] * 3
    assert builders.read(days.site, "SELECT count(*) FROM vault.release_people") == [(22,)]
    sets = builders.read(days.site, "SELECT DISTINCT signature FROM vault.release_people")
    assert sets == [(["service_specialty=dental", "service_specialty=ophthalmology"],)]


def test_rows_that_may_wait_no_longer_are_published_in_a_coarser_group(days: Days) -> None:
    few = days.alike(3, nights_count=20)
    assert days.release() == {"accepted": 3, "carried_out": 3}
    days.alike(5, nights_count=20)
    days.alike(5, nights_count=9, client={"country_code": "NO"})
    assert days.release() == {"accepted": 10, "carried_in": 3, "carried_out": 13}
    assert days.release() == {"carried_in": 13, "published": 13}
    assert days.decided(few[0]) == [(2, "published")]
    told = builders.read(
        days.site,
        "SELECT DISTINCT origin_country, origin_region, stay_length_detail, stay_length, booking_event, price_band "
        "FROM analytics.bookings",
    )
    assert told == [(None, "northern_europe", None, "8 or more", "booked", "1000-2499")]
    measures = entries(days.site, "publish", "outcome")[-1]["measures"]
    assert (measures["delay_median"], measures["delay_p95"]) == (1, 2)
    assert 0.035 < measures["ncp"] < 0.61


def test_a_single_row_is_suppressed_on_the_last_day_it_may_wait(days: Days) -> None:
    alone = days.alike(1)[0]
    assert days.release() == {"accepted": 1, "carried_out": 1}
    assert days.release() == {"carried_in": 1, "carried_out": 1}
    assert days.decided(alone) == []
    assert days.release() == {"carried_in": 1, "suppressed": 1}
    assert days.decided(alone) == [(2, "suppressed")]


def test_who_comes_again_is_published_among_the_same_values(days: Days) -> None:
    before = days.alike(10)
    days.release()
    days.alike(10)
    back = days.again(before[0])
    days.release()
    assert days.decided(back) == [(1, "published")]
    measures = entries(days.site, "publish", "outcome")[-1]["measures"]
    assert (measures["rows_returning"], measures["attack_people_again"], measures["attack_disclosed"]) == (1, 1, 0)


def test_who_comes_again_with_another_value_is_held_and_then_suppressed(days: Days) -> None:
    before = days.alike(10)
    days.release()
    days.alike(10)
    back = days.again(before[0], services=TRAVEL)
    assert days.release()["carried_out"] == 1
    assert days.release() == {"carried_in": 1, "carried_out": 1}
    assert days.release() == {"carried_in": 1, "suppressed": 1}
    assert days.decided(back) == [(3, "suppressed")]
    assert entries(days.site, "publish", "outcome")[-1]["measures"]["suppressed_returning"] == 1


@pytest.mark.clause("M1")
def test_who_is_erased_while_held_is_in_no_release(days: Days) -> None:
    erased, *_ = days.alike(6)
    days.release()
    client = int(erased.split("/")[0]) + 40_000
    steps.destroy_key(days.space, "subject", f"client {client}", "request 17", builders.run())
    days.alike(5)
    assert days.release() == {"accepted": 5, "carried_in": 6, "published": 10, "erased": 1}
    assert days.decided(erased) == [(1, "erased")]
    assert builders.read(days.site, "SELECT count(*) FROM vault.release_people") == [(10,)]


def test_a_version_that_replaces_one_that_is_held_supersedes_it(days: Days) -> None:
    held, *_ = days.alike(6)
    days.release()
    newer = days.again(held, booking_id=int(held.split("/")[0]), version=2, status="amended")
    days.alike(10)
    days.release()
    assert days.decided(held) == [(1, "superseded")]
    assert newer.endswith("/2")


@pytest.mark.clause("R1")
def test_a_release_that_is_made_again_is_the_same_release(days: Days) -> None:
    days.alike(7)
    days.release()
    days.alike(14)
    days.alike(5, client={"country_code": "NO"}, nights_count=9)
    batch = through(days.space, "bookings", days.world.day.isoformat())
    assert batch.counts["published"] > 0
    made = {table: builders.read(days.site, ROWS.format(table)) for table in MADE}
    unmake(days.site, days.world.day.isoformat())
    assert builders.read(days.site, "SELECT 1 FROM analytics.bookings") == []
    steps.publish(days.space, Batch("bookings", days.world.day.isoformat(), "other"), builders.run("other"))
    again = {table: builders.read(days.site, ROWS.format(table)) for table in MADE}
    assert again == made


def unmake(site: Site, key: str) -> None:
    """As if the release of a partition had never been: as superuser, for nobody else may."""
    with builders.past_triggers(site) as cursor:
        noisy = ("analytics.bookings_events_rows", "analytics.bookings_events_origins_rows")
        for table in ("analytics.bookings_rows", *noisy, "analytics.privacy_budget", "audit.exact_counts"):
            cursor.execute(f"DELETE FROM {table} WHERE recorded_date = %s", (key,))
        for table in ("releases", "release_settings", "release_notes", "release_bias"):
            cursor.execute(f"DELETE FROM analytics.{table} WHERE partition_key = %s", (key,))
        cursor.execute("DELETE FROM vault.release_ledger WHERE release_partition = %s", (key,))
        cursor.execute("TRUNCATE vault.release_people")


OVER: dict[str, tuple[Callable[[Any], Any], str]] = {
    "disclosed": (lambda found: replace(found, disclosed=1), "disclosed: 1 people of whom one value remains"),
    "gained": (lambda found: replace(found, gained_less=2), "gained_less: 2 people whose group grew by fewer than k"),
    "left": (lambda found: replace(found, fewer_left=3), "fewer_left: 3 people"),
    "posterior": (
        lambda found: replace(found, again=100, told=Telling(100, posterior=0.75, null=0.5)),
        "posterior_over_null: a guess is right with 0.750, 0.250 more than from two identical releases",
    ),
}


@pytest.mark.parametrize("why", OVER)
def test_a_release_over_a_limit_of_the_attack_is_not_published(
    days: Days, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    days.alike(10)
    through(days.space, "bookings", DAY.isoformat())
    days.world.day += timedelta(days=1)
    days.alike(10)
    key = days.world.day.isoformat()
    batch = steps.validate(days.space, steps.pull(days.space, "bookings", key, builders.run()), builders.run())
    before = state(days.site)
    change, told = OVER[why]
    attacked = attacking.attacked
    with monkeypatch.context() as patch:
        patch.setattr(attacking, "attacked", lambda *each: change(attacked(*each)))
        with pytest.raises(DisclosureError, match=rf"{told}.*nothing was published; the last good state stays"):
            steps.publish(days.space, batch, builders.run())
    assert state(days.site) == before
    assert steps.publish(days.space, batch, builders.run()).counts["published"] == 10


def test_the_ledger_of_people_is_added_to_and_never_changed(days: Days) -> None:
    days.alike(10)
    days.release()
    for change in ("UPDATE vault.release_people SET signature = '{x}'", "TRUNCATE vault.release_people"):
        with pytest.raises(psycopg2.Error, match="is never changed"):
            builders.read(days.site, change)
