"""The bias of a release discloses nothing: what is told, or can be subtracted, is of at least k people or of none."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance import policy as policies
from governance.anonymisation.bias import Bias, Offered, biases, dimensions
from governance.datasets import OTHERS

pytestmark = pytest.mark.clause("E1")

COLUMNS = policies.load().dataset("bookings").release.columns
K = 3
ROWS = st.lists(st.tuples(st.sampled_from(["1", "2", "3+", "unknown"]), st.booleans(), st.integers(0, 12)), max_size=40)


def offered(rows: list[tuple[str, bool, int]]) -> Offered:
    """Rows as (party size, whether it is shown, person); every other column is one value, shown throughout."""
    frame = pd.DataFrame(rows, columns=["party_size", "shown", "person"])
    values = pd.DataFrame({name: frame["party_size"] if name == "party_size" else "x" for name in COLUMNS})
    shown = pd.DataFrame(
        {name: frame["shown"] if name == "party_size" else True for name in COLUMNS}, index=frame.index
    )
    return Offered(values, shown, frame["person"].astype("str"))


def told(rows: list[tuple[str, bool, int]]) -> dict[str, Bias]:
    return {b.value: b for b in biases(offered(rows), COLUMNS, k=K) if b.dimension == "party_size"}


@given(ROWS)
def test_whatever_is_told_or_left_over_is_of_k_people_or_of_none(rows: list[tuple[str, bool, int]]) -> None:
    found = told(rows)
    named = set(found) - {OTHERS}
    missing = [(value, person) for value, shown, person in rows if not shown]
    for value in named:
        assert len({person for v, person in missing if v == value}) >= K
    rest = {person for v, person in missing if v not in named}
    assert not found or not rest or len(rest) >= K
    for value, bias in found.items():
        counts = sum(1 for v, _ in missing if v == value or (value == OTHERS and v not in named))
        assert bias.missing_at_least % K == 0
        assert bias.missing_at_least <= counts < bias.missing_at_least + K
        assert bias.published == sum(
            1 for v, shown, _ in rows if shown and (v == value or (value == OTHERS and v not in named))
        )
        total = bias.published + counts
        assert not total or bias.share_at_most >= bias.published / total - 1e-9


@given(ROWS, st.randoms())
def test_the_order_of_rows_makes_no_difference(rows: list[tuple[str, bool, int]], random: st.random.Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert told(shuffled) == told(rows)


def missing(value: str, people: int) -> list[tuple[str, bool, int]]:
    return [(value, False, 100 * ord(value[0]) + person) for person in range(people)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (missing("1", 3), {"1": (0, 3), OTHERS: (0, 0)}),
        (missing("1", 2), {}),
        (missing("1", 3) + missing("2", 2), {OTHERS: (0, 3)}),
        (missing("1", 6) + missing("2", 3) + missing("3+", 2), {"1": (0, 6), OTHERS: (0, 3)}),
        (missing("1", 3) + [("1", True, 1)] * 4 + [("2", True, 2)], {"1": (4, 3), OTHERS: (1, 0)}),
        ([("1", False, 7)] * 9, {}),
        ([], {OTHERS: (0, 0)}),
    ],
    ids=["three", "two", "three and two", "six, three and two", "with published ones", "one person nine times", "none"],
)
def test_both_sides_of_the_threshold(rows: list[tuple[str, bool, int]], said: dict[str, tuple[int, int]]) -> None:
    assert {value: (b.published, b.missing_at_least) for value, b in told(rows).items()} == said


def test_a_dimension_is_a_column_of_few_values_and_the_coarsest_of_one_fact() -> None:
    assert dimensions(COLUMNS) == [
        "booking_event", "origin_continent", "party_size", "lead_time", "stay_length", "price_range",
        "service_specialty",
    ]  # fmt: skip
    coarser = COLUMNS["party_size"].model_copy(update={"values": ("1", "2+")})
    assert dimensions({**COLUMNS, "party": coarser})[2] == "party"
    assert "party_size" not in dimensions({**COLUMNS, "party": coarser})
