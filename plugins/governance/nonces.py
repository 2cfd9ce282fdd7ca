"""Nonces that never repeat, by construction.

A nonce of AES-GCM has 96 bits: 48 of a *writer* and 48 of a counter, both big-endian. The key store hands out each
writer once (`KeyStore.new_writer`: one more than the last, and never less than the milliseconds since 1970, so that a
store that was restored from a backup goes on beyond what it had handed out since); the counter belongs to one object in
one process, which refuses to go on in a fork of it. So no two values have the same nonce, whatever their keys are.
Source: NIST SP 800-38D section 8.2.1, deterministic construction.

What could still repeat one: a machine that is frozen in the middle of a hop and resumed twice, and a store that is
restored while its clock stands before the last writer.
"""

from __future__ import annotations

import os
import threading

import numpy as np

from governance.encryption import NONCE_BYTES
from governance.errors import KeyringError

COUNTER_BITS = 48


class Nonces:
    """The nonces of one writer."""

    def __init__(self, writer: int) -> None:
        self._writer = writer.to_bytes(6, "big")
        self._next = 0
        self._process = os.getpid()
        self._turn = threading.Lock()

    def take(self, count: int) -> bytes:
        """`count` nonces that were never given before, one after the other in one piece of 12 * count bytes.

        Raises `KeyringError` in a fork, where the same nonces would come again, and after 2^48.

        >>> Nonces(1).take(2).hex(" ", 6)
        '000000000001 000000000000 000000000001 000000000001'
        """
        if os.getpid() != self._process:
            raise KeyringError("nonces were carried into a fork of their process; open the key store anew there")
        with self._turn:
            first, self._next = self._next, self._next + count
        if self._next > 1 << COUNTER_BITS:
            raise KeyringError("a writer has used up its nonces; open the key store anew")
        made = np.empty((count, NONCE_BYTES), np.uint8)
        made[:, :6] = np.frombuffer(self._writer, np.uint8)
        made[:, 6:] = np.arange(first, first + count, dtype=">u8").view(np.uint8).reshape(count, 8)[:, 2:]
        return made.tobytes()
