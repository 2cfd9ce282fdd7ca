"""What a data engineer is told of before users notice: partitions, rates, ages (clauses R1, B1). Pure.

Each watch takes what is known and returns alarms, as sentences that name dataset, partition, count and next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from statistics import median
from zoneinfo import ZoneInfo

USUAL_PARTITIONS = 28
"""How many settled partitions before one say what is usual."""
FEWEST_PARTITIONS = 3
"""With fewer there is nothing to compare with."""


@dataclass(frozen=True)
class PartitionState:
    """How far one partition has come; counts are of the dataset's root table, and of every table when it was pulled."""

    day: date
    state: str  # landed, settled
    at_source: int
    accepted: int | None
    quarantined: int | None
    changed_at: datetime
    released_at: datetime | None
    source_counts: Mapping[str, int]


@dataclass(frozen=True)
class Schedule:
    """When the partitions of a dataset are due: so long after the end of their day in the time zone."""

    dataset: str
    first: date
    time_zone: str
    due_after: timedelta
    began: datetime | None = None
    """When the site began; what had ended by then is due so long after it."""

    def ended_at(self, day: date) -> datetime:
        """The instant at which a partition's day ends."""
        return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(self.time_zone))

    def due_at(self, day: date) -> datetime:
        """The instant by which a partition is to be released."""
        return self.waits_from(day) + self.due_after

    def waits_from(self, day: date) -> datetime:
        """The instant from which a partition's rows wait: the end of its day, or when the site began."""
        return max(self.ended_at(day), self.began or self.ended_at(day))

    def due_days(self, now: datetime, at_most: int) -> list[date]:
        """The newest days that are due by now, oldest first."""
        days = self.ended_days(now, at_most + 1 + self.due_after.days)
        return [day for day in days if self.due_at(day) <= now][-at_most:]

    def ended_days(self, now: datetime, at_most: int) -> list[date]:
        """The newest days that are over by now, oldest first."""
        last = now.astimezone(ZoneInfo(self.time_zone)).date() - timedelta(days=1)
        days = [last - timedelta(days=back) for back in range(at_most)]
        return [day for day in reversed(days) if day >= self.first]


def missing_partitions(schedule: Schedule, states: Mapping[date, PartitionState], now: datetime) -> Iterator[str]:
    """Days that are due and not released."""
    days = schedule.due_days(now, 3650)
    missing = [day for day in days if day not in states or states[day].released_at is None]
    if missing:
        hours = (now - schedule.due_at(missing[0])).total_seconds() / 3600
        yield (
            f"B1 dataset {schedule.dataset}, partition {missing[0]}: not released, due {hours:.0f} hours ago"
            f"{f'; {len(missing)} partitions are missing' if len(missing) > 1 else ''}; see its run in Airflow, or "
            f"`governance airflow backfill create --dag-id {schedule.dataset} --from-date {missing[0]} "
            f"--to-date {missing[-1]} --reprocess-behavior failed`"
        )


def late_partitions(schedule: Schedule, states: Mapping[date, PartitionState], now: datetime) -> Iterator[str]:
    """Of the partitions that became due in the last day, those that were released, but late."""
    for day in schedule.due_days(now, 2):
        released_at = states[day].released_at if day in states else None
        late = released_at - schedule.due_at(day) if released_at else timedelta()
        if late > timedelta() and now - schedule.due_at(day) < timedelta(days=1):
            yield (
                f"B1 dataset {schedule.dataset}, partition {day}: released {late.total_seconds() / 3600:.1f} hours "
                "late; `governance runs --partition` shows what took so long"
            )


def empty_partitions(schedule: Schedule, states: Mapping[date, PartitionState], now: datetime) -> Iterator[str]:
    """The newest partition that is due, when the source held nothing for it and held rows for every one before."""
    days = schedule.due_days(now, 1)
    before = [s for day, s in sorted(states.items()) if days and day < days[-1]][-FEWEST_PARTITIONS:]
    if not days or days[-1] not in states or len(before) < FEWEST_PARTITIONS:
        return
    if states[days[-1]].at_source == 0 and all(state.at_source for state in before):
        yield (
            f"B1 dataset {schedule.dataset}, partition {days[-1]}: the source holds no row of this day, and held "
            f"{before[-1].at_source} of {before[-1].day}; find out whether its feed stands still"
        )


def quarantine_jumps(schedule: Schedule, states: Sequence[PartitionState], jump: float) -> Iterator[str]:
    """The newest settled partition, when the share that was quarantined exceeds the usual one by more than `jump`."""
    settled = [state for state in states if state.state == "settled" and state.at_source]
    if len(settled) <= FEWEST_PARTITIONS:
        return
    *earlier, newest = settled[-USUAL_PARTITIONS - 1 :]
    usual = median(_rate(state) for state in earlier)
    if _rate(newest) > usual + jump:
        yield (
            f"A1 dataset {schedule.dataset}, partition {newest.day}: {newest.quarantined} of "
            f"{(newest.accepted or 0) + (newest.quarantined or 0)} rows are quarantined ({_rate(newest):.1%}, usually "
            f"{usual:.1%}); `governance quarantine list` says by which rule"
        )


