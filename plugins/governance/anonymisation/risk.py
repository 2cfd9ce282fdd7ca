"""k-anonymity and l-diversity, measured on rows as they would be published. Pure.

k (Sweeney 2002) is counted in distinct people, not rows: ten bookings of one client hide nobody. l is distinct
l-diversity (Machanavajjhala et al. 2007), for each sensitive column by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Risk:
    """The smallest k and l of any class of a table; None without rows, and l None without sensitive columns."""

    k: int | None
    l: int | None  # noqa: E741 -- the name of the measure


def class_measures(
    rows: pd.DataFrame, quasi_identifiers: Sequence[str], sensitive: Sequence[str], people: pd.Series
) -> pd.DataFrame:
    """k and l of the class of every row: a frame with columns `k` and `l`, indexed like `rows`.

    `people` tells people apart and is aligned with `rows`; an unknown person counts as nobody. NULL is a value like
    any other. Without sensitive columns `l` is the class's k.
    """
    table = rows[[*quasi_identifiers, *sensitive]].assign(_person=people)
    classes = table.groupby(list(quasi_identifiers), dropna=False, sort=False, observed=True)
    k = classes["_person"].transform("nunique")
    distinct = [classes[column].transform(lambda values: values.nunique(dropna=False)) for column in sensitive]
    measured = pd.concat(distinct, axis=1).min(axis=1) if distinct else k
    return pd.DataFrame({"k": k.astype("int64"), "l": measured.astype("int64")}, index=rows.index)


def risk(rows: pd.DataFrame, quasi_identifiers: Sequence[str], sensitive: Sequence[str], people: pd.Series) -> Risk:
    """The smallest k and l over all classes of a table.

    >>> table = pd.DataFrame({"region": ["n", "n", "n"], "service": ["a", "b", "a"]})
    >>> risk(table, ["region"], ["service"], pd.Series(["ann", "bo", "bo"]))
    Risk(k=2, l=2)
    """
    if rows.empty:
        return Risk(None, None)
    measured = class_measures(rows, quasi_identifiers, sensitive, people)
    return Risk(int(measured["k"].min()), int(measured["l"].min()) if sensitive else None)
