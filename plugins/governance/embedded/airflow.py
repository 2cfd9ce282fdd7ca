"""Airflow's components as processes of a site: migrated, started, watched until healthy, stopped."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import psutil
import psycopg2

from governance import airflow_records
from governance.embedded import airflow_config, broker, postgres, processes
from governance.embedded.site import ADDRESS, Site, write_private
from governance.errors import SiteError

COMPONENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Without --skip-serve-logs these two, and workers, listen on every address of the machine.
        "scheduler": ("scheduler", "--skip-serve-logs"),
        "dag-processor": ("dag-processor",),
        "api-server": ("api-server",),
        "triggerer": ("triggerer", "--skip-serve-logs"),
    }
)
"""Component of every site -> how `airflow` is called to run it."""

WORKERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # They need not know of each other; what gossip and mingle tell is of no use here.
        f"worker-{number}": (
            "celery", "worker", "--skip-serve-logs", "--without-gossip", "--without-mingle",
            "--celery-hostname", f"worker-{number}@%h",
        )
        for number in (1, 2)
    }
)  # fmt: skip
"""The same for the workers of a site with CeleryExecutor."""

_EVERY = (*COMPONENTS, *WORKERS)

_IN_HEALTH_REPORT = MappingProxyType(
    {"scheduler": "scheduler", "dag_processor": "dag-processor", "triggerer": "triggerer", "metadatabase": "api-server"}
)

Say = Callable[[str], None]
"""Takes one line of progress."""


class EndedError(SiteError):
    """A component of Airflow has ended."""

    def __init__(self, site: Site, component: str) -> None:
        self.component = component
        log = log_of(site, component)
        super().__init__(f"Airflow's {component} ended; the end of {log}:\n{processes.tail(log)}")


def command(*arguments: str) -> list[str]:
    """How to call Airflow's command line with this very Python."""
    return [sys.executable, "-m", "airflow", *arguments]


def components(site: Site) -> Mapping[str, tuple[str, ...]]:
    """The components of this site -> how `airflow` is called to run them."""
    return {**COMPONENTS, **WORKERS} if site.executor == "celery" else COMPONENTS


def migrate(site: Site) -> None:
    """Bring Airflow's metadata database to the installed version, and let the observer read what it may."""
    _migrate(site)
    airflow_records.grant(site.dsn("airflow"))


