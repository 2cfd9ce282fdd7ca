"""Canary cohorts: people alike in everything that is published, whose every direct field is a token found nowhere else.

After a run, a token that turns up outside the zones made for personal data is a leak, and tells which field leaked. A
token can be computed again from the seed and the day; no file keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from governance.sample import cards
from governance.sample.draws import Draws
from governance.sample.plan import CANARY_SLOT, booking_ids, client_ids, keys_of
from governance.sample.tables import SCHEMAS, Tables
from governance.sample.versions import CANARIES_PER_DAY

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def token(seed: int, day: date, number: int, field: str) -> str:
    """Return the token of one field of one canary of a day: `Zq` and eight letters."""
    digest = blake2b(f"{seed}/{day.isoformat()}/{number}/{field}".encode(), digest_size=16).digest()
    rest, letters = int.from_bytes(digest, "big"), ""
    for _ in range(8):
        rest, letter = divmod(rest, len(_LETTERS))
        letters += _LETTERS[letter]
    return "Zq" + letters


def phone(seed: int, day: date, number: int, field: str) -> str:
    """Return a telephone number of the range kept for fiction in North America, unlike any other canary's of the
    day.
    """
    area = (
        201 + (int.from_bytes(blake2b(f"{seed}/{day}/{field}".encode(), digest_size=4).digest(), "big") + number) % 780
    )
    return f"+1{area}55501{number % 100:02d}"


def address(day: date, number: int) -> str:
    """Return an IP address of the range kept for benchmarks (RFC 2544), unlike any other canary's of the day."""
    return f"198.19.{day.toordinal() % 251}.{number + 1}"


def bookings(day: date) -> list[int]:
    """Return the booking ids of a day's canaries, in the order of their numbers."""
    return [int(booking_id) for booking_id in booking_ids(keys_of(day, CANARIES_PER_DAY, CANARY_SLOT))]


def card_number(seed: int, day: date, number: int) -> str:
    """Return the card number of a canary."""
    drawn: str = cards.numbers(Draws(seed, "cards"), keys_of(day, 1, CANARY_SLOT + number))[0].as_py()
    return drawn


_BOOKING_FIELDS: tuple[tuple[str, str, str], ...] = (
    ("clients", "given_name", "{t}"),
    ("clients", "family_name", "{t}"),
    ("clients", "email", "{t}@example.com"),
    ("clients", "skype", "live:{t}"),
    ("bookings", "notes", "Ring {t} före avresan."),
    ("booking_travellers", "given_name", "{t}"),
    ("booking_travellers", "family_name", "{t}"),
    ("booking_services", "itinerary", "ARN-BUD SK2671, transfer for {t}."),
    ("payment_cards", "card_holder", "{t}"),
    ("guardian_consents", "guardian_name", "{t} {t}"),
    ("guardian_consents", "guardian_email", "{t}@example.org"),
)
_PHONES = (("clients", "phone"), ("guardian_consents", "guardian_phone"))
VIEW_FIELDS: tuple[tuple[str, str], ...] = (
    ("user_agent", "WellbeApp/7.4.1 (iPhone; iOS 26.1; {t})"),
    ("session_id", "{t}"),
    ("device_id", "{t}"),
    ("device_settings", '{{"model": "iPhone16,1", "name": "{t}"}}'),
    ("first_party_cookie_id", "{t}"),
    ("third_party_cookie_id", "{t}"),
    ("referrer", "https://example.com/{t}"),
    ("url_query", "{t}"),
)


def mark(tables: Tables, seed: int, day: date) -> Tables:
    """Return the tables of a day's canary bookings with tokens in every direct field."""
    keys = keys_of(day, CANARIES_PER_DAY, CANARY_SLOT)
    by_booking = {int(booking_id): n for n, booking_id in enumerate(booking_ids(keys))}
    by_client = {int(client_id): n for n, client_id in enumerate(client_ids(keys))}
    marked = dict(tables)
    for name in {table for table, _, _ in _BOOKING_FIELDS}:
        rows: list[dict[str, Any]] = [row for part in tables[name] for row in part.to_pylist()]
        for row in rows:
            number = by_client[row["client_id"]] if name == "clients" else by_booking[row["booking_id"]]
            _mark_row(name, row, seed, day, number)
        marked[name] = [pa.RecordBatch.from_pylist(rows, SCHEMAS[name])]
    return marked


def _mark_row(table: str, row: dict[str, Any], seed: int, day: date, number: int) -> None:
    place = row.get("traveller_no", "") if table == "booking_travellers" else ""
    for name, column, form in _BOOKING_FIELDS:
        if name == table and not (column == "itinerary" and row["kind"] == "health"):
            row[column] = form.format(t=token(seed, day, number, f"{table}.{column}{place}"))
    for name, column in _PHONES:
        if name == table:
            row[column] = phone(seed, day, number, column)
    if table == "bookings":
        row["locale"] = ("sv-SE", "nb-NO")[number % 2]
    if table == "clients":
        row["postcode"] = "114 55" if row["country_code"] == "SE" else "0484"


def _tokens(seed: int, day: date, number: int) -> Iterator[str]:
    with_child = number % 2 == 1
    for table, column, _ in _BOOKING_FIELDS:
        if table == "booking_travellers":
            yield from (token(seed, day, number, f"{table}.{column}{place}") for place in range(1, 2 + with_child))
        elif table != "guardian_consents" or with_child:
            yield token(seed, day, number, f"{table}.{column}")
    for field, _ in VIEW_FIELDS:
        yield token(seed, day, number, field)
    yield phone(seed, day, number, "phone")
    if with_child:
        yield phone(seed, day, number, "guardian_phone")
    yield card_number(seed, day, number)
    yield address(day, number)


def canary_tokens(seed: int, *on: date) -> list[str]:
    """Return every token of the canaries of the days, as they stand in the source (letters, numbers, addresses)."""
    return [found for day in on for number in range(CANARIES_PER_DAY) for found in _tokens(seed, day, number)]
