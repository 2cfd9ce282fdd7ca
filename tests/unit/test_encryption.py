"""Encryption of single values, bound to their place (policy clause J1)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.encryption import Column, RowKeys, cut, decrypt, encrypt, key_ids
from governance.errors import GovernanceError, KeyringError
from governance.key import DataKey, Key

KEY = DataKey(bytes(range(16)), "subject", bytes(range(32)))
OTHER = DataKey(b"o" * 16, "subject", b"o" * 32)
EARLIER = Key("at_rest", 1, bytes(range(32)))
NAME = Column("clients", "family_name")
ROWS = pa.array([1, 2, 3], pa.int64())
NAMES = pa.array(["Åsa", None, ""])


def nonces(count: int) -> bytes:
    return b"".join(i.to_bytes(12, "big") for i in range(count))


def key_of(key_id: bytes) -> Key | DataKey:
    return {KEY.id: KEY, OTHER.id: OTHER, EARLIER.id: EARLIER}[key_id]


def sealed(
    values: pa.Array = NAMES, rows: pa.Array = ROWS, keys: DataKey | RowKeys = KEY, column: Column = NAME
) -> pa.Array:
    of_rows = keys if isinstance(keys, RowKeys) else RowKeys.same(keys, len(rows))
    return encrypt(values, rows, keys=of_rows, column=column, nonces=nonces)


def opened(values: pa.Array, rows: pa.Array = ROWS, column: Column = NAME) -> list[object]:
    return decrypt(values, rows, key_of=key_of, column=column).to_pylist()


def of_the_first_version(value: bytes, row: str, key: Key = EARLIER, nonce: bytes = b"n" * 12) -> bytes:
    """A value of `NAME` in format 1, as its description says: 01, key id (4), nonce, ciphertext; bound to its place."""
    key_id = hashlib.sha256(f"{key.name}/{key.version}".encode()).digest()[:4]
    associated = b"\x01" + key_id + b"\x00\x07clients" + b"\x00\x0bfamily_name" + bytes([0, len(row)]) + row.encode()
    return b"\x01" + key_id + nonce + AESGCM(key.secret).encrypt(nonce, value, associated)


@pytest.mark.clause("J1")
def test_a_ciphertext_opens_with_the_documented_format_and_nothing_of_ours() -> None:
    [value] = sealed(pa.array(["Åsa"]), pa.array([-7], pa.int64())).to_pylist()
    assert value[:1] == b"\x02"
    assert value[1:17] == bytes(range(16))
    associated = b"\x02" + bytes(range(16)) + b"\x00\x07clients" + b"\x00\x0bfamily_name" + b"\x00\x02-7"
    assert AESGCM(bytes(range(32))).decrypt(value[17:29], value[29:], associated) == "Åsa".encode()


@pytest.mark.clause("J1")
def test_what_was_encrypted_is_decrypted_and_null_stays_null() -> None:
    values = sealed()
    assert values.type == pa.binary()
    assert values.to_pylist()[1] is None
    assert "Åsa".encode() not in values.to_pylist()[0]
    assert opened(values) == ["Åsa", None, ""]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, "ö"], pa.string()),
        (["a", None, "ö"], pa.large_string()),
        ([b"\x00\xff", None, b""], pa.binary()),
        ([b"\x00\xff", None, b""], pa.large_binary()),
        ([date(2008, 2, 29), None, date(9999, 12, 31)], pa.date32()),
        ([-5, None, 2**40], pa.int64()),
        ([7, None, 0], pa.int16()),
    ],
)
def test_every_type_comes_back_as_it_was(values: list[object], kind: pa.DataType) -> None:
    array = pa.array(values, kind)
    back = decrypt(sealed(array), ROWS, key_of=key_of, column=NAME, as_type=kind)
    assert back.type == kind
    assert back.equals(array)


def test_a_row_key_may_be_a_text_and_the_text_of_a_number_is_the_number() -> None:
    keys = pa.array(["4711/1", "4711/2", "4711/2/1"])
    assert opened(sealed(rows=keys), keys) == ["Åsa", None, ""]
    with pytest.raises(KeyringError, match="2 of 2 values"):
        opened(sealed(rows=keys), pa.array(["4711/2", "x", "4711/21"]))
    assert opened(sealed(), pa.array(["1", "2", "3"])) == ["Åsa", None, ""]


def test_a_date_is_encrypted_as_its_text() -> None:
    assert opened(sealed(pa.array([date(2008, 2, 29)] * 3, pa.date32())))[0] == "2008-02-29"


def test_chunks_slices_and_no_rows_at_all_work() -> None:
    chunked = pa.chunked_array([NAMES.slice(0, 1), NAMES.slice(1)])
    assert opened(sealed(chunked, pa.chunked_array([ROWS]))) == ["Åsa", None, ""]
    assert opened(sealed().slice(2), ROWS.slice(2)) == [""]
    assert opened(sealed(NAMES.slice(0, 0), ROWS.slice(0, 0)), ROWS.slice(0, 0)) == []
    assert opened(sealed(pa.array([None] * 3, pa.string()))) == [None] * 3


# -- which key a row is under ------------------------------------------------------------------------------------------


@pytest.mark.clause("J1")
def test_each_row_is_under_its_own_key_and_a_row_without_a_key_has_no_value() -> None:
    keys = RowKeys((KEY, OTHER), np.array([1, -1, 0], np.int32))
    values = sealed(pa.array(["Åsa", "Bo", "Cy"]), keys=keys)
    assert key_ids(values).to_pylist() == [OTHER.id, None, KEY.id]
    assert key_ids(values).equals(keys.ids())
    assert opened(values) == ["Åsa", None, "Cy"]


@pytest.mark.clause("M1")
def test_without_the_key_of_one_row_the_other_rows_are_read_and_that_one_is_not() -> None:
    keys = RowKeys((KEY, OTHER), np.array([0, 1, 0], np.int32))
    values = sealed(pa.array(["Åsa", "Bo", "Cy"]), keys=keys)
    others = pa.array([values.to_pylist()[0], None, values.to_pylist()[2]], pa.binary())

    def only_key(key_id: bytes) -> DataKey:
        return {KEY.id: KEY}[key_id]

    assert decrypt(others, ROWS, key_of=only_key, column=NAME).to_pylist() == ["Åsa", None, "Cy"]
    with pytest.raises(KeyError):
        decrypt(values, ROWS, key_of=only_key, column=NAME)


def test_where_no_row_has_a_key_nothing_is_encrypted_and_no_nonce_is_used() -> None:
    for keys in (RowKeys((), np.full(3, -1, np.int32)), RowKeys((KEY,), np.full(3, -1, np.int32))):
        assert sealed(keys=keys).to_pylist() == [None] * 3
        assert sealed(keys=keys).type == pa.binary()
        assert keys.ids().to_pylist() == [None] * 3


def test_keys_of_rows_can_be_filtered_like_the_rows() -> None:
    keys = RowKeys((KEY, OTHER), np.array([1, -1, 0], np.int32))
    fewer = keys.filter(np.array([True, True, False]))
    assert fewer.ids().to_pylist() == [OTHER.id, None]
    assert fewer.has_key.tolist() == [True, False]
    assert keys.has_key.tolist() == [True, False, True]
    assert keys.filter(np.array([False] * 3)).ids().to_pylist() == []
    assert RowKeys.same(KEY, 2).ids().to_pylist() == [KEY.id] * 2


@pytest.mark.parametrize("rows", [0, 2, 4])
def test_keys_of_more_or_fewer_rows_are_refused(rows: int) -> None:
    with pytest.raises(GovernanceError, match=f"clients.family_name: 3 values, but keys of {rows} rows"):
        sealed(keys=RowKeys.same(KEY, rows))


def test_each_key_is_asked_for_once() -> None:
    asked: list[bytes] = []

    def counting(key_id: bytes) -> Key | DataKey:
        asked.append(key_id)
        return key_of(key_id)

    values = sealed(pa.array(["Åsa", "Bo", "Cy"]), keys=RowKeys((KEY, OTHER), np.array([0, 1, 0], np.int32)))
    decrypt(values, ROWS, key_of=counting, column=NAME)
    assert asked == [KEY.id, OTHER.id]


def test_the_keys_of_stored_values_are_read_without_opening_them() -> None:
    first = of_the_first_version(b"Bo", "2")
    stored = pa.array([sealed().to_pylist()[0], None, first, b"", b"\x02"], pa.binary())
    assert key_ids(stored).to_pylist() == [KEY.id, None, None, None, b""]
    for chunked in (pa.chunked_array([stored]), stored.cast(pa.large_binary())):
        assert key_ids(chunked).to_pylist() == [KEY.id, None, None, None, b""]
        assert key_ids(chunked).type == pa.binary()
    assert key_ids(stored.slice(1, 2)).to_pylist() == [None, None]
    assert key_ids(stored.slice(0, 0)).to_pylist() == []


# -- values of the first version ---------------------------------------------------------------------------------------


def test_a_value_of_the_first_version_still_opens_beside_new_ones() -> None:
    mixed = pa.array([of_the_first_version("Åsa".encode(), "1"), None, sealed().to_pylist()[2]], pa.binary())
    assert opened(mixed) == ["Åsa", None, ""]
    assert opened(pa.array([of_the_first_version(b"", "-7")]), pa.array([-7], pa.int64())) == [""]


@pytest.mark.clause("J1")
@pytest.mark.parametrize(
    ("rows", "column"),
    [
        (pa.array([2], pa.int64()), NAME),
        (pa.array([1], pa.int64()), Column("clients", "given_name")),
        (pa.array([1], pa.int64()), Column("travellers", "family_name")),
    ],
)
def test_a_value_of_the_first_version_is_bound_to_its_place_as_before(rows: pa.Array, column: Column) -> None:
    with pytest.raises(KeyringError, match="1 of 1 values"):
        opened(pa.array([of_the_first_version(b"Bo", "1")]), rows, column)


@pytest.mark.clause("J1")
def test_a_value_of_the_first_version_altered_in_any_byte_is_refused() -> None:
    value = of_the_first_version(b"Bo", "1")
    for at in range(len(value)):
        altered = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
        with pytest.raises((KeyringError, KeyError)):  # an altered key id names a key that nobody has
            opened(pa.array([altered]), ROWS.slice(0, 1))
    for shorter in (value[:-1], value[:32], value[:5], value[:1]):
        with pytest.raises(KeyringError, match="1 of 1 values"):
            opened(pa.array([shorter]), ROWS.slice(0, 1))


# -- nonces ------------------------------------------------------------------------------------------------------------


def test_the_source_of_nonces_is_asked_once_and_each_value_has_its_own() -> None:
    asked: list[int] = []

    def counting(count: int) -> bytes:
        asked.append(count)
        return nonces(count)

    keys = RowKeys.same(KEY, 3)
    values = encrypt(pa.array(["x", None, "x"]), ROWS, keys=keys, column=NAME, nonces=counting).to_pylist()
    assert asked == [2]
    assert values[0][17:29] != values[2][17:29]
    assert values[0] != values[2]


def test_nonces_in_one_piece_are_cut_one_by_one() -> None:
    assert list(cut(nonces(3))) == [bytes(12), bytes(11) + b"\x01", bytes(11) + b"\x02"]
    assert list(cut(b"")) == []


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.clause("J1")
def test_a_value_altered_in_any_byte_is_refused() -> None:
    value = sealed().to_pylist()[0]
    for at in range(len(value)):
        altered = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
        with pytest.raises((KeyringError, KeyError)):  # an altered key id names a key that nobody has
            opened(pa.array([altered, None, None], pa.binary()))


@pytest.mark.clause("J1")
def test_a_value_said_to_be_under_another_key_is_refused() -> None:
    value = sealed().to_pylist()[0]
    for secret in (OTHER.secret, KEY.secret):  # the id is bound too
        stolen = DataKey(OTHER.id, "subject", secret)
        moved = value[:1] + OTHER.id + value[17:]
        with pytest.raises(KeyringError, match="1 of 1 values"):
            decrypt(pa.array([moved]), ROWS.slice(0, 1), key_of=lambda _, key=stolen: key, column=NAME)


@pytest.mark.clause("J1")
@pytest.mark.parametrize(
    ("rows", "column"),
    [
        (pa.array([2, 1, 3], pa.int64()), NAME),  # another row
        (ROWS, Column("clients", "given_name")),  # another column
        (ROWS, Column("travellers", "family_name")),  # another table
        (ROWS, Column("clientsf", "amily_name")),  # the same letters, cut elsewhere
    ],
)
def test_a_value_moved_to_another_place_is_refused(rows: pa.Array, column: Column) -> None:
    with pytest.raises(KeyringError, match="cannot be decrypted: they were altered, or moved"):
        opened(sealed(pa.array(["Åsa", "Bo", "Cy"])), rows, column)


NEITHER = [b"", b"\x01", b"\x01" * 32, b"\x02", b"\x02" * 44, b"\x00" * 60, b"\x03" * 60, b"\xff" * 60]


@pytest.mark.parametrize("value", NEITHER)
def test_what_is_no_ciphertext_is_refused(value: bytes) -> None:
    with pytest.raises(KeyringError, match="1 of 1 values"):
        opened(pa.array([value, None, None], pa.binary()))


def test_the_shortest_ciphertext_is_of_an_empty_value() -> None:
    [value] = sealed(pa.array([""]), ROWS.slice(0, 1)).to_pylist()
    assert len(value) == 45
    assert opened(pa.array([value]), ROWS.slice(0, 1)) == [""]


def test_a_value_sealed_under_another_secret_of_the_same_id_is_refused_and_counted() -> None:
    foreign = sealed(pa.array(["Åsa", "Bo", "Cy"]), keys=DataKey(KEY.id, "subject", b"x" * 32))
    with pytest.raises(KeyringError, match="clients.family_name: 3 of 3 values") as refusal:
        opened(foreign)
    assert "Åsa" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_sound_value_of_another_type_is_refused_without_being_shown() -> None:
    with pytest.raises(KeyringError, match="they are no date32") as refusal:
        decrypt(sealed(), ROWS, key_of=key_of, column=NAME, as_type=pa.date32())
    assert "Åsa" not in str(refusal.value)
    assert refusal.value.__suppress_context__


@pytest.mark.parametrize("kind", [pa.float64(), pa.bool_(), pa.timestamp("us", "UTC")])
def test_a_type_without_text_form_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(GovernanceError, match="no text form"):
        sealed(pa.array([None] * 3, kind))


@pytest.mark.parametrize("rows", [pa.array([1, 2], pa.int64()), pa.array([1, 2, None], pa.int64())])
def test_every_value_needs_a_row_key_in_both_directions(rows: pa.Array) -> None:
    with pytest.raises(GovernanceError, match="the key of its row"):
        sealed(rows=rows, keys=RowKeys.same(KEY, 3))
    with pytest.raises(GovernanceError, match="the key of its row"):
        opened(sealed(), rows)


@pytest.mark.parametrize("source", [lambda n: b"", lambda n: b"0" * 12 * n + b"0", lambda n: b"0" * 12])
def test_too_few_or_too_many_nonces_are_refused(source: Callable[[int], bytes]) -> None:
    with pytest.raises(KeyringError, match="nonces"):
        encrypt(NAMES, ROWS, keys=RowKeys.same(KEY, 3), column=NAME, nonces=source)


def test_a_row_key_is_bound_whole_up_to_its_longest_length() -> None:
    longest = pa.array(["k" * 65_535])
    assert opened(sealed(pa.array(["x"]), longest), longest) == ["x"]
    with pytest.raises(KeyringError, match="1 of 1 values"):
        opened(sealed(pa.array(["x"]), longest), pa.array(["k" * 65_534]))
    for longer in (pa.array(["k" * 65_536]), pa.array(["å" * 32_768])):  # bytes count, not letters
        with pytest.raises(GovernanceError, match="a row key is longer than 65,535 bytes"):
            sealed(pa.array(["x"]), longer)
        with pytest.raises(GovernanceError, match="a row key is longer than 65,535 bytes"):
            opened(sealed(pa.array(["x"]), longest), longer)
    assert opened(sealed(pa.array([None], pa.string()), longer), longer) == [None]
