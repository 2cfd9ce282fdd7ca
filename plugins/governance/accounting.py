"""Every run accounted for: what Airflow says of tries, held against what the run log says (clause R1). Pure.

The steps write the evidence. What is here finds what never reached a step, or never came out of one: tasks that could
not start, were skipped, killed, or marked by hand. It never believes Airflow about an effect: only the run log, which
is written in the transaction of the effect, says that there was one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from governance.run_log import BY_HAND, Outcome, Run

EFFECTIVE = frozenset({"passed", "no_data", "replayed"})
KEEPING_ENTRIES = frozenset(
    {
        "plan", "pull", "validate", "publish", "keep_keys", "checkpoint", "keep_cards", "retain", "crawl", "consents",
        "erase_minors", "hand_over", "attack_releases", "share",
    }
)  # fmt: skip
"""Tasks whose every try writes to the run log; of the others, an end is told by their name and state alone."""
WATCHES = frozenset(
    {
        "reconcile", "partitions", "quarantine_rate", "oldest_row", "merge_delay", "source_schema", "oldest_card",
        "obligations", "acknowledgements", "expiries", "whole_attacks",
    }
)  # fmt: skip
"""Tasks that fail in order to be seen: their alarm has an entry of its own."""
BESIDE = frozenset({"read", "use_key", "breach", "deliver", "settle_delivery", "acknowledge", "oblige", "forget"})
"""Events of a try that say nothing of how the try itself ended."""
GRACE = timedelta(minutes=2)
"""An attempt that began within this may belong to a try that Airflow's tables do not show yet."""


class Key(NamedTuple):
    """What names a try, in Airflow and in entries of the run log."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int

    @property
    def text(self) -> str:
        """For the run log: `bookings scheduled__2026-03-11 pull 1`, with the map index where there is one."""
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id} {self.run_id} {self.task_id}{mapped} {self.try_number}"


class Try(NamedTuple):
    """A try of a task that has ended, as Airflow has it."""

    key: Key
    state: str
    ended_at: datetime
    is_last: bool  # no other try follows, unless somebody clears the task
    run_type: str
    triggered_by: str | None
    partition_key: str | None


class Action(NamedTuple):
    """What a person, or Airflow itself, did to a run, a task or a setting."""

    number: int
    at: datetime
    action: str
    by: str
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int
    new_state: str | None


@dataclass(frozen=True)
class Told:
    """An attempt as the run log tells it: its intent, or its outcome where there is no intent, and how it ended."""

    entry: Mapping[str, Any]
    outcomes: tuple[str, ...]

    @property
    def key(self) -> Key:
        """The try that it belongs to."""
        run = self.entry["run"]
        return Key(run["dag_id"], run["run_id"], run["task_id"], run.get("map_index", -1), run["try_number"])


@dataclass(frozen=True)
class Missing:
    """A try of which the run log has no outcome, what to say of it, and whether that is an alarm."""

    tried: Try
    outcome: Outcome
    error: str | None
    why: str
    is_alarm: bool


@dataclass(frozen=True)
class Balance:
    """What is to be written so that every try is accounted for."""

    missing: tuple[Missing, ...]
    interrupted: tuple[Told, ...]
    quiet: tuple[Try, ...]  # ended as they should, in tasks that keep no entries
    with_entries: int


def is_of_run(entry: Mapping[str, Any], run: Run) -> bool:
    """Whether an entry was written by a try of the same task of the same run."""
    names = ("dag_id", "run_id", "task_id")
    return all(entry["run"][name] == getattr(run, name) for name in names)


def balance(ended: Iterable[Try], unfinished: Collection[Key], told: Sequence[Told], *, now: datetime) -> Balance:
    """Hold tries that ended against attempts of the run log; a second look, with what was written since, finds nothing.

    An attempt without an outcome was interrupted once its try is no longer at work.
    """
    by_key: dict[Key, list[Told]] = {}
    for attempt in told:
        if attempt.entry["event"] not in BESIDE:
            by_key.setdefault(attempt.key, []).append(attempt)
    effects = {k[:4] for k, tries in by_key.items() if any(EFFECTIVE.intersection(t.outcomes) for t in tries)}
    missing, quiet, accounted = [], [], 0
    for tried in ended:
        own = by_key.get(tried.key, [])
        if any(attempt.outcomes for attempt in own) or (own and tried.state != "success"):
            accounted += 1
        elif _is_quiet(tried):
            quiet.append(tried)
        else:
            missing.append(_missing(tried, has_effect=tried.key[:4] in effects))
    interrupted = tuple(a for a in told if not a.outcomes and _is_over(a, unfinished, now))
    return Balance(tuple(missing), interrupted, tuple(quiet), accounted)


def _is_quiet(tried: Try) -> bool:
    task = tried.key.task_id
    return task in WATCHES or (tried.state == "success" and task not in KEEPING_ENTRIES)


def _missing(tried: Try, *, has_effect: bool) -> Missing:
    if tried.state == "success" and has_effect:
        why = "Airflow calls this try a success; the effect is there, by another try of the same task"
        return Missing(tried, Outcome.REPLAYED, None, why, is_alarm=False)
    if tried.state == "success":
        why = (
            "Airflow calls this task a success, and the run log has no effect of it: it was marked so by hand, or its "
            "entry is gone; clear the task, so that it runs"
        )
        return Missing(tried, Outcome.FAILED, "NoEffectError", why, is_alarm=True)
    if tried.state in ("failed", "up_for_retry"):
        why = (
            "Airflow says that this try failed, and no step told of it: the task could not start, or was killed before "
            "its first entry; see the task's log"
            if tried.key.task_id in KEEPING_ENTRIES
            else "this try failed, in a task that keeps no entries of its own; see the task's log"
        )
        return Missing(tried, Outcome.FAILED, "NotReachedError", why, is_alarm=tried.is_last)
    why = {
        "upstream_failed": "not run: a task before it failed",
        "skipped": "not run: skipped",
        "removed": "not run: the task is no longer in the DAG",
    }[tried.state]
    return Missing(tried, Outcome.SKIPPED, None, why, is_alarm=False)


def _is_over(attempt: Told, unfinished: Collection[Key], now: datetime) -> bool:
    began = datetime.fromisoformat(attempt.entry["at"])
    return attempt.key.dag_id != BY_HAND and attempt.key not in unfinished and began < now - GRACE
