"""k, l and t of any table, from the counts of its distinct lines. Pure.

k (Sweeney 2002) in people, l distinct and by entropy (Machanavajjhala 2007), t (Li 2007) as the earth mover's distance
to the whole table: with equal distances the total variation, or along the order of the values where one is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MOST_KEYS = 2**62


@dataclass(frozen=True)
class Measures:
    """The worst class of a table by each measure; l and t over all sensitive columns."""

    k: int
    l: int  # noqa: E741 -- 0 without sensitive columns
    entropy_l: float
    t: float
    most_sure: float  # the largest share of one value in a class
    classes: int


def measure(
    quasi: np.ndarray,
    sensitive: np.ndarray,
    rows: np.ndarray,
    people: np.ndarray,
    orders: Mapping[int, np.ndarray] | None = None,
) -> Measures:
    """Measure lines: codes of quasi-identifiers and of sensitive values by line, with rows and people of each.

    `orders`: per sensitive column that has an order, the place of each code in it, beginning with 0.
    """
    first, owner = grouped(quasi)
    size = np.bincount(owner, rows, len(first))
    k = int(np.bincount(owner, people, len(first)).min())
    worst = [_of_column(owner, codes, rows, size, (orders or {}).get(index)) for index, codes in enumerate(sensitive.T)]
    if not worst:
        return Measures(k, 0, 0.0, 0.0, 1.0, len(first))
    distinct, entropy, distance, share = zip(*worst, strict=True)
    return Measures(k, min(distinct), min(entropy), max(distance), max(share), len(first))


def grouped(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A row of each distinct kind in a table of codes, and for every row which of these it is. Compiles nothing.

    >>> first, which = grouped(np.array([[1, 2], [0, 5], [1, 2]]))
    >>> first.tolist(), which.tolist()
    ([1, 0], [1, 0, 1])
    """
    key, reach = np.zeros(len(codes), dtype=np.int64), 1
    for column in codes.T.astype(np.int64):
        low, width = int(column.min(initial=0)), int(column.max(initial=0)) - int(column.min(initial=0)) + 1
        if reach * width > MOST_KEYS:  # as many keys as there are kinds so far
            key = np.unique(key, return_inverse=True)[1].reshape(-1)
            reach = len(codes)
        key, reach = key * width + (column - low), reach * width
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return first, which.reshape(-1)


def _of_column(
    owner: np.ndarray, codes: np.ndarray, rows: np.ndarray, size: np.ndarray, order: np.ndarray | None
) -> tuple[int, float, float, float]:
    """l, entropy l, t and the largest share of one sensitive column."""
    kept = rows > 0
    owner, value = owner[kept], codes[kept]
    first, where = grouped(np.column_stack([owner, value]))
    count = np.bincount(where, rows[kept], len(first))
    one, value = owner[first], value[first]
    share = count / size[one]
    whole = np.bincount(codes, rows) / rows.sum()
    entropy = np.bincount(one, -share * np.log(share), len(size))
    if order is None:
        seen = np.bincount(one, np.abs(share - whole[value]), len(size))
        distance = 0.5 * (seen + 1 - np.bincount(one, whole[value], len(size)))
    else:
        distance = _along_order(one, order[value], share, np.bincount(order[codes], rows) / rows.sum())
    return int(np.bincount(one).min()), float(np.exp(entropy.min())), float(distance.max()), float(share.max())


def _along_order(one: np.ndarray, place: np.ndarray, share: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The ordered distance of every class: the mean, over steps of the order, of what has to cross them."""
    if whole.size == 1:
        return np.zeros(1)
    distances = []
    classes = int(one.max()) + 1
    for begin in range(0, classes, 65_536):  # a table of classes by values, in parts
        some = (one >= begin) & (one < begin + 65_536)
        table = np.zeros((min(classes - begin, 65_536), whole.size))
        np.add.at(table, (one[some] - begin, place[some]), share[some])
        distances.append(np.abs(np.cumsum(table - whole, axis=1)).sum(axis=1) / (whole.size - 1))
    return np.concatenate(distances)
