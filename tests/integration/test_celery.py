"""The same DAGs on Celery's workers: one of them dies with all its processes in the middle of a task, nothing is lost.

One scenario is run once; the tests look at what it left, and at last bring back what died and end everything.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from governance import history
from governance.commands.reading import rows
from governance.embedded import airflow, airflow_config, broker, control, demo_input, processes
from governance.embedded.site import Site
from governance.log_tree import LogTree
from governance.run_log import Conservation
from live_runs import attempts, backfill, fill, held, run_airflow, until, wait_published

OPEN_ENDED = (history.INTERRUPTED, "interrupted")
"""Of what was killed, before and after the reconciliation has told of it."""

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow]

DAYS = 3


@dataclass(frozen=True)
class Scenario:
    """What was run, and what was noted on the way."""

    site: Site
    days: list[date]
    pulls_of: dict[str, set[int]]
    """Worker -> the processes of the pulls that it had in hand when it, or the other one, was killed."""
    killed: str


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    """Three days of both datasets. While both workers pull bookings, one is killed, and it is not started again."""
    folder = tmp_path_factory.mktemp("celery")
    try:
        site = control.up(folder, executor="celery")
        # Retention, which runs every hour, would wait for the held table too, and keep a whole worker from the pulls.
        run_airflow(site, "dags", "pause", "--yes", "retention")
        days = fill(site, DAYS, bookings=1500, visits=3000)
        with held(site, "records.booking_travellers"):
            start(site, "bookings", days)
            pulls_of = wait_until_every_worker_pulls(site)
            killed = max(pulls_of, key=lambda worker: len(pulls_of[worker]))
            kill_worker(site, killed)
        run_airflow(site, "dags", "unpause", "--yes", "retention")
        start(site, "visits", days)
        wait_published(site, {(dataset, day.isoformat()) for dataset in demo_input.DATASETS for day in days})
        yield Scenario(site, days, pulls_of, killed)
    finally:
        control.down(folder)


def start(site: Site, dataset: str, days: list[date]) -> None:
    """The newest day by the DAG's own timetable, the others by a backfill."""
    with ThreadPoolExecutor() as pool:  # each call spends seconds on its imports
        calls = (
            pool.submit(run_airflow, site, "dags", "unpause", "--yes", dataset),
            pool.submit(backfill, site, dataset, days[:-1]),
        )
    for call in calls:
        call.result()


def wait_until_every_worker_pulls(site: Site, deadline_seconds: float = 120) -> dict[str, set[int]]:
    """Worker -> processes of its tasks, once each has a pull in the middle of its work: waiting for the held table."""
    end = time.monotonic() + deadline_seconds
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND starts_with(query, 'COPY')"
    pulling = "SELECT pid FROM task_instance WHERE task_id = 'pull' AND state = 'running' AND pid IS NOT NULL"
    while time.monotonic() < end:
        ((blocked,),) = rows(site.dsn("postgres"), waiting)
        pids = {pid for (pid,) in rows(site.dsn("airflow"), pulling)}
        pulls_of = {worker: pids & members(site, worker) for worker in airflow.WORKERS}
        if blocked >= len(pids) and all(pulls_of.values()):
            return pulls_of
        time.sleep(0.2)
    raise AssertionError(f"not every worker had a pull in hand after {deadline_seconds} s")


def members(site: Site, worker: str) -> set[int]:
    """The processes of a worker: its own, its pool, supervisors and tasks."""
    leader = airflow.running(site).get(worker)
    return {process.pid for process in processes.session_of(leader)} if leader else set()


def kill_worker(site: Site, worker: str) -> None:
    """SIGKILL, at once and for all of its processes, as when its machine loses power."""
    everything = processes.session_of(airflow.running(site)[worker])
    for process in everything:
        process.send_signal(signal.SIGKILL)
    assert not processes.wait_gone(everything, 10)


