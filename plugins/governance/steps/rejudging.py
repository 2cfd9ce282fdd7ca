"""How rows about minors would be decided now, as the source knows them: `consents` and erasures ask (L1, L2, L3)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from governance import judging, sources, validation
from governance.steps.workspace import Workspace

DATASET = "bookings"
CLAUSES = ("L1", "L2")

Row = tuple[date, str, str]
"""(partition, landed table, row key)."""


def passing_now(workspace: Workspace, label: str, rows: Collection[Row]) -> dict[Row, bool]:
    """Whether each row would pass every rule about minors, of those that the source still has.

    Raises SourceUnavailableError.
    """
    asked: dict[tuple[date, str], set[str]] = {}
    for day, table, key in rows:
        asked.setdefault((day, table), set()).add(key)
    if not asked:
        return {}
    suite = validation.load_suite(DATASET, workspace.suites)
    found: dict[Row, bool] = {}
    with sources.snapshot(workspace.source_uri(), label) as snapshot:
        for (day, table), keys in asked.items():
            spec = workspace.policy.dataset(DATASET).landed[table]
            bookings = {int(key.split("/", maxsplit=1)[0]) for key in keys}
            for batch in snapshot.batches(table, workspace.partition(DATASET, day.isoformat()), bookings):
                passing = judging.passing(batch, table, spec, suite, CLAUSES)
                found |= {(day, table, key): key in passing for key in batch["row_key"].to_pylist() if key in keys}
    return found
