"""Bookings as HL7 FHIR R4 (4.0.1): one Bundle a booking, one line each (NDJSON). Pure.

A Bundle is a `collection`: resources that belong together, and nothing that a server has to do with them. A
`transaction` would be carried out by whoever posts it, and a booking that was amended would overwrite the hour, the
doctor and the notes that the clinic has added since; what to book is the clinic's to say.

It holds a Patient for each person, an Appointment for each row (a service of a person), and a Provenance: who sent it,
when our source was read, what for, on what lawful basis, and which version it takes the place of. The source knows a
day and no hour, so an Appointment is `proposed`, with a `requestedPeriod`: for any other status R4 wants start and end
(invariant app-3). It carries no more than columns of the contract; what R4 cannot say of them it says nowhere else,
without extensions. Where a column goes is in `PLACES`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, islice
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from governance.sharing.rows import KEY, Context, Kind, Row, Slice, instant
from governance.sharing.texts import LONGEST, trimmed

Resource = dict[str, Any]

PLACES: Mapping[str, tuple[Kind, str]] = MappingProxyType(
    {
        "booking_reference": ("reference", "Appointment.identifier"),
        "service_reference": ("reference", "Appointment.identifier"),
        "person_reference": ("reference", "Patient.identifier"),
        "booking_version": ("number", "Appointment.meta.versionId"),
        "replaces_version": ("number", "Provenance.entity (revision)"),
        "booking_status": ("text", "Provenance.activity"),
        "booking_changed_at": ("instant", "Provenance.occurredDateTime"),
        "given_name": ("text", "Patient.name.given"),
        "family_name": ("text", "Patient.name.family"),
        "birth_date": ("day", "Patient.birthDate"),
        "email": ("text", "Patient.telecom (email)"),
        "phone": ("text", "Patient.telecom (phone)"),
        "language": ("text", "Patient.communication.language"),
        "procedure_code": ("text", "Appointment.serviceType"),
        "service_date": ("day", "Appointment.requestedPeriod"),
        "clinical_note": ("text", "Appointment.comment"),
    }
)
"""What each column is, and where it goes. A comment is for whoever treats; `patientInstruction` is for the patient."""

MOST_ROWS = 10_000
"""Of one booking: all of a line is in memory at once."""

_OF_BOOKING = ("booking_version", "booking_status", "booking_changed_at")
_OF_PERSON = ("given_name", "family_name", "birth_date", "email", "phone", "language")
_ACTIVITIES = {"booked": "CREATE", "amended": "UPDATE"}
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_ARTICLE = re.compile(r"GDPR Art\. ?([0-9]+)\(([0-9]+)\)\(([a-z])\)")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")

_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def bundle_lines(parts: Iterable[Slice], context: Context) -> Iterator[str]:
    r"""A line for each booking of rows that are ascending by `rows.KEY`.

    Raises DeliveryError for a column that has no place in a Bundle, for rows of one booking or one person that do not
    say the same of it, for a status that is neither booked nor amended, for a booking of more than `MOST_ROWS` rows,
    and for a text of more than `texts.LONGEST` characters.
    """
    for _, group in groupby(_rows(parts, context), key=lambda row: row["booking_reference"]):
        rows = list(islice(group, MOST_ROWS + 1))
        if len(rows) > MOST_ROWS:
            raise context.error(f"a booking has more than {MOST_ROWS} rows", "look at it at the source")
        yield f"{_encoded(bundle(rows, context))}\n"


def bundle(rows: Sequence[Row], context: Context) -> Resource:
    """The Bundle of one booking. Raises DeliveryError as `bundle_lines`."""
    _agree(rows, ("booking_reference",), _OF_BOOKING, context)
    _agree(rows, ("person_reference",), _OF_PERSON, context)
    first = rows[0]
    people = {str(row["person_reference"]): row for row in rows}
    resources = [(_name("person", key), _patient(row, context)) for key, row in people.items()]
    resources += [(_appointment_name(row), _appointment(row, context)) for row in rows]
    source = _name("provenance", str(first["booking_reference"]), str(first.get("booking_version")))
    resources.append((source, _provenance(rows, [name for name, _ in resources], context)))
    return _filled(
        resourceType="Bundle",
        meta=_version(first.get("booking_version")),
        identifier=_identifier(first, "booking", context),
        type="collection",
        timestamp=instant(context.read_at),
        entry=[{"fullUrl": f"urn:uuid:{name}", "resource": resource} for name, resource in resources],
    )


def _rows(parts: Iterable[Slice], context: Context) -> Iterator[Row]:
    for part in parts:
        for name, kind in part.kinds.items():
            _require_place(name, kind, context)
            long = _long(part.columns[name])
            if long:
                raise context.error(f"{long} texts of {name} are longer than FHIR allows", "shorten them at the source")
        yield from part.rows()


def _long(values: pa.Array) -> int:
    """How many texts have more characters than FHIR allows."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return 0
    return pc.sum(pc.greater(pc.utf8_length(values), LONGEST)).as_py() or 0


def _require_place(name: str, kind: Kind, context: Context) -> None:
    if name not in PLACES:
        raise context.error(f"{name} has no place in a FHIR Bundle", "take it out of the contract")
    if kind not in (PLACES[name][0], "nothing"):
        raise context.error(f"{name} is a {kind}, and in FHIR a {PLACES[name][0]}", "give it that type")


