"""Page views: sessions of visitors, made in chunks of bounded size, each from a stream of its own."""

from __future__ import annotations

from collections.abc import Iterator
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
_VISITOR_STRIDE = 100_000_000
_RETURNING = 0.3


def views_of(plan: Plan, day: date) -> Iterator[pa.RecordBatch]:
    """Return a day's ordinary page views, chunk by chunk."""
    total = plan.visits_on(day)
    chunks = -(-total // CHUNK)
    for chunk in range(chunks):
        count = min(CHUNK, total - chunk * CHUNK)
        rng = np.random.default_rng([plan.seed, day.toordinal(), _TABLE, chunk])
        yield _chunk(plan, day, rng, chunk * CHUNK, count, (chunk * CHUNK / total, (chunk * CHUNK + count) / total))


def _chunk(
    plan: Plan, day: date, rng: np.random.Generator, first: int, count: int, share: tuple[float, float]
) -> pa.RecordBatch:
    who, session, start, number = _sessions(plan, day, rng, count, share)
    return view_rows(
        plan, day, rng, who, session, start, days.number(day) * VIEW_STRIDE + first + np.arange(count), number
    )


def _sessions(
    plan: Plan, day: date, rng: np.random.Generator, count: int, share: tuple[float, float]
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return visitor keys and starts of sessions, and for each view its session and its number in it."""
    lengths = rng.geometric(0.24, size=count // 4 + 64)
    while lengths.sum() < count:
        lengths = np.concatenate([lengths, rng.geometric(0.24, size=64)])
    sessions = int(np.searchsorted(np.cumsum(lengths), count)) + 1
    session = np.repeat(np.arange(sessions, dtype=np.int64), lengths[:sessions])[:count]
    number = np.arange(count, dtype=np.int64) - np.searchsorted(session, session)
    low, high = share
    start = days.instants(day, np.sort(low + (high - low) * rng.random(sessions)), days.VISIT_HOURS)
    back = np.where(rng.random(sessions) < _RETURNING, 1 + rng.exponential(3.0, sessions).astype(np.int64), 0)
    # The visitors of a day are numbered like its sessions; one who returns is a visitor of an earlier day, or of today.
    today = int(low * plan.visits_on(day) / 4) + np.arange(sessions)
    earlier = (rng.random(sessions) ** 1.5 * (plan.visits_on(day) / 4.4)).astype(np.int64)
    visitor = (days.number(day) - np.maximum(back - 1, 0)) * _VISITOR_STRIDE + np.where(back > 0, earlier, today)
    return visitor, session, start, number


def view_rows(
    plan: Plan,
    day: date,
    rng: np.random.Generator,
    visitor: Ints,
    session: Ints,
    start: Ints,
    view_id: Ints,
    number: Ints,
) -> pa.RecordBatch:
    """Return page views: `visitor` and `start` by session; `session`, `view_id` and `number` by view."""
    who = visitors(plan.draws("visitors"), visitor)
    count = len(session)
    duration = np.clip(rng.lognormal(10.0, 1.1, count), 400, 3_600_000).astype(np.int64)
    recorded, viewed = _times(day, rng, who, session, start, number, duration)
    at = pa.array(session)
    device = who.device[session]
    session_id = joined(hexadecimal(rng.integers(0, 2**63, len(visitor)).astype(np.uint64)))
    without_session = (who.device == pages.BOT) | (rng.random(len(visitor)) < 0.02)
    session_id = pc.if_else(pa.array(without_session), pa.scalar(None, type=pa.string()), session_id)
    north, east, lost = _points(rng, who, session)
    agent = pa.array(who.agent)
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
            "url": _urls(rng, number, device),
            "referrer": _referrers(rng, number, device),
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


def _times(
    day: date, rng: np.random.Generator, who: Visitors, session: Ints, start: Ints, number: Ints, duration: Ints
) -> tuple[Ints, Ints]:
    """Return when each view is recorded and when it was made: seconds before, in the app sometimes hours."""
    run = np.cumsum(duration)
    opening = (run - duration)[number == 0]
    offset = (run - duration - opening[session]) * 1000
    begin, end = days.bounds(day)
    recorded = np.clip(start[session] + offset, begin, end - 1)
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
