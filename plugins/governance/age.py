"""Who is how old on which day: one rule for the whole project (policy clause L1).

Age is counted in whole years, strictly: it grows on the birthday and not before, and a person born on 29 February has
the birthday on 1 March in common years. Other idioms (adding calendar years, 365.25 days) make that person an adult one
day earlier; this is the only place where an age is computed.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.errors import GovernanceError


def whole_years(birth_dates: pa.Array, on: pa.Array) -> pa.Array:
    """Age in completed years of each person on the day beside it.

    `birth_dates` and `on` are date32 arrays of one length n; the result is int16 of length n. NULL on either side gives
    NULL: what an unknown age means is for the suite to say. A birth after `on` gives a negative number (-1 for
    tomorrow), and an age that int16 cannot hold (Postgres knows years up to 5874897, and infinity) its nearest bound,
    so that the implausible stays visible and nothing is raised for one row. Raises `GovernanceError` when the lengths
    differ. Source: policy clause L1; the strict reading of leap days is a project decision.

    >>> from datetime import date
    >>> born = pa.array([date(2008, 2, 29), date(2008, 2, 29), None], pa.date32())
    >>> whole_years(born, pa.array([date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 1)], pa.date32())).to_pylist()
    [17, 18, None]
    """
    if len(birth_dates) != len(on):
        raise GovernanceError(f"age: {len(birth_dates)} birth dates beside {len(on)} days; they have to be pairs")
    birth_year, birth_day = _year_and_day(birth_dates)
    year, day = _year_and_day(on)
    age = year - birth_year - (day < birth_day)
    bounds = np.iinfo(np.int16)
    unknown = np.asarray(pc.or_(pc.is_null(birth_dates), pc.is_null(on)))
    return pa.array(np.clip(age, bounds.min, bounds.max).astype(np.int16), mask=unknown)


def _year_and_day(dates: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The year of each date, and a number that orders the days within any year (29 February between its neighbours)."""
    days = pc.fill_null(pc.cast(dates, pa.int32()), 0).to_numpy(zero_copy_only=False).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    years = months.astype("datetime64[Y]")
    day_of_month = (days - months.astype("datetime64[D]")).astype(np.int64)
    month_of_year = (months - years.astype("datetime64[M]")).astype(np.int64)
    return years.astype(np.int64) + 1970, month_of_year * 32 + day_of_month