def _migrate(site: Site) -> None:
    """Takes seconds, so it is skipped where it was done."""
    stamp = airflow_config.home(site) / "migrated"
    version = importlib.metadata.version("apache-airflow-core")
    revision = _revision(site)
    if revision and stamp.exists() and stamp.read_text() == f"{version} {revision}\n":
        return
    result = subprocess.run(
        command("db", "migrate"),
        env=airflow_config.environment(site),
        cwd=airflow_config.home(site),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise SiteError(f"airflow db migrate failed:\n{(result.stdout + result.stderr)[-3000:]}")
    write_private(stamp, f"{version} {_revision(site)}\n")


def running(site: Site) -> dict[str, psutil.Process]:
    """The components that run, by name."""
    found = {name: processes.recall(_pid_file(site, name)) for name in _EVERY}
    return {name: process for name, process in found.items() if process}


def start(site: Site) -> list[str]:
    """Start the components that do not run, each in a session of its own; their names are returned."""
    missing = [name for name in components(site) if name not in running(site)]
    for name in missing:
        process = processes.start_detached(
            command(*components(site)[name]),
            environment=airflow_config.environment(site),
            folder=airflow_config.home(site),
            log=log_of(site, name),
        )
        processes.remember(_pid_file(site, name), process)
    return missing


def wait_healthy(site: Site, say: Say, patience_seconds: float = 240) -> None:
    """Wait until every component is healthy. Raises EndedError, with the end of its log, when one dies; SiteError."""
    waiting = set(components(site))
    deadline = time.monotonic() + patience_seconds
    while waiting:
        for name in set(components(site)) - set(running(site)):
            raise EndedError(site, name)
        if time.monotonic() > deadline:
            raise SiteError(
                f"Airflow was not healthy after {patience_seconds:.0f} s, still waiting for "
                f"{', '.join(sorted(waiting))}; see {log_of(site, sorted(waiting)[0])}"
            )
        healthy = health(site)
        for name in sorted(waiting & healthy):
            say(f"  {name} is healthy")
        waiting -= healthy
        if waiting:
            time.sleep(0.3)


def warm_up(site: Site) -> None:
    """Have the API server build its execution API now, in its own time: otherwise the first task waits 5 s for it."""
    # Nobody waits for the answer, so it ends in a timeout.
    with (
        contextlib.suppress(OSError, http.client.HTTPException),
        closing(http.client.HTTPConnection(ADDRESS, site.api_port, timeout=0.2)) as connection,
    ):
        connection.request("GET", "/execution/health")
        connection.getresponse()


def health(site: Site) -> set[str]:
    """The components that the API calls healthy now, none while it does not answer; and the workers that answer."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        with closing(http.client.HTTPConnection(ADDRESS, site.api_port, timeout=15)) as connection:
            connection.request("GET", "/api/v2/monitor/health")
            report = json.load(connection.getresponse())
        processes_of = running(site)
        database = postgres.postmaster(postgres.Cluster(site, "warehouse"))
        # A component whose database has started again since may be about to end, and has to show that it lives.
        since = {
            name: max(process.create_time(), database.create_time() if database else 0.0)
            for name, process in processes_of.items()
        }
        healthy = {
            component
            for part, component in _IN_HEALTH_REPORT.items()
            if component in since and _is_healthy(report.get(part, {}), part, since[component])
        }
        return healthy | (broker.workers(site) & set(processes_of) if site.executor == "celery" else set())
    return set()


def stop(site: Site, patience_seconds: float = 15) -> None:
    """End the components and whatever they left behind, tasks included."""
    processes.end(_members(site), patience_seconds)
    end_orphans(site)
    for name in _EVERY:
        _pid_file(site, name).unlink(missing_ok=True)


def end_orphans(site: Site) -> None:
    """End what a component that died left behind; it would work against its successor."""
    known = {process.pid for process in _members(site)}
    noted = {processes.noted_pid(_pid_file(site, name)) for name in _EVERY}
    orphans = [
        process
        for process in processes.of_site(site.data_dir)
        # Not what a person runs on this site from a terminal, and not Postgres.
        if process.pid not in known and processes.session_id(process) in noted
    ]
    processes.end(orphans, 5)


def log_of(site: Site, component: str) -> Path:
    """The log of a component's own output (tasks log below AIRFLOW_HOME/logs)."""
    return site.data_dir / "log" / f"{component}.log"


def _is_healthy(report: dict[str, str | None], part: str, since: float) -> bool:
    # The report takes the last sign of life of a predecessor that was killed for one of this process.
    seen = report.get(f"latest_{part}_heartbeat")
    is_fresh = part == "metadatabase" or (seen and datetime.fromisoformat(seen).timestamp() > since)
    return report.get("status") == "healthy" and bool(is_fresh)


def _members(site: Site) -> list[psutil.Process]:
    return [process for leader in running(site).values() for process in processes.session_of(leader)]


def _pid_file(site: Site, component: str) -> Path:
    return site.data_dir / "run" / f"{component}.json"


def _revision(site: Site) -> str | None:
    """The metadata database's schema revision, None when it has no schema yet."""
    with closing(psycopg2.connect(site.dsn("airflow"))) as connection, connection, connection.cursor() as c:
        c.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL")
        if c.fetchone() != (True,):
            return None
        c.execute("SELECT version_num FROM alembic_version")
        row = c.fetchone()
        return str(row[0]) if row else None
