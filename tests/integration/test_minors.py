"""Minors are turned away, held back and erased; a consent counts as it is known now; who was erased stays erased."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

import builders
from aftermath import content, entries, terms, through
from builders import DAY, NOON, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.steps import Workspace

pytestmark = [pytest.mark.pg]

KEY = DAY.isoformat()
MINOR = date(2010, 3, 10)  # 16 on the day
COMPLETE_TABLES = ("bookings", "booking_travellers", "booking_services", "payment_cards")


def validated(space: Workspace, day: date = DAY, run_id: str = "test") -> None:
    """Pull and validate a day."""
    steps.validate(space, steps.pull(space, "bookings", day.isoformat(), builders.run(run_id)), builders.run(run_id))


def held(site: Site) -> dict[str, list[str]]:
    """Rules by quarantined booking."""
    return dict(builders.read(site, "SELECT row_key, rules FROM quarantine.rows"))


def accepted(site: Site) -> list[str]:
    """Bookings in the vault."""
    return [key for (key,) in builders.read(site, "SELECT row_key FROM vault.bookings ORDER BY 1")]


# -- consents ----------------------------------------------------------------------------------------------------------


@pytest.mark.clause("L2")
def test_a_consent_that_comes_to_us_late_counts_when_the_day_is_pulled_again(
    site: Site, world: World, space: Workspace
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}])
    validated(space)
    assert held(site) == {minor: ["L1.adult_at_booking", "L1.adult_at_service"]}
    consent(world, minor, recorded_at=NOW - timedelta(hours=1))  # given before the booking, and recorded a day after
    validated(space, run_id="again")
    assert (held(site), accepted(site)) == ({}, [minor])


@pytest.mark.clause("L2")
def test_a_consent_that_is_withdrawn_after_the_day_counts_no_more_when_it_is_pulled_again(
    site: Site, world: World, space: Workspace
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}], consents=[{}])
    validated(space)
    assert accepted(site) == [minor]
    world.execute("UPDATE wellbe.guardian_consents SET withdrawn_at = %s", NOW - timedelta(hours=1))
    validated(space, run_id="again")
    assert (held(site), accepted(site)) == ({minor: ["L2.guardian_consent_stands"]}, [])


@pytest.mark.clause("L2")
@pytest.mark.parametrize(
    "flaw",
    [
        {"verified_at": None},
        {"given_at": NOON},
        {"guardian_birth_date": None},
        {"guardian_birth_date": date(2009, 1, 1)},
        {"relation": "self"},
        {"withdrawn_at": NOON},
    ],
    ids=str,
)
def test_one_sound_consent_is_enough_whatever_others_there_are(
    site: Site, world: World, space: Workspace, flaw: dict[str, Any]
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}], consents=[flaw, {}, flaw])
    validated(space)
    assert accepted(site) == [minor]


@pytest.mark.clause("L2")
def test_a_consent_is_of_one_booking_and_one_traveller(site: Site, world: World, space: Workspace) -> None:
    other = world.booking(travellers=[{"birth_date": MINOR}, {"birth_date": MINOR}], consents=[{}, {"traveller_no": 3}])
    validated(space)
    assert list(held(site)) == [other]
    findings = builders.read(site, "SELECT DISTINCT row_key FROM quarantine.findings")
    assert findings == [(f"{other}/2",)]


@pytest.mark.clause("L1")
@pytest.mark.parametrize(
    ("who", "counts"),
    [
        ({}, True),
        ({"given_name": "åsa ", "family_name": "LINDQVIST"}, True),
        ({"given_name": "Bo"}, False),
        ({"birth_date": MINOR + timedelta(days=1)}, False),
    ],
    ids=str,
)
def test_a_client_under_18_books_with_the_consent_that_covers_the_client_as_a_traveller(
    site: Site, world: World, space: Workspace, who: dict[str, Any], counts: bool
) -> None:
    traveller = {"birth_date": MINOR} | who
    minor = world.booking(client={"birth_date": MINOR}, travellers=[{"birth_date": date(1980, 1, 1)}, traveller],
                          consents=[{"traveller_no": 2}])  # fmt: skip
    validated(space)
    assert held(site) == ({} if counts else {minor: ["L1.client_adult_at_booking"]})


@pytest.mark.clause("L1")
@pytest.mark.parametrize(
    ("born", "rules"),
    [(date(2008, 3, 10), None), (date(2008, 3, 11), ["L1.client_adult_at_booking"]), (date(2008, 2, 29), None)],
    ids=str,
)
def test_the_client_counts_who_does_not_travel(
    site: Site, world: World, space: Workspace, born: date, rules: list[str] | None
) -> None:
    booking = world.booking(client={"birth_date": born})
    validated(space)
    assert held(site) == ({booking: rules} if rules else {})


@pytest.mark.clause("L1")
def test_whoever_was_born_on_29_february_is_an_adult_on_1_march_and_not_before(site: Site, world: World) -> None:
    world.day = date(2026, 2, 28)
    space = builders.workspace(site, first=world.day)
    early = world.booking(client={"birth_date": date(2008, 2, 29)})
    world.day = date(2026, 3, 1)
    late = world.booking(client={"birth_date": date(2008, 2, 29)})
    for day in (date(2026, 2, 28), date(2026, 3, 1)):
        validated(space, day)
    assert (list(held(site)), accepted(site)) == ([early], [late])


def consent(world: World, booking: str, **changes: Any) -> None:
    """A guardian's consent for the first traveller of a booking, sound unless it is told otherwise."""
    row = {
        "consent_id": world.number(), "booking_id": int(booking.split("/", maxsplit=1)[0]), "traveller_no": 1,
        "guardian_name": "Karin Ek", "guardian_email": "karin@example.com", "guardian_phone": None,
        "relation": "parent", "given_at": NOON - timedelta(days=2), "verified_at": NOON - timedelta(days=1),
        "verification_method": "bankid", "recorded_at": NOON, "guardian_birth_date": date(1979, 9, 3),
    }  # fmt: skip
    world.insert("guardian_consents", **row | changes)


