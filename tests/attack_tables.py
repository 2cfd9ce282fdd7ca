"""Tables for the tests of attacks, and the way from frames to what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import yaml

from governance.anonymisation.assessment import Assessment, Files, assess
from governance.anonymisation.cells import Tables
from governance.anonymisation.published import read
from governance.anonymisation.specification import Specification, specification, treatments

NUMBERS = {"numbers": {"widths": [10]}}
TEXTS = {"texts": {"prefixes": [1]}}


def rules(
    quasi: Mapping[str, object], sensitive: Sequence[str] = (), kept: Sequence[str] = (), **others: object
) -> Specification:
    """A policy of quasi-identifiers with hierarchies, sensitive columns and kept ones."""
    columns = {name: {"role": "quasi_identifier", "hierarchy": hierarchy} for name, hierarchy in quasi.items()}
    columns |= {name: {"role": "sensitive"} for name in sensitive} | {name: {"role": "keep"} for name in kept}
    columns |= others.pop("columns", {})  # type: ignore[arg-type]
    content = {"version": 1, "protection": others.pop("protection", {"k": 2}), "columns": columns, **others}
    return specification("p.yaml", yaml.safe_dump(content).encode())


def texts(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame as a file would give it: texts and None; whole numbers without a point."""
    said = frame.map(lambda value: None if value is None or value != value else f"{value}")
    return said.astype(object)


def tables(given: Specification, *frames: pd.DataFrame, csv: Mapping[str, str] | None = None) -> Tables:
    """Published, original and, where given, control."""
    hierarchies = {name: one.hierarchy for name, one in treatments(given, lambda file: (csv or {})[file]).items()}
    published, *others = frames
    return Tables(*read(given, hierarchies, texts(published), [texts(other) for other in others]))


def assessed(given: Specification, *frames: pd.DataFrame, csv: Mapping[str, str] | None = None) -> Assessment:
    """What `governance assess` measures."""
    hierarchies = {name: one.hierarchy for name, one in treatments(given, lambda file: (csv or {})[file]).items()}
    return assess(given, hierarchies, Files(*map(texts, frames)))


def people(count: int, seed: int = 1) -> pd.DataFrame:
    """People with an age, a postcode, an income and an illness; ages and incomes repeat, and some are missing."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": draw.integers(18, 90, count),
            "postcode": draw.choice(["a1", "a2", "b1", "c1", "d1"], count),
            "sex": draw.choice(["f", "m"], count),
            "income": draw.integers(100, 160, count).astype(float),
            "illness": draw.choice(["asthma", "flu", "migraine", "none"], count),
        }
    )
    frame.loc[draw.random(count) < 0.1, "income"] = np.nan
    return frame