def _agree(rows: Sequence[Row], by: tuple[str, ...], columns: tuple[str, ...], context: Context) -> None:
    if len(rows) == 1:
        return
    said: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        told = tuple(row.get(column) for column in columns)
        if said.setdefault(tuple(row[name] for name in by), told) != told:
            raise context.error(
                f"{len(rows)} rows of one booking: those of one {by[0]} differ in {', '.join(columns)}",
                "read all rows of a booking in one snapshot",
            )


def _patient(row: Row, context: Context) -> Resource:
    family, given, language = (_text(row, name) for name in ("family_name", "given_name", "language"))
    return _filled(
        resourceType="Patient",
        identifier=[_identifier(row, "person", context)],
        name=_some(_filled(family=family, given=_some(given))),
        telecom=[{"system": system, "value": value} for system in ("phone", "email") if (value := _text(row, system))],
        birthDate=row.get("birth_date"),
        communication=[{"language": _language(language), "preferred": True}] if language else None,
    )


def _language(tag: str) -> Resource:
    """A tag (BCP 47); what is none is still what somebody speaks."""
    return {"coding": [{"system": "urn:ietf:bcp:47", "code": tag}]} if _LANGUAGE.fullmatch(tag) else {"text": tag}


def _appointment(row: Row, context: Context) -> Resource:
    day, code = row.get("service_date"), _text(row, "procedure_code")
    specialty, dot, _ = (code or "").partition(".")
    return _filled(
        resourceType="Appointment",
        id=_appointment_name(row),
        meta=_version(row.get("booking_version")),
        identifier=[_identifier(row, "service", context), _identifier(row, "booking", context)],
        status="proposed",
        serviceType=[_service_type(code, context)] if code else None,
        specialty=[{"text": specialty}] if dot and specialty else None,
        comment=_text(row, "clinical_note"),
        # The day was agreed with the patient, and no hour: R4 calls that tentative.
        participant=[{"actor": _person(row), "status": "tentative"}],
        requestedPeriod=[{"start": day, "end": day}] if day else None,
    )


def _service_type(code: str, context: Context) -> Resource:
    """A code has single spaces inside (R4, datatypes)."""
    return {"coding": [{"system": context.named("procedure"), "code": " ".join(code.split())}]}


def _provenance(rows: Sequence[Row], targets: Sequence[str], context: Context) -> Resource:
    first, version = rows[0], "{}/_history/{}".format
    replaced = [
        {
            "role": "revision",
            "what": {
                "reference": version(f"Appointment/{_appointment_name(row)}", row["replaces_version"]),
                "type": "Appointment",
                "identifier": _identifier(row, "service", context),
            },
        }
        for row in rows
        if row.get("replaces_version") is not None
    ]
    return _filled(
        resourceType="Provenance",
        target=[{"reference": f"urn:uuid:{name}"} for name in targets],
        occurredDateTime=first.get("booking_changed_at"),
        recorded=instant(context.read_at),
        policy=[*_laws(context.lawful_basis)],
        reason=[*_reasons(context)],
        activity=_activity(first.get("booking_status"), context),
        agent=[*_agents(context)],
        entity=replaced,
    )


# What is the same in every line of a delivery is made once.


@lru_cache(8)
def _laws(lawful_basis: tuple[str, ...]) -> list[str]:
    return [_law(match) for basis in lawful_basis if (match := _ARTICLE.search(basis))]


@lru_cache(8)
def _reasons(context: Context) -> list[Resource]:
    purpose = {"system": context.named("purpose"), "code": context.purpose}
    return [
        {"coding": [_coding("v3-ActReason", "TREAT"), purpose]},
        *({"text": basis} for basis in context.lawful_basis),
    ]


@lru_cache(8)
def _agents(context: Context) -> list[Resource]:
    sender = {"system": context.named("sender"), "value": context.sender}
    return [
        {
            "type": {"coding": [_coding("provenance-participant-type", "custodian")]},
            "who": {"type": "Organization", "identifier": sender, "display": context.sender},
        }
    ]


def _activity(status: Any, context: Context) -> Resource | None:
    if status is None:
        return None
    if status not in _ACTIVITIES:
        raise context.error(
            f"a booking is neither {' nor '.join(_ACTIVITIES)}", "what is cancelled is told in a revocation"
        )
    return {"coding": [_coding("v3-DataOperation", _ACTIVITIES[status])]}


def _law(article: re.Match[str]) -> str:
    """The URI of a point of Regulation (EU) 2016/679 (European Legislation Identifier)."""
    return "http://data.europa.eu/eli/reg/2016/679/art_{}/par_{}/pnt_{}/oj".format(*article.groups())


def _text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return None if value is None else trimmed(str(value))


def _coding(system: str, code: str) -> Resource:
    return {"system": f"{_TERMINOLOGY}/{system}", "code": code}


def _identifier(row: Row, what: str, context: Context) -> Resource:
    return {"system": context.named(what), "value": row[f"{what}_reference"]}


def _version(number: Any) -> Resource | None:
    return None if number is None else {"versionId": str(number)}


def _person(row: Row) -> Resource:
    return {"reference": f"urn:uuid:{_name('person', str(row['person_reference']))}", "type": "Patient"}


def _appointment_name(row: Row) -> str:
    return _name("appointment", *(str(row[name]) for name in KEY))


@lru_cache(1024)
def _name(*parts: str) -> str:
    """A UUID made of references, the same ones in each version of a booking (RFC 9562, version 8: SHA-256)."""
    digits = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def _filled(**members: Any) -> Resource:
    """What has a value: in FHIR nothing is null or empty."""
    return {name: value for name, value in members.items() if value not in (None, [], {})}


def _some(value: Any) -> list[Any] | None:
    return [value] if value else None
