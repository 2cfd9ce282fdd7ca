"""Linkability and inference: what the published row nearest to what an attacker knows gives away. Pure.

As anonymeter 1.1.0 does it (`evaluators/linkability_evaluator.py`, `inference_evaluator.py`,
`neighbors/mixed_types_kneighbors.py`). The distance of two rows is summed over columns (after Gower 1971): of numbers
the difference over the range of both tables, of others 0 or 1; a missing number is 1 away from everything. Linkability:
who knows some columns of a person, and who knows others, find the same row nearest. Inference: the sensitive value of
the row nearest to all that is known of a person is theirs.

What is added: a value is as far from a generalised cell as is to be expected when the cell's values are equally likely.
From a label with n values that is 1 - 1/n for those in it, so that the narrowest label that holds a value is nearest;
for exact values it is anonymeter's distance. `majority`: an attacker who takes the value that most of the nearest rows
have, which on classes is the better guess.

What differs: of rows equally near one is drawn, for each side of a link anew. Anonymeter takes the one that its sort
happens to put first, which on tables with many equal rows, such as generalised ones, may be the same row for both sides
and read as a link: a wholly suppressed table would be wholly linkable. Attacks are as many as there are people where
fewer are there than asked for, as 1.1.0 does for inference only. Guesses by chance are compared with a person's value
place by place, as up to 1.0.0; 1.1.0 aligns them by row number, so that only numbers drawn on both sides are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from governance.anonymisation.cells import Cells, Tables
from governance.anonymisation.confidence import Attacks

MOST_DISTANCES = 4_000_000  # held at once
SAME = 1e-9  # distances that differ by less are equal
MOST_VALUES = 1000  # of a sensitive column, for votes


@dataclass(frozen=True)
class Knowledge:
    """The published rows as one side sees them: its columns, without duplicates."""

    cells: Cells  # distinct
    members: np.ndarray  # rows, ordered by distinct row
    first: np.ndarray  # per distinct row: where its members begin
    count: np.ndarray


def knowledge(published: Cells, columns: Sequence[str]) -> Knowledge:
    """What a table says in some columns."""
    distinct, which = published.of(columns).distinct()
    count = np.bincount(which, minlength=len(distinct))
    return Knowledge(distinct, np.argsort(which, kind="stable"), np.cumsum(count) - count, count)


def nearest(known: Knowledge, targets: Cells) -> Iterator[tuple[slice, np.ndarray]]:
    """For batches of targets: bool, targets by distinct rows, which rows are nearest."""
    ranges = extent(known.cells, targets)
    step = max(1, MOST_DISTANCES // max(1, len(known.cells)))
    for begin in range(0, len(targets), step):
        part = slice(begin, min(begin + step, len(targets)))
        away = distances(known.cells, targets.low[part], ranges)
        yield part, away <= away.min(axis=1, keepdims=True) + SAME


def extent(published: Cells, targets: Cells) -> np.ndarray:
    """The range of the numbers of both tables, per column; 1 where there is none."""
    ranges = np.ones(len(published.names))
    for column in np.flatnonzero(published.numeric):
        every = np.concatenate([published.low[:, column], published.high[:, column], targets.low[:, column]])
        every = every[np.isfinite(every)]
        if every.size and every.max() > every.min():
            ranges[column] = every.max() - every.min()
    return ranges


def distances(published: Cells, values: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Expected distances of exact rows to published ones: float64, rows by published rows."""
    away = np.zeros((len(values), len(published)))
    for column in range(len(published.names)):
        ends = np.column_stack([published.low[:, column], published.high[:, column]])
        cells, of_row = np.unique(ends, axis=0, return_inverse=True)
        asked, of_value = np.unique(values[:, column], return_inverse=True)
        least, most = published.least[column], published.most[column]
        if published.numeric[column]:
            table = _apart(asked[:, None], cells, (least, most)) / ranges[column]
            table[~np.isfinite(asked)] = 1.0
            table[:, np.isposinf(cells[:, 0])] = 1.0
        else:
            begin, end = cells[:, 0], cells[:, 1]
            leaves = np.where(np.isneginf(begin), most - least + 1, end - begin + 1)
            within = (begin <= asked[:, None]) & (asked[:, None] <= end)
            table = np.where(within, 1 - 1 / np.maximum(leaves, 1), 1.0)
        away += table[of_value.ravel()][:, of_row.ravel()]
    return away


def _apart(value: np.ndarray, cells: np.ndarray, known: tuple[float, float]) -> np.ndarray:
    """Expected difference of a number and one that lies anywhere in a stretch."""
    begin = np.where(np.isneginf(cells[:, 0]), known[0], cells[:, 0])
    end = np.where(np.isneginf(cells[:, 0]), known[1], cells[:, 1])
    with np.errstate(invalid="ignore", divide="ignore"):
        within = ((value - begin) ** 2 + (end - value) ** 2) / (2 * (end - begin))
        beside: np.ndarray = np.abs(value - (begin + end) / 2)
        return np.where((begin < value) & (value < end), within, beside)


