"""How the commands about clauses say what they found. Pure: lines of text out."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

from governance.coverage import KINDS, Answer, Coverage, MarkedTest, Reference, Standing
from governance.policy import Policy
from governance.retention_rules import RetentionRule
from governance.rules import Rule

ROWS_SHOWN = 15
RETAINED = "rows_ended"
"""The evidence that tells of each rule of retention, whatever its clause."""
SEVERITIES = {
    "critical": "critical: nothing of the batch goes on",
    "warning": "warning: the row is held back",
    "info": "info: counted only",
}
NONE_SAID = {
    "code": "Nothing in this version enforces it.",
    "expectation": "No rule would notice it being broken.",
    "test": "No test proves it.",
    "evidence": "There is no evidence to read.",
}


@dataclass(frozen=True)
class Background:
    """What an answer draws on beside the clause's own references."""

    policy: Policy
    rules: Mapping[str, Rule]
    tests: Sequence[MarkedTest]
    answers: Mapping[str, Answer]


# -- one line ----------------------------------------------------------------------------------------------------------


def line(coverage: Coverage, width: int | None = None) -> str:
    """A clause on one line: id, status, then code, expectation, test, evidence by name; with a width, counted."""
    parts = [f"{kind}: {_named(coverage.of_kind(kind))}" for kind in KINDS]
    if width is not None:
        parts = [f"{kind} {_counted(coverage.of_kind(kind))}" for kind in KINDS]
    text = f"{coverage.clause:<2} {coverage.status:<7}  {' · '.join(parts)}"
    return text if width is None or len(text) <= width else text[: width - 1] + "…"


def _named(references: Sequence[Reference]) -> str:
    return ", ".join(map(_with_note, references)) or "none"


def _with_note(reference: Reference) -> str:
    says = reference.kind in ("test", "evidence") or reference.standing is Standing.BROKEN
    return f"{reference.name} ({reference.note})" if says and reference.note else reference.name


def _counted(references: Sequence[Reference]) -> str:
    if not references:
        return "-"
    if references[0].kind == "evidence":
        return _named(references)
    words = Counter(_word(reference) for reference in references)
    told = ", ".join(word if count == len(references) else f"{count} {word}" for word, count in words.items() if word)
    return f"{len(references)}{f' ({told})' if told else ''}"


def _word(reference: Reference) -> str:
    if reference.standing is Standing.BROKEN:
        return "FAILED" if reference.kind == "test" else "DO NOT RESOLVE"
    return reference.note.partition(",")[0] if reference.kind == "test" else ""


# -- the answer to an auditor ------------------------------------------------------------------------------------------


def answer(coverage: Coverage, background: Background, *, width: int) -> Iterator[str]:
    """The answer to an auditor about one clause, in lines of at most `width`.

    What it asks for, how that is done, which rules would notice, what proves it, and what is still open.
    """
    clause = background.policy.clauses[coverage.clause]
    yield from _wrapped(f"{coverage.clause}  {clause.title}", width)
    yield from _wrapped(_verdict(coverage), width, "    ")
    yield from _section("What must be true", [clause.must], width)
    yield from _section("How it is enforced", list(_code(coverage)) or [NONE_SAID["code"]], width)
    yield from _section("What retention does for it", list(_retention(background, coverage.clause)), width)
    rules = list(_rules(coverage, background.rules))
    yield from _section("Which rules notice", rules or [NONE_SAID["expectation"]], width)
    tests = list(_tests(coverage, background.tests))
    yield from _section("Which tests prove it", tests or [NONE_SAID["test"]], width)
    yield ""
    yield "Evidence, from the run log as role auditor reads it now"
    yield from _evidence(coverage, background.answers, width)
    left_open = list(_open_values(background.policy, coverage.clause))
    yield from _section("What the privacy policy leaves open, and who decided", left_open, width)
    yield from _section("What this version does not do yet", list(clause.not_yet), width)


def _verdict(coverage: Coverage) -> str:
    if coverage.is_covered:
        return "covered: there is code, a rule, a test and evidence"
    falls = (Standing.BROKEN, Standing.EMPTY)
    wrong = [f"{r.kind} {r.name} {r.note}" for r in coverage.references if r.standing in falls]
    return f"gap: {'; '.join([*(f'no {kind}' for kind in coverage.missing), *wrong])}"


def _section(title: str, items: Sequence[str | tuple[str, ...]], width: int) -> Iterator[str]:
    """A title, then items; an item is a text, or a heading with what stands under it."""
    if not items:
        return
    yield ""
    yield title
    for item in items:
        head, *bodies = (item,) if isinstance(item, str) else item
        yield from _wrapped(head, width, "    ")
        for body in bodies:
            yield from _wrapped(body, width, "        ")


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    hanging = indent if indent else "    "
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def _code(coverage: Coverage) -> Iterator[tuple[str, str]]:
    for reference in coverage.of_kind("code"):
        yield reference.name, reference.note


def _rules(coverage: Coverage, rules: Mapping[str, Rule]) -> Iterator[tuple[str, str]]:
    for reference in coverage.of_kind("expectation"):
        rule = rules.get(reference.name)
        if rule is None:
            yield reference.name, reference.note
            continue
        by = f"Great Expectations, on {', '.join(rule.tables)}" if rule.by == "Great Expectations" else rule.by
        yield f"{rule.rule}  ({SEVERITIES[rule.severity]})", f"{' '.join(rule.reasons)} Asked at {rule.at} by {by}."


