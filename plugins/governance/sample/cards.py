"""Payment cards: unique numbers that satisfy the Luhn check and begin like the published test numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.sample import days, people
from governance.sample.bookings import Bookings
from governance.sample.draws import Draws, Ints, scrambled
from governance.sample.plan import STRIDE, TROUBLE_SLOT, Plan, booking_ids, client_ids, day_numbers, slots
from governance.sample.tables import batch, instant_column, taken
from governance.sample.text import coded, joined

# The beginnings of test numbers that card processors publish: Visa, Visa, Mastercard, Mastercard, American Express.
BEGINNINGS = ("424242", "400000", "555555", "222300", "378282")
_LENGTHS = (16, 16, 16, 16, 15)
_BODY = 1_000_000_000  # nine free digits: no number comes twice within a thousand days of at most 1,000,000 bookings


def numbers(draws: Draws, keys: Ints) -> pa.Array:
    """Return a card number per booking key."""
    kind = draws.choice("card/kind", keys, (46, 14, 26, 6, 8))
    body = scrambled((day_numbers(keys) % (_BODY // STRIDE)) * STRIDE + slots(keys), _BODY, 387_420_489, 271_828_183)
    length = np.array(_LENGTHS)[kind]
    # An American Express number has one digit less and goes without the first free one: unique within a hundred days.
    digits = np.empty((len(keys), 16), dtype=np.int64)
    for place in range(6):
        digits[:, place] = np.array([int(beginning[place]) for beginning in BEGINNINGS])[kind]
    for place in range(9):
        digits[:, 14 - place] = body // 10**place % 10
    short = length == 15
    digits[short, 6:14] = digits[short, 7:15]
    last = length - 1
    digits[np.arange(len(keys)), last] = 0
    digits[np.arange(len(keys)), last] = (10 - _luhn_sum(digits, length) % 10) % 10
    number = np.zeros(len(keys), dtype=np.int64)
    for place in range(16):
        number = np.where(place < length, number * 10 + digits[:, place], number)
    wide, narrow = coded(number, b"0123456789", 16), coded(number, b"0123456789", 15)
    return pc.if_else(pa.array(short), narrow, wide)


def _luhn_sum(digits: Ints, length: Ints) -> Ints:
    total = np.zeros(len(digits), dtype=np.int64)
    for place in range(digits.shape[1]):
        from_right = length - 1 - place
        doubled = digits[:, place] * 2
        value = np.where(from_right % 2 == 1, doubled - 9 * (doubled > 9), digits[:, place])
        total += np.where(from_right >= 0, value, 0)
    return total


def payment_cards(plan: Plan, bookings: Bookings) -> pa.RecordBatch:
    """Return the card of each booking that has one, captured within five minutes before it was recorded; never a
    CVV.
    """
    draws, has = plan.draws("cards"), bookings.has_card
    keys, clients, recorded = bookings.key[has], bookings.client_key[has], bookings.recorded_at[has]
    who, atlas = people.names(plan.draws("clients"), clients, bookings.country[has]), people.atlas()
    holder = people.full_names(taken(list(atlas.given), who.given), taken(list(atlas.family), who.family))
    year = days.local_dates(recorded).astype("M8[Y]").astype(np.int64) + 1970 + 1 + draws.below("expiry/year", keys, 5)
    month = 1 + draws.below("expiry/month", keys, 12)
    saves = (draws.uniform("save", keys) < 0.05) & (slots(keys) < TROUBLE_SLOT)
    return batch(
        "payment_cards",
        {
            "card_id": booking_ids(keys),
            "client_id": client_ids(clients),
            "booking_id": booking_ids(keys),
            "card_number": numbers(draws, keys),
            "card_holder": holder,
            "card_expiry": joined(coded(month, b"0123456789", 2), "/", coded(year % 100, b"0123456789", 2)),
            "cvv": None,
            "captured_at": instant_column(
                recorded - (draws.uniform("captured", keys) * 5 * days.MINUTE).astype(np.int64)
            ),
            "save_to_profile": pa.array(saves),
            "recorded_at": instant_column(recorded),
        },
    )
