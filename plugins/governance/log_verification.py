"""Is the run log what its checkpoints say it is? Read as the auditor does; nothing is repaired (clause R1).

This is the operator's own look, before the auditor's: the auditor has a program of his own (auditor/verify_run_log.py)
and checkpoints of his own, and believes neither this nor our tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from governance.errors import ProofError, RunLogError
from governance.log_tree import LogTree
from governance.merkle import Compact, leaf_hash
from governance.notes import Checkpoint, Verifier, opened
from governance.tiles import Tiles

MANY = 10_000
"""Leaves that are hashed before the tree is extended by them."""


@dataclass(frozen=True)
class Verified:
    """How many leaves were compared, with how many checkpoints, and what is wrong; sound when nothing is."""

    size: int
    start: int
    root: bytes
    checkpoints: int
    problems: tuple[str, ...]
    uncovered: int  # leaves after the last checkpoint
    waiting: int  # entries without a place yet


def opened_notes(notes: Iterable[str], verifiers: Sequence[Verifier]) -> tuple[list[Checkpoint], list[str]]:
    """Checkpoints of notes, and what is wrong with those that are not sound."""
    found, problems = set(), []
    for note in notes:
        try:
            found.add(opened(note, verifiers))
        except ProofError as error:
            problems.append(f"a checkpoint is not sound: {error}")
    return sorted(found, key=lambda checkpoint: checkpoint.size), problems


def verify(
    tree: LogTree, checkpoints: Sequence[Checkpoint], *, now: datetime, merge_delay: timedelta,
    since: Checkpoint | None = None,
) -> Verified:  # fmt: skip
    """Compare the log's leaves with its tiles and with checkpoints; with `since`, those after that checkpoint.

    `checkpoints` are of one origin. Raises RunLogError when the tree does not even reach `since`.
    """
    size, hashes = tree.size(), tree.hashes()
    compact = _from(hashes, size, since) if since else Compact()
    problems = _read(tree, compact, size, checkpoints)
    problems += [
        f"the checkpoint of {head.size} entries is of a longer log: {head.size - compact.size} entries are gone, or an "
        "older copy of the database was put back"
        for head in checkpoints
        if head.size > compact.size
    ]
    problems += [f"two checkpoints of {size} entries differ: the log was forked" for size in _forks(checkpoints)]
    if compact.size != size:
        problems.append(f"{size} entries have a place, {compact.size} of them without a gap: places are missing")
    elif not _is_root(hashes, compact):
        problems.append("the tiles of the tree do not fit its entries: either was changed")
    problems += [f"column {name} of audit.run_log is no longer made from the entry" for name in tree.loose_columns()]
    if (unplaced := tree.unplaced()) > 0:
        problems.append(f"{unplaced} entries have no place and do not wait for one: somebody took them out of the tree")
    if late := tree.waiting(now - merge_delay):
        problems.append(f"{late} entries wait longer than {merge_delay} for their place: is the sequencer running?")
    covered = max((head.size for head in checkpoints if head.size <= compact.size), default=0)
    start = since.size if since else 0
    waiting = tree.waiting(now + timedelta(days=36_500))
    return Verified(
        compact.size, start, compact.root(), len(checkpoints), tuple(problems), compact.size - covered, waiting
    )


def _from(hashes: Tiles, size: int, since: Checkpoint) -> Compact:
    """The compact tree of the checkpoint, from our tiles, which must fit it."""
    if size < since.size:
        raise RunLogError(
            f"the log has {size} entries, the checkpoint says {since.size}: it was cut, or an older copy was put back"
        )
    roots, start = [], 0
    for bit in reversed(range(since.size.bit_length())):
        if since.size >> bit & 1:
            roots.append(hashes.hash_of(start, start + (1 << bit)))
            start += 1 << bit
    compact = Compact(since.size, roots)
    if compact.root() != since.root:
        raise RunLogError(f"the first {since.size} entries are not those of the checkpoint: they were changed")
    return compact


def _read(tree: LogTree, compact: Compact, size: int, checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Append leaves up to a size, as more may come meanwhile, and compare the root wherever a checkpoint stands."""
    problems: list[str] = []
    start = compact.size
    due = [head for head in checkpoints if head.size >= start]
    _compare(compact, due, problems)
    hashes: list[bytes] = []
    for index, leaf in tree.leaves(start, size):
        if index != start + len(hashes):
            problems.append(f"entry {start + len(hashes)} has lost its place: the next one is {index}")
            break
        if leaf is None:
            problems.append(f"entry {index} is gone from audit.run_log, its place is still there")
            break
        hashes.append(leaf_hash(leaf))
        if len(hashes) == MANY or (due and due[0].size == index + 1):
            start = _extend(compact, hashes)
            _compare(compact, due, problems)
    _extend(compact, hashes)
    return problems


def _extend(compact: Compact, hashes: list[bytes]) -> int:
    """Append the hashes, all at once, and empty their list; returns the size."""
    compact.extend(hashes)
    hashes.clear()
    return compact.size


def _compare(compact: Compact, due: list[Checkpoint], problems: list[str]) -> None:
    while due and due[0].size == compact.size:
        head = due.pop(0)
        if head.root != compact.root():
            problems.append(
                f"the first {head.size} entries are not those of the checkpoint of {head.size}: they were changed"
            )


def _forks(checkpoints: Sequence[Checkpoint]) -> list[int]:
    sizes = [head.size for head in checkpoints]
    return sorted({size for size in sizes if sizes.count(size) > 1})


def _is_root(hashes: Tiles, compact: Compact) -> bool:
    try:
        return hashes.hash_of(0, compact.size) == compact.root()
    except ProofError:
        return False
