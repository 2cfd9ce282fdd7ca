"""Which cards may stay in a client's profile, and what of a card's number stays there. Pure (K3, K4).

The choice in force is the latest of the card's own flag, given when the card was captured, and the client's events
about cards in the profile, which the operational store keeps (E12). What stays is the number without its last digits:
those who have it can still guess, a thousand numbers satisfy the check digit, so it is encrypted all the same, and no
token of the number that could tell a right guess is kept within reach of the same role.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from governance.detectors import is_luhn_valid
from governance.errors import PolicyError

NUMBER = re.compile(r"[0-9]{12,19}")
"""ISO/IEC 7812-1."""


@dataclass(frozen=True)
class Card:
    """A captured card, by its id at the source; the repr shows no ciphertext."""

    card_key: str
    client_id: int
    captured_at: datetime
    is_saved_to_profile: bool | None  # the client's choice when it was captured


@dataclass(frozen=True)
class Choice:
    """The latest of a client's events about cards in the profile."""

    is_given: bool
    effective_at: datetime
    received_at: datetime


def chosen_at(card: Card, latest: Choice | None) -> datetime | None:
    """Since when the choice in force has been that this card stays in the profile; None when it is not.

    A choice at capture that coincides with an event gives way to it (E12: a tie goes to the withdrawal).

    >>> from datetime import UTC
    >>> card = Card("7", 1, datetime(2026, 3, 10, tzinfo=UTC), True)
    >>> chosen_at(card, None) == card.captured_at
    True
    >>> chosen_at(card, Choice(False, card.captured_at, card.captured_at)) is None
    True
    """
    at_capture = card.captured_at if card.is_saved_to_profile else None
    if latest is None or (at_capture and (at_capture, at_capture) > (latest.effective_at, latest.received_at)):
        return at_capture
    if not latest.is_given:
        return None
    return at_capture or max(latest.effective_at, latest.received_at)


def profile_scope(client_id: int, number: int) -> str:
    """Whose profile key it is, and the how-manieth: a destroyed one never comes back.

    >>> profile_scope(7, 1), profile_scope(7, 2)
    ('client 7', 'client 7 since 2')
    """
    return f"client {client_id}" if number == 1 else f"client {client_id} since {number}"


def digits(number: str | None) -> str | None:
    """The digits of a card number, or None when the text is not one number and nothing else.

    A text that holds more (an expiry, a code) must not be cut: what would be cut off is the addition.

    >>> digits("4242 4242 4242 4242"), digits("4242424242424242 exp 04/29"), digits("4242424242424241"), digits(None)
    ('4242424242424242', None, None, None)
    """
    found = re.sub(r"[ -]", "", number or "")
    return found if NUMBER.fullmatch(found) and is_luhn_valid(found) else None


def partial_number(number: str | None, without: int) -> str | None:
    """A card number without its last digits; None when the text is not one. Raises PolicyError below one digit.

    >>> partial_number("4242 4242 4242 4242", 4)
    '424242424242'
    """
    if without < 1:
        raise PolicyError("policy value 'last_card_digits' has to be at least 1: a whole number is never saved (K4)")
    found = digits(number)
    return found[:-without] if found else None
