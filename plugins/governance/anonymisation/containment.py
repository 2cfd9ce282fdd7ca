"""Which of many boxes lie in which, or hold which: answered for a batch at a time, as sets of bits. Pure.

A box is a row of cells (see `cells`). For every column only distinct cells of the batch are compared with the many; a
box's answer is then the intersection of its columns' sets, 64 boxes to a word. That makes thousands of predicates on a
table of tens of thousands of rows a matter of milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

BATCH = 1024
MOST_COMPARED = 64_000_000  # bytes that one comparison may take

Ends = tuple[np.ndarray, np.ndarray]
Compare = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def batches(count: int, many: int) -> Iterator[slice]:
    """Slices of as many boxes as are asked at once."""
    size = max(1, min(BATCH, MOST_COMPARED // max(1, many)))
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))


def inside(boxes: Ends, many: Ends, differ: np.ndarray | None = None) -> np.ndarray:
    """Per box the set of those of the many that lie in it: uint64, boxes by words.

    `differ`: bool, boxes by columns, where instead a cell of the many must be there and lie outside.
    """
    low, high = many

    def compare(column: int, begin: np.ndarray, end: np.ndarray, apart: np.ndarray) -> np.ndarray:
        within = (begin[:, None] <= low[:, column]) & (high[:, column] <= end[:, None])
        outside = ~within & np.isfinite(low[:, column])
        return np.where(apart[:, None], outside, within)

    return _sets(boxes, len(low), compare, differ)


def holding(boxes: Ends, many: Ends) -> np.ndarray:
    """Per box the set of those of the many that hold it: uint64, boxes by words."""
    low, high = many

    def compare(column: int, begin: np.ndarray, end: np.ndarray, _: np.ndarray) -> np.ndarray:
        found: np.ndarray = (low[:, column] <= begin[:, None]) & (end[:, None] <= high[:, column])
        return found

    return _sets(boxes, len(low), compare, None)


def _sets(boxes: Ends, many: int, compare: Compare, differ: np.ndarray | None) -> np.ndarray:
    words = (many + 63) // 64
    found = np.full((len(boxes[0]), words), ~np.uint64(0), dtype=np.uint64)
    found &= bits(np.ones((1, many), dtype=bool))  # no bits beyond the last of the many
    for column in range(boxes[0].shape[1]):
        apart = np.zeros(len(found)) if differ is None else differ[:, column]
        asked = np.column_stack([boxes[0][:, column], boxes[1][:, column], apart])
        distinct, which = np.unique(asked, axis=0, return_inverse=True)
        sets = bits(compare(column, distinct[:, 0], distinct[:, 1], distinct[:, 2] > 0))
        found &= sets[which.ravel()]
    return found


class Stretches:
    """Which of many cells of one column lie in each of some stretches: looked up once, where that fits into memory."""

    def __init__(self, stretches: Ends, many: Ends) -> None:
        self._begin, self._end = stretches
        self._low, self._high = many
        words = (len(self._low) + 63) // 64
        kept = 8 * words * len(self._begin) <= MOST_COMPARED
        self._sets = np.zeros((len(self._begin), words), dtype=np.uint64) if kept else None
        self._is_known = np.zeros(len(self._begin), dtype=bool)

    def sets(self, which: np.ndarray) -> np.ndarray:
        """The sets of some stretches, by number."""
        asked, back = np.unique(which, return_inverse=True)
        if self._sets is None:
            found: np.ndarray = self._compared(asked)[back]
            return found
        new = asked[~self._is_known[asked]]
        if new.size:
            self._sets[new] = self._compared(new)
            self._is_known[new] = True
        known: np.ndarray = self._sets[which]
        return known

    def _compared(self, which: np.ndarray) -> np.ndarray:
        return bits((self._begin[which, None] <= self._low) & (self._high <= self._end[which, None]))


def bits(table: np.ndarray) -> np.ndarray:
    """Rows of bool as sets."""
    packed = np.zeros((len(table), (table.shape[1] + 63) // 64 * 8), dtype=np.uint8)
    found = np.packbits(table, axis=1, bitorder="little")
    packed[:, : found.shape[1]] = found
    return packed.view(np.uint64)


def sizes(sets: np.ndarray) -> np.ndarray:
    """How many are in each set."""
    counted: np.ndarray = np.bitwise_count(sets).sum(axis=1, dtype=np.int64)
    return counted


def pairs(sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The members: (set, member), ordered by set."""
    which, word = np.nonzero(sets)
    bits = np.unpackbits(sets[which, word].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    at, bit = np.nonzero(bits)
    return which[at], word[at] * 64 + bit
