"""An entry says the same bytes everywhere, and rows are conserved or it is said how they are not."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785

from governance.run_log import Attempt, Batch, Conservation, Digests, Entry, Outcome, RuleOutcome, Run

pytestmark = pytest.mark.clause("R1")

AT = datetime(2026, 3, 11, 0, 30, 0, 250, tzinfo=UTC)
RUN = Run("bookings", "scheduled__2026-03-11", "pull", 2, "scheduled")
ATTEMPT = Attempt("a", "pull", Batch("bookings", "2026-03-10", RUN.run_id), RUN, Digests("p", "s", "c"), ("R1", "A1"))


def said(entry: Entry) -> dict[str, object]:
    document: dict[str, object] = json.loads(entry.canonical())
    return document


def test_an_intent_says_what_is_about_to_be_done_and_no_outcome() -> None:
    document = said(ATTEMPT.intent(entry_id="e", at=AT))
    assert (document["phase"], document["outcome"], document["error"]) == ("intent", None, None)
    assert (document["entry_id"], document["attempt_id"], document["event"]) == ("e", "a", "pull")
    assert document["at"] == "2026-03-11T00:30:00.000250Z"
    assert document["clauses"] == ["A1", "R1"]
    assert document["run"] == {
        "dag_id": "bookings", "run_id": "scheduled__2026-03-11", "task_id": "pull", "try_number": 2,
        "trigger": "scheduled", "triggered_by": None,
    }  # fmt: skip
    assert document["digests"] == {"policy": "p", "suite": "s", "code": "c"}
    assert [document[name] for name in ("counts", "conservation", "rules", "measures", "alarms")] == [
        {},
        {},
        [],
        {},
        [],
    ]


def test_an_outcome_says_how_it_ended() -> None:
    rule = RuleOutcome("L1.adult_at_booking", "L1", "warning", "booking_travellers", 10, 1, "failed")
    entry = ATTEMPT.outcome(
        Outcome.FAILED, entry_id="e", at=AT, counts={"rows": 1}, rules=[rule], measures={"k": None, "l": 2},
        alarms=["one"], error={"type": "GapError", "message": "m"}, conservation=Conservation(at_source=1).terms(),
    )  # fmt: skip
    document = said(entry)
    assert (document["phase"], document["outcome"]) == ("outcome", "failed")
    assert document["rules"] == [
        {"rule": "L1.adult_at_booking", "clause": "L1", "severity": "warning", "table": "booking_travellers",
         "evaluated": 10, "failed": 1, "outcome": "failed"}
    ]  # fmt: skip
    assert document["measures"] == {"k": None, "l": 2}
    assert (document["alarms"], document["counts"]) == (["one"], {"rows": 1})
    assert document["error"] == {"type": "GapError", "message": "m"}


def test_the_bytes_are_canonical_json() -> None:
    entry = ATTEMPT.outcome(
        Outcome.PASSED, entry_id="e", at=AT, alarms=["Ö, \u2028, \U0001f600, \x00"], counts={"z": 1, "a": 2}
    )
    text = entry.canonical()
    assert rfc8785.dumps(json.loads(text)).decode() == text
    assert text.index('"a":2') < text.index('"z":1')
    assert ": " not in text.replace(", ", "")


def test_an_instant_reads_the_same_whatever_zone_it_was_given_in() -> None:
    stockholm = AT.astimezone(timezone(timedelta(hours=1)))
    assert ATTEMPT.intent(entry_id="e", at=stockholm).canonical() == ATTEMPT.intent(entry_id="e", at=AT).canonical()


def test_outcomes_are_these_six() -> None:
    told_by_steps, told_afterwards = ["passed", "failed", "no_data", "replayed"], ["interrupted", "skipped"]
    assert [outcome.value for outcome in Outcome] == told_by_steps + told_afterwards


def test_a_batch_names_itself_for_messages() -> None:
    assert ATTEMPT.batch.label == "dataset bookings, partition 2026-03-10"


BALANCED = Conservation(
    at_source=12, dropped_by_tombstone=2, pulled=10, accepted=8, quarantined=2, carried_in=3, published=5,
    carried_out=1, suppressed=3, superseded=1, erased=1,
)  # fmt: skip


def test_every_term_is_there_also_when_it_is_zero() -> None:
    assert set(Conservation().terms()) == {field.name for field in fields(Conservation)}
    assert set(Conservation().terms().values()) == {0}
    assert Conservation().imbalances() == []
    assert BALANCED.imbalances() == []


LEFT = "accepted 8 + carried in {} is not published {} + carried out 1 + suppressed 3 + superseded 1 + erased 1"


@pytest.mark.parametrize(
    ("terms", "wrong"),
    (
        ({"at_source": 13}, ["at source 13 is not dropped by tombstone 2 + pulled 10"]),
        ({"dropped_by_tombstone": 0}, ["at source 12 is not dropped by tombstone 0 + pulled 10"]),
        ({"quarantined": 1}, ["pulled 10 is not accepted 8 + quarantined 1"]),
        ({"published": 4}, [LEFT.format(3, 4)]),
        ({"carried_in": 0}, [LEFT.format(0, 5)]),
        ({"accepted": 7}, ["pulled 10 is not accepted 7 + quarantined 2", LEFT.replace("8", "7", 1).format(3, 5)]),
    ),
)
def test_what_does_not_add_up_is_said_term_by_term(terms: dict[str, int], wrong: list[str]) -> None:
    assert replace(BALANCED, **terms).imbalances() == wrong


@pytest.mark.parametrize("field", [field.name for field in fields(Conservation)])
def test_one_row_more_in_any_term_is_noticed(field: str) -> None:
    assert replace(BALANCED, **{field: getattr(BALANCED, field) + 1}).imbalances()
