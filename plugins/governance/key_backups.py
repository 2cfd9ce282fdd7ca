"""Backups of the key store that expire, and putting one back. An edge.

A backup is a key store in a file of its own: keys still wrapped, by the key-encryption key of its day. That one is
replaced and destroyed every few days (`key_encryption_key_days`), and the backup is worth nothing from then on. Keys
that die before that are left out: no backup outlives the deadline of a key in it. What was destroyed by an act since
(a person's erasure) is destroyed again while the backup is put back, from what the run log says. Policy clauses J1, K1,
M1.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from governance.errors import InputError, KeyringError
from governance.key_databases import exists
from governance.key_store import Destruction, KeyStore
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.keys import KeyService
from governance.policy import Policy


def expiry(service: KeyService) -> datetime:
    """When a backup that is made now expires: when its key-encryption key is replaced."""
    made_at: datetime = service.keyring.versions(KEY_ENCRYPTION)[service.store.head().current_version]
    return made_at + service.policy.key_encryption_key_life


def back_up(service: KeyService, path: Path) -> int:
    """Write a backup of the store to a new file (0600); returns how many keys were left out because they die before it.

    Raises KeyringError where there is a file already, and while a rotation is unfinished.
    """
    if len(service.store.head().check_values) > 1:
        raise KeyringError(f"{service.store.place}: a rotation is unfinished; `governance keys rotate` goes on with it")
    return service.store.copy_to(str(path), until=int(expiry(service).timestamp()))


@dataclass(frozen=True)
class Home:
    """Where a backup is put back: the store's address, its keyring, and the policy."""

    address: str
    keyring: Keyring
    policy: Policy


def restore(backup: Path, home: Home, *, destroyed: Collection[bytes], act: Destruction) -> int:
    """Put a backup back: in place of a store that is gone, or to bring back keys that the present one has lost.

    `destroyed`: ids of the keys that the run log calls destroyed; they, and every key whose deadline has come, are
    destroyed by `act` before anybody can use the store. Returns how many keys came back. Raises InputError for a
    file that is not a backup of this store, KeyringError for one that has expired.
    """
    draft = backup.with_name(f".{backup.name}.{secrets.token_hex(8)}")
    try:
        with closing(KeyStore.open(str(backup))) as store:
            store.copy_to(str(draft), until=None)
        with closing(KeyStore.open(str(draft))) as store:
            KeyService(store, lambda: home.keyring, home.policy, lambda: datetime.fromtimestamp(act.destroyed_at, UTC))
            due = [key.id for key in store.due(act.destroyed_at)]
            store.bury({*destroyed, *due}, act)
            if exists(home.address):
                return _merge(store, home.address)
            store.copy_to(home.address, until=None)
            return sum(1 for page in store.pages() for key in page if not key.is_destroyed)
    finally:
        draft.unlink(missing_ok=True)


def _merge(store: KeyStore, address: str) -> int:
    with closing(KeyStore.open(address)) as present:
        if present.head().store_id != store.head().store_id:
            raise InputError(f"the backup is not one of {present.place}; nothing was changed")
        acts = store.acts()
        return sum(present.merge(page, acts) for page in store.pages())
