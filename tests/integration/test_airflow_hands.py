"""What people do to a live Airflow: tasks marked and cleared over and over, one partition run five times at once, a DAG
paused in the middle, a policy edited between the hops, Airflow's database cleaned under what runs. Every row is there
once, what is published is what an undisturbed run publishes, and the log tells of every try and of who did what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError

import pytest

import builders
from aftermath import through
from governance import history
from governance.commands.log_evidence import text_of
from governance.commands.reading import log_entries, rows
from governance.embedded import control, demo, workspaces
from governance.embedded.site import UI_USER, Site
from governance.errors import AlarmError
from governance.run_log import Conservation
from governance.steps import checkpoint, reconcile
from live_runs import attempts, call, ended, fill, held, run_airflow, trigger, until
from run_logs import own_look

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow, pytest.mark.clause("R1")]

RELEASED = ("bookings", "visits_daily")


@dataclass
class Scenario:
    """A site on which all of it was done, and what the looks at it found."""

    site: Site
    days: list[str]
    looks: dict[str, tuple[dict[str, int], tuple[str, ...]]] = field(default_factory=dict)
    refused: int = 0  # status of a second backfill beside the first
    while_paused: list[tuple[str, str]] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)  # what policy was in force when a hop began

    def look(self, name: str) -> None:
        """Hold Airflow's tables against the log, at an instant when no try can still be about to say something."""
        space = workspaces.workspace(self.site)
        later = replace(space, clock=lambda: datetime.now(UTC) + timedelta(minutes=3))
        before = len(log_entries(self.site.dsn("auditor")))
        alarms: tuple[str, ...] = ()
        try:
            reconcile(later, workspaces.by_hand("reconcile"))
        except AlarmError as error:
            alarms = error.alarms
        new = log_entries(self.site.dsn("auditor"))[before:]
        self.looks[name] = dict(Counter(entry["event"] for entry in new)), alarms

    def of_run(self, run_id: str, event: str | None = None) -> list[history.Tried]:
        """Tries of a run, oldest first."""
        return [t for t in attempts(self.site) if t.run["run_id"] == run_id and event in (None, t.event)]


def pause(site: Site, dag: str, *, is_paused: bool = True) -> None:
    call(site, "PATCH", f"/api/v2/dags/{dag}", {"is_paused": is_paused})


def backfill(site: Site, dag: str, first: str, last: str) -> None:
    asked = {"dag_id": dag, "from_date": f"{first}T00:00:00Z", "to_date": f"{last}T23:00:00Z"}
    call(site, "POST", "/api/v2/backfills", asked | {"reprocess_behavior": "failed"})


def mark(site: Site, run: str, task: str, state: str) -> None:
    call(site, "PATCH", f"{run}/taskInstances/{task}", {"new_state": state})


def clear(site: Site, dag: str, run_id: str, task: str) -> None:
    """Clear a task with all that follows it, and wait for the end of the run."""
    asked = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "task_ids": [task]}
    call(site, "POST", f"/api/v2/dags/{dag}/clearTaskInstances", asked | {"include_downstream": True})
    until(ended(site, run_id))


def at_work(site: Site, run_id: str, task: str) -> Callable[[], bool]:
    """Whether a hop has said that it began, and waits for a table now."""
    query = "SELECT 1 FROM audit.run_log WHERE event = %s AND entry::jsonb #>> '{run,run_id}' = %s AND phase = 'intent'"
    waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'governance'"
    return lambda: bool(
        rows(site.dsn("auditor"), query, (task, run_id)) and rows(site.dsn("postgres"), waiting) == [(True,)]
    )


def edit_policy(scenario: Scenario, hop: str) -> None:
    """Another text of the site's file, in force from now on."""
    path = scenario.site.policy_path
    path.write_text(f"{path.read_text()}# edited before {hop}\n")
    scenario.digests[hop] = workspaces.workspace(scenario.site).policy.digest


def over(site: Site) -> bool:
    """Whether no run of the pipelines is under way."""
    query = "SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running') AND dag_id IN ('bookings', 'visits')"
    return rows(site.dsn("airflow"), query) == [(0,)]


