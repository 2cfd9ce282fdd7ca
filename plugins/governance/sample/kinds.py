"""The kinds of trouble that are planted, the one rule meant to catch each, and how many a day gets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from governance.sample import days
from governance.sample.plan import Plan


@dataclass(frozen=True)
class Kind:
    """One kind of trouble: `table` and its key are what quarantine or the refusal names."""

    name: str
    rule: str
    dataset: str
    table: str


def _kinds(dataset: str, table: str, *rules: str) -> dict[str, Kind]:
    pairs = (line.split() for line in rules)
    return {name: Kind(name, rule, dataset, table) for name, rule in pairs}


BOOKING_KINDS: dict[str, Kind] = {
    **_kinds(
        "bookings",
        "bookings",
        "terms_missing A1.terms_accepted",
        "terms_after_booking A1.terms_accepted_before_booking",
        "purpose_unknown A1.known_purpose",
        "client_unknown A1.known_client",
        "email_broken A1.plausible_email",
        "service_before_booking A1.plausible_service_date",
        "booked_in_future A1.plausible_booking_date",
        "price_implausible A1.plausible_price",
        "currency_unknown A1.known_currency",
        "client_under_age L1.client_adult_at_booking",
        "client_birth_date_unknown L1.client_birth_date_known",
        "service_day_unknown L1.service_dates_known",
        "travellers_missing L1.has_travellers",
        "services_missing H1.has_services",
        "version_gap R1.no_version_gap",
        "duplicate_version R1.unique_key",
        "card_number_in_notes K4.no_card_number_in_text",
        "cvv_in_notes K4.no_cvv_in_text",
    ),
    **_kinds(
        "bookings",
        "booking_travellers",
        "minor_without_consent L1.adult_at_booking",
        "birth_date_unknown L1.birth_date_known",
        "birth_date_implausible L1.plausible_age",
        "guardian_consent_unverified L2.guardian_consent_verified",
        "guardian_consent_late L2.guardian_consent_before_booking",
        "guardian_under_age L2.guardian_adult",
        "guardian_is_the_minor L2.guardian_is_another",
        "guardian_consent_withdrawn L2.guardian_consent_stands",
    ),
    **_kinds(
        "bookings",
        "booking_services",
        "provider_unknown H1.known_provider",
        "procedure_unknown E1.known_procedure",
        "card_number_in_itinerary K4.no_card_number_in_text",
    ),
    **_kinds(
        "bookings",
        "payment_cards",
        "card_over_age K1.card_age.over_age",
        "card_in_future K1.card_age.future",
        "card_time_unknown K1.card_age.unknown_time",
    ),
}
VISIT_KINDS: dict[str, Kind] = _kinds(
    "visits",
    "page_views",
    "view_duplicate R1.unique_view",
    "address_malformed B1.plausible_address",
    "instant_unknown B1.known_instant",
    "instant_in_future B1.plausible_instant",
    "duration_implausible B1.plausible_duration",
    "path_malformed B1.plausible_path",
    "coordinates_implausible B2.plausible_coordinates",
    "card_number_in_path K4.no_card_number_in_path",
    "visitor_unknown B1.known_visitor",
)
MINOR_KINDS = frozenset(
    {
        "minor_without_consent",
        *("guardian_consent_unverified", "guardian_consent_late", "guardian_consent_withdrawn"),
        *("guardian_under_age", "guardian_is_the_minor"),
    }
)
# What a file brings of its own stays as it is: on imported rows only what the generator completed gets a trouble.
ON_COMPLETED_PARTS = (
    *("terms_missing", "terms_after_booking", "purpose_unknown", "client_unknown", "email_broken", "currency_unknown"),
    *("travellers_missing", "services_missing", "card_number_in_notes", "cvv_in_notes", "minor_without_consent"),
    *("birth_date_unknown", "birth_date_implausible", "guardian_consent_unverified", "guardian_consent_late"),
    *("guardian_under_age", "guardian_is_the_minor", "guardian_consent_withdrawn"),
    *("client_under_age", "client_birth_date_unknown", "service_day_unknown"),
    *(
        "provider_unknown",
        "procedure_unknown",
        "card_number_in_itinerary",
        "card_over_age",
        "card_in_future",
        "card_time_unknown",
    ),
    *("duration_implausible", "coordinates_implausible"),
)

_ROTATION = 3  # a small sample plants a third of the kinds each day: all of them in any three days


def _per_day(names: list[str], count: int, share: float, day: date) -> list[str]:
    if count >= 1000:
        return [name for name in names for _ in range(max(2, round(share * count)))]
    if count >= 200:
        return list(names)
    return names[days.number(day) % _ROTATION :: _ROTATION]


def booking_kinds_on(plan: Plan, day: date) -> list[str]:
    """Return the kind of each trouble slot of a day's bookings: about one booking in forty, all told."""
    return _per_day(list(BOOKING_KINDS), plan.bookings_on(day), 0.0008, day)


def view_kinds_on(plan: Plan, day: date) -> list[str]:
    """Return the kind of each trouble slot of a day's page views: three in a thousand, all told."""
    count = plan.visits_on(day)
    return _per_day(list(VISIT_KINDS), count, 0.003 / len(VISIT_KINDS), day) if count else []
