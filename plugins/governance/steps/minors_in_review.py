"""Whom erasures are about: minors whose review is over, and nobody who is an adult or stands accepted by now (L3).

What quarantine holds back and what is erased are not the same. A row is held back for whatever is unknown; erased is
only who is a minor by the birth date itself, which the source is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from governance.erasure import Erasure
from governance.run_log import Attempt
from governance.sources import named_query
from governance.steps.rejudging import Row, judged_now
from governance.steps.retaining import as_retainer, session_at_source
from governance.steps.workspace import Workspace

VERSION, TRAVELLER = 1, 2
"""Where they stand in a key, after the booking."""
NEW = 0
"""The number of an erasure that is not begun."""
STANDS = "whom it is about stands there still"
SEEN = {
    "quarantine.reviews": ["dataset", "row_key", "since"],
    "quarantine.findings": ["clause", "dataset", "partition_key", "root_key", "row_key", "rule", "table_name"],
    "quarantine.erasures": ["erasure_no", "booking_id", "travellers", "clients", "booked_at", "begun_at"],
}
ACCEPTED = {
    "records.booking_travellers": ["age_at_booking_years", "landing_no", "partition_key", "row_key"],
    "records.bookings": ["booking_id", "client_age_with_guardian_years", "client_id", "landing_no", "partition_key"],
}


def found(workspace: Workspace, attempt: Attempt, at: datetime) -> list[Erasure]:
    """The erasures that were begun, with whoever came into quarantine since, and those that are due at an instant,
    which have no number yet.

    A booking of which something would be decided otherwise by now is left to `consents`, whose next run decides it.
    """
    waiting: dict[int, list[Row]] = {}
    due = at - timedelta(days=float(workspace.policy.value("minor_review_days")))
    with as_retainer(workspace, attempt, SEEN) as (cursor, _):
        cursor.execute(named_query("minors_begun"))
        erasures = {one[1]: Erasure(one[0], one[1], tuple(one[2]), tuple(one[3]), one[4]) for one in cursor.fetchall()}
        cursor.execute(named_query("minors_due"), {"due": due})
        for booking, *row in cursor.fetchall():
            waiting.setdefault(booking, []).append(tuple(row))
    now = judged_now(workspace, attempt.batch.label, [row for rows in waiting.values() for row in rows])
    for booking, rows in waiting.items():
        whom = [row for row in rows if row not in now or now[row].is_minor]
        if whom and not any(row in now and now[row].passes for row in rows):
            new = _of_booking(workspace, attempt, booking, (rows, whom, at))
            begun = erasures.get(booking)
            if begun or new.travellers or _numbers(whom, "bookings", VERSION):
                erasures[booking] = begun.joined_by(new) if begun else new
    return list(erasures.values())


def _of_booking(
    workspace: Workspace, attempt: Attempt, booking: int, of: tuple[list[Row], list[Row], datetime]
) -> Erasure:
    """Of all rows of a booking in review and those of minors among them: whom an erasure at an instant is about."""
    rows, whom, at = of
    adult_years = int(workspace.policy.value("adult_years"))
    versions = _numbers(whom, "bookings", VERSION)
    clients: dict[int, datetime | None] = {}
    if versions:
        with session_at_source(workspace, attempt.batch.label, STANDS) as there:
            there.execute(named_query("clients_of_booking"), {"booking": booking, "versions": list(versions)})
            clients = dict(there.fetchall())
    with as_retainer(workspace, attempt, ACCEPTED) as (cursor, _):
        named = {"booking": booking, "clients": list(clients), "adult_years": adult_years}
        cursor.execute(named_query("adults_accepted"), named)
        adults = {number: version for version, number in cursor.fetchall()}
        cursor.execute(named_query("clients_accepted"), named)
        others = {client for (client,) in cursor.fetchall()}
    last = {
        number: max(_numbers([row], "booking_travellers", VERSION)[0] for row in whom if _is_of(row, number))
        for number in _numbers(whom, "booking_travellers", TRAVELLER)
    }
    travellers = tuple(number for number, version in last.items() if adults.get(number, version) <= version)
    protected = {"accepted_travellers": len(last) - len(travellers), "accepted_clients": len(others)}
    return Erasure(
        NEW,
        booking,
        travellers,
        tuple(client for client in clients if client not in others),
        max((booked for booked in clients.values() if booked), default=at),
        left_out=tuple(sorted({*_numbers(rows, "booking_travellers", TRAVELLER)} - {*travellers})),
        protected={name: count for name, count in protected.items() if count},
    )


def _is_of(row: Row, traveller: int) -> bool:
    return _numbers([row], "booking_travellers", TRAVELLER) == (traveller,)


def _numbers(rows: Iterable[Row], table: str, part: int) -> tuple[int, ...]:
    """A part of the keys of the rows of a table, once each, in order."""
    return tuple(sorted({int(key.split("/")[part]) for _, of, key in rows if of == table}))
