"""The keyring file and the keys in it (policy clause J1)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

import faults
from governance import keyring as edge
from governance.errors import KeyringError, KeyStoreUnavailableError
from governance.key import DataKey, Key
from governance.keyring import EARLIER_KEYS, KEY_ENCRYPTION, STANDARD_KEYS, Keyring

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
EARLIER = dict.fromkeys(EARLIER_KEYS, "of the first version")


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


def at_once(acts: list[Callable[[], object]]) -> None:
    """Do all of them in threads of their own."""
    workers = [threading.Thread(target=act) for act in acts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


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
    loaded = Keyring.load(path)
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
    assert Keyring.load(path).key(KEY_ENCRYPTION).version == 1


def test_a_folder_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(KeyringError, match="cannot be read"):
        Keyring.load(path)


def test_a_pipe_in_place_of_the_file_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyringError, match="cannot be read .not a regular file"):
        Keyring.load(path)


def test_a_folder_that_is_missing_is_refused(path: Path) -> None:
    nowhere = path.parent / "nowhere" / "keyring.json"
    with pytest.raises(KeyringError, match="folder cannot be opened"):
        Keyring.create(nowhere)
    with pytest.raises(KeyringError, match="folder cannot be opened"):
        Keyring.add_version(nowhere, KEY_ENCRYPTION)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"version": "1"},
        {"version": True},
        {"purpose": None},
        {"created_at": 0},
        {"created_at": "yesterday"},
        {"created_at": "2026-11-23T09:00:00"},
        {"key": 5},
        {"key": "###"},
        {"key": base64.b64encode(b"too short").decode()},
    ],
)
def test_a_malformed_key_is_refused_without_being_shown(path: Path, change: dict[str, object]) -> None:
    Keyring.create(path, STANDARD_KEYS | EARLIER)
    rewrite(path, change)
    with pytest.raises(KeyringError, match="not a sound governance-keyring/1 file") as refusal:
        Keyring.load(path)
    assert refusal.value.__suppress_context__
    assert str(content(path)["keys"][1]["key"]) not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '"x"', "{}", '{"format": "other/1", "keys": []}', "\udcff", "[" * 100_000]
)
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
    with pytest.raises(KeyringError, match="a version of a key is in it twice; restore it from its backup"):
        Keyring.load(path)


def test_two_names_of_one_id_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Key, "id", b"same")
    with pytest.raises(KeyringError, match="two keys share an id; choose another name"):
        Keyring.create(path, STANDARD_KEYS | EARLIER)


@pytest.mark.clause("J1")
def test_a_new_version_becomes_the_current_one_and_the_old_one_is_still_found(path: Path) -> None:
    first = Keyring.create(path, STANDARD_KEYS | EARLIER, now=NOW)
    second = Keyring.add_version(path, KEY_ENCRYPTION, now=NOW + timedelta(days=3))
    assert second.key(KEY_ENCRYPTION).version == 2
    assert second.key(KEY_ENCRYPTION) != first.key(KEY_ENCRYPTION)
    assert second.key(KEY_ENCRYPTION, 1) == first.key(KEY_ENCRYPTION)
    assert second.key("at_rest") == first.key("at_rest")
    assert Keyring.load(path) == second
    assert path.stat().st_mode & 0o777 == 0o600
    assert content(path)["keys"][-1]["purpose"] == STANDARD_KEYS[KEY_ENCRYPTION]


def test_each_version_says_when_it_was_made(path: Path) -> None:
    Keyring.create(path, now=NOW)
    ring = Keyring.add_version(path, KEY_ENCRYPTION, now=NOW + timedelta(days=3))
    assert ring.versions(KEY_ENCRYPTION) == {1: NOW, 2: NOW + timedelta(days=3)}
    assert all(made_at.tzinfo is not None for made_at in ring.versions(KEY_ENCRYPTION).values())
    assert ring.versions("nothing") == {}


def test_a_key_of_the_first_version_is_found_by_the_id_that_its_values_carry(path: Path) -> None:
    ring = Keyring.create(path, STANDARD_KEYS | EARLIER)
    for name in EARLIER_KEYS:
        assert ring.by_id(hashlib.sha256(f"{name}/1".encode()).digest()[:4]) == ring.key(name)


def test_a_key_of_a_new_name_needs_a_purpose(path: Path) -> None:
    Keyring.create(path)
    with pytest.raises(KeyringError, match="no key named fraud; give its purpose"):
        Keyring.add_version(path, "fraud")
    assert Keyring.add_version(path, "fraud", "fraud tokens").key("fraud").version == 1
    assert Keyring.add_version(path, "fraud", "other words").key("fraud").version == 2


def test_two_who_add_a_version_at_once_lose_nothing(path: Path) -> None:
    Keyring.create(path)
    at_once([partial(Keyring.add_version, path, KEY_ENCRYPTION)] * 8)
    assert Keyring.load(path).key(KEY_ENCRYPTION).version == 9


# -- taking keys out ---------------------------------------------------------------------------------------------------


@pytest.mark.clause("J1")
def test_what_is_taken_out_is_gone_from_the_file_and_the_rest_stays(path: Path) -> None:
    before = Keyring.create(path, STANDARD_KEYS | EARLIER)
    Keyring.add_version(path, "at_rest")
    encoded = base64.b64encode(before.key("at_rest").secret)
    assert encoded in path.read_bytes()
    after = Keyring.remove(path, [("at_rest", 1), ("visits", 1), ("visits", 2), ("nothing", 1)])
    assert encoded not in path.read_bytes()
    assert after.versions("at_rest").keys() == {2}
    assert after.versions("visits") == {}
    assert after.key(KEY_ENCRYPTION) == before.key(KEY_ENCRYPTION)
    assert after.key("pseudonyms") == before.key("pseudonyms")
    assert Keyring.load(path) == after
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]


@pytest.mark.parametrize("names", [[], [(KEY_ENCRYPTION, 2)], [("nothing", 1)]])
def test_where_there_is_nothing_to_take_out_the_file_is_not_touched(path: Path, names: list[tuple[str, int]]) -> None:
    made = Keyring.create(path)
    before, identity = path.read_bytes(), path.stat()
    assert Keyring.remove(path, names) == made
    after = path.stat()
    assert path.read_bytes() == before
    assert (after.st_ino, after.st_mtime_ns) == (identity.st_ino, identity.st_mtime_ns)


def test_those_who_take_out_and_add_at_once_undo_nothing_of_each_other(path: Path) -> None:
    Keyring.create(path, STANDARD_KEYS | EARLIER)
    removals = [partial(Keyring.remove, path, [(name, 1)]) for name in EARLIER_KEYS]
    at_once([*removals, *[partial(Keyring.add_version, path, KEY_ENCRYPTION)] * 4])
    after = Keyring.load(path)
    assert after.versions(KEY_ENCRYPTION).keys() == {1, 2, 3, 4, 5}
    assert not any(after.versions(name) for name in EARLIER_KEYS)


def test_a_keyring_that_is_not_sound_is_not_written_over_by_taking_out(path: Path) -> None:
    with pytest.raises(KeyringError, match="no such file"):
        Keyring.remove(path, [(KEY_ENCRYPTION, 1)])
    path.write_text("{")
    path.chmod(0o600)
    with pytest.raises(KeyringError, match="not a sound"):
        Keyring.remove(path, [(KEY_ENCRYPTION, 1)])
    assert path.read_text() == "{"


# -- from a connection -------------------------------------------------------------------------------------------------


def test_the_text_of_the_file_may_come_from_elsewhere_and_holds_the_same_keys(path: Path) -> None:
    made = Keyring.create(path, now=NOW)
    parsed = Keyring.parse(path.read_text(), "wellbe_keyring")
    assert parsed.key(KEY_ENCRYPTION) == made.key(KEY_ENCRYPTION)
    assert parsed.versions(KEY_ENCRYPTION) == {1: NOW}
    assert parsed.path is None


def test_a_keyring_says_where_it_is_so_that_people_can_mend_it(path: Path) -> None:
    made = Keyring.create(path)
    assert made.place == f"keyring {path}"
    parsed = Keyring.parse(path.read_text(), "wellbe_keyring")
    assert parsed.place == "the keyring of the Airflow connection"
    with pytest.raises(KeyringError, match=f"^keyring {path}: no key nothing; restore"):
        made.key("nothing")
    with pytest.raises(KeyringError, match="^the keyring of the Airflow connection: no key nothing; restore"):
        parsed.key("nothing")


@pytest.mark.parametrize("spoil", [lambda text: text[:-3], lambda text: "", lambda text: text.replace("/1", "/2", 1)])
def test_a_text_that_is_no_keyring_is_refused_without_being_shown(path: Path, spoil: Callable[[str], str]) -> None:
    secret = base64.b64encode(Keyring.create(path).key(KEY_ENCRYPTION).secret).decode()
    with pytest.raises(KeyringError, match="keyring wellbe_keyring: not a sound") as refusal:
        Keyring.parse(spoil(path.read_text()), "wellbe_keyring")
    assert refusal.value.__suppress_context__
    assert secret not in str(refusal.value)


# -- when something goes wrong -----------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Keyring.create(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(edge.os, "fsync", full)
    with pytest.raises(KeyStoreUnavailableError, match="the disk is full; it is as it was"):
        Keyring.add_version(path, KEY_ENCRYPTION)
    with pytest.raises(KeyStoreUnavailableError, match="the disk is full; it is as it was"):
        Keyring.remove(path, [(KEY_ENCRYPTION, 1)])
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]


@pytest.mark.parametrize("act", ["remove", "add_version"])
@pytest.mark.clause("J1")
def test_a_kill_between_writing_and_renaming_leaves_one_draft_that_the_next_write_takes_away(
    path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    Keyring.create(path, now=NOW)
    Keyring.add_version(path, KEY_ENCRYPTION)
    acts: dict[str, Callable[[], Keyring]] = {
        "remove": lambda: Keyring.remove(path, [(KEY_ENCRYPTION, 1)]),
        "add_version": lambda: Keyring.add_version(path, KEY_ENCRYPTION),
    }
    for _ in range(2):
        faults.killed(
            acts[act], lambda stop: monkeypatch.setattr(edge.Path, "replace", lambda *_: stop(), raising=False)
        )
        assert [found.name for found in edge.drafts(path)] == [".keyring.json.draft"]
    Keyring.remove(path, [(KEY_ENCRYPTION, 1)])
    assert [found.name for found in path.parent.iterdir()] == ["keyring.json"]


@pytest.mark.clause("J1")
def test_drafts_of_whatever_version_are_swept_and_nothing_else_is(path: Path) -> None:
    Keyring.create(path)
    kept = ["keyring.json", ".keyring.json.bak", ".other.json.draft", "keyring.json.draft", ".keyring.json.0123"]
    left = [".keyring.json.draft", ".keyring.json.0123456789abcdef", ".keyring.json.draft-journal"]
    for name in {*kept, *left} - {"keyring.json"}:
        path.with_name(name).write_text("x")
    assert sorted(found.name for found in edge.drafts(path)) == sorted(left)
    edge.sweep(path)
    assert sorted(found.name for found in path.parent.iterdir()) == sorted(kept)


@pytest.mark.clause("J1")
def test_behind_a_link_the_file_itself_is_replaced_and_keeps_no_old_key(path: Path, tmp_path: Path) -> None:
    home, link = tmp_path / "elsewhere" / "ring.json", tmp_path / "link.json"
    home.parent.mkdir()
    link.symlink_to(home)
    old = Keyring.create(link).key(KEY_ENCRYPTION).secret
    Keyring.add_version(link, KEY_ENCRYPTION)
    Keyring.remove(link, [(KEY_ENCRYPTION, 1)])
    assert link.is_symlink()
    assert (
        Keyring.load(link).versions(KEY_ENCRYPTION).keys() == {2} == Keyring.load(home).versions(KEY_ENCRYPTION).keys()
    )
    assert base64.b64encode(old).decode() not in home.read_text()
    assert sorted(found.name for found in home.parent.iterdir()) == ["ring.json"]


def test_an_unknown_key_is_named_and_its_absence_explained(path: Path) -> None:
    ring = Keyring.create(path)
    with pytest.raises(KeyringError, match="no key nothing; restore"):
        ring.key("nothing")
    with pytest.raises(KeyringError, match="no key key_encryption/2; restore"):
        ring.key(KEY_ENCRYPTION, 2)
    with pytest.raises(KeyringError, match="no key with id 00000000; restore"):
        ring.by_id(bytes(4))


# -- secrets stay where they are ---------------------------------------------------------------------------------------


@pytest.mark.clause("J1")
def test_neither_key_nor_keyring_shows_a_secret(path: Path) -> None:
    ring = Keyring.create(path)
    key = ring.key(KEY_ENCRYPTION)
    data = DataKey(os.urandom(16), "subject", key.secret)
    for text in (repr(ring), str(ring), repr(key), f"{key}", repr(ring._entries), repr(data), f"{data}"):
        assert repr(key.secret)[2:-1] not in text
        assert key.secret.hex() not in text
        assert base64.b64encode(key.secret).decode() not in text
        assert data.id.hex() not in text
        assert repr(data.id)[2:-1] not in text


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(KeyringError, match=f"a key has 32 bytes, this one {length}"):
        Key("short", 1, bytes(length))


@pytest.mark.parametrize(("id_bytes", "secret_bytes"), [(15, 32), (17, 32), (4, 32), (16, 31), (16, 33), (16, 0)])
def test_a_data_key_of_another_length_is_refused(id_bytes: int, secret_bytes: int) -> None:
    with pytest.raises(KeyringError, match="a data key of kind subject has 16 bytes of id and 32 of secret"):
        DataKey(bytes(id_bytes), "subject", bytes(secret_bytes))
