"""A backup of the key store brings back no key that was destroyed since (policy clauses J1, M1)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from governance import key_backups, key_databases, keys
from governance import policy as policies
from governance.errors import ContendedError, GovernanceError, InputError, KeyDestroyedError, KeyringError
from governance.key_backups import Home
from governance.key_store import Destruction, KeyStore
from governance.key_wrapping import check_value
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.keys import KeyService

pytestmark = [pytest.mark.clause("J1"), pytest.mark.clause("M1")]

POLICY = policies.load()
NOW = datetime(2026, 3, 12, 9, 30, tzinfo=UTC)


def act(attempt_id: str) -> Destruction:
    return Destruction(attempt_id, "a test", int(NOW.timestamp()), False)


def never(error: GovernanceError) -> None:
    raise AssertionError(error)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty store."""
    ring = Keyring.create(tmp_path / "keyring.json", now=NOW)
    keys.create(str(tmp_path / "keys.sqlite"), ring, now=NOW).close()
    return Home(str(tmp_path / "keys.sqlite"), ring, POLICY)


@contextmanager
def service(home: Home) -> Iterator[KeyService]:
    with closing(keys.open_service(home.address, lambda: home.keyring, POLICY, lambda: NOW)) as found:
        yield found


def make(found: KeyService, scope: str) -> bytes:
    return found.acting("loader", "intake", never).key("subject", scope).id


def is_destroyed(home: Home, scope: str) -> bool:
    """Whether a row of this person is dropped at pull, and no key made for it."""
    with service(home) as found:
        intake = found.acting("loader", "intake", never)
        dropped = bool(intake.ended("subject", [scope]))
        if dropped:
            with pytest.raises(KeyDestroyedError):
                intake.key("subject", scope)
        return bool(dropped)


def lost_and_restored(home: Home, backup: Path, destroyed: set[bytes]) -> int:
    Path(home.address).unlink()
    return key_backups.restore(backup, home, destroyed=destroyed, act=act("restore"))


