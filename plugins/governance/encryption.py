"""Authenticated encryption of single values: AES-256-GCM, bound to the place where the value stands. Pure.

Format, version 1. A stored value is

    01 | key id (4) | nonce (12) | ciphertext | tag (16)

and the associated data, which is not stored but must be the same to decrypt, is

    01 | key id (4) | length of table (2) | table | length of column (2) | column | length of row key (2) | row key

with lengths unsigned, big-endian, and names and row key in UTF-8 (an integer row key in decimal). The plaintext is the
value's text in UTF-8 (a date as YYYY-MM-DD, an integer in decimal), or the bytes themselves. The key id is the
beginning of SHA-256 of 'name/version' of the key (`key.py`). The table is a logical name ('bookings'), the same in
every zone, so that a row can move from landing to vault inside the database and still be read there; put into another
row, column or table, it cannot be.

Nonces are random, 96 bits. Two values under one key and one nonce would give away both, so a key may encrypt at most
2^32 values: then the chance of any repetition is below 2^-32 (NIST SP 800-38D section 8.3). At ten million personal
values a day that is more than a year; rotate the key before (`Keyring.add_version`).

Not protected: the length of a value, whether it is NULL, and which version of the key is used; a whole row that is
deleted, or put back as it once was; anything against someone who holds the key. Source: NIST SP 800-38D; RFC 5116;
policy clause J1; GDPR article 32(1)(a).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.errors import GovernanceError, KeyringError
from governance.key import Key

FORMAT = b"\x01"
NONCE_BYTES, TAG_BYTES = 12, 16
HEADER_BYTES = 5  # format and key id
TEXT_KINDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_date32)
SHORTEST = HEADER_BYTES + NONCE_BYTES + TAG_BYTES


@dataclass(frozen=True)
class Column:
    """Where a value stands: the logical table (the same name in every zone) and the column."""

    table: str
    name: str

    def bound_to(self, header: bytes) -> bytes:
        """The associated data of this column up to the row key."""
        table, name = self.table.encode(), self.name.encode()
        return header + struct.pack(">H", len(table)) + table + struct.pack(">H", len(name)) + name


def encrypt(
    values: pa.Array, row_keys: pa.Array, *, key: Key, column: Column, nonces: Callable[[int], bytes]
) -> pa.Array:
    """Each value encrypted for its row: a binary array of length n; NULL stays NULL.

    `values`: string, binary, integer or date32 array of length n; `row_keys`: string or integer array of length n
    without NULL; `nonces(m)` returns m fresh random nonces of 12 bytes in one piece (`keys.fresh_nonces`) and is called
    once. Raises `GovernanceError` for another type or missing row keys, `KeyringError` for a source that returns too
    few bytes. Format and source: see the module.
    """
    texts = _texts(values, column)
    known, rows = _known(texts), _rows(row_keys, texts, column)
    fresh = nonces(len(known))
    if len(fresh) != NONCE_BYTES * len(known):
        raise KeyringError(f"{column.table}.{column.name}: {len(fresh)} bytes are not {len(known)} nonces")
    header = FORMAT + key.id
    bound = column.bound_to(header)
    seal = AESGCM(key.secret).encrypt  # one object per call: making it costs more than using it
    sealed = []
    for at, (text, row) in enumerate(zip(texts.take(known).to_pylist(), rows, strict=True)):
        nonce = fresh[at * NONCE_BYTES : (at + 1) * NONCE_BYTES]
        sealed.append(header + nonce + seal(nonce, text, bound + row))
    return _spread(sealed, texts)


def decrypt(
    values: pa.Array,
    row_keys: pa.Array,
    *,
    key_of: Callable[[bytes], Key],
    column: Column,
    as_type: pa.DataType | None = None,
) -> pa.Array:
    """Each value decrypted, as an array of `as_type` (string unless given) and length n; NULL stays NULL.

    `values` and `row_keys` as `encrypt` made and took them; `key_of` finds a key by its id (`Keyring.by_id`). Raises
    `KeyringError`, which counts them and shows none, when values were altered or moved, or are of no known format.
    """
    sealed = _flat(values).cast(pa.large_binary())
    known, rows = _known(sealed), _rows(row_keys, sealed, column)
    doors: dict[bytes, tuple[AESGCM, bytes]] = {}
    opened, refused = [], 0
    for value, row in zip(sealed.take(known).to_pylist(), rows, strict=True):
        header = value[:HEADER_BYTES]
        if len(value) < SHORTEST or value[:1] != FORMAT:
            refused += 1
            continue
        if header not in doors:
            doors[header] = AESGCM(key_of(header[1:]).secret), column.bound_to(header)
        cipher, bound = doors[header]
        try:
            nonce, body = value[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES], value[HEADER_BYTES + NONCE_BYTES :]
            opened.append(cipher.decrypt(nonce, body, bound + row))
        except InvalidTag:
            refused += 1
    if refused:
        raise KeyringError(
            f"{column.table}.{column.name}: {refused} of {len(known)} values cannot be decrypted: "
            "they were altered, or moved from another row, column or table"
        )
    return _typed(_spread(opened, sealed), as_type or pa.string(), column)


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _texts(values: pa.Array, column: Column) -> pa.Array:
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _flat(values).cast(pa.large_binary())
    if not any(is_kind(kind) for is_kind in TEXT_KINDS):
        raise GovernanceError(f"{column.table}.{column.name}: values of type {kind} have no text form to encrypt")
    return pc.cast(_flat(values), pa.large_string()).cast(pa.large_binary())


def _rows(row_keys: pa.Array, values: pa.Array, column: Column) -> list[bytes]:
    """The row key of each known value, as its length and UTF-8 bytes."""
    if len(row_keys) != len(values) or row_keys.null_count:
        raise GovernanceError(f"{column.table}.{column.name}: every value needs the key of its row")
    keys = pc.cast(_flat(row_keys), pa.string()).take(_known(values)).to_pylist()
    return [struct.pack(">H", len(text)) + text for text in map(str.encode, keys)]


def _known(values: pa.Array) -> np.ndarray:
    known: np.ndarray = np.flatnonzero(np.asarray(pc.is_valid(values)))
    return known


def _spread(results: list[bytes], like: pa.Array) -> pa.Array:
    """The results of the known values, with NULL again where `like` has it."""
    known = np.asarray(pc.is_valid(like))
    places = pa.array(np.cumsum(known) - 1, mask=~known)
    return pa.array(results, pa.binary()).take(places)


def _typed(opened: pa.Array, kind: pa.DataType, column: Column) -> pa.Array:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return opened.cast(kind)
    try:
        return opened.cast(pa.string()).cast(kind)
    except pa.ArrowInvalid:  # its message quotes the value
        raise KeyringError(f"{column.table}.{column.name}: the values are sound, but they are no {kind}") from None
