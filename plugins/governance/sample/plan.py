"""What a generated sample is asked to be, and the keys of its rows.

A booking's key is the number of its Stockholm day times `STRIDE` plus its slot in the day. Ordinary bookings,
bookings with a planted trouble and canary bookings have slots apart, so that how many there are of one does not move
the others. A client has the key of the first booking made: the client's *home*.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from governance.errors import InputError
from governance.sample import days
from governance.sample.draws import Bools, Draws, Ints, scrambled

# Raised whenever the same parameters would give other rows: days of two editions do not fit together in one source.
EDITION = 4

STRIDE = 1_000_000
TROUBLE_SLOT = 800_000
CANARY_SLOT = 900_000
VIEW_STRIDE = 100_000_000
TROUBLE_VIEW_SLOT = 80_000_000
CANARY_VIEW_SLOT = 90_000_000

# Of bookings, made by a client of an earlier day; in a sample of a week, two in three of these find that day in it.
_REPEATS = 0.3


@dataclass(frozen=True)
class Plan:
    """What was asked for: totals over the first fill (`first` to `last`), whose daily rate later days keep."""

    seed: int
    bookings: int
    visits: int
    first: date
    last: date
    canaries: bool = True

    def __post_init__(self) -> None:
        if self.bookings < 1 or self.visits < 0 or self.last < self.first or self.seed < 0:
            raise InputError("A sample needs at least one booking, one day, and no negative number.")
        busiest = max(days.BOOKING_WEEK) * self.bookings, max(days.VISIT_WEEK) * self.visits
        span = (self.last - self.first).days + 1
        if busiest[0] / span >= TROUBLE_SLOT or busiest[1] / span >= TROUBLE_VIEW_SLOT:
            raise InputError("A sample day holds fewer than 650,000 bookings and 70,000,000 visits: ask for more days.")
        if days.number(self.first) < 366:
            raise InputError("A sample begins in 2001 or later: give a later --until.")

    def bookings_on(self, day: date) -> int:
        """Return how many ordinary bookings are first recorded on a day."""
        return days.rate_of(day, self.bookings, self.first, self.last, days.BOOKING_WEEK)

    def visits_on(self, day: date) -> int:
        """Return how many ordinary page views are recorded on a day."""
        return days.rate_of(day, self.visits, self.first, self.last, days.VISIT_WEEK)

    def draws(self, stream: str) -> Draws:
        """Return the draws of this sample under a name."""
        return Draws(self.seed, stream)


def keys_of(day: date, count: int, first_slot: int = 0) -> Ints:
    """Return the keys of a day's slots."""
    return days.number(day) * STRIDE + first_slot + np.arange(count, dtype=np.int64)


def slots(keys: Ints) -> Ints:
    """Return each key's slot in its day."""
    return keys % STRIDE


def day_numbers(keys: Ints) -> Ints:
    """Return the number of each key's day."""
    return keys // STRIDE


def booking_ids(keys: Ints) -> Ints:
    """Return the booking ids of keys."""
    return day_numbers(keys) * STRIDE + scrambled(slots(keys), STRIDE, 387_421, 104_729)


def client_ids(keys: Ints) -> Ints:
    """Return the client ids of home keys."""
    return day_numbers(keys) * STRIDE + scrambled(slots(keys), STRIDE, 615_043, 611_953)


def repeats(plan: Plan, keys: Ints) -> Bools:
    """Tell which bookings are made by a client of an earlier day."""
    drawn = plan.draws("bookings").uniform("repeat", keys) < _REPEATS
    return drawn & (slots(keys) < TROUBLE_SLOT)


def home_keys(plan: Plan, keys: Ints) -> Ints:
    """Return the home key of each booking's client, following repeated bookings back to the first."""
    draws, home = plan.draws("bookings"), keys.copy()
    open_ = repeats(plan, home)
    while open_.any():
        at = home[open_]
        back = 1 + np.minimum(-np.log1p(-draws.uniform("repeat/back", at)) * 2.5, 30).astype(np.int64)
        origin = day_numbers(at) - back
        counts = _counts(plan, tuple(int(n) for n in np.unique(origin)))
        many = np.array([counts[int(n)] for n in origin], dtype=np.int64)
        home[open_] = origin * STRIDE + draws.below("repeat/slot", at, many)
        open_ = open_ & repeats(plan, home)
    return home


@lru_cache(maxsize=256)
def _counts(plan: Plan, numbers: tuple[int, ...]) -> dict[int, int]:
    return {n: plan.bookings_on(days.day_of(n)) for n in numbers}


def days_between(first: date, last: date) -> list[date]:
    """Return every day from first to last."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
