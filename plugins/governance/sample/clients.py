"""Clients as versions, and their acceptances of the terms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from governance.sample import days, people
from governance.sample.bookings import Bookings
from governance.sample.draws import Bools, Dates, Ints
from governance.sample.plan import TROUBLE_SLOT, Plan, client_ids, keys_of, repeats, slots
from governance.sample.tables import batch, date_column, instant_column, taken

TERMS_VERSION = "2024-05"
_LONGEST = 10  # days from the first version of a client to the second


@dataclass(frozen=True)
class Clients:
    """One entry per client; `key` is the home key. Instants are those of the first booking."""

    key: Ints
    country: Ints  # place in the atlas
    country_code: pa.Array
    birth: Dates
    booked_at: Ints
    recorded_at: Ints


def of_bookings(bookings: Bookings, wanted: Bools) -> Clients:
    """Return the clients of the marked bookings, each the first of its client."""
    return Clients(
        bookings.client_key[wanted],
        bookings.country[wanted],
        taken(list(people.atlas().codes), bookings.country[wanted]),
        bookings.client_birth[wanted],
        bookings.booked_at[wanted],
        bookings.recorded_at[wanted],
    )


def registered_at(plan: Plan, clients: Clients) -> Ints:
    """Return when each client registered: minutes before the first booking, or up to two and a half years."""
    draws = plan.draws("clients")
    soon = 90 * days.SECOND + (draws.uniform("registered", clients.key) * 25 * days.MINUTE).astype(np.int64)
    early = days.HOUR + (draws.uniform("registered/early", clients.key) ** 2 * 900 * days.DAY).astype(np.int64)
    return clients.booked_at - np.where(draws.uniform("registered/soon", clients.key) < 0.7, soon, early)


def accepted_at(plan: Plan, clients: Clients) -> Ints:
    """Return when each client accepted the terms: within a minute of registering."""
    after = 5 * days.SECOND + (plan.draws("clients").uniform("accepted", clients.key) * 55 * days.SECOND).astype(
        np.int64
    )
    return registered_at(plan, clients) + after


def first_versions(plan: Plan, clients: Clients) -> pa.RecordBatch:
    """Return version 1 of each client, recorded a second before the first booking."""
    return _rows(plan, clients, 1, clients.recorded_at - days.SECOND)


def second_versions(plan: Plan, day: date, origin: date) -> Ints:
    """Return the home keys of clients whose details change on a day: one in twenty, within ten days of registering."""
    found = []
    for back in range(1, _LONGEST + 1):
        home = day - timedelta(days=back)
        if home >= origin:
            keys = keys_of(home, plan.bookings_on(home))
            changes = plan.draws("clients").below("changes", keys, 20 * _LONGEST) == back
            found.append(keys[changes & ~repeats(plan, keys)])
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def changed(plan: Plan, day: date, clients: Clients) -> pa.RecordBatch:
    """Return version 2 of clients, recorded on a day: a new address and telephone number."""
    at = days.instants(day, plan.draws("clients").uniform("changed", clients.key), days.BOOKING_HOURS)
    return _rows(plan, clients, 2, at)


def _rows(plan: Plan, clients: Clients, version: int, recorded: Ints) -> pa.RecordBatch:
    draws, atlas = plan.draws("clients"), people.atlas()
    who = people.names(draws, clients.key, clients.country)
    contact = plan.draws(f"clients/{version}")
    ids = client_ids(clients.key)
    return batch(
        "clients",
        {
            "client_id": ids,
            "version": np.full(len(ids), version),
            "given_name": taken(list(atlas.given), who.given),
            "family_name": taken(list(atlas.family), who.family),
            "email": people.emails(contact, clients.key, who, ids),
            "phone": people.phones(contact, clients.key, clients.country),
            "skype": people.skypes(draws, clients.key, who),
            "birth_date": date_column(clients.birth),
            "country_code": clients.country_code,
            "postcode": people.postcodes(contact, clients.key, clients.country),
            "registered_at": instant_column(registered_at(plan, clients)),
            "recorded_at": instant_column(recorded),
        },
    )


def terms(plan: Plan, clients: Clients) -> pa.RecordBatch:
    """Return each client's acceptance of the terms, from before the first booking."""
    channel = plan.draws("clients").choice("terms/channel", clients.key, (52, 41, 7))
    return batch(
        "terms_acceptances",
        {
            "acceptance_id": client_ids(clients.key),
            "client_id": client_ids(clients.key),
            "terms_version": TERMS_VERSION,
            "channel": taken(["web", "app", "phone"], channel),
            "accepted_at": instant_column(accepted_at(plan, clients)),
            "recorded_at": instant_column(clients.recorded_at - days.SECOND),
        },
    )


def ordinary(clients: Clients) -> Bools:
    """Tell who has neither a planted trouble nor is a canary."""
    return slots(clients.key) < TROUBLE_SLOT
