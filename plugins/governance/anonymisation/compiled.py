"""How the hot loops of the anonymiser are compiled: by numba, when first called, and kept on disk for the next process.

Numba forgets a compiled function when its own file changes, not when one that it calls does; so what is kept lies in a
folder named after all of them. Compiled code draws its chances from `chance`, a generator whose whole state is one
number of its caller's: a seed decides the result, whatever else runs in the process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

_SETTINGS: Any = numba.config
_HERE = Path(__file__).parent
_SOURCES = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_HERE.glob("*.py")))).hexdigest()[:16]


def _kept(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    before = _SETTINGS.CACHE_DIR
    try:
        if not before:  # else whoever runs us says where
            _SETTINGS.CACHE_DIR = str(_HERE / "__pycache__" / f"compiled-{_SOURCES}")
        made: Callable[..., Any] = numba.njit(cache=True, error_model="numpy", **options)(function)
        return made
    finally:
        _SETTINGS.CACHE_DIR = before


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called."""
    return _kept(function)


def tight(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that makes no arrays, without counting the references to those that it is given.

    The counting is atomic, and in the innermost loops it took four fifths of the time.
    """
    return _kept(function, _nrt=False)


def generator(seed: int) -> np.ndarray:
    """The state of a generator, never zero (splitmix64's constant spreads small seeds)."""
    return np.array([((seed + 1) * 0x9E3779B97F4A7C15) % 2**64 | 1], dtype=np.uint64)


@tight
def chance(state: np.ndarray) -> float:
    """A number in [0, 1): xorshift64* (Vigna 2016)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return ((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@tight
def below(state: np.ndarray, bound: int) -> int:
    """A whole number in [0, bound)."""
    return min(int(chance(state) * bound), bound - 1)
