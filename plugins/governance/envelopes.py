"""Envelopes: many values of one column under one tag, for values whose key dies together (format 3). Pure.

Sealing value by value costs some 30 bytes and two microseconds each; an envelope holds up to a mebibyte of values of
one column, in their order, and is sealed once. It is bound to table, column, batch and range of rows, so that it opens
nowhere else, in no other batch, and neither shortened nor as the rows of another range. What it cannot do: give up one
value and keep the others. So a value that may have to die alone (a person's, a card's) is never in one.

The format, byte by byte, is on the page `docs/keys.md`. Source: NIST SP 800-38D; policy clauses B1, J1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.encryption import NONCE_BYTES, TAG_BYTES, Column, texts, typed
from governance.errors import GovernanceError, KeyringError
from governance.key import ID_BYTES, DataKey

FORMAT = b"\x03"
CHUNK_BYTES = 1024 * 1024
HEADER_BYTES = 1 + ID_BYTES
LENGTH_BYTES = 4
MOST_BYTES = 2**31 - 1
"""One value may be larger than a chunk, and then has one of its own; larger than this it has none."""


@dataclass(frozen=True)
class Batch:
    """What an envelope is bound to beside its rows: a column, and the label of a batch."""

    column: Column
    label: str

    def bound(self, header: bytes, first_row: int, rows: int) -> bytes:
        """The associated data of an envelope."""
        label = self.label.encode()
        return (
            header + self.column.bound() + struct.pack(">H", len(label)) + label + struct.pack(">QI", first_row, rows)
        )


@dataclass(frozen=True)
class Envelope:
    """Rows `first_row` to `first_row + rows - 1` of a column of a batch, sealed; its repr does not show them."""

    first_row: int
    rows: int
    sealed: bytes = field(repr=False)


def seal(
    values: pa.Array,
    *,
    key: DataKey,
    batch: Batch,
    nonces: Callable[[int], bytes],
    first_row: int = 0,
) -> Iterator[Envelope]:
    """The values of a column, in envelopes of about a mebibyte of plaintext each; no envelope for no value.

    `values`: string, binary, integer or date32 array; `batch`: the same for opening; `first_row`: number of
    the first value in the batch; `nonces`: as for `encryption.encrypt`. Raises `GovernanceError` for another type and
    for a value of two gibibytes.
    """
    flat = texts(values, batch.column)
    lengths = np.asarray(pc.fill_null(pc.binary_length(flat), -1)).astype(np.int64)
    if len(lengths) and lengths.max() > MOST_BYTES:
        raise GovernanceError(f"{batch.column.table}.{batch.column.name}: a value is too large for an envelope")
    ends = np.cumsum(np.maximum(lengths, 0) + LENGTH_BYTES)
    cipher, begin = AESGCM(key.secret), 0
    while begin < len(flat):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + CHUNK_BYTES, side="right")))
        header, nonce = FORMAT + key.id, nonces(1)
        if len(nonce) != NONCE_BYTES:
            raise KeyringError(f"{batch.column.table}.{batch.column.name}: {len(nonce)} bytes are no nonce")
        bound = batch.bound(header, first_row + begin, end - begin)
        plain = lengths[begin:end].astype(">i4").tobytes() + _content(flat.slice(begin, end - begin))
        yield Envelope(first_row + begin, end - begin, header + nonce + cipher.encrypt(nonce, plain, bound))
        begin = end


def open_envelope(
    envelope: Envelope,
    *,
    key_of: Callable[[bytes], DataKey],
    batch: Batch,
    as_type: pa.DataType | None = None,
) -> pa.Array:
    """The values of an envelope, as an array of `as_type` (string unless given).

    Raises `KeyringError` when it was altered, cut, or moved from another column, batch or range of rows.
    """
    sealed = envelope.sealed
    header, nonce = sealed[:HEADER_BYTES], sealed[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
    refusal = KeyringError(
        f"{batch.column.table}.{batch.column.name}, {batch.label}: the envelope of {envelope.rows} rows from "
        f"{envelope.first_row} cannot be opened: it was altered, or moved from another column, batch or range of rows"
    )
    if len(sealed) < HEADER_BYTES + NONCE_BYTES + TAG_BYTES or header[:1] != FORMAT:
        raise refusal
    try:
        bound = batch.bound(header, envelope.first_row, envelope.rows)
        plain = AESGCM(key_of(header[1:]).secret).decrypt(nonce, sealed[HEADER_BYTES + NONCE_BYTES :], bound)
    except (InvalidTag, struct.error):
        raise refusal from None
    lengths = np.frombuffer(plain, ">i4", envelope.rows).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))])
    body = pa.py_buffer(plain).slice(LENGTH_BYTES * envelope.rows)
    valid = pa.array(lengths >= 0).buffers()[1]
    found = pa.Array.from_buffers(pa.large_binary(), len(lengths), [valid, pa.py_buffer(offsets), body])
    return typed(found, as_type or pa.string(), batch.column)


def _content(flat: pa.Array) -> bytes:
    """The bytes of all values, one after the other; those that a NULL may hide are not in it."""
    packed = flat.drop_null() if flat.null_count else flat
    offsets = np.frombuffer(packed.buffers()[1], np.int64)[packed.offset : packed.offset + len(packed) + 1]
    content: bytes = packed.buffers()[2][int(offsets[0]) : int(offsets[-1])].to_pybytes() if len(packed) else b""
    return content
