"""What suppression and holding take away, per dimension, told so that it does not itself disclose. Pure.

An analyst who sees fewer bookings from one region has to know whether there were fewer, or whether more were left out.
So for every published column of few values it is told which values miss rows, and at least how many. What is told:

- One column at a time, never two together; of several columns made from one fact, the coarsest alone.
- Values alone of which rows of at least k distinct people are missing. All others are one cell, and if that one misses
  anybody, it misses at least k people too: otherwise the smallest told value joins it, and a dimension in which that
  helps nothing is not told. So the total, which is published, subtracts to no cell of fewer than k.
- How many rows are missing as a multiple of k, rounded down.
- Suppressed and held rows together: that a row waits, and is not gone for good, would tell of its next release.

What leaks: that at least k people had one value of one column and are not in the release, of sensitive columns too.
Nobody can be pointed at by it, because nothing else is told of them. Who already knows k - 1 of the missing people and
their value could learn that there is one more; whoever knows all others of a class knows as much of its last member.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from governance.anonymisation.levels import domain
from governance.datasets import OTHERS, PublishedColumn

MOST_VALUES = 40
"""A column of more values is no dimension that anybody reads a trend of."""


@dataclass(frozen=True)
class Offered:
    """What a release could have published: rows that were accepted or held, generalised to the published columns.

    `rows`, and `shown`, which says of each row and column whether its value is in the release; `people` tells people
    apart. All three have one index.
    """

    rows: pd.DataFrame
    shown: pd.DataFrame
    people: pd.Series


@dataclass(frozen=True)
class Bias:
    """Of one value of one dimension: rows that were published, at least how many are missing, and the share at most."""

    dimension: str
    value: str
    published: int
    missing_at_least: int

    @property
    def share_at_most(self) -> float:
        """The share of the value's rows that were published, at most, in hundredths, rounded up.

        >>> Bias("party_size", "1", 20, 10).share_at_most
        0.67
        """
        total = self.published + self.missing_at_least
        return 1.0 if not total else -(-100 * self.published // total) / 100


def dimensions(columns: Mapping[str, PublishedColumn]) -> list[str]:
    """Published columns of few values; of those made from one fact, the one with the fewest."""
    found: dict[str, tuple[int, str]] = {}
    for name, column in columns.items():
        values = domain(column) if column.kind in ("quasi_identifier", "sensitive") else None
        if values is not None and 1 < len(values) <= MOST_VALUES:
            known = found.get(column.origin)
            if known is None or len(values) < known[0]:
                found[column.origin] = len(values), name
    return [name for _, name in found.values()]


def biases(offered: Offered, columns: Mapping[str, PublishedColumn], *, k: int) -> list[Bias]:
    """The bias of a release, for every dimension in which it may be told."""
    return [told for name in dimensions(columns) for told in _of_dimension(offered, name, k)]


def _of_dimension(offered: Offered, name: str, k: int) -> Iterator[Bias]:
    values, shown = offered.rows[name].astype("str"), offered.shown[name].astype("bool")
    published, missing = values[shown].value_counts(), values[~shown]
    people = offered.people[~shown]
    counts = missing.value_counts()
    reach = people.groupby(missing).nunique()
    told = sorted(reach.index[reach >= k], key=lambda value: (int(counts[value]), value), reverse=True)
    while told and 0 < people[~missing.isin(told)].nunique() < k:
        told.pop()  # the smallest of them hides those that are too few
    others = ~missing.isin(told)
    if others.any() and people[others].nunique() < k:
        return
    for value in sorted(told):
        yield Bias(name, value, int(published.get(value, 0)), _rounded(int(counts[value]), k))
    rest = int(published[~published.index.isin(told)].sum())
    yield Bias(name, OTHERS, rest, _rounded(int(others.sum()), k))


def _rounded(count: int, k: int) -> int:
    return count // k * k
