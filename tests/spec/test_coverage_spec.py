"""What `governance coverage` says of a clause, and with which exit code; and what the register has to hold."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from governance.__main__ import main
from governance.commands import clauses
from governance.commands.proofs import PACKAGE, Collected, RunLog, code, marked_tests
from governance.coverage import Answer, MarkedTest
from governance.policy import Clause, Policy, load
from governance.rules import Rule, declared
from governance.sources import named_query
from governance.validation import load_suite

POLICY = load()
REGISTER = POLICY.clauses
RULES = declared(load_suite(name) for name in POLICY.datasets)

EVERY_CLAUSE = [
    "A1", "B1", "B2", "C1", "C2", "C3", "C4", "C5", "C6", "D1", "E1", "E2", "F1", "G1", "H1", "I1", "I2",
    "J1", "J2", "K1", "K2", "K3", "K4", "L1", "L2", "L3", "M1", "N1", "R1",
]  # fmt: skip
BUILT = [
    "A1", "B1", "B2", "C6", "E1", "E2", "F1", "H1", "I2", "J1", "K1", "K2", "K3", "K4", "L1", "L2", "L3", "N1", "R1",
]  # fmt: skip

PROVEN = Clause(
    title="t",
    must="m",
    code=("governance.age:whole_years",),
    expectations=("L1.adult_at_booking",),
    evidence=("ages",),
)
PASSED = MarkedTest("tests/test_a.py::test_it", ("L1",), ("passed",), "2026-03-10T00:00:00+00:00")


class Asked(RunLog):
    """A run log with given answers: name of the query -> number of rows."""

    def __init__(self, rows: dict[str, int]) -> None:
        super().__init__("a site")
        self.given = {named_query(f"evidence/{name}"): count for name, count in rows.items()}

    def ask(self, query: str) -> Answer:
        return Answer(("n",), tuple((n,) for n in range(self.given.get(query, 0))))


def covered(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    clause: Clause,
    *tests: MarkedTest,
    log: RunLog | None = None,
    problems: tuple[str, ...] = (),
) -> tuple[int, str]:
    """Exit code and status of a register that holds this clause alone, as L1."""
    policy = POLICY.model_copy(update={"clauses": {"L1": clause}})
    monkeypatch.setattr(clauses, "load", lambda: policy)
    monkeypatch.setattr(clauses, "marked_tests", lambda: Collected(tests, problems))
    monkeypatch.setattr(RunLog, "here", classmethod(lambda cls: log or RunLog(None)))
    exit_code = main(["coverage"])
    return exit_code, capsys.readouterr().out.split()[1]


@pytest.mark.parametrize(
    ("change", "test", "exit_code", "status"),
    [
        ({}, PASSED, 0, "covered"),
        ({}, replace(PASSED, outcomes=(None,)), 0, "covered"),
        ({}, replace(PASSED, outcomes=("passed", None)), 0, "covered"),
        ({}, replace(PASSED, outcomes=("skipped",)), 0, "covered"),
        ({}, replace(PASSED, outcomes=("failed",)), 1, "gap"),
        ({}, replace(PASSED, outcomes=("passed", "failed")), 1, "gap"),
        ({}, None, 0, "gap"),
        ({"code": ()}, PASSED, 0, "gap"),
        ({"expectations": ()}, PASSED, 0, "gap"),
        ({"evidence": ()}, PASSED, 0, "gap"),
        ({"code": ("governance.age:half_years",)}, PASSED, 1, "gap"),
        ({"code": ("governance.ages:whole_years",)}, PASSED, 1, "gap"),
        ({"code": ("governance.orchestration:no_such_task",)}, PASSED, 1, "gap"),
        ({"code": ("os:remove",)}, PASSED, 1, "gap"),
        ({"expectations": ("L1.adult_sometimes",)}, PASSED, 1, "gap"),
        ({"expectations": ("A1.terms_accepted",)}, PASSED, 1, "gap"),
        ({"evidence": ("no_such_query",)}, PASSED, 1, "gap"),
    ],
    ids=[
        "everything is there",
        "the test was not run here",
        "one case was not run here",
        "the test was skipped",
        "the test failed",
        "one case of the test failed",
        "no test",
        "no code",
        "no rule",
        "no evidence",
        "a function that does not exist",
        "a module that does not exist",
        "a task that does not exist",
        "a symbol of somebody else",
        "a rule that does not exist",
        "a rule of another clause",
        "a query that does not exist",
    ],
)
def test_a_gap_alone_is_no_failure_but_a_broken_reference_is(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, tuple[str, ...]],
    test: MarkedTest | None,
    exit_code: int,
    status: str,
) -> None:
    tests = (test,) if test else ()
    assert covered(monkeypatch, capsys, PROVEN.model_copy(update=change), *tests) == (exit_code, status)


@pytest.mark.parametrize(
    ("rows", "exit_code", "status"),
    [
        ({}, 0, "covered"),
        ({"releases": 1}, 0, "gap"),
        ({"releases": 1, "ages": 1}, 0, "covered"),
    ],
    ids=["nothing was released yet", "releases, and no evidence", "releases, and evidence"],
)
def test_evidence_has_to_be_there_once_there_are_releases(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rows: dict[str, int],
    exit_code: int,
    status: str,
) -> None:
    assert covered(monkeypatch, capsys, PROVEN, PASSED, log=Asked(rows)) == (exit_code, status)


def test_a_test_marked_with_a_clause_that_nobody_knows_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = replace(PASSED, clauses=("L1", "Z9"))
    assert covered(monkeypatch, capsys, PROVEN, stranger) == (1, "covered")


def test_tests_that_cannot_be_collected_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert covered(monkeypatch, capsys, PROVEN, PASSED, problems=("tests/test_b.py (cannot be collected)",))[0] == 1


def test_a_line_begins_with_id_and_status_and_names_the_four_proofs_in_their_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clauses, "load", lambda: POLICY.model_copy(update={"clauses": {"L1": PROVEN}}))
    monkeypatch.setattr(clauses, "marked_tests", lambda: Collected((PASSED,)))
    monkeypatch.setattr(RunLog, "here", classmethod(lambda cls: RunLog(None)))
    main(["coverage"])
    assert capsys.readouterr().out.splitlines()[0] == (
        "L1 covered  code: governance.age:whole_years · expectation: L1.adult_at_booking"
        " · test: tests/test_a.py::test_it (passed) · evidence: ages (site not up)"
    )


def test_json_says_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(clauses, "load", lambda: POLICY.model_copy(update={"clauses": {"L1": PROVEN}}))
    monkeypatch.setattr(clauses, "marked_tests", lambda: Collected((PASSED,)))
    monkeypatch.setattr(RunLog, "here", classmethod(lambda cls: RunLog(None)))
    assert main(["coverage", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["clauses"]
    assert (said["clause"], said["status"], said["missing"]) == ("L1", "covered", [])
    assert [r["kind"] for r in said["references"]] == ["code", "expectation", "test", "evidence"]


# -- the register ------------------------------------------------------------------------------------------------------


def test_the_register_holds_every_clause_in_order() -> None:
    assert list(REGISTER) == EVERY_CLAUSE


@pytest.fixture(scope="module")
def proofs() -> clauses.Proofs:
    """The register's proofs as this checkout has them, whatever ran here before, and without a site."""
    tests = tuple(replace(test, outcomes=(None,)) for test in marked_tests().marked)
    return clauses.Proofs.of(POLICY, Collected(tests), RunLog(None))


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
def test_what_is_built_is_no_gap(proofs: clauses.Proofs, name: str) -> None:
    assert proofs.of_clause(name, REGISTER[name]).is_covered


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(EVERY_CLAUSE) - set(BUILT)))
def test_what_is_not_built_is_a_gap(proofs: clauses.Proofs, name: str) -> None:
    assert not proofs.of_clause(name, REGISTER[name]).is_covered