def listening(site: Site) -> set[tuple[str, int]]:
    """Addresses and ports on which processes of the site take connections."""
    found = set()
    for process in processes.of_site(site.data_dir):
        with contextlib.suppress(psutil.NoSuchProcess):  # a task that has ended meanwhile
            connections = process.net_connections(kind="inet")
            found |= {tuple(c.laddr) for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def interrupted(site: Site) -> list[history.Tried]:
    """Hops that began and never ended."""
    every = [tried for tried in attempts(site) if tried.outcome in OPEN_ENDED]
    return [tried for tried in every if tried.event != "read"]


@pytest.mark.clause("R1")
def test_every_partition_of_the_same_dags_is_published(scenario: Scenario) -> None:
    query = "SELECT dag_id, partition_key, run_type, state FROM dag_run WHERE dag_id = ANY(%s) ORDER BY 1, 2"
    assert rows(scenario.site.dsn("airflow"), query, (list(demo_input.DATASETS),)) == [
        (dataset, str(day), "scheduled" if day == scenario.days[-1] else "backfill", "success")
        for dataset in demo_input.DATASETS
        for day in scenario.days
    ]


def test_tasks_ran_on_both_workers_at_the_same_time(scenario: Scenario) -> None:
    assert set(scenario.pulls_of) == set(airflow.WORKERS)
    assert all(scenario.pulls_of.values())
    [survivor] = set(airflow.WORKERS) - {scenario.killed}
    assert "succeeded in" in airflow.log_of(scenario.site, survivor).read_text()


@pytest.mark.clause("R1")
def test_the_death_of_a_worker_is_seen_in_the_log_and_its_tasks_are_retried_on_the_other(scenario: Scenario) -> None:
    dead = interrupted(scenario.site)
    assert len(dead) == len(scenario.pulls_of[scenario.killed])
    assert {(tried.dataset, tried.event) for tried in dead} == {("bookings", "pull")}
    for tried in dead:
        later = [
            t
            for t in attempts(scenario.site)
            if (t.event, t.partition_key, t.dataset) == (tried.event, tried.partition_key, tried.dataset)
        ]
        assert later[-1].outcome == "passed"
        assert later[-1].run["try_number"] == tried.run["try_number"] + 1
        waited = datetime.fromisoformat(later[-1].started_at) - datetime.fromisoformat(tried.started_at)
        assert waited < timedelta(seconds=100)


@pytest.mark.clause("R1")
def test_after_the_death_every_row_is_there_once_and_conserved(scenario: Scenario) -> None:
    site = scenario.site
    published = history.effective(attempts(site), "publish")
    assert len(published) == len(demo_input.DATASETS) * DAYS
    assert [Conservation(**tried.conservation).imbalances() for tried in published.values()] == [[]] * len(published)
    owner = site.dsn("governance_owner")
    for dataset, table in (("bookings", "bookings"), ("visits", "page_views")):
        ((at_source,),) = rows(site.dsn("wellbe_owner"), f"SELECT count(*) FROM wellbe.{table}")
        told = sum(t.conservation["at_source"] for (of, _), t in published.items() if of == dataset)
        ((in_vault, distinct),) = rows(owner, f"SELECT count(*), count(DISTINCT row_key) FROM vault.{table}")
        query = "SELECT count(*) FROM quarantine.rows WHERE dataset = %s"
        ((quarantined,),) = rows(owner, query, (dataset,))
        assert told == at_source > 0
        assert in_vault == distinct
        assert in_vault + quarantined == at_source
    ((rows_released,),) = rows(owner, "SELECT sum(rows) FROM analytics.releases WHERE dataset = 'bookings'")
    ((rows_there,),) = rows(owner, "SELECT count(*) FROM analytics.bookings")
    assert rows_released == rows_there > 0


@pytest.mark.clause("J2")
def test_every_connection_of_the_workers_belongs_to_an_entry(scenario: Scenario) -> None:
    with LogTree.connected(scenario.site.dsn("auditor")) as tree:
        found = tree.unrecorded_sessions(datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC) - timedelta(minutes=1))
    # These tests look at the databases as owner and superuser, without an entry.
    assert [login for _, login in found if login not in ("postgres", "migrator")] == []


