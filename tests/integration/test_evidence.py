"""The evidence of every clause on a real run log: it answers, truly, and as role auditor alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import psycopg2
import pytest

import builders
import certificate_files
import recipients
from builders import DAY, NOON, World
from governance import policy as policies
from governance import steps
from governance.commands.proofs import RunLog
from governance.coverage import Standing
from governance.embedded.site import Site
from governance.errors import AlarmError, PartitionError, RecipientError, WarehouseUnavailableError
from governance.sharing import folders
from governance.sharing.register import Recipient
from governance.third_parties import ThirdParty

pytestmark = pytest.mark.pg

EVIDENCE = sorted({query for clause in policies.load().clauses.values() for query in clause.evidence})


@pytest.fixture(scope="module")
def log(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLog]:
    """The run log of one day of bookings and visits, with troubles of several clauses, as the auditor reads it."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(site)
    for number in range(12):
        specialty = ("dental", "ophthalmology")[number % 2]
        card = {"card_id": number, "save_to_profile": number < 9} if 7 <= number < 11 else None
        row = world.booking(services=[{"procedure_code": f"{specialty}.a"}], card=card)
        recipients.says(site, world, row, "given", NOON - timedelta(days=1))
        world.view(device_id=f"device-{number}")
    world.booking(with_terms=False)
    world.booking(purpose_code="resale")
    world.booking(travellers=[{"birth_date": None}])
    world.booking(travellers=[{"birth_date": date(2010, 3, 10)}])
    world.booking(travellers=[{"birth_date": date(2010, 3, 10)}], consents=[{"verified_at": NOON}])
    world.view(ip="300.1.2.3")
    world.view(latitude=59.3)
    space = builders.workspace(site)
    for dataset in ("bookings", "visits"):
        batch = steps.pull(space, dataset, DAY.isoformat(), builders.run(f"{dataset} 1"))
        batch = steps.validate(space, batch, builders.run(f"{dataset} 1"))
        steps.publish(space, batch, builders.run(f"{dataset} 1"))
        steps.publish(space, batch, builders.run(f"{dataset} 1"))  # replayed
    builders.read(site, "UPDATE quarantine.reviews SET since = %s", NOON - timedelta(days=30))
    steps.erase_minors(space, builders.run("minors"))
    early = replace(builders.run("too early"), triggered_by=None)
    with pytest.raises(PartitionError):
        steps.pull(space, "visits", (DAY - timedelta(days=1)).isoformat(), early)
    for card in ("8", "9"):
        steps.place_hold(space, steps.HoldRequest(card, "fraud", "7", NOON.date() + timedelta(days=9)), builders.run())
    steps.keep_cards(space, builders.run())
    world.booking(card={"captured_at": NOON}), world.booking(card={"captured_at": NOON + timedelta(hours=5)})
    late = builders.workspace(site, now=NOON + timedelta(days=10, hours=2, minutes=30))
    with pytest.raises(AlarmError):
        steps.retain(late, builders.run())
    steps.retain(late, builders.run())
    asked = steps.HandOver("institute", "bookings", DAY.isoformat())
    with pytest.raises(RecipientError):
        steps.hand_over(space, asked, builders.run())
    institute = ThirdParty(
        name="Institute", purpose="market_research", agreed_from=DAY, agreed_until=NOON.date() + timedelta(days=30),
        tables=("bookings",), endpoint=str(tmp_path_factory.mktemp("institute")),
    )  # fmt: skip
    registered = space.policy.model_copy(update={"third_parties": {"institute": institute}})
    steps.hand_over(replace(space, policy=registered), asked, builders.run())
    hospital = tmp_path_factory.mktemp("hospital")
    folders.prepare(hospital, "hospital")
    recipients.certify(site, "hospital")
    steps.share(
        recipients.sharing(site, {"hospital": recipients.registered(hospital)}), asked.partition, builders.run()
    )
    clinic = Recipient(
        name="Clinic", kind="health_provider", provider_id=1, contract="1.0.0", agreed_from=DAY, country_code="SE",
        agreed_until=DAY, endpoint="file:///srv/clinic", acknowledgement_hours=48,
    )  # fmt: skip
    changes = (
        steps.CertificateChange("add", "somebody", certificate_files.pem()),
        steps.CertificateChange("add", "clinic", certificate_files.pem()),
        steps.CertificateChange("revoke", "clinic", reason="request 7"),
    )
    clinics = replace(space, policy=space.policy.model_copy(update={"recipients": {"clinic": clinic}}))
    with pytest.raises(RecipientError):
        steps.change_certificate(clinics, changes[0], builders.run())
    for change in changes[1:]:
        steps.change_certificate(clinics, change, builders.run())
    steps.checkpoint(space, builders.run())
    steps.checkpoint(space, builders.run())
    yield RunLog(site.dsn("auditor"))
    builders.empty_warehouse(site)
    world.clear()


def told(log: RunLog, name: str) -> list[dict[str, Any]]:
    """The rows of a named query."""
    assert log.evidence(name, has_releases=True).standing is Standing.SOUND
    answer = log.answers[name]
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


