"""A backup of the key store brings back no key that was destroyed since (policy clauses J1, M1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from governance import key_backups, keys
from governance import policy as policies
from governance.errors import GovernanceError, KeyDestroyedError
from governance.key_backups import Home
from governance.key_store import Destruction
from governance.keyring import Keyring
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
        (dropped,) = intake.destroyed("subject", pa.array([scope]))
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
