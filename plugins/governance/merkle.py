"""The Merkle tree of RFC 6962 (section 2.1; the same in RFC 9162): hashes, roots and proofs.

Verification returns nothing or raises. One recursion serves every proof: that a leaf is in a tree, that a tree extends
an earlier one, and both for a subtree `[start, end)` as draft-ietf-plants-merkle-tree-certs defines it (an inclusion
proof is the consistency proof of a subtree of one leaf).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from governance.errors import ProofError

LEAF, NODE = b"\x00", b"\x01"
"""Domain separation: without it, an inner node could be passed off as a leaf."""
HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()

Range = Callable[[int, int], bytes]
"""Root hash of the leaves `[start, end)`."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(NODE + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes.

    >>> root([]) == EMPTY_ROOT
    True
    """
    compact = Compact()
    compact.extend(leaves)
    return compact.root()


class Compact:
    """The roots of the perfect subtrees that a growing tree consists of: all that is needed to go on and to give its
    root."""

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)  # largest first, one for each bit of the size
        if size < 0 or len(self._roots) != size.bit_count():
            raise ProofError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {len(self._roots)}")

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaf hashes. Many at once are hashed level by level, in half the time of one after the other."""
        nodes, size, kept = list(leaves), self.size, list[bytes]()
        self.size += len(nodes)
        while nodes or size:
            if size & 1:
                nodes.insert(0, self._roots.pop())
            if len(nodes) & 1:
                kept.append(nodes.pop())
            nodes = [sha256(NODE + nodes[at] + nodes[at + 1]).digest() for at in range(0, len(nodes), 2)]
            size >>= 1
        self._roots = kept[::-1]

    def root(self) -> bytes:
        """The root of what has been appended."""
        if not self._roots:
            return EMPTY_ROOT
        *rest, node = self._roots
        for left in reversed(rest):
            node = node_hash(left, node)
        return node


# -- proving -----------------------------------------------------------------------------------------------------------


def inclusion_proof(index: int, size: int, hash_of: Range) -> list[bytes]:
    """The proof that leaf `index` is in the tree of `size` leaves. Raises ProofError when it is not."""
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    return _proof(index, index + 1, 0, size, hash_of, is_known=True)


def consistency_proof(old: int, new: int, hash_of: Range) -> list[bytes]:
    """The proof that the tree of `new` leaves begins with that of `old`. Raises ProofError for sizes out of order."""
    if not 0 < old <= new:
        raise ProofError(f"nothing can be proven of a tree of {old} leaves and a later one of {new}")
    return _proof(0, old, 0, new, hash_of, is_known=True)


def _proof(  # noqa: PLR0913 -- a subtree in a tree
    start: int, end: int, low: int, high: int, hash_of: Range, *, is_known: bool
) -> list[bytes]:
    """Hashes beside the subtree `[start, end)` inside `[low, high)`, the innermost first (RFC 6962, 2.1.1, 2.1.2)."""
    if (start, end) == (low, high):
        return [] if is_known else [hash_of(start, end)]
    middle = low + _split(high - low)
    if end <= middle:
        return [*_proof(start, end, low, middle, hash_of, is_known=is_known), hash_of(middle, high)]
    if start >= middle:
        return [*_proof(start, end, middle, high, hash_of, is_known=is_known), hash_of(low, middle)]
    return [*_proof(middle, end, middle, high, hash_of, is_known=False), hash_of(low, middle)]


# -- verifying ---------------------------------------------------------------------------------------------------------


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], expected: bytes) -> None:
    """Raises ProofError unless the proof shows that the leaf hash stands at `index` of the tree with this root."""
    verify_subtree_inclusion(index, 0, size, leaf, proof, expected)


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raises ProofError unless the proof shows that the tree of `new` leaves begins with the tree of `old`."""
    if old == 0:
        raise ProofError("of an empty tree, consistency cannot be shown: every tree begins with it")
    verify_subtree_consistency(0, old, new, proof, old_root, new_root)


def verify_subtree_inclusion(  # noqa: PLR0913 -- as the draft has them
    index: int, start: int, end: int, leaf: bytes, proof: Sequence[bytes], expected: bytes
) -> None:
    """As verify_inclusion, in the subtree `[start, end)`."""
    _require_subtree(start, end)
    if not start <= index < end:
        raise ProofError(f"leaf {index} is not one of [{start}, {end})")
    _, found = _roots(index - start, index - start + 1, end - start, _hashes(proof), _one_hash(leaf))
    _require_same(found, expected)


def verify_subtree_consistency(  # noqa: PLR0913 -- as the draft has them
    start: int, end: int, size: int, proof: Sequence[bytes], sub_root: bytes, whole_root: bytes
) -> None:
    """As verify_consistency, for the leaves `[start, end)` inside a tree of `size`."""
    _require_subtree(start, end)
    if end > size:
        raise ProofError(f"the leaves [{start}, {end}) are not all in a tree of {size}")
    if start == end:
        if proof:
            raise ProofError("nothing can be proven of no leaves")
        _require_same(sub_root, EMPTY_ROOT)
        return
    found_sub, found = _roots(start, end, size, _hashes(proof), sub_root)
    _require_same(found_sub, sub_root)
    _require_same(found, whole_root)


def _roots(start: int, end: int, size: int, proof: list[bytes], known: bytes) -> tuple[bytes, bytes]:
    """Root of the subtree and root of the tree that a proof implies. Raises ProofError when it is too long or short."""
    found = _rebuilt(start, end, size, proof, known)
    if proof:
        raise ProofError(f"the proof has {len(proof)} hashes too many")
    return found


def _rebuilt(start: int, end: int, size: int, proof: list[bytes], known: bytes | None) -> tuple[bytes, bytes]:
    if (start, end) == (0, size):
        node = known if known is not None else _last(proof)
        return node, node
    beside = _last(proof)
    middle = _split(size)
    if end <= middle:
        part, node = _rebuilt(start, end, middle, proof, known)
        return part, node_hash(node, beside)
    if start >= middle:
        part, node = _rebuilt(start - middle, end - middle, size - middle, proof, known)
        return part, node_hash(beside, node)
    part, node = _rebuilt(0, end - middle, size - middle, proof, None)
    return node_hash(beside, part), node_hash(beside, node)


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _require_subtree(start: int, end: int) -> None:
    """A subtree begins at a multiple of the smallest power of two that is not below its width."""
    if not 0 <= start <= end or (start < end and start % (1 << (end - start - 1).bit_length())):
        raise ProofError(f"the leaves [{start}, {end}) are no subtree")


def _hashes(proof: Sequence[bytes]) -> list[bytes]:
    return [_one_hash(hashed) for hashed in proof]


def _one_hash(hashed: bytes) -> bytes:
    if len(hashed) != HASH_BYTES:
        raise ProofError(f"a hash has {HASH_BYTES} bytes, not {len(hashed)}")
    return hashed


def _last(proof: list[bytes]) -> bytes:
    if not proof:
        raise ProofError("the proof is too short")
    return proof.pop()


def _require_same(found: bytes, expected: bytes) -> None:
    if found != expected:
        raise ProofError("the proof leads to another root")
