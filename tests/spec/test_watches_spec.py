"""When a watch speaks: both sides of every threshold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from governance import watches
from governance.watches import PartitionState, Schedule

pytestmark = [pytest.mark.clause("R1"), pytest.mark.clause("B1")]

FIRST = date(2026, 3, 1)
SCHEDULE = Schedule("visits", FIRST, "Europe/Stockholm", timedelta(hours=6))
DUE = datetime(2026, 3, 11, 5, tzinfo=UTC)  # six in the morning in Stockholm: the 10th is due


def state(
    day: date, at_source: int = 100, quarantined: int = 0, released_at: datetime | None = DUE, kind: str = "settled"
) -> PartitionState:
    return PartitionState(day, kind, at_source, at_source - quarantined, quarantined, DUE, released_at, {})


def days(until: date, **facts: object) -> dict[date, PartitionState]:
    """Every day from the first on."""
    count = (until - FIRST).days + 1
    return {day: state(day, **facts) for day in (FIRST + timedelta(days=n) for n in range(count))}  # type: ignore[arg-type]


def one(found: Iterator[str]) -> str:
    (alarm,) = found
    return alarm


# -- partitions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "is_on"), [(DUE - timedelta(seconds=1), False), (DUE, True)])
def test_a_partition_is_missing_from_the_hour_on_at_which_it_is_due(now: datetime, *, is_on: bool) -> None:
    assert bool(list(watches.missing_partitions(SCHEDULE, days(date(2026, 3, 9)), now))) == is_on


def test_a_missing_partition_is_named_with_how_many_there_are_and_what_to_do() -> None:
    states = days(date(2026, 3, 10))
    del states[date(2026, 3, 4)], states[date(2026, 3, 7)]
    said = one(watches.missing_partitions(SCHEDULE, states, DUE))
    assert said.startswith("B1 dataset visits, partition 2026-03-04: not released, due 144 hours ago")
    assert "2 partitions are missing" in said
    assert "--from-date 2026-03-04 --to-date 2026-03-07" in said


def test_a_partition_that_was_settled_and_not_released_is_missing() -> None:
    states = days(date(2026, 3, 10)) | {date(2026, 3, 10): state(date(2026, 3, 10), released_at=None)}
    assert one(watches.missing_partitions(SCHEDULE, states, DUE)).startswith("B1 dataset visits, partition 2026-03-10:")


def test_a_day_that_had_ended_when_the_site_began_is_due_so_long_after_that() -> None:
    began = datetime(2026, 3, 11, 14, tzinfo=UTC)
    schedule = replace(SCHEDULE, first=date(2026, 3, 10), began=began)
    due = began + timedelta(hours=6)
    assert not list(watches.missing_partitions(schedule, {}, due - timedelta(seconds=1)))
    assert "partition 2026-03-10: not released" in one(watches.missing_partitions(schedule, {}, due))
    in_time, late = ({date(2026, 3, 10): state(date(2026, 3, 10), released_at=at)} for at in (due, due + timedelta(1)))
    assert not list(watches.late_partitions(schedule, in_time, due))
    assert "24.0 hours late" in one(watches.late_partitions(schedule, late, due))


def test_nothing_is_missing_from_before_the_first_partition() -> None:
    assert not list(watches.missing_partitions(SCHEDULE, {}, datetime(2026, 3, 2, 4, 59, tzinfo=UTC)))
    assert one(watches.missing_partitions(SCHEDULE, {}, datetime(2026, 3, 2, 5, tzinfo=UTC)))


def test_the_hour_is_of_the_time_zone_also_when_the_clocks_change() -> None:
    states = days(date(2026, 3, 28))
    summer = datetime(2026, 3, 30, 4, tzinfo=UTC)  # six in the morning, an hour earlier than the day before
    assert one(watches.missing_partitions(SCHEDULE, states, summer))
    assert not list(watches.missing_partitions(SCHEDULE, states, summer - timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("released_at", "now", "is_on"),
    [
        (DUE, DUE, False),
        (DUE + timedelta(minutes=6), DUE + timedelta(hours=1), True),
        (DUE + timedelta(minutes=6), DUE + timedelta(days=1), False),  # said for a day
    ],
)
def test_a_late_partition_is_told_for_a_day(released_at: datetime, now: datetime, *, is_on: bool) -> None:
    states = days(date(2026, 3, 11)) | {date(2026, 3, 10): state(date(2026, 3, 10), released_at=released_at)}
    assert bool(list(watches.late_partitions(SCHEDULE, states, now))) == is_on
    if is_on:
        assert "released 0.1 hours late" in one(watches.late_partitions(SCHEDULE, states, now))


def test_an_empty_day_is_an_alarm_where_the_days_before_had_rows() -> None:
    states = days(date(2026, 3, 10)) | {date(2026, 3, 10): state(date(2026, 3, 10), at_source=0)}
    assert "holds no row of this day, and held 100" in one(watches.empty_partitions(SCHEDULE, states, DUE))
    assert not list(watches.empty_partitions(SCHEDULE, days(date(2026, 3, 10)), DUE))
    states[date(2026, 3, 8)] = state(date(2026, 3, 8), at_source=0)  # empty days are usual here
    assert not list(watches.empty_partitions(SCHEDULE, states, DUE))
    new = {date(2026, 3, 10): state(date(2026, 3, 10), at_source=0)}
    assert not list(watches.empty_partitions(SCHEDULE, new, DUE))


# -- rates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quarantined", "is_on"), [(7, False), (8, True)])
def test_a_jump_of_the_quarantine_rate_is_against_what_is_usual(quarantined: int, *, is_on: bool) -> None:
    usual = list(days(date(2026, 3, 9), quarantined=2).values())
    found = list(watches.quarantine_jumps(SCHEDULE, [*usual, state(date(2026, 3, 10), quarantined=quarantined)], 0.05))
    assert bool(found) == is_on
    if is_on:
        assert "8 of 100 rows are quarantined (8.0%, usually 2.0%)" in found[0]


def test_with_too_few_days_nothing_is_usual() -> None:
    states = list(days(date(2026, 3, 3)).values())
    assert not list(watches.quarantine_jumps(SCHEDULE, [*states[:-1], state(date(2026, 3, 3), quarantined=100)], 0.05))
    assert list(watches.quarantine_jumps(SCHEDULE, [*states, state(date(2026, 3, 4), quarantined=100)], 0.05))


def test_empty_days_say_nothing_of_the_rate() -> None:
    states = [*days(date(2026, 3, 9)).values(), state(date(2026, 3, 10), at_source=0)]
    assert not list(watches.quarantine_jumps(SCHEDULE, states, 0.05))


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_that_came_after_the_pull_are_counted() -> None:
    states, day = days(date(2026, 3, 10)), date(2026, 3, 8)
    states[day] = replace(states[day], source_counts={"bookings": 100, "payment_cards": 50, "booking_services": 7})

    def late(bookings: int, cards: int) -> list[str]:
        counts = {"bookings": bookings, "payment_cards": cards, "booking_services": 7}
        return list(watches.late_rows(SCHEDULE, states, {day: counts}))

    assert late(100, 50) == late(99, 0) == []  # what is gone from the source is no late row, and hides none
    assert late(103, 0) == [
        f"R1 dataset visits, partition {day}: 3 rows of bookings came to the source after it was pulled; bring them "
        f"with `governance quarantine replay --dataset visits --partition {day}`, the next release carries them in"
    ]
    assert "1 rows of bookings, 2 rows of payment_cards came" in late(101, 52)[0]
    assert not list(watches.late_rows(SCHEDULE, {}, {day: {"bookings": 103}}))  # not pulled: another watch's business


@pytest.mark.parametrize(("hours", "is_on"), [(12, False), (13, True)])
def test_the_oldest_day_with_rows_that_is_not_settled_is_an_alarm_after_the_limit(hours: int, *, is_on: bool) -> None:
    day, limit = date(2026, 3, 10), timedelta(hours=12)
    now = SCHEDULE.ended_at(day) + timedelta(hours=hours)
    landed = {day: state(day, kind="landed", released_at=None)}
    for states in ({}, landed):
        found = list(watches.oldest_unprocessed(SCHEDULE, states, {day: 7, FIRST: 0}, now, limit))
        assert bool(found) == is_on
        if is_on:
            assert "partition 2026-03-10: 7 rows wait for 13 hours" in found[0]
    assert not list(watches.oldest_unprocessed(SCHEDULE, {day: state(day)}, {day: 7}, now, limit))


@pytest.mark.clause("K1")
@pytest.mark.parametrize(
    ("hours", "says"),
    [
        (238.9, None),
        (239.0, None),
        (239.1, "K1 cards: the oldest row that is left ends its term in 0.9 hours; see DAG retention"),
        (240.5, "K1 cards: the oldest row that is left has outlived its term by 0.5 hours"),
    ],
)
def test_the_oldest_card_that_nears_the_end_of_its_term_is_an_alarm(hours: float, says: str | None) -> None:
    now, ten_days, an_hour = datetime(2026, 3, 20, tzinfo=UTC), timedelta(days=10), timedelta(hours=1)
    found = list(watches.nearing_end("K1 cards", now - timedelta(hours=hours), ten_days, an_hour, now))
    assert len(found) == (says is not None)
    assert says is None or found[0].startswith(says)


def test_rows_from_before_a_site_began_wait_from_its_beginning() -> None:
    began, day, limit = datetime(2026, 3, 20, 12, tzinfo=UTC), date(2026, 3, 10), timedelta(hours=12)
    schedule = replace(SCHEDULE, began=began)
    for late, alarms in ((timedelta(0), 0), (timedelta(seconds=1), 1)):
        found = list(watches.oldest_unprocessed(schedule, {}, {day: 7}, began + limit + late, limit))
        assert len(found) == alarms
    assert "7 rows wait for 12 hours" in found[0]


@pytest.mark.clause("F1")
@pytest.mark.parametrize(
    ("sent_hours_ago", "says"),
    [({}, []), ({"clinic": [47]}, []), ({"clinic": [48]}, ["clinic: 1 deliveries", "the oldest for 48 hours"]),
     ({"clinic": [60, 50, 1], "agency": [71]}, ["clinic: 2 deliveries", "the oldest for 60 hours"]),
     ({"gone": [0]}, ["gone: 1 deliveries"])],
)  # fmt: skip
def test_a_delivery_that_is_not_acknowledged_in_time_is_an_alarm(
    sent_hours_ago: dict[str, list[int]], says: list[str]
) -> None:
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    sent = [(who, now - timedelta(hours=hours)) for who, ago in sent_hours_ago.items() for hours in ago]
    told = list(watches.unacknowledged(sent, {"clinic": 48, "agency": 72}, now))
    assert len(told) == bool(says)
    assert all(words in told[0] for words in says)


MARCH = datetime(2026, 3, 31, tzinfo=UTC)


@pytest.mark.clause("F1")
@pytest.mark.parametrize(
    ("before", "says"),
    [
        (timedelta(days=30, seconds=1), None),
        (timedelta(days=30), "ends on 2026-03-31 00:00 UTC, in 30 days; ask for the next one"),
        (timedelta(hours=1), "in 0 days"),
        (timedelta(0), "ends on 2026-03-31 00:00 UTC, in 0 days"),
        (timedelta(seconds=-1), "has ended on 2026-03-31 00:00 UTC; ask for the next one"),
    ],
)
def test_what_ends_is_told_from_so_many_days_before_on_and_after(before: timedelta, says: str | None) -> None:
    one = watches.Ending("F1 recipient clinic, its certificate", MARCH, timedelta(days=30), "ask for the next one")
    other = watches.Ending("F1 recipient agency, its certificate", MARCH, timedelta(days=-365), "nothing")
    told = list(watches.nearing_expiry([one, other], MARCH - before))
    assert len(told) == (says is not None)
    assert all(alarm.startswith("F1 recipient clinic, its certificate: ") and str(says) in alarm for alarm in told)


@pytest.mark.clause("E1")
@pytest.mark.parametrize(
    ("released_days_ago", "passed_days_ago", "says"),
    [
        (None, None, None),
        (None, 30, None),
        (8, None, "no attack on all of them together has passed, the first is 8 days old"),
        (7.99, None, None),
        (100, 8, "an attack on all of them together last passed 8 days ago"),
        (100, 7.99, None),
        (7.99, 100, None),  # of before anything was released
        (9, 100, "no attack on all of them together has passed, the first is 9 days old"),
    ],
)
def test_releases_that_were_not_attacked_together_for_too_long_are_an_alarm(
    released_days_ago: float | None, passed_days_ago: float | None, says: str | None
) -> None:
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    released, passed = (
        None if days is None else now - timedelta(days=days) for days in (released_days_ago, passed_days_ago)
    )
    told = list(watches.overdue_attack("bookings", released, passed, timedelta(days=8), now))
    assert [says is not None and says in alarm for alarm in told] == [True] * (says is not None)


@pytest.mark.clause("L3")
@pytest.mark.parametrize(
    ("due_in_hours", "says"),
    [([], None), ([1], None), ([0], "1 are past due and not met, the oldest for 0 hours"),
     ([1, -1, -30], "2 are past due and not met, the oldest for 30 hours")],
)  # fmt: skip
def test_an_obligation_that_is_not_met_when_it_is_due_is_an_alarm(due_in_hours: list[int], says: str | None) -> None:
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    told = list(watches.past_due_obligations([now + timedelta(hours=hours) for hours in due_in_hours], now))
    assert [says in alarm for alarm in told if says] == [True] * (says is not None)
    assert len(told) == (says is not None)
