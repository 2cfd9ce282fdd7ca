"""Two releases are compared in numbers that isolate nobody: no count below the floor, one column at a time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.datasets import OTHERS
from governance.release_comparison import compared

pytestmark = pytest.mark.clause("E1")

FLOOR = 10


def counts(before: dict[str, int], after: dict[str, int]) -> dict[str, Any]:
    found = compared(({}, {}), ({}, {}), {"bookings": [{"region": before}, {"region": after}]}, FLOOR)
    return dict(found["counts"]["bookings.region"])


def test_measures_and_settings_are_told_side_by_side() -> None:
    releases = {"k": 12, "rows": 20, "release_id": 1, "dataset": "bookings"}, {"k": None, "rows": 0, "release_id": 2}
    found = compared(releases, ({"k": "10", "l": "2"}, {"k": "5", "l": "2"}), {}, FLOOR)
    assert found == {"measures": {"k": (12, None), "rows": (20, 0)}, "settings": {"k": ("10", "5")}, "counts": {}}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 10}, {"a": 10}, {"a": (10, 10)}),
        ({"a": 10}, {"a": 9}, {OTHERS: (10, 9)}),
        ({"a": 30, "b": 10}, {"a": 30, "b": 9}, {OTHERS: (40, 39)}),
        (
            {"a": 30, "b": 20, "c": 12},
            {"a": 30, "b": 20, "c": 8, "d": 3},
            {"a": (30, 30), "b": (20, 20), OTHERS: (12, 11)},
        ),
        ({}, {}, {}),
    ],
)
def test_values_that_are_rare_in_either_release_count_as_one(
    before: dict[str, int], after: dict[str, int], told: dict[str, tuple[int, int]]
) -> None:
    assert counts(before, after) == told


CROWDS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40))


@given(CROWDS, CROWDS)
def test_no_count_below_the_floor_is_told_beside_others_and_none_can_be_subtracted(
    before: dict[str, int], after: dict[str, int]
) -> None:
    told = counts(before, after)
    assert tuple(map(sum, zip(*told.values(), strict=True))) == (
        (sum(before.values()), sum(after.values())) if told else ()
    )
    if len(told) > 1:
        assert all(count == 0 or count >= FLOOR for pair in told.values() for count in pair)
