"""`make demo`: everything up, a source filled, every partition run by Airflow's own means, and a summary that says
what happened.

Nothing here calls a step: each DAG's timetable starts yesterday's partition and `airflow backfill create` the others;
what is told is read from the run log, as the auditor reads it.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from governance.embedded import demo_input
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.embedded.demo_input import DATASETS, write_site_policy
from governance.embedded.site import Site
from governance.errors import InputError, SiteError

if TYPE_CHECKING:
    from governance.summary import Told

STALLED_SECONDS = 600
QUIET_SECONDS = 30


@dataclass
class Peak:
    """The most memory that the site's processes used together, as far as it was sampled."""

    pss_bytes: int = 0


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo", help="everything up, a source filled, at least seven partitions run, a summary"
    )
    parser.add_argument(
        "--bookings", type=Path, metavar="FILE", help="replay this hotel-bookings CSV instead of a sample"
    )
    parser.add_argument("--access-log", type=Path, metavar="FILE", help="replay this access log instead of a sample")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from governance import summary
    from governance.embedded import control, demo_recipients

    if (arguments.bookings is None) != (arguments.access_log is None):
        raise InputError(
            "real input takes both files: make demo BOOKINGS=hotel_bookings.csv.gz ACCESS_LOG=access_log.gz"
        )
    began = time.monotonic()
    until = datetime.now(ZoneInfo("Europe/Stockholm")).date() - timedelta(days=1)
    folder = sites.default_data_dir()
    anew = demo_input.start_over_when_input_changed(folder, arguments)
    site = control.clusters_up(folder, say)
    if demo_input.ran_ahead(site, until):
        say("Airflow has run days that the sample did not hold yet: setting .data aside, which the last demo made")
        demo_input.empty(folder, arguments)
        site = control.clusters_up(folder, say)
    try:
        loaded = demo_input.fill(site, arguments, until)
    except InputError:
        if anew:
            demo_input.restore(folder)
        raise
    write_site_policy(site, loaded.first_day)
    days = [loaded.first_day + timedelta(days=n) for n in range((loaded.last_day - loaded.first_day).days + 1)]
    has_recipients = arguments.bookings is None and demo_recipients.can_be(site)
    if has_recipients:
        demo_recipients.register(site, days)
    site = control.up(folder, say)
    up_seconds = time.monotonic() - began
    peak = Peak()
    ran = _run_partitions(site, days, peak)
    _wait_for_retention(site)
    delivered = _delivered(site, days) if has_recipients else summary.Told()
    times = {"up and filled": up_seconds, "partitions": ran, "whole": time.monotonic() - began}
    report = summary.report(site, loaded, times, peak.pss_bytes, delivered)
    for line in report.lines:
        say(line)
    return 0 if report.is_good else 1


def _run_partitions(site: Site, days: list[date], peak: Peak) -> float:
    """Start every DAG by its schedule and the rest by backfill, and tell of the partitions until all are published."""
    began = time.monotonic()
    wanted = {(dataset, day.isoformat()) for dataset in DATASETS for day in days}
    already = _published(site) & wanted
    if already != wanted:
        _start(site, sorted({dataset for dataset, _ in wanted - already}), days)
    told = set() if already != wanted else _known_attempts(site)
    moved = time.monotonic()
    quiet = moved
    while not wanted <= _published(site):
        if _tell(site, told):
            moved = quiet = time.monotonic()
        elif time.monotonic() - quiet > QUIET_SECONDS:
            quiet = time.monotonic()
            say(f"  {_task_states(site)}")
        _sample_memory(site, peak)
        failed = _failed_runs(site, wanted)
        if failed:
            raise SiteError(
                f"Airflow gave up on {', '.join(failed)}; see `governance runs --failed`, mend it, "
                f"clear the run in the UI ({site.api_url}) or run `make demo` again"
            )
        if time.monotonic() - moved > STALLED_SECONDS:
            raise SiteError(f"nothing moved for {STALLED_SECONDS} s; see `governance runs` and the UI ({site.api_url})")
        time.sleep(1)
    _tell(site, told)
    _sample_memory(site, peak)
    return time.monotonic() - began


def _wait_for_retention(site: Site) -> None:
    """Return when a run of DAG `retention`, which begins by itself, has ended. Raises SiteError."""
    query = "SELECT EXISTS (SELECT FROM dag_run WHERE dag_id = 'retention' AND state IN ('success', 'failed'))"
    _wait(site, query, (), "no run of DAG retention has ended")


def wait_for_deliveries(site: Site, days: list[date]) -> None:
    """Return when DAG `provider_sharing`, which validated partitions start, has run for each of these; SiteError."""
    query = (
        "SELECT count(DISTINCT partition_key) FILTER (WHERE partition_key = ANY(%s)) = %s "
        "AND bool_and(state IN ('success', 'failed')) FROM dag_run WHERE dag_id = 'provider_sharing'"
    )
    _wait(site, query, ([str(day) for day in days], len(days)), "DAG provider_sharing has not run for every partition")


def _wait(site: Site, query: str, values: tuple[Any, ...], otherwise: str) -> None:
    """Return once Airflow's database says yes. Raises SiteError when it does not in time."""
    deadline = time.monotonic() + STALLED_SECONDS
    while _rows(site, "airflow", query, values) != [(True,)]:
        if time.monotonic() > deadline:
            raise SiteError(f"{otherwise}; see the UI ({site.api_url})")
        time.sleep(1)


