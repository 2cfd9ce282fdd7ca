"""What a release publishes, as tables small enough to check by eye: here k is 3 people and l is 2 values."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import pytest

from governance import policy as policies
from governance.anonymisation import keyed, releases
from governance.anonymisation.levels import EUR_PER_UNIT, banded, country, euros, region, value
from governance.anonymisation.releases import Release, require
from governance.anonymisation.risk import Risk, class_measures, risk
from governance.anonymisation.signatures import nobody
from governance.errors import DisclosureError, PolicyError
from governance.key import DataKey

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
EYES = {"procedure_code": "ophthalmology.lasik"}


KEY = DataKey(bytes(16), "release", bytes(32))
TERMS = POLICY.value("bookings_release")


def booked(*rows: dict[str, Any]) -> pd.DataFrame:
    """Accepted bookings, each `SOUND` with changes: another person's and another booking unless it says whose."""
    filled = []
    for number, row in enumerate(rows, start=1):
        one = {"booking_id": number, **SOUND, **row}
        one["client_token"] = one.pop("who", f"person {number}")
        filled.append(one | {"row_key": f"{one['booking_id']}/{one['version']}"})
    accepted = pd.DataFrame(filled, columns=[*SOUND, "booking_id", "client_token", "row_key"])
    return accepted.assign(
        row_number=keyed.numbers(accepted["row_key"], KEY, "row"),
        person_number=keyed.numbers(accepted["client_token"], KEY, "person"),
    )


def release(accepted: pd.DataFrame, k: int = K, l: int = L, **terms: float) -> Release:  # noqa: E741
    of = releases.model(BOOKINGS, k=k, l=l, terms={**TERMS, **terms})
    return releases.bookings(accepted, of, DAY, nobody(of.rules.widths), 1)


def at_last(accepted: pd.DataFrame) -> Release:
    """A release in which no row may wait any longer."""
    return release(accepted, delay=0)


def decided(found: Release) -> dict[str, str]:
    """row key -> decision, of rows that are not held."""
    assert found.decisions is not None
    return dict(zip(found.decisions["row_key"], found.decisions["decision"], strict=True))


FINEST = {
    "recorded_date": "2026-03-10", "booking_event": "booked", "origin_country": "SE",
    "origin_region": "northern_europe", "origin_continent": "europe", "party_size_detail": "1", "party_size": "1",
    "lead_time_detail": "30-44 days", "lead_time": "30-89 days", "stay_length_detail": "3", "stay_length": "up to 3",
    "price_band_detail": "500-749", "price_band": "500-999", "price_range": "under 1000",
}  # fmt: skip


def test_three_people_alike_with_two_specialties_are_published_as_they_are() -> None:
    found = release(booked({"who": "ann"}, {"who": "bo"}, {"who": "cy"} | EYES))
    assert found.rows.columns.tolist() == list(BOOKINGS.columns)
    assert found.rows.to_dict("records") == [
        {**FINEST, "service_specialty": "dental"},
        {**FINEST, "service_specialty": "dental"},
        {**FINEST, "service_specialty": "ophthalmology"},
    ]
    assert found.risk == Risk(k=3, l=2)
    assert found.figures == {
        "ncp": 0.0, "delay_median": 0.0, "delay_p95": 0.0, "rows_returning": 0, "suppressed_first": 0,
        "suppressed_returning": 0,
    }  # fmt: skip
    assert set(decided(found).values()) == {"published"}


def test_two_people_are_too_few_and_wait_however_many_bookings_they_have() -> None:
    rows = booked({"who": "ann"}, {"who": "ann"}, {"who": "bo"} | EYES, {"who": "bo"}, {"who": "bo"})
    found = release(rows)
    assert (found.rows.empty, found.risk, decided(found)) == (True, Risk(None, None), {})
    assert found.daily is not None
    assert found.daily.held == 5
    assert list(decided(at_last(rows)).values()) == ["suppressed"] * 5


def test_of_one_more_person_and_them_each_has_one_row_published_and_the_others_wait() -> None:
    found = release(booked({"who": "ann"}, {"who": "ann"}, {"who": "bo"}, {"who": "bo"}, {"who": "cy"} | EYES))
    assert (len(found.rows), found.risk.k) == (3, 3)
    assert list(decided(found).values()) == ["published"] * 3


@pytest.mark.parametrize(
    ("rows", "published"), (([{}, {}, {}], 0), ([{}, {}, EYES], 3)), ids=("one specialty", "two specialties")
)
def test_a_group_needs_two_specialties(rows: list[dict[str, Any]], published: int) -> None:
    assert len(release(booked(*rows)).rows) == published


