"""The hashes of a Merkle tree as tiles: how they grow, and what is read from them (policy clause R1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

import pytest

from governance import merkle
from governance.errors import ProofError
from governance.merkle import EMPTY_ROOT, Compact, leaf_hash
from governance.tiles import TILE_BYTES, WIDTH, Place, Tiles, appended, edge

pytestmark = pytest.mark.clause("R1")

LEAVES = [leaf_hash(f"entry {number}".encode()) for number in range(70_001)]

# Both sides of the first tile, of the first tile of the second level, and the example of c2sp.org/tlog-tiles.
SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_791, 65_792, 65_793, 70_000]


def tree_hash(start: int, end: int) -> bytes:
    """MTH of RFC 6962, 2.1, over leaves that are there."""
    if end - start == 1:
        return LEAVES[start]
    split = 1
    while split * 2 < end - start:
        split *= 2
    return sha256(b"\x01" + tree_hash(start, start + split) + tree_hash(start + split, end)).digest()


def grown(sizes: Iterable[int]) -> dict[Place, bytes]:
    """The tiles of a tree that grew to one size after another."""
    stored: dict[Place, bytes] = {}
    size = 0
    for next_size in sizes:
        unfilled = {place: stored[place] for place in edge(size)}
        stored |= appended(size, unfilled, LEAVES[size:next_size])
        size = next_size
    return stored


@pytest.fixture(scope="module")
def large() -> dict[Place, bytes]:
    """The tiles of a tree of 70,000 leaves."""
    return grown([70_000])


@pytest.fixture(scope="module")
def roots() -> dict[int, bytes]:
    """The root of every one of the sizes."""
    compact, found = Compact(), {}
    for size in SIZES:
        compact.extend(LEAVES[compact.size : size])
        found[size] = compact.root()
    return found


def refused_append(size: int, unfilled: Mapping[Place, bytes], leaves: list[bytes] | None = None) -> str:
    """What is said about tiles that do not fit."""
    with pytest.raises(ProofError) as refused:
        appended(size, unfilled, LEAVES[:1] if leaves is None else leaves)
    return str(refused.value)


# -- growing -----------------------------------------------------------------------------------------------------------


def test_a_tree_of_70_000_leaves_has_the_tiles_of_the_specification(large: dict[Place, bytes]) -> None:
    widths = {place: len(tile) // 32 for place, tile in large.items()}
    full = {(0, number): 256 for number in range(273)} | {(1, 0): 256}
    assert widths == full | {(0, 273): 112, (1, 1): 17, (2, 0): 1}


def test_every_hash_of_a_tile_is_the_root_that_the_specification_puts_there(large: dict[Place, bytes]) -> None:
    for (level, number), tile in large.items():
        span = 256**level
        starts = [(number * 256 + at) * span for at in range(len(tile) // 32)]
        # A tile of the lowest level is looked at whole, one above by its ends.
        looked_at = starts if level == 0 else {starts[0], starts[-1]}
        for start in looked_at:
            at = (start // span - number * 256) * 32
            assert tile[at : at + 32] == tree_hash(start, start + span)


def test_a_tree_of_256_leaves_has_one_full_tile_and_its_root_in_the_next_level() -> None:
    assert grown([256]) == {(0, 0): b"".join(LEAVES[:256]), (1, 0): tree_hash(0, 256)}


def test_a_tree_of_255_leaves_has_nothing_in_the_next_level() -> None:
    assert grown([255]) == {(0, 0): b"".join(LEAVES[:255])}


def test_a_tree_of_257_leaves_has_begun_a_second_tile() -> None:
    assert grown([257]) == grown([256]) | {(0, 1): LEAVES[256]}


@pytest.mark.parametrize("step", [1, 2, 7, 100, 255, 256, 257, 511, 512, 513, 700])
def test_growth_by_batches_of_any_size_gives_the_tiles_of_growth_at_once(step: int) -> None:
    assert grown([*range(step, 700, step), 700]) == grown([700])


@pytest.mark.parametrize("step", [255, 256, 257, 10_000, 65_535, 65_536, 65_537])
def test_growth_past_a_tile_of_the_second_level_gives_the_tiles_of_growth_at_once(
    large: dict[Place, bytes], step: int
) -> None:
    assert grown([*range(step, 70_000, step), 70_000]) == large


@pytest.mark.parametrize("boundary", [256, 65_536])
def test_the_steps_over_a_boundary_may_be_single_ones(boundary: int) -> None:
    around = range(boundary - 2, boundary + 3)
    assert grown(around) == grown([boundary + 2])


def test_only_what_is_new_or_changed_is_given() -> None:
    stored = grown([600])
    changed = appended(600, {place: stored[place] for place in edge(600)}, LEAVES[600:601])
    assert changed == {(0, 2): b"".join(LEAVES[512:601])}


def test_a_tile_that_is_filled_changes_the_one_above_it() -> None:
    stored = grown([511])
    changed = appended(511, {place: stored[place] for place in edge(511)}, LEAVES[511:512])
    assert changed == {
        (0, 1): b"".join(LEAVES[256:512]),
        (1, 0): tree_hash(0, 256) + tree_hash(256, 512),
    }


def test_the_leaf_that_fills_two_levels_changes_one_tile_of_each_of_three() -> None:
    stored = grown([65_535])
    changed = appended(65_535, {place: stored[place] for place in edge(65_535)}, LEAVES[65_535:65_536])
    assert {place: len(tile) // 32 for place, tile in changed.items()} == {(0, 255): 256, (1, 0): 256, (2, 0): 1}
    assert changed[2, 0] == tree_hash(0, 65_536)


def test_no_leaves_change_nothing() -> None:
    assert appended(0, {}, []) == {}
    assert appended(600, {(0, 2): b"".join(LEAVES[512:600]), (1, 0): bytes(64)}, []) == {}


def test_the_tiles_that_are_given_stay_as_they_were() -> None:
    stored = grown([300])
    unfilled = {place: stored[place] for place in edge(300)}
    before = dict(unfilled)
    appended(300, unfilled, LEAVES[300:600])
    assert unfilled == before


# -- the edge ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "places"),
    [
        (0, []),
        (1, [(0, 0)]),
        (255, [(0, 0)]),
        (256, [(1, 0)]),
        (257, [(0, 1), (1, 0)]),
        (512, [(1, 0)]),
        (65_535, [(0, 255), (1, 0)]),
        (65_536, [(2, 0)]),
        (65_537, [(0, 256), (2, 0)]),
        (65_792, [(1, 1), (2, 0)]),
        (70_000, [(0, 273), (1, 1), (2, 0)]),
        (1 << 24, [(3, 0)]),
        ((1 << 24) - 1, [(0, 65_535), (1, 255), (2, 0)]),
    ],
)
def test_the_edge_names_the_tiles_that_are_not_full(size: int, places: list[Place]) -> None:
    assert edge(size) == places


@pytest.mark.parametrize("size", [*range(1, 600, 13), *SIZES])
def test_the_edge_names_what_growth_leaves_unfilled(size: int) -> None:
    stored = grown([size])
    assert edge(size) == sorted(place for place, tile in stored.items() if len(tile) < TILE_BYTES)
    assert {len(tile) for place, tile in stored.items() if place not in edge(size)} <= {TILE_BYTES}


def test_a_tree_of_a_negative_size_is_refused() -> None:
    with pytest.raises(ProofError, match="a tree has no fewer than no leaves"):
        edge(-1)
    assert refused_append(-1, {}) == "a tree has no fewer than no leaves"


# -- growing from tiles that do not fit --------------------------------------------------------------------------------


def test_nothing_is_appended_when_the_unfilled_tile_is_missing() -> None:
    assert refused_append(3, {}) == "level 0 of a tree of 3 leaves ends in a tile of another length"


def test_nothing_is_appended_to_a_tile_with_a_hash_too_few() -> None:
    assert refused_append(3, {(0, 0): bytes(64)}) == "level 0 of a tree of 3 leaves ends in a tile of another length"


def test_nothing_is_appended_to_a_tile_with_a_hash_too_many() -> None:
    assert refused_append(3, {(0, 0): bytes(128)}) == "level 0 of a tree of 3 leaves ends in a tile of another length"


def test_nothing_is_appended_to_a_tile_that_is_cut_within_a_hash() -> None:
    assert refused_append(3, {(0, 0): bytes(95)}) == "level 0 of a tree of 3 leaves ends in a tile of another length"


def test_nothing_is_appended_when_an_upper_tile_is_missing() -> None:
    unfilled = {(0, 1): LEAVES[256]}
    assert refused_append(257, unfilled) == "level 1 of a tree of 257 leaves ends in a tile of another length"


def test_nothing_is_appended_when_a_tile_should_not_have_been_begun() -> None:
    unfilled = {(0, 1): LEAVES[256], (1, 0): bytes(32)}
    assert refused_append(256, unfilled) == "level 0 of a tree of 256 leaves ends in a tile of another length"


def test_a_tile_that_does_not_fit_is_refused_also_when_nothing_is_appended() -> None:
    assert refused_append(3, {}, leaves=[]) == "level 0 of a tree of 3 leaves ends in a tile of another length"


@pytest.mark.parametrize("size", [0, 255])
def test_nothing_is_appended_when_a_level_should_not_have_been_begun(size: int) -> None:
    unfilled = {(0, 0): b"".join(LEAVES[:size])} if size else {}
    begun: Place = (1, 0) if size else (0, 0)
    said = refused_append(size, unfilled | {begun: bytes(32)})
    assert said == f"a tree of {size} leaves has no unfilled tile {begun}"


def test_leaf_hashes_of_another_length_are_refused() -> None:
    for leaves in ([bytes(31)], [bytes(33)], [b""], [bytes(31), bytes(33)], [LEAVES[0], bytes(64)]):
        assert refused_append(0, {}, leaves) == "the hash of a leaf has 32 bytes"


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_root_of_every_size_is_read_from_the_tiles_of_a_larger_tree(
    large: dict[Place, bytes], roots: dict[int, bytes], size: int
) -> None:
    assert Tiles(large.get).hash_of(0, size) == roots[size]


@pytest.mark.parametrize("size", SIZES)
def test_the_root_of_every_size_is_read_from_its_own_tiles(roots: dict[int, bytes], size: int) -> None:
    assert Tiles(grown([size]).get).hash_of(0, size) == roots[size]


def test_no_leaves_have_the_empty_root_without_a_tile() -> None:
    assert Tiles(lambda _: None).hash_of(0, 0) == EMPTY_ROOT


def test_the_roots_that_are_read_are_those_of_the_definition(
    large: dict[Place, bytes], roots: dict[int, bytes]
) -> None:
    assert roots[70_000] == tree_hash(0, 70_000)
    tiles = Tiles(large.get)
    for start, end in [
        (0, 1),
        (255, 256),
        (256, 257),
        (128, 256),
        (256, 512),
        (512, 700),
        (65_536, 70_000),
        (768, 1_024),
    ]:
        assert tiles.hash_of(start, end) == tree_hash(start, end)


def test_a_tile_is_fetched_once(large: dict[Place, bytes]) -> None:
    fetched: list[Place] = []

    def fetch(place: Place) -> bytes | None:
        fetched.append(place)
        return large.get(place)

    tiles = Tiles(fetch)
    assert tiles.hash_of(0, 70_000) == tiles.hash_of(0, 70_000)
    assert tiles.hash_of(69_999, 70_000) == LEAVES[69_999]
    # The leaves after 69,888, the roots of 256 after 65,536, and the one of 65,536.
    assert sorted(fetched) == [(0, 273), (1, 1), (2, 0)]


def test_a_proof_reads_a_handful_of_tiles(large: dict[Place, bytes], roots: dict[int, bytes]) -> None:
    fetched: list[Place] = []

    def fetch(place: Place) -> bytes | None:
        fetched.append(place)
        return large.get(place)

    proof = merkle.inclusion_proof(12_345, 70_000, Tiles(fetch).hash_of)
    merkle.verify_inclusion(12_345, 70_000, LEAVES[12_345], proof, roots[70_000])
    assert sorted(fetched) == [(0, 48), (0, 273), (1, 0), (1, 1)]


def test_a_missing_tile_is_named() -> None:
    stored = grown([600])
    del stored[0, 2]
    with pytest.raises(ProofError, match="the tile 2 of level 0 is missing or too short"):
        Tiles(stored.get).hash_of(0, 600)


def test_a_missing_tile_of_an_upper_level_is_named() -> None:
    stored = grown([600])
    del stored[1, 0]
    with pytest.raises(ProofError, match="the tile 0 of level 1 is missing or too short"):
        Tiles(stored.get).hash_of(0, 600)


@pytest.mark.parametrize("bytes_left", [0, 1, 31, 32 * 87, 32 * 88 - 1])
def test_a_tile_that_is_too_short_is_named(bytes_left: int) -> None:
    stored = grown([600])
    stored[0, 2] = stored[0, 2][:bytes_left]
    with pytest.raises(ProofError, match="the tile 2 of level 0 is missing or too short"):
        Tiles(stored.get).hash_of(0, 600)


def test_a_tree_larger_than_its_tiles_has_no_root() -> None:
    stored = grown([255])
    with pytest.raises(ProofError, match="is missing or too short"):
        Tiles(stored.get).hash_of(0, 256)


@pytest.mark.parametrize(("start", "end"), [(5, 3), (8, 4), (1, 0), (-1, 1), (-3, -1)])
def test_leaves_that_end_before_they_begin_or_cross_the_first_have_no_root(start: int, end: int) -> None:
    assert refused_root(start, end) == f"the leaves [{start}, {end}) are no subtree"


@pytest.mark.parametrize(("start", "end"), [(-1, 0), (-2, 0), (-256, 0), (700, 701), (768, 1_024)])
def test_leaves_that_are_not_there_have_no_root(start: int, end: int) -> None:
    assert refused_root(start, end).endswith("is missing or too short")


@pytest.mark.parametrize(
    ("start", "end"),
    [(1, 3), (3, 5), (2, 5), (255, 257), (254, 258), (3, 131), (1, 257), (100, 356), (255, 511), (3, 515), (5, 700)],
)
def test_leaves_that_do_not_begin_at_a_multiple_of_their_width_do_not_get_the_root_of_others(
    start: int, end: int
) -> None:
    assert refused_root(start, end) == f"the leaves [{start}, {end}) are no subtree"


def refused_root(start: int, end: int) -> str:
    """What the tiles of 700 leaves say about leaves of which they have no root."""
    with pytest.raises(ProofError) as refused:
        Tiles(grown([700]).get).hash_of(start, end)
    return str(refused.value)


# -- proving from tiles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_is_proven_from_tiles_on_both_sides_of_every_boundary(
    large: dict[Place, bytes], roots: dict[int, bytes], size: int
) -> None:
    tiles = Tiles(large.get)
    around = {0, 1, 254, 255, 256, 257, size // 2, 65_534, 65_535, 65_536, 65_537, size - 2, size - 1}
    for index in sorted(index for index in around if 0 <= index < size):
        proof = merkle.inclusion_proof(index, size, tiles.hash_of)
        merkle.verify_inclusion(index, size, LEAVES[index], proof, roots[size])


def test_consistency_is_proven_from_tiles_between_all_sizes(large: dict[Place, bytes], roots: dict[int, bytes]) -> None:
    tiles = Tiles(large.get)
    for new in SIZES:
        for old in SIZES[: SIZES.index(new) + 1]:
            proof = merkle.consistency_proof(old, new, tiles.hash_of)
            merkle.verify_consistency(old, new, proof, roots[old], roots[new])


def test_a_tile_that_was_changed_leads_to_another_root(roots: dict[int, bytes]) -> None:
    stored = grown([600])
    for place in [(0, 1), (0, 2), (1, 0)]:
        edited = stored | {place: bytes([stored[place][0] ^ 1]) + stored[place][1:]}
        tiles = Tiles(edited.get)
        proof = merkle.inclusion_proof(300, 600, tiles.hash_of)
        with pytest.raises(ProofError, match="another root"):
            merkle.verify_inclusion(300, 600, LEAVES[300], proof, tree_hash(0, 600))


def test_a_tile_has_room_for_256_hashes() -> None:
    assert (WIDTH, TILE_BYTES) == (256, 8_192)
