"""The three hops on a real Postgres: what is sound goes through, each rule catches its trouble and only that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest

import builders
from builders import DAY, NOON, World
from governance import steps
from governance.embedded.site import Site
from governance.run_log import Batch
from governance.validation import load_suite

pytestmark = pytest.mark.pg


@pytest.fixture
def world(site: Site) -> Iterator[World]:
    """An empty source and an empty warehouse."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(site)
    yield world


def through(site: Site, dataset: str, **workspace: Any) -> Batch:
    """Pull and validate the world's day."""
    space = builders.workspace(site, **workspace)
    return steps.validate(space, steps.pull(space, dataset, DAY.isoformat(), builders.run()), builders.run())


def rows(site: Site, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the owner reads."""
    with psycopg2.connect(site.dsn("governance_owner")) as connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        found = cursor.fetchall()
    connection.close()
    return found


def findings(site: Site) -> set[tuple[str, str, str]]:
    """(table, row key, rule) of everything that validation found."""
    return set(rows(site, "SELECT table_name, row_key, rule FROM quarantine.findings"))  # type: ignore[arg-type]


MINOR = date(2010, 3, 10)  # 16 on the day
BOOKING_TROUBLES: dict[str, tuple[Callable[[World], str], str, str]] = {
    "no terms accepted": (lambda w: w.booking(with_terms=False), "bookings", "A1.terms_accepted"),
    "terms accepted a minute after the booking": (
        lambda w: w.booking(terms={"accepted_at": NOON - timedelta(minutes=4)}),
        "bookings",
        "A1.terms_accepted_before_booking",
    ),
    "an unknown purpose": (lambda w: w.booking(purpose_code="resale"), "bookings", "A1.known_purpose"),
    "no purpose": (lambda w: w.booking(purpose_code=None), "bookings", "A1.known_purpose"),
    "an unknown status": (lambda w: w.booking(status="maybe"), "bookings", "A1.known_status"),
    "an e-mail without a domain": (lambda w: w.booking(client={"email": "nobody@"}), "bookings", "A1.plausible_email"),
    "no e-mail": (lambda w: w.booking(client={"email": None}), "bookings", "A1.plausible_email"),
    "a service the day before the booking": (
        lambda w: w.booking(service_date=DAY - timedelta(days=1)),
        "bookings",
        "A1.plausible_service_date",
    ),
    "a service 1,101 days after the booking": (
        lambda w: w.booking(service_date=DAY + timedelta(days=1101)),
        "bookings",
        "A1.plausible_service_date",
    ),
    "booked after it was recorded": (
        lambda w: w.booking(booked_at=NOON + timedelta(seconds=1)),
        "bookings",
        "A1.plausible_booking_date",
    ),
    "a negative price": (lambda w: w.booking(price_amount_minor=-1), "bookings", "A1.plausible_price"),
    "a price above the bound": (lambda w: w.booking(price_amount_minor=50_000_001), "bookings", "A1.plausible_price"),
    "no price": (lambda w: w.booking(price_amount_minor=None), "bookings", "A1.plausible_price"),
    "an unknown currency": (lambda w: w.booking(currency_code="XXX"), "bookings", "A1.known_currency"),
    "nobody travels": (lambda w: w.booking(travellers=[]), "bookings", "L1.has_travellers"),
    "no service": (lambda w: w.booking(services=[]), "bookings", "H1.has_services"),
    "a version that skips one": (lambda w: w.booking(version=3, status="amended"), "bookings", "R1.no_version_gap"),
    "a card number in the notes": (
        lambda w: w.booking(notes="Charge 4242 4242-4242 4242 please"),
        "bookings",
        "K4.no_card_number_in_text",
    ),
    "a CVV in the notes": (lambda w: w.booking(notes="cvc: 123"), "bookings", "K4.no_cvv_in_text"),
    "a card number in the itinerary": (
        lambda w: (
            w.booking(
                services=[{"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "4242424242424242"}]
            )
            + "/1"
        ),
        "booking_services",
        "K4.no_card_number_in_text",
    ),
    "a CVV in the itinerary": (
        lambda w: (
            w.booking(services=[{"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "CVV 4321"}])
            + "/1"
        ),
        "booking_services",
        "K4.no_cvv_in_text",
    ),
    "a birth date that nobody knows": (
        lambda w: w.booking(travellers=[{"birth_date": None}]) + "/1",
        "booking_travellers",
        "L1.birth_date_known",
    ),
    "a birth date of 1900": (
        lambda w: w.booking(travellers=[{"birth_date": date(1900, 1, 1)}]) + "/1",
        "booking_travellers",
        "L1.plausible_age",
    ),
    "a guardian's consent that was never verified": (
        lambda w: w.booking(travellers=[{"birth_date": MINOR}], consents=[{"verified_at": None}]) + "/1",
        "booking_travellers",
        "L2.guardian_consent_verified",
    ),
    "a guardian's consent from after the booking": (
        lambda w: w.booking(travellers=[{"birth_date": MINOR}], consents=[{"verified_at": NOON}]) + "/1",
        "booking_travellers",
        "L2.guardian_consent_before_booking",
    ),
    "a guardian who is a minor": (
        lambda w: (
            w.booking(travellers=[{"birth_date": MINOR}], consents=[{"guardian_birth_date": date(2009, 1, 1)}]) + "/1"
        ),
        "booking_travellers",
        "L2.guardian_adult",
    ),
    "a guardian of whom nobody knows the age": (
        lambda w: w.booking(travellers=[{"birth_date": MINOR}], consents=[{"guardian_birth_date": None}]) + "/1",
        "booking_travellers",
        "L2.guardian_adult",
    ),
    "a guardian who is the minor": (
        lambda w: (
            w.booking(
                travellers=[{"birth_date": MINOR}],
                consents=[{"guardian_birth_date": MINOR, "guardian_name": " åsa LINDQVIST"}],
            )
            + "/1"
        ),
        "booking_travellers",
        "L2.guardian_is_another",
    ),
    "a guardian without a name": (
        lambda w: w.booking(travellers=[{"birth_date": MINOR}], consents=[{"guardian_name": " - "}]) + "/1",
        "booking_travellers",
        "L2.guardian_named",
    ),
    "a guardian who is none": (
        lambda w: w.booking(travellers=[{"birth_date": MINOR}], consents=[{"relation": "self"}]) + "/1",
        "booking_travellers",
        "L2.guardian_is_another",
    ),
    "a consent that was withdrawn": (
        lambda w: w.booking(travellers=[{"birth_date": MINOR}], consents=[{"withdrawn_at": NOON}]) + "/1",
        "booking_travellers",
        "L2.guardian_consent_stands",
    ),
    "a client who is a minor": (
        lambda w: w.booking(client={"birth_date": MINOR}),
        "bookings",
        "L1.client_adult_at_booking",
    ),
    "a client of whom nobody knows the age": (
        lambda w: w.booking(client={"birth_date": None}),
        "bookings",
        "L1.client_birth_date_known",
    ),
    "a client born in 1900": (
        lambda w: w.booking(client={"birth_date": date(1900, 1, 1)}),
        "bookings",
        "L1.client_plausible_age",
    ),
    "a service of which nobody knows the day": (
        lambda w: w.booking(services=[{}, {"starts_on": None}]),
        "bookings",
        "L1.service_dates_known",
    ),
    "a service from before somebody was an adult": (
        lambda w: (
            w.booking(
                travellers=[{"birth_date": DAY.replace(year=DAY.year - 18)}],
                services=[{}, {"starts_on": DAY - timedelta(days=1)}],
            )
            + "/1"
        ),
        "booking_travellers",
        "L1.adult_at_service",
    ),
    "a provider that is not in the register": (
        lambda w: w.booking(services=[{"provider_id": 99}]) + "/1",
        "booking_services",
        "H1.known_provider",
    ),
    "a procedure of no specialty that policy lists": (
        lambda w: w.booking(services=[{"procedure_code": "Anna has the flu."}]) + "/1",
        "booking_services",
        "E1.known_procedure",
    ),
    "an empty procedure": (
        lambda w: w.booking(services=[{"procedure_code": ""}]) + "/1",
        "booking_services",
        "E1.known_procedure",
    ),
    "a health service without a procedure": (
        lambda w: w.booking(services=[{"procedure_code": None}]) + "/1",
        "booking_services",
        "E1.known_procedure",
    ),
    "a provider of the other kind": (
        lambda w: w.booking(services=[{"provider_id": 2}]) + "/1",
        "booking_services",
        "H1.known_provider",
    ),
}


@pytest.mark.clause("A1")
@pytest.mark.clause("L1")
@pytest.mark.clause("L2")
@pytest.mark.clause("K4")
@pytest.mark.clause("H1")
@pytest.mark.clause("R1")
def test_each_rule_of_bookings_catches_its_trouble_and_only_that(site: Site, world: World) -> None:
    sound = {world.booking(), world.booking(card={})}
    planted = {(table, plant(world), rule) for plant, table, rule in BOOKING_TROUBLES.values()}
    unknown_client = world.booking(with_client=False)
    planted |= {("bookings", unknown_client, "A1.known_client"), ("bookings", unknown_client, "A1.plausible_email")}
    batch = through(site, "bookings")
    assert findings(site) == planted
    assert {key for (key,) in rows(site, "SELECT row_key FROM vault.bookings")} == sound
    assert batch.counts["accepted"] == 2
    assert batch.counts["quarantined"] == len(BOOKING_TROUBLES) + 1


@pytest.mark.clause("L1")
def test_age_is_checked_on_both_sides_of_eighteen_at_booking_and_at_service(site: Site, world: World) -> None:
    eighteen_today = world.booking(travellers=[{"birth_date": date(2008, 3, 10)}])
    turns_eighteen_tomorrow = world.booking(travellers=[{}, {"birth_date": date(2008, 3, 11)}])
    through(site, "bookings")
    assert findings(site) == {("booking_travellers", f"{turns_eighteen_tomorrow}/2", "L1.adult_at_booking")}
    assert [key for (key,) in rows(site, "SELECT row_key FROM vault.bookings")] == [eighteen_today]


@pytest.mark.clause("L1")
def test_a_minor_on_both_days_fails_both_rules(site: Site, world: World) -> None:
    key = world.booking(travellers=[{"birth_date": MINOR}])
    through(site, "bookings")
    assert {rule for _, _, rule in findings(site)} == {"L1.adult_at_booking", "L1.adult_at_service"}
    assert rows(site, "SELECT row_key, rules FROM quarantine.rows") == [
        (key, ["L1.adult_at_booking", "L1.adult_at_service"])
    ]


@pytest.mark.clause("L2")
def test_a_minor_with_a_verified_consent_from_before_the_booking_passes(site: Site, world: World) -> None:
    world.booking(travellers=[{"birth_date": MINOR}], consents=[{"verified_at": None}, {}])
    assert through(site, "bookings").counts["accepted"] == 1
    assert findings(site) == set()


@pytest.mark.clause("R1")
def test_a_repeated_version_is_quarantined_with_its_copy_and_a_later_copy_alone(site: Site, world: World) -> None:
    world.booking(booking_id=7, travellers=[], services=[])
    key = world.booking(booking_id=7)
    through(site, "bookings")
    assert {rule for _, _, rule in findings(site)} == {"R1.unique_key"}
    assert rows(site, "SELECT row_key FROM quarantine.rows") == [(key,), (key,)]


VIEW_TROUBLES: dict[str, tuple[dict[str, Any], str]] = {
    "not an address": ({"ip": "300.1.2.3"}, "B1.plausible_address"),
    "no address": ({"ip": None}, "B1.plausible_address"),
    "no instant": ({"viewed_at": None}, "B1.known_instant"),
    "viewed after it was recorded": ({"viewed_at": NOON + timedelta(seconds=1)}, "B1.plausible_instant"),
    "viewed in 1999": ({"viewed_at": datetime(1999, 12, 31, 23, 59, tzinfo=UTC)}, "B1.plausible_instant"),
    "a negative duration": ({"duration_ms": -1}, "B1.plausible_duration"),
    "a duration above a day": ({"duration_ms": 86_400_001}, "B1.plausible_duration"),
    "no path": ({"url": None}, "B1.plausible_path"),
    "a path without a slash": ({"url": "clinics"}, "B1.plausible_path"),
    "a card number in the path": ({"url": "/booking/4242424242424242"}, "K4.no_card_number_in_path"),
    "half a position": ({"latitude": 59.3}, "B2.plausible_coordinates"),
    "a latitude of 123.4": ({"latitude": 123.4, "longitude": 18.0}, "B2.plausible_coordinates"),
    "a longitude of 999": ({"latitude": 59.3, "longitude": 999.0}, "B2.plausible_coordinates"),
    "a position that is not a number": ({"latitude": float("nan"), "longitude": 18.0}, "B2.plausible_coordinates"),
    "nobody": ({"session_id": None, "user_agent": None}, "B1.known_visitor"),
}


@pytest.mark.clause("B1")
@pytest.mark.clause("B2")
@pytest.mark.clause("K4")
@pytest.mark.clause("R1")
def test_each_rule_of_visits_catches_its_trouble_and_only_that(site: Site, world: World) -> None:
    sound = {
        world.view(),
        world.view(latitude=59.3, longitude=18.1),
        world.view(duration_ms=0),
        world.view(duration_ms=86_400_000),
    }
    planted = {("page_views", world.view(**row), rule) for row, rule in VIEW_TROUBLES.values()}
    twice = world.view()
    world.view(view_id=int(twice))
    planted.add(("page_views", twice, "R1.unique_view"))
    batch = through(site, "visits")
    assert findings(site) == planted
    assert {key for (key,) in rows(site, "SELECT row_key FROM vault.page_views")} == sound
    assert batch.counts["quarantined"] == len(VIEW_TROUBLES) + 2


def test_every_rule_of_the_suites_is_tried_here() -> None:
    tried = {rule for _, _, rule in BOOKING_TROUBLES.values()} | {rule for _, rule in VIEW_TROUBLES.values()}
    tried |= {"A1.known_client", "R1.unique_key", "R1.unique_view", "L1.adult_at_booking", "L1.adult_at_service"}
    tried |= {"R1.unique_traveller", "R1.unique_service", "R1.unique_card", "R1.row_count_equals_source"}  # below
    declared = {e["meta"]["rule"] for name in ("bookings", "visits") for e in load_suite(name)["expectations"]}
    assert tried == declared
