"""Signatures: the sets of sensitive values that a class holds, and whose they are (Xiao & Tao 2007). Pure.

Whoever was published before is published again only in a class of exactly the same set: then the intersection of the
two classes says what each says alone. A set is a row of bits, those of all sensitive columns one behind the other; the
codes of the values must therefore stay what they are from day to day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NONE = -1
WORD = 64


def words(widths: Sequence[int]) -> int:
    """How many words a set takes, of columns of so many values each."""
    return max(1, -(-sum(widths) // WORD))


def bits(values: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """The sets that single rows hold: uint64, rows by words. `values`: codes, rows by sensitive columns.

    >>> bits(np.array([[0, 1], [1, 0]]), [2, 2]).tolist()
    [[9], [6]]
    """
    found = np.zeros((len(values), words(widths)), dtype=np.uint64)
    begin = 0
    for column, width in enumerate(widths):
        place = values[:, column].astype(np.int64) + begin
        found[np.arange(len(values)), place // WORD] |= np.uint64(1) << (place % WORD).astype(np.uint64)
        begin += width
    return found


def opened(sets: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """Sets as bool, sets by values of all columns.

    >>> opened(np.array([[9]], dtype=np.uint64), [2, 2]).tolist()
    [[True, False, False, True]]
    """
    place = np.arange(sum(widths))
    return (sets[:, place // WORD] >> (place % WORD).astype(np.uint64)) & np.uint64(1) == 1


def united(sets: np.ndarray, owner: np.ndarray, classes: int) -> np.ndarray:
    """The sets of classes, of the sets of their rows. Rows of no class (NONE) are left out."""
    found = np.zeros((classes, sets.shape[1]), dtype=np.uint64)
    kept = owner != NONE
    np.bitwise_or.at(found, owner[kept], sets[kept])
    return found


@dataclass(frozen=True)
class Ledger:
    """What is remembered of people who were published: a keyed number of each, and the signature. Nothing else."""

    person: np.ndarray  # uint64, ascending
    signature: np.ndarray  # uint64, people by words

    def of(self, person: np.ndarray) -> np.ndarray:
        """Where people stand in the ledger; NONE for who does not."""
        if not self.person.size:
            return np.full(person.size, NONE, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.person, person), self.person.size - 1)
        return np.where(self.person[place] == person, place, NONE)

    def joined(self, other: Ledger) -> Ledger:
        """This ledger and that of other people."""
        person = np.concatenate([self.person, other.person])
        order = np.argsort(person, kind="stable")
        return Ledger(person[order], np.concatenate([self.signature, other.signature])[order])


def nobody(widths: Sequence[int]) -> Ledger:
    """The ledger before the first release."""
    return Ledger(np.zeros(0, dtype=np.uint64), np.zeros((0, words(widths)), dtype=np.uint64))
