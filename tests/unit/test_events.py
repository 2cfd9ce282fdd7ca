"""Booking events counted exactly and within bounds: every cell, the last event of the day, nobody more than twice."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance import policy as policies
from governance.anonymisation import events
from governance.anonymisation.budgets import Budget, budget
from governance.anonymisation.levels import regions
from governance.errors import DisclosureError

pytestmark = pytest.mark.clause("E1")

POLICY = policies.load()
SPECS = {spec.table: spec for spec in POLICY.dataset("bookings").further}
EVENTS, ORIGINS = SPECS["bookings_events"], SPECS["bookings_events_origins"]
DAY = date(2026, 3, 10)
STATUSES = ("booked", "amended", "cancelled")
SPECIALTIES = POLICY.dataset("bookings").release.columns["service_specialty"].values
TWO = Budget(epsilon=1.0, contributions=2, per_cell=2)


def rows(*given: dict[str, Any]) -> pd.DataFrame:
    """Accepted bookings, each of a client of its own unless told otherwise; lots are the places."""
    sound = [
        {"partition_key": DAY, "booking_id": place, "version": 1, "person_number": 100 + place, "row_number": place,
         "status": "booked", "client_country_code": "SE", "procedure_code": "dental.implant"} | one
        for place, one in enumerate(given)
    ]  # fmt: skip
    columns = list(sound[0]) if sound else ["partition_key", "booking_id", "version", "person_number", "row_number",
                                            "status", "client_country_code", "procedure_code"]  # fmt: skip
    return pd.DataFrame(sound, columns=columns).astype({"person_number": np.uint64, "row_number": np.uint64})


def counted(accepted: pd.DataFrame, spec: Any = EVENTS, bounds: Budget = TWO) -> dict[tuple[str, ...], tuple[int, int]]:
    """Cells in which anybody is: bookings, people."""
    exact = events.exact(events.last_of_day(accepted, DAY), spec, bounds)
    return {tuple(cell): (count, people) for *cell, count, people in exact.itertuples(index=False) if count or people}


@pytest.mark.parametrize("accepted", [rows(), rows({}, {"status": "cancelled"})], ids=["nobody", "two"])
def test_every_cell_that_policy_knows_is_there_whoever_is_in_it(accepted: pd.DataFrame) -> None:
    last = events.last_of_day(accepted, DAY)
    continents = {continent for _, continent in regions().values()} | {"unknown"}
    for spec, values in ((EVENTS, SPECIALTIES), (ORIGINS, continents)):
        cells = events.exact(last, spec, TWO)
        assert sorted(map(tuple, cells.iloc[:, :2].to_numpy())) == sorted(product(STATUSES, values))
        assert int(cells["exact"].sum()) == len(accepted)


COUNTED: dict[str, tuple[pd.DataFrame, Any, dict[tuple[str, ...], tuple[int, int]]]] = {
    "by event and specialty": (
        rows({}, {}, {"status": "cancelled"}, {"procedure_code": None}, {"procedure_code": "magic.wand"}),
        EVENTS,
        {("booked", "dental"): (2, 2), ("cancelled", "dental"): (1, 1), ("booked", "travel"): (1, 1),
         ("booked", "other"): (1, 1)},
    ),
    "by event and continent": (
        rows({}, {"client_country_code": "MX"}, {"client_country_code": None}, {"client_country_code": "??"}),
        ORIGINS,
        {("booked", "europe"): (1, 1), ("booked", "americas"): (1, 1), ("booked", "unknown"): (2, 2)},
    ),
    "the last event of the day alone": (
        rows({"booking_id": 7, "person_number": 1}, {"booking_id": 7, "person_number": 1, "version": 3,
              "status": "cancelled"}, {"booking_id": 7, "person_number": 1, "version": 2, "status": "amended"}),
        EVENTS,
        {("cancelled", "dental"): (1, 1)},
    ),
    "nothing of another day, were it the last": (
        rows({"booking_id": 7}, {"booking_id": 7, "version": 2, "status": "amended",
              "partition_key": DAY - timedelta(days=1)}, {"partition_key": DAY + timedelta(days=1)}),
        EVENTS,
        {("booked", "dental"): (1, 1)},
    ),
    "a booking that goes to another client for each": (
        rows({"booking_id": 7}, {"booking_id": 7, "version": 2, "status": "amended"}),
        EVENTS,
        {("booked", "dental"): (1, 1), ("amended", "dental"): (1, 1)},
    ),
    "two of a client": (rows(*[{"person_number": 1}] * 2), EVENTS, {("booked", "dental"): (2, 1)}),
    "and no third": (rows(*[{"person_number": 1}] * 3), EVENTS, {("booked", "dental"): (2, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("what", COUNTED)
def test_bookings_are_counted(what: str) -> None:
    accepted, spec, expected = COUNTED[what]
    assert counted(accepted, spec) == expected


LOTS = [
    ((0, 1, 2), ("booked", "amended")),
    ((2, 1, 0), ("cancelled", "amended")),
    ((1, 2, 0), ("cancelled", "booked")),
]


@pytest.mark.parametrize(("first", "counts"), LOTS)
def test_which_bookings_of_a_client_count_is_for_the_lot_to_say(
    first: tuple[int, ...], counts: tuple[str, ...]
) -> None:
    of_client = [{"person_number": 1, "row_number": lot, "status": status}
                 for lot, status in zip(first, STATUSES, strict=True)]  # fmt: skip
    assert {event for event, _ in counted(rows(*of_client))} == set(counts)
    assert counted(rows(*reversed(of_client))) == counted(rows(*of_client))


@pytest.mark.parametrize(("per_cell", "expected"), [(1, {"booked": 1, "amended": 1}), (2, {"booked": 2, "amended": 1})])
def test_of_one_cell_counts_as_much_as_the_budget_says(per_cell: int, expected: dict[str, int]) -> None:
    bounds = Budget(epsilon=1.0, contributions=3, per_cell=per_cell)
    three = rows(*[{"person_number": 1}] * 3, {"person_number": 1, "status": "amended"})
    assert {event: count for (event, _), (count, _) in counted(three, bounds=bounds).items()} == expected


BOOKINGS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(0, 3), st.sampled_from(STATUSES),
              st.sampled_from(["SE", "MX", None])),
    max_size=30, unique_by=lambda each: each[:2],
)  # fmt: skip


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(BOOKINGS, BOOKINGS)
@pytest.mark.parametrize("table", SPECS)
def test_one_client_moves_the_counts_of_a_table_by_the_bound_at_most(
    table: str, others: list[Any], theirs: list[Any]
) -> None:
    """Whatever the client books, and whatever versions of others' bookings are theirs."""
    spec, bounds = SPECS[table], budget(table, POLICY.value(table))
    names = ("booking_id", "version", "person_number", "status", "client_country_code")
    everybody = [*others, *((booking, version, 9, *rest) for booking, version, _, *rest in theirs)]
    lots = np.random.Generator(np.random.PCG64(1)).permutation(len(everybody))
    all_rows = rows(
        *({**dict(zip(names, one, strict=True)), "row_number": lot} for one, lot in zip(everybody, lots, strict=True))
    )
    without = all_rows[all_rows["person_number"] != 9]
    with_them, apart = (
        events.exact(events.last_of_day(each, DAY), spec, bounds)["exact"] for each in (all_rows, without)
    )
    moved = int((with_them - apart).abs().sum())
    assert moved <= bounds.contributions == 2
    assert moved == min(2, len({booking for booking, *_ in theirs}))


def test_a_value_that_policy_does_not_list_is_counted_nowhere_and_nothing_is_published() -> None:
    with pytest.raises(
        DisclosureError, match="table bookings_events: 1 bookings with a value that policy does not list"
    ) as told:
        counted(rows({}, {"status": "Anna has flu."}))
    assert "Anna" not in str(told.value)


@pytest.mark.parametrize("table", SPECS)
def test_every_budget_says_who_decided_it_and_whom_it_protects(table: str) -> None:
    decided = POLICY.open_values[table]
    assert (decided.decided_by, decided.is_confirmed, bool(decided.rationale)) == (policies.UNCONFIRMED, False, True)
    assert budget(table, decided.value).protects == "one client in the bookings of one day"
