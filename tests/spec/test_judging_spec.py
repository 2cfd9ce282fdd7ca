"""What a suite would say of a row that passes by: each kind of expectation, both sides of each bound."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from governance import policy as policies
from governance.errors import PolicyError
from governance.judging import passing
from governance.validation import load_suite

pytestmark = [pytest.mark.clause("L1"), pytest.mark.clause("L2")]

BOOKINGS = policies.load().dataset("bookings").landed["bookings"]


def suite(kind: str, clause: str = "L1", **limits: Any) -> dict[str, Any]:
    """One expectation on the number of travellers."""
    meta = {"rule": f"{clause}.rule", "clause": clause, "table": "bookings"}
    return {"expectations": [{"type": kind, "kwargs": {"column": "travellers_count", **limits}, "meta": meta}]}


def accepted(count: int | None, asked: dict[str, Any]) -> bool:
    """Whether a booking of so many travellers breaks no rule of L1."""
    batch = pa.record_batch({"row_key": ["1/1"], "travellers_count": pa.array([count], pa.int32())})
    return passing(batch, "bookings", BOOKINGS, asked, ("L1",)) == {"1/1"}


@pytest.mark.parametrize(
    ("count", "limits", "passes"),
    [
        (1, {"min_value": 1}, True),
        (0, {"min_value": 1}, False),
        (None, {"min_value": 1}, True),
        (2, {"min_value": 1, "max_value": 2}, True),
        (3, {"min_value": 1, "max_value": 2}, False),
        (0, {"max_value": 0}, True),
        (1, {"max_value": 0}, False),
    ],
)
def test_a_number_is_within_its_bounds_or_unknown(count: int | None, limits: dict[str, int], passes: bool) -> None:
    assert accepted(count, suite("expect_column_values_to_be_between", **limits)) is passes


@pytest.mark.parametrize(("count", "passes"), [(1, True), (3, False), (None, True)])
def test_a_value_is_among_those_listed_or_unknown(count: int | None, passes: bool) -> None:
    assert accepted(count, suite("expect_column_values_to_be_in_set", value_set=[1, 2])) is passes


@pytest.mark.parametrize(("count", "passes"), [(0, True), (None, False)])
def test_what_has_to_be_known_is(count: int | None, passes: bool) -> None:
    assert accepted(count, suite("expect_column_values_to_not_be_null")) is passes


def test_rules_of_other_clauses_are_not_asked() -> None:
    assert accepted(0, suite("expect_column_values_to_be_between", clause="A1", min_value=1))


def test_an_expectation_that_cannot_be_judged_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"rule L1\.rule: an expectation expect_column_values_to_match_regex"):
        accepted(1, suite("expect_column_values_to_match_regex", regex="x"))


@pytest.mark.parametrize("table", ["bookings", "booking_travellers"])
def test_every_rule_about_minors_can_be_judged(table: str) -> None:
    kinds = {
        expectation["type"]
        for expectation in load_suite("bookings")["expectations"]
        if expectation["meta"]["clause"] in ("L1", "L2") and expectation["meta"]["table"] == table
    }
    assert kinds <= {
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_not_be_null",
    }
