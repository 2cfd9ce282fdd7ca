"""Laws of envelopes: what goes in comes out in its order, whole and from its own place only."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance import envelopes
from governance.encryption import Column
from governance.envelopes import Batch, Envelope, open_envelope, seal
from governance.errors import KeyringError
from governance.key import DataKey
from governance.nonces import Nonces

pytestmark = pytest.mark.clause("J1")

KEY = DataKey(bytes(range(16)), "visit_day", bytes(range(32)))
BATCH = Batch(Column("page_views", "ip_encrypted"), "visits 2026-03-10")
VALUES = st.lists(st.none() | st.binary(max_size=12), max_size=12)


def sealed(values: pa.Array, first_row: int = 0, batch: Batch = BATCH) -> list[Envelope]:
    return list(seal(values, key=KEY, batch=batch, nonces=Nonces(1).take, first_row=first_row))


def opened(envelope: Envelope, batch: Batch = BATCH, as_type: pa.DataType | None = None) -> list[object]:
    found = open_envelope(envelope, key_of=lambda _: KEY, batch=batch, as_type=as_type or pa.binary())
    found.validate(full=True)
    values: list[object] = found.to_pylist()
    return values


@given(VALUES, st.data(), st.integers(0, 2**40), st.integers(1, 60))
def test_every_value_comes_back_in_its_order_from_a_slice_in_envelopes_of_any_size(
    values: list[bytes | None], data: st.DataObject, first_row: int, chunk_bytes: int
) -> None:
    begin = data.draw(st.integers(0, len(values)))
    part = pa.array(values, pa.binary()).slice(begin, data.draw(st.integers(0, len(values) - begin)))
    with patch.object(envelopes, "CHUNK_BYTES", chunk_bytes):
        made = sealed(part, first_row)
    assert [value for envelope in made for value in opened(envelope)] == part.to_pylist()
    assert [envelope.first_row for envelope in made] == [
        first_row + sum(envelope.rows for envelope in made[:at]) for at in range(len(made))
    ]
    plain = 1 + 16 + 12 + 16
    assert all(envelope.rows == 1 or len(envelope.sealed) - plain <= chunk_bytes for envelope in made)
    assert all(envelope.rows > 0 for envelope in made)


@given(st.lists(st.none() | st.text(max_size=8), min_size=1, max_size=8))
def test_every_text_comes_back(values: list[str | None]) -> None:
    (envelope,) = sealed(pa.array(values, pa.string()))
    assert opened(envelope, as_type=pa.string()) == values


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8), st.dates())
def test_every_number_and_day_comes_back(numbers: list[int | None], day: object) -> None:
    for values, kind in ((numbers, pa.int64()), ([day, None], pa.date32())):
        (envelope,) = sealed(pa.array(values, kind))
        assert opened(envelope, as_type=kind) == values


@given(VALUES.filter(bool), st.data())
def test_any_edit_of_an_envelope_is_detected(values: list[bytes | None], data: st.DataObject) -> None:
    (envelope,) = sealed(pa.array(values, pa.binary()))
    whole = envelope.sealed
    at = data.draw(st.integers(0, len(whole) - 1))
    edited = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    shorter = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for wrong in (edited, shorter, whole + b"\0"):
        with pytest.raises(KeyringError):
            opened(replace(envelope, sealed=wrong))


NAMES = st.text(max_size=4)
PLACES = st.tuples(NAMES, NAMES, NAMES, st.integers(0, 3))


@given(PLACES, PLACES)
def test_an_envelope_opens_in_its_own_place_only(
    here: tuple[str, str, str, int], there: tuple[str, str, str, int]
) -> None:
    made, asked = (Batch(Column(*place[:2]), place[2]) for place in (here, there))
    (envelope,) = sealed(pa.array(["x", None]), here[3], made)
    moved = replace(envelope, first_row=there[3])
    if here == there:
        assert opened(moved, asked) == [b"x", None]
    else:
        with pytest.raises(KeyringError):
            opened(moved, asked)


@given(st.lists(st.binary(min_size=2, max_size=2), min_size=4, max_size=4))
def test_no_rows_can_be_taken_for_those_of_another_range(values: list[bytes]) -> None:
    with patch.object(envelopes, "CHUNK_BYTES", 12):
        first, second = sealed(pa.array(values, pa.binary()))
    for one, other in ((first, second), (second, first)):
        with pytest.raises(KeyringError):
            opened(replace(one, sealed=other.sealed))
