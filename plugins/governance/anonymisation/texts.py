"""Columns of any type as the text that CSV would have. Pure."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from governance.errors import InputError


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
