"""A suite says for each expectation what rule it is, of which clause and why; what it may not ask for is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from governance.errors import PolicyError
from governance.rules import suite_digest
from governance.run_log import RuleOutcome
from governance.validation import SUITE_FOLDER, Verdict, load_suite

Suite = dict[str, Any]


def spoilt(folder: Path, change: Callable[[Suite], object]) -> Path:
    suite = json.loads((SUITE_FOLDER / "visits.json").read_text("utf-8"))
    change(suite)
    (folder / "visits.json").write_text(json.dumps(suite), "utf-8")
    return folder


@pytest.mark.parametrize("key", ("rule", "clause", "table", "reason"))
def test_an_expectation_says_its_rule_clause_table_and_reason(tmp_path: Path, key: str) -> None:
    folder = spoilt(tmp_path, lambda suite: suite["expectations"][1]["meta"].pop(key))
    with pytest.raises(PolicyError, match=rf"suite visits.json, expectation 1: needs a severity and meta \['{key}'\]"):
        load_suite("visits", folder)


@pytest.mark.parametrize(
    "change",
    (
        lambda suite: suite["expectations"][2].pop("severity"),
        lambda suite: suite["expectations"][2].update(severity="grave"),
        lambda suite: suite["expectations"][2].pop("meta"),
    ),
    ids=("no severity", "an unknown severity", "no meta"),
)
def test_an_expectation_has_a_known_severity_and_meta(tmp_path: Path, change: Callable[[Suite], object]) -> None:
    with pytest.raises(PolicyError, match="suite visits.json, expectation 2: needs a severity and meta"):
        load_suite("visits", spoilt(tmp_path, change))


def test_a_row_condition_is_refused_because_its_failing_rows_could_not_be_named(tmp_path: Path) -> None:
    folder = spoilt(tmp_path, lambda suite: suite["expectations"][1]["kwargs"].update(row_condition="x > 1"))
    with pytest.raises(PolicyError, match="row_condition is not supported; land a fact instead"):
        load_suite("visits", folder)


def test_a_suite_that_is_not_there_or_is_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="dataset visits: there is no suite visits.json in expectations/"):
        load_suite("visits", tmp_path)
    (tmp_path / "visits.json").write_text("{", "utf-8")
    with pytest.raises(PolicyError, match="suite visits.json is not JSON"):
        load_suite("visits", tmp_path)


def test_the_digest_of_a_suite_is_of_what_it_says_and_not_of_how() -> None:
    assert suite_digest({"a": 1, "b": [1, 2]}) == suite_digest({"b": [1, 2], "a": 1})
    assert suite_digest({"a": 1}) != suite_digest({"a": 2})


@pytest.mark.clause("R1")
def test_a_batch_is_stopped_by_critical_rules_that_failed_and_by_no_other() -> None:
    def rule(severity: str, outcome: str) -> RuleOutcome:
        return RuleOutcome(f"{severity}.{outcome}", "R1", severity, "page_views", 1, 1, outcome)

    rules = tuple(
        rule(severity, outcome) for severity in ("critical", "warning", "info") for outcome in ("passed", "failed")
    )
    assert [found.rule for found in Verdict(rules, ()).stopped_by] == ["critical.failed"]
