"""Bad days, numbers, absent values and doubled rows, and what has to become of each. See `bad_rows`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bad_rows import MINOR, UNCHANGED, BadRow, columns
from builders import POLICY, World
from governance.sources import named_query

# -- days and instants -------------------------------------------------------------------------------------------------

DAYS = ("0001-01-01", "9999-12-31", "infinity", "-infinity")
PARTITIONED = ("bookings.recorded_at", "payment_cards.recorded_at", "page_views.recorded_at")
"""They say in which partition a row is: `test_bad_partitions` has them."""


def each(rules: str, *of: str) -> dict[str, set[str]]:
    """The same rules, in one text, for several values."""
    return {value: set(rules.split()) for value in of}


ENDLESS, EARLY, LATE = ("infinity", "-infinity"), "0001-01-01", "9999-12-31"
UNKNOWN = (EARLY, *ENDLESS)
"""No instant of the years 1 to 9999 in every time zone."""

DAY_RULES: dict[str, dict[str, set[str]]] = {
    "bookings.booked_at": each(
        "A1.plausible_booking_date A1.plausible_service_date A1.terms_accepted L1.birth_date_known", *UNKNOWN
    )
    | each("A1.plausible_booking_date A1.plausible_service_date L1.plausible_age L1.client_plausible_age", LATE),
    "bookings.service_date": each("A1.plausible_service_date", *DAYS),
    "clients.recorded_at": each("A1.known_client A1.plausible_email", LATE, "infinity"),
    "terms_acceptances.accepted_at": each("A1.terms_accepted", *UNKNOWN)
    | each("A1.terms_accepted_before_booking", LATE),
    "terms_acceptances.recorded_at": each("A1.terms_accepted", LATE, "infinity"),
    "booking_travellers.birth_date": each("L1.plausible_age", EARLY)
    | each("L1.plausible_age L1.adult_at_booking L1.adult_at_service", LATE)
    | each("L1.birth_date_known", *ENDLESS),
    "guardian_consents.given_at": each("L2.guardian_consent_verified", *UNKNOWN)
    | each("L2.guardian_consent_before_booking", LATE),
    "guardian_consents.verified_at": each("L2.guardian_consent_verified", *UNKNOWN)
    | each("L2.guardian_consent_before_booking", LATE),
    "guardian_consents.withdrawn_at": each("L2.guardian_consent_stands", *DAYS),
    "guardian_consents.guardian_birth_date": each("L2.guardian_adult", *DAYS),
    "clients.birth_date": each("L1.client_plausible_age", EARLY)
    | each("L1.client_plausible_age L1.client_adult_at_booking", LATE)
    | each("L1.client_birth_date_known", *ENDLESS),
    "booking_services.starts_on": each("L1.service_dates_known", *UNKNOWN),
    "providers.active_from": each("H1.known_provider", LATE, "infinity"),
    "providers.active_until": each("H1.known_provider", EARLY, "-infinity"),
    "page_views.viewed_at": each("B1.known_instant", *UNKNOWN) | each("B1.plausible_instant", LATE),
}
CARD_REFUSALS = dict.fromkeys(UNKNOWN, "K1.card_age.unknown_time") | {LATE: "K1.card_age.future"}


def instants() -> Iterator[BadRow]:
    """Every day and instant at the ends of time."""
    for place in columns("date", "timestamp with time zone"):
        for value in DAYS if place not in PARTITIONED else ():
            rules = frozenset(DAY_RULES.get(place, {}).get(value, ()))
            refused = CARD_REFUSALS[value] if place == "payment_cards.captured_at" else ""
            is_known = value == LATE or (value == EARLY and place.endswith("birth_date"))
            yield BadRow(place, value, value, rules, refused, lands=UNCHANGED if is_known else None)


# -- numbers -----------------------------------------------------------------------------------------------------------

BOUNDS = {"integer": (-(2**31), 2**31 - 1), "bigint": (-(2**63), 2**63 - 1)}
NO_CLIENT, NO_MINORS_CONSENT = ("A1.known_client A1.plausible_email", "L1.adult_at_booking L1.adult_at_service")
NUMBER_RULES = {
    "bookings.version": "R1.no_version_gap",
    "bookings.price_amount_minor": "A1.plausible_price",
    "clients.client_id": NO_CLIENT,
    "terms_acceptances.client_id": "A1.terms_accepted",
    "booking_travellers.booking_id": "L1.has_travellers",
    "booking_travellers.version": "L1.has_travellers",
    "booking_services.booking_id": "H1.has_services",
    "booking_services.version": "H1.has_services",
    "booking_services.provider_id": "H1.known_provider",
    "guardian_consents.booking_id": NO_MINORS_CONSENT,
    "guardian_consents.traveller_no": NO_MINORS_CONSENT,
    "providers.provider_id": "H1.known_provider",
    "page_views.duration_ms": "B1.plausible_duration",
}
COORDINATES = {
    "page_views.latitude": ("NaN", "Infinity", "-Infinity", "1e308", "-1e308", "90.1", "-90.1"),
    "page_views.longitude": ("NaN", "Infinity", "-Infinity", "1e308", "-1e308", "180.1", "-180.1"),
}


def numbers() -> Iterator[BadRow]:
    """Every whole number at the bounds of its type, and coordinates that are none."""
    for kind, bounds in BOUNDS.items():
        for position, place in enumerate(columns(kind)):
            rules = frozenset(NUMBER_RULES.get(place, "").split())
            for name, bound in zip(("lowest", "highest"), bounds, strict=True):
                # The very bound once: rows that shared it by accident would be joined to each other.
                value = (
                    bound
                    if place.startswith(("bookings.", "page_views."))
                    else bound - position * (bound // abs(bound))
                )
                yield BadRow(place, name, value, rules)
    for place, values in COORDINATES.items():
        other = COORDINATES.keys() - {place}
        beside = {name.partition(".")[2]: 12.5 for name in other}
        for value in values:
            yield BadRow(place, value, value, frozenset({"B2.plausible_coordinates"}), beside=beside)
    for place, value in (("page_views.latitude", "4.9e-324"), ("page_views.longitude", "-0.0")):
        beside = {name.partition(".")[2]: 12.5 for name in COORDINATES.keys() - {place}}
        yield BadRow(place, value, value, beside=beside)


# -- nothing, and twice ------------------------------------------------------------------------------------------------

NULL_RULES = {
    "bookings.client_id": f"{NO_CLIENT} A1.terms_accepted",
    "bookings.purpose_code": "A1.known_purpose",
    "bookings.booked_at": "A1.plausible_booking_date A1.plausible_service_date A1.terms_accepted L1.birth_date_known",
    "bookings.service_date": "A1.plausible_service_date",
    "bookings.price_amount_minor": "A1.plausible_price",
    "bookings.currency_code": "A1.known_currency",
    "clients.email": "A1.plausible_email",
    "booking_travellers.birth_date": "L1.birth_date_known",
    "booking_services.provider_id": "H1.known_provider",
    "booking_services.procedure_code": "E1.known_procedure",
    "guardian_consents.given_at": "L2.guardian_consent_verified",
    "guardian_consents.verified_at": "L2.guardian_consent_verified",
    "guardian_consents.guardian_name": "L2.guardian_named",
    "guardian_consents.relation": "L2.guardian_is_another",
    "guardian_consents.guardian_birth_date": "L2.guardian_adult",
    "clients.birth_date": "L1.client_birth_date_known",
    "booking_services.starts_on": "L1.service_dates_known",
    "page_views.viewed_at": "B1.known_instant",
    "page_views.ip": "B1.plausible_address",
    "page_views.url": "B1.plausible_path",
    "page_views.latitude": "B2.plausible_coordinates",
    "page_views.longitude": "B2.plausible_coordinates",
}
_DECLARATION = re.compile(
    r"CREATE TABLE wellbe\.(\w+) \(|^    (\w+) +[a-z]+.*?(NOT NULL|PRIMARY KEY|[,\n])", re.MULTILINE
)


ADDED = ("guardian_consents.guardian_birth_date", "guardian_consents.withdrawn_at")
"""By later changes of the store."""


def nullable() -> Iterator[str]:
    """`table.column` of what may be NULL in the store, from its own schema, in the tables that a pipeline reads."""
    table, read = "", {place.partition(".")[0] for place in columns("text")}
    for named, column, rest in _DECLARATION.findall(named_query("source/0001_wellbe")):
        table = named or table
        if column and rest in (",", "\n") and table in read:
            yield f"{table}.{column}"
    yield from ADDED


def nulls() -> Iterator[BadRow]:
    """Every column that the store lets be NULL."""
    for place in nullable():
        beside = {name.partition(".")[2]: 12.5 for name in COORDINATES.keys() - {place}} if place in COORDINATES else {}
        if place == "bookings.client_id":
            beside = {"with_client": False, "with_terms": False}
        refused = "K1.card_age.unknown_time" if place == "payment_cards.captured_at" else ""
        yield BadRow(place, "NULL", None, frozenset(NULL_RULES.get(place, "").split()), refused, beside=beside)


DOUBLES = {
    "bookings": ("booking_id", "R1.unique_key"),
    "booking_travellers": ("booking_id", "R1.unique_traveller"),
    "booking_services": ("booking_id", "R1.unique_service"),
    "payment_cards": ("booking_id", "R1.unique_card"),
    "page_views": ("view_id", "R1.unique_view"),
    "guardian_consents": ("booking_id", ""),
    "clients": ("client_id", ""),
    "terms_acceptances": ("client_id", ""),
}
"""By which column a row is found again, and what holds it back when the source has it twice: of what is only known
beside a booking, one is as good as the other."""


@dataclass(frozen=True, eq=False)
class DoubledRow(BadRow):
    """A row that the source holds twice."""

    def plant(self, world: World, *, is_mended: bool = False) -> str:
        """The sound row, and its copy unless it is mended."""
        if self.table == "page_views":
            key = number = world.view()
        else:
            key = world.booking(card={}, travellers=[{"birth_date": MINOR}], consents=[{}])
            number = key.partition("/")[0]
        if not is_mended:
            names = list(POLICY.source_tables[self.table])
            values = ["-feed_id" if name == "feed_id" else name for name in names]
            identified = DOUBLES[self.table][0]
            offset = 40_000 if identified == "client_id" else 0  # of a booking's number and its client's
            world.execute(
                f"INSERT INTO wellbe.{self.table} ({', '.join(names)}) SELECT {', '.join(values)} "
                f"FROM wellbe.{self.table} WHERE {identified} = %s",
                int(number) + offset,
            )
        return key


def doubles() -> Iterator[BadRow]:
    """Every row of what is pulled, twice."""
    for table, (column, rules) in DOUBLES.items():
        yield DoubledRow(f"{table}.{column}", "twice", None, frozenset(rules.split()))


VALUES = [*instants(), *numbers(), *nulls(), *doubles()]
