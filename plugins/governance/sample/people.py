"""Names, addresses and birth dates of people who do not exist, in bulk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from governance.sample import days
from governance.sample.draws import Dates, Draws, Floats, Ints
from governance.sample.files import spaced, words
from governance.sample.tables import taken
from governance.sample.text import LOWER_AND_DIGITS, coded, decimal, joined, patterned, plain

UNKNOWN_COUNTRY = "??"


@dataclass(frozen=True)
class Atlas:
    """The word lists of `data/people.yaml` as arrays; a country is its place in `codes`."""

    codes: list[str]
    shares: list[float]
    currencies: list[str]
    locales: list[str]
    locale_edges: Floats  # country x choice, rising to 1
    locale_index: Ints  # country x choice
    pool_edges: Floats
    pool_index: Ints
    given: list[str]
    given_start: Ints  # pool x (female, male)
    given_count: Ints
    family: list[str]
    family_start: Ints
    family_count: Ints


def _edges(choices: list[dict[str, float]], names: list[str]) -> tuple[Floats, Ints]:
    width = max(len(choice) for choice in choices)
    edges = np.full((len(choices), width), 2.0)
    index = np.zeros((len(choices), width), dtype=np.int64)
    for row, choice in enumerate(choices):
        share = np.cumsum(list(choice.values()))
        edges[row, : len(choice) - 1] = share[:-1] / share[-1]
        index[row, : len(choice)] = [names.index(name) for name in choice]
    return edges, index


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Return the word lists as arrays."""
    source = words("people")
    countries, pools = source["countries"], source["pools"]
    locales = sorted({locale for country in countries.values() for locale in country["locales"]})
    locale_edges, locale_index = _edges([c["locales"] for c in countries.values()], locales)
    pool_edges, pool_index = _edges([c["pools"] for c in countries.values()], list(pools))
    given = [[spaced(pool[sex]) for sex in ("female", "male")] for pool in pools.values()]
    family = [spaced(pool["family"]) for pool in pools.values()]
    given_count = np.array([[len(names) for names in pair] for pair in given], dtype=np.int64)
    family_count = np.array([len(names) for names in family], dtype=np.int64)
    return Atlas(
        codes=list(countries),
        shares=[float(c["share"]) for c in countries.values()],
        currencies=[c["currency"] for c in countries.values()],
        locales=locales,
        locale_edges=locale_edges,
        locale_index=locale_index,
        pool_edges=pool_edges,
        pool_index=pool_index,
        given=[name for pair in given for names in pair for name in names],
        given_start=(np.cumsum(given_count) - given_count.ravel()).reshape(given_count.shape),
        given_count=given_count,
        family=[name for names in family for name in names],
        family_start=np.cumsum(family_count) - family_count,
        family_count=family_count,
    )


def _chosen(edges: Floats, index: Ints, country: Ints, uniform: Floats) -> Ints:
    choice = (uniform[:, None] >= edges[country]).sum(axis=1)
    return np.asarray(index[country, choice], dtype=np.int64)


def countries(draws: Draws, keys: Ints) -> Ints:
    """Return the country of each client."""
    return draws.choice("country", keys, atlas().shares)


def locales(draws: Draws, keys: Ints, country: Ints) -> Ints:
    """Return the locale of each key as an index into `atlas().locales`."""
    return _chosen(atlas().locale_edges, atlas().locale_index, country, draws.uniform("locale", keys))


@dataclass(frozen=True)
class Names:
    """Given and family names as indices into the atlas, and the pool they come from."""

    pool: Ints
    given: Ints
    family: Ints


def names(draws: Draws, keys: Ints, country: Ints) -> Names:
    """Return a name for each key, in a language that its country speaks."""
    a = atlas()
    pool = _chosen(a.pool_edges, a.pool_index, country, draws.uniform("pool", keys))
    sex = draws.below("sex", keys, 2)
    given = a.given_start[pool, sex] + draws.below("given", keys, a.given_count[pool, sex])
    family = a.family_start[pool] + draws.below("family", keys, a.family_count[pool])
    return Names(pool, given, family)


@lru_cache(maxsize=1)
def _plain_names() -> tuple[pa.Array, pa.Array]:
    return pa.array([plain(n) for n in atlas().given]), pa.array([plain(n) for n in atlas().family])


