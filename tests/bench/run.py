"""`make bench`: speed and memory of every hop, beside the naive way, in one run on clusters of its own.

Each line is a process of its own: wall and CPU seconds (the client's; the server's are not in it), rows per second of
wall time, and the most memory that the process held (RSS). The naive pull is what a first draft would do:
`pandas.read_sql`, a keyed digest row by row, `DataFrame.to_sql`. Nothing here is asserted; machines differ, so compare
lines of one run. Keys and the run log are measured apart, in `keys.py` and `run_log.py`: `python tests/bench/run.py
keys` runs that part alone.
"""

from __future__ import annotations

import argparse
import hmac
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import builders
from bench.measuring import measured, say
from governance import steps
from governance.embedded import control
from governance.embedded import site as sites
from governance.embedded.site import CHECKOUT, Site
from governance.run_log import Batch

VISITS, BOOKINGS = 300_000, 20_000
DAY = date(2026, 3, 10)
NOW = datetime(2026, 3, 12, tzinfo=UTC)


def fill(folder: Path) -> int:
    """The sample of one day."""
    from governance.sample.generator import generate

    dsn = sites.load(folder).dsn("wellbe_owner")
    loaded = generate(dsn, bookings=BOOKINGS, visits=VISITS, days=1, seed=1, until=DAY, now=NOW)
    return sum(loaded.added.values())


def hop(folder: Path, name: str, dataset: str) -> int:
    """One hop of the day."""
    space = builders.workspace(sites.load(folder), now=NOW, first=DAY)
    if name == "pull":
        batch = steps.pull(space, dataset, DAY.isoformat(), builders.run())
        return sum(count for key, count in batch.counts.items() if key.endswith("_pulled"))
    batch = getattr(steps, name)(space, Batch(dataset, DAY.isoformat(), builders.run().run_id), builders.run())
    counts = batch.counts
    return int(
        counts["accepted"] + counts["quarantined"] if name == "validate" else counts["published"] + counts["suppressed"]
    )


def naive_pull(folder: Path) -> int:
    """Page views the way of a first draft, into a table of its own, without a single check."""
    import pandas as pd
    import sqlalchemy

    site = sites.load(folder)
    url = "postgresql+psycopg2://" + site.dsn("puller").split("://", 1)[1]
    allowed = (
        "view_id, viewed_at, recorded_at, duration_ms, ip, user_agent, app_version, language, url, session_id, "
        "device_id, device_settings"
    )
    frame = pd.read_sql(f"SELECT {allowed} FROM wellbe.page_views", sqlalchemy.create_engine(url))
    for column in ("ip", "user_agent", "url", "session_id", "device_id", "device_settings"):
        frame[column] = frame[column].map(lambda v: hmac.new(b"k" * 32, str(v).encode(), "sha256").hexdigest())
    target = "postgresql+psycopg2://" + site.dsn("governance_owner").split("://", 1)[1]
    frame.to_sql("naive_page_views", sqlalchemy.create_engine(target), schema="landing", index=False)
    return len(frame)


def naive_validate(folder: Path) -> int:
    """Great Expectations on a pandas frame of the landed page views: what pushing down saves."""
    import great_expectations as gx
    import pandas as pd
    import sqlalchemy

    from governance.validation import load_suite

    url = "postgresql+psycopg2://" + sites.load(folder).dsn("governance_owner").split("://", 1)[1]
    engine = sqlalchemy.create_engine(url, connect_args={"options": f"-c governance.partition_key={DAY}"})
    frame = pd.read_sql("SELECT * FROM landing.current_page_views", engine)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    suite = context.suites.add(gx.ExpectationSuite(name="v", expectations=load_suite("visits")["expectations"]))
    batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
    batch.get_batch({"dataframe": frame}).validate(suite, expectation_parameters={"page_views_rows": len(frame)})
    return len(frame)


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


