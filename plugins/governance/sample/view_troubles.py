"""Page views with a planted trouble, and those of canaries: small extra batches next to a day's ordinary views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from governance.sample import canaries, cards, days
from governance.sample.draws import Draws, Ints
from governance.sample.kinds import VISIT_KINDS, view_kinds_on
from governance.sample.plan import CANARY_VIEW_SLOT, TROUBLE_VIEW_SLOT, VIEW_STRIDE, Plan
from governance.sample.tables import SCHEMAS
from governance.sample.troubles import manifest_row
from governance.sample.versions import CANARIES_PER_DAY
from governance.sample.visits import Sessions, view_rows

_TROUBLES, _CANARIES = 8, 9  # tell these streams from those of ordinary views
_VIEWS_PER_CANARY = 3

Row = dict[str, Any]


@dataclass(frozen=True)
class _Extra:
    """Page views next to a day's ordinary ones: the stream and the first slot of their own, visitors, views of each."""

    stream: int
    slot: int
    visitors: int
    each: int = 1


def _extra_views(plan: Plan, day: date, extra: _Extra) -> list[Row]:
    rng = np.random.default_rng([plan.seed, day.toordinal(), extra.stream])
    first = days.number(day) * VIEW_STRIDE + extra.slot
    place = np.arange(extra.visitors, dtype=np.int64)
    start = days.instants(day, 0.02 + 0.9 * rng.random(extra.visitors), days.VISIT_HOURS)
    number = np.tile(np.arange(extra.each, dtype=np.int64), extra.visitors)
    sessions = Sessions(first + place, start, np.repeat(place, extra.each), number)
    rows: list[Row] = view_rows(plan, day, rng, sessions, first + np.arange(len(number))).to_pylist()
    return rows


def _address_malformed(row: Row, turn: int, key: Ints) -> None:
    row["session_id"] = row["session_id"] or f"{int(key[0]):016x}"  # the visitor stays known without an address
    row["ip"] = ("10.20.30", "300.1.2.3", None, "unknown", "2001:db8:::1")[turn % 5]


def _instant_unknown(row: Row, turn: int, key: Ints) -> None:
    row["viewed_at"] = None


def _instant_in_future(row: Row, turn: int, key: Ints) -> None:
    """Every third one is of the clock that starts in 1970."""
    early = row["viewed_at"].replace(year=1970, month=1, day=1)
    row["viewed_at"] = (row["recorded_at"] + timedelta(hours=3), row["recorded_at"] + timedelta(days=400), early)[
        turn % 3
    ]


def _duration_implausible(row: Row, turn: int, key: Ints) -> None:
    row["duration_ms"] = (-row["duration_ms"], 86_400_001 + row["duration_ms"])[turn % 2]


def _path_malformed(row: Row, turn: int, key: Ints) -> None:
    row["url"] = (None, "", "search?q=lasik", "https://example.com/search")[turn % 4]


def _coordinates_implausible(row: Row, turn: int, key: Ints) -> None:
    nan = float("nan")
    row["latitude"], row["longitude"] = ((123.4, 18.1), (59.3, 999.0), (59.3, None), (nan, 18.1), (None, 18.1))[
        turn % 5
    ]


def _card_number_in_path(row: Row, turn: int, key: Ints) -> None:
    number = cards.numbers(Draws(0, "cards in paths"), key)[0].as_py()
    row["url"] = f"/booking/payment/{number}"


def _visitor_unknown(row: Row, turn: int, key: Ints) -> None:
    row["user_agent"] = row["session_id"] = row["device_id"] = row["device_settings"] = row["app_version"] = None


def _view_duplicate(row: Row, turn: int, key: Ints) -> None:
    """The row itself stays; it is written twice (see `troubled_views`)."""


PLANTERS: dict[str, Callable[[Row, int, Ints], None]] = {name: globals()[f"_{name}"] for name in VISIT_KINDS}


def troubled_views(plan: Plan, day: date) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return a day's page views with planted troubles, and their manifest."""
    planned = view_kinds_on(plan, day)
    rows = _extra_views(plan, day, _Extra(_TROUBLES, TROUBLE_VIEW_SLOT, len(planned)))
    return planted(rows, planned, day)


def planted(rows: list[Row], kinds: list[str], day: date) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return the rows with one trouble of the given kind each, and their manifest."""
    manifest, doubled = [], []
    turns: dict[str, int] = {}
    for row, name in zip(rows, kinds, strict=True):
        turn = days.number(day) + turns.setdefault(name, 0)
        turns[name] += 1
        PLANTERS[name](row, turn, np.array([row["view_id"] % 100_000 + days.number(day) * 1_000_000], dtype=np.int64))
        if name == "view_duplicate":
            doubled.append(row)
        manifest.append(manifest_row(VISIT_KINDS[name], day, str(row["view_id"])))
    return (
        pa.RecordBatch.from_pylist([*rows, *doubled], SCHEMAS["page_views"]),
        pa.RecordBatch.from_pylist(manifest, SCHEMAS["planted_troubles"]),
    )


def canary_views(plan: Plan, day: date) -> pa.RecordBatch:
    """Return three page views in the app for every canary of a day."""
    rows = _extra_views(plan, day, _Extra(_CANARIES, CANARY_VIEW_SLOT, CANARIES_PER_DAY, _VIEWS_PER_CANARY))
    for place, row in enumerate(rows):
        number = place // _VIEWS_PER_CANARY
        marks = {
            field: form.format(t=canaries.token(plan.seed, day, number, field)) for field, form in canaries.VIEW_FIELDS
        }
        query = marks.pop("url_query")
        row.update(marks)
        row.update(language=("sv-SE", "nb-NO")[number % 2], app_version="7.4.1", gpc=None)
        row.update(url=f"/account/bookings?session={query}", ip=canaries.address(day, number))
        row.update(latitude=(59.331, 59.911)[number % 2], longitude=(18.061, 10.751)[number % 2])
    return pa.RecordBatch.from_pylist(rows, SCHEMAS["page_views"])
