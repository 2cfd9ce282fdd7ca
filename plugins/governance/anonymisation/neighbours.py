"""Which tuples lie near a tuple: the nearest ones seen beside it in many sorted orders. Compiled; pure.

Tuples are sorted by all columns but two, then by those two, for every pair of columns; whoever stands within a window
of a tuple in one of these orders is looked at, and the nearest are kept. That finds tuples which differ in two columns,
the ones that share a class at little loss, without comparing all with all. Sensitive columns are not among them.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from governance.anonymisation.compiled import tight
from governance.anonymisation.losses import Losses, pair_loss

NOBODY = -1
MOST_ORDERS = 28
LOOKED_AT = 24_000_000
"""Pairs of tuples that are compared at most: a bound on time, whatever the table."""
WIDEST, NARROWEST = 40, 4


def neighbours(codes: np.ndarray, losses: Losses, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The `most` nearest tuples found of each, nearest first (NOBODY where fewer were), and their distances.

    `codes`: int32, tuples by columns. The distance is the loss of the two together.
    """
    count, columns = codes.shape
    near = np.full((count, most), NOBODY, dtype=np.int32)
    distance = np.full((count, most), np.inf, dtype=np.float32)
    orders = _orders(losses.width)
    window = int(np.clip(LOOKED_AT // max(1, count * len(orders)), NARROWEST, WIDEST))
    for order in orders:
        _look(codes, losses, np.lexsort(codes.T[list(reversed(order))]), window, (near, distance))
    return near, distance


def _orders(width: np.ndarray) -> list[list[int]]:
    """Orders of the columns, the two that a neighbour may differ in last; the others by how few values they have."""
    columns = sorted(range(width.size), key=lambda column: (width[column], column))
    last = [list(pair) for pair in combinations(columns, min(2, len(columns)))]
    if len(last) > MOST_ORDERS:  # too many columns for every pair: every column is still among the last once or more
        step = len(last) / MOST_ORDERS
        last = [last[int(step * index)] for index in range(MOST_ORDERS)]
    return [[column for column in columns if column not in pair] + pair for pair in last]


@tight
def _distance(codes: np.ndarray, losses: Losses, one: int, other: int, bound: float) -> float:
    """The loss of two tuples together, or something not below `bound` once that is sure."""
    total = 0.0
    for column in range(codes.shape[1]):
        a, b = codes[one, column], codes[other, column]
        if a != b:
            total += pair_loss(losses, column, min(a, b), max(a, b))
            if total >= bound:
                break
    return total


@tight
def _keep(near: np.ndarray, distance: np.ndarray, other: int, found: float) -> None:
    """Put a neighbour where it belongs in a list sorted by distance, unless it stands there."""
    last = near.size - 1
    for place in range(near.size):
        if near[place] == other:
            return
    while last > 0 and distance[last - 1] > found:
        near[last] = near[last - 1]
        distance[last] = distance[last - 1]
        last -= 1
    near[last] = other
    distance[last] = found


@tight
def _look(
    codes: np.ndarray, losses: Losses, order: np.ndarray, window: int, kept: tuple[np.ndarray, np.ndarray]
) -> None:
    """Offer to every tuple those that stand within a window of it."""
    near, distance = kept
    worst = near.shape[1] - 1
    for place in range(order.size):
        one = order[place]
        for beside in range(place + 1, min(order.size, place + window + 1)):
            other = order[beside]
            bound = max(distance[one, worst], distance[other, worst])
            found = _distance(codes, losses, one, other, bound)
            if found < distance[one, worst]:
                _keep(near[one], distance[one], other, found)
            if found < distance[other, worst]:
                _keep(near[other], distance[other], one, found)
