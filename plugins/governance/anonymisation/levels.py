"""Levels of generalisation: each turns a column into a coarser one, of the same length. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from governance.datasets import UNKNOWN, PublishedColumn
from governance.errors import PolicyError
from governance.policy import POLICY_FOLDER

EUR_PER_UNIT = {"EUR": 1.0, "SEK": 0.09, "GBP": 1.15, "USD": 0.9, "NOK": 0.085, "DKK": 0.134, "CHF": 1.05, "PLN": 0.23}
"""Fixed rates: a band is to mean the same in every release, whatever the day's rate."""


@cache
def regions(path: Path = POLICY_FOLDER / "hierarchies" / "country.csv") -> dict[str, tuple[str, str]]:
    """Country code -> UN M49 subregion and continent."""
    table = pd.read_csv(path, keep_default_na=False)  # NA is Namibia
    return dict(zip(table["country_code"], zip(table["subregion"], table["continent"], strict=True), strict=True))


REGIONS = ("country", "subregion", "continent")


def region(country_code: str, level: str) -> str:
    """What a country of the list is called on a level.

    >>> region("SE", "continent")
    'europe'
    """
    return (country_code, *regions()[country_code])[REGIONS.index(level)]


def value(values: pd.Series) -> pd.Series:
    """The value as it is; NULL reads `unknown`."""
    return values.astype("object").where(values.notna(), UNKNOWN).astype("str")


def country(country_codes: pd.Series) -> pd.Series:
    """ISO 3166-1 alpha-2 codes; what is no such code reads `unknown`.

    >>> country(pd.Series(["SE", "PT", None, "??"])).tolist()
    ['SE', 'PT', 'unknown', 'unknown']
    """
    return country_codes.where(country_codes.isin(regions().keys()), UNKNOWN).astype("str")


def continent(country_codes: pd.Series) -> pd.Series:
    """ISO 3166-1 alpha-2 codes to their continent; what is no such code reads `unknown`.

    >>> continent(pd.Series(["SE", "MX", None, "??"])).tolist()
    ['europe', 'americas', 'unknown', 'unknown']
    """
    known = {code: region(code, "continent") for code in regions()}
    return country_codes.astype("object").map(known).fillna(UNKNOWN).astype("str")


def specialty(procedure_codes: pd.Series, listed: Collection[str]) -> pd.Series:
    """Procedure codes to their medical specialty, the part before the dot.

    A booking without a procedure is `travel`; what is none of the listed specialties is `other`, never its own text.

    >>> specialty(pd.Series(["dental.implant", None, "Anna has flu.", ""]), {"dental"}).tolist()
    ['dental', 'travel', 'other', 'other']
    """
    named = procedure_codes.astype("object").where(procedure_codes.notna(), "").astype("str").str.split(".", n=1).str[0]
    return named.where(named.isin(set(listed)), "other").where(procedure_codes.notna(), "travel").astype("str")


def euros(amounts_minor: pd.Series, currency_codes: pd.Series) -> pd.Series:
    """Prices in minor units, in EUR at fixed rates.

    Raises PolicyError when a currency has no rate. (All of these currencies have 100 minor units.)

    >>> euros(pd.Series([24_999, 100_000]), pd.Series(["EUR", "SEK"])).tolist()
    [249.99, 90.0]
    """
    rates = currency_codes.map(EUR_PER_UNIT).astype("float64")  # without rows it would be a column of objects
    if rates.isna().any():
        raise PolicyError(f"{int(rates.isna().sum())} prices have a currency without a rate; add it to EUR_PER_UNIT")
    return (amounts_minor.astype("float64") / 100 * rates).round(6)


def banded(values: pd.Series, bands: Mapping[str, float]) -> pd.Series:
    """Numbers by the band that begins at or below them; what lies below all is in the first, NULL reads `unknown`.

    >>> banded(pd.Series([0, 29, 30, 700, None]), {"under 30 days": 0, "30 days or more": 30}).tolist()
    ['under 30 days', 'under 30 days', '30 days or more', '30 days or more', 'unknown']
    """
    labels = np.array(list(bands), dtype=object)
    place = np.searchsorted(list(bands.values()), values.to_numpy(dtype=float, na_value=np.nan), side="right") - 1
    named = pd.Series(labels[np.clip(place, 0, None)], index=values.index)
    return named.where(values.notna(), UNKNOWN).astype("str")


def labels(facts: pd.Series, column: PublishedColumn) -> pd.Series:
    """What facts are called on the level of a published column. A KeyError: no level that is made of one fact."""
    return banded(facts, column.bands) if column.bands else LABELLED[column.level](facts, column)


LABELLED: Mapping[str, Callable[[pd.Series, PublishedColumn], pd.Series]] = {
    "value": lambda facts, _: value(facts),
    "country": lambda facts, _: country(facts),
    "continent": lambda facts, _: continent(facts),
    "specialty": lambda facts, column: specialty(facts, column.values),
}
"""By level, of those without bands."""


def domain(column: PublishedColumn) -> frozenset[str] | None:
    """The values that a published column may have; None for days, counts and cells of a grid.

    Raises PolicyError for a column of text that policy gives no values.
    """
    if column.level in ("day", "count", "cell", "degrees"):
        return None
    if column.level in REGIONS:
        return frozenset(region(code, column.level) for code in regions()) | {UNKNOWN}
    if not column.values:
        raise PolicyError(f"a published column of level {column.level} needs its values listed in policies/")
    return frozenset(column.values)
