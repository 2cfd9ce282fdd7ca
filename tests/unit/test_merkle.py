"""The Merkle tree of RFC 6962: hashes, roots, proofs, and every way in which a proof is none (policy clause R1).

The vectors are those of transparency-dev/merkle, whose subtrees follow draft-ietf-plants-merkle-tree-certs.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from governance import merkle
from governance.errors import ProofError
from governance.merkle import EMPTY_ROOT, Compact, consistency_proof, inclusion_proof, leaf_hash, node_hash, root

pytestmark = pytest.mark.clause("R1")

LEAVES = [leaf_hash(f"entry {number}".encode()) for number in range(130)]

Vector = dict[str, Any]

# Leaves and roots that every implementation of certificate transparency is tested with.
KNOWN_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
KNOWN_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


# -- the definitions, as they are printed ------------------------------------------------------------------------------


def below(size: int) -> int:
    """The largest power of two below a size."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = below(len(leaves))
    return sha256(b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


def audit_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    split = below(len(leaves))
    if index < split:
        return [*audit_path(index, leaves[:split]), tree_hash(leaves[split:])]
    return [*audit_path(index - split, leaves[split:]), tree_hash(leaves[:split])]


def subtree_proof(start: int, end: int, leaves: Sequence[bytes], *, is_known: bool = True) -> list[bytes]:
    """SUBTREE_SUBPROOF of the draft, 4.4.1; with a start of 0 it is SUBPROOF of RFC 6962, 2.1.2."""
    if (start, end) == (0, len(leaves)):
        return [] if is_known else [tree_hash(leaves)]
    split = below(len(leaves))
    if end <= split:
        return [*subtree_proof(start, end, leaves[:split], is_known=is_known), tree_hash(leaves[split:])]
    if start >= split:
        inside = subtree_proof(start - split, end - split, leaves[split:], is_known=is_known)
        return [*inside, tree_hash(leaves[:split])]
    return [*subtree_proof(0, end - split, leaves[split:], is_known=False), tree_hash(leaves[:split])]


def hash_of(start: int, end: int) -> bytes:
    return tree_hash(LEAVES[start:end])


def subtrees(size: int) -> Iterator[tuple[int, int]]:
    """Every subtree with leaves in it, of a tree of this size."""
    for width in range(1, size + 1):
        aligned = 1
        while aligned < width:
            aligned *= 2
        yield from ((start, start + width) for start in range(0, size - width + 1, aligned))


# -- hashes and roots --------------------------------------------------------------------------------------------------


def test_the_hashes_of_a_leaf_and_of_a_node_are_those_that_everybody_computes() -> None:
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"


@pytest.mark.parametrize("size", range(len(KNOWN_ROOTS)))
def test_the_roots_over_the_known_leaves_are_the_known_ones(size: int) -> None:
    assert root([leaf_hash(bytes.fromhex(leaf)) for leaf in KNOWN_LEAVES[:size]]).hex() == KNOWN_ROOTS[size]


def test_no_leaves_an_empty_leaf_and_a_node_of_two_leaves_are_three_different_things() -> None:
    left, right = LEAVES[:2]
    assert root([]) == EMPTY_ROOT
    assert len({EMPTY_ROOT, leaf_hash(b""), node_hash(left, right), leaf_hash(left + right)}) == 4


def test_the_order_of_the_leaves_is_part_of_the_root() -> None:
    assert root(LEAVES[:5]) != root(LEAVES[4::-1])


def test_the_root_of_any_number_of_leaves_is_the_one_of_the_definition() -> None:
    assert [root(LEAVES[:size]) for size in range(131)] == [hash_of(0, size) for size in range(131)]


def test_a_compact_tree_that_grows_leaf_by_leaf_has_every_root_of_the_definition() -> None:
    compact = Compact()
    for size, leaf in enumerate(LEAVES):
        assert (compact.size, compact.root()) == (size, hash_of(0, size))
        compact.extend([leaf])


def test_a_compact_tree_grows_by_batches_of_any_size_also_by_none() -> None:
    for batch in range(1, 40):
        compact = Compact()
        for start in range(0, len(LEAVES), batch):
            compact.extend(iter(LEAVES[start : start + batch]))
            compact.extend([])
        assert (compact.size, compact.root()) == (130, hash_of(0, 130))


def test_a_compact_tree_goes_on_from_the_roots_of_its_perfect_subtrees() -> None:
    compact = Compact(13, iter([hash_of(0, 8), hash_of(8, 12), hash_of(12, 13)]))
    assert compact.root() == hash_of(0, 13)
    compact.extend(LEAVES[13:100])
    assert (compact.size, compact.root()) == (100, hash_of(0, 100))


@pytest.mark.parametrize(("size", "held"), [(13, 2), (13, 4), (0, 1), (1, 0), (8, 3)])
def test_a_compact_tree_with_too_few_or_too_many_roots_is_refused(size: int, held: int) -> None:
    with pytest.raises(
        ProofError, match=f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {held}"
    ):
        Compact(size, LEAVES[:held])


def test_a_compact_tree_of_a_negative_size_is_refused() -> None:
    with pytest.raises(ProofError):
        Compact(-1, LEAVES[:1])


def test_a_compact_tree_is_of_one_piece_also_when_its_leaves_break_off() -> None:
    def broken() -> Iterator[bytes]:
        yield from LEAVES[:3]
        raise ConnectionError

    compact = Compact()
    with pytest.raises(ConnectionError):
        compact.extend(broken())
    assert compact.root() == hash_of(0, compact.size)


# -- proving -----------------------------------------------------------------------------------------------------------


def test_every_inclusion_proof_is_the_one_of_the_definition_and_verifies() -> None:
    for size in range(1, 34):
        whole = hash_of(0, size)
        for index in range(size):
            proof = inclusion_proof(index, size, hash_of)
            assert proof == audit_path(index, LEAVES[:size])
            merkle.verify_inclusion(index, size, LEAVES[index], proof, whole)


def test_every_consistency_proof_is_the_one_of_the_definition_and_verifies() -> None:
    for new in range(1, 34):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, hash_of)
            assert proof == subtree_proof(0, old, LEAVES[:new])
            merkle.verify_consistency(old, new, proof, hash_of(0, old), hash_of(0, new))


