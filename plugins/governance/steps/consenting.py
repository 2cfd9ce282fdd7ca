"""Consents that came late, or were withdrawn: their partitions are pulled and validated again (L2, L3).

A consent counts as it is known when its partition is pulled, so nothing is decided here: what would be decided now is
compared with what was. The hops run in this task. Airflow's own trigger hands no partition key to the run that it
starts (3.3.2), and `airflow backfill` wants Airflow's database, which a task does not have; and after validation there
is nothing left to do: what is accepted late is carried in by the next release. What was shared before a withdrawal
becomes an obligation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from governance import obligations, sources
from governance.errors import GovernanceError, TransientError
from governance.recording import Recorded
from governance.run_log import Outcome, Run
from governance.sources import named_query
from governance.steps.rejudging import CLAUSES, DATASET, Row, judged_now
from governance.steps.retaining import as_retainer, recorded_end
from governance.steps.to_landing import pull
from governance.steps.to_vault import validate
from governance.steps.workspace import Workspace

HELD = {
    "quarantine.findings": ["clause", "dataset", "partition_key", "row_key", "table_name"],
    "records.booking_travellers": ["landing_no", "partition_key", "row_key"],
}
SHARED = {
    "sharing.deliveries": ["delivery_id", "recipient_id", "given_up_at"],
    "sharing.delivered_rows": ["delivery_id", "booking_id", "booking_reference", "revoked_at"],
    "sharing.obligations": ["delivery_id", "booking_reference", "reason"],
}


@dataclass
class _Changed:
    """Of one partition: rows that would be decided otherwise now, by what has changed."""

    sufficient: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)


def consents(workspace: Workspace, run: Run) -> dict[str, int]:
    """Run the partitions again whose consents say something else now; returns counts.

    A partition that fails keeps no other from its run. Raises ContendedError, SourceUnavailableError,
    WarehouseUnavailableError.
    """
    with recorded_end(workspace, "consents", "consents", run, CLAUSES) as recorded:
        changed = _changed(workspace, recorded)
        withdrawn = {int(key.split("/")[0]) for found in changed.values() for key in found.withdrawn}
        counts = {
            "sufficient": sum(len(found.sufficient) for found in changed.values()),
            "withdrawn": sum(len(found.withdrawn) for found in changed.values()),
            "partitions": len(changed),
        }
        with as_retainer(workspace, recorded.attempt, SHARED) as (cursor, append):
            counts["obligations"] = obligations.raise_for(cursor, withdrawn, "consent withdrawn")
            append(recorded.outcome(Outcome.PASSED if any(counts.values()) else Outcome.NO_DATA, counts=counts))
    errors = [error for day in sorted(changed) if (error := _replayed(workspace, day, run))]
    if errors:
        raise next((error for error in errors if not isinstance(error, TransientError)), errors[0])
    return counts


def _changed(workspace: Workspace, recorded: Recorded) -> dict[date, _Changed]:
    """What would be decided otherwise now, by partition."""
    label = recorded.attempt.batch.label
    with sources.snapshot(workspace.source_uri(), label) as snapshot:
        withdrawn = snapshot.withdrawn()
    with as_retainer(workspace, recorded.attempt, HELD) as (cursor, _):
        cursor.execute(named_query("minors_held"), {"withdrawn": [str(booking) for booking in withdrawn]})
        found = cursor.fetchall()
    decided: dict[Row, bool] = {}
    for day, table, key, is_held in found:
        decided[day, table, key] = decided.get((day, table, key), False) or is_held
    changed: dict[date, _Changed] = {}
    for row, now in judged_now(workspace, label, decided).items():
        if now.passes == decided[row]:
            day, _, key = row
            one = changed.setdefault(day, _Changed())
            (one.sufficient if now.passes else one.withdrawn).add(key)
    return changed


def _replayed(workspace: Workspace, day: date, run: Run) -> GovernanceError | None:
    """Pull and validate a partition again; the error that this ended with."""
    try:
        validate(workspace, pull(workspace, DATASET, day.isoformat(), run), run)
    except GovernanceError as error:
        return error
    return None
