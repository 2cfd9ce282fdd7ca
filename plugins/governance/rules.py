"""The rules of the suites by id: what Great Expectations evaluates, and the checks that code makes elsewhere. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from governance.errors import PolicyError

CHECK_KEYS = ("rule", "clause", "severity", "table", "at", "by", "reason")


@dataclass(frozen=True)
class Rule:
    """One rule of one or several suites: what it belongs to, where it is looked at, why, and by whom."""

    rule: str
    clause: str
    severity: str
    at: str  # the hop that asks: validate, pull, publish ...
    by: str  # 'Great Expectations', or the symbol that checks
    tables: tuple[str, ...]
    reasons: tuple[str, ...]


def declared(suites: Iterable[Mapping[str, Any]]) -> dict[str, Rule]:
    """Every rule of the suites by its id, in their order.

    Raises PolicyError when a check of a suite's meta lacks a key, or one id stands for two clauses or severities.

    >>> meta = {"rule": "L1.adult_at_booking", "clause": "L1", "table": "travellers", "reason": "Nobody under 18."}
    >>> suite = {"name": "bookings", "meta": {}, "expectations": [{"severity": "warning", "meta": meta}]}
    >>> declared([suite])["L1.adult_at_booking"].tables
    ('travellers',)
    """
    found: dict[str, Rule] = {}
    for suite in suites:
        for rule in _rules_of(suite):
            known = found.get(rule.rule)
            found[rule.rule] = _joined(known, rule, str(suite["name"])) if known else rule
    return found


def _rules_of(suite: Mapping[str, Any]) -> Iterable[Rule]:
    for expectation in suite["expectations"]:
        meta = expectation["meta"]
        yield _rule({**meta, "severity": expectation["severity"], "at": "validate", "by": "Great Expectations"})
    meta = suite.get("meta", {})
    if "evaluated_rows" in meta:
        yield _rule(
            {**meta["evaluated_rows"], "table": "every table", "at": "validate", "by": "governance.validation:validate"}
        )
    for number, check in enumerate(meta.get("checks", [])):
        missing = [key for key in CHECK_KEYS if not check.get(key)]
        if missing:
            raise PolicyError(f"suite {suite['name']}, check {number}: has no {', '.join(missing)}")
        yield _rule(check)


def _rule(meta: Mapping[str, Any]) -> Rule:
    return Rule(
        meta["rule"], meta["clause"], meta["severity"], meta["at"], meta["by"], (meta["table"],), (meta["reason"],)
    )


def _joined(known: Rule, again: Rule, suite: str) -> Rule:
    if replace(again, tables=known.tables, reasons=known.reasons) != known:
        raise PolicyError(
            f"suite {suite}, rule {again.rule}: not the clause, severity, place or check of its first mention"
        )
    tables = dict.fromkeys((*known.tables, *again.tables))
    reasons = dict.fromkeys((*known.reasons, *again.reasons))
    return replace(known, tables=tuple(tables), reasons=tuple(reasons))


def suite_text(suite: Mapping[str, Any]) -> str:
    """A suite as the text that its digest is of: compact JSON, keys in order."""
    return json.dumps(suite, sort_keys=True, separators=(",", ":"))


def suite_digest(suite: Mapping[str, Any]) -> str:
    """SHA-256 over a suite's canonical JSON."""
    return hashlib.sha256(suite_text(suite).encode()).hexdigest()
