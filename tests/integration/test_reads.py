"""Rows of personal zones are read through one door: an entry first, then the role; what comes without is noticed."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

import builders
from aftermath import entries, governance, through
from builders import DAY, World
from faults import Stop, killed
from governance import door, steps
from governance.database import taking
from governance.embedded import control
from governance.embedded.site import Site
from governance.errors import PolicyError, WarehouseUnavailableError
from governance.log_tree import LogTree
from governance.publications import Publication
from governance.recording import new_id
from governance.steps import Workspace
from run_logs import Insider, append, attempt

pytestmark = [pytest.mark.pg, pytest.mark.clause("J2"), pytest.mark.clause("R1")]

KEY = DAY.isoformat()
COLUMNS = {"vault.bookings": ["row_key", "status"]}


def unrecorded(site: Site, *others: str) -> list[tuple[int, str]]:
    """Connections of the pipelines, and of others, that could read and of which the log knows nothing, of any time.

    The owner's own are not among them unless they are asked for: these tests look at the log as the owner.
    """
    with LogTree.connected(site.dsn("auditor")) as tree:
        found = tree.unrecorded_sessions(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    return [(number, login) for number, login in found if login in ("pipeline", *others)]


def reads(site: Site) -> list[dict[str, Any]]:
    """Entries of reads, in order."""
    return entries(site, "read")


def connections(site: Site, login: str) -> int:
    """How many connections of a login were noted."""
    return int(builders.read(site, "SELECT count(*) FROM audit.sessions WHERE database_login = %s", login)[0][0])


# -- the hops ----------------------------------------------------------------------------------------------------------


def test_every_hop_that_reads_says_so_first_and_how_much_it_was_afterwards(
    site: Site, world: World, space: Workspace
) -> None:
    world.crowd()
    through(space, "bookings", KEY)
    said = [(e["phase"], e["reading"]["role"], e["reading"]["purpose"], e["counts"].get("rows")) for e in reads(site)]
    assert said == [
        ("intent", "validator", "validation", None), ("outcome", "validator", "validation", 30),
        ("intent", "publisher", "improve_services", None), ("outcome", "publisher", "improve_services", 10),
    ]  # fmt: skip
    hops = {entry["attempt_id"]: entry["event"] for entry in entries(site)}
    assert [hops[entry["reading"]["of"]] for entry in reads(site)] == ["validate", "validate", "publish", "publish"]
    for entry in reads(site):
        zone = {"validator": "landing", "publisher": "vault"}[entry["reading"]["role"]]
        for table, columns in entry["reading"]["columns"].items():
            assert table.startswith(f"{zone}.")
            if table in ("vault.release_ledger", "vault.release_people"):
                continue
            landed = builders.POLICY.dataset("bookings").landed[table.partition(".")[2]]
            assert columns == sorted(landed.columns_for(entry["reading"]["purpose"]))
        assert entry["run"]["triggered_by"] == "tester"


def test_the_columns_that_are_named_are_the_columns_that_are_read(site: Site, world: World, space: Workspace) -> None:
    """A query that read more than policy grants would be refused; one that read less would overstate."""
    from governance.sources import named_query

    world.crowd()
    through(space, "bookings", KEY)
    (named,) = [e["reading"]["columns"] for e in reads(site) if e["reading"]["role"] == "publisher" and e["outcome"]]
    text = "".join(map(named_query, ("undecided_bookings", "decided", "carried_in"))) + "person signature"
    missing = [column for columns in named.values() for column in columns if column not in text]
    assert not missing


def test_every_connection_of_a_pipeline_belongs_to_an_entry(site: Site, world: World, space: Workspace) -> None:
    world.crowd()
    world.visitors()
    for dataset in ("bookings", "visits"):
        through(space, dataset, KEY)
    steps.checkpoint(space, builders.run())
    assert connections(site, "pipeline") > 10
    assert not unrecorded(site)


def test_a_hop_that_fails_closes_its_read_with_what_it_had_read(site: Site, world: World, space: Workspace) -> None:
    world.crowd()
    batch = steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    builders.read(site, "DELETE FROM vault.bookings WHERE row_key = (SELECT min(row_key) FROM vault.bookings)")
    with pytest.raises(Exception, match="9 rows of the partition"):
        steps.publish(space, batch, builders.run())
    last = reads(site)[-1]
    assert (last["outcome"], last["counts"]["rows"]) == ("failed", 9)
    assert last["error"] == {"type": "ConservationError", "message": f"see attempt {last['reading']['of']}"}


def test_a_reader_that_is_killed_leaves_its_read_open(site: Site, world: World, space: Workspace) -> None:
    world.crowd()
    batch = steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())

    def before_publishing(stop: Stop) -> None:
        Publication.append = lambda *arguments, **named: stop()  # type: ignore[method-assign]

    killed(lambda: steps.publish(space, batch, builders.run()), before_publishing)
    assert [(e["phase"], e["reading"]["role"]) for e in reads(site)][-1] == ("intent", "publisher")
    assert not unrecorded(site)


# -- the door ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_recorded_is_not_lent(site: Site, world: World, space: Workspace) -> None:
    away = replace(space, warehouse_dsn=lambda role: site.dsn(role) if role != "recorder" else site.dsn(role).replace(
        f":{site.warehouse_port}/", ":1/"))  # fmt: skip
    with pytest.raises(WarehouseUnavailableError), door.lent(away, attempt(), "publisher", COLUMNS):
        pytest.fail("it was lent")


def test_a_role_without_a_purpose_is_not_lent(space: Workspace) -> None:
    with pytest.raises(PolicyError, match="works for no purpose"), door.lent(space, attempt(), "custodian", COLUMNS):
        pytest.fail("it was lent")


def test_the_role_that_is_lent_is_taken_and_the_connection_carries_the_entry(
    site: Site, world: World, space: Workspace
) -> None:
    with door.lent(space, attempt(), "publisher", COLUMNS) as lent, closing(psycopg2.connect(lent.dsn)) as connection:
        (opened,) = reads(site)
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user, session_user, current_setting('application_name')")
            assert cursor.fetchone() == ("publisher", "pipeline", opened["attempt_id"])
            cursor.execute("SELECT count(*) FROM (SELECT row_key, status FROM vault.bookings) r")
        lent.rows += 3
    assert [entry["counts"].get("rows") for entry in reads(site)] == [None, 3]
    assert not unrecorded(site)


# -- what did not come through the door --------------------------------------------------------------------------------


def test_a_connection_that_takes_a_role_without_an_entry_is_an_alarm(
    site: Site, world: World, space: Workspace
) -> None:
    with closing(psycopg2.connect(site.dsn("publisher"))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT row_key FROM vault.bookings")
    ((number, login),) = unrecorded(site)
    assert login == "pipeline"
    later = builders.workspace(site, now=datetime.now(UTC) + timedelta(minutes=5))
    steps.checkpoint(later, builders.run())
    heartbeat = [entry for entry in entries(site, "heartbeat")][-1]
    assert f"J2 1 connections could read without an entry: {number} of pipeline" in heartbeat["alarms"]


@pytest.mark.parametrize("name", ["00000000-0000-4000-8000-000000000000", "", "closed"])
def test_a_connection_that_claims_an_entry_which_is_not_open_is_an_alarm(
    site: Site, world: World, space: Workspace, name: str
) -> None:
    with door.lent(space, attempt(), "publisher", COLUMNS):
        pass
    claimed = reads(site)[0]["attempt_id"] if name == "closed" else name
    psycopg2.connect(taking(site.dsn("publisher"), name=claimed)).close()
    assert [login for _, login in unrecorded(site)] == ["pipeline"]


def test_that_something_was_appended_is_no_leave_to_read(site: Site, world: World, space: Workspace) -> None:
    lunch = replace(attempt(), event="lunch").intent(entry_id=new_id(), at=builders.NOW)
    with closing(psycopg2.connect(site.dsn("publisher"))) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT row_key FROM vault.bookings")
        cursor.execute("SELECT audit.append(%s)", (lunch.canonical(),))
    psycopg2.connect(taking(site.dsn("publisher"), name=lunch.attempt.attempt_id)).close()
    assert [login for _, login in unrecorded(site)] == ["pipeline", "pipeline"]


def test_a_read_that_was_never_closed_is_a_leave_for_three_hours(site: Site, world: World, space: Workspace) -> None:
    with suppress(KeyboardInterrupt), door.lent(space, attempt(), "publisher", COLUMNS):
        raise KeyboardInterrupt
    (opened,) = reads(site)
    psycopg2.connect(taking(site.dsn("publisher"), name=opened["attempt_id"])).close()
    assert unrecorded(site) == []
    insider = Insider(site)
    insider.sql("UPDATE audit.run_log SET written_at = written_at - interval '3 hours' WHERE event = 'read'")
    insider.close()
    assert [login for _, login in unrecorded(site)] == ["pipeline"]


def test_a_connection_that_was_removed_from_the_notes_is_counted(site: Site, world: World) -> None:
    for _ in range(3):
        psycopg2.connect(site.dsn("recorder")).close()
    ((began,),) = builders.read(site, "SELECT pg_postmaster_start_time()")
    ((first,),) = builders.read(site, "SELECT opened_at FROM audit.sessions ORDER BY session_no DESC OFFSET 3 LIMIT 1")
    with LogTree.connected(site.dsn("sequencer")) as tree:
        later = datetime.now(UTC) + timedelta(minutes=5)
        assert tree.lost_sessions(first, later) == 0
        insider = Insider(site)
        insider.sql("DELETE FROM audit.sessions WHERE session_no = (SELECT max(session_no) - 2 FROM audit.sessions)")
        insider.close()
        assert tree.lost_sessions(first, later) == 1
        assert tree.lost_sessions(began - timedelta(seconds=1), later) == 0  # a crash of the server leaves out some too


def last_alarms(site: Site) -> list[str]:
    """Alarms of a heartbeat a while after everything that was done."""
    steps.checkpoint(builders.workspace(site, now=datetime.now(UTC) + timedelta(minutes=5)), builders.run())
    alarms: list[str] = entries(site, "heartbeat")[-1]["alarms"]
    return alarms


def test_whatever_stands_between_a_login_and_its_note_is_an_alarm(site: Site, world: World) -> None:
    with closing(psycopg2.connect(site.dsn("governance_owner"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE FUNCTION audit.hide() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
                "CREATE TRIGGER hide BEFORE INSERT ON audit.sessions FOR EACH ROW EXECUTE FUNCTION audit.hide()"
            )
            try:
                assert any("connections to the database are not noted" in alarm for alarm in last_alarms(site))
            finally:
                cursor.execute("DROP TRIGGER hide ON audit.sessions; DROP FUNCTION audit.hide()")
    assert not any("connections to the database are not noted" in alarm for alarm in last_alarms(site))


def test_an_entry_that_was_taken_out_of_the_queue_is_an_alarm(site: Site, world: World) -> None:
    append(site, 2)
    with closing(psycopg2.connect(site.dsn("sequencer"))) as connection, connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit.pending")
    assert any("entries have no place and do not wait for one" in alarm for alarm in last_alarms(site))


def test_a_site_from_before_the_recorder_is_brought_up_and_that_is_on_the_record(site: Site, world: World) -> None:
    with closing(psycopg2.connect(site.dsn("governance_owner"))) as connection, connection, connection.cursor() as c:
        c.execute("REVOKE USAGE ON SCHEMA audit FROM recorder; REVOKE EXECUTE ON FUNCTION audit.append FROM recorder")
        c.execute("GRANT USAGE ON SCHEMA audit TO pipeline; GRANT EXECUTE ON FUNCTION audit.append TO pipeline")
    control.clusters_up(site.data_dir)
    done = [entry["event"] for entry in entries(site) if entry["dataset"] == "site" and entry["phase"] == "intent"]
    assert "provision" in done
    ((may,),) = builders.read(site, "SELECT has_schema_privilege('pipeline', 'audit', 'USAGE')")
    assert not may


def test_bringing_a_site_up_again_is_on_the_record_too(site: Site, world: World) -> None:
    ((before,),) = builders.read(site, "SELECT max(session_no) FROM audit.sessions")
    control.clusters_up(site.data_dir)
    assert not [number for number, _ in unrecorded(site, "postgres", "migrator") if number > before]
    done = [(entry["event"], entry["phase"]) for entry in entries(site) if entry["dataset"] == "site"]
    assert done == [
        ("provision", "intent"), ("provision", "outcome"), ("migrate", "outcome"),
        ("note_logins", "intent"), ("note_logins", "outcome"),
    ]  # fmt: skip


@pytest.mark.parametrize("login", ["postgres", "migrator"])
def test_whoever_else_could_read_is_an_alarm_too(site: Site, world: World, login: str) -> None:
    psycopg2.connect(site.dsn(login), dbname="governance").close()
    assert login in [found for _, found in unrecorded(site, login)]


@pytest.mark.parametrize("login", ["analyst", "auditor", "coordinator", "sequencer", "custodian"])
def test_a_login_that_can_read_no_personal_zone_is_none(site: Site, world: World, login: str) -> None:
    before = connections(site, login)
    psycopg2.connect(site.dsn(login)).close()
    assert connections(site, login) == before + 1
    assert login not in [found for _, found in unrecorded(site, login)]


def test_a_connection_that_cannot_be_noted_is_refused(site: Site, world: World) -> None:
    read_only = taking(site.dsn("pipeline"), default_transaction_read_only="on")
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(read_only)


def test_an_hour_in_which_connections_are_not_noted_is_an_alarm(site: Site, world: World, space: Workspace) -> None:
    """Otherwise nothing would be missed, for nothing would be there to be held against the log."""
    steps.checkpoint(space, builders.run())
    assert entries(site, "heartbeat")[-1]["alarms"] == []
    switch = "SET event_triggers = off; ALTER EVENT TRIGGER note_login {}"
    superuser = site.dsn("postgres").rsplit("/", 1)[0] + "/governance"
    with closing(psycopg2.connect(superuser)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(switch.format("DISABLE"))
            try:
                steps.checkpoint(space, builders.run())
            finally:
                cursor.execute(switch.format("ENABLE ALWAYS"))
    (alarm,) = entries(site, "heartbeat")[-1]["alarms"]
    assert alarm.startswith("J2 connections to the database are not noted")


# -- a person ----------------------------------------------------------------------------------------------------------


def test_a_person_reads_with_a_reason_and_the_log_has_both(
    here: Site, world: World, space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    world.crowd()
    through(space, "bookings", KEY)
    command = (
        "read",
        "--role",
        "publisher",
        "--why",
        "ticket 17",
        "--limit",
        "4",
        "vault.bookings",
        "status",
        "row_key",
    )
    assert governance(*command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "status,row_key"
    assert len(lines) == 5
    intent, outcome = reads(here)[-2:]
    assert intent["reason"] == "ticket 17"
    assert intent["run"]["triggered_by"]
    assert intent["reading"]["columns"] == {"vault.bookings": ["row_key", "status"]}
    assert outcome["counts"] == {"rows": 4}
    assert governance("runs", "--reads") == 0
    shown = capsys.readouterr().out.splitlines()
    assert "`read`" in shown[-1]
    assert shown[-1].endswith(": ticket 17")
    assert "vault.bookings (2 columns)" in shown[-1]
    assert len(shown) == 4
    assert not unrecorded(here)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("vault.booking_travellers", "birth_date_encrypted"), "may not read that of"),
        (("vault.nothing", "row_key"), "may not read that of"),
        (("vault.bookings", "row_key; DROP TABLE vault.bookings"), "are no names"),
        (("analytics.bookings", "price_band"), "is no table of"),
        (("bookings", "row_key"), "is no table of"),
    ],
)
def test_what_the_purpose_does_not_need_is_refused_and_the_log_has_the_try(
    here: Site, world: World, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert governance("read", "--role", "publisher", "--why", "curious", *arguments) == 65
    assert said in capsys.readouterr().err
    tried = reads(here)
    assert [entry["outcome"] for entry in tried] == ([None, "failed"] if "may not" in said else [])
    assert all(entry["error"]["message"] == "told to the person who asked" for entry in tried[1:])


@pytest.mark.parametrize(
    "why", [" ", "by kanarie@example.com", "card 4000056655665556", "call +46709990001", "\x1b[2J", "two\nlines"]
)
def test_a_read_without_a_reason_that_may_stand_in_the_log_is_refused(
    here: Site, world: World, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    with pytest.raises(SystemExit):
        governance("read", "--role", "publisher", "--why", why, "vault.bookings", "row_key")
    said = capsys.readouterr().err
    assert "say why" in said or ("looks like personal data" in said and why not in said)
    assert reads(here) == []


def test_what_is_no_name_of_a_column_comes_nowhere_near_the_log(
    here: Site, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert governance("read", "--role", "publisher", "--why", "x", "vault.bookings", "kanarie@example.com") == 65
    assert "kanarie" not in capsys.readouterr().err
    assert reads(here) == []


def test_quarantine_is_reviewed_on_the_record(
    here: Site, world: World, space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    world.booking(with_terms=False)
    through(space, "bookings", KEY)
    assert governance("quarantine", "list") == 0
    assert "A1.terms_accepted" in capsys.readouterr().out
    last = reads(here)[-1]
    assert (last["reading"]["role"], last["reading"]["purpose"], last["counts"]) == ("steward", "review", {"rows": 1})
    assert set(last["reading"]["columns"]) == {"quarantine.findings", "quarantine.refusals"}


FILTERS = {
    "": 6, "--clause L1": 3, "--clause b1": 3, "--clause J2": 0, "--outcome passed": 6, "--outcome failed": 0,
    "--by tester": 6, "--by somebody": 0, "--since 2026-03-12": 6, "--since 2026-03-13": 0, "--until 2026-03-12": 6,
    "--until 2026-03-11": 0, "--dataset visits": 3, "--partition 2026-03-10": 6, "--partition 2026-03-11": 0,
    "--reads": 4, "--reads --dataset visits": 2, "--failed": 0, "--outcome interrupted": 0,
}  # fmt: skip


def test_runs_are_found_by_dataset_clause_outcome_period_and_person(
    here: Site, world: World, space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    world.crowd()
    world.visitors()
    for dataset in ("bookings", "visits"):
        through(space, dataset, KEY)
    found = {}
    for arguments in FILTERS:
        assert governance("runs", "--json", *arguments.split()) == 0
        found[arguments] = len([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert found == FILTERS
