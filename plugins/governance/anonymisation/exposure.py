"""How exposed the people of a table are: k, l, t of its classes, and the risk of being re-identified. Pure.

k (Sweeney 2002) counts people where a person column is there, else rows. l is distinct and entropy l (Machanavajjhala
et al. 2007); t the distance of a class's distribution from the whole table's (Li et al. 2007): half the summed
difference, or, for values with an order, the ordered distance. All are measured three times:

- a suppressed cell and a label are values by themselves: who says the same is in one class;
- a cell may be any of its values: a person of whom all values are known is sought among all rows compatible with
  these. Without the original their values are unknown; counted are the rows that hold everything a row says, which
  are compatible whatever the person's exact values are: a bound from below for k and l;
- with the original, for every person of it.

The first is the stricter one where a reader knows who was generalised how (a table of minimal classes tells), and the
one that limits are for. Wholly suppressed rows are in no class.

Prosecutor, journalist and marketer risk are as in El Emam (Guide to the De-Identification of Personal Health
Information, 2013) and ARX: with f people in a class and F in the population who fit it, the prosecutor, who knows that
somebody is in the table, succeeds with 1/f; the journalist, who does not, with 1/F; the marketer, who is after all of
them, with the mean of 1/F over people. The population is the original; without one, the table itself, and F is f.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from governance.anonymisation.cells import Cells
from governance.anonymisation.containment import BATCH, holding, pairs
from governance.errors import InputError, shown

MOST_CLASSES = 20_000  # that are compared with all others; beyond, the smallest ones
MOST_PAIRS = 10_000_000_000
MOST_SHARES = 4_000_000  # of classes and sensitive values, held at once


@dataclass(frozen=True)
class Diversity:
    """The worst of all classes, of one sensitive column."""

    l: int  # noqa: E741 -- distinct values
    entropy_l: float
    t: float
    confidence: float  # the largest share of one value: who is in that class is known so surely


@dataclass(frozen=True)
class WorstClass:
    """k and diversity of the worst class; None where there is none."""

    k: int | None
    sensitive: dict[str, Diversity]
    looked: int  # classes, or kinds of people, that were looked at
    unmatched: int = 0  # people of the original whom no row is compatible with


@dataclass(frozen=True)
class Reidentification:
    """Risk of being re-identified: the highest, the mean, and the share of people with more than 1/k."""

    highest: float
    mean: float
    above: float


@dataclass(frozen=True)
class SensitiveColumn:
    """A sensitive column: codes of rows, and how far values are apart."""

    name: str
    codes: np.ndarray
    whole: np.ndarray  # the share of each value in the whole table
    ordered: bool


@dataclass(frozen=True)
class PublishedClasses:
    """The classes of a table: rows whose quasi-identifiers say the same."""

    cells: Cells  # one row per class
    of_row: np.ndarray  # -1: suppressed
    people: np.ndarray  # per class
    new: np.ndarray  # per class: people who are in no class before it


def sensitive(name: str, published: pd.Series, original: pd.Series | None, order: Sequence[str]) -> SensitiveColumn:
    """A sensitive column, with its distribution in the original, or else in the table itself.

    Raises InputError, with the number of rows, for values that a declared order does not list. NULL is a value.
    """
    every = published if original is None else pd.concat([published, original], ignore_index=True)
    if order:
        codes = every.map({value: at for at, value in enumerate(order)}).fillna(-1).to_numpy(np.int64)
        if strange := int((codes < 0).sum()):
            raise InputError(
                f"column {shown(name)}: {strange} rows with a value that its order in policy does not list"
            )
        count = int(codes.max(initial=-1)) + 1  # as `measuring` does: the order up to the last value that occurs
    else:
        codes, values = pd.factorize(every.to_numpy(object), use_na_sentinel=False)
        count = len(values)
    reference = codes if original is None else codes[len(published) :]
    share = np.bincount(reference, minlength=count) / max(1, len(reference))
    return SensitiveColumn(name, codes[: len(published)], share, bool(order))


def classes(cells: Cells, people: pd.Series | None) -> PublishedClasses:
    """The classes of quasi-identifiers. People: who each row is of; nobody counts as no one; None: rows are people."""
    distinct, of_row = cells.distinct()
    silent = distinct.says_nothing()
    number = np.where(silent, -1, np.cumsum(~silent) - 1)
    of_row = number[of_row] if len(of_row) else of_row
    kept = distinct.rows(~silent)
    if people is None:
        count = np.bincount(of_row[of_row >= 0], minlength=len(kept))
        return PublishedClasses(kept, of_row, count, count)
    named = pd.DataFrame({"class": of_row, "person": people.to_numpy(object)})
    named = named[(named["class"] >= 0) & named["person"].notna()].drop_duplicates()
    count = np.bincount(named["class"], minlength=len(kept))
    met = named.drop_duplicates("person")
    return PublishedClasses(kept, of_row, count, np.bincount(met["class"], minlength=len(kept)))


class _Counts:
    """Rows per class and sensitive value, held sparsely; mixed for any sets of classes."""

    def __init__(self, of_row: np.ndarray, column: SensitiveColumn) -> None:
        rows = of_row >= 0
        self._values = column.whole.size
        keys, self._count = np.unique(of_row[rows] * self._values + column.codes[rows], return_counts=True)
        self._value = keys % self._values
        ends = np.searchsorted(keys, np.arange(int(of_row.max(initial=-1)) + 2) * self._values)
        self._first, self._length = ends[:-1], np.diff(ends)

    def mixed(self, sets: int, which: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Rows per set and value, where set `which[i]` holds class `members[i]`."""
        length = self._length[members]
        begin = np.repeat(self._first[members] - np.cumsum(length) + length, length)
        at = begin + np.arange(begin.size)
        places = np.repeat(which, length) * self._values + self._value[at]
        return np.bincount(places, self._count[at], sets * self._values).reshape(sets, self._values)


