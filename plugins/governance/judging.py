"""Whether a row that passes by would be accepted by rules of a suite, without landing it. Pure.

The thresholds are the suite's own, and what they are applied to is measured as pull measures it, so that this says what
validation would say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance import age
from governance.datasets import LandedTable
from governance.errors import PolicyError
from governance.facts import MEASURES, Parameters

A_YEAR = timedelta(days=366)
OLDEST_YEARS = 110
"""As the suites have it: whoever is older has a birth date that cannot be."""

Suite = Mapping[str, Any]


def passing(batch: pa.RecordBatch, name: str, table: LandedTable, suite: Suite, clauses: Collection[str]) -> set[str]:
    """Row keys of source rows that break no row rule of these clauses; see `passing_keys`."""
    return set(passing_keys(batch, name, table, suite, clauses).to_pylist())


def passing_keys(
    batch: pa.RecordBatch, name: str, table: LandedTable, suite: Suite, clauses: Collection[str]
) -> pa.StringArray:
    """Row keys of source rows that break no row rule of these clauses, as an array; `name` is the landed table's.

    Raises PolicyError for an expectation of another kind, which could not be judged here.
    """
    facts: dict[str, pa.Array] = {}  # several rules ask for the same one
    passed = pa.array(np.ones(batch.num_rows, dtype=np.bool_))
    for expectation in suite["expectations"]:
        meta = expectation["meta"]
        if meta["table"] == name and meta["clause"] in clauses:
            column = expectation["kwargs"]["column"]
            if column not in facts:
                facts[column] = _fact(batch, table, column)
            passed = pc.and_(passed, _holds(facts[column], expectation["type"], expectation["kwargs"], meta["rule"]))
    return batch["row_key"].filter(passed)


def minors(batch: pa.RecordBatch, born: str, recorded_on: date, adult_years: int) -> set[str]:
    """Row keys of source rows, recorded on one day, of a minor: see `are_minors`."""
    recorded = pa.array([recorded_on] * batch.num_rows, pa.date32())
    found = are_minors(batch[born], recorded, batch["booked_date"], adult_years)
    return set(batch["row_key"].filter(found).to_pylist())


def are_minors(births: pa.Array, recorded: pa.Array, booked: pa.Array, adult_years: int) -> pa.Array:
    """Which rows are of a minor, by the birth date alone: unknown, impossible, or under age; boolean of length n.

    Age is that of the day on which the row was recorded, or of its booking within the year before: another day of
    booking, and any day of service, may itself be wrong, and makes nobody a minor. All three are date32 of length n.
    """
    at_recording = age.whole_years(births, recorded)
    lead = pc.subtract(pc.cast(recorded, pa.int32()), pc.cast(booked, pa.int32()))
    at_booking = pc.if_else(
        pc.less_equal(lead, A_YEAR.days), age.whole_years(births, booked), pa.scalar(None, pa.int16())
    )
    is_under_age = pc.less(pc.min_element_wise(at_recording, at_booking), adult_years)
    return pc.fill_null(pc.or_(is_under_age, pc.greater(at_recording, OLDEST_YEARS)), True)


def _fact(batch: pa.RecordBatch, table: LandedTable, column: str) -> pa.Array:
    spec = table.columns[column]
    if spec.measure and spec.measure != "sql":
        return MEASURES[spec.measure](batch, Parameters(grid_degrees=1.0), spec.origin[0])
    return batch[column]


def _holds(values: pa.Array, kind: str, limits: Mapping[str, Any], rule: str) -> pa.Array:
    """Boolean array of length n: NULL passes every expectation but the one that there is none."""
    if kind == "expect_column_values_to_not_be_null":
        return pc.is_valid(values)
    if kind == "expect_column_values_to_be_in_set":
        return pc.or_(pc.is_null(values), pc.is_in(values, pa.array(limits["value_set"], values.type)))
    if kind != "expect_column_values_to_be_between":
        raise PolicyError(f"rule {rule}: an expectation {kind} cannot be judged at the source")
    within = pa.array(np.ones(len(values), dtype=np.bool_))
    if "min_value" in limits:
        within = pc.and_(within, pc.fill_null(pc.greater_equal(values, limits["min_value"]), True))
    if "max_value" in limits:
        within = pc.and_(within, pc.fill_null(pc.less_equal(values, limits["max_value"]), True))
    return within
