"""Whose a record is once its client was erased: nobody's, or after a new acceptance of terms a new subject's. Pure.

What is left of a destroyed key is the tombstone (E09): whatever is older than the erasure is dropped whenever it is
pulled. A client who accepts the terms anew afterwards, as an adult, begins a new subject, with a key of its own that no
earlier record can be joined to. Policy clauses L3, M1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from governance import age

TO_THE_SECOND = timedelta(seconds=1)
"""A key store notes the second of a destruction; all of it counts as before."""

AS_AN_ADULT = " as an adult"
"""What the scope of a key ends in that is no minor's, whose number was erased."""


@dataclass(frozen=True)
class Subject:
    """Whose key the records of a client are under that begin at `since` or later."""

    scope: str
    since: datetime


@dataclass(frozen=True)
class Succession:
    """Whom a client has been by a record's beginning: scopes of keys, the first one first.

    `until`: when the next subject begins, whose everything is from then on; None while there is none.
    """

    scopes: tuple[str, ...]
    until: datetime | None


def acceptances_of_adults(found: pa.Table, adult_years: int) -> dict[str, list[datetime]]:
    """Instants at which each client accepted the terms as an adult, in order.

    `found` has columns client_ref, accepted_at, accepted_date and birth_date, as the query `acceptances` brings them.
    An unknown birth date is no adult's.
    """
    ages = age.whole_years(found["birth_date"], found["accepted_date"])
    of_adults = found.filter(pc.fill_null(pc.greater_equal(ages, adult_years), False)).sort_by("accepted_at")
    accepted: dict[str, list[datetime]] = {}
    for row in of_adults.select(["client_ref", "accepted_at"]).to_pylist():
        accepted.setdefault(row["client_ref"], []).append(row["accepted_at"])
    return accepted


def begun_anew(
    clients: Iterable[str],
    ended: Callable[[Collection[str]], Mapping[str, datetime]],
    accepted: Mapping[str, Sequence[datetime]],
) -> dict[str, Subject]:
    """The living subject of each client whose first one was erased, of those who have one.

    `clients`: scopes of their first keys; `ended` tells of scopes when their keys were destroyed, of those that are;
    `accepted`: as `acceptances_of_adults`. A client who was erased again begins again in the same way.
    """
    living: dict[str, Subject] = {}
    current = {client: client for client in clients}
    while current:
        gone = ended(current.values())
        following = {}
        for client, scope in current.items():
            if scope not in gone:
                continue
            living.pop(client, None)
            if begun := _next(client, gone[scope], accepted):
                following[client] = begun.scope
                living[client] = begun
        current = following
    return living


def succession(
    client: str,
    begun_at: datetime,
    ended: Callable[[Collection[str]], Mapping[str, datetime]],
    accepted: Mapping[str, Sequence[datetime]],
) -> Succession:
    """Whom a client had been when a record began; `ended` and `accepted` as in `begun_anew`.

    Whoever is erased for that record is erased as all of these, and the subject that begins afterwards is another's.
    """
    scopes = [client]
    while (gone := ended(scopes[-1:]).get(scopes[-1])) and (begun := _next(client, gone, accepted)):
        if begun_at < begun.since:
            return Succession(tuple(scopes), begun.since)
        scopes.append(begun.scope)
    return Succession(tuple(scopes), None)


def _next(client: str, gone: datetime, accepted: Mapping[str, Sequence[datetime]]) -> Subject | None:
    """The subject that follows one whose key was destroyed at an instant."""
    first = next((at for at in accepted.get(client, ()) if at >= gone + TO_THE_SECOND), None)
    return Subject(f"{client} since {int(first.timestamp())}", first) if first else None


def as_adults(scopes: pa.Array, are_adults: pa.Array, made: Collection[str]) -> pa.Array:
    """The scope of each traveller's key, where an adult has the number of a minor who was erased: one of their own.

    `scopes`: string array of length n; `are_adults`: boolean of length n; `made`: scopes of adults for whom an erasure
    of a minor has made a key. Whoever was erased as an adult has none, and stays erased.
    """
    theirs = pc.binary_join_element_wise(scopes, AS_AN_ADULT, "")
    return pc.if_else(pc.and_(are_adults, pc.is_in(theirs, pa.array(sorted(made), pa.string()))), theirs, scopes)


def renamed(scopes: pa.Array, begun_at: pa.Array, living: Mapping[str, Subject | None]) -> pa.Array:
    """The scope of each row's key: the new subject's, where the record began when there was one; else as it was.

    `scopes`: string array of length n; `begun_at`: timestamps of length n, where NULL is not known to be new.
    """
    began = begun_at.to_pylist()
    found = [
        subject.scope if (subject := living.get(scope)) and at is not None and at >= subject.since else scope
        for scope, at in zip(scopes.to_pylist(), began, strict=True)
    ]
    return pa.array(found, pa.string())
