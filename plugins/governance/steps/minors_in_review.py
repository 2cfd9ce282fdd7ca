"""Whom erasures are about: minors whose review is over, and nobody who is an adult or stands accepted by now (L3).

What quarantine holds back and what is erased are not the same. A row is held back for whatever is unknown; erased is
only who is a minor by the birth date itself, which the source is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg2.extensions

from governance import judging, sources
from governance.erasure import Erasure
from governance.renumbering import Party, Place, Traveller
from governance.run_log import Attempt
from governance.sources import named_query
from governance.steps.rejudging import Row, judged_now
from governance.steps.retaining import as_retainer, session_at_source
from governance.steps.workspace import Workspace

NEW = 0
"""The number of an erasure that is not begun."""
STANDS = "whom it is about stands there still"
SEEN = {
    "quarantine.reviews": ["dataset", "row_key", "since"],
    "quarantine.rows": ["dataset", "quarantined_at", "row_key"],
    "quarantine.findings": ["clause", "dataset", "partition_key", "root_key", "row_key", "rule", "table_name"],
    "quarantine.erasures": ["erasure_no", "booking_id", "travellers", "versions", "clients", "booked_at", "begun_at"],
}
ACCEPTED = {
    "records.booking_travellers": ["age_at_booking_years", "landing_no", "partition_key", "row_key"],
    "records.bookings": ["booking_id", "client_age_with_guardian_years", "client_id", "landing_no", "partition_key"],
}


@dataclass(frozen=True)
class Reviewed:
    """The erasures that are due, and the bookings whose review is over and of whom nobody is erased."""

    erasures: list[Erasure]
    others: list[int]


def found(workspace: Workspace, attempt: Attempt, at: datetime) -> Reviewed:
    """The erasures that were begun, with whoever came into quarantine since, and those that are due at an instant,
    which have no number yet.

    A booking of which something would be decided otherwise by now is left to `consents`, whose next run decides it.
    """
    waiting: dict[int, list[Row]] = {}
    due = at - timedelta(days=float(workspace.policy.value("minor_review_days")))
    with as_retainer(workspace, attempt, SEEN) as (cursor, _):
        cursor.execute(named_query("minors_begun"))
        erasures = {
            booking: Erasure(number, booking, tuple(map(tuple, travellers)), tuple(clients), booked)
            for number, booking, travellers, clients, booked in cursor.fetchall()
        }
        cursor.execute(named_query("minors_due"), {"due": due})
        for booking, *row in cursor.fetchall():
            waiting.setdefault(booking, []).append(tuple(row))
    now = judged_now(workspace, attempt.batch.label, [row for rows in waiting.values() for row in rows])
    others: list[int] = []
    for booking, rows in waiting.items():
        if any(row in now and now[row].passes for row in rows):
            continue
        whom = [row for row in rows if row not in now or now[row].is_minor]
        new = _of_booking(workspace, attempt, booking, (rows, whom, at)) if whom else None
        begun = erasures.get(booking)
        if new and (begun or new.travellers or _versions(whom)):
            erasures[booking] = begun.joined_by(new) if begun else new
        elif not begun:
            others.append(booking)
    return Reviewed(list(erasures.values()), others)


def end_reviews(workspace: Workspace, cursor: psycopg2.extensions.cursor, bookings: list[int], at: datetime) -> int:
    """End the reviews of bookings of whom nobody is erased, once the term of quarantine is over; returns how many."""
    days = max(float(workspace.policy.value(name)) for name in ("minor_review_days", "quarantine_days"))
    named = {"bookings": [str(booking) for booking in bookings], "term": at - timedelta(days=days)}
    cursor.execute(named_query("reviews_over"), named)
    return cursor.rowcount


def _of_booking(
    workspace: Workspace, attempt: Attempt, booking: int, of: tuple[list[Row], list[Row], datetime]
) -> Erasure:
    """Of all rows of a booking in review and those of minors among them: whom an erasure at an instant is about."""
    rows, whom, at = of
    adult_years = int(workspace.policy.value("adult_years"))
    clients: dict[int, datetime | None] = {}
    if versions := _versions(whom):
        with session_at_source(workspace, attempt.batch.label, STANDS) as there:
            there.execute(named_query("clients_of_booking"), {"booking": booking, "versions": versions})
            clients = dict(there.fetchall())
    with as_retainer(workspace, attempt, ACCEPTED) as (cursor, _):
        named = {"booking": booking, "clients": list(clients), "adult_years": adult_years}
        cursor.execute(named_query("travellers_accepted"), named)
        ages = {(version, number): age for version, number, age in cursor.fetchall()}
        cursor.execute(named_query("clients_accepted"), named)
        others = {client for (client,) in cursor.fetchall()}
    adults = {place for place, age in ages.items() if age is not None and age >= adult_years}
    party = _party(workspace, attempt, booking, {place: place not in adults for place in ages})
    minors = _places(whom)
    latest = max((version for version, _ in ages), default=0)
    standing = {place for place in adults if place[0] == latest}
    # By now, whoever is an adult in a version that was accepted later: an earlier birth date was a mistake.
    accepted = {one for one in minors if one[0] < latest and party.is_among(one, standing)}
    travellers = party.everywhere(minors - accepted)
    protected = {"accepted_travellers": len(accepted - travellers), "accepted_clients": len(others)}
    return Erasure(
        NEW,
        booking,
        tuple(sorted(travellers)),
        tuple(client for client in clients if client not in others),
        max((booked for booked in clients.values() if booked), default=at),
        left_out=tuple(sorted(_places(rows) - travellers)),
        protected={name: count for name, count in protected.items() if count},
    )


def _party(workspace: Workspace, attempt: Attempt, booking: int, accepted: dict[Place, bool]) -> Party:
    """Everyone in every version of a booking, as the source has them; of whom it has no more, whether we accepted them
    as minors."""
    with sources.snapshot(workspace.source_uri(), attempt.batch.label) as snapshot:
        there = snapshot.travellers([booking], workspace.policy.time_zone)
    born, recorded, booked = (there[name].combine_chunks() for name in ("birth_date", "recorded_date", "booked_date"))
    are_minors = judging.are_minors(born, recorded, booked, int(workspace.policy.value("adult_years")))
    rows = there.append_column("is_minor", are_minors).to_pylist()
    known = [
        Traveller(row["version"], row["traveller_no"], row["name"], row["birth_date"], row["is_minor"]) for row in rows
    ]
    gone = accepted.keys() - {one.place for one in known}
    return Party((*known, *(Traveller(*place, "", None, accepted[place]) for place in sorted(gone))))


def _places(rows: Iterable[Row]) -> set[Place]:
    """Of the rows of travellers."""
    keys = [key.split("/") for _, table, key in rows if table == "booking_travellers"]
    return {(int(version), int(number)) for _, version, number in keys}


def _versions(rows: Iterable[Row]) -> list[int]:
    """Of the rows of bookings."""
    return sorted({int(key.split("/")[1]) for _, table, key in rows if table == "bookings"})
