"""The key-encryption key is replaced, and every data key wrapped anew, so that backups of the key store expire (J1)."""

from __future__ import annotations

from dataclasses import dataclass

from governance.errors import KeyringError
from governance.key_backups import made_at
from governance.key_wrapping import check_value
from governance.keyring import KEY_ENCRYPTION, Keyring, sweep
from governance.keys import KeyService


@dataclass(frozen=True)
class Rotated:
    """What a replacement of the key-encryption key came to."""

    rewrapped: int
    stuck: str | None
    """What to say when keys do not unwrap, and so could not be wrapped anew."""


def rotate_in_time(service: KeyService, lost: str | None, alarms: list[str]) -> int:
    """Replace the key-encryption key when it is past its life, and finish a replacement that was broken off.

    Returns how many keys were re-wrapped; what is in the way, it adds to the alarms.
    """
    for path in (service.keyring.path, service.store.path):
        if path is not None:
            sweep(path)
    if lost:
        alarms.append(f"J1 {lost}")
        return 0
    rotated = Rotated(0, None)
    if is_unfinished(service) or (is_old(service) and service.keyring.path is not None):
        rotated = rotate(service)
    alarms += [f"J1 {rotated.stuck}"] if rotated.stuck else []
    if is_old(service) and service.keyring.path is None:
        alarms.append("J1 the key-encryption key is past its life; rotate it where the connection keeps it")
    return rotated.rewrapped


def is_old(service: KeyService) -> bool:
    """Whether the key-encryption key is past its life."""
    return made_at(service) + service.policy.key_encryption_key_life <= service.clock()


def is_unfinished(service: KeyService) -> bool:
    """Whether a replacement was broken off."""
    head, versions = service.store.head(), service.keyring.versions(KEY_ENCRYPTION)
    return max(versions) > head.current_version or len(head.check_values) > 1 or len(versions) > 1


def rotate(service: KeyService) -> Rotated:
    """Each step leaves a store that works: the keyring has every version that wraps a key, and the store knows it.

    A version that still wraps a key stays, and the first one cannot be ended before the last key is mended.
    """
    store, keyring, path = service.store, service.keyring, service.keyring.path
    # What is not sound is found before anything is changed: the store is read, and written once for the nonces.
    service.require_reference()
    head, _ = store.head(), service.nonces
    newest = max(keyring.versions(KEY_ENCRYPTION))
    is_finished = not is_unfinished(service)
    if newest == head.current_version and (is_finished or (is_old(service) and path is not None)):
        if path is None:
            raise KeyringError(
                f"{keyring.place} has no version after {newest}: add one (`governance keys new-version FILE`), rotate "
                f"again, and take version {newest} out of it when that is done"
            )
        keyring = Keyring.add_version(path, KEY_ENCRYPTION, now=service.clock())
        newest = max(keyring.versions(KEY_ENCRYPTION))
    service.keyring = keyring
    store.begin_version(newest, check_value(keyring.key(KEY_ENCRYPTION, newest), head.store_id))
    rewrapped, behind, last = 0, 0, b""
    while page := store.behind(newest, last):
        anew = service.rewrapped(page, newest)
        store.rewrap(anew, newest)
        rewrapped, behind, last = rewrapped + len(anew), behind + len(page) - len(anew), page[-1].id
    store.end_versions(newest)
    needed = {newest, *store.head().check_values}
    if path is not None:
        old = {(KEY_ENCRYPTION, v) for v in keyring.versions(KEY_ENCRYPTION) if v < newest and v not in needed}
        service.keyring = Keyring.remove(path, old)
    return Rotated(rewrapped, _stuck(service, behind, needed - {newest}) if behind else None)


def _stuck(service: KeyService, behind: int, versions: set[int]) -> str:
    return (
        f"{service.store.place}: {behind:,} keys cannot be unwrapped, and keep versions {sorted(versions)} of the "
        "key-encryption key alive: `governance keys restore BACKUP` mends those that the backup has, then rotate again"
    )
