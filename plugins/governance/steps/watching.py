"""Watches: each looks at one thing, says in the run log when its alarm is raised or is over, and fails while it is on.

A failing watch is what a data engineer sees in the UI, and what the notifier tells (clauses R1, B1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from governance import log_entries, patience, sources, warehouse, watches
from governance.accounting import is_of_run
from governance.database import translated
from governance.errors import AlarmError, GapError
from governance.log_tree import LogTree
from governance.recording import code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Outcome, Run
from governance.sources import named_query
from governance.steps.obliging import owed
from governance.steps.workspace import Workspace
from governance.watches import Ending, PartitionState, Schedule

LOG_ROLE, STATES_ROLE = "sequencer", "coordinator"
RECENT = timedelta(days=7)
"""Days of which rows at the source are counted again."""
REMINDER = timedelta(days=1)
"""Whoever is responsible is told anew of an alarm that stays."""


def watch(workspace: Workspace, name: str, run: Run) -> None:
    """One look of a watch. Raises AlarmError while there is something to see."""
    alarms = list(_WATCHES[name](workspace))
    dsn = workspace.warehouse_dsn(LOG_ROLE)
    last = log_entries.last_alarm(dsn, name)
    was_on = last is not None and last["details"]["state"] == "raised"
    now = workspace.clock()
    is_new = bool(alarms) and (last is None or not was_on or _is_other(last, alarms, now))
    if is_new or (was_on and not alarms):
        details = {"alarm": name, "state": "raised" if alarms else "cleared"}
        batch = Batch("alarms", "all", run.run_id)
        digests = Digests(workspace.policy.digest, None, code_digest())
        attempt = Attempt(new_id(), "alarm", batch, run, digests, ("R1",))
        with warehouse.connect(dsn, batch.label) as connection:
            connection.append(
                attempt.outcome(Outcome.PASSED, entry_id=new_id(), at=now, alarms=alarms, details=details)
            )
    if alarms:
        # Written by an earlier try of this very run, which was killed before anybody was told.
        is_untold = was_on and last is not None and is_of_run(last, run)
        raise AlarmError(alarms, is_new=is_new or is_untold)


def _is_other(last: Mapping[str, Any], alarms: list[str], now: datetime) -> bool:
    """Whether it is about something else than the last time, or that was long ago. What comes after the colon counts
    hours and rows, and changes with every look."""
    about = [alarm.partition(":")[0] for alarm in alarms]
    was_about = [alarm.partition(":")[0] for alarm in last["alarms"]]
    return about != was_about or datetime.fromisoformat(last["at"]) < now - REMINDER


def _partitions(workspace: Workspace) -> Iterator[str]:
    now = workspace.clock()
    for schedule in _schedules(workspace):
        states = _states(workspace, schedule)
        yield from watches.missing_partitions(schedule, states, now)
        yield from watches.late_partitions(schedule, states, now)
        yield from watches.empty_partitions(schedule, states, now)


def _quarantine_rate(workspace: Workspace) -> Iterator[str]:
    jump = float(workspace.policy.value("quarantine_rate_jump"))
    for schedule in _schedules(workspace):
        yield from watches.quarantine_jumps(schedule, list(_states(workspace, schedule).values()), jump)


def _oldest_row(workspace: Workspace) -> Iterator[str]:
    now = workspace.clock()
    limit = timedelta(hours=float(workspace.policy.value("unprocessed_hours")))
    for schedule in _schedules(workspace):
        states = _states(workspace, schedule)
        days = schedule.ended_days(now, RECENT.days)
        root = workspace.policy.dataset(schedule.dataset).root
        at_source, unreached = _at_source(workspace, schedule, days)
        waiting = {day: counts[root] for day, counts in at_source.items()}
        yield from watches.oldest_unprocessed(schedule, states, waiting, now, limit)
        yield from watches.late_rows(schedule, states, at_source)
        yield from watches.unreached_rows(schedule.dataset, unreached)


def _merge_delay(workspace: Workspace) -> Iterator[str]:
    minutes = float(workspace.policy.value("merge_delay_minutes"))
    with LogTree.connected(workspace.warehouse_dsn(LOG_ROLE)) as tree:
        late = tree.waiting(workspace.clock() - timedelta(minutes=minutes))
    if late:
        yield (
            f"R1 the run log: {late} entries wait longer than {minutes:g} minutes for their place; see DAG "
            "run_log_sequencer"
        )


def _source_schema(workspace: Workspace) -> Iterator[str]:
    with sources.snapshot(workspace.source_uri(), "the source's columns") as snapshot:
        try:
            sources.check_schema(snapshot.columns(), workspace.policy)
        except GapError as gap:
            yield f"A1 {gap}; the next pull of every dataset stops at it"


def _oldest_card(workspace: Workspace) -> Iterator[str]:
    """From what retention said of the oldest that it left: when it does not run, that is what has to be told."""
    policy, now = workspace.policy, workspace.clock()
    limit = timedelta(hours=float(policy.value("card_alarm_hours")))
    retained = log_entries.last_retained(workspace.warehouse_dsn(LOG_ROLE))
    for name, rule in policy.retention.rules.items():
        at, hours = retained.get(name, (now, None))
        if rule.breach and hours is not None:
            what = f"{rule.clause} {rule.table}{' at the source' if rule.store == 'source' else ''} (rule {name})"
            term = timedelta(days=float(policy.value(rule.term)))
            yield from watches.nearing_end(what, at - timedelta(hours=hours), term, limit, now)


def _obligations(workspace: Workspace) -> Iterator[str]:
    open_until = [one.due_at for one in owed(workspace) if one.met_at is None]
    yield from watches.past_due_obligations(open_until, workspace.clock())


def _whole_attacks(workspace: Workspace) -> Iterator[str]:
    first = "SELECT min(released_at) FROM analytics.releases WHERE dataset = 'bookings'"
    with warehouse.connect(workspace.warehouse_dsn(STATES_ROLE), "releases") as connection:
        ((released_at,),) = connection.rows(first)
    passed_at = log_entries.last_at(workspace.warehouse_dsn(LOG_ROLE), "attack_releases")
    limit = timedelta(days=float(workspace.policy.value("whole_attack_due_days")))
    yield from watches.overdue_attack("bookings", released_at, passed_at, limit, workspace.clock())


def _acknowledgements(workspace: Workspace) -> Iterator[str]:
    hours = {name: one.acknowledgement_hours for name, one in workspace.policy.all_recipients.items()}
    with (
        translated("deliveries"),
        closing(patience.connect(workspace.warehouse_dsn(STATES_ROLE))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(named_query("unacknowledged"))
        sent = [(str(recipient), at) for recipient, at in cursor.fetchall()]
    yield from watches.unacknowledged(sent, hours, workspace.clock())


def _expiries(workspace: Workspace) -> Iterator[str]:
    """What would halt deliveries, or keep those who hold something from being told what they may not use any more."""
    endings = [*_agreements(workspace), *_certificates(workspace), *_identity(workspace)]
    yield from watches.nearing_expiry(endings, workspace.clock())


def _agreements(workspace: Workspace) -> Iterator[Ending]:
    """Those in force: one that has ended stays in the register, for whoever holds data has to be told."""
    policy, now = workspace.policy, workspace.clock()
    warned = timedelta(days=policy.sharing.warned_days.agreement)
    parties = [
        *((f"H1 recipient {name}", one.agreed_until) for name, one in policy.all_recipients.items()),
        *((f"E2 third party {name}", one.agreed_until) for name, one in policy.registered.items()),
    ]
    for who, last_day in parties:
        until = datetime.combine(last_day + timedelta(days=1), time(), ZoneInfo(policy.time_zone)).astimezone(UTC)
        if until > now:
            yield Ending(
                f"{who}, its agreement", until, warned,
                f"once it is renewed, change agreed_until ({last_day}) in the register; nothing goes there afterwards",
            )  # fmt: skip


def _certificates(workspace: Workspace) -> Iterator[Ending]:
    """Those in use; whose was revoked has none."""
    warned = timedelta(days=workspace.policy.sharing.warned_days.certificate)
    for name in workspace.policy.all_recipients:
        kept = workspace.certificates().current(name)
        if kept is not None and kept.certificate.revoked_at is None:
            yield Ending(
                f"F1 recipient {name}, its certificate", kept.certificate.not_after, warned,
                f"ask for the next one, then `governance recipients rotate {name} FILE.pem`",
            )  # fmt: skip


def _identity(workspace: Workspace) -> Iterator[Ending]:
    """Ours, where anybody is to pin it."""
    if workspace.policy.all_recipients:
        yield Ending(
            "F1 the identity that signs deliveries",
            workspace.identity().x509.not_valid_after_utc,
            timedelta(days=workspace.policy.sharing.warned_days.identity),
            "`governance deliveries renew` makes the next one; `switch` when every recipient has pinned it",
        )


_WATCHES: Mapping[str, Callable[[Workspace], Iterator[str]]] = MappingProxyType(
    {
        "partitions": _partitions,
        "quarantine_rate": _quarantine_rate,
        "oldest_row": _oldest_row,
        "merge_delay": _merge_delay,
        "source_schema": _source_schema,
        "oldest_card": _oldest_card,
        "obligations": _obligations,
        "acknowledgements": _acknowledgements,
        "expiries": _expiries,
        "whole_attacks": _whole_attacks,
    }
)
NAMES = tuple(_WATCHES)


def _schedules(workspace: Workspace) -> Iterator[Schedule]:
    policy = workspace.policy
    due_after = timedelta(hours=float(policy.value("partition_due_hours")))
    began = log_entries.began(workspace.warehouse_dsn(LOG_ROLE))
    for dataset in policy.datasets:
        yield Schedule(dataset, policy.first_partition(dataset), policy.time_zone, due_after, began)


def _states(workspace: Workspace, schedule: Schedule) -> dict[date, PartitionState]:
    root = workspace.policy.dataset(schedule.dataset).root
    with (
        translated("state of partitions"),
        closing(patience.connect(workspace.warehouse_dsn(STATES_ROLE))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(named_query("partition_states"), {"dataset": schedule.dataset, "since": schedule.first})
        return {
            day: PartitionState(day, state, counts[root], accepted, quarantined, changed_at, released_at, counts)
            for day, state, counts, accepted, quarantined, changed_at, released_at in cursor.fetchall()
        }


def _at_source(
    workspace: Workspace, schedule: Schedule, days: list[date]
) -> tuple[dict[date, dict[str, int]], dict[str, int]]:
    """Rows by day and table, and by table those that belong to no day."""
    found = {}
    with sources.snapshot(workspace.source_uri(), f"dataset {schedule.dataset}, rows of recent days") as snapshot:
        for day in days:
            partition = workspace.partition(schedule.dataset, day.isoformat())
            found[day] = snapshot.counts(schedule.dataset, partition)
        return found, snapshot.unreached(schedule.dataset)
