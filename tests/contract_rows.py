"""Rows as they are offered to contracts: synthetic people, every column there is, types as agreed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import pyarrow as pa

from governance import policy as policies
from governance.sharing import contract_files
from governance.sharing.allowances import KindName
from governance.sharing.contracts import Contract

SHARING = policies.load().sharing
ARROW = {"string": pa.string(), "integer": pa.int64(), "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC")}
NOON = pd.Timestamp("2026-03-10T11:00:00Z").to_pydatetime()


def contract(kind: KindName, version: str = "1.0.0") -> Contract:
    """A contract that is kept."""
    return contract_files.load(kind, version, SHARING)


def row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """One row with every column that is on offer."""
    values: dict[str, Any] = {
        "booking_reference": f"{number:064x}",
        "service_reference": f"{number + 1000:064x}",
        "person_reference": f"{number + 2000:064x}",
        "booking_version": 1,
        "replaces_version": None,
        "booking_status": "booked",
        "booking_changed_at": NOON,
        "given_name": "Alva",
        "family_name": "Exempel",
        "birth_date": date(1980, 2, 29),
        "email": "alva@example.com",
        "phone": "+46700000001",
        "language": "sv",
        "procedure_code": "dental.implant",
        "clinical_note": "none",
        "service_date": date(2026, 6, 1),
        "nights_count": 3,
        "itinerary": "Two nights by the sea",
    }
    assert changes.keys() <= values.keys()
    return values | changes


def offered(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows as a frame, Arrow-backed."""
    columns = {
        name: pd.Series(
            pa.array([each[name] for each in rows], ARROW[column.type]),  # type: ignore[call-overload]
            dtype=pd.ArrowDtype(ARROW[column.type]),
        )
        for name, column in SHARING.offered.items()
    }
    return pd.DataFrame(columns)
