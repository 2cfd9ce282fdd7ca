"""Requests of an access log as page views: in the order of their own times, completed by what a log lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.sample import days, pages, people, visitors
from governance.sample.access_log import Requests
from governance.sample.draws import Bools, Ints
from governance.sample.plan import VIEW_STRIDE, Plan
from governance.sample.replay import shares
from governance.sample.tables import batch, instant_column
from governance.sample.text import hexadecimal

CHUNK = 100_000
_PAUSE = 30 * days.MINUTE  # a longer one ends a session
_BOT = re.compile(r"bot|crawl|spider|slurp|feed|https?:|curl|wget|python|java/|ruby|perl|libwww", re.IGNORECASE)
_MOBILE = re.compile(r"iPhone|iPad|iPod|Android|Mobile|Windows Phone|BlackBerry|Opera Mini")


@dataclass(frozen=True)
class _Order:
    """Requests in the order of their times: which, by whom, of which session, how long until the visitor's next."""

    row: Ints
    visitor: Ints
    known: Bools  # the visitor has a user agent to be told by
    session: Ints  # the instant of the session's first request
    pause: Ints  # microseconds until the next request of the session; -1: it was the last


@dataclass(frozen=True)
class _Recorded:
    view_id: Ints
    at: Ints


def page_views(plan: Plan, file: Requests, recording: list[date]) -> Iterator[tuple[date, pa.RecordBatch]]:
    """Return page views day by day, in chunks."""
    order = _ordered(file)
    number, place, recorded = shares(len(order.row), recording, days.VISIT_HOURS)
    for day in recording:
        here = np.flatnonzero(number == days.number(day))
        for begin in range(0, len(here), CHUNK):
            part = here[begin : begin + CHUNK]
            times = _Recorded((number * VIEW_STRIDE + place)[part], recorded[part])
            yield day, _rows(plan, file, order, part, times)


def _visitor_keys(file: Requests) -> tuple[Ints, Bools]:
    seen: dict[tuple[str | None, str | None], int] = {}
    keys = np.empty(len(file.at), dtype=np.int64)
    for row, pair in enumerate(zip(file.address, file.agent, strict=True)):
        if pair not in seen:
            digest = blake2b(f"{pair[0]}\n{pair[1]}".encode(), digest_size=7).digest()
            seen[pair] = int.from_bytes(digest, "big")
        keys[row] = seen[pair]
    return keys, np.array([agent is not None for agent in file.agent], dtype=bool)


def _ordered(file: Requests) -> _Order:
    keys, known = _visitor_keys(file)
    row = np.argsort(file.at, kind="stable")
    at, visitor = file.at[row], keys[row]
    by_visitor = np.lexsort((at, visitor))
    gap = np.diff(at[by_visitor], append=0)
    ends = np.append(visitor[by_visitor][1:] != visitor[by_visitor][:-1], True) if len(row) else np.empty(0, dtype=bool)
    ends |= gap > _PAUSE
    begins = np.append(True, ends[:-1])[: len(row)]
    opening = at[by_visitor][np.maximum.accumulate(np.where(begins, np.arange(len(row)), 0))]
    session, pause = np.empty(len(row), dtype=np.int64), np.empty(len(row), dtype=np.int64)
    session[by_visitor], pause[by_visitor] = opening, np.where(ends, -1, gap)
    return _Order(row, visitor, known[row], session, pause)


def _rows(plan: Plan, file: Requests, order: _Order, part: Ints, times: _Recorded) -> pa.RecordBatch:
    draws, who, row = plan.draws("visitors"), order.visitor[part], order.row[part]
    agent = [file.agent[place] for place in row.tolist()]
    bot = np.array([text is not None and _BOT.search(text) is not None for text in agent], dtype=bool)
    mobile = np.array([text is not None and _MOBILE.search(text) is not None for text in agent], dtype=bool) & ~bot
    country = people.countries(draws, who)
    in_app = mobile & (draws.uniform("app", who) < 0.5)
    north, east = visitors.coordinates(draws, who, country)
    settings, _ = pages.settings()
    read = np.exp(10.0 + 1.1 * draws.normal("duration", times.view_id))
    pause = order.pause[part] // 1000
    session = hexadecimal(draws.bits("session", order.visitor[part] ^ order.session[part]))
    choice = draws.below("settings", who, len(settings))
    located = in_app & (draws.uniform("location", who) < 0.6)
    return batch(
        "page_views",
        {
            "view_id": times.view_id,
            "viewed_at": instant_column(file.at[row]),
            "recorded_at": instant_column(times.at),
            "duration_ms": np.where(pause >= 0, pause, np.clip(read, 400, 3_600_000)).astype(np.int64),
            "ip": [file.address[place] for place in row.tolist()],
            "user_agent": agent,
            "app_version": None,
            "language": visitors.languages(draws, who, country, bot | ~order.known[part]),
            "url": [file.url[place] for place in row.tolist()],
            "referrer": [file.referrer[place] for place in row.tolist()],
            "session_id": pc.if_else(pa.array(order.known[part]), session, pa.scalar(None, pa.string())),
            "first_party_cookie_id": None,
            "third_party_cookie_id": None,
            "gpc": None,
            "device_id": visitors.device_ids(draws, who, ~in_app),
            "device_settings": settings.take(pa.array(choice, mask=~in_app)),
            "latitude": pa.array(north, mask=~located),
            "longitude": pa.array(east, mask=~located),
        },
    )
