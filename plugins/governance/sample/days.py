"""Stockholm days: their bounds as instants, instants spread through them, and how busy each is.

Instants are int64 microseconds since 1970-01-01 UTC; a day may have 23 or 25 hours.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from governance.sample.draws import Dates, Floats, Ints

STOCKHOLM = ZoneInfo("Europe/Stockholm")
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_FIRST = date(2000, 1, 1)
_QUARTER = 15 * MINUTE

# Monday to Sunday, mean 1: people book on working days and read in the evenings of Sunday and Monday.
BOOKING_WEEK = (1.2, 1.18, 1.12, 1.08, 0.98, 0.64, 0.8)
VISIT_WEEK = (1.12, 1.08, 1.05, 1.02, 0.92, 0.83, 0.98)
# Per local hour.
BOOKING_HOURS = (5, 3, 2, 2, 2, 4, 10, 24, 46, 62, 70, 68, 60, 62, 66, 64, 60, 54, 52, 58, 64, 54, 30, 14)
VISIT_HOURS = (14, 8, 5, 4, 4, 7, 16, 32, 44, 50, 52, 54, 60, 54, 50, 48, 50, 54, 60, 70, 80, 78, 54, 30)


def number(day: date) -> int:
    """Return the number of a day, from 2000-01-01; keys of rows begin with it."""
    return (day - _FIRST).days


def day_of(day_number: int) -> date:
    """Return the day of a number (see `number`)."""
    return _FIRST + timedelta(days=day_number)


@lru_cache(maxsize=4096)
def bounds(day: date) -> tuple[int, int]:
    """Return the first instant of a Stockholm day and the first of the next one."""
    first = datetime.combine(day, time(), STOCKHOLM)
    following = datetime.combine(day + timedelta(days=1), time(), STOCKHOLM)
    return int(first.timestamp()) * SECOND, int(following.timestamp()) * SECOND


@lru_cache(maxsize=1024)
def _curve(day: date, hours: tuple[int, ...]) -> tuple[Floats, Floats]:
    begin, end = bounds(day)
    edges = np.arange(begin, end + 1, _QUARTER)
    local = [datetime.fromtimestamp(int(edge) // SECOND, STOCKHOLM).hour for edge in edges[:-1]]
    share = np.cumsum([0.0] + [float(hours[hour]) for hour in local])
    return share / share[-1], edges.astype(np.float64)


def instants(day: date, uniform: Floats, hours: tuple[int, ...]) -> Ints:
    """Return the instant of a Stockholm day at each share of its activity (rising with the share)."""
    shares, edges = _curve(day, hours)
    begin, end = bounds(day)
    found = np.interp(uniform, shares, edges).astype(np.int64)
    return np.clip(found, begin, end - 1)


def instants_by_number(numbers: Ints, uniform: Floats, hours: tuple[int, ...]) -> Ints:
    """Return as `instants` does, each in a day of its own (given by number)."""
    found = np.empty(len(numbers), dtype=np.int64)
    for day_number in np.unique(numbers):
        here = numbers == day_number
        found[here] = instants(day_of(int(day_number)), uniform[here], hours)
    return found


def ends_by_number(numbers: Ints) -> Ints:
    """Return the last instant of each day (given by number)."""
    different, where = np.unique(numbers, return_inverse=True)
    return np.array([bounds(day_of(int(n)))[1] - 1 for n in different], dtype=np.int64)[where]


def begins_by_number(numbers: Ints) -> Ints:
    """Return the first instant of each day (given by number)."""
    different, where = np.unique(numbers, return_inverse=True)
    return np.array([bounds(day_of(int(n)))[0] for n in different], dtype=np.int64)[where]


def local_dates(at: Ints) -> Dates:
    """Return the Stockholm date of each instant."""
    local = pd.DatetimeIndex(at.astype("M8[us]")).tz_localize("UTC").tz_convert(STOCKHOLM).tz_localize(None)
    return local.to_numpy().astype("M8[D]")


def years_before(dates: Dates, years: int | Ints) -> Dates:
    """Return the same day of the month that many years earlier; 28 February stands in for a missing 29th."""
    month = dates.astype("M8[M]")
    of_month = (dates - month.astype("M8[D]")).astype(np.int64)
    target = month - (np.asarray(years, dtype=np.int64) * 12).astype("m8[M]")
    length = ((target + np.timedelta64(1, "M")).astype("M8[D]") - target.astype("M8[D]")).astype(np.int64)
    found: Dates = target.astype("M8[D]") + np.minimum(of_month, length - 1).astype("m8[D]")
    return found


def weekdays(dates: Dates) -> Ints:
    """Return 0 for Monday to 6 for Sunday."""
    return (dates.astype(np.int64) + 3) % 7


def rate_of(day: date, total: int, first: date, last: date, week: tuple[float, ...]) -> int:
    """Return how many rows a day has where first to last have at least `total`; any whole week gives the same."""
    shares = sum(week[(first + timedelta(days=n)).weekday()] for n in range((last - first).days + 1))
    return int(np.ceil(round(total * week[day.weekday()] / shares, 9)))