def test_every_proof_that_a_subtree_is_in_a_tree_verifies() -> None:
    for size in range(1, 34):
        for start, end in subtrees(size):
            proof = subtree_proof(start, end, LEAVES[:size])
            merkle.verify_subtree_consistency(start, end, size, proof, hash_of(start, end), hash_of(0, size))


def test_every_proof_that_a_leaf_is_in_a_subtree_verifies() -> None:
    for start, end in subtrees(33):
        for index in range(start, end):
            proof = audit_path(index - start, LEAVES[start:end])
            merkle.verify_subtree_inclusion(index, start, end, LEAVES[index], proof, hash_of(start, end))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (4, 3), (0, 0), (0, -1)])
def test_nothing_is_proven_of_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ProofError, match=f"there is no leaf {index} in a tree of {size}"):
        inclusion_proof(index, size, hash_of)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (0, 0), (-1, 3), (4, 3), (1, 0)])
def test_no_consistency_is_proven_for_sizes_out_of_order_or_from_an_empty_tree(old: int, new: int) -> None:
    with pytest.raises(ProofError, match=f"nothing can be proven of a tree of {old} leaves and a later one of {new}"):
        consistency_proof(old, new, hash_of)


# -- inclusion: one malformation, one test -----------------------------------------------------------------------------

INDEX, SIZE = 3, 7
PATH = audit_path(INDEX, LEAVES[:SIZE])
WHOLE = hash_of(0, SIZE)


def refused_inclusion(
    index: int = INDEX,
    size: int = SIZE,
    leaf: bytes = LEAVES[INDEX],
    proof: Sequence[bytes] = PATH,
    expected: bytes = WHOLE,
) -> str:
    """What is said about an inclusion that is not shown."""
    with pytest.raises(ProofError) as refused:
        merkle.verify_inclusion(index, size, leaf, proof, expected)
    return str(refused.value)


def test_the_inclusion_that_the_following_break_is_sound() -> None:
    merkle.verify_inclusion(INDEX, SIZE, LEAVES[INDEX], PATH, WHOLE)
    assert len(PATH) == 3


def test_another_leaf_is_not_included() -> None:
    assert refused_inclusion(leaf=LEAVES[4]) == "the proof leads to another root"


