"""The feed of a day: bookings made on it, and later versions of bookings made in the two weeks before.

Which bookings change, when and how is drawn by key. So a day's feed follows from the day alone, and a booking whose
first version lies before the first day of the sample has no later one in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from governance.sample import days, kinds
from governance.sample.bookings import Bookings, describe, instants
from governance.sample.draws import Bools, Dates, Floats, Ints
from governance.sample.plan import CANARY_SLOT, TROUBLE_SLOT, VIEW_STRIDE, Plan, day_numbers, keys_of, slots

BOOKED, AMENDED, CANCELLED = range(3)
STATUSES: list[str | None] = ["booked", "amended", "cancelled"]
CANARIES_PER_DAY = 52  # two cohorts of 26 clients

_LONGEST = 13  # days from the first version to the last


@dataclass(frozen=True)
class Feed:
    """One entry per row of the feed, in the order of recording; `booking` is the place of its booking."""

    booking: Ints
    version: Ints
    status: Ints
    changed_at: Ints
    recorded_at: Ints
    service_date: Dates
    nights: Ints
    price_minor: Ints
    feed_id: Ints


@dataclass(frozen=True)
class Chain:
    """The later versions of bookings: which there are, what they are, and the day and instant of each (0: none)."""

    has: tuple[Bools, Bools]
    status: tuple[Ints, Ints]
    day: tuple[Ints, Ints]
    at: tuple[Ints, Ints]


@dataclass(frozen=True)
class Events:
    """What is recorded on a day, in order; `before` is when the version before was recorded."""

    booking: Ints
    version: Ints
    status: Ints
    recorded_at: Ints
    before: Ints


def chain(plan: Plan, keys: Ints) -> Chain:
    """Return versions 2 and 3 of bookings: one in seven changes, about a third of that on the same day."""
    draws, number = plan.draws("versions"), day_numbers(keys)
    first, _ = instants(plan, keys)
    ordinary = slots(keys) < TROUBLE_SLOT
    gap = _of_kind(plan, keys, "version_gap")
    second = ordinary & (draws.uniform("second", keys) < 0.14)
    cancelled = draws.uniform("cancelled", keys) < 0.42
    third = second & ~cancelled & (draws.uniform("third", keys) < 0.25)
    wait_2 = _wait(draws.uniform("wait/2", keys), 9)
    wait_3 = wait_2 + _wait(draws.uniform("wait/3", keys), _LONGEST - 9)
    at_2 = _after(first, number + wait_2, draws.uniform("at/2", keys))
    at_3 = _after(np.where(third, at_2, first), number + np.where(third, wait_3, 0), draws.uniform("at/3", keys))
    day_3 = number + np.where(gap, 0, wait_3)
    status_3 = np.where(draws.uniform("cancelled/3", keys) < 0.4, CANCELLED, AMENDED)
    return Chain(
        (second, third | gap),
        (np.where(cancelled, CANCELLED, AMENDED), status_3),
        (number + wait_2, day_3),
        (at_2, at_3),
    )


def _wait(uniform: Floats, longest: int) -> Ints:
    later = 1 + np.minimum(-np.log1p(-np.clip((uniform - 0.3) / 0.7, 0, 1 - 1e-12)) * 2.5, longest - 1).astype(np.int64)
    return np.where(uniform < 0.3, 0, later)


def _after(before: Ints, number: Ints, uniform: Floats) -> Ints:
    """Return an instant of the day, after `before` where that is on the same day."""
    fresh = days.instants_by_number(number, uniform, days.BOOKING_HOURS)
    end = days.ends_by_number(number)
    same_day = before >= days.begins_by_number(number)
    later = before + 1 + ((end - before - 1) * (0.03 + 0.94 * uniform)).astype(np.int64)
    return np.where(same_day, later, fresh)


def _of_kind(plan: Plan, keys: Ints, kind: str) -> Bools:
    slot, number = slots(keys), day_numbers(keys)
    found = np.zeros(len(keys), dtype=bool)
    troubled = (slot >= TROUBLE_SLOT) & (slot < CANARY_SLOT)
    for n in np.unique(number[troubled]):
        planned = kinds.booking_kinds_on(plan, days.day_of(int(n)))
        places = [TROUBLE_SLOT + place for place, name in enumerate(planned) if name == kind]
        found |= (number == n) & np.isin(slot, places)
    return found


def new_keys(plan: Plan, day: date) -> Ints:
    """Return the keys of the bookings made on a day: ordinary, troubled and canary ones."""
    troubled = len(kinds.booking_kinds_on(plan, day))
    canaries = CANARIES_PER_DAY if plan.canaries else 0
    parts = ((plan.bookings_on(day), 0), (troubled, TROUBLE_SLOT), (canaries, CANARY_SLOT))
    return np.concatenate([keys_of(day, count, slot) for count, slot in parts])


def feed_of(plan: Plan, day: date, origin: date) -> tuple[Bookings, Feed]:
    """Return the feed of a day of a sample that begins at `origin`, and the bookings it is about."""
    number = days.number(day)
    fresh = new_keys(plan, day)
    earlier = [day - timedelta(days=n) for n in range(1, _LONGEST + 1) if day - timedelta(days=n) >= origin]
    old = [keys_of(d, plan.bookings_on(d)) for d in earlier]
    keys = np.concatenate([fresh, *old])
    links = chain(plan, keys)
    here = [has & (when == number) for has, when in zip(links.has, links.day, strict=True)]
    wanted = (np.arange(len(keys)) < len(fresh)) | here[0] | here[1]
    place = np.cumsum(wanted) - 1
    bookings = describe(plan, keys[wanted], links.has[0][wanted])
    doubled = np.flatnonzero(_of_kind(plan, fresh, "duplicate_version"))
    rows = [place[: len(fresh)], place[doubled], place[here[0]], place[here[1]]]
    versions = [np.ones(len(fresh)), np.ones(len(doubled)), np.full(len(rows[2]), 2), np.full(len(rows[3]), 3)]
    booking, version = np.concatenate(rows), np.concatenate(versions).astype(np.int64)
    recorded = np.concatenate(
        [
            bookings.recorded_at[rows[0]],
            _after(bookings.recorded_at[rows[1]], np.full(len(doubled), number), np.full(len(doubled), 0.1)),
            links.at[0][here[0]],
            links.at[1][here[1]],
        ]
    )
    status = np.concatenate([np.zeros(len(fresh) + len(doubled)), links.status[0][here[0]], links.status[1][here[1]]])
    before = np.concatenate([recorded[: len(fresh) + len(doubled)], *_previous(bookings, links, here, rows)])
    order = np.lexsort((version, booking, recorded))
    events = Events(booking[order], version[order], status.astype(np.int64)[order], recorded[order], before[order])
    return bookings, _feed(plan, bookings, number, events)


def _previous(bookings: Bookings, links: Chain, here: list[Bools], rows: list[Ints]) -> tuple[Ints, Ints]:
    """Return when the version before each second and third one was recorded."""
    first = bookings.recorded_at[rows[3]]
    return bookings.recorded_at[rows[2]], np.where(links.has[0][here[1]], links.at[0][here[1]], first)


def _feed(plan: Plan, bookings: Bookings, number: int, events: Events) -> Feed:
    booking, version, status, recorded = events.booking, events.version, events.status, events.recorded_at
    draws = plan.draws("versions")
    keys = bookings.key[booking]
    row = keys * 4 + version
    back = np.minimum((recorded - events.before) // 2, 20 * days.MINUTE)
    changed = np.where(
        version == 1, bookings.booked_at[booking], recorded - 1 - (draws.uniform("back", row) * back).astype(int)
    )
    moved = (status == AMENDED) & (draws.uniform("moved", row) < 0.6)
    shift = np.where(moved, 7 * (1 + draws.below("weeks", row, 4)), 0)
    amended = status == AMENDED
    nights = bookings.nights[booking] + np.where(amended & ~moved, draws.below("nights", row, 3), 0)
    factor = np.where(amended, 0.95 + 0.25 * draws.uniform("factor", row), 1.0)
    price = np.maximum(bookings.price_minor[booking] * factor, 1).astype(np.int64)
    return Feed(
        booking=booking,
        version=version,
        status=status,
        changed_at=changed,
        recorded_at=recorded,
        service_date=bookings.service_date[booking] + shift.astype("m8[D]"),
        nights=nights,
        price_minor=price,
        feed_id=feed_ids(number, recorded),
    )


def feed_ids(number: int, recorded: Ints) -> Ints:
    """Return ids of a day's rows of the feed (in the order of recording): the day's number and the millisecond in it.

    An id says nothing of how many rows came before, so it is the same whatever day the sample begins on; where two
    rows fall into one millisecond, the later takes the next id.
    """
    begin, _ = days.bounds(days.day_of(number))
    place = np.arange(len(recorded), dtype=np.int64)
    moment: Ints = np.maximum.accumulate((recorded - begin) // 1000 - place) + place
    return number * VIEW_STRIDE + moment