class _Worst:
    """The worst of what was looked at so far."""

    def __init__(self, found: PublishedClasses, columns: Sequence[SensitiveColumn]) -> None:
        self._columns = columns
        self._counts = [_Counts(found.of_row, column) for column in columns]
        self._sensitive: dict[str, Diversity] = {}
        self._k: int | None = None
        self.looked = 0

    @property
    def block(self) -> int:
        """How many sets may be looked at at once."""
        return max(1, min(BATCH, MOST_SHARES // max((column.whole.size for column in self._columns), default=1)))

    def look(self, people: np.ndarray, which: np.ndarray, members: np.ndarray) -> None:
        """Look at sets of classes: people of each, and the pairs of set and class."""
        self.looked += len(people)
        if not len(people):
            return
        self._k = int(min(people.min(), self._k if self._k is not None else people.max()))
        for column, counts in zip(self._columns, self._counts, strict=True):
            one = diversity(counts.mixed(len(people), which, members), column)
            so_far = self._sensitive.get(column.name, one)
            self._sensitive[column.name] = Diversity(
                min(one.l, so_far.l), min(one.entropy_l, so_far.entropy_l), max(one.t, so_far.t),
                max(one.confidence, so_far.confidence),
            )  # fmt: skip

    def measures(self, unmatched: int = 0) -> WorstClass:
        return WorstClass(self._k, self._sensitive, self.looked, unmatched)


def diversity(counts: np.ndarray, column: SensitiveColumn) -> Diversity:
    """The worst of some distributions: rows per set and value.

    >>> column = SensitiveColumn("illness", np.array([0, 1, 0, 1]), np.array([0.5, 0.5]), False)
    >>> diversity(np.array([[1, 1], [2, 0]]), column)
    Diversity(l=1, entropy_l=1.0, t=0.5, confidence=1.0)
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(share > 0, share * np.log(share), 0.0).sum(axis=1)
    apart = share - column.whole
    if column.ordered:
        t = np.abs(np.cumsum(apart, axis=1)).sum(axis=1) / max(1, column.whole.size - 1)
    else:
        t = np.abs(apart).sum(axis=1) / 2
    lowest = float(np.exp(max(0.0, entropy.min())))
    return Diversity(int((counts > 0).sum(axis=1).min()), lowest, float(t.max()), float(share.max()))


def by_value(found: PublishedClasses, columns: Sequence[SensitiveColumn]) -> WorstClass:
    """Suppressed cells and labels are values by themselves."""
    worst = _Worst(found, columns)
    for begin in range(0, len(found.people), worst.block):
        part = np.arange(begin, min(begin + worst.block, len(found.people)))
        worst.look(found.people[part], part - begin, part)
    return worst.measures()


def by_compatible(found: PublishedClasses, columns: Sequence[SensitiveColumn]) -> WorstClass:
    """A cell may be any of its values; of each class, the rows compatible with its people whoever they are."""
    worst = _Worst(found, columns)
    smallest = np.argsort(found.people, kind="stable")[:MOST_CLASSES]
    for part, which, members in _holders(found.cells.rows(smallest), found, worst.block):
        people = np.bincount(which, found.new[members], len(part)).astype(np.int64)
        worst.look(np.maximum(people, found.people[smallest[part]]), which, members)
    return worst.measures()


def by_person(found: PublishedClasses, columns: Sequence[SensitiveColumn], original: Cells, seed: int) -> WorstClass:
    """For every person of the original, or `MOST_CLASSES` kinds of them: the rows compatible with their values."""
    kinds, of_row = original.distinct()
    count = np.bincount(of_row, minlength=len(kinds))
    if len(kinds) > MOST_CLASSES:
        chosen = np.random.Generator(np.random.PCG64(seed)).permutation(len(kinds))[:MOST_CLASSES]
        kinds, count = kinds.rows(chosen), count[chosen]
    worst, unmatched = _Worst(found, columns), 0
    for part, which, members in _holders(kinds, found, worst.block):
        people = np.bincount(which, found.new[members], len(part)).astype(np.int64)
        matched = np.bincount(which, minlength=len(part)) > 0
        unmatched += int(count[part][~matched].sum())
        worst.look(people[matched], (np.cumsum(matched) - 1)[which], members)
    return worst.measures(unmatched)


def _holders(boxes: Cells, found: PublishedClasses, block: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For blocks of boxes: their numbers, and the pairs of box and class that holds it."""
    for begin in range(0, len(boxes), block):
        part = np.arange(begin, min(begin + block, len(boxes)))
        sets = holding((boxes.low[part], boxes.high[part]), (found.cells.low, found.cells.high))
        yield part, *pairs(sets)


def fitting(found: PublishedClasses, original: Cells) -> np.ndarray | None:
    """How many rows of the original fit each class, at least those in it; None where that takes too long."""
    kinds, of_row = original.distinct()
    if len(kinds) * len(found.people) > MOST_PAIRS:
        return None
    count, fit = np.bincount(of_row, minlength=len(kinds)), np.zeros(len(found.people))
    for part, which, members in _holders(kinds, found, BATCH):
        fit += np.bincount(members, count[part][which], len(fit))
    fits: np.ndarray = np.maximum(fit, found.people)
    return fits


def reidentification(people: np.ndarray, population: np.ndarray, k: int) -> Reidentification:
    """The risk of people in classes, of each of which so many people of the population fit.

    >>> reidentification(np.array([2, 4]), np.array([2, 8]), 5)
    Reidentification(highest=0.5, mean=0.25, above=0.3333333333333333)
    """
    if not people.sum():
        return Reidentification(0.0, 0.0, 0.0)
    there = people > 0
    risk = 1 / population[there]
    total = people.sum()
    above = people[there][population[there] < k].sum() / total
    return Reidentification(float(risk.max()), float((people[there] * risk).sum() / total), float(above))
