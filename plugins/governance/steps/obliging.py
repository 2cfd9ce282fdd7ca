"""Obligations to recipients of what must not be used any more: what is owed, and that one was met (L2, L3).

`meet_obligation` is the one place where an obligation ends, in the transaction of its entry: a person who has told the
recipient calls it by command, a delivery of notices once it has the recipient's acknowledgement.
"""

from __future__ import annotations

from contextlib import closing

from governance import door, obligations, patience, warehouse
from governance.database import translated
from governance.errors import InputError
from governance.obligations import Obligation, Reason
from governance.run_log import Outcome, Run
from governance.steps.retaining import recorded_end
from governance.steps.workspace import Workspace

SEES, MEETS = "coordinator", "sharer"
READS = {"sharing.obligations": ["delivery_id", "reason", "met_at"]}


def owed(workspace: Workspace) -> list[Obligation]:
    """Every obligation, met or not; they name deliveries and companies, nobody else.

    Raises WarehouseUnavailableError.
    """
    with (
        translated("obligations"),
        closing(patience.connect(workspace.warehouse_dsn(SEES))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        return obligations.listed(cursor, float(workspace.policy.value("obligation_days")))


def meet_obligation(workspace: Workspace, delivery_id: str, reason: Reason, how: str, run: Run) -> None:
    """Note that a recipient was told, and `how`: the reference of its acknowledgement.

    Raises InputError when that is not owed, or was met before; ContendedError, WarehouseUnavailableError.
    """
    with recorded_end(workspace, "meet_obligation", "obligations", run, ("L2", "L3")) as recorded:
        label = recorded.attempt.batch.label
        with (
            door.lent(workspace, recorded.attempt, MEETS, READS, how) as lent,
            warehouse.connect(lent.dsn, label) as connection,
            connection.ending() as (cursor, append),
        ):
            if not obligations.meet(cursor, delivery_id, reason, workspace.clock()):
                raise InputError(
                    "no such obligation is open; nothing was noted: `governance retention obligations` lists them"
                )
            told = {"delivery": delivery_id, "obligation": reason}
            append(recorded.outcome(Outcome.PASSED, counts={"met": 1}, reason=how, details=told))
