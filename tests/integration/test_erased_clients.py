"""A client who is a minor is erased with saved cards and every key; a new subject keeps what is theirs."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

import builders
from aftermath import content, entries
from builders import DAY, NOON, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.encryption import key_ids
from governance.errors import ContendedError
from governance.run_log import Batch
from governance.steps import HoldRequest, Workspace
from governance.warehouse import connect

pytestmark = [pytest.mark.pg, pytest.mark.clause("L3"), pytest.mark.clause("K3")]

CLIENT = 777
LI = {"birth_date": date(2008, 3, 20), "given_name": "Li"}
"""Eighteen ten days after the first booking."""
ERASED = NOW + timedelta(days=30)
ANEW = ERASED + timedelta(days=1)
"""When the client accepts the terms again, as an adult."""


def validated(space: Workspace, day: date, run_id: str) -> None:
    """Pull and validate a day."""
    steps.validate(space, steps.pull(space, "bookings", day.isoformat(), builders.run(run_id)), builders.run(run_id))


def saved_card(world: World, card: int) -> dict[str, object]:
    """A card that its client chose to save, captured at the world's noon."""
    return {"card_id": card, "captured_at": world.at(), "save_to_profile": True}


@pytest.fixture
def minor(site: Site, world: World, space: Workspace) -> Site:
    """A minor, accepted once with a guardian's consent, with a saved card and a hold; the consent is withdrawn, and the
    review is over at `ERASED`."""
    world.booking(client_id=CLIENT, client=LI, travellers=[LI], consents=[{}], card=saved_card(world, 1))
    validated(space, DAY, "first")
    steps.keep_cards(space, builders.run())
    until = (NOW + timedelta(days=60)).date()
    steps.place_hold(space, HoldRequest("1", "fraud", "case 17", until), builders.run())
    world.execute("UPDATE wellbe.guardian_consents SET withdrawn_at = %s", NOW)
    validated(space, DAY, "withdrawn")
    builders.read(site, "UPDATE quarantine.reviews SET since = %s", NOW)
    assert saved(site) == ["1"]
    return site


def begun_anew(site: Site, world: World) -> Workspace:
    """The client accepts and books as an adult, and saves a card; returns the workspace of two days later."""
    world.day = ANEW.date()
    world.insert("clients", client_id=CLIENT, version=2, recorded_at=ANEW, country_code="SE",
                 email="li@example.com", **LI)  # fmt: skip
    world.insert("terms_acceptances", acceptance_id=world.number(), client_id=CLIENT, terms_version="2026-02",
                 channel="web", accepted_at=ANEW, recorded_at=ANEW)  # fmt: skip
    at = max(world.at(), ANEW + timedelta(minutes=5))
    world.booking(client_id=CLIENT, with_client=False, with_terms=False, travellers=[LI], booked_at=at, recorded_at=at,
                  card={"card_id": 2, "captured_at": at, "save_to_profile": True})  # fmt: skip
    later = builders.workspace(site, now=ANEW + timedelta(days=2))
    validated(later, world.day, "anew")
    steps.keep_cards(later, builders.run())
    assert saved(site) == ["2"]
    return later


def saved(site: Site) -> list[str]:
    """Cards in profiles."""
    return [card for (card,) in builders.read(site, "SELECT card_key FROM vault.saved_cards ORDER BY 1")]


def is_living(site: Site, kind: str, scope: str) -> bool:
    """Whether there is a key of a kind for a scope, and it is not destroyed."""
    with closing(builders.key_service(site)) as service:
        id = service.id_of(kind, scope)
        return any(not key.is_destroyed for key in service.store.fetch([id]).values())


def readable(site: Site) -> list[str]:
    """Every place of our database where a ciphertext stands under a living key of the client's."""
    scopes = [f"client {CLIENT}", *(f"client {CLIENT} since {number}" for number in range(2, 9))]
    with closing(builders.key_service(site)) as service:
        theirs = {service.id_of(kind, scope) for kind in ("subject", "profile") for scope in scopes}
        theirs = {key.id for key in service.store.fetch(theirs).values() if not key.is_destroyed}
    columns = builders.read(
        site,
        "SELECT table_schema, table_name, column_name FROM information_schema.columns JOIN information_schema.tables "
        "USING (table_schema, table_name) WHERE data_type = 'bytea' AND table_type = 'BASE TABLE' "
        "AND table_schema NOT IN ('pg_catalog', 'information_schema', 'audit')",
    )
    assert len(columns) > 20
    found = []
    for schema, table, column in columns:
        values = [
            bytes(v) for (v,) in builders.read(site, f"SELECT {column} FROM {schema}.{table} WHERE {column} <> ''")
        ]
        if theirs & {id for id in map(_key_id, values) if id}:
            found.append(f"{schema}.{table}.{column}")
    return found


def _key_id(value: bytes) -> bytes | None:
    (id,) = key_ids(pa.array([value], pa.binary())).to_pylist()
    return id


def named(site: Site) -> list[str]:
    """Every table of ours but the log where the client's number or name stands in clear, with what else is known."""
    tables = builders.read(
        site,
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN "
        "('control', 'records', 'quarantine', 'vault', 'analytics', 'sharing')",
    )
    return [
        name
        for (name,) in tables
        if builders.read(site, f"SELECT count(*) FROM {name} t WHERE to_jsonb(t)::text ~ '\\m({CLIENT}|Li)\\M'")[0][0]
    ]