@pytest.mark.parametrize("name", EVIDENCE)
def test_every_query_answers_for_the_auditor(log: RunLog, name: str) -> None:
    assert told(log, name)


@pytest.mark.parametrize("name", EVIDENCE)
def test_no_answer_names_a_row(log: RunLog, name: str) -> None:
    answers = " ".join(str(value) for row in told(log, name) for value in row.values())
    assert not any(word in answers for word in ("device-", "@", "example.com", "192.0.2", "Lindqvist"))
    assert not re.search(r"\b\d{4,}/1\b", answers)  # a booking's row key; a signature in base64 may have "/1" in it


@pytest.mark.clause("A1")
def test_bookings_without_terms_or_purpose_are_counted(log: RunLog) -> None:
    (row,) = told(log, "terms_and_purpose")
    assert (row["bookings_seen"], row["rules"]) == (17, 10)
    assert (row["no_terms"], row["terms_late"], row["no_purpose"], row["no_client"], row["implausible"]) == (
        1,
        0,
        1,
        0,
        0,
    )


@pytest.mark.clause("K2")
@pytest.mark.clause("K3")
def test_what_became_of_every_card_is_counted(log: RunLog) -> None:
    (hours,) = told(log, "card_hours")
    names = ("hours", "captured", "saved_only", "held_only", "both", "gone", "hours_that_do_not_add_up")
    assert [hours[name] for name in names] == [1, 4, 1, 1, 1, 1, 0]
    (saved,) = told(log, "saved_cards")
    assert (saved["looks"], saved["saved"], saved["missed"], saved["withdrawn"], saved["failed"]) == (1, 2, 0, 0, 0)
    (held,) = told(log, "card_holds")
    assert (held["placed"], held["owners"], held["numbers_kept"], held["refused"], held["looks"]) == (2, 1, 0, 0, 1)


@pytest.mark.clause("L1")
def test_travellers_who_are_not_adults_are_counted(log: RunLog) -> None:
    (row,) = told(log, "ages")
    assert row["travellers_seen"] == 17
    assert (row["minor_at_booking"], row["minor_at_service"], row["age_unknown"], row["nobody_travels"]) == (1, 1, 1, 0)


@pytest.mark.clause("L2")
def test_consents_that_do_not_count_are_counted(log: RunLog) -> None:
    (row,) = told(log, "guardian_consents")
    assert (row["travellers_seen"], row["consent_unverified"], row["consent_late"]) == (17, 0, 1)


@pytest.mark.clause("L3")
def test_erasures_are_told_with_rows_and_keys_and_nothing_is_left(log: RunLog) -> None:
    step, *erasures = told(log, "erasures")
    assert (step["event"], step["due"], step["erased"]) == ("erase_minors", 3, 3)
    assert [(row["event"], row["rows_left"], row["keys_destroyed"]) for row in erasures] == [("erase", 0, 2)] * 3
    assert all(row["rows_erased"] >= 4 for row in erasures)


@pytest.mark.clause("B1")
def test_views_are_followed_from_the_source_to_the_release(log: RunLog) -> None:
    (row,) = told(log, "visit_collection")
    assert (row["views_at_source"], row["views_landed"], row["views_held_back"], row["by_rules_of_b1"]) == (
        14,
        14,
        2,
        1,
    )
    assert (row["views_counted"], row["cells_published"]) == (12, 0)  # too few for the threshold
    assert (row["epsilon"], row["delta"]) == (3.0, 2e-6)


@pytest.mark.clause("B2")
def test_implausible_positions_are_counted(log: RunLog) -> None:
    (row,) = told(log, "visit_positions")
    assert (row["rule"], row["views_seen"], row["views_failed"]) == ("B2.plausible_coordinates", 14, 1)


@pytest.mark.clause("K1")
def test_cards_that_ended_and_the_one_that_outlived_its_term_are_counted(log: RunLog) -> None:
    (row,) = [row for row in told(log, "cards_ended") if row["rule"] == "cards_at_source"]
    assert (row["runs_count"], row["rows_ended"], row["rows_in_breach"], row["failed_runs"]) == (2, 5, 5, 0)
    assert (row["longest_breach_hours"], row["oldest_left_hours"]) == (2.5, 237.5)


@pytest.mark.clause("R1")
def test_the_last_run_of_each_rule_says_that_nothing_due_is_left(log: RunLog) -> None:
    rows = told(log, "rows_ended")
    acting = {name for name, rule in builders.POLICY.retention.rules.items() if rule.act != "keep"}
    assert {row["rule"] for row in rows} == acting
    assert {row["left_due"] for row in rows} == {0}


@pytest.mark.clause("E1")
def test_every_release_tells_its_k_and_l_and_a_replay_is_no_release(log: RunLog) -> None:
    bookings, visits = told(log, "releases")
    assert (bookings["dataset"], bookings["k"], bookings["l"], bookings["published"]) == ("bookings", 12, 2, 12)
    assert (visits["dataset"], visits["k"], visits["l"], visits["table_rows"]) == ("visits", None, None, 0)


