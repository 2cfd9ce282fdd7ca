"""k, l and t of any table in a file, measured without compiled code (clause E1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from governance.anonymisation import checking, measuring
from governance.anonymisation.checking import table_measures
from governance.errors import InputError

pytestmark = pytest.mark.clause("E1")


def table() -> pd.DataFrame:
    luck = np.random.default_rng(3)
    values = {"age": luck.integers(20, 24, 900), "region": luck.choice(["n", "s", None], 900)}
    return pd.DataFrame(values | {"illness": luck.choice(["flu", "cold", "cough"], 900, p=[0.8, 0.15, 0.05])})


@pytest.mark.parametrize("most_rows", [1 << 20, 50], ids=["at once", "in many parts"])
def test_it_measures_what_pandas_counts_however_often_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_rows: int
) -> None:
    monkeypatch.setattr(checking, "MOST_ROWS", most_rows)
    monkeypatch.setattr("governance.anonymisation.tables.BATCH_ROWS", 100)
    rows = table()
    rows.to_parquet(tmp_path / "t.parquet")
    classes = rows.groupby(["age", "region"], dropna=False)
    shares = classes["illness"].value_counts(normalize=True).unstack(fill_value=0)
    whole = rows["illness"].value_counts(normalize=True)[shares.columns]
    found = table_measures(tmp_path / "t.parquet", ("age", "region"), ("illness",))
    assert (found.k, found.l, found.classes) == (classes.size().min(), classes["illness"].nunique().min(), 12)
    assert found.t == pytest.approx(((shares - whole).abs().sum(axis=1) / 2).max())


@pytest.mark.parametrize("most_keys", [2**62, 3], ids=["one number", "ranked on the way"])
def test_rows_are_alike_where_all_their_codes_are(monkeypatch: pytest.MonkeyPatch, most_keys: int) -> None:
    monkeypatch.setattr(measuring, "MOST_KEYS", most_keys)
    codes = np.random.default_rng(4).integers(-1, 3, (500, 4))
    first, which = measuring.grouped(codes)
    assert (codes[first][which] == codes).all()
    assert len(first) == len(np.unique(codes, axis=0))


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,illness\n")
    with pytest.raises(InputError, match=r"t\.csv has no rows"):
        table_measures(tmp_path / "t.csv", ("age",), ("illness",))
