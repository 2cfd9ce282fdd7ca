"""`make bench`: speed and memory of every hop, beside the naive way and a bare COPY, in one run on clusters of its own.

Each line is a process of its own that has its libraries imported before the clock starts. CPU seconds are the client's
(the process) and the server's (everything that the clusters' servers did in that time); rows per second of wall time,
of the client's CPU and of all CPU; and the most memory that the process held (RSS). Medians where work was done more
than once, on a warehouse emptied each time; fsync and synchronous_commit are on. The naive pipeline is what a first
draft would do (`naive.py`). Nothing here is asserted; machines differ, so compare lines of one run.

`python tests/bench/run.py hops` runs that part alone; `hops --views 300000 --many 0` is a short one. Keys, the
run log, retention, the anonymiser, daily releases, deliveries, sharing and wire formats are measured apart, in modules
of their names.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import builders
from bench import naive
from bench.measuring import Measured, measured, say, say_columns, shown, tree_ticks
from governance import steps
from governance.embedded import airflow, control
from governance.embedded import site as sites
from governance.embedded.site import CHECKOUT, Site
from governance.run_log import Batch

DAY = date(2026, 3, 10)
BIG_DAY = DAY + timedelta(days=1)
NOW = datetime(2026, 3, 13, tzinfo=UTC)
HOPS = ("pull", "validate", "publish")
MULTIPLY = """
INSERT INTO wellbe.page_views
SELECT view_id + n * 1000000000::bigint, viewed_at + interval '1 day', recorded_at + interval '1 day', duration_ms, ip,
       user_agent, app_version, language, url, referrer, session_id || '-' || n, first_party_cookie_id,
       third_party_cookie_id, gpc, device_id || '-' || n, device_settings, latitude, longitude
