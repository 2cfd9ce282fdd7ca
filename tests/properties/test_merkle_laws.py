"""Laws of the Merkle tree: what is proven verifies, and nothing else does, however the tree grew and was stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from unittest.mock import patch

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from governance import merkle, tiles
from governance.errors import ProofError
from governance.merkle import HASH_BYTES, Compact, leaf_hash
from governance.tiles import Place, Tiles, appended, edge

pytestmark = pytest.mark.clause("R1")

MOST = 700
"""Leaves of the largest tree: two full tiles, and some."""
LEAVES = [leaf_hash(f"entry {number}".encode()) for number in range(MOST)]

SIZES = st.integers(1, 40) | st.integers(1, MOST)


# -- the definitions, as they are printed ------------------------------------------------------------------------------


def below(size: int) -> int:
    """The largest power of two below a size."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


@cache
def tree_hash(start: int, end: int) -> bytes:
    """MTH of RFC 6962, 2.1, over some of the leaves."""
    if start == end:
        return sha256(b"").digest()
    if end - start == 1:
        return LEAVES[start]
    split = start + below(end - start)
    return sha256(b"\x01" + tree_hash(start, split) + tree_hash(split, end)).digest()


Step = tuple[str, int, int]
"""Which side of what is known the leaves `[start, end)` are; or that they are the known, or the first hash, itself."""


def steps(start: int, end: int, size: int, at: int = 0, known: str = "known") -> list[Step]:
    """What a proof for the leaves `[start, end)` consists of: SUBTREE_SUBPROOF of the draft, 4.4.1."""
    if (start, end) == (0, size):
        return [(known, at, at + size)]
    split = below(size)
    left, right = ("left", at, at + split), ("right", at + split, at + size)
    if end <= split:
        return [*steps(start, end, split, at, known), right]
    if start >= split:
        return [*steps(start - split, end - split, size - split, at + split, known), left]
    return [*steps(0, end - split, size - split, at + split, "first"), left]


def proof_of(start: int, end: int, size: int) -> list[bytes]:
    """The proof by the definition."""
    return [tree_hash(low, high) for side, low, high in steps(start, end, size) if side != "known"]


def shape(start: int, end: int, size: int) -> list[str]:
    """What is computed from a proof, whatever its hashes: two places with one shape cannot be told apart by it."""
    return [side for side, _, _ in steps(start, end, size)]


# -- what is drawn -----------------------------------------------------------------------------------------------------


