"""stand-in"""
from __future__ import annotations
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
import json
import pandas as pd
from governance.sharing.ledger import Owed

MEDIA_TYPES = {"jsonl": "application/jsonl", "csv": "text/csv", "fhir": "application/fhir+ndjson"}
NOTICE_FIELDS = ("booking_reference", "service_reference", "person_reference", "reason_code")


@dataclass(frozen=True)
class Context:
    recipient: str
    purpose: str
    lawful_basis: tuple[str, ...]
    read_at: datetime


def chunks(rows: pd.DataFrame, form: str, context: Context) -> Iterator[bytes]:
    if form == "csv":
        yield rows.to_csv(index=False).encode()
    else:
        yield rows.to_json(orient="records", lines=True, date_format="iso").encode()


def revocations(owed: Sequence[Owed]) -> Iterator[bytes]:
    for one in owed:
        for service, person in one.rows:
            yield (json.dumps({"booking_reference": one.booking_reference, "service_reference": service, "person_reference": person, "reason_code": one.reason}) + "\n").encode()
