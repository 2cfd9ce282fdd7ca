"""`governance anonymise`, end to end: what it writes holds and can be repeated, what it refuses leaves nothing."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from governance.__main__ import main
from governance.embedded.site import CHECKOUT

GOOD, NOT, USAGE, BAD_INPUT, BAD_FILE, BAD_POLICY = 0, 1, 2, 65, 74, 78
QUASI = ["age", "region"]
POLICY: dict[str, Any] = {
    "version": 1,
    "protection": {"k": 5, "l": 2},
    "effort": {"steps": 2000},
    "columns": {
        "age": {"role": "quasi_identifier", "hierarchy": {"numbers": {"widths": [5, 20]}}},
        "region": {"role": "quasi_identifier", "hierarchy": {"csv": "region.csv", "levels": ["part", "all"]}},
        "client": {"role": "person"},
        "illness": {"role": "sensitive"},
        "note": {"role": "withhold"},
    },
}
HIERARCHY = "Secretlund;south;*\nSecretmalmo;south;*\nSecretkiruna;north;*\nSecretlulea;north;*\n"


def table(count: int = 300) -> pd.DataFrame:
    """People; every value that may not be told begins with Secret, or is an age of 7xx."""
    luck = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "age": luck.integers(700, 780, count),
            "region": luck.choice(["Secretlund", "Secretmalmo", "Secretkiruna", "Secretlulea"], count),
            "client": [f"Secret{at}" for at in range(count)],
            "illness": luck.choice(["Secretflu", "Secretcold", "Secretcough"], count),
            "note": [f"Secret note {at}" for at in range(count)],
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a policy, its hierarchy, and a table."""
    put(tmp_path)
    return tmp_path


def put(folder: Path, rows: pd.DataFrame | None = None, policy: Any = POLICY, hierarchy: str = HIERARCHY) -> None:
    """Lay out the files."""
    (table() if rows is None else rows).to_csv(folder / "in.csv", index=False)
    (folder / "p.yaml").write_text(policy if isinstance(policy, str) else yaml.safe_dump(policy, sort_keys=False))
    (folder / "region.csv").write_text(hierarchy)


def anonymise(folder: Path, *more: str, source: str = "in.csv", target: str = "out.csv") -> int:
    """The command, in this process."""
    given = ["anonymise", str(folder / source), str(folder / target), "--policy", str(folder / "p.yaml")]
    try:
        return main([*given, *(str(folder / one) if one.startswith("seed") else one for one in more)])
    except SystemExit as ended:
        return int(ended.code or 0)


def changed(**columns: dict[str, Any] | None) -> dict[str, Any]:
    """The policy with some columns declared otherwise, or not at all."""
    declared = {name: rule for name, rule in (POLICY["columns"] | columns).items() if rule is not None}
    return POLICY | {"columns": declared}


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.mark.clause("E1")
@pytest.mark.clause("C6")
def test_the_command_writes_a_table_that_holds_and_reports_without_a_value(folder: Path) -> None:
    """A process of its own, as a person starts it: stdout is the report, stderr the progress."""
    done = subprocess.run(
        [sys.executable, "-m", "governance", "anonymise", folder / "in.csv", folder / "out.csv", "--policy",
         folder / "p.yaml", "--labels"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT / "plugins")},
    )  # fmt: skip
    assert done.returncode == GOOD, done.stderr
    out = pd.read_csv(folder / "out.csv", sep=";", dtype=str)
    classes = out.groupby(QUASI, dropna=False)
    assert list(out.columns) == ["age", "region", "illness"]
    assert len(out) == 300
    assert classes.size().min() >= 5
    assert classes["illness"].nunique().min() >= 2
    assert done.stderr.splitlines() == ["reading", "searching", "measuring", "writing"]
    measured = re.search(r"^k, people of the smallest class +(\d+) +5$", done.stdout, re.M)
    assert measured
    assert int(measured[1]) == classes.size().min()
    for said in ("l, distinct values", "l by entropy", "t, farthest", "all quasi-identifiers", "median error",
                 "0 rows say nothing", "not published: note, client"):  # fmt: skip
        assert said in done.stdout
    assert not re.search(r"Secret|\b7\d\d\b", done.stdout + done.stderr)


