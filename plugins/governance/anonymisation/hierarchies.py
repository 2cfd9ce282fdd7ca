"""Hierarchies: from a value up to the top, level by level; declared as data and checked before use. Pure.

A hierarchy gives every value its *path*: a label per level, the finest first, the top last. Those of CSV files and of
child-to-parent mappings list their leaves; those of numbers, dates and texts are rules. A path says what a level means,
so two values may share a label on a level only when they share all labels above it: otherwise it is no tree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol

from governance.errors import PolicyError, shown

TOP = "*"
SAFE = 2**53  # beyond it, neighbouring whole numbers are one and the same float

Path = tuple[str, ...]


class Hierarchy(Protocol):
    """What a quasi-identifier's values can be coarsened to."""

    @property
    def levels(self) -> tuple[str, ...]:
        """A name per level above the value, the top last."""

    def path(self, value: str) -> Path | None:
        """The labels above a value, the top last; None for a value that the hierarchy does not know."""

    def position(self, value: str) -> float | None:
        """Where a value lies on a line, for numbers and dates; None where there is no line."""


@dataclass(frozen=True)
class Tree:
    """A hierarchy that lists its leaves."""

    levels: tuple[str, ...]
    paths: Mapping[str, Path]
    numeric: bool = False

    def path(self, value: str) -> Path | None:
        return self.paths.get(value)

    def position(self, value: str) -> float | None:
        return as_number(value) if self.numeric else None


@dataclass(frozen=True)
class Numbers:
    """Numbers in buckets of ever larger widths, from `origin` on: `[20, 24]` for whole numbers, else `[20, 25)`."""

    widths: tuple[float, ...]
    origin: float = 0
    whole: bool = True

    @property
    def levels(self) -> tuple[str, ...]:
        return (*(f"{width:g}" for width in self.widths), "all")

    def path(self, value: str) -> Path | None:
        number = as_number(value)
        if number is None or abs(number) > SAFE or (self.whole and number != math.floor(number)):
            return None
        return (*(self._bucket(number, width) for width in self.widths), TOP)

    def position(self, value: str) -> float | None:
        return as_number(value)

    def _bucket(self, number: float, width: float) -> str:
        place = math.floor((number - self.origin) / width)
        if self.whole:
            low = int(self.origin) + place * int(width)
            return f"[{low}, {low + int(width) - 1}]"
        # 0.3 / 0.1 is less than 3: what decides are the ends as they are written.
        place += (number >= float(self._edge(place + 1, width))) - (number < float(self._edge(place, width)))
        return f"[{self._edge(place, width)}, {self._edge(place + 1, width)})"

    def _edge(self, place: int, width: float) -> str:
        return f"{self.origin + place * width:.15g}"


@dataclass(frozen=True)
class Intervals:
    """Numbers in declared intervals, each (label, from, to) with both ends inside, one level above the other."""

    levels: tuple[str, ...]  # the top is added
    tables: tuple[tuple[tuple[str, float, float], ...], ...]

    def path(self, value: str) -> Path | None:
        number = as_number(value)
        found = [next((label for label, low, high in table if number is not None and low <= number <= high), None)
                 for table in self.tables]  # fmt: skip
        return None if None in found else (*(label for label in found if label), TOP)

    def position(self, value: str) -> float | None:
        return as_number(value)


DATE_LEVELS = ("month", "quarter", "year", "decade")


@dataclass(frozen=True)
class Dates:
    """ISO dates (a time of day is cut off) to months, quarters, years, decades."""

    units: tuple[str, ...] = ("month", "quarter", "year")

    @property
    def levels(self) -> tuple[str, ...]:
        return (*self.units, "all")

    def path(self, value: str) -> Path | None:
        day = _day(value)
        return None if day is None else (*(_period(day, unit) for unit in self.units), TOP)

    def position(self, value: str) -> float | None:
        day = _day(value)
        return None if day is None else float(day.toordinal())


@dataclass(frozen=True)
class Texts:
    """Codes that say where they belong: by their first characters (`114 55` to `114**`), or the part before a sign."""

    prefixes: tuple[int, ...] = ()
    separator: str = ""

    @property
    def levels(self) -> tuple[str, ...]:
        return (*((f"first_{length}" for length in self.prefixes) if self.prefixes else ("group",)), "all")

    def path(self, value: str) -> Path | None:
        if self.separator:
            return (f"{value.split(self.separator, 1)[0]}{self.separator}*", TOP)
        bare = value.replace(" ", "")
        if len(bare) <= self.prefixes[0]:
            return None
        return (*(bare[:length] + "*" * (len(bare) - length) for length in self.prefixes), TOP)

    def position(self, value: str) -> float | None:
        return None


