"""The first classes: exact ones, then greedy ones from the outliers inwards, mended until all hold. Compiled; pure."""

from __future__ import annotations

import numpy as np

from governance.anonymisation.bench import BUILT, GIVING, POOL, Bench, clear, lay, pour
from governance.anonymisation.classes import NONE, Classes, Problem, absorb, dissolve, found
from governance.anonymisation.compiled import compiled, tight
from governance.anonymisation.diversity import diverse, diverse_with
from governance.anonymisation.losses import joined_loss, pair_loss
from governance.anonymisation.rebuilding import carry_out, grow, nearest_class, reopen


@compiled
def begin(problem: Problem, now: Classes, work: Bench, outliers_first: np.ndarray) -> None:
    """First classes: exact ones where a tuple has k people, then greedy ones from the outliers inwards."""
    start, cells = _cells_by_tuple(problem)
    placed = np.zeros(cells.size, dtype=np.bool_)
    for tuple_ in range(start.size - 1):
        mine = cells[start[tuple_] : start[tuple_ + 1]]
        units = _units(problem, mine)
        if units[:, 1].sum() >= problem.k and diverse(problem, units):
            found(problem, now, units)
            placed[mine] = True
    orphans = np.empty(cells.size, dtype=np.int64)
    left = 0
    for tuple_ in outliers_first:
        for cell in cells[start[tuple_] : start[tuple_ + 1]]:
            if not placed[cell] and not _first_class(problem, now, work, (cell, start, cells, placed)):
                orphans[left] = cell
                placed[cell] = True
                left += 1
    for index in range(left):
        _shelter(problem, now, work, orphans[index])
    mend(problem, now)


@compiled
def _cells_by_tuple(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    start = np.zeros(len(problem.codes) + 1, dtype=np.int64)
    for tuple_ in problem.tuple_of:
        start[tuple_ + 1] += 1
    return np.cumsum(start), np.argsort(problem.tuple_of, kind="mergesort")


@compiled
def _units(problem: Problem, cells: np.ndarray) -> np.ndarray:
    units = np.empty((cells.size, 3), dtype=np.int64)
    units[:, 0], units[:, 1], units[:, 2] = cells, problem.people[cells], problem.rows[cells]
    return units


@tight
def _first_class(
    problem: Problem,
    now: Classes,
    work: Bench,
    where: tuple[int, np.ndarray, np.ndarray, np.ndarray],
) -> bool:
    """A class around a cell, of unplaced cells of its own tuple and of its neighbours, and gifts."""
    first, start, cells, placed = where
    clear(work)
    work.luck[:] = 0.0
    work.luck[GIVING] = 1.0
    pour(work, first, problem.people[first], problem.rows[first])
    origin = problem.tuple_of[first]
    for place in range(-1, problem.near.shape[1]):
        tuple_ = origin if place < 0 else problem.near[origin, place]
        if tuple_ == NONE:
            break
        for index in range(start[tuple_], start[tuple_ + 1]):
            cell = cells[index]
            if cell != first and not placed[cell] and work.counts[POOL] < len(work.pool) // 2:
                lay(work, cell, problem.people[cell], problem.rows[cell])
    if not grow(problem, now, work, 0, False):
        reopen(work)
        return False
    for index in range(work.counts[BUILT]):
        placed[work.built[index, 0]] = True
    carry_out(problem, now, work)
    return True


@tight
def _shelter(problem: Problem, now: Classes, work: Bench, cell: int) -> None:
    """Let a cell that found no class join the one in which it costs least: nearby, else anywhere."""
    clear(work)
    pour(work, cell, problem.people[cell], problem.rows[cell])
    best, _ = nearest_class(problem, now, work, 0)
    if best == NONE:
        least = np.inf
        for one in range(now.first.size):
            if now.units[one] == 0:
                continue
            loss = joined_loss(problem.losses, now.low, now.high, problem.codes, (one, problem.tuple_of[cell]))
            price = (now.mass[one] + problem.rows[cell]) * loss - now.mass[one] * now.loss[one]
            if price < least and diverse_with(problem, now, one, work.pool[0], work.paper):
                best, least = one, price
    if best == NONE:
        found(problem, now, work.pool[:1])
    else:
        absorb(problem, now, best, (cell, problem.people[cell], problem.rows[cell]))


@compiled
def mend(problem: Problem, now: Classes) -> None:
    """Merge every class that does not hold the model into the one in which that costs least, until all do."""
    one = 0
    while one < now.first.size:
        if now.units[one] == 0 or _holds(problem, now, one):
            one += 1
            continue
        best, least = NONE, np.inf
        for other in range(now.first.size):
            if now.units[other] > 0 and other != one:
                price = _price_of_merging(problem, now, one, other)
                if price < least:
                    best, least = other, price
        if best == NONE:
            return
        units = _units_of(now, one)
        dissolve(problem, now, one)
        for index in range(len(units)):
            absorb(problem, now, best, (units[index, 0], units[index, 1], units[index, 2]))
        one = min(one, best)


@compiled
def _units_of(now: Classes, one: int) -> np.ndarray:
    units = np.zeros((now.units[one], 3), dtype=np.int64)
    each, index = now.first[one], 0
    while each != NONE:
        units[index, 0], units[index, 1], units[index, 2] = now.cell[each], now.people[each], now.rows[each]
        each = now.after[each]
        index += 1
    return units


@compiled
def _holds(problem: Problem, now: Classes, one: int) -> bool:
    return now.size[one] >= problem.k and diverse(problem, _units_of(now, one))


@tight
def _price_of_merging(problem: Problem, now: Classes, one: int, other: int) -> float:
    loss = 0.0
    for column in range(problem.codes.shape[1]):
        low = min(now.low[one, column], now.low[other, column])
        loss += pair_loss(problem.losses, column, low, max(now.high[one, column], now.high[other, column]))
    return (now.mass[one] + now.mass[other]) * loss - now.mass[one] * now.loss[one] - now.mass[other] * now.loss[other]
