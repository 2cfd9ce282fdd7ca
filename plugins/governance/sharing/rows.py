"""Rows of a delivery as values that can be written down, in their order, a slice at a time. Pure.

Rows come as frames, so that no more of them are held at once than a caller has read; what is written never depends on
where one frame ends and the next one begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from governance.errors import DeliveryError

KEY = ("booking_reference", "service_reference", "person_reference")
"""What tells rows apart, and what they are ascending by."""
SLICE_ROWS = 4_096
Value = str | int | None
Row = dict[str, Value]
Kind = Literal["reference", "text", "number", "truth", "day", "instant", "nothing"]
"""What is in a column; `nothing`: only NULL."""

_REFERENCE = "^[0-9a-f]{64}$"
_HAS_YEAR = "^([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-"
_NAMESPACE = re.compile(r"(https://[^\s/?#]+[^\s?#]*[^\s?#/]|urn:[a-z0-9-]+:[^\s?#]*[^\s?#:])")


@dataclass(frozen=True)
class Context:
    """What a file says beside its rows: for whom, what for, on what lawful basis, and when the source was read.

    `namespace`: URI below which our identifiers live, `https://...` or `urn:...`. Raises DeliveryError for an instant
    without a zone, for no lawful basis, and for a namespace that is none.
    """

    recipient: str
    purpose: str
    lawful_basis: tuple[str, ...]
    read_at: datetime
    sender: str = "Wellbe"
    namespace: str = "urn:wellbe:sharing"

    def __post_init__(self) -> None:
        if self.read_at.tzinfo is None:
            raise self.error("the instant at which the source was read has no time zone", "say it in UTC")
        if not self.lawful_basis:
            raise self.error("no lawful basis is named (GDPR Art. 6)", "name it in the contract")
        if not _NAMESPACE.fullmatch(self.namespace):
            raise self.error("the namespace of our identifiers is no URI", "write https://... or urn:...")

    def error(self, rule: str, what_to_do: str) -> DeliveryError:
        """An error about this recipient's delivery: the rule with its count, and the next step; never a value."""
        return DeliveryError(f"recipient {self.recipient}: {rule}; nothing was handed over: {what_to_do}")

    def named(self, what: str) -> str:
        """The URI of a kind of our identifiers.

        >>> from datetime import UTC
        >>> Context("clinic", "contract", ("GDPR Art. 6(1)(b)",), datetime(2026, 3, 1, tzinfo=UTC)).named("booking")
        'urn:wellbe:sharing:booking'
        """
        return f"{self.namespace}{':' if self.namespace.startswith('urn:') else '/'}{what}"


@dataclass(frozen=True)
class Slice:
    """Some rows, by column: texts, whole numbers, truths; days and instants as texts (RFC 3339, UTC, microseconds)."""

    columns: Mapping[str, pa.Array]
    kinds: Mapping[str, Kind]

    def rows(self) -> Iterator[Row]:
        """One after the other, by name."""
        names, columns = tuple(self.columns), [values.to_pylist() for values in self.columns.values()]
        return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def slices(frames: pd.DataFrame | Iterable[pd.DataFrame], context: Context) -> Iterator[Slice]:
    """The rows of frames, `SLICE_ROWS` at most at a time; all frames have the same columns, those of `KEY` included.

    Raises DeliveryError for other columns, for what is neither text, whole number, truth, date nor instant, for a
    reference that is not 64 hex digits, and for rows that are not ascending by `KEY`: two of one key would be two
    patients.
    """
    names: tuple[str, ...] | None = None
    last = ""
    before = 0
    for frame in [frames] if isinstance(frames, pd.DataFrame) else frames:
        names = _names(frame, names, context)
        for start in range(0, len(frame), SLICE_ROWS):
            part = _slice(frame.iloc[start : start + SLICE_ROWS], context)
            last = _ordered(part, last, before, context)
            before += len(part.columns[KEY[0]])
            yield part


