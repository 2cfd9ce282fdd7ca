"""Attacks on all that was released of a dataset, as zone audit keeps them. An edge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import psycopg2.extensions

from governance.run_log import Attempt
from governance.sources import named_query

Cursor = psycopg2.extensions.cursor


@dataclass(frozen=True)
class Released:
    """A release with rows, and what policy asked for then; None: it is of a model before the one that is attacked."""

    day: date
    k: int | None
    l: int | None  # noqa: E741 -- the name of the measure


@dataclass(frozen=True)
class Attacked:
    """An attack on all releases: when, how many there were, and what it found."""

    attacked_at: datetime
    releases: int
    figures: Mapping[str, float]


def releases(cursor: Cursor, dataset: str) -> list[Released]:
    """The releases of a dataset that have rows, in their order."""
    cursor.execute(named_query("attackable_releases"), {"dataset": dataset})
    return [Released(*row) for row in cursor.fetchall()]


def newest(cursor: Cursor, dataset: str) -> Attacked | None:
    """The attack that was made last, or None."""
    cursor.execute(
        "SELECT attacked_at, releases, figures FROM audit.release_attacks WHERE dataset = %s "
        "ORDER BY attack_no DESC LIMIT 1",
        (dataset,),
    )
    found = cursor.fetchone()
    return Attacked(found[0].astimezone(UTC), *found[1:]) if found else None


def keep(cursor: Cursor, attempt: Attempt, figures: Mapping[str, float], *, is_over: bool) -> None:
    """Append what an attack found."""
    cursor.execute(
        "INSERT INTO audit.release_attacks (dataset, releases, people, figures, is_over, policy_digest) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (attempt.batch.dataset, figures["releases"], figures["people"], json.dumps(figures), is_over,
         attempt.digests.policy),
    )  # fmt: skip