@pytest.mark.clause("E2")
@pytest.mark.clause("C6")
def test_what_third_parties_got_and_what_was_refused_is_told_with_figures(log: RunLog) -> None:
    given, refused = told(log, "third_party_releases")
    assert (given["third_party"], given["outcome"], given["k"], given["l"]) == ("institute", "passed", 12, 2)
    assert len(given["sidecar"]) == 12
    assert (refused["third_party"], refused["refused_with"]) == (None, "RecipientError")


@pytest.mark.clause("F1")
@pytest.mark.clause("N1")
def test_what_went_to_which_provider_is_told_by_field_and_basis(log: RunLog) -> None:
    (row,) = told(log, "deliveries")
    assert (row["recipient"], row["kind"], row["contract"]) == ("hospital", "rows", "health_provider 1.0.0")
    assert (row["outcome"], row["read_at"][:10]) == ("passed", "2026-03-12")
    assert "GDPR Art. 9(2)(a)" in row["lawful_basis"]
    assert row["rows_count"] >= 12


@pytest.mark.clause("F1")
def test_which_certificate_of_a_recipient_counted_when_is_told_and_what_was_refused(log: RunLog) -> None:
    revoked, added, refused = told(log, "recipient_certificates")
    assert (added["recipient"], added["event"], added["outcome"]) == ("clinic", "add_certificate", "passed")
    assert (revoked["event"], revoked["reason"]) == ("revoke_certificate", "request 7")
    assert len(added["fingerprint"]) == 12
    assert added["fingerprint"] == revoked["fingerprint"] == revoked["before"]
    assert (refused["recipient"], refused["refused_with"]) == ("unknown", "HaltedError")


@pytest.mark.clause("J1")
def test_each_hop_was_written_by_the_role_that_it_works_as(log: RunLog) -> None:
    roles = {(row["event"], row["database_role"]) for row in told(log, "access")}
    assert roles == {("pull", "loader"), ("validate", "validator"), ("publish", "publisher")}
    assert {row["triggered_by"] for row in told(log, "access")} == {"tester"}


@pytest.mark.clause("R1")
def test_rows_of_every_partition_balance(log: RunLog) -> None:
    rows = told(log, "conservation")
    assert [(row["dataset"], row["at_source"], row["quarantined"], row["balanced"]) for row in rows] == [
        ("bookings", 17, 5, "yes"),
        ("visits", 14, 2, "yes"),
    ]


@pytest.mark.clause("R1")
def test_every_try_shows_the_failed_ones_included(log: RunLog) -> None:
    tries = {(row["dataset"], row["event"], row["outcome"]): row["tries"] for row in told(log, "tries")}
    assert tries["visits", "pull", "failed"] == 1
    assert tries["bookings", "publish", "replayed"] == 1


def test_a_query_that_does_not_exist_or_fails_is_broken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RunLog(site.dsn("auditor"))
    assert log.evidence("no_such_query", has_releases=False).standing is Standing.BROKEN
    # The auditor may not read any other zone, so such a query fails.
    monkeypatch.setattr("governance.commands.proofs.named_query", lambda name: "SELECT * FROM vault.bookings")
    assert log.evidence("ages", has_releases=False).standing is Standing.BROKEN


def test_the_log_shows_no_password_when_it_is_printed(site: Site) -> None:
    assert site.passwords["auditor"] not in repr(RunLog(site.dsn("auditor")))


def test_a_server_that_is_away_is_told_apart_from_a_query_that_fails(site: Site) -> None:
    away = site.dsn("auditor").replace(f":{site.warehouse_port}/", ":1/")
    with pytest.raises(WarehouseUnavailableError):
        RunLog(away).ask("SELECT 1")


def test_the_auditor_can_read_the_log_and_change_nothing(site: Site) -> None:
    with psycopg2.connect(site.dsn("auditor")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('audit.run_log', 'INSERT, UPDATE, DELETE, TRUNCATE')")
        assert cursor.fetchone() == (False,)
    connection.close()


@pytest.mark.clause("J2")
def test_reads_are_told_with_role_purpose_person_and_rows(log: RunLog) -> None:
    rows = {(row["database_role"], row["dataset"]): row for row in told(log, "reads")}
    hops = {(role, dataset) for role in ("validator", "publisher") for dataset in ("bookings", "visits")}
    others = {("profiler", "cards"), ("screener", "cards"), ("retainer", "retention"), ("sharer", "bookings")}
    assert set(rows) == hops | others
    published = rows["publisher", "bookings"]
    assert (published["purpose"], published["read_by"]) == ("improve_services", "tester")
    assert published["opened"] == published["closed"]
    assert published["rows_read"] == 12


@pytest.mark.clause("R1")
def test_heartbeats_are_told_with_what_had_been_signed_before(log: RunLog) -> None:
    later, first = told(log, "heartbeats")
    assert (first["entries_signed"], first["root"]) == (0, "")
    assert later["entries_signed"] > 10
    assert len(later["root"]) == 44
