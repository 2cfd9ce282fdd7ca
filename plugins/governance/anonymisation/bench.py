"""The bench: where a proposal of new classes is laid out before anybody decides on it. Compiled; pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from governance.anonymisation.classes import Problem
from governance.anonymisation.compiled import tight

GONE, POOL, BUILT, MADE, GIFTS, JOINED = 0, 1, 2, 3, 4, 5  # places in `Bench.counts`
BEFORE, AFTER = 0, 1  # in `Bench.cost`
NOISE, OUTSIDE, GIVING = 0, 1, 2  # in `Bench.luck`


class Bench(NamedTuple):
    """What a proposal consists of, in arrays that are used again for the next one."""

    gone: np.ndarray  # classes that it dissolves
    pool: np.ndarray  # units of these that have no place yet: cell, people, rows
    built: np.ndarray  # units in new classes: cell, people, rows, whether a gift
    border: np.ndarray  # where each new class begins in `built`
    low: np.ndarray  # the boxes of the new classes
    high: np.ndarray
    mass: np.ndarray
    loss: np.ndarray
    gifts: np.ndarray  # unit, people, rows
    joined: np.ndarray  # units that join a class which stays: class, cell, people, rows
    counts: np.ndarray
    cost: np.ndarray
    luck: np.ndarray
    paper: np.ndarray  # units of a class that is looked at


def bench(problem: Problem, most: int) -> Bench:
    """A bench for proposals of pools of at most `most` units."""
    columns = problem.codes.shape[1]

    def table(rows: int, width: int) -> np.ndarray:
        return np.zeros((rows, width), dtype=np.int64)

    boxes = np.zeros((2, most + 1, columns), dtype=np.int32)
    return Bench(
        np.zeros(16, dtype=np.int64), table(2 * most, 3), table(4 * most + 8, 4), np.zeros(most + 2, dtype=np.int64),
        boxes[0], boxes[1], np.zeros(most + 1, dtype=np.int64), np.zeros(most + 1), table(2 * most, 3),
        table(2 * most, 4), np.zeros(6, dtype=np.int64), np.zeros(2), np.zeros(3), table(512, 3),
    )  # fmt: skip


@tight
def clear(work: Bench) -> None:
    work.counts[:] = 0
    work.cost[:] = 0.0


@tight
def pour(work: Bench, cell: int, people: int, rows: int) -> None:
    for index in range(work.counts[POOL]):
        if work.pool[index, 0] == cell:
            work.pool[index, 1] += people
            work.pool[index, 2] += rows
            return
    lay(work, cell, people, rows)


@tight
def lay(work: Bench, cell: int, people: int, rows: int) -> None:
    new = work.counts[POOL]
    work.pool[new, 0], work.pool[new, 1], work.pool[new, 2] = cell, people, rows
    work.counts[POOL] += 1


@tight
def is_gone(work: Bench, one: int) -> bool:
    for index in range(work.counts[GONE]):  # noqa: SIM110 -- compiled code knows no generators
        if work.gone[index] == one:
            return True
    return False


@tight
def is_joined(work: Bench, one: int) -> bool:
    for index in range(work.counts[JOINED]):  # noqa: SIM110 -- compiled code knows no generators
        if work.joined[index, 0] == one:
            return True
    return False


@tight
def join(work: Bench, one: int, index: int) -> None:
    """Let a unit of the pool join a class that stays."""
    end = work.counts[JOINED]
    work.joined[end, 0] = one
    for part in range(3):
        work.joined[end, part + 1] = work.pool[index, part]
    work.counts[JOINED] += 1
    drop(work, index)


@tight
def drop(work: Bench, index: int) -> None:
    """Take a unit out of the pool; the last one moves to its place."""
    work.counts[POOL] -= 1
    for part in range(3):
        work.pool[index, part] = work.pool[work.counts[POOL], part]