def _delivered(site: Site, days: list[date]) -> Told:
    """What the recipients have got, once it is there, and what of it is not as it should be."""
    from governance.embedded import demo_deliveries
    from governance.summary import Told

    wait_for_deliveries(site, days)
    say("opening what was delivered, as its recipients do")
    looks = demo_deliveries.look(site, demo_input.SEED, days)
    legible = demo_deliveries.legible(site, demo_input.SEED, days)
    problems = [problem for one in looks for problem in one.problems]
    problems += [f"outboxes: {legible} tokens of canaries can be read without a key"] if legible else []
    lines = [
        "delivered to recipients, and opened as each of them does, with openssl and its own key:",
        *(f"    {one.line}" for one in looks),
        f"    without a key {legible} tokens of canaries can be read; all is acknowledged, which the next run of DAG "
        "provider_deliveries notes",
    ]
    return Told(tuple(lines), tuple(problems))


def _start(site: Site, datasets: list[str], days: list[date]) -> None:
    from governance.embedded import airflow

    wait_for_dags(site)
    for dataset in datasets:
        # Unpausing lets the DAG's own timetable start its newest partition.
        _airflow(site, airflow.command("dags", "unpause", "--yes", dataset))
        if len(days) > 1:
            say(f"{dataset}: its schedule starts {days[-1]}, a backfill {days[0]} to {days[-2]}")
            _airflow(
                site,
                airflow.command(
                    "backfill", "create", "--dag-id", dataset,
                    "--from-date", days[0].isoformat(), "--to-date", days[-2].isoformat(),
                    "--reprocess-behavior", "failed",
                ),
            )  # fmt: skip


def _airflow(site: Site, command: list[str]) -> None:
    from governance.embedded import airflow_config

    done = subprocess.run(
        command,
        env=airflow_config.environment(site),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SiteError(f"`airflow {' '.join(command[3:])}` failed:\n{(done.stdout + done.stderr)[-2000:]}")


def wait_for_dags(site: Site) -> None:
    """Return when Airflow has read the DAGs of a demo. Raises SiteError when it does not within two minutes."""
    deadline = time.monotonic() + 120
    query = "SELECT count(*) FROM serialized_dag WHERE dag_id = ANY(%s)"
    wanted = [*DATASETS, "provider_sharing"]  # of which Airflow has to know before a partition is validated
    while _rows(site, "airflow", query, (wanted,)) != [(len(wanted),)]:
        if time.monotonic() > deadline:
            raise SiteError(f"Airflow has not read the DAGs; see {site.data_dir / 'airflow' / 'logs'}")
        time.sleep(0.5)


def _failed_runs(site: Site, wanted: set[tuple[str, str]]) -> list[str]:
    """Runs of the demo's own partitions that Airflow has given up on."""
    query = "SELECT dag_id, partition_key FROM dag_run WHERE state = 'failed' ORDER BY 1, 2"
    return [f"{dag} {key}" for dag, key in _rows(site, "airflow", query) if (dag, key) in wanted]


def _known_attempts(site: Site) -> set[str]:
    from governance import history
    from governance.commands.reading import log_entries

    return {tried.attempt_id for tried in history.attempts(log_entries(site.dsn("auditor")))}


def _task_states(site: Site) -> str:
    """What Airflow is at, for when nothing has ended for a while."""
    query = (
        "SELECT coalesce(state, 'not started'), count(*) FROM task_instance "
        "WHERE state IS DISTINCT FROM 'success' GROUP BY 1 ORDER BY 1"
    )
    states = ", ".join(f"{count} {state}" for state, count in _rows(site, "airflow", query))
    return f"Airflow's tasks: {states or 'none yet'}"


def _published(site: Site) -> set[tuple[str, str]]:
    return set(_rows(site, "analyst", "SELECT dataset, partition_key::text FROM analytics.releases"))


def _tell(site: Site, told: set[str]) -> bool:
    """One line per hop that has ended since; whether there was any."""
    from governance import history
    from governance.commands.reading import log_entries

    ended = [
        t
        for t in history.attempts(log_entries(site.dsn("auditor")))
        if t.ended_at and t.dataset in DATASETS and t.event not in ("read", "plan", "deliver")
    ]
    fresh = [t for t in ended if t.attempt_id not in told]
    for tried in sorted(fresh, key=lambda t: t.ended_at or ""):
        told.add(tried.attempt_id)
        say(
            f"  {(tried.ended_at or '')[11:19]}  {tried.dataset:<9} {tried.partition_key}  {tried.event:<12} "
            f"{_words(tried)}"
        )
    return bool(fresh)


def _words(tried: Any) -> str:
    terms = tried.conservation
    if tried.outcome == "failed":
        return f"failed: {tried.entry['error']['message']}"
    if tried.event == "share":
        details, counts = (tried.entry.get(name) or {} for name in ("details", "counts"))
        return f"{details.get('recipient')}: {counts.get('rows', 0):,} rows delivered"
    names = {"pull": ("pulled",), "validate": ("accepted", "quarantined"), "publish": ("published", "suppressed")}.get(
        tried.event, ()
    )
    counts = ", ".join(f"{terms[name]:,} {name}" for name in names if name in terms)
    return f"{counts}{'' if tried.outcome == 'passed' else f' ({tried.outcome})'}"


def _sample_memory(site: Site, peak: Peak) -> None:
    from governance.embedded import control

    peak.pss_bytes = max(peak.pss_bytes, control.total_memory(site).pss_bytes)


def _rows(site: Site, role: str, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    from governance.commands.reading import rows

    return rows(site.dsn(role), query, values)