def test_another_root_is_not_led_to() -> None:
    assert refused_inclusion(expected=hash_of(0, 6)) == "the proof leads to another root"


def test_a_root_that_is_cut_short_is_not_led_to() -> None:
    assert refused_inclusion(expected=WHOLE[:31]) == "the proof leads to another root"


@pytest.mark.parametrize("index", [0, 1, 2, 4, 5])
def test_another_place_of_the_leaf_is_not_shown(index: int) -> None:
    assert refused_inclusion(index=index) == "the proof leads to another root"


def test_a_place_that_takes_fewer_hashes_is_not_shown() -> None:
    assert refused_inclusion(index=6) == "the proof has 1 hashes too many"


def test_a_place_after_the_last_leaf_is_refused() -> None:
    assert refused_inclusion(index=7) == "leaf 7 is not one of [0, 7)"


def test_a_negative_place_is_refused() -> None:
    assert refused_inclusion(index=-1) == "leaf -1 is not one of [0, 7)"


def test_nothing_is_included_in_an_empty_tree() -> None:
    assert refused_inclusion(0, 0, EMPTY_ROOT, [], EMPTY_ROOT) == "leaf 0 is not one of [0, 0)"


def test_a_tree_of_a_negative_size_is_refused() -> None:
    assert refused_inclusion(size=-7) == "the leaves [0, -7) are no subtree"


def test_a_tree_of_more_leaves_takes_more_hashes() -> None:
    assert refused_inclusion(size=9) == "the proof is too short"


def test_a_tree_of_fewer_leaves_takes_fewer_hashes() -> None:
    assert refused_inclusion(size=4) == "the proof has 1 hashes too many"


def test_a_proof_without_its_last_hash_is_too_short() -> None:
    assert refused_inclusion(proof=PATH[:-1]) == "the proof is too short"


def test_no_proof_is_too_short() -> None:
    assert refused_inclusion(proof=[]) == "the proof is too short"


def test_a_proof_with_a_hash_more_is_too_long() -> None:
    assert refused_inclusion(proof=[*PATH, WHOLE]) == "the proof has 1 hashes too many"


def test_a_proof_in_another_order_leads_elsewhere() -> None:
    assert refused_inclusion(proof=PATH[::-1]) == "the proof leads to another root"


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_hash_of_another_length_in_a_proof_is_refused(length: int) -> None:
    proof = [PATH[0], bytes(length), PATH[2]]
    assert refused_inclusion(proof=proof) == f"a hash has 32 bytes, not {length}"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_leaf_hash_of_another_length_is_refused(length: int) -> None:
    assert refused_inclusion(leaf=bytes(length)) == f"a hash has 32 bytes, not {length}"


def test_bytes_moved_from_one_hash_to_the_next_do_not_give_the_same_root() -> None:
    moved = [PATH[0][:31], PATH[0][31:] + PATH[1], PATH[2]]
    assert refused_inclusion(proof=moved) == "a hash has 32 bytes, not 31"


def test_a_proof_stays_what_it_was_when_it_is_verified() -> None:
    given = list(PATH)
    merkle.verify_inclusion(INDEX, SIZE, LEAVES[INDEX], given, WHOLE)
    assert given == PATH


# -- consistency: one malformation, one test ---------------------------------------------------------------------------

OLD, NEW = 6, 7
STEPS = subtree_proof(0, OLD, LEAVES[:NEW])
OLD_ROOT, NEW_ROOT = hash_of(0, OLD), hash_of(0, NEW)


def refused_consistency(
    old: int = OLD,
    new: int = NEW,
    proof: Sequence[bytes] = STEPS,
    old_root: bytes = OLD_ROOT,
    new_root: bytes = NEW_ROOT,
) -> str:
    """What is said about a consistency that is not shown."""
    with pytest.raises(ProofError) as refused:
        merkle.verify_consistency(old, new, proof, old_root, new_root)
    return str(refused.value)


def test_the_consistency_that_the_following_break_is_sound() -> None:
    merkle.verify_consistency(OLD, NEW, STEPS, OLD_ROOT, NEW_ROOT)
    assert len(STEPS) == 3


def test_a_tree_does_not_begin_with_another_old_root() -> None:
    assert refused_consistency(old_root=hash_of(0, 5)) == "the proof leads to another root"


