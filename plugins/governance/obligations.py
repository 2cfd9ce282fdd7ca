"""What is owed once something was shared that must not be used any more: one dated obligation per delivery. An edge.

Policy clauses L2, L3; GDPR article 19.
"""

from __future__ import annotations

from collections.abc import Collection

import psycopg2.extensions


def raise_for(cursor: psycopg2.extensions.cursor, bookings: Collection[int], reason: str) -> int:
    """Oblige us to tell the recipient of each delivery about one of these bookings; returns how many are new."""
    cursor.execute(
        "INSERT INTO sharing.obligations (delivery_id, reason) SELECT d.delivery_id, %s FROM sharing.deliveries d "
        "WHERE split_part(d.root_key, '/', 1) = ANY (%s::text[]) "
        "AND NOT EXISTS (SELECT FROM sharing.obligations o WHERE o.delivery_id = d.delivery_id AND o.reason = %s)",
        (reason, [str(booking) for booking in bookings], reason),
    )
    return int(cursor.rowcount)
