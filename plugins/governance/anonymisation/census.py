"""The census of a table: its distinct cells with counts, built batch by batch; rows are not held. Pure.

A cell is a distinct combination of values of the columns that are counted, quasi-identifiers and sensitive ones. Where
a person column is named, a row counts for its person's cell only when that person was not met before: people are then
distinct by construction, and a class of k counted rows holds k people or more. Of people only 64-bit hashes are held;
should two of them collide, they count as one person, which errs on the safe side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.anonymisation.compiled import compiled
from governance.anonymisation.texts import coded, no_codes, texts

FREE = -1
MOST_VALUES = 2**31 - 1


@dataclass(frozen=True)
class Census:
    """Distinct cells of a table: codes into `values` by column, with rows and people of each."""

    columns: tuple[str, ...]
    values: tuple[tuple[str | None, ...], ...]  # per column, by code; the first is None: no value
    codes: np.ndarray  # int32, cells by columns
    counted: np.ndarray  # bool per cell: rows that count as one person each, else rows of people met before
    rows: np.ndarray  # int64 per cell

    @property
    def people(self) -> np.ndarray:
        """People counted in each cell."""
        return np.where(self.counted, self.rows, 0)

    def told_by(self, columns: int) -> Census:
        """The same cells, told by their first columns alone: some then look alike."""
        return Census(self.columns[:columns], self.values[:columns], self.codes[:, :columns], self.counted, self.rows)

    def count(self, column: int) -> np.ndarray:
        """Rows per code of a column."""
        return np.bincount(self.codes[:, column], self.rows, len(self.values[column])).astype(np.int64)


class Counting:
    """A census in the making: give it every batch, then ask for `census`."""

    def __init__(self, columns: Sequence[str], person: str | None = None) -> None:
        self.columns, self._person = tuple(columns), person
        self._codes_of: list[dict[str | None, int]] = [no_codes() for _ in self.columns]
        self._cells = np.empty((1024, len(self.columns) + 1), dtype=np.int32)
        self._rows = np.zeros(1024, dtype=np.int64)
        self._table = np.full(4096, FREE, dtype=np.int64)
        self._met = np.zeros(4096, dtype=np.uint64)
        self._count = np.zeros(2, dtype=np.int64)  # cells, people met

    def add(self, batch: pa.RecordBatch) -> np.ndarray:
        """Count the rows of a batch; gives the number of each row's cell."""
        codes = np.empty((batch.num_rows, len(self.columns) + 1), dtype=np.int32)
        for index, column in enumerate(self.columns):
            codes[:, index] = coded(batch.column(column), self._codes_of[index])
        codes[:, -1] = self._first_met(batch)
        self._make_room(batch.num_rows)
        where = np.empty(batch.num_rows, dtype=np.int64)
        _count_rows(codes, where, (self._cells, self._rows, self._table), self._count)
        return where

    def census(self) -> Census:
        """What was counted so far."""
        cells = self._cells[: self._count[0]]
        values: list[tuple[str | None, ...]] = []
        for codes_of in self._codes_of:
            by_code: list[str | None] = [None] * len(set(codes_of.values()))
            for value, code in codes_of.items():
                by_code[code] = value or None
            values.append(tuple(by_code))
        return Census(
            self.columns, tuple(values), cells[:, :-1].copy(), cells[:, -1] == 1, self._rows[: self._count[0]].copy()
        )

    def _first_met(self, batch: pa.RecordBatch) -> np.ndarray:
        """1 for every row whose person was not met before; without a person column, for all."""
        if self._person is None:
            return np.ones(batch.num_rows, dtype=np.int32)
        hashes = _hashes(batch.column(self._person))
        while 2 * (self._count[1] + hashes.size) > self._met.size:
            old, self._met = self._met, np.zeros(2 * self._met.size, dtype=np.uint64)
            self._count[1] = 0
            _meet(old[old != 0], self._met, self._count)
        return _meet(hashes, self._met, self._count)

    def _make_room(self, rows: int) -> None:
        used = int(self._count[0])
        if used + rows > len(self._cells):
            room = max(used + rows, 2 * len(self._cells))
            self._cells = np.concatenate([self._cells[:used], np.empty((room - used, self._cells.shape[1]), np.int32)])
            self._rows = np.concatenate([self._rows[:used], np.zeros(room - used, np.int64)])
        if 2 * (used + rows) > self._table.size:
            self._table = np.full(int(2 ** np.ceil(np.log2(4 * (used + rows)))), FREE, dtype=np.int64)
            _place_cells(self._cells[:used], self._table)


