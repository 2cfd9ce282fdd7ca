"""What the run log tells, tries joined with how they ended. Pure: entries in, attempts out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EFFECTIVE = ("passed", "no_data")
"""Outcomes that are written in the transaction of their effect."""

INTERRUPTED = "no outcome"
"""An intent without an outcome: still running, or killed."""


@dataclass(frozen=True)
class Tried:
    """One try of one hop."""

    attempt_id: str
    event: str
    dataset: str
    partition_key: str
    started_at: str
    ended_at: str | None
    outcome: str
    run: Mapping[str, Any]
    entry: Mapping[str, Any]  # the outcome, or the intent where there is none
    recipient: str | None = None  # whose turn, of a hop that serves one recipient after the other

    @property
    def conservation(self) -> Mapping[str, int]:
        """Terms of the equation, as far as this hop knows them."""
        terms: Mapping[str, int] = self.entry.get("conservation") or {}
        return terms

    @property
    def failed_rules(self) -> dict[str, int]:
        """Rows that failed, per rule."""
        failed: dict[str, int] = {}
        for rule in self.entry.get("rules") or []:
            if rule["failed"]:
                failed[rule["rule"]] = failed.get(rule["rule"], 0) + rule["failed"]
        return failed


def attempts(entries: Iterable[Mapping[str, Any]]) -> list[Tried]:
    """The tries that entries tell of, oldest first.

    >>> intent = {"attempt_id": "a", "event": "pull", "phase": "intent", "dataset": "visits",
    ...           "partition_key": "2026-03-10", "at": "2026-03-11T00:00:01Z", "run": {}, "outcome": None}
    >>> attempts([intent])[0].outcome
    'no outcome'
    """
    intents: dict[str, Mapping[str, Any]] = {}
    outcomes: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        attempt_id = entry["attempt_id"]
        known = outcomes.get(attempt_id)
        if entry["phase"] == "intent":
            intents[attempt_id] = entry
        elif known is None or known["outcome"] not in EFFECTIVE:
            # A commit in doubt can leave `passed` and then `failed`; the effect, once committed, is what happened.
            outcomes[attempt_id] = entry
    found = []
    for attempt_id in intents.keys() | outcomes.keys():
        intent, outcome = intents.get(attempt_id), outcomes.get(attempt_id)
        entry = outcome or intent or {}
        started = (intent or entry)["at"]
        found.append(
            Tried(
                attempt_id,
                entry["event"],
                entry["dataset"],
                entry["partition_key"],
                started,
                outcome["at"] if outcome else None,
                outcome["outcome"] if outcome else INTERRUPTED,
                entry["run"],
                entry,
                _recipient(outcome) or _recipient(intent),  # of what was interrupted, the intent alone has it
            )
        )
    return sorted(found, key=lambda tried: (tried.started_at, tried.attempt_id))


def _recipient(entry: Mapping[str, Any] | None) -> str | None:
    found = ((entry or {}).get("details") or {}).get("recipient")
    return None if found is None else str(found)


def effective(tries: Sequence[Tried], event: str) -> dict[tuple[str, str], Tried]:
    """Per (dataset, partition) the last try of a hop that had its effect.

    Replays repeat that effect and failures do not undo it.
    """
    last: dict[tuple[str, str], Tried] = {}
    for tried in tries:
        if tried.event == event and tried.outcome in EFFECTIVE:
            last[(tried.dataset, tried.partition_key)] = tried
    return last
