"""What `docs/keys.md` says is enough: a value is opened with `cryptography`, the standard library and the page."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
import struct
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import builders
from builders import DAY, World
from governance import steps
from governance.embedded.site import Site
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("J1")]


class Reader:
    """Somebody with the keyring file, the store file and the page, and none of our code."""

    def __init__(self, keyring: Path, store: Path) -> None:
        entries = json.loads(keyring.read_text())["keys"]
        self.keys = {e["version"]: base64.b64decode(e["key"]) for e in entries if e["name"] == "key_encryption"}
        self.store = sqlite3.connect(store)
        ((self.store_id,),) = self.store.execute("SELECT store_id FROM store")
        for version, check in self.store.execute("SELECT version, check_value FROM wrapping_keys"):
            assert self.mac(self.keys[version], b"governance key check 1\0" + self.store_id)[:16] == check

    @staticmethod
    def mac(key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, hashlib.sha256)

    def data_key(self, key_id: bytes) -> bytes:
        query = "SELECT kind, created_at, expires_at, version, wrapped FROM data_keys WHERE id = ?"
        ((kind, created, expires, version, wrapped),) = self.store.execute(query, (key_id,))
        wrapping = self.mac(self.keys[version], b"governance wrapping key 1\0" + self.store_id)
        dates = struct.pack(">qq", created, -1 if expires is None else expires)
        bound = b"governance wrapped key 1\0" + key_id + dates + kind.encode()
        return AESGCM(wrapping).decrypt(wrapped[:12], wrapped[12:], bound)

    def key_id(self, kind: str, scope: str) -> bytes:
        return self.mac(self.data_key(bytes(16)), kind.encode() + b"\0" + scope.encode())[:16]

    def value(self, stored: bytes, table: str, column: str, row_key: str) -> str:
        assert stored[0] == 2
        bound = b"".join(struct.pack(">H", len(part)) + part for part in map(str.encode, (table, column, row_key)))
        opened = AESGCM(self.data_key(stored[1:17])).decrypt(stored[17:29], stored[29:], stored[:17] + bound)
        return opened.decode()


def test_values_of_every_kind_are_opened_by_the_page_alone(site: Site, world: World, space: Workspace) -> None:
    booking = world.booking(card={}, consents=[{}], services=[{"itinerary": "by train"}])
    view = world.view(device_settings="dark")
    for dataset in ("bookings", "visits"):
        steps.pull(space, dataset, DAY.isoformat(), builders.run())
    number = int(booking.split("/")[0])
    reader = Reader(site.keyring_path, site.key_store_path)
    scopes = {
        ("bookings", "client_family_name_encrypted"): ("subject", f"client {number + 40_000}", "Lindqvist"),
        ("booking_travellers", "birth_date_encrypted"): ("subject", f"traveller {number}/1", "1980-05-17"),
        ("booking_travellers", "guardian_name_encrypted"): ("subject", f"guardian {number}/1", "Karin Ek"),
        ("booking_services", "itinerary_encrypted"): ("subject", f"client {number + 40_000}", "by train"),
        ("payment_cards", "card_number_encrypted"): ("card_hour", "2026-03-10T11", "4242424242424242"),
        ("page_views", "device_settings_encrypted"): ("visit_day", DAY.isoformat(), "dark"),
    }
    for (table, column), (kind, scope, text) in scopes.items():
        ((row_key, stored),) = builders.read(site, f"SELECT row_key, {column} FROM landing.{table}")
        stored = bytes(stored)
        assert reader.value(stored, table, column, row_key) == text
        assert stored[1:17] == reader.key_id(kind, scope)
        with pytest.raises(InvalidTag):
            reader.value(stored, table, column, row_key + "0")
    tokens = builders.read(site, "SELECT client_token FROM landing.bookings")
    assert tokens == [(reader.key_id("subject", f"client {number + 40_000}").hex(),)]
    ((row_key, token),) = builders.read(site, "SELECT row_key, session_token FROM landing.page_views")
    ((landing,),) = builders.read(site, "SELECT pull_attempt FROM control.batches WHERE dataset = 'visits'")
    day_key = reader.data_key(reader.key_id("visitor_day", f"{DAY.isoformat()}/{landing}"))
    assert row_key == view
    assert token == reader.mac(day_key, b"governance token 1\0session\0s" + f"session-{view}".encode())[:16].hex()
