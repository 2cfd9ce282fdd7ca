"""Authenticated encryption of single values: AES-256-GCM, bound to the place where the value stands. Pure.

The format (2), byte by byte, and how to open it without this code: `docs/keys.md`. In short, a stored value is

    02 | key id (16) | nonce (12) | ciphertext | tag (16)

and its associated data are `02 | key id` and table, column and row key, each after its length. The table is a logical
name ('bookings'), the same in every zone, so that a row can move from landing to vault inside the database and still be
read there; put into another row, column or table, or under another key, it cannot be. Format 1, of the first version,
had a key id of four bytes; it can still be opened, so that a migration can (`steps.reencryption`).

Nonces come from `nonces.Nonces`, which never repeats one.

Not protected: the length of a value, whether it is NULL, and which values share a key; a whole row that is deleted, or
put back as it once was; anything against someone who holds the key. Source: NIST SP 800-38D; RFC 5116; policy clause
J1; GDPR article 32(1)(a).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.errors import GovernanceError, KeyringError
from governance.key import ID_BYTES, DataKey, Key

FORMAT, EARLIER_FORMAT = b"\x02", b"\x01"
NONCE_BYTES, TAG_BYTES = 12, 16
HEADER_BYTES = {FORMAT: 1 + ID_BYTES, EARLIER_FORMAT: 5}  # format and key id
TEXT_KINDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_date32)


@dataclass(frozen=True, eq=False)
class RowKeys:
    """Which key each of n rows is under: `keys`, and per row the place of its key there, or -1 for none."""

    keys: Sequence[DataKey]
    of_row: np.ndarray

    @classmethod
    def same(cls, key: DataKey, rows: int) -> RowKeys:
        """One key for all rows."""
        return cls((key,), np.zeros(rows, np.int32))

    @property
    def has_key(self) -> np.ndarray:
        """Boolean array of length n: whether the row has a key."""
        found: np.ndarray = self.of_row >= 0
        return found

    def ids(self) -> pa.Array:
        """The id of each row's key, as a binary array of length n; NULL where there is none."""
        return pa.array([key.id for key in self.keys], pa.binary()).take(pa.array(self.of_row, mask=~self.has_key))

    def filter(self, chosen: np.ndarray) -> RowKeys:
        """The rows for which `chosen`, a boolean array of length n, is true."""
        return replace(self, of_row=self.of_row[chosen])

    @cached_property
    def ciphers(self) -> list[AESGCM]:
        """The cipher of each key, made once for all columns: making one costs more than using it."""
        return [AESGCM(key.secret) for key in self.keys]

    @cached_property
    def headers(self) -> list[bytes]:
        """What each value under a key begins with, per key."""
        return [FORMAT + key.id for key in self.keys]


@dataclass(frozen=True)
class Column:
    """Where a value stands: the logical table (the same name in every zone) and the column."""

    table: str
    name: str

    def bound(self) -> bytes:
        """The part of the associated data that says the column."""
        table, name = self.table.encode(), self.name.encode()
        return struct.pack(">H", len(table)) + table + struct.pack(">H", len(name)) + name


def encrypt(
    values: pa.Array, row_keys: pa.Array, *, keys: RowKeys, column: Column, nonces: Callable[[int], bytes]
) -> pa.Array:
    """Each value encrypted for its row: a binary array of length n; NULL stays NULL, and a row without a key has none.

    `values`: string, binary, integer or date32 array of length n; `row_keys`: string or integer array of length n
    without NULL; `keys`: of n rows; `nonces(m)` returns m fresh nonces of 12 bytes in one piece (`Nonces.take`) and is
    called once. Raises `GovernanceError` for another type, missing row keys or keys of other rows, `KeyringError` for
    a source that returns too few bytes. Format and source: see the module.
    """
    plain = texts(values, column)
    if len(keys.of_row) != len(plain):
        raise GovernanceError(f"{column.table}.{column.name}: {len(plain)} values, but keys of {len(keys.of_row)} rows")
    plain = pc.if_else(pa.array(keys.has_key), plain, pa.scalar(None, plain.type))
    known = _known(plain)
    fresh = nonces(len(known))
    if len(fresh) != NONCE_BYTES * len(known):
        raise KeyringError(f"{column.table}.{column.name}: {len(fresh)} bytes are not {len(known)} nonces")
    headers, ciphers, each = keys.headers, keys.ciphers, keys.of_row[known].tolist()
    given = zip(each, cut(fresh), _some(plain, known).to_pylist(), _bound(row_keys, plain, column), strict=True)
    # No tuple per key: a hundred thousand of them cost the garbage collector more than the ciphers cost.
    return _spread(
        [
            headers[key] + nonce + ciphers[key].encrypt(nonce, text, headers[key] + bound)
            for key, nonce, text, bound in given
        ],
        plain,
    )


