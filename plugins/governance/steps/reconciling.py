"""Entries for what never reached a step, or never came out of one: Airflow's tables held against the run log (R1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from governance import airflow_records, log_entries, warehouse
from governance.accounting import Action, Balance, Missing, Told, balance, is_of_run
from governance.errors import AlarmError
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Entry, Outcome, Reading, Run
from governance.steps.workspace import Workspace

ROLE = "sequencer"
EVENT = "reconcile"
OVERLAP = timedelta(hours=1)
"""Looked at again: a transaction of Airflow's may come to be seen later than its instants say."""
LONGEST_TRY = timedelta(days=8)
"""The sensor before publication waits a week."""
SEEN = "airflow_events_until"
"""The detail of an entry that says up to which event of Airflow's log it has looked."""
_EVER = datetime(2020, 1, 1, tzinfo=UTC)


def reconcile(workspace: Workspace, run: Run) -> dict[str, int]:
    """Account for every try and every action that Airflow's tables show since the last time; returns counts.

    Raises AlarmError, when all of it is written, for tries that failed without a word or are called a success without
    an effect; ContendedError while another reconciliation is at it.
    """
    dsn = workspace.warehouse_dsn(ROLE)
    attempt = _attempt(workspace, EVENT, Batch("airflow", "all", run.run_id), run)
    recorded = Recorded(attempt, dsn=dsn, clock=workspace.clock, has_intent=False)
    with recorded, warehouse.connect(dsn, attempt.batch.label) as log, log.exclusive(attempt.batch):
        last = log_entries.last(dsn, EVENT)
        since = last.at - OVERLAP if last and last.at else _EVER
        records = airflow_records.read(workspace.airflow_dsn(), since)
        told = [Told(*tried) for tried in log_entries.tries(dsn, since - LONGEST_TRY)]
        found = balance(records.ended, records.unfinished, told, now=workspace.clock())
        known = _known(told)
        actions = [action for action in records.actions if str(action.number) not in known]
        quiet = {tried.key.text: tried.state for tried in found.quiet if tried.key.text not in known}
        alarms = [f"R1 {missing.tried.key.text}: {missing.why}" for missing in found.missing if missing.is_alarm]
        alarms += _unseen(records.events, last.entry if last else {})
        # What an earlier try of this very run has found and written, before it was killed, nobody was told of yet.
        alarms = [*_untold(told, run), *alarms]
        seen = {SEEN: str(records.events[1])} if records.events else {}
        counts = {
            "tries with entries": found.with_entries,
            "tries without": len(found.missing),
            "tries of tasks that keep none": len(quiet),
            "interrupted": len(found.interrupted),
            "actions": len(actions),
        }
        # All of it or nothing: what is written once is not looked at again, and its alarm would never be raised.
        outcome = recorded.outcome(Outcome.PASSED, counts=counts, details=quiet | seen, alarms=alarms)
        log.append(*_entries(workspace, found, actions), outcome)
    if alarms:
        raise AlarmError(alarms)
    return counts


def _unseen(events: tuple[int, int] | None, last: Mapping[str, Any]) -> Iterator[str]:
    """An alarm when what came after the last look is gone from Airflow's event log: nobody can tell of it any more."""
    seen = (last.get("details") or {}).get(SEEN)
    if seen and events and events[0] > int(seen) + 1:
        yield (
            f"R1 events {int(seen) + 1} to {events[0] - 1} of Airflow's event log were removed before anybody looked "
            "at them, so tries and actions of that time may be missing; look for them in the tables that `airflow db "
            "clean` has archived, and let it take only what is older than two days"
        )


def _known(told: Sequence[Told]) -> set[str]:
    """Quiet tries and actions that earlier reconciliations have told of."""
    known: set[str] = set()
    for attempt in told:
        details: Mapping[str, str] = attempt.entry.get("details") or {}
        if attempt.entry["event"] == EVENT:
            known.update(details)
        elif "airflow_event" in details:
            known.add(details["airflow_event"])
    return known


def _untold(told: Sequence[Told], run: Run) -> list[str]:
    found = [a.entry["alarms"] for a in told if a.entry["event"] == EVENT and is_of_run(a.entry, run)]
    return sorted({alarm for alarms in found for alarm in alarms})


def _entries(workspace: Workspace, found: Balance, actions: Iterable[Action]) -> Iterator[Entry]:
    for action in actions:
        yield _of_action(workspace, action)
    for missing in found.missing:
        yield _of_missing(workspace, missing)
    for attempt in found.interrupted:
        yield _of_interrupted(workspace, attempt.entry)


def _of_action(workspace: Workspace, action: Action) -> Entry:
    run = Run(
        action.dag_id or "airflow", action.run_id or "none", action.task_id or "none", 0, "manual", action.by,
        action.map_index,
    )  # fmt: skip
    attempt = _attempt(workspace, "airflow_action", Batch("airflow", "all", run.run_id), run)
    details = {"action": action.action, "airflow_event": str(action.number)}
    if action.new_state:
        details["new_state"] = action.new_state
    return attempt.outcome(Outcome.PASSED, entry_id=new_id(), at=action.at, details=details)


def _of_missing(workspace: Workspace, missing: Missing) -> Entry:
    tried, key = missing.tried, missing.tried.key
    run = Run(
        key.dag_id, key.run_id, key.task_id, key.try_number, tried.run_type, tried.triggered_by, key.map_index
    )  # fmt: skip
    dataset = key.dag_id if key.dag_id in workspace.policy.datasets else "airflow"
    attempt = _attempt(workspace, key.task_id, Batch(dataset, tried.partition_key or "all", run.run_id), run)
    facts: dict[str, Any] = {"reason": missing.why}
    if missing.error:
        facts = {"error": {"type": missing.error, "message": missing.why}}
    return attempt.outcome(missing.outcome, entry_id=new_id(), at=tried.ended_at, **facts)


def _of_interrupted(workspace: Workspace, entry: Mapping[str, Any]) -> Entry:
    """The outcome of an attempt that could not say it itself."""
    reading = Reading.told(entry["reading"]) if entry.get("reading") else None
    why = "killed, or cut off from our database: its try is over, and it never said how it ended"
    return Attempt.told(entry).outcome(
        Outcome.INTERRUPTED, entry_id=new_id(), at=workspace.clock(), reading=reading, reason=why
    )


def _attempt(workspace: Workspace, event: str, batch: Batch, run: Run) -> Attempt:
    digests = Digests(workspace.policy.digest, None, code_digest())
    return Attempt(new_id(), event, batch, run, digests, ("R1",))
