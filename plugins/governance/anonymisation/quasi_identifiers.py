"""The quasi-identifiers of a published table, as policy declares them: one domain each, and a column per level. Pure.

Columns that are made from one fact are the levels of one quasi-identifier, the finest first. Domains hold the values of
policy, never those of a day: so codes mean the same in every release, and the loss of a group does not depend on who
else came. `unknown` is a value like any other. A column is NULL where a class could not keep its level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from governance.anonymisation import levels, trees
from governance.anonymisation.domains import Domain, Treatment, domain
from governance.anonymisation.hierarchies import TOP
from governance.datasets import UNKNOWN, PublishedColumn, Release
from governance.errors import DisclosureError, PolicyError


@dataclass(frozen=True)
class QuasiIdentifier:
    """One fact, its columns with the finest first, and what its codes stand for."""

    origin: str
    columns: tuple[str, ...]
    finest: PublishedColumn
    domain: Domain

    def codes(self, fact: pd.Series) -> np.ndarray:
        """The codes of rows: int32. Raises DisclosureError when a value is none of policy's."""
        place = {label: code for code, label in enumerate(self.domain.values)}
        found = levels.labels(fact, self.finest).map(place)
        if found.isna().any():
            raise DisclosureError(
                f"column {self.columns[0]}: {int(found.isna().sum())} rows with a value that policy does not list were "
                "about to be published; nothing was published"
            )
        return found.to_numpy(dtype=np.int32)

    def labels(self, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
        """The columns of boxes of codes: one label per box, None where it could not keep the level."""
        boxes = list(zip(low.tolist(), high.tolist(), strict=True))
        by_box = {box: self.domain.by_level(*box) for box in set(boxes)}
        return {
            name: np.array([by_box[box][level] for box in boxes], dtype=object)
            for level, name in enumerate(self.columns)
        }

    def box(self, labels: Sequence[str | None]) -> tuple[int, int]:
        """The first and the last code that labels stand for, one label per column, the finest first. What policy does
        not list any more stands for all."""
        below = (self.domain.values, *self.domain.labels)
        for level, label in enumerate(labels):
            held = [code for code, one in enumerate(below[level]) if one == label]
            if label is not None and held:
                return held[0], held[-1]
        return 0, self.domain.width - 1


def quasi_identifiers(specification: Release) -> tuple[QuasiIdentifier, ...]:
    """Those of a published table. Raises PolicyError when levels do not fit into each other."""
    return tuple(
        _quasi_identifier(origin, {name: specification.columns[name] for name in names})
        for origin, names in specification.facts().items()
    )


def _quasi_identifier(origin: str, columns: Mapping[str, PublishedColumn]) -> QuasiIdentifier:
    names, (finest, *coarser) = tuple(columns), columns.values()
    lines = [
        [leaf, *(_above(origin, leaf, finest, column) for column in coarser), TOP] for leaf in sorted(_leaves(finest))
    ]
    tree = trees.tree(origin, lines, levels=(*names[1:], "all"))
    values = [leaf for leaf, *_ in lines]
    one, _ = domain(names[0], values, np.ones(len(values), dtype=np.int64), Treatment(tree))
    return QuasiIdentifier(origin, names, finest, one)


def _leaves(column: PublishedColumn) -> frozenset[str]:
    known = levels.domain(column)
    if known is None:
        raise PolicyError(f"a published column of level {column.level} is no quasi-identifier that can be coarsened")
    return known


def _above(origin: str, leaf: str, finest: PublishedColumn, column: PublishedColumn) -> str:
    """What a value of the finest level is called on a coarser one."""
    if leaf == UNKNOWN:
        return UNKNOWN
    if finest.level == "country" and column.level in levels.REGIONS:
        return levels.region(leaf, column.level)
    if not finest.bands or not column.bands or not set(column.bands.values()) <= set(finest.bands.values()):
        raise PolicyError(f"{origin}: level {column.level} is not made of whole values of level {finest.level}")
    return str(levels.banded(pd.Series([finest.bands[leaf]]), column.bands).iloc[0])
