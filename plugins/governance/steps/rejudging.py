"""How rows about minors would be decided now, as the source knows them: `consents` and erasures ask (L1, L2, L3)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from governance import judging, sources, validation
from governance.steps.workspace import Workspace

DATASET = "bookings"
CLAUSES = ("L1", "L2")

BORN = {"bookings": "clients.birth_date", "booking_travellers": "booking_travellers.birth_date"}

Row = tuple[date, str, str]
"""(partition, landed table, row key)."""


@dataclass(frozen=True)
class Now:
    """What the source says of a row: whether it would pass every rule about minors, and whether it is of a minor."""

    passes: bool
    is_minor: bool


def judged_now(workspace: Workspace, label: str, rows: Collection[Row]) -> dict[Row, Now]:
    """What is to be said of each row now, of those that the source still has.

    Raises SourceUnavailableError.
    """
    asked: dict[tuple[date, str], set[str]] = {}
    for day, table, key in rows:
        asked.setdefault((day, table), set()).add(key)
    if not asked:
        return {}
    suite = validation.load_suite(DATASET, workspace.suites)
    found: dict[Row, Now] = {}
    adult_years = int(workspace.policy.value("adult_years"))
    with sources.snapshot(workspace.source_uri(), label) as snapshot:
        for (day, table), keys in asked.items():
            spec = workspace.policy.dataset(DATASET).landed[table]
            bookings = {int(key.split("/", maxsplit=1)[0]) for key in keys}
            for batch in snapshot.batches(table, workspace.partition(DATASET, day.isoformat()), bookings):
                passing = judging.passing(batch, table, spec, suite, CLAUSES)
                minors = judging.minors(batch, BORN[table], day, adult_years)
                for key in keys.intersection(batch["row_key"].to_pylist()):
                    found[day, table, key] = Now(key in passing, key in minors)
    return found