def _drawn(known: Knowledge, near: np.ndarray, chances: np.random.Generator) -> np.ndarray:
    """One of the nearest rows for every target, each row with the same chance."""
    rows = np.cumsum(near * known.count, axis=1)
    ticket = chances.random(len(near)) * rows[:, -1]
    distinct = np.minimum((rows <= ticket[:, None]).sum(axis=1), near.shape[1] - 1)
    before = rows[np.arange(len(near)), distinct] - known.count[distinct]
    member = np.minimum((ticket - before).astype(np.int64), known.count[distinct] - 1)
    picked: np.ndarray = known.members[known.first[distinct] + member]
    return picked


def _sample(table: Cells, tried: int, chances: np.random.Generator) -> np.ndarray:
    return chances.permutation(len(table))[: min(tried, len(table))]


def linkability(tables: Tables, sides: tuple[Sequence[str], Sequence[str]], tried: int, seed: int) -> Attacks:
    """Attack people by linking what one side knows with what the other does."""
    chances = np.random.Generator(np.random.PCG64(seed))
    published = tables.published
    if len(published) == 0:
        return Attacks(min(tried, len(tables.original)), 0, 0)
    known = [knowledge(published, side) for side in sides]

    def linked(table: Cells) -> tuple[int, int]:
        chosen = table.rows(_sample(table, tried, chances))
        rows = []
        for side, one in zip(sides, known, strict=True):
            found = [_drawn(one, near, chances) for _, near in nearest(one, chosen.of(side))]
            rows.append(np.concatenate([np.zeros(0, dtype=np.int64), *found]))
        return len(chosen), int((rows[0] == rows[1]).sum())

    done, links = linked(tables.original)
    one, other = chances.integers(len(published), size=(2, done))
    if tables.control is None:
        return Attacks(done, links, int((one == other).sum()))
    return Attacks(done, links, int((one == other).sum()), *linked(tables.control))


@dataclass(frozen=True)
class Secret:
    """What is inferred: a sensitive column that is published as it is, and when a guess of a number is good."""

    name: str
    known: tuple[str, ...]
    tolerance: float | None = None  # None: only the value itself
    majority: bool = False


def inference(tables: Tables, secret: Secret, tried: int, seed: int) -> Attacks:
    """Attack people by inferring a sensitive value from all else that is published."""
    chances = np.random.Generator(np.random.PCG64(seed))
    published = tables.published
    if len(published) == 0:
        return Attacks(min(tried, len(tables.original)), 0, 0)
    known = knowledge(published, secret.known)
    shown = published.of([secret.name]).low[:, 0]
    votes = _votes(known, shown) if secret.majority else None

    def guessed(table: Cells) -> tuple[int, int, np.ndarray]:
        chosen = table.rows(_sample(table, tried, chances))
        guesses = np.empty(len(chosen))
        for part, near in nearest(known, chosen.of(secret.known)):
            if votes is None:
                guesses[part] = shown[_drawn(known, near, chances)]
            else:
                guesses[part] = votes[1][(near @ votes[0]).argmax(axis=1)]
        truth = chosen.of([secret.name]).low[:, 0]
        return len(chosen), int(_right(guesses, truth, secret.tolerance).sum()), truth

    done, right, truth = guessed(tables.original)
    by_chance = _right(shown[chances.integers(len(shown), size=done)], truth, secret.tolerance)
    attacks = Attacks(done, right, int(by_chance.sum()))
    if tables.control is None:
        return attacks
    return Attacks(done, right, attacks.by_chance, *guessed(tables.control)[:2])


def _votes(known: Knowledge, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows per distinct row and sensitive value, and the values; None where these are too many to vote."""
    values, which = np.unique(shown, return_inverse=True)
    if values.size > MOST_VALUES:
        return None
    distinct = np.repeat(np.arange(known.count.size), known.count)
    table = np.zeros((known.count.size, values.size), dtype=np.float32)
    np.add.at(table, (distinct, which.ravel()[known.members]), 1)
    return table, values


def _right(guesses: np.ndarray, truth: np.ndarray, tolerance: float | None) -> np.ndarray:
    """Which guesses are the truth, or near enough: relative to the guess, as anonymeter has it."""
    same: np.ndarray = np.equal(guesses, truth)
    if tolerance is None:
        return same
    with np.errstate(invalid="ignore"):
        near: np.ndarray = np.less_equal(np.abs(guesses - truth) / (guesses + 1e-12), tolerance)
    either: np.ndarray = np.logical_or(same, near)
    return either
