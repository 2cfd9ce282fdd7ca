"""A site of the first version, with data in it, is brought to the key store; nothing is lost, and the old keys go."""

from __future__ import annotations

import hashlib
import os
import struct
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg2 import sql

import builders
import faults
from aftermath import content, entries, terms, through
from builders import World
from governance import stored_values
from governance.embedded import control
from governance.embedded.site import Site
from governance.encryption import EARLIER_FORMAT, FORMAT
from governance.errors import KeyringError
from governance.key import Key
from governance.keyring import EARLIER_KEYS, KEY_ENCRYPTION, Keyring
from governance.policy import load
from governance.run_log import Batch
from governance.stored_values import Place

pytestmark = [pytest.mark.pg, pytest.mark.clause("J1"), pytest.mark.clause("K1")]

TABLES = ("bookings", "booking_travellers", "booking_services", "payment_cards", "page_views")
LANDED = {name: table for dataset in load().datasets.values() for name, table in dataset.landed.items()}


def format_1(key: Key, table: str, column: str, row_key: str, text: str) -> bytes:
    """A value as the first version stored it."""
    header = b"\x01" + hashlib.sha256(f"{key.name}/{key.version}".encode()).digest()[:4]
    bound = b"".join(struct.pack(">H", len(part)) + part for part in map(str.encode, (table, column, row_key)))
    nonce = os.urandom(12)
    return header + nonce + AESGCM(key.secret).encrypt(nonce, text.encode(), header + bound)