def test_a_tree_that_was_rewritten_does_not_begin_with_the_old_one() -> None:
    rewritten = [LEAVES[99], *LEAVES[1:NEW]]
    proof = subtree_proof(0, OLD, rewritten)
    assert refused_consistency(proof=proof, new_root=tree_hash(rewritten)) == "the proof leads to another root"


def test_another_new_root_is_not_led_to_from_the_old_one() -> None:
    assert refused_consistency(new_root=hash_of(0, 8)) == "the proof leads to another root"


def test_an_old_root_that_is_itself_the_first_hash_must_lead_to_the_new_root() -> None:
    proof = subtree_proof(0, 4, LEAVES[:7])
    merkle.verify_consistency(4, 7, proof, hash_of(0, 4), NEW_ROOT)
    assert refused_consistency(4, 7, proof, hash_of(1, 5)) == "the proof leads to another root"


def test_old_and_new_root_cannot_be_swapped() -> None:
    assert refused_consistency(old_root=NEW_ROOT, new_root=OLD_ROOT) == "the proof leads to another root"


def test_old_and_new_size_cannot_be_swapped() -> None:
    assert refused_consistency(old=NEW, new=OLD) == "the leaves [0, 7) are not all in a tree of 6"


def test_nothing_is_shown_of_an_empty_tree() -> None:
    said = "of an empty tree, consistency cannot be shown: every tree begins with it"
    assert refused_consistency(old=0, proof=[], old_root=EMPTY_ROOT) == said
    assert refused_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT) == said


def test_a_negative_old_size_is_refused() -> None:
    assert refused_consistency(old=-1) == "the leaves [0, -1) are no subtree"


def test_a_consistency_proof_without_its_last_hash_is_too_short() -> None:
    assert refused_consistency(proof=STEPS[:-1]) == "the proof is too short"


def test_a_consistency_proof_without_a_hash_is_too_short() -> None:
    assert refused_consistency(proof=[]) == "the proof is too short"


def test_a_consistency_proof_with_a_hash_more_is_too_long() -> None:
    assert refused_consistency(proof=[OLD_ROOT, *STEPS]) == "the proof has 1 hashes too many"


def test_a_consistency_proof_in_another_order_leads_elsewhere() -> None:
    assert refused_consistency(proof=STEPS[::-1]) == "the proof leads to another root"


def test_a_hash_of_another_length_in_a_consistency_proof_is_refused() -> None:
    assert refused_consistency(proof=[*STEPS[:-1], STEPS[-1][:31]]) == "a hash has 32 bytes, not 31"


def test_a_tree_is_consistent_with_itself_without_a_hash() -> None:
    merkle.verify_consistency(7, 7, [], NEW_ROOT, NEW_ROOT)
    assert refused_consistency(7, 7, [NEW_ROOT], NEW_ROOT) == "the proof has 1 hashes too many"


def test_two_trees_of_one_size_have_one_root() -> None:
    assert refused_consistency(7, 7, [], OLD_ROOT) == "the proof leads to another root"


# -- subtrees: one malformation, one test ------------------------------------------------------------------------------


def refused_subtree(start: int, end: int, size: int = 16) -> str:
    """What is said about leaves that are no subtree of a tree, whatever the proof."""
    with pytest.raises(ProofError) as refused:
        merkle.verify_subtree_consistency(start, end, size, [LEAVES[0]], LEAVES[1], LEAVES[2])
    return str(refused.value)


@pytest.mark.parametrize(("start", "end"), [(1, 3), (2, 5), (2, 6), (4, 9), (6, 10), (-4, 0)])
def test_leaves_that_do_not_begin_at_a_multiple_of_their_width_are_no_subtree(start: int, end: int) -> None:
    assert refused_subtree(start, end) == f"the leaves [{start}, {end}) are no subtree"
    with pytest.raises(ProofError, match="are no subtree"):
        merkle.verify_subtree_inclusion(start, start, end, LEAVES[0], [], LEAVES[0])


def test_a_subtree_that_ends_before_it_begins_is_refused() -> None:
    assert refused_subtree(8, 4) == "the leaves [8, 4) are no subtree"


