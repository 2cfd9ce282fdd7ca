"""Booking events of one closed day, counted exactly and within bounds, for tables of counts with noise (E1). Pure.

Rows that are released one by one (`daily`) miss most amendments and cancellations, whose clients were published before.
Here everybody counts once, and in every cell that policy knows: a cell is there whoever is in it, so that only its
count tells of anybody. Of a client and booking the last event of the day counts; of a client, as many bookings as the
budget says, so that with or without one client the counts of a table differ by that at most. Which ones is drawn by
lot: the keyed number of the row, in which neither the client nor the value has a hand.

The bias: bookings over a client's bound are missing, from all events of that client alike, so from those events more
that come together with others. How many, policy's rationale says.

Not protected against: what else is told of the same bookings. Releases of rows say exactly how many were published and
suppressed; epsilon is what the counts add to that.
"""

from __future__ import annotations

from datetime import date

import pandas as pd

from governance.anonymisation import levels
from governance.anonymisation.budgets import Budget
from governance.datasets import PublishedColumn, Release
from governance.errors import DisclosureError


def last_of_day(accepted: pd.DataFrame, day: date) -> pd.DataFrame:
    """Of every client and booking the last event that was recorded on the day; rows of other days are not looked at.

    `accepted`: partition_key, booking_id, version, person_number and more. A booking that passes from one client to
    another on the day counts for each: what one did never depends on the other.
    """
    own = accepted[accepted["partition_key"] == day]
    newest = own.groupby(["booking_id", "person_number"])["version"].transform("max") == own["version"]
    return own[newest]


def exact(last: pd.DataFrame, specification: Release, budget: Budget) -> pd.DataFrame:
    """Every cell of a table that policy knows, with `exact` (bookings within the bounds) and `people` (their clients).

    `last`: row_number, person_number, and what the cells are made from. Raises DisclosureError when a value is none of
    policy's.
    """
    cells = _cells(specification)
    names = list(cells.columns)
    labelled = pd.DataFrame({name: _labels(last, specification.columns[name]) for name in names}, index=last.index)
    strange = len(labelled) - len(labelled.merge(cells))
    if strange:
        raise DisclosureError(
            f"table {specification.table}: {strange} bookings with a value that policy does not list were about to be "
            "counted; nothing was published"
        )
    within = _within(labelled.assign(person=last["person_number"], lot=last["row_number"]), names, budget)
    counted = within.groupby(names).agg(exact=("person", "size"), people=("person", "nunique")).reset_index()
    found = cells.merge(counted, how="left", on=names)
    return found.fillna({"exact": 0, "people": 0}).astype({"exact": "int64", "people": "int64"})


def _within(rows: pd.DataFrame, cell: list[str], budget: Budget) -> pd.DataFrame:
    """What counts of each person: at most so many rows of one cell, and so many in all, by lot."""
    in_turn = rows.sort_values("lot")
    of_cell = in_turn[in_turn.groupby(["person", *cell]).cumcount() < budget.per_cell]
    return of_cell[of_cell.groupby("person").cumcount() < budget.contributions]


def _cells(specification: Release) -> pd.DataFrame:
    """Every combination of policy's values, in policy's order, where it has one."""
    known = {name: _values(column) for name, column in specification.columns.items() if column.level in levels.LABELLED}
    return pd.MultiIndex.from_product(list(known.values()), names=list(known)).to_frame(index=False)


def _values(column: PublishedColumn) -> list[str]:
    return list(column.values) or sorted(levels.domain(column) or ())


def _labels(rows: pd.DataFrame, column: PublishedColumn) -> pd.Series:
    fact = column.origin.partition(".")[2].removesuffix("_encrypted")  # opened by now, and here alone
    return levels.labels(rows[fact], column)
