"""Rows for a recipient as the core offers them, and what is said beside them. Synthetic people only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from governance.sharing.portions import Context, Form, chunks

CHANGED_AT = datetime(2026, 3, 9, 14, 30, 0, 250, tzinfo=UTC)
READ_AT = datetime(2026, 3, 10, 4, tzinfo=UTC)
BASIS = ("GDPR Art. 6(1)(b), the contract with the client", "GDPR Art. 9(2)(a), the client's explicit consent")
TYPES = {
    "booking_reference": pa.string(), "service_reference": pa.string(), "person_reference": pa.string(),
    "booking_version": pa.int64(), "replaces_version": pa.int64(), "booking_status": pa.string(),
    "booking_changed_at": pa.timestamp("us", "UTC"), "given_name": pa.string(), "family_name": pa.string(),
    "birth_date": pa.date32(), "email": pa.string(), "phone": pa.string(), "language": pa.string(),
    "procedure_code": pa.string(), "clinical_note": pa.string(), "service_date": pa.date32(),
    "nights_count": pa.int64(), "itinerary": pa.string(),
}  # fmt: skip
KEY = tuple(TYPES)[:3]
HEALTH = tuple(name for name in TYPES if name not in ("nights_count", "itinerary"))
TRAVEL = (*KEY, *list(TYPES)[3:9], "service_date", "nights_count", "itinerary")


def token(*parts: object) -> str:
    """A reference: 64 hex digits."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def row(booking: object = 1, service: object = 1, person: object = 1, **values: Any) -> dict[str, Any]:
    """A row as it is most often, but for these values."""
    usual = {
        "booking_reference": token("booking", booking),
        "service_reference": token("service", booking, service),
        "person_reference": token("person", booking, person),
        "booking_version": 1,
        "replaces_version": None,
        "booking_status": "booked",
        "booking_changed_at": CHANGED_AT,
        "given_name": "Astrid",
        "family_name": "Ström",
        "birth_date": date(1980, 2, 29),
        "email": "astrid@example.com",
        "phone": "+46701740605",
        "language": "sv-SE",
        "procedure_code": "dental.implant",
        "clinical_note": "Allergic to penicillin",
        "service_date": date(2026, 5, 4),
        "nights_count": 3,
        "itinerary": "ARN-BUD, hotel",
    }
    return {**usual, **values}


def ordered(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows as deliveries have them."""
    return sorted(rows, key=lambda one: [one[name] for name in KEY])


def frame(rows: Iterable[Mapping[str, Any]], columns: Iterable[str] = HEALTH, **types: pa.DataType) -> pd.DataFrame:
    """These columns of rows, as Arrow has them."""
    given = list(rows)
    arrays = {name: pa.array([one[name] for one in given], types.get(name, TYPES.get(name))) for name in columns}
    return pa.table(arrays).to_pandas(types_mapper=pd.ArrowDtype)


def context(**changes: Any) -> Context:
    """Of a delivery to a clinic."""
    usual = {"recipient": "clinic", "purpose": "contract", "lawful_basis": BASIS, "read_at": READ_AT}
    return Context(**{**usual, **changes})


def written(frames: pd.DataFrame | Iterable[pd.DataFrame], form: Form) -> bytes:
    """All of it."""
    return b"".join(chunks(frames, form, context()))


def bundles(*rows: Mapping[str, Any], columns: Iterable[str] = HEALTH) -> list[dict[str, Any]]:
    """The Bundles of rows, which are ordered before."""
    return [json.loads(line) for line in written(frame(ordered(rows), columns), "fhir").decode().split("\n")[:-1]]


def resources(bundle: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The resources of a type in a Bundle, in its order."""
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]
