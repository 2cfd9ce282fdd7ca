"""What a release publishes, as tables small enough to check by eye: here k is 3 people and l is 2 values."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import pytest

from governance import policy as policies
from governance.anonymisation import releases
from governance.anonymisation.levels import EUR_PER_UNIT, price_band, subregion, value
from governance.anonymisation.releases import Release, require
from governance.anonymisation.risk import Risk, class_measures, risk
from governance.errors import DisclosureError, PolicyError

pytestmark = pytest.mark.clause("E1")

DAY = date(2026, 3, 10)
POLICY = policies.load()
BOOKINGS = POLICY.dataset("bookings").release
VISITS = POLICY.dataset("visits").release
K, L = 3, 2

# One adult from Sweden, 40 days ahead, three nights: what a row has that says nothing else.
SOUND: dict[str, Any] = {
    "partition_key": DAY, "version": 1, "status": "booked", "client_country_code": "SE", "travellers_count": 1,
    "lead_days": 40, "nights_count": 3, "price_amount_minor": 60_000, "currency_code": "EUR",
    "procedure_code": "dental.implant",
}  # fmt: skip
CHEAP = {"price_amount_minor": 20_000}
EYES = {"procedure_code": "ophthalmology.lasik"}


def booked(*rows: dict[str, Any]) -> pd.DataFrame:
    """Accepted bookings, each `SOUND` with changes: another person's and another booking unless it says whose."""
    filled = []
    for number, row in enumerate(rows, start=1):
        one = {"booking_id": number, **SOUND, **row}
        one["client_token"] = one.pop("who", f"person {number}")
        filled.append(one | {"row_key": f"{one['booking_id']}/{one['version']}"})
    return pd.DataFrame(filled, columns=[*SOUND, "booking_id", "client_token", "row_key"])


def release(accepted: pd.DataFrame, k: int = K, l: int = L) -> Release:  # noqa: E741
    return releases.bookings(accepted, BOOKINGS, DAY, k=k, l=l)


def decided(found: Release) -> dict[str, str]:
    """row key -> decision."""
    assert found.decisions is not None
    return dict(zip(found.decisions["row_key"], found.decisions["decision"], strict=True))


def test_three_people_with_two_specialties_and_two_price_bands_are_published() -> None:
    found = release(booked({"who": "ann"}, {"who": "bo"} | CHEAP, {"who": "cy"} | EYES))
    assert found.rows.columns.tolist() == list(BOOKINGS.columns)
    label = {"recorded_date": "2026-03-10", "booking_event": "booked", "origin_region": "northern_europe",
             "party_size": "1", "lead_time": "30-89 days", "stay_length": "up to 3"}  # fmt: skip
    assert found.rows.to_dict("records") == [
        {**label, "service_specialty": "dental", "price_band": "500-999"},
        {**label, "service_specialty": "dental", "price_band": "under 250"},
        {**label, "service_specialty": "ophthalmology", "price_band": "500-999"},
    ]
    assert found.risk == Risk(k=3, l=2)
    assert set(decided(found).values()) == {"published"}


def test_two_people_are_too_few_however_many_bookings_they_have() -> None:
    found = release(booked({"who": "ann"}, {"who": "ann"} | CHEAP, {"who": "bo"} | EYES, {"who": "bo"}, {"who": "bo"}))
    assert found.rows.empty
    assert found.risk == Risk(None, None)
    assert list(decided(found).values()) == ["suppressed"] * 5


def test_one_more_person_publishes_them_all() -> None:
    found = release(
        booked(
            {"who": "ann"}, {"who": "ann"} | CHEAP, {"who": "bo"} | EYES, {"who": "bo"}, {"who": "bo"}, {"who": "cy"}
        )
    )
    assert (len(found.rows), found.risk.k) == (6, 3)


