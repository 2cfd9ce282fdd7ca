"""Which bookings may go to a provider now, by what the source says now, and why the others may not. Pure.

Nothing of an earlier decision counts here but which version was accepted: consent, age, restriction and erasure are
those of the instant of the hand-over (F1, N1, L1-L3, M1; GDPR articles 6(1)(b), 9(2)(a), 18, 21). A booking is judged
as a whole: of a family whose child has no guardian's consent nobody's data goes.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, reduce
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HEALTH = "health"

Obliged = Literal["consent withdrawn", "erased", "cancelled", "restricted", "superseded"]
"""Why who holds a booking has to be told that it may not be used any more."""


class Reason(StrEnum):
    """Why a booking is left out; of several reasons the first of these is told."""

    UNKNOWN = "unknown"  # the source has no such booking any more
    ERASED = "erased"
    CANCELLED = "cancelled"
    NOT_VALIDATED = "not_validated"  # the log has no validation of its partition
    NEWER_VERSION = "newer_version"  # waits until that version is accepted
    OLDER_VERSION = "older_version"  # the source lost the version that was accepted
    NOT_NAMED = "not_named"  # no service of this provider any more
    RESTRICTED = "restricted"
    OBJECTED = "objected"
    ASKED_FOR_ERASURE = "asked_for_erasure"
    NOT_ACCEPTED = "not_accepted"  # no acceptance of the terms, or no known client (A1)
    NO_CONSENT = "no_consent"  # to health data (N1)
    MINOR = "minor"  # somebody of the booking is, without a guardian's consent (L1, L2)
    CARD_IN_TEXT = "card_in_text"  # written since it was accepted: card data is handed to nobody (K4)
    INCOMPLETE = "incomplete"  # lacks what the contract requires
    UNFIT = "unfit"  # says something that the contract, or the wire format, does not allow


REVOKING: Mapping[Reason, Obliged] = {
    Reason.UNKNOWN: "erased",
    Reason.ERASED: "erased",
    Reason.CANCELLED: "cancelled",
    Reason.NOT_NAMED: "cancelled",
    Reason.RESTRICTED: "restricted",
    Reason.OBJECTED: "restricted",
    Reason.ASKED_FOR_ERASURE: "restricted",
    Reason.NO_CONSENT: "consent withdrawn",
    Reason.MINOR: "consent withdrawn",
}
"""Of the reasons for which who holds a booking has to be told (GDPR article 19), the obligation that is raised."""

DELETING = tuple(reason for reason, obliged in REVOKING.items() if obliged in ("erased", "consent withdrawn"))
"""Of these, the reasons for which it has to be deleted, whatever was told before."""


@dataclass(frozen=True)
class Reading:
    """What one snapshot of the source says of some bookings.

    `bookings`: their versions, `travellers`, `services`: as the queries of pull bring them, every version; `grounds`:
    one row a client (`sql/share_grounds.sql`). `passing`: by landed table, the row keys that break no rule of L1 and
    L2. `erased`: row keys of booking versions of which the client or a traveller was erased; `with_cards`: of those
    with a card number in a text.
    """

    bookings: pa.Table
    travellers: pa.Table
    services: pa.Table
    grounds: pa.Table
    passing: Mapping[str, pa.Array | pa.ChunkedArray]
    erased: AbstractSet[str]
    with_cards: AbstractSet[str] = frozenset()

    @property
    def versions(self) -> pa.Table:
        """Each version of each booking, ascending by both; of one that was recorded twice the later row."""
        return self.bookings.take(self._rows_of_versions)

    @cached_property
    def latest(self) -> pa.Table:
        """The latest version of each booking, ascending by booking_id."""
        last = self._rows_of_versions
        return self.bookings.take(last.take(_last_of_each(self.bookings["bookings.booking_id"].take(last))))

    @cached_property
    def _rows_of_versions(self) -> pa.Array:
        order = [(f"bookings.{name}", "ascending") for name in ("booking_id", "version", "recorded_at")]
        rows = pc.sort_indices(self.bookings, order)  # stable; what is NULL comes last
        return rows.take(_last_of_each(*(self.bookings[name].take(rows) for name, _ in order[:2])))

    def up_to(self, versions: Mapping[int, int]) -> Reading:
        """The same without what came after these versions, by booking."""
        last = _looked_up(self.bookings["bookings.booking_id"], versions)
        return replace(self, bookings=self.bookings.filter(pc.less_equal(self.bookings["bookings.version"], last)))


@dataclass(frozen=True)
class Asked:
    """The versions that were accepted, by booking, of a provider with services of a kind; `validated`: the bookings
    whose partition the run log says was validated."""

    versions: Mapping[int, int]
    provider_id: int
    kind: str  # 'health' | 'travel', as in booking_services.kind
    validated: AbstractSet[int]


def judged(reading: Reading, asked: Asked, among: Container[Reason] = tuple(Reason)) -> dict[int, Reason | None]:
    """Of each booking that was asked for, the reason why it may not go, or None; only those `among` are looked at."""
    latest = reading.latest
    reasons: list[Reason | None] = [None] * latest.num_rows
    for reason, applies in reversed(_tests(reading, latest, asked).items()):
        if reason in among:
            for place in np.flatnonzero(pc.fill_null(applies, False)):
                reasons[place] = reason
    known = dict(zip(latest["bookings.booking_id"].to_pylist(), reasons, strict=True))
    return {booking: known.get(booking, Reason.UNKNOWN) for booking in asked.versions}


def ended(reading: Reading, held: Asked, among: Container[Reason] = REVOKING.keys()) -> dict[int, Obliged]:
    """Of bookings that a provider holds, those that it may not use any more, and why.

    What the source says last decides, whether or not it was accepted: an amendment that waits, or never passes, takes
    back no withdrawal and no change of provider. And so does the version that is held: its client may be another one.
    """
    reasons = [judged(reading, held, among), judged(reading.up_to(held.versions), held, among)]
    found: dict[int, Obliged] = {}
    for booking, last in reasons[0].items():
        had = reasons[1][booking]
        # Of a version that is gone nothing can be said: what the source has of the booking says it.
        said = {last, None if had is Reason.UNKNOWN else had} - {None}
        if said:
            found[booking] = REVOKING[next(reason for reason in REVOKING if reason in said)]
    return found


def doubtful(reading: Reading, held: pa.Table, among: Container[Reason] = REVOKING.keys()) -> set[tuple[int, str]]:
    """Of bookings that are held, and by whom, those that perhaps may not be used any more: all that `ended` would find,
    holder by holder, and few others.

    `held` has booking_id, version, recipient_id, and the provider_id and kind of services of that recipient, whose
    provider_id is NULL where nothing that names it is looked at.
    """
    versions = reading.versions
    found = {reason: applies for reason, applies in _whoever(reading, versions).items() if reason in among}
    last = _last_of_each(versions["bookings.booking_id"])
    latest = last.take(pc.index_in(held["booking_id"], versions["bookings.booking_id"].take(last).combine_chunks()))
    had = pc.binary_join_element_wise(
        pc.cast(held["booking_id"], pa.string()), pc.cast(held["version"], pa.string()), "/"
    )
    doubts = [
        doubt
        for row in (latest, pc.index_in(had, versions["row_key"].combine_chunks()))
        for doubt in _doubts(reading, versions.take(row), held, {reason: a.take(row) for reason, a in found.items()})
    ]
    are_doubtful = reduce(pc.or_, (pc.fill_null(doubt, False) for doubt in doubts))
    told = held.filter(are_doubtful)
    return set(zip(told["booking_id"].to_pylist(), told["recipient_id"].to_pylist(), strict=True))


def _doubts(
    reading: Reading, versions: pa.Table, held: pa.Table, found: dict[Reason, pa.ChunkedArray]
) -> Iterator[pa.ChunkedArray]:
    """Of each row of what is held, whether something speaks against a version of it; one that is gone is in doubt."""
    yield pc.is_null(versions["row_key"])
    for reason, applies in found.items():
        yield pc.and_(applies, pc.equal(held["kind"], HEALTH)) if reason is Reason.NO_CONSENT else applies
    services, provider = reading.services, pc.cast(held["provider_id"], pa.string())
    named = pc.binary_join_element_wise(
        services["root_key"], pc.cast(services["booking_services.provider_id"], pa.string()),
        _plain(services["booking_services.kind"]), " ",
    )  # fmt: skip
    asked_for = pc.binary_join_element_wise(versions["row_key"], provider, held["kind"], " ")
    yield pc.and_(pc.is_valid(provider), _not(_among(asked_for, named)))


def _tests(reading: Reading, latest: pa.Table, asked: Asked) -> dict[Reason, pa.ChunkedArray]:
    """Of each booking that the source knows, whether a reason applies; in the order of `Reason`."""
    keys, version, bookings = latest["row_key"], latest["bookings.version"], latest["bookings.booking_id"]
    accepted = _looked_up(bookings, asked.versions)
    whoever = _whoever(reading, latest)
    found = {
        **whoever,
        Reason.NOT_VALIDATED: _not(_among(bookings, pa.array(asked.validated, pa.int64()))),
        Reason.NEWER_VERSION: pc.greater(version, accepted),
        Reason.OLDER_VERSION: pc.less(version, accepted),
        Reason.NOT_NAMED: _not(_among(keys, _of_provider(reading.services, asked)["root_key"])),
        Reason.NO_CONSENT: pc.and_(whoever[Reason.NO_CONSENT], asked.kind == HEALTH),
    }
    return {reason: found[reason] for reason in Reason if reason in found}


def _whoever(reading: Reading, versions: pa.Table) -> dict[Reason, pa.ChunkedArray]:
    """Of booking versions, whether a reason applies that does not ask who is to have it, nor which version; without
    consent to health data, as if it were one of health."""
    keys = versions["row_key"]
    of_client = pc.index_in(versions["bookings.client_id"], reading.grounds["client_id"].combine_chunks())
    grounds = {name: reading.grounds[name].take(of_client) for name in reading.grounds.column_names}
    travellers = reading.travellers
    failing = travellers["root_key"].filter(_not(_among(travellers["row_key"], reading.passing["booking_travellers"])))
    return {
        Reason.ERASED: _among(keys, pa.array(reading.erased, pa.string())),
        Reason.CANCELLED: pc.equal(_plain(versions["bookings.status"]), "cancelled"),
        Reason.RESTRICTED: grounds["is_restricted"],
        Reason.OBJECTED: grounds["has_objected"],
        Reason.ASKED_FOR_ERASURE: grounds["asked_for_erasure"],
        Reason.NOT_ACCEPTED: pc.or_(
            pc.is_null(versions["terms_acceptances.accepted_at"]), pc.is_null(grounds["is_restricted"])
        ),
        Reason.NO_CONSENT: _not(grounds["has_consented"]),
        Reason.MINOR: pc.or_(
            pc.or_(_among(keys, failing), _not(_among(keys, travellers["root_key"]))),
            _not(_among(keys, reading.passing["bookings"])),
        ),
        Reason.CARD_IN_TEXT: _among(keys, pa.array(reading.with_cards, pa.string())),
    }


def offered(reading: Reading, asked: Asked, bookings: AbstractSet[int]) -> pa.Table:
    """The rows of bookings that may go: one a service of the provider and person, in no order.

    Columns: those that contracts choose from, but for references and `replaces_version`; and, to make these from,
    booking_id, version, service_no, traveller_no, client_id. Of a health service the patients are persons, of a travel
    service everybody who travels; of several patients' notes none is told apart, so the note goes with each.
    """
    latest = reading.latest
    latest = latest.filter(_among(latest["bookings.booking_id"], pa.array(bookings, pa.int64())))
    travellers = reading.travellers
    if asked.kind == HEALTH:
        travellers = travellers.filter(pc.equal(_plain(travellers["booking_travellers.role"]), "patient"))
    numbers = pc.cast(pc.replace_substring_regex(travellers["row_key"], "^.*/", ""), pa.int64())
    people = _only(travellers, _OF_PERSON).append_column("traveller_no", numbers)
    services = _only(_of_provider(reading.services, asked), _OF_SERVICE)
    rows = _only(latest, _OF_BOOKING).join(services, "root_key", join_type="inner", use_threads=False)
    return rows.join(people, "root_key", join_type="inner", use_threads=False).select(_OFFERED)


_OF_BOOKING = {
    "root_key": "row_key",
    "booking_id": "bookings.booking_id",
    "version": "bookings.version",
    "client_id": "bookings.client_id",
    "booking_version": "bookings.version",
    "booking_status": "bookings.status",
    "booking_changed_at": "bookings.changed_at",
    "email": "clients.email",
    "phone": "clients.phone",
    "language": "bookings.locale",
    "clinical_note": "bookings.notes",
    "nights_count": "bookings.nights_count",
}
_OF_SERVICE = {
    "root_key": "root_key",
    "service_no": "booking_services.service_no",
    "procedure_code": "booking_services.procedure_code",
    "service_date": "booking_services.starts_on",
    "itinerary": "booking_services.itinerary",
}
_OF_PERSON = {
    "root_key": "root_key",
    "given_name": "booking_travellers.given_name",
    "family_name": "booking_travellers.family_name",
    "birth_date": "booking_travellers.birth_date",
}
_OFFERED = [
    "booking_id", "version", "service_no", "traveller_no", "client_id", "booking_version", "booking_status",
    "booking_changed_at", "given_name", "family_name", "birth_date", "email", "phone", "language", "procedure_code",
    "clinical_note", "service_date", "nights_count", "itinerary",
]  # fmt: skip
_WHOLE = ("booking_id", "version", "service_no", "booking_version")
"""Numbers that are 64 bits wide here, however wide they are at the source."""


def _only(table: pa.Table, named: Mapping[str, str]) -> pa.Table:
    """Columns of a table, by the names that they have here."""
    columns = {name: table[column] for name, column in named.items()}
    return pa.table({name: pc.cast(c, pa.int64()) if name in _WHOLE else c for name, c in columns.items()})


def _of_provider(services: pa.Table, asked: Asked) -> pa.Table:
    """Services of theirs; one of which nobody knows the provider is nobody's."""
    is_theirs = pc.equal(services["booking_services.provider_id"], asked.provider_id)
    return services.filter(pc.and_(is_theirs, pc.equal(_plain(services["booking_services.kind"]), asked.kind)))