def to_first_version(site: Site, now: datetime) -> Keyring:
    """Turn everything stored, and the keyring, into what the first version would have left; returns the keyring."""
    rows = {(zone, table): content(site, zone, table, now) for zone in ("landing", "vault") for table in TABLES}
    site.key_store_path.unlink()
    site.keyring_path.unlink()
    earlier = Keyring.create(site.keyring_path, {name: "of the first version" for name in EARLIER_KEYS})
    with (
        closing(psycopg2.connect(site.dsn("governance_owner"))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        for (zone, table), found in rows.items():
            for row in found:
                for column, text in row.items():
                    if column.endswith("_encrypted") and text is not None:
                        sealed = format_1(earlier.key("at_rest"), table, column, row["row_key"], text)
                        update(cursor, (zone, table, column), sealed, row["row_key"])
                    if column.endswith("_token") and text is not None:
                        update(cursor, (zone, table, column), f"v1:{text}", row["row_key"])
    return earlier


def update(cursor: Any, place: tuple[str, str, str], value: object, row_key: str) -> None:
    zone, table, column = place
    statement = sql.SQL("UPDATE {} SET {} = %s WHERE row_key = %s")
    cursor.execute(statement.format(sql.Identifier(zone, table), sql.Identifier(column)), (value, row_key))


def in_format(site: Site, version: bytes) -> int:
    """How many tables of the two zones hold a ciphertext of a format."""
    count = 0
    for zone in ("landing", "vault"):
        for table in TABLES:
            place = Place(zone, table, tuple(name for name in LANDED[table].columns if name.endswith("_encrypted")))
            count += bool(stored_values.partitions(site.dsn("governance_owner"), place, version))
    return count


class Earlier:
    """A world of yesterday and today's first hours by the machine's clock, as the first version stored it."""

    def __init__(self, site: Site, world: World) -> None:
        self.site, self.now = site, datetime.now(UTC)
        world.day = (self.now - timedelta(days=3)).date()
        self.first, self.second = world.day, world.day + timedelta(days=1)
        self.space = builders.workspace(site, now=self.now, first=self.first)
        world.crowd(10, card={}, consents=[{}])
        world.visitors(10, device_settings="dark", device_id="d")
        for dataset in ("bookings", "visits"):
            through(self.space, dataset, self.first.isoformat())
        world.day = self.second
        world.booking(card={"captured_at": self.now - timedelta(hours=1)})
        world.view()
        for dataset in ("bookings", "visits"):
            builders.steps.pull(self.space, dataset, self.second.isoformat(), builders.run())
        self.before = {
            (zone, table): content(site, zone, table, self.now) for zone in ("landing", "vault") for table in TABLES
        }
        self.keyring = to_first_version(site, self.now)
        assert in_format(site, EARLIER_FORMAT) == 10
        assert in_format(site, FORMAT) == 0

    def content(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """What is stored, opened by the keys of the key store."""
        found = {place: content(self.site, *place, datetime.now(UTC)) for place in self.before}
        return {place: [without_tokens(row) for row in rows] for place, rows in found.items()}


def without_tokens(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "client_token"}


def test_a_site_of_the_first_version_keeps_its_values_and_loses_its_keys(site: Site, world: World) -> None:
    earlier = Earlier(site, world)
    told: list[str] = []
    control.clusters_up(site.data_dir, told.append)
    assert [line for line in told if "rows are under keys of the key store" in line]
    assert in_format(site, EARLIER_FORMAT) == 0
    ring = Keyring.load(site.keyring_path)
    assert ring.versions(KEY_ENCRYPTION).keys() == {1}
    assert not any(ring.versions(name) for name in EARLIER_KEYS)
    expected = {place: [without_tokens(row) for row in rows] for place, rows in earlier.before.items()}
    views = [name for name in LANDED["page_views"].columns if name.endswith("_token")]
    found = earlier.content()
    for place in found:
        for row, old in zip(found[place], expected[place], strict=True):
            if place[1] == "page_views":
                assert all(row.pop(name) == f"v1:{old.pop(name)}" for name in views if old[name])
    assert found == expected
    clients = builders.read(
        site,
        "SELECT client_id, client_token FROM vault.bookings UNION SELECT client_id, client_token FROM landing.bookings",
    )
    with closing(builders.key_service(site, datetime.now(UTC))) as service:
        assert dict(clients) == {client: service.id_of("subject", f"client {client}").hex() for client, _ in clients}
    written = [e for e in entries(site, "reencrypt", "outcome") if e["outcome"] == "passed"]
    assert {name for e in written for name in e["counts"]} == {
        f"{zone}.{table} {what}"
        for zone in ("landing", "vault")
        for table in TABLES
        for what in ("rows", "values_past_term")
    }
    # The pipelines go on as if nothing had been.
    batch = builders.steps.validate(
        earlier.space, Batch("bookings", earlier.second.isoformat(), "test"), builders.run()
    )
    builders.steps.publish(earlier.space, batch, builders.run())
    assert terms(site)[-1]["suppressed"] == 1
    before = builders.read(site, "SELECT count(*) FROM audit.run_log WHERE dataset <> 'site'")
    control.clusters_up(site.data_dir)  # a second start finds nothing to do
    assert builders.read(site, "SELECT count(*) FROM audit.run_log WHERE dataset <> 'site'") == before


def test_a_card_past_its_term_is_not_brought_over(site: Site, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = Earlier(site, world)
    builders.read(site, "UPDATE vault.payment_cards SET captured_at = captured_at - interval '20 days'")
    control.clusters_up(site.data_dir)
    cards = earlier.content()["vault", "payment_cards"]
    assert len(cards) == 10
    assert all(row["card_number_encrypted"] is row["card_holder_encrypted"] is None for row in cards)
    counts = [e["counts"] for e in entries(site, "reencrypt", "outcome")]
    assert sum(c.get("vault.payment_cards values_past_term", 0) for c in counts) == 30


@pytest.mark.parametrize("turn", (1, 4, 9))
def test_a_migration_that_is_killed_goes_on_at_the_next_start(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    earlier = Earlier(site, world)
    original, calls = stored_values._store, iter(range(1, 100))

    def kill(stop: faults.Stop) -> None:
        def wrapper(*arguments: Any) -> None:
            original(*arguments)
            if next(calls) == turn:
                stop()

        monkeypatch.setattr(stored_values, "_store", wrapper)

    faults.killed(lambda: control.clusters_up(site.data_dir), kill)
    assert Keyring.load(site.keyring_path).versions("at_rest")  # as long as they are needed
    assert in_format(site, EARLIER_FORMAT) > 0
    control.clusters_up(site.data_dir)
    assert in_format(site, EARLIER_FORMAT) == 0
    names = {row["client_family_name_encrypted"] for row in earlier.content()["vault", "bookings"]}
    assert names == {"Lindqvist"}


def test_values_that_the_old_keys_do_not_open_stop_the_start_and_keep_the_keys(site: Site, world: World) -> None:
    Earlier(site, world)
    builders.read(site, "UPDATE vault.bookings SET notes_encrypted = client_email_encrypted")
    with pytest.raises(KeyringError, match=r"bookings.notes_encrypted: 10 of 10 values cannot be decrypted"):
        control.clusters_up(site.data_dir)
    assert Keyring.load(site.keyring_path).versions("at_rest")
    assert entries(site, "reencrypt", "outcome")[-1]["outcome"] == "failed"


@pytest.mark.parametrize("lost", ("keyring", "store", "both"))
def test_a_lost_keyring_or_store_is_an_error_at_the_start_and_never_made_anew(
    site: Site, world: World, lost: str
) -> None:
    world.booking()
    builders.steps.pull(builders.workspace(site), "bookings", builders.DAY.isoformat(), builders.run())
    kept = {path: path.read_bytes() for path in (site.keyring_path, site.key_store_path)}
    for path in kept:
        if lost in ("both", "keyring" if path == site.keyring_path else "store"):
            path.unlink()
    left = sorted(path.name for path in kept if path.exists())
    with pytest.raises(KeyringError, match="there is no such file. Restore it"):
        control.clusters_up(site.data_dir)
    assert sorted(path.name for path in kept if path.exists()) == left
    for path, old in kept.items():
        path.write_bytes(old)
        path.chmod(0o600)
    control.clusters_up(site.data_dir)