@pytest.mark.parametrize(("start", "end"), [(0, 17), (16, 17), (16, 20), (17, 17)])
def test_a_subtree_that_ends_after_the_tree_is_refused(start: int, end: int) -> None:
    assert refused_subtree(start, end) == f"the leaves [{start}, {end}) are not all in a tree of 16"


@pytest.mark.parametrize("index", [7, 12])
def test_a_leaf_beside_the_subtree_is_not_included_in_it(index: int) -> None:
    proof = audit_path(0, LEAVES[8:12])
    with pytest.raises(ProofError, match=rf"leaf {index} is not one of \[8, 12\)"):
        merkle.verify_subtree_inclusion(index, 8, 12, LEAVES[8], proof, hash_of(8, 12))


def test_a_leaf_is_not_included_in_a_subtree_of_none() -> None:
    with pytest.raises(ProofError, match=r"leaf 8 is not one of \[8, 8\)"):
        merkle.verify_subtree_inclusion(8, 8, 8, LEAVES[8], [], LEAVES[8])


def test_a_subtree_of_no_leaves_is_in_every_tree_without_a_hash() -> None:
    merkle.verify_subtree_consistency(5, 5, 7, [], EMPTY_ROOT, hash_of(0, 7))
    with pytest.raises(ProofError, match="nothing can be proven of no leaves"):
        merkle.verify_subtree_consistency(5, 5, 7, [LEAVES[0]], EMPTY_ROOT, hash_of(0, 7))


def test_a_subtree_of_no_leaves_has_the_empty_root() -> None:
    with pytest.raises(ProofError, match="another root"):
        merkle.verify_subtree_consistency(5, 5, 7, [], hash_of(0, 7), hash_of(0, 7))


# -- the vectors of another implementation -----------------------------------------------------------------------------

# For each kind: how many must verify, and how many must be refused.
COUNTS = {
    "inclusion": (6, 92),
    "consistency": (6, 92),
    "subtreeinclusion": (12, 192),
    "subtreeconsistency": (12, 106),
}


@pytest.fixture(scope="module")
def vectors() -> dict[str, Vector]:
    folder = os.environ.get("GOVERNANCE_REFERENCE_DATA")
    if not folder:
        pytest.skip("GOVERNANCE_REFERENCE_DATA is not set; the vectors of Merkle proofs are there")
    loaded: dict[str, Vector] = json.loads((Path(folder) / "reference" / "merkle-vectors.json").read_text())
    return loaded


def verify(kind: str, vector: Vector) -> None:
    """Hand a vector to the function that its kind names."""
    proof = [base64.b64decode(hashed) for hashed in vector["proof"] or []]
    hashes = {name: base64.b64decode(vector[name]) for name in ("leafHash", "root", "root1", "root2") if name in vector}
    if kind == "inclusion":
        merkle.verify_inclusion(vector["leafIdx"], vector["treeSize"], hashes["leafHash"], proof, hashes["root"])
    elif kind == "consistency":
        merkle.verify_consistency(vector["size1"], vector["size2"], proof, hashes["root1"], hashes["root2"])
    elif kind == "subtreeinclusion":
        place = vector["leafIdx"], vector["start"], vector["end"]
        merkle.verify_subtree_inclusion(*place, hashes["leafHash"], proof, hashes["root"])
    else:
        place = vector["start"], vector["end"], vector["size"]
        merkle.verify_subtree_consistency(*place, proof, hashes["root1"], hashes["root2"])


def is_refused(kind: str, vector: Vector) -> bool:
    try:
        verify(kind, vector)
    except ProofError:
        return True
    return False


def test_the_vectors_are_518_and_of_four_kinds(vectors: dict[str, Vector]) -> None:
    assert len(vectors) == 518 == sum(map(sum, COUNTS.values()))
    assert {name.split("/")[0] for name in vectors} == COUNTS.keys()


@pytest.mark.parametrize("kind", COUNTS)
def test_every_vector_is_verified_or_refused_as_it_wants_to_be(vectors: dict[str, Vector], kind: str) -> None:
    mine = {name: vector for name, vector in vectors.items() if name.split("/")[0] == kind}
    refused = {name: is_refused(kind, vector) for name, vector in mine.items()}
    assert [name for name, vector in mine.items() if refused[name] != vector["wantErr"]] == []
    assert (list(refused.values()).count(False), list(refused.values()).count(True)) == COUNTS[kind]
