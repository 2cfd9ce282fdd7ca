"""What a set of codes loses, column by column: one table look-up at its smallest and its largest code. Compiled; pure.

Codes of a column stand in depth-first order of its hierarchy, so the lowest common ancestor of a set of them is that of
its smallest and largest. The loss is that of the Normalised Certainty Penalty (Xu et al. 2006): 0 for one value, 1 for
the top. A wide column, whose table of pairs would not fit, walks its levels from the leaves up instead, or, where its
labels are true intervals, takes the difference of two positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from governance.anonymisation.compiled import tight

WALKED = -1


class Losses(NamedTuple):
    """The losses of all columns, as flat arrays that compiled code can take."""

    table: np.ndarray  # float32: the tables of pairs, one behind the other
    start: np.ndarray  # int64 per column: where its table begins, or WALKED
    width: np.ndarray  # int64 per column: its number of codes
    depth: np.ndarray  # int64 per column: its number of levels, of a walked column; 0 where `weight` holds positions
    walk: np.ndarray  # int64 per column: where its levels begin in the two arrays below
    node: np.ndarray  # int32: the node above every code, level by level
    weight: np.ndarray  # float32: and the loss of that node


@tight
def pair_loss(losses: Losses, column: int, low: int, high: int) -> float:
    """The loss of the codes from `low` to `high` in one column."""
    width = losses.width[column]
    start = losses.start[column]
    if start != WALKED:
        return losses.table[start + low * width + high]
    at = losses.walk[column]
    if losses.depth[column] == 0:
        return min(1.0, losses.weight[at + high] - losses.weight[at + low])
    for _ in range(losses.depth[column]):
        if losses.node[at + low] == losses.node[at + high]:
            return losses.weight[at + low]
        at += width
    return 1.0


@tight
def box_loss(losses: Losses, low: np.ndarray, high: np.ndarray, box: int) -> float:
    """The loss of a box, summed over its columns."""
    total = 0.0
    for column in range(losses.width.size):
        total += pair_loss(losses, column, low[box, column], high[box, column])
    return total


@tight
def joined_loss(losses: Losses, low: np.ndarray, high: np.ndarray, codes: np.ndarray, which: tuple[int, int]) -> float:
    """The loss of a box once it also holds a tuple: `which` are the rows of box and tuple.

    Whole tables and row numbers, here and below: a view of a row would be counted in and out in the innermost loop.
    """
    total = 0.0
    box, tuple_ = which
    for column in range(losses.width.size):
        code = codes[tuple_, column]
        total += pair_loss(losses, column, min(low[box, column], code), max(high[box, column], code))
    return total


@tight
def widen(low: np.ndarray, high: np.ndarray, box: int, codes: np.ndarray, tuple_: int) -> None:
    """Make a box hold a tuple."""
    for column in range(low.shape[1]):
        low[box, column] = min(low[box, column], codes[tuple_, column])
        high[box, column] = max(high[box, column], codes[tuple_, column])


@tight
def narrow(low: np.ndarray, high: np.ndarray, box: int, codes: np.ndarray, tuple_: int) -> None:
    """Make a box hold a tuple and nothing else."""
    for column in range(low.shape[1]):
        low[box, column] = high[box, column] = codes[tuple_, column]