@pytest.mark.parametrize(
    ("column", "one", "other", "level", "kept"),
    (
        ("client_country_code", "SE", "NO", "origin_country", {"origin_region": "northern_europe"}),
        ("client_country_code", "SE", "PT", "origin_region", {"origin_continent": "europe"}),
        ("client_country_code", "SE", "JP", "origin_continent", {}),
        ("travellers_count", 3, 4, "party_size_detail", {"party_size": "3+"}),
        ("travellers_count", 1, 2, "party_size", {}),
        ("lead_days", 44, 45, "lead_time_detail", {"lead_time": "30-89 days"}),
        ("lead_days", 89, 90, "lead_time", {}),
        ("nights_count", 4, 7, "stay_length_detail", {"stay_length": "4-7"}),
        ("nights_count", 3, 4, "stay_length", {}),
        ("price_amount_minor", 74_999, 75_000, "price_band_detail", {"price_band": "500-999"}),
        ("price_amount_minor", 49_999, 50_000, "price_band", {"price_range": "under 1000"}),
        ("price_amount_minor", 99_999, 100_000, "price_range", {}),
        ("status", "booked", "amended", "booking_event", {}),
    ),
)
def test_a_level_that_a_group_does_not_share_is_null_and_the_coarser_ones_are_there(
    column: str, one: Any, other: Any, level: str, kept: dict[str, str]
) -> None:
    found = at_last(booked({column: one}, {column: one}, {column: other} | EYES))
    assert len(found.rows) == 3
    assert found.rows[level].isna().all()
    for name, label in kept.items():
        assert set(found.rows[name]) == {label}
    assert found.figures["ncp"] > 0


@pytest.mark.parametrize(
    ("column", "one", "other"),
    (
        ("travellers_count", 6, 9), ("lead_days", 30, 44), ("lead_days", 180, 900), ("nights_count", 21, 80),
        ("nights_count", 6, 7), ("price_amount_minor", 50_000, 74_999), ("price_amount_minor", 1_000_000, 9_000_000),
        ("client_country_code", None, "??"),
    ),
)  # fmt: skip
def test_values_of_one_finest_level_lose_nothing(column: str, one: Any, other: Any) -> None:
    found = release(booked({column: one}, {column: other}, {column: other} | EYES))
    assert (len(found.rows), found.figures["ncp"]) == (3, 0)


def test_a_group_that_loses_too_much_waits_and_one_beside_it_is_published() -> None:
    far = {"client_country_code": "JP", "nights_count": 20, "lead_days": 300}
    rows = [{}, {}, EYES, far, far, far | EYES | {"travellers_count": 2, "price_amount_minor": 20_000}]
    found = release(booked(*rows))
    assert list(decided(found).values()) == ["published"] * 3
    assert found.daily is not None
    assert found.daily.held == 3


