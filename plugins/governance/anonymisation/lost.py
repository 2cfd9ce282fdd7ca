"""What a recoding lost, column by column. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from governance.anonymisation.domains import Domain


@dataclass(frozen=True)
class Lost:
    """Of one quasi-identifier: its share of NCP, and of how many rows each level is the finest that is published."""

    ncp: float
    finest: dict[str, int]  # "exact", the names of the levels, and "nothing"


def lost_of(one: Domain, low: np.ndarray, high: np.ndarray, sizes: np.ndarray) -> Lost:
    """What classes lose of a column: their lowest and highest codes in it, and their rows."""
    pairs, where = np.unique(np.column_stack([low, high]), axis=0, return_inverse=True)
    cells = [one.cell(int(a), int(b)) for a, b in pairs]
    rows = np.bincount(where.reshape(-1), sizes, len(pairs))
    names = ("exact", *(("interval",) if one.exact else one.levels[:-1]), "nothing")
    finest = dict.fromkeys(names, 0)
    for (level, _), (_, end), count in zip(cells, pairs, rows.tolist(), strict=True):
        keeps_interval = one.exact and level > 0 and end < len(one.values)
        finest["interval" if keeps_interval else "nothing" if level >= len(one.levels) else names[level]] += int(count)
    return Lost(float(sum(loss * rows[at] for at, (_, loss) in enumerate(cells)) / sizes.sum()), finest)


def spans(one: Domain, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Per class, from its lowest and highest code in a column: the first and the last code that its label covers."""
    pairs, where = np.unique(np.column_stack([low, high]), axis=0, return_inverse=True)
    return np.array([one.covered(int(a), int(b)) for a, b in pairs])[where.reshape(-1)]


def silent(domains: Sequence[Domain], covered: Sequence[np.ndarray]) -> np.ndarray:
    """Which classes say nothing in any column, from the `spans` of their labels."""
    nothing = np.ones(len(covered[0]), dtype=bool)
    for one, span in zip(domains, covered, strict=True):
        last = len(one.values) - 1
        nothing &= (span[:, 0] == 0) & (span[:, 1] == last) & (last > 0)
    return nothing
