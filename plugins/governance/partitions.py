"""A partition is a day of recording in the policy's time zone, written YYYY-MM-DD."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from governance.errors import PartitionError


@dataclass(frozen=True)
class Partition:
    """One day of one time zone, as the half-open interval [start, end) of UTC instants (23, 24 or 25 hours)."""

    day: date
    time_zone: str

    @property
    def key(self) -> str:
        """The partition key, YYYY-MM-DD."""
        return self.day.isoformat()

    @property
    def start(self) -> datetime:
        """First instant of the day, UTC."""
        return self._midnight(self.day)

    @property
    def end(self) -> datetime:
        """First instant of the next day, UTC."""
        return self._midnight(self.day + timedelta(days=1))

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), ZoneInfo(self.time_zone)).astimezone(UTC)


@dataclass(frozen=True)
class UpTo(Partition):
    """Everything that was recorded before an instant, whenever: what is known of some bookings now."""

    until: datetime

    @property
    def start(self) -> datetime:
        """The first instant that the source's queries know."""
        return datetime(1, 1, 2, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The instant itself, which belongs to it no more."""
        return self.until


def parse(key: str | None, *, time_zone: str, dataset: str, first: date, now: datetime) -> Partition:
    """The partition that a key names.

    >>> from datetime import UTC, date, datetime
    >>> now = datetime(2026, 7, 2, tzinfo=UTC)
    >>> first = date(2026, 1, 1)
    >>> parse("2026-06-30", time_zone="Europe/Stockholm", dataset="visits", first=first, now=now).start.isoformat()
    '2026-06-29T22:00:00+00:00'

    Raises PartitionError when the key is missing or malformed, before the dataset's first partition, or not closed at
    `now`.
    """
    if not key:
        raise PartitionError(
            f"dataset {dataset}: this run has no partition; start it with its schedule, with "
            f"`governance airflow backfill create`, or in the UI with a partition key (YYYY-MM-DD)"
        )
    try:
        day = date.fromisoformat(key)
    except ValueError:
        raise PartitionError(f"dataset {dataset}: partition key must be YYYY-MM-DD") from None
    if day.isoformat() != key:
        raise PartitionError(f"dataset {dataset}: partition key must be YYYY-MM-DD")
    partition = Partition(day, time_zone)
    if day < first:
        raise PartitionError(
            f"dataset {dataset}, partition {key}: before the dataset's first partition {first}, which policy sets"
        )
    if day == date.min:
        raise PartitionError(f"dataset {dataset}, partition {key}: it begins before all instants")
    if day == date.max or partition.end > now:  # no day follows the last one, so nothing can say when that ends
        ends = "never" if day == date.max else f"at {partition.end:%Y-%m-%d %H:%M} UTC"
        raise PartitionError(f"dataset {dataset}, partition {key}: not over yet; it ends {ends}")
    return partition
