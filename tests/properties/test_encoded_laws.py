"""A card number is found in any encoding that one would think of, and in no ordinary word, reference or digest."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from hashlib import sha256

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.detectors import found_in
from governance.encoded import card_numbers, decoded
from governance.facts import MEASURES, Parameters

pytestmark = [pytest.mark.clause("K2"), pytest.mark.clause("K4")]

CARDS = ("4242424242424242", "4222222222222", "5555555555554444", "378282246310005", "6011111111111117")
ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "base64 without padding": lambda raw: base64.b64encode(raw).decode().rstrip("="),
    "base64 for addresses": lambda raw: base64.urlsafe_b64encode(raw).decode(),
    "base64 for addresses without padding": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
    "hexadecimal": bytes.hex,
    "hexadecimal, upper case": lambda raw: raw.hex().upper(),
    "hexadecimal, byte by byte": lambda raw: raw.hex(" "),
    "percent signs": lambda raw: "".join(f"%{byte:02x}" for byte in raw),
}
encodings = st.sampled_from(list(ENCODINGS))
cards = st.builds(
    lambda card, by: by.join(card[at : at + 4] for at in range(0, len(card), 4)),
    st.sampled_from(CARDS),
    st.sampled_from(("", " ", "-", ".")),
)
WORDS = "abcdefghijklmnopqrstuvwxyzåäöüßéABCDEFGHIJKLMNOPQRSTUVWXYZ"


def counted(text: str) -> int:
    """As the measure of notes counts it."""
    batch = pa.RecordBatch.from_arrays([pa.array([text])], ["bookings.notes"])
    return int(MEASURES["card_numbers"](batch, Parameters(1), "bookings.notes")[0].as_py())


@given(cards, st.sampled_from(["", "card ", "kort nr åäö: "]), st.sampled_from(["", " 04/29", "; thanks"]), encodings)
def test_a_card_number_is_found_in_an_encoding(card: str, before: str, after: str, encoding: str) -> None:
    written = ENCODINGS[encoding](f"{before}{card}{after}".encode())
    for text in (written, f"see {written}, please", f"case/{written}", f"ref={written}"):
        assert "card" in found_in(text)
        assert counted(text) == 1


@given(cards, encodings, encodings)
def test_a_card_number_is_found_in_an_encoding_within_another(card: str, inner: str, outer: str) -> None:
    written = ENCODINGS[outer](ENCODINGS[inner](card.encode()).encode())
    assert "card" in found_in(written)
    assert counted(written) >= 1


@given(cards)
def test_a_number_in_sixteen_bit_letters_is_found_too(card: str) -> None:
    for encoding in ("base64", "hexadecimal"):
        assert "card" in found_in(ENCODINGS[encoding](card.encode("utf-16-le")))


def test_what_is_three_deep_is_not_looked_for() -> None:
    text = CARDS[0].encode()
    for _ in range(3):
        text = base64.b64encode(text)
    assert found_in(text.decode()) == set()


@pytest.mark.parametrize("others", ["somebody@example.com", "+46 70 999 00 01", "born 19811228-9874"])
def test_other_personal_data_is_found_in_an_encoding(others: str) -> None:
    for encode in ENCODINGS.values():
        assert found_in(f"see {encode(others.encode())}")


@given(
    st.lists(
        st.one_of(
            st.text(WORDS, min_size=1, max_size=45),
            st.text(f"{WORDS}-/_+", min_size=18, max_size=60),
            st.sampled_from(("internationalisation", "Krankenversicherungskarte", "INC-2026-0312-4711", "%", "100%")),
            st.binary(max_size=9).map(lambda raw: str(uuid.UUID(bytes=sha256(raw).digest()[:16]))),
            st.builds(
                lambda raw, encoding: ENCODINGS[encoding](sha256(raw).digest()),
                st.binary(max_size=9),
                st.sampled_from(["hexadecimal", *(name for name in ENCODINGS if name.startswith("base64"))]),
            ),
        ),
        max_size=8,
    ).map(" ".join)
)
def test_no_word_reference_or_digest_is_taken_for_a_card_number(text: str) -> None:
    assert found_in(text) == set()
    assert counted(text) == 0


@given(st.text(max_size=200), st.text("0123456789abcdefABC+/-_=% ", max_size=200))
def test_whatever_is_written_is_read_without_an_error_and_within_bounds(text: str, dense: str) -> None:
    for each in (text, dense):
        assert sum(map(len, decoded(each))) <= 25 * len(each)


def test_a_number_that_is_written_plainly_is_counted_once() -> None:
    texts = [f"{CARDS[0]} and {ENCODINGS['base64'](CARDS[2].encode())}", "4242%204242%204242%204242", None]
    assert card_numbers(pa.array(texts)).to_pylist() == [1, 1, 0]


def test_rows_do_not_mix() -> None:
    hidden = ENCODINGS["base64"](f"{CARDS[0]} and {CARDS[2]}".encode())
    assert card_numbers(pa.array(["physiotherapists", hidden, CARDS[1], hidden[:20], hidden])).to_pylist() == [
        0, 2, 1, 0, 2,
    ]  # fmt: skip
    assert card_numbers(pa.array(["", hidden, hidden]).slice(1, 1)).to_pylist() == [2]
    assert card_numbers(pa.array([], pa.string())).to_pylist() == []