def test_only_the_last_version_of_a_booking_is_published() -> None:
    found = release(
        booked(
            {"booking_id": 1, "version": 1},
            {"booking_id": 1, "version": 2, "status": "cancelled"},
            {"booking_id": 2, "version": 3, "status": "cancelled"},
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
    rows = booked({"booking_id": 1, "who": "ann"}, {"booking_id": 1, "who": "ann", "version": 2}, EYES)
    assert decided(release(rows)) == {"1/1": "superseded"}
    assert sorted(decided(at_last(rows)).values()) == ["superseded", "suppressed", "suppressed"]


def test_what_is_unknown_is_a_value_like_any_other() -> None:
    nowhere = {"client_country_code": None, "nights_count": None}
    rows = release(booked(nowhere, nowhere, nowhere | EYES)).rows
    names = ("origin_country", "origin_region", "origin_continent", "stay_length_detail", "stay_length")
    assert {label for name in names for label in rows[name]} == {"unknown"}
    assert len(rows) == 3


def test_unknown_people_are_one_person() -> None:
    assert release(booked({"who": "ann"}, {"who": None}, {"who": None} | EYES)).rows.empty


def test_a_booking_without_a_procedure_is_travel() -> None:
    found = release(booked({}, {}, {"procedure_code": None}))
    assert sorted(found.rows["service_specialty"]) == ["dental", "dental", "travel"]


def test_a_day_without_bookings_publishes_nothing_and_has_no_measures() -> None:
    found = release(booked())
    assert (found.rows.empty, found.decisions.empty, found.risk) == (True, True, Risk(None, None))
    assert found.rows.columns.tolist() == list(BOOKINGS.columns)


def test_rows_carried_in_from_another_day_keep_that_day_in_their_decision() -> None:
    found = release(booked({"partition_key": date(2026, 3, 9)}, {}, EYES))
    assert sorted(found.decisions["accepted_partition"]) == [date(2026, 3, 9), DAY, DAY]
    assert set(found.rows["recorded_date"]) == {"2026-03-10"}
    assert found.figures["delay_p95"] == pytest.approx(0.9)


def test_a_currency_without_a_rate_stops_the_release_and_is_counted_not_named() -> None:
    with pytest.raises(PolicyError, match="1 prices have a currency without a rate; add it to EUR_PER_UNIT") as caught:
        release(booked({"currency_code": "XTS"}, {}, EYES))
    assert "XTS" not in str(caught.value)


def test_an_event_that_policy_does_not_list_stops_the_release_and_is_counted_not_named() -> None:
    with pytest.raises(DisclosureError, match="column booking_event: 1 rows with a value that policy") as caught:
        release(booked({"status": "Anna has flu"}, {}, EYES))
    assert "flu" not in str(caught.value)


def test_signatures_are_kept_as_texts_and_one_of_a_value_that_is_gone_fits_nothing() -> None:
    of = releases.model(BOOKINGS, k=K, l=L, terms=TERMS)
    texts = [["service_specialty=dental", "service_specialty=travel"], ["service_specialty=hair"]]
    assert releases.spelt(releases.signed(texts, of), of) == texts
    assert releases.spelt(releases.signed([["service_specialty=dental", "service_specialty=gone"]], of), of) == [[]]


# -- visits: which views count is decided where they are, see tests/integration/test_visits_release.py ----------------


def cells(*rows: tuple[Any, ...]) -> pd.DataFrame:
    names = ["country_code", "device_class", "page_category", "language_code", "count", "low", "high", "people"]
    return pd.DataFrame(rows, columns=names).assign(is_known=False)


def test_cells_are_published_with_their_noisy_counts_alone() -> None:
    rows = ("SE", "mobile", "search", "sv", 7, 3, 9, 3), ("DE", "bot", "blog", "de", 4, 3, 6, 4)
    found = releases.noisy_counts(cells(*rows), VISITS, DAY, k=K)
    assert found.rows.columns.tolist() == list(VISITS.columns)
    assert found.rows.to_dict("list") == {
        "recorded_date": ["2026-03-10"] * 2, "country_code": ["SE", "DE"], "device_class": ["mobile", "bot"],
        "page_category": ["search", "blog"], "language_code": ["sv", "de"],
        "sessions_count": [7, 4], "sessions_low": [3, 3], "sessions_high": [9, 6],
    }  # fmt: skip
    assert found.risk == Risk(3, None)


def test_a_cell_of_too_few_visitors_or_with_a_strange_label_is_refused() -> None:
    with pytest.raises(DisclosureError, match="a cell of 2 visitors was about to be published, policy asks for 3"):
        releases.noisy_counts(cells(("SE", "mobile", "search", "sv", 9, 2, 14, 2)), VISITS, DAY, k=K)
    with pytest.raises(DisclosureError, match="column page_category: 1 rows with a value that policy does not list"):
        releases.noisy_counts(cells(("SE", "mobile", "/clinics/ann", "sv", 9, 3, 14, 3)), VISITS, DAY, k=K)
    known = cells(("SE", "mobile", "search", "sv", 1, 0, 6, 0)).assign(is_known=True)
    assert releases.noisy_counts(known, VISITS, DAY, k=K).risk == Risk(None, None)


def test_a_day_without_views_publishes_no_cell() -> None:
    found = releases.noisy_counts(cells(), VISITS, DAY, k=K)
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


def price_band(minor: int, currency: str) -> str:
    return str(banded(euros(pd.Series([minor]), pd.Series([currency])), BOOKINGS.columns["price_band"].bands).iloc[0])


@pytest.mark.parametrize(
    ("minor", "band"),
    (
        (0, "under 250"), (24_999, "under 250"), (25_000, "250-499"), (49_999, "250-499"), (50_000, "500-999"),
        (99_999, "500-999"), (100_000, "1000-2499"), (249_999, "1000-2499"), (250_000, "2500-4999"),
        (499_999, "2500-4999"), (500_000, "5000 or more"), (50_000_000, "5000 or more"),
    ),
)  # fmt: skip
def test_prices_in_euro_fall_into_bands_at_both_sides_of_each_bound(minor: int, band: str) -> None:
    assert price_band(minor, "EUR") == band


@pytest.mark.parametrize("currency", EUR_PER_UNIT)
def test_a_price_on_a_bound_is_above_it_in_every_currency(currency: str) -> None:
    on_bound = round(1000 / EUR_PER_UNIT[currency] * 100)
    assert [price_band(on_bound + 1, currency), price_band(on_bound - 1, currency)] == ["1000-2499", "500-999"]


def test_every_currency_that_validation_lets_pass_has_a_rate() -> None:
    from governance.validation import load_suite

    allowed = next(
        e["kwargs"]["value_set"]
        for e in load_suite("bookings")["expectations"]
        if e["meta"]["rule"] == "A1.known_currency" and "value_set" in e["kwargs"]
    )
    assert set(allowed) == set(EUR_PER_UNIT)


def test_namibia_is_a_country_and_not_a_missing_value() -> None:
    assert country(pd.Series(["NA", "SE", None])).tolist() == ["NA", "SE", "unknown"]
    assert region("NA", "subregion") == "sub_saharan_africa"


def test_values_of_any_type_become_text_and_null_becomes_unknown() -> None:
    assert value(pd.Series(["a", None, float("nan"), pd.NA, 3])).tolist() == ["a", "unknown", "unknown", "unknown", "3"]
    assert value(pd.Series([], dtype="object")).tolist() == []
