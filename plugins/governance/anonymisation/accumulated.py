"""Everything that was ever released of a table, attacked as a whole: what no attack on one day sees. Pure.

Two things. `together`: intersection and differencing (see `composition`) over pairs of releases, subsets of them, and
all of them. `as_one_table`: all published rows as one table, against the rows that they were made of: singling out with
three and with all quasi-identifiers, linkability of one half of these with the other, and inference of the specialty,
from the nearest row and by the majority of the nearest ones (see `singling_out`, `nearest`). Singling out also for an
attacker who draws a value for whatever is generalised: that is told and not judged. Whether a value that was drawn is
anybody's the release does not say, so k bounds nothing there, and of few people such guesses are right by themselves.

What a rate of success is compared with. An honest control set would be people like those in the table who are not in
it. There is none: rows that were held or suppressed are the rare ones, which is why they are not there, and those of
minors or of people who were erased are not to be looked at. So:

- singling out and linkability are judged by themselves. A predicate that follows from published labels holds for all
  k people of a class; so does either side of a link, which therefore meets in one row at most once in k tries.
- inference is judged by how much more often it is right than whoever says the most frequent specialty of the whole
  table of everybody, as a share of what that leaves. That is a baseline and no control: what country, price and season
  tell of a specialty, as statistics are meant to, counts against the release too.

Singling out counts people, not distinct rows as anonymeter does: of ten people with the same values nobody is singled
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from governance.anonymisation.cells import Cells, Tables
from governance.anonymisation.composition import NOBODY, History
from governance.anonymisation.confidence import Attacks
from governance.anonymisation.nearest import Secret, inference, linkability
from governance.anonymisation.releases import SPECIALTY, Model
from governance.anonymisation.singling_out import Predicates, at_random, multivariate

FEW = 3  # quasi-identifiers of a predicate


def together(history: History, terms: Mapping[str, float], seed: int) -> dict[str, float]:
    """The worst that releases tell together. `terms`: how many pairs and subsets, and of how many people a posterior
    says something."""
    found = [history.attack(which) for which in _chosen(history, terms, seed)]
    whole = found[-1]
    told: dict[str, float] = {
        "attacks": len(found),
        "people": whole.people,
        "people_again": whole.again,
        "gained_less": max(one.gained_less for one in found),
        "fewer_left": max(one.fewer_left for one in found),
        "disclosed": max(one.disclosed for one in found),
    }
    if whole.again:
        told |= {"posterior": round(whole.told.posterior, 6), "null": round(whole.told.null, 6)}
    enough = [one for one in found if one.again >= terms["people"]]
    if enough:
        told["posterior_over_null"] = round(max(one.told.posterior - one.told.null for one in enough), 6)
    return told


def _chosen(history: History, terms: Mapping[str, float], seed: int) -> list[list[int]]:
    """Which releases are attacked together: every one alone, pairs (all, where these are no more), subsets, and all."""
    chances = np.random.Generator(np.random.PCG64(seed))
    filled = [at for at, one in enumerate(history.releases) if one.person.size]
    pairs, subsets = int(terms["pairs"]), int(terms["subsets"])
    chosen = [[at] for at in filled]
    if comb(len(filled), 2) <= pairs:
        chosen += [list(pair) for pair in combinations(filled, 2)]
    else:
        chosen += [sorted(chances.choice(filled, 2, replace=False).tolist()) for _ in range(pairs)]
    if len(filled) > FEW:
        sizes = chances.integers(FEW, len(filled), size=subsets)
        chosen += [sorted(chances.choice(filled, size, replace=False).tolist()) for size in sizes]
    return [*chosen, filled]


@dataclass(frozen=True)
class Kinds:
    """The distinct combinations of quasi-identifiers that people have, and whose each is."""

    cells: Cells
    person: np.ndarray  # uint64: NOBODY where it is that of several
    most: int  # how many somebody has at most


@dataclass(frozen=True)
class Accumulated:
    """All published rows as one table, and the rows of people who are known that went into it."""

    tables: Tables
    kinds: Kinds

    @property
    def known(self) -> tuple[str, ...]:
        """The quasi-identifiers."""
        return self.tables.published.names[:-1]


def accumulated(history: History, of: Model) -> Accumulated:
    """The rows of all releases. A label that stands for all values says nothing."""
    released = history.releases
    low = np.concatenate([one.low[one.owner] for one in released]).astype(np.float64)
    high = np.concatenate([one.high[one.owner] for one in released]).astype(np.float64)
    most = np.array([one.domain.width - 1 for one in of.quasi], dtype=np.float64)
    silent = (low == 0) & (high == most)
    low[silent], high[silent] = -np.inf, np.inf
    value = np.concatenate([one.value for one in released]).astype(np.float64)
    person = np.concatenate([one.person for one in released])
    codes = np.concatenate([one.codes for one in released]).astype(np.float64)

    def cells(begin: np.ndarray, end: np.ndarray, secret: np.ndarray) -> Cells:
        whole = np.ones(most.size + 1, dtype=np.bool_)
        ends = (np.column_stack([begin, secret]), np.column_stack([end, secret]))
        names = (*(one.columns[0] for one in of.quasi), SPECIALTY)
        last = float(len(of.rules.sensitive[SPECIALTY]) - 1)
        return Cells(names, ~whole, whole, np.zeros(whole.size), np.append(most, last), *ends)

    there = person != NOBODY
    exact = codes[there]
    tables = Tables(cells(low, high, value), cells(exact, exact, value[there]))
    return Accumulated(tables, kinds(tables.original.of(tables.original.names[:-1]), person[there]))


def kinds(original: Cells, person: np.ndarray) -> Kinds:
    """The kinds of rows that there are. `person`: uint64, of every row."""
    found, of_row = original.distinct()
    whose = pd.Series(person).groupby(of_row).agg(["min", "max"])
    alone = np.where(whose["min"] == whose["max"], whose["min"], NOBODY).astype(np.uint64)
    _, times = np.unique(alone[alone != NOBODY], return_counts=True)
    return Kinds(found, alone, int(times.max(initial=0)))


def as_one_table(all_rows: Accumulated, tried: int, seed: int) -> dict[str, float]:
    """The upper bounds of 95 % intervals of what attacks on the whole achieve, and what chance does.

    `tried`: how many attacks of each kind.
    """
    told: dict[str, float] = {"tried": min(tried, len(all_rows.tables.original))}
    if not told["tried"]:
        return told
    known, half = all_rows.known, len(all_rows.known) // 2
    published = all_rows.tables.published.of(known)
    for reading, one in (("", published), ("_guessed", published.guessed(seed))):
        for name, columns in (("few", FEW), ("all", len(known))):
            found = singled_out(one, all_rows.kinds, columns, tried, seed)
            told |= _told(f"singling_out_{name}{reading}", found)
    told |= _told("linkability", linkability(all_rows.tables, (known[:half], known[half:]), tried, seed))
    for name, majority in (("nearest", False), ("majority", True)):
        found = inference(all_rows.tables, Secret(SPECIALTY, known, majority=majority), tried, seed)
        told |= _told(f"inference_{name}", _over_baseline(found, all_rows.tables))
    return told


def _told(name: str, found: Attacks) -> dict[str, float]:
    return {name: round(found.risk().upper, 6), f"{name}_chance": round(found.chance().value, 6)}


def _over_baseline(found: Attacks, tables: Tables) -> Attacks:
    """The same, beside as many tries of whoever says the most frequent specialty of everybody."""
    truth, shown = (table.of([SPECIALTY]).low[:, 0] for table in (tables.original, tables.published))
    values, count = np.unique(shown, return_counts=True)
    right = float((truth == values[count.argmax()]).mean()) if truth.size else 0.0
    return Attacks(found.tried, found.succeeded, found.by_chance, found.tried, right * found.tried)


def singled_out(published: Cells, people: Kinds, columns: int, tried: int, seed: int) -> Attacks:
    """Attack with predicates over so many columns that hold for exactly one distinct published row; they succeed when
    they hold for exactly one person."""
    chances = np.random.Generator(np.random.PCG64(seed))
    rows = published.distinct()[0]
    made = multivariate(rows, columns, tried, chances)
    by_chance = at_random(rows, columns, tried, chances)
    return Attacks(tried, _of_one(made, people), _of_one(by_chance, people), stated=len(made))


def _of_one(predicates: Predicates, people: Kinds) -> int:
    """How many predicates hold for exactly one person."""
    counts = predicates.counts(people.cells)
    alone = predicates.counts(people.cells.rows(people.person == NOBODY)) == 0
    found = int((alone & (counts == 1)).sum())
    for at in np.flatnonzero(alone & (counts > 1) & (counts <= people.most)):  # perhaps several kinds of one person
        one = predicates.which(np.array([at]))
        within = (one.low <= people.cells.low) & (people.cells.high <= one.high)
        if one.differ is not None:
            within = np.where(one.differ, ~within & np.isfinite(people.cells.low), within)
        found += np.unique(people.person[within.all(axis=1)]).size == 1
    return found


MEASURES = {
    "short_classes": "published rows in a class of fewer people or values than policy asked for then",
    "gained_less": "people whose group grew by fewer people than a class has to hold",
    "fewer_left": "people of whom fewer values remain than each release leaves",
    "disclosed": "people of whom one value remains",
    "posterior_over_null": "how much more often a guess is right than from one release repeated",
    "singling_out": "rate at which predicates hold for one person, upper bound",
    "linkability": "rate at which two halves meet in one row, upper bound",
    "inference": "rate at which a specialty is inferred, beyond the baseline, upper bound",
}
"""The measures that policy limits, in words."""
TOLD_ONLY = ("_chance", "_guessed")
OF_MANY = frozenset({"linkability", "inference"})
"""Measures whose interval is too wide to say anything where few people are attacked."""


def over(figures: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    """The measures that are over policy's limits, and by how much, in words. `figures`: of whichever attack."""
    told = []
    for name, what in MEASURES.items():
        found = worst(figures, name)
        is_few = name in OF_MANY and figures["tried"] < limits["people"]
        if found is not None and not is_few and found > limits[name]:
            told.append(f"{name}: {found:g} ({what}), policy allows {limits[name]:g}, {found - limits[name]:g} over")
    return told


def worst(figures: Mapping[str, float], name: str) -> float | None:
    """The greatest judged figure of a measure, of which there may be several; None: it was not measured."""
    of_name = [figure for key, figure in figures.items() if key.startswith(name) and not key.endswith(TOLD_ONLY)]
    return max(of_name, default=None)


def short_classes(shown: pd.DataFrame, of: Model, k: int, l: int) -> int:  # noqa: E741 -- the measure's name
    """Rows of one release, as published, in classes with fewer people or values than these. Each row is of a person."""
    labels = [name for one in of.quasi for name in one.columns]
    classes = shown.groupby(labels, dropna=False)[SPECIALTY].agg(["size", "nunique"])
    return int(classes.loc[(classes["size"] < k) | (classes["nunique"] < l), "size"].sum())
