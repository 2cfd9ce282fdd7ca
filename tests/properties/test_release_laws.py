"""Laws of a release, against slow definitions that one can read."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance import policy as policies
from governance.anonymisation import releases
from governance.anonymisation.releases import Release

pytestmark = pytest.mark.clause("E1")

DAY = date(2026, 3, 10)
POLICY = policies.load()
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


def of(accepted: pd.DataFrame, k: int, l: int) -> Release:  # noqa: E741
    return releases.bookings(accepted, BOOKINGS, DAY, k=k, l=l)


def decision_of(found: Release) -> dict[str, str]:
    return dict(zip(found.decisions["row_key"], found.decisions["decision"], strict=True))


def labels(accepted: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Row key -> what would be published of it: each row released alone, with nothing to hold."""
    return {
        row.row_key: of(accepted.iloc[[n]], 0, 0).rows.iloc[0].to_dict() for n, row in enumerate(accepted.itertuples())
    }


THRESHOLDS = {"k": st.integers(1, 4), "l": st.integers(1, 3)}


@given(accepted=bookings(), **THRESHOLDS)
@settings(max_examples=40)
def test_every_published_class_holds_k_people_and_l_values_and_no_class_that_does_is_held_back(
    accepted: pd.DataFrame,
    k: int,
    l: int,  # noqa: E741
) -> None:
    found = of(accepted, k, l)
    label, decided = labels(accepted), decision_of(found)
    person = dict(zip(accepted["row_key"], accepted["client_token"], strict=True))
    classes: dict[tuple[str, ...], list[str]] = {}
    for key, decision in decided.items():
        if decision != "superseded":
            classes.setdefault(tuple(label[key][name] for name in QUASI), []).append(key)
    measures = []
    for keys in classes.values():
        people = len({person[key] for key in keys if pd.notna(person[key])})
        values = min(len({label[key][name] for key in keys}) for name in SENSITIVE)
        assert {decided[key] for key in keys} == {"published" if people >= k and values >= l else "suppressed"}
        if people >= k and values >= l:
            measures.append((people, values))
    assert (found.risk.k, found.risk.l) == tuple(
        min(each) if measures else None for each in zip(*measures, strict=True)
    ) or (not measures and found.risk.k is found.risk.l is None)


@given(accepted=bookings(), **THRESHOLDS)
@settings(max_examples=40)
def test_each_accepted_row_is_decided_once_and_published_rows_are_those_decided_so(
    accepted: pd.DataFrame,
    k: int,
    l: int,  # noqa: E741
) -> None:
    found = of(accepted, k, l)
    decided = decision_of(found)
    assert found.decisions["row_key"].tolist() == accepted["row_key"].tolist()
    assert set(decided.values()) <= {"published", "suppressed", "superseded"}
    newest = accepted.groupby("booking_id")["version"].max()
    for row in accepted.itertuples():
        assert (decided[row.row_key] == "superseded") == (row.version < newest[row.booking_id])
    label = labels(accepted)
    expected = Counter(tuple(label[key].values()) for key, decision in decided.items() if decision == "published")
    assert Counter(found.rows.itertuples(index=False, name=None)) == expected
    assert len(decided) == len(accepted)


@given(accepted=bookings(), seed=st.integers(0, 2**32 - 1), **THRESHOLDS)
@settings(max_examples=40)
def test_the_order_of_rows_tells_nothing_of_the_order_in_which_they_came(
    accepted: pd.DataFrame,
    seed: int,
    k: int,
    l: int,  # noqa: E741
) -> None:
    one = of(accepted, k, l)
    other = of(accepted.sample(frac=1, random_state=seed).reset_index(drop=True), k, l)
    pd.testing.assert_frame_equal(one.rows, other.rows)
    assert decision_of(one) == decision_of(other)
    rows = list(one.rows.itertuples(index=False, name=None))
    assert rows == sorted(rows)


@given(people=st.integers(1, 12), k=st.integers(2, 4))
def test_nothing_is_published_when_everybody_is_unique(people: int, k: int) -> None:
    countries = ["SE", "PT", "US", "JP", "BR", "KE", "IN", "AU", "DE", "EG", "AE", "PL"]  # of twelve regions
    rows = [
        (n, 1, f"person {n}", "booked", countries[n], 1, 40, 3, 100, "EUR", "dental.implant") for n in range(people)
    ]
    accepted = pd.DataFrame(rows, columns=BOOKED)
    accepted = accepted.assign(row_key=accepted["booking_id"].astype(str), partition_key=DAY)
    assert of(accepted, k, 1).rows.empty