def live_day(folder: Path) -> None:
    """A scheduled run of three hops of the day under a live, warm Airflow, from trigger to done."""
    from governance.commands.reading import rows
    from governance.embedded import airflow, airflow_config, demo_input

    site = sites.load(folder)
    for dataset in demo_input.DATASETS:
        subprocess.run(
            airflow.command("dags", "unpause", "--yes", dataset),
            env=airflow_config.environment(site),
            capture_output=True,
            check=True,
        )
    query = (
        "SELECT dag_id, state, extract(epoch FROM end_date - queued_at) FROM dag_run "
        "WHERE dag_id IN ('bookings', 'visits') ORDER BY 1"
    )
    deadline = time.monotonic() + 300
    while len(found := rows(site.dsn("airflow"), query)) < 2 or any(
        state not in ("success", "failed") for _, state, _ in found
    ):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    for dag, state, seconds in found:
        say(f"{f'live run of {dag}, both DAGs at once: {state}':<44}{'':>9}{float(seconds or 0):>9.1f}")
    say(f"memory of the whole site (PSS): {control.total_memory(site).pss_bytes / 1e6:,.0f} MB")


def main() -> None:
    """All of it, or the part that was named."""
    parser = argparse.ArgumentParser(description="speed and memory, measured")
    parser.add_argument("part", nargs="?", choices=("hops", "keys", "run_log"), help="only this part")
    part = parser.parse_args().part
    with tempfile.TemporaryDirectory(prefix="governance-bench-") as name:
        if part in (None, "hops"):
            hops(Path(name))
        from bench import keys, run_log  # late: what they import would be in the processes of the hops too

        if part in (None, "keys"):
            keys.main(Path(name))
        if part in (None, "run_log"):
            run_log.main(Path(name))


def hops(temporary: Path) -> None:
    """The hops of a day, and a live day."""
    folder = temporary / "site"
    try:
        site: Site = control.clusters_up(folder)
        say(f"{'':<44}{'ROWS':>9}{'WALL S':>9}{'CPU S':>9}{'ROWS/S':>10}{'RSS MB':>9}")
        measured("sample: bookings, people, page views", fill, folder)
        pull = measured("pull visits", hop, folder, "pull", "visits")
        naive = measured("naive pull of page views", naive_pull, folder)
        say(
            f"    pull / naive: {pull.wall_seconds / naive.wall_seconds:.2f} of the time, "
            f"{pull.peak_rss_mb / naive.peak_rss_mb:.2f} of the memory"
        )
        pandas_way = measured("Great Expectations on a pandas frame", naive_validate, folder)
        validate = measured("validate visits (suite pushed down, settled)", hop, folder, "validate", "visits")
        say(
            f"    validate / pandas: {validate.wall_seconds / pandas_way.wall_seconds:.2f} of the time, "
            f"{validate.peak_rss_mb / pandas_way.peak_rss_mb:.2f} of the memory"
        )
        measured("publish visits", hop, folder, "publish", "visits")
        for step in ("pull", "validate", "publish"):
            measured(
                f"{step} bookings, all tables" if step == "pull" else f"{step} bookings",
                hop,
                folder,
                step,
                "bookings",
            )
        parse_dags()
        _live(temporary / "live", site)
    finally:
        control.down(folder)


def _live(folder: Path, _: Site) -> None:
    from zoneinfo import ZoneInfo

    from governance.embedded import demo, demo_input
    from governance.sample.generator import generate

    now = datetime.now(UTC)
    until = date.fromordinal(now.astimezone(ZoneInfo("Europe/Stockholm")).date().toordinal() - 1)
    try:
        site = control.up(folder)
        generate(site.dsn("wellbe_owner"), bookings=2200, visits=22_000, days=1, seed=1, until=until, now=now)
        demo_input.write_site_policy(site, until)
        demo.wait_for_dags(site)
        live_day(folder)
    finally:
        control.down(folder)


if __name__ == "__main__":
    main()
