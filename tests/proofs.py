"""A pytest plugin for `governance coverage`: which tests prove which clause, and how each test ended here last."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

OUTCOMES = ".test-outcomes.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--clause-nodes", metavar="FILE", help="write the collected tests that prove a clause, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Proofs(config), "clause-proofs")


class Proofs:
    """Collects node id -> clauses, and the outcome of every test that was run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.outcomes: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        path = self.config.getoption("--clause-nodes")
        if path:
            marked = {
                item.nodeid: [str(mark.args[0]) for mark in item.iter_markers("clause")] for item in session.items
            }
            Path(path).write_text(json.dumps({node: clauses for node, clauses in marked.items() if clauses}), "utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test has three phases: it passed when its call did, unless what comes after fails.
        if report.failed or self.outcomes.get(report.nodeid) == "failed":
            self.outcomes[report.nodeid] = "failed"
        elif report.skipped or report.when == "call":
            self.outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        if self.outcomes:
            merge(self.config.rootpath / OUTCOMES, self.outcomes, datetime.now(UTC).isoformat(timespec="seconds"))


def merge(path: Path, outcomes: dict[str, str], at: str) -> None:
    """Put outcomes into the file, beside those of tests that were not run this time; two runs may end at once."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            known = json.loads(path.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            known = {}
        known.update({node: {"outcome": outcome, "at": at} for node, outcome in outcomes.items()})
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n", "utf-8")
        os.replace(draft, path)
