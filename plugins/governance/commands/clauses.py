"""`governance coverage` and `governance explain`: what each clause of the privacy policy rests on, here and now."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys

from governance.commands import clause_texts, log_evidence
from governance.commands.proofs import Collected, RunLog, code, marked_tests
from governance.coverage import Coverage, Reference, Standing, broken
from governance.embedded.cli import say
from governance.errors import InputError
from governance.policy import Clause, Policy, load
from governance.rules import Rule, declared
from governance.validation import load_suite

PAGE = 120
"""Widest line on a terminal."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    coverage = subparsers.add_parser(
        "coverage", help="one line per clause of the privacy policy: the code, rules, tests and evidence that prove it"
    )
    coverage.add_argument("--json", action="store_true", help="everything, as one JSON document")
    coverage.add_argument("--wide", action="store_true", help="every reference by name, as a pipe gets them")
    coverage.set_defaults(run=_coverage)
    explain = subparsers.add_parser("explain", help="the answer to an auditor who asks about one clause, such as L1")
    explain.add_argument("clause", metavar="CLAUSE", help="id of the clause: A1, B1 ... R1")
    explain.set_defaults(run=_explain)


@dataclasses.dataclass(frozen=True)
class Proofs:
    """What the clauses' references are looked up in."""

    rules: dict[str, Rule]
    tests: Collected
    log: RunLog
    has_releases: bool

    @classmethod
    def of(cls, policy: Policy, tests: Collected, log: RunLog) -> Proofs:
        """Those of a policy, with tests and a log that were read before."""
        return cls(declared(load_suite(name) for name in policy.datasets), tests, log, log.has_releases)

    def of_clause(self, name: str, clause: Clause) -> Coverage:
        """How every reference of one clause stands."""
        return Coverage(
            name,
            (
                *map(code, clause.code),
                *(self._expectation(name, rule) for rule in clause.expectations),
                *self.tests.of_clause(name),
                *(self.log.evidence(query, has_releases=self.has_releases) for query in clause.evidence),
            ),
        )

    def _expectation(self, clause: str, name: str) -> Reference:
        rule = self.rules.get(name)
        if rule is None:
            return Reference("expectation", name, Standing.BROKEN, "is no rule of any suite")
        if rule.clause != clause:
            return Reference("expectation", name, Standing.BROKEN, f"is a rule of clause {rule.clause}")
        if rule.by.startswith("governance") and code(rule.by).standing is Standing.BROKEN:
            return Reference("expectation", name, Standing.BROKEN, f"is checked by {rule.by}, which cannot be imported")
        return Reference("expectation", name, Standing.SOUND, rule.severity)


def _coverage(arguments: argparse.Namespace) -> int:
    policy = load()
    proofs = Proofs.of(policy, marked_tests(), RunLog.here())
    coverages = [proofs.of_clause(name, clause) for name, clause in policy.clauses.items()]
    strangers = sorted({clause for test in proofs.tests.marked for clause in test.clauses} - set(policy.clauses))
    problems = [f"{clause}, {r.kind} {r.name}: {r.note}" for clause, r in broken(coverages)]
    problems += [f"tests are marked with clause {clause}, which the register does not know" for clause in strangers]
    problems += proofs.tests.problems
    if arguments.json:
        clauses = [_document(coverage, policy.clauses[coverage.clause]) for coverage in coverages]
        say(json.dumps({"clauses": clauses, "problems": problems}, indent=2))
        return 1 if problems else 0
    width = None if arguments.wide or not sys.stdout.isatty() else min(PAGE, shutil.get_terminal_size().columns)
    for coverage in coverages:
        say(clause_texts.line(coverage, width))
    covered = sum(1 for coverage in coverages if coverage.is_covered)
    say(f"\n{covered} covered, {len(coverages) - covered} gaps; `governance explain CLAUSE` tells more about one")
    for problem in problems:
        say(f"problem: {problem}")
    return 1 if problems else 0


def _document(coverage: Coverage, clause: Clause) -> dict[str, object]:
    return {
        "clause": coverage.clause,
        "status": coverage.status,
        "title": clause.title,
        "missing": list(coverage.missing),
        "not_yet": list(clause.not_yet),
        "references": [dataclasses.asdict(reference) for reference in coverage.references],
    }


def _explain(arguments: argparse.Namespace) -> int:
    log = RunLog.here()
    policy = load(site=log.policy_path)
    name = arguments.clause.upper()
    if name not in policy.clauses:
        known = ", ".join(policy.clauses)
        raise InputError(f"there is no clause {arguments.clause!r} in the register; there are {known}")
    proofs = Proofs.of(policy, marked_tests(), log)
    coverage = proofs.of_clause(name, policy.clauses[name])
    background = clause_texts.Background(policy, proofs.rules, proofs.tests.marked, log.answers)
    if any(rule.clause == name for rule in policy.retention.rules.values()):
        log.evidence(clause_texts.RETAINED, has_releases=proofs.has_releases)
    width = min(PAGE, shutil.get_terminal_size((PAGE, 24)).columns)
    for line in clause_texts.answer(coverage, background, width=width):
        say(line)
    if log.site is not None:
        say("\nThe latest evidence, from the run log")
        for line in log_evidence.lines(log.site, name):
            say(line)
    return 0
