"""`governance assess`: what it says, what it answers, and that it never says a value of a row."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from governance.__main__ import main

GOOD, TOO_MUCH, BAD_INPUT, BAD_POLICY = 0, 1, 65, 78
POLICY = """
version: 1
protection: {k: 3, l: 2}
columns:
  age: {role: quasi_identifier, hierarchy: {numbers: {widths: [10]}}}
  region: {role: quasi_identifier, hierarchy: {csv: region.csv}}
  illness: {role: sensitive}
  name: {role: withhold}
attacks: {count: 50}
"""
HIERARCHY = "lund;south;*\nmalmo;south;*\nkiruna;north;*\n"
ORIGINAL = pd.DataFrame(
    [(20 + at % 3, ("lund", "malmo")[at % 2], ("flu", "cold")[at % 2], f"Secretname{at}") for at in range(6)],
    columns=["age", "region", "illness", "name"],
)
PUBLISHED = ORIGINAL.assign(age="[20, 29]", region="south").drop(columns="name")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a policy, its hierarchy, an original and what is published of it."""
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "region.csv").write_text(HIERARCHY)
    PUBLISHED.to_csv(tmp_path / "published.csv", index=False)
    ORIGINAL.to_csv(tmp_path / "original.csv", index=False, sep=";")
    return tmp_path


def assess(folder: Path, *more: str, file: str = "published.csv") -> int:
    """The command, on files of a folder."""
    given = [str(folder / one) if one.endswith((".csv", ".parquet")) else one for one in more]
    return main(["assess", str(folder / file), "--policy", str(folder / "p.yaml"), *given])


