"""History replayed: bookings of a file as bookings of the feed, in their own order, over a few recording days.

What happened is an event: a booking at arrival minus lead time, a cancellation or no-show at the status date. Events
are recorded in the order in which they happened, the same number every day. Business dates stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

import numpy as np
import pyarrow as pa

from governance.sample import bookings as made
from governance.sample import days, party, people
from governance.sample.bookings import Bookings
from governance.sample.catalogue import procedures
from governance.sample.draws import Bools, Dates, Draws, Ints
from governance.sample.hotel import UNKNOWN, HotelBookings
from governance.sample.plan import STRIDE, Plan
from governance.sample.versions import BOOKED, CANCELLED, Feed

_FEED_STRIDE = 10_000_000


@dataclass(frozen=True)
class History:
    """All bookings of a file in the order of booking, their feed in the order of recording, and their people's
    numbers.
    """

    bookings: Bookings
    feed: Feed
    country_code: pa.Array
    adults: Ints
    children: Ints  # -1: unknown
    babies: Ints
    is_cancelled: Bools


def shares(count: int, recording: list[date], hours: tuple[int, ...]) -> tuple[Ints, Ints, Ints]:
    """Return the day (by number), the place in the day and the instant at which each of `count` events is recorded.

    The n-th event never comes after the next one, and every day has as many as any other (or one more).
    """
    rank = np.arange(count, dtype=np.int64)
    which = rank * len(recording) // max(count, 1)
    place = rank - np.searchsorted(which, which)
    at = np.empty(count, dtype=np.int64)
    for number, day in enumerate(recording):
        here = which == number
        share = (place[here] + 0.5) / max(int(here.sum()), 1)
        at[here] = days.instants(day, share, hours)
    numbers = np.array([days.number(day) for day in recording], dtype=np.int64)
    return numbers[which], place, at


def history(plan: Plan, file: HotelBookings, recording: list[date]) -> History:
    """Return the bookings of a file, completed by what the file lacks."""
    order = np.argsort(file.booked, kind="stable")
    rows = _in_order(file, order)
    booking, version = _events(rows)
    number, place, recorded = shares(len(booking), recording, days.BOOKING_HOURS)
    first = version == 1
    key = np.empty(len(order), dtype=np.int64)
    first_recorded = np.empty(len(order), dtype=np.int64)
    key[booking[first]] = (number * STRIDE + place)[first]
    first_recorded[booking[first]] = recorded[first]
    bookings = _bookings(plan, rows, key, first_recorded)
    feed = _feed(plan, bookings, rows, (booking, version, recorded, number * _FEED_STRIDE + 1 + place))
    code = pa.array(rows.country, type=pa.string())
    return History(bookings, feed, code, rows.adults, rows.children, rows.babies, rows.is_cancelled)


def _in_order(file: HotelBookings, order: Ints) -> HotelBookings:
    arrays = {f.name: getattr(file, f.name) for f in fields(HotelBookings) if f.name not in ("country", "tally")}
    country = [file.country[place] for place in order.tolist()]
    return HotelBookings(country=country, tally=file.tally, **{name: array[order] for name, array in arrays.items()})


def _events(rows: HotelBookings) -> tuple[Ints, Ints]:
    """Return booking and version of each event, in the order in which they happened; no version overtakes the one
    before.
    """
    cancelled = np.flatnonzero(rows.is_cancelled)
    booking = np.concatenate([np.arange(len(rows.booked), dtype=np.int64), cancelled])
    version = np.concatenate([np.full(len(rows.booked), 1), np.full(len(cancelled), 2)])
    happened = np.concatenate([rows.booked, np.maximum(rows.status_date, rows.booked)[cancelled]])
    order = np.lexsort((booking, version, happened))
    return booking[order], version[order].astype(np.int64)


def _bookings(plan: Plan, rows: HotelBookings, key: Ints, recorded: Ints) -> Bookings:
    draws = plan.draws("bookings")
    codes = people.atlas().codes
    index = {code: place for place, code in enumerate(codes)}
    country = np.array([index.get(code or "", index[people.UNKNOWN_COUNTRY]) for code in rows.country], dtype=np.int64)
    home = _homes(draws, rows, key)
    birth = people.adult_births(plan.draws("clients"), key[home], rows.booked[home])
    procedure = draws.choice("procedure", key, procedures().shares)
    return Bookings(
        key=key,
        client_key=key[home],
        country=country[home],
        client_birth=birth,
        booked_at=_at(rows.booked, draws, "booked", key),
        recorded_at=recorded,
        service_date=rows.arrival,
        nights=rows.nights,
        procedure=procedure,
        has_health=np.ones(len(key), dtype=bool),
        has_travel=np.ones(len(key), dtype=bool),
        second_procedure=made.services(draws, key, procedure).second,
        price_minor=np.rint(rows.rate * 100).astype(np.int64) * rows.nights,
        currency=np.full(len(key), codes.index("FI")),  # the file's prices are in EUR
        has_card=draws.uniform("card", key) < 0.7,
        party=np.full(len(key), -1),
    )


def _homes(draws: Draws, rows: HotelBookings, key: Ints) -> Ints:
    """Return the place of the first booking of each booking's client.

    The file tells that a guest came again, not who: a guest of the same country who first booked on an earlier day is
    taken.
    """
    home = np.arange(len(key), dtype=np.int64)
    uniform = draws.uniform("again", key).tolist()
    known: dict[str | None, list[int]] = {}
    waiting: list[tuple[str | None, int]] = []
    day = None
    for place, booked in enumerate(rows.booked.astype(np.int64).tolist()):
        if booked != day:
            for country, earlier in waiting:
                known.setdefault(country, []).append(earlier)
            day, waiting = booked, []
        guests = known.get(rows.country[place], [])
        if rows.is_repeated[place] and guests:
            home[place] = guests[int(uniform[place] * len(guests))]
        else:
            waiting.append((rows.country[place], place))
    return home


def _at(dates: Dates, draws: Draws, name: str, key: Ints) -> Ints:
    """Return an instant of each date, by the clock of Stockholm."""
    numbers = (dates - np.datetime64("2000-01-01")).astype(np.int64)
    return days.instants_by_number(numbers, 0.01 + 0.98 * draws.uniform(name, key), days.BOOKING_HOURS)


def _feed(plan: Plan, bookings: Bookings, rows: HotelBookings, events: tuple[Ints, Ints, Ints, Ints]) -> Feed:
    booking, version, recorded, feed_id = events
    cancelled = _at(rows.status_date, plan.draws("versions"), "changed", bookings.key)
    same_day = rows.status_date == rows.booked
    shortly = bookings.booked_at + plan.draws("versions").below("shortly", bookings.key, 3 * days.MINUTE)
    changed = np.where(same_day, np.maximum(cancelled, shortly), cancelled)
    return Feed(
        booking=booking,
        version=version,
        status=np.where(version == 1, BOOKED, CANCELLED),
        changed_at=np.where(version == 1, bookings.booked_at[booking], changed[booking]),
        recorded_at=recorded,
        service_date=bookings.service_date[booking],
        nights=bookings.nights[booking],
        price_minor=bookings.price_minor[booking],
        feed_id=feed_id,
    )


def travellers(plan: Plan, bookings: Bookings, adults: Ints, children: Ints, babies: Ints) -> party.Travellers:
    """Return everyone on replayed bookings: adults, children, babies, and one nameless person for each unknown
    number.
    """
    numbers = np.stack([np.maximum(n, 0) for n in (adults, children, babies)], axis=1)
    unknown = (np.stack([adults, children, babies], axis=1) == UNKNOWN).sum(axis=1)
    sizes = np.column_stack([numbers, unknown])
    many = sizes.sum(axis=1)
    booking = np.repeat(np.arange(len(many), dtype=np.int64), many)
    number = 1 + np.arange(len(booking), dtype=np.int64) - np.repeat(np.cumsum(many) - many, many)
    kind = np.repeat(np.tile(np.arange(4, dtype=np.int64), len(many)), sizes.ravel())
    adult = np.select([number == 1, number == 2], [party.CLIENT, party.PARTNER], party.FRIEND)
    relation = np.select([kind == 0, kind == 3], [adult, party.NAMELESS], party.CHILD)
    role = np.where(number == 1, party.PATIENT, party.COMPANION)
    draws = plan.draws("travellers")
    who = party.people_of(plan, bookings, party.Places(booking, number, relation, role))
    young = 15 + draws.below("baby", bookings.key[booking] * 1024 + number, 700)
    return party.with_births(who, np.where(kind == 2, bookings.booked_date[booking] - young.astype("m8[D]"), who.birth))
