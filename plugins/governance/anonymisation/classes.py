"""The classes of a recoding while it is searched for: who is in which, the box of each, its loss. Compiled; pure.

A *cell* is what rows can share: a tuple of quasi-identifier codes and, where the model of protection looks at sensitive
values, these too. A class holds *units*, each a number of people and rows of one cell. A class of one tuple alone loses
nothing; the tuple's *home* is that class, and who is in it beyond k may be given to neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from governance.anonymisation.compiled import generator, tight
from governance.anonymisation.losses import Losses, box_loss, narrow, widen

NONE = -1
UNITS, CLASSES, LOSSY = 0, 1, 2  # places in `Classes.counts`: free units, free classes, classes that lose something


class Problem(NamedTuple):
    """What is to be recoded, and what every class must hold."""

    losses: Losses
    codes: np.ndarray  # int32, tuples by columns
    near: np.ndarray  # int32, tuples by neighbours
    tuple_of: np.ndarray  # int32 per cell
    people: np.ndarray  # int64 per cell: people who are counted here
    rows: np.ndarray  # int64 per cell
    sensitive: np.ndarray  # int32, cells by sensitive columns; no column where the model asks for nothing of them
    k: int
    l: int  # noqa: E741
    entropy: float  # the smallest entropy of a class, in nats


class Classes(NamedTuple):
    """Units and classes as linked lists in arrays, so that a step of the search costs what it touches."""

    cell: np.ndarray  # per unit
    people: np.ndarray
    rows: np.ndarray
    owner: np.ndarray
    after: np.ndarray  # its neighbours in the list of its class
    before: np.ndarray
    after_of_tuple: np.ndarray  # and in that of its tuple
    before_of_tuple: np.ndarray
    first_of_tuple: np.ndarray  # per tuple
    home: np.ndarray
    first: np.ndarray  # per class
    size: np.ndarray  # people
    mass: np.ndarray  # rows
    units: np.ndarray
    loss: np.ndarray  # of a row
    low: np.ndarray  # the box
    high: np.ndarray
    lossy: np.ndarray  # the classes that lose something, in no order
    place: np.ndarray  # of a class in `lossy`
    free_units: np.ndarray
    free_classes: np.ndarray
    counts: np.ndarray
    cost: np.ndarray  # one number: loss summed over rows
    state: np.ndarray  # of the generator of chances


def no_classes(problem: Problem, seed: int) -> Classes:
    """Room for any recoding of the problem."""
    cells, tuples, columns = problem.tuple_of.size, len(problem.codes), problem.codes.shape[1]
    units, classes = 2 * cells + 8192, cells + 4096

    def links(length: int) -> np.ndarray:
        return np.full(length, NONE, dtype=np.int32)

    def numbers(length: int) -> np.ndarray:
        return np.zeros(length, dtype=np.int64)

    def boxes() -> np.ndarray:
        return np.zeros((classes, columns), dtype=np.int32)

    return Classes(
        links(units), numbers(units), numbers(units), links(units), links(units), links(units), links(units),
        links(units), links(tuples), links(tuples), links(classes), numbers(classes), numbers(classes),
        numbers(classes), np.zeros(classes), boxes(), boxes(), links(classes), links(classes),
        np.arange(units, dtype=np.int32), np.arange(classes, dtype=np.int32),
        np.array([units, classes, 0], dtype=np.int64), np.zeros(1), generator(seed),
    )  # fmt: skip


@tight
def new_class(now: Classes) -> int:
    """An empty class."""
    now.counts[CLASSES] -= 1
    one = now.free_classes[now.counts[CLASSES]]
    now.first[one] = NONE
    now.size[one] = now.mass[one] = now.units[one] = 0
    now.place[one] = NONE
    return one


@tight
def put(problem: Problem, now: Classes, one: int, unit: tuple[int, int, int]) -> None:
    """Add a unit (cell, people, rows) to a class; its loss is settled by the caller."""
    cell, people, rows = unit
    now.size[one] += people
    now.mass[one] += rows
    there = now.first[one]
    while there != NONE and now.cell[there] != cell:
        there = now.after[there]
    if there != NONE:
        now.people[there] += people
        now.rows[there] += rows
        return
    now.counts[UNITS] -= 1
    new = now.free_units[now.counts[UNITS]]
    now.cell[new], now.people[new], now.rows[new], now.owner[new] = cell, people, rows, one
    _link(now.first, now.after, now.before, one, new)
    _link(now.first_of_tuple, now.after_of_tuple, now.before_of_tuple, problem.tuple_of[cell], new)
    tuple_ = problem.tuple_of[cell]
    if now.units[one] == 0:
        narrow(now.low, now.high, one, problem.codes, tuple_)
    else:
        widen(now.low, now.high, one, problem.codes, tuple_)
    now.units[one] += 1


@tight
def _link(first: np.ndarray, after: np.ndarray, before: np.ndarray, head: int, new: int) -> None:
    old = first[head]
    after[new], before[new], first[head] = old, NONE, new
    if old != NONE:
        before[old] = new


@tight
def _unlink(first: np.ndarray, after: np.ndarray, before: np.ndarray, head: int, gone: int) -> None:
    left, right = before[gone], after[gone]
    if left != NONE:
        after[left] = right
    else:
        first[head] = right
    if right != NONE:
        before[right] = left


@tight
def remove(problem: Problem, now: Classes, unit: int) -> None:
    """Take a unit out of its class. The box stays: whoever empties a class, or takes from a home, needs no other."""
    one, cell = now.owner[unit], now.cell[unit]
    _unlink(now.first, now.after, now.before, one, unit)
    _unlink(now.first_of_tuple, now.after_of_tuple, now.before_of_tuple, problem.tuple_of[cell], unit)
    now.units[one] -= 1
    now.size[one] -= now.people[unit]
    now.mass[one] -= now.rows[unit]
    now.free_units[now.counts[UNITS]] = unit
    now.counts[UNITS] += 1
    now.owner[unit] = NONE


@tight
def take(problem: Problem, now: Classes, unit: int, people: int, rows: int) -> None:
    """Take people and rows out of a unit of a home, which loses nothing before and after."""
    if rows == now.rows[unit]:
        remove(problem, now, unit)
        return
    one = now.owner[unit]
    now.people[unit] -= people
    now.rows[unit] -= rows
    now.size[one] -= people
    now.mass[one] -= rows


@tight
def settle(problem: Problem, now: Classes, one: int) -> None:
    """Count what a class loses, after a change."""
    loss = box_loss(problem.losses, now.low, now.high, one)
    now.loss[one] = loss
    now.cost[0] += now.mass[one] * loss
    if loss > 0:
        now.lossy[now.counts[LOSSY]] = one
        now.place[one] = now.counts[LOSSY]
        now.counts[LOSSY] += 1


@tight
def unsettle(now: Classes, one: int) -> None:
    """Count no more what a class loses, before a change."""
    now.cost[0] -= now.mass[one] * now.loss[one]
    place = now.place[one]
    if place != NONE:
        now.counts[LOSSY] -= 1
        last = now.lossy[now.counts[LOSSY]]
        now.lossy[place] = last
        now.place[last] = place
        now.place[one] = NONE


@tight
def dissolve(problem: Problem, now: Classes, one: int) -> None:
    """End a class; the caller has what was in it."""
    unsettle(now, one)
    its_tuple = problem.tuple_of[now.cell[now.first[one]]]
    if now.home[its_tuple] == one:
        now.home[its_tuple] = NONE
    while now.first[one] != NONE:
        remove(problem, now, now.first[one])
    now.free_classes[now.counts[CLASSES]] = one
    now.counts[CLASSES] += 1


@tight
def absorb(problem: Problem, now: Classes, one: int, unit: tuple[int, int, int]) -> None:
    """Let a class take a unit in; one that was a home and is none any longer is forgotten as such."""
    unsettle(now, one)
    its_tuple = problem.tuple_of[now.cell[now.first[one]]]
    put(problem, now, one, unit)
    settle(problem, now, one)
    if now.home[its_tuple] == one and now.units[one] > 1 and not _is_one_tuple(problem, now, one):
        now.home[its_tuple] = NONE


@tight
def found(problem: Problem, now: Classes, units: np.ndarray) -> int:
    """Make a class of units: rows of (cell, people, rows, ...)."""
    one = new_class(now)
    for index in range(len(units)):
        put(problem, now, one, (units[index, 0], units[index, 1], units[index, 2]))
    settle(problem, now, one)
    its_tuple = problem.tuple_of[now.cell[now.first[one]]]
    if now.home[its_tuple] == NONE and _is_one_tuple(problem, now, one):
        now.home[its_tuple] = one
    return one


@tight
def _is_one_tuple(problem: Problem, now: Classes, one: int) -> bool:
    for column in range(problem.codes.shape[1]):  # noqa: SIM110 -- compiled code knows no generators
        if now.low[one, column] != now.high[one, column]:
            return False
    return True
