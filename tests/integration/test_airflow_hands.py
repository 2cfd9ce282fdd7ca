"""What people do to a live Airflow: tasks marked and cleared over and over, one partition run four times at once, a DAG
paused in the middle, a policy edited between the hops, Airflow's database cleaned under what runs. Every row is there
once, what is published is what an undisturbed run publishes, and the log tells of every try and of who did what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError

import pytest

import builders
from aftermath import through
from governance import history
from governance.commands.log_evidence import text_of
from governance.commands.reading import log_entries, rows
from governance.embedded import airflow_config, control, workspaces
from governance.embedded.site import UI_USER, Site
from governance.errors import AlarmError
from governance.run_log import Conservation
from governance.steps import checkpoint, reconcile
from live_runs import attempts, call, ended, fill, held, run_airflow, trigger, until
from run_logs import own_look

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow, pytest.mark.clause("R1")]

COMPARED = (
    "SELECT row_key, partition_key, status, nights_count, price_amount_minor FROM vault.bookings ORDER BY 1",
    "SELECT row_key, partition_key, viewed_at FROM vault.page_views ORDER BY 1",
    "SELECT dataset, row_key, rules FROM quarantine.rows ORDER BY 1, 2",
    "SELECT recorded_date, table_name, epsilon, delta, threshold FROM analytics.privacy_budget ORDER BY 1, 2",
    "SELECT recorded_date, table_name, cell, exact, people FROM audit.exact_counts ORDER BY 1, 2, 3",
    "SELECT accepted_partition, count(*) FROM vault.release_ledger WHERE dataset = 'visits' GROUP BY 1 ORDER BY 1",
)
OF_RUNS = "asset_event,callback,dag_run,deadline,log,task_instance,task_instance_history,task_reschedule,xcom"
"""Tables of Airflow's that tell of runs. Those of DAGs and of its own processes cannot go while it is up."""


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
        # Without what a run says of itself meanwhile: of it, a look tells only what went wrong.
        own = ("passed", "no_data", "replayed", None)
        told = [e for e in new if e["event"] in ("reconcile", "airflow_action") or e.get("outcome") not in own]
        self.looks[name] = dict(Counter(entry["event"] for entry in told)), alarms

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


def come_to_rest(site: Site) -> None:
    """Wait for the end of what is under way, also of runs of yesterday that the schedule begins anew after a clean."""
    is_at_rest = False
    while not is_at_rest:
        until(lambda: over(site), 240)
        for dag in ("bookings", "visits"):
            pause(site, dag)
        if not (is_at_rest := over(site)):
            for dag in ("bookings", "visits"):
                pause(site, dag, is_paused=False)


def marked_and_contended(scenario: Scenario) -> None:
    """Bookings: four runs of one partition at once, and tasks marked before, while and after they ran."""
    site, (first, second, last) = scenario.site, scenario.days
    backfill(site, "bookings", first, last)
    try:
        backfill(site, "bookings", first, last)
    except HTTPError as error:
        scenario.refused = error.code
    unrun = trigger(site, "bookings", "unrun", second)
    mark(site, unrun, "validate", "success")
    for number in (1, 2):
        trigger(site, "bookings", f"beside-{number}", last)
    marked = trigger(site, "bookings", "marked", first)
    with held(site, "quarantine.findings"):  # three partitions wait for it; a fourth would leave no worker
        pause(site, "bookings", is_paused=False)  # and the run of the schedule begins too
        until(at_work(site, "marked", "validate"))
        mark(site, marked, "validate", "failed")
    until(ended(site, "marked"))


def edited_and_paused(scenario: Scenario) -> None:
    """Visits: the policy is edited before each hop, and the DAG is paused while one validates."""
    site, (first, second, _) = scenario.site, scenario.days
    with held(site, "quarantine.findings"):
        with held(site, "records.page_views"):
            edit_policy(scenario, "pull")
            trigger(site, "visits", "edited", first)
            pause(site, "visits", is_paused=False)
            until(at_work(site, "edited", "pull"))
            edit_policy(scenario, "validate")
        until(at_work(site, "edited", "validate"))
        edit_policy(scenario, "publish")
        pause(site, "visits")
    backfill(site, "visits", second, second)  # comes due while the DAG is paused


def three_times(scenario: Scenario) -> None:
    """Marked, cleared and run again, with what follows, and again."""
    site = scenario.site
    marked = "/api/v2/dags/bookings/dagRuns/marked"
    for task, then in (("validate", "publish"), ("plan", "validate"), ("pull", "publish")):
        clear(site, "bookings", "marked", task)
        mark(site, marked, then, "failed")
    clear(site, "bookings", "marked", "publish")
    until(ended(site, "unrun"))
    clear(site, "bookings", "unrun", "validate")


