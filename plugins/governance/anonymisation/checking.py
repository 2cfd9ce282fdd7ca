"""k, l and t of any table in a file, ours or not. It compiles nothing, so that a cold process is done soon."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from governance.anonymisation.measuring import Measures, grouped, measure
from governance.anonymisation.tables import batches
from governance.anonymisation.texts import coded, no_codes
from governance.errors import InputError

MOST_ROWS = 1 << 20  # before they are counted, or as many as there are distinct ones


def table_measures(path: Path, quasi: tuple[str, ...], sensitive: tuple[str, ...]) -> Measures:
    """k, l and t of a table; NULL and empty text are one value of their own.

    Raises InputError for a file that cannot be read, and for one without rows.
    """
    columns = [*quasi, *sensitive]
    codes_of = [no_codes() for _ in columns]
    parts, rows, waiting = [np.zeros((0, len(columns)), np.int32)], [np.zeros(0, np.int64)], 0
    for batch in batches(path, columns):
        parts.append(np.column_stack([coded(batch.column(name), codes_of[at]) for at, name in enumerate(columns)]))
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
