"""The classes of a day while they are put together: told apart by what is published of them. Pure.

Classes whose boxes differ and whose labels do not are one class to whoever reads them. So a class here is its label
box: for every quasi-identifier the first and the last code that its label stands for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from governance.anonymisation.compiled import compiled
from governance.anonymisation.domains import Domain
from governance.anonymisation.losses import Losses, box_loss
from governance.anonymisation.signatures import NONE, united

Boxes = tuple[np.ndarray, np.ndarray]


def label_boxes(domains: Sequence[Domain], boxes: Boxes) -> Boxes:
    """The boxes that the labels of boxes stand for. What cannot be told from the top stands for all, blanks too."""
    low, high = boxes[0].copy(), boxes[1].copy()
    for at, one in enumerate(domains):
        pairs, where = np.unique(np.column_stack([low[:, at], high[:, at]]), axis=0, return_inverse=True)
        ends = np.array([_label(one, int(begin), int(end)) for begin, end in pairs], dtype=np.int32).reshape(-1, 2)
        low[:, at], high[:, at] = ends[where.reshape(-1)].T
    return low, high


def _label(one: Domain, low: int, high: int) -> tuple[int, int]:
    level, _ = one.cell(low, high)
    if high >= len(one.values) or (level == len(one.labels) and not one.exact):
        return 0, one.width - 1
    return one.covered(low, high)


@compiled
def losses_of(losses: Losses, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What a row of each box loses, summed over columns."""
    found = np.zeros(len(low))
    for box in range(len(low)):
        found[box] = box_loss(losses, low, high, box)
    return found


class Drafts:
    """Classes, and which row of a pool is in which: `owner`, NONE for rows of no class."""

    def __init__(self, domains: Sequence[Domain], bits: np.ndarray) -> None:
        self._domains, self._bits = domains, bits
        self.owner = np.full(len(bits), NONE, dtype=np.int64)
        self.low: list[np.ndarray] = []
        self.high: list[np.ndarray] = []
        self._place: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.low)

    def boxes(self) -> Boxes:
        """The label boxes of all classes."""
        shape = (len(self), len(self._domains))
        return np.array(self.low, dtype=np.int32).reshape(shape), np.array(self.high, dtype=np.int32).reshape(shape)

    def signatures(self) -> np.ndarray:
        """The sets of sensitive values of all classes."""
        return united(self._bits, self.owner, len(self))

    def found(self, box: Boxes, members: np.ndarray) -> bool:
        """Make a class. False, and nothing done, when there is one of that label already."""
        (low,), (high,) = label_boxes(self._domains, box)
        key = _key(low, high)
        if key in self._place:
            return False
        self._place[key] = len(self)
        self.owner[members] = len(self)
        self.low.append(low)
        self.high.append(high)
        return True

    def merge(self, box: Boxes, members: np.ndarray, returning: np.ndarray) -> None:
        """Make a class, or let its rows join the class of that label, which returning people then leave."""
        if self.found(box, members):
            return
        one = self.of(box)
        self.owner[(self.owner == one) & returning] = NONE
        self.owner[members] = one

    def of(self, box: Boxes) -> int:
        """The class of a label, or NONE."""
        (low,), (high,) = label_boxes(self._domains, box)
        return self._place.get(_key(low, high), NONE)


def _key(low: np.ndarray, high: np.ndarray) -> bytes:
    return np.concatenate([low, high]).astype(np.int32).tobytes()
