"""Which bookings may go to a provider now, by what the source says now, and why the others may not. Pure.

Nothing of an earlier decision counts here but which version was accepted: consent, age, restriction and erasure are
those of the instant of the hand-over (F1, N1, L1-L3, M1; GDPR articles 6(1)(b), 9(2)(a), 18, 21). A booking is judged
as a whole: of a family whose child has no guardian's consent nobody's data goes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import pandas as pd

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

    bookings: pd.DataFrame
    travellers: pd.DataFrame
    services: pd.DataFrame
    grounds: pd.DataFrame
    passing: Mapping[str, AbstractSet[str]]
    erased: AbstractSet[str]
    with_cards: AbstractSet[str] = frozenset()

    @property
    def latest(self) -> pd.DataFrame:
        """The latest version of each booking, by booking_id; of a version that was recorded twice the later row."""
        ordered = self.bookings.sort_values(["bookings.version", "bookings.recorded_at"], kind="stable")
        return ordered.drop_duplicates("bookings.booking_id", keep="last").set_index("bookings.booking_id", drop=False)

    def up_to(self, versions: Mapping[int, int]) -> Reading:
        """The same without what came after these versions, by booking."""
        last = self.bookings["bookings.booking_id"].astype("int64").map(dict(versions))
        return replace(self, bookings=self.bookings[self.bookings["bookings.version"].astype("int64") <= last])


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
    found: dict[int, Reason | None] = dict.fromkeys(asked.versions, Reason.UNKNOWN)
    found.update(dict.fromkeys(found.keys() & set(latest.index)))
    for reason, applies in _tests(reading, latest, asked).items():
        if reason in among:
            for booking in latest.index[applies]:
                found[booking] = found[booking] or reason
    return found


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


def _tests(reading: Reading, latest: pd.DataFrame, asked: Asked) -> dict[Reason, pd.Series]:
    """Of each booking that the source knows, whether a reason applies; in the order of `Reason`."""
    keys = latest["row_key"].astype(object)
    grounds = reading.grounds.set_index("client_id").reindex(latest["bookings.client_id"]).set_axis(latest.index)
    version = latest["bookings.version"].astype("int64")
    accepted = latest.index.to_series().map(dict(asked.versions))
    failing = {
        root for key, root in zip(reading.travellers["row_key"], reading.travellers["root_key"], strict=True)
        if key not in reading.passing["booking_travellers"]
    }  # fmt: skip
    named = _of_provider(reading.services, asked)["root_key"]
    lacking = ~keys.isin(set(reading.travellers["root_key"]))
    return {
        Reason.ERASED: keys.isin(reading.erased),
        Reason.CANCELLED: _plain(latest["bookings.status"]).eq("cancelled"),
        Reason.NOT_VALIDATED: ~latest.index.to_series().isin(asked.validated),
        Reason.NEWER_VERSION: version > accepted,
        Reason.OLDER_VERSION: version < accepted,
        Reason.NOT_NAMED: ~keys.isin(set(named)),
        Reason.RESTRICTED: _is_so(grounds["is_restricted"]),
        Reason.OBJECTED: _is_so(grounds["has_objected"]),
        Reason.ASKED_FOR_ERASURE: _is_so(grounds["asked_for_erasure"]),
        Reason.NOT_ACCEPTED: latest["terms_acceptances.accepted_at"].isna() | grounds["is_restricted"].isna(),
        Reason.NO_CONSENT: ~_is_so(grounds["has_consented"]) if asked.kind == HEALTH else _never(latest),
        Reason.MINOR: keys.isin(failing) | lacking | ~keys.isin(reading.passing["bookings"]),
        Reason.CARD_IN_TEXT: keys.isin(reading.with_cards),
    }


def offered(reading: Reading, asked: Asked, bookings: AbstractSet[int]) -> pd.DataFrame:
    """The rows of bookings that may go: one a service of the provider and person, ascending by their keys.

    Columns: those that contracts choose from, but for references and `replaces_version`; and, to make these from,
    booking_id, version, service_no, traveller_no, client_id. Of a health service the patients are persons, of a travel
    service everybody who travels; of several patients' notes none is told apart, so the note goes with each.
    """
    latest = reading.latest
    latest = latest[latest.index.isin(bookings)]
    services = _of_provider(reading.services, asked).add_prefix("service.")
    travellers = reading.travellers
    if asked.kind == HEALTH:
        travellers = travellers[_plain(travellers["booking_travellers.role"]) == "patient"]
    rows = latest.merge(services, left_on="row_key", right_on="service.root_key").merge(
        travellers.add_prefix("person."), left_on="row_key", right_on="person.root_key"
    )
    number = rows["person.row_key"].astype(object).str.rsplit("/", n=1).str[-1].astype("int64")
    return pd.DataFrame(
        {
            "booking_id": rows["bookings.booking_id"].astype("int64"),
            "version": rows["bookings.version"].astype("int64"),
            "service_no": rows["service.booking_services.service_no"].astype("int64"),
            "traveller_no": number,
            "client_id": rows["bookings.client_id"],
            "booking_version": rows["bookings.version"].astype("int64"),
            "booking_status": rows["bookings.status"],
            "booking_changed_at": rows["bookings.changed_at"],
            "given_name": rows["person.booking_travellers.given_name"],
            "family_name": rows["person.booking_travellers.family_name"],
            "birth_date": rows["person.booking_travellers.birth_date"],
            "email": rows["clients.email"],
            "phone": rows["clients.phone"],
            "language": rows["bookings.locale"],
            "procedure_code": rows["service.booking_services.procedure_code"],
            "clinical_note": rows["bookings.notes"],
            "service_date": rows["service.booking_services.starts_on"],
            "nights_count": rows["bookings.nights_count"],
            "itinerary": rows["service.booking_services.itinerary"],
        }
    )


def _of_provider(services: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    is_theirs = (services["booking_services.provider_id"] == asked.provider_id).fillna(False)
    return services[is_theirs & (_plain(services["booking_services.kind"]) == asked.kind)]


def _plain(words: pd.Series) -> pd.Series:
    """Words of the source as policy writes them, however they stand there."""
    return words.astype(object).str.strip().str.lower()


def _is_so(values: pd.Series) -> pd.Series:
    """What nobody knows is not so."""
    return values.fillna(False).astype(bool)


def _never(latest: pd.DataFrame) -> pd.Series:
    return pd.Series(False, index=latest.index)
