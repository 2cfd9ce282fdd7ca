"""A class for somebody who was published before: companions whose values make up the signature. Compiled; pure.

Greedy, from the returning row outwards: the next companion is the one that makes the class lose least, of those whose
values belong to the signature. Every value comes equally often, so that the second class a person is in says nothing
but the set: had it shares of its own, they would multiply with those of the first. (With several sensitive columns,
whose sets differ in size, as equally as that allows.) Here sensitive values do decide who joins whom, which `daily`
says something about.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from governance.anonymisation.compiled import tight
from governance.anonymisation.losses import Losses, joined_loss, narrow, widen
from governance.anonymisation.signatures import NONE

SLIGHTLY = 1e-5


class Table(NamedTuple):
    """The rows of a pool."""

    losses: Losses
    codes: np.ndarray  # int32, rows by quasi-identifiers
    place: np.ndarray  # int64, rows by sensitive columns: the place of the value among all of all columns
    person: np.ndarray  # uint64 per row
    signature: np.ndarray  # uint64, rows by words: of people published before, else 0
    free: np.ndarray  # bool per row: may become somebody's companion


class Room(NamedTuple):
    """Where a class is put together."""

    members: np.ndarray
    candidates: np.ndarray
    room: np.ndarray  # per value: how many more of it the class takes
    seen: np.ndarray  # per value: how many of it the class has
    low: np.ndarray
    high: np.ndarray


def room(table: Table, values: int) -> Room:
    """Room for any class of the table, whose sensitive columns have so many values in all."""
    rows, columns = table.codes.shape
    boxes = np.zeros((2, 1, columns), dtype=np.int32)
    lists, counts = np.zeros((2, rows), dtype=np.int64), np.zeros((2, values), dtype=np.int64)
    return Room(lists[0], lists[1], counts[0], counts[1], boxes[0], boxes[1])


def shares(signature: np.ndarray, widths: tuple[int, ...], k: int) -> tuple[int, np.ndarray]:
    """How large a class of a signature is to be, and how often it takes each value.

    `signature`: bool per value of all columns.

    >>> shares(np.array([True, True, False, True]), (4,), 4)
    (6, array([2, 2, 0, 2]))
    """
    sets = np.split(signature, np.cumsum(widths)[:-1])
    size = max(-(-k // max(1, int(one.sum()))) * int(one.sum()) for one in sets)
    return size, np.concatenate([np.where(one, -(-size // max(1, int(one.sum()))), 0) for one in sets])


@tight
def companions(table: Table, work: Room, start: int, limits: tuple[int, float]) -> int:
    """Lay a class for a returning row into the room, whose `room` says what it takes; gives its size, 0 for none.

    `limits`: the size of the class, and the loss, summed over columns and rows, that it may have.
    """
    enough, most = limits
    if not _fits(table, work, start):
        return 0
    narrow(work.low, work.high, 0, table.codes, start)
    left = _candidates(table, work, start, most / enough)
    work.seen[:] = 0
    work.members[0] = start
    _count(table, work, start)
    size = 1
    while size < enough or _absent(work) > 0:
        chosen, loss = _cheapest(table, work, left, size, _absent(work) > (enough - size - 1) * table.place.shape[1])
        if chosen == NONE or loss * max(enough, size + 1) > most:
            return 0
        row = work.candidates[chosen]
        left -= 1
        work.candidates[chosen] = work.candidates[left]
        work.members[size] = row
        size += 1
        widen(work.low, work.high, 0, table.codes, row)
        _count(table, work, row)
    return size


@tight
def _count(table: Table, work: Room, row: int) -> None:
    for column in range(table.place.shape[1]):
        work.room[table.place[row, column]] -= 1
        work.seen[table.place[row, column]] += 1


@tight
def _fits(table: Table, work: Room, row: int) -> bool:
    for column in range(table.place.shape[1]):  # noqa: SIM110 -- compiled code knows no generators
        if work.room[table.place[row, column]] <= 0:
            return False
    return True


@tight
def _absent(work: Room) -> int:
    """How many values of the signature the class does not have yet."""
    count = 0
    for value in range(work.room.size):
        count += 1 if work.room[value] > 0 and work.seen[value] == 0 else 0
    return count


@tight
def _candidates(table: Table, work: Room, start: int, most: float) -> int:
    """Free rows of other people, whose values belong to the signature, and who have no other; near enough to be in a
    class whose rows lose no more than `most`."""
    count = 0
    for row in range(table.free.size):
        if not table.free[row] or table.person[row] == table.person[start] or not _fits(table, work, row):
            continue
        new, same = True, True
        for word in range(table.signature.shape[1]):
            new = new and table.signature[row, word] == 0
            same = same and table.signature[row, word] == table.signature[start, word]
        if (new or same) and joined_loss(table.losses, work.low, work.high, table.codes, (0, row)) <= most:
            work.candidates[count] = row
            count += 1
    return count


@tight
def _cheapest(table: Table, work: Room, left: int, size: int, brings: bool) -> tuple[int, float]:
    """The candidate with whom the class loses least, and what it then loses; one that brings a value goes before."""
    best, least, found = NONE, np.inf, 0.0
    for index in range(left):
        row = work.candidates[index]
        if not _fits(table, work, row):
            continue
        brought = False
        for column in range(table.place.shape[1]):
            brought = brought or work.seen[table.place[row, column]] == 0
        if brings and not brought:
            continue
        loss = joined_loss(table.losses, work.low, work.high, table.codes, (0, row))
        price = loss - (SLIGHTLY if brought else 0.0)
        if price < least and not _is_member(table, work, row, size):
            best, least, found = index, price, loss
    return best, found


@tight
def _is_member(table: Table, work: Room, row: int, size: int) -> bool:
    """Whether the class holds the row's person, of whom several rows may be free."""
    for index in range(size):  # noqa: SIM110 -- as above
        if table.person[work.members[index]] == table.person[row]:
            return True
    return False
