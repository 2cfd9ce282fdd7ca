"""The hashes of a Merkle tree as tiles: 256 hashes of one level each, every eighth level of the tree.

The layout of c2sp.org/tlog-tiles: a tree of 10 million leaves is 39 thousand tiles of 8 KiB, and a proof reads a
handful of them. What lies between two levels of tiles is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from governance.errors import ProofError
from governance.merkle import EMPTY_ROOT, HASH_BYTES, NODE, node_hash

LEVELS = 8
WIDTH = 1 << LEVELS
TILE_BYTES = WIDTH * HASH_BYTES

Place = tuple[int, int]
"""Level (0: leaf hashes, 1: roots of 256 leaves ...) and number of a tile."""


def edge(size: int) -> list[Place]:
    """The tiles at the right edge of a tree of so many leaves that are not full, one for each level that has one."""
    return [(level, entries // WIDTH) for level, entries in _entries(size) if entries % WIDTH]


def appended(size: int, unfilled: Mapping[Place, bytes], leaves: Sequence[bytes]) -> dict[Place, bytes]:
    """The tiles that are new or changed when leaf hashes are appended to a tree of `size` leaves.

    `unfilled` holds the tiles that `edge` names, and no other. Raises ProofError when they do not fit the size.
    """
    for level, entries in _entries(size):
        held = unfilled.get((level, entries // WIDTH), b"")
        if len(held) != entries % WIDTH * HASH_BYTES:
            raise ProofError(f"level {level} of a tree of {size} leaves ends in a tile of another length")
    if strange := sorted(unfilled.keys() - set(edge(size))):
        raise ProofError(f"a tree of {size} leaves has no unfilled tile {strange[0]}")
    if any(len(hashed) != HASH_BYTES for hashed in leaves):
        raise ProofError(f"the hash of a leaf has {HASH_BYTES} bytes")
    changed: dict[Place, bytes] = {}
    level, new = 0, b"".join(leaves)
    while new:
        number = (size >> LEVELS * level) // WIDTH
        data = unfilled.get((level, number), b"") + new
        parents = []
        for start in range(0, len(data), TILE_BYTES):
            tile = data[start : start + TILE_BYTES]
            changed[level, number + start // TILE_BYTES] = tile
            if len(tile) == TILE_BYTES:
                parents.append(_perfect_root(tile))
        level, new = level + 1, b"".join(parents)
    return changed


class Tiles:
    """Root hashes of any leaves `[start, end)`, read from tiles that `fetch` brings and this object keeps."""

    def __init__(self, fetch: Callable[[Place], bytes | None]) -> None:
        self._fetch = fetch
        self._held: dict[Place, bytes] = {}

    def hash_of(self, start: int, end: int) -> bytes:
        """Root hash of the leaves. Raises ProofError when a tile that it needs is missing or too short."""
        width = end - start
        if not width:
            return EMPTY_ROOT
        if width < 0 or start % (1 << (width - 1).bit_length()):
            raise ProofError(f"the leaves [{start}, {end}) are no subtree")
        if width & (width - 1) == 0:
            return self._perfect(start, width.bit_length() - 1)
        middle = start + (1 << width.bit_length() - 1)
        return node_hash(self.hash_of(start, middle), self.hash_of(middle, end))

    def _perfect(self, start: int, level: int) -> bytes:
        tile_level, within = divmod(level, LEVELS)
        number, offset = divmod(start >> LEVELS * tile_level, WIDTH)
        hashes = self._tile((tile_level, number))[offset * HASH_BYTES : (offset + (1 << within)) * HASH_BYTES]
        if len(hashes) != HASH_BYTES << within:
            raise ProofError(f"the tile {number} of level {tile_level} is missing or too short")
        return _perfect_root(hashes)

    def _tile(self, place: Place) -> bytes:
        if place not in self._held:
            self._held[place] = self._fetch(place) or b""
        return self._held[place]


def _entries(size: int) -> list[tuple[int, int]]:
    """Per level of tiles the number of hashes that a tree of `size` leaves has there."""
    if size < 0:
        raise ProofError("a tree has no fewer than no leaves")
    found, level = [], 0
    while size >> LEVELS * level:
        found.append((level, size >> LEVELS * level))
        level += 1
    return found


def _perfect_root(hashes: bytes) -> bytes:
    """The root over a number of hashes that is a power of two."""
    while len(hashes) > HASH_BYTES:
        pairs = (hashes[at : at + 2 * HASH_BYTES] for at in range(0, len(hashes), 2 * HASH_BYTES))
        hashes = b"".join([sha256(NODE + pair).digest() for pair in pairs])
    return hashes