@pytest.mark.parametrize(
    ("rows", "published"),
    (
        ([{}, CHEAP, CHEAP], 0),  # one specialty
        ([{}, EYES, EYES], 0),  # one price band
        ([{}, EYES, CHEAP], 3),
        ([EYES | CHEAP, {}, {}], 3),
    ),
    ids=("one specialty", "one price band", "two of each", "two of each in two rows"),
)
def test_each_sensitive_column_needs_two_values_by_itself(rows: list[dict[str, Any]], published: int) -> None:
    assert len(release(booked(*rows)).rows) == published


def test_an_unsafe_class_is_suppressed_and_a_safe_one_beside_it_published() -> None:
    north = [{}, CHEAP, EYES]
    south = [{"client_country_code": "PT"}, {"client_country_code": "ES"} | CHEAP | EYES]
    found = release(booked(*north, *south))
    assert list(decided(found).values()) == ["published"] * 3 + ["suppressed"] * 2
    assert set(found.rows["origin_region"]) == {"northern_europe"}


@pytest.mark.parametrize(
    ("column", "one", "other"),
    (
        ("status", "booked", "amended"),
        ("client_country_code", "SE", "PT"),
        ("travellers_count", 1, 2),
        ("travellers_count", 2, 3),
        ("lead_days", 29, 30),
        ("lead_days", 89, 90),
        ("nights_count", 3, 4),
        ("nights_count", 7, 8),
    ),
)
def test_every_quasi_identifier_parts_people(column: str, one: Any, other: Any) -> None:
    together = booked({column: one}, {column: one} | CHEAP, {column: one} | EYES)
    apart = booked({column: one}, {column: one} | CHEAP, {column: other} | EYES)
    assert len(release(together).rows) == 3
    assert release(apart).rows.empty


@pytest.mark.parametrize(
    ("column", "one", "other"),
    (
        ("client_country_code", "SE", "NO"),
        ("travellers_count", 3, 9),
        ("lead_days", 30, 89),
        ("lead_days", 90, 900),
        ("nights_count", 0, 3),
        ("nights_count", 8, 80),
    ),
)
def test_values_of_one_level_are_together(column: str, one: Any, other: Any) -> None:
    assert len(release(booked({column: one}, {column: other} | CHEAP, {column: other} | EYES)).rows) == 3


def test_only_the_last_version_of_a_booking_is_published() -> None:
    found = release(
        booked(
            {"booking_id": 1, "version": 1},
            {"booking_id": 1, "version": 2, "status": "cancelled"},
            {"booking_id": 2, "version": 3, "status": "cancelled"} | CHEAP,
            {"booking_id": 3, "version": 10, "status": "cancelled"} | EYES,
            {"booking_id": 3, "version": 9},
        )
    )
    assert decided(found) == {
        "1/1": "superseded",
        "1/2": "published",
        "2/3": "published",
        "3/10": "published",
        "3/9": "superseded",
    }
    assert found.rows["booking_event"].tolist() == ["cancelled"] * 3


def test_a_superseded_version_counts_for_nobody() -> None:
    found = release(
        booked({"booking_id": 1, "who": "ann"}, {"booking_id": 1, "who": "ann", "version": 2}, CHEAP | EYES)
    )
    assert found.rows.empty
    assert sorted(decided(found).values()) == ["superseded", "suppressed", "suppressed"]


def test_an_unknown_country_is_a_class_of_its_own() -> None:
    nowhere = [
        {"client_country_code": None},
        {"client_country_code": "??"} | CHEAP,
        {"client_country_code": "XX"} | EYES,
    ]
    found = release(booked(*nowhere, {}, {}))
    assert found.rows["origin_region"].tolist() == ["unknown"] * 3
    assert list(decided(found).values()) == ["published"] * 3 + ["suppressed"] * 2


def test_an_unknown_person_is_nobody() -> None:
    assert release(booked({"who": "ann"}, {"who": "bo"} | CHEAP, {"who": None} | EYES)).rows.empty


def test_a_booking_without_a_procedure_is_travel() -> None:
    found = release(booked({}, CHEAP, {"procedure_code": None}))
    assert sorted(found.rows["service_specialty"]) == ["dental", "dental", "travel"]


def test_a_day_of_travel_alone_has_one_specialty_and_is_suppressed() -> None:
    assert decided(release(booked(*[{"procedure_code": None}] * 4)))["1/1"] == "suppressed"


