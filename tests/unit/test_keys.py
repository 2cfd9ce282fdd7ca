"""The keyring file and the keys in it (policy clause J1)."""

from __future__ import annotations

import base64
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from governance import keys
from governance.encryption import NONCE_BYTES, Column, decrypt, encrypt
from governance.errors import KeyringError
from governance.key import Key
from governance.keys import STANDARD_KEYS, Keyring, Keys, fresh_nonces

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def content(path: Path) -> dict[str, list[dict[str, object]]]:
    loaded: dict[str, list[dict[str, object]]] = json.loads(path.read_text())
    return loaded


def rewrite(path: Path, change: dict[str, object]) -> None:
    whole = content(path)
    whole["keys"][0] = {**whole["keys"][0], **change}
    path.write_text(json.dumps(whole))


@pytest.mark.clause("J1")
def test_a_new_keyring_has_every_standard_key_and_only_its_owner_can_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        made = Keyring.create(path, now=NOW)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry["created_at"] for entry in content(path)["keys"]] == ["2026-11-23T09:00:00+00:00"] * len(
        STANDARD_KEYS
    )
    loaded: Keys = Keyring.load(path)
    for name in STANDARD_KEYS:
        assert loaded.key(name) == made.key(name)
        assert len(loaded.key(name).secret) == 32
    assert len({loaded.key(name).secret for name in STANDARD_KEYS}) == len(STANDARD_KEYS)
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]  # no draft is left


def test_without_a_clock_the_real_one_is_used(path: Path) -> None:
    Keyring.create(path, {"a": "for a test"})
    made_at = datetime.fromisoformat(str(content(path)["keys"][0]["created_at"]))
    assert abs((datetime.now(UTC) - made_at).total_seconds()) < 60


@pytest.mark.clause("J1")
def test_a_keyring_that_is_there_is_never_replaced_by_a_new_one(path: Path) -> None:
    Keyring.create(path)
    before = path.read_bytes()
    with pytest.raises(KeyringError, match="there is one already"):
        Keyring.create(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]


@pytest.mark.clause("J1")
def test_a_missing_keyring_is_an_error_and_not_a_new_keyring(path: Path) -> None:
    with pytest.raises(KeyringError, match="no such file. Restore it"):
        Keyring.load(path)
    assert not path.exists()


@pytest.mark.clause("J1")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o620, 0o602, 0o644, 0o777])
def test_a_keyring_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    Keyring.create(path)
    path.chmod(mode)
    with pytest.raises(KeyringError, match=f"mode {mode:04o} lets others"):
        Keyring.load(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_keyring_of_its_owner_alone_is_loaded(path: Path, mode: int) -> None:
    Keyring.create(path)
    path.chmod(mode)
    assert Keyring.load(path).key("at_rest").version == 1


def test_a_folder_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(KeyringError, match="cannot be read"):
        Keyring.load(path)


def test_a_folder_that_is_missing_is_refused(path: Path) -> None:
    nowhere = path.parent / "nowhere" / "keyring.json"
    with pytest.raises(KeyringError, match="cannot be written"):
        Keyring.create(nowhere)
    with pytest.raises(KeyringError, match="folder cannot be opened"):
        Keyring.add_version(nowhere, "at_rest")


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"version": "1"},
        {"version": True},
        {"purpose": None},
        {"created_at": 0},
        {"key": 5},
        {"key": "###"},
        {"key": base64.b64encode(b"too short").decode()},
    ],
)
def test_a_malformed_key_is_refused_without_being_shown(path: Path, change: dict[str, object]) -> None:
    Keyring.create(path)
    rewrite(path, change)
    with pytest.raises(KeyringError, match="not a sound governance-keyring/1 file") as refusal:
        Keyring.load(path)
    assert refusal.value.__suppress_context__
    assert str(content(path)["keys"][1]["key"]) not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"x"', "{}", '{"format": "other/1", "keys": []}', "\udcff"])
