"""How the commands about clauses speak, and what they read of a checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from governance.__main__ import main
from governance.commands import clause_texts, clauses
from governance.commands.clause_texts import Background
from governance.commands.proofs import CHECKOUT, Collected, RunLog, code, first_sentence, marked_tests
from governance.coverage import Answer, Coverage, MarkedTest, Reference, Standing
from governance.errors import GovernanceError, PolicyError
from governance.policy import Clause, load
from governance.rules import declared
from governance.validation import load_suite

POLICY = load()
RULES = declared(load_suite(name) for name in POLICY.datasets)
TESTS = (
    MarkedTest("tests/unit/test_age.py::test_age_grows_on_the_birthday", ("L1",), ("passed", "passed"), "2026-03-10"),
    MarkedTest("tests/unit/test_age.py::test_an_unknown_date", ("L1",), (None,)),
)


# -- what is said ------------------------------------------------------------------------------------------------------


def coverage(name: str) -> Coverage:
    """A clause of the register as this checkout has it, with two tests and no site."""
    return clauses.Proofs(RULES, Collected(TESTS), RunLog(None), False).of_clause(name, POLICY.clauses[name])


def explained(name: str, answers: dict[str, Answer] | None = None, width: int = 120) -> list[str]:
    """The lines of `governance explain`."""
    background = Background(POLICY, RULES, TESTS, answers or {})
    return list(clause_texts.answer(coverage(name), background, width=width))


def test_an_answer_has_its_parts_in_order() -> None:
    headings = [line for line in explained("L1") if line and not line.startswith(" ")]
    assert headings == [
        "L1  The services are not available to people under 18.",
        "What must be true",
        "How it is enforced",
        "Which rules notice",
        "Which tests prove it",
        "Evidence, from the run log as role auditor reads it now",
        "What the privacy policy leaves open, and who decided",
    ]


def test_an_answer_says_what_each_rule_of_retention_found_left_and_proved() -> None:
    columns = ("rule", "ran_at", "outcome", "due", "ended", "on_hold", "kept", "oldest_kept_hours", "left_due")
    ran = ("cards", "2026-03-20T11:00:05.000000Z", "passed", 6, 5, 1, 1200, 36.0, 0)
    failed = ("cards_at_source", "2026-03-20T11:00:06.000000Z", "failed", None, None, None, None, None, None)
    lines = explained("K1", {"rows_ended": Answer(columns, (ran, failed))}, 200)
    at = lines.index("What retention does for it")
    assert lines[at + 1] == "    cards: deletes rows of records.payment_cards 10 days after captured_at less 2 hours"
    assert lines[at + 3] == (
        "        Last run 2026-03-20 11:00 UTC (passed): 6 due, 5 ended, 1 on hold; 1,200 stay, the oldest 1.5 days "
        "old; a search afterwards found 0 due."
    )
    assert lines[at + 6].startswith("        Last run 2026-03-20 11:00 UTC (failed): nothing was ended")
    assert "        It has not run yet." in explained("B1", {"rows_ended": Answer(columns, ())}, 200)
    assert "What retention does for it" in explained("B1")  # without a site: the rule, and no figures


@pytest.mark.parametrize(
    "said",
    [
        "    governance.age:whole_years",
        "        Age in completed years of each person on the day beside it.",
        "    L1.birth_date_known  (warning: the row is held back)",
        "    tests/unit/test_age.py",
        "        test_age_grows_on_the_birthday: passed, 2 cases, 2026-03-10",
        "        test_an_unknown_date: not run here",
        "    ages (site not up)",
        "    adult_years = 18  (decided by: privacy policy)",
    ],
)
def test_an_answer_names_code_rules_tests_evidence_and_who_decided(said: str) -> None:
    assert said in explained("L1")


def test_a_value_that_nobody_has_confirmed_says_so() -> None:
    assert "    k = 10  (decided by: project default, unconfirmed)" in explained("E1")


def test_what_is_not_there_yet_is_told_also_of_a_covered_clause() -> None:
    lines = explained("E1")
    assert "    Whoever was published before the ledger of people was kept counts as never published." in lines


def test_a_gap_says_what_is_missing() -> None:
    lines = explained("M1")
    assert lines[1] == "    gap: no code; no expectation; no test; no evidence"
    assert "    There is no evidence to read." in lines


@pytest.mark.parametrize("name", POLICY.clauses)
@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_page(name: str, width: int) -> None:
    wide = Answer(("partition_key", "dataset"), (("2026-03-10", "x" * 200),))
    answers = dict.fromkeys(POLICY.clauses[name].evidence, wide)
    assert max(map(len, explained(name, answers, width))) <= width
    assert len(clause_texts.line(coverage(name), width)) <= width


def test_a_long_answer_of_the_log_is_cut_and_says_where_the_rest_is() -> None:
    answer = Answer(("partition_key", "rows"), tuple((f"2026-03-{day:02}", day) for day in range(1, 21)))
    lines = explained("L1", {"ages": answer})
    assert "    2026-03-15    15" in lines
    assert "    ... 5 more: sql/evidence/ages.sql lists them" in lines


def test_on_a_terminal_references_are_counted() -> None:
    line = clause_texts.line(coverage("L1"), 120)
    assert (
        line == "L1 covered  code 3 · expectation 9 · test 2 (1 passed, 1 not run here) · evidence ages (site not up)"
    )


def test_on_a_terminal_a_failure_stands_out() -> None:
    failed = Reference("test", "tests/test_a.py::test_it", Standing.BROKEN, "failed")
    lost = Reference("code", "governance.age:nothing", Standing.BROKEN, "cannot be imported")
    line = clause_texts.line(Coverage("L1", (lost, failed)), 120)
    assert line == "L1 gap      code 1 (DO NOT RESOLVE) · expectation - · test 1 (FAILED) · evidence -"


def test_a_rule_that_is_gone_is_told_and_not_hidden() -> None:
    lost = Reference("expectation", "L1.gone", Standing.BROKEN, "is no rule of any suite")
    lines = list(clause_texts.answer(Coverage("L1", (lost,)), Background(POLICY, RULES, TESTS, {}), width=120))
    assert lines[1].endswith("expectation L1.gone is no rule of any suite")
    assert lines[lines.index("    L1.gone") + 1] == "        is no rule of any suite"


def test_a_check_whose_code_is_gone_does_not_resolve() -> None:
    gone = replace(RULES["K1.card_age.future"], by="governance.pulling:no_such_function")
    proofs = clauses.Proofs({gone.rule: gone}, Collected(()), RunLog(None), False)
    (reference,) = proofs.of_clause("K1", Clause(title="t", must="m", expectations=(gone.rule,))).references
    assert reference.standing is Standing.BROKEN


@pytest.mark.parametrize("asked", ["L1", "l1"])
def test_explain_prints_the_answer(
    asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # that of a terminal, where there is one
    monkeypatch.setattr(RunLog, "here", classmethod(lambda cls: RunLog(None)))
    monkeypatch.setattr(clauses, "marked_tests", lambda: Collected(TESTS))
    assert main(["explain", asked]) == 0
    assert capsys.readouterr().out.splitlines() == explained("L1")


def test_without_a_site_there_is_no_log_to_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("governance.embedded.site.default_data_dir", lambda: tmp_path)
    assert RunLog.here().dsn is None


def test_an_unknown_clause_is_refused_and_the_known_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "Z9"]) == 65
    assert "no clause 'Z9' in the register; there are A1, B1, B2, C1" in capsys.readouterr().err


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One thing.", "One thing."),
        ("One thing. Another.", "One thing."),
        ("One thing,\n    e.g. this. Another.", "One thing, e.g. this."),
        ("A heading without an end\n\nMore.", "A heading without an end"),
        ("Version 1.5 is out. Next.", "Version 1.5 is out."),
        ("", ""),
    ],
)
def test_the_first_sentence_of_a_docstring_is_found(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_a_task_is_found_without_importing_airflow() -> None:
    program = (
        "import sys; from governance.commands.proofs import code; "
        "print(code('governance.orchestration:publish').note, 'airflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT / "plugins", capture_output=True, text=True, check=True
    )
    assert done.stdout == "Publish the partition's release. False\n"


def test_a_constant_is_described_by_its_module() -> None:
    assert code("governance.facts:MEASURES").note == "Measured facts, by the name that policy gives each measure."


META = {"rule": "L1.x", "clause": "L1", "table": "t", "reason": "Why."}
CHECK = {**META, "severity": "critical", "at": "pull", "by": "governance.sources:check_schema"}


def suite(*checks: dict[str, Any], **expectation: Any) -> dict[str, Any]:
    """A suite with checks, and one expectation where one is given."""
    listed = [{"severity": "warning", "meta": META | expectation}] if expectation else []
    return {"name": "s", "meta": {"checks": list(checks)}, "expectations": listed}


@pytest.mark.parametrize("key", sorted(CHECK))
def test_a_check_that_lacks_a_key_is_refused(key: str) -> None:
    with pytest.raises(PolicyError, match=f"check 0: has no {key}"):
        declared([suite({k: v for k, v in CHECK.items() if k != key})])


@pytest.mark.parametrize(
    "change", [{"clause": "L2"}, {"severity": "info"}, {"at": "publish"}, {"by": "governance.age"}]
)
def test_one_id_cannot_stand_for_two_rules(change: dict[str, str]) -> None:
    with pytest.raises(PolicyError, match="L1.x"):
        declared([suite(CHECK), suite(CHECK | change)])


def test_a_rule_of_two_tables_has_both_and_each_reason_once() -> None:
    rule = declared([suite(CHECK, CHECK | {"table": "u"}, CHECK | {"table": "v", "reason": "Also."})])["L1.x"]
    assert (rule.tables, rule.reasons) == (("t", "u", "v"), ("Why.", "Also."))


# -- tests and their outcomes ------------------------------------------------------------------------------------------

TRIED = """
import pytest

