"""Laws of a release, against slow definitions that one can read."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance import policy as policies
from governance.anonymisation import keyed, releases
from governance.anonymisation.releases import Release
from governance.anonymisation.signatures import nobody
from governance.key import DataKey

pytestmark = pytest.mark.clause("E1")

DAY = date(2026, 3, 10)
POLICY = policies.load()
KEY = DataKey(bytes(16), "release", bytes(32))
BOOKINGS = POLICY.dataset("bookings").release
QUASI, SENSITIVE = BOOKINGS.of_kind("quasi_identifier"), BOOKINGS.of_kind("sensitive")
BOOKED = ["booking_id", "version", "client_token", "status", "client_country_code", "travellers_count", "lead_days",
          "nights_count", "price_amount_minor", "currency_code", "procedure_code"]  # fmt: skip

BOOKING = st.fixed_dictionaries(
    {
        "booking_id": st.integers(1, 12),
        "version": st.integers(1, 3),
        "client_token": st.sampled_from(["ann", "bo", "cy", "di", "ed", None]),
        "status": st.sampled_from(["booked", "amended"]),
        "client_country_code": st.sampled_from(["SE", "PT", None]),
        "travellers_count": st.sampled_from([1, 2]),
        "lead_days": st.sampled_from([10, 40]),
        "nights_count": st.sampled_from([3, None]),
        "price_amount_minor": st.sampled_from([100, 60_000, 900_000]),
        "currency_code": st.sampled_from(["EUR", "SEK"]),
        "procedure_code": st.sampled_from(["dental.implant", "ophthalmology.lasik", None]),
    }
)


@st.composite
def bookings(draw: st.DrawFn) -> pd.DataFrame:
    """Accepted booking versions, each once."""
    rows = draw(st.lists(BOOKING, max_size=24, unique_by=lambda row: (row["booking_id"], row["version"])))
    frame = pd.DataFrame(rows, columns=BOOKED)
    keys = [f"{row['booking_id']}/{row['version']}" for row in rows]
    return frame.assign(row_key=pd.Series(keys, dtype="object"), partition_key=DAY)


def of(accepted: pd.DataFrame, k: int, l: int, **terms: float) -> Release:  # noqa: E741
    """A release of rows, numbered as they are under some key."""
    numbered = accepted.assign(
        row_number=keyed.numbers(accepted["row_key"], KEY, "row"),
        person_number=keyed.numbers(accepted["client_token"], KEY, "person"),
    )
    model = releases.model(BOOKINGS, k=k, l=l, terms={**POLICY.value("bookings_release"), **terms})
    return releases.bookings(numbered, model, DAY, nobody(model.rules.widths), 1)


def decision_of(found: Release) -> dict[str, str]:
    return dict(zip(found.decisions["row_key"], found.decisions["decision"], strict=True))


THRESHOLDS = {"k": st.integers(2, 4), "l": st.integers(1, 3), "delay": st.sampled_from([0, 7])}


@given(accepted=bookings(), **THRESHOLDS)
@settings(max_examples=40, deadline=None)
def test_every_published_class_holds_k_people_and_l_values(
    accepted: pd.DataFrame,
    k: int,
    l: int,  # noqa: E741
    delay: int,
) -> None:
    rows = of(accepted, k, l, delay=delay).rows
    for _, group in rows.groupby(list(QUASI), dropna=False):
        assert len(group) >= k
        assert min(group[name].nunique() for name in SENSITIVE) >= l


@given(accepted=bookings(), **THRESHOLDS)
@settings(max_examples=40, deadline=None)
def test_each_accepted_row_is_decided_once_or_held_and_none_is_held_after_its_delay(
    accepted: pd.DataFrame,
    k: int,
    l: int,  # noqa: E741
    delay: int,
) -> None:
    found = of(accepted, k, l, delay=delay)
    decided, newest = decision_of(found), accepted.groupby("booking_id")["version"].max()
    for row in accepted.itertuples():
        assert (decided.get(row.row_key) == "superseded") == (row.version < newest[row.booking_id])
    assert len(decided) + found.daily.held == len(accepted)
    assert found.decisions["row_key"].is_unique
    assert delay or not found.daily.held
    assert list(decided.values()).count("published") == len(found.rows)


@given(accepted=bookings(), **THRESHOLDS)
@settings(max_examples=40, deadline=None)
def test_what_is_published_of_a_row_is_true_of_it(
    accepted: pd.DataFrame,
    k: int,
    l: int,  # noqa: E741
    delay: int,
) -> None:
    """Counted over rows: as many rows are published with a label as there are published rows with that value."""
    found = of(accepted, k, l, delay=delay)
    decided = decision_of(found)
    mine = accepted[accepted["row_key"].isin([key for key, said in decided.items() if said == "published"])]
    told = found.rows["party_size"].dropna().value_counts().to_dict()
    whole = mine["travellers_count"].map({1: "1", 2: "2"}).value_counts().to_dict()
    assert all(count <= whole[label] for label, count in told.items())
    kept = Counter(found.rows[["booking_event", "service_specialty"]].dropna().itertuples(index=False, name=None))
    specialty = mine["procedure_code"].fillna("travel").str.split(".").str[0]
    assert kept <= Counter(zip(mine["status"], specialty, strict=True))


@given(accepted=bookings(), seed=st.integers(0, 2**32 - 1), **THRESHOLDS)
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_tells_nothing_of_the_order_in_which_they_came(
    accepted: pd.DataFrame,
    seed: int,
    k: int,
    l: int,  # noqa: E741
    delay: int,
) -> None:
    one = of(accepted, k, l, delay=delay)
    other = of(accepted.sample(frac=1, random_state=seed).reset_index(drop=True), k, l, delay=delay)
    pd.testing.assert_frame_equal(one.rows, other.rows)
    assert decision_of(one) == decision_of(other)