FROM wellbe.page_views, generate_series(1, %s) n
WHERE recorded_at < '2026-03-10T23:00Z'
"""
"""The views of a day again on the next one, so many times, by other visitors."""


@dataclass(frozen=True)
class Size:
    """How much is measured: views of the usual day and of the big one, bookings, and how often."""

    views: int
    many: int
    bookings: int
    times: int


def fill(folder: Path, size: Size) -> int:
    """The sample of one day."""
    from governance.sample.generator import generate

    dsn = sites.load(folder).dsn("wellbe_owner")
    loaded = generate(dsn, bookings=size.bookings, visits=size.views, days=1, seed=1, until=DAY, now=NOW)
    return sum(loaded.added.values())


def hop(name: str, folder: Path, dataset: str, day: date) -> int:
    """One hop of a day."""
    space = builders.workspace(sites.load(folder), now=NOW, first=day)
    if name == "pull":
        batch = steps.pull(space, dataset, day.isoformat(), builders.run())
        return sum(count for key, count in batch.counts.items() if key.endswith("_pulled"))
    batch = getattr(steps, name)(space, Batch(dataset, day.isoformat(), builders.run().run_id), builders.run())
    counts = batch.counts
    return int(
        counts["accepted"] + counts["quarantined"] if name == "validate" else counts["published"] + counts["suppressed"]
    )


def copy(folder: Path, day: date) -> int:
    """The columns that are pulled, by COPY from the source into a table without an index: what moving them costs."""
    import psycopg2

    site = sites.load(folder)
    columns = "view_id, viewed_at, recorded_at, duration_ms, ip, user_agent, app_version, language, url, session_id, " \
              "device_id, device_settings, latitude, longitude"  # fmt: skip
    of_day = "recorded_at >= %s::timestamptz - interval '1 h' AND recorded_at < %s::timestamptz + interval '23 h'"
    reading, writing = os.pipe()
    source, target = psycopg2.connect(site.dsn("puller")), psycopg2.connect(site.dsn("governance_owner"))

    def send() -> None:
        with os.fdopen(writing, "wb") as sink, source.cursor() as cursor:
            query = cursor.mogrify(f"SELECT {columns} FROM wellbe.page_views WHERE {of_day}", (day, day)).decode()
            cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", sink)

    with target, target.cursor() as cursor, os.fdopen(reading, "rb") as data:
        cursor.execute("DROP TABLE IF EXISTS public.bench_copy")
        cursor.execute(
            "CREATE TABLE public.bench_copy (view_id bigint, viewed_at timestamptz, recorded_at timestamptz, "
            "duration_ms bigint, ip text, user_agent text, app_version text, language text, url text, session_id text, "
            "device_id text, device_settings text, latitude float8, longitude float8)"
        )
        sender = threading.Thread(target=send)
        sender.start()
        cursor.copy_expert("COPY public.bench_copy FROM STDIN (FORMAT BINARY)", data)
        sender.join()
        return int(cursor.rowcount)


def parse_dags() -> int:
    """How long reading the DAG folder takes on top of importing Airflow, in CPU seconds, in a process of its own."""
    script = (
        "import time, airflow.sdk\nfrom airflow.dag_processing.dagbag import DagBag\n"
        f"began, wall = time.process_time(), time.perf_counter()\nDagBag({str(CHECKOUT / 'dags')!r})\n"
        "print(time.process_time() - began, time.perf_counter() - wall)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    cpu, wall = map(float, done.stdout.split()[-2:])
    say(f"{'DAG folder parsed, on top of importing Airflow':<44}{'':>9}{wall:>9.2f}{cpu:>9.2f}")
    return 0


def live_days(folder: Path, rows: dict[str, int]) -> None:
    """A scheduled run of each dataset under a live, warm Airflow: wall time from queue to end, and all CPU.

    `rows`: by dataset.
    """
    from governance.commands.reading import rows as query
    from governance.embedded import airflow_config

    site = sites.load(folder)
    ended = (
        "SELECT state, extract(epoch FROM end_date - queued_at) FROM dag_run WHERE dag_id = %s AND end_date IS NOT NULL"
    )
    cut = "SELECT max(shards_count) FROM control.landings WHERE dataset = %s"
    for dataset, count in rows.items():
        before = _cpu_seconds(site)
        unpause = airflow.command("dags", "unpause", "--yes", dataset)
        subprocess.run(unpause, env=airflow_config.environment(site), capture_output=True, check=True)
        deadline = time.monotonic() + 1800
        while not (found := query(site.dsn("airflow"), ended, (dataset,))) and time.monotonic() < deadline:
            time.sleep(0.5)
        state, seconds = found[0] if found else ("out of time", 0)
        tasks, servers = (after - ago for after, ago in zip(_cpu_seconds(site), before, strict=True))
        ((shards,),) = query(site.dsn("governance_owner"), cut, (dataset,))
        say(
            f"{f'{dataset} through the DAG, shards {shards}: {state}':<44}{count:>11,}{1:>6}{float(seconds):>8.1f}"
            f"{tasks:>9.1f}{servers:>9.1f}{count / float(seconds or 1):>9,.0f}"
        )
    say(f"memory of the whole site (PSS): {control.total_memory(site).pss_bytes / 1e6:,.0f} MB")


def _cpu_seconds(site: Site) -> tuple[float, float]:
    """CPU seconds so far of Airflow with all of its tasks, and of the servers."""
    from bench.measuring import server_seconds

    ticks = sum(tree_ticks(process.pid) for process in airflow.running(site).values())
    return ticks / os.sysconf("SC_CLK_TCK"), server_seconds(site.data_dir)


def main() -> None:
    """All of it, or the part that was named."""
    parser = argparse.ArgumentParser(description="speed and memory, measured")
    parser.add_argument(
        "part",
        nargs="?",
        choices=(
            "hops",
            "live",
            "keys",
            "run_log",
            "retention",
            "anonymiser",
            "releases",
            "deliveries",
            "sharing",
            "wire_formats",
        ),
        help="only this part",
    )
    parser.add_argument("--views", type=int, default=1_000_000, help="page views of the usual day")
    parser.add_argument("--many", type=int, default=10_000_000, help="page views of the big day; 0: none")
    parser.add_argument("--bookings", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=5, help="how often the usual day is done")
    parser.add_argument("--cards", type=int, default=1_000_000, help="cards that are to end")
    parser.add_argument("--standing", type=int, default=1_000_000, help="bookings, and page views, that stay beside")
    given = parser.parse_args()
    size = Size(given.views, given.many, given.bookings, given.times)
    with tempfile.TemporaryDirectory(prefix="governance-bench-") as name:
        if given.part in (None, "hops"):
            hops(Path(name) / "site", size)
        if given.part in (None, "live"):
            live(Path(name) / "live", size)
        from bench import (
            anonymiser,
            deliveries,
            keys,
            releases,
            retention,
            run_log,
            sharing,
            wire_formats,
        )  # late: what they import would be in the processes of the hops too

        apart: dict[str, Callable[[], None]] = {
            "keys": partial(keys.main, Path(name)),
            "run_log": partial(run_log.main, Path(name)),
            "retention": partial(retention.main, Path(name), given.cards, given.standing),
            "anonymiser": partial(anonymiser.main, Path(name) / "anonymiser"),
            "releases": partial(releases.main, Path(name) / "releases"),
            "deliveries": partial(deliveries.main, Path(name) / "deliveries"),
            "sharing": partial(sharing.main, Path(name) / "sharing"),
            "wire_formats": partial(wire_formats.main, Path(name)),
        }
        for part, measure in apart.items():
            if given.part in (None, part):
                measure()


def hops(folder: Path, size: Size) -> None:
    """The hops of a day: visits beside their peers, many visits, bookings."""

    def in_turn(what: str, task: Any, *arguments: Any, **named: Any) -> list[Measured]:
        """The three hops of a day, one after the other."""
        chain = ((f"{name} {what}", task(name), (folder, *arguments)) for name in HOPS)
        lines = measured(*chain, clusters=folder, **named)
        shown(lines[0] + lines[1] + lines[2], f"= {what}, all three hops")
        return lines

    def emptied() -> None:
        builders.empty_warehouse(site)

    try:
        site = control.clusters_up(folder)
        say_columns()
        measured(("sample: bookings, people, page views", fill, (folder, size)), clusters=folder)
        ours = in_turn("visits", partial(partial, hop), "visits", DAY, times=size.times, before=emptied)
        (raw,) = measured(("raw COPY of what is pulled", copy, (folder, DAY)), clusters=folder, times=size.times)
        drafts = in_turn("naive", partial(getattr, naive), DAY)
        whole, draft = ours[0] + ours[1] + ours[2], drafts[0] + drafts[1] + drafts[2]
        say(
            f"    visits / naive: {whole.per_client_second / draft.per_client_second:.1f} x the rows per CPU second "
            f"of the client, {whole.per_cpu_second / draft.per_cpu_second:.1f} x of all CPU"
        )
        say(f"    pull / raw COPY: {ours[0].per_cpu_second / raw.per_cpu_second:.2f} of its rows per CPU second")
        in_turn("bookings", partial(partial, hop), "bookings", DAY, times=size.times, before=emptied)
        if size.many:
            emptied()
            _multiply(site, size)
            in_turn("many visits", partial(partial, hop), "visits", BIG_DAY)
        parse_dags()
    finally:
        control.down(folder)


def _multiply(site: Site, size: Size) -> None:
    import psycopg2

    with psycopg2.connect(site.dsn("wellbe_owner")) as connection, connection.cursor() as cursor:
        cursor.execute(MULTIPLY, (-(-size.many // size.views),))
    connection.close()


def live(folder: Path, size: Size) -> None:
    """A day of both datasets through a live Airflow, the visits in shards."""
    from zoneinfo import ZoneInfo

    from governance.embedded import demo, demo_input
    from governance.sample.generator import generate

    now = datetime.now(UTC)
    until = now.astimezone(ZoneInfo("Europe/Stockholm")).date() - timedelta(days=1)
    try:
        site = control.up(folder)
        loaded = generate(
            site.dsn("wellbe_owner"),
            bookings=size.bookings // 10,
            visits=size.views,
            days=1,
            seed=1,
            until=until,
            now=now,
        )
        demo_input.write_site_policy(site, until)
        with site.policy_path.open("a") as policy:
            policy.write(f"shard_rows: {size.views // 2 + 1}\n")
        demo.wait_for_dags(site)
        added = loaded.added
        live_days(folder, {"visits": added["page_views"], "bookings": added["bookings"]})
    finally:
        control.down(folder)


if __name__ == "__main__":
    main()
