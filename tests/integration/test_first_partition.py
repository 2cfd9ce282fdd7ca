"""A site that nobody has told where to begin begins with yesterday, and misses no day from before it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

import builders
from builders import DAY, NOW, World
from governance import steps
from governance.embedded import control
from governance.embedded.site import Site
from governance.errors import AlarmError
from governance.policy import load
from governance.steps import Workspace
from run_logs import append

pytestmark = [pytest.mark.pg, pytest.mark.clause("A1"), pytest.mark.clause("B1")]


@pytest.fixture
def untold(site: Site, world: World) -> Iterator[Site]:
    """A site without a file of its own about the policy."""
    site.policy_path.unlink(missing_ok=True)
    yield site
    site.policy_path.unlink(missing_ok=True)


def first_days(site: Site) -> dict[str, date]:
    policy = load(site=site.policy_path)
    return {dataset: policy.first_partition(dataset) for dataset in policy.datasets}


def yesterday() -> date:
    return datetime.now(ZoneInfo("Europe/Stockholm")).date() - timedelta(days=1)


def test_a_new_site_begins_with_yesterday(untold: Site) -> None:
    control._bring_site_policy(untold)
    assert first_days(untold) == {"bookings": yesterday(), "visits": yesterday()}


def test_a_site_that_is_older_than_the_file_begins_with_the_first_day_that_it_has_pulled(
    untold: Site, world: World, space: Workspace
) -> None:
    for day in (DAY, DAY + timedelta(days=1)):
        steps.pull(space, "bookings", day.isoformat(), builders.run())
    control._bring_site_policy(untold)
    assert first_days(untold) == {"bookings": DAY, "visits": yesterday()}


def test_what_somebody_has_set_stays(untold: Site) -> None:
    untold.policy_path.write_text("first_partition: {visits: 2026-03-10}\n")
    control._bring_site_policy(untold)
    assert first_days(untold)["visits"] == DAY


def test_a_new_site_misses_nothing_until_its_first_day_could_have_been_released(site: Site, world: World) -> None:
    append(site, 1)  # the site begins
    due_at = NOW + timedelta(hours=float(builders.POLICY.value("partition_due_hours")))
    first = NOW.date() - timedelta(days=1)

    def look(after: timedelta) -> None:
        steps.watch(builders.workspace(site, now=due_at + after, first=first), "partitions", builders.run())

    look(timedelta(seconds=-1))
    with pytest.raises(AlarmError, match=f"partition {first}: not released, due 0 hours ago"):
        look(timedelta())
    steps.sequence(builders.workspace(site))  # the first entry is found also when it has its place
    with pytest.raises(AlarmError, match="due 1 hours ago"):
        look(timedelta(hours=1))
