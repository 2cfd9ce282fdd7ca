"""Filling the source with a sample, day by day; days that are there already are left alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from governance.errors import InputError
from governance.sample import canaries as canary_cohorts
from governance.sample import catalogue, clients, kinds, paperwork, party, render, troubles, versions
from governance.sample import view_troubles as views
from governance.sample.bookings import Bookings
from governance.sample.days import STOCKHOLM
from governance.sample.draws import Bools
from governance.sample.load import Loaded, Progress, Source, quiet, refuse_other, state, writing
from governance.sample.plan import (
    CANARY_SLOT,
    EDITION,
    TROUBLE_SLOT,
    Plan,
    booking_ids,
    client_ids,
    days_between,
    slots,
)
from governance.sample.tables import Tables
from governance.sample.versions import Feed
from governance.sample.visits import views_of

CHUNK = 50_000  # feed rows that are turned into text at a time
_ORIGIN = "generated"


def generate(  # noqa: PLR0913  (each is a thing one asks for)
    dsn: str,
    *,
    bookings: int,
    visits: int,
    days: int,
    seed: int,
    until: date,
    now: datetime,
    canaries: bool = True,
    progress: Progress = quiet,
) -> Loaded:
    """Fill the source with at least `bookings` and `visits` over the `days` recording days that end at `until`.

    On a source that holds this sample up to an earlier day, only the days since are added, at the same daily rate;
    days that are there stay untouched. Everything follows from the seed, the counts and the end date of the first fill.

    Raises InputError when `until` is not over yet at `now`, when the source holds another sample, or when the counts
    cannot be; SourceUnavailableError when the source cannot be reached.
    """
    _closed(until, now)
    if days < 1:
        raise InputError("A sample needs at least one booking, one day, and no negative number.")
    asked = {
        "edition": EDITION,
        "bookings": bookings,
        "visits": visits,
        "days": days,
        "seed": seed,
        "canaries": canaries,
    }
    with writing(dsn) as source:
        earlier = source.earlier()
        refuse_other(earlier, _ORIGIN, asked)
        first = earlier[0].first_day if earlier else until - timedelta(days=days - 1)
        plan = Plan(seed, bookings, visits, first, first + timedelta(days=days - 1), canaries)
        start = earlier[-1].last_day + timedelta(days=1) if earlier else first
        missing = days_between(start, until)
        for place, day in enumerate(missing):
            progress(day.isoformat(), place, len(missing))
            write_day(source, plan, day, first)
        if missing:
            if not earlier:
                source.copy("providers", [catalogue.providers(seed).rows])
            source.book(_ORIGIN, asked, start, until, {})
            source.analyze()
            progress(until.isoformat(), len(missing), len(missing))
        return state(earlier, source, _ORIGIN, (first, max(until, start - timedelta(days=1))), {})


def _closed(until: date, now: datetime) -> None:
    if until >= now.astimezone(STOCKHOLM).date():
        raise InputError(f"The day {until} is not over in Stockholm: give an earlier --until.")


@dataclass(frozen=True)
class Today:
    """A day of a sample that begins at `origin`, with its feed."""

    plan: Plan
    day: date
    origin: date
    bookings: Bookings
    feed: Feed

    def tables(self, wanted: Bools) -> Tables:
        """Return the rows that come with the marked bookings."""
        plan = self.plan
        some, feed = render.subset(self.bookings, self.feed, wanted)
        fresh = np.zeros(len(some.key), dtype=bool)
        fresh[feed.booking[feed.version == 1]] = True
        made, _ = render.subset(some, feed, fresh)
        people = clients.of_bookings(made, made.is_home)
        ordinary = paperwork.some(people, clients.ordinary(people))
        return {
            "clients": [clients.first_versions(plan, people)],
            "terms_acceptances": [clients.terms(plan, people)],
            "consent_events": paperwork.consents_given(plan, people),
            "inquiries": [paperwork.inquiries(plan, made)],
            "offers": [paperwork.offers(plan, made)],
            "subject_requests": [paperwork.subject_requests(plan, ordinary, self.day)],
            **render.rows(plan, render.Part(some, feed, party.travellers(plan, some))),
        }


def write_day(source: Source, plan: Plan, day: date, origin: date) -> None:
    """Write all rows that are recorded on a day of a sample that begins at `origin`."""
    today = Today(plan, day, origin, *versions.feed_of(plan, day, origin))
    slot = slots(today.bookings.key)
    ordinary = np.flatnonzero(slot < TROUBLE_SLOT)
    for begin in range(0, len(ordinary), CHUNK):
        wanted = np.zeros(len(slot), dtype=bool)
        wanted[ordinary[begin : begin + CHUNK]] = True
        source.copy_all(today.tables(wanted))
    _write_troubled(source, today, (slot >= TROUBLE_SLOT) & (slot < CANARY_SLOT))
    if plan.canaries:
        source.copy_all(canary_cohorts.mark(today.tables(slot >= CANARY_SLOT), plan.seed, day))
    _write_others(source, plan, day, origin)
    _write_views(source, plan, day)


def _write_troubled(source: Source, today: Today, wanted: Bools) -> None:
    planned = kinds.booking_kinds_on(today.plan, today.day)
    keys = today.bookings.key[wanted]
    ids = booking_ids(keys).tolist()
    by_id = {one: planned[slot - TROUBLE_SLOT] for one, slot in zip(ids, slots(keys).tolist(), strict=True)}
    key_of = dict(zip(ids, keys.tolist(), strict=True))
    edited, manifest = troubles.plant(today.tables(wanted), by_id, key_of, today.plan.seed, today.day)
    source.copy_all({**edited, "planted_troubles": [manifest]})


def _write_others(source: Source, plan: Plan, day: date, origin: date) -> None:
    """Write what is not about a day's bookings: clients from before, changes of clients, withdrawals, requests."""
    strangers = paperwork.strangers(plan, day, origin)
    known = source.known_clients(client_ids(strangers).tolist())
    old = paperwork.homes(plan, strangers[[one not in known for one in client_ids(strangers).tolist()]])
    changed = paperwork.homes(plan, clients.second_versions(plan, day, origin))
    source.copy_all(
        {
            "clients": [clients.first_versions(plan, old), clients.changed(plan, day, changed)],
            "terms_acceptances": [clients.terms(plan, old)],
            "consent_events": [*paperwork.consents_given(plan, old), *paperwork.consents_withdrawn(plan, day, origin)],
            "authority_requests": [paperwork.authority_requests(plan, day)],
        }
    )


def _write_views(source: Source, plan: Plan, day: date) -> None:
    if not plan.visits:
        return
    source.copy("page_views", views_of(plan, day))
    troubled, manifest = views.troubled_views(plan, day)
    extra = [troubled, *([views.canary_views(plan, day)] if plan.canaries else [])]
    source.copy_all({"page_views": extra, "planted_troubles": [manifest]})
