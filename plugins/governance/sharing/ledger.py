"""What was delivered to whom, what was announced and not closed, and what is owed since: the tables of deliveries. An
edge.

Every function works in the transaction of its caller, which appends the entry. Policy clause F1; GDPR article 19.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import pandas as pd
import psycopg2.extensions
import pyarrow as pa
from psycopg2.extras import Json

from governance.database import BinaryCopy
from governance.sharing import references
from governance.sources import named_query

Cursor = psycopg2.extensions.cursor

SENT = "given_up_at IS NULL"
_REFERENCES = ("booking_reference", "service_reference", "person_reference")
_ROWS = pa.schema(
    [
        ("booking_id", pa.int64()),
        ("version", pa.int32()),
        ("client_id", pa.int64()),
        *((name, pa.string()) for name in _REFERENCES),
    ]
)
"""What is noted of each row: sharing.delivered_rows."""


class Candidate(NamedTuple):
    """A booking version that names a provider, and the partition in which it was accepted. A tuple: there are many."""

    booking_id: int
    version: int
    partition: date


@dataclass(frozen=True)
class Delivery:
    """What is delivered, as the tables and the run log tell it: names, counts and digests."""

    delivery_id: str
    recipient_id: str
    kind: str
    partition: date
    contract_kind: str
    contract_version: str
    purpose: str
    lawful_basis: tuple[str, ...]
    fields: tuple[str, ...]
    rows: int
    excluded: Mapping[str, int]
    plaintext_sha256: tuple[str, ...]
    ciphertext_sha256: tuple[str, ...]
    references_sha256: str
    manifest_sha256: str
    certificate_fingerprint: str
    read_at: datetime
    attempt_id: str


@dataclass(frozen=True)
class Announced:
    """A delivery that was announced, and perhaps sent."""

    delivery_id: str
    kind: str
    manifest_sha256: str
    attempt_id: str
    sent_at: datetime | None


@dataclass(frozen=True)
class Owed:
    """That a recipient is told of a booking that it holds: the references of its rows, and the deliveries that brought
    them."""

    booking_reference: str
    reason: str
    rows: tuple[tuple[str, str], ...]  # service_reference, person_reference
    deliveries: tuple[str, ...]
    raised_at: datetime


def candidates(cursor: Cursor, recipient: str, provider: int, first_day: date) -> list[Candidate]:
    """Booking versions that name the provider for a day from `first_day` on, and that the recipient has not had."""
    values = {"recipient": recipient, "provider": provider, "first_day": first_day}
    cursor.execute(named_query("share_candidates"), values)
    return list(map(Candidate._make, cursor.fetchall()))


def held(cursor: Cursor, recipient: str) -> dict[int, int]:
    """Bookings of which the recipient holds something, and the latest version that it has."""
    cursor.execute(named_query("share_held"), {"recipient": recipient})
    return dict(cursor.fetchall())


def held_by_all(cursor: Cursor, after: int, at_once: int) -> tuple[list[tuple[int, str, bool, int]], int | None]:
    """Who holds which of so many bookings that follow one, or was told that it may not use it: booking, recipient,
    whether it holds it, the latest version; and the last of these bookings, None where none follows."""
    cursor.execute(
        "SELECT max(booking_id) FROM (SELECT DISTINCT booking_id FROM sharing.delivered_rows WHERE booking_id > %s "
        "ORDER BY 1 LIMIT %s) following",
        (after, at_once),
    )
    ((last,),) = cursor.fetchall()
    cursor.execute(named_query("share_held_by_all"), {"after": after, "last": last})
    return [(booking, recipient, is_held, version) for booking, recipient, is_held, version in cursor.fetchall()], last


def told(cursor: Cursor, recipient: str) -> dict[int, int]:
    """Bookings of which the recipient was told that it may not use them, and not that they are erased; and the latest
    version of each that it had."""
    cursor.execute(named_query("share_told"), {"recipient": recipient})
    return {booking: version for booking, version in cursor.fetchall()}


def supersede(cursor: Cursor, recipient: str) -> int:
    """Owe a recipient word of services and persons that a later delivery of theirs names no more; returns how many
    deliveries and bookings are new among what is owed."""
    cursor.execute(named_query("share_superseded"), {"recipient": recipient})
    return int(cursor.rowcount)


def holders(cursor: Cursor) -> dict[str, str]:
    """Who holds, or held, bookings, and the kind of the contract by which they were delivered last."""
    cursor.execute(
        "SELECT DISTINCT ON (recipient_id) recipient_id, contract_kind FROM sharing.deliveries WHERE kind = 'rows' AND "
        "sent_at IS NOT NULL AND given_up_at IS NULL ORDER BY recipient_id, sent_at DESC"
    )
    return dict(cursor.fetchall())


def notices_before(cursor: Cursor, recipient: str, bookings: Collection[str]) -> dict[str, int]:
    """By reference, how often rows of a booking were revoked, of bookings of which they ever were: given again they are
    new, also where the number of the booking is no longer known here."""
    cursor.execute(
        "SELECT booking_reference, count(DISTINCT revoked_at) FROM sharing.delivered_rows JOIN sharing.deliveries d "
        "USING (delivery_id) WHERE d.recipient_id = %s AND booking_reference = ANY (%s::text[]) AND revoked_at "
        "IS NOT NULL GROUP BY 1",
        (recipient, _listed(bookings)),
    )
    return dict(cursor.fetchall())


def deliveries_of(cursor: Cursor, recipient: str, bookings: Collection[int]) -> list[str]:
    """Deliveries that brought the recipient an earlier version of one of these bookings, and that were not revoked."""
    cursor.execute(
        "SELECT DISTINCT delivery_id FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id) "
        "WHERE d.recipient_id = %s AND h.booking_id = ANY (%s::bigint[]) AND d.given_up_at IS NULL AND h.revoked_at "
        "IS NULL ORDER BY 1",
        (recipient, _listed(bookings)),
    )
    return [delivery for (delivery,) in cursor.fetchall()]


def _listed(values: Collection[str] | Collection[int]) -> str:
    """Numbers, or references, as the database writes an array: one value to quote, and not thousands."""
    return f"{{{','.join(map(str, values))}}}"


def announce(cursor: Cursor, delivery: Delivery, rows: pd.DataFrame | None = None) -> None:
    """Note a delivery that is about to be put into the outbox, and whose rows it has."""
    told = {
        **{name: getattr(delivery, name) for name in Delivery.__dataclass_fields__ if name != "partition"},
        "partition_key": delivery.partition,
        "excluded": Json(dict(delivery.excluded)),
    }
    values = [list(value) if isinstance(value, tuple) else value for value in told.values()]
    names = ", ".join(told)  # of the dataclass, never input
    # An id that was given up before, and whose content is the same, is announced anew.
    cursor.execute("DELETE FROM sharing.deliveries WHERE delivery_id = %s AND NOT given_up_at IS NULL", values[:1])
    cursor.execute("DELETE FROM sharing.delivered_rows WHERE delivery_id = %s", values[:1])
    cursor.execute(f"INSERT INTO sharing.deliveries ({names}) VALUES %s", (tuple(values),))  # noqa: S608
    if rows is not None:
        kept = pa.Table.from_pandas(rows, _ROWS, preserve_index=False).combine_chunks()
        kept = kept.add_column(0, "delivery_id", pa.repeat(delivery.delivery_id, len(kept)))
        batches = iter(kept.to_batches())
        cursor.copy_expert(
            f"COPY sharing.delivered_rows ({', '.join(kept.column_names)}) FROM STDIN WITH (FORMAT BINARY)",
            BinaryCopy(next(batches), batches),  # type: ignore[arg-type]  # the stub asks for `readline` too
        )


def close(cursor: Cursor, delivery_id: str, at: datetime) -> None:
    """Note that a delivery is in the outbox, whole; also one that was given up, and came there after all."""
    cursor.execute(
        "UPDATE sharing.deliveries SET sent_at = %s, given_up_at = NULL WHERE delivery_id = %s", (at, delivery_id)
    )


def give_up(cursor: Cursor, delivery_id: str, at: datetime) -> None:
    """Note that a delivery is not in the outbox: its rows were not delivered, and what it was to tell is owed.

    Whose rows they were stays known, for a try that lost its lock may still put it there.
    """
    cursor.execute("UPDATE sharing.deliveries SET given_up_at = %s WHERE delivery_id = %s", (at, delivery_id))
    # What an earlier notice told stays told.
    cursor.execute(
        "UPDATE sharing.delivered_rows h SET revoked_at = NULL FROM sharing.obligations o, sharing.deliveries d "
        "WHERE o.notice_id = %s AND o.delivery_id = h.delivery_id AND o.booking_reference = h.booking_reference "
        "AND d.delivery_id = o.notice_id AND h.revoked_at = d.read_at",
        (delivery_id,),
    )
    cursor.execute("UPDATE sharing.obligations SET notice_id = NULL WHERE notice_id = %s", (delivery_id,))


def given_up(cursor: Cursor, recipient: str, since: datetime) -> list[Announced]:
    """Deliveries of a recipient that were given up since an instant."""
    cursor.execute(
        "SELECT delivery_id, kind, manifest_sha256, attempt_id, sent_at FROM sharing.deliveries "
        "WHERE recipient_id = %s AND given_up_at > %s ORDER BY created_at",
        (recipient, since),
    )
    return [Announced(*row) for row in cursor.fetchall()]


def announced(cursor: Cursor, recipient: str, is_sent: bool) -> list[Announced]:
    """Deliveries of a recipient that were announced and not closed; or (`is_sent`) closed and not acknowledged."""
    cursor.execute(
        "SELECT delivery_id, kind, manifest_sha256, attempt_id, sent_at FROM sharing.deliveries "
        "WHERE recipient_id = %s AND given_up_at IS NULL AND acknowledged_at IS NULL AND (sent_at IS NOT NULL) = %s "
        "ORDER BY created_at",
        (recipient, is_sent),
    )
    return [Announced(*row) for row in cursor.fetchall()]


def known(cursor: Cursor, recipient: str, deliveries: Collection[str]) -> set[str]:
    """Those of deliveries, by id, that were announced to a recipient."""
    cursor.execute(
        "SELECT delivery_id FROM sharing.deliveries WHERE recipient_id = %s AND delivery_id = ANY (%s)",
        (recipient, list(deliveries)),
    )
    return {delivery for (delivery,) in cursor.fetchall()}


def acknowledge(cursor: Cursor, delivery_id: str, at: datetime) -> int:
    """Note the recipient's acknowledgement; what a notice told is met by it. Returns how many obligations were."""
    cursor.execute("UPDATE sharing.deliveries SET acknowledged_at = %s WHERE delivery_id = %s", (at, delivery_id))
    cursor.execute(
        "UPDATE sharing.obligations SET met_at = %s WHERE notice_id = %s AND met_at IS NULL", (at, delivery_id)
    )
    return int(cursor.rowcount)


