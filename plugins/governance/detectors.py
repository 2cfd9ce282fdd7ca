"""Detectors of personal data in a text, for what must hold none: each a pattern and, where there is one, its checksum.

What a person types as a reason stands in the run log for ever, so it is looked through before; the tests look through
the whole log. A detector that cannot find is worse than none: `MUST_FIND` has a sample of each. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date

from governance.encoded import decoded
from governance.measures import CARD_SCHEMES, LONGEST

# Identifiers and digests may hold any digits; instants hold a plus sign.
_HARMLESS = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32,}\b"
    # The origin of a run log, alone or in a public key, or with size and root as in a checkpoint.
    r"|run-log/[0-9a-f]{8}(?:/\d+)?(?:\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}| \d+(?: [A-Za-z0-9+/]{43}=)?)?"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"
)


def is_luhn_valid(digits: str) -> bool:
    """Whether a number satisfies its check digit (ISO/IEC 7812-1, annex B)."""
    # Counted from the right, every second digit is doubled, and the digits of what comes out are added.
    doubled = [int(digit) * (1 if place % 2 else 2) for place, digit in enumerate(reversed(digits), 1)]
    return sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def _is_card(found: str) -> bool:
    return is_luhn_valid(re.sub(r"\D", "", found))


def _is_personal_number(found: str) -> bool:
    digits = re.sub(r"\D", "", found)[-10:]
    month, day = int(digits[2:4]), int(digits[4:6])
    try:
        date(2000, month, day - 60 if day > 60 else day)  # a coordination number has 60 added to its day
    except ValueError:
        return False
    return is_luhn_valid(digits)


def _is_address(found: str) -> bool:
    return all(int(part) < 256 for part in found.split(".")) and not found.startswith("127.")


DETECTORS: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "e-mail": (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), bool),
    "card": (re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])"), _is_card),
    "personal number": (re.compile(r"(?<!\w)(?:19|20)?\d{6}[-+]?\d{4}(?!\w)"), _is_personal_number),
    "phone": (
        re.compile(r"(?<!\w)(?:\+|00)[1-9]\d{0,2}(?:[ -]?\d){6,12}(?!\w)|(?<!\w)0[1-9]\d?-\d[\d ]{5,9}(?!\w)"),
        bool,
    ),
    "ip": (re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"), _is_address),
    "ip, version 6": (
        re.compile(r"(?<![\w:])(?:[0-9a-f]{1,4}:){4,7}(?::?[0-9a-f]{1,4})(?![\w:])", re.IGNORECASE),
        bool,
    ),
}

MUST_FIND = {
    "e-mail": ("ask kanarie@example.com today", "Zbigniew.Ek+x@mail.example.se"),
    "card": ("paid with 4000056655665556", "4000 0566 5566 5556,", "4000-0566-5566-5556", "378282246310005"),
    "personal number": ("born 19811228-9874", "811228-9874", "198112289874", "811288-9871"),
    "phone": ("call +46709990001", "+46 70 999 00 01", "0046709990001", "070-999 00 01"),
    "ip": ("from 203.0.113.213", "[198.19.4.1]"),
    "ip, version 6": ("from 2001:db8:0:1:1:1:1:1", "2001:db8:1:2::1"),
}


# Runs of digits that no letter, and no more than three other characters, part.
_CHAIN = re.compile(r"\d+(?:[\W_]{1,3}\d+)*")


def has_card_number(text: str) -> bool:
    """Whether a text holds the number of a payment card, whatever parts its digits or stands beside it.

    Stricter than the detector: for what a person types, who may be asked to write it otherwise. A number is of whole
    runs of digits, satisfies Luhn's digit, and begins and is as long as a scheme's.

    >>> [has_card_number(text) for text in ("case4242_4242/4242 - 4242x", "4242_4242/4242 - 4243")]
    [True, False]
    """
    rest = unicodedata.normalize("NFKC", _HARMLESS.sub(" ", text))
    chains = [re.findall(r"\d+", chain[0]) for chain in _CHAIN.finditer(rest)]
    return any(_begins_with_card(chain[first:]) for chain in chains for first in range(len(chain)))


def _begins_with_card(runs: list[str]) -> bool:
    number = ""
    for run in runs:
        number += run
        if len(number) > LONGEST:
            return False
        if _is_issued(number) and is_luhn_valid(number):
            return True
    return False


def _is_issued(number: str) -> bool:
    """Whether a scheme's cards begin so and are so long."""
    beginning = int(number[:4])
    return any(low <= beginning <= high and len(number) in lengths for _, low, high, lengths in CARD_SCHEMES)


def found_in(text: str) -> set[str]:
    """What kinds of personal data a text seems to hold, written plainly or in an encoding (`encoded.decoded`)."""
    kinds: set[str] = set()
    for each in (text, *decoded(text)):
        kinds |= {name for name, _ in findings(each)} | ({"card"} if has_card_number(each) else set())
    return kinds


def findings(text: str) -> Iterator[tuple[str, str]]:
    """(detector, what it found) in a text."""
    rest = _HARMLESS.sub(" ", text)
    for name, (pattern, is_one) in DETECTORS.items():
        yield from ((name, found[0]) for found in pattern.finditer(rest) if is_one(found[0]))
