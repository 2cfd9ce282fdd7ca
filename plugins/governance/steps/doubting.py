"""What recipients hold, held against the source once a step for all of them, to find where it is in doubt.

Everything that is held is read again every hour, so that who holds it is told at once of a withdrawal, a restriction,
an erasure, a cancellation (GDPR article 19). Most bookings are held by several, and hardly one has changed. So the
first turn of a step reads all of them, in portions, each in one snapshot, and keeps the few that somebody perhaps may
not use any more. Each turn asks the source again about those of them that its recipient holds, under the recipient's
lock, and it is that snapshot which is judged and is evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from governance.keys import KeyService
from governance.sharing import eligibility, ledger
from governance.sharing.eligibility import DELETING, REVOKING
from governance.steps import reading_source
from governance.steps.reading_source import read_bookings
from governance.steps.rounds import NOBODY, Round
from governance.warehouse import Warehouse

HELD = pa.schema(
    [
        ("booking_id", pa.int64()),
        ("recipient_id", pa.string()),
        ("is_held", pa.bool_()),
        ("version", pa.int64()),
        ("kind", pa.string()),
        ("provider_id", pa.int64()),
    ]
)


def in_doubt(round: Round, connection: Warehouse, service: KeyService) -> frozenset[tuple[int, str]]:
    """Bookings that somebody holds, or had, and perhaps may not use any more, and who; found by the first who asks.

    Raises SourceUnavailableError, GapError, ClockError; then the next turn looks itself.
    """
    if round.doubts is None:
        found: set[tuple[int, str]] = set()
        for held in _held(round, connection):
            bookings = held["booking_id"].unique().to_pylist()
            read = read_bookings(round.source, round.workspace, round.batch, bookings, service)
            found |= eligibility.doubtful(read.reading, held.filter(held["is_held"]), REVOKING)
            found |= eligibility.doubtful(read.reading, held.filter(pc.invert(held["is_held"])), DELETING)
        round.doubts = frozenset(found)
    return round.doubts


def _held(round: Round, connection: Warehouse) -> Iterator[pa.Table]:
    """What is held, or was, a portion at a time: columns `HELD`. Of a provider that is not registered any more, and of
    what is not held any more, what names it is not looked at: its provider_id is NULL."""
    holders = {holder.recipient_id: holder for holder in round.holders}
    after: int | None = -1
    while after is not None:
        with connection.ending() as (cursor, _):
            rows, after = ledger.held_by_all(cursor, after, reading_source.AT_ONCE)
        known = [(row, holders[row[1]]) for row in rows if row[1] in holders]
        if known:
            named = (holder.provider_id if row[2] and holder.provider_id != NOBODY else None for row, holder in known)
            columns = zip(*((*row, holder.kind) for row, holder in known), strict=True)
            yield pa.table([*columns, list(named)], schema=HELD)
