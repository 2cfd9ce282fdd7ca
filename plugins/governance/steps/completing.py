"""What a try of retention did and could not tell of any more: told by the next one (R1).

At the source rows end in a transaction that is none of ours, so a try may be killed, or cut off, between that commit
and its own entries. Its intent therefore names the transaction there, and what had outlived its term. The source knows
how a transaction ended, and the next try of the rule writes the outcome, and the breaches, which the first one could
not. An alarm that was written and never raised is raised by the next try of the same run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg2.extensions

from governance import log_entries
from governance.errors import ContendedError
from governance.retention import Breach
from governance.run_log import Run
from governance.steps.workspace import Workspace

LOG_ROLE = "sequencer"
TRANSACTION, BREACHES = "source_transaction", "breaches"

STATUS = """
SELECT CASE WHEN %(number)s::xid8 < pg_snapshot_xmax(pg_current_snapshot()) THEN pg_xact_status(%(number)s::xid8) END
"""
"""How a transaction ended; NULL for one that is too long ago, or that this cluster never had."""


@dataclass(frozen=True)
class Deed:
    """Rows that a rule has ended at the source, by an attempt that has no outcome which says so."""

    attempt_id: str
    rows: int
    breaches: tuple[Breach, ...]


def announced(cursor: psycopg2.extensions.cursor, breaches: Sequence[Breach]) -> dict[str, str]:
    """What an intent says of what is about to be done in this transaction at the source."""
    cursor.execute("SELECT pg_current_xact_id()::text")
    ((number,),) = cursor.fetchall()
    late = [[breach.of.isoformat() if breach.of else None, breach.rows, breach.hours] for breach in breaches]
    return {TRANSACTION: number, BREACHES: json.dumps(late)}


def untold_deeds(workspace: Workspace, rule: str, cursor: psycopg2.extensions.cursor) -> list[Deed]:
    """What earlier tries of a rule have done at the source without an outcome.

    Raises ContendedError while one of them is at it.
    """
    deeds = []
    for attempt_id, rows, number, late in log_entries.unfinished_at_source(workspace.warehouse_dsn(LOG_ROLE), rule):
        cursor.execute(STATUS, {"number": number})
        ((status,),) = cursor.fetchall()
        if status == "in progress":
            raise ContendedError(
                f"retention rule {rule}: another try is ending rows at the source; nothing was done; the task retries"
            )
        if status == "committed":
            deeds.append(Deed(attempt_id, rows, tuple(_breach(*breach) for breach in json.loads(late))))
    return deeds


def untold_alarms(workspace: Workspace, run: Run) -> list[str]:
    """Alarms of breaches that an earlier try of this very run has written, and was killed before anybody was told."""
    return log_entries.breaches_of(workspace.warehouse_dsn(LOG_ROLE), run.document())


def _breach(of: str | None, rows: int, hours: float | None) -> Breach:
    return Breach(datetime.fromisoformat(of) if of else None, rows, hours)
