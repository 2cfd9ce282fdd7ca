"""Which bookings may go to a provider: one table of what the source says and what follows, to be checked by eye."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from governance.sharing.eligibility import REVOKING, Asked, Reading, Reason, ended, judged, offered

pytestmark = [pytest.mark.clause(clause) for clause in ("F1", "N1", "L1", "M1")]

AT = datetime(2026, 3, 10, 9, tzinfo=UTC)
DAY = date(2026, 4, 20)
CLINIC, AGENCY = 1, 2


def frame(rows: list[dict[str, Any]], like: Mapping[str, Any]) -> pd.DataFrame:
    """Rows as they come from the source: Arrow-backed, with types also where there is no row."""
    schema = pa.table({name: pa.array([value]) for name, value in like.items()}).schema
    return pa.Table.from_pylist(rows, schema).to_pandas(types_mapper=pd.ArrowDtype)


BOOKING = {
    "bookings.booking_id": 7, "bookings.version": 1, "row_key": "7/1", "bookings.client_id": 70,
    "bookings.status": "booked", "bookings.changed_at": AT, "bookings.recorded_at": AT, "bookings.locale": "sv-SE",
    "bookings.notes": "no nuts", "bookings.nights_count": 3, "clients.email": "a@example.com",
    "clients.phone": "+46701740605", "terms_acceptances.accepted_at": AT,
}  # fmt: skip
TRAVELLER = {
    "row_key": "7/1/1", "root_key": "7/1", "booking_travellers.role": "patient",
    "booking_travellers.given_name": "Åsa", "booking_travellers.family_name": "Lindqvist",
    "booking_travellers.birth_date": date(1980, 5, 17),
}  # fmt: skip
COMPANION = {**TRAVELLER, "row_key": "7/1/2", "booking_travellers.role": "companion",
             "booking_travellers.given_name": "Bo"}  # fmt: skip
HEALTH = {
    "row_key": "7/1/1", "root_key": "7/1", "booking_services.service_no": 1, "booking_services.kind": "health",
    "booking_services.provider_id": CLINIC, "booking_services.procedure_code": "dental.implant",
    "booking_services.itinerary": None, "booking_services.starts_on": DAY,
}  # fmt: skip
TRAVEL = {**HEALTH, "row_key": "7/1/2", "booking_services.service_no": 2, "booking_services.kind": "travel",
          "booking_services.provider_id": AGENCY, "booking_services.procedure_code": None,
          "booking_services.itinerary": "Malmö to Nice"}  # fmt: skip
GROUNDS = {
    "client_id": 70, "has_consented": True, "is_restricted": False, "has_objected": False, "asked_for_erasure": False,
}  # fmt: skip


def reading(**changes: Any) -> Reading:
    """What the source says of one sound booking of a patient and a companion, changed as a case wants it."""
    bookings = changes.get("bookings", [BOOKING])
    travellers = changes.get("travellers", [TRAVELLER, COMPANION])
    passing = changes.get("passing", ["7/1", "7/2", "7/1/1", "7/1/2", "7/2/1"])
    like = {**HEALTH, "booking_services.itinerary": ""}
    return Reading(
        frame(bookings, BOOKING),
        frame(travellers, TRAVELLER),
        frame(changes.get("services", [HEALTH, TRAVEL]), like),
        frame(changes.get("grounds", [GROUNDS]), GROUNDS),
        {"bookings": set(passing), "booking_travellers": set(passing)},
        set(changes.get("erased", [])),
        set(changes.get("with_cards", [])),
    )


def asked(provider: int = CLINIC, version: int = 1, is_validated: bool = True) -> Asked:
    kind = "health" if provider == CLINIC else "travel"
    return Asked({7: version}, provider, kind, frozenset({7} if is_validated else ()))


CASES = [
    # what the source says                                                            the clinic            the agency
    ({}, None, None),
    ({"bookings": []}, "unknown", "unknown"),
    ({"erased": ["7/1"]}, "erased", "erased"),
    ({"erased": ["8/1"]}, None, None),
    ({"bookings": [{**BOOKING, "bookings.status": "cancelled"}]}, "cancelled", "cancelled"),
    ({"bookings": [{**BOOKING, "bookings.status": " Cancelled "}]}, "cancelled", "cancelled"),
    ({"bookings": [{**BOOKING, "bookings.status": "amended"}]}, None, None),
    ({"bookings": [BOOKING, {**BOOKING, "bookings.version": 2, "row_key": "7/2"}]}, "newer_version", "newer_version"),
    ({"services": [TRAVEL]}, "not_named", None),
    ({"services": [HEALTH]}, None, "not_named"),
    ({"services": [{**HEALTH, "booking_services.provider_id": AGENCY}, TRAVEL]}, "not_named", None),
    ({"services": [{**HEALTH, "booking_services.provider_id": None}]}, "not_named", "not_named"),
    ({"grounds": [{**GROUNDS, "is_restricted": True}]}, "restricted", "restricted"),
    ({"grounds": [{**GROUNDS, "has_objected": True}]}, "objected", "objected"),
    ({"grounds": [{**GROUNDS, "asked_for_erasure": True}]}, "asked_for_erasure", "asked_for_erasure"),
    ({"grounds": [{**GROUNDS, "has_consented": False}]}, "no_consent", None),
    ({"grounds": []}, "not_accepted", "not_accepted"),
    ({"bookings": [{**BOOKING, "bookings.client_id": None}]}, "not_accepted", "not_accepted"),
    ({"bookings": [{**BOOKING, "terms_acceptances.accepted_at": None}]}, "not_accepted", "not_accepted"),
    ({"passing": ["7/1", "7/1/1"]}, "minor", "minor"),  # the companion: nobody's data goes
    ({"passing": ["7/1/1", "7/1/2"]}, "minor", "minor"),  # the client
    ({"travellers": []}, "minor", "minor"),  # of nobody it is not known
    ({"with_cards": ["7/1"]}, "card_in_text", "card_in_text"),
    ({"with_cards": ["8/1"]}, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "clinic", "agency"), CASES)
def test_a_booking_goes_or_stays_out_for_a_reason(changes: Mapping[str, Any], clinic: str, agency: str) -> None:
    found = [judged(reading(**changes), asked(provider)) for provider in (CLINIC, AGENCY)]
    assert found == [{7: clinic}, {7: agency}]


def test_every_reason_is_in_the_table_or_below() -> None:
    told = {reason for _, *reasons in CASES for reason in reasons if reason}
    assert set(Reason) - told == {"not_validated", "older_version", "incomplete", "unfit"}


def test_a_partition_that_the_log_does_not_call_validated_gives_nothing() -> None:
    assert judged(reading(), asked(is_validated=False)) == {7: "not_validated"}


def test_a_version_that_was_accepted_and_is_gone_at_the_source_gives_nothing() -> None:
    assert judged(reading(), asked(version=2)) == {7: "older_version"}


@pytest.mark.parametrize(("recorded_later", "reason"), [("booked", None), ("cancelled", "cancelled")])
def test_of_a_version_that_was_recorded_twice_the_later_row_counts(recorded_later: str, reason: str | None) -> None:
    other = "cancelled" if recorded_later == "booked" else "booked"
    later = {**BOOKING, "bookings.status": recorded_later, "bookings.recorded_at": AT.replace(hour=10)}
    said = reading(bookings=[later, {**BOOKING, "bookings.status": other}])
    assert judged(said, asked()) == {7: reason}


def test_who_holds_a_booking_is_told_of_what_ends_its_use_and_of_nothing_else() -> None:
    waits = {"not_validated", "newer_version", "older_version", "not_accepted", "card_in_text", "incomplete",
             "unfit"}  # fmt: skip
    assert set(Reason) - set(REVOKING) == waits


SECOND = {**BOOKING, "bookings.version": 2, "row_key": "7/2"}
AGAIN = [{**one, "row_key": one["row_key"].replace("/1/", "/2/"), "root_key": "7/2"} for one in (TRAVELLER, HEALTH)]
ENDED = [
    # what the source says of a booking that the clinic holds in version 1                       what it is told
    ({}, None),
    ({"bookings": []}, "erased"),
    ({"bookings": [BOOKING, SECOND], "travellers": [TRAVELLER, AGAIN[0]], "services": [HEALTH, AGAIN[1]]}, None),
    ({"bookings": [BOOKING, SECOND], "travellers": [TRAVELLER, AGAIN[0]], "services": [HEALTH]}, "cancelled"),
    ({"bookings": [BOOKING, SECOND], "grounds": [{**GROUNDS, "has_consented": False}]}, "cancelled"),
    ({"bookings": [BOOKING, SECOND], "travellers": [TRAVELLER, AGAIN[0]], "services": [HEALTH, AGAIN[1]],
      "grounds": [{**GROUNDS, "has_consented": False}]}, "consent withdrawn"),
    ({"bookings": [BOOKING, {**SECOND, "bookings.client_id": 71}], "travellers": [TRAVELLER, AGAIN[0]],
      "services": [HEALTH, AGAIN[1]],
      "grounds": [{**GROUNDS, "is_restricted": True}, {**GROUNDS, "client_id": 71}]}, "restricted"),  # who it was of
    ({"bookings": [SECOND], "travellers": [AGAIN[0]], "services": [AGAIN[1]]}, None),  # version 1 is gone
]  # fmt: skip


@pytest.mark.parametrize(("changes", "obliged"), ENDED)
def test_what_a_clinic_holds_may_be_used_or_not_whatever_became_of_an_amendment(
    changes: Mapping[str, Any], obliged: str | None
) -> None:
    assert ended(reading(**changes), asked()) == ({7: obliged} if obliged else {})


def test_a_clinic_gets_its_patients_and_an_agency_everybody_who_travels() -> None:
    said = reading()
    clinic, agency = (offered(said, asked(provider), frozenset({7})) for provider in (CLINIC, AGENCY))
    assert clinic[["given_name", "procedure_code", "itinerary"]].values.tolist() == [["Åsa", "dental.implant", pd.NA]]
    told = agency[["given_name", "traveller_no", "itinerary"]].values.tolist()
    assert told == [["Åsa", 1, "Malmö to Nice"], ["Bo", 2, "Malmö to Nice"]]


def test_of_bookings_that_may_not_go_nothing_is_offered() -> None:
    assert offered(reading(), asked(), frozenset()).empty