def test_unknown_nights_are_a_class_of_their_own() -> None:
    assert release(booked({"nights_count": None}, CHEAP, EYES)).rows.empty
    assert (
        len(release(booked({"nights_count": None}, {"nights_count": None} | CHEAP, {"nights_count": None} | EYES)).rows)
        == 3
    )


def test_a_day_without_bookings_publishes_nothing_and_has_no_measures() -> None:
    found = release(booked())
    assert (found.rows.empty, found.decisions.empty, found.risk) == (True, True, Risk(None, None))
    assert found.rows.columns.tolist() == list(BOOKINGS.columns)


def test_rows_carried_in_from_another_day_keep_that_day_in_their_decision() -> None:
    found = release(booked({"partition_key": date(2026, 3, 9)}, CHEAP, EYES))
    assert found.decisions["accepted_partition"].tolist() == [date(2026, 3, 9), DAY, DAY]
    assert set(found.rows["recorded_date"]) == {"2026-03-10"}


def test_a_currency_without_a_rate_stops_the_release_and_is_counted_not_named() -> None:
    with pytest.raises(PolicyError, match="1 prices have a currency without a rate; add it to EUR_PER_UNIT") as caught:
        release(booked({"currency_code": "XTS"}, CHEAP, EYES))
    assert "XTS" not in str(caught.value)


# -- visits: which views count is decided where they are, see tests/integration/test_visits_release.py ----------------


def cells(*rows: tuple[Any, ...]) -> pd.DataFrame:
    names = ["country_code", "device_class", "page_category", "language_code", "count", "low", "high", "people"]
    return pd.DataFrame(rows, columns=names).assign(is_known=False)


def test_cells_are_published_with_their_noisy_counts_alone() -> None:
    rows = ("SE", "mobile", "search", "sv", 7, 3, 9, 3), ("DE", "bot", "blog", "de", 4, 3, 6, 4)
    found = releases.visits(cells(*rows), VISITS, DAY, k=K)
    assert found.rows.columns.tolist() == list(VISITS.columns)
    assert found.rows.to_dict("list") == {
        "recorded_date": ["2026-03-10"] * 2, "country_code": ["SE", "DE"], "device_class": ["mobile", "bot"],
        "page_category": ["search", "blog"], "language_code": ["sv", "de"],
        "sessions_count": [7, 4], "sessions_low": [3, 3], "sessions_high": [9, 6],
    }  # fmt: skip
    assert found.risk == Risk(3, None)


def test_a_cell_of_too_few_visitors_or_with_a_strange_label_is_refused() -> None:
    with pytest.raises(DisclosureError, match="a cell of 2 visitors was about to be published, policy asks for 3"):
        releases.visits(cells(("SE", "mobile", "search", "sv", 9, 2, 14, 2)), VISITS, DAY, k=K)
    with pytest.raises(DisclosureError, match="column page_category: 1 rows with a value that policy does not list"):
        releases.visits(cells(("SE", "mobile", "/clinics/ann", "sv", 9, 3, 14, 3)), VISITS, DAY, k=K)
    known = cells(("SE", "mobile", "search", "sv", 1, 0, 6, 0)).assign(is_known=True)
    assert releases.visits(known, VISITS, DAY, k=K).risk == Risk(None, None)


def test_a_day_without_views_publishes_no_cell() -> None:
    found = releases.visits(cells(), VISITS, DAY, k=K)
    assert (found.rows.empty, found.risk) == (True, Risk(None, None))


# -- the last look -----------------------------------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {"region": ["n", "n", "n", "s", "s"], "service": ["a", "b", "a", "a", "b"], "price": list("xyxxy")}
)
PEOPLE = pd.Series(["ann", "bo", "cy", "di", "ed"])


def measured(k: int, l: int) -> Risk:  # noqa: E741
    return require(TABLE, ["region"], ["service", "price"], PEOPLE, k=k, l=l)


