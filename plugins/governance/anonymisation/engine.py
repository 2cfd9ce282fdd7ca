"""Anonymise a table: read it once into a census, recode that, measure it, write it; or refuse and write nothing.

What the measures leave open. *k* of people hides who of a class a person is, not what the class has in common. *l* says
that an attacker cannot be sure of a value by the class alone; it leaks the class's shares (entropy l bounds them on
average), says nothing of values that mean alike, and falls to whoever knows l - 1 others. *t* bounds what a class tells
beyond the whole table; what the whole table tells stays. Columns that are kept are published as they are. Releases that
follow one another compose: a person in two of them may lie in the intersection of two classes.

Attacks that know this algorithm. *Downcoding* (Cohen 2022) uses that hierarchical labels are minimal: a box implies
that its ends occur. Rows of one tuple here land in classes of different labels, by a search whose chances an outsider
does not have, so a box does not say which tuples made it; but the ends of an exact interval do occur in its class, and
that remains. *Minimality* (Wong 2007) infers values from a class being larger than k needs: start, growth and
neighbourhoods ignore sensitive values, so a larger class is the rule for other reasons too; but vetoes and repairs for
l do depend on them, and with t whole classes are composed by quota, so a little remains. *CRA* (combinatorial
refinement, arXiv 2509.03350) rebuilds the partition of a deterministic recoder: chances from a secret seed answer
that; a seed that is known, together with the software and most of the table, does not. Keep the seed as secret as the
table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from governance.anonymisation.census import Census, Counting
from governance.anonymisation.domains import Domain, domain
from governance.anonymisation.labelling import Lines, class_columns, lines
from governance.anonymisation.measuring import Measures, measure
from governance.anonymisation.recoding import Recoding, recoding
from governance.anonymisation.specification import (
    Specification,
    effort,
    protection,
    require_same_columns,
    treatments,
)
from governance.anonymisation.tables import batches, columns_of, write
from governance.errors import DisclosureError, InputError, PolicyError

Progress = Callable[[str, int], None]
"""Told what is being done, and how many rows or classes it has come to."""


@dataclass(frozen=True)
class Result:
    """What was published, and what it holds."""

    rows: int
    people: int
    classes: int
    ncp: float
    ncp_per_column: dict[str, float]
    measures: Measures
    lines: Lines


def anonymise(source: Path, target: Path, rules: Specification, hierarchies: Path, *, labels: bool = False) -> Result:
    """Anonymise a file into another. `hierarchies`: the folder of the CSV files that the policy names.

    Raises GapError, InputError, PolicyError or DisclosureError, with nothing written, as `prepared` does.
    """
    result = prepared(source, rules, hierarchies, labels=labels)
    write(target, result.lines)
    return result


def prepared(
    source: Path, rules: Specification, hierarchies: Path, *, labels: bool = False, told: Progress | None = None
) -> Result:
    """What would be published of a file, measured.

    Raises GapError when policy and file disagree about columns, PolicyError for a hierarchy that is none, InputError
    for a file or values that cannot be used, DisclosureError when the model cannot hold, or does not when measured.
    """
    require_same_columns(rules, columns_of(source))
    if rules.of_role("keep"):
        raise PolicyError("columns that are kept as they are cannot be written yet; withhold them, or give them a role")
    quasi, sensitive = rules.of_role("quasi_identifier"), rules.of_role("sensitive")
    how = treatments(rules, lambda name: _text(hierarchies / name))
    counting = Counting((*quasi, *sensitive), rules.person)
    read = 0
    for batch in batches(source, [*quasi, *sensitive, *([rules.person] if rules.person else [])]):
        counting.add(batch)
        read += batch.num_rows
        if told:
            told("read", read)
    census = counting.census()
    if not len(census.rows):
        raise InputError(f"{source.name} has no rows")
    domains, codes = [], []
    for index, name in enumerate(quasi):
        one, to_domain = domain(name, census.values[index], census.count(index), how[name])
        domains.append(one)
        codes.append(to_domain[census.codes[:, index]])
    found = recoding(census, np.column_stack(codes), domains, protection(rules), effort(rules))
    if told:
        told("classes", len(found.low))
    return _result(census, domains, found, rules, labels=labels)


def _result(census: Census, domains: list[Domain], found: Recoding, rules: Specification, *, labels: bool) -> Result:
    sensitive = rules.of_role("sensitive")
    published = class_columns(domains, found, labels=labels)
    measures = require(census, found, published, rules)
    per_column = {
        one.name: float(
            (_losses(one, found.low[:, index], found.high[:, index]) * found.sizes).sum() / found.sizes.sum()
        )
        for index, one in enumerate(domains)
    }
    return Result(
        int(census.rows.sum()), int(census.people.sum()), len(found.low), float(np.mean(list(per_column.values()))),
        per_column, measures, lines(census, found, published, len(sensitive)),
    )  # fmt: skip


def require(census: Census, found: Recoding, published: tuple, rules: Specification) -> Measures:  # type: ignore[type-arg]
    """Measure the very lines that would be published. Raises DisclosureError when they do not hold the model."""
    asked, sensitive = rules.protection, rules.of_role("sensitive")
    coded = np.column_stack([column.codes for column in published])[found.owner]
    values = census.codes[found.cell][:, len(census.columns) - len(sensitive) :]
    people = np.where(census.counted[found.cell], found.rows, 0)
    measures = measure(coded, values, found.rows, people, protection(rules).orders(census, sensitive))
    if measures.k < asked.k:
        raise DisclosureError(f"a class of {measures.k} people was about to be published, policy asks for {asked.k}")
    if sensitive and (measures.l < asked.l or measures.entropy_l < asked.entropy_l - 1e-9):
        raise DisclosureError(
            f"a class with l = {measures.l} (entropy {measures.entropy_l:.2f}) was about to be published, policy asks "
            f"for {asked.l} ({asked.entropy_l:g})"
        )
    if asked.t is not None and measures.t > asked.t + 1e-9:
        raise DisclosureError(f"a class of t = {measures.t:.4f} was about to be published, policy asks for {asked.t:g}")
    return measures


def _losses(one: Domain, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    pairs, where = np.unique(np.column_stack([low, high]), axis=0, return_inverse=True)
    return np.array([one.cell(int(a), int(b))[1] for a, b in pairs])[where.reshape(-1)]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise PolicyError(f"the hierarchy {path.name} cannot be read") from None


def table_measures(path: Path, quasi: tuple[str, ...], sensitive: tuple[str, ...]) -> Measures:
    """k, l and t of any table in a file, ours or not; NULL is a value of its own."""
    counting = Counting((*quasi, *sensitive))
    for batch in batches(path, [*quasi, *sensitive]):
        counting.add(batch)
    census = counting.census()
    split = len(quasi)
    return measure(census.codes[:, :split], census.codes[:, split:], census.rows, census.people)


def batch_of(frame: object) -> pa.RecordBatch:
    """A pandas frame as a batch that a census can be taken of."""
    return pa.RecordBatch.from_pandas(frame, preserve_index=False)
