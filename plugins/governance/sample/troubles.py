"""Planting troubles: each on a booking that is otherwise sound, each noted by the key that the pipelines will name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.sample import cards, catalogue, days, party_troubles
from governance.sample.cases import Case, Row
from governance.sample.draws import Draws
from governance.sample.kinds import BOOKING_KINDS, Kind
from governance.sample.tables import SCHEMAS, Tables


def _terms_missing(case: Case) -> str:
    case.tables["terms_acceptances"].clear()
    return case.booking_key()


def _terms_after_booking(case: Case) -> str:
    for row in case.tables["terms_acceptances"]:
        row["accepted_at"] = case.between_booking_and_record(0.5)
        row["recorded_at"] = case.booking["recorded_at"]
    return case.booking_key()


def _purpose_unknown(case: Case) -> str:
    case.booking["purpose_code"] = ("marketing", None, "kontrakt")[case.turn % 3]
    return case.booking_key()


def _client_unknown(case: Case) -> str:
    """Nobody has the client's id; the terms were accepted under it all the same."""
    case.tables["clients"].clear()
    return case.booking_key()


def _email_broken(case: Case) -> str:
    for row in case.tables["clients"]:
        name, domain = row["email"].split("@")
        broken = (
            f"{name}.{domain}",
            f"{name}@@{domain}",
            f"{name}@",
            f"{name.replace('.', ' ')}@{domain}",
            f"{name}@.com",
        )
        row["email"] = broken[case.turn % len(broken)]
    return case.booking_key()


def _service_before_booking(case: Case) -> str:
    booked, spread = case.booked_date, case.key % 20
    dates = (booked - timedelta(days=1 + spread), booked + timedelta(days=1101 + 30 * spread), None)
    case.booking["service_date"] = dates[case.turn % 3]
    for row in case.tables["booking_services"]:
        row["starts_on"] = case.booking["service_date"] or row["starts_on"]
    return case.booking_key()


def _booked_in_future(case: Case) -> str:
    ahead = timedelta(days=3 + case.key % 40)
    case.booking["booked_at"] = case.booking["changed_at"] = case.booking["recorded_at"] + ahead
    case.booking["service_date"] += ahead + timedelta(days=2)
    for row in case.tables["booking_services"]:
        row["starts_on"] = case.booking["service_date"]
    return case.booking_key()


def _price_implausible(case: Case) -> str:
    price = case.booking["price_amount_minor"]
    case.booking["price_amount_minor"] = (-price, 50_000_001 + 10 * price, None)[case.turn % 3]
    return case.booking_key()


def _currency_unknown(case: Case) -> str:
    case.booking["currency_code"] = ("XXX", "BTC", "SKR")[case.turn % 3]
    return case.booking_key()


def _service_day_unknown(case: Case) -> str:
    case.tables["booking_services"][-1]["starts_on"] = None
    return case.booking_key()


def _travellers_missing(case: Case) -> str:
    case.tables["booking_travellers"].clear()
    case.tables["guardian_consents"].clear()
    return case.booking_key()


def _services_missing(case: Case) -> str:
    case.tables["booking_services"].clear()
    return case.booking_key()


def _version_gap(case: Case) -> str:
    """The feed has version 3 without version 2 already (see `versions.chain`)."""
    return f"{case.booking['booking_id']}/3"


def _duplicate_version(case: Case) -> str:
    """The feed has version 1 twice already (see `versions.feed_of`)."""
    return f"{case.booking['booking_id']}/1"


def _card_number_in_notes(case: Case) -> str:
    case.booking["notes"] = f"{case.booking['notes'] or ''} Dra beloppet från kort {_noted_card(case)}, tack."
    return case.booking_key()


def _procedure_unknown(case: Case) -> str:
    services = case.tables["booking_services"]
    service = next((row for row in services if row["kind"] == "health"), services[0])
    said = ("", ".implant", "surgery.general", "See the letter of the client.", None)
    # To have no procedure is a trouble of a health service alone.
    service["procedure_code"] = said[case.turn % (5 if service["kind"] == "health" else 4)]
    return f"{case.booking_key()}/{service['service_no']}"


def _card_number_in_itinerary(case: Case) -> str:
    service = case.tables["booking_services"][-1]
    service["itinerary"] = f"{service['itinerary'] or 'Transfer'}; paid with {_noted_card(case)}."
    return f"{case.booking_key()}/{service['service_no']}"


def _noted_card(case: Case) -> str:
    """A card number as people write it."""
    digits = cards.numbers(Draws(case.seed, "noted cards"), np.array([case.key + 90_000], dtype=np.int64))[0].as_py()
    separator = (" ", "-", "")[case.turn % 3]
    return separator.join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _cvv_in_notes(case: Case) -> str:
    said = ("CVV 123", "cvc: 1234", "säkerhetskod 123", "CVV2=456")[case.turn % 4]
    case.booking["notes"] = f"{case.booking['notes'] or ''} Kortet finns i profilen, {said}."
    return case.booking_key()


