"""What the cells of a table say, so that generalised values can be compared with exact ones. Pure.

A cell says that a value lies between two ends, both inside: of numbers and dates their positions on a line, of
anything else codes of the hierarchy's leaves in depth-first order, where every label is a stretch. An exact value is a
stretch of one; a suppressed one, and a label of all leaves, is everything there is. So one comparison serves raw
tables, labels, intervals and tables with one column per level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

ANYTHING = (-np.inf, np.inf)
MISSING = np.inf
"""A number that is not there: beyond all numbers, and only in a cell that says anything."""


@dataclass(frozen=True)
class Cells:
    """The cells of a table: rows by columns."""

    names: tuple[str, ...]
    numeric: np.ndarray  # bool per column: values lie on a line; of others only equality counts
    whole: np.ndarray  # bool per column: values are whole numbers, or codes
    least: np.ndarray  # float64 per column: the ends of what is known to occur
    most: np.ndarray
    low: np.ndarray  # float64, rows by columns
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    def of(self, names: Sequence[str]) -> Cells:
        """Some of the columns."""
        at = [self.names.index(name) for name in names]
        ends = self.low[:, at], self.high[:, at]
        return Cells(tuple(names), self.numeric[at], self.whole[at], self.least[at], self.most[at], *ends)

    def rows(self, which: np.ndarray) -> Cells:
        """Some of the rows: numbers or a mask."""
        return replace(self, low=self.low[which], high=self.high[which])

    def distinct(self) -> tuple[Cells, np.ndarray]:
        """The distinct rows in order of appearance, and for every row which of them it is."""
        codes, _ = _grouped(np.hstack([self.low, self.high]))
        _, first = np.unique(codes, return_index=True)
        return self.rows(first), codes

    def is_generalised(self) -> bool:
        """Whether any cell says less than one value."""
        return bool(np.any(self.low < self.high))

    def says_nothing(self) -> np.ndarray:
        """Rows of which every cell is suppressed."""
        silent: np.ndarray = np.all(np.isneginf(self.low), axis=1)
        return silent

    def guessed(self, seed: int) -> Cells:
        """The table with a value drawn for every cell, each that it may be with the same chance: what a reader who
        needs values makes of it."""
        luck = np.random.Generator(np.random.PCG64(seed)).random(self.low.shape)
        low = np.where(np.isneginf(self.low), self.least, self.low)
        high = np.where(np.isposinf(self.high) & ~np.isposinf(self.low), self.most, self.high)
        with np.errstate(invalid="ignore"):  # what is missing stays missing
            drawn = np.where(self.whole, low + np.floor(luck * (high - low + 1)), low + luck * (high - low))
        drawn = np.where(self.low == self.high, self.low, drawn)
        return replace(self, low=drawn, high=drawn)


@dataclass(frozen=True)
class Tables:
    """What an attack is measured with: what is published, of whom, and people who are not in it."""

    published: Cells
    original: Cells
    control: Cells | None = None

    def of(self, names: Sequence[str]) -> Tables:
        """The same, of some columns."""
        control = None if self.control is None else self.control.of(names)
        return Tables(self.published.of(names), self.original.of(names), control)

    def guessed(self, seed: int) -> Tables:
        """The same, attacked by who draws values for what is generalised."""
        return replace(self, published=self.published.guessed(seed))


def _grouped(table: np.ndarray) -> tuple[np.ndarray, int]:
    """A number per distinct row, in order of appearance."""
    frame = pd.DataFrame(table)
    codes = frame.groupby(list(frame.columns), sort=False, dropna=False).ngroup().to_numpy()
    return codes, int(codes.max(initial=-1)) + 1