@pytest.mark.clause("L1")
@pytest.mark.parametrize("n", [1, 2])
def test_numbers(n):
    assert n < 2

@pytest.mark.clause("L1")
@pytest.mark.clause("E1")
def test_sound():
    pass

@pytest.mark.clause("E1")
def test_skipped():
    pytest.skip("not today")

def test_of_no_clause():
    pass
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a few tests and this project's plugin."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # of other projects; they take a second to import
    folder = tmp_path / "tests"
    folder.mkdir()
    shutil.copy(CHECKOUT / "tests" / "proofs.py", folder)
    (folder / "conftest.py").write_text('pytest_plugins = ["proofs"]\n')
    (folder / "test_tried.py").write_text(TRIED)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    clause(id): proves a clause\n")
    return tmp_path


def run(checkout: Path, *arguments: str) -> None:
    """Run pytest there."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    subprocess.run(command, cwd=checkout, capture_output=True, check=False)


def states(checkout: Path) -> dict[str, tuple[str | None, ...]]:
    """Name of each marked test -> outcomes of its cases."""
    return {test.node.partition("::")[2]: test.outcomes for test in marked_tests(checkout).marked}


def test_what_was_never_run_has_no_outcome(checkout: Path) -> None:
    assert states(checkout) == {"test_numbers": (None, None), "test_sound": (None,), "test_skipped": (None,)}


def test_the_last_outcome_of_every_case_is_remembered(checkout: Path) -> None:
    run(checkout)
    assert states(checkout) == {
        "test_numbers": ("passed", "failed"),
        "test_sound": ("passed",),
        "test_skipped": ("skipped",),
    }


def test_a_run_of_some_tests_leaves_what_is_known_of_the_others(checkout: Path) -> None:
    run(checkout)
    path = checkout / "tests" / "test_tried.py"
    path.write_text(TRIED.replace("n < 2", "n < 3"))
    run(checkout, "tests/test_tried.py::test_numbers")
    assert states(checkout)["test_numbers"] == ("passed", "passed")
    assert states(checkout)["test_skipped"] == ("skipped",)


def test_an_error_after_a_test_is_a_failure_of_it(checkout: Path) -> None:
    fixture = "import pytest\n\n@pytest.fixture\ndef broken():\n    yield\n    raise OSError\n"
    path = checkout / "tests" / "test_tried.py"
    path.write_text(fixture + TRIED.replace("test_sound()", "test_sound(broken)"))
    run(checkout)
    assert states(checkout)["test_sound"] == ("failed",)


def test_collecting_leaves_no_outcomes(checkout: Path) -> None:
    marked_tests(checkout)
    assert not list(checkout.glob(".test-outcomes*"))


def test_each_test_knows_its_clauses(checkout: Path) -> None:
    found = {test.node: test.clauses for test in marked_tests(checkout).marked}
    assert found["tests/test_tried.py::test_sound"] == ("E1", "L1")
    assert "tests/test_tried.py::test_of_no_clause" not in found


def test_a_file_that_cannot_be_imported_is_told_and_the_others_are_collected(checkout: Path) -> None:
    (checkout / "tests" / "test_broken.py").write_text("import nothing_of_that_name\n")
    found = marked_tests(checkout)
    assert len(found.marked) == 3
    (problem,) = found.problems
    assert problem.startswith("tests/test_broken.py")


def test_a_checkout_without_tests_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GovernanceError, match="could not be collected"):
        marked_tests(tmp_path)


def test_damaged_outcomes_are_an_error_for_readers_and_replaced_by_the_next_run(checkout: Path) -> None:
    (checkout / ".test-outcomes.json").write_text("{")
    with pytest.raises(GovernanceError, match=r"\.test-outcomes\.json is not JSON"):
        marked_tests(checkout)
    run(checkout)
    assert json.loads((checkout / ".test-outcomes.json").read_text())