def test_a_file_that_is_no_keyring_is_refused(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(KeyringError, match="not a sound"):
        Keyring.load(path)


def test_a_key_without_one_of_its_fields_is_refused(path: Path) -> None:
    Keyring.create(path)
    whole = content(path)
    del whole["keys"][0]["purpose"]
    path.write_text(json.dumps(whole))
    with pytest.raises(KeyringError, match="not a sound"):
        Keyring.load(path)


def test_two_keys_of_one_id_are_refused(path: Path) -> None:
    Keyring.create(path)
    whole = content(path)
    path.write_text(json.dumps({**whole, "keys": [whole["keys"][0], whole["keys"][0]]}))
    with pytest.raises(KeyringError, match="share an id"):
        Keyring.load(path)


@pytest.mark.clause("J1")
def test_a_new_version_becomes_the_current_one_and_the_old_one_still_decrypts(path: Path) -> None:
    first = Keyring.create(path)
    place, rows = Column("clients", "family_name"), pa.array([1], pa.int64())
    old = encrypt(pa.array(["Åsa"]), rows, key=first.key("at_rest"), column=place, nonces=fresh_nonces)
    second = Keyring.add_version(path, "at_rest", now=NOW)
    assert second.key("at_rest").version == 2
    assert second.key("at_rest") != first.key("at_rest")
    assert second.key("at_rest", 1) == first.key("at_rest")
    assert second.key("visits") == first.key("visits")
    assert decrypt(old, rows, key_of=Keyring.load(path).by_id, column=place).to_pylist() == ["Åsa"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert content(path)["keys"][-1]["purpose"] == STANDARD_KEYS["at_rest"]


def test_a_key_of_a_new_name_needs_a_purpose(path: Path) -> None:
    Keyring.create(path)
    with pytest.raises(KeyringError, match="no key named fraud; give its purpose"):
        Keyring.add_version(path, "fraud")
    assert Keyring.add_version(path, "fraud", "fraud tokens").key("fraud").version == 1
    assert Keyring.add_version(path, "fraud", "other words").key("fraud").version == 2


def test_two_who_add_a_version_at_once_lose_nothing(path: Path) -> None:
    Keyring.create(path)
    workers = [threading.Thread(target=Keyring.add_version, args=(path, "at_rest")) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert Keyring.load(path).key("at_rest").version == 9


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Keyring.create(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys.os, "fsync", full)
    with pytest.raises(KeyringError, match="cannot be written \\(No space left"):
        Keyring.add_version(path, "at_rest")
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]


def test_an_unknown_key_is_named_and_its_absence_explained(path: Path) -> None:
    ring = Keyring.create(path)
    with pytest.raises(KeyringError, match="no key nothing; restore"):
        ring.key("nothing")
    with pytest.raises(KeyringError, match="no key at_rest/2; restore"):
        ring.key("at_rest", 2)
    with pytest.raises(KeyringError, match="no key with id 00000000; restore"):
        ring.by_id(bytes(4))


@pytest.mark.clause("B2")
def test_the_key_of_a_day_is_its_own_and_the_same_when_asked_again(path: Path) -> None:
    ring = Keyring.create(path)
    today, tomorrow = (ring.period_key("visits", day) for day in ("2026-11-23", "2026-11-24"))
    assert today == Keyring.load(path).period_key("visits", "2026-11-23")
    assert len({today.secret, tomorrow.secret, ring.key("visits").secret}) == 3
    assert len({today.id, tomorrow.id, ring.key("visits").id}) == 3
    assert ring.period_key("at_rest", "2026-11-23").secret != today.secret


@pytest.mark.clause("B2")
def test_a_day_can_be_repeated_under_the_version_that_it_had(path: Path) -> None:
    before = Keyring.create(path).period_key("visits", "2026-11-23")
    after = Keyring.add_version(path, "visits")
    assert after.period_key("visits", "2026-11-23") != before
    assert after.period_key("visits", "2026-11-23", version=1) == before


def test_a_period_key_is_hkdf_as_rfc_5869_writes_it() -> None:
    import hashlib
    import hmac

    parent = Key("visits", 3, bytes(range(32)))
    extracted = hmac.digest(bytes(32), parent.secret, hashlib.sha256)
    expanded = hmac.digest(extracted, b"governance period key 1\0visits/3\x002026-11-23\x01", hashlib.sha256)
    assert parent.for_period("2026-11-23").secret == expanded


@pytest.mark.clause("J1")
def test_neither_key_nor_keyring_shows_a_secret(path: Path) -> None:
    ring = Keyring.create(path)
    key = ring.key("at_rest")
    for text in (repr(ring), str(ring), repr(key), f"{key}", repr(ring._entries)):
        assert repr(key.secret)[2:-1] not in text
        assert key.secret.hex() not in text
        assert base64.b64encode(key.secret).decode() not in text


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(KeyringError, match="a key has 32 bytes, this one 16"):
        Key("short", 1, bytes(16))


def test_fresh_nonces_are_as_many_as_asked_for_and_differ() -> None:
    assert fresh_nonces(0) == b""
    drawn = fresh_nonces(1000)
    assert len({drawn[at : at + NONCE_BYTES] for at in range(0, len(drawn), NONCE_BYTES)}) == 1000
