"""What the commands about clauses read of this checkout: code, tests and their last outcomes, the site's run log."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from governance import patience
from governance.coverage import Answer, MarkedTest, Reference, Standing
from governance.database import translated
from governance.embedded.site import Site
from governance.errors import GovernanceError, SiteError, WarehouseUnavailableError
from governance.sources import named_query

PACKAGE = Path(__file__).parents[1]
CHECKOUT = PACKAGE.parents[1]
OUTCOMES = ".test-outcomes.json"
COLLECTION_SECONDS = 180

PARSED_ONLY = ("governance.orchestration",)
"""Modules whose symbols are found by parsing, because importing them would import Airflow."""


# -- code --------------------------------------------------------------------------------------------------------------


def code(symbol: str) -> Reference:
    """A symbol, `module:name` or `module:Class.method`; the note is the first sentence of its docstring."""
    module, _, name = symbol.partition(":")
    if not module.startswith("governance"):
        return Reference("code", symbol, Standing.BROKEN, "is not a symbol of this project")
    try:
        text = _parsed_doc(module, name) if module in PARSED_ONLY else _imported_doc(module, name)
    except (ImportError, AttributeError, FileNotFoundError) as error:
        return Reference("code", symbol, Standing.BROKEN, f"cannot be imported ({type(error).__name__})")
    return Reference("code", symbol, Standing.SOUND, first_sentence(text))


def _imported_doc(module: str, name: str) -> str:
    owner: Any = importlib.import_module(module)
    found = owner
    for part in filter(None, name.split(".")):
        found = getattr(found, part)
    documented = inspect.isroutine(found) or inspect.isclass(found) or inspect.ismodule(found)
    return inspect.getdoc(found if documented else owner) or ""


def _parsed_doc(module: str, name: str) -> str:
    path = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    node: Any = ast.parse(path.read_text("utf-8"))
    for part in filter(None, name.split(".")):
        node = next((child for child in node.body if getattr(child, "name", None) == part), None)
        if node is None:
            raise AttributeError(name)
    return ast.get_docstring(node) or ""


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line.

    >>> first_sentence("Bring it in, e.g. here. Then\\nmore.")
    'Bring it in, e.g. here.'
    """
    paragraph = " ".join(text.partition("\n\n")[0].split())
    # A sentence ends where the next one begins with a capital: "e.g. here" goes on.
    return re.split(r"(?<=\.) (?![a-z])", paragraph, maxsplit=1)[0]


# -- tests -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Collected:
    """The tests that are marked with clauses, and what kept pytest from collecting others."""

    marked: tuple[MarkedTest, ...]
    problems: tuple[str, ...] = ()

    def of_clause(self, clause: str) -> tuple[Reference, ...]:
        """The proofs of one clause."""
        return tuple(test.reference for test in self.marked if clause in test.clauses)


def marked_tests(checkout: Path = CHECKOUT) -> Collected:
    """Every test that pytest collects with a clause marker, with its last outcome in this checkout.

    Raises GovernanceError when pytest cannot be run at all.
    """
    collected, problems = _collected(checkout)
    outcomes = _outcomes(checkout / OUTCOMES)
    cases: dict[str, list[str]] = {}
    clauses: dict[str, tuple[str, ...]] = {}
    for node, marked in collected.items():
        function = node.partition("[")[0]
        cases.setdefault(function, []).append(node)
        clauses[function] = tuple(sorted({*clauses.get(function, ()), *marked}))
    found = []
    for function, nodes in cases.items():
        known = [outcomes.get(node) for node in nodes]
        at = max((record["at"] for record in known if record), default=None)
        states = tuple(record["outcome"] if record else None for record in known)
        found.append(MarkedTest(function, clauses[function], states, at))
    return Collected(tuple(found), tuple(problems))


def _collected(checkout: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Node id -> clauses of every marked test, and what failed; in a process of its own, for it imports every test."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "nodes.json"
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, f"--clause-nodes={listing}", "tests"],
                cwd=checkout, capture_output=True, text=True, check=False, timeout=COLLECTION_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise GovernanceError(f"the tests could not be collected within {COLLECTION_SECONDS} s") from None
        if not listing.exists():
            told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise GovernanceError(f"the tests could not be collected: {' '.join(told) or 'pytest said nothing'}")
        nodes: dict[str, list[str]] = json.loads(listing.read_text("utf-8"))
    failed = [text for text in done.stdout.splitlines() if text.startswith("ERROR ")]
    return nodes, [f"{text.removeprefix('ERROR ')} (cannot be collected)" for text in dict.fromkeys(failed)]


def _outcomes(path: Path) -> Mapping[str, Mapping[str, str]]:
    try:
        outcomes: Mapping[str, Mapping[str, str]] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise GovernanceError(f"{path.name} is not JSON; delete it, the next run of the tests writes it anew") from None
    return outcomes


# -- evidence ----------------------------------------------------------------------------------------------------------


@dataclass
class RunLog:
    """The site's run log, as the auditor reads it; `dsn` None where no site is up."""

    dsn: str | None = field(repr=False)
    policy_path: Path | None = None  # the site's own part of the policy
    site: Site | None = field(default=None, repr=False)
    answers: dict[str, Answer] = field(default_factory=dict)

    @classmethod
    def here(cls) -> RunLog:
        """The site of this checkout, if it is up."""
        from governance.embedded import site as sites

        try:
            site = sites.load()
            found = cls(site.dsn("auditor"), site.policy_path, site)
            found.ask("SELECT 1")
        except (SiteError, WarehouseUnavailableError):
            return cls(None)
        return found

    def ask(self, query: str) -> Answer:
        """The answer of a query. Raises WarehouseUnavailableError without a server, GovernanceError when it fails."""
        with translated(), closing(patience.connect(self.dsn or "", connect_timeout=5)) as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            return Answer(tuple(column.name for column in cursor.description or ()), tuple(cursor.fetchall()))

    @property
    def has_releases(self) -> bool:
        """Whether anything was ever published here."""
        return self.dsn is not None and bool(self.ask(named_query("evidence/releases")).rows)

    def evidence(self, name: str, *, has_releases: bool) -> Reference:
        """A named query as a proof; its answer is kept in `answers`."""
        try:
            query = named_query(f"evidence/{name}")
        except FileNotFoundError:
            return Reference("evidence", name, Standing.BROKEN, f"there is no sql/evidence/{name}.sql")
        if self.dsn is None:
            return Reference("evidence", name, Standing.UNCHECKED, "site not up")
        try:
            answer = self.answers[name] = self.ask(query)
        except GovernanceError as error:
            return Reference("evidence", name, Standing.BROKEN, str(error))
        if answer.rows:
            count = len(answer.rows)
            return Reference("evidence", name, Standing.SOUND, f"{count} {'row' if count == 1 else 'rows'}")
        if has_releases:
            return Reference("evidence", name, Standing.EMPTY, "no rows, though the site has releases")
        return Reference("evidence", name, Standing.UNCHECKED, "no releases yet")
