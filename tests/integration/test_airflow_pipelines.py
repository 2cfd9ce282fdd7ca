"""The pipelines under a live Airflow: schedule and backfill, tasks killed in every hop, and canaries that must not be
seen.

One scenario is run once, with a kill in the middle of each hop; the tests look at what it left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pytest

import builders
from byte_scan import Scan, Wanted
from governance import history
from governance.commands.reading import rows
from governance.detectors import findings
from governance.embedded import demo, demo_deliveries, demo_input, demo_recipients, postgres
from governance.embedded.site import CHECKOUT, Site
from governance.log_tree import LogTree
from governance.run_log import Conservation
from governance.sample.canaries import CANARIES_PER_DAY, canary_tokens, card_number, token
from governance.sample.plan import CANARY_SLOT, booking_ids, keys_of
from live_runs import attempts, backfill, ended, fill, held, pause_at_rest, run_airflow, trigger, until, wait_published

OPEN_ENDED = (history.INTERRUPTED, "interrupted")
"""Of what was killed, before and after the reconciliation has told of it."""

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow]

DAYS, SEED = 3, 7
HOPS = {"pull": "records.bookings", "validate": "quarantine.findings", "publish": "vault.release_ledger"}
"""Hop -> a table that it needs: held by a lock, it keeps the hop in the middle of its work."""


@dataclass
class Scenario:
    """What was run, and what was noted on the way."""

    site: Site
    days: list[date]
    killed: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def scenario(live: Site) -> Scenario:
    """Three days of both datasets: yesterday by the timetable, the days before by `airflow backfill create`."""
    scenario = Scenario(live, fill(live, DAYS))
    demo_recipients.register(live, scenario.days)
    pause_at_rest(live, "retention")  # it would wait for the held tables too
    pause_at_rest(live, "provider_deliveries")  # it would deliver what a partition's own run is to deliver
    with held(live, HOPS["pull"]):
        run_airflow(live, "dags", "unpause", "--yes", "bookings")
        scenario.killed["pull"] = kill_task(live, "pull")
    for hop in ("validate", "publish"):
        with held(live, HOPS[hop]):
            if hop == "publish":
                backfill(live, "bookings", scenario.days[:-1])
            scenario.killed[hop] = kill_task(live, hop)
    run_airflow(live, "dags", "unpause", "--yes", "retention")
    wait_published(live, {("bookings", day.isoformat()) for day in scenario.days})
    with live.policy_path.open("a") as policy:
        policy.write("shard_rows: 2000\n")  # a day has 3,000 views, and some that are odd
    run_airflow(live, "dags", "unpause", "--yes", "visits")
    backfill(live, "visits", scenario.days[:-1])
    wait_published(live, {(dataset, day.isoformat()) for dataset in demo_input.DATASETS for day in scenario.days})
    demo.wait_for_deliveries(live, scenario.days)
    return scenario


def kill_task(site: Site, task_id: str, deadline_seconds: float = 120) -> int:
    """SIGKILL the process of a running task once its step waits for the held table; its pid is returned."""
    end = time.monotonic() + deadline_seconds
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'governance'"
    running = "SELECT pid FROM task_instance WHERE task_id = %s AND state = 'running' AND pid IS NOT NULL"
    while time.monotonic() < end:
        ((blocked,),) = rows(site.dsn("postgres"), waiting)
        pids = [pid for (pid,) in rows(site.dsn("airflow"), running, (task_id,))]
        if blocked and pids:
            os.kill(pids[0], signal.SIGKILL)
            return int(pids[0])
        time.sleep(0.2)
    raise AssertionError(f"no task {task_id} came to wait for its table in {deadline_seconds} s")


@pytest.mark.clause("R1")
def test_one_partition_started_by_the_timetable_and_the_others_by_backfill(scenario: Scenario) -> None:
    # The upkeep of keys and of the run log runs by the clock, beside them.
    columns, wanted = "dag_id, partition_key, run_type, state", "dag_id IN ('bookings', 'visits')"
    query = f"SELECT {columns} FROM dag_run WHERE {wanted} ORDER BY 1, 2"
    assert rows(scenario.site.dsn("airflow"), query) == [
        (dataset, str(day), "scheduled" if day == scenario.days[-1] else "backfill", "success")
        for dataset in demo_input.DATASETS
        for day in scenario.days
    ]


@pytest.mark.clause("R1")
def test_a_task_killed_in_each_hop_is_retried_and_its_death_is_seen_in_the_log(scenario: Scenario) -> None:
    assert len(set(scenario.killed.values())) == len(HOPS)
    every = [tried for tried in attempts(scenario.site) if tried.outcome in OPEN_ENDED]
    interrupted = [tried for tried in every if tried.event in HOPS]
    assert sorted(tried.event for tried in interrupted) == sorted(HOPS)
    # Whoever was killed while it read, has left its read open.
    assert {tried.entry["reading"]["of"] for tried in every if tried.event == "read"} <= {
        tried.attempt_id for tried in every
    }
    for tried in interrupted:
        later = [
            t
            for t in attempts(scenario.site)
            if (t.event, t.partition_key, t.dataset) == (tried.event, tried.partition_key, tried.dataset)
        ]
        assert later[-1].outcome == "passed"
        assert later[-1].run["try_number"] > tried.run["try_number"]


@pytest.mark.clause("R1")
def test_after_the_kills_every_row_is_there_once_and_conserved(scenario: Scenario) -> None:
    site = scenario.site
    published = history.effective(attempts(site), "publish")
    assert len(published) == len(demo_input.DATASETS) * DAYS
    assert [Conservation(**tried.conservation).imbalances() for tried in published.values()] == [[]] * len(published)
    ((at_source,),) = rows(site.dsn("wellbe_owner"), "SELECT count(*) FROM wellbe.bookings")
    assert (
        sum(t.conservation["at_source"] for (dataset, _), t in published.items() if dataset == "bookings") == at_source
    )
    owner = site.dsn("governance_owner")
    ((in_vault, distinct),) = rows(owner, "SELECT count(*), count(DISTINCT row_key) FROM vault.bookings")
    ((quarantined,),) = rows(owner, "SELECT count(*) FROM quarantine.rows WHERE dataset = 'bookings'")
    assert in_vault == distinct
    assert in_vault + quarantined == at_source
    ((rows_released,),) = rows(owner, "SELECT sum(rows) FROM analytics.releases WHERE dataset = 'bookings'")
    ((rows_there,),) = rows(owner, "SELECT count(*) FROM analytics.bookings")
    assert rows_released == rows_there > 0


@pytest.mark.clause("R1")
def test_a_big_partition_is_pulled_by_several_tasks(scenario: Scenario) -> None:
    pulls = [t for t in attempts(scenario.site) if t.event == "pull" and t.outcome == "passed"]
    found = {
        (t.dataset, t.partition_key, t.run["map_index"], t.entry.get("details", {}).get("shard"), bool(t.conservation))
        for t in pulls
    }
    for day in map(str, scenario.days):
        assert ("bookings", day, 0, None, True) in found
        shards = sorted(f for f in found if f[:2] == ("visits", day))
        assert [shard[2:4] for shard in shards] == [(0, "1 of 2"), (1, "2 of 2")]
        assert sorted(is_last for *_, is_last in shards) == [False, True]


@pytest.mark.clause("R1")
def test_who_started_a_run_is_in_the_log(scenario: Scenario) -> None:
    triggers = {
        (t.run["trigger"], t.partition_key == str(scenario.days[-1]))
        for t in attempts(scenario.site)
        if t.run["dag_id"] in demo_input.DATASETS and t.event in HOPS  # a watch may tell of acts of people meanwhile
    }
    assert triggers == {("scheduled", True), ("backfill", False)}


@pytest.mark.clause("E1")
def test_canaries_are_published(scenario: Scenario) -> None:
    """Otherwise the search for their tokens would prove nothing."""
    keys = {
        f"{booking_id}/1"
        for day in scenario.days
        for booking_id in booking_ids(keys_of(day, CANARIES_PER_DAY, CANARY_SLOT))
    }
    query = (
        "SELECT coalesce(decision, 'held'), count(*) FROM vault.bookings LEFT JOIN vault.release_ledger "
        "ON dataset = 'bookings' AND accepted_partition = partition_key AND release_ledger.row_key = bookings.row_key "
        "WHERE bookings.row_key = ANY(%s) GROUP BY 1"
    )
    decided = dict(rows(scenario.site.dsn("governance_owner"), query, (sorted(keys),)))
    assert decided["published"] > 0.75 * len(keys)  # how many wait hangs on the site's own key
    assert set(decided) <= {"published", "held", "superseded"}  # the last: while it waited, a later event came
    assert sum(decided.values()) == len(keys)
    assert len(keys) >= 3 * 2 * 20


@pytest.mark.clause("J1")
@pytest.mark.clause("B1")
@pytest.mark.clause("B2")
def test_no_canary_token_is_found_outside_the_zones_for_personal_data(scenario: Scenario) -> None:
    site = scenario.site
    tokens = canary_tokens(SEED, *scenario.days)
    assert len(tokens) > 1000
    assert found_in(dump(site, "source_postgres", "wellbe"), tokens) == len(tokens)  # the search finds what is there
    places: dict[str, bytes] = {
        "Airflow's database": dump(site, "airflow", "airflow"),
        "analytics": dump(site, "postgres", "governance", "--schema=analytics"),
        "audit": dump(site, "postgres", "governance", "--schema=audit"),
        "control": dump(site, "postgres", "governance", "--schema=control"),
        "quarantine": dump(site, "postgres", "governance", "--schema=quarantine"),
        "vault and landing": dump(site, "postgres", "governance", "--schema=vault", "--schema=landing"),
        "runs --json": json.dumps([dict(tried.entry) for tried in attempts(site)]).encode(),
    }
    for path in sorted(site.data_dir.rglob("*")):
        clusters = {site.data_dir / "source", site.data_dir / "warehouse"}
        if path.is_file() and (path.suffix == ".log" or not clusters & set(path.parents)):
            places[str(path.relative_to(site.data_dir))] = path.read_bytes()
    assert any(name.endswith(".log") and "dag_id" in name for name in places)
    outboxes = demo_recipients.folder_of(site, "all").parent
    sealed = {str(path.relative_to(outboxes)): path.read_bytes() for path in outboxes.rglob("*") if path.is_file()}
    assert any(name.endswith(".p7m") for name in sealed)
    places |= sealed
    assert {name: count for name, content in places.items() if (count := found_in(content, tokens))} == {}


@pytest.mark.clause("K1")
def test_no_byte_of_a_live_site_spells_the_card_of_a_canary(scenario: Scenario) -> None:
    """Airflow's database, which is in our cluster, its logs and ours; tests/integration/test_raw_bytes.py shows that
    the search finds, and looks after every step."""
    cards = {
        f"{what} {number} of {day}": value
        for day in scenario.days
        for number in range(5)
        for what, value in (
            ("card", card_number(SEED, day, number)),
            ("holder", token(SEED, day, number, "payment_cards.card_holder")),
        )
    }
    source, scan = scenario.site.data_dir / "source", Scan(Wanted(cards))
    builders.read(scenario.site, "CHECKPOINT", role="postgres")
    assert scan.found(scenario.site.data_dir, scenario.site.checkpoints_path, without=source) == {}
    assert scan.read_bytes > 100_000_000
    at_source = {told for file in Scan(Wanted(cards)).found(source).values() for told in file}
    assert {f"{name}: plain" for name in cards} <= at_source


@pytest.mark.clause("R1")
def test_the_run_log_of_a_live_site_holds_no_personal_data(scenario: Scenario) -> None:
    leaves = rows(scenario.site.dsn("auditor"), "SELECT audit.leaf(r) FROM audit.run_log r")
    assert len(leaves) > 40
    assert [found for (leaf,) in leaves for found in findings(leaf)] == []


@pytest.mark.clause("J2")
def test_every_connection_of_a_live_site_belongs_to_an_entry(scenario: Scenario) -> None:
    with LogTree.connected(scenario.site.dsn("auditor")) as tree:
        found = tree.unrecorded_sessions(datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC) - timedelta(minutes=1))
    # These tests look at the databases as owner and superuser, without an entry.
    assert [login for _, login in found if login not in ("postgres", "migrator")] == []


def dump(site: Site, role: str, database: str, *options: str) -> bytes:
    """What pg_dump shows of a database, as text."""
    environment = {**os.environ, **site.libpq_environment(role), "PGDATABASE": database}
    done = subprocess.run(
        [str(postgres.program("pg_dump")), "--data-only", *options], env=environment, capture_output=True, check=True
    )
    return done.stdout


def found_in(content: bytes, tokens: list[str]) -> int:
    """How many of the tokens occur."""
    return sum(1 for token in tokens if token.encode() in content)


def sharing_runs(site: Site) -> list[tuple[object, ...]]:
    """Partition key, type and state of the runs that a validated partition starts."""
    query = "SELECT partition_key, run_type, state FROM dag_run WHERE dag_id = 'provider_sharing' ORDER BY 1, id"
    return rows(site.dsn("airflow"), query)


def delivered(site: Site) -> set[str]:
    """What lies in the outboxes, by id."""
    folders = [demo_recipients.folder_of(site, name) for name in demo_recipients.KINDS]
    return {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}


@pytest.mark.clause("F1")
def test_each_partition_that_is_validated_starts_one_run_that_delivers_it(scenario: Scenario) -> None:
    wanted = [(str(day), "asset_triggered", "success") for day in scenario.days]
    assert sharing_runs(scenario.site) == wanted
    delivering = [t for t in attempts(scenario.site) if t.event == "deliver" and t.outcome == "passed"]
    assert {t.run["dag_id"] for t in delivering} == {"provider_sharing"}
    # A run delivers what is accepted up to its partition; whose comes first has the earlier day's too.
    joined = "sharing.delivered_rows JOIN vault.bookings b USING (booking_id, version)"
    query = f"SELECT DISTINCT b.partition_key FROM {joined}"
    assert {day for (day,) in rows(scenario.site.dsn("governance_owner"), query)} == set(scenario.days)
    assert len(delivering) == len(delivered(scenario.site))


@pytest.mark.clause("F1")
@pytest.mark.clause("N1")
def test_recipients_find_the_canaries_that_may_go_with_the_agreed_fields_alone(scenario: Scenario) -> None:
    looks = demo_deliveries.look(scenario.site, SEED, scenario.days)
    assert [one.problems for one in looks] == [(), ()]
    assert all(0 < one.canaries_in < one.canaries_out for one in looks)
    assert sum(one.deliveries for one in looks) == len(delivered(scenario.site))


@pytest.mark.clause("F1")
def test_a_backfill_of_days_that_were_delivered_delivers_nothing_again(scenario: Scenario) -> None:
    """After all that looks at what the first runs have left. The hourly DAG too delivers nothing, and closes what was
    acknowledged."""
    site, day = scenario.site, scenario.days[0]
    demo_deliveries.look(site, SEED, scenario.days)
    before, runs = delivered(site), sharing_runs(site)
    run_airflow(
        site, "backfill", "create", "--dag-id", "bookings", "--from-date", str(day), "--to-date", str(day),
        "--reprocess-behavior", "completed",
    )  # fmt: skip
    until(lambda: len(sharing_runs(site)) > len(runs), 180)
    demo.wait_for_deliveries(site, scenario.days)
    assert sharing_runs(site) == sorted([*runs, (str(day), "asset_triggered", "success")])
    run_airflow(site, "dags", "unpause", "--yes", "provider_deliveries")
    trigger(site, "provider_deliveries", "acknowledged")
    until(ended(site, "acknowledged"), 120)
    assert delivered(site) == before
    open_ = "SELECT count(*) FROM sharing.deliveries WHERE acknowledged_at IS NULL AND given_up_at IS NULL"
    assert rows(site.dsn("governance_owner"), open_) == [(0,)]


def test_a_run_without_a_partition_says_what_to_do_and_is_not_retried(scenario: Scenario) -> None:
    site = scenario.site
    run_airflow(site, "dags", "trigger", "visits", "--run-id", "manual-without-partition")
    end = time.monotonic() + 90
    query = "SELECT state FROM dag_run WHERE run_id = 'manual-without-partition'"
    while rows(site.dsn("airflow"), query) != [("failed",)]:
        assert time.monotonic() < end, rows(site.dsn("airflow"), query)
        time.sleep(0.5)
    (tried,) = [t for t in attempts(site) if t.run["run_id"] == "manual-without-partition"]
    assert tried.outcome == "failed"
    assert "has no partition" in tried.entry["error"]["message"]
    assert tried.run["trigger"] == "manual"


def test_every_dag_is_parsed_without_an_error() -> None:
    """In a fresh process, as the dag-processor does it; how long it takes is measured in `make bench`."""
    script = (
        "import json\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(CHECKOUT / 'dags')!r})\n"
        "print(json.dumps([sorted(bag.dags), bag.import_errors]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    dags, errors = json.loads(done.stdout.splitlines()[-1])
    assert dags == [
        "bookings", "key_upkeep", "provider_deliveries", "provider_sharing", "release_attack", "retention",
        "run_log_checkpoint", "run_log_sequencer", "third_party_release", "visits", "watch",
    ]  # fmt: skip
    assert errors == {}
