"""Columns of any type as the text that CSV would have, and texts as codes. Pure."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.errors import InputError

MISSING = 0
"""The code of a cell without a value (NULL or empty text) in every column, before a domain gives it another."""


def no_codes() -> dict[str | None, int]:
    """The codes of a column of which no batch was met yet; `coded` adds to them."""
    return {None: MISSING, "": MISSING}


def texts(column: pa.Array) -> pa.Array:
    """A column as text, as CSV would have it: what is not a number (NaN) is no value, or NULL and NaN would be two.

    Raises InputError for lists, structures and other nested types.
    """
    if pa.types.is_string(column.type):
        return column
    try:
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column.cast(pa.float64())), pa.scalar(None, column.type), column)
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise InputError(f"a column of type {column.type} cannot be anonymised: its values are no text") from None


def coded(column: pa.Array, codes_of: dict[str | None, int]) -> np.ndarray:
    """Codes of a column's values, int32 by row; new values get the next ones, which are added to `codes_of`.

    >>> known = no_codes()
    >>> coded(pa.array(["a", None, "b", ""]), known).tolist(), coded(pa.array(["b", "c"]), known).tolist()
    ([1, 0, 2, 0], [2, 3])
    """
    if not pa.types.is_dictionary(column.type):
        column = texts(column).dictionary_encode()
    named = texts(column.dictionary).to_pylist()
    mapped = np.empty(len(named) + 1, dtype=np.int32)
    mapped[-1] = MISSING
    for place, value in enumerate(named):
        mapped[place] = codes_of.setdefault(value, len(codes_of) - 1)
    return mapped[column.indices.fill_null(len(named)).to_numpy(zero_copy_only=False)]
