"""Partitions that are empty, late, far away, no day at all, or a hundred times as large: what happens, who is told."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta

import pytest

import builders
from aftermath import entries, outcomes, state, through
from builders import DAY, NOON, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import AlarmError, PartitionError
from governance.run_log import Batch
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()
TABLES = {"bookings": "bookings", "visits": "page_views"}

NO_DAY, NO_KEY = "dataset {}: partition key must be YYYY-MM-DD", "dataset {}: this run has no partition; start it with"
NO_PARTITIONS = {
    "none": (None, NO_KEY),
    "an empty text": ("", NO_KEY),
    "a word": ("yesterday", NO_DAY),
    "another order": ("10/03/2026", NO_DAY),
    "no dashes": ("20260310", NO_DAY),
    "a week": ("2026-W11-2", NO_DAY),
    "an hour": ("2026-03-10T00", NO_DAY),
    "a blank behind it": ("2026-03-10 ", NO_DAY),
    "a day that February lacks": ("2026-02-30", NO_DAY),
    "infinity": ("infinity", NO_DAY),
    "a year of five digits": ("10000-01-01", NO_DAY),
    "the year zero": ("0000-01-01", NO_DAY),
    "SQL": ("2026-03-10'; DROP TABLE landing.bookings; --", NO_DAY),
    "terminal escapes": ("\x1b[2J\x1b[31m2026-03-10", NO_DAY),
    "a line break": ("2026-03-10\nFAILED", NO_DAY),
    "a NUL": ("2026\0-03-10", NO_DAY),
    "half a surrogate pair": ("2026-03-10\udc80", NO_DAY),
    "ten megabytes": ("2" * 10_000_000, NO_DAY),
    "digits of another width": ("２０２６-03-10", NO_DAY),
    "the first day there is": ("0001-01-01", "dataset {}, partition 0001-01-01: before the dataset's first partition"),
    "a century ago": ("1926-03-10", "dataset {}, partition 1926-03-10: before the dataset's first partition"),
    "the day before the first": ("2026-03-09", "dataset {}, partition 2026-03-09: before the dataset's first"),
    "today": ("2026-03-12", "dataset {}, partition 2026-03-12: not over yet; it ends at 2026-03-12 23:00 UTC"),
    "a century on": ("2126-03-10", "dataset {}, partition 2126-03-10: not over yet; it ends at 2126-03-10 23:00 UTC"),
    "the last day but one": ("9999-12-30", "dataset {}, partition 9999-12-30: not over yet; it ends at 9999-12-30"),
    "the last day there is": ("9999-12-31", "dataset {}, partition 9999-12-31: not over yet; it ends never"),
}  # fmt: skip


@pytest.mark.parametrize("dataset", TABLES)
@pytest.mark.parametrize("kind", NO_PARTITIONS, ids=lambda kind: kind.replace(" ", "_"))
def test_a_key_that_names_no_partition_is_refused_and_recorded_in_one_short_line(
    kind: str, dataset: str, site: Site, world: World, space: Workspace
) -> None:
    key, told = NO_PARTITIONS[kind]
    before = state(site)
    with pytest.raises(PartitionError) as caught:
        steps.pull(space, dataset, key, builders.run())
    said = str(caught.value)
    assert said.startswith(told.format(dataset))
    assert said.isprintable()
    assert len(said) < 200
    intent, outcome = entries(site)
    assert (outcome["outcome"], outcome["error"]) == ("failed", {"type": "PartitionError", "message": said})
    assert intent["partition_key"] == outcome["partition_key"]
    assert intent["partition_key"].isprintable()
    assert len(intent["partition_key"]) < 100
    assert state(site) == before
    steps.pull(space, dataset, KEY, builders.run())
    assert outcomes(site) == ["failed", "no_data"]


@pytest.mark.parametrize("dataset", TABLES)
def test_an_empty_partition_is_no_data_and_is_filled_by_a_later_pull(
    dataset: str, site: Site, world: World, space: Workspace
) -> None:
    assert set(through(space, dataset, KEY).counts.values()) == {0}
    assert outcomes(site) == ["no_data"] * 3
    world.booking()
    world.view()
    again = through(space, dataset, KEY, run_id="again")
    assert again.counts[f"{TABLES[dataset]}_pulled"] == again.counts["accepted"] == 1
    assert outcomes(site) == ["no_data"] * 3 + ["passed", "passed", "replayed"]


@pytest.mark.parametrize("dataset", TABLES)
def test_a_partition_ten_years_in_the_past_is_like_any_other(dataset: str, site: Site, world: World) -> None:
    long_ago = date(2016, 2, 29)
    space, world.day = builders.workspace(site, first=long_ago), long_ago
    world.crowd()
    world.visitors()
    world.booking(card={})
    found = through(space, dataset, long_ago.isoformat())
    assert found.counts["published"] == 10 + (dataset == "bookings")
    if dataset == "bookings":
        # A card of that day is past its term, whatever day is pulled.
        assert found.counts["K1.card_age.over_age"] == 1


@pytest.fixture
def tomorrow(site: Site) -> Workspace:
    """A workspace when the next day is over as well."""
    return builders.workspace(site, now=NOW + timedelta(days=1))


def alarms(space: Workspace) -> list[str]:
    """What the watch on rows says, of those that came late or belong to no day."""
    try:
        steps.watch(space, "oldest_row", builders.run())
    except AlarmError as error:
        return [alarm for alarm in error.alarms if "wait for" not in alarm]
    return []


@pytest.mark.parametrize("dataset", TABLES)
def test_rows_that_come_after_the_pull_of_their_day_are_told_and_brought_by_a_replay(
    dataset: str, site: Site, world: World, tomorrow: Workspace
) -> None:
    world.crowd()
    world.visitors()
    through(tomorrow, dataset, KEY)
    assert alarms(tomorrow) == []
    for _ in range(3):
        world.booking(card={}, services=[{"procedure_code": "dental.implant"}])
        world.view(ip="192.0.2.99")
    late = {"bookings": ("bookings", "booking_travellers", "booking_services", "payment_cards")}.get(
        dataset, ("page_views",)
    )
    assert alarms(tomorrow) == [
        f"R1 dataset {dataset}, partition {KEY}: {', '.join(f'3 rows of {table}' for table in late)} came to the "
        f"source after it was pulled; bring them with `governance quarantine replay --dataset {dataset} "
        f"--partition {KEY}`, the next release carries them in"
    ]
    replayed = through(tomorrow, dataset, KEY, run_id="replay")
    assert (replayed.counts["accepted"], replayed.counts["published"]) == (13, 10)
    through(tomorrow, dataset, NEXT, run_id="after")
    assert alarms(tomorrow) == []
    assert entries(site, "publish", "outcome")[-1]["conservation"]["carried_in"] == 3


@pytest.mark.parametrize(("back", "is_told"), ((0, True), (6, True), (7, False)))
def test_late_rows_are_looked_for_a_week_back(back: int, site: Site, world: World, *, is_told: bool) -> None:
    first = NOW.date() - timedelta(days=1 + back)  # yesterday is the newest day that is due
    space, world.day = builders.workspace(site, first=first), first
    steps.pull(space, "visits", first.isoformat(), builders.run())
    world.view()
    assert bool(alarms(space)) == is_told


def test_rows_that_are_gone_from_a_day_that_was_pulled_are_no_late_ones(
    site: Site, world: World, tomorrow: Workspace
) -> None:
    world.booking(card={})
    steps.pull(tomorrow, "bookings", KEY, builders.run())
    world.execute("DELETE FROM wellbe.payment_cards")  # as the store does when their term is over
    assert alarms(tomorrow) == []


@pytest.mark.parametrize("at", ("infinity", "-infinity", "9999-12-31", "0001-01-01"))
@pytest.mark.parametrize("table", ("bookings", "payment_cards", "page_views"))
def test_rows_recorded_at_no_instant_that_has_been_are_told_until_they_are_mended(
    table: str, at: str, site: Site, world: World, space: Workspace
) -> None:
    dataset = "visits" if table == "page_views" else "bookings"
    world.booking(card={})
    world.view()
    world.execute(f"UPDATE wellbe.{table} SET recorded_at = %s", at)
    steps.pull(space, dataset, KEY, builders.run())
    assert alarms(space) == [
        f"R1 dataset {dataset}, table {table}: 1 rows are recorded at no instant that has been, so no partition brings "
        f"them; correct recorded_at at the source"
    ]
    world.execute(f"UPDATE wellbe.{table} SET recorded_at = %s", NOON)
    assert steps.pull(space, dataset, KEY, builders.run()).counts[f"{table}_pulled"] == 1
    assert alarms(space) == []


# -- a hundred times the rows ------------------------------------------------------------------------------------------

USUAL, TIMES = 400, 100
MOST_MEMORY_KB = 1_000_000
"""Of a process that pulls; the libraries take a quarter of it before the first row."""
PULL = """
import sys
from pathlib import Path
import builders
from governance import steps
from governance.embedded import site
space = builders.workspace(site.load(Path(sys.argv[1])))
steps.pull(space, "visits", sys.argv[2], builders.run())
# Its own: `getrusage` would say that of the process which started it, where that is more.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def many_views(world: World, day: date, first: int, count: int) -> None:
    """So many sound views of a day, in one statement."""
    world.execute(
        "INSERT INTO wellbe.page_views (view_id, viewed_at, recorded_at, duration_ms, ip, user_agent, language, url, "
        "session_id) SELECT n, %s::timestamptz - interval '1 s', %s, 1000, '192.0.2.' || n %% 200, 'Mozilla/5.0', "
        "'sv-SE', '/clinics/stockholm?' || repeat('x', 500), 'session-' || n FROM generate_series(%s, %s) n",
        *[NOON + (day - DAY)] * 2, first, first + count - 1,
    )  # fmt: skip


@pytest.mark.slow
def test_a_day_with_a_hundred_times_the_rows_loses_and_doubles_none(site: Site, world: World, space: Workspace) -> None:
    many_views(world, DAY, 1, USUAL)
    many_views(world, DAY + timedelta(days=1), 1 + USUAL, USUAL * TIMES)
    for key, count in ((KEY, USUAL), (NEXT, USUAL * TIMES)):
        done = subprocess.run(
            [sys.executable, "-c", PULL, str(site.data_dir), key], check=True, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert int(done.stdout) < MOST_MEMORY_KB
        checked = steps.validate(space, Batch("visits", key, "test"), builders.run())
        published = steps.publish(space, checked, builders.run())
        counts = published.counts
        assert counts["accepted"] == counts["published"] + counts["suppressed"] == count
    assert builders.read(site, "SELECT partition_key, count(*), count(DISTINCT row_key) FROM vault.page_views "
                               "GROUP BY 1 ORDER BY 1") == [
        (DAY, USUAL, USUAL), (DAY + timedelta(days=1), USUAL * TIMES, USUAL * TIMES),
    ]  # fmt: skip
