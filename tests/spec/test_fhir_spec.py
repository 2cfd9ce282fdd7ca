"""What a clinic gets of a row: each column and the place in a FHIR R4 Bundle that it goes to."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest

from governance import policy as policies
from governance.errors import DeliveryError
from governance.sharing import contract_files, fhir
from governance.sharing.portions import chunks
from provider_rows import CHANGED_AT, HEALTH, KEY, bundles, context, frame, ordered, resources, row, token

pytestmark = pytest.mark.clause("F1")

OURS = "urn:wellbe:sharing"
HL7 = "http://terminology.hl7.org/CodeSystem"


def the(kind: str, columns: tuple[str, ...] = HEALTH, **values: Any) -> dict[str, Any]:
    """The one resource of a type in the Bundle of one row."""
    (bundle,) = bundles(row(**values), columns=columns)
    (found,) = resources(bundle, kind)
    return found


def test_a_row_is_a_patient_an_appointment_and_where_they_come_from() -> None:
    (bundle,) = bundles(row())
    patient, appointment, provenance = (entry["fullUrl"] for entry in bundle["entry"])
    booking, service, person = (token(*name) for name in (("booking", 1), ("service", 1, 1), ("person", 1, 1)))
    assert bundle == {
        "resourceType": "Bundle",
        "meta": {"versionId": "1"},
        "identifier": {"system": f"{OURS}:booking", "value": booking},
        "type": "collection",
        "timestamp": "2026-03-10T04:00:00.000000Z",
        "entry": [
            {
                "fullUrl": patient,
                "resource": {
                    "resourceType": "Patient",
                    "identifier": [{"system": f"{OURS}:person", "value": person}],
                    "name": [{"family": "Ström", "given": ["Astrid"]}],
                    "telecom": [
                        {"system": "phone", "value": "+46701740605"},
                        {"system": "email", "value": "astrid@example.com"},
                    ],
                    "birthDate": "1980-02-29",
                    "communication": [
                        {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "sv-SE"}]}, "preferred": True}
                    ],
                },
            },
            {
                "fullUrl": appointment,
                "resource": {
                    "resourceType": "Appointment",
                    "id": appointment.removeprefix("urn:uuid:"),
                    "meta": {"versionId": "1"},
                    "identifier": [
                        {"system": f"{OURS}:service", "value": service},
                        {"system": f"{OURS}:booking", "value": booking},
                    ],
                    "status": "proposed",
                    "serviceType": [{"coding": [{"system": f"{OURS}:procedure", "code": "dental.implant"}]}],
                    "specialty": [{"text": "dental"}],
                    "comment": "Allergic to penicillin",
                    "participant": [{"actor": {"reference": patient, "type": "Patient"}, "status": "tentative"}],
                    "requestedPeriod": [{"start": "2026-05-04", "end": "2026-05-04"}],
                },
            },
            {
                "fullUrl": provenance,
                "resource": {
                    "resourceType": "Provenance",
                    "target": [{"reference": patient}, {"reference": appointment}],
                    "occurredDateTime": "2026-03-09T14:30:00.000250Z",
                    "recorded": "2026-03-10T04:00:00.000000Z",
                    "policy": [
                        "http://data.europa.eu/eli/reg/2016/679/art_6/par_1/pnt_b/oj",
                        "http://data.europa.eu/eli/reg/2016/679/art_9/par_2/pnt_a/oj",
                    ],
                    "reason": [
                        {
                            "coding": [
                                {"system": f"{HL7}/v3-ActReason", "code": "TREAT"},
                                {"system": f"{OURS}:purpose", "code": "contract"},
                            ]
                        },
                        {"text": "GDPR Art. 6(1)(b), the contract with the client"},
                        {"text": "GDPR Art. 9(2)(a), the client's explicit consent"},
                    ],
                    "activity": {"coding": [{"system": f"{HL7}/v3-DataOperation", "code": "CREATE"}]},
                    "agent": [
                        {
                            "type": {"coding": [{"system": f"{HL7}/provenance-participant-type", "code": "custodian"}]},
                            "who": {
                                "type": "Organization",
                                "identifier": {"system": f"{OURS}:sender", "value": "Wellbe"},
                                "display": "Wellbe",
                            },
                        }
                    ],
                },
            },
        ],
    }


def test_an_amended_booking_names_the_version_that_it_takes_the_place_of() -> None:
    (before,), (after,) = bundles(row()), bundles(row(booking_version=3, replaces_version=1, booking_status="amended"))
    assert [entry["fullUrl"] for entry in after["entry"][:2]] == [entry["fullUrl"] for entry in before["entry"][:2]]
    (appointment,), (provenance,) = resources(after, "Appointment"), resources(after, "Provenance")
    assert after["meta"] == appointment["meta"] == {"versionId": "3"}
    assert provenance["activity"]["coding"][0]["code"] == "UPDATE"
    assert provenance["entity"] == [
        {
            "role": "revision",
            "what": {
                "reference": f"Appointment/{appointment['id']}/_history/1",
                "type": "Appointment",
                "identifier": {"system": f"{OURS}:service", "value": token("service", 1, 1)},
            },
        }
    ]


def test_a_service_that_an_amendment_added_takes_the_place_of_nothing() -> None:
    (bundle,) = bundles(
        row(booking_version=2, replaces_version=1), row(service=2, booking_version=2, replaces_version=None)
    )
    (provenance,) = resources(bundle, "Provenance")
    assert [entity["what"]["identifier"]["value"] for entity in provenance["entity"]] == [token("service", 1, 1)]


def test_two_services_of_one_person_are_one_patient_with_two_appointments() -> None:
    (bundle,) = bundles(row(service=1), row(service=2, procedure_code="dental.crown"))
    (patient,) = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Patient"]
    booked = resources(bundle, "Appointment")
    assert {one["serviceType"][0]["coding"][0]["code"] for one in booked} == {"dental.implant", "dental.crown"}
    assert {one["participant"][0]["actor"]["reference"] for one in booked} == {patient["fullUrl"]}


def test_two_people_of_one_service_are_two_patients_with_an_appointment_each() -> None:
    (bundle,) = bundles(row(person=1), row(person=2, given_name="Bo"))
    people = {entry["fullUrl"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Patient"}
    booked = resources(bundle, "Appointment")
    assert {one["participant"][0]["actor"]["reference"] for one in booked} == people
    assert len(people) == len({one["id"] for one in booked}) == 2


def test_two_bookings_are_two_lines() -> None:
    values = [one["identifier"]["value"] for one in bundles(row(booking=1), row(booking=2))]
    assert values == sorted([token("booking", 1), token("booking", 2)])


@pytest.mark.parametrize(
    ("values", "telecom"),
    [
        ({"phone": None}, [{"system": "email", "value": "astrid@example.com"}]),
        ({"email": None}, [{"system": "phone", "value": "+46701740605"}]),
        ({"email": " ", "phone": ""}, None),
    ],
)
def test_how_a_patient_is_reached_says_only_what_is_known(values: dict[str, Any], telecom: Any) -> None:
    assert the("Patient", **values).get("telecom") == telecom


@pytest.mark.parametrize(
    ("given", "family", "name"),
    [
        ("Anna Maria", "af Ugglas", [{"family": "af Ugglas", "given": ["Anna Maria"]}]),
        ("Bo", "", [{"given": ["Bo"]}]),
        (None, "'t Hooft", [{"family": "'t Hooft"}]),
        ("", None, None),
        ("花子", "山田", [{"family": "山田", "given": ["花子"]}]),
        ("𝒜da", "O\u0308berg", [{"family": "O\u0308berg", "given": ["𝒜da"]}]),
        ("=cmd|' /C calc'!A0", "Öberg", [{"family": "Öberg", "given": ["=cmd|' /C calc'!A0"]}]),
        ("Anna\x00\x1b[2J", "Å\u2028sa\u00a0B", [{"family": "Å sa B", "given": ["Anna[2J"]}]),
    ],
)
def test_a_name_is_as_it_was_given_but_for_what_breaks_readers(
    given: str | None, family: str | None, name: Any
) -> None:
    assert the("Patient", given_name=given, family_name=family).get("name") == name


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", {"coding": [{"system": "urn:ietf:bcp:47", "code": "en"}]}),
        ("zh-Hant-TW", {"coding": [{"system": "urn:ietf:bcp:47", "code": "zh-Hant-TW"}]}),
        ("Swedish, a little", {"text": "Swedish, a little"}),
        ("x", {"text": "x"}),
    ],
)
def test_a_language_is_a_tag_where_it_is_one(tag: str, language: dict[str, Any]) -> None:
    assert the("Patient", language=tag)["communication"] == [{"language": language, "preferred": True}]


@pytest.mark.parametrize(
    ("code", "kind", "specialty"),
    [
        ("eye.lasik", "eye.lasik", [{"text": "eye"}]),
        ("check-up", "check-up", None),
        (".x", ".x", None),
        ("dental.\tdeep   clean", "dental. deep clean", [{"text": "dental"}]),
    ],
)
def test_a_procedure_is_a_code_of_ours_and_its_specialty_a_text(code: str, kind: str, specialty: Any) -> None:
    booked = the("Appointment", procedure_code=code)
    assert booked["serviceType"] == [{"coding": [{"system": f"{OURS}:procedure", "code": kind}]}]
    assert booked.get("specialty") == specialty


@pytest.mark.parametrize(
    ("column", "kind", "member"),
    [
        ("birth_date", "Patient", "birthDate"),
        ("language", "Patient", "communication"),
        ("clinical_note", "Appointment", "comment"),
        ("service_date", "Appointment", "requestedPeriod"),
        ("procedure_code", "Appointment", "serviceType"),
        ("booking_version", "Appointment", "meta"),
        ("booking_status", "Provenance", "activity"),
        ("booking_changed_at", "Provenance", "occurredDateTime"),
    ],
)
def test_what_is_null_and_what_the_contract_does_not_have_is_not_there_at_all(
    column: str, kind: str, member: str
) -> None:
    without = tuple(name for name in HEALTH if name != column)
    assert member in the(kind)
    assert member not in the(kind, **{column: None})
    assert member not in the(kind, without)


def test_the_references_alone_make_a_bundle() -> None:
    (bundle,) = bundles(row(), columns=KEY)
    assert [sorted(entry["resource"]) for entry in bundle["entry"]] == [
        ["identifier", "resourceType"],
        ["id", "identifier", "participant", "resourceType", "status"],
        ["agent", "policy", "reason", "recorded", "resourceType", "target"],
    ]


def test_a_basis_without_a_point_of_the_regulation_is_said_in_words_alone() -> None:
    said = context(lawful_basis=("the patient data act",))
    (line,) = b"".join(chunks(frame([row()]), "fhir", said)).splitlines()
    assert b"the patient data act" in line
    assert b'"policy"' not in line


@pytest.mark.parametrize(
    ("namespace", "system"),
    [("https://wellbe.example.com/fhir", "https://wellbe.example.com/fhir/booking"), (OURS, f"{OURS}:booking")],
)
def test_our_identifiers_live_below_the_namespace(namespace: str, system: str) -> None:
    lines = b"".join(chunks(frame([row()]), "fhir", context(namespace=namespace)))
    assert f'"identifier":{{"system":"{system}"'.encode() in lines


def test_every_health_contract_says_of_each_column_where_it_goes() -> None:
    sharing = policies.load().sharing
    versions = contract_files.versions("health_provider")
    assert versions
    for contract in (contract_files.load("health_provider", version, sharing) for version in versions):
        assert {column.name for column in contract.columns} <= fhir.PLACES.keys()
        for column in contract.columns:
            assert column.encoded_as.startswith(f"FHIR R4 {fhir.PLACES[column.name][1]}:"), column.name


# -- what no Bundle is made of -----------------------------------------------------------------------------------------


def refused(rows: list[dict[str, Any]], columns: tuple[str, ...] = HEALTH, **types: Any) -> str:
    """What is said against it."""
    with pytest.raises(DeliveryError) as error:
        list(chunks(frame(ordered(rows), columns, **types), "fhir", context()))
    assert "Ström" not in str(error.value)
    return str(error.value)


def test_a_column_without_a_place_is_refused() -> None:
    assert "recipient clinic: itinerary has no place in a FHIR Bundle" in refused([row()], (*HEALTH, "itinerary"))


def test_a_column_of_another_type_is_refused() -> None:
    said = refused([row(birth_date="1980-02-29")], birth_date=pa.string())
    assert "birth_date is a text, and in FHIR a day" in said


@pytest.mark.parametrize(
    ("column", "other"),
    [("booking_version", 2), ("booking_status", "amended"), ("booking_changed_at", CHANGED_AT + timedelta(seconds=1))],
)
def test_rows_of_one_booking_say_the_same_of_it(column: str, other: Any) -> None:
    said = refused([row(service=1), row(service=2, **{column: other})])
    assert "2 rows of one booking: those of one booking_reference differ in" in said


@pytest.mark.parametrize(
    ("column", "other"),
    [("given_name", "Bo"), ("birth_date", date(1980, 3, 1)), ("phone", None), ("language", "en")],
)
def test_rows_of_one_person_say_the_same_of_it(column: str, other: Any) -> None:
    said = refused([row(service=1), row(service=2, **{column: other})])
    assert "those of one person_reference differ in" in said


def test_a_booking_is_booked_or_amended() -> None:
    assert "neither booked nor amended" in refused([row(booking_status="cancelled")])


@pytest.mark.parametrize(("more", "is_refused"), [(0, False), (1, True)])
def test_a_booking_has_no_more_rows_than_fit_into_a_line(
    monkeypatch: pytest.MonkeyPatch, more: int, is_refused: bool
) -> None:
    monkeypatch.setattr(fhir, "MOST_ROWS", 3)
    rows = [row(service=number) for number in range(3 + more)]
    if is_refused:
        assert "a booking has more than 3 rows" in refused(rows)
    else:
        assert len(resources(bundles(*rows)[0], "Appointment")) == 3


@pytest.mark.parametrize(("more", "is_refused"), [(0, False), (1, True)])
def test_a_text_is_no_longer_than_fhir_allows(more: int, is_refused: bool) -> None:
    note = "x" * (1024 * 1024 + more)
    if is_refused:
        assert "1 texts of clinical_note are longer than FHIR allows" in refused([row(clinical_note=note)])
    else:
        assert the("Appointment", clinical_note=note)["comment"] == note
