"""How a data key is named, and wrapped by a key-encryption key. Pure; the format is on the page `docs/keys.md`.

A key's id is a keyed digest of its kind and of what it is for, so that two who need the same key at once name the same
one, and that an id tells nothing of a person to who has not the reference key. Wrapping binds the secret to id, kind
and dates: who moves a deadline in the store makes the key useless. Source: NIST SP 800-57 part 1 (key wrapping); NIST
SP 800-38D; policy clauses J1, K1.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import unicodedata
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.encryption import NONCE_BYTES
from governance.errors import KeyringError
from governance.key import ID_BYTES, DataKey, Key

REFERENCE_ID = bytes(ID_BYTES)
REFERENCE_KIND = "reference"
"""The store's own key, from which the ids of all others come."""
UNKNOWN_KIND = "unknown"
"""What is left of a key that a store never knew: the run log calls it destroyed, and it must not be made anew."""


class StoredKey(NamedTuple):
    """A data key as the store holds it, in the order of its columns; `wrapped` is None once it is destroyed. Instants
    are seconds since 1970.

    A tuple, because a step may read a hundred thousand of them.
    """

    id: bytes
    kind: str
    scope: str | None  # None where it would name a person
    created_at: int
    expires_at: int | None
    version: int  # of the key-encryption key that wraps it
    wrapped: bytes | None
    destroyed_at: int | None = None
    destroyed_by: str | None = None  # attempt_id of the run-log entry

    @property
    def is_destroyed(self) -> bool:
        """Whether its secret is gone."""
        return self.wrapped is None

    def is_due(self, now: float) -> bool:
        """Whether its deadline has come, be it still in the store or not."""
        return self.expires_at is not None and now >= self.expires_at


def key_id(reference: DataKey, kind: str, scope: str) -> bytes:
    """The 16 bytes that name the key of a kind for a scope (NFC): the beginning of HMAC-SHA256 of 'kind' 00 'scope'.

    >>> key_id(DataKey(REFERENCE_ID, REFERENCE_KIND, bytes(32)), "card_hour", "2026-03-10T11").hex()
    'ed9d9d2375ea805dded2a84e35a4223f'
    """
    one = reference.mac.copy()
    one.update(f"{kind}\0{scope if scope.isascii() else unicodedata.normalize('NFC', scope)}".encode())
    return one.finalize()[:ID_BYTES]


def check_value(key: Key, store_id: bytes) -> bytes:
    """What a store keeps of a key-encryption key to know it again: 16 bytes of HMAC-SHA256, which say nothing of it."""
    return hmac.digest(key.secret, b"governance key check 1\0" + store_id, hashlib.sha256)[:16]


class Wrapper:
    """One key-encryption key at work for one store.

    What wraps is derived from both, so that two stores under one keyring cannot repeat a nonce under one key.
    """

    def __init__(self, key: Key, store_id: bytes) -> None:
        self.version = key.version
        self._cipher = AESGCM(hmac.digest(key.secret, b"governance wrapping key 1\0" + store_id, hashlib.sha256))

    def wrap(self, secret: bytes, stored: StoredKey, nonce: bytes) -> bytes:
        """nonce (12), ciphertext (32) and tag (16) of a secret, bound to what `stored` says of the key."""
        return nonce + self._cipher.encrypt(nonce, secret, _bound(stored))

    def unwrap(self, stored: StoredKey) -> DataKey:
        """The data key. Raises `KeyringError` when the store's row was altered, or belongs to another store."""
        wrapped = stored.wrapped or b""
        try:
            secret = self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(stored))
        except (InvalidTag, ValueError):
            raise KeyringError(
                f"a key of kind {stored.kind} cannot be unwrapped: its row in the key store was altered; "
                "run `governance keys audit`, and restore the store from its backup"
            ) from None
        return DataKey(stored.id, stored.kind, secret)


def _bound(stored: StoredKey) -> bytes:
    expires = -1 if stored.expires_at is None else stored.expires_at
    dates = struct.pack(">qq", stored.created_at, expires)
    return b"governance wrapped key 1\0" + stored.id + dates + stored.kind.encode()
