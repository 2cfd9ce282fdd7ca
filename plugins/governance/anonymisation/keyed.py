"""Numbers that stand for rows and people in a release, and the seed of its chances: derived from a key. Pure.

HMAC-SHA256 under the release key of a dataset, of which a number is the first 64 bits and a seed the first 63: the same
for the same input, so that a release that is made again is the same release, and nothing to whoever lacks the key. Who
knows a seed, this software and most of a pool can rebuild its classes (see `engine`); so nobody is told one. Among ten
million people two share a number with a probability of 3 in a million: the second would then pass for the first.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import numpy as np

from governance.key import DataKey

NUMBER_BYTES = 8


def numbers(texts: Iterable[str | None], key: DataKey, what: str) -> np.ndarray:
    """uint64, one for each text; None has one too. `what` keeps rows and people apart.

    >>> numbers(["a", None, "a"], DataKey(bytes(16), "release", bytes(32)), "row").tolist()
    [8483926816720398434, 15755021278728705457, 8483926816720398434]
    """
    return np.array([_number(key, what, text or "") for text in texts], dtype=np.uint64)


def seed(key: DataKey, day: str) -> int:
    """The seed of a day's release."""
    return _number(key, "seed", day) >> 1


def _number(key: DataKey, what: str, text: str) -> int:
    told = f"governance release {what} 1\0{text}".encode()
    return int.from_bytes(hmac.digest(key.secret, told, hashlib.sha256)[:NUMBER_BYTES], "big")
