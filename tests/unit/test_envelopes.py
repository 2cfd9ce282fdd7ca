"""Envelopes: many values of one column under one tag (policy clauses B1, J1)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance import envelopes
from governance.encryption import Column
from governance.envelopes import CHUNK_BYTES, Batch, Envelope, open_envelope, seal
from governance.errors import GovernanceError, KeyDestroyedError, KeyringError
from governance.key import DataKey
from governance.nonces import Nonces

pytestmark = pytest.mark.clause("J1")

KEY = DataKey(bytes(range(16)), "visit_day", bytes(range(32)))
OTHER = DataKey(b"o" * 16, "visit_day", b"o" * 32)
BATCH = Batch(Column("page_views", "ip_encrypted"), "visits 2026-03-10")
NAMES = pa.array(["Åsa", None, "", "Bo"])


def key_of(key_id: bytes) -> DataKey:
    return {KEY.id: KEY, OTHER.id: OTHER}[key_id]


def sealed(values: pa.Array = NAMES, first_row: int = 0, key: DataKey = KEY, batch: Batch = BATCH) -> list[Envelope]:
    return list(seal(values, key=key, batch=batch, nonces=Nonces(7).take, first_row=first_row))


def opened(envelope: Envelope, batch: Batch = BATCH, as_type: pa.DataType | None = None) -> pa.Array:
    return open_envelope(envelope, key_of=key_of, batch=batch, as_type=as_type)


def one(values: pa.Array = NAMES, first_row: int = 0) -> Envelope:
    (envelope,) = sealed(values, first_row)
    return envelope


# -- the format --------------------------------------------------------------------------------------------------------


def test_an_envelope_opens_with_the_documented_format_and_nothing_of_ours() -> None:
    envelope = one(NAMES, first_row=1000)
    header = b"\x03" + bytes(range(16))
    assert envelope.sealed[:17] == header
    place = b"\x00\x0apage_views" + b"\x00\x0cip_encrypted" + b"\x00\x11visits 2026-03-10"
    associated = header + place + (1000).to_bytes(8, "big") + (4).to_bytes(4, "big")
    plain = AESGCM(bytes(range(32))).decrypt(envelope.sealed[17:29], envelope.sealed[29:], associated)
    assert plain == struct.pack(">4i", 4, -1, 0, 2) + "ÅsaBo".encode()
    assert (envelope.first_row, envelope.rows) == (1000, 4)


def test_an_envelope_made_by_the_documented_format_is_opened() -> None:
    header, nonce = b"\x03" + bytes(range(16)), b"n" * 12
    associated = header + b"\x00\x01t\x00\x01c\x00\x00" + struct.pack(">QI", 5, 2)
    made = AESGCM(bytes(range(32))).encrypt(nonce, struct.pack(">2i", -1, 3) + b"abc", associated)
    batch = Batch(Column("t", "c"), "")
    assert opened(Envelope(5, 2, header + nonce + made), batch).to_pylist() == [None, "abc"]


# -- what goes in comes out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, "", "ö", "\U0001f600\0"], pa.string()),
        (["a", None, "ö"], pa.large_string()),
        ([b"\x00\xff", None, b""], pa.binary()),
        ([b"\x00\xff", None, b""], pa.large_binary()),
        ([date(2008, 2, 29), None, date(9999, 12, 31)], pa.date32()),
        ([-5, None, 2**40], pa.int64()),
        ([7, None, 0], pa.int16()),
        ([None, None], pa.string()),
        ([None], pa.int64()),
        (["", ""], pa.string()),
    ],
)
def test_every_type_comes_back_as_it_was(values: list[object], kind: pa.DataType) -> None:
    array = pa.array(values, kind)
    back = opened(one(array), as_type=kind)
    back.validate(full=True)
    assert back.type == kind
    assert back.equals(array)


def test_what_comes_back_is_text_unless_said_otherwise() -> None:
    assert opened(one(pa.array([date(2008, 2, 29), None], pa.date32()))).to_pylist() == ["2008-02-29", None]
    assert opened(one()).type == pa.string()


def test_no_value_is_in_no_envelope() -> None:
    assert sealed(NAMES.slice(0, 0)) == []
    assert sealed(pa.chunked_array([], pa.string())) == []


@pytest.mark.parametrize(("begin", "length"), [(0, 4), (0, 2), (1, 3), (1, 1), (2, 2), (3, 1)])
def test_a_slice_is_sealed_as_what_it_shows_and_nothing_beside_it(begin: int, length: int) -> None:
    part = NAMES.slice(begin, length)
    assert opened(one(part)).to_pylist() == part.to_pylist()
    assert len(one(part).sealed) == len(one(pa.array(part.to_pylist(), pa.string())).sealed)


def test_chunks_are_sealed_as_one_column() -> None:
    chunked = pa.chunked_array([NAMES.slice(0, 1), NAMES.slice(1)])
    assert opened(one(chunked)).to_pylist() == NAMES.to_pylist()


def test_what_a_null_hides_is_not_in_the_envelope() -> None:
    offsets = pa.py_buffer(np.array([0, 1, 7, 8], np.int32))
    hiding = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x05"), offsets, pa.py_buffer(b"ahiddenb")])
    assert hiding.to_pylist() == ["a", None, "b"]
    envelope = one(hiding)
    assert len(envelope.sealed) == len(one(pa.array(["a", None, "b"])).sealed)
    assert opened(envelope).to_pylist() == ["a", None, "b"]


# -- how much is in one ------------------------------------------------------------------------------------------------


def test_a_chunk_is_full_at_a_mebibyte_with_the_lengths_and_one_byte_more_begins_another() -> None:
    half = "x" * (CHUNK_BYTES // 2 - 4)
    assert [e.rows for e in sealed(pa.array([half, half]))] == [2]
    assert [e.rows for e in sealed(pa.array([half, half + "x"]))] == [1, 1]
    assert [e.rows for e in sealed(pa.array([half, half, None]))] == [2, 1]


def test_many_values_are_in_several_envelopes_one_after_the_other() -> None:
    values = pa.array([None if n % 7 == 0 else f"{n} " * 40 for n in range(15_000)])
    envelopes_ = sealed(values, first_row=100)
    assert len(envelopes_) > 2
    assert [e.first_row for e in envelopes_] == [
        100 + sum(e.rows for e in envelopes_[:i]) for i in range(len(envelopes_))
    ]
    assert all(len(e.sealed) <= CHUNK_BYTES + 45 for e in envelopes_)
    assert len({e.sealed[17:29] for e in envelopes_}) == len(envelopes_)
    assert pa.chunked_array([opened(e) for e in envelopes_]).to_pylist() == values.to_pylist()


def test_a_value_larger_than_a_chunk_has_an_envelope_of_its_own() -> None:
    large = "å" * CHUNK_BYTES  # twice as many bytes
    values = pa.array(["a", large, None, "b"])
    envelopes_ = sealed(values)
    assert [(e.first_row, e.rows) for e in envelopes_] == [(0, 1), (1, 1), (2, 2)]
    assert [value for e in envelopes_ for value in opened(e).to_pylist()] == values.to_pylist()
    assert [e.rows for e in sealed(pa.array([large, large]))] == [1, 1]


def test_a_value_too_large_for_a_length_of_four_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert envelopes.MOST_BYTES == 2**31 - 1
    monkeypatch.setattr(envelopes, "MOST_BYTES", 10)
    assert opened(one(pa.array(["x" * 10]))).to_pylist() == ["x" * 10]
    with pytest.raises(GovernanceError, match="page_views.ip_encrypted: a value is too large for an envelope"):
        sealed(pa.array(["a", "x" * 11]))


# -- what is refused ---------------------------------------------------------------------------------------------------

ELSEWHERE = {
    "another column": replace(BATCH, column=Column("page_views", "path_encrypted")),
    "another table": replace(BATCH, column=Column("bookings", "ip_encrypted")),
    "the same letters, cut elsewhere": replace(BATCH, column=Column("page_viewsi", "p_encrypted")),
    "letters of the column in the label": Batch(Column("page_views", "ip_encrypte"), "dvisits 2026-03-10"),
    "another batch": replace(BATCH, label="visits 2026-03-11"),
    "no batch": replace(BATCH, label=""),
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_an_envelope_moved_elsewhere_is_refused(where: str) -> None:
    with pytest.raises(KeyringError, match="the envelope of 4 rows from 0 cannot be opened: it was altered, or moved"):
        opened(one(), ELSEWHERE[where])


@pytest.mark.parametrize(
    ("first_row", "rows"),
    [(999, 4), (1001, 4), (0, 4), (1000, 3), (1000, 5), (1000, 0), (1001, 3), (-1, 4), (2**64, 4)],
)
def test_an_envelope_that_is_said_to_hold_other_rows_is_refused(first_row: int, rows: int) -> None:
    with pytest.raises(KeyringError, match=f"the envelope of {rows} rows from {first_row} cannot be opened"):
        opened(replace(one(first_row=1000), first_row=first_row, rows=rows))


@pytest.mark.parametrize("rows", [-1, 2**32])
def test_a_number_of_rows_that_the_format_cannot_say_is_refused(rows: int) -> None:
    with pytest.raises(KeyringError, match="cannot be opened"):
        opened(replace(one(), rows=rows))


def test_an_envelope_altered_in_any_byte_is_refused() -> None:
    sound = one()
    for at in range(len(sound.sealed)):
        altered = sound.sealed[:at] + bytes([sound.sealed[at] ^ 1]) + sound.sealed[at + 1 :]
        with pytest.raises((KeyringError, KeyError)):  # an altered key id names a key that nobody has
            opened(replace(sound, sealed=altered))


def test_an_envelope_that_was_cut_or_added_to_is_refused_wherever() -> None:
    sound = one()
    for length in range(len(sound.sealed)):
        with pytest.raises(KeyringError):
            opened(replace(sound, sealed=sound.sealed[:length]))
    with pytest.raises(KeyringError):
        opened(replace(sound, sealed=sound.sealed + b"\0"))


@pytest.mark.parametrize("format_byte", [b"\x00", b"\x01", b"\x02", b"\x04", b"\xff"])
def test_another_format_byte_is_refused_without_asking_for_a_key(format_byte: bytes) -> None:
    def nobody(_: bytes) -> DataKey:
        raise AssertionError("asked for a key")

    other = replace(one(), sealed=format_byte + one().sealed[1:])
    with pytest.raises(KeyringError, match="cannot be opened"):
        open_envelope(other, key_of=nobody, batch=BATCH)


@pytest.mark.parametrize("secret", [OTHER.secret, KEY.secret])
def test_an_envelope_said_to_be_under_another_key_is_refused(secret: bytes) -> None:
    stolen = DataKey(OTHER.id, "visit_day", secret)  # the id is bound too
    moved = replace(one(), sealed=b"\x03" + OTHER.id + one().sealed[17:])
    with pytest.raises(KeyringError, match="cannot be opened"):
        open_envelope(moved, key_of=lambda _: stolen, batch=BATCH)


def test_an_envelope_under_another_secret_of_the_same_id_is_refused_and_shows_nothing() -> None:
    (foreign,) = sealed(key=DataKey(KEY.id, "visit_day", b"x" * 32))
    with pytest.raises(KeyringError, match="page_views.ip_encrypted, visits 2026-03-10: the envelope") as refusal:
        opened(foreign)
    assert "Åsa" not in str(refusal.value)
    assert refusal.value.__suppress_context__


def test_an_envelope_whose_key_is_destroyed_says_that() -> None:
    def destroyed(_: bytes) -> DataKey:
        raise KeyDestroyedError("gone")

    with pytest.raises(KeyDestroyedError, match="gone"):
        open_envelope(one(), key_of=destroyed, batch=BATCH)


def test_a_sound_envelope_of_another_type_is_refused_without_showing_a_value() -> None:
    for values, kind in ((NAMES, pa.date32()), (pa.array([b"\xff\xfe"]), pa.string())):
        with pytest.raises(KeyringError, match="they are no (date32|string)") as refusal:
            opened(one(values), as_type=kind)
        assert "Åsa" not in str(refusal.value)
        assert refusal.value.__suppress_context__


@pytest.mark.parametrize("kind", [pa.float64(), pa.bool_(), pa.timestamp("us", "UTC")])
def test_a_type_without_text_form_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(GovernanceError, match="no text form"):
        sealed(pa.array([None] * 3, kind))


@pytest.mark.parametrize("source", [lambda n: b"", lambda n: b"0" * 8, lambda n: b"0" * 13])
def test_a_nonce_of_another_length_is_refused(source: Callable[[int], bytes]) -> None:
    with pytest.raises(KeyringError, match="nonce"):
        list(seal(NAMES, key=KEY, batch=BATCH, nonces=source))


# -- nonces and what is shown ------------------------------------------------------------------------------------------


def test_each_envelope_takes_one_nonce_and_no_more() -> None:
    asked: list[int] = []

    def counting(count: int) -> bytes:
        asked.append(count)
        return Nonces(len(asked)).take(count)

    large = "x" * CHUNK_BYTES
    assert len(list(seal(pa.array([large, large, "a"]), key=KEY, batch=BATCH, nonces=counting))) == 3
    assert asked == [1, 1, 1]
    assert list(seal(NAMES.slice(0, 0), key=KEY, batch=BATCH, nonces=counting)) == []
    assert asked == [1, 1, 1]


def test_an_envelope_does_not_show_what_is_in_it() -> None:
    assert repr(one(first_row=3)) == "Envelope(first_row=3, rows=4)"
