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
that; a seed that is known, together with the software and most of the table, does not. So every run draws a seed from
the system's source of secrets and forgets it, unless it is told to keep one; who keeps one keeps it as secret as the
table. A policy may name a seed, as `public_seed`: for tests and comparisons, and for tables that protect nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from governance.anonymisation.census import Census, Counting, groups
from governance.anonymisation.domains import Domain, domain
from governance.anonymisation.labelling import Column, Lines, class_columns, lines
from governance.anonymisation.lost import Lost, lost_of, silent, spans
from governance.anonymisation.measuring import Measures, measure
from governance.anonymisation.queries import QueryErrors, query_errors
from governance.anonymisation.recoding import Recoding, recoding
from governance.anonymisation.specification import (
    Specification,
    effort,
    protection,
    require_same_columns,
    treatments,
)
from governance.anonymisation.tables import batches, columns_of, rows_expected, write
from governance.errors import DisclosureError, InputError, PolicyError

if TYPE_CHECKING:
    import pandas as pd

SEED_BITS = 63

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and of how much (0: not known)."""


def _quietly(_what: str, _done: int, _of: int) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Manner:
    """How a table is anonymised, beyond what its policy says."""

    labels: bool = False  # single columns with labels, instead of one per level
    steps: int | None = None  # instead of the policy's
    seed: int | None = None  # instead of a fresh one; a public seed of the policy goes before both
    told: Progress = _quietly


@dataclass(frozen=True)
class Result:
    """What is published, and what it holds and has lost. All of it is counts and shares, but for `lines`."""

    rows: int
    people: int
    suppressed: int  # rows of which no quasi-identifier says anything
    ncp: float
    lost: dict[str, Lost]  # per quasi-identifier
    measures: Measures
    queries: QueryErrors | None
    lines: Lines


def anonymise(source: Path, target: Path, rules: Specification, hierarchies: Path, how: Manner | None = None) -> Result:
    """Anonymise a file into another. `hierarchies`: the folder of the CSV files that the policy names.

    Raises GapError, InputError, PolicyError or DisclosureError, with nothing written, as `prepared` does.
    """
    result = prepared(source, rules, hierarchies, how)
    write(target, result.lines)
    return result


def prepared(source: Path, rules: Specification, hierarchies: Path, how: Manner | None = None) -> Result:
    """What would be published of a file, measured.

    Raises GapError when policy and file disagree about columns, PolicyError for a hierarchy that is none, InputError
    for a file or values that cannot be used, DisclosureError when the model cannot hold, or does not when measured.
    """
    how = how or Manner()
    require_same_columns(rules, columns_of(source))
    quasi = rules.of_role("quasi_identifier")
    treated = treatments(rules, lambda name: _text(hierarchies / name))
    census = _census(source, rules, how.told)
    domains, codes = [], []
    for index, name in enumerate(quasi):
        one, to_domain = domain(name, census.values[index], census.count(index), treated[name])
        domains.append(one)
        codes.append(to_domain[census.codes[:, index]])
    coded = np.column_stack(codes)
    seed = secrets.randbits(SEED_BITS) if how.seed is None else how.seed
    allowed = replace(effort(rules, seed, how.steps), told=partial(how.told, "searching"))
    alike = np.column_stack([one.ends()[0][coded[:, at]] for at, one in enumerate(domains)])
    looked_at = census.told_by(len(quasi) + len(rules.of_role("sensitive")))  # what is kept forms no class
    found = recoding(looked_at, alike, domains, protection(rules), allowed).not_finer(domains)
    how.told("measuring", 0, 0)
    return _result((census, coded), domains, found, rules, how)


def _census(source: Path, rules: Specification, told: Progress) -> Census:
    """The census of a file. Raises InputError when it has no rows."""
    counting, read, expected = Counting(rules.published, rules.person), 0, rows_expected(source)
    for batch in batches(source, [*rules.published, *([rules.person] if rules.person else [])]):
        counting.add(batch)
        read += batch.num_rows
        told("reading", read, max(read, expected))
    if not read:
        raise InputError(f"{source.name} has no rows")
    return counting.census()


def _result(
    table: tuple[Census, np.ndarray], domains: list[Domain], found: Recoding, rules: Specification, how: Manner
) -> Result:
    census, codes = table
    published = class_columns(domains, found, labels=how.labels)
    measures = require(census, found, published, rules)
    as_they_are = len(rules.of_role("sensitive")) + len(rules.of_role("keep"))
    lost = {one.name: lost_of(one, found.low[:, at], found.high[:, at], found.sizes) for at, one in enumerate(domains)}
    covered = [spans(one, found.low[:, at], found.high[:, at]) for at, one in enumerate(domains)]
    suppressed = int(found.sizes[silent(domains, covered)].sum())
    tuples, tuple_of = groups(codes)
    rows = np.bincount(tuple_of, census.rows, len(tuples))
    return Result(
        int(census.rows.sum()), int(census.people.sum()), suppressed,
        float(np.mean([one.ncp for one in lost.values()])), lost, measures,
        query_errors(domains, (tuples, rows), (covered, found.sizes)),
        lines(census, found, published, as_they_are),
    )  # fmt: skip


def require(census: Census, found: Recoding, published: tuple[Column, ...], rules: Specification) -> Measures:
    """Measure the very lines that would be published. Raises DisclosureError when they do not hold the model."""
    asked, sensitive = rules.protection, rules.of_role("sensitive")
    coded = np.column_stack([column.codes for column in published])[found.owner]
    values = census.codes[found.cell][:, len(rules.of_role("quasi_identifier")) :][:, : len(sensitive)]
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


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError):  # no text, or no name of a file
        raise PolicyError(f"the hierarchy {path.name} cannot be read") from None


def batch_of(frame: pd.DataFrame) -> pa.RecordBatch:
    """A pandas frame as a batch that a census can be taken of.

    >>> import pandas as pd
    >>> counting = Counting(["sex"])
    >>> counting.add(batch_of(pd.DataFrame({"sex": ["f", "m", "f"]}))).tolist(), counting.census().rows.tolist()
    ([0, 1, 0], [2, 1])
    """
    return pa.RecordBatch.from_pandas(frame, preserve_index=False)