def cleaned(scenario: Scenario) -> None:
    """Airflow's database loses all that is older than now: at rest, and under a run that is at work."""
    site, last = scenario.site, scenario.days[-1]

    def clean(*arguments: str) -> None:
        now = datetime.now(UTC).isoformat()
        run_airflow(site, "db", "clean", "--clean-before-timestamp", now, "--yes", *arguments)

    clean("--skip-archive", "--tables", "task_instance,task_instance_history,dag_run")
    scenario.look("what the event log still tells")
    scenario.look("and again")
    with held(site, "records.page_views"):
        trigger(site, "visits", "cut", last)
        until(at_work(site, "cut", "pull"))
        clean("--tables", OF_RUNS)
    until(lambda: [t for t in scenario.of_run("cut", "pull") if t.outcome != history.INTERRUPTED])
    scenario.look("after a clean under a run")
    scenario.look("and again after that")
    trigger(site, "visits", "after", last)
    until(ended(site, "after"))
    come_to_rest(site)
    scenario.look("at the end")


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    folder = tmp_path_factory.mktemp("hands")
    try:
        site = control.up(folder)
        scenario = Scenario(site, [str(day) for day in fill(site, 3, bookings=600, visits=2000)])
        for dag in ("watch", "run_log_sequencer", "run_log_checkpoint"):  # this test looks, and signs, itself
            pause(site, dag)
        edited_and_paused(scenario)
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


def test_a_second_backfill_of_a_dag_is_refused_while_the_first_is_under_way(scenario: Scenario) -> None:
    assert scenario.refused == 409


def test_every_row_is_there_once_and_conserved(scenario: Scenario) -> None:
    site = scenario.site
    published = history.effective(attempts(site), "publish")
    assert set(published) == {(dataset, day) for dataset in ("bookings", "visits") for day in scenario.days}
    assert [Conservation(**tried.conservation).imbalances() for tried in published.values()] == [[]] * 6
    for source, dataset in (("bookings", "bookings"), ("page_views", "visits")):
        ((at_source,),) = rows(site.dsn("wellbe_owner"), f"SELECT count(*) FROM wellbe.{source}")
        owner = site.dsn("governance_owner")
        ((there, distinct),) = rows(owner, f"SELECT count(*), count(DISTINCT row_key) FROM vault.{source}")
        ((held_back,),) = rows(owner, "SELECT count(*) FROM quarantine.rows WHERE dataset = %s", (dataset,))
        assert there == distinct
        assert there + held_back == at_source > 0
    query = "SELECT count(*), count(DISTINCT (dataset, partition_key)) FROM analytics.releases"
    assert rows(site.dsn("analyst"), query) == [(6, 6)]


def test_what_is_accepted_and_released_is_what_an_undisturbed_run_accepts_and_releases(
    scenario: Scenario, site: Site
) -> None:
    """Which rows become a group hangs on a site's own key, and noise on nothing: so of releases it is compared what
    they are of. That a release is made again as it was, with the same key, `test_kills` shows."""
    builders.empty_warehouse(site)
    own = workspaces.workspace(scenario.site)
    calm = replace(workspaces.workspace(site, own.policy), source_uri=own.source_uri)
    for day in scenario.days:
        for dataset in ("bookings", "visits"):
            through(calm, dataset, day)

    def compared(of: Site) -> dict[str, object]:
        return {query: rows(of.dsn("governance_owner"), query) for query in COMPARED}

    found = compared(scenario.site)
    assert found == compared(site)
    assert all(found.values())
    published = "SELECT sum(rows) FROM analytics.releases WHERE dataset = 'bookings'"
    ((ours,),), ((theirs,),) = (rows(of.dsn("analyst"), published) for of in (scenario.site, site))
    assert ours > 0
    assert abs(ours - theirs) * 10 < theirs
    builders.empty_warehouse(site)


def test_of_four_runs_of_one_partition_one_publishes_and_the_others_replay_it(scenario: Scenario) -> None:
    day = scenario.days[-1]
    tries = [
        t for t in attempts(scenario.site) if (t.event, t.dataset, t.partition_key) == ("publish", "bookings", day)
    ]
    of_run = {run: [t for t in tries if t.run["run_id"] == run] for run in {t.run["run_id"] for t in tries}}
    assert len(of_run) >= 4
    assert {"backfill", "scheduled", "manual"} <= {t.run["trigger"] for t in tries}
    ends = [of_run[run][-1].outcome for run in of_run]
    assert (ends.count("passed"), ends.count("replayed")) == (1, len(of_run) - 1)
    hops = [t for run in of_run for t in scenario.of_run(run) if t.event in ("plan", "pull", "validate", "publish")]
    assert {t.entry["error"]["type"] for t in hops if t.entry["error"]} <= {"ContendedError"}