# -- who was erased ----------------------------------------------------------------------------------------------------

ERASED_AT = NOW
"""By the clock of the key store."""


def erase_client(space: Workspace, booking: str) -> int:
    """Destroy a client's key; returns the client's number."""
    client = int(booking.split("/", maxsplit=1)[0]) + 40_000
    steps.destroy_key(space, "subject", f"client {client}", "request 17", builders.run())
    return client


def booked_again(world: World, client: int, accepted_after: timedelta, born: date | None = date(1980, 5, 17)) -> str:
    """A booking of two days later by a client who accepted the terms so long after the erasure."""
    world.day = DAY + timedelta(days=3)
    world.insert(
        "clients", client_id=client, version=2, given_name="Ny", family_name="Lindqvist", email="ny@example.com",
        birth_date=born, country_code="SE", recorded_at=world.at() - timedelta(hours=1),
    )  # fmt: skip
    world.insert(
        "terms_acceptances", acceptance_id=world.number(), client_id=client, terms_version="2026-02", channel="web",
        accepted_at=ERASED_AT + accepted_after, recorded_at=world.at() - timedelta(hours=1),
    )  # fmt: skip
    return world.booking(client_id=client, with_client=False, with_terms=False, card={})


@pytest.mark.clause("L3")
@pytest.mark.clause("M1")
@pytest.mark.parametrize(
    ("after", "lands"),
    [(timedelta(days=-1), False), (timedelta(seconds=0), False), (timedelta(seconds=1), True)],
    ids=str,
)
def test_a_new_acceptance_after_the_erasure_begins_a_new_subject_and_the_old_one_stays_gone(
    site: Site, world: World, space: Workspace, after: timedelta, lands: bool
) -> None:
    old = world.booking(card={})
    validated(space)
    (token,) = builders.read(site, "SELECT client_token FROM vault.bookings")
    client = erase_client(space, old)
    new = booked_again(world, client, after)
    later = builders.workspace(site, now=NOW + timedelta(days=2))
    for day in (DAY, world.day):
        validated(later, day, "later")
    assert accepted(site) == ([new] if lands else [])
    for table in COMPLETE_TABLES:
        rows = content(site, "vault", table, NOW + timedelta(days=2))
        assert len(rows) == int(lands), table
        assert not [row for row in rows if "destroyed" in row.values()]
    dropped = [entry["conservation"]["dropped_by_tombstone"] for entry in entries(site, "pull", "outcome")]
    assert dropped == [0, 1, 0 if lands else 1]
    if lands:
        (row,) = content(site, "vault", "bookings", NOW + timedelta(days=2))
        assert row["client_given_name_encrypted"] == "Ny"
        assert row["client_token"] != token


@pytest.mark.clause("L3")
@pytest.mark.parametrize(("born", "lands"), [(date(2008, 3, 12), True), (date(2008, 3, 13), False), (None, False)])
def test_only_an_adult_begins_anew(site: Site, world: World, space: Workspace, born: date | None, lands: bool) -> None:
    client = erase_client(space, pulled(space, world))
    new = booked_again(world, client, timedelta(minutes=1), born)
    validated(builders.workspace(site, now=NOW + timedelta(days=2)), world.day, "later")
    assert accepted(site) == ([new] if lands else [])
    assert terms(site, "validate")[-1]["dropped_by_tombstone"] == int(not lands)


def pulled(space: Workspace, world: World) -> str:
    """A booking of the first day, of which all keys are made."""
    booking = world.booking()
    steps.pull(space, "bookings", KEY, builders.run())
    return booking


@pytest.mark.clause("L3")
def test_a_booking_from_before_the_new_acceptance_is_of_the_old_subject_whenever_it_is_recorded(
    site: Site, world: World, space: Workspace
) -> None:
    old = pulled(space, world)
    client = erase_client(space, old)
    booked_again(world, client, timedelta(minutes=1))
    late = world.booking(
        booking_id=int(old.split("/")[0]), version=2, client_id=client, status="cancelled", with_client=False,
        with_terms=False, booked_at=NOON - timedelta(minutes=5),
    )  # fmt: skip
    validated(builders.workspace(site, now=NOW + timedelta(days=2)), world.day, "later")
    assert late not in accepted(site)
    assert late not in held(site)
    assert len(accepted(site)) == 1


@pytest.mark.clause("L3")
def test_what_comes_of_a_new_subject_is_published_like_anybody_elses(
    site: Site, world: World, space: Workspace
) -> None:
    client = erase_client(space, pulled(space, world))
    booked_again(world, client, timedelta(minutes=1))
    world.crowd(9)
    later = builders.workspace(site, now=NOW + timedelta(days=2), first=world.day)
    through(later, "bookings", world.day.isoformat(), "later")
    told = terms(site)[-1]
    assert (told["published"] + told["suppressed"], told["erased"]) == (10, 0)