def _tests(coverage: Coverage, tests: Sequence[MarkedTest]) -> Iterator[tuple[str, ...]]:
    """Per file, its tests."""
    dated = {test.node: test for test in tests}
    by_file: dict[str, list[str]] = {}
    for reference in coverage.of_kind("test"):
        file, _, function = reference.name.partition("::")
        test = dated[reference.name]
        cases = f", {len(test.outcomes)} cases" if len(test.outcomes) > 1 else ""
        at = f", {test.last_at}" if test.last_at else ""
        by_file.setdefault(file, []).append(f"{function}: {reference.note}{cases}{at}")
    for file, lines in by_file.items():
        yield file, *lines


def _open_values(policy: Policy, clause: str) -> Iterator[tuple[str, str]]:
    for name, value in policy.open_values.items():
        if value.clause == clause:
            at = f", {value.decided_at.isoformat()}" if value.decided_at else ""
            yield f"{name} = {_shown(value.value)}  (decided by: {value.decided_by}{at})", value.rationale


def _retention(background: Background, clause: str) -> Iterator[tuple[str, ...]]:
    """Per rule of retention of the clause: what it does, why, and what its last run found, left and proved."""
    answer = background.answers.get(RETAINED)
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows] if answer else []
    last = {row.get("rule"): row for row in rows}
    for name, rule in background.policy.retention.rules.items():
        if rule.clause == clause:
            told = () if rule.act == "keep" or answer is None else (_last_run(last.get(name)),)
            yield f"{name}: {_end_of(background.policy, rule)}", rule.rationale, *told


def _last_run(row: Mapping[str, Any] | None) -> str:
    """A row of `sql/evidence/rows_ended.sql` as a sentence."""
    if row is None:
        return "It has not run yet."
    begins = f"Last run {row['ran_at'][:16].replace('T', ' ')} UTC ({row['outcome']})"
    if row["due"] is None:
        return f"{begins}: nothing was ended; `governance runs --failed` tells why."
    oldest = row["oldest_kept_hours"]
    age = "" if oldest is None else f", the oldest {oldest / 24:.1f} days old"
    return (
        f"{begins}: {row['due']:,} due, {row['ended']:,} ended, {row['on_hold']:,} on hold; {row['kept']:,} stay{age}; "
        f"a search afterwards found {row['left_due']:,} due."
    )


def _end_of(policy: Policy, rule: RetentionRule) -> str:
    where = f"{rule.table} at the source" if rule.store == "source" else rule.table
    of = "".join(f", {column} {value}" for column, value in rule.only.items())
    if rule.act == "keep":
        return f"{where} keeps its rows"
    does = "deletes rows" if rule.act == "delete" else f"blanks {', '.join(rule.columns)}"
    if not rule.term:
        return f"{does} of {where}{of} with the next run"
    less = f" less {policy.open_values[rule.margin].value} hours" if rule.margin else ""
    return f"{does} of {where}{of} {policy.open_values[rule.term].value} days after {rule.clock}{less}"


def _shown(value: Any) -> str:
    return ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, Mapping) else str(value)


# -- tables ------------------------------------------------------------------------------------------------------------


def _evidence(coverage: Coverage, answers: Mapping[str, Answer], width: int) -> Iterator[str]:
    references = coverage.of_kind("evidence")
    if not references:
        yield f"    {NONE_SAID['evidence']}"
    for reference in references:
        yield f"    {reference.name} ({reference.note})"
        found = answers.get(reference.name)
        if found and found.rows:
            for row in table(found.columns, found.rows[:ROWS_SHOWN]):
                yield f"    {row}"[:width]
            if len(found.rows) > ROWS_SHOWN:
                yield f"    ... {len(found.rows) - ROWS_SHOWN} more: sql/evidence/{reference.name}.sql lists them"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A small table as lines: headings of two lines where a name has several words, numbers to the right.

    >>> table(["partition_key", "views"], [["2026-03-10", 12], ["2026-03-11", None]])
    ['partition', 'key         views', '2026-03-10     12', '2026-03-11      -']
    """
    heads = [_two_lines(name) for name in columns]
    cells = [["-" if value is None else str(value) for value in row] for row in rows]
    widths = [max(map(len, (*heads[i], *(row[i] for row in cells)))) for i in range(len(columns))]
    right = [any(isinstance(row[i], Number) for row in rows) for i in range(len(columns))]
    grid = [[head[0] for head in heads], [head[1] for head in heads], *cells]
    lines = ["  ".join(_padded(text, widths[i], right[i]) for i, text in enumerate(row)).rstrip() for row in grid]
    return [text for text in lines if text]


def _padded(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _two_lines(name: str) -> tuple[str, str]:
    """The heading of a column in two lines of about one length; a short one stands in the second."""
    words = name.split("_")
    if len(words) == 1:
        return "", name
    cut = min(range(1, len(words)), key=lambda at: abs(len("_".join(words[:at])) - len("_".join(words[at:]))))
    return " ".join(words[:cut]), " ".join(words[cut:])
