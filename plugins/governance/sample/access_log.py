"""Requests in Combined Log Format (Apache HTTP Server, mod_log_config), read as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path

import numpy as np

from governance.sample.draws import Ints
from governance.sample.files import spaced
from governance.sample.inputs import MalformedLineError, Tally, lines, text_of

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(rf"(\S+) \S+ [^\[]*\[([^\]]*)\] {_QUOTED} (?:\d{{3}}|-) (?:\d+|-) {_QUOTED} {_QUOTED}\s*")
_INSTANT = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})")
_MONTHS = {name: place for place, name in enumerate(spaced("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"), 1)}
_EARLIEST, _LATEST = datetime(1996, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Requests:
    """One entry per good line, in the order of the file; what the log writes as `-` is None."""

    at: Ints
    address: list[str | None]
    url: list[str | None]
    referrer: list[str | None]
    agent: list[str | None]
    tally: Tally


def read(path: Path) -> Requests:
    """Return the requests of a file. Raises InputError when it cannot be read or is empty."""
    tally, good = Tally(), []
    for line in lines(path):
        tally.read += 1
        try:
            good.append(_parsed(text_of(line)))
        except MalformedLineError as reason:
            tally.malformed[str(reason)] += 1
    return Requests(
        at=np.array([row[0] for row in good], dtype=np.int64),
        address=[row[1] for row in good],
        url=[row[2] for row in good],
        referrer=[row[3] for row in good],
        agent=[row[4] for row in good],
        tally=tally,
    )


def _parsed(text: str) -> tuple[int, str | None, str | None, str | None, str | None]:
    match = _LINE.fullmatch(text)
    if match is None:
        raise MalformedLineError("not combined log format")
    address, at, request, referrer, agent = match.groups()
    parts = request.split(" ")
    url = parts[1] if len(parts) > 1 else request
    return _instant(at), _given(address), _given(url), _given(referrer), _given(agent)


def _given(text: str) -> str | None:
    return None if text in ("", "-") else text


@lru_cache(maxsize=4096)
def _instant(text: str) -> int:
    """Return microseconds since 1970 of a time as [17/May/2015:10:05:03 +0000] has it."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise MalformedLineError("bad timestamp")
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    try:
        time = (int(hour), int(minute), int(second))
        at = datetime(int(year), _MONTHS[month], int(day), *time, tzinfo=timezone(offset))
        inside = _EARLIEST <= at <= _LATEST
    except (KeyError, ValueError, OverflowError) as error:
        raise MalformedLineError("bad timestamp") from error
    if not inside:
        raise MalformedLineError("bad timestamp")
    return (at - _EPOCH) // timedelta(microseconds=1)
