"""Laws of the measures of text, against slow definitions that one can read."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.measures import CARD_SCHEMES, card_numbers, cvv_mentions, email_defects

SEPARATOR = re.compile(r"[ \t][-._/][ \t]|[-._/ \t]?(?:\r\n|\r|\n)[ \t]?|[-._/ \t]|")
LAYOUT = re.compile(r"[0-9]+|([0-9]{4}-)+[0-9]{1,4}|[0-9]{8}-[0-9]{8}|[0-9]{4}-[0-9]{6}-[0-9]{4,5}")
TEXTS = st.lists(
    st.one_of(
        st.none(),
        st.text(max_size=60),
        st.text(alphabet="0123456789 -._/\n\r\tx", max_size=60),
        st.from_regex(r"\A(4[0-9]{3}|5[1-5][0-9]{2})([ -]?[0-9]{4}){2,4}[ -]?[0-9]{0,4}\Z"),
    ),
    max_size=6,
)


def luhn(number: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_card(number: str) -> bool:
    return luhn(number) and any(
        low <= int(number[:4]) <= high and len(number) in lengths for _, low, high, lengths in CARD_SCHEMES
    )


def counted_slowly(text: str) -> int:
    """Runs of digits, every sequence of them whose gaps are separators, and the most that do not overlap."""
    runs = list(re.finditer(r"[0-9]+", text))
    joined = [bool(SEPARATOR.fullmatch(text[a.end() : b.start()])) for a, b in zip(runs, runs[1:], strict=False)]
    found, free_from = 0, 0
    for last in range(len(runs)):
        for first in range(last, free_from - 1, -1):
            groups = [run.group() for run in runs[first : last + 1]]
            number = "".join(groups)
            alone = not (first > 0 and joined[first - 1]) and not (last < len(joined) and joined[last])
            is_phone = text[: runs[first].start()].endswith("+") and len(number) <= 15
            if (
                all(joined[first:last])
                and 13 <= len(number) <= 19
                and is_card(number)
                and (alone or LAYOUT.fullmatch("-".join(groups)))
                and not is_phone
            ):
                found, free_from = found + 1, last + 1
                break
    return found


@st.composite
def written_card(draw: st.DrawFn) -> str:
    _, low, high, lengths = draw(st.sampled_from(CARD_SCHEMES))
    length = draw(st.sampled_from(sorted(lengths)))
    body = f"{draw(st.integers(low, high))}" + draw(st.text("0123456789", min_size=length - 5, max_size=length - 5))
    number = next(body + check for check in "0123456789" if luhn(body + check))
    gaps = ["", " ", "-", ".", "\u00a0", "\n", "\r\n", " - ", "\u2011", "%20", "-\n ", "_", "/"]
    return "".join(digit + draw(st.sampled_from(gaps)) for digit in number[:-1]) + number[-1]


@pytest.mark.clause("K4")
@given(written_card(), st.text("abc, åß", max_size=5), st.text("abc, åß", max_size=5))
def test_every_card_number_is_found_with_any_separators_between_its_digits(card: str, before: str, after: str) -> None:
    assert card_numbers(pa.array([f"{before} {card} {after}"])).to_pylist() == [1]


@given(written_card(), st.sampled_from("0123456789"))
def test_a_number_inside_a_longer_run_of_digits_is_not_counted(card: str, digit: str) -> None:
    number = re.sub(r"%20|[^0-9]", "", card)
    if len(number) == 19:  # one more digit, and no reading is left
        assert card_numbers(pa.array([digit + number, number + digit])).to_pylist() == [0, 0]


@given(st.lists(st.text(alphabet="0123456789 -.\n\r\tx,+", max_size=60), max_size=6))
def test_the_vectorised_count_is_the_slow_one(texts: list[str]) -> None:
    assert card_numbers(pa.array(texts, pa.string())).to_pylist() == [counted_slowly(text) for text in texts]


@given(st.lists(st.text("4510 -+", min_size=20, max_size=60), max_size=4))
def test_the_vectorised_count_is_the_slow_one_in_dense_digits(texts: list[str]) -> None:
    assert card_numbers(pa.array(texts, pa.string())).to_pylist() == [counted_slowly(text) for text in texts]


@given(TEXTS)
def test_a_row_does_not_depend_on_its_neighbours(texts: list[str | None]) -> None:
    column = pa.array(texts, pa.string())
    alone = [pa.array([text], pa.string()) for text in texts]
    for measure in (card_numbers, cvv_mentions, email_defects):
        assert measure(column).to_pylist() == [measure(text)[0].as_py() for text in alone]


@pytest.mark.clause("K4")
@given(
    word=st.sampled_from(["CVV", "cvc2", "CID", "security code", "säkerhetskod", "Kartenprüfnummer", "cryptogramme"]),
    between=st.text(" :=#\n", min_size=1, max_size=5),
    code=st.from_regex(r"\A[0-9]{3,4}\Z"),
    before=st.text("abcåö ,", max_size=9),
)
def test_every_code_after_its_word_is_found(word: str, between: str, code: str, before: str) -> None:
    assert cvv_mentions(pa.array([f"{before} {word}{between}{code}"])).to_pylist() == [1]


@given(st.text(max_size=80))
def test_every_text_has_some_email_defect_or_none(text: str) -> None:
    assert email_defects(pa.array([text]))[0].as_py() in {"none", "missing", "syntax"}