def test_an_erasure_takes_saved_cards_and_their_key_and_leaves_the_hold_on_its_ground(minor: Site) -> None:
    assert is_living(minor, "profile", f"client {CLIENT}")
    assert "vault.saved_cards.partial_number_encrypted" in readable(minor)
    assert steps.erase_minors(builders.workspace(minor, now=ERASED), builders.run()) == {"due": 1, "erased": 1}
    assert saved(minor) == []
    assert not is_living(minor, "profile", f"client {CLIENT}")
    assert readable(minor) == []
    assert named(minor) == []
    (entry,) = entries(minor, "erase", "outcome")
    assert entry["counts"]["erased client_saved_cards"] == 1
    assert entry["counts"]["protected client_card_holds"] == 1
    assert builders.read(minor, "SELECT card_key FROM vault.card_holds") == [("1",)]


def test_a_profile_key_of_a_second_choice_goes_too(minor: Site) -> None:
    """The first was destroyed when the choice was withdrawn: `client N since 2` is the one that lives."""
    builders.read(minor, "DELETE FROM vault.saved_cards")
    steps.destroy_key(builders.workspace(minor), "profile", f"client {CLIENT}", "withdrawn", builders.run())
    with closing(builders.key_service(minor)) as service:
        keys = service.acting("profiler", "saved_cards", lambda _: None)
        keys.sealing("profile", pa.array([f"client {CLIENT} since 2"]))
    assert is_living(minor, "profile", f"client {CLIENT} since 2")
    steps.erase_minors(builders.workspace(minor, now=ERASED), builders.run())
    assert not is_living(minor, "profile", f"client {CLIENT} since 2")


def test_a_new_subject_keeps_everything_when_an_older_booking_of_the_client_is_erased_later(
    minor: Site, world: World
) -> None:
    steps.erase_minors(builders.workspace(minor, now=ERASED), builders.run())
    later = begun_anew(minor, world)
    # An erasure that was begun for another booking of the minor's, and not done.
    builders.read(
        minor,
        "INSERT INTO quarantine.erasures (booking_id, travellers, clients, booked_at) VALUES (9, '{1}', %s, %s)",
        [CLIENT], NOON,
    )  # fmt: skip
    assert steps.erase_minors(later, builders.run()) == {"due": 1, "erased": 1}
    assert is_living(minor, "subject", f"client {CLIENT} since {int(ANEW.timestamp())}")
    assert is_living(minor, "profile", f"client {CLIENT} since 2")
    assert saved(minor) == ["2"]
    (row,) = content(minor, "vault", "bookings", later.clock())
    assert (row["client_given_name_encrypted"], row["client_country_code"]) == ("Li", "SE")
    names = builders.read(minor, "SELECT version, given_name FROM wellbe.clients ORDER BY 1", role="wellbe_owner")
    assert names == [(1, None), (2, "Li")]
    assert builders.read(minor, "SELECT card_id FROM wellbe.payment_cards", role="wellbe_owner") == [(2,)]


def test_a_new_subject_is_erased_for_a_booking_of_its_own(minor: Site, world: World) -> None:
    """Both sides: the booking was made after the client had begun anew, and they were no adult after all."""
    steps.erase_minors(builders.workspace(minor, now=ERASED), builders.run())
    later = begun_anew(minor, world)
    builders.read(
        minor,
        "INSERT INTO quarantine.erasures (booking_id, travellers, clients, booked_at) VALUES (9, '{1}', %s, %s)",
        [CLIENT], ANEW,
    )  # fmt: skip
    assert steps.erase_minors(later, builders.run()) == {"due": 1, "erased": 1}
    assert not is_living(minor, "subject", f"client {CLIENT} since {int(ANEW.timestamp())}")
    assert not is_living(minor, "profile", f"client {CLIENT} since 2")
    assert saved(minor) == []
    assert readable(minor) == []


def test_nobody_saves_a_card_while_its_client_is_erased(minor: Site) -> None:
    with connect(minor.dsn("recorder"), "cards") as other, other.exclusive(Batch("cards", "all", "other")):
        with pytest.raises(ContendedError):
            steps.erase_minors(builders.workspace(minor, now=ERASED), builders.run())
        assert is_living(minor, "subject", f"client {CLIENT}")
    assert steps.erase_minors(builders.workspace(minor, now=ERASED), builders.run()) == {"due": 1, "erased": 1}


def test_an_erasure_of_before_the_instant_was_noted_is_of_everything_before_its_own_beginning(minor: Site) -> None:
    builders.read(
        minor, "INSERT INTO quarantine.erasures (booking_id, travellers, clients, begun_at) VALUES (9, '{}', %s, %s)",
        [CLIENT], datetime(2026, 3, 12, tzinfo=UTC),
    )  # fmt: skip
    steps.erase_minors(builders.workspace(minor, now=NOW + timedelta(days=1)), builders.run())
    assert not is_living(minor, "profile", f"client {CLIENT}")
    assert saved(minor) == []