@pytest.mark.clause("J1")
def test_nothing_of_the_site_listens_beyond_this_machine(scenario: Scenario) -> None:
    site = scenario.site
    ports = (site.source_port, site.warehouse_port, site.api_port, site.redis_port)
    assert listening(site) == {("127.0.0.1", port) for port in ports}


def test_heavy_libraries_are_in_the_workers_which_fork_tasks_and_in_no_other_component(scenario: Scenario) -> None:
    maps = {name: Path(f"/proc/{p.pid}/maps").read_text() for name, p in airflow.running(scenario.site).items()}
    assert {name for name, of in maps.items() if "pyarrow" in of} == set(airflow.WORKERS) - {scenario.killed}


@pytest.mark.clause("J1")
def test_the_brokers_password_is_asked_for_and_stands_in_no_log_and_in_no_process_list(scenario: Scenario) -> None:
    import redis

    site = scenario.site
    assert broker.answers(site)
    with pytest.raises(redis.AuthenticationError), redis.Redis("127.0.0.1", site.redis_port) as stranger:
        stranger.ping()
    assert (site.data_dir / "redis" / "redis.conf").stat().st_mode & 0o777 == 0o600
    logs = {path for folder in ("log", "airflow/logs") for path in (site.data_dir / folder).rglob("*.log")}
    assert len(logs) > 10
    assert [path.name for path in logs if site.redis_password in path.read_text(errors="replace")] == []
    for process in processes.of_site(site.data_dir):
        with contextlib.suppress(psutil.NoSuchProcess):
            assert site.redis_password not in " ".join(process.cmdline())


def test_what_ran_is_what_the_site_says_of_itself(scenario: Scenario) -> None:
    """Airflow notes each of its commands; docker-compose.yaml is compared with what the site says, elsewhere."""
    site = scenario.site
    noted = rows(site.dsn("airflow"), "SELECT extra FROM log WHERE event LIKE %s", ("cli_%",))
    commands = {tuple(ast.literal_eval(json.loads(extra)["full_command"])[1:]) for (extra,) in noted}
    assert set(airflow.components(site).values()) <= commands
    parser = configparser.ConfigParser()
    parser.read(airflow_config.home(site) / "airflow.cfg")
    assert {name: dict(parser[name]) for name in parser.sections()} == airflow_config.settings(site)


def test_up_brings_back_the_worker_and_the_broker_that_were_killed(scenario: Scenario) -> None:
    site = scenario.site
    down = [part.name for part in control.status(site) if not part.is_running]
    assert down == [scenario.killed]
    server = broker.running(site)
    assert server
    server.send_signal(signal.SIGKILL)
    processes.wait_gone([server], 5)
    control.up(site.data_dir)
    parts = control.status(site)
    assert [part.name for part in parts] == [
        "postgres source", "postgres warehouse", "redis", *airflow.COMPONENTS, *airflow.WORKERS,
    ]  # fmt: skip
    assert all(part.is_running and part.memory.pss_bytes > 1_000_000 for part in parts)
    # Workers that have just found their new broker may take longer than a second to answer it.
    until(lambda: airflow.health(site) == set(airflow.components(site)))


def test_down_leaves_no_process(scenario: Scenario) -> None:
    site = scenario.site
    everything = processes.of_site(site.data_dir)
    leaders = [*airflow.running(site).values(), broker.running(site)]
    assert len(leaders) == len(airflow.COMPONENTS) + len(airflow.WORKERS) + 1
    assert set(leaders) < set(everything)
    control.down(site.data_dir)
    assert [process for process in everything if processes.is_alive(process)] == []
    assert processes.of_site(site.data_dir) == []