def _provider_unknown(case: Case) -> str:
    service = case.tables["booking_services"][0]
    providers = catalogue.providers(case.seed)
    kinds = dict(zip(*(providers.rows.column(name).to_pylist() for name in ("provider_id", "kind")), strict=True))
    closed = [n for n in providers.closed.tolist() if kinds[n] == service["kind"]]
    other = [n for n in (*providers.travel.tolist(), catalogue.FIRST_PROVIDER) if kinds[n] != service["kind"]]
    choices = (
        catalogue.UNKNOWN_PROVIDER + case.key % 1000,
        closed[case.key % len(closed)],
        other[case.key % len(other)],
    )
    service["provider_id"] = choices[case.turn % 3]
    return f"{case.booking_key()}/{service['service_no']}"


def _card_over_age(case: Case) -> str:
    return _captured(case, case.booking["recorded_at"] - timedelta(days=15))


def _card_in_future(case: Case) -> str:
    """Far ahead, so that it is in the future of whoever reads an old sample."""
    return _captured(case, case.booking["recorded_at"] + timedelta(days=365 * 30))


def _card_time_unknown(case: Case) -> str:
    return _captured(case, None)


def _captured(case: Case, at: datetime | None) -> str:
    card = case.tables["payment_cards"][0]
    card["captured_at"] = at
    return str(card["card_id"])


PLANTERS: dict[str, Callable[[Case], str]] = party_troubles.PLANTERS | {
    name: globals()[f"_{name}"] for name in BOOKING_KINDS if name not in party_troubles.PLANTERS
}
_OF_CLIENT = ("clients", "terms_acceptances")
_OF_BOOKING = ("bookings", "booking_travellers", "booking_services", "guardian_consents", "payment_cards")


def plant(
    tables: Tables, wanted: dict[int, str], keys: dict[int, int], seed: int, day: date
) -> tuple[Tables, pa.RecordBatch]:
    """Return the tables with the wanted kind of trouble planted in each booking (by booking id), and the manifest.

    `keys` gives each booking's key. Rows of other bookings and clients come back as they were.
    """
    chosen = {booking_id: _case(tables, booking_id, keys[booking_id], seed) for booking_id in wanted}
    turns: dict[str, int] = {}
    manifest = []
    for booking_id, case in chosen.items():
        kind = BOOKING_KINDS[wanted[booking_id]]
        case.turn = days.number(day) + turns.setdefault(kind.name, 0)
        turns[kind.name] += 1
        manifest.append(manifest_row(kind, day, PLANTERS[kind.name](case)))
    return _merged(tables, chosen), pa.RecordBatch.from_pylist(manifest, SCHEMAS["planted_troubles"])


def manifest_row(kind: Kind, day: date, row_key: str) -> Row:
    """Return the entry of a planted trouble."""
    return {
        "dataset": kind.dataset,
        "partition_key": day.isoformat(),
        "kind": kind.name,
        "rule": kind.rule,
        "table_name": kind.table,
        "row_key": row_key,
    }


def _case(tables: Tables, booking_id: int, key: int, seed: int) -> Case:
    rows = {name: _matching(tables[name], "booking_id", booking_id) for name in _OF_BOOKING}
    client_id = rows["bookings"][0]["client_id"]
    rows |= {name: _matching(tables[name], "client_id", client_id) for name in _OF_CLIENT}
    return Case(rows, seed, key, 0)


def _matching(batches: list[pa.RecordBatch], column: str, value: int) -> list[Row]:
    found: list[Row] = []
    for part in batches:
        found += part.filter(pc.equal(part.column(column), value)).to_pylist()
    return found


def _merged(tables: Tables, cases: dict[int, Case]) -> Tables:
    """Return the tables, the rows of the cases replaced by what has become of them."""
    bookings = pa.array(list(cases), type=pa.int64())
    clients = pa.array([case.booking["client_id"] for case in cases.values()], type=pa.int64())
    merged = dict(tables)
    for name in (*_OF_BOOKING, *_OF_CLIENT):
        column, ids = ("booking_id", bookings) if name in _OF_BOOKING else ("client_id", clients)
        kept = [part.filter(pc.invert(pc.is_in(part.column(column), value_set=ids))) for part in tables[name]]
        edited = [row for case in cases.values() for row in case.tables[name]]
        merged[name] = [*kept, pa.RecordBatch.from_pylist(edited, SCHEMAS[name])]
    return merged
