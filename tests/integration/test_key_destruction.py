"""What is destroyed is gone: from the rows, from a dump, from a base backup with its write-ahead log, and for good."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

import builders
import faults
from aftermath import content, entries, outcomes, terms, through
from builders import DAY, NOON, NOW, World
from governance import history, key_audit, steps
from governance.embedded import postgres
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.encryption import Column, decrypt, key_ids
from governance.errors import InputError, KeyDestroyedError, KeyPurposeError, KeyringError, WarehouseUnavailableError
from governance.key import DataKey
from governance.key_store import KeyStore
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.run_log import Batch, Shard
from governance.steps import Workspace
from governance.warehouse import Warehouse

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY = DAY.isoformat()
CARD_DEADLINE = NOON + timedelta(hours=238)


@dataclass(frozen=True)
class Value:
    """One ciphertext as it stands in some database."""

    table: str
    column: str
    row_key: str
    sealed: bytes


def stored(dsn: str) -> list[Value]:
    """Every ciphertext of every zone, by the bytea columns that there are; a keyed number is none."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns c "
            "WHERE data_type = 'bytea' AND table_schema IN ('landing', 'vault', 'quarantine', 'sharing', 'analytics') "
            "AND table_name <> 'release_people'"
        )
        found = []
        for zone, table, column in cursor.fetchall():
            key = {"saved_cards": "card_key", "card_holds": "hold_id"}.get(table, "row_key")
            cursor.execute(f'SELECT {key}, {column} FROM {zone}."{table}" WHERE {column} IS NOT NULL')
            found += [Value(table, column, row_key, bytes(sealed)) for row_key, sealed in cursor.fetchall()]
    return found


def readable(site: Site, values: list[Value], now: datetime) -> dict[Value, str]:
    """What today's key store and keyring open of them: under the key that each names, else under every one there is."""
    with closing(builders.key_service(site, now)) as service:
        living = [key.id for page in service.store.pages() for key in page if not key.is_destroyed]
        every, _ = service.unwrapped(living)
    return {value: text for value in values for text in opened(value, every)}


def opened(value: Value, every: dict[bytes, DataKey]) -> Iterator[str]:
    named = every.get(key_ids(pa.array([value.sealed]))[0].as_py())
    for key in every.values() if named is None else [named]:
        try:
            yield decrypt(
                pa.array([value.sealed]),
                pa.array([value.row_key]),
                key_of=lambda _, key=key: key,  # type: ignore[misc]
                column=Column(value.table, value.column),
            )[0].as_py()
        except KeyringError:
            continue


def rows_of(values: list[Value], *row_keys: str) -> set[Value]:
    return {value for value in values if any(value.row_key.startswith(key) for key in row_keys)}


def administer(site: Site) -> str:
    """Our database as superuser."""
    return site.dsn("postgres").rsplit("/", 1)[0] + "/governance"


@pytest.fixture
def replicating(site: Site) -> Iterator[None]:
    """The cluster lets its superuser take a base backup."""
    access = site.data_dir / "warehouse" / "pg_hba.conf"
    text = access.read_text()
    access.write_text(text + "host replication postgres 127.0.0.1/32 scram-sha-256\n")
    builders.read(site, "SELECT pg_reload_conf()", role="postgres")
    yield
    access.write_text(text)
    builders.read(site, "SELECT pg_reload_conf()", role="postgres")


