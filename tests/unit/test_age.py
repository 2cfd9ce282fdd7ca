"""Age in whole years (policy clause L1, edge cases E01-E04)."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from governance.age import whole_years
from governance.errors import GovernanceError

INFINITY = 2**31 - 1  # what a Postgres date 'infinity' becomes in date32


def age(birth: date | None, on: date | None) -> int | None:
    return whole_years(pa.array([birth], pa.date32()), pa.array([on], pa.date32()))[0].as_py()


@pytest.mark.clause("L1")
@pytest.mark.parametrize(
    ("birth", "on", "years"),
    [
        (date(2008, 6, 15), date(2026, 6, 14), 17),  # the day before the birthday
        (date(2008, 6, 15), date(2026, 6, 15), 18),  # the birthday
        (date(2008, 6, 15), date(2026, 6, 16), 18),
        (date(2008, 2, 29), date(2026, 2, 28), 17),  # born on a leap day: not yet
        (date(2008, 2, 29), date(2026, 3, 1), 18),  # ... but on 1 March
        (date(2004, 2, 29), date(2024, 2, 28), 19),  # in a leap year the birthday is 29 February
        (date(2004, 2, 29), date(2024, 2, 29), 20),
        (date(2008, 3, 1), date(2026, 2, 28), 17),
        (date(2007, 2, 28), date(2024, 2, 28), 17),
        (date(2007, 2, 28), date(2024, 2, 27), 16),
        (date(2008, 12, 31), date(2026, 12, 30), 17),
        (date(2008, 12, 31), date(2026, 12, 31), 18),
        (date(2008, 1, 1), date(2025, 12, 31), 17),
        (date(2026, 11, 23), date(2026, 11, 23), 0),
    ],
)
def test_age_grows_on_the_birthday_and_not_before(birth: date, on: date, years: int) -> None:
    assert age(birth, on) == years


@pytest.mark.clause("L1")
def test_an_unknown_date_on_either_side_gives_an_unknown_age() -> None:
    assert age(None, date(2026, 1, 1)) is None
    assert age(date(2000, 1, 1), None) is None
    assert age(None, None) is None


@pytest.mark.parametrize(
    ("birth", "years"),
    [(date(2026, 11, 24), -1), (date(2027, 11, 23), -1), (date(2027, 11, 24), -2), (date(9999, 12, 31), -7974)],
)
def test_a_birth_after_the_day_gives_a_negative_age_and_no_error(birth: date, years: int) -> None:
    assert age(birth, date(2026, 11, 23)) == years


def test_the_whole_calendar_of_years_1_to_9999_works() -> None:
    assert age(date.min, date.max) == 9998
    assert age(date.max, date.min) == -9999  # 9,998 years and almost one more


def test_an_infinite_date_gives_the_nearest_age_that_fits_and_no_error() -> None:
    infinite = pa.array([INFINITY, -INFINITY], pa.int32()).cast(pa.date32())
    today = pa.array([date(2026, 11, 23)] * 2, pa.date32())
    assert whole_years(infinite, today).to_pylist() == [-(2**15), 2**15 - 1]


def test_chunked_columns_are_as_good_as_arrays_and_the_result_is_int16() -> None:
    births = pa.chunked_array([[date(2000, 1, 2)], [None, date(2010, 1, 1)]], pa.date32())
    ages = whole_years(births, pa.array([date(2026, 1, 1)] * 3, pa.date32()))
    assert ages.type == pa.int16()
    assert ages.to_pylist() == [25, None, 16]


def test_no_rows_give_no_ages() -> None:
    none = pa.array([], pa.date32())
    assert whole_years(none, none).to_pylist() == []


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(GovernanceError, match="2 birth dates beside 1 days"):
        whole_years(pa.array([None, None], pa.date32()), pa.array([None], pa.date32()))
