"""What is owed once something was shared that must not be used any more: one dated obligation per delivery. An edge.

An obligation is raised when a consent is withdrawn or somebody is erased, is due so many days later as policy says, and
is met when its recipient has been told; whoever delivers the notice calls `meet`. Policy clauses L2, L3; GDPR article
19.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg2.extensions

from governance.sharing.eligibility import Obliged
from governance.sources import named_query

Reason = Obliged


@dataclass(frozen=True)
class Obligation:
    """To tell the recipient of a delivery that a booking in it may not be used any more, or has to be erased."""

    delivery_id: str
    recipient_id: str | None
    """None when the delivery itself has ended by its rule of retention."""
    reason: str
    raised_at: datetime
    due_at: datetime
    met_at: datetime | None
    booking_reference: str = ""
    """As the recipient knows the booking."""


def raise_for(
    cursor: psycopg2.extensions.cursor, bookings: Collection[int], reason: Reason, recipient: str | None = None
) -> int:
    """Oblige us to tell the recipients (or one of them) of deliveries of these bookings; returns how many are new.

    What was revoked before is owed anew once it was delivered again, or when it has to be deleted now; what was never
    sent, never.
    """
    cursor.execute(named_query("raise_obligations"), (reason, list(bookings), recipient))
    return int(cursor.rowcount)


def listed(cursor: psycopg2.extensions.cursor, days: float) -> list[Obligation]:
    """Every obligation, the one that is due first at the beginning; `days`: within which one has to be met."""
    cursor.execute(named_query("obligations"))
    return [
        Obligation(delivery, recipient, reason, raised_at, raised_at + timedelta(days=days), met_at, booking)
        for delivery, recipient, reason, raised_at, met_at, booking in cursor.fetchall()
    ]


def meet(cursor: psycopg2.extensions.cursor, delivery_id: str, reason: Reason, at: datetime) -> bool:
    """Note that the recipient of a delivery was told; False when that is not owed, or was done before.

    What it was told of it has no more: a consent that is given again delivers it anew.
    """
    cursor.execute(named_query("meet_obligations"), {"at": at, "delivery": delivery_id, "reason": reason})
    return bool(cursor.fetchone())