def test_without_labels_every_level_is_a_column_and_the_report_counts_its_rows(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert anonymise(folder, "--json", target="out.parquet") == GOOD
    told = json.loads(capsys.readouterr().out)
    out = pd.read_parquet(folder / "out.parquet")
    assert list(out.columns) == ["age", "age_5", "age_20", "region", "region_part", "illness"]
    finest = told["columns"]["age"]["finest"]
    assert sum(finest.values()) == told["rows"] == len(out) == 300
    assert finest["exact"] == out["age"].notna().sum()
    assert finest["nothing"] == out["age_20"].isna().sum()
    assert finest["20"] == (out["age_20"].notna() & out["age_5"].isna()).sum()
    assert told["measures"]["classes"] == len(out.groupby(list(out.columns[:-1]), dropna=False, observed=True))
    assert told["queries"]["asked"] == 300
    assert told["suppressed"] == (out[["age_20", "region_part"]].isna().all(axis=1)).sum()


def test_a_column_is_published_as_it_is_where_policy_says_so_and_forms_no_class(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(folder, policy=changed(note={"role": "keep"}) | {"effort": {"steps": 2000, "public_seed": 7}})
    assert anonymise(folder, "--labels") == GOOD
    assert "as they are, and outside of k, l and t: note\n" in capsys.readouterr().out
    out = pd.read_csv(folder / "out.csv", sep=";", dtype=str)
    assert list(out.columns) == [*QUASI, "illness", "note"]
    assert out.groupby(QUASI).size().min() >= 5
    assert out.groupby(QUASI)["illness"].nunique().min() >= 2
    rows = table().astype(str).set_index("note")
    assert out.set_index("note")["illness"].to_dict() == rows["illness"].to_dict()
    covers = out.set_index("note")["age"].str.extract(r"(\d+)(?:, (\d+))?").astype(float).dropna(how="all")
    ages = rows["age"].astype(float)[covers.index]
    assert (covers[0] <= ages).all()
    assert (ages <= covers[1].fillna(covers[0])).all()


def test_countries_and_postal_codes_have_hierarchies_without_a_list_of_ones_own(folder: Path) -> None:
    rows = table()
    rows["region"] = np.where(rows.index % 2, "SE", "PT")
    rows["note"] = np.where(rows.index % 3, "114 55", "90100")
    place = {"role": "quasi_identifier", "unknown": "top"}
    put(folder, rows, changed(region=place | {"hierarchy": {"shipped": "country"}},
                              note=place | {"hierarchy": {"geonames": "SE.txt"}}))  # fmt: skip
    lines = ("SE\t114 55\tA\tStockholm\tAB\tSolna\t1", "SE\t901 00\tB\tV\u00e4sterbotten\tAC\tUme\u00e5\t2")
    (folder / "SE.txt").write_text("\n".join(lines))
    assert anonymise(folder) == GOOD
    out = pd.read_csv(folder / "out.csv", sep=";", dtype=str)
    assert {"region_subregion", "region_continent", "note_municipality", "note_county"} < set(out.columns)
    assert set(out["region_continent"].dropna()) == {"europe"}
    assert set(out["note_county"].dropna()) == {"Stockholm", "V\u00e4sterbotten"}


def test_parquet_goes_in_as_csv_does(folder: Path) -> None:
    (folder / "seed").write_text("5\n")
    (folder / "seed").chmod(0o600)
    table().to_parquet(folder / "in.parquet", index=False)
    assert anonymise(folder, "--seed-file", "seed") == GOOD
    assert anonymise(folder, "--seed-file", "seed", source="in.parquet", target="other.csv") == GOOD
    assert (folder / "out.csv").read_bytes() == (folder / "other.csv").read_bytes()


def test_more_effort_loses_less(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = []
    for effort in ("0", "40000"):
        assert anonymise(folder, "--json", "--effort", effort) == GOOD
        lost.append(json.loads(capsys.readouterr().out)["ncp"])
    assert lost[1] < lost[0]


# -- the seed ----------------------------------------------------------------------------------------------------------


@pytest.mark.clause("E1")
def test_a_seed_is_drawn_anew_and_forgotten_unless_a_file_keeps_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []
    for more in ((), (), ("--seed-file", "seed"), ("--seed-file", "seed")):
        assert anonymise(folder, *more) == GOOD
        written.append((folder / "out.csv").read_bytes())
    assert len(set(written)) == 3
    assert written[2] == written[3]
    assert stat.S_IMODE((folder / "seed").stat().st_mode) == 0o600
    said = capsys.readouterr()
    assert (folder / "seed").read_text().strip() not in said.out + said.err
    assert sorted(path.name for path in folder.iterdir()) == ["in.csv", "out.csv", "p.yaml", "region.csv", "seed"]


def test_a_public_seed_is_named_so(folder: Path) -> None:
    put(folder, policy=POLICY | {"effort": {"steps": 2000, "seed": 3}})
    assert anonymise(folder) == BAD_POLICY
    put(folder, policy=POLICY | {"effort": {"steps": 2000, "public_seed": 3}})
    written = []
    for _ in range(2):
        assert anonymise(folder) == GOOD
        written.append((folder / "out.csv").read_bytes())
    assert written[0] == written[1]
    assert anonymise(folder, "--seed-file", "seed") == BAD_INPUT


@pytest.mark.parametrize(("mode", "text"), [(0o640, "5"), (0o604, "5"), (0o600, "five"), (0o600, str(2**63))])
def test_a_seed_that_others_may_read_or_that_is_none_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], mode: int, text: str
) -> None:
    (folder / "seed").write_text(text)
    (folder / "seed").chmod(mode)
    assert anonymise(folder, "--seed-file", "seed") == BAD_INPUT
    assert text not in capsys.readouterr().err.replace(str(folder), "")
    assert not (folder / "out.csv").exists()


def test_a_refused_table_leaves_no_seed(folder: Path) -> None:
    put(folder, table(3))
    assert anonymise(folder, "--seed-file", "seed") == NOT
    assert not (folder / "seed").exists()


# -- what is refused ---------------------------------------------------------------------------------------------------

AGE, REGION = POLICY["columns"]["age"], POLICY["columns"]["region"]
TOP = {"unknown": "top", "missing": "top"}
CYCLE = {"role": "quasi_identifier", "hierarchy": {"parents": {"Secretlund": "a", "a": "b", "b": "a"}}}
SENSITIVE_TOO = yaml.safe_dump(POLICY, sort_keys=False) + "  age: {role: sensitive}\n"
POLICIES: dict[str, tuple[Any, int, str]] = {
    "a hierarchy with a cycle": (changed(region=CYCLE), BAD_POLICY, "region"),
    "a hierarchy without its file": (
        changed(region=REGION | {"hierarchy": {"csv": "no"}}),
        BAD_POLICY,
        "cannot be read",
    ),
    "a quasi-identifier that is sensitive too": (SENSITIVE_TOO, BAD_POLICY, "age"),
    "no policy at all": ("", BAD_POLICY, "p.yaml"),
    "a policy of another kind": ("version: 1\ndatasets: {}\n", BAD_POLICY, "p.yaml"),
}
HIERARCHIES: dict[str, tuple[str, int, str]] = {
    "a gap": (HIERARCHY.replace("Secretlund;south", "Secretlund;"), BAD_POLICY, "region"),
    "a leaf twice": (HIERARCHY + "Secretlund;north;*\n", BAD_POLICY, "region"),
    "a leaf too few": (HIERARCHY.replace("Secretlund;south;*\n", ""), BAD_INPUT, "rows whose value is unknown"),
    "labels that overlap": (HIERARCHY.replace("Secretlulea;north", "Secretlulea;Secretlund"), BAD_POLICY, "region"),
}
TABLES: dict[str, tuple[pd.DataFrame, int, str]] = {
    "an unknown value": (table().assign(region=["Secretplace"] + ["Secretlund"] * 299), BAD_INPUT,
                         "1 rows whose value is unknown"),
    "a column of NULL": (table().assign(age=None), BAD_INPUT, "300 rows whose value is missing"),
    "mixed types": (table().assign(age=["Secretage"] * 2 + [730] * 298), BAD_INPUT, "2 rows whose value is unknown"),
    "no row": (table(0), BAD_INPUT, "no rows"),
    "one row": (table(1), NOT, "holds 1 people"),
    "fewer people than k": (table(4), NOT, "holds 4 people, policy asks for classes of 5"),
    "many rows of one person": (table().assign(client="Secretone"), NOT, "holds 1 people"),
    "one sensitive value": (table().assign(illness="Secretflu"), NOT, "illness has 1 values"),
    "a column more": (table().assign(more="Secret"), BAD_POLICY, "does not declare: more"),
    "a column less": (table().drop(columns="age"), BAD_POLICY, "does not have: age"),
}  # fmt: skip
BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    **{what: ({"policy": policy}, code, said) for what, (policy, code, said) in POLICIES.items()},
    **{what: ({"hierarchy": text}, code, said) for what, (text, code, said) in HIERARCHIES.items()},
    **{what: ({"rows": rows}, code, said) for what, (rows, code, said) in TABLES.items()},
    "a column of NULL that goes to the top": (
        {"rows": table().assign(age=None), "policy": changed(age=AGE | TOP)}, BAD_INPUT, "withhold it",
    ),
}  # fmt: skip