def test_the_rows_about_to_be_published_are_measured_once_more() -> None:
    assert measured(k=2, l=2) == Risk(k=2, l=2)
    with pytest.raises(DisclosureError, match="a class of 2 people was about to be published, policy asks for 3"):
        measured(k=3, l=2)
    with pytest.raises(
        DisclosureError, match="a class with 2 sensitive values was about to be published, policy asks for 3"
    ):
        measured(k=2, l=3)


def test_nothing_is_safe_to_publish_and_has_no_measures() -> None:
    assert require(TABLE[:0], ["region"], ["service"], PEOPLE[:0], k=10, l=2) == Risk(None, None)


def test_a_release_that_chose_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "in_classes", lambda rows, *_, **__: pd.Series(True, index=rows.index))
    with pytest.raises(DisclosureError, match="a class of 2 people"):
        release(booked({}, CHEAP | EYES))
    with pytest.raises(DisclosureError, match="a class with 1 sensitive values"):
        release(booked({}, CHEAP, CHEAP))


def test_risk_is_that_of_the_smallest_class_and_l_that_of_the_poorest_column() -> None:
    assert risk(TABLE, ["region"], ["service", "price"], PEOPLE) == Risk(2, 2)
    assert risk(TABLE, ["region"], [], PEOPLE) == Risk(2, None)
    assert risk(TABLE, ["region", "service"], ["price"], PEOPLE) == Risk(1, 1)
    same = PEOPLE.replace("cy", "ann")
    assert class_measures(TABLE, ["region"], ["service"], same)["k"].tolist() == [2, 2, 2, 2, 2]
    assert class_measures(TABLE, ["region"], [], PEOPLE)["l"].tolist() == [3, 3, 3, 2, 2]


def test_null_is_a_value_like_any_other_and_no_person() -> None:
    table = pd.DataFrame({"region": ["n", None, None], "service": ["a", None, "b"]})
    found = class_measures(table, ["region"], ["service"], pd.Series(["ann", "bo", None]))
    assert found.to_dict("list") == {"k": [1, 1, 1], "l": [1, 2, 2]}


# -- levels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minor", "band"),
    (
        (0, "under 250"), (24_999, "under 250"), (25_000, "250-499"), (49_999, "250-499"), (50_000, "500-999"),
        (99_999, "500-999"), (100_000, "1000-2499"), (249_999, "1000-2499"), (250_000, "2500-4999"),
        (499_999, "2500-4999"), (500_000, "5000 or more"), (50_000_000, "5000 or more"),
    ),
)  # fmt: skip
def test_prices_in_euro_fall_into_bands_at_both_sides_of_each_bound(minor: int, band: str) -> None:
    assert price_band(pd.Series([minor]), pd.Series(["EUR"])).tolist() == [band]


@pytest.mark.parametrize("currency", EUR_PER_UNIT)
def test_a_price_on_a_bound_is_above_it_in_every_currency(currency: str) -> None:
    on_bound = round(1000 / EUR_PER_UNIT[currency] * 100)
    bands = price_band(pd.Series([on_bound + 1, on_bound - 1]), pd.Series([currency] * 2)).tolist()
    assert bands == ["1000-2499", "500-999"]


def test_every_currency_that_validation_lets_pass_has_a_rate() -> None:
    from governance.validation import load_suite

    allowed = next(
        e["kwargs"]["value_set"]
        for e in load_suite("bookings")["expectations"]
        if e["meta"]["rule"] == "A1.known_currency" and "value_set" in e["kwargs"]
    )
    assert set(allowed) == set(EUR_PER_UNIT)


def test_namibia_is_a_country_and_not_a_missing_value() -> None:
    assert subregion(pd.Series(["NA", "SE", None])).tolist()[1:] == ["northern_europe", "unknown"]
    assert subregion(pd.Series(["NA"])).tolist() != ["unknown"]


def test_values_of_any_type_become_text_and_null_becomes_unknown() -> None:
    assert value(pd.Series(["a", None, float("nan"), pd.NA, 3])).tolist() == ["a", "unknown", "unknown", "unknown", "3"]
    assert value(pd.Series([], dtype="object")).tolist() == []