@st.composite
def subtrees(draw: st.DrawFn) -> tuple[int, int, int]:
    """Start and end of a subtree with leaves in it, and the size of a tree that it is in."""
    size = draw(SIZES)
    width = draw(st.integers(1, size))
    aligned = 1 << (width - 1).bit_length()
    start = aligned * draw(st.integers(0, (size - width) // aligned))
    return start, start + width, size


@st.composite
def splits(draw: st.DrawFn, most: int) -> list[int]:
    """The sizes by which a tree grows; some steps add nothing."""
    return sorted(draw(st.lists(st.integers(0, most), min_size=1, max_size=8)))


def flipped(data: st.DataObject, hashed: bytes) -> bytes:
    """With one bit that is another."""
    bit = data.draw(st.integers(0, 8 * len(hashed) - 1), label="bit")
    return hashed[: bit // 8] + bytes([hashed[bit // 8] ^ 1 << bit % 8]) + hashed[bit // 8 + 1 :]


def with_one_flipped(data: st.DataObject, hashes: Sequence[bytes]) -> list[bytes]:
    """With one bit of one of the hashes that is another."""
    at = data.draw(st.integers(0, len(hashes) - 1), label="which")
    return [*hashes[:at], flipped(data, hashes[at]), *hashes[at + 1 :]]


def maimed(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    """With a hash less, a hash more, or two of them in each other's place."""
    kinds = ["longer", *(["shorter"] if proof else []), *(["swapped"] if len(proof) > 1 else [])]
    kind = data.draw(st.sampled_from(kinds), label="kind")
    at = data.draw(st.integers(0, max(len(proof) - 1 - (kind == "swapped"), 0)), label="which")
    if kind == "longer":
        return [*proof[:at], data.draw(st.sampled_from([bytes(32), LEAVES[0], *proof])), *proof[at:]]
    if kind == "shorter":
        return [*proof[:at], *proof[at + 1 :]]
    return [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]]


@contextmanager
def tiles_of(levels: int) -> Iterator[None]:
    """Tiles of fewer levels of the tree than 8, so that a small tree has many levels of them."""
    width = 1 << levels
    with patch.multiple(tiles, LEVELS=levels, WIDTH=width, TILE_BYTES=width * HASH_BYTES):
        yield


def grown(sizes: Sequence[int]) -> dict[Place, bytes]:
    """The tiles of a tree that grew to one size after another, each step knowing its unfilled tiles only."""
    stored: dict[Place, bytes] = {}
    size = 0
    for next_size in sizes:
        stored |= appended(size, {place: stored[place] for place in edge(size)}, LEAVES[size:next_size])
        size = next_size
    return stored


# -- inclusion ---------------------------------------------------------------------------------------------------------


@given(SIZES, st.data())
def test_every_leaf_has_a_short_proof_that_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, tree_hash)
    assert proof == proof_of(index, index + 1, size)
    assert len(proof) <= (size - 1).bit_length()
    merkle.verify_inclusion(index, size, LEAVES[index], proof, tree_hash(0, size))


@given(SIZES, st.data())
def test_a_bit_of_the_leaf_of_the_proof_or_of_the_root_breaks_an_inclusion(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    given_hashes = [LEAVES[index], *proof_of(index, index + 1, size), tree_hash(0, size)]
    leaf, *proof, whole = with_one_flipped(data, given_hashes)
    with pytest.raises(ProofError):
        merkle.verify_inclusion(index, size, leaf, proof, whole)


@given(SIZES, st.data())
def test_a_hash_less_a_hash_more_or_another_order_breaks_an_inclusion(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = maimed(data, proof_of(index, index + 1, size))
    with pytest.raises(ProofError):
        merkle.verify_inclusion(index, size, LEAVES[index], proof, tree_hash(0, size))


@given(SIZES, st.data())
def test_no_other_place_of_a_leaf_is_shown(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    bit = data.draw(st.integers(0, 11))
    other = data.draw(st.sampled_from([index ^ 1 << bit, -index - 1]) | st.integers(0, size - 1))
    assume(other != index)
    with pytest.raises(ProofError):
        merkle.verify_inclusion(other, size, LEAVES[index], proof_of(index, index + 1, size), tree_hash(0, size))


@given(SIZES, st.data())
def test_no_size_of_another_shape_is_shown(size: int, data: st.DataObject) -> None:
    # The size is not hashed. It is the checkpoint that says it, beside the root: of two sizes in which the way from a
    # leaf up has the same turns, a proof cannot tell which is meant.
    index = data.draw(st.integers(0, size - 1))
    other = size ^ 1 << data.draw(st.integers(0, 11))
    is_same = other > index and shape(index, index + 1, other) == shape(index, index + 1, size)
    proof, whole = proof_of(index, index + 1, size), tree_hash(0, size)
    if is_same:
        merkle.verify_inclusion(index, other, LEAVES[index], proof, whole)
    else:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(index, other, LEAVES[index], proof, whole)


@given(SIZES, SIZES, st.data())
def test_no_proof_from_one_tree_holds_in_another(size: int, other: int, data: st.DataObject) -> None:
    assume(size != other)
    index = data.draw(st.integers(0, size - 1))
    with pytest.raises(ProofError):
        merkle.verify_inclusion(index, size, LEAVES[index], proof_of(index, index + 1, size), tree_hash(0, other))


# -- consistency -------------------------------------------------------------------------------------------------------


@given(SIZES, st.data())
def test_every_tree_shows_by_a_short_proof_what_it_began_with(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency_proof(old, new, tree_hash)
    assert proof == proof_of(0, old, new)
    assert len(proof) <= new.bit_length() + 1
    merkle.verify_consistency(old, new, proof, tree_hash(0, old), tree_hash(0, new))


@given(SIZES, st.data())
def test_a_bit_of_the_proof_or_of_a_root_breaks_a_consistency(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    given_hashes = [tree_hash(0, old), *proof_of(0, old, new), tree_hash(0, new)]
    old_root, *proof, new_root = with_one_flipped(data, given_hashes)
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, new, proof, old_root, new_root)


@given(SIZES, st.data())
def test_a_hash_less_a_hash_more_or_another_order_breaks_a_consistency(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = maimed(data, proof_of(0, old, new))
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, new, proof, tree_hash(0, old), tree_hash(0, new))


@given(SIZES, st.data())
def test_no_consistency_of_sizes_of_another_shape_is_shown(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    bit = 1 << data.draw(st.integers(0, 11))
    other_old, other_new = data.draw(st.sampled_from([(old ^ bit, new), (old, new ^ bit), (old ^ bit, new ^ bit)]))
    assume(not 0 < other_old <= other_new or shape(0, other_old, other_new) != shape(0, old, new))
    with pytest.raises(ProofError):
        merkle.verify_consistency(other_old, other_new, proof_of(0, old, new), tree_hash(0, old), tree_hash(0, new))


@given(SIZES, st.data())
def test_no_tree_begins_with_one_of_which_a_leaf_was_rewritten(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    at = data.draw(st.integers(0, old - 1))
    rewritten = [*LEAVES[:at], flipped(data, LEAVES[at]), *LEAVES[at + 1 : new]]
    proof = merkle.consistency_proof(old, new, lambda start, end: merkle.root(rewritten[start:end]))
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, new, proof, tree_hash(0, old), merkle.root(rewritten))


# -- subtrees ----------------------------------------------------------------------------------------------------------


@given(subtrees())
def test_every_subtree_shows_the_tree_that_it_is_in(subtree: tuple[int, int, int]) -> None:
    start, end, size = subtree
    proof = proof_of(start, end, size)
    assert len(proof) <= size.bit_length() + 1
    merkle.verify_subtree_consistency(start, end, size, proof, tree_hash(start, end), tree_hash(0, size))


@given(subtrees(), st.data())
def test_every_leaf_shows_the_subtree_that_it_is_in(subtree: tuple[int, int, int], data: st.DataObject) -> None:
    start, end, _ = subtree
    index = data.draw(st.integers(start, end - 1))
    proof = merkle.inclusion_proof(index - start, end - start, lambda low, high: tree_hash(start + low, start + high))
    assert len(proof) <= (end - start).bit_length()
    merkle.verify_subtree_inclusion(index, start, end, LEAVES[index], proof, tree_hash(start, end))


@given(subtrees(), st.data())
def test_a_bit_of_any_hash_breaks_what_is_shown_of_a_subtree(
    subtree: tuple[int, int, int], data: st.DataObject
) -> None:
    start, end, size = subtree
    sub_root, *proof, whole = with_one_flipped(
        data, [tree_hash(start, end), *proof_of(start, end, size), tree_hash(0, size)]
    )
    with pytest.raises(ProofError):
        merkle.verify_subtree_consistency(start, end, size, proof, sub_root, whole)


@given(subtrees(), st.data())
def test_a_bit_of_any_number_breaks_what_is_shown_of_a_subtree(
    subtree: tuple[int, int, int], data: st.DataObject
) -> None:
    start, end, size = subtree
    at, bit = data.draw(st.integers(0, 2), label="number"), data.draw(st.integers(0, 11), label="bit")
    other = [*subtree]
    other[at] ^= 1 << bit
    width = other[1] - other[0]
    is_sound = width > 0 and other[1] <= other[2] and other[0] % (1 << (width - 1).bit_length()) == 0
    assume(not is_sound or shape(other[0], other[1], other[2]) != shape(start, end, size))
    with pytest.raises(ProofError):
        merkle.verify_subtree_consistency(
            other[0], other[1], other[2], proof_of(start, end, size), tree_hash(start, end), tree_hash(0, size)
        )


@given(st.integers(0, 64), st.integers(0, 64), st.integers(0, 64))
def test_leaves_that_do_not_begin_where_a_subtree_can_are_refused(start: int, width: int, more: int) -> None:
    assume(width > 1 and start % (1 << (width - 1).bit_length()))
    with pytest.raises(ProofError, match="are no subtree"):
        merkle.verify_subtree_consistency(start, start + width, start + width + more, [], LEAVES[0], LEAVES[0])


# -- growth ------------------------------------------------------------------------------------------------------------


@given(splits(MOST))
def test_a_compact_tree_has_the_roots_of_the_definition_however_it_grows(sizes: list[int]) -> None:
    compact = Compact()
    for size in sizes:
        compact.extend(LEAVES[compact.size : size])
        assert (compact.size, compact.root()) == (size, tree_hash(0, size))


@given(splits(MOST))
def test_tiles_are_the_same_and_give_the_same_roots_however_the_tree_grows(sizes: list[int]) -> None:
    stored = grown(sizes)
    assert stored == grown(sizes[-1:])
    read = Tiles(stored.get)
    assert [read.hash_of(0, size) for size in sizes] == [tree_hash(0, size) for size in sizes]


@given(st.integers(1, 4), splits(90), st.data())
def test_that_holds_for_tiles_of_any_width_with_the_hashes_where_they_belong(
    levels: int, sizes: list[int], data: st.DataObject
) -> None:
    size = sizes[-1]
    with tiles_of(levels):
        stored = grown(sizes)
        assert stored == grown([size])
        for (level, number), tile in stored.items():
            span = 1 << levels * level
            starts = [((number << levels) + at) * span for at in range(len(tile) // HASH_BYTES)]
            assert tile == b"".join(tree_hash(start, start + span) for start in starts)
        assert edge(size) == sorted(place for place, tile in stored.items() if len(tile) < HASH_BYTES << levels)
        assert sum(len(tile) for (level, _), tile in stored.items() if level == 0) == size * HASH_BYTES
        read = Tiles(stored.get)
        assert [read.hash_of(0, earlier) for earlier in sizes] == [tree_hash(0, earlier) for earlier in sizes]
        if size:
            index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
            assert merkle.inclusion_proof(index, size, read.hash_of) == proof_of(index, index + 1, size)
            assert merkle.consistency_proof(old, size, read.hash_of) == proof_of(0, old, size)


@given(st.integers(1, 4), st.integers(1, 90), st.data())
def test_no_tree_is_read_from_tiles_of_which_one_is_missing_cut_or_changed(
    levels: int, size: int, data: st.DataObject
) -> None:
    with tiles_of(levels):
        stored = grown([size])
        place = data.draw(st.sampled_from(edge(size)))  # every hash of it is read for the root
        cut = stored[place][: data.draw(st.integers(0, len(stored[place]) - 1))]
        for harmed in (None, cut):
            with pytest.raises(ProofError, match="is missing or too short"):
                Tiles((stored | {place: harmed}).get).hash_of(0, size)
        assert Tiles((stored | {place: flipped(data, stored[place])}).get).hash_of(0, size) != tree_hash(0, size)


@given(st.integers(1, 4), st.integers(1, 90), st.data())
def test_no_tree_grows_from_tiles_of_which_one_has_another_length(levels: int, size: int, data: st.DataObject) -> None:
    with tiles_of(levels):
        stored = grown([size])
        unfilled = {place: stored[place] for place in edge(size)}
        place = data.draw(st.sampled_from(edge(size)))
        length = data.draw(st.integers(0, HASH_BYTES << levels).filter(lambda length: length != len(stored[place])))
        with pytest.raises(ProofError, match="ends in a tile of another length"):
            appended(size, unfilled | {place: bytes(length)}, LEAVES[:1])