def emails(draws: Draws, keys: Ints, who: Names, ending: Ints) -> pa.Array:
    """Return an address per key at a domain kept for examples (RFC 2606); `ending` makes it unique."""
    given, family = _plain_names()
    domains = ["@example.com", "@example.org", "@example.net"]
    domain = taken(list(domains), draws.choice("domain", keys, (6, 3, 1)))
    return joined(
        taken(given, who.given), ".", taken(family, who.family), ".", coded(ending, LOWER_AND_DIGITS, 7), domain
    )


def phones(draws: Draws, keys: Ints, country: Ints) -> pa.Array:
    """Return an E.164 number per key, from ranges that regulators keep for fiction; North American ones where none
    is.
    """
    ranges = [c["phone"] for c in words("people")["countries"].values()]
    start = np.array([int(first[1:]) if first else 0 for first, _ in ranges], dtype=np.int64)[country]
    count = np.array([many or 1 for _, many in ranges], dtype=np.int64)[country]
    area = 201 + draws.below("phone/area", keys, 780)
    american = 10_000_000_000 + area * 10_000_000 + 5_550_100 + draws.below("phone/line", keys, 100)
    number = np.where(start > 0, start + draws.below("phone", keys, count), american)
    return joined("+", decimal(number))


def postcodes(draws: Draws, keys: Ints, country: Ints) -> pa.Array:
    """Return a postcode per key in the form of its country."""
    patterns = [c["postcode"] for c in words("people")["countries"].values()]
    bits = draws.bits("postcode", keys)
    made: NDArray[np.object_] = np.empty(len(keys), dtype=object)
    for place in np.unique(country):
        here = country == place
        made[here] = patterned(patterns[place], bits[here]).to_pylist()
    return pa.array(made, type=pa.string())


def skypes(draws: Draws, keys: Ints, who: Names) -> pa.Array:
    """Return a Skype name for one key in eight, else NULL."""
    given, family = _plain_names()
    without = draws.uniform("skype", keys) >= 0.12
    return joined("live:", taken(given, who.given, without), ".", taken(family, who.family), "_", decimal(keys % 977))


def adult_births(draws: Draws, keys: Ints, reference: Dates, least: int = 18) -> Dates:
    """Return birth dates of people who are at least `least` years old a week before the reference date.

    Ages are a mixture as clinics see it, 18 to 93. One in three hundred is born on 29 February.
    """
    age = np.where(
        draws.uniform("age/young", keys) < 0.3,
        31 + 7 * draws.normal("age/a", keys),
        54 + 14 * draws.normal("age/b", keys),
    )
    in_days = (np.clip(age, least, 93) - least) * 365.25 + 365 * draws.uniform("age/day", keys)
    born = days.years_before(reference - np.timedelta64(7, "D"), least) - in_days.astype(np.int64).astype("m8[D]")
    year = born.astype("M8[Y]").astype(np.int64) + 1970
    leap = year - np.where(year % 4 == 0, 4, year % 4)
    leap_day = (np.char.add(leap.astype("U4"), "-02-29")).astype("M8[D]")
    found: Dates = np.where((draws.uniform("leap", keys) < 1 / 300) & (leap > 1904), leap_day, born)
    return found


def child_births(draws: Draws, keys: Ints, booked: Dates, youngest: int = 0) -> Dates:
    """Return birth dates of people between `youngest` and 17 years old on the booking date, some born on 29
    February.
    """
    span = (days.years_before(booked, youngest) - days.years_before(booked, 18)).astype(np.int64)
    born = (
        booked - (booked - days.years_before(booked, 18)) + (2 + draws.below("child", keys, span - 3)).astype("m8[D]")
    )
    year = born.astype("M8[Y]").astype(np.int64) + 1970
    leap_day = np.char.add((year + (-year) % 4).astype("U4"), "-02-29").astype("M8[D]")
    fits = (leap_day >= born) & (leap_day < days.years_before(booked, youngest)) & (draws.uniform("leap", keys) < 0.02)
    found: Dates = np.where(fits, leap_day, born)
    return found


def almost_adult_births(draws: Draws, keys: Ints, booked: Dates, service: Dates) -> Dates:
    """Return birth dates of people who are 17 on the booking date and turn 18 by the service date (at least 3 days
    later).
    """
    lead = np.maximum((service - booked).astype(np.int64), 3)
    found: Dates = days.years_before(booked, 18) + (2 + draws.below("almost", keys, lead - 2)).astype("m8[D]")
    return found


def full_names(given: pa.Array, family: pa.Array) -> pa.Array:
    """Return given and family name with a space between."""
    return pc.binary_join_element_wise(given, family, " ")
