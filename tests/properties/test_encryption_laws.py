"""Laws of encryption: what goes in comes out, and only from where it was put."""

from __future__ import annotations

import hashlib
import os
import struct

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from governance.encryption import Column, RowKeys, decrypt, encrypt, key_ids
from governance.errors import KeyringError
from governance.key import DataKey, Key

KEY = DataKey(bytes(range(16)), "subject", bytes(range(32)))
KEYS = (KEY, DataKey(b"o" * 16, "subject", b"o" * 32), DataKey(b"p" * 16, "subject", b"p" * 32))
EARLIER = Key("at_rest", 1, bytes(range(32)))
PLACE = Column("bookings", "notes")
IDS = st.integers(-(2**63), 2**63 - 1)


def nonces(count: int) -> bytes:
    return os.urandom(12 * count)


def key_of(_: bytes) -> DataKey:
    return KEY


@pytest.mark.clause("J1")
@given(st.lists(st.tuples(st.none() | st.text(), IDS), max_size=8))
def test_every_text_comes_back_in_its_place(rows: list[tuple[str | None, int]]) -> None:
    values, ids = pa.array([v for v, _ in rows], pa.string()), pa.array([i for _, i in rows], pa.int64())
    sealed = encrypt(values, ids, keys=RowKeys.same(KEY, len(rows)), column=PLACE, nonces=nonces)
    assert sealed.is_null().equals(values.is_null())
    assert decrypt(sealed, ids, key_of=key_of, column=PLACE).equals(values)


@given(st.lists(st.none() | st.binary(), max_size=8))
def test_every_binary_value_comes_back(values: list[bytes | None]) -> None:
    array, ids = pa.array(values, pa.binary()), pa.array(range(len(values)), pa.int64())
    sealed = encrypt(array, ids, keys=RowKeys.same(KEY, len(values)), column=PLACE, nonces=nonces)
    assert decrypt(sealed, ids, key_of=key_of, column=PLACE, as_type=pa.binary()).equals(array)


@pytest.mark.clause("J1")
@given(st.lists(st.tuples(st.none() | st.text(max_size=4), st.integers(-1, 2)), max_size=8))
def test_every_value_is_under_the_key_of_its_row_and_without_one_there_is_none(
    rows: list[tuple[str | None, int]],
) -> None:
    values, ids = pa.array([v for v, _ in rows], pa.string()), pa.array(range(len(rows)), pa.int64())
    keys = RowKeys(KEYS, np.array([at for _, at in rows], np.int32))
    sealed = encrypt(values, ids, keys=keys, column=PLACE, nonces=nonces)
    kept = [None if at < 0 else value for value, at in rows]
    under = [None if value is None else KEYS[at].id for value, (_, at) in zip(kept, rows, strict=True)]
    assert key_ids(sealed).to_pylist() == under
    by_id = {key.id: key for key in KEYS}
    assert decrypt(sealed, ids, key_of=by_id.__getitem__, column=PLACE).to_pylist() == kept


@given(st.binary(max_size=30), st.binary(min_size=12, max_size=12), IDS)
def test_every_value_of_the_first_version_still_opens(value: bytes, nonce: bytes, row: int) -> None:
    header, text = b"\x01" + hashlib.sha256(b"at_rest/1").digest()[:4], str(row).encode()
    associated = header + b"\x00\x08bookings\x00\x05notes" + struct.pack(">H", len(text)) + text
    stored = pa.array([header + nonce + AESGCM(EARLIER.secret).encrypt(nonce, value, associated)])
    rows = pa.array([row], pa.int64())
    found = decrypt(stored, rows, key_of=lambda _: EARLIER, column=PLACE, as_type=pa.binary())
    assert found.to_pylist() == [value]


@pytest.mark.clause("J1")
@given(st.binary(max_size=30), st.data())
def test_any_edit_of_a_ciphertext_is_detected(value: bytes, data: st.DataObject) -> None:
    row = pa.array([1], pa.int64())
    keys = RowKeys.same(KEY, 1)
    [sealed] = encrypt(pa.array([value]), row, keys=keys, column=PLACE, nonces=nonces).to_pylist()
    at = data.draw(st.integers(0, len(sealed) - 1))
    edited = sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :]
    shorter = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for wrong in (edited, shorter, sealed + b"\0"):
        with pytest.raises(KeyringError):
            decrypt(pa.array([wrong], pa.binary()), row, key_of=key_of, column=PLACE)


NAMES = st.text(max_size=6)


@pytest.mark.clause("J1")
@given(st.tuples(NAMES, NAMES, IDS), st.tuples(NAMES, NAMES, IDS))
def test_a_value_opens_in_its_own_place_only(here: tuple[str, str, int], there: tuple[str, str, int]) -> None:
    def ids(place: tuple[str, str, int]) -> pa.Array:
        return pa.array([place[2]], pa.int64())

    keys = RowKeys.same(KEY, 1)
    sealed = encrypt(pa.array(["x"]), ids(here), keys=keys, column=Column(*here[:2]), nonces=nonces)
    if here == there:
        assert decrypt(sealed, ids(there), key_of=key_of, column=Column(*there[:2])).to_pylist() == ["x"]
    else:
        with pytest.raises(KeyringError):
            decrypt(sealed, ids(there), key_of=key_of, column=Column(*there[:2]))
