"""A site as the first version of this project left it: ciphertexts of format 1 under one key of the keyring."""

from __future__ import annotations

import hashlib
import os
import struct
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg2 import sql

import builders
from aftermath import content, through
from builders import World
from governance import stored_values
from governance.embedded.site import Site
from governance.encryption import EARLIER_FORMAT, FORMAT
from governance.key import Key
from governance.keyring import EARLIER_KEYS, Keyring
from governance.policy import load
from governance.stored_values import Place

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
