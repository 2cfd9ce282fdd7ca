"""Tables of counts with noise: which cells are published, with which count and interval, and what it costs (E1, B1,
B2). Pure: the noise is handed in.

Two kinds of tables. Of *known* cells (classes of a delay, steps of a funnel) every one is published, whatever its
count. Of *open* cells (whatever combinations visitors make) one is published when at least k people are in it and its
noisy count reaches the threshold. So k people are there for certain, and not only probably. The price: a cell of k
people is hidden by the absence of one. That a cell tells of one person in this way, in any of the person's cells, has
probability delta, because the threshold is counted from what k people can add to a cell.

Intervals are of the noise, over all draws. Of open cells only draws from the threshold on are seen: a cell whose exact
count is further below it than an interval reaches is seldom published (in less than 2.5 of 100 draws), and its interval
misses then. Of the cells of a day that are published intervals hold in 93 to 97 of 100 cases where their sizes are
spread as visitors spread them (Zipf), and hardly ever where all are just too small.

A grid is published from its finest level on: what is in no published cell is counted again in cells of the next level,
four times or more as large, and what is left at the end is 'elsewhere'. A visitor has one place per day, so is counted
once at each level at most; each level has a part of the budget. A published cell holds at least k visitors of its own,
beside those of finer cells within it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import pandas as pd

from governance import grids
from governance.anonymisation.budgets import Budget, Charge, half_width, threshold

ELSEWHERE = "elsewhere"
COUNTS = ("exact", "people", "count", "low", "high", "is_known")
PLACE = ("cell_degrees", "south_degrees", "west_degrees")


class Noise(Protocol):
    """How noise is drawn; see `noise.py`."""

    def on_all(self, counts: Sequence[int], scale: float, *, adds: int, epsilon: float) -> list[int]:
        """Each count with noise."""

    def on_large(
        self, counts: Mapping[int, int], scale: float, threshold: int, *, adds: int, epsilon: float
    ) -> dict[int, int]:
        """Counts by place with noise, where that reaches the threshold."""


@dataclass(frozen=True)
class Counted:
    """A table of noisy counts: the cells' columns, `count`, `low`, `high`, `is_known`, and, of what never leaves us,
    `exact` and `people`; and what it cost."""

    cells: pd.DataFrame
    charge: Charge

    def exact(self, k: int) -> pd.DataFrame:
        """For the auditor: `cell` (its columns in one text), and `exact` and `people` where there are k."""
        columns = [name for name in self.cells.columns if name not in (*COUNTS, *PLACE)]
        labels = ["|".join(map(str, row)) for row in self.cells[columns].itertuples(index=False)]
        enough = self.cells[["exact", "people"]].astype("Int64").where(self.cells["people"] >= k)
        return enough.assign(cell=labels)


def open_cells(table: str, exact: pd.DataFrame, budget: Budget, noise: Noise, *, k: int) -> Counted:
    """Cells that are not known beforehand: those of at least k people whose noisy count reaches the threshold.

    `exact`: columns of the cell, `exact` (its count, within the bounds) and `people` (who are in it).
    """
    least = threshold(budget, k * budget.per_cell)
    large = exact[exact["people"] >= k].reset_index(drop=True)
    drawn = noise.on_large(
        _by_place(large["exact"]), budget.scale, least, adds=budget.contributions, epsilon=budget.epsilon
    )
    cells = large.loc[sorted(drawn)].assign(count=[drawn[place] for place in sorted(drawn)])
    return Counted(_with_interval(cells, budget, k).assign(is_known=False), _charge(table, budget, budget.scale, least))


def known_cells(table: str, exact: pd.DataFrame, budget: Budget, noise: Noise) -> Counted:
    """Every cell, with noise on its count, which may be below 0 therefore: sums over days stay right on average.

    `exact`: columns of the cell, `exact` and `people`; which rows there are may not depend on anybody.
    """
    drawn = noise.on_all(exact["exact"].tolist(), budget.scale, adds=budget.contributions, epsilon=budget.epsilon)
    cells = exact.reset_index(drop=True).assign(count=pd.Series(drawn, dtype="int64"))
    return Counted(_with_interval(cells, budget, 0).assign(is_known=True), _charge(table, budget, budget.scale, None))


def grid_cells(table: str, exact: pd.DataFrame, budget: Budget, noise: Noise, *, k: int) -> Counted:
    """Cells of a grid, fine where many people are and coarse where few are, and 'elsewhere'.

    `exact`: `cell_code` (of the finest cell; the first n digits name the cell of level n around it), `exact`, `people`;
    a person is in one of them.
    """
    step = budget.step
    least = threshold(step, k)
    left, found = exact, []
    for level in budget.levels:
        parents = left["cell_code"].str[:level]
        sums = left.groupby(parents)[["exact", "people"]].sum().reset_index()
        here = open_cells(table, sums, step, noise, k=k).cells
        found.append(here)
        left = left[~parents.isin(here["cell_code"])]
    rest = pd.DataFrame(
        {"cell_code": [ELSEWHERE], "exact": [int(left["exact"].sum())], "people": [int(left["people"].sum())]}
    )
    found.append(known_cells(table, rest, step, noise).cells)
    return Counted(pd.concat(found, ignore_index=True), _charge(table, budget, step.scale, least))


def placed(table: Counted, degrees: float) -> Counted:
    """The same, with the place of each cell: `cell_degrees`, `south_degrees`, `west_degrees`; NULL elsewhere."""
    nowhere = grids.Cell(math.nan, math.nan, math.nan)
    found = [nowhere if code == ELSEWHERE else grids.cell(code, degrees) for code in table.cells["cell_code"]]
    where = {
        "cell_degrees": [cell.degrees for cell in found],
        "south_degrees": [cell.south for cell in found],
        "west_degrees": [cell.west for cell in found],
    }
    return replace(table, cells=table.cells.assign(**where))


def _by_place(counts: pd.Series) -> dict[int, int]:
    return {place: int(count) for place, count in enumerate(counts.tolist())}


def _with_interval(cells: pd.DataFrame, budget: Budget, at_least: int) -> pd.DataFrame:
    """`low` and `high`: the counts for which noise is so far from zero in 5 cases of 100; never below what is known."""
    width = half_width(budget.scale)
    count = cells["count"].astype("int64")
    low, high = (count - width).clip(lower=at_least), (count + width).clip(lower=at_least)
    return cells.assign(count=count, low=low, high=high)


def _charge(table: str, budget: Budget, scale: float, least: int | None) -> Charge:
    return Charge(
        table, budget.protects, budget.epsilon, budget.delta if least is not None else 0.0,
        budget.contributions, budget.per_cell, scale, least,
    )  # fmt: skip