def key_ids(values: pa.Array) -> pa.Array:
    """The id of the key of each stored value, as a binary array of length n; NULL for NULL and for format 1."""
    flat = _flat(values).cast(pa.binary())
    is_current = pc.fill_null(pc.equal(pc.binary_slice(flat, 0, 1), FORMAT), False)
    return pc.if_else(is_current, pc.binary_slice(flat, 1, 1 + ID_BYTES), pa.scalar(None, pa.binary()))


def decrypt(
    values: pa.Array,
    row_keys: pa.Array,
    *,
    key_of: Callable[[bytes], Key | DataKey],
    column: Column,
    as_type: pa.DataType | None = None,
) -> pa.Array:
    """Each value decrypted, as an array of `as_type` (string unless given) and length n; NULL stays NULL.

    `values` and `row_keys` as `encrypt` made and took them; `key_of` finds a key by its id (`Opened.key_of`), and is
    asked once for each. Raises `KeyringError`, which counts them and shows none, when values were altered or moved, or
    are of no known format.
    """
    sealed = _flat(values).cast(pa.large_binary())
    known, places = _known(sealed), _bound(row_keys, sealed, column)
    ciphers: dict[bytes, AESGCM] = {}
    opened, refused = [], 0
    for value, bound in zip(_some(sealed, known).to_pylist(), places, strict=True):
        begin = HEADER_BYTES.get(value[:1], 0)
        if not begin or len(value) < begin + NONCE_BYTES + TAG_BYTES:
            refused += 1
            continue
        header = value[:begin]
        if header not in ciphers:
            ciphers[header] = AESGCM(key_of(header[1:]).secret)
        nonce, rest = value[begin : begin + NONCE_BYTES], value[begin + NONCE_BYTES :]
        try:
            opened.append(ciphers[header].decrypt(nonce, rest, header + bound))
        except InvalidTag:
            refused += 1
    if refused:
        raise KeyringError(
            f"{column.table}.{column.name}: {refused} of {len(known)} values cannot be decrypted: "
            "they were altered, or moved from another row, column or table"
        )
    return typed(_spread(opened, sealed), as_type or pa.string(), column)


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def texts(values: pa.Array, column: Column) -> pa.Array:
    """What is encrypted of each value, its text in UTF-8 or its bytes, as large_binary. Raises `GovernanceError`."""
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _flat(values).cast(pa.large_binary())
    if not any(is_kind(kind) for is_kind in TEXT_KINDS):
        raise GovernanceError(f"{column.table}.{column.name}: values of type {kind} have no text form to encrypt")
    return pc.cast(_flat(values), pa.large_string()).cast(pa.large_binary())


def _bound(row_keys: pa.Array, values: pa.Array, column: Column) -> list[bytes]:
    """What each known value is bound to beside its header: its column, and its row key as length and UTF-8 bytes."""
    if len(row_keys) != len(values) or row_keys.null_count:
        raise GovernanceError(f"{column.table}.{column.name}: every value needs the key of its row")
    keys = _some(pc.cast(_flat(row_keys), pa.string()), _known(values)).cast(pa.binary())
    lengths = np.asarray(pc.binary_length(keys))
    if len(lengths) and lengths.max() >= 1 << 16:
        raise GovernanceError(f"{column.table}.{column.name}: a row key is longer than 65,535 bytes")
    prefixes = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(2), len(lengths), [None, pa.py_buffer(lengths.astype(">u2").tobytes())]
    )
    place = pa.scalar(column.bound(), pa.binary())
    bound: list[bytes] = pc.binary_join_element_wise(place, prefixes.cast(pa.binary()), keys, b"").to_pylist()
    return bound


def cut(nonces: bytes) -> Iterator[bytes]:
    """Nonces that came in one piece, one by one."""
    return (nonce for (nonce,) in struct.iter_unpack(f"{NONCE_BYTES}s", nonces))


def _known(values: pa.Array) -> np.ndarray:
    known: np.ndarray = np.flatnonzero(np.asarray(pc.is_valid(values)))
    return known


def _some(values: pa.Array, chosen: np.ndarray) -> pa.Array:
    return values if len(chosen) == len(values) else values.take(chosen)


def _spread(results: list[bytes], like: pa.Array) -> pa.Array:
    """The results of the known values, with NULL again where `like` has it."""
    if not like.null_count:
        return pa.array(results, pa.binary())
    known = np.asarray(pc.is_valid(like))
    places = pa.array(np.cumsum(known) - 1, mask=~known)
    return pa.array(results, pa.binary()).take(places)


def typed(opened: pa.Array, kind: pa.DataType, column: Column) -> pa.Array:
    """Decrypted bytes as values of a type. Raises `KeyringError` when they are none."""
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return opened.cast(kind)
    try:
        return opened.cast(pa.string()).cast(kind)
    except pa.ArrowInvalid:  # its message quotes the value
        raise KeyringError(f"{column.table}.{column.name}: the values are sound, but they are no {kind}") from None
