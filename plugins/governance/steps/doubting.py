"""What recipients hold, held against the source: once a step for all of them, and where that leaves a doubt, once more.

Everything that is held is read again every hour, so that who holds it is told at once of a withdrawal, a restriction,
an erasure, a cancellation (GDPR article 19). Most bookings are held by several, and hardly one has changed. So the
first turn of a step reads all of them, in portions, each in one snapshot, and keeps the few that somebody perhaps may
not use any more. Each turn asks the source again about those of them that its recipient holds, under the recipient's
lock, and it is that snapshot which is judged and is evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from governance.keys import KeyService
from governance.sharing import eligibility, ledger
from governance.steps.reading_source import read_bookings
from governance.steps.rounds import Round
from governance.warehouse import Warehouse

AT_ONCE = 5_000
"""Bookings that are read together: what bounds memory."""


def in_doubt(round: Round, connection: Warehouse, service: KeyService) -> frozenset[int]:
    """Bookings that a recipient holds and perhaps may not use any more, found by the first turn that asks.

    Raises SourceUnavailableError, GapError, ClockError; then the next turn looks itself.
    """
    if round.doubts is None:
        found: set[int] = set()
        for held in _held(round, connection):
            bookings = held["booking_id"].unique().to_pylist()
            read = read_bookings(round.source, round.workspace, round.batch, bookings, service)
            found |= eligibility.doubtful(read.reading, held)
        round.doubts = frozenset(found)
    return round.doubts


def _held(round: Round, connection: Warehouse) -> Iterator[pa.Table]:
    """What is held, a portion at a time: booking_id, and the provider_id and kind of services of who holds it."""
    policy = round.workspace.policy
    services = {
        name: (recipient.provider_id, policy.sharing.kinds[recipient.kind].provider)
        for name, recipient in policy.all_recipients.items()
    }
    after: int | None = 0
    while after is not None:
        with connection.ending() as (cursor, _):
            held, after = ledger.held_by_all(cursor, after, AT_ONCE)
        pairs = [(booking, *services[name]) for booking, name in held if name in services]
        if pairs:
            bookings, providers, kinds = zip(*pairs, strict=True)
            yield pa.table(
                {
                    "booking_id": pa.array(bookings, pa.int64()),
                    "provider_id": pa.array(providers, pa.int64()),
                    "kind": pa.array(kinds, pa.string()),
                }
            )
