"""Keys: those of the keyring, which wrap, and the data keys that they wrap. Pure; `keyring.py` and `key_store.py` hold
them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from governance.errors import KeyringError

KEY_BYTES = 32
ID_BYTES = 16


@dataclass(frozen=True)
class Key:
    """A 256-bit secret of the keyring, with the name and version under which it is found again; its repr hides the
    secret.

    >>> Key("key_encryption", 1, bytes(32))
    Key(name='key_encryption', version=1)
    """

    name: str
    version: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise KeyringError(
                f"key {self.name}/{self.version}: a key has {KEY_BYTES} bytes, this one {len(self.secret)}"
            )

    @cached_property
    def id(self) -> bytes:
        """Four bytes that name key and version in a ciphertext of format 1: the beginning of SHA-256 of 'name/version'.

        >>> Key("at_rest", 1, bytes(32)).id.hex()
        'e6872cb3'
        """
        return hashlib.sha256(f"{self.name}/{self.version}".encode()).digest()[:4]


@dataclass(frozen=True)
class DataKey:
    """A 256-bit secret that encrypts or tokenises, under the 16 bytes that name it in ciphertexts; its repr hides the
    secret.

    >>> DataKey(bytes(16), "subject", bytes(32))
    DataKey(kind='subject')
    """

    id: bytes = field(repr=False)
    kind: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES or len(self.id) != ID_BYTES:
            raise KeyringError(f"a data key of kind {self.kind} has {ID_BYTES} bytes of id and {KEY_BYTES} of secret")

    @cached_property
    def mac(self) -> HMAC:
        """HMAC-SHA256 under the secret, begun: to copy it costs less than to begin (RFC 2104)."""
        return HMAC(self.secret, SHA256())
