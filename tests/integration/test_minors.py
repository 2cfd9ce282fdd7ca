"""Minors are turned away, held back and erased; a consent counts as it is known now; who was erased stays erased."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

import builders
from aftermath import content, entries, terms, through
from builders import DAY, NOON, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import ContendedError, GovernanceError, InputError
from governance.run_log import Batch
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
        {"guardian_name": " "},
        {"guardian_name": "lindqvist asa", "guardian_birth_date": MINOR},
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


NAMELESS, OWN, NO_ADULT = ["L2.guardian_named"], ["L2.guardian_is_another"], ["L2.guardian_adult"]
PARENT = date(1979, 9, 3)


@pytest.mark.clause("L2")
@pytest.mark.parametrize(
    ("name", "rules"),
    [
        *(
            (name, NAMELESS)
            for name in (None, "", "  ", "-", "...", "\u00a0\u2003", "\u200b", "\u2014", "12 34", "\u0301")
        ),
        *((name, []) for name in ("K", "Ek.", "Иван", "李", "王 小明", "Þ", "محمد", "O'Brien-Ek", " " * 999 + "K")),
        (" " * 1000 + "K", NAMELESS),
    ],
    ids=ascii,
)
def test_a_guardian_has_a_name_with_a_letter_in_it(
    site: Site, world: World, space: Workspace, name: str | None, rules: list[str]
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}], consents=[{"guardian_name": name}])
    validated(space)
    assert held(site) == ({minor: rules} if rules else {})


@pytest.mark.clause("L2")
@pytest.mark.parametrize(
    "name",
    [
        "Åsa Lindqvist", "åsa LINDQVIST", " Åsa   Lindqvist ", "Asa Lindqvist", "A\u030asa Lindqvist", "Lindqvist Åsa",
        "LINDQVIST, Åsa", "Å s a Lindqvist", "ÅsaLindqvist", "Åsa\u00a0Lindqvist", "Åsa-Lindqvist",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("born", "rules"), [(MINOR, OWN), (None, OWN), (PARENT, [])], ids=str)
def test_a_guardian_who_is_named_like_the_minor_is_the_minor_unless_born_on_another_day(
    site: Site, world: World, space: Workspace, name: str, born: date | None, rules: list[str]
) -> None:
    consents = [{"guardian_name": name, "guardian_birth_date": born}]
    minor = world.booking(travellers=[{"birth_date": MINOR}], consents=consents)
    validated(space)
    assert held(site) == ({minor: rules} if rules else {})


@pytest.mark.clause("L2")
@pytest.mark.parametrize(
    ("given", "family"), [("Søren", "Weiß"), ("Łukasz", "Đæ"), (None, "Åsa"), ("Åsa", " ")], ids=ascii
)
def test_a_minor_with_half_a_name_or_letters_of_another_alphabet_is_told_all_the_same(
    site: Site, world: World, space: Workspace, given: str | None, family: str | None
) -> None:
    spelt = f"{family or ''} {given or ''}".upper().replace("Ø", "O").replace("Ł", "L").replace("Đ", "D")
    minor = world.booking(
        travellers=[{"birth_date": MINOR, "given_name": given, "family_name": family}],
        consents=[{"guardian_name": spelt, "guardian_birth_date": None}],
    )
    validated(space)
    assert held(site) == {minor: OWN}


@pytest.mark.clause("L2")
@pytest.mark.parametrize("name", ["Åsa", "Åsa Lindqvis", "Osa Lindqvist", "Åsa Maria Lindqvist"])
def test_another_name_is_another_persons_whose_age_has_to_be_known(
    site: Site, world: World, space: Workspace, name: str
) -> None:
    unknown = {"guardian_name": name, "guardian_birth_date": None}
    minor = world.booking(travellers=[{"birth_date": MINOR}], consents=[unknown])
    validated(space)
    assert held(site) == {minor: NO_ADULT}


@pytest.mark.clause("L1")
@pytest.mark.clause("L2")
@pytest.mark.parametrize(
    ("name", "born", "counts"),
    [("Karin Ek", PARENT, True), ("", PARENT, False), ("Asa Lindqvist", PARENT, True), ("Asa Lindqvist", MINOR, False)],
    ids=str,
)
def test_for_a_client_under_18_only_another_with_a_name_consents(
    site: Site, world: World, space: Workspace, name: str, born: date, counts: bool
) -> None:
    consents = [{"guardian_name": name, "guardian_birth_date": born}]
    minor = world.booking(client={"birth_date": MINOR}, travellers=[{"birth_date": MINOR}], consents=consents)
    validated(space)
    rules = ["L1.client_adult_at_booking", *(OWN if name else NAMELESS)]
    assert held(site) == ({} if counts else {minor: rules})


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
@pytest.mark.parametrize(
    ("booked_at", "rules"),
    [
        (datetime(2026, 3, 9, 22, 59, 59, tzinfo=UTC), ["L1.client_adult_at_booking"]),
        (datetime(2026, 3, 9, 23, tzinfo=UTC), []),  # midnight in Stockholm
    ],
    ids=str,
)
def test_the_day_of_booking_is_that_of_policys_time_zone(
    site: Site, world: World, space: Workspace, booked_at: datetime, rules: list[str]
) -> None:
    booking = world.booking(client={"birth_date": date(2008, 3, 10)}, booked_at=booked_at, changed_at=booked_at)
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


# -- erasure -----------------------------------------------------------------------------------------------------------

REVIEW = timedelta(days=30)
BEGAN = NOW
"""When the reviews of a test began, by the clock of the database."""


def reviewed_since(site: Site, at: datetime = BEGAN) -> None:
    """Let every review have begun at an instant."""
    builders.read(site, "UPDATE quarantine.reviews SET since = %s", at)


def due(site: Site) -> Workspace:
    """A workspace at the instant at which reviews that began at `BEGAN` are over."""
    return builders.workspace(site, now=BEGAN + REVIEW)


def at_source(site: Site, table: str, where: str = "true") -> int:
    """Rows of a table at the source."""
    ((count,),) = builders.read(site, f"SELECT count(*) FROM wellbe.{table} WHERE {where}", role="wellbe_owner")
    return int(count)


def erasures(site: Site) -> list[dict[str, Any]]:
    """Outcomes of erasures, oldest first."""
    return entries(site, "erase", "outcome")


def quarantined_minor(site: Site, world: World, space: Workspace, **changes: Any) -> str:
    """A booking of an adult and a minor whose consent was never verified, in quarantine since `BEGAN`."""
    minor = world.booking(
        **{
            "travellers": [{}, {"birth_date": MINOR, "given_name": "Li"}],
            "consents": [{"traveller_no": 2, "verified_at": None}],
            "notes": "Li is afraid of needles.",
        }
        | changes
    )
    validated(space)
    reviewed_since(site)
    return minor


@pytest.mark.clause("L3")
@pytest.mark.parametrize(
    ("before", "erased"),
    [(timedelta(seconds=1), 0), (timedelta(0), 1), (-timedelta(seconds=1), 1)],
    ids=["a second before", "at the instant", "a second after"],
)
def test_a_minor_is_erased_here_and_at_the_source_when_the_review_is_over(
    site: Site, world: World, space: Workspace, before: timedelta, erased: int
) -> None:
    minor = quarantined_minor(site, world, space)
    now = BEGAN + REVIEW - before
    counts = steps.erase_minors(builders.workspace(site, now=now), builders.run())
    assert counts == {"due": erased, "erased": erased}
    assert list(held(site)) == [minor] * (1 - erased)
    assert at_source(site, "booking_travellers", "traveller_no = 2") == 1 - erased
    assert at_source(site, "booking_travellers", "traveller_no = 1") == 1
    assert at_source(site, "guardian_consents") == 1 - erased
    assert at_source(site, "bookings", "notes IS NOT NULL") == 1 - erased
    assert builders.read(site, "SELECT count(*) FROM quarantine.findings") == [(1 - erased,)]
    assert builders.read(site, "SELECT count(*) FROM quarantine.reviews") == [(1 - erased,)]
    assert builders.read(site, "SELECT count(*) FROM quarantine.erasures") == [(0,)]
    assert len(erasures(site)) == erased


@pytest.mark.clause("L3")
@pytest.mark.clause("R1")
def test_the_log_says_what_was_erased_where_under_which_keys_and_nothing_of_whom(
    site: Site, world: World, space: Workspace
) -> None:
    minor = quarantined_minor(site, world, space)
    number = minor.split("/", maxsplit=1)[0]
    steps.erase_minors(due(site), builders.run())
    (entry,) = erasures(site)
    assert entry["counts"] == {
        "erased travellers_at_source": 1, "erased guardians_at_source": 1, "erased notes_at_source": 1,
        "erased quarantined": 1, "erased findings": 1, "erased reviews": 1, "left": 0,
    }  # fmt: skip
    with closing(builders.key_service(site, NOW)) as service:
        ids = [service.id_of("subject", f"{holder} {number}/2") for holder in ("traveller", "guardian")]
        assert [key.is_destroyed for key in service.store.fetch(ids).values()] == [True, True]
    assert sorted(entry["keys"]) == sorted(id.hex() for id in ids)
    (destroyed,) = entries(site, "destroy_keys", "outcome")
    assert sorted(destroyed["keys"]) == sorted(entry["keys"])
    (intent,) = entries(site, "erase", "intent")
    assert intent["counts"] == {
        "standing travellers_at_source": 1, "standing guardians_at_source": 1, "standing notes_at_source": 1,
    }  # fmt: skip
    assert intent["attempt_id"] == entry["attempt_id"]
    assert number not in str(entry)


@pytest.mark.clause("L3")
def test_an_earlier_version_that_was_accepted_once_loses_the_minor_too(
    site: Site, world: World, space: Workspace
) -> None:
    first = world.booking(travellers=[{}, {"birth_date": MINOR}], consents=[{"traveller_no": 2}])
    number = int(first.split("/", maxsplit=1)[0])
    validated(space)
    assert len(content(site, "vault", "booking_travellers")) == 2
    world.day = DAY + timedelta(days=1)
    world.execute("UPDATE wellbe.guardian_consents SET withdrawn_at = %s", NOW)
    second = world.booking(booking_id=number, version=2, status="amended", client_id=number + 40_000,
                           with_client=False, with_terms=False, booked_at=NOON - timedelta(minutes=5),
                           travellers=[{}, {"birth_date": MINOR}])  # fmt: skip
    validated(builders.workspace(site, now=NOW + timedelta(days=1)), world.day)
    assert list(held(site)) == [second]
    reviewed_since(site)
    steps.erase_minors(due(site), builders.run())
    assert [row["row_key"] for row in content(site, "vault", "booking_travellers")] == [f"{first}/1"]
    assert builders.read(site, "SELECT notes_encrypted FROM vault.bookings") == [(None,)]
    assert at_source(site, "booking_travellers", "traveller_no = 2") == 0
    (entry,) = erasures(site)
    assert entry["counts"]["erased travellers"] == 1
    assert entry["counts"]["erased travellers_at_source"] == 2


@pytest.mark.clause("L3")
def test_nothing_of_the_minor_lands_again_and_the_booking_of_the_others_does(
    site: Site, world: World, space: Workspace
) -> None:
    minor = quarantined_minor(site, world, space)
    steps.erase_minors(due(site), builders.run())
    number = int(minor.split("/", maxsplit=1)[0])
    # A store that gives the rows back, from a backup say.
    world.insert("booking_travellers", booking_id=number, version=1, traveller_no=2, role="companion",
                 given_name="Li", birth_date=MINOR, recorded_at=NOON)  # fmt: skip
    validated(space, run_id="again")
    assert [row["row_key"] for row in content(site, "vault", "booking_travellers")] == [f"{minor}/1"]
    assert entries(site, "pull", "outcome")[-1]["counts"]["booking_travellers_dropped_by_tombstone"] == 1


@pytest.mark.clause("L1")
@pytest.mark.clause("L3")
@pytest.mark.parametrize("of", [1, 3], ids=["at once", "in shards"])
@pytest.mark.parametrize(
    ("travellers", "landed"), [([], 0), ([{}], 1), ([{}, {}], 2)], ids=["nobody else", "an adult", "two adults"]
)
def test_a_booking_counts_who_landed_and_not_an_erased_minor_who_is_back_at_the_source(
    site: Site, world: World, space: Workspace, travellers: list[dict[str, Any]], landed: int, of: int
) -> None:
    number = landed + 1
    others = world.booking(travellers=[{}, {}, {}])  # lose nobody
    minor = quarantined_minor(
        site, world, space, travellers=[*travellers, {"birth_date": MINOR}],
        consents=[{"traveller_no": number, "verified_at": None}],
    )  # fmt: skip
    steps.erase_minors(due(site), builders.run())
    booking_id = int(minor.split("/", maxsplit=1)[0])
    world.insert("booking_travellers", booking_id=booking_id, version=1, traveller_no=number, role="companion",
                 given_name="Li", birth_date=MINOR, recorded_at=NOON)  # fmt: skip
    for run in (builders.run("again"), builders.run("once more")):
        (plan,) = steps.plan(space, "bookings", KEY, run)
        shards = [replace(plan, number=shard, of=of) for shard in range(of)]
        steps.validate(space, Batch.joined(steps.pull(space, "bookings", KEY, run, shard) for shard in shards), run)
        counts = dict(builders.read(site, "SELECT row_key, travellers_count FROM vault.bookings"))
        assert counts == {others: 3} | ({minor: landed} if landed else {})
        assert held(site) == ({} if landed else {minor: ["L1.has_travellers"]})
        assert len(content(site, "vault", "booking_travellers")) == 3 + landed
        pulls = entries(site, "pull", "outcome")[-of:]
        assert sum(entry["counts"].get("booking_travellers_dropped_by_tombstone", 0) for entry in pulls) == 1
        whole = pulls[-1]["conservation"]
        assert (whole["at_source"], whole["dropped_by_tombstone"], whole["pulled"]) == (2, 0, 2)


@pytest.mark.clause("L3")
def test_a_client_who_is_a_minor_is_erased_with_cards_and_contacts_and_amounts_stay_on_their_ground(
    site: Site, world: World, space: Workspace
) -> None:
    minor = quarantined_minor(
        site, world, space, client={"birth_date": MINOR}, travellers=[{}], consents=[], card={}, notes=None
    )
    client = int(minor.split("/", maxsplit=1)[0]) + 40_000
    world.insert("inquiries", inquiry_id=1, client_id=client, channel="web", message="Hello, I am Li.",
                 received_at=NOON, recorded_at=NOON)  # fmt: skip
    assert held(site) == {minor: ["L1.client_adult_at_booking"]}
    steps.erase_minors(due(site), builders.run())
    blank = "coalesce(given_name, family_name, email, phone, skype, birth_date::text, postcode) IS NULL"
    assert (at_source(site, "clients", blank), at_source(site, "clients")) == (1, 1)
    assert at_source(site, "payment_cards") == at_source(site, "inquiries", "message IS NOT NULL") == 0
    assert at_source(site, "bookings", "price_amount_minor IS NOT NULL") == 1
    assert at_source(site, "booking_travellers") == 1  # an adult, who travels with nobody's consent
    (entry,) = erasures(site)
    assert entry["counts"]["protected client_amounts_at_source"] == 1
    assert entry["counts"]["protected client_terms_at_source"] == 1
    steps.pull(space, "bookings", KEY, builders.run("again"))
    assert entries(site, "pull", "outcome")[-1]["conservation"]["dropped_by_tombstone"] == 1


@pytest.mark.clause("L3")
def test_a_client_who_was_erased_as_a_minor_may_book_again_as_an_adult(
    site: Site, world: World, space: Workspace
) -> None:
    minor = quarantined_minor(site, world, space, client={"birth_date": MINOR}, travellers=[{}], consents=[])
    client = int(minor.split("/", maxsplit=1)[0]) + 40_000
    steps.erase_minors(due(site), builders.run())
    new = booked_again(world, client, REVIEW + timedelta(minutes=1), date(2008, 1, 1))
    number, at = int(new.split("/", maxsplit=1)[0]), BEGAN + REVIEW + timedelta(hours=1)
    world.execute(
        "UPDATE wellbe.bookings SET booked_at = %s, recorded_at = %s, service_date = %s WHERE booking_id = %s",
        at, at + timedelta(hours=1), world.day + timedelta(days=60), number,
    )  # fmt: skip
    world.execute("UPDATE wellbe.terms_acceptances SET recorded_at = accepted_at")
    world.execute("UPDATE wellbe.booking_services SET starts_on = %s", world.day + timedelta(days=60))
    day = (BEGAN + REVIEW).date()
    validated(builders.workspace(site, now=BEGAN + REVIEW + timedelta(days=2)), day, "later")
    assert accepted(site) == [new]


@pytest.mark.clause("L3")
def test_a_review_goes_on_while_its_partition_is_settled_again_and_ends_when_the_consent_has_come(
    site: Site, world: World, space: Workspace
) -> None:
    minor = quarantined_minor(site, world, space)
    validated(space, run_id="again")
    assert builders.read(site, "SELECT row_key, since FROM quarantine.reviews") == [(minor, BEGAN)]
    world.execute("UPDATE wellbe.guardian_consents SET verified_at = given_at + interval '1 hour'")
    validated(space, run_id="once more")
    assert builders.read(site, "SELECT count(*) FROM quarantine.reviews") == [(0,)]
    assert steps.erase_minors(due(site), builders.run()) == {"due": 0, "erased": 0}
    assert accepted(site) == [minor]


@pytest.mark.clause("L3")
@pytest.mark.parametrize(
    "trouble",
    [{"price_amount_minor": -1}, {"travellers": []}, {"services": [{"starts_on": None}]}],
    ids=str,
)
def test_what_is_in_quarantine_for_another_reason_is_erased_by_nobody(
    site: Site, world: World, space: Workspace, trouble: dict[str, Any]
) -> None:
    world.booking(**trouble)
    validated(space)
    reviewed_since(site)
    assert steps.erase_minors(due(site), builders.run()) == {"due": 0, "erased": 0}
    assert len(held(site)) == 1


@pytest.mark.clause("L3")
@pytest.mark.parametrize("born", [None, date(1900, 1, 1), date(2027, 1, 1)], ids=str)
def test_whoever_was_born_on_no_day_that_can_be_counts_as_a_minor(
    site: Site, world: World, space: Workspace, born: date | None
) -> None:
    world.booking(travellers=[{"birth_date": born}])
    validated(space)
    reviewed_since(site)
    assert steps.erase_minors(due(site), builders.run()) == {"due": 1, "erased": 1}
    assert at_source(site, "booking_travellers") == 0


@pytest.mark.clause("L3")
@pytest.mark.parametrize(
    "trouble",
    [
        {"booked_at": None},
        {"service_date": date(1926, 4, 1), "services": [{"starts_on": date(1926, 4, 1)}]},
        {"booked_at": NOON.replace(year=1990)},
    ],
    ids=str,
)
def test_an_adult_whose_booking_has_an_impossible_day_is_held_back_and_not_erased(
    site: Site, world: World, space: Workspace, trouble: dict[str, Any]
) -> None:
    world.booking(**trouble)
    validated(space)
    reviewed_since(site)
    assert steps.erase_minors(due(site), builders.run()) == {"due": 0, "erased": 0}
    assert (len(held(site)), at_source(site, "booking_travellers")) == (1, 1)
    assert at_source(site, "clients", "given_name IS NOT NULL") == 1


LI = {"birth_date": MINOR, "given_name": "Li"}
BO = {"given_name": "Bo", "birth_date": date(1990, 1, 1)}


def amended(site: Site, world: World, first: str, travellers: list[dict[str, Any]], **changes: Any) -> str:
    """The next version of a booking, pulled and validated the day after."""
    number, version = (int(part) for part in first.split("/"))
    world.day += timedelta(days=1)
    row = {
        "booking_id": number, "version": version + 1, "status": "amended", "client_id": number + 40_000,
        "with_client": False, "with_terms": False, "booked_at": NOON - timedelta(minutes=5), "travellers": travellers,
    }  # fmt: skip
    key = world.booking(**(row | changes))
    validated(builders.workspace(site, now=NOW + timedelta(days=version)), world.day, f"version {version + 1}")
    return key


def travelling(site: Site) -> list[str]:
    """Who stands at the source: version, number and given name."""
    return [
        f"{version} {number} {name}"
        for version, number, name in builders.read(
            site,
            "SELECT version, traveller_no, given_name FROM wellbe.booking_travellers ORDER BY 1, 2",
            role="wellbe_owner",
        )
    ]


def in_vault(site: Site) -> dict[str, str]:
    """Given names of the travellers in the vault, as far as they can be read, by version and number."""
    rows = content(site, "vault", "booking_travellers", BEGAN + REVIEW)
    return {row["row_key"].split("/", 1)[1]: row["given_name_encrypted"] for row in rows}


@pytest.mark.clause("L3")
def test_a_minor_whose_number_is_an_adults_by_now_is_erased_in_the_version_where_it_was_theirs(
    site: Site, world: World, space: Workspace
) -> None:
    first = quarantined_minor(site, world, space, travellers=[{}, LI])
    second = amended(site, world, first, [{}, BO])
    assert accepted(site) == [second]
    assert steps.erase_minors(due(site), builders.run()) == {"due": 1, "erased": 1}
    assert travelling(site) == ["1 1 Åsa", "2 1 Åsa", "2 2 Bo"]
    assert in_vault(site) == {"2/1": "Åsa", "2/2": "Bo"}
    assert steps.erase_minors(due(site), builders.run()) == {"due": 0, "erased": 0}


@pytest.mark.clause("L3")
def test_a_renumbered_minor_is_erased_in_every_version_by_the_number_there_and_no_adult_is(
    site: Site, world: World, space: Workspace
) -> None:
    first = world.booking(travellers=[{}, LI, BO], consents=[{"traveller_no": 2}])
    validated(space)
    assert in_vault(site) == {"1/1": "Åsa", "1/2": "Li", "1/3": "Bo"}
    second = amended(site, world, first, [LI, {}, BO])
    third = amended(site, world, first.replace("/1", "/2"), [BO, {}, {**LI, "given_name": "LI"}])
    assert (accepted(site), set(held(site))) == ([first], {second, third})
    reviewed_since(site)
    assert steps.erase_minors(due(site), builders.run()) == {"due": 1, "erased": 1}
    assert travelling(site) == ["1 1 Åsa", "1 3 Bo", "2 2 Åsa", "2 3 Bo", "3 1 Bo", "3 2 Åsa"]
    assert in_vault(site) == {"1/1": "Åsa", "1/3": "Bo"}
    (entry,) = erasures(site)
    assert (entry["counts"]["erased travellers"], entry["counts"]["erased travellers_at_source"]) == (1, 3)
    assert len(entry["keys"]) == 6
    with closing(builders.key_service(site, NOW)) as service:
        number = first.split("/", maxsplit=1)[0]
        ids = [service.id_of("subject", f"traveller {number}/{n}") for n in (1, 2, 3)]
        assert [key.is_destroyed for key in service.store.fetch(ids).values()] == [True] * 3
    # What was in quarantine for the minor alone is the adults' now.
    for day in (DAY + timedelta(days=1), DAY + timedelta(days=2)):
        validated(due(site), day, "again")
    assert (accepted(site), held(site)) == ([first, second, third], {})
    assert in_vault(site) == {"1/1": "Åsa", "1/3": "Bo", "2/2": "Åsa", "2/3": "Bo", "3/1": "Bo", "3/2": "Åsa"}


@pytest.mark.clause("L3")
def test_a_minor_lands_under_no_number_again_and_an_adult_under_each_does(
    site: Site, world: World, space: Workspace
) -> None:
    first = quarantined_minor(site, world, space, travellers=[{}, LI])
    steps.erase_minors(due(site), builders.run())
    second = amended(site, world, first, [{}, BO], with_client=False)
    third = amended(site, world, second, [{}, LI])
    assert in_vault(site) == {"2/1": "Åsa", "2/2": "Bo", "3/1": "Åsa"}
    assert accepted(site) == [second, third]


@pytest.mark.clause("L3")
@pytest.mark.clause("M1")
def test_an_adult_who_was_erased_lands_under_their_number_no_more(site: Site, world: World, space: Workspace) -> None:
    first = world.booking(travellers=[{}, BO])
    validated(space)
    steps.destroy_key(space, "subject", f"traveller {first.split('/')[0]}/2", "request 17", builders.run())
    validated(space, run_id="again")
    assert in_vault(site) == {"1/1": "Åsa"}


@pytest.mark.clause("L3")
@pytest.mark.parametrize(
    ("later", "erased"),
    [({**LI, "birth_date": date(1990, 1, 1)}, 0), ({**BO, "birth_date": date(1990, 1, 1)}, 1)],
    ids=["the same, whose birth date was mended", "another"],
)
def test_whoever_is_an_adult_in_a_later_version_is_not_erased_and_another_under_the_number_saves_nobody(
    site: Site, world: World, space: Workspace, later: dict[str, Any], erased: int
) -> None:
    first = quarantined_minor(site, world, space, travellers=[{}, LI])
    second = amended(site, world, first, [{}, later])
    assert accepted(site) == [second]
    assert steps.erase_minors(due(site), builders.run()) == {"due": erased, "erased": erased}
    assert len(travelling(site)) == 4 - erased


@pytest.mark.clause("L3")
def test_an_erasure_that_was_killed_before_adults_had_their_own_keys_brings_them_anew(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = quarantined_minor(site, world, space, travellers=[{}, LI])
    second = amended(site, world, first, [{}, BO])
    with monkeypatch.context() as patched, pytest.raises(ContendedError):
        patched.setattr("governance.steps.erasing.pull", _contended)
        steps.erase_minors(due(site), builders.run())
    assert in_vault(site) == {"2/1": "Åsa", "2/2": "destroyed"}
    assert builders.read(site, "SELECT versions, travellers FROM quarantine.erasures") == [([1], [2])]
    assert steps.erase_minors(due(site), builders.run()) == {"due": 1, "erased": 1}
    assert in_vault(site) == {"2/1": "Åsa", "2/2": "Bo"}
    assert accepted(site) == [second]


def _contended(*_: object) -> None:
    raise ContendedError("another run is at it")


@pytest.mark.clause("L3")
def test_a_client_who_is_accepted_in_another_booking_is_not_erased_as_a_client(
    site: Site, world: World, space: Workspace
) -> None:
    first = world.booking(client={"birth_date": MINOR}, travellers=[{"birth_date": MINOR}])
    other = world.booking(client_id=int(first.split("/")[0]) + 40_000, with_client=False, with_terms=False,
                          travellers=[{"birth_date": MINOR}], consents=[{}])  # fmt: skip
    validated(space)
    reviewed_since(site)
    assert (list(held(site)), accepted(site)) == ([first], [other])
    assert steps.erase_minors(due(site), builders.run()) == {"due": 1, "erased": 1}
    (entry,) = erasures(site)
    assert (entry["counts"]["protected accepted_clients"], entry["counts"]["erased travellers_at_source"]) == (1, 1)
    assert at_source(site, "clients", "given_name IS NOT NULL") == 1
    (row,) = content(site, "vault", "bookings")
    assert row["client_given_name_encrypted"] not in (None, "destroyed")


@pytest.mark.clause("L3")
def test_an_erasure_waits_for_a_landing_that_is_still_to_be_validated(
    site: Site, world: World, space: Workspace
) -> None:
    quarantined_minor(site, world, space)
    batch = steps.pull(space, "bookings", KEY, builders.run("again"))
    with pytest.raises(ContendedError, match="2 rows of theirs wait for validation"):
        steps.erase_minors(due(site), builders.run())
    assert at_source(site, "booking_travellers", "traveller_no = 2") == 0
    steps.validate(space, batch, builders.run("again"))
    assert len(held(site)) == 1
    assert steps.erase_minors(due(site), builders.run()) == {"due": 1, "erased": 1}
    assert held(site) == {}
    assert builders.read(site, "SELECT count(*) FROM quarantine.erasures") == [(0,)]


@pytest.mark.clause("L3")
def test_retention_leaves_what_tells_of_a_minor_until_the_erasure_however_old_the_partition_is(
    site: Site, world: World, space: Workspace
) -> None:
    minor = world.booking(travellers=[{}, {"birth_date": MINOR}], consents=[{"traveller_no": 2}])
    unpriced = world.booking(price_amount_minor=-1)
    through(space, "bookings", KEY)
    late = NOW + timedelta(days=100)
    world.execute("UPDATE wellbe.guardian_consents SET withdrawn_at = %s", late)
    steps.consents(builders.workspace(site, now=late), builders.run())
    reviewed_since(site, late)
    builders.read(site, "UPDATE quarantine.rows SET quarantined_at = %s", late - timedelta(days=200))
    over = builders.workspace(site, now=late + REVIEW)
    assert set(held(site)) == {minor, unpriced}
    steps.retain(over, builders.run())
    assert set(held(site)) == {minor}
    counts = {entry["partition_key"]: entry["counts"] for entry in entries(site, "retain", "outcome")}
    assert [counts[rule]["on hold: in_review"] for rule in ("quarantined", "findings")] == [1, 1]
    assert steps.erase_minors(over, builders.run()) == {"due": 1, "erased": 1}
    assert at_source(site, "booking_travellers", "traveller_no = 2") == 0
    assert builders.read(site, "SELECT count(*) FROM quarantine.findings") == [(0,)]


@pytest.mark.clause("L3")
@pytest.mark.parametrize(
    ("before", "ended"), [(timedelta(seconds=1), 0), (timedelta(0), 1)], ids=["a second before", "at the instant"]
)
@pytest.mark.parametrize("fresh", [False, True], ids=["settled once", "settled again since"])
def test_a_review_of_adults_with_impossible_days_ends_with_the_term_of_quarantine(
    site: Site, world: World, space: Workspace, before: timedelta, ended: int, fresh: bool
) -> None:
    term = timedelta(days=float(space.policy.value("quarantine_days")))
    world.booking(booked_at=None)
    validated(space)
    reviewed_since(site)
    since = BEGAN + timedelta(seconds=1) if fresh else BEGAN
    builders.read(site, "UPDATE quarantine.rows SET quarantined_at = %s", since)
    over = builders.workspace(site, now=BEGAN + term - before)
    ended = 0 if fresh else ended
    expected = {"due": 0, "erased": 0} | ({"reviews_over": 1} if ended else {})
    assert steps.erase_minors(over, builders.run()) == expected
    assert builders.read(site, "SELECT count(*) FROM quarantine.reviews") == [(1 - ended,)]
    steps.retain(over, builders.run())
    assert len(held(site)) == 1 - ended
    assert builders.read(site, "SELECT count(*) > 0 FROM quarantine.findings") == [(not ended,)]
    assert at_source(site, "booking_travellers") == 1
    assert entries(site, "erase_minors", "outcome")[-1]["counts"] == expected


@pytest.mark.clause("L3")
@pytest.mark.parametrize("born", [None, date(1900, 1, 1), MINOR], ids=str)
def test_a_review_of_a_minor_beside_them_ends_with_an_erasure_and_in_no_other_way(
    site: Site, world: World, space: Workspace, born: date | None
) -> None:
    term = timedelta(days=float(space.policy.value("quarantine_days")))
    world.booking(booked_at=None, travellers=[{}, {"birth_date": born, "given_name": "Li"}])
    validated(space)
    reviewed_since(site)
    builders.read(site, "UPDATE quarantine.rows SET quarantined_at = %s", BEGAN)
    over = builders.workspace(site, now=BEGAN + term)
    assert steps.erase_minors(over, builders.run()) == {"due": 1, "erased": 1}
    assert travelling(site) == ["1 1 Åsa"]
    assert builders.read(site, "SELECT count(*) FROM quarantine.reviews") == [(0,)]


@pytest.mark.clause("L3")
def test_an_unfinished_erasure_takes_in_another_minor_of_its_booking(
    site: Site, world: World, space: Workspace
) -> None:
    first = quarantined_minor(site, world, space)
    number = int(first.split("/", maxsplit=1)[0])
    world.day = DAY + timedelta(days=20)
    world.booking(booking_id=number, version=2, status="amended", client_id=number + 40_000, with_client=False,
                  with_terms=False, booked_at=NOON - timedelta(minutes=5),
                  travellers=[{}, {"birth_date": MINOR}, {"birth_date": MINOR, "given_name": "Kim"}])  # fmt: skip
    batch = steps.pull(due(site), "bookings", world.day.isoformat(), builders.run("second"))
    with pytest.raises(ContendedError, match="wait for validation"):
        steps.erase_minors(due(site), builders.run())
    assert builders.read(site, "SELECT versions, travellers FROM quarantine.erasures") == [([1, 2], [2, 2])]
    steps.validate(due(site), batch, builders.run("second"))
    assert len(held(site)) == 2
    assert steps.erase_minors(due(site), builders.run()) == {"due": 1, "erased": 1}
    assert at_source(site, "booking_travellers", "traveller_no > 1") == 0
    assert (held(site), builders.read(site, "SELECT count(*) FROM quarantine.erasures")) == ({}, [(0,)])


@pytest.mark.clause("L3")
def test_a_source_that_does_not_let_us_keeps_nobody_elses_erasure_waiting_and_is_tried_again(
    site: Site, world: World, space: Workspace
) -> None:
    quarantined_minor(site, world, space)
    builders.read(site, "REVOKE DELETE ON wellbe.guardian_consents FROM source_retention", role="wellbe_owner")
    try:
        with pytest.raises(GovernanceError, match=r"does not let role source_retention .* stands there still"):
            steps.erase_minors(due(site), builders.run())
    finally:
        builders.read(site, "GRANT DELETE ON wellbe.guardian_consents TO source_retention", role="wellbe_owner")
    assert [entry["outcome"] for entry in erasures(site)] == ["failed"]
    assert at_source(site, "booking_travellers") == 2  # what was done there is undone with the rest
    assert steps.erase_minors(due(site), builders.run()) == {"due": 1, "erased": 1}
    assert [entry["outcome"] for entry in erasures(site)] == ["failed", "passed"]
    assert at_source(site, "guardian_consents") == 0


@pytest.mark.clause("L3")
def test_two_minors_of_one_booking_and_one_of_another_are_erased_each_once(
    site: Site, world: World, space: Workspace
) -> None:
    children = [{"birth_date": MINOR}, {"birth_date": MINOR + timedelta(days=1)}]
    world.booking(travellers=[{}, *children])
    quarantined_minor(site, world, space)
    assert steps.erase_minors(due(site), builders.run()) == {"due": 2, "erased": 2}
    assert sorted(len(entry["keys"]) for entry in erasures(site)) == [2, 4]
    assert at_source(site, "booking_travellers") == 2
    assert steps.erase_minors(due(site), builders.run()) == {"due": 0, "erased": 0}


# -- consents that changed ---------------------------------------------------------------------------------------------


def published(space: Workspace, day: date = DAY) -> None:
    """All three hops of a day."""
    through(space, "bookings", day.isoformat())


@pytest.mark.clause("L2")
def test_a_consent_that_came_late_makes_its_partition_run_again_once(
    site: Site, world: World, space: Workspace
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}])
    other = world.booking(travellers=[{"birth_date": MINOR}])
    published(space)
    assert steps.consents(space, builders.run()) == {
        "sufficient": 0, "withdrawn": 0, "partitions": 0, "obligations": 0,
    }  # fmt: skip
    consent(world, minor)
    told = steps.consents(space, builders.run())
    assert (told["sufficient"], told["partitions"]) == (1, 1)
    assert (accepted(site), list(held(site))) == ([minor], [other])
    assert steps.consents(space, builders.run())["partitions"] == 0
    assert len(entries(site, "pull", "outcome")) == 2


@pytest.mark.clause("L2")
@pytest.mark.parametrize("flaw", [{"verified_at": None}, {"given_at": NOON}, {"guardian_birth_date": None}], ids=str)
def test_a_consent_that_came_and_does_not_count_makes_nothing_run(
    site: Site, world: World, space: Workspace, flaw: dict[str, Any]
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}])
    published(space)
    consent(world, minor, **flaw)
    assert steps.consents(space, builders.run())["partitions"] == 0


@pytest.mark.clause("L1")
def test_a_client_whose_guardian_consents_late_is_found_too(site: Site, world: World, space: Workspace) -> None:
    minor = world.booking(client={"birth_date": MINOR}, travellers=[{"birth_date": MINOR}])
    published(space)
    consent(world, minor)
    assert steps.consents(space, builders.run())["sufficient"] == 2  # the traveller, and the same person as a client
    assert accepted(site) == [minor]


@pytest.mark.clause("L2")
@pytest.mark.clause("L3")
def test_a_consent_that_is_withdrawn_stops_all_use_begins_a_review_and_leaves_obligations(
    site: Site, world: World, space: Workspace
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}], consents=[{}])
    adult = world.booking()
    published(space)
    for name, key in (("first", minor), ("second", minor), ("other", adult)):
        builders.delivered(site, name, key)
    world.execute("UPDATE wellbe.guardian_consents SET withdrawn_at = %s", NOW)
    told = steps.consents(space, builders.run())
    assert told == {"sufficient": 0, "withdrawn": 1, "partitions": 1, "obligations": 2}
    assert (accepted(site), held(site)) == ([adult], {minor: ["L2.guardian_consent_stands"]})
    assert builders.read(site, "SELECT row_key FROM quarantine.reviews") == [(minor,)]
    owed = builders.read(site, "SELECT delivery_id, reason, raised_at IS NOT NULL, met_at FROM sharing.obligations")
    assert sorted(owed) == [(name, "consent withdrawn", True, None) for name in ("first", "second")]
    assert steps.consents(space, builders.run())["obligations"] == 0
    reviewed_since(site)
    steps.erase_minors(due(site), builders.run())
    owed = builders.read(site, "SELECT delivery_id FROM sharing.obligations WHERE reason = 'erased' ORDER BY 1")
    assert owed == [("first",), ("second",)]


@pytest.mark.clause("L2")
def test_a_withdrawn_consent_beside_one_that_stands_changes_nothing(site: Site, world: World, space: Workspace) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}], consents=[{}, {"withdrawn_at": NOW}])
    published(space)
    assert steps.consents(space, builders.run())["partitions"] == 0
    assert accepted(site) == [minor]


@pytest.mark.clause("L2")
def test_what_is_accepted_late_is_carried_in_by_the_next_release(site: Site, world: World, space: Workspace) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}])
    world.crowd()
    published(space)
    consent(world, minor)
    world.day = DAY + timedelta(days=1)
    world.crowd()
    steps.consents(space, builders.run())
    published(builders.workspace(site, now=NOW + timedelta(days=1)), world.day)
    assert terms(site)[-1]["carried_in"] == 1


@pytest.mark.clause("L2")
def test_a_partition_that_is_settled_and_not_published_runs_again_too(
    site: Site, world: World, space: Workspace
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}])
    validated(space)
    consent(world, minor)
    assert steps.consents(space, builders.run())["sufficient"] == 1
    assert accepted(site) == [minor]
    world.execute("UPDATE wellbe.guardian_consents SET withdrawn_at = %s", NOW)
    assert steps.consents(space, builders.run())["withdrawn"] == 1
    assert (list(held(site)), accepted(site)) == ([minor], [])


@pytest.mark.clause("L2")
@pytest.mark.clause("L3")
@pytest.mark.parametrize(("flaw", "erased"), [({}, 0), ({"verified_at": None}, 1)], ids=str)
def test_nobody_is_erased_of_whom_a_consent_is_sufficient_by_now(
    site: Site, world: World, space: Workspace, flaw: dict[str, Any], erased: int
) -> None:
    minor = world.booking(travellers=[{"birth_date": MINOR}])
    validated(space)
    reviewed_since(site)
    plan = steps.plan_retention(due(site), builders.run())
    consent(world, minor, **flaw)
    if not erased:
        with pytest.raises(InputError, match="no longer what the plan told"):
            steps.apply_plan(due(site), plan.digest, builders.run())
    assert steps.erase_minors(due(site), builders.run()) == {"due": erased, "erased": erased}
    assert at_source(site, "booking_travellers") == 1 - erased
    assert steps.consents(due(site), builders.run())["sufficient"] == 1 - erased
    assert (accepted(site), held(site)) == ([minor] * (1 - erased), {})
