"""Backups of the key store that expire, and putting one back. An edge.

A backup is a key store in a file of its own: keys still wrapped, by the key-encryption key of its day. That one is
replaced and destroyed every few days (`key_encryption_key_days`), and the backup is worth nothing from then on. Keys
that die before that are left out, and kinds that policy keeps out of backups: no backup outlives a key in it. What was
destroyed by an act since (a person's erasure) is destroyed again while the backup is put back, from what the run log
says. Policy clauses B2, J1, K1, M1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from governance.errors import ContendedError, InputError
from governance.key_databases import exists
from governance.key_store import Destruction, KeyStore
from governance.key_wrapping import UNKNOWN_KIND, StoredKey
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.keys import KeyService
from governance.policy import Policy


def made_at(service: KeyService) -> datetime:
    """When the store's current key-encryption key was made. Raises ContendedError while it is being replaced."""
    version = service.store.head().current_version
    if version not in service.keyring.versions(KEY_ENCRYPTION):
        service.verify()  # reads the keyring anew
    try:
        return service.keyring.versions(KEY_ENCRYPTION)[version]
    except KeyError:
        raise ContendedError(f"{service.store.place}: its key-encryption key is being replaced; try again") from None


@dataclass(frozen=True)
class Backup:
    """What was written: when it expires, and how many keys were left out because they die before it, or may."""

    expires_at: datetime
    left_out: int


def back_up(service: KeyService, path: Path) -> Backup:
    """Write a backup of the store to a new file (0600).

    Raises KeyringError where there is a file already; ContendedError, and leaves no file, while the key-encryption key
    is being replaced.
    """
    if len(service.store.head().check_values) > 1:
        raise ContendedError(
            f"{service.store.place}: its key-encryption key is being replaced; try again, or let `governance keys "
            "rotate` go on where one that was broken off has left it"
        )
    expires_at, left_out = made_at(service) + service.policy.key_encryption_key_life, 0
    apart = {name for name, kind in service.policy.keys.items() if not kind.is_backed_up}

    def lasts(key: StoredKey) -> bool:
        return key.kind not in apart and not key.is_due(int(expires_at.timestamp()))

    def kept() -> Iterator[list[StoredKey]]:
        nonlocal left_out
        for page in service.store.pages():
            lasting = [key for key in page if key.is_destroyed or lasts(key)]
            left_out += len(page) - len(lasting)
            yield lasting

    service.store.copy_to(str(path), kept(), service.store.acts())
    return Backup(expires_at, left_out)


@dataclass(frozen=True)
class Home:
    """Where a backup is put back: the store's address, its keyring, and the policy; which store it is, where the run
    log knows."""

    address: str
    keyring: Keyring
    policy: Policy
    store_id: bytes | None = None


def restore(backup: Path, home: Home, *, destroyed: Collection[bytes], act: Destruction) -> int:
    """Put a backup back: in place of a store that is gone, or to bring back keys that the present one has lost or that
    do not unwrap in it.

    `destroyed`: ids of the keys that the run log calls destroyed; they, and every key whose deadline has come, are
    destroyed by `act` before anybody can use the store. Returns how many keys came back. Raises InputError for a
    file that is not a backup of this store, KeyringError for one that has expired.
    """
    if not backup.exists():
        raise InputError(f"{backup}: there is no such file; name one that `governance keys backup FILE` has written")
    with closing(KeyStore.open(str(backup))) as store:
        if home.store_id not in (None, store.head().store_id):
            raise InputError(f"{backup} is a backup of another store than the run log knows; nothing was changed")
        service = _service(store, home, act)
        returning = _Returning(store, destroyed, act)
        if exists(home.address):
            return _merge(service, returning, home, act)
        store.copy_to(home.address, returning.pages(), returning.acts())
        return returning.alive


class _Returning:
    """A backup as it is put back: without what was destroyed since, or is past its deadline."""

    def __init__(self, store: KeyStore, destroyed: Collection[bytes], act: Destruction) -> None:
        self.alive = 0
        self._store, self._act = store, act
        known = store.fetch(destroyed)
        self._gone = {key.id for key in (*known.values(), *store.due(act.destroyed_at)) if not key.is_destroyed}
        self._strange = sorted(set(destroyed) - known.keys())

    def acts(self) -> list[Destruction]:
        """The acts that destroyed the keys of `pages`."""
        return [*self._store.acts(), *([self._act] if self._gone or self._strange else [])]

    def pages(self) -> Iterator[list[StoredKey]]:
        """Every key, a page at a time; of one that the backup does not know, what keeps it from being made."""
        for page in self._store.pages():
            now = [self._destroyed(key) if key.id in self._gone else key for key in page]
            self.alive += sum(1 for key in now if not key.is_destroyed)
            yield now
        at = self._act.destroyed_at
        yield [self._destroyed(StoredKey(id, UNKNOWN_KIND, None, at, None, 0, None)) for id in self._strange]

    def _destroyed(self, key: StoredKey) -> StoredKey:
        act = self._act
        return key._replace(wrapped=None, destroyed_at=act.destroyed_at, destroyed_by=act.attempt_id)


def _merge(backup: KeyService, returning: _Returning, home: Home, act: Destruction) -> int:
    with closing(KeyStore.open(home.address)) as present:
        if present.head().store_id != backup.store.head().store_id:
            raise InputError(
                f"the backup is not one of {present.place}; nothing was changed. Where that is the wrong one, take it "
                "away and restore again"
            )
        here, acts = _service(present, home, act), returning.acts()

        def mends(key: StoredKey, lost: StoredKey) -> bool:
            """Whether both are one living key, of which only the backup's unwraps; its dates are never moved."""
            if key == lost or key.is_destroyed or lost.is_destroyed or key[:5] != lost[:5]:
                return False
            return here.opened(lost) is None and backup.opened(key) is not None

        return sum(present.merge(page, acts, mends) for page in returning.pages())


def _service(store: KeyStore, home: Home, act: Destruction) -> KeyService:
    return KeyService(store, lambda: home.keyring, home.policy, lambda: datetime.fromtimestamp(act.destroyed_at, UTC))
