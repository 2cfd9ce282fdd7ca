"""How published and raw tables become cells that can be compared (see `cells`). Pure.

A quasi-identifier may be published as one column with labels, true intervals or values; as a column per level of its
hierarchy, NULL where a level was not kept; or as the two ends of intervals. Whoever made the table: only, labels must
be those of the hierarchy, or say themselves what they cover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from governance.anonymisation.cells import ANYTHING, MISSING, Cells
from governance.anonymisation.hierarchies import TOP, Dates, Hierarchy, Intervals, Numbers, Tree
from governance.anonymisation.labels import interval, number, period
from governance.anonymisation.specification import Specification, spellings
from governance.errors import GapError, InputError, shown

Ends = tuple[float, float]


def read(
    rules: Specification, hierarchies: Mapping[str, Hierarchy], published: pd.DataFrame, others: Sequence[pd.DataFrame]
) -> list[Cells]:
    """The cells of a published table and of raw ones, in the same terms; all are frames of texts and None.

    Raises GapError as `require_declared` does, InputError for labels that a hierarchy does not know; neither names
    anything that stands in a file.
    """
    require_declared(rules, hierarchies, published, others)
    columns = []
    for name in rules.published:
        raw = [other[name] for other in others]
        if name in hierarchies:
            columns.append(_generalised(name, hierarchies[name], published, raw))
        else:
            columns.append(_plain([published[name], *raw]))
    numeric, whole = np.array([(column.numeric, column.whole) for column in columns], dtype=bool).T
    least, most = np.array([column.known for column in columns], dtype=np.float64).T
    return [
        Cells(
            rules.published, numeric, whole, least, most,
            np.column_stack([column.ends[at][:, 0] for column in columns]),
            np.column_stack([column.ends[at][:, 1] for column in columns]),
        )
        for at in range(1 + len(others))
    ]  # fmt: skip


def require_declared(
    rules: Specification, hierarchies: Mapping[str, Hierarchy], published: pd.DataFrame, others: Sequence[pd.DataFrame]
) -> None:
    """Compare policy and tables. Raises GapError when a table lacks a column that policy publishes, or the published
    one has another that policy does not declare.

    Those are counted, not named: of a file without a header, the names would be values.
    """
    expected = {*rules.of_role("withhold"), *rules.of_role("person")}
    lacking = []
    for name in rules.published:
        spelled = spellings(name, hierarchies[name]) if name in hierarchies else [name]
        expected.update(spelled)
        if not set(spelled) & set(published.columns):
            lacking.append(shown(name))
    strange = [str(at) for at, name in enumerate(published.columns, 1) if name not in expected]
    if lacking:
        raise GapError(f"the table has no column {_some(lacking)}, which policy declares")
    if strange:
        raise GapError(
            f"the table has {len(strange)} columns that policy does not declare (place {_some(strange)}); give each a "
            f"role, or take it out"
        )
    for other in others:
        if absent := [shown(name) for name in rules.published if name not in other.columns]:
            raise GapError(f"the original or the control table has no column {_some(absent)}, which policy declares")


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")


@dataclass(frozen=True)
class _Column:
    numeric: bool
    whole: bool
    known: Ends
    ends: list[np.ndarray]  # per table: float64, rows by two


def _plain(tables: list[pd.Series]) -> _Column:
    """A column that is published as it is: of numbers where every value of every table is one."""
    codes, values = pd.factorize(pd.concat(tables, ignore_index=True).to_numpy(object), use_na_sentinel=True)
    numbers = [number(str(value)) for value in values]
    numeric = len(numbers) > 0 and None not in numbers
    points = np.array([*numbers, MISSING] if numeric else range(len(values) + 1), dtype=np.float64)
    known = points[: len(values)]
    limits = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    found = points[codes]  # code -1, of what is missing, is the last point: of texts a value like any other
    split = np.split(found, np.cumsum([len(table) for table in tables])[:-1])
    whole = not numeric or bool((known == np.floor(known)).all())
    return _Column(numeric, whole, limits, [np.column_stack([part, part]) for part in split])


def _generalised(name: str, hierarchy: Hierarchy, table: pd.DataFrame, raw: list[pd.Series]) -> _Column:
    """A quasi-identifier: what its labels say is what their leaves are."""
    *of_levels, low, high = spellings(name, hierarchy)
    levels = [table[spelled] for spelled in of_levels if spelled in table.columns]
    ends = [table[spelled] for spelled in (low, high) if spelled in table.columns]
    scale = _scale(hierarchy, {str(value) for series in (*levels, *ends, *raw) for value in series.dropna().unique()},
                   has_raw=bool(raw))  # fmt: skip
    said = [_ends(series, scale.said, ANYTHING) for series in (*levels, *ends)]
    if strange := sum(int(np.isnan(part[:, 0]).sum()) for part in said):
        raise InputError(
            f"column {shown(name)}: {strange} cells with a label that its hierarchy does not know; complete the "
            f"hierarchy, or write true intervals as [20, 24]"
        )
    cells = np.full((len(table), 2), ANYTHING)
    for part in said[: len(levels)]:  # the finest that is there
        cells = np.where(np.isneginf(cells[:, :1]), part, cells)
    if len(ends) == len((low, high)):
        begin, end = said[-2:]
        known = np.isfinite(begin[:, :1]) & np.isfinite(end[:, :1])
        cells = np.where(known, np.column_stack([begin[:, 0], end[:, 1]]), cells)
    exact = [_ends(series, scale.points, scale.nobody) for series in raw]
    missing = [np.where(np.isnan(part), scale.nobody[0], part) for part in exact]
    return _Column(scale.numeric, scale.whole, scale.known, [cells, *missing])


@dataclass(frozen=True)
class _Scale:
    """What the labels and values of a hierarchy say."""

    numeric: bool
    whole: bool
    known: Ends
    said: dict[str, Ends]
    points: dict[str, Ends]  # of exact values
    nobody: Ends  # a value that is missing or unknown: only what says anything covers it


def _scale(hierarchy: Hierarchy, seen: set[str], *, has_raw: bool) -> _Scale:
    if isinstance(hierarchy, Numbers | Intervals | Dates) or (isinstance(hierarchy, Tree) and hierarchy.numeric):
        return _line(hierarchy, seen)
    leaves = dict(hierarchy.paths) if isinstance(hierarchy, Tree) else _paths(hierarchy, seen)
    ordered = sorted(leaves, key=lambda leaf: (leaves[leaf][::-1], leaf))
    places = {leaf: float(at) for at, leaf in enumerate(ordered)}
    said = _stretches(leaves, places, is_whole=isinstance(hierarchy, Tree))
    points = {leaf: (place, place) for leaf, place in places.items()}
    if not (isinstance(hierarchy, Tree) or has_raw):
        # A label of a rule that nothing in the table explains: a value by itself.
        said |= {label: (float(len(leaves) + at),) * 2 for at, label in enumerate(sorted(seen - set(said)), start=1)}
    return _Scale(False, True, (0.0, max(0.0, len(leaves) - 1.0)), said, points, (float(len(leaves)),) * 2)


def _line(hierarchy: Hierarchy, seen: set[str]) -> _Scale:
    """Of numbers and dates, whose labels are stretches of a line."""
    paths = dict(hierarchy.paths) if isinstance(hierarchy, Tree) else _paths(hierarchy, seen)
    places = {leaf: place for leaf in paths if (place := hierarchy.position(leaf)) is not None}
    said = _stretches({leaf: paths[leaf] for leaf in places}, places, is_whole=isinstance(hierarchy, Tree))
    known = said if isinstance(hierarchy, Tree) else {}
    for label in seen - set(known) - {TOP}:
        if (ends := _said(hierarchy, label)) is not None:
            said[label] = ends
    points = {label: ends for label, ends in said.items() if ends[0] == ends[1]}
    finite = [end for ends in said.values() for end in ends if np.isfinite(end)] or [0.0]
    limits = (min(finite), max(finite))
    whole = all(end == np.floor(end) for end in finite) and not (isinstance(hierarchy, Numbers) and not hierarchy.whole)
    return _Scale(True, whole, limits, said, points, (MISSING, MISSING))


def _paths(hierarchy: Hierarchy, seen: set[str]) -> dict[str, tuple[str, ...]]:
    found = {value: hierarchy.path(value) for value in seen}
    return {value: path for value, path in found.items() if path is not None}


def _stretches(
    leaves: Mapping[str, tuple[str, ...]], places: Mapping[str, float], *, is_whole: bool
) -> dict[str, Ends]:
    """From label, leaves included, to what it says. `is_whole`: there are no other leaves; all of them are anything."""
    found: dict[str, Ends] = {TOP: ANYTHING}
    inside: dict[str, int] = {}
    for leaf, path in leaves.items():
        place = places[leaf]
        for label in {leaf, *path}:
            low, high = found.get(label, (place, place))
            found[label] = (min(low, place), max(high, place))
            inside[label] = inside.get(label, 0) + 1
    return found | {label: ANYTHING for label, count in inside.items() if is_whole and count == len(leaves) > 1}


def _said(hierarchy: Hierarchy, label: str) -> Ends | None:
    """What a label of numbers or dates says by itself."""
    if isinstance(hierarchy, Intervals):
        for table in hierarchy.tables:
            for name, low, high in table:
                if name == label:
                    return (low, high)
    if isinstance(hierarchy, Dates):
        day = hierarchy.position(label)
        return period(label) if day is None else (day, day)
    exact = number(label)
    whole = not isinstance(hierarchy, Numbers) or hierarchy.whole
    return interval(label, whole=whole) if exact is None else (exact, exact)


def _ends(series: pd.Series, said: Mapping[str, Ends], nothing: Ends) -> np.ndarray:
    """What each cell of a column says; NaN for a label that means nothing."""
    codes, values = pd.factorize(series.to_numpy(object), use_na_sentinel=True)
    table = np.array([*(said.get(str(value), (np.nan, np.nan)) for value in values), nothing], dtype=np.float64)
    return table[codes]
