"""Who holds what about a person, since when, on what basis; asking is itself a read on the record (M1, J2).

GDPR articles 15(1)(c) and 19: recipients to whom personal data was disclosed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from governance import door, warehouse
from governance.run_log import Outcome, Run
from governance.sharing import ledger
from governance.steps.retaining import recorded_end
from governance.steps.workspace import Workspace

ROLE = "sharer"
READS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "sharing.deliveries": ("delivery_id", "fields", "lawful_basis", "purpose", "recipient_id", "sent_at"),
        "sharing.delivered_rows": ("booking_reference", "client_id", "delivery_id", "revoked_at", "version"),
    }
)


def who_has(workspace: Workspace, client: int, why: str, run: Run) -> list[dict[str, Any]]:
    """Deliveries that held something of a client, one row a delivery and booking; oldest first.

    The log says who asked, why, and how many rows there were, not about whom. Raises WarehouseUnavailableError.
    """
    with recorded_end(workspace, "who_has", "deliveries", run, ("F1", "M1")) as recorded:
        label = recorded.attempt.batch.label
        with (
            door.lent(workspace, recorded.attempt, ROLE, READS, why) as lent,
            warehouse.connect(lent.dsn, label) as connection,
            connection.ending() as (cursor, append),
        ):
            found = ledger.who_has(cursor, client)
            lent.rows += len(found)
            outcome = Outcome.PASSED if found else Outcome.NO_DATA
            append(recorded.outcome(outcome, counts={"rows": len(found)}, reason=why))
    return found
