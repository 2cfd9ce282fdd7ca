"""From bookings as numbers to rows of the source's tables."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from governance.sample import cards, catalogue, party, people, wording
from governance.sample.bookings import Bookings
from governance.sample.draws import Bools, Ints
from governance.sample.plan import TROUBLE_SLOT, Plan, booking_ids, client_ids, slots
from governance.sample.tables import Tables, batch, date_column, instant_column, taken
from governance.sample.versions import STATUSES, Feed

_HEALTH, _TRAVEL, _SECOND = 1, 2, 3


@dataclass(frozen=True)
class Part:
    """Some rows of a feed, with the bookings they are about and everyone who travels on these."""

    bookings: Bookings
    feed: Feed
    travellers: party.Travellers


def subset(bookings: Bookings, feed: Feed, wanted: Bools) -> tuple[Bookings, Feed]:
    """Return the marked bookings and their rows of the feed."""
    place = np.cumsum(wanted) - 1
    rows = wanted[feed.booking]
    kept = {f.name: getattr(bookings, f.name)[wanted] for f in fields(Bookings)}
    of_feed = {f.name: getattr(feed, f.name)[rows] for f in fields(Feed)}
    of_feed["booking"] = place[of_feed["booking"]]
    return Bookings(**kept), Feed(**of_feed)


def rows(plan: Plan, part: Part) -> Tables:
    """Return the rows of bookings, travellers, services, consents of guardians and cards."""
    bookings, feed = part.bookings, part.feed
    once = first_rows(feed)
    begins = np.zeros(len(bookings.key), dtype=bool)
    begins[feed.booking[feed.version == 1]] = True
    minors = part.travellers.is_minor & begins[part.travellers.booking]
    consents = party.guardian_consents(plan, bookings, party.only(part.travellers, minors))
    fresh, _ = subset(bookings, feed, begins)
    return {
        "bookings": [_bookings(plan, bookings, feed, part.travellers)],
        "booking_travellers": [_travellers(part, once)],
        "booking_services": [_services(plan, bookings, feed, once)],
        "guardian_consents": [consents],
        "payment_cards": [cards.payment_cards(plan, fresh)],
    }


def first_rows(feed: Feed) -> Ints:
    """Return the places of feed rows without those that repeat a booking and version."""
    _, once = np.unique(feed.booking * 8 + feed.version, return_index=True)
    return np.sort(once)


def _bookings(plan: Plan, bookings: Bookings, feed: Feed, who: party.Travellers) -> pa.RecordBatch:
    draws, at, atlas = plan.draws("bookings"), feed.booking, people.atlas()
    locale = people.locales(plan.draws("clients"), bookings.client_key, bookings.country)
    client = people.names(plan.draws("clients"), bookings.client_key, bookings.country)
    given = taken(list(atlas.given), client.given)
    always = slots(bookings.key) >= TROUBLE_SLOT
    about = wording.About(bookings.key, locale, given, bookings.service_date, always)
    notes = wording.notes(plan.seed, draws, about)
    return batch(
        "bookings",
        {
            "feed_id": feed.feed_id,
            "booking_id": booking_ids(bookings.key)[at],
            "version": feed.version,
            "client_id": client_ids(bookings.client_key)[at],
            "offer_id": pa.array(booking_ids(bookings.key)[at] * 10 + 1, mask=~has_offer(plan, bookings)[at]),
            "purpose_code": "contract",
            "status": taken(STATUSES, feed.status),
            "booked_at": instant_column(bookings.booked_at[at]),
            "changed_at": instant_column(feed.changed_at),
            "recorded_at": instant_column(feed.recorded_at),
            "service_date": date_column(feed.service_date),
            "nights_count": feed.nights,
            "price_amount_minor": feed.price_minor,
            "currency_code": taken(list(atlas.currencies), bookings.currency[at]),
            "locale": taken(list(atlas.locales), locale[at]),
            "notes": notes.take(pa.array(at)),
        },
    )


def has_offer(plan: Plan, bookings: Bookings) -> Bools:
    """Tell which bookings accept an offer made before; its id is ten times the booking's and one."""
    drawn = plan.draws("bookings").uniform("offer", bookings.key) < 0.12
    return drawn & bookings.is_home & (slots(bookings.key) < TROUBLE_SLOT)


def _travellers(part: Part, once: Ints) -> pa.RecordBatch:
    who, feed, atlas = part.travellers, part.feed, people.atlas()
    sizes = np.bincount(who.booking, minlength=len(part.bookings.key))
    starts = np.cumsum(sizes) - sizes
    at = feed.booking[once]
    row = np.repeat(once, sizes[at])
    within = np.arange(len(row), dtype=np.int64) - np.repeat(np.cumsum(sizes[at]) - sizes[at], sizes[at])
    person = starts[feed.booking[row]] + within
    nameless = who.birth_unknown[person]
    return batch(
        "booking_travellers",
        {
            "booking_id": booking_ids(part.bookings.key)[feed.booking[row]],
            "version": feed.version[row],
            "traveller_no": who.number[person],
            "role": taken(party.ROLES, who.role[person]),
            "given_name": taken(list(atlas.given), who.names.given[person], nameless),
            "family_name": taken(list(atlas.family), who.names.family[person], nameless),
            "birth_date": date_column(who.birth[person], nameless),
            "recorded_at": instant_column(feed.recorded_at[row]),
        },
    )


def _services(plan: Plan, bookings: Bookings, feed: Feed, once: Ints) -> pa.RecordBatch:
    draws, all_ = plan.draws("services"), feed.booking[once]
    parts = [
        (once[mask[all_]], kind)
        for mask, kind in (
            (bookings.has_health, _HEALTH),
            (bookings.has_travel, _TRAVEL),
            (bookings.second_procedure >= 0, _SECOND),
        )
    ]
    row = np.concatenate([places for places, _ in parts])
    kind = np.concatenate([np.full(len(places), code) for places, code in parts])
    order = np.lexsort((kind, row))
    row, kind = row[order], kind[order]
    number = 1 + np.arange(len(row)) - np.searchsorted(row, row)
    at = feed.booking[row]
    keys, travel = bookings.key[at], kind == _TRAVEL
    procedure = np.where(kind == _SECOND, bookings.second_procedure[at], bookings.procedure[at])
    specialty = catalogue.procedures().specialty[procedure]
    health_provider = catalogue.health_providers(plan.seed, specialty, draws.uniform("clinic", keys))
    travel_provider = catalogue.travel_providers(plan.seed, draws.uniform("travel", keys))
    itinerary = wording.itineraries(plan.seed, draws, bookings.key, bookings.service_date)
    return batch(
        "booking_services",
        {
            "booking_id": booking_ids(keys),
            "version": feed.version[row],
            "service_no": number,
            "kind": taken(["health", "travel"], travel.astype(np.int64)),
            "provider_id": np.where(travel, travel_provider, health_provider),
            "procedure_code": taken(list(catalogue.procedures().codes), procedure, travel),
            "itinerary": itinerary.take(pa.array(at, mask=~travel)),
            "starts_on": date_column(feed.service_date[row]),
            "recorded_at": instant_column(feed.recorded_at[row]),
        },
    )
