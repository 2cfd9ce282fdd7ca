"""What a recipient is sent, as chunks of bytes: rows in a format, or a notice of what may not be used any more. Pure.

A chunk holds whole lines, about `CHUNK_BYTES` of them, so that a delivery of any size takes little memory. The same
rows and context give the same bytes, however the rows were cut into frames.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from governance.errors import DeliveryError
from governance.sharing import fhir, tabular
from governance.sharing.rows import Context, Slice, instant, slices

__all__ = [
    "CHUNK_BYTES", "MEDIA_TYPES", "NOTICE_FIELDS", "REVOCATIONS", "Context", "Form", "Revoked", "chunks", "revocations",
    "slices", "written",
]  # fmt: skip

Form = Literal["fhir", "jsonl", "csv"]
MEDIA_TYPES: Mapping[Form, str] = MappingProxyType(
    {"fhir": "application/fhir+ndjson", "jsonl": "application/jsonl", "csv": "text/csv"}
)
NOTICE_FIELDS = (
    "booking_reference", "service_reference", "person_reference", "delivery_ids", "action", "reason_code",
    "requested_at", "gdpr_article",
)  # fmt: skip
REVOCATIONS: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "erased": ("delete", "19"),
        "consent withdrawn": ("delete", "19"),
        "superseded": ("delete", "19"),  # an amended booking names the service or the person no more
        "restricted": ("restrict", "19"),
        "objection": ("restrict", "19"),
        "cancelled": ("cancel", None),  # no right of the GDPR: the appointment does not take place
    }
)
"""By reason: what the recipient has to do with what it holds, and the article of the GDPR by which it is told."""
CHUNK_BYTES = 2 * 1024 * 1024


def chunks(frames: pd.DataFrame | Iterable[pd.DataFrame], form: Form, context: Context) -> Iterator[bytes]:
    """Rows in a format; no rows are no chunk, not even a header. Raises DeliveryError as `rows.slices` and
    `fhir.bundle_lines` do, before anything of what is wrong is written, and after what comes before it.
    """
    return written(slices(frames, context), form, context)


def written(parts: Iterable[Slice], form: Form, context: Context) -> Iterator[bytes]:
    """Rows that were cut by `rows.slices`, in a format; see `chunks`."""
    return _joined(_LINES[form](parts, context))


class Revoked(Protocol):
    """That what a recipient holds of a booking may not be used any more."""

    @property
    def booking_reference(self) -> str:
        """As the recipient knows the booking."""

    @property
    def reason(self) -> str:
        """One of `REVOCATIONS`."""

    @property
    def rows(self) -> Sequence[tuple[str, str]]:
        """Of each row that it holds, service_reference and person_reference."""

    @property
    def deliveries(self) -> Sequence[str]:
        """Ids of the deliveries that brought these rows."""

    @property
    def raised_at(self) -> datetime:
        """Since when that is so."""


def revocations(revoked: Iterable[Revoked], recipient: str) -> Iterator[bytes]:
    """A notice as JSON Lines (members: `NOTICE_FIELDS`): a line a row and reason, ascending; it names nobody.

    Raises DeliveryError for a reason that is none of `REVOCATIONS`, for an instant without a zone, for a reference or
    id of a delivery that is not 64 hex digits, and where there is no row or no delivery (GDPR Art. 19).
    """
    lines = sorted({line for one in revoked for line in _notice_lines(one, recipient)})
    return _joined(map(_line, lines))


def _notice_lines(one: Revoked, recipient: str) -> Iterator[str]:
    ids = [one.booking_reference, *one.deliveries, *(reference for row in one.rows for reference in row)]
    wrongs = {
        "its reason is none that is known: add it to REVOCATIONS": one.reason not in REVOCATIONS,
        "its instant has no time zone: say it in UTC": one.raised_at.tzinfo is None,
        "it names no row, or no delivery: look at what is owed": not one.rows or not one.deliveries,
        f"{sum(not _IS_ID.fullmatch(name) for name in ids)} references or ids are not 64 hex digits: look at what is "
        "owed": not all(map(_IS_ID.fullmatch, ids)),
    }
    for wrong, found in wrongs.items():
        if found:
            raise DeliveryError(f"recipient {recipient}: a booking is to be revoked, and {wrong}; nothing was told")
    action, article = REVOCATIONS[one.reason]
    code, deliveries, at = one.reason.replace(" ", "_"), sorted(set(one.deliveries)), instant(one.raised_at)
    for service, person in one.rows:
        values = (one.booking_reference, service, person, deliveries, action, code, at, article)
        yield f"{_encoded(dict(zip(NOTICE_FIELDS, values, strict=True)))}\n"


_IS_ID = re.compile(r"[0-9a-f]{64}")
_encoded = json.JSONEncoder(separators=(",", ":")).encode


Lines = tuple[bytes | memoryview, Sequence[int]]
"""Lines one behind the other, and where each of them ends."""


def _bundles(parts: Iterable[Slice], context: Context) -> Iterator[Lines]:
    return map(_line, fhir.bundle_lines(parts, context))


def _json_lines(parts: Iterable[Slice], _: Context) -> Iterator[Lines]:
    return (_lines(tabular.json_lines(part)) for part in parts)


def _csv_lines(parts: Iterable[Slice], _: Context) -> Iterator[Lines]:
    for number, part in enumerate(parts):
        if not number:
            yield _line(tabular.csv_header(part.columns))
        yield _lines(tabular.csv_lines(part))


_LINES = {"fhir": _bundles, "jsonl": _json_lines, "csv": _csv_lines}


def _line(text: str) -> Lines:
    line = text.encode()
    return line, (len(line),)


def _lines(texts: pa.LargeStringArray) -> Lines:
    """Texts as they lie in memory: one behind the other already."""
    _, offsets, content = texts.buffers()
    return memoryview(content), np.frombuffer(offsets, np.int64)[1 : len(texts) + 1]  # type: ignore[return-value]


def _joined(parts: Iterable[Lines]) -> Iterator[bytes]:
    kept: list[bytes | memoryview] = []
    size = 0
    for text, ends in parts:
        begin = 0
        while begin < ends[-1]:
            filling = bisect_left(ends, begin + CHUNK_BYTES - size)
            end = int(ends[min(filling, len(ends) - 1)])
            kept.append(text[begin:end])
            size, begin = size + end - begin, end
            if size >= CHUNK_BYTES:
                yield b"".join(kept)
                kept, size = [], 0
    if kept:
        yield b"".join(kept)
