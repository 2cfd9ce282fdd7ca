"""Planting troubles with ages, and with guardians who consent: each on a booking that is otherwise sound."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

from governance.sample import days
from governance.sample.cases import Case, Row


def _client_under_age(case: Case) -> str:
    """The client books for others, and turns 18 on a later day."""
    shift = np.timedelta64(1 + case.key % 700, "D")
    born = days.years_before(np.array([case.booked_date], dtype="M8[D]"), 18)[0] + shift
    for row in case.tables["clients"]:
        row["birth_date"] = born.item()
    return case.booking_key()


def _client_birth_date_unknown(case: Case) -> str:
    for row in case.tables["clients"]:
        row["birth_date"] = None
    return case.booking_key()


def _child(case: Case) -> tuple[int, Row, Row]:
    """Return the place of the first minor with a consent, the traveller and the consent; other consents are sound."""
    consent = case.tables["guardian_consents"][0]
    numbers = [row["traveller_no"] for row in case.tables["booking_travellers"]]
    place = numbers.index(consent["traveller_no"])
    return place, case.tables["booking_travellers"][place], consent


def _minor_without_consent(case: Case) -> str:
    """Every second one turns 18 between booking and service."""
    place, traveller, consent = _child(case)
    case.tables["guardian_consents"].remove(consent)
    booked = np.array([case.booked_date], dtype="M8[D]")
    lead = (case.booking["service_date"] - case.booked_date).days
    if case.turn % 2 and lead >= 4:
        shift = np.timedelta64(2 + case.key % (lead - 2), "D")
        traveller["birth_date"] = (days.years_before(booked, 18)[0] + shift).item()
    return case.traveller_key(place)


def _birth_date_unknown(case: Case) -> str:
    case.tables["booking_travellers"][-1]["birth_date"] = None
    return case.traveller_key(-1)


def _birth_date_implausible(case: Case) -> str:
    after = case.booked_date + timedelta(days=1 + case.key % 300)
    case.tables["booking_travellers"][-1]["birth_date"] = (date(1900, 1, 1), after)[case.turn % 2]
    return case.traveller_key(-1)


def _guardian_consent_unverified(case: Case) -> str:
    place, _, consent = _child(case)
    consent["verified_at"] = consent["verification_method"] = None
    return case.traveller_key(place)


def _guardian_consent_late(case: Case) -> str:
    place, _, consent = _child(case)
    consent["verified_at"] = case.between_booking_and_record(0.9)
    if case.turn % 2:
        consent["given_at"] = case.between_booking_and_record(0.4)
    consent["recorded_at"] = max(consent["recorded_at"], consent["verified_at"])
    return case.traveller_key(place)


def _guardian_under_age(case: Case) -> str:
    """An elder sibling, or somebody of whom nobody knows when they were born."""
    place, _, consent = _child(case)
    born = days.years_before(np.array([case.booked_date], dtype="M8[D]"), 17)[0] + np.timedelta64(case.key % 300, "D")
    consent["guardian_birth_date"] = (born.item(), None)[case.turn % 2]
    return case.traveller_key(place)


def _guardian_is_the_minor(case: Case) -> str:
    """Says so, or says to be a parent of the same name and birth date."""
    place, traveller, consent = _child(case)
    if case.turn % 2:
        consent["relation"] = "self"
    else:
        consent["guardian_name"] = f"{traveller['given_name']} {traveller['family_name']}"
        consent["guardian_birth_date"] = traveller["birth_date"]
    return case.traveller_key(place)


def _guardian_consent_withdrawn(case: Case) -> str:
    place, _, consent = _child(case)
    consent["withdrawn_at"] = case.between_booking_and_record(0.7)
    return case.traveller_key(place)


PLANTERS: dict[str, Callable[[Case], str]] = {
    "client_under_age": _client_under_age,
    "client_birth_date_unknown": _client_birth_date_unknown,
    "minor_without_consent": _minor_without_consent,
    "birth_date_unknown": _birth_date_unknown,
    "birth_date_implausible": _birth_date_implausible,
    "guardian_consent_unverified": _guardian_consent_unverified,
    "guardian_consent_late": _guardian_consent_late,
    "guardian_under_age": _guardian_under_age,
    "guardian_is_the_minor": _guardian_is_the_minor,
    "guardian_consent_withdrawn": _guardian_consent_withdrawn,
}