def test_who_was_erased_after_a_backup_stays_erased_when_it_is_put_back(home: Home, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with service(home) as found:
        make(found, "client 1")
        gone = make(found, "client 2")
        key_backups.back_up(found, backup)
        found.store.destroy([gone], act("erasure"))
    assert lost_and_restored(home, backup, {gone}) == 2  # the reference key and that of client 1
    assert is_destroyed(home, "client 2")
    assert not is_destroyed(home, "client 1")


def test_who_came_and_was_erased_after_a_backup_stays_erased_when_it_is_put_back(home: Home, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with service(home) as found:
        make(found, "client 1")
        key_backups.back_up(found, backup)
        gone = make(found, "client 2")
        found.store.destroy([gone], act("erasure"))
    lost_and_restored(home, backup, {gone})
    assert is_destroyed(home, "client 2")


def test_a_backup_is_its_owners_alone_and_knows_no_secret(home: Home, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with service(home) as found:
        key = found.acting("loader", "intake", never).key("subject", "client 1")
        assert key_backups.back_up(found, backup).left_out == 0
    assert backup.stat().st_mode & 0o777 == 0o600
    raw = backup.read_bytes()
    assert key.id in raw
    assert key.secret not in raw


@pytest.mark.clause("B2")
def test_the_key_of_pseudonyms_is_in_no_backup_however_new_and_what_is_left_of_a_destroyed_one_is(
    home: Home, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    # A backup that expires before the key would: only its kind keeps it out.
    later = NOW + POLICY.key_encryption_key_life - timedelta(hours=1)
    with closing(keys.open_service(home.address, lambda: home.keyring, POLICY, lambda: later)) as found:
        intake = found.acting("loader", "intake", never)
        kept = make(found, "client 1")
        living, gone = (intake.key("visitor_day", f"2026-03-10/{landing}") for landing in (1, 2))
        found.store.destroy([gone.id], act("landed"))
        assert key_backups.back_up(found, backup).left_out == 1
    with closing(KeyStore.open(str(backup))) as copy:
        assert copy.fetch([kept, living.id, gone.id]).keys() == {kept, gone.id}
        assert copy.fetch([gone.id])[gone.id].is_destroyed
    assert living.secret not in backup.read_bytes()


# -- keys that do not unwrap -------------------------------------------------------------------------------------------


def flip(home: Home, key_id: bytes, change: str = "wrapped = x'00'") -> None:
    """Damage the wrapping of one key."""
    with closing(sqlite3.connect(home.address)) as connection, connection:
        connection.execute(f"UPDATE data_keys SET {change} WHERE id = ?", (key_id,))


def secret(found: KeyService, scope: str) -> bytes:
    return found.acting("loader", "intake", never).key("subject", scope).secret


@pytest.mark.parametrize("change", ["wrapped = x'00'", "version = 7"])
def test_a_key_that_does_not_unwrap_is_mended_by_a_backup_that_has_it_whole(
    home: Home, tmp_path: Path, change: str
) -> None:
    backup = tmp_path / "backup"
    with service(home) as found:
        damaged, whole = make(found, "client 1"), make(found, "client 2")
        secrets = [secret(found, "client 1"), secret(found, "client 2")]
        key_backups.back_up(found, backup)
    flip(home, damaged, change)
    with service(home) as found, pytest.raises(KeyringError):
        secret(found, "client 1")
    assert key_backups.restore(backup, home, destroyed=(), act=act("restore")) == 1
    with service(home) as found:
        assert [secret(found, "client 1"), secret(found, "client 2")] == secrets
        assert found.store.fetch([whole])[whole].version == 1
    assert key_backups.restore(backup, home, destroyed=(), act=act("again")) == 0


def test_a_key_whose_dates_were_altered_is_not_given_the_wrapping_of_other_dates(home: Home, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with service(home) as found:
        altered = make(found, "client 1")
        key_backups.back_up(found, backup)
    with closing(sqlite3.connect(home.address)) as connection, connection:
        connection.execute("DROP TRIGGER data_keys_final")
    flip(home, altered, "expires_at = 4102444800")
    assert key_backups.restore(backup, home, destroyed=(), act=act("restore")) == 0
    with service(home) as found:
        assert found.opened(found.store.fetch([altered])[altered]) is None


def test_a_damaged_key_of_a_backup_mends_nothing_and_a_living_one_takes_no_tombstones_place(
    home: Home, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    with service(home) as found:
        gone, damaged = make(found, "client 1"), make(found, "client 2")
        key_backups.back_up(found, good)
        found.store.destroy([gone], act("erasure"))
    flip(home, damaged)
    with service(home) as found:
        key_backups.back_up(found, bad)
    flip(home, damaged, "wrapped = x'01'")
    assert key_backups.restore(bad, home, destroyed=(), act=act("restore")) == 0
    # Nor does what the run log calls destroyed come back into a row that does not unwrap.
    assert key_backups.restore(good, home, destroyed={damaged}, act=act("restore")) == 0
    assert key_backups.restore(good, home, destroyed=(), act=act("restore")) == 1
    assert is_destroyed(home, "client 1")


# -- while the key-encryption key is being replaced --------------------------------------------------------------------


def begin_rotation(home: Home) -> Keyring:
    ring = Keyring.add_version(Path(home.address).with_name("keyring.json"), KEY_ENCRYPTION, now=NOW)
    with closing(KeyStore.open(home.address)) as store:
        store.begin_version(2, check_value(ring.key(KEY_ENCRYPTION, 2), store.head().store_id))
    return ring


def test_a_backup_waits_for_a_rotation_and_leaves_no_file(home: Home, tmp_path: Path) -> None:
    with service(home) as found:
        begin_rotation(home)
        with pytest.raises(ContendedError, match="is being replaced; try again"):
            key_backups.back_up(found, tmp_path / "backup")
    assert sorted(os.listdir(tmp_path)) == ["keyring.json", "keys.sqlite"]


def test_a_rotation_that_begins_during_a_backup_leaves_no_file_of_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = KeyStore.pages

    def interrupted(self: KeyStore) -> Iterator[Any]:
        yield from pages(self)
        begin_rotation(home)

    monkeypatch.setattr(KeyStore, "pages", interrupted)
    with service(home) as found, pytest.raises(ContendedError, match="is being replaced; try again"):
        key_backups.back_up(found, tmp_path / "backup")
    assert sorted(os.listdir(tmp_path)) == ["keyring.json", "keys.sqlite"]


def test_a_backup_just_after_a_rotation_is_made_by_a_keyring_that_was_read_before(home: Home, tmp_path: Path) -> None:
    rings = [home.keyring]
    with closing(keys.open_service(home.address, lambda: rings[-1], POLICY, lambda: NOW)) as found:
        rings.append(begin_rotation(home))
        found.store.rewrap(found.rewrapped(found.store.behind(2, b""), 2), 2)
        found.store.end_versions(2)
        assert key_backups.back_up(found, tmp_path / "backup").left_out == 0
        rings.append(home.keyring)  # as a keyring that is still on its way to this machine
        found.keyring = home.keyring
        with pytest.raises((ContendedError, KeyringError)):
            key_backups.made_at(found)


# -- what cannot be put back -------------------------------------------------------------------------------------------


def test_a_backup_that_is_not_there_is_not_one_to_be_restored_from_a_backup(home: Home, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file; name one that `governance keys backup FILE`"):
        key_backups.restore(tmp_path / "nowhere", home, destroyed=(), act=act("restore"))


def test_an_expired_backup_is_called_by_its_name_and_nothing_is_written_beside_it(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with service(home) as found:
        make(found, "client 1")
        key_backups.back_up(found, folder / "backup")
    Path(home.address).unlink()
    written: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_databases, "draft_of", lambda path: written.append(path) or path.with_name(".draft"))
        key_backups.restore(folder / "backup", home, destroyed=(), act=act("restore"))
    assert written == [Path(home.address)]
    other = Keyring.add_version(tmp_path / "keyring.json", KEY_ENCRYPTION)
    late = replace(home, keyring=Keyring.remove(tmp_path / "keyring.json", [(KEY_ENCRYPTION, 1)]))
    assert other.versions(KEY_ENCRYPTION).keys() == {1, 2}
    with pytest.raises(KeyringError, match=r"which wraps key store .*/backups/backup; .* has expired"):
        key_backups.restore(folder / "backup", late, destroyed=(), act=act("restore"))


def test_a_backup_of_another_store_than_the_run_log_knows_is_refused(home: Home, tmp_path: Path) -> None:
    with service(home) as found:
        key_backups.back_up(found, tmp_path / "backup")
    Path(home.address).unlink()
    with pytest.raises(InputError, match="a backup of another store than the run log knows"):
        key_backups.restore(tmp_path / "backup", replace(home, store_id=bytes(16)), destroyed=(), act=act("restore"))
    assert not Path(home.address).exists()
