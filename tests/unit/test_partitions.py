"""A partition is a day in Stockholm: 23, 24 or 25 hours, closed, and not before the first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from governance.errors import PartitionError
from governance.partitions import Partition, parse

pytestmark = pytest.mark.clause("A1")

FIRST = date(2026, 1, 1)
NOW = datetime(2026, 12, 31, 12, tzinfo=UTC)


def parsed(key: str | None, now: datetime = NOW) -> Partition:
    return parse(key, time_zone="Europe/Stockholm", dataset="visits", first=FIRST, now=now)


@pytest.mark.parametrize(
    ("key", "start", "hours"),
    (
        ("2026-01-01", datetime(2025, 12, 31, 23, tzinfo=UTC), 24),
        ("2026-03-28", datetime(2026, 3, 27, 23, tzinfo=UTC), 24),
        ("2026-03-29", datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        ("2026-03-30", datetime(2026, 3, 29, 22, tzinfo=UTC), 24),
        ("2026-10-24", datetime(2026, 10, 23, 22, tzinfo=UTC), 24),
        ("2026-10-25", datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        ("2026-10-26", datetime(2026, 10, 25, 23, tzinfo=UTC), 24),
    ),
)
def test_a_day_has_23_24_or_25_hours(key: str, start: datetime, hours: int) -> None:
    partition = parsed(key)
    assert (partition.key, partition.start) == (key, start)
    assert partition.end - partition.start == timedelta(hours=hours)
    assert partition.start.tzinfo is UTC


def test_the_days_of_a_year_follow_each_other_without_gap_or_overlap() -> None:
    days = [Partition(FIRST + timedelta(days=n), "Europe/Stockholm") for n in range(365)]
    assert all(one.end == other.start for one, other in zip(days, days[1:], strict=False))
    assert days[-1].end - days[0].start == timedelta(days=365)


@pytest.mark.parametrize("key", (None, ""))
def test_a_run_without_a_partition_is_told_how_to_get_one(key: str | None) -> None:
    with pytest.raises(
        PartitionError, match="dataset visits: this run has no partition; .*in the UI with a partition key"
    ):
        parsed(key)


@pytest.mark.parametrize(
    "key",
    ("20260310", "2026-W11-2", "2026-3-10", "10-03-2026", "2026-02-29", "2026-13-01", " 2026-03-10", "2026-03-10 ",
     "2026-03-10T00:00:00", "yesterday", "２０２６-03-10", "2026-03-10/2", "-"),
)  # fmt: skip
def test_a_key_that_is_no_day_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(PartitionError) as caught:
        parsed(key)
    assert str(caught.value) == "dataset visits: partition key must be YYYY-MM-DD"
    assert caught.value.__cause__ is None


def test_a_leap_day_is_a_day() -> None:
    assert parse(
        "2028-02-29", time_zone="Europe/Stockholm", dataset="d", first=FIRST, now=datetime(2029, 1, 1, tzinfo=UTC)
    ).day == date(2028, 2, 29)


def test_a_day_is_closed_from_the_very_instant_of_its_end() -> None:
    end = datetime(2026, 3, 10, 23, tzinfo=UTC)
    assert parsed("2026-03-10", now=end).end == end
    with pytest.raises(PartitionError, match="partition 2026-03-10: not over yet; it ends at 2026-03-10 23:00 UTC"):
        parsed("2026-03-10", now=end - timedelta(microseconds=1))


def test_the_first_partition_is_the_first() -> None:
    assert parsed("2026-01-01").day == FIRST
    with pytest.raises(PartitionError, match="before the dataset's first partition 2026-01-01, which policy sets"):
        parsed("2025-12-31")
