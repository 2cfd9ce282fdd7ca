"""k, l and t of any table in a file, ours or not. It compiles nothing, so that a cold process is done soon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from governance.anonymisation.measuring import Measures, grouped, measure
from governance.anonymisation.tables import batches
from governance.anonymisation.texts import texts
from governance.errors import InputError

MOST_ROWS = 1 << 20  # before they are counted, or as many as there are distinct ones


def table_measures(path: Path, quasi: tuple[str, ...], sensitive: tuple[str, ...]) -> Measures:
    """k, l and t of a table; NULL and empty text are one value of their own.

    Raises InputError for a file that cannot be read, and for one without rows.
    """
    columns = [*quasi, *sensitive]
    codes_of: list[dict[str | None, int]] = [{None: 0, "": 0} for _ in columns]
    parts, rows, waiting = [np.zeros((0, len(columns)), np.int64)], [np.zeros(0, np.int64)], 0
    for batch in batches(path, columns):
        parts.append(np.column_stack([_coded(batch.column(name), codes_of[at]) for at, name in enumerate(columns)]))
        rows.append(np.ones(batch.num_rows, dtype=np.int64))
        waiting += batch.num_rows
        if waiting > max(MOST_ROWS, len(parts[0])):
            (parts[:], rows[:]), waiting = _counted(parts, rows), 0
    (cells,), (count,) = _counted(parts, rows)
    if not len(cells):
        raise InputError(f"{path.name} has no rows")
    return measure(cells[:, : len(quasi)], cells[:, len(quasi) :], count, count)


def _counted(parts: list[np.ndarray], rows: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The distinct rows of all parts as one, and how often each is there."""
    codes = np.concatenate(parts)
    first, which = grouped(codes)
    return [codes[first]], [np.bincount(which, np.concatenate(rows), len(first)).astype(np.int64)]


def _coded(column: pa.Array, codes_of: dict[str | None, int]) -> np.ndarray:
    """Codes of a column's values; new values get the next ones."""
    if not pa.types.is_dictionary(column.type):
        column = texts(column).dictionary_encode()
    named = texts(column.dictionary).to_pylist()
    mapped = np.array([codes_of.setdefault(value, len(codes_of) - 1) for value in named] + [0], dtype=np.int64)
    return mapped[column.indices.fill_null(len(named)).to_numpy(zero_copy_only=False)]
