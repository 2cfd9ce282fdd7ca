"""What is sold and by whom: specialties, procedures, providers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import pyarrow as pa

from governance.sample.draws import Draws, Floats, Ints
from governance.sample.files import spaced, words
from governance.sample.tables import batch

FIRST_PROVIDER = 101
UNKNOWN_PROVIDER = 990_001  # and above: no provider has such an id
_RECORDED = datetime(1996, 1, 3, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Procedures:
    """All procedures, by index."""

    codes: list[str]
    specialty: Ints
    shares: Floats
    prices: Floats  # median, EUR
    fewest_nights: Ints
    most_nights: Ints


@lru_cache(maxsize=1)
def procedures() -> Procedures:
    """Return all procedures."""
    rows = [
        (f"{name}.{code}", number, specialty["share"] * terms[0], *terms[1:])
        for number, (name, specialty) in enumerate(words("catalogue")["specialties"].items())
        for code, terms in specialty["procedures"].items()
    ]
    codes, specialty, shares, prices, fewest, most = zip(*rows, strict=True)
    return Procedures(
        list(codes),
        np.array(specialty),
        np.array(shares, dtype=float),
        np.array(prices, dtype=float),
        np.array(fewest),
        np.array(most),
    )


def specialties() -> list[str]:
    """Return the names of the specialties."""
    return list(words("catalogue")["specialties"])


@dataclass(frozen=True)
class Providers:
    """All providers as rows, and who of the open ones does what."""

    rows: pa.RecordBatch
    by_specialty: list[Ints]  # provider ids, the busiest first
    travel: Ints
    closed: Ints  # ended before any booking


@lru_cache(maxsize=4)
def providers(seed: int) -> Providers:
    """Return the providers of a seed. Open ones have been active since before 1996, so that replayed history finds
    them.
    """
    terms, draws = words("catalogue")["providers"], Draws(seed, "providers")
    health, travel, closed = terms["health_count"], terms["travel_count"], terms["closed_count"]
    number = np.arange(health + travel + closed, dtype=np.int64)
    is_health = (number < health) | ((number >= health + travel) & (number % 2 == 0))
    is_closed = number >= health + travel
    ids = FIRST_PROVIDER + number
    started = np.datetime64("1984-01-02") + draws.below("from", number, 3600).astype("m8[D]")
    ended = np.where(is_closed, np.datetime64("1995-06-30"), np.datetime64("2038-12-31"))
    ends = is_closed | (draws.uniform("until", number) < 0.15)
    rows = batch(
        "providers",
        {
            "provider_id": ids,
            "kind": np.where(is_health, "health", "travel").tolist(),
            "name": _names(draws, number, is_health.tolist()),
            "country_code": _countries(draws, number, is_health.tolist()),
            "active_from": pa.array(started),
            "active_until": pa.array(ended, mask=~ends),
            "recorded_at": _RECORDED,
        },
    )
    return Providers(rows, _by_specialty(draws, ids[:health]), ids[health : health + travel], ids[health + travel :])


def _names(draws: Draws, number: Ints, is_health: list[bool]) -> list[str]:
    terms = words("catalogue")["providers"]
    first, health, travel = (spaced(terms[key]) for key in ("first_words", "health_words", "travel_words"))
    start = draws.below("word", number, len(first))
    kinds = [health if is_one else travel for is_one in is_health]
    return [f"{first[(int(at) + n) % len(first)]} {kinds[n][n % len(kinds[n])]} {n + 1}" for n, at in enumerate(start)]


def _countries(draws: Draws, number: Ints, is_health: list[bool]) -> list[str]:
    terms = words("catalogue")["providers"]
    health, travel = terms["health_countries"], terms["travel_countries"]
    a = draws.choice("health_country", number, health.values())
    b = draws.choice("travel_country", number, travel.values())
    return [list(health)[a[n]] if is_health[n] else list(travel)[b[n]] for n in range(len(number))]


def _by_specialty(draws: Draws, ids: Ints) -> list[Ints]:
    """Each clinic has the specialty of its turn and, half of them, a second one."""
    many = len(specialties())
    turn = (ids - FIRST_PROVIDER) % many
    second = np.where(draws.uniform("second", ids) < 0.5, draws.below("which", ids, many), turn)
    return [ids[(turn == n) | (second == n)] for n in range(many)]


def health_providers(seed: int, specialty: Ints, uniform: Floats) -> Ints:
    """Return a provider of each specialty; the busiest serve far more than the last."""
    found = np.empty(len(specialty), dtype=np.int64)
    for number, ids in enumerate(providers(seed).by_specialty):
        here = specialty == number
        found[here] = ids[np.minimum((uniform[here] ** 2 * len(ids)).astype(np.int64), len(ids) - 1)]
    return found


def travel_providers(seed: int, uniform: Floats) -> Ints:
    """Return a travel provider per number in [0, 1)."""
    ids = providers(seed).travel
    return np.asarray(ids[(uniform**2 * len(ids)).astype(np.int64)], dtype=np.int64)
