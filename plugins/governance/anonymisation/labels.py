"""Labels that say by themselves what they cover: intervals of numbers, and periods of days. Pure."""

from __future__ import annotations

import math
import re
from datetime import date, timedelta

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_INTERVAL = re.compile(rf"\s*([\[(]?)\s*({_NUMBER})\s*(?:,|~|\.\.)\s*({_NUMBER})\s*([\])]?)\s*")
_PERIOD = re.compile(r"(\d{4})(?:-(\d{2})|-Q([1-4])|(s))?")


def number(text: str) -> float | None:
    """A finite number, or None.

    >>> number(" 39 "), number("nan"), number("thirty")
    (39.0, None, None)
    """
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def interval(label: str, *, whole: bool = True) -> tuple[float, float] | None:
    """The ends of an interval, both inside; an end that is outside is stepped over: by one, where numbers are whole.

    >>> interval("[20, 24]"), interval("20~24"), interval("[20, 25)"), interval("20-24")
    ((20.0, 24.0), (20.0, 24.0), (20.0, 24.0), None)
    """
    match = _INTERVAL.fullmatch(label)
    if match is None:
        return None
    low, high = float(match[2]), float(match[3])
    whole = whole and low == math.floor(low) and high == math.floor(high)
    if match[1] == "(":
        low = low + 1 if whole else math.nextafter(low, math.inf)
    if match[4] == ")":
        high = high - 1 if whole else math.nextafter(high, -math.inf)
    return (low, high) if low <= high else None


def period(label: str) -> tuple[float, float] | None:
    """The first and last day of a decade, year, quarter or month, as ordinals.

    >>> [end - begin + 1 for begin, end in map(period, ("2020s", "2024", "2024-Q1", "2024-02"))]
    [3653.0, 366.0, 91.0, 29.0]
    """
    match = _PERIOD.fullmatch(label)
    if match is None:
        return None
    year, month, quarter, decade = int(match[1]), match[2], match[3], match[4]
    first = int(month) if month else 3 * int(quarter) - 2 if quarter else 1
    months = 1 if month else 3 if quarter else 120 if decade else 12
    try:
        begin = date(year, first, 1)
        years, after = divmod(first - 1 + months, 12)
        end = date(year + years, after + 1, 1) - timedelta(days=1)
    except ValueError:
        return None
    return float(begin.toordinal()), float(end.toordinal())
