"""A card has one clock, that of its first capture: no later word of its row resets it, here or at the source (K1)."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

import boundaries
import builders
from aftermath import content, entries, through
from builders import DAY, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import AlarmError, InputError
from governance.first_captures import FirstCaptures
from governance.steps import Workspace
from governance.steps.holding import HoldRequest
from kept import Kept

pytestmark = [pytest.mark.pg, pytest.mark.beside, pytest.mark.clause("K1"), pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()
SECOND, HOUR, DAYS = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
FIRST = datetime(2026, 3, 10, 8, 40, tzinfo=UTC)
LIFE, TERM = timedelta(hours=238), timedelta(hours=240)
GOES = FIRST.replace(minute=0) + LIFE
MOVED, OVER_AGE = "K1.card_age.moved", "K1.card_age.over_age"
CARD = 7
SIDES = pytest.mark.parametrize(("before", "left"), [(SECOND, 1), (timedelta(0), 0)], ids=["a second before", "then"])


def at(site: Site, now: datetime) -> Workspace:
    """A workspace at an instant."""
    return builders.workspace(site, now=now)


def booked(world: World, captured: object = FIRST, days: int = 0, **card: Any) -> None:
    """The card in a booking that was recorded so many days after the first."""
    world.day = DAY + timedelta(days=days)
    world.booking(card={"card_id": CARD, "captured_at": captured, **card})
    world.day = DAY


def moved(world: World, captured: object) -> None:
    """The instant of every row of the card at the source, changed."""
    world.execute("UPDATE wellbe.payment_cards SET captured_at = %s WHERE card_id = %s", captured, CARD)


def landed(space: Workspace, key: str = KEY, run: str = "test") -> dict[str, int]:
    """Pulled and validated; the counts."""
    return steps.validate(space, steps.pull(space, "bookings", key, builders.run(run)), builders.run(run)).counts


def instants(site: Site) -> list[datetime]:
    """What our rows of the card count from."""
    return [found for (found,) in builders.read(site, "SELECT captured_at FROM vault.payment_cards ORDER BY row_id")]


def at_source(site: Site) -> int:
    """Rows of the card there."""
    query = "SELECT count(*) FROM wellbe.payment_cards WHERE card_id = %s"
    ((count,),) = builders.read(site, query, CARD, role="wellbe_owner")
    return int(count)


def noted(site: Site) -> list[tuple[str, str]]:
    """Key and rule of each note about a card."""
    return builders.read(site, "SELECT row_key, rule FROM quarantine.refusals ORDER BY rule")


def known(site: Site) -> list[tuple[datetime, bool]]:
    """First capture, and whether the source may have it."""
    return builders.read(site, "SELECT captured_at, is_at_source FROM control.first_captures")


def told(site: Site, rule: str, event: str = "retain") -> list[dict[str, Any]]:
    """Outcomes of a rule, oldest first."""
    return [entry for entry in entries(site, event, "outcome") if entry["partition_key"] == rule]


def ended(space: Workspace) -> None:
    """Retention, whatever it alarms about."""
    with contextlib.suppress(AlarmError):
        steps.retain(space, builders.run())


LATER = {
    "a second": FIRST + SECOND,
    "into the next hour": FIRST + HOUR,
    "days": FIRST + 9 * DAYS,
    "a time to come": datetime(2999, 1, 1, tzinfo=UTC),
}


@SIDES
@pytest.mark.parametrize("later", ["a second", "into the next hour", "days"])
def test_a_card_that_is_moved_at_the_source_after_it_came_ends_by_its_first_capture(
    site: Site, world: World, space: Workspace, later: str, before: timedelta, left: int
) -> None:
    booked(world)
    landed(space)
    moved(world, LATER[later])
    steps.retain(at(site, GOES - before), builders.run())
    assert (len(instants(site)), at_source(site)) == (left, left)
    for rule in ("cards", "cards_at_source"):
        (entry,) = told(site, rule)
        assert entry["counts"] == {"due": 1 - left, "ended": 1 - left, "kept": left, "left_due": 0}, rule
        oldest = {"oldest_kept_hours": pytest.approx(238, abs=0.01)} if left else {}
        assert entry["measures"] == oldest, rule
        assert told(site, rule, "breach") == []
    assert known(site) == [(FIRST, bool(left))]


@SIDES
@pytest.mark.parametrize("later", LATER)
def test_a_partition_that_is_run_again_brings_a_moved_card_under_its_first_clock(
    site: Site, world: World, space: Workspace, later: str, before: timedelta, left: int
) -> None:
    booked(world)
    landed(space)
    moved(world, LATER[later])
    counts = landed(space, run="again")
    assert counts["accepted"] == 1
    assert MOVED not in counts and noted(site) == [(str(CARD), MOVED)]
    pulled = entries(site, "pull", "outcome")[-1]
    assert pulled["counts"]["payment_cards_pulled"] == pulled["counts"][f"counted {MOVED}"] == 1
    assert pulled["alarms"] == [f"{MOVED}: 1 counted from their first capture"]
    assert instants(site) == [FIRST]
    now = at(site, GOES - before)
    steps.keep_keys(now, builders.run())  # the one of its first hour, and there is no other
    found = [card["card_number_encrypted"] for card in content(site, "vault", "payment_cards", GOES - before)]
    assert found == [["destroyed"], ["4242424242424242"]][left]
    ended(now)
    assert len(instants(site)) == left


@pytest.mark.parametrize("hours", [0, 1, 24])
def test_after_missed_runs_a_moved_card_is_a_breach_counted_from_its_first_capture(
    site: Site, world: World, space: Workspace, hours: int
) -> None:
    booked(world)
    landed(space)
    moved(world, FIRST + 8 * DAYS)
    late = FIRST + TERM + hours * HOUR
    with contextlib.nullcontext() if not hours else pytest.raises(AlarmError, match="outlived their term"):
        steps.retain(at(site, late), builders.run())
    assert (instants(site), at_source(site)) == ([], 0)
    for rule in ("cards", "cards_at_source"):
        found = [entry["measures"]["hours_beyond_term"] for entry in told(site, rule, "breach")]
        assert found == [hours] * bool(hours), rule


def test_a_card_that_comes_again_after_it_is_gone_is_refused_and_goes_from_the_source(
    site: Site, world: World, space: Workspace
) -> None:
    booked(world)
    landed(space)
    steps.retain(at(site, GOES), builders.run())
    assert known(site) == [(FIRST, False)]
    booked(world, FIRST + 9 * DAYS, days=10)
    later = at(site, datetime(2026, 3, 21, 9, tzinfo=UTC))
    counts = landed(later, "2026-03-20")
    assert (counts["accepted"], counts[OVER_AGE]) == (1, 1)  # the booking goes on
    assert noted(site) == [(str(CARD), MOVED), (str(CARD), OVER_AGE)]
    assert (instants(site), known(site)) == ([], [(FIRST, True)])
    with pytest.raises(AlarmError, match="1 rows of wellbe.payment_cards at the source outlived their term by up to"):
        steps.retain(later, builders.run())
    assert at_source(site) == 0
    (breach,) = told(site, "cards_at_source", "breach")
    assert breach["measures"]["hours_beyond_term"] == pytest.approx((later.clock() - FIRST - TERM) / HOUR, abs=0.001)
    assert known(site) == [(FIRST, False)]
    steps.retain(later, builders.run())  # and nothing is left to tell of


@SIDES
def test_a_card_that_was_recorded_twice_with_two_instants_has_one_clock(
    site: Site, world: World, space: Workspace, before: timedelta, left: int
) -> None:
    booked(world)
    booked(world, FIRST + 20 * HOUR, days=1)
    for key in (KEY, NEXT):
        landed(space, key)
    assert instants(site) == [FIRST, FIRST]
    steps.retain(at(site, GOES - before), builders.run())
    assert (len(instants(site)), at_source(site)) == (2 * left, 2 * left)
    assert [entry["counts"]["captured"] for entry in entries(site, "end_card_hour")] == [1] * (1 - left)


@SIDES
@pytest.mark.parametrize("days", [0, 1], ids=["the same day again", "beside it"])
def test_an_earlier_instant_counts_from_when_it_is_known_for_what_is_here_already(
    site: Site, world: World, space: Workspace, days: int, before: timedelta, left: int
) -> None:
    later = FIRST + 30 * HOUR
    booked(world, later)
    landed(space)
    if days:
        booked(world, FIRST, days=days)
    else:
        moved(world, FIRST)
    landed(space, (KEY, NEXT)[days], run="again")
    assert (instants(site), noted(site)) == ([FIRST] * (1 + days), [])
    steps.retain(at(site, GOES - before), builders.run())
    assert (len(instants(site)), at_source(site)) == ((1 + days) * left, (1 + days) * left)


def test_an_earlier_instant_that_is_past_the_term_ends_what_is_here_with_the_next_run(
    site: Site, world: World, space: Workspace
) -> None:
    booked(world)
    landed(space)
    booked(world, FIRST - 20 * DAYS, days=1)
    assert landed(space, NEXT)[OVER_AGE] == 1
    with pytest.raises(AlarmError, match="outlived their term"):
        steps.retain(space, builders.run())
    assert (instants(site), at_source(site)) == ([], 0)
    (breach,) = told(site, "cards", "breach")
    assert breach["measures"]["hours_beyond_term"] == pytest.approx((NOW - FIRST + 20 * DAYS - TERM) / HOUR, abs=0.001)


def test_a_card_that_was_refused_as_too_old_stays_refused_when_it_is_moved(
    site: Site, world: World, space: Workspace
) -> None:
    booked(world, FIRST - 20 * DAYS)
    assert landed(space)[OVER_AGE] == 1
    moved(world, FIRST)
    assert landed(space, run="again")[OVER_AGE] == 1
    assert noted(site) == [(str(CARD), MOVED), (str(CARD), OVER_AGE)]
    ended(space)
    assert at_source(site) == 0


@pytest.mark.parametrize("nowhen", [None, datetime(2999, 1, 1, tzinfo=UTC), "infinity", "-infinity"])
def test_a_row_at_the_source_that_says_no_instant_any_more_goes_at_once_as_ever(
    site: Site, world: World, space: Workspace, nowhen: object
) -> None:
    booked(world)
    landed(space)
    moved(world, nowhen)
    ended(space)
    assert (instants(site), at_source(site)) == ([FIRST], 0)
    steps.retain(at(site, GOES), builders.run())
    assert (instants(site), known(site)) == ([], [(FIRST, False)])


def test_an_instant_that_was_taken_away_starts_no_clock(site: Site, world: World, space: Workspace) -> None:
    booked(world)
    landed(space)
    moved(world, None)
    assert landed(space, run="again")["K1.card_age.unknown_time"] == 1
    assert (instants(site), known(site)) == ([], [(FIRST, True)])
    moved(world, FIRST + HOUR)
    landed(space, run="once more")
    assert instants(site) == [FIRST]
    moved(world, None)
    ended(space)
    assert (instants(site), at_source(site)) == ([FIRST], 0)


def test_a_card_that_pull_met_again_meanwhile_is_asked_for_again(site: Site, world: World, space: Workspace) -> None:
    booked(world)
    landed(space)
    with contextlib.closing(psycopg2.connect(site.dsn("governance_owner"))) as connection:
        with connection, connection.cursor() as cursor:
            first = FirstCaptures.known(cursor, FIRST + SECOND)
        assert first.due == f"{{{CARD}}}"
        builders.read(site, "UPDATE control.first_captures SET met_at = clock_timestamp()")
        with connection, connection.cursor() as cursor:
            first.note_ended(cursor)
        assert known(site) == [(FIRST, True)]
        with connection, connection.cursor() as cursor:
            FirstCaptures.known(cursor, FIRST).note_ended(cursor)  # not due: captured at that instant
        assert known(site) == [(FIRST, True)]
        with connection, connection.cursor() as cursor:
            FirstCaptures.known(cursor, FIRST + SECOND).note_ended(cursor)
    assert known(site) == [(FIRST, False)]


@pytest.mark.parametrize(("days", "is_there", "left"), [(39, False, 1), (41, False, 0), (41, True, 1)])
def test_a_first_capture_is_forgotten_when_the_card_has_not_come_for_so_long(
    site: Site, world: World, space: Workspace, days: int, is_there: bool, left: int
) -> None:
    """By the clock of the database, which notes when a card came; never while the source may have it."""
    builders.read(
        site, "INSERT INTO control.first_captures VALUES ('8', %s, %s, %s - %s * interval '1 day')",
        NOW, is_there, NOW, days,
    )  # fmt: skip
    steps.retain(space, builders.run())
    assert len(known(site)) == left


# -- what stays of a card ----------------------------------------------------------------------------------------------


@pytest.mark.clause("K3")
def test_a_moved_card_cannot_be_saved_or_held_after_the_deadline_of_its_first_capture(
    site: Site, world: World, space: Workspace
) -> None:
    """It lies under the key of a later hour, because nobody knew better when it came."""
    booked(world, FIRST + 30 * HOUR, save_to_profile=True)
    landed(space)
    builders.read(site, "SELECT landing.note_captures(%s, %s)", [str(CARD)], [FIRST])
    assert instants(site) == [FIRST]
    hold = HoldRequest(str(CARD), "fraud", "7", date(2026, 4, 1))
    for before, outcome in ((timedelta(0), "missed"), (SECOND, "saved")):
        now = at(site, GOES - before)
        with contextlib.nullcontext() if before else pytest.raises(AlarmError, match="K3 1 cards"):
            steps.keep_cards(now, builders.run())
        assert told(site, "saved", "keep_cards")[-1]["counts"][outcome] == 1
        with contextlib.nullcontext() if before else pytest.raises(InputError, match="past its deadline"):
            steps.place_hold(now, hold, builders.run())
    assert builders.read(site, "SELECT captured_at FROM vault.saved_cards") == [(FIRST,)]


@pytest.mark.clause("K3")
def test_what_is_saved_counts_from_an_earlier_capture_too(site: Site, world: World, space: Workspace) -> None:
    booked(world, FIRST + 30 * HOUR, save_to_profile=True)
    landed(space)
    steps.keep_cards(space, builders.run())
    booked(world, FIRST, days=1)
    landed(space, NEXT)
    assert builders.read(site, "SELECT captured_at FROM vault.saved_cards") == [(FIRST,)]


# -- killed anywhere ---------------------------------------------------------------------------------------------------


def test_retention_of_a_moved_card_that_is_killed_anywhere_is_finished_by_the_next_run(
    site: Site, world: World, space: Workspace, tmp_path: Path
) -> None:
    late = at(site, GOES)
    only = {"rules": {"cards_at_source": late.policy.retention.rules["cards_at_source"]}}
    of_source = late.policy.retention.model_copy(update=only)
    late = replace(late, policy=late.policy.model_copy(update={"retention": of_source}))

    def at_the_source() -> None:
        world.clear()
        world.restart()
        booked(world)
        moved(world, FIRST + 9 * DAYS)

    def work(number: int) -> None:
        steps.retain(late, replace(builders.run(), try_number=number))

    booked(world)
    through(space, "bookings", KEY)
    with contextlib.closing(Kept(site, tmp_path, at_the_source)) as kept:
        at_the_source()
        crossed = boundaries.run(lambda: work(1))
        assert not isinstance(crossed, boundaries.Killed)
        places = [*boundaries.matter(crossed)][::2]
        for fatal in places:
            kept.put_back()
            killed = boundaries.run(lambda: work(1), fatal)
            assert isinstance(killed, boundaries.Killed), fatal
            work(2)
            assert (at_source(site), known(site)) == (0, [(FIRST, False)]), killed
            assert sum(entry["counts"]["ended"] for entry in told(site, "cards_at_source")) == 1, killed
        assert sum("first_captures" in crossed[n - 1] for n in places) and len(places) > 5
