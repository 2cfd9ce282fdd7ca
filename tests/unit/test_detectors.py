"""The detectors of personal data find what they are made for, and leave alone what an entry of the run log holds."""

from __future__ import annotations

import argparse

import pytest

from governance.commands import cards
from governance.commands.reading import reason
from governance.detectors import DETECTORS, MUST_FIND, findings

pytestmark = pytest.mark.clause("R1")


def test_every_detector_has_something_that_it_must_find() -> None:
    assert set(MUST_FIND) == set(DETECTORS)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in MUST_FIND.items() for text in texts])
def test_a_detector_finds(name: str, text: str) -> None:
    assert name in {found for found, _ in findings(text)}
    assert name in {found for found, _ in findings(f'{{"message":"{text}"}}')}


@pytest.mark.parametrize(
    "text",
    [
        "4000056655665557", "400005665566556", "123456789012345678901234",  # no card: checksum, length
        "811228-9875", "811328-9874", "19811232-9874",  # no personal number: checksum, month, day
        "0123456", "+0046", "2026-03-12", "10-20",  # no phone
        "1.2.3", "999.1.1.1", "127.0.0.1", "3.3.2.dev1", "1.2.3.4.5",  # no address of anybody
        "2026-03-12T09:00:00.000250Z", "scheduled__2026-11-24T23:00:00+00:00", "12:30:45",
        "00000000-0000-4000-8000-000000000001", "4000056655665556" * 4,
        "dataset bookings, partition 2026-03-10: nothing was pulled", "a@b", "@", "wellbe.example/run-log/12345678",
        "run-log/00403958 21",
        "run-log/00403958+95792856+" + "A" * 44, "run-log/00403958/2 21 +46709990001" + "A" * 31 + "=",
    ],
)  # fmt: skip
def test_what_is_no_personal_data_is_left_alone(text: str) -> None:
    assert list(findings(text)) == []


@pytest.mark.clause("K2")
@pytest.mark.parametrize(
    "text",
    [
        "4242424242424242", "4242.4242.4242.4242", "4242_4242_4242_4242", "4242/4242/4242/4242",
        "4242 - 4242 - 4242 - 4242", "4242424242424242x", "case4242424242424242", "case 7, 4242_4242/4242.4242_04/29",
        "4-2-4-2-4-2-4-2-4-2-4-2-4-2-4-2", "４２４２４２４２４２４２４２４２", "A378282246310005B", "INC30569309025904",
    ],
)  # fmt: skip
def test_no_card_number_is_a_reason_however_it_is_written(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"looks like personal data .*card"):
        reason(text)


@pytest.mark.clause("K2")
@pytest.mark.parametrize(
    "text",
    [
        "NDI0MjQyNDI0MjQyNDI0Mg==", "NDI0MjQyNDI0MjQyNDI0Mg", "34323432343234323432343234323432",
        "%34%32%34%32%34%32%34%32%34%32%34%32%34%32%34%32", "case/NDI0MjQyNDI0MjQyNDI0Mg", "4242%3424242424242",
        "TkRJME1qUXlOREkwTWpReU5ESTBNZz09",  # twice
        "YW5uYUBleGFtcGxlLmNvbQ==",
    ],
)  # fmt: skip
def test_no_personal_data_is_a_reason_in_an_encoding(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"looks like personal data .*(card|e-mail)"):
        reason(text)


@pytest.mark.clause("K2")
@pytest.mark.parametrize(
    "text",
    [
        "4242.4242.4242.4243", "case4242424242424243",  # wrong check digit
        "4242----4242----4242----4242", "4242 a 4242 b 4242 c 4242",  # four others, or a letter, part them
        "case1234567812345670", "1234_5678_1234_5670",  # no scheme's beginning
        "case424242424242",  # 12 digits
        "case42424242424242424242",  # 20 digits
        "INC-2026-0312-4711, ticket 100234 of 2026-03-12 09:30", "police report 0201-K123456-26",
        "00000000-0000-4000-8000-000000000001", "4242424242424242" * 4,  # an identifier, a digest
        "NDI0MjQyNDI0MjQyNDI0Mw==", "34323432343234323432343234323433",  # wrong check digit
        "internationalisation-of-Krankenversicherungskarten", "100% of 20%", "a%zz",
    ],
)  # fmt: skip
def test_a_case_that_holds_other_digits_is_a_reason(text: str) -> None:
    assert reason(text) == text


@pytest.mark.clause("K2")
@pytest.mark.parametrize("text", ["4242424242424242", "4242 4242 4242 4242", "-7", "7.0", "", "10" * 10])
def test_a_card_is_named_by_its_id_and_never_by_its_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="never the card's own number"):
        cards._card(text)


@pytest.mark.parametrize("text", ["7", "007", "9822000183", "4242424242424241"])
def test_an_id_of_a_card_is_a_number(text: str) -> None:
    assert cards._card(text) == str(int(text))