def owed(cursor: Cursor, recipient: str) -> list[Owed]:
    """What a recipient has still to be told, booking by booking, and no notice has told."""
    cursor.execute(named_query("share_owed"), {"recipient": recipient})
    return [
        Owed(booking, reason, tuple(zip(services, persons, strict=True)), tuple(deliveries), raised_at)
        for booking, reason, services, persons, deliveries, raised_at in cursor.fetchall()
    ]


def tell(cursor: Cursor, notice_id: str, told: Sequence[Owed], at: datetime) -> None:
    """Note that a notice tells this; rows that are not to be used any more are had no more."""
    for one in told:
        cursor.execute(
            "UPDATE sharing.obligations SET notice_id = %s WHERE delivery_id = ANY (%s) AND booking_reference = %s "
            "AND reason = %s AND met_at IS NULL",
            (notice_id, list(one.deliveries), one.booking_reference, one.reason),
        )
        services, persons = zip(*one.rows, strict=True)
        cursor.execute(
            "UPDATE sharing.delivered_rows SET revoked_at = %s WHERE delivery_id = ANY (%s) AND booking_reference = %s "
            "AND (service_reference, person_reference) IN (SELECT * FROM unnest(%s, %s)) AND revoked_at IS NULL",
            (at, list(one.deliveries), one.booking_reference, list(services), list(persons)),
        )


def told_of_erasure(cursor: Cursor, recipient: str) -> list[int]:
    """Clients of bookings of which a recipient has acknowledged that somebody is erased, and whose numbers are here."""
    cursor.execute(named_query("share_told_erased"), {"recipient": recipient})
    return [client for (client,) in cursor.fetchall()]


def forget(cursor: Cursor, recipient: str, erased: Mapping[int, datetime]) -> int:
    """Blank the numbers of clients, erased before an instant, where the recipient has acknowledged it; returns rows."""
    values = {"recipient": recipient, "clients": list(erased), "erased_at": list(erased.values())}
    cursor.execute(named_query("share_forget"), values)
    return int(cursor.rowcount)


def digest_of(rows: pd.DataFrame) -> str:
    """SHA-256 of the references of rows; see `references.digest`."""
    return references.digest(*(pa.Array.from_pandas(rows[name]) for name in _REFERENCES))


def who_has(cursor: Cursor, client: int) -> list[dict[str, Any]]:
    """Deliveries that held something of a client: to whom, since when, on what basis, and what was revoked since."""
    cursor.execute(named_query("who_has"), {"client": client})
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