def late_rows(
    schedule: Schedule, states: Mapping[date, PartitionState], at_source: Mapping[date, Mapping[str, int]]
) -> Iterator[str]:
    """Partitions of which the source holds more rows of any table now than when they were pulled."""
    for day, counts in sorted(at_source.items()):
        pulled = states[day].source_counts if day in states else counts
        more = {table: count - pulled.get(table, 0) for table, count in counts.items() if count > pulled.get(table, 0)}
        if more:
            yield (
                f"R1 dataset {schedule.dataset}, partition {day}: "
                f"{', '.join(f'{count} rows of {table}' for table, count in more.items())} came to the source after it "
                f"was pulled; bring them with `governance quarantine replay --dataset {schedule.dataset} "
                f"--partition {day}`, the next release carries them in"
            )


def unreached_rows(dataset: str, counts: Mapping[str, int]) -> Iterator[str]:
    """Rows that no partition brings: recorded at no instant that has been. `counts`: by table."""
    for table, rows in counts.items():
        if rows:
            yield (
                f"R1 dataset {dataset}, table {table}: {rows} rows are recorded at no instant that has been, so no "
                "partition brings them; correct recorded_at at the source"
            )


def oldest_unprocessed(
    schedule: Schedule, states: Mapping[date, PartitionState], at_source: Mapping[date, int], now: datetime,
    limit: timedelta,
) -> Iterator[str]:  # fmt: skip
    """The oldest day that has rows and is not settled, when they have waited for longer than the limit."""
    waiting = [
        day
        for day, count in sorted(at_source.items())
        if count and not (day in states and states[day].state == "settled") and now - schedule.waits_from(day) > limit
    ]
    if waiting:
        age = now - schedule.waits_from(waiting[0])
        yield (
            f"R1 dataset {schedule.dataset}, partition {waiting[0]}: {at_source[waiting[0]]} rows wait for "
            f"{age.total_seconds() / 3600:.0f} hours to be validated; see its run in Airflow"
        )


def nearing_end(what: str, oldest_at: datetime, term: timedelta, limit: timedelta, now: datetime) -> Iterator[str]:
    """The oldest row that retention has left, when its term ends within the limit, or has ended."""
    left = oldest_at + term - now
    if left < limit:
        hours = abs(left) / timedelta(hours=1)
        how = (
            f"ends its term in {hours:.1f} hours"
            if left > timedelta(0)
            else f"has outlived its term by {hours:.1f} hours"
        )
        yield f"{what}: the oldest row that is left {how}; see DAG retention, or start it"


def overdue_attack(
    dataset: str, released_at: datetime | None, passed_at: datetime | None, limit: timedelta, now: datetime
) -> Iterator[str]:
    """Releases that were not attacked together for too long, so that nobody knows whether they still tell too little.

    `released_at`: when the first was published; `passed_at`: when an attack on all of them last passed.
    """
    if released_at is None:
        return
    since, found = released_at, "no attack on all of them together has passed, the first is {} days old"
    if passed_at is not None and passed_at >= released_at:
        since, found = passed_at, "an attack on all of them together last passed {} days ago"
    if since + limit <= now:
        what = found.format((now - since).days)
        yield f"E1 releases of {dataset}: {what}; start DAG release_attack, or see what its task says"


def past_due_obligations(due_at: Sequence[datetime], now: datetime) -> Iterator[str]:
    """Recipients that had to be told by now that what was shared may not be used any more, and were not.

    `due_at`: of every obligation that is not met.
    """
    late = [at for at in due_at if at <= now]
    if late:
        yield (
            f"L3 obligations to recipients: {len(late)} are past due and not met, the oldest for "
            f"{(now - min(late)).total_seconds() / 3600:.0f} hours; tell them, then `governance retention fulfil`; "
            "`governance retention obligations` lists them"
        )


def unacknowledged(sent: Sequence[tuple[str, datetime]], hours: Mapping[str, int], now: datetime) -> Iterator[str]:
    """Recipients that have not acknowledged what was sent to them for longer than was agreed.

    `sent`: recipient and instant of every delivery without an acknowledgement; `hours`: what each recipient has; who is
    no longer registered has no more time.
    """
    waiting: dict[str, list[datetime]] = {}
    for recipient, at in sent:
        if at + timedelta(hours=hours.get(recipient, 0)) <= now:
            waiting.setdefault(recipient, []).append(at)
    for recipient, late in sorted(waiting.items()):
        yield (
            f"F1 recipient {recipient}: {len(late)} deliveries are not acknowledged, the oldest for "
            f"{(now - min(late)).total_seconds() / 3600:.0f} hours; ask whether they arrived and were opened"
        )


@dataclass(frozen=True)
class Ending:
    """What sharing rests on: the clause and whose it is, until when it holds, how long before that somebody is told,
    and what to do."""

    what: str
    until: datetime
    warned: timedelta
    next_step: str


def nearing_expiry(endings: Iterable[Ending], now: datetime) -> Iterator[str]:
    """What ends within its time of warning, or has ended."""
    for one in endings:
        left = one.until - now
        if left <= one.warned:
            when = f"{one.until:%Y-%m-%d %H:%M} UTC"
            how = f"ends on {when}, in {left.days} days" if left >= timedelta(0) else f"has ended on {when}"
            yield f"{one.what}: {how}; {one.next_step}"


def _rate(state: PartitionState) -> float:
    rows = (state.accepted or 0) + (state.quarantined or 0)
    return (state.quarantined or 0) / rows if rows else 0.0
