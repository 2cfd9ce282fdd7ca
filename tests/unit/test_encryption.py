"""Encryption of single values, bound to their place (policy clause J1)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.encryption import Column, decrypt, encrypt
from governance.errors import GovernanceError, KeyringError
from governance.key import Key

KEY = Key("at_rest", 1, bytes(range(32)))
NEWER = Key("at_rest", 2, bytes(32))
NAME = Column("clients", "family_name")
ROWS = pa.array([1, 2, 3], pa.int64())
NAMES = pa.array(["Åsa", None, ""])


def nonces(count: int) -> bytes:
    return b"".join(i.to_bytes(12, "big") for i in range(count))


def key_of(key_id: bytes) -> Key:
    return {KEY.id: KEY, NEWER.id: NEWER}[key_id]


def sealed(values: pa.Array = NAMES, rows: pa.Array = ROWS, key: Key = KEY, column: Column = NAME) -> pa.Array:
    return encrypt(values, rows, key=key, column=column, nonces=nonces)


def opened(values: pa.Array, rows: pa.Array = ROWS, column: Column = NAME) -> list[object]:
    return decrypt(values, rows, key_of=key_of, column=column).to_pylist()


@pytest.mark.clause("J1")
def test_a_ciphertext_opens_with_the_documented_format_and_nothing_of_ours() -> None:
    [value] = encrypt(
        pa.array(["Åsa"]), pa.array([-7], pa.int64()), key=KEY, column=Column("clients", "family_name"), nonces=nonces
    ).to_pylist()
    key_id = hashlib.sha256(b"at_rest/1").digest()[:4]
    assert value[:1] == b"\x01"
    assert value[1:5] == key_id
    associated = b"\x01" + key_id + b"\x00\x07clients" + b"\x00\x0bfamily_name" + b"\x00\x02-7"
    assert AESGCM(bytes(range(32))).decrypt(value[5:17], value[17:], associated) == "Åsa".encode()


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


def test_values_of_an_older_key_version_are_decrypted_beside_new_ones() -> None:
    mixed = pa.array([sealed(key=KEY).to_pylist()[0], None, sealed(key=NEWER).to_pylist()[2]], pa.binary())
    assert opened(mixed) == ["Åsa", None, ""]


def test_the_source_of_nonces_is_asked_once_and_each_value_has_its_own() -> None:
    asked: list[int] = []

    def counting(count: int) -> bytes:
        asked.append(count)
        return nonces(count)

    values = encrypt(pa.array(["x", None, "x"]), ROWS, key=KEY, column=NAME, nonces=counting).to_pylist()
    assert asked == [2]
    assert values[0][5:17] != values[2][5:17]
    assert values[0] != values[2]


@pytest.mark.clause("J1")
@pytest.mark.parametrize("at", [0, 1, 4, 5, 16, 17, -1])
def test_a_value_altered_in_any_part_is_refused(at: int) -> None:
    value = bytearray(sealed().to_pylist()[0])
    value[at] ^= 1
    with pytest.raises((KeyringError, KeyError)):  # an altered key id names a key that nobody has
        opened(pa.array([bytes(value), None, None], pa.binary()))


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


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x01" * 32, b"\x02" + b"\x01" * 40])
def test_what_is_no_ciphertext_is_refused(value: bytes) -> None:
    with pytest.raises(KeyringError, match="1 of 1 values"):
        opened(pa.array([value, None, None], pa.binary()))


def test_a_value_sealed_under_another_secret_of_the_same_name_is_refused_and_counted() -> None:
    foreign = sealed(pa.array(["Åsa", "Bo", "Cy"]), key=Key("at_rest", 1, b"x" * 32))
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
        sealed(rows=rows)
    with pytest.raises(GovernanceError, match="the key of its row"):
        opened(sealed(), rows)


@pytest.mark.parametrize("source", [lambda n: b"", lambda n: b"0" * 12 * n + b"0", lambda n: b"0" * 12])
def test_too_few_or_too_many_nonces_are_refused(source: Callable[[int], bytes]) -> None:
    with pytest.raises(KeyringError, match="nonces"):
        encrypt(NAMES, ROWS, key=KEY, column=NAME, nonces=source)