def instant(at: datetime) -> str:
    """An instant as files have it: RFC 3339, UTC, microseconds.

    >>> from datetime import timezone
    >>> instant(datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    '2026-03-01T10:00:00.000000Z'
    """
    since = at - (at.utcoffset() or timedelta())
    return f"{since.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _names(frame: pd.DataFrame, before: tuple[str, ...] | None, context: Context) -> tuple[str, ...]:
    names = tuple(map(str, frame.columns))
    if len(set(names)) < len(names):
        raise context.error("a column is there twice", "look at what the contract was given")
    missing = [name for name in KEY if name not in names]
    if missing:
        raise context.error(f"{', '.join(missing)} missing: rows cannot be told apart", "every contract has it")
    if before is not None and names != before:
        raise context.error("two frames of one delivery have different columns", "project all of them by one contract")
    return names


def _slice(frame: pd.DataFrame, context: Context) -> Slice:
    columns: dict[str, pa.Array] = {}
    kinds: dict[str, Kind] = {}
    for name in map(str, frame.columns):
        array = _array(frame[name], name, context)
        kinds[name] = _kind(array, name, context)
        columns[name] = _written(array, kinds[name], name, context)
    return Slice(columns, kinds)


def _kind(array: pa.Array, name: str, context: Context) -> Kind:
    kind = next((kind for kind, is_one in _KINDS.items() if is_one(array.type)), None)
    if kind is None:
        raise context.error(
            f"{len(array)} rows: {name} is {array.type}, and files hold texts, whole numbers, truths, days and instants"
            " with a time zone",
            "give it one of these types",
        )
    if name not in KEY:
        return kind
    known = pc.sum(pc.match_substring_regex(array, _REFERENCE)).as_py() if kind == "text" else 0
    if known != len(array):
        raise context.error(f"{len(array) - (known or 0)} of {len(array)}: {name} is not 64 hex digits", "make it anew")
    return "reference"


_KINDS: Mapping[Kind, Callable[[pa.DataType], bool]] = {
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "number": pa.types.is_integer,
    "truth": pa.types.is_boolean,
    "day": pa.types.is_date32,
    "instant": lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None,
    "nothing": pa.types.is_null,
}


def _array(column: pd.Series, name: str, context: Context) -> pa.Array:
    """A column as Arrow has it. A text that holds half a surrogate pair is none, in no encoding."""
    try:
        array = pa.Array.from_pandas(column)
    except (pa.ArrowException, UnicodeError, OverflowError):  # which quote values
        raise context.error(
            f"{len(column)} rows: {name} holds what is no text, or values of several types", "look at it at the source"
        ) from None
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _written(array: pa.Array, kind: Kind, name: str, context: Context) -> pa.Array:
    """A column as texts, whole numbers or truths. Raises DeliveryError for years that have no four digits."""
    if kind == "instant":
        try:
            counted = array.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).cast(pa.timestamp("us"))
        except pa.ArrowInvalid:  # which quotes values
            raise context.error(
                f"{len(array)} rows: {name} has parts of a microsecond, or is too far away", "round it to microseconds"
            ) from None
        texts = pc.binary_join_element_wise(pc.replace_substring(counted.cast(pa.string()), " ", "T"), "Z", "")
    elif kind == "day":
        texts = array.cast(pa.string())
    else:
        return array
    strange = pc.sum(pc.invert(pc.match_substring_regex(texts, _HAS_YEAR))).as_py()
    if strange:
        raise context.error(f"{strange} of {len(array)}: {name} is not in the years 1 to 9999", "correct the source")
    return texts


def _ordered(part: Slice, last: str, before: int, context: Context) -> str:
    """The key of the last row. Hex digits, as many in each, are ascending as texts where they are as bytes."""
    key = pc.binary_join_element_wise(*(part.columns[name].cast(pa.large_string()) for name in KEY), _NOTHING)
    keys = pa.concat_arrays([pa.array([last], key.type), key])
    wrong = np.flatnonzero(pc.greater_equal(keys[:-1], keys[1:]))
    if len(wrong):
        raise context.error(
            f"{len(wrong)} rows, the first being row {before + wrong[0] + 1}, do not come after the one before"
            f" by {', '.join(KEY)}",
            "order rows by these, and have each once",
        )
    return str(keys[-1])


_NOTHING = pa.scalar("", pa.large_string())
