"""What comes with clients besides bookings: consents, inquiries, offers, requests of clients and of authorities."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from governance.sample import catalogue, days, wording
from governance.sample.bookings import Bookings, describe
from governance.sample.clients import Clients, accepted_at, of_bookings
from governance.sample.draws import Bools, Ints
from governance.sample.people import atlas
from governance.sample.plan import STRIDE, Plan, booking_ids, client_ids, home_keys, keys_of, repeats
from governance.sample.render import has_offer
from governance.sample.tables import batch, instant_column, taken

# purpose: share of clients who consent at checkout, and of these who withdraw within two weeks
_PURPOSES = {
    "health_data": (0.97, 0.01),
    "newsletter": (0.36, 0.05),
    "personalised_ads": (0.17, 0.05),
    "market_research": (0.11, 0.03),
    "profile_card": (0.05, 0.06),
}
_CHANNELS: list[str | None] = ["web", "email", "sms", "phone", "skype"]
_LONGEST = 14
_REQUESTS: list[str | None] = ["access", "rectification", "erasure", "restriction", "portability", "objection"]
_AUTHORITIES = (
    "Polismyndigheten",
    "Ekobrottsmyndigheten",
    "Försäkringskassan",
    "Skatteverket",
    "Økokrim",
    "Åklagarmyndigheten",
)


def some(clients: Clients, wanted: Bools) -> Clients:
    """Return the marked clients."""
    arrays = {f.name: getattr(clients, f.name) for f in fields(Clients)}
    code = arrays.pop("country_code").filter(pa.array(wanted))
    return Clients(country_code=code, **{name: array[wanted] for name, array in arrays.items()})


def homes(plan: Plan, keys: Ints) -> Clients:
    """Return clients by home key."""
    bookings = describe(plan, keys, np.zeros(len(keys), dtype=bool))
    return of_bookings(bookings, np.ones(len(keys), dtype=bool))


def consents_given(plan: Plan, clients: Clients) -> list[pa.RecordBatch]:
    """Return the consents that clients give at checkout, as they accept the terms."""
    draws, at = plan.draws("consents"), accepted_at(plan, clients)
    return [
        _events(plan, some(clients, given), purpose, (1, at[given], clients.recorded_at[given] - days.SECOND))
        for purpose, (share, _) in _PURPOSES.items()
        for given in (draws.uniform(purpose, clients.key) < share,)
    ]


def consents_withdrawn(plan: Plan, day: date, origin: date) -> list[pa.RecordBatch]:
    """Return the withdrawals of a day, by clients who gave the consent in the two weeks before."""
    draws, found = plan.draws("consents"), []
    for back in range(1, _LONGEST + 1):
        home = day - timedelta(days=back)
        if home < origin:
            break
        keys = keys_of(home, plan.bookings_on(home))
        keys = keys[~repeats(plan, keys)]
        for purpose, (share, withdrawn) in _PURPOSES.items():
            one = withdrawn / _LONGEST
            moment = draws.uniform(purpose + "/withdrawn", keys)
            gone = (draws.uniform(purpose, keys) < share) & (moment >= one * (back - 1)) & (moment < one * back)
            clients = homes(plan, keys[gone])
            received = days.instants(day, draws.uniform("received", clients.key), days.VISIT_HOURS)
            found.append(_events(plan, clients, purpose, (2, received, received + 1)))
    return found


def _events(plan: Plan, clients: Clients, purpose: str, event: tuple[int, Ints, Ints]) -> pa.RecordBatch:
    """Return events of one purpose; `event` is the version (2 withdraws), when it was received, when recorded."""
    draws, (version, at, recorded) = plan.draws("consents"), event
    place = list(_PURPOSES).index(purpose)
    channel = draws.choice(purpose + "/channel", clients.key, (70, 12, 6, 10, 2) if version == 2 else (100,))
    by_mail = purpose == "newsletter" and version == 2
    return batch(
        "consent_events",
        {
            "event_id": client_ids(clients.key) * 16 + place * 2 + version,
            "client_id": client_ids(clients.key),
            "purpose": [purpose] * len(clients.key),
            "channel": taken(["email"], np.zeros_like(channel)) if by_mail else taken(_CHANNELS, channel),
            "decision": "given" if version == 1 else "withdrawn",
            "effective_at": instant_column(at - 1),
            "received_at": instant_column(at),
            "source": "checkout" if version == 1 else "newsletter_link" if by_mail else "profile",
            "version": np.full(len(clients.key), version),
            "recorded_at": instant_column(recorded),
        },
    )


def inquiries(plan: Plan, bookings: Bookings) -> pa.RecordBatch:
    """Return inquiries: those that led to an offer that was accepted, and as many that have led to nothing yet."""
    draws = plan.draws("inquiries")
    led = has_offer(plan, bookings)
    asks = bookings.is_home & ~led & (draws.uniform("asks", bookings.key) < 0.1)
    wanted = led | asks
    keys, booked = bookings.key[wanted], bookings.booked_at[wanted]
    received = booked - 2 * days.HOUR - (draws.uniform("received", keys) * 9 * days.DAY).astype(np.int64)
    answered = received + 10 * days.MINUTE + (draws.uniform("answered", keys) * 90 * days.MINUTE).astype(np.int64)
    return batch(
        "inquiries",
        {
            "inquiry_id": booking_ids(keys),
            "client_id": client_ids(keys),
            "channel": taken(_CHANNELS, draws.choice("channel", keys, (46, 30, 4, 18, 2))),
            "message": wording.messages(plan.seed, draws, keys),
            "received_at": instant_column(received),
            "answered_at": instant_column(answered, asks[wanted] & (draws.uniform("silent", keys) < 0.3)),
            "recorded_at": instant_column(bookings.recorded_at[wanted] - days.SECOND),
        },
    )


def offers(plan: Plan, bookings: Bookings) -> pa.RecordBatch:
    """Return offers: accepted ones with their booking, and for some inquiries one that is open, declined or expired."""
    draws = plan.draws("offers")
    accepted = has_offer(plan, bookings)
    asked = bookings.is_home & ~accepted & (plan.draws("inquiries").uniform("asks", bookings.key) < 0.05)
    wanted = accepted | asked
    keys, booked = bookings.key[wanted], bookings.booked_at[wanted]
    is_accepted = accepted[wanted]
    status = np.where(is_accepted, 1, np.array([0, 2, 3])[draws.choice("status", keys, (60, 25, 15))])
    opened = booked - 5 * days.MINUTE - (draws.uniform("opened", keys) * days.HOUR).astype(np.int64)
    closed = np.where(is_accepted, booked, opened + days.MINUTE)
    specialty = catalogue.procedures().specialty[bookings.procedure[wanted]]
    return batch(
        "offers",
        {
            "offer_id": booking_ids(keys) * 10 + 1,
            "inquiry_id": booking_ids(keys),
            "client_id": client_ids(keys),
            "provider_id": catalogue.health_providers(plan.seed, specialty, draws.uniform("clinic", keys)),
            "status": taken(["open", "accepted", "declined", "expired"], status),
            "price_amount_minor": bookings.price_minor[wanted],
            "currency_code": taken(list(atlas().currencies), bookings.currency[wanted]),
            "opened_at": instant_column(opened),
            "closed_at": instant_column(closed, status == 0),
            "recorded_at": instant_column(bookings.recorded_at[wanted] - days.SECOND),
        },
    )


def subject_requests(plan: Plan, clients: Clients, day: date) -> pa.RecordBatch:
    """Return the requests of a day: about one client in a thousand asks on the day of the first booking."""
    draws = plan.draws("requests")
    wanted = draws.uniform("asks", clients.key) < 0.001
    keys, recorded = clients.key[wanted], clients.recorded_at[wanted]
    _, end = days.bounds(day)
    at = recorded + ((end - recorded) * 0.9 * draws.uniform("at", keys)).astype(np.int64)
    checked = draws.uniform("checked", keys) < 0.7
    return batch(
        "subject_requests",
        {
            "request_id": client_ids(keys),
            "client_id": client_ids(keys),
            "kind": taken(_REQUESTS, draws.choice("kind", keys, (34, 14, 30, 4, 6, 12))),
            "received_at": instant_column(at - 2),
            "identity_checked_at": instant_column(at - 1, ~checked),
            "status": taken(["received", "identity_checked"], checked.astype(np.int64)),
            "recorded_at": instant_column(at),
        },
    )


def authority_requests(plan: Plan, day: date) -> pa.RecordBatch:
    """Return the requests of authorities: one on every second day or so."""
    draws, key = plan.draws("authorities"), np.array([days.number(day)], dtype=np.int64)
    key = key[draws.uniform("asks", key) < 0.45]
    at = days.instants(day, 0.3 + 0.4 * draws.uniform("at", key), days.BOOKING_HOURS)
    which = [_AUTHORITIES[n] for n in draws.below("authority", key, len(_AUTHORITIES))]
    return batch(
        "authority_requests",
        {
            "request_id": key,
            "authority": which,
            "legal_basis": [
                "RB 27:2" if name.startswith(("Polis", "Ekob", "Åkl")) else "national law" for name in which
            ],
            "case_reference": [f"K {100000 + int(n) * 7919 % 899999}-{day.year % 100:02d}" for n in key],
            "scope": ["bookings of one client"] * len(key),
            "period_from": [day - timedelta(days=90)] * len(key),
            "period_until": [day] * len(key),
            "received_at": instant_column(at - days.HOUR),
            "recorded_at": instant_column(at),
        },
    )


def strangers(plan: Plan, day: date, origin: date) -> Ints:
    """Return home keys of clients from before the sample's first day who book on a day."""
    keys = keys_of(day, plan.bookings_on(day))
    home = np.unique(home_keys(plan, keys[repeats(plan, keys)]))
    return np.asarray(home[home < days.number(origin) * STRIDE], dtype=np.int64)
