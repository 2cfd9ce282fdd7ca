"""Tries joined with how they ended, from entries in any order."""

from __future__ import annotations

from typing import Any

import pytest

from governance.history import INTERRUPTED, attempts, effective

pytestmark = pytest.mark.clause("R1")


def entry(attempt: str, phase: str, at: str, outcome: str | None = None, **more: Any) -> dict[str, Any]:
    base = {"event": "validate", "dataset": "visits", "partition_key": "2026-03-10", "run": {"try_number": 1}}
    return {**base, "attempt_id": attempt, "phase": phase, "at": at, "outcome": outcome, **more}


INTENT = entry("a", "intent", "2026-03-11T00:00:01Z")
PASSED = entry("a", "outcome", "2026-03-11T00:00:05Z", "passed", conservation={"accepted": 3})


def test_an_intent_and_its_outcome_are_one_try() -> None:
    for order in ([INTENT, PASSED], [PASSED, INTENT]):
        (tried,) = attempts(order)
        assert (tried.started_at, tried.ended_at, tried.outcome) == (INTENT["at"], PASSED["at"], "passed")
        assert tried.entry == PASSED
        assert tried.conservation == {"accepted": 3}
        assert tried.run == {"try_number": 1}


def test_whose_turn_a_try_was_is_said_by_its_outcome_or_else_by_its_intent() -> None:
    whose = {"details": {"recipient": "clinic"}}
    interrupted = entry("a", "outcome", PASSED["at"], "interrupted", details=None)
    for tried in ([INTENT | whose], [INTENT | whose, interrupted], [INTENT, PASSED | whose]):
        assert attempts(tried)[0].recipient == "clinic"
    assert attempts([INTENT, PASSED])[0].recipient is None


def test_an_intent_alone_has_no_outcome() -> None:
    (tried,) = attempts([INTENT])
    assert (tried.outcome, tried.ended_at, tried.entry) == (INTERRUPTED, None, INTENT)
    assert tried.conservation == {}
    assert tried.failed_rules == {}


def test_an_outcome_alone_is_a_try_that_began_when_it_ended() -> None:
    (tried,) = attempts([PASSED])
    assert (tried.started_at, tried.ended_at, tried.outcome) == (PASSED["at"], PASSED["at"], "passed")


def test_tries_are_listed_from_the_oldest_on_and_by_id_where_they_are_of_one_instant() -> None:
    later = entry("0", "intent", "2026-03-11T00:00:02Z")
    same = entry("b", "intent", INTENT["at"])
    assert [tried.attempt_id for tried in attempts([later, same, PASSED, INTENT])] == ["a", "b", "0"]
    assert attempts([]) == []


def test_failed_rules_are_summed_over_tables_and_passed_ones_left_out() -> None:
    rules = [
        {"rule": "K4.no_card_number_in_text", "table": "bookings", "failed": 2},
        {"rule": "K4.no_card_number_in_text", "table": "booking_services", "failed": 1},
        {"rule": "A1.known_client", "table": "bookings", "failed": 0},
    ]
    (tried,) = attempts([entry("a", "outcome", "2026-03-11T00:00:05Z", "passed", rules=rules)])
    assert tried.failed_rules == {"K4.no_card_number_in_text": 3}


def test_a_replay_repeats_an_effect_and_a_failure_does_not_undo_it() -> None:
    tries = attempts(
        [
            entry("1", "outcome", "2026-03-11T00:00:01Z", "failed"),
            entry("2", "outcome", "2026-03-11T00:00:02Z", "passed"),
            entry("3", "outcome", "2026-03-11T00:00:03Z", "replayed"),
            entry("4", "outcome", "2026-03-11T00:00:04Z", "failed"),
            entry("5", "intent", "2026-03-11T00:00:05Z"),
            entry("6", "outcome", "2026-03-11T00:00:06Z", "passed", event="pull"),
            entry("7", "outcome", "2026-03-11T00:00:07Z", "no_data", partition_key="2026-03-11"),
        ]
    )
    found = effective(tries, "validate")
    assert {key: tried.attempt_id for key, tried in found.items()} == {
        ("visits", "2026-03-10"): "2",
        ("visits", "2026-03-11"): "7",
    }


def test_the_last_effect_is_the_one_that_counts() -> None:
    again = entry("b", "outcome", "2026-03-11T00:01:00Z", "passed")
    assert effective(attempts([PASSED, again]), "validate")["visits", "2026-03-10"].attempt_id == "b"


@pytest.mark.parametrize("order", [("passed", "failed"), ("failed", "passed")])
def test_an_effect_that_was_committed_outweighs_a_failure_of_the_same_try(order: tuple[str, str]) -> None:
    entries = [
        {
            "attempt_id": "a",
            "event": "publish",
            "phase": "outcome",
            "dataset": "visits",
            "partition_key": "2026-03-10",
            "at": f"2026-03-11T00:00:0{number}Z",
            "run": {},
            "outcome": outcome,
        }
        for number, outcome in enumerate(order)
    ]
    (tried,) = attempts(entries)
    assert tried.outcome == "passed"
