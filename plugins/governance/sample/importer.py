"""Filling the source with real history: the public hotel bookings and an access log, completed by synthetic people."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from governance.errors import InputError
from governance.sample import access_log as log
from governance.sample import (
    catalogue,
    clients,
    days,
    hotel,
    inputs,
    kinds,
    paperwork,
    party,
    render,
    replay,
    troubles,
    view_troubles,
)
from governance.sample import requests as requested
from governance.sample.bookings import Bookings
from governance.sample.draws import Bools, Ints
from governance.sample.load import Loaded, Progress, Source, quiet, refuse_other, state, writing
from governance.sample.plan import (
    EDITION,
    TROUBLE_SLOT,
    TROUBLE_VIEW_SLOT,
    Plan,
    booking_ids,
    day_numbers,
    days_between,
)
from governance.sample.replay import History
from governance.sample.tables import Tables
from governance.sample.versions import Feed

RECORDING_DAYS = 7
_ORIGIN = "imported"
_MOST_PLANTED = 0.02  # of a day's bookings
_VIEWS_PER_KIND = 2


def import_files(  # noqa: PLR0913  (each is a thing one asks for)
    dsn: str,
    *,
    bookings_csv: Path,
    access_log: Path,
    seed: int,
    until: date,
    now: datetime,
    progress: Progress = quiet,
) -> Loaded:
    """Replay both files over the seven recording days that end at `until`; a source that holds them stays as it is.

    Malformed lines are counted by file and reason. Raises InputError when a file cannot be read, is empty, cut off,
    or lacks a column, when `until` is not over yet at `now`, or when the source holds anything else; nothing is
    written then.
    """
    if until >= now.astimezone(days.STOCKHOLM).date():
        raise InputError(f"The day {until} is not over in Stockholm: give an earlier --until.")
    asked = {
        "edition": EDITION,
        "seed": seed,
        "bookings_sha256": inputs.digest(bookings_csv),
        "access_log_sha256": inputs.digest(access_log),
    }
    with writing(dsn) as source:
        earlier = source.earlier()
        refuse_other(earlier, _ORIGIN, asked)
        if earlier:
            told = {name: earlier[0].counts[name] for name in ("malformed", "lines_read")}
            return state(earlier, source, _ORIGIN, (earlier[0].first_day, earlier[-1].last_day), told)
        recording = days_between(until - timedelta(days=RECORDING_DAYS - 1), until)
        booked, requests = hotel.read(bookings_csv), log.read(access_log)
        plan = _plan(seed, booked, requests, recording)
        _write(source, plan, booked, requests, progress)
        told = _told({"bookings": booked.tally, "access_log": requests.tally})
        source.book(_ORIGIN, asked, recording[0], until, told)
        source.analyze()
        return state(earlier, source, _ORIGIN, (recording[0], until), told)


def _plan(seed: int, booked: hotel.HotelBookings, requests: log.Requests, recording: list[date]) -> Plan:
    """Return what draws are made with. Raises InputError for more rows than seven days have keys for."""
    most = RECORDING_DAYS * TROUBLE_SLOT // 2, RECORDING_DAYS * TROUBLE_VIEW_SLOT
    if len(booked.country) >= most[0] or len(requests.at) >= most[1]:
        raise InputError(f"More than {most[0]:,} bookings or {most[1]:,} requests: give a part of the files.")
    return Plan(seed, max(len(booked.country), 1), len(requests.at), recording[0], recording[-1], canaries=False)


def _told(tallies: dict[str, inputs.Tally]) -> dict[str, Any]:
    return {
        "malformed": {name: dict(tally.malformed) for name, tally in tallies.items()},
        "lines_read": {name: tally.read for name, tally in tallies.items()},
    }


def _write(source: Source, plan: Plan, booked: hotel.HotelBookings, requests: log.Requests, progress: Progress) -> None:
    recording = days_between(plan.first, plan.last)
    source.copy("providers", [catalogue.providers(plan.seed).rows])
    history = replay.history(plan, booked, recording)
    for place, day in enumerate(recording):
        progress(day.isoformat(), place, len(recording))
        _write_bookings(source, plan, history, day)
    seen: set[date] = set()
    for day, views in requested.page_views(plan, requests, recording):
        _write_views(source, plan, views, day, first=day not in seen)
        seen.add(day)
    progress(recording[-1].isoformat(), len(recording), len(recording))


def _write_bookings(source: Source, plan: Plan, history: History, day: date) -> None:
    """Write the events that are recorded on a day, with the clients, consents and cards of the bookings among them."""
    begin, end = days.bounds(day)
    today = (history.feed.recorded_at >= begin) & (history.feed.recorded_at < end)
    if not today.any():
        return
    wanted = np.zeros(len(history.bookings.key), dtype=bool)
    wanted[history.feed.booking[today]] = True
    rows = Feed(**{f.name: getattr(history.feed, f.name)[today] for f in fields(Feed)})
    bookings, feed = render.subset(history.bookings, rows, wanted)
    who = replay.travellers(plan, bookings, history.adults[wanted], history.children[wanted], history.babies[wanted])
    fresh = day_numbers(bookings.key) == days.number(day)
    tables = _tables(plan, day, render.Part(bookings, feed, who), fresh, history.country_code.filter(pa.array(wanted)))
    candidates = fresh & _sound(history, bookings, wanted)
    wanted_kinds = _planned(plan, bookings, who, candidates, day)
    keys = dict(zip(booking_ids(bookings.key).tolist(), bookings.key.tolist(), strict=True))
    edited, manifest = troubles.plant(tables, wanted_kinds, keys, plan.seed, day)
    source.copy_all({**edited, "planted_troubles": [manifest]})


def _tables(plan: Plan, day: date, part: render.Part, fresh: Bools, code: pa.Array) -> Tables:
    made, _ = render.subset(part.bookings, part.feed, fresh)
    homes = clients.of_bookings(made, made.is_home)
    homes = clients.Clients(
        **{**vars(homes), "country_code": code.filter(pa.array(fresh)).filter(pa.array(made.is_home))}
    )
    return {
        "clients": [clients.first_versions(plan, homes)],
        "terms_acceptances": [clients.terms(plan, homes)],
        "consent_events": paperwork.consents_given(plan, homes),
        "inquiries": [paperwork.inquiries(plan, made)],
        "offers": [paperwork.offers(plan, made)],
        "subject_requests": [paperwork.subject_requests(plan, homes, day)],
        "authority_requests": [paperwork.authority_requests(plan, day)],
        **render.rows(plan, part),
    }


def _sound(history: History, bookings: Bookings, wanted: Bools) -> Bools:
    """Tell which bookings may get a trouble: sound, never cancelled, and by a client who books this once."""
    clients_of, bookings_per = np.unique(history.bookings.client_key, return_counts=True)
    once = bookings_per[np.searchsorted(clients_of, bookings.client_key)] == 1
    known = (history.children[wanted] >= 0) & (history.babies[wanted] >= 0) & (history.adults[wanted] >= 1)
    lead = (bookings.service_date - bookings.booked_date).astype(np.int64)
    plausible = (bookings.price_minor >= 0) & (bookings.price_minor <= 50_000_000) & (lead >= 0) & (lead <= 1000)
    found: Bools = once & known & plausible & bookings.has_card & ~history.is_cancelled[wanted]
    return found


def _planned(plan: Plan, bookings: Bookings, who: party.Travellers, candidates: Bools, day: date) -> dict[int, str]:
    """Return the kind of trouble of each chosen booking (by id): one of each kind, of at most one booking in fifty."""
    minors: Ints = np.bincount(who.booking[who.is_minor], minlength=len(bookings.key))
    names = [name for name in kinds.ON_COMPLETED_PARTS if name in kinds.BOOKING_KINDS]
    turn = days.number(day) * 7 % len(names)
    order = np.argsort(plan.draws("planted").bits("order", bookings.key), kind="stable")
    free = {
        True: [place for place in order.tolist() if candidates[place] and minors[place]],
        False: [place for place in order.tolist() if candidates[place] and not minors[place]],
    }
    ids, chosen = booking_ids(bookings.key).tolist(), {}
    for name in [*names[turn:], *names[:turn]][: int(_MOST_PLANTED * len(ids))]:
        places = free[name in kinds.MINOR_KINDS]
        if places:
            chosen[ids[places.pop()]] = name
    return chosen


def _write_views(source: Source, plan: Plan, views: pa.RecordBatch, day: date, *, first: bool) -> None:
    """Write page views; in the first chunk of a day a few sound ones get a trouble."""
    names = [name for name in kinds.ON_COMPLETED_PARTS if name in kinds.VISIT_KINDS] * _VIEWS_PER_KIND
    if not first or views.num_rows < 1000:
        source.copy("page_views", [views])
        return
    order = np.argsort(plan.draws("planted").bits("views", np.asarray(views.column("view_id"))), kind="stable")
    chosen = [place for place in order[:200].tolist() if _is_sound(views, place)][: len(names)]
    rows = [views.slice(place, 1).to_pylist()[0] for place in chosen]
    troubled, manifest = view_troubles.planted(rows, names[: len(rows)], day)
    kept = np.ones(views.num_rows, dtype=bool)
    kept[chosen] = False
    source.copy("page_views", [views.filter(pa.array(kept)), troubled])
    source.copy("planted_troubles", [manifest])


def _is_sound(views: pa.RecordBatch, place: int) -> bool:
    row = views.slice(place, 1).to_pylist()[0]
    return bool(row["ip"] and row["ip"][0].isdigit() and row["user_agent"] and (row["url"] or "").startswith("/"))