def marked_and_contended(scenario: Scenario) -> None:
    """Bookings: five runs of one partition at once, and tasks marked before, while and after they ran."""
    site, (first, second, last) = scenario.site, scenario.days
    backfill(site, "bookings", first, last)
    try:
        backfill(site, "bookings", first, last)
    except HTTPError as error:
        scenario.refused = error.code
    unrun = trigger(site, "bookings", "unrun", second)
    mark(site, unrun, "pull", "success")
    for number in (1, 2, 3):
        trigger(site, "bookings", f"beside-{number}", last)
    marked = trigger(site, "bookings", "marked", first)
    with held(site, "vault.bookings"):
        pause(site, "bookings", is_paused=False)  # and the run of the schedule begins too
        paused_in_the_middle(scenario)  # meanwhile
        until(at_work(site, "marked", "validate"))
        mark(site, marked, "validate", "failed")
    until(ended(site, "marked"))


def paused_in_the_middle(scenario: Scenario) -> None:
    """Visits: the policy is edited before each hop, and the DAG is paused while one validates."""
    site, (first, second, _) = scenario.site, scenario.days
    with held(site, "landing.page_views"):
        edit_policy(scenario, "pull")
        trigger(site, "visits", "edited", first)
        pause(site, "visits", is_paused=False)
        until(at_work(site, "edited", "pull"))
        edit_policy(scenario, "validate")
    with held(site, "vault.page_views"):
        until(at_work(site, "edited", "validate"))
        edit_policy(scenario, "publish")
        pause(site, "visits")
    backfill(site, "visits", second, second)  # comes due while the DAG is paused


def three_times(scenario: Scenario) -> None:
    """Marked, cleared and run again, with what follows, and again."""
    site = scenario.site
    marked = "/api/v2/dags/bookings/dagRuns/marked"
    for task, then in (("validate", "publish"), ("pull", "validate"), ("validate", "publish")):
        clear(site, "bookings", "marked", task)
        mark(site, marked, then, "failed")
    clear(site, "bookings", "marked", "publish")
    until(ended(site, "unrun"))
    clear(site, "bookings", "unrun", "pull")


def cleaned(scenario: Scenario) -> None:
    """Airflow's database loses all that is older than now: at rest, under a run that is at work, and once more."""
    site, last = scenario.site, scenario.days[-1]

    def clean(*arguments: str) -> None:
        now = datetime.now(UTC).isoformat()
        run_airflow(site, "db", "clean", "--clean-before-timestamp", now, "--yes", *arguments)

    clean("--skip-archive", "--tables", "task_instance,task_instance_history,dag_run")
    scenario.look("what the event log still tells")
    scenario.look("and again")
    with held(site, "landing.page_views"):
        trigger(site, "visits", "cut", last)
        until(at_work(site, "cut", "pull"))
        clean()
    until(lambda: [t for t in scenario.of_run("cut", "pull") if t.outcome != history.INTERRUPTED])
    scenario.look("after a clean under a run")
    scenario.look("and again after that")
    run_airflow(site, "dags", "reserialize")
    demo.wait_for_dags(site)
    for dag in ("bookings", "visits"):
        pause(site, dag, is_paused=False)
    trigger(site, "visits", "after", last)
    until(lambda: ended(site, "after")() and over(site), 180)
    scenario.look("at the end")


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    folder = tmp_path_factory.mktemp("hands")
    try:
        site = control.up(folder)
        scenario = Scenario(site, [str(day) for day in fill(site, 3, bookings=600, visits=2000)])
        for dag in ("watch", "run_log_sequencer", "run_log_checkpoint"):  # this test looks, and signs, itself
            pause(site, dag)
        marked_and_contended(scenario)
        three_times(scenario)
        began = "SELECT DISTINCT run_id, task_id FROM task_instance WHERE dag_id = 'visits' AND state IS NOT NULL"
        scenario.while_paused = rows(site.dsn("airflow"), began)  # type: ignore[assignment]
        pause(site, "visits", is_paused=False)
        until(lambda: over(site), 240)
        cleaned(scenario)
        checkpoint(workspaces.workspace(site), workspaces.by_hand("checkpoint"))
        yield scenario
    finally:
        control.down(folder)


def test_x(scenario: Scenario) -> None:
    print(scenario)
    for a in attempts(scenario.site):
        if a.event != "read":
            print(
                a.event,
                a.dataset,
                a.partition_key,
                a.run["run_id"][:30],
                a.run["try_number"],
                a.run["triggered_by"],
                a.outcome,
                (a.entry.get("error") or {}).get("type"),
                a.entry.get("details"),
            )