def test_what_was_marked_and_cleared_over_and_over_has_its_effect_once_and_replays_it(scenario: Scenario) -> None:
    tries = scenario.of_run("marked", "publish")
    assert {t.entry["error"]["type"] for t in tries if t.outcome == "failed"} <= {"ContendedError"}
    publications = [t.outcome for t in tries if t.outcome != "failed"]
    assert len(publications) >= 4
    assert set(publications) <= {"passed", "replayed"}
    pulls = [t.run["try_number"] for t in scenario.of_run("marked", "pull") if t.outcome == "passed"]
    assert len(pulls) == len(set(pulls)) >= 2
    actions = [t.entry["details"]["action"] for t in scenario.of_run("marked", "airflow_action")]
    assert (actions.count("patch_task_instance"), actions.count("post_clear_task_instances")) == (4, 4)
    assert {t.run["triggered_by"] for t in scenario.of_run("marked", "airflow_action")} == {UI_USER}


def test_a_task_that_was_handed_nothing_says_what_to_clear_and_then_all_of_it_runs(scenario: Scenario) -> None:
    logs = airflow_config.home(scenario.site) / "logs" / "dag_id=bookings" / "run_id=unrun"
    said = (logs / "task_id=predecessor_published" / "attempt=1.log").read_text()
    assert "handed nothing on; it was marked a success by hand" in said
    assert "clear it with what follows it" in said
    first = scenario.of_run("unrun", "predecessor_published")[0]
    assert (first.outcome, first.entry["error"]["type"]) == ("failed", "NotReachedError")
    assert [t.outcome for t in scenario.of_run("unrun", "validate")][-1] in ("passed", "replayed")
    assert [t.outcome for t in scenario.of_run("unrun", "publish")][-1] in ("passed", "replayed")


def test_a_paused_dag_goes_no_further_and_takes_up_what_was_due_meanwhile(scenario: Scenario) -> None:
    assert "edited" in {run for run, _ in scenario.while_paused}
    assert {task for _, task in scenario.while_paused} <= {"plan", "pull", "validate"}
    for trigger_of in ("manual", "scheduled", "backfill"):
        ends = [t.outcome for t in attempts(scenario.site) if t.dataset == "visits" and t.event == "publish"
                and t.run["trigger"] == trigger_of]  # fmt: skip
        assert {"passed", "replayed"} & set(ends)


def test_each_hop_is_under_the_policy_of_its_own_time_whose_text_is_kept(scenario: Scenario) -> None:
    assert len(set(scenario.digests.values())) == 3
    for hop, digest in scenario.digests.items():
        assert [t.entry["digests"]["policy"] for t in scenario.of_run("edited", hop)][-1] == digest
        assert text_of(scenario.site, digest)[0] == "policy"


def test_a_clean_of_airflows_database_hides_nothing_that_was_told_and_nothing_is_told_twice(scenario: Scenario) -> None:
    first, again = scenario.looks["what the event log still tells"], scenario.looks["and again"]
    assert not [alarm for alarm in first[1] if "removed before" in alarm]
    assert again == ({"reconcile": 1}, ())
    quiet = {name for t in attempts(scenario.site) if t.event == "reconcile" for name in t.entry.get("details", {})}
    assert {name for name in quiet if name.startswith("visits edited predecessor_published ")}
    actions = [t.entry["details"]["airflow_event"] for t in attempts(scenario.site) if t.event == "airflow_action"]
    assert len(actions) == len(set(actions))
    keys = [(t.event, t.run["run_id"], t.run["task_id"], t.run["try_number"]) for t in attempts(scenario.site)
            if t.event in ("pull", "validate", "publish")]  # fmt: skip
    assert [key for key, times in Counter(keys).items() if times > 1] == []


def test_what_a_clean_took_before_anybody_looked_is_an_alarm_once(scenario: Scenario) -> None:
    gone = "of Airflow's event log were removed before anybody looked at them"
    told = {name: [alarm for alarm in alarms if gone in alarm] for name, (_, alarms) in scenario.looks.items()}
    assert {name: len(alarms) for name, alarms in told.items() if alarms} == {"after a clean under a run": 1}
    # The only other alarms are of what the clean cut off: a run of yesterday that the schedule has begun anew.
    others = [alarm for _, alarms in scenario.looks.values() for alarm in alarms if gone not in alarm]
    assert [alarm for alarm in others if " scheduled__" not in alarm] == []


def test_no_try_is_left_without_its_end_and_the_log_verifies(scenario: Scenario) -> None:
    assert [t for t in attempts(scenario.site) if t.outcome == history.INTERRUPTED] == []
    assert own_look(scenario.site).problems == ()
