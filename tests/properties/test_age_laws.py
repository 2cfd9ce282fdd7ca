"""Laws of age, against a definition that counts birthdays one by one."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.age import whole_years

YEARS = st.dates(min_value=date(1, 1, 1), max_value=date(9990, 12, 31))


def birthday(birth: date, year: int) -> date:
    """The day of `year` on which a person born on `birth` grows older."""
    try:
        return birth.replace(year=year)
    except ValueError:  # 29 February of a common year
        return date(year, 3, 1)


def ages(births: list[date], days: list[date]) -> list[int]:
    return whole_years(pa.array(births, pa.date32()), pa.array(days, pa.date32())).to_pylist()


@pytest.mark.clause("L1")
@given(birth=st.dates(date(1900, 1, 1), date(2030, 12, 31)), lived=st.integers(0, 45_000))
def test_age_is_the_number_of_birthdays_after_birth(birth: date, lived: int) -> None:
    on = birth + timedelta(days=lived)
    counted = sum(birthday(birth, year) <= on for year in range(birth.year + 1, on.year + 1))
    assert ages([birth], [on]) == [counted]


@given(birth=YEARS, on=YEARS)
def test_age_is_the_largest_n_whose_nth_birthday_has_come(birth: date, on: date) -> None:
    [n] = ages([birth], [on])
    if birth.year + n >= 1:
        assert birthday(birth, birth.year + n) <= on
    assert on < birthday(birth, birth.year + n + 1)


@given(birth=YEARS, on=YEARS, later=st.integers(0, 800))
def test_nobody_grows_younger(birth: date, on: date, later: int) -> None:
    first, second = ages([birth, birth], [on, on + timedelta(days=later)])
    assert first <= second


@given(st.lists(st.tuples(YEARS, YEARS), max_size=8))
def test_a_row_does_not_depend_on_its_neighbours(pairs: list[tuple[date, date]]) -> None:
    together = ages([b for b, _ in pairs], [d for _, d in pairs])
    assert together == [ages([b], [d])[0] for b, d in pairs]
