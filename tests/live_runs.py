"""What tests on a live Airflow share: a source filled, runs started as data engineers do, tables held, ends awaited."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2

from governance import history
from governance.commands.reading import log_entries, rows
from governance.embedded import airflow, airflow_config, demo, demo_input
from governance.embedded.site import UI_USER, Site
from governance.sample.generator import generate


def fill(site: Site, days: int, bookings: int = 3000, visits: int = 9000) -> list[date]:
    """A sample at the source that ends yesterday, whose days are returned; and Airflow has read its DAGs."""
    until = datetime.now(ZoneInfo("Europe/Stockholm")).date() - timedelta(days=1)
    loaded = generate(
        site.dsn("wellbe_owner"),
        bookings=bookings, visits=visits, days=days, seed=7, until=until, now=datetime.now(UTC),
    )  # fmt: skip
    demo_input.write_site_policy(site, loaded.first_day)
    demo.wait_for_dags(site)
    return [loaded.first_day + timedelta(days=n) for n in range(days)]


def run_airflow(site: Site, *arguments: str) -> str:
    """Airflow's command line, as a data engineer calls it."""
    done = subprocess.run(
        airflow.command(*arguments), env=airflow_config.environment(site), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def backfill(site: Site, dataset: str, days: list[date]) -> None:
    """The days as one backfill."""
    run_airflow(
        site, "backfill", "create", "--dag-id", dataset, "--from-date", str(days[0]), "--to-date", str(days[-1]),
        "--reprocess-behavior", "failed",
    )  # fmt: skip


@contextmanager
def held(site: Site, table: str) -> Iterator[None]:
    """Nobody else can use the table meanwhile."""
    admin = site.dsn("postgres").rsplit("/", 1)[0] + "/governance"
    with closing(psycopg2.connect(admin)) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            with suppress(psycopg2.Error):  # a server that was killed meanwhile holds nothing
                connection.rollback()


def wait_published(site: Site, wanted: set[tuple[str, str]], deadline_seconds: float = 300) -> None:
    """Until every one of these partitions is released."""
    end = time.monotonic() + deadline_seconds
    query = "SELECT dataset, partition_key::text FROM analytics.releases"
    ours = "dag_id IN ('bookings', 'visits')"  # watches fail on purpose, and others run by the clock
    unfinished = f"SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running') AND {ours}"
    # A release is committed a moment before Airflow hears that its task, and with it the run, has ended.
    while not wanted <= set(rows(site.dsn("analyst"), query)) or rows(site.dsn("airflow"), unfinished) != [(0,)]:
        given_up = f"SELECT dag_id, partition_key FROM dag_run WHERE state = 'failed' AND {ours}"
        failed = rows(site.dsn("airflow"), given_up)
        assert not failed, failed
        assert time.monotonic() < end, sorted(wanted - set(rows(site.dsn("analyst"), query)))  # type: ignore[arg-type]
        time.sleep(0.5)


def attempts(site: Site) -> list[history.Tried]:
    return history.attempts(log_entries(site.dsn("auditor")))


def call(site: Site, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Airflow's API, as the UI calls it for its user."""

    def ask(verb: str, address: str, sent: dict[str, Any] | None, **headers: str) -> Any:
        data = None if sent is None else json.dumps(sent).encode()
        request = urllib.request.Request(
            site.api_url + address, data, {"Content-Type": "application/json", **headers}, method=verb
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    token = ask("POST", "/auth/token", {"username": UI_USER, "password": site.ui_password})["access_token"]
    return ask(method, path, body, Authorization=f"Bearer {token}")


def until(found: Callable[[], Any], seconds: float = 90) -> Any:
    """What is found, once it is."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.3)
    return value


def trigger(site: Site, dag: str, run_id: str, partition_key: str | None = None) -> str:
    """Start a run by hand, as the UI's user; returns its address."""
    asked = {"dag_run_id": run_id, "logical_date": None, "partition_key": partition_key}
    call(site, "POST", f"/api/v2/dags/{dag}/dagRuns", asked)
    return f"/api/v2/dags/{dag}/dagRuns/{run_id}"


def ended(site: Site, run_id: str) -> Callable[[], bool]:
    """Whether a run is over, however."""
    query = "SELECT state IN ('success', 'failed') FROM dag_run WHERE run_id = %s"
    return lambda: rows(site.dsn("airflow"), query, (run_id,)) == [(True,)]


def pause_at_rest(site: Site, dag: str) -> None:
    """Pause an hourly DAG once its first run has ended: of a paused one Airflow starts no task that is left."""
    query = "SELECT count(*) > 0 AND bool_and(state IN ('success', 'failed')) FROM dag_run WHERE dag_id = %s"
    until(lambda: rows(site.dsn("airflow"), query, (dag,)) == [(True,)], 180)
    run_airflow(site, "dags", "pause", "--yes", dag)
