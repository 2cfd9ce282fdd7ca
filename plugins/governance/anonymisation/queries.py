"""How wrong counts from published rows are: sample count queries, asked of the table and of what is published. Pure.

A query is a conjunction over two or three quasi-identifiers: a range of values that lie on a line, or a random half or
less of others; those that less than a hundredth of the rows meets are not asked. A published cell counts by the share
of its values that the query names (uniform spread, LeFevre 2006), a row of which nothing is said not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from governance.anonymisation.domains import Domain
from governance.anonymisation.lost import silent

QUERIES, SEED = 300, 7
LEAST_SHARE = 0.01
TRIES = 50  # for each query


@dataclass(frozen=True)
class QueryErrors:
    """Relative errors of so many queries."""

    asked: int
    median: float
    mean: float


def query_errors(
    domains: Sequence[Domain], table: tuple[np.ndarray, np.ndarray], published: tuple[Sequence[np.ndarray], np.ndarray]
) -> QueryErrors | None:
    """Ask both; None for a table of which no query finds enough.

    `table`: codes of the domains by distinct tuple, and rows of each. `published`: `lost.spans` of every domain, and
    the rows of each class.
    """
    codes, rows = table
    covered, sizes = published
    known = np.where(silent(domains, covered), 0, sizes)
    luck = np.random.Generator(np.random.PCG64(SEED))
    errors: list[float] = []
    for _ in range(TRIES * QUERIES):
        if len(errors) == QUERIES:
            break
        true, told = rows, known.astype(np.float64)
        for at in luck.choice(len(domains), size=min(len(domains), int(luck.integers(2, 4))), replace=False):
            named = _named(domains[at], luck)
            true = true * named[codes[:, at]]
            told = told * _share(named, covered[at])
        if true.sum() >= LEAST_SHARE * rows.sum():
            errors.append(abs(told.sum() - true.sum()) / true.sum())
    if not errors:
        return None
    return QueryErrors(len(errors), float(np.median(errors)), float(np.mean(errors)))


def _named(one: Domain, luck: np.random.Generator) -> np.ndarray:
    """Which codes a query names: whether each, the blank never."""
    count = len(one.values)
    named = np.zeros(one.width, dtype=bool)
    if one.positions is not None:
        wide = int(luck.integers(max(1, count // 10), max(2, count // 2)))
        begin = int(luck.integers(0, count - wide + 1))
        named[begin : begin + wide] = True
    else:
        drawn = luck.choice(count, size=int(luck.integers(1, max(2, count // 2 + 1))), replace=False)
        named[np.argsort(np.array(one.values), kind="stable")[drawn]] = True
    return named


def _share(named: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Of every span, the share of its codes that a query names."""
    so_far = np.concatenate([[0], np.cumsum(named)])
    return (so_far[spans[:, 1] + 1] - so_far[spans[:, 0]]) / (spans[:, 1] + 1 - spans[:, 0])
