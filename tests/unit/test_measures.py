"""Measures of texts and addresses: facts that the suite judges (policy clauses K4 and A1)."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from governance import measures
from governance.measures import card_numbers, cvv_mentions, email_defects

# Published test numbers of the schemes.
VISA, VISA_13, VISA_19 = "4111111111111111", "4222222222222", "4000000000000000006"
AMEX, DINERS, MASTERCARD = "378282246310005", "30569309025904", "5555555555554444"
ALL_SCHEMES = [
    *(VISA, VISA_13, VISA_19, AMEX, DINERS, MASTERCARD),
    *(
        "2223003122003222",
        "6011111111111117",
        "3530111333300000",
        "6200000000000005",
        "36227206271667",
        "371449635398431",
    ),
    *("6759649826438453", "5000000000000611", "6445644564456445", "38520000023237"),
]


def count(text: str | None) -> int:
    return card_numbers(pa.array([text], pa.string()))[0].as_py()


def mentions(text: str | None) -> int:
    return cvv_mentions(pa.array([text], pa.string()))[0].as_py()


def defect(email: str | None) -> str:
    return email_defects(pa.array([email], pa.string()))[0].as_py()


@pytest.mark.clause("K4")
@pytest.mark.parametrize("number", ALL_SCHEMES)
def test_a_number_of_every_scheme_is_found(number: str) -> None:
    assert count(f"please charge {number}, thanks") == 1


@pytest.mark.clause("K4")
@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        "4111 - 1111 - 1111 - 1111",
        "4111_1111_1111_1111",
        "4111/1111/1111/1111",
        "4111 / 1111 / 1111 / 1111",
        "4111\t1111\t1111\t1111",
        "4111\u00a01111\u00a01111\u00a01111",  # no-break space
        "4111\u202f1111\u20091111\u20071111",  # narrow, thin and figure space
        "4111\u20111111\u20131111\u22121111",  # no-break hyphen, en dash, minus
        "4111·1111·1111·1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "4111 1111\n1111 1111",
        "4111 1111\r\n1111 1111",
        "4111 1111 \r\n 1111 1111",
        "4111-1111-\n1111-1111",
        "4111 1111\u20281111 1111",  # Unicode's own line separator
        "\uff14\uff11\uff11\uff11 1111 1111 \uff11\uff11\uff11\uff11",  # full width
        "٤١١١ ١١١١ ١١١١ ١١١١",  # Arabic
        "4111\u200b1111\u200b1111\u200b1111",  # zero-width spaces
        "4\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e3 1111 1111 1111",  # emoji keycaps
        "4111%201111%201111%201111",  # in a path
        "kort4111111111111111kr",
        "(4111111111111111)",
        "tfn 070-123 45 67 4111 1111 1111 1111",  # other digits before
        "4111 1111 1111 1111 12/27",  # and after
        "4111111111111111 123",
        "åäö 4111111111111111",
        "12 4111 1111 1111 1111 34",
        "12 41111111 11111111 34",  # in halves
        "12 3782 822463 10005 34",
        "12 3056 930902 5904 34",
        "41 11111111111 1-11",  # grouped in no usual way, but all that stands there
        "+4111111111111111",  # too long for a telephone number
        "tel +4111 1111 1111 1111 12",
    ],
)
def test_a_number_is_found_however_it_is_written(text: str) -> None:
    assert count(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "no digits at all",
        "4111111111111112",  # wrong check digit
        "94111111111111111",  # part of a longer run of digits
        "41111111111111119",
        "4111 1111 1111 11119",
        "1234567812345670",  # Luhn-valid, but no scheme begins so
        "0000000000000000",
        "51000000000000",  # 14 digits and Luhn-valid or not: no Mastercard is that long
        "411111111111",  # 12 digits
        "40000000000000000000",  # 20 digits
        "4111  1111  1111  1111",  # two blanks: columns of a table
        "4111//1111//1111//1111",
        "4111/1111/1111/1112",  # wrong check digit
        "4111_1111_1111_1112",
        "2026/11/23_2026/11/30",
        "4111\n\n1111 1111 1111",  # a paragraph between
        "4111,1111,1111,1111",
        "2026-11-23 2026-11-30",
        "+46 70 123 45 67, 08-123 456 78",
        "+4222222222222",  # 13 digits behind a '+': a telephone number
        "+4222 22222 2222",
        "12 41 1111 1111 1111 11 34",  # among other digits, and not grouped as on a card
        "12 411111 1111 111111 34",
        "4111111x11111111",
        "ååå ½ 12",
    ],
)
def test_what_is_no_card_number_is_not_counted(text: str | None) -> None:
    assert count(text) == 0


@pytest.mark.parametrize(("digits", "found"), [(13, 1), (14, 0), (16, 1), (19, 1)])
def test_a_number_counts_only_in_a_length_that_its_scheme_issues(digits: int, found: int) -> None:
    body = "4" + "0" * (digits - 2)
    [text] = [body + check for check in "0123456789" if luhn(body + check)]
    assert count(text) == found


def luhn(number: str) -> bool:
    values = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(number))]
    return sum(v - 9 if v > 9 else v for v in values) % 10 == 0


def test_each_number_is_counted_once_and_two_are_two() -> None:
    assert count(f"{VISA} {VISA}") == 2
    assert count(f"{VISA}, or {AMEX}, or {DINERS}") == 3
    assert count("4111 1111 1111 1111 110") == 1  # reads as 16 digits and as 19


def test_numbers_never_reach_from_one_row_into_the_next() -> None:
    assert card_numbers(pa.array(["a +", VISA_13])).to_pylist() == [0, 1]
    halves = pa.array(["4111 1111", "1111 1111", "4111111111111", "111 4111 1111 1111 11", "11"])
    assert card_numbers(halves).to_pylist() == [0, 0, 0, 0, 0]


def test_rows_keep_their_place_among_nulls_slices_and_chunks() -> None:
    texts = pa.array(["x", None, VISA, "", f"ö {AMEX}", "12"])
    assert card_numbers(texts).to_pylist() == [0, 0, 1, 0, 1, 0]
    assert card_numbers(texts.slice(2)).to_pylist() == [1, 0, 1, 0]
    assert card_numbers(pa.chunked_array([texts, texts.slice(4, 1)])).to_pylist() == [0, 0, 1, 0, 1, 0, 1]
    assert card_numbers(texts.cast(pa.large_string())).to_pylist() == [0, 0, 1, 0, 1, 0]
    assert card_numbers(pa.array([], pa.string())).to_pylist() == []
    assert card_numbers(texts).type == pa.int16()


def test_blocks_change_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array([VISA, "long " * 20 + AMEX, None, f"{VISA}, {VISA}", "1" * 40])
    monkeypatch.setattr(measures, "BLOCK_BYTES", 32)
    assert card_numbers(texts).to_pylist() == [1, 1, 0, 2, 0]


def test_more_numbers_than_int16_holds_are_counted_as_its_bound() -> None:
    assert count(f"{VISA}, " * 33_000) == 2**15 - 1


def test_the_tables_of_schemes_and_lengths_are_complete() -> None:
    for _, low, high, lengths in measures.CARD_SCHEMES:
        assert 1000 <= low <= high <= 9999
        assert measures.SHORTEST <= min(lengths) <= max(lengths) <= measures.LONGEST


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "4" * 10_000_000,
        "4 " * 1_000_000,
        "1-" * 5_000_000,
        "cvv " * 2_500_000,
        "a\u0315\u0300" + "\u0315\u0300" * 500_000 + "1" * 20,  # normalising this as it is takes minutes
    ],
    ids=["one run", "single digits", "dashes", "words", "combining marks"],
)
def test_a_hostile_text_takes_seconds_not_hours(text: str) -> None:
    before = time.process_time()
    count(text)
    mentions(text)
    assert time.process_time() - before < 20


@pytest.mark.clause("K4")
@pytest.mark.parametrize(
    "text",
    [
        "CVV 123",
        "cvc: 1234",
        "CVV2=123",
        "cvv123",
        "my CVC code is 987.",
        "CVV/CVC 123",
        "CID 1234",
        "security code: 123",
        "säkerhetskod 123",
        "Säkerhetskoden är 123",
        "sa\u0308kerhetskod 123",  # the accent as a character of its own
        "SAKERHETSKOD 123",
        "sikkerhetskode 123",
        "Kartenprüfnummer: 123",
        "cryptogramme visuel 123",
        "ＣＶＶ １２３",
        "cvv\n123",
        "cvv 123-",
    ],
)
def test_a_verification_code_is_found_after_its_word(text: str) -> None:
    assert mentions(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "CVV",
        "CVV 12",
        "CVV 12345",
        "123 CVV",
        "cvc kommer 2026-11-23",
        "placid 1234",
        "cidade 1234",
        "no cvv is needed when you call us at 0700 123",
        "123",
    ],
)
def test_what_is_no_verification_code_is_not_counted(text: str | None) -> None:
    assert mentions(text) == 0


def test_verification_codes_are_counted_per_row() -> None:
    texts = pa.chunked_array([["CVV 123 CVC 456", None], ["plain", "cid 123, säkerhetskod 456"]])
    found = cvv_mentions(texts)
    assert found.to_pylist() == [2, 0, 0, 2]
    assert found.type == pa.int16()


@pytest.mark.clause("A1")
@pytest.mark.parametrize("email", ["anna@example.com", "a.b+c@mail.example.co.uk", "åsa@example.com", "x@exämple.se"])
def test_a_sound_address_has_no_defect(email: str) -> None:
    assert defect(email) == "none"


@pytest.mark.clause("A1")
@pytest.mark.parametrize("email", [None, "", "  ", "\t"])
def test_no_address_is_a_defect_of_its_own(email: str | None) -> None:
    assert defect(email) == "missing"


@pytest.mark.clause("A1")
@pytest.mark.parametrize(
    "email",
    [
        *(
            "anna",
            "anna@",
            "@example.com",
            "anna@example",
            "anna@@example.com",
            "anna@exa mple.com",
            "anna example.com",
        ),
        *(
            "anna@example..com",
            "anna.@example.com",
            " anna@example.com",
            "anna@-example.com",
            "Anna <anna@example.com>",
        ),
        *(
            "anna@[127.0.0.1]",
            '"anna"@example.com',
            "anna@example.com\n",
            "a" * 300 + "@example.com",
            "anna@mail.invalid",
        ),
    ],
)
def test_a_broken_address_is_a_defect_of_syntax(email: str) -> None:
    assert defect(email) == "syntax"


def test_addresses_keep_their_place_and_may_repeat() -> None:
    emails = pa.chunked_array([["a@example.com", None, "x"], ["x", "a@example.com"]])
    assert email_defects(emails).to_pylist() == ["none", "missing", "syntax", "syntax", "none"]
    assert email_defects(pa.array([], pa.string())).to_pylist() == []
