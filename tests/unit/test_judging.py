"""Who is a minor by the birth date alone, as erasures ask: both sides of each boundary."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from governance.judging import A_YEAR, minors
from governance.partitions import Partition

pytestmark = [pytest.mark.clause("L1"), pytest.mark.clause("L3")]

DAY = date(2026, 3, 10)
LEAP, EVE, MARCH = date(2008, 2, 29), date(2026, 2, 28), date(2026, 3, 1)
EIGHTEEN = date(2008, 3, 10)
"""Whoever was born then is 18 on the day."""


def is_minor(born: date | None, recorded: date = DAY, booked: date | None = DAY, adult_years: int = 18) -> bool:
    """Whether one row counts as a minor's."""
    columns = {
        "row_key": pa.array(["1/1/1"]),
        "born": pa.array([born], pa.date32()),
        "booked_date": pa.array([booked], pa.date32()),
    }
    return minors(pa.record_batch(columns), "born", recorded, adult_years) == {"1/1/1"}


@pytest.mark.parametrize(
    ("born", "recorded", "counts"),
    [
        (EIGHTEEN - timedelta(days=1), DAY, False),  # 18 years and a day
        (EIGHTEEN, DAY, False),  # 18 on the day
        (EIGHTEEN + timedelta(days=1), DAY, True),  # 17 years and 364 days
        (LEAP, EVE, True),
        (LEAP, MARCH, False),
        (LEAP, date(2024, 2, 29), True),
        (date(2008, 2, 28), EVE, False),
        (date(2008, 3, 1), EVE, True),
        (date(2008, 3, 1), MARCH, False),
        (date(2010, 2, 28), date(2028, 2, 28), False),
        (date(2010, 3, 1), date(2028, 2, 29), True),
        (DAY, DAY, True),
        (DAY + timedelta(days=1), DAY, True),  # not born yet
        (date(1915, 3, 11), DAY, False),  # 110
        (date(1915, 3, 10), DAY, True),  # 111, which nobody is
        (date(1900, 1, 1), DAY, True),
        (date(1, 1, 1), DAY, True),
        (date(9999, 12, 31), DAY, True),
        (None, DAY, True),
    ],
    ids=str,
)
def test_a_minor_is_under_18_or_born_on_no_day_that_can_be(born: date | None, recorded: date, counts: bool) -> None:
    assert is_minor(born, recorded, recorded) is counts


@pytest.mark.parametrize("born", [None, date(1900, 1, 1), DAY + timedelta(days=1)], ids=str)
@pytest.mark.parametrize("booked", [None, DAY, date(1990, 1, 1)], ids=str)
def test_a_birth_date_that_cannot_be_is_a_minors_whatever_the_booking_says(
    born: date | None, booked: date | None
) -> None:
    assert is_minor(born, DAY, booked)


@pytest.mark.parametrize(
    ("booked", "counts"),
    [
        (DAY, False),
        (DAY - timedelta(days=1), True),  # turned 18 between booking and record
        (DAY - A_YEAR, True),
        (DAY - A_YEAR - timedelta(days=1), False),  # too long ago to be believed
        (date(1990, 1, 1), False),
        (DAY + timedelta(days=400), False),
        (date(9999, 12, 31), False),
        (None, False),
    ],
    ids=str,
)
def test_the_day_of_booking_counts_within_a_year_before_the_record(booked: date | None, counts: bool) -> None:
    assert is_minor(EIGHTEEN, DAY, booked) is counts


@pytest.mark.parametrize("booked", [None, DAY, DAY + timedelta(days=1), date(1990, 1, 1)], ids=str)
def test_nobody_comes_of_age_by_a_later_day_than_the_record(booked: date | None) -> None:
    """Not by the day of service either, which is not asked."""
    assert is_minor(EIGHTEEN + timedelta(days=1), DAY, booked)


@pytest.mark.parametrize(("adult_years", "counts"), [(17, False), (18, False), (19, True)])
def test_from_which_age_on_is_policys(adult_years: int, counts: bool) -> None:
    assert is_minor(EIGHTEEN, adult_years=adult_years) is counts


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (datetime(2026, 3, 9, 22, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 3, 9, 23, tzinfo=UTC), False),  # midnight in Stockholm
        (datetime(2026, 3, 10, 22, 59, 59, tzinfo=UTC), False),
    ],
    ids=str,
)
def test_the_day_of_a_record_is_that_of_policys_time_zone(at: datetime, counts: bool) -> None:
    (day,) = [
        day
        for day in (date(2026, 3, 9), DAY, date(2026, 3, 11))
        if Partition(day, "Europe/Stockholm").start <= at < Partition(day, "Europe/Stockholm").end
    ]
    assert is_minor(EIGHTEEN, day, None) is counts


def test_no_row_is_no_minors() -> None:
    columns = {"row_key": pa.array([], pa.string()), "born": pa.array([], pa.date32())}
    batch = pa.record_batch(columns | {"booked_date": pa.array([], pa.date32())})
    assert minors(batch, "born", DAY, 18) == set()


def test_rows_are_told_apart() -> None:
    born = [EIGHTEEN, None, EIGHTEEN + timedelta(days=1), date(1980, 5, 17)]
    columns = {"row_key": pa.array(["a", "b", "c", "d"]), "born": pa.array(born, pa.date32())}
    batch = pa.record_batch(columns | {"booked_date": pa.array([DAY] * 4, pa.date32())})
    assert minors(batch, "born", DAY, 18) == {"b", "c"}
