"""What is published of a recoding: labels per class, and how often each combination with the sensitive values. Pure.

Either one column per level of a hierarchy, NULL where a class could not keep that level, so that coarse questions are
answered from every row and fine ones from those that have them; or one column with a label. Both divide the rows into
the same classes. What is published is sorted by its own values: the order of rows tells nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from governance.anonymisation.census import Census
from governance.anonymisation.domains import Domain
from governance.anonymisation.recoding import Recoding


@dataclass(frozen=True)
class Column:
    """A published column: its values, and per line the place of its value there, -1 for NULL."""

    name: str
    values: tuple[str, ...]
    codes: np.ndarray


@dataclass(frozen=True)
class Lines:
    """Distinct lines to be published, each `times` times."""

    columns: tuple[Column, ...]
    times: np.ndarray


def class_columns(domains: Sequence[Domain], recoding: Recoding, *, labels: bool) -> tuple[Column, ...]:
    """The published columns of the quasi-identifiers, a line per class."""
    found: list[Column] = []
    for index, domain in enumerate(domains):
        pairs, where = np.unique(
            np.column_stack([recoding.low[:, index], recoding.high[:, index]]), axis=0, return_inverse=True
        )
        boxes = [(int(low), int(high)) for low, high in pairs]
        where = where.reshape(-1)
        if labels:
            found.append(_column(domain.name, [domain.label(*box) for box in boxes], where))
            continue
        kept = list(zip(*(domain.by_level(*box) for box in boxes), strict=True))
        names = [domain.name, *(f"{domain.name}_{level}" for level in domain.levels[:-1])]
        found += [_column(name, values, where) for name, values in zip(names, kept, strict=True)]
        if domain.exact:
            ends = [(domain.values[low], domain.values[high]) if high < len(domain.values) else (None, None)
                    for low, high in boxes]  # fmt: skip
            found += [_column(f"{domain.name}_{end}", values, where)
                      for end, values in zip(("from", "to"), zip(*ends, strict=True), strict=True)]  # fmt: skip
    return tuple(found)


def lines(census: Census, recoding: Recoding, published: tuple[Column, ...], as_they_are: int) -> Lines:
    """Distinct lines of classes' columns and the last `as_they_are` columns of the census, sorted by what they say."""
    first = len(census.columns) - as_they_are
    values = [
        Column(
            census.columns[index],
            tuple(value or "" for value in census.values[index]),
            census.codes[recoding.cell, index].astype(np.int64),
        )
        for index in range(first, len(census.columns))
    ]
    all_columns = [Column(one.name, one.values, one.codes[recoding.owner]) for one in published] + values
    ranked = [_sorted(column) for column in all_columns]
    order = np.lexsort([column.codes for column in reversed(ranked)])
    coded = np.column_stack([column.codes for column in ranked])[order]
    begins = np.flatnonzero(np.append(True, (coded[1:] != coded[:-1]).any(axis=1)))
    times = np.add.reduceat(recoding.rows[order], begins)
    distinct = tuple(Column(column.name, column.values, coded[begins, index]) for index, column in enumerate(ranked))
    return Lines(distinct, times)


def _column(name: str, values: Sequence[str | None], where: np.ndarray) -> Column:
    held = sorted({value for value in values if value is not None})
    place = {value: at for at, value in enumerate(held)}
    return Column(name, tuple(held), np.array([-1 if value is None else place[value] for value in values])[where])


def _sorted(column: Column) -> Column:
    """The same column with its values in order; an empty text, which stands for no value, becomes NULL."""
    held = sorted({value for value in column.values if value})
    place = {value: at for at, value in enumerate(held)}
    moved = np.array([place.get(value, -1) for value in column.values] + [-1], dtype=np.int64)
    return Column(column.name, tuple(held), moved[column.codes])
