"""How the hot loops of the anonymiser are compiled: by numba, when first called, and kept on disk for the next process.

Numba forgets a compiled function when its own file changes, not when one that it calls does; so what is kept lies in a
folder named after all of them. `governance.compiling` fills it at installation. Compiled code draws its chances from
`chance`, a generator whose whole state is one number of its caller's: a seed decides the result, whatever else runs in
the process.
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


def _writable(folder: Path, mode: int = 0o755) -> bool:
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _folder(installed: Path, own: Path | None) -> Path | None:
    """Where compiled code is kept: beside the source, else in the user's own cache, else nowhere.

    What an installation that cannot be written already holds is copied into the user's cache once, because numba uses
    no folder that it cannot write. Never a folder that others can write: compiled code that is loaded is executed.
    """
    if _writable(installed):
        return installed
    if own is None or not _writable(own, 0o700):
        return None
    for file in installed.glob("*/*.nb?"):
        copy = own / file.relative_to(installed)
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
    return own


def _of_user() -> Path | None:
    try:
        return Path.home() / ".cache" / "governance" / _NAME
    except RuntimeError:  # a user without a home
        return None


_NAME = f"compiled-{_SOURCES}"
_KEPT = None if _SETTINGS.CACHE_DIR else _folder(_HERE / "__pycache__" / _NAME, _of_user())


def others() -> list[Path]:
    """Folders of what was compiled from other versions of the source."""
    return [] if _KEPT is None else [path for path in _KEPT.parent.glob("compiled-*") if path != _KEPT]


def _kept(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    before = _SETTINGS.CACHE_DIR
    try:
        if _KEPT is not None:  # else whoever runs us says where, or nothing can be kept
            _SETTINGS.CACHE_DIR = str(_KEPT)
        keeps = bool(_SETTINGS.CACHE_DIR)
        made: Callable[..., Any] = numba.njit(cache=keeps, error_model="numpy", **options)(function)
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
