"""The end of minors: whoever stayed in quarantine for want of a consent is erased when the review is over (L3).

An erasure is begun by noting whom it is about, and closed in the transaction of its last deed, so that a try which was
killed anywhere is finished by the next one: keys first, then the source, then our database. Each has an entry of its
own, with the rows of each place, the ids of the keys, and no name or number of anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import psycopg2.extensions

from governance import erasure, obligations
from governance.erasure import Erased, Erasure, Places
from governance.errors import ContendedError, GovernanceError, TransientError
from governance.recording import Recorded, new_id
from governance.run_log import Outcome, Run
from governance.sources import named_query
from governance.steps.keeping import erase_subjects
from governance.steps.retaining import as_retainer, now_by_both_clocks, recorded_end, session_at_source
from governance.steps.workspace import Workspace

EVENT = "erase"
REASON = "a minor without a guardian's consent, after the review (L3)"
STANDS = "whom it is about stands there still"
SHARED = {"sharing.deliveries": ["delivery_id", "root_key"], "sharing.obligations": ["delivery_id", "reason"]}
SEEN = {
    "quarantine.reviews": ["dataset", "row_key", "since"],
    "quarantine.findings": ["dataset", "table_name", "row_key", "root_key", "clause", "rule"],
    "quarantine.erasures": ["erasure_no", "booking_id", "travellers", "clients"],
}


def erase_minors(workspace: Workspace, run: Run) -> dict[str, int]:
    """Erase every minor whose review is over, in every place that policy lists; returns counts.

    One that fails keeps no other from its erasure, and is finished by the next run; its error is raised at the end.
    Raises ContendedError, SourceUnavailableError, WarehouseUnavailableError, KeyringError.
    """
    with recorded_end(workspace, "erase_minors", "minors", run, ("L3",)) as recorded:
        found = _begun(workspace, recorded)
        errors: list[GovernanceError] = []
        erased = 0
        for one in found:
            try:
                _erase(workspace, one, run)
                erased += 1
            except GovernanceError as error:
                errors.append(error)
        counts = {"due": len(found), "erased": erased}
        if errors:
            recorded.facts["counts"] = counts
            raise next((error for error in errors if not isinstance(error, TransientError)), errors[0])
        recorded.append(recorded.outcome(Outcome.PASSED if found else Outcome.NO_DATA, counts=counts))
    return counts


# -- whom it is about --------------------------------------------------------------------------------------------------


def _begun(workspace: Workspace, recorded: Recorded) -> list[Erasure]:
    """Note the erasures that are due; returns them, and those that were begun before."""
    days = float(workspace.policy.value("minor_review_days"))
    due = now_by_both_clocks(workspace) - timedelta(days=days)
    with as_retainer(workspace, recorded.attempt, SEEN) as (cursor, _):
        new = _due(cursor, due)
    if any(versions for _, _, versions in new):
        with session_at_source(workspace, recorded.attempt.batch.label, STANDS) as there:
            clients = {booking: _clients(there, booking, versions) for booking, _, versions in new if versions}
    else:
        clients = {}
    with as_retainer(workspace, recorded.attempt, SEEN) as (cursor, _):
        for booking, travellers, _ in new:
            cursor.execute(
                "INSERT INTO quarantine.erasures (booking_id, travellers, clients) VALUES (%s, %s, %s)",
                (booking, travellers, clients.get(booking, [])),
            )
        cursor.execute("SELECT erasure_no, booking_id, travellers, clients FROM quarantine.erasures ORDER BY 1")
        return [Erasure(number, booking, tuple(t), tuple(c)) for number, booking, t, c in cursor.fetchall()]


def _due(cursor: psycopg2.extensions.cursor, due: datetime) -> list[tuple[int, list[int], list[int]]]:
    """(booking, its travellers, versions whose client it is) of every review that is over and not begun yet."""
    cursor.execute(named_query("minors_due"), {"due": due})
    return [(booking, travellers, versions) for booking, travellers, versions in cursor.fetchall()]


def _clients(cursor: psycopg2.extensions.cursor, booking: int, versions: Sequence[int]) -> list[int]:
    cursor.execute(
        "SELECT DISTINCT client_id FROM wellbe.bookings WHERE booking_id = %s AND version = ANY (%s) "
        "AND client_id IS NOT NULL ORDER BY 1",
        (booking, list(versions)),
    )
    return [client for (client,) in cursor.fetchall()]


# -- one erasure -------------------------------------------------------------------------------------------------------


def _erase(workspace: Workspace, one: Erasure, run: Run) -> None:
    """Keys, source, our database, in this order: what is known of a person is what the next step finds them by."""
    recorded = recorded_end(workspace, EVENT, "minors", run, ("L3", "M1"), has_intent=False)
    with recorded:
        there, keys = _at_source(workspace, one, recorded, run)
        read = {place.table: set[str]() for place in erasure.places(workspace.policy, "warehouse").values()}
        for place in erasure.places(workspace.policy, "warehouse").values():
            read[place.table] |= {*erasure.columns_read(place)}
        columns = {table: sorted(names) for table, names in read.items()} | SEEN | SHARED
        with as_retainer(workspace, recorded.attempt, columns) as (cursor, append):
            here = Places(cursor, workspace.policy, "warehouse", one)
            _require_settled(here, one, _strangers(cursor, one))
            before, ended = here.standing(), here.end()
            _require_nothing(here.standing(), "our database")
            cursor.execute("DELETE FROM quarantine.erasures WHERE erasure_no = %s", (one.number,))
            counts = {f"erased {name}": n for name, n in {**there.ended, **ended.ended}.items()}
            if owed := obligations.raise_for(cursor, [one.booking_id], "erased"):
                counts["obligations"] = owed
            counts |= {f"protected {name}": n for name, n in {**there.protected, **before.protected}.items()}
            append(recorded.outcome(Outcome.PASSED, counts=counts | {"left": 0}, keys=[id.hex() for id in keys]))


def _at_source(workspace: Workspace, one: Erasure, recorded: Recorded, run: Run) -> tuple[Erased, list[bytes]]:
    """End what the source has of them; their keys go once it is said and before anything does, so that nothing lands
    again."""
    with session_at_source(workspace, recorded.attempt.batch.label, STANDS) as cursor:
        there = Places(cursor, workspace.policy, "source", one)
        before = there.standing()
        told = {f"standing {name}": n for name, n in before.ended.items()}
        recorded.append(recorded.attempt.intent(entry_id=new_id(), at=workspace.clock(), counts=told))
        keys = erase_subjects(workspace, one.scopes(_accepted(cursor, one.clients)), REASON, run)
        ended = there.end()
        _require_nothing(there.standing(), "the source")
    return Erased(ended.ended, before.protected), keys


def _accepted(cursor: psycopg2.extensions.cursor, clients: Iterable[int]) -> Mapping[int, Sequence[int]]:
    """Seconds at which clients accepted the terms."""
    cursor.execute(
        "SELECT client_id, array_agg(floor(extract(epoch FROM accepted_at))::bigint) FROM wellbe.terms_acceptances "
        "WHERE client_id = ANY (%s::bigint[]) AND isfinite(accepted_at) GROUP BY 1",
        (list(clients),),
    )
    return dict(cursor.fetchall())


def _strangers(cursor: psycopg2.extensions.cursor, one: Erasure) -> bool:
    """Whether somebody of the booking has come into review since the erasure was begun."""
    cursor.execute(named_query("minors_of_booking"), {"booking": one.booking_id})
    ((travellers,),) = cursor.fetchall()
    return not set(travellers) <= set(one.travellers)


def _require_settled(here: Places, one: Erasure, is_joined: bool) -> None:
    """Raise ContendedError while rows of theirs wait for validation, or somebody else of the booking is in review."""
    unsettled = here.unsettled()
    if unsettled or is_joined:
        why = f"{unsettled} rows of theirs wait for validation" if unsettled else "another traveller is in review now"
        raise ContendedError(
            f"erasure {one.number} of minors: {why}; their keys are destroyed and the source has nothing of them; the "
            "next run finishes it"
        )


def _require_nothing(left: Erased, where: str) -> None:
    if left.ended:
        told = ", ".join(f"{name} {n}" for name, n in left.ended.items())
        raise GovernanceError(
            f"an erasure of minors: a search of {where} finds rows after it ({told}); nothing was done there; the next "
            "run tries again"
        )
