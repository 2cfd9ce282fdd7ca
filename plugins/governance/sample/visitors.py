"""Visitors and their devices, drawn by the visitor's key: the same visitor looks the same on every visit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.sample import pages, people
from governance.sample.draws import Bools, Draws, Floats, Ints
from governance.sample.files import words
from governance.sample.tables import taken
from governance.sample.text import hexadecimal, joined

_OCTETS = [str(n) for n in range(256)]


@dataclass(frozen=True)
class Visitors:
    """One entry per visitor; texts as Arrow arrays."""

    device: Ints  # place in `pages.CLASSES`
    agent: Ints  # place in `pages.agents().texts`
    language: pa.Array
    ip: pa.Array
    device_id: pa.Array  # the app's only
    settings: pa.Array  # the app's only
    shares_location: Bools
    latitude: Floats
    longitude: Floats
    first_cookie: pa.Array
    third_cookie: pa.Array
    gpc: pa.Array


@lru_cache(maxsize=1)
def _cities() -> tuple[Floats, Ints, Ints]:
    """Return latitudes and longitudes of all cities, and per country the first of its cities in a list and how many."""
    source = words("people")
    places = [
        (source["cities"][city], count) for c in source["countries"].values() for city, count in c["cities"].items()
    ]
    sizes = np.array([len(country["cities"]) for country in source["countries"].values()])
    return np.array([at for at, _ in places], dtype=float), np.cumsum(sizes) - sizes, sizes


def visitors(draws: Draws, keys: Ints) -> Visitors:
    """Return what each visitor's requests look like."""
    device = draws.choice("class", keys, words("web")["classes"].values())
    country = people.countries(draws, keys)
    agent = pages.agent_of(device, draws.uniform("agent", keys))
    is_app, is_bot = device == pages.APP, device == pages.BOT
    first_party = ~is_app & ~is_bot & (draws.uniform("cookie/1", keys) < 0.9)
    third_party = first_party & (draws.uniform("cookie/3", keys) < 0.4)
    browses = ~is_app & ~is_bot
    gpc = pa.array(draws.uniform("gpc", keys) < 0.07, mask=~browses)
    latitude, longitude = coordinates(draws, keys, country)
    return Visitors(
        device=device,
        agent=agent,
        language=languages(draws, keys, country, is_bot),
        ip=addresses(draws, keys),
        device_id=device_ids(draws, keys, ~is_app),
        settings=device_settings(draws, keys, agent, ~is_app),
        shares_location=(is_app & (draws.uniform("location", keys) < 0.55))
        | ((device == pages.MOBILE) & (draws.uniform("location", keys) < 0.12)),
        latitude=latitude,
        longitude=longitude,
        first_cookie=_where(first_party, joined("fp.", hexadecimal(draws.bits("cookie/1", keys)))),
        third_cookie=_where(third_party, joined("tp.", hexadecimal(draws.bits("cookie/3", keys)))),
        gpc=gpc,
    )


def _where(wanted: Bools, values: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(wanted), values, pa.scalar(None, type=pa.string()))


def languages(draws: Draws, keys: Ints, country: Ints, absent: Bools) -> pa.Array:
    """Return the language of each visitor, one in twenty-five without its region; NULL where absent."""
    locales = people.atlas().locales
    pool: list[str | None] = [*locales, *(locale.split("-")[0] for locale in locales)]
    index = people.locales(draws, keys, country) + len(locales) * (draws.uniform("region", keys) < 0.04)
    return taken(pool, index, absent)


def coordinates(draws: Draws, keys: Ints, country: Ints) -> tuple[Floats, Floats]:
    """Return a point within some ten kilometres of a city of each country; its first city has half the visitors."""
    points, first, sizes = _cities()
    place = np.minimum((draws.uniform("city", keys) ** 2 * sizes[country]).astype(np.int64), sizes[country] - 1)
    at = points[first[country] + place]
    return (
        np.round(at[:, 0] + 0.05 * draws.normal("north", keys), 6),
        np.round(at[:, 1] + 0.08 * draws.normal("east", keys), 6),
    )


def addresses(draws: Draws, keys: Ints) -> pa.Array:
    """Return an IP address per visitor: IPv4 of ranges that no host on the internet has, or IPv6 kept for
    documentation.
    """
    bits = draws.bits("address", keys).astype(np.int64) & 0x7FFFFFFFFFFF
    bench = bits % 37 == 0
    first = np.where(bench, 198, 100)
    second = np.where(bench, 18, 64 + (bits >> 8) % 64)
    octets = [taken(list(_OCTETS), octet) for octet in (first, second, (bits >> 16) % 256, 1 + (bits >> 24) % 254)]
    four = pc.binary_join_element_wise(*octets, ".")
    sixth = pc.if_else(
        pa.array(draws.uniform("six", keys) < 0.17),
        joined("2001:db8:", pc.utf8_slice_codeunits(hexadecimal(bits.astype(np.uint64)), 8, 12), "::", _group(bits)),
        four,
    )
    return sixth


def _group(bits: Ints) -> pa.Array:
    return pc.utf8_slice_codeunits(hexadecimal((bits % 60_000 + 4096).astype(np.uint64)), 12, 16)


def device_ids(draws: Draws, keys: Ints, absent: Bools) -> pa.Array:
    """Return the app's identifier of each device in the form of a UUID; NULL where absent."""
    one, two = hexadecimal(draws.bits("device/1", keys)), hexadecimal(draws.bits("device/2", keys))
    parts = [pc.utf8_slice_codeunits(text, *span) for text, span in ((one, (0, 8)), (one, (8, 12)), (one, (12, 16)))]
    parts += [pc.utf8_slice_codeunits(two, 0, 4), pc.utf8_slice_codeunits(two, 4, 16)]
    return _where(~absent, pc.ascii_upper(pc.binary_join_element_wise(*parts, "-")))


def device_settings(draws: Draws, keys: Ints, agent: Ints, absent: Bools) -> pa.Array:
    """Return the settings of each device as JSON; NULL where absent."""
    pool, of_ios = pages.settings()
    ios = np.asarray(pages.agents().is_ios)[agent]
    uniform = draws.uniform("settings", keys)
    index = np.where(ios, uniform * of_ios, of_ios + uniform * (len(pool) - of_ios)).astype(np.int64)
    return taken(pool, index, absent)
