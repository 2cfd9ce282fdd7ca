"""One key: its name, version and bytes, and the keys that descend from it. Pure; the keyring that holds keys is
`keys.py`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from governance.errors import KeyringError

KEY_BYTES = 32


@dataclass(frozen=True)
class Key:
    """A 256-bit secret with the name and version under which it is found again; its repr hides the secret.

    >>> Key("at_rest", 1, bytes(32))
    Key(name='at_rest', version=1)
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
        """Four bytes that name key and version inside a ciphertext: the beginning of SHA-256 of 'name/version'.

        >>> Key("at_rest", 1, bytes(32)).id.hex()
        'e6872cb3'
        """
        return hashlib.sha256(f"{self.name}/{self.version}".encode()).digest()[:4]

    def for_period(self, period: str) -> Key:
        """The key of one period (say a day, '2026-11-23'), derived from this one: the same whenever it is asked for.

        What this does *not* give: the derived key does not die with its period. Whoever holds the parent can derive it
        again, so tokens of past periods stay linkable until the parent itself is destroyed. Keys that die one by one
        need a key store. Source: HKDF-SHA256 (RFC 5869), salt empty, info as below; policy clause B2.
        """
        info = b"governance period key 1\0" + f"{self.name}/{self.version}".encode() + b"\0" + period.encode()
        secret = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self.secret)
        return Key(f"{self.name}@{period}", self.version, secret)
