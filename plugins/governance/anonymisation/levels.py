"""Levels of generalisation: each turns a column into a coarser one, of the same length. Pure."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from governance.datasets import PublishedColumn
from governance.errors import PolicyError
from governance.policy import POLICY_FOLDER

UNKNOWN = "unknown"

EUR_PER_UNIT = {"EUR": 1.0, "SEK": 0.09, "GBP": 1.15, "USD": 0.9, "NOK": 0.085, "DKK": 0.134, "CHF": 1.05, "PLN": 0.23}
"""Fixed rates: a band is to mean the same in every release, whatever the day's rate."""

PRICE_BANDS = ((250, "under 250"), (500, "250-499"), (1000, "500-999"), (2500, "1000-2499"), (5000, "2500-4999"))
STAY_LENGTHS = ((4, "up to 3"), (8, "4-7"))
LEAD_TIMES = ((30, "under 30 days"), (90, "30-89 days"))


@cache
def _subregions(path: Path = POLICY_FOLDER / "hierarchies" / "country.csv") -> dict[str, str]:
    table = pd.read_csv(path, keep_default_na=False)  # NA is Namibia
    return dict(zip(table["country_code"], table["subregion"], strict=True))


def value(values: pd.Series) -> pd.Series:
    """The value as it is; NULL reads `unknown`."""
    return values.astype("object").where(values.notna(), UNKNOWN).astype("str")


def subregion(country_codes: pd.Series) -> pd.Series:
    """ISO 3166-1 alpha-2 codes to UN M49 subregions; what is no such code reads `unknown`.

    >>> subregion(pd.Series(["SE", "PT", None, "??"])).tolist()
    ['northern_europe', 'southern_europe', 'unknown', 'unknown']
    """
    return country_codes.map(_subregions()).fillna(UNKNOWN).astype("str")


def party_size(travellers: pd.Series) -> pd.Series:
    """Numbers of travellers to 1, 2 or 3+.

    >>> party_size(pd.Series([1, 2, 3, 9])).tolist()
    ['1', '2', '3+', '3+']
    """
    return _bands(travellers, ((2, "1"), (3, "2")), "3+")


def lead_time(days: pd.Series) -> pd.Series:
    """Days from booking to service, in bands.

    >>> lead_time(pd.Series([0, 29, 30, 89, 90, 700])).tolist()
    ['under 30 days', 'under 30 days', '30-89 days', '30-89 days', '90 days or more', '90 days or more']
    """
    return _bands(days, LEAD_TIMES, "90 days or more")


def stay_length(nights: pd.Series) -> pd.Series:
    """Nights booked, in bands.

    >>> stay_length(pd.Series([0, 3, 4, 7, 8, None])).tolist()
    ['up to 3', 'up to 3', '4-7', '4-7', '8 or more', 'unknown']
    """
    return _bands(nights, STAY_LENGTHS, "8 or more")


def specialty(procedure_codes: pd.Series, listed: Collection[str]) -> pd.Series:
    """Procedure codes to their medical specialty, the part before the dot.

    A booking without a procedure is `travel`; what is none of the listed specialties is `other`, never its own text.

    >>> specialty(pd.Series(["dental.implant", None, "Anna has flu.", ""]), {"dental"}).tolist()
    ['dental', 'travel', 'other', 'other']
    """
    named = procedure_codes.astype("object").where(procedure_codes.notna(), "").astype("str").str.split(".", n=1).str[0]
    return named.where(named.isin(set(listed)), "other").where(procedure_codes.notna(), "travel").astype("str")


def price_band(amounts_minor: pd.Series, currency_codes: pd.Series) -> pd.Series:
    """Prices in minor units to bands in EUR, at fixed rates.

    Raises PolicyError when a currency has no rate. (All of these currencies have 100 minor units.)

    >>> price_band(pd.Series([24_999, 25_000, 100_000]), pd.Series(["EUR", "EUR", "SEK"])).tolist()
    ['under 250', '250-499', 'under 250']
    """
    rates = currency_codes.map(EUR_PER_UNIT).astype("float64")  # without rows it would be a column of objects
    if rates.isna().any():
        raise PolicyError(f"{int(rates.isna().sum())} prices have a currency without a rate; add it to EUR_PER_UNIT")
    return _bands((amounts_minor / 100 * rates).round(6), PRICE_BANDS, "5000 or more")


def _bands(values: pd.Series, bands: tuple[tuple[int, str], ...], top: str) -> pd.Series:
    """Label by the first bound that a value lies below."""
    bounds = np.array([bound for bound, _ in bands])
    labels = np.array([label for _, label in bands] + [top], dtype=object)
    named = pd.Series(labels[np.searchsorted(bounds, values.to_numpy(dtype=float), side="right")], index=values.index)
    return named.where(values.notna(), UNKNOWN).astype("str")


def domain(column: PublishedColumn) -> frozenset[str] | None:
    """The values that a published column may have; None for days, counts and cells of a grid.

    Raises PolicyError for a column of text that policy gives no values.
    """
    if column.level in ("day", "count", "cell", "degrees"):
        return None
    if column.level in ("country", "subregion"):
        regions = _subregions()
        return frozenset(regions if column.level == "country" else regions.values()) | {UNKNOWN}
    if not column.values:
        raise PolicyError(f"a published column of level {column.level} needs its values listed in policies/")
    return frozenset(column.values)
