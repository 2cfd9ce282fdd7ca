"""Page views: sessions of visitors, made in chunks of bounded size, each from a stream of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.sample import days, pages
from governance.sample.draws import Bools, Floats, Ints, pick
from governance.sample.files import spaced, words
from governance.sample.plan import VIEW_STRIDE, Plan
from governance.sample.tables import batch, instant_column
from governance.sample.text import hexadecimal, joined
from governance.sample.visitors import Visitors, visitors

CHUNK = 100_000
_TABLE = 7  # tells this table's streams from any other's
_RETURNING = 0.42


@dataclass(frozen=True)
class Sessions:
    """Who comes when (by session), and which session a view belongs to, with its number in it (by view)."""

    visitor: Ints
    start: Ints
    session: Ints
    number: Ints


def views_of(plan: Plan, day: date) -> Iterator[pa.RecordBatch]:
    """Return a day's ordinary page views, chunk by chunk."""
    total = plan.visits_on(day)
    for chunk, first in enumerate(range(0, total, CHUNK)):
        count = min(CHUNK, total - first)
        rng = np.random.default_rng([plan.seed, day.toordinal(), _TABLE, chunk])
        sessions = _sessions(day, rng, total, first, count)
        yield view_rows(plan, day, rng, sessions, days.number(day) * VIEW_STRIDE + first + np.arange(count))


def _sessions(day: date, rng: np.random.Generator, total: int, first: int, count: int) -> Sessions:
    """Return sessions with `count` views, in that part of the day in which these views of its `total` lie."""
    lengths = rng.geometric(0.24, size=count // 4 + 64)
    while lengths.sum() < count:
        lengths = np.concatenate([lengths, rng.geometric(0.24, size=64)])
    sessions = int(np.searchsorted(np.cumsum(lengths), count)) + 1
    session = np.repeat(np.arange(sessions, dtype=np.int64), lengths[:sessions])[:count]
    low, high = first / total, (first + count) / total
    start = days.instants(day, np.sort(low + (high - low) * rng.random(sessions)), days.VISIT_HOURS)
    back = np.where(rng.random(sessions) < _RETURNING, 1 + rng.exponential(2.0, sessions).astype(np.int64), 0)
    # The visitors of a day are numbered like its sessions; one who returns is a visitor of an earlier day, or of today.
    today = first // 4 + np.arange(sessions)
    earlier = (rng.random(sessions) ** 1.5 * (total / 4.4)).astype(np.int64)
    visitor = (days.number(day) - np.maximum(back - 1, 0)) * VIEW_STRIDE + np.where(back > 0, earlier, today)
    return Sessions(visitor, start, session, np.arange(count, dtype=np.int64) - np.searchsorted(session, session))


def view_rows(plan: Plan, day: date, rng: np.random.Generator, of: Sessions, view_id: Ints) -> pa.RecordBatch:
    """Return the page views of sessions."""
    who = visitors(plan.draws("visitors"), of.visitor)
    duration = np.clip(rng.lognormal(10.0, 1.1, len(view_id)), 400, 3_600_000).astype(np.int64)
    recorded, viewed = _times(day, rng, who, of, duration)
    at, agent, device = pa.array(of.session), pa.array(who.agent), who.device[of.session]
    session_id = hexadecimal(rng.integers(0, 2**63, len(of.visitor)).astype(np.uint64))
    without_session = (who.device == pages.BOT) | (rng.random(len(of.visitor)) < 0.02)
    session_id = pc.if_else(pa.array(without_session), pa.scalar(None, type=pa.string()), session_id)
    north, east, lost = _points(rng, who, of.session)
    return batch(
        "page_views",
        {
            "view_id": view_id,
            "viewed_at": instant_column(viewed),
            "recorded_at": instant_column(recorded),
            "duration_ms": duration,
            "ip": who.ip.take(at),
            "user_agent": pages.agents().texts.take(agent).take(at),
            "app_version": pages.agents().app_version.take(agent).take(at),
            "language": who.language.take(at),
            "url": _urls(rng, of.number, device),
            "referrer": _referrers(rng, of.number, device),
            "session_id": session_id.take(at),
            "first_party_cookie_id": who.first_cookie.take(at),
            "third_party_cookie_id": who.third_cookie.take(at),
            "gpc": who.gpc.take(at),
            "device_id": who.device_id.take(at),
            "device_settings": who.settings.take(at),
            "latitude": pa.array(north, mask=lost),
            "longitude": pa.array(east, mask=lost),
        },
    )


def _times(day: date, rng: np.random.Generator, who: Visitors, of: Sessions, duration: Ints) -> tuple[Ints, Ints]:
    """Return when each view is recorded and when it was made: seconds before, in the app sometimes hours."""
    session = of.session
    run = np.cumsum(duration)
    opening = (run - duration)[of.number == 0]
    offset = (run - duration - opening[session]) * 1000
    begin, end = days.bounds(day)
    recorded = np.clip(of.start[session] + offset, begin, end - 1)
    seconds = 1 + rng.exponential(4.0, len(session))
    offline = (who.device[session] == pages.APP) & (rng.random(len(session)) < 0.02)
    latency = np.where(offline, rng.exponential(3.0, len(session)) * days.HOUR, seconds * days.SECOND)
    return recorded, recorded - latency.astype(np.int64) - 1


def _points(rng: np.random.Generator, who: Visitors, session: Ints) -> tuple[Floats, Floats, Bools]:
    """Return coordinates of each view, within some hundred metres of the visitor's place, and where there are none."""
    lost = ~who.shares_location[session]
    shift = rng.normal(0.0, 0.001, (2, len(session)))
    return np.round(who.latitude[session] + shift[0], 6), np.round(who.longitude[session] + shift[1], 6), lost


def _urls(rng: np.random.Generator, number: Ints, device: Ints) -> pa.Array:
    site, (queries, searches) = pages.pages(), pages.queries()
    uniform = rng.random(len(number))
    page = np.where(number == 0, pick(uniform, site.first), pick(uniform, site.shares))
    search = np.asarray(site.is_search)[page]
    campaign = (number == 0) & (device != pages.BOT) & (rng.random(len(number)) < 0.3)
    which = np.where(search, rng.integers(0, searches, len(number)), rng.integers(searches, len(queries), len(number)))
    query = queries.take(pa.array(which, mask=~(search | campaign))).fill_null("")
    return joined(site.paths.take(pa.array(page)), query)


def _referrers(rng: np.random.Generator, number: Ints, device: Ints) -> pa.Array:
    pool = pa.array(spaced(words("web")["referrers"]))
    has = (number == 0) & (device != pages.APP) & (device != pages.BOT) & (rng.random(len(number)) < 0.6)
    return pool.take(pa.array(rng.integers(0, len(pool), len(number)), mask=~has))
