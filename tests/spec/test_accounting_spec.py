"""What is written of a try that Airflow tells of, by what the run log tells of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from governance.accounting import GRACE, KEEPING_ENTRIES, WATCHES, Balance, Key, Told, Try, balance
from governance.run_log import BY_HAND, Outcome
from governance.steps import watching

pytestmark = pytest.mark.clause("R1")

NOW = datetime(2026, 3, 12, 9, tzinfo=UTC)


def tried(state: str, task: str = "pull", number: int = 1, *, is_last: bool = True) -> Try:
    key = Key("bookings", "r", task, -1, number)
    return Try(key, state, NOW, is_last, "scheduled", None, "2026-03-11")


def told(
    *outcomes: str, task: str = "pull", number: int = 1, event: str = "", age: timedelta = timedelta(1), **run: Any
) -> Told:  # fmt: skip
    names = {"dag_id": "bookings", "run_id": "r", "task_id": task, "try_number": number} | run
    return Told({"event": event or task, "at": (NOW - age).isoformat(), "run": names}, outcomes)


def look(ended: list[Try], log: list[Told], unfinished: frozenset[Key] = frozenset()) -> Balance:
    return balance(ended, unfinished, log, now=NOW)


# Airflow's state, task, what the run log has of it -> outcome, error and alarm of the entry that is written, if any.
TRIES: list[tuple[str, str, tuple[Told, ...], tuple[Outcome, str | None, bool] | None]] = [
    ("success", "pull", (told("passed"),), None),
    ("success", "pull", (told("no_data"),), None),
    ("success", "pull", (told("replayed"),), None),
    ("failed", "pull", (told("failed"),), None),
    ("failed", "pull", (told(),), None),  # its attempt is closed instead
    ("failed", "pull", (told("passed"),), None),  # killed after its effect
    ("failed", "pull", (), (Outcome.FAILED, "NotReachedError", True)),
    ("up_for_retry", "pull", (), (Outcome.FAILED, "NotReachedError", True)),
    ("upstream_failed", "validate", (), (Outcome.SKIPPED, None, False)),
    ("skipped", "validate", (), (Outcome.SKIPPED, None, False)),
    ("removed", "validate", (), (Outcome.SKIPPED, None, False)),
    ("success", "publish", (), (Outcome.FAILED, "NoEffectError", True)),
    ("success", "publish", (told(task="publish"),), (Outcome.FAILED, "NoEffectError", True)),  # began, marked by hand
    ("success", "publish", (told("passed", task="publish", event="read"),), (Outcome.FAILED, "NoEffectError", True)),
    ("success", "pull", (told("passed", number=2),), (Outcome.REPLAYED, None, False)),
    ("success", "sequence", (), None),
    ("failed", "sequence", (), (Outcome.FAILED, "NotReachedError", True)),
    ("failed", "partitions", (), None),  # its alarm has an entry
]  # fmt: skip


@pytest.mark.parametrize(("state", "task", "log", "expected"), TRIES)
def test_a_try_has_an_entry_of_its_own_or_is_given_one(
    state: str, task: str, log: tuple[Told, ...], expected: tuple[Outcome, str | None, bool] | None
) -> None:
    found = look([tried(state, task)], list(log)).missing
    assert [(m.outcome, m.error, m.is_alarm) for m in found] == ([expected] if expected else [])


def test_of_a_try_that_is_tried_again_nobody_is_told() -> None:
    (missing,) = look([tried("failed", is_last=False)], []).missing
    assert not missing.is_alarm


def test_a_task_that_keeps_no_entries_is_told_by_name_alone() -> None:
    assert {"sequence", *WATCHES}.isdisjoint(KEEPING_ENTRIES)
    assert {"reconcile", *watching.NAMES} == WATCHES
    found = look([tried("success", "sequence"), tried("failed", "merge_delay")], [])
    assert [t.key.task_id for t in found.quiet] == ["sequence", "merge_delay"]
    assert found.missing == ()


AT_WORK = frozenset({tried("running").key})
ATTEMPTS = [
    (told(), frozenset[Key](), 1),
    (told(), AT_WORK, 0),
    (told(number=2), AT_WORK, 1),
    (told(age=GRACE - timedelta(seconds=1)), frozenset[Key](), 0),
    (told(age=GRACE + timedelta(seconds=1)), frozenset[Key](), 1),
    (told("passed"), frozenset[Key](), 0),
    (told("failed"), frozenset[Key](), 0),
    (told("interrupted"), frozenset[Key](), 0),
    (told(dag_id=BY_HAND), frozenset[Key](), 0),  # of a command nobody knows whether it still runs
    (told(event="read"), frozenset[Key](), 1),
    (told(map_index=3), AT_WORK, 1),
]  # fmt: skip


@pytest.mark.parametrize(("attempt", "unfinished", "closed"), ATTEMPTS)
def test_an_attempt_is_closed_once_its_try_is_over(attempt: Told, unfinished: frozenset[Key], closed: int) -> None:
    assert len(look([], [attempt], unfinished).interrupted) == closed


def test_mapped_tries_are_told_apart() -> None:
    assert told(map_index=3).key.text == "bookings r pull[3] 1"
    assert told().key.text == "bookings r pull 1"