def _plain(words: pa.ChunkedArray) -> pa.ChunkedArray:
    """Words of the source as policy writes them, however they stand there."""
    return pc.utf8_lower(pc.utf8_trim_whitespace(words))


def _last_of_each(*ids: pa.ChunkedArray) -> pa.Array:
    """Where the last one of each id is, of ids, in one column or several, of which equal ones stand together."""
    changes = reduce(pc.or_, (pc.not_equal(part[1:], part[:-1]) for part in ids))
    is_last = np.append(np.asarray(pc.fill_null(changes, True), dtype=bool), [True] * bool(len(ids[0])))
    return pa.array(np.flatnonzero(is_last), pa.int64())


def _looked_up(bookings: pa.ChunkedArray, versions: Mapping[int, int]) -> pa.ChunkedArray:
    """Of each booking a version that is known of it, or NULL."""
    return pa.array(versions.values(), pa.int64()).take(pc.index_in(bookings, pa.array(versions.keys(), pa.int64())))


def _among(values: pa.ChunkedArray, these: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each is one of these; what is NULL is none."""
    return pc.is_in(values, these.combine_chunks() if isinstance(these, pa.ChunkedArray) else these, skip_nulls=True)


def _not(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """What nobody knows is not so."""
    return pc.invert(pc.fill_null(values, False))
