"""A plain Mondrian (LeFevre 2006), strict, as a first draft would have it: the peer in `anonymiser.py`.

Rows are halved in the column that is widest, at the border of the hierarchy that is nearest to the median, as long as
both halves hold k rows, l values and t; a class's label is the lowest one that covers it, or, of a column with true
intervals, its smallest and largest value. `python mondrian.py IN.csv OUT.csv P.yaml`, with the policy of `governance
anonymise`; reads no other hierarchies than those in CSV files.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml


@dataclass(frozen=True)
class Axis:
    """A column: labels of its values by level, in the hierarchy's order, and where each value lies, from 0 to 1."""

    labels: pd.DataFrame
    places: np.ndarray
    exact: bool

    def label(self, low: int, high: int) -> str:
        """The label of the values from one to another."""
        if self.exact and low < high:
            return f"[{self.labels.iat[low, 0]}, {self.labels.iat[high, 0]}]"
        for level in self.labels:
            if self.labels.at[low, level] == self.labels.at[high, level]:
                return str(self.labels.at[low, level])
        return "*"

    def cuts(self, low: int, high: int) -> np.ndarray:
        """Where values from one to another may be cut: after which of them a label below their common one ends."""
        borders = np.arange(low, high)
        if self.exact:
            return borders
        for level in self.labels.columns[::-1]:
            names = self.labels[level].to_numpy()
            if names[low] != names[high]:
                return borders[names[low:high] != names[low + 1 : high + 1]]
        return borders[:0]


def axis(values: pd.Series, path: Path, *, numeric: bool, exact: bool) -> tuple[Axis, np.ndarray]:
    """The axis of a column, and the place of every row's value on it."""
    tree = pd.read_csv(path, sep=";", header=None, dtype=str).drop_duplicates(0)
    tree = tree[tree[0].isin(values.unique())]
    by = [0] if numeric else list(tree.columns[::-1])
    tree = tree.sort_values(by, key=pd.to_numeric if numeric else None).reset_index(drop=True)
    places = tree[0].astype(float).to_numpy() if numeric else np.arange(len(tree), dtype=float)
    scaled = (places - places[0]) / max(1.0, places[-1] - places[0])
    return Axis(tree, scaled, exact), pd.Index(tree[0]).get_indexer(values)


def classes(codes: np.ndarray, axes: list[Axis], holds: object) -> list[np.ndarray]:
    """The rows of every class."""
    waiting, done = [np.arange(len(codes))], []
    while waiting:
        rows = waiting.pop()
        halves = _halves(codes[rows], axes, rows, holds)
        if halves:
            waiting += halves
        else:
            done.append(rows)
    return done


def _halves(codes: np.ndarray, axes: list[Axis], rows: np.ndarray, holds: object) -> list[np.ndarray]:
    low, high = codes.min(axis=0), codes.max(axis=0)
    widths = np.array([one.places[b] - one.places[a] for one, a, b in zip(axes, low, high, strict=True)])
    for at in np.argsort(-widths, kind="stable"):
        cuts = axes[at].cuts(low[at], high[at])
        before = np.cumsum(np.bincount(codes[:, at] - low[at]))[cuts - low[at]]
        for cut in cuts[np.argsort(np.abs(before - len(codes) / 2), kind="stable")[:2]]:
            left = codes[:, at] <= cut
            halves = [rows[left], rows[~left]]
            if all(holds(half) for half in halves):  # type: ignore[operator]
                return halves
    return []


def main(source: str, target: str, policy: str) -> None:
    """Anonymise a file."""
    rules = yaml.safe_load(Path(policy).read_text())
    table = pd.read_csv(source, sep=";", dtype=str)
    named = {name: rule for name, rule in rules["columns"].items() if rule["role"] == "quasi_identifier"}
    axes, codes = [], []
    for name, rule in named.items():
        how = rule["hierarchy"]
        one, code = axis(
            table[name],
            Path(policy).parent / how["csv"],
            numeric=how.get("numeric", False),
            exact=rule.get("exact", False),
        )
        axes.append(one)
        codes.append(code)
    (sensitive,) = (name for name, rule in rules["columns"].items() if rule["role"] == "sensitive")
    values, _ = pd.factorize(table[sensitive])
    whole = np.bincount(values) / len(values)
    asked = rules["protection"]

    def holds(rows: np.ndarray) -> bool:
        if len(rows) < asked["k"]:
            return False
        count = np.bincount(values[rows], minlength=len(whole))
        far = np.abs(count / len(rows) - whole).sum() / 2
        return bool((count > 0).sum() >= asked.get("l", 1) and far <= asked.get("t", 1))

    coded = np.column_stack(codes)
    published = np.empty((len(table), len(axes)), dtype=object)
    for rows in classes(coded, axes, holds):
        low, high = coded[rows].min(axis=0), coded[rows].max(axis=0)
        published[rows] = [one.label(a, b) for one, a, b in zip(axes, low, high, strict=True)]
    out = pd.DataFrame(published, columns=list(named))
    out[sensitive] = table[sensitive]
    out.to_csv(target, sep=";", index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