@pytest.mark.slow
def test_every_clause_that_a_test_names_is_in_the_register(proofs: clauses.Proofs) -> None:
    assert {clause for test in proofs.tests.marked for clause in test.clauses} <= set(REGISTER)


@pytest.mark.parametrize("symbol", sorted({symbol for clause in REGISTER.values() for symbol in clause.code}))
def test_every_symbol_is_there_and_says_what_it_does(symbol: str) -> None:
    reference = code(symbol)
    assert reference.standing.value == "sound", reference.note
    assert reference.note.endswith(".")


def test_every_rule_of_the_suites_is_named_by_its_own_clause_once() -> None:
    named = Counter((name, rule) for name, clause in REGISTER.items() for rule in clause.expectations)
    assert set(named) == {(rule.clause, rule.rule) for rule in RULES.values()}
    assert set(named.values()) == {1}


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.rule)
def test_every_rule_begins_with_its_clause_and_has_a_reason(rule: Rule) -> None:
    assert rule.rule.startswith(f"{rule.clause}.")
    assert rule.severity in ("critical", "warning", "info")
    assert all(reason.endswith(".") for reason in rule.reasons)


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule.at != "validate"], ids=lambda rule: rule.rule)
def test_every_check_names_code_that_is_there(rule: Rule) -> None:
    assert code(rule.by).standing.value == "sound"


def test_every_query_of_evidence_is_named_by_a_clause() -> None:
    named = {query for clause in REGISTER.values() for query in clause.evidence}
    assert named == {path.stem for path in (PACKAGE / "sql" / "evidence").glob("*.sql")}


@pytest.mark.parametrize("query", sorted({query for clause in REGISTER.values() for query in clause.evidence}))
def test_evidence_is_read_from_the_run_log_alone(query: str) -> None:
    words = named_query(f"evidence/{query}").replace("(", " ").split()
    tables = {word.rstrip(",") for word in words if "." in word and word.split(".")[0] in POLICY.zones}
    assert tables == {"audit.run_log"}


def clauses_named_by(policy: Policy) -> set[str]:
    """Every clause that anything in the policy files refers to."""
    named = {value.clause for value in policy.open_values.values()}
    named |= {purpose.clause for purpose in policy.purposes.values()}
    named |= {rule.clause for rule in policy.retention.rules.values()}
    return named | {clause for dataset in policy.datasets.values() for clause in dataset.clauses}


def test_every_clause_that_policy_names_is_in_the_register() -> None:
    assert clauses_named_by(POLICY) <= set(REGISTER)