def take(batches: Iterable[pa.RecordBatch], columns: Sequence[str], person: str | None = None) -> Census:
    """The census of a table that comes in batches.

    >>> batch = pa.RecordBatch.from_pydict({"sex": ["f", "m", "f"], "who": ["ann", "bo", "ann"]})
    >>> census = take([batch], ["sex"], "who")
    >>> [census.values[0][code] for code in census.codes[:, 0]], census.rows.tolist(), census.people.tolist()
    (['f', 'm', 'f'], [1, 1, 1], [1, 1, 0])
    """
    counting = Counting(columns, person)
    for batch in batches:
        counting.add(batch)
    return counting.census()


def groups(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of a table of codes, in order of appearance, and for every row which of them it is."""
    codes = np.ascontiguousarray(codes, dtype=np.int32)
    where = np.empty(len(codes), dtype=np.int64)
    cells, rows = np.empty_like(codes), np.zeros(len(codes) + 1, dtype=np.int64)
    table = np.full(int(2 ** np.ceil(np.log2(2 * len(codes) + 2))), FREE, dtype=np.int64)
    count = np.zeros(2, dtype=np.int64)
    _count_rows(codes, where, (cells, rows, table), count)
    return cells[: count[0]], where


def _hashes(people: pa.Array) -> np.ndarray:
    """A 64-bit hash of every person, never 0; 0 for nobody, who counts as no one."""
    import pandas as pd

    named = texts(people.cast(people.type.value_type) if pa.types.is_dictionary(people.type) else people)
    nobody = pc.or_kleene(pc.is_null(named), pc.equal(named, "")).fill_null(True).to_numpy(zero_copy_only=False)
    hashed = pd.util.hash_array(named.fill_null("").to_numpy(zero_copy_only=False).astype(object), categorize=False)
    return np.where(nobody, np.uint64(0), np.maximum(hashed, np.uint64(1)))


@compiled
def _spread(codes: np.ndarray) -> np.uint64:
    """FNV-1a over a row of codes, mixed once more."""
    mixed = np.uint64(14695981039346656037)
    for index in range(codes.size):
        mixed = (mixed ^ np.uint64(codes[index])) * np.uint64(1099511628211)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29))


@compiled
def _same(one: np.ndarray, other: np.ndarray) -> bool:
    for index in range(one.size):  # noqa: SIM110 -- compiled code knows no generators
        if one[index] != other[index]:
            return False
    return True


@compiled
def _count_rows(
    codes: np.ndarray, where: np.ndarray, into: tuple[np.ndarray, np.ndarray, np.ndarray], count: np.ndarray
) -> None:
    """Count rows of codes into cells, by open addressing."""
    cells, rows, table = into
    mask = np.uint64(table.size - 1)
    for index in range(len(codes)):
        place = _spread(codes[index]) & mask
        while table[place] != FREE and not _same(cells[table[place]], codes[index]):
            place = (place + np.uint64(1)) & mask
        if table[place] == FREE:
            table[place] = count[0]
            cells[count[0]] = codes[index]
            count[0] += 1
        where[index] = table[place]
        rows[table[place]] += 1


@compiled
def _place_cells(cells: np.ndarray, table: np.ndarray) -> None:
    mask = np.uint64(table.size - 1)
    for index in range(len(cells)):
        place = _spread(cells[index]) & mask
        while table[place] != FREE:
            place = (place + np.uint64(1)) & mask
        table[place] = index


@compiled
def _meet(hashes: np.ndarray, met: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Whether each person is met for the first time; remembers them."""
    first = np.zeros(hashes.size, dtype=np.int32)
    mask = np.uint64(met.size - 1)
    for index in range(hashes.size):
        if hashes[index] == 0:
            continue
        place = (hashes[index] * np.uint64(0x9E3779B97F4A7C15)) & mask
        while met[place] != 0 and met[place] != hashes[index]:
            place = (place + np.uint64(1)) & mask
        if met[place] == 0:
            met[place] = hashes[index]
            count[1] += 1
            first[index] = 1
    return first