def intervals(name: str, levels: Mapping[str, Mapping[str, tuple[float, float]]]) -> Intervals:
    """Numbers in declared intervals: level to label to (from, to), the finest level first.

    Raises PolicyError for an interval that ends before it begins, overlaps, gaps (more than 1 between whole ends), and
    intervals that no interval of the next level holds.
    """
    tables: list[tuple[tuple[str, float, float], ...]] = []
    meaning: dict[str, tuple[float, float]] = {}
    for level, labels in levels.items():
        for label, ends in labels.items():
            if label in ("", TOP):
                raise PolicyError(f"hierarchy {name}, level {level}: a label is a text, and not {TOP}")
            if meaning.setdefault(label, ends) != ends:
                raise PolicyError(f"hierarchy {name}: the label {shown(label)} overlaps, it stands for two intervals")
        listed = ((label, float(low), float(high)) for label, (low, high) in labels.items())
        table = tuple(sorted(listed, key=lambda interval: interval[1]))
        _side_by_side(f"hierarchy {name}, level {level}", table)
        for label, low, high in tables[-1] if tables else ():
            if not any(above <= low and high <= below for _, above, below in table):
                raise PolicyError(f"hierarchy {name}: {shown(label)} lies in no interval of level {level}")
        tables.append(table)
    if not tables:
        raise PolicyError(f"hierarchy {name} has no level")
    return Intervals((*levels, "all"), tuple(tables))


def _side_by_side(where: str, table: Sequence[tuple[str, float, float]]) -> None:
    for label, low, high in table:
        if not low <= high:
            raise PolicyError(f"{where}: {shown(label)} ends before it begins")
    for (label, _, high), (following, low, _) in zip(table, table[1:], strict=False):
        if low <= high:
            raise PolicyError(f"{where}: {shown(label)} overlaps {shown(following)}")
        if low - high > 1:
            raise PolicyError(f"{where}: a gap between {high:g} and {low:g}")


def numbers(name: str, widths: Sequence[float], *, origin: float = 0, whole: bool = True) -> Numbers:
    """Numbers in buckets. Raises PolicyError unless each width is positive and a multiple of the one below."""
    if any(not math.isfinite(given) or (whole and given != int(given)) for given in (*widths, origin)):
        raise PolicyError(f"hierarchy {name}: widths and origin are finite, and whole where the numbers are")
    if any(width <= 0 for width in widths):
        raise PolicyError(f"hierarchy {name}: widths are positive")
    for narrow, wide in zip(widths, widths[1:], strict=False):
        if wide <= narrow or Decimal(str(wide)) % Decimal(str(narrow)):  # as they are written: 0.5 is five times 0.1
            raise PolicyError(f"hierarchy {name}: a width of {wide:g} is no multiple of {narrow:g}, so buckets overlap")
    return Numbers(tuple(widths), origin, whole)


def dates(name: str, units: Sequence[str]) -> Dates:
    """Dates in periods. Raises PolicyError for units that are none of DATE_LEVELS in their order."""
    if not units or list(units) != [unit for unit in DATE_LEVELS if unit in units]:
        raise PolicyError(f"hierarchy {name}: levels of dates are some of {', '.join(DATE_LEVELS)}, in this order")
    return Dates(tuple(units))


def texts(name: str, prefixes: Sequence[int] = (), separator: str = "") -> Texts:
    """Codes cut short. Raises PolicyError unless lengths fall and are positive, or a separator is given instead."""
    falling = list(prefixes) == sorted(set(prefixes), reverse=True) and all(length > 0 for length in prefixes)
    if bool(prefixes) == bool(separator) or not falling:
        raise PolicyError(f"hierarchy {name}: give falling lengths of prefixes, or a separator")
    return Texts(tuple(prefixes), separator)


def as_number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _day(value: str) -> date | None:
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def _period(day: date, unit: str) -> str:
    if unit == "decade":
        return f"{day.year // 10 * 10}s"
    quarter = f"{day.year}-Q{(day.month + 2) // 3}"
    return {"month": f"{day:%Y-%m}", "quarter": quarter, "year": f"{day.year}"}[unit]
