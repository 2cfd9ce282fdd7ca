"""Accepted bookings reach the providers that they name: the agreed fields alone, once, sealed, on the record."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import builders
import recipients
from aftermath import entries, governance, through
from builders import DAY, NOON, NOW, World
from fhir_validators import verdicts
from governance import steps
from governance.commands.proofs import RunLog
from governance.embedded.site import Site
from governance.errors import AlarmError, GovernanceError
from governance.sharing import demo_certificates, portions
from governance.sharing.certificate_folder import CertificateFolder
from governance.sharing.portions import MEDIA_TYPES
from governance.sharing.recipients import HaltedError
from governance.sources import named_query
from governance.steps import Workspace
from governance.third_parties import ThirdParty
from recipients import AGENCY, CLINIC, TRAVEL, Opened

pytestmark = [pytest.mark.pg, *(pytest.mark.clause(clause) for clause in ("F1", "H1", "N1"))]

KEY = DAY.isoformat()
HOUR, DAYS = timedelta(hours=1), timedelta(days=1)


class Place:
    """A site with a clinic and a travel agency, and folders for both."""

    def __init__(self, site: Site, world: World, folder: Path) -> None:
        self.site, self.world, self.folder = site, world, folder
        self.register = recipients.outboxes(site, folder)

    def space(self, now: datetime = NOW) -> Workspace:
        return recipients.sharing(self.site, self.register, now)

    def booking(self, **changes: Any) -> str:
        """A booking of a treatment and a journey, whose client has consented to health data."""
        return recipients.booking(self.site, self.world, **changes)

    def says(self, row: str, decision: str, at: datetime) -> None:
        """The client's word on health data."""
        recipients.says(self.site, self.world, row, decision, at)

    def amend(self, row: str, *, version: int, status: str, **changes: Any) -> str:
        """Another version of a booking: of one traveller, a treatment and a journey, unless it is told otherwise."""
        client = recipients.client_of(self.site, row)
        at = self.world.at()
        return self.world.booking(
            booking_id=int(row.split("/", maxsplit=1)[0]), client_id=client, version=version, status=status,
            with_client=False, with_terms=False, booked_at=NOON - timedelta(minutes=5), changed_at=at,
            **{"services": [{}, {"service_no": 2, **TRAVEL}], **changes},
        )  # fmt: skip

    def asks(self, row: str, kind: str) -> None:
        """The client asks for something that stands."""
        client = recipients.client_of(self.site, row)
        self.world.insert(
            "subject_requests", request_id=self.world.number(), client_id=client, kind=kind, received_at=NOW,
            identity_checked_at=None, status="received", recorded_at=NOW,
        )  # fmt: skip

    def share(self, now: datetime = NOW, key: str = KEY) -> dict[str, int]:
        return steps.share(self.space(now), key, builders.run("sharing"))

    def got(self, name: str) -> list[Opened]:
        return recipients.opened(self.folder / name, name, self.folder)

    def accepted(self) -> None:
        through(self.space(), "bookings", KEY)


