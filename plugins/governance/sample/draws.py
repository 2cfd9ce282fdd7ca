"""Draws that depend on nothing but a seed, a name and a key: the same row is the same whenever and wherever it is made.

A stream of random numbers has to be consumed in order; a draw by key does not. That is what lets a later day be added
to a filled source, or the client of an old booking be made again, without replaying what came before.
The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied twice. It is not for secrets.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Dates: TypeAlias = NDArray[np.datetime64]  # datetime64[D]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


class Draws:
    """Draws of one seed, told apart by name."""

    def __init__(self, seed: int, stream: str) -> None:
        self._prefix = f"{seed}/{stream}/"

    def bits(self, name: str, keys: Ints) -> NDArray[np.uint64]:
        """Return 64 random bits per key."""
        digest = blake2b((self._prefix + name).encode(), digest_size=8).digest()
        salt = np.uint64(int.from_bytes(digest, "big"))
        with np.errstate(over="ignore"):
            return _mixed(_mixed(keys.astype(np.uint64) * _GAMMA + salt) ^ salt)

    def uniform(self, name: str, keys: Ints) -> Floats:
        """Return one number in [0, 1) per key."""
        return (self.bits(name, keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, name: str, keys: Ints, bound: int | Ints) -> Ints:
        """Return one integer in [0, bound) per key."""
        return np.asarray(self.uniform(name, keys) * bound, dtype=np.int64)

    def normal(self, name: str, keys: Ints) -> Floats:
        """Return one standard normal number per key (Box-Muller)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(name + "/radius", keys)))
        return np.asarray(radius * np.cos(2.0 * np.pi * self.uniform(name + "/angle", keys)), dtype=np.float64)

    def choice(self, name: str, keys: Ints, weights: Iterable[float]) -> Ints:
        """Return one index into the weights per key, each as probable as its weight."""
        return pick(self.uniform(name, keys), weights)


def pick(uniform: Floats, weights: Iterable[float]) -> Ints:
    """Return the index into the weights at which each number of [0, 1) falls."""
    edges = np.cumsum(np.asarray(list(weights), dtype=np.float64))
    return np.searchsorted(edges[:-1] / edges[-1], uniform, side="right").astype(np.int64)


def scrambled(slots: Ints, modulus: int, factor: int, shift: int) -> Ints:
    """Return a one-to-one rearrangement of [0, modulus): keys in it neither tell an order nor collide.

    `factor` must be prime to `modulus`, and factor times modulus below 2^63.
    """
    return (slots * factor + shift) % modulus
