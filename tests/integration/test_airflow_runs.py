"""Every run of a live Airflow is accounted for, whoever ends it and however; and somebody is told of what fails."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest

from governance.commands.reading import log_entries, rows
from governance.embedded import airflow_config, demo, workspaces
from governance.embedded.site import UI_USER, Site
from governance.errors import AlarmError, GovernanceError
from governance.steps import reconcile
from listeners import Arrived, mail, webhook
from live_runs import call, ended, held, pause_at_rest, run_airflow, trigger, until

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow, pytest.mark.clause("R1")]


@dataclass
class Scenario:
    """What was done by hand and to processes, and what the log says of it afterwards."""

    site: Site
    alarms: tuple[str, ...]
    entries: list[dict[str, Any]]
    second: dict[str, int]  # counts of a second look
    hook: Arrived
    mails: Arrived

    def of_run(self, run_id: str) -> list[dict[str, Any]]:
        """Entries about a run, oldest first."""
        return [entry for entry in self.entries if entry["run"]["run_id"] == run_id]


@contextmanager
def told_to(site: Site, hook: Arrived, mails: Arrived) -> Iterator[None]:
    """The connections of a site that tells a webhook and a mailbox."""
    file = airflow_config.home(site) / "connections.json"
    text = file.read_text()
    known = json.loads(text)
    known["wellbe_alarms_webhook"] = {
        "conn_type": "http", "host": f"http://127.0.0.1:{hook.port}/hook", "password": "a-token-of-the-hook",
    }  # fmt: skip
    known["wellbe_alarms_smtp"] = {
        "conn_type": "smtp", "host": "127.0.0.1", "port": mails.port,
        "extra": {"to": "duty@example.com", "from_email": "wellbe@example.com", "disable_ssl": True,
                  "disable_tls": True},
    }  # fmt: skip
    file.write_text(json.dumps(known))
    try:
        yield
    finally:
        file.write_text(text)


def killed_before_its_first_entry(site: Site) -> None:
    """SIGKILL a task that has not been able to say that it began."""
    with held(site, "audit.run_log"):
        trigger(site, "key_upkeep", "killed")
        query = "SELECT pid FROM task_instance WHERE run_id = 'killed' AND state = 'running' AND pid IS NOT NULL"
        ((pid,),) = until(lambda: rows(site.dsn("airflow"), query))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'governance'"
        until(lambda: rows(site.dsn("postgres"), waiting)[0][0])
        os.kill(pid, signal.SIGKILL)
        # While it is killed, other tasks wait for the same table.
        retried = "SELECT 1 FROM task_instance_history WHERE run_id = 'killed' UNION SELECT 1 FROM task_instance WHERE "
        until(lambda: rows(site.dsn("airflow"), retried + "run_id = 'killed' AND state = 'up_for_retry'"))


def misses_its_deadline(site: Site) -> None:
    """A run that waits, because its DAG is paused, until after its deadline."""
    run_airflow(site, "dags", "pause", "--yes", "bookings")
    trigger(site, "bookings", "too-late")
    with psycopg2.connect(site.dsn("airflow")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE deadline SET deadline_time = now() - interval '1 minute' "
            "WHERE dagrun_id = (SELECT id FROM dag_run WHERE run_id = 'too-late')"
        )
        assert cursor.rowcount == 1
    connection.close()


@pytest.fixture(scope="module")
def scenario(live: Site) -> Iterator[Scenario]:
    demo.wait_for_dags(live)
    with ExitStack() as stack:
        hook, mails = stack.enter_context(webhook()), stack.enter_context(mail())
        stack.enter_context(told_to(live, hook, mails))
        pause_at_rest(live, "retention")
        for dag in ("watch", "run_log_sequencer", "run_log_checkpoint"):  # they would wait for the held table too
            run_airflow(live, "dags", "pause", "--yes", dag)
        at_work = "SELECT 1 FROM dag_run WHERE state = 'running' AND dag_id NOT IN ('bookings', 'visits')"
        until(lambda: not rows(live.dsn("airflow"), at_work))
        killed_before_its_first_entry(live)
        run_airflow(live, "dags", "unpause", "--yes", "retention")
        run_airflow(live, "dags", "unpause", "--yes", "visits")
        trigger(live, "visits", "without-a-partition")
        run_airflow(live, "dags", "pause", "--yes", "key_upkeep")
        marked = trigger(live, "key_upkeep", "marked")
        call(
            live, "PATCH", f"{marked}/taskInstances/keep_keys", {"new_state": "success", "note": "kanarie@example.com"}
        )
        gone = trigger(live, "key_upkeep", "deleted")
        call(live, "DELETE", gone)
        run_airflow(live, "dags", "unpause", "--yes", "key_upkeep")
        for run_id in ("without-a-partition", "killed"):
            until(ended(live, run_id), 180)
        misses_its_deadline(live)
        until(lambda: [m for m in hook.messages if "deadline" in m["text"]], 120)
        cleared = {"dry_run": False, "dag_run_id": "marked", "only_failed": False, "reset_dag_runs": True}
        space, alarms = workspaces.workspace(live), ()
        try:
            reconcile(space, workspaces.by_hand("reconcile"))
        except AlarmError as error:
            alarms = error.alarms
        second = reconcile(space, workspaces.by_hand("reconcile"))
        call(live, "POST", "/api/v2/dags/key_upkeep/clearTaskInstances", cleared)
        until(ended(live, "marked"))
        reconcile(space, workspaces.by_hand("reconcile"))
        yield Scenario(live, alarms, log_entries(live.dsn("auditor")), second, hook, mails)


def test_a_task_that_was_killed_before_it_could_say_anything_has_an_entry_and_its_retry_too(scenario: Scenario) -> None:
    told = [(e["run"]["try_number"], e["outcome"]) for e in scenario.of_run("killed") if e["event"] == "keep_keys"]
    (ended,) = {outcome for number, outcome in told if number == 2 and outcome}
    assert ended in ("no_data", "passed")  # whether a key of a day that has landed was left to be destroyed
    assert sorted(told, key=str) == [(1, "failed"), (2, ended), (2, None)]
    (error,) = [e["error"]["type"] for e in scenario.of_run("killed") if e["outcome"] == "failed"]
    assert error == "NotReachedError"
    assert not any("killed keep_keys" in alarm for alarm in scenario.alarms)  # it was tried again


def test_a_task_that_was_marked_a_success_by_hand_is_an_alarm_and_who_did_it_is_known(scenario: Scenario) -> None:
    (action,) = [e for e in scenario.of_run("marked") if e.get("details", {}).get("action") == "patch_task_instance"]
    assert (action["run"]["triggered_by"], action["details"]["new_state"]) == (UI_USER, "success")
    entry = next(e for e in scenario.of_run("marked") if e["event"] == "keep_keys")
    assert (entry["outcome"], entry["error"]["type"]) == ("failed", "NoEffectError")
    assert any("key_upkeep marked keep_keys" in alarm and "marked so by hand" in alarm for alarm in scenario.alarms)


def test_once_it_is_cleared_it_runs_and_both_are_told(scenario: Scenario) -> None:
    told = scenario.of_run("marked")
    assert [
        e["run"]["triggered_by"] for e in told if e.get("details", {}).get("action", "").startswith("post_clear")
    ] == [UI_USER]
    assert [e["outcome"] for e in told if e["event"] == "keep_keys"][-1] == "no_data"


def test_a_run_that_was_deleted_is_told_with_whoever_did_it(scenario: Scenario) -> None:
    actions = [(e["details"]["action"], e["run"]["triggered_by"]) for e in scenario.of_run("deleted")]
    assert actions == [("trigger_dag_run", UI_USER), ("delete_dag_run", UI_USER)]


def test_what_did_not_run_because_something_before_it_failed_is_told(scenario: Scenario) -> None:
    told = {(e["event"], e["outcome"]) for e in scenario.of_run("without-a-partition") if e["outcome"]}
    assert {
        ("plan", "failed"),
        ("pull", "skipped"),
        ("validate", "skipped"),
        ("predecessor_published", "skipped"),
        ("publish", "skipped"),
    } <= told
    reasons = {e.get("reason") for e in scenario.of_run("without-a-partition") if e["outcome"] == "skipped"}
    assert reasons == {"not run: a task before it failed"}


def test_a_second_look_finds_nothing_that_the_first_has_told(scenario: Scenario) -> None:
    assert (scenario.second["tries without"], scenario.second["interrupted"]) == (0, 0)
    told = [e["details"]["airflow_event"] for e in scenario.entries if e["event"] == "airflow_action"]
    assert len(told) == len(set(told))


def test_every_ended_try_that_airflow_has_is_told(scenario: Scenario) -> None:
    query = (
        "SELECT dag_id, run_id, task_id, try_number FROM task_instance WHERE state IN ('success', 'failed', 'skipped', "
        "'upstream_failed') AND updated_at < %s UNION SELECT dag_id, run_id, task_id, try_number "
        "FROM task_instance_history WHERE updated_at < %s"
    )
    looked_at = max(e["at"] for e in scenario.entries if e["event"] == "reconcile")
    before = datetime.fromisoformat(looked_at).astimezone(UTC)
    tries = rows(scenario.site.dsn("airflow"), query, (before, before))
    names = ("dag_id", "run_id", "task_id", "try_number")
    # An attempt without an outcome is told already; that it is over, once it has been silent for two minutes.
    with_entries = {tuple(e["run"][name] for name in names) for e in scenario.entries}
    quiet = {name for e in scenario.entries if e["event"] == "reconcile" for name in e.get("details", {})}
    assert len(tries) > 10
    assert [t for t in tries if t not in with_entries and " ".join(map(str, t)) not in quiet] == []


def test_what_people_type_beside_an_action_is_not_in_the_log(scenario: Scenario) -> None:
    assert "kanarie" not in json.dumps(scenario.entries)


def test_a_failure_is_told_to_the_webhook_and_by_mail_once(scenario: Scenario) -> None:
    texts = [message["text"] for message in scenario.hook.messages]
    (failure,) = [m for m in scenario.hook.messages if m["text"].startswith("visits.plan failed: PartitionError")]
    assert "has no partition" in failure["text"]
    assert (failure["dag_id"], failure["run_id"], failure["task_id"]) == ("visits", "without-a-partition", "plan")
    assert failure["authorization"] == "Bearer a-token-of-the-hook"
    (mailed,) = [message for message in scenario.mails.messages if "visits.plan failed" in message]
    assert "To: duty@example.com" in mailed
    assert not [text for text in texts if "keep_keys" in text]  # its try was tried again


def test_a_run_that_is_not_over_by_its_deadline_is_told(scenario: Scenario) -> None:
    (late,) = [message for message in scenario.hook.messages if "deadline" in message["text"]]
    assert (late["dag_id"], late["run_id"]) == ("bookings", "too-late")


def test_the_observer_reads_what_it_needs_and_nothing_else(live: Site) -> None:
    with pytest.raises(GovernanceError, match="SQLSTATE 42501"):
        rows(live.dsn("observer"), "SELECT conf FROM dag_run")
    for table in ("connection", "variable", "xcom", "serialized_dag", "rendered_task_instance_fields"):
        with pytest.raises(GovernanceError, match="SQLSTATE 42501"):
            rows(live.dsn("observer"), f"SELECT * FROM {table}")