def resource(bundle: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The one resource of a kind in a Bundle."""
    (found,) = (e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind)
    return dict(found)


def appointment(bundle: Mapping[str, Any]) -> dict[str, Any]:
    return resource(bundle, "Appointment")


def patient(bundle: Mapping[str, Any]) -> dict[str, Any]:
    return resource(bundle, "Patient")


@pytest.fixture
def place(site: Site, world: World, tmp_path: Path) -> Place:
    return Place(site, world, tmp_path)


def test_each_provider_gets_its_part_of_a_booking_and_the_agreed_fields_alone(place: Place) -> None:
    place.booking(travellers=[{}, {"given_name": "Bo"}])
    place.accepted()
    assert place.share() == {"deliveries": 2, "rows": 3, "bookings": 2}
    (clinic,), (agency,) = place.got(CLINIC), place.got(AGENCY)
    assert clinic.manifest["fields"] == [
        "booking_reference", "service_reference", "person_reference", "booking_version", "replaces_version",
        "booking_status", "booking_changed_at", "given_name", "family_name", "email", "phone", "language",
        "procedure_code", "service_date",
    ]  # fmt: skip
    assert sorted(row["given_name"] for row in agency.objects) == ["Bo", "Åsa"]
    assert patient(clinic.objects[0])["name"] == [{"family": "Lindqvist", "given": ["Åsa"]}]
    assert set(agency.objects[0]) == set(agency.manifest["fields"])
    assert "dental" not in str(agency.files)
    assert "Malmö" not in str(clinic.files)


def test_what_the_clinic_opens_are_sound_resources_of_fhir_r4(place: Place) -> None:
    place.booking(travellers=[{}, {"given_name": "Bo"}])
    place.booking(client={"given_name": "Eva"})
    place.accepted()
    place.share()
    (clinic,) = place.got(CLINIC)
    said = verdicts(clinic.files[MEDIA_TYPES["fhir"]])
    assert [(one.medplum, one.lantana) for one in said] == [([], [])] * 2


def test_what_was_delivered_is_not_delivered_again_by_a_cleared_task_a_backfill_or_a_later_day(place: Place) -> None:
    place.booking()
    place.accepted()
    first = place.share()
    assert first == {"deliveries": 2, "rows": 2, "bookings": 2}
    for now in (NOW, NOW, NOW + timedelta(days=1)):
        assert place.share(now) == {}
    assert [len(place.got(name)) for name in (CLINIC, AGENCY)] == [1, 1]


def test_a_delivery_is_cut_into_parts_of_the_size_that_policy_says(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        place.booking()
    place.accepted()
    monkeypatch.setattr(portions, "CHUNK_BYTES", 1)  # a line
    policy = place.space().policy
    small = policy.sharing.model_copy(update={"part_bytes": 6_000})
    space = replace(place.space(), policy=policy.model_copy(update={"sharing": small}))
    steps.share(space, KEY, builders.run("sharing"))
    (clinic,) = place.got(CLINIC)
    parts = [part["plaintext_bytes"] for part in clinic.manifest["parts"]]
    assert len(parts) == 2 and max(parts) <= 6_000
    assert len(clinic.objects) == 4


def test_each_provider_knows_the_same_booking_by_another_reference(place: Place) -> None:
    place.booking()
    place.accepted()
    place.share()
    (clinic,), (agency,) = place.got(CLINIC)[0].objects, place.got(AGENCY)[0].objects
    assert not {i["value"] for i in appointment(clinic)["identifier"]} & set(agency.values())
    assert patient(clinic)["identifier"][0]["value"] != agency["person_reference"]


def test_nobody_else_can_open_what_a_recipient_gets(place: Place) -> None:
    place.booking()
    place.accepted()
    place.share()
    with pytest.raises(subprocess.CalledProcessError):
        recipients.opened(place.folder / CLINIC, AGENCY, place.folder)


def test_without_consent_to_health_data_the_clinic_gets_nothing_and_the_agency_its_part(place: Place) -> None:
    place.booking(has_consented=False)
    place.accepted()
    assert place.share() == {"excluded no_consent": 1, "deliveries": 1, "rows": 1, "bookings": 1}
    assert (place.got(CLINIC), len(place.got(AGENCY))) == ([], 1)


@pytest.mark.clause("C2")
def test_a_consent_that_is_withdrawn_after_validation_counts_at_the_hand_over(place: Place) -> None:
    row = place.booking()
    place.accepted()
    place.says(row, "withdrawn", NOW - timedelta(minutes=1))
    assert place.share()["excluded no_consent"] == 1
    assert place.got(CLINIC) == []
    place.says(row, "given", NOW + timedelta(hours=1))
    assert place.share(NOW + timedelta(hours=2))["deliveries"] == 1
    assert len(place.got(CLINIC)) == 1


@pytest.mark.parametrize(
    ("effective_at", "received_at", "decision", "counts"),
    [
        (NOW - HOUR, NOW, " Given", True),
        ("infinity", NOW, "given", False),
        ("-infinity", NOW, "given", False),
        ("4000-01-01 BC", NOW, "given", False),
        (NOW - HOUR, NOW + HOUR, "given", False),
        (NOW - HOUR, "infinity", "given", False),
        (NOW + HOUR, NOW, "given", False),
        (NOW - HOUR, NOW, "accepted", False),
    ],
    ids=str,
)
def test_a_consent_counts_that_is_known_to_hold_now_and_to_have_come(
    place: Place, effective_at: object, received_at: object, decision: str, counts: bool
) -> None:
    row = place.booking(has_consented=False)
    place.accepted()
    place.world.insert(
        "consent_events", event_id=1, client_id=recipients.client_of(place.site, row), purpose="health_data",
        channel="web", decision=decision, effective_at=effective_at, received_at=received_at, source="checkout",
        version=1, recorded_at=NOW,
    )  # fmt: skip
    assert ("excluded no_consent" not in place.share()) is counts


def test_of_two_statuses_of_a_request_that_came_at_one_instant_the_one_that_stands_counts(place: Place) -> None:
    row = place.booking()
    place.accepted()
    client, over = recipients.client_of(place.site, row), place.space().policy.value("restriction_over")[0]
    for status in (over, "received", over):
        place.world.insert(
            "subject_requests", request_id=1, client_id=client, kind="restriction", received_at=NOW,
            identity_checked_at=None, status=status, recorded_at=NOW,
        )  # fmt: skip
    assert place.share() == {"excluded restricted": 2}


def test_an_amended_booking_is_delivered_as_a_version_that_names_the_one_before(place: Place) -> None:
    row = place.booking()
    place.accepted()
    place.share()
    place.world.day = DAY + timedelta(days=1)
    place.amend(row, version=2, status="amended")
    through(place.space(NOW + timedelta(days=1)), "bookings", place.world.day.isoformat())
    place.share(NOW + timedelta(days=1), place.world.day.isoformat())
    (old, new), (before, after) = place.got(CLINIC), place.got(AGENCY)
    assert [(one.objects[0]["booking_version"], one.objects[0]["replaces_version"]) for one in (before, after)] == [
        (1, None), (2, 1),
    ]  # fmt: skip
    assert after.manifest["replaces"] == [before.manifest["delivery_id"]]
    assert after.objects[0]["booking_reference"] == before.objects[0]["booking_reference"]
    assert new.manifest["replaces"] == [old.manifest["delivery_id"]]
    assert [appointment(one.objects[0])["meta"]["versionId"] for one in (old, new)] == ["1", "2"]
    assert appointment(new.objects[0])["identifier"] == appointment(old.objects[0])["identifier"]
    (revised,) = resource(new.objects[0], "Provenance")["entity"]
    assert revised["what"]["reference"].endswith("/_history/1")


def test_an_amendment_that_waits_for_its_validation_is_not_delivered_and_neither_is_what_it_replaces(
    place: Place,
) -> None:
    row = place.booking()
    place.accepted()
    place.world.day = DAY + timedelta(days=1)
    place.amend(row, version=2, status="amended")
    assert place.share() == {"excluded newer_version": 2}


@pytest.mark.clause("M1")
@pytest.mark.parametrize(
    ("what", "reason", "told"),
    [("withdrawn", "consent withdrawn", 1), ("cancelled", "cancelled", 2), ("restriction", "restricted", 2)],
)
def test_who_holds_what_may_not_be_used_any_more_is_told_once_and_the_acknowledgement_meets_it(
    place: Place, what: str, reason: str, told: int
) -> None:
    row = place.booking()
    other = place.booking(client={"given_name": "Eva"})
    place.accepted()
    place.share()
    at = NOW + timedelta(hours=1)
    if what == "withdrawn":
        place.says(row, "withdrawn", at)
    elif what == "cancelled":
        place.amend(row, version=2, status="cancelled")
    else:
        place.asks(row, what)
    done = place.share(at + timedelta(hours=1))
    assert (done["notices"], done["revoked"], done["obligations"]) == (told, told, told)
    first, notice = place.got(CLINIC)
    assert notice.manifest["kind"] == "revocation"
    assert notice.manifest["replaces"] == [first.manifest["delivery_id"]]
    assert [line["reason_code"] for line in notice.objects] == [reason.replace(" ", "_")]
    known = {appointment(bundle)["identifier"][1]["value"] for bundle in first.objects}
    assert {line["booking_reference"] for line in notice.objects} < known, other
    assert not {"notices", "deliveries"} & place.share(at + timedelta(hours=2)).keys()
    owed = "SELECT count(*) FROM sharing.obligations WHERE met_at IS NULL"
    assert builders.read(place.site, owed) == [(told,)]
    for name in (CLINIC, AGENCY):
        recipients.acknowledge(place.folder / name)
    assert place.share(at + timedelta(hours=3))["acknowledged"] == 2 + told
    assert builders.read(place.site, owed) == [(0,)]


def notices(place: Place, name: str) -> list[tuple[str, int]]:
    """Of each notice that a recipient got, in order, the reason, and how many rows it takes back."""
    found = (one.objects for one in place.got(name) if one.manifest["kind"] == "revocation")
    return [(lines[0]["reason_code"], len(lines)) for lines in found]


@pytest.mark.clause("M1")
def test_an_amendment_that_is_not_accepted_yet_hides_no_withdrawal(place: Place) -> None:
    row = place.booking()
    place.accepted()
    place.share()
    place.amend(row, version=2, status="amended")
    place.says(row, "withdrawn", NOW + HOUR)
    place.share(NOW + 2 * HOUR)
    assert notices(place, CLINIC) == [("consent_withdrawn", 1)]
    assert notices(place, AGENCY) == []


def test_a_clinic_is_told_when_an_amendment_takes_the_booking_to_another_provider(place: Place) -> None:
    row = place.booking()
    place.accepted()
    place.share()
    place.amend(row, version=2, status="amended", services=[TRAVEL])
    place.share(NOW + HOUR)
    assert notices(place, CLINIC) == [("cancelled", 1)]


def test_who_is_on_a_booking_no_more_is_taken_back_by_name_of_the_row_and_nobody_else(place: Place) -> None:
    row = place.booking(travellers=[{}, {"role": "patient"}])
    place.accepted()
    place.share()
    place.world.day = DAY + timedelta(days=1)
    key = place.world.day.isoformat()
    place.amend(row, version=2, status="amended")
    through(place.space(NOW + DAYS), "bookings", key)
    place.share(NOW + DAYS, key)
    assert place.share(NOW + DAYS + HOUR, key) == {"obligations": 2, "notices": 2, "revoked": 2}
    (old, new, notice) = place.got(CLINIC)
    assert notices(place, CLINIC) == [("superseded", 1)]
    assert notice.manifest["replaces"] == [old.manifest["delivery_id"]]
    assert notice.objects[0]["person_reference"] not in str(new.objects)
    assert notice.objects[0]["person_reference"] in str(old.objects)
    assert place.share(NOW + DAYS + 2 * HOUR, key) == {}


@pytest.mark.clause("M1")
@pytest.mark.parametrize("before", ["restriction", "erasure"])
def test_who_was_told_to_restrict_a_use_is_told_of_the_erasure_too(place: Place, before: str) -> None:
    row = place.booking()
    place.accepted()
    place.share()
    place.asks(row, before)
    place.share(NOW + HOUR)
    client = recipients.client_of(place.site, row)
    steps.destroy_key(place.space(), "subject", f"client {client}", "request 7", builders.run())
    for hours in (2, 3):
        place.share(NOW + hours * HOUR)
    for name in (CLINIC, AGENCY):
        assert notices(place, name) == [("restricted", 1), ("erased", 1)]


def test_who_was_told_to_restrict_a_use_is_told_that_the_consent_was_withdrawn(place: Place) -> None:
    row = place.booking()
    place.accepted()
    place.share()
    place.asks(row, "restriction")
    place.share(NOW + HOUR)
    place.says(row, "withdrawn", NOW + HOUR)
    for hours in (2, 3):
        place.share(NOW + hours * HOUR)
    assert notices(place, CLINIC) == [("restricted", 1), ("consent_withdrawn", 1)]
    assert notices(place, AGENCY) == [("restricted", 1)]


@pytest.mark.parametrize("what", ["unregistered", "contract", "outbox"])
def test_what_a_recipient_has_to_be_told_is_owed_whatever_keeps_it_from_being_told(place: Place, what: str) -> None:
    row = place.booking()
    place.accepted()
    place.share()
    place.says(row, "withdrawn", NOW + HOUR)
    clinic = place.register.pop(CLINIC)
    if what == "contract":
        place.register[CLINIC] = clinic.model_copy(update={"contract": "9.0.0"})
    elif what == "outbox":
        (place.folder / CLINIC).rename(place.folder / "elsewhere")
        place.register[CLINIC] = clinic
    with nullcontext() if what == "unregistered" else pytest.raises(GovernanceError):
        place.share(NOW + 2 * HOUR)
    owed = "SELECT recipient_id, reason, met_at FROM sharing.obligations JOIN sharing.deliveries USING (delivery_id)"
    assert builders.read(place.site, owed) == [(CLINIC, "consent withdrawn", None)]
    with nullcontext() if what == "unregistered" else pytest.raises(GovernanceError):
        assert place.share(NOW + 3 * HOUR) == {}


def test_who_was_told_by_hand_gets_the_booking_again_when_the_consent_is_given_again(place: Place) -> None:
    row = place.booking()
    place.accepted()
    place.share()
    place.says(row, "withdrawn", NOW + HOUR)
    clinic = place.register.pop(CLINIC)
    place.share(NOW + 2 * HOUR)
    ((delivery,),) = builders.read(place.site, "SELECT delivery_id FROM sharing.obligations")
    steps.meet_obligation(place.space(NOW + 3 * HOUR), delivery, "consent withdrawn", "letter 4", builders.run())
    place.register[CLINIC] = clinic
    place.says(row, "given", NOW + 4 * HOUR)
    assert place.share(NOW + 5 * HOUR) == {"deliveries": 1, "rows": 1, "bookings": 1}
    assert [one.manifest["kind"] for one in place.got(CLINIC)] == ["rows", "rows"]


@pytest.mark.parametrize(
    ("changes", "halted_by"),
    [
        ({"agreed_until": date(2026, 3, 11)}, "agreement_ended"),
        ({"agreed_from": date(2026, 3, 13)}, "agreement_not_begun"),
        ({"country_code": "US"}, "no_transfer_basis"),
        ({"contract": "9.0.0"}, "contract_unknown"),
    ],
)
def test_a_recipient_that_halts_keeps_no_other_from_its_deliveries(
    place: Place, changes: dict[str, object], halted_by: str
) -> None:
    place.booking()
    place.accepted()
    place.register = {CLINIC: place.register[CLINIC].model_copy(update=changes), AGENCY: place.register[AGENCY]}
    with pytest.raises(GovernanceError):
        place.share()
    assert (place.got(CLINIC), len(place.got(AGENCY))) == ([], 1)
    failed = [e for e in entries(place.site, "share", "outcome") if e["outcome"] == "failed"]
    assert [e["details"] for e in failed] == [{"recipient": CLINIC, "halted_by": halted_by}]


def test_without_a_certificate_nothing_is_delivered_and_with_one_it_is(place: Place) -> None:
    place.booking()
    place.accepted()
    shutil.rmtree(place.site.certificates_path)
    recipients.certify(place.site, AGENCY)
    with pytest.raises(HaltedError, match="recipient clinic: there is no certificate"):
        place.share()
    recipients.certify(place.site, CLINIC)
    assert place.share()["deliveries"] == 1


def test_a_validation_that_was_marked_a_success_by_hand_gives_nothing(place: Place) -> None:
    place.booking()
    steps.pull(place.space(), "bookings", KEY, builders.run())
    assert place.share() == {}
    builders.tamper(place.site, "UPDATE control.batches SET state = 'settled', settled_no = landing_no")
    assert place.share() == {"excluded not_validated": 2}
    assert place.got(CLINIC) == []


def test_a_service_that_is_over_is_delivered_to_nobody(place: Place) -> None:
    place.booking()
    place.accepted()
    assert place.share(NOW + timedelta(days=60)) == {}
    last = datetime(2026, 4, 19, 21, 59, tzinfo=UTC)  # Stockholm: still its day
    assert place.share(last)["deliveries"] == 2


def test_the_log_tells_an_auditor_what_went_to_whom_by_field_on_which_basis_and_names_nobody(place: Place) -> None:
    place.booking()
    place.booking(has_consented=False)
    place.accepted()
    place.share()
    answer = RunLog(place.site.dsn("auditor")).ask(named_query("evidence/deliveries"))
    told = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    assert {(row["event"], row["recipient"], row["rows_count"], row["outcome"]) for row in told} == {
        ("deliver", CLINIC, 1, "passed"), ("deliver", AGENCY, 2, "passed"),
    }  # fmt: skip
    assert all("GDPR Art. 6(1)(b)" in row["lawful_basis"] for row in told)
    manifests = {one.manifest["delivery_id"][:12]: one.manifest for name in (CLINIC, AGENCY) for one in place.got(name)}
    assert {row["delivery"]: row["fields"].split() for row in told} == {
        delivery: manifest["fields"] for delivery, manifest in manifests.items()
    }
    intents = entries(place.site, "deliver", "intent")
    assert [entry["details"]["recipient"] for entry in intents] == [CLINIC, AGENCY]
    assert intents[0]["counts"] == {"rows": 1, "excluded no_consent": 1}
    for one in (*intents, *entries(place.site, "share")):
        assert "Lindqvist" not in str(one)
    references = builders.read(
        place.site, "SELECT booking_reference, service_reference, person_reference FROM sharing.delivered_rows "
        "JOIN sharing.deliveries USING (delivery_id) WHERE recipient_id = 'clinic'")  # fmt: skip
    lines = "".join(f"{' '.join(row)}\n" for row in sorted(references))
    assert hashlib.sha256(lines.encode()).hexdigest() == intents[0]["details"]["references_sha256"]


@pytest.mark.clause("M1")
def test_who_holds_what_of_a_client_is_told_and_that_somebody_asked_is_on_the_record(
    place: Place, here: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    row = place.booking()
    place.booking()
    place.accepted()
    place.share()
    place.says(row, "withdrawn", NOW + timedelta(hours=1))
    place.share(NOW + timedelta(hours=2))
    client = recipients.client_of(here, row)
    assert governance("who-has", str(client), "--why", "request 7") == 0
    said = capsys.readouterr().out
    assert "2 recipients, 2 bookings in deliveries" in said
    assert "told on 2026-03-12 11:00 UTC to use it no more" in said
    assert "GDPR Art. 9(2)(a)" in said
    assert "fields booking_reference, " in said
    asked = entries(here, "who_has", "outcome")[-1]
    assert (asked["reason"], asked["counts"], asked["run"]["dag_id"]) == ("request 7", {"rows": 2}, "command line")
    reads = entries(here, "read", "outcome")[-1]
    assert reads["reading"]["columns"]["sharing.delivered_rows"][0] == "booking_reference"
    assert governance("who-has", "999", "--why", "request 7") == 0
    assert "0 recipients" in capsys.readouterr().out
    assert governance("who-has", "Åsa", "--why", "request 7") == 65


def test_a_delivery_that_nobody_acknowledges_is_an_alarm_until_somebody_does(place: Place) -> None:
    place.booking()
    place.accepted()
    place.share()
    steps.watch(place.space(NOW + timedelta(hours=47)), "acknowledgements", builders.run())
    late = place.space(NOW + timedelta(hours=48))
    with pytest.raises(AlarmError, match="F1 recipient agency: 1 deliveries are not acknowledged"):
        steps.watch(late, "acknowledgements", builders.run())
    for name in (CLINIC, AGENCY):
        recipients.acknowledge(place.folder / name)
    place.share(NOW + timedelta(hours=48))
    steps.watch(late, "acknowledgements", builders.run())


def looked(place: Place, now: datetime, name: str = "expiries") -> list[str]:
    """The alarms of a watch at an instant."""
    try:
        steps.watch(place.space(now), name, builders.run())
    except AlarmError as raised:
        return list(raised.alarms)
    return []


@pytest.mark.clause("H1")
def test_an_agreement_is_told_of_before_it_ends_and_is_then_the_business_of_who_has_something_to_deliver(
    place: Place,
) -> None:
    place.register[CLINIC] = place.register[CLINIC].model_copy(update={"agreed_until": date(2026, 6, 30)})
    end = datetime(2026, 6, 30, 22, tzinfo=UTC)  # midnight in Stockholm
    assert looked(place, end - timedelta(days=60, seconds=1)) == []
    (told,) = looked(place, end - timedelta(days=60))
    assert told == (
        "H1 recipient clinic, its agreement: ends on 2026-06-30 22:00 UTC, in 60 days; once it is renewed, change "
        "agreed_until (2026-06-30) in the register; nothing goes there afterwards"
    )
    raised = [e["details"]["state"] for e in entries(place.site, "alarm", "outcome")]
    assert raised == ["raised"]
    assert len(looked(place, end - timedelta(seconds=1))) == 1
    assert looked(place, end) == []


def test_a_certificate_is_told_of_before_it_ends_until_there_is_another_or_it_is_revoked(place: Place) -> None:
    for name in (CLINIC, AGENCY):
        place.register[name] = place.register[name].model_copy(update={"agreed_until": date(2030, 12, 31)})
    kept = CertificateFolder(place.site.certificates_path)
    end = max(current.certificate.not_after for name in (CLINIC, AGENCY) if (current := kept.current(name)))
    assert looked(place, end - timedelta(days=30, seconds=1)) == []
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    assert looked(place, end - timedelta(days=30)) == [
        f"F1 recipient {name}, its certificate: ends on {day}, in 30 days; ask for the next one, then "
        f"`governance recipients rotate {name} FILE.pem`"
        for name in (CLINIC, AGENCY)
    ]
    assert all(f"has ended on {day}" in alarm for alarm in looked(place, end + timedelta(seconds=1)))
    kept.rotate(CLINIC, demo_certificates.made("clinic, later", end)[0], end)
    assert [alarm.partition(",")[0] for alarm in looked(place, end)] == ["F1 recipient agency"]
    kept.revoke(AGENCY, None, end, "lost")
    assert looked(place, end) == []


def test_the_identity_that_signs_is_told_of_before_it_ends_where_anybody_is_to_pin_it(place: Place) -> None:
    recent = demo_certificates.made("clinic, later", NOW + timedelta(days=600))[0]
    for name in (CLINIC, AGENCY):
        place.register[name] = place.register[name].model_copy(update={"agreed_until": date(2030, 12, 31)})
    shutil.rmtree(place.site.certificates_path)
    CertificateFolder(place.site.certificates_path).add(CLINIC, recent, NOW)
    end = builders.IDENTITY.x509.not_valid_after_utc
    assert looked(place, end - timedelta(days=60, seconds=1)) == []
    (told,) = looked(place, end - timedelta(days=60))
    assert told.startswith(f"F1 the identity that signs deliveries: ends on {end:%Y-%m-%d %H:%M} UTC, in 60 days;")
    assert "`governance deliveries renew`" in told
    place.register = {}
    assert looked(place, end) == []


@pytest.mark.clause("E2")
def test_the_agreement_of_a_third_party_is_told_of_before_it_ends(place: Place) -> None:
    party = ThirdParty(
        name="Institute", purpose="market_research", agreed_from=date(2026, 1, 1), agreed_until=date(2026, 6, 30),
        tables=("bookings",), endpoint="/srv/institute",
    )  # fmt: skip
    space = place.space(datetime(2026, 5, 1, 22, tzinfo=UTC))
    space = replace(space, policy=space.policy.model_copy(update={"third_parties": {"institute": party}}))
    with pytest.raises(AlarmError, match="E2 third party institute, its agreement: ends on 2026-06-30 22:00 UTC"):
        steps.watch(space, "expiries", builders.run())


def test_an_acknowledgement_of_another_manifest_closes_nothing(place: Place) -> None:
    place.booking()
    place.accepted()
    place.share()
    (delivery,) = (path for path in (place.folder / CLINIC).iterdir() if path.is_dir())
    (place.folder / CLINIC / f"{delivery.name}.ack").write_text("0" * 64 + "\n")
    assert place.share() == {"strange_acknowledgements": 1}
    query = "SELECT count(*) FROM sharing.deliveries WHERE acknowledged_at IS NOT NULL"
    assert builders.read(place.site, query) == [(0,)]


@pytest.mark.clause("R1")
def test_runs_tell_whose_turn_each_try_was_and_that_one_recipients_success_mends_no_others_interruption(
    place: Place, here: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.booking()
    place.accepted()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # as a kill: no outcome is written
        patch.setattr(steps.sharing._Work, "done", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        place.share()
    place.register[CLINIC] = place.register[CLINIC].model_copy(update={"agreed_until": date(2026, 3, 11)})
    with pytest.raises(HaltedError):
        place.share(NOW + timedelta(hours=1))
    assert governance("runs", "--clause", "F1") == 0
    told = [line.split("manual", 1)[1].strip() for line in capsys.readouterr().out.splitlines() if " share " in line]
    assert told[0] == "recipient clinic"
    assert sorted(told[1:]) == [
        "HaltedError: the agreement with recipient clinic ended with 2026-03-11; nothing is handed over: renew it in "
        "the register",
        "recipient agency: rows 1, bookings 1, deliveries 1",
    ]
    assert governance("runs", "--clause", "F1", "--outcome", "interrupted") == 0
    assert "of 0 a later try has had its effect" in capsys.readouterr().out


@pytest.mark.parametrize("written", ["{}\n", "{}", "{}\r\n", "{}  manifest.json\n"])
@pytest.mark.parametrize("spelt", [str.lower, str.upper])
def test_an_acknowledgement_counts_however_a_program_writes_the_digest(
    place: Place, written: str, spelt: Callable[[str], str]
) -> None:
    place.booking()
    place.accepted()
    place.share()
    for delivery in (place.folder / CLINIC).glob("*/"):
        digest = hashlib.sha256((delivery / "manifest.json").read_bytes()).hexdigest()
        delivery.with_name(f"{delivery.name}.ack").write_text(written.format(spelt(digest)))
    assert place.share() == {"acknowledged": 1}


def test_where_nobody_is_registered_the_log_says_that_nothing_was_shared(place: Place) -> None:
    place.booking()
    place.accepted()
    place.register = {}
    assert place.share() == {}
    (entry,) = entries(place.site, "share")
    assert (entry["outcome"], entry["reason"]) == ("no_data", "nobody is registered")
