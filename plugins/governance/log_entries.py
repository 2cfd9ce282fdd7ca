"""Questions to the entries of the run log that steps ask, as a role that may read it. An edge."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from governance import patience
from governance.database import translated
from governance.sources import named_query

LABEL = "the run log"


@dataclass(frozen=True)
class Last:
    """When an event was last done, and its entry; `at` is None when the database's clock was put back behind it."""

    at: datetime | None
    entry: Mapping[str, Any]


def last(dsn: str, event: str) -> Last | None:
    """The last time that an event was done: what failed has looked at nothing, and the next has to look again.

    The last in the order of connections, whatever the clock said: one that was put back lets an instant come twice.
    """
    found = _rows(dsn, named_query("log/last_done"), {"event": event})
    return Last(*found[0]) if found else None


def last_at(dsn: str, event: str) -> datetime | None:
    """Where the next look begins; None, at the beginning of all, when there was none or nobody can say when it was."""
    done = last(dsn, event)
    return done.at if done else None


def began(dsn: str) -> datetime | None:
    """When the log began, and with it the site: the instant of its first entry, or None."""
    found = _rows(dsn, named_query("log/first_entry"), {})
    return found[0][0] if found else None


def tries(dsn: str, since: datetime) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    """Per attempt since an instant: its first entry, and the outcomes that it has."""
    found = _rows(dsn, named_query("log/told_tries"), {"since": since})
    return [(entry, tuple(outcomes or ())) for _, entry, outcomes in found]


def last_alarm(dsn: str, name: str) -> dict[str, Any] | None:
    """The newest entry about an alarm, raised or cleared, or None."""
    found = _rows(dsn, named_query("log/last_alarm"), {"name": name})
    return found[0][0] if found else None


def last_retained(dsn: str) -> dict[str, tuple[datetime, float | None]]:
    """By rule of retention: when it was last executed, and the age in hours of the oldest row that it left then."""
    return {rule: (at, hours) for rule, at, hours in _rows(dsn, named_query("log/last_retained"), {})}


def unfinished_at_source(dsn: str, rule: str) -> list[tuple[str, int, str, str]]:
    """Intents of a rule at the source without an effect: attempt, due rows, transaction there, breaches as JSON."""
    return [tuple(row) for row in _rows(dsn, named_query("log/unfinished_at_source"), {"rule": rule})]


def breaches_of(dsn: str, run: Mapping[str, Any]) -> list[str]:
    """What earlier tries of a run's task have said of breaches; `run`: as it stands in an entry."""
    return [message for (message,) in _rows(dsn, named_query("log/breaches_of"), run)]


def published(dsn: str, dataset: str | None = None, partition: str | None = None) -> list[dict[str, Any]]:
    """The entries of publications that had their effect, oldest first: all, of a dataset, or of a partition."""
    return [
        entry for (entry,) in _rows(dsn, named_query("log/published"), {"dataset": dataset, "partition": partition})
    ]


def validated(dsn: str, dataset: str) -> frozenset[str]:
    """The partitions of a dataset whose validation had its effect: what Airflow's UI calls a success is no record."""
    return frozenset(key for (key,) in _rows(dsn, named_query("log/validated"), {"dataset": dataset}))


def delivered(dsn: str, deliveries: Collection[str], before: datetime) -> set[str]:
    """Of deliveries, by id, those that were made before an instant."""
    values = {"deliveries": list(deliveries), "before": before}
    return {delivery for (delivery,) in _rows(dsn, named_query("log/delivered"), values)}


def _rows(dsn: str, query: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with (
        translated(LABEL),
        closing(patience.connect(dsn)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query, values)
        return list(cursor.fetchall())