@pytest.mark.clause("J1")
@pytest.mark.clause("K1")
@pytest.mark.clause("M1")
@pytest.mark.clause("B1")
def test_a_dump_and_a_base_backup_from_before_a_destruction_yield_nothing_of_what_was_destroyed(
    site: Site, world: World, space: Workspace, tmp_path: Path, replicating: None
) -> None:
    travel = {"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "by train"}
    erased = world.booking(card={}, consents=[{}], services=[{}, travel])
    spared = world.booking(card={"captured_at": NOON + timedelta(hours=2)}, consents=[{}])
    world.visitors(3, device_settings="dark")
    for dataset in ("bookings", "visits"):
        through(space, dataset, KEY)
    before = stored(administer(site))
    assert readable(site, before, NOW).keys() == set(before)
    assert {value.table for value in before} == {
        "bookings", "booking_travellers", "booking_services", "payment_cards", "page_views",
    }  # fmt: skip

    copies = copied(site, tmp_path)

    # A person's erasure; then the deadlines of the first card's hour, and of the day's page views.
    number = erased.split("/")[0]
    client = int(number) + 40_000
    for scope in (f"client {client}", f"traveller {number}/1", f"guardian {number}/1"):
        steps.destroy_key(space, "subject", scope, "request 17", builders.run())
    later = CARD_DEADLINE + timedelta(hours=1)
    steps.keep_keys(builders.workspace(site, now=later), builders.run())
    spared_values = {v for v in rows_of(before, spared) if v.table != "payment_cards"}
    spared_values |= {v for v in before if v.table == "payment_cards"} - rows_of(before, card_of(world, erased))
    spared_values |= {v for v in before if v.table == "page_views"}
    gone = set(before) - spared_values
    assert {value.table for value in gone} == {"bookings", "booking_travellers", "booking_services", "payment_cards"}
    assert readable(site, before, later).keys() == spared_values

    from_dump, from_backup = copies.dumped(), copies.backed_up()
    for restored in (from_dump, from_backup):
        assert set(restored) == set(before)
        assert readable(site, restored, later).keys() == spared_values

    # And when the day's key has had its time too, nothing of the page views is left.
    last = NOW + timedelta(days=30)
    steps.keep_keys(builders.workspace(site, now=last), builders.run())
    assert {v.table for v in readable(site, from_backup, last)} == {
        "bookings",
        "booking_travellers",
        "booking_services",
    }


@pytest.mark.clause("K1")
@pytest.mark.clause("K2")
@pytest.mark.clause("K3")
@pytest.mark.usefixtures("replicating")
def test_a_dump_and_a_base_backup_from_before_the_purge_yield_no_card_to_todays_key_store(
    site: Site, world: World, space: Workspace, tmp_path: Path
) -> None:
    """What may stay does: digits that a client chose to save, and a number as evidence until its hold ends."""
    keeping = replace(space, policy=builders.keeping_numbers())
    for card, number in CARDS.items():
        row = {"card_id": card, "card_number": number, "save_to_profile": card == 7}
        world.booking(client_id=70 + card, card={"client_id": 70 + card, **row})
    through(space, "bookings", KEY)
    until = (CARD_DEADLINE + timedelta(days=10)).date()
    steps.place_hold(keeping, steps.HoldRequest("8", "fraud", "7", until, number_is_evidence=True), builders.run())
    steps.keep_cards(space, builders.run())
    copies = copied(site, tmp_path)
    then = replace(site, data_dir=sites.private_folder(tmp_path / "keys of before"))
    for path in (site.keyring_path, *site.data_dir.glob("keys.sqlite*")):
        shutil.copy(path, then.data_dir / path.name)

    late = builders.workspace(site, now=CARD_DEADLINE)
    steps.keep_cards(late, builders.run())
    steps.keep_keys(late, builders.run())
    steps.retain(late, builders.run())
    for restored in (copies.dumped(), copies.backed_up()):
        cards = [value for value in restored if value.table in ("payment_cards", "saved_cards", "card_holds")]
        with_todays = readable(site, cards, CARD_DEADLINE)
        assert {(value.table, text) for value, text in with_todays.items()} == {
            ("saved_cards", CARDS[7][:-4]), ("card_holds", CARDS[8]),
        }  # fmt: skip
        with_those_of_before = readable(then, cards, NOW)
        numbers = {text for value, text in with_those_of_before.items() if value.column == "card_number_encrypted"}
        assert numbers == set(CARDS.values())
        assert {"ASA LINDQVIST", "04/29"} <= set(with_those_of_before.values())
    over = CARD_DEADLINE + timedelta(days=12)
    steps.keep_cards(builders.workspace(site, now=over), builders.run())
    assert {value.table for value in readable(site, cards, over)} == {"saved_cards"}


CARDS = {7: "4000056655665556", 8: "5200828282828210", 9: "4242424242424242"}
"""Saved, held with its number, gone."""


@dataclass(frozen=True)
class Copies:
    """A dump and a base backup of our database as it was once."""

    site: Site
    dump: Path
    backup: Path

    def dumped(self) -> list[Value]:
        """Every ciphertext of the dump, restored beside the database that there is."""
        environment = {**self.site.libpq_environment("postgres"), "PGDATABASE": "restored"}
        run_sql(self.site, "CREATE DATABASE restored")
        try:
            subprocess.run(
                [
                    postgres.program("psql"), "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--file",
                    self.dump,
                ],
                env=environment, check=True, capture_output=True,
            )  # fmt: skip
            return stored(self.site.dsn("postgres").rsplit("/", 1)[0] + "/restored")
        finally:
            run_sql(self.site, "DROP DATABASE restored WITH (FORCE)")

    def backed_up(self) -> list[Value]:
        """Every ciphertext of the base backup, as a cluster of its own, which recovers from the log in it."""
        (port,) = sites.free_ports(1)
        twin = replace(self.site, data_dir=self.backup.parent, warehouse_port=port)
        cluster = postgres.Cluster(twin, "warehouse")
        assert list((self.backup / "pg_wal").iterdir())
        try:
            postgres.start(cluster)
            return stored(administer(twin))
        finally:
            postgres.stop(cluster)
            shutil.rmtree(self.backup.parent)


def copied(site: Site, folder: Path) -> Copies:
    """Take both; the cluster has to let its superuser replicate."""
    environment = {**site.libpq_environment("postgres"), "PGDATABASE": "governance"}
    copies = Copies(site, folder / "dump.sql", folder / "restored" / "warehouse")
    sites.private_folder(copies.backup.parent)
    subprocess.run([postgres.program("pg_dump"), "--file", copies.dump], env=environment, check=True)
    base = [postgres.program("pg_basebackup"), "--pgdata", copies.backup, "--wal-method=stream", "--checkpoint=fast"]
    subprocess.run(base, env=environment, check=True)
    return copies


def card_of(world: World, row_key: str) -> str:
    """Row key of a booking's card."""
    with closing(psycopg2.connect(world.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT card_id FROM wellbe.payment_cards WHERE booking_id = %s", (row_key.partition("/")[0],))
        ((card,),) = cursor.fetchall()
        return str(card)


def run_sql(site: Site, statement: str) -> None:
    with closing(psycopg2.connect(site.dsn("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


def destroy_client(space: Workspace, row_key: str) -> None:
    client = int(row_key.split("/", maxsplit=1)[0]) + 40_000
    steps.destroy_key(space, "subject", f"client {client}", "request 17", builders.run())


@pytest.mark.clause("M1")
def test_whoever_was_erased_is_not_pulled_again_and_rows_are_conserved(
    site: Site, world: World, space: Workspace
) -> None:
    world.crowd(11)
    erased = world.booking(card={}, travellers=[{}, {}])
    through(space, "bookings", KEY)
    assert terms(site)[-1]["accepted"] == 12
    destroy_client(space, erased)
    again = steps.pull(space, "bookings", KEY, builders.run("again"))
    pulled = entries(site, "pull", "outcome")[-1]
    assert pulled["conservation"]["dropped_by_tombstone"] == 1
    assert pulled["conservation"]["at_source"] == 12 == pulled["conservation"]["pulled"] + 1
    dropped = {name: n for name, n in pulled["counts"].items() if name.endswith("dropped_by_tombstone")}
    assert dropped == {
        "bookings_dropped_by_tombstone": 1, "booking_travellers_dropped_by_tombstone": 2,
        "booking_services_dropped_by_tombstone": 1, "payment_cards_dropped_by_tombstone": 1,
    }  # fmt: skip
    steps.validate(space, again, builders.run("again"))
    for table in ("bookings", "booking_travellers", "booking_services", "payment_cards"):
        keys = [row["row_key"] for row in content(site, "vault", table)]
        assert not [key for key in keys if key.startswith(erased.split("/")[0])], table
    assert terms(site, "validate")[-1]["dropped_by_tombstone"] == 1


@pytest.mark.clause("M1")
def test_a_traveller_who_was_erased_is_left_out_of_a_booking_that_stays(
    site: Site, world: World, space: Workspace
) -> None:
    key = world.booking(travellers=[{}, {"given_name": "Bo"}], consents=[{"traveller_no": 1}])
    number = key.split("/")[0]
    steps.pull(space, "bookings", KEY, builders.run())
    for scope in (f"traveller {number}/2", f"guardian {number}/1"):
        steps.destroy_key(space, "subject", scope, "request 18", builders.run())
    batch = steps.pull(space, "bookings", KEY, builders.run("again"))
    steps.validate(space, batch, builders.run("again"))
    (left,) = content(site, "vault", "booking_travellers")
    assert (left["row_key"], left["given_name_encrypted"]) == (f"{key}/1", "Åsa")
    assert left["guardian_name_encrypted"] is None
    assert [row["row_key"] for row in content(site, "vault", "bookings")] == [key]


@pytest.mark.clause("M1")
@pytest.mark.clause("E1")
def test_whoever_is_erased_between_validation_and_release_is_in_no_release(
    site: Site, world: World, space: Workspace
) -> None:
    world.crowd(10)
    erased = world.booking(services=[{"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "x"}])
    batch = steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    destroy_client(space, erased)
    steps.publish(space, batch, builders.run())
    told = terms(site)[-1]
    assert (told["published"], told["erased"], told["suppressed"]) == (10, 1, 0)
    assert builders.read(site, "SELECT row_key FROM vault.release_ledger WHERE decision = 'erased'") == [(erased,)]
    assert builders.read(site, "SELECT rows, suppressed FROM analytics.releases") == [(10, 0)]


@pytest.mark.clause("M1")
def test_a_row_that_comes_back_from_a_backup_is_erased_all_the_same(site: Site, world: World, space: Workspace) -> None:
    world.crowd(10)
    erased = world.booking()
    batch = steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    kept = builders.read(site, "SELECT to_jsonb(b)::text FROM records.bookings b WHERE row_key = %s", erased)
    destroy_client(space, erased)
    builders.read(site, "DELETE FROM vault.bookings WHERE row_key = %s", erased)
    builders.read(
        site,
        "INSERT INTO records.bookings OVERRIDING SYSTEM VALUE "
        "SELECT * FROM jsonb_populate_record(NULL::records.bookings, %s)",
        kept[0][0],
    )
    steps.publish(space, batch, builders.run())
    assert terms(site)[-1]["erased"] == 1


@pytest.mark.clause("B1")
def test_a_day_whose_key_of_views_is_gone_cannot_be_pulled_again(site: Site, world: World, space: Workspace) -> None:
    world.visitors(10)
    through(space, "visits", KEY)
    kept = timedelta(days=builders.POLICY.value("visit_days"))
    late = builders.workspace(site, now=NOW + kept)
    with pytest.raises(KeyDestroyedError, match=rf"the key visit_day of {KEY} is destroyed or past its deadline"):
        steps.pull(late, "visits", KEY, builders.run("late"))
    in_time = builders.workspace(site, now=NOW + kept - timedelta(seconds=1))
    steps.pull(in_time, "visits", KEY, builders.run("in time"))


def pseudonyms(site: Site) -> list[tuple[str, str]]:
    return builders.read(site, "SELECT device_token, visitor_token FROM records.page_views ORDER BY row_id")


def keys_of_visitors(site: Site) -> list[bool]:
    """Of each key that pseudonyms were made with whether it is destroyed, the living first."""
    with closing(KeyStore.open(str(site.key_store_path))) as store:
        return sorted(key.is_destroyed for key in store.named("visitor_day"))


@pytest.mark.clause("B2")
def test_pseudonyms_of_a_day_are_others_when_it_is_pulled_again_and_on_another_day(site: Site, world: World) -> None:
    world.view(device_id="device-1")
    world.view(device_id="device-1")
    world.day += timedelta(days=1)
    world.view(device_id="device-1")
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    found = set()
    for day in (DAY, DAY, DAY + timedelta(days=1)):
        steps.pull(space, "visits", day.isoformat(), builders.run())
        found |= set(pseudonyms(site))
    assert len(found) == 3
    assert len({token for pair in found for token in pair}) == 6


@pytest.mark.clause("B2")
def test_the_key_of_pseudonyms_dies_with_the_next_upkeep_once_its_day_has_landed(site: Site, world: World) -> None:
    world.visitors(10)
    space = builders.workspace(site)
    batch = steps.pull(space, "visits", KEY, builders.run())
    assert keys_of_visitors(site) == [False]
    assert steps.keep_keys(space, builders.run())["destroyed"] == 1
    assert keys_of_visitors(site) == [True]
    told = [entry for entry in entries(site) if entry["event"] == "destroy_keys"][-1]
    assert (told["reason"], told["counts"]) == ("all of its landing is there", {"destroyed visitor_day": 1})
    assert steps.keep_keys(space, builders.run())["destroyed"] == 0
    # Nothing that comes after needs it, and the day can be pulled again all the same.
    steps.publish(space, steps.validate(space, batch, builders.run()), builders.run())
    again = steps.pull(space, "visits", KEY, builders.run("again"))
    assert again.counts["page_views_pulled"] == 10
    assert keys_of_visitors(site) == [False, True]


@pytest.fixture
def half_landed(world: World, space: Workspace) -> Shard:
    """A day of which one of two shards has landed: the other one."""
    world.visitors(10)
    first, second = shards_of(space, 2)
    steps.pull(space, "visits", KEY, builders.run(), first)
    return second


def shards_of(space: Workspace, count: int) -> list[Shard]:
    """A plan of a day in so many shards."""
    (shard,) = steps.plan(space, "visits", KEY, builders.run())
    return [replace(shard, number=number, of=count) for number in range(count)]


@pytest.mark.clause("B2")
def test_the_key_of_pseudonyms_lives_while_a_part_of_its_landing_is_on_its_way_for_a_day_at_most(
    site: Site, space: Workspace, half_landed: Shard
) -> None:
    second = half_landed
    assert steps.keep_keys(space, builders.run())["destroyed"] == 0
    life = timedelta(days=builders.POLICY.value("visitor_key_days"))
    late = builders.workspace(site, now=NOW + life)
    with pytest.raises(KeyDestroyedError, match="a landing that is not whole at the deadline begins anew"):
        steps.pull(late, "visits", KEY, builders.run(), second)
    steps.pull(space, "visits", KEY, builders.run(), second)
    assert steps.keep_keys(space, builders.run())["destroyed"] == 1
    # A try of a shard that has landed needs no key.
    assert steps.pull(space, "visits", KEY, builders.run(), second).counts["page_views_pulled"] > 0


@pytest.mark.clause("B2")
def test_a_landing_whose_key_a_restored_store_has_lost_goes_no_further_lest_one_visitor_be_two(
    site: Site, space: Workspace, half_landed: Shard
) -> None:
    second = half_landed
    with closing(sqlite3.connect(site.key_store_path)) as store, store:
        store.execute("DROP TRIGGER data_keys_kept")
        store.execute("DELETE FROM data_keys WHERE kind = 'visitor_day'")
    with pytest.raises(KeyringError, match="has lost the visitor_day key of what has landed so far") as caught:
        steps.pull(space, "visits", KEY, builders.run(), second)
    assert "clear this partition's run from its task `plan` on" in str(caught.value)
    (whole,) = shards_of(space, 1)
    assert steps.pull(space, "visits", KEY, builders.run(), whole).counts["page_views_pulled"] == 10


# -- purposes ----------------------------------------------------------------------------------------------------------


@pytest.mark.clause("J2")
@pytest.mark.parametrize(
    ("role", "event", "purpose", "kind", "reason"),
    (
        ("publisher", "publish", "improve_services", "card_hour", "may not open with keys of kind card_hour"),
        ("publisher", "publish", "contract", "subject", "role publisher does not work for purpose contract"),
        ("validator", "validate", "validation", "subject", "may not open with keys of kind subject"),
        ("loader", "pull", "intake", "subject", "may not open with keys of kind subject"),
        ("sharer", "share", "contract", "fraud_token", "may not open with keys of kind fraud_token"),
    ),
)
def test_a_key_of_another_purpose_is_refused_and_the_refusal_logged(
    site: Site, world: World, space: Workspace, role: str, event: str, purpose: str, kind: str, reason: str
) -> None:
    world.booking(card={})
    steps.pull(space, "bookings", KEY, builders.run())
    ids = pa.array([value.sealed[1:17] for value in stored(administer(site)) if value.table == "payment_cards"])
    with (
        pytest.raises(KeyPurposeError, match=reason),
        space.hop(event, role, Batch("bookings", KEY, "r"), builders.run()) as hop,
    ):
        hop.keys(purpose).opening(kind, ids)
    refused = [e for e in entries(site, "use_key") if e["run"]["task_id"] == "test"]
    assert [(e["outcome"], e["clauses"], e["error"]["type"]) for e in refused] == [
        ("failed", ["J2"], "KeyPurposeError")
    ]
    assert reason in refused[0]["error"]["message"]
    assert entries(site, event, "outcome")[-1]["error"]["type"] == "KeyPurposeError"


@pytest.mark.clause("J2")
def test_a_purpose_does_not_open_a_value_that_was_put_under_a_key_of_another_kind(
    site: Site, world: World, space: Workspace
) -> None:
    """A card's ciphertext in a column that the publisher may open: its key is not handed out."""
    world.crowd(10)
    world.booking(card={})
    batch = steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    builders.read(
        site, "UPDATE vault.booking_services SET procedure_code_encrypted = "
        "(SELECT card_number_encrypted FROM vault.payment_cards LIMIT 1) WHERE service_no = 1"
    )  # fmt: skip
    with pytest.raises(KeyPurposeError, match="should be under keys of kind subject are under card_hour"):
        steps.publish(space, batch, builders.run())


@pytest.mark.clause("J1")
@pytest.mark.parametrize(
    "change",
    (
        "UPDATE vault.booking_services s SET procedure_code_encrypted = o.procedure_code_encrypted "
        "FROM vault.booking_services o WHERE o.row_key > s.row_key AND o.root_key <> s.root_key",
        "UPDATE vault.booking_services SET procedure_code_encrypted = itinerary_encrypted",
        "UPDATE vault.booking_services SET procedure_code_encrypted = "
        "substring(procedure_code_encrypted for length(procedure_code_encrypted) - 1)",
        "UPDATE vault.booking_services SET procedure_code_encrypted = "
        "set_bit(procedure_code_encrypted, 8 * length(procedure_code_encrypted) - 1, "
        "1 - get_bit(procedure_code_encrypted, 8 * length(procedure_code_encrypted) - 1))",
        "UPDATE vault.booking_services s SET procedure_code_encrypted = overlay(s.procedure_code_encrypted PLACING "
        "(SELECT substring(o.procedure_code_encrypted from 2 for 16) FROM vault.booking_services o "
        "WHERE o.root_key <> s.root_key LIMIT 1) FROM 2 FOR 16)",
    ),
    ids=("another row's", "another column's", "cut", "one bit", "another key's id"),
)
def test_a_ciphertext_that_was_changed_in_the_vault_is_refused_and_nothing_published(
    site: Site, world: World, space: Workspace, change: str
) -> None:
    world.crowd(12, services=[{"itinerary": "by train"}])
    batch = steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    builders.read(site, change)
    with pytest.raises(KeyringError, match=r"booking_services.procedure_code_encrypted: \d+ of 12 values cannot be"):
        steps.publish(space, batch, builders.run())
    assert builders.read(site, "SELECT count(*) FROM analytics.releases") == [(0,)]


# -- deadlines ---------------------------------------------------------------------------------------------------------


def card_keys(site: Site, now: datetime) -> list[tuple[str | None, bool]]:
    with closing(builders.key_service(site, now)) as service:
        return [(key.scope, key.is_destroyed) for key in service.store.named("card_hour")]


@pytest.mark.clause("K1")
def test_a_card_key_is_destroyed_at_its_deadline_and_the_log_says_which(
    site: Site, world: World, space: Workspace
) -> None:
    world.booking(card={"captured_at": NOON + timedelta(minutes=59)})
    world.booking(card={"captured_at": NOON + timedelta(minutes=60)})
    steps.pull(space, "bookings", KEY, builders.run())
    assert card_keys(site, NOW) == [("2026-03-10T11", False), ("2026-03-10T12", False)]
    early = CARD_DEADLINE - timedelta(seconds=1)
    assert steps.keep_keys(builders.workspace(site, now=early), builders.run())["destroyed"] == 0
    assert entries(site, "keep_keys", "outcome")[-1]["outcome"] == "passed"  # the key-encryption key was replaced
    at = builders.workspace(site, now=CARD_DEADLINE)
    assert steps.keep_keys(at, builders.run())["destroyed"] == 1
    assert card_keys(site, NOW) == [("2026-03-10T11", True), ("2026-03-10T12", False)]
    (told,) = entries(site, "destroy_keys")
    assert (told["outcome"], told["counts"], told["reason"]) == (
        "passed", {"destroyed card_hour": 1}, "its deadline had come",
    )  # fmt: skip
    assert told["alarms"] == []
    with closing(builders.key_service(site)) as service:
        assert told["keys"] == [service.id_of("card_hour", "2026-03-10T11").hex()]
        assert key_audit.audit(service, {bytes.fromhex(told["keys"][0])}).problems == []
    assert steps.keep_keys(at, builders.run()) == {"destroyed": 0, "rewrapped": 0}
    assert entries(site, "keep_keys", "outcome")[-1]["outcome"] == "no_data"


@pytest.mark.clause("K1")
def test_past_its_deadline_a_key_is_not_handed_out_though_nobody_has_destroyed_it(
    site: Site, world: World, space: Workspace
) -> None:
    world.booking(card={})
    steps.pull(space, "bookings", KEY, builders.run())
    cards = [value for value in stored(administer(site)) if value.table == "payment_cards"]
    ids = pa.array([value.sealed[1:17] for value in cards])
    for now, is_gone in ((CARD_DEADLINE - timedelta(seconds=1), False), (CARD_DEADLINE, True)):
        with closing(builders.key_service(site, now)) as service:
            found = service.acting("screener", "fraud_prevention", lambda _: None).opening("card_hour", ids)
            assert found.is_destroyed(ids).all() == is_gone
    assert card_keys(site, NOW) == [("2026-03-10T11", False)]


@pytest.mark.clause("K1")
@pytest.mark.parametrize(("missed", "is_breach"), ((timedelta(hours=2), False), (timedelta(hours=2, seconds=1), True),
                                                   (timedelta(days=3, hours=2), True)))  # fmt: skip
def test_runs_that_were_missed_are_made_up_for_and_a_breach_is_said(
    site: Site, world: World, space: Workspace, missed: timedelta, is_breach: bool
) -> None:
    world.booking(card={})
    steps.pull(space, "bookings", KEY, builders.run())
    steps.keep_keys(builders.workspace(site, now=CARD_DEADLINE + missed), builders.run())
    assert card_keys(site, NOW) == [("2026-03-10T11", True)]
    (told,) = [e for e in entries(site, "destroy_keys") if "destroyed card_hour" in e["counts"]]
    hours = (missed - timedelta(hours=2)) / timedelta(hours=1)
    breach = f"K1 1 keys of kind card_hour lived up to {hours:.1f} hours beyond their term"
    assert told["alarms"] == ([breach] if is_breach else [])


@pytest.mark.clause("K1")
def test_a_deadline_waits_for_no_database_and_what_was_destroyed_is_recorded_later(
    site: Site, world: World, space: Workspace
) -> None:
    world.booking(card={})
    steps.pull(space, "bookings", KEY, builders.run())
    nowhere = "postgresql://custodian:x@127.0.0.1:1/governance"
    away = builders.workspace(site, now=CARD_DEADLINE, warehouse_dsn=lambda _: nowhere)
    with pytest.raises(WarehouseUnavailableError):
        steps.keep_keys(away, builders.run())
    assert card_keys(site, NOW) == [("2026-03-10T11", True)]
    assert entries(site, "destroy_keys") == []
    with closing(builders.key_service(site)) as service:
        assert [p for p in key_audit.audit(service, ()).problems if "not in the run log yet" in p]
    steps.keep_keys(builders.workspace(site, now=CARD_DEADLINE + timedelta(hours=5)), builders.run())
    (told,) = entries(site, "destroy_keys")
    assert told["counts"] == {"destroyed card_hour": 1}
    assert told["alarms"] == []  # it was destroyed in time, and only recorded late


@pytest.mark.clause("K1")
@pytest.mark.parametrize("point", ("destroy", "append", "mark_recorded"))
def test_upkeep_that_is_killed_anywhere_leaves_one_destruction_and_one_entry_of_it(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    world.booking(card={})
    steps.pull(space, "bookings", KEY, builders.run())
    late = builders.workspace(site, now=CARD_DEADLINE)

    def kill(stop: faults.Stop) -> None:
        target: Any = Warehouse if point == "append" else KeyStore
        original = getattr(target, point)

        def wrapper(self: Any, *arguments: Any) -> Any:
            if point == "append" and arguments[0].attempt.event != "destroy_keys":
                return original(self, *arguments)
            result = None if point == "mark_recorded" else original(self, *arguments)
            stop()
            return result

        monkeypatch.setattr(target, point, wrapper)

    faults.killed(lambda: steps.keep_keys(late, builders.run()), kill)
    assert card_keys(site, NOW) == [("2026-03-10T11", True)]
    steps.keep_keys(late, builders.run("again"))
    told = {e["attempt_id"]: e for e in entries(site, "destroy_keys", "outcome")}
    assert [e["counts"] for e in told.values()] == [{"destroyed card_hour": 1}]
    assert len([t for t in history.attempts(entries(site)) if t.event == "destroy_keys"]) == 1
    with closing(builders.key_service(site)) as service:
        assert service.store.unrecorded() == []


@pytest.mark.clause("M1")
@pytest.mark.parametrize("point", ("destroy", "mark_recorded"))
def test_an_erasure_that_is_killed_is_finished_by_a_second_call_and_told_once(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    key = world.booking()
    steps.pull(space, "bookings", KEY, builders.run())

    def kill(stop: faults.Stop) -> None:
        original = getattr(KeyStore, point)

        def wrapper(self: Any, *arguments: Any) -> Any:
            if point == "mark_recorded":
                stop()
            original(self, *arguments)
            stop()

        monkeypatch.setattr(KeyStore, point, wrapper)

    faults.killed(lambda: destroy_client(space, key), kill)
    destroy_client(space, key)
    told = [t for t in history.attempts(entries(site)) if t.event == "destroy_keys"]
    assert sorted(t.outcome for t in told) == ["passed", "replayed"]
    assert [len(t.entry["keys"]) for t in told if t.outcome == "passed"] == [1]


@pytest.mark.clause("M1")
def test_an_old_copy_of_the_store_brings_nothing_back_for_longer_than_to_the_next_upkeep(
    site: Site, world: World, space: Workspace
) -> None:
    key = world.booking()
    steps.pull(space, "bookings", KEY, builders.run())
    old = site.key_store_path.read_bytes()
    destroy_client(space, key)
    site.key_store_path.write_bytes(old)
    (told,) = entries(site, "destroy_keys", "outcome")
    with closing(builders.key_service(site)) as service:
        problems = key_audit.audit(service, {bytes.fromhex(told["keys"][0])}).problems
        assert [p for p in problems if "1 keys that the run log calls destroyed are there" in p]
    assert steps.keep_keys(space, builders.run())["destroyed"] == 1
    again = entries(site, "keep_keys", "outcome")[-1]
    assert again["alarms"] == ["J1 1 destroyed keys had come back with an old key store"]
    assert entries(site, "destroy_keys", "outcome")[-1]["reason"].startswith("destroyed before, and brought back")
    with closing(builders.key_service(site)) as service:
        assert service.store.fetch([bytes.fromhex(told["keys"][0])]).popitem()[1].is_destroyed


@pytest.mark.clause("M1")
def test_upkeep_buries_a_key_that_was_made_and_destroyed_after_the_old_copy(
    site: Site, world: World, space: Workspace
) -> None:
    old = site.key_store_path.read_bytes()
    key = world.booking()
    steps.pull(space, "bookings", KEY, builders.run())
    destroy_client(space, key)
    site.key_store_path.write_bytes(old)
    steps.keep_keys(space, builders.run())
    # Nothing had come back yet, and of four keys only the reference key is there.
    (alarm,) = entries(site, "keep_keys", "outcome")[-1]["alarms"]
    assert alarm.startswith("J1 3 keys that the run log knows of are not in this store")
    steps.pull(space, "bookings", KEY, builders.run("again"))
    assert entries(site, "pull", "outcome")[-1]["conservation"]["dropped_by_tombstone"] == 1


@pytest.mark.clause("J1")
def test_the_key_encryption_key_is_replaced_when_it_is_past_its_life_and_not_before(
    site: Site, world: World, space: Workspace
) -> None:
    world.booking()
    steps.pull(space, "bookings", KEY, builders.run())
    ((version, made_at),) = Keyring.load(site.keyring_path).versions(KEY_ENCRYPTION).items()
    assert made_at == NOW
    for now, rewrapped in ((NOW + timedelta(days=3) - timedelta(seconds=1), False), (NOW + timedelta(days=3), True)):
        counts = steps.keep_keys(builders.workspace(site, now=now), builders.run())
        assert (counts["rewrapped"] > 0) == rewrapped
        newest = max(Keyring.load(site.keyring_path).versions(KEY_ENCRYPTION))
        assert newest == version + rewrapped
    assert content(site, "landing", "bookings")[0]["client_family_name_encrypted"] == "Lindqvist"


def test_there_is_nothing_to_destroy_where_there_is_no_such_key(site: Site, world: World, space: Workspace) -> None:
    for kind, scope in (("subject", "client 1"), ("card_hour", "2026-03-10T11"), ("reference", ""), ("other", "x")):
        with pytest.raises(InputError, match="no kind of key|there is no key of kind"):
            steps.destroy_key(space, kind, scope, "a test", builders.run())
    assert outcomes(site, "destroy_keys") == []
