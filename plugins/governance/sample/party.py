"""Who travels on a booking, how old they are, and the consents of those who travel as minors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from governance.sample import days, people
from governance.sample.bookings import Bookings
from governance.sample.draws import Bools, Dates, Draws, Floats, Ints
from governance.sample.plan import CANARY_SLOT, Plan, booking_ids, client_ids, slots
from governance.sample.tables import batch, date_column, instant_column, taken

CLIENT, PARTNER, FRIEND, CHILD, PARENT, NAMELESS = range(6)
PATIENT, COMPANION = range(2)
ROLES: list[str | None] = ["patient", "companion"]

PARTIES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((CLIENT, PATIENT),),
    ((CLIENT, PATIENT), (PARTNER, COMPANION)),
    ((CLIENT, PATIENT), (FRIEND, COMPANION)),
    ((CLIENT, PATIENT), (PARTNER, PATIENT)),
    ((CLIENT, COMPANION), (CHILD, PATIENT)),
    ((CLIENT, COMPANION), (PARTNER, COMPANION), (CHILD, PATIENT)),
    ((CLIENT, PATIENT), (PARTNER, COMPANION), (CHILD, COMPANION)),
    ((CLIENT, PATIENT), (PARTNER, COMPANION), (CHILD, COMPANION), (CHILD, COMPANION)),
    ((CLIENT, PATIENT), (CHILD, COMPANION)),
    ((CLIENT, PATIENT), (PARTNER, COMPANION), (PARENT, COMPANION)),
    ((CLIENT, COMPANION), (PARENT, PATIENT)),
)


@dataclass(frozen=True)
class Travellers:
    """One entry per traveller of a booking, in the order of bookings; `booking` is the place of the booking."""

    booking: Ints
    number: Ints  # 1, 2, ... within the booking
    relation: Ints
    role: Ints
    names: people.Names
    birth: Dates
    birth_unknown: Bools

    @property
    def is_minor(self) -> Bools:
        """Tell who is a child of the party."""
        found: Bools = self.relation == CHILD
        return found


@dataclass(frozen=True)
class Places:
    """Who there is, without names yet: one entry per traveller, as in `Travellers`."""

    booking: Ints
    number: Ints
    relation: Ints
    role: Ints


def places(parties: Ints) -> Places:
    """Return everyone in the parties of `PARTIES`."""
    sizes = np.array([len(party) for party in PARTIES])[parties]
    booking = np.repeat(np.arange(len(parties), dtype=np.int64), sizes)
    number = np.arange(len(booking), dtype=np.int64) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = np.zeros((len(PARTIES), 4, 2), dtype=np.int64)
    for place, party in enumerate(PARTIES):
        table[place, : len(party)] = party
    return Places(booking, number + 1, table[parties[booking], number, 0], table[parties[booking], number, 1])


def travellers(plan: Plan, bookings: Bookings) -> Travellers:
    """Return everyone who travels on generated bookings."""
    made = people_of(plan, bookings, places(bookings.party))
    key = bookings.key[made.booking]
    canary = (slots(key) >= CANARY_SLOT) & made.is_minor
    same_age = days.years_before(bookings.booked_date[made.booking], 11) + (key % 90).astype("m8[D]")
    return replace(made, birth=np.where(canary, same_age, made.birth))


def people_of(plan: Plan, bookings: Bookings, at: Places) -> Travellers:
    """Return names and birth dates for travellers of known relation to the client."""
    draws, booking, relation = plan.draws("travellers"), at.booking, at.relation
    keys = bookings.key[booking] * 1024 + at.number
    client = people.names(plan.draws("clients"), bookings.client_key, bookings.country)
    own = people.names(draws, keys, bookings.country[booking])
    is_client = relation == CLIENT
    shares_name = (relation == CHILD) | ((relation == PARTNER) & (draws.uniform("married", keys) < 0.6))
    related = is_client | shares_name | ((relation == PARENT) & (draws.uniform("name", keys) < 0.6))
    a = people.atlas()
    pool = np.where(related, client.pool[booking], own.pool)
    given = a.given_start[pool, 0] + draws.below("given_of", keys, a.given_count[pool].sum(axis=1))
    names = people.Names(
        pool,
        np.where(is_client, client.given[booking], given),
        np.where(related, client.family[booking], own.family),
    )
    birth = _births(draws, keys, bookings, booking, relation)
    return Travellers(booking, at.number, relation, at.role, names, birth, relation == NAMELESS)


def _births(draws: Draws, keys: Ints, bookings: Bookings, booking: Ints, relation: Ints) -> Dates:
    booked, client = bookings.booked_date[booking], bookings.client_birth[booking]
    least_old = days.years_before(booked, 18) - np.timedelta64(30, "D")
    about = client + (draws.normal("partner", keys) * 1400).astype(np.int64).astype("m8[D]")
    eldest = days.years_before(booked, 94)
    partner = np.clip(about, eldest, least_old)
    parent = np.maximum(client - (7500 + draws.below("parent", keys, 5200)).astype("m8[D]"), eldest)
    child = people.child_births(draws, keys, booked)
    service = bookings.service_date[booking]
    lead = (service - booked).astype(np.int64)
    almost = (lead >= 4) & (draws.uniform("almost_adult", keys) < 0.08)
    child = np.where(almost, people.almost_adult_births(draws, keys, booked, service), child)
    friend = people.adult_births(draws, keys, booked)
    birth = np.where(relation == CLIENT, client, friend)
    birth = np.where(relation == PARTNER, partner, birth)
    birth = np.where(relation == PARENT, parent, birth)
    return np.where(relation == CHILD, child, birth)


def guardian_consents(plan: Plan, bookings: Bookings, who: Travellers) -> pa.RecordBatch:
    """Return a verified consent of a parent, from before the booking, for every minor."""
    draws, minor = plan.draws("guardians"), who.is_minor
    booking, number = who.booking[minor], who.number[minor]
    keys = bookings.key[booking]
    client = people.names(plan.draws("clients"), bookings.client_key, bookings.country)
    booked = bookings.booked_at[booking]
    verified = booked - 30 * days.SECOND - _hours(draws.uniform("verified", keys * 1024 + number), 40)
    given = verified - 20 * days.SECOND - _hours(draws.uniform("given", keys * 1024 + number), 20)
    atlas = people.atlas()
    nordic = np.isin(bookings.country[booking], [atlas.codes.index(code) for code in ("SE", "NO", "DK", "FI")])
    names = people.Names(client.pool[booking], client.given[booking], client.family[booking])
    client_keys, country = bookings.client_key[booking], bookings.country[booking]
    # A client who has come of age just now is no parent of a traveller yet: an elder one is.
    birth = np.minimum(bookings.client_birth[booking], days.years_before(bookings.booked_date[booking], 20))
    return batch(
        "guardian_consents",
        {
            "consent_id": booking_ids(keys) * 64 + _rank(booking),
            "booking_id": booking_ids(keys),
            "traveller_no": number,
            "guardian_name": people.full_names(
                taken(list(atlas.given), names.given), taken(list(atlas.family), names.family)
            ),
            "guardian_email": people.emails(plan.draws("clients"), client_keys, names, client_ids(client_keys)),
            "guardian_phone": people.phones(plan.draws("clients"), client_keys, country),
            "relation": taken(["parent", "guardian"], (draws.uniform("relation", keys) < 0.07).astype(np.int64)),
            "given_at": instant_column(given),
            "verified_at": instant_column(verified),
            "verification_method": taken(["signed_form", "bankid"], (nordic & (keys % 10 != 3)).astype(np.int64)),
            "recorded_at": instant_column(bookings.recorded_at[booking]),
            "guardian_birth_date": date_column(birth),
            "withdrawn_at": None,
        },
    )


def _rank(booking: Ints) -> Ints:
    """Return 0, 1, ... within each booking (of an array in the order of bookings)."""
    return np.arange(len(booking), dtype=np.int64) - np.searchsorted(booking, booking)


def _hours(uniform: Floats, scale: float) -> Ints:
    return np.asarray(-np.log1p(-uniform) * scale * days.HOUR, dtype=np.int64)


def only(who: Travellers, wanted: Bools) -> Travellers:
    """Return the marked travellers."""
    names = people.Names(who.names.pool[wanted], who.names.given[wanted], who.names.family[wanted])
    at = (who.booking[wanted], who.number[wanted], who.relation[wanted], who.role[wanted])
    return Travellers(*at, names=names, birth=who.birth[wanted], birth_unknown=who.birth_unknown[wanted])


def with_births(who: Travellers, birth: Dates) -> Travellers:
    """Return the travellers with other birth dates."""
    return replace(who, birth=birth)