def test_a_table_within_policy_is_good(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert assess(folder, "--original", "original.csv") == GOOD
    said = capsys.readouterr().out
    assert "6 rows, 0 of them wholly suppressed; 1 classes of rows" in said
    assert "singling out, 2 columns" in said
    assert said.endswith("within what policy allows\n")


@pytest.mark.clause("E1")
@pytest.mark.parametrize(("k", "least", "answer"), [(6, 2, GOOD), (7, 2, TOO_MUCH), (6, 3, TOO_MUCH)])
def test_both_sides_of_k_and_l(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    k: int,
    least: int,
    answer: int,
) -> None:
    (folder / "p.yaml").write_text(POLICY.replace("k: 3, l: 2", f"k: {k}, l: {least}"))
    assert assess(folder) == answer
    said = capsys.readouterr().out
    assert ("TOO MUCH" in said) == (answer == TOO_MUCH)
    assert ("k is 6, policy asks for 7" in said) == (k == 7)
    assert ("illness: l is 2, policy asks for 3" in said) == (least == 3)


@pytest.mark.clause("E1")
@pytest.mark.parametrize(
    ("limit", "least"),
    [("suppressed", 0.5), ("prosecutor", 1 / 3), ("marketer", 1 / 3), ("journalist", 1 / 3)],
)
def test_both_sides_of_limits(folder: Path, capsys: pytest.CaptureFixture[str], limit: str, least: float) -> None:
    half = PUBLISHED.astype(object)
    half.loc[:2, ["age", "region"]] = None
    half.to_csv(folder / "published.csv", index=False)
    for allowed, answer in ((least + 1e-6, GOOD), (least - 1e-6, TOO_MUCH)):
        (folder / "p.yaml").write_text(f"{POLICY}limits: {{{limit}: {allowed}}}\n")
        assert assess(folder) == answer
        assert (f"TOO MUCH: {limit}" in capsys.readouterr().out) == (answer == TOO_MUCH)


@pytest.mark.clause("E1")
def test_both_sides_of_the_limit_of_an_attack(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for allowed, answer in ((1.0, GOOD), (0.5, TOO_MUCH)):
        (folder / "p.yaml").write_text(f"{POLICY}limits: {{inference: {allowed}}}\n")
        assert assess(folder, "--original", "original.csv") == answer
    assert "TOO MUCH: inference is" in capsys.readouterr().out


def test_a_limit_that_nobody_measured_is_not_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.yaml").write_text(f"{POLICY}limits: {{linkability: 1}}\n")
    assert assess(folder) == TOO_MUCH
    assert "NOT MEASURED: linkability, which policy limits; give --original" in capsys.readouterr().out
    assert assess(folder, "--original", "original.csv") == GOOD


def test_a_withheld_column_that_is_there_is_too_much(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert assess(folder, file="original.csv") == TOO_MUCH
    said = capsys.readouterr().out
    assert "TOO MUCH: column name is there, which policy withholds" in said
    assert "Secretname" not in said


def test_json_has_every_measure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert assess(folder, "--original", "original.csv", "--control", "original.csv", "--json") == GOOD
    found = json.loads(capsys.readouterr().out)
    assert found["by_value"]["k"] == 6
    assert {one["kind"] for one in found["attacks"]} == {
        "singling_out", "singling_out_by_sensitive", "linkability", "inference",
    }  # fmt: skip
    assert {one["reading"] for one in found["attacks"]} == {"as published", "guessed"}
    assert all(one["attacks"]["control_tried"] for one in found["attacks"])


def test_parquet_of_numbers_and_dictionaries_says_the_same_as_csv(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assess(folder, "--original", "original.csv") == GOOD
    csv = capsys.readouterr().out
    table = pa.Table.from_pandas(PUBLISHED.astype("category"), preserve_index=False)
    pq.write_table(table, folder / "published.parquet")
    pq.write_table(pa.Table.from_pandas(ORIGINAL, preserve_index=False), folder / "original.parquet")
    assert assess(folder, "--original", "original.parquet", file="published.parquet") == GOOD
    assert capsys.readouterr().out == csv


BAD: dict[str, tuple[str, str]] = {
    "empty": ("", "is empty"),
    "only a header": ("age,region,illness\n", "the table has no rows"),
    "a column is missing": ("age,illness\n20,flu\n", "no column region, which policy declares"),
    "a column too many": ("age,region,illness,Secretcolumn\n20,lund,flu,1\n", "1 columns that policy does not declare"),
    "no header": ("20,Secretregion,flu\n21,lund,flu\n", "no column age, region, illness"),
    "a column twice": ("age,region,illness,age\n20,lund,flu,2\n", "1 columns have the name of another"),
    "ragged": ("age,region,illness\n20,lund,flu\n20,lund,flu,Secretvalue\n", "does not fit its header"),
    "an unknown label": ("age,region,illness\n20,Secretplace,flu\n", "region: 1 cells with a label"),
    "mixed types": ("age,region,illness\n20,lund,flu\nSecretage,lund,flu\n", "age: 1 cells with a label"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused_without_a_value_of_it(
    folder: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    content, reason = BAD[case]
    (folder / "published.csv").write_text(content)
    assert assess(folder, "--original", "original.csv") in (BAD_INPUT, BAD_POLICY)
    said = capsys.readouterr()
    assert reason in said.err
    assert "Secret" not in said.err + said.out
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("case", ["column", "row"])
def test_a_column_without_a_value_and_a_table_of_one_row_are_measured(
    folder: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    table = PUBLISHED.assign(region=None) if case == "column" else PUBLISHED[:1]
    table.to_csv(folder / "published.csv", index=False)
    assert assess(folder, "--original", "original.csv") == (GOOD if case == "column" else TOO_MUCH)
    assert ("k is 1, policy asks for 3" in capsys.readouterr().out) == (case == "row")


def test_files_that_are_no_tables_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bytes.csv").write_bytes(b"age,region,illness\n20,\xff\xfe,flu\n")
    (folder / "bytes.parquet").write_bytes(b"Secret")
    nested = pa.table({"age": [[1]], "region": ["lund"], "illness": ["flu"]})
    pq.write_table(nested, folder / "nested.parquet")
    for name in ("bytes.csv", "bytes.parquet", "nested.parquet", "missing.csv"):
        assert assess(folder, file=name) == BAD_INPUT, name
        assert "Secret" not in capsys.readouterr().err


def test_a_control_table_needs_an_original(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert assess(folder, "--control", "original.csv") == BAD_INPUT
    assert "a control table is compared with the original" in capsys.readouterr().err
    (folder / "control.csv").write_text("age,illness\n20,flu\n")
    assert assess(folder, "--original", "original.csv", "--control", "control.csv") == BAD_POLICY
    assert "control table has no column region" in capsys.readouterr().err


WRONG = {
    "limit: {singling_out: 0.1}": "limit",
    "limits: {singled_out: 0.1}": "singled_out",
    "limits: {inference: 1.1}": "inference",
    "attacks: {count: 0}": "count",
    "attacks: {columns: [0]}": "columns",
    "attacks: {columns: [4]}": "more than are published",
    "attacks: {linked: [[age], [age]]}": "both sides",
    "attacks: {linked: [[age], [illness]]}": "linked names quasi-identifiers",
    "attacks: {linked: [[age], []]}": "some on each side",
    "attacks: {tolerance: {age: 0.1}}": "not sensitive",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_policy_is_refused_by_name(folder: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    policy = POLICY.replace("attacks: {count: 50}\n", "") if line.startswith("attacks") else POLICY
    (folder / "p.yaml").write_text(policy + line + "\n")
    assert assess(folder) == BAD_POLICY
    assert WRONG[line] in capsys.readouterr().err


def test_a_policy_and_hierarchies_that_are_not_there_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "region.csv").unlink()
    assert assess(folder) == BAD_POLICY
    assert "region.csv cannot be read" in capsys.readouterr().err
    (folder / "p.yaml").unlink()
    assert assess(folder) == BAD_POLICY
    assert "p.yaml is not a file" in capsys.readouterr().err