@pytest.mark.clause("E1")
@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_a_clear_error_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    files, code, said = BAD[what]
    put(folder, **files)
    before = sorted(folder.iterdir())
    assert anonymise(folder) == code
    told = capsys.readouterr()
    (message,) = [line for line in told.err.splitlines() if line.startswith("governance: ")]
    assert said in message
    assert told.out == ""
    assert not re.search(r"Secret(?!lund)|\b7\d\d\b", told.err)
    assert sorted(folder.iterdir()) == before


def test_an_error_leaves_the_table_of_an_earlier_run(folder: Path) -> None:
    assert anonymise(folder) == GOOD
    before = (folder / "out.csv").read_bytes()
    put(folder, table(4))
    assert anonymise(folder) == NOT
    assert (folder / "out.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "target", "more", "code"),
    [
        ("in.csv", "in.csv", (), BAD_INPUT),
        ("in.txt", "out.csv", (), BAD_INPUT),
        ("in.csv", "out.xlsx", (), BAD_INPUT),
        ("in.csv", "no/out.csv", (), BAD_INPUT),
        ("none.csv", "out.csv", (), BAD_INPUT),
        ("in.csv", "out.csv", ("--effort", "-1"), BAD_INPUT),
        ("in.csv", "out.csv", ("--effort", "much"), USAGE),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_read(
    folder: Path, source: str, target: str, more: tuple[str, ...], code: int
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert anonymise(folder, *more, source=source, target=target) == code
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_said(folder: Path) -> None:
    assert anonymise(folder, "--seed-file", "seed", target="/proc/out.csv") == BAD_FILE  # not even by root
    assert not (folder / "seed").exists()


def test_identical_and_unique_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = table().assign(age=730, region="Secretlund")
    put(folder, same)
    assert anonymise(folder, "--json") == GOOD
    told = json.loads(capsys.readouterr().out)
    assert (told["ncp"], told["measures"]["classes"], told["suppressed"]) == (0, 1, 0)
    put(folder, table(80).assign(age=range(700, 780)))
    assert anonymise(folder, "--json") == GOOD
    assert json.loads(capsys.readouterr().out)["measures"]["k"] >= 5


def test_two_hundred_quasi_identifiers_in_a_space_of_ten_to_the_four_hundred(folder: Path) -> None:
    luck = np.random.default_rng(1)
    wide = pd.DataFrame({f"q{at}": luck.integers(0, 100, 60) for at in range(200)})
    rule = {"role": "quasi_identifier", "hierarchy": {"numbers": {"widths": [10, 50]}}}
    policy = {"version": 1, "protection": {"k": 5}, "effort": {"steps": 50}, "columns": dict.fromkeys(wide, rule)}
    wide.to_csv(folder / "in.csv", index=False)
    (folder / "p.yaml").write_text(json.dumps(policy))
    assert anonymise(folder, "--labels") == GOOD
    assert pd.read_csv(folder / "out.csv", sep=";", dtype=str).groupby(list(wide)).size().min() >= 5
