"""Parts of a live site are killed in the middle of each hop: a supervisor, the scheduler, the API server, both servers
of Postgres. `up` brings back what is missing, Airflow tries again, and every row is there once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import psutil
import pytest

from governance import history
from governance.commands.reading import rows
from governance.embedded import airflow, control, demo_input, postgres, workspaces
from governance.embedded.site import Site
from governance.errors import AlarmError
from governance.run_log import Conservation
from governance.steps import checkpoint, reconcile
from live_runs import attempts, fill, held, run_airflow, wait_published
from run_logs import own_look

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow, pytest.mark.clause("R1")]


@dataclass
class Scenario:
    """A site that has been through all of it."""

    site: Site
    day: date


def blocked(site: Site, hop: str) -> int:
    """The process of a task that waits for a held table."""
    end = time.monotonic() + 240
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'governance'"
    running = "SELECT pid FROM task_instance WHERE task_id = %s AND state = 'running' AND pid IS NOT NULL"
    while time.monotonic() < end:
        pids = [pid for (pid,) in rows(site.dsn("airflow"), running, (hop,))]
        if pids and rows(site.dsn("postgres"), waiting)[0][0] and psutil.pid_exists(pids[0]):
            return int(pids[0])
        time.sleep(0.2)
    states = "SELECT task_id, state, try_number, pid FROM task_instance WHERE dag_id IN ('bookings', 'visits')"
    raise AssertionError(f"no {hop} came to wait for its table: {rows(site.dsn('airflow'), states)}")


def supervisor(site: Site, pid: int) -> None:
    os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)


def scheduler(site: Site, _: int) -> None:
    os.kill(airflow.running(site)["scheduler"].pid, signal.SIGKILL)


def api_server(site: Site, _: int) -> None:
    os.kill(airflow.running(site)["api-server"].pid, signal.SIGKILL)


def servers(site: Site, _: int) -> None:
    for name in ("source", "warehouse"):
        server = postgres.postmaster(postgres.Cluster(site, name))
        assert server is not None
        os.kill(server.pid, signal.SIGKILL)


# What is killed while a hop waits for a table that is held, one after the other.
KILLS: list[tuple[str, str, str, Callable[[Site, int], None]]] = [
    ("bookings", "pull", "records.bookings", scheduler),
    ("bookings", "validate", "quarantine.findings", supervisor),
    ("bookings", "publish", "vault.release_ledger", api_server),
    ("visits", "pull", "records.page_views", servers),
]  # fmt: skip


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    folder = tmp_path_factory.mktemp("faults")
    try:
        site = control.up(folder)
        (day,) = fill(site, 1, bookings=600, visits=2000)
        for dataset, hop, table, kill in KILLS:
            with held(site, table):
                if hop == "pull":
                    run_airflow(site, "dags", "unpause", "--yes", dataset)
                kill(site, blocked(site, hop))
            control.up(folder)
        wait_published(site, {(dataset, str(day)) for dataset in demo_input.DATASETS}, 300)
        space = workspaces.workspace(site)
        with suppress(AlarmError):  # in three minutes, when none of them can still be about to say something
            reconcile(replace(space, clock=lambda: datetime.now(UTC) + timedelta(minutes=3)), workspaces.by_hand("r"))
        checkpoint(space, workspaces.by_hand("checkpoint"))
        yield Scenario(site, day)
    finally:
        control.down(folder)


def test_every_row_is_there_once_and_conserved(scenario: Scenario) -> None:
    site = scenario.site
    published = history.effective(attempts(site), "publish")
    assert {dataset for dataset, _ in published} == set(demo_input.DATASETS)
    assert [Conservation(**tried.conservation).imbalances() for tried in published.values()] == [[], []]
    for source, vault, dataset in (("bookings", "bookings", "bookings"), ("page_views", "page_views", "visits")):
        ((at_source,),) = rows(site.dsn("wellbe_owner"), f"SELECT count(*) FROM wellbe.{source}")
        ((there, distinct),) = rows(
            site.dsn("governance_owner"), f"SELECT count(*), count(DISTINCT row_key) FROM vault.{vault}"
        )
        query = "SELECT count(*) FROM quarantine.rows WHERE dataset = %s"
        ((quarantined,),) = rows(site.dsn("governance_owner"), query, (dataset,))
        assert there == distinct
        assert there + quarantined == at_source > 0
    ((releases, distinct),) = rows(
        site.dsn("analyst"), "SELECT count(*), count(DISTINCT (dataset, partition_key)) FROM analytics.releases"
    )
    assert releases == distinct == 2


def test_every_try_is_told_with_how_it_ended(scenario: Scenario) -> None:
    tries = [tried for tried in attempts(scenario.site) if tried.dataset in demo_input.DATASETS]
    assert [tried for tried in tries if tried.outcome == history.INTERRUPTED] == []
    ended = {(tried.event, tried.outcome) for tried in tries}
    # A task whose supervisor was killed may still finish, and is then replayed; one that lost its servers did not: it
    # says so itself once they are back, or is told of as interrupted.
    assert {("pull", "interrupted"), ("pull", "failed")} & ended
    assert {("pull", "passed"), ("validate", "passed"), ("publish", "passed")} <= ended


def test_the_log_verifies_after_all_of_it(scenario: Scenario) -> None:
    assert own_look(scenario.site).problems == ()
