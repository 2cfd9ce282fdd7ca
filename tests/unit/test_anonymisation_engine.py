"""The anonymisation engine: what is published holds and covers; what cannot be used is refused (clauses E1 and C6)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from governance.anonymisation.checking import table_measures
from governance.anonymisation.engine import Manner, anonymise
from governance.anonymisation.specification import Specification, specification
from governance.errors import DisclosureError, GapError, GovernanceError, InputError, PolicyError

REFERENCE = os.environ.get("GOVERNANCE_REFERENCE_DATA")
COUNTRIES = {
    "SE": "Nordic", "NO": "Nordic", "DK": "Nordic", "PT": "South", "ES": "South", "IT": "South", "DE": "Middle",
    "Nordic": "Europe", "South": "Europe", "Middle": "Europe",
}  # fmt: skip
QUASI = {
    "age": {"role": "quasi_identifier", "hierarchy": {"numbers": {"widths": [5, 20]}}},
    "country": {"role": "quasi_identifier", "hierarchy": {"parents": COUNTRIES}},
    "born": {"role": "quasi_identifier", "hierarchy": {"dates": ["month", "year"]}},
}


def policy(k: int = 5, columns: dict[str, Any] | None = None, steps: int = 3000, **protection: Any) -> Specification:
    declared = columns or QUASI | {"job": {"role": "sensitive"}}
    asked = {"k": k, **protection}
    return Specification.model_validate(
        {"version": 1, "protection": asked, "effort": {"steps": steps, "public_seed": 7}, "columns": declared}
    )


def people(count: int = 400, seed: int = 3) -> pd.DataFrame:
    luck = np.random.default_rng(seed)
    countries = ["SE", "NO", "DK", "PT", "ES", "IT", "DE"]
    years, months = luck.integers(40, 99, count), luck.integers(1, 9, count)
    return pd.DataFrame(
        {
            "age": luck.integers(18, 90, count),
            "country": luck.choice(countries, count, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02]),
            "born": [f"19{year}-0{month}-15" for year, month in zip(years, months, strict=True)],
            "job": luck.choice(["nurse", "smith", "clerk", "pilot", "guide"], count, p=[0.4, 0.3, 0.15, 0.1, 0.05]),
        }
    )


def publish(
    folder: Path, table: pd.DataFrame, rules: Specification, name: str = "out.csv", *, labels: bool = True
) -> pd.DataFrame:
    table.to_csv(folder / "in.csv", index=False, sep=";")
    anonymise(folder / "in.csv", folder / name, rules, folder, Manner(labels=labels))
    if name.endswith(".parquet"):
        return pd.read_parquet(folder / name)
    return pd.read_csv(folder / name, sep=";", dtype=str, keep_default_na=False)


def refused(folder: Path, table: pd.DataFrame, rules: Specification, error: type[GovernanceError], said: str) -> None:
    """The table is refused with an error that says so, and nothing is written."""
    table.to_csv(folder / "in.csv", index=False, sep=";")
    with pytest.raises(error, match=said):
        anonymise(folder / "in.csv", folder / "out.csv", rules, folder)
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".txt") == ["in.csv"]


# -- what is published holds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 5, 17])
def test_every_published_class_holds_k_rows_and_none_is_lost(tmp_path: Path, k: int) -> None:
    out = publish(tmp_path, people(), policy(k))
    assert out.groupby(list(QUASI)).size().min() >= k
    assert len(out) == 400
    assert out["job"].value_counts().to_dict() == people()["job"].value_counts().to_dict()


@pytest.mark.parametrize(("asked", "least"), [({"l": 3}, 3), ({"l": 5}, 5), ({"entropy_l": 2.5}, 2.5)])
def test_every_published_class_holds_l(tmp_path: Path, asked: dict[str, float], least: float) -> None:
    out = publish(tmp_path, people(), policy(**asked))
    classes = out.groupby(list(QUASI))["job"]
    assert classes.size().min() >= 5
    if "l" in asked:
        assert classes.nunique().min() >= least
    else:
        shares = [values.value_counts(normalize=True) for _, values in classes]
        assert min(np.exp(-(share * np.log(share)).sum()) for share in shares) >= least - 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.15, 0.3])
def test_every_published_class_is_t_close_to_the_whole_table(tmp_path: Path, t: float) -> None:
    out = publish(tmp_path, people(), policy(t=t))
    whole = people()["job"].value_counts(normalize=True)
    for _, values in out.groupby(list(QUASI))["job"]:
        share = values.value_counts(normalize=True).reindex(whole.index, fill_value=0)
        assert (share - whole).abs().sum() / 2 <= t + 1e-9
        assert len(values) >= 5
    assert out["job"].value_counts().to_dict() == people()["job"].value_counts().to_dict()


def test_an_ordered_sensitive_column_is_measured_along_its_order(tmp_path: Path) -> None:
    order = ["guide", "pilot", "clerk", "smith", "nurse"]
    out = publish(tmp_path, people(), policy(t=0.1, ordered={"job": order}))
    whole = people()["job"].value_counts(normalize=True).reindex(order)
    for _, values in out.groupby(list(QUASI))["job"]:
        share = values.value_counts(normalize=True).reindex(order, fill_value=0)
        assert (share - whole).cumsum().abs().sum() / 4 <= 0.1 + 1e-9


def test_a_class_holds_k_people_not_rows(tmp_path: Path) -> None:
    table = people(300).assign(client=[f"c{index // 3}" for index in range(300)])  # everybody is there three times
    table = table.assign(comment=table["client"]).drop(columns="job")
    seen = QUASI | {"client": {"role": "person"}, "comment": {"role": "sensitive"}}
    out = publish(tmp_path, table, policy(4, seen))
    assert out.groupby(list(QUASI))["comment"].nunique().min() >= 4
    assert out.groupby(list(QUASI)).size().max() < 300


def test_an_unknown_person_counts_as_nobody(tmp_path: Path) -> None:
    table = people(20).assign(client=[f"c{index}" for index in range(4)] + [""] * 16)
    refused(tmp_path, table, policy(5, QUASI | {"job": {"role": "withhold"}, "client": {"role": "person"}}),
            DisclosureError, "holds 4 people")  # fmt: skip


@pytest.mark.parametrize(("level", "width"), [("5", 5), ("20", 20)])
def test_nothing_is_published_finer_than_policy_allows(tmp_path: Path, level: str, width: int) -> None:
    """Also of a value that is alone in its label."""
    table = people().assign(age=[age if age < 80 else 83 for age in people()["age"]])
    rules = policy(5, QUASI | {"age": QUASI["age"] | {"finest": level}, "job": {"role": "sensitive"}})
    ages = set(publish(tmp_path, table, rules)["age"])
    for label in ages - {"*"}:
        low, high = (int(end) for end in label.strip("[]").split(", "))
        assert low % width == 0
        assert high - low >= width - 1
    assert f"[{80 - 80 % width}, {80 - 80 % width + width - 1}]" in ages
    levels = publish(tmp_path, table, rules, labels=False)
    assert set(levels["age"]) == {""}
    assert publish(tmp_path, table, policy(5), labels=False)["age"].ne("").any()


@pytest.mark.parametrize(
    ("rule", "said"),
    [({"finest": "7"}, "7 is no level of its hierarchy; those are 5, 20, all"),
     ({"finest": "5", "exact": True}, "said of labels, not of true intervals")],
)  # fmt: skip
def test_a_finest_level_is_one_of_the_hierarchy(tmp_path: Path, rule: dict[str, Any], said: str) -> None:
    columns = {**QUASI, "age": {**QUASI["age"], **rule}, "job": {"role": "sensitive"}}
    with pytest.raises((PolicyError, ValueError), match=said):
        publish(tmp_path, people(), policy(5, columns))


def test_every_label_covers_what_it_stands_for(tmp_path: Path) -> None:
    """Rows are told apart by a sensitive column that numbers them, so that each can be compared with its own."""
    table = people().assign(job=[f"n{index}" for index in range(400)])
    out = publish(tmp_path, table, policy(5)).set_index("job")
    for row in table.itertuples():
        said = out.loc[row.job]
        ages = ["18", "89"] if said["age"] == "*" else said["age"].strip("[]").split(", ")
        low, high = int(ages[0]), int(ages[-1])
        assert low <= row.age <= high
        assert said["country"] in (row.country, COUNTRIES[row.country], "Europe")
        assert said["born"] in (row.born, row.born[:7], row.born[:4], "*")


def test_true_intervals_begin_and_end_with_values_of_their_class(tmp_path: Path) -> None:
    exact = QUASI | {"age": QUASI["age"] | {"exact": True}, "job": {"role": "sensitive"}}
    table = people().assign(job=people()["age"].astype(str))
    out = publish(tmp_path, table, policy(5, exact))
    for said, ages in out.groupby(list(QUASI))["job"]:
        low, high = ages.astype(int).min(), ages.astype(int).max()
        assert said[0] == (str(low) if low == high else f"[{low}, {high}]")


def test_levels_say_the_same_as_labels(tmp_path: Path) -> None:
    labels = publish(tmp_path, people(), policy(), "labels.csv")
    levels = publish(tmp_path, people(), policy(), "levels.csv", labels=False)
    assert list(levels.columns) == [
        "age", "age_5", "age_20", "country", "country_level_1", "born", "born_month", "born_year", "job",
    ]  # fmt: skip
    assert sorted(labels.groupby(list(QUASI)).size()) == sorted(levels.groupby(list(levels.columns[:-1])).size())
    kept = levels[levels["country"] != ""]
    assert (kept["country_level_1"] == kept["country"].map(COUNTRIES)).all()
    assert (levels[levels["age_5"] != ""]["age_20"] != "").all()


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    csv = publish(tmp_path, people(), policy(), "out.csv")
    parquet = publish(tmp_path, people(), policy(), "out.parquet").astype(str)
    pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)
    pyarrow.parquet.write_table(pa.Table.from_pandas(people(), preserve_index=False), tmp_path / "in.parquet")
    anonymise(tmp_path / "in.parquet", tmp_path / "from.csv", policy(), tmp_path, Manner(labels=True))
    assert (tmp_path / "from.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize("asked", [{}, {"l": 3}, {"t": 0.3}])
def test_a_seed_decides_the_result(tmp_path: Path, asked: dict[str, Any]) -> None:
    first = publish(tmp_path, people(), policy(**asked))
    pd.testing.assert_frame_equal(first, publish(tmp_path, people(), policy(**asked)))
    other = policy(**asked).model_copy(update={"effort": policy().effort.model_copy(update={"public_seed": 8})})
    assert not first.equals(publish(tmp_path, people(), other))


def test_sensitive_values_do_not_choose_the_classes(tmp_path: Path) -> None:
    """With k alone, classes are the same whatever the sensitive column says."""
    quasi = list(QUASI)
    one = publish(tmp_path, people(), policy())
    shuffled = people().assign(job=people()["job"].sample(frac=1, random_state=1).to_numpy())
    assert one.groupby(quasi).size().to_dict() == publish(tmp_path, shuffled, policy()).groupby(quasi).size().to_dict()


def test_more_steps_lose_less(tmp_path: Path) -> None:
    people(2000).to_csv(tmp_path / "in.csv", index=False)
    lost = [
        anonymise(tmp_path / "in.csv", tmp_path / "out.csv", policy(steps=steps), tmp_path).ncp for steps in (0, 40_000)
    ]
    assert lost[1] < 0.85 * lost[0]


def test_values_with_separators_and_quotes_come_out_as_they_went_in(tmp_path: Path) -> None:
    table = people().assign(job=['a;"b"'] * 200 + ["c\td"] * 200)
    assert set(publish(tmp_path, table, policy())["job"]) == {'a;"b"', "c\td"}


# -- what cannot be used is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "error", "said"),
    [
        (people(1), DisclosureError, "holds 1 people"),
        (people(4), DisclosureError, "holds 4 people, policy asks for classes of 5"),
        (people(0), InputError, "has no rows"),
        (people().assign(age=None), InputError, "column age: 400 rows whose value is missing"),
        (people().assign(age=[None] + [30] * 399), InputError, "column age: 1 rows whose value is missing"),
        (people().assign(age=["many"] * 3 + [30] * 397), InputError, "column age: 3 rows whose value is unknown"),
        (people().assign(country=["XX"] * 2 + ["SE"] * 398), InputError, "column country: 2 rows .*`unknown: top`"),
        (people().assign(more=1), GapError, "does not declare: more"),
        (people().drop(columns="age"), GapError, "does not have: age"),
    ],
    ids=["one row", "fewer than k", "no rows", "all NULL", "a NULL", "mixed types", "unknown", "column more", "less"],
)
def test_a_table_that_cannot_be_used_is_refused_and_nothing_written(
    tmp_path: Path, table: pd.DataFrame, error: type[GovernanceError], said: str
) -> None:
    refused(tmp_path, table, policy(), error, said)


def test_a_sensitive_column_of_one_value_cannot_be_diverse(tmp_path: Path) -> None:
    table = people().assign(job="nurse")
    refused(tmp_path, table, policy(l=2), DisclosureError, "has 1 values in the whole table")
    refused(tmp_path, table, policy(entropy_l=1.5), DisclosureError, "policy asks for 1.5")
    assert len(publish(tmp_path, table, policy())) == 400


def test_an_order_that_lacks_a_value_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, people(), policy(t=0.2, ordered={"job": ("nurse", "smith")}), DisclosureError, "3 values")


def test_unknown_and_missing_values_go_to_the_top_where_policy_says_so(tmp_path: Path) -> None:
    lenient = {name: rule | {"unknown": "top", "missing": "top"} for name, rule in QUASI.items()}
    table = people().assign(age=["many"] * 7 + [None] * 7 + [40] * 386)
    out = publish(tmp_path, table, policy(5, lenient | {"job": {"role": "sensitive"}}))
    assert (out["age"] == "*").sum() >= 14
    assert out.groupby(list(QUASI)).size().min() >= 5
    (tmp_path / "out.csv").unlink()
    all_null = people().assign(age=None)
    refused(tmp_path, all_null, policy(5, lenient | {"job": {"role": "sensitive"}}), InputError, "age has no value")


def test_identical_rows_lose_nothing_and_unique_rows_become_classes(tmp_path: Path) -> None:
    same = pd.concat([people(1)] * 50)
    same.to_csv(tmp_path / "in.csv", index=False)
    assert anonymise(tmp_path / "in.csv", tmp_path / "out.csv", policy(), tmp_path).ncp == 0
    unique = people(60).assign(age=range(20, 80))
    assert publish(tmp_path, unique, policy()).groupby(list(QUASI)).size().min() >= 5


def test_two_hundred_quasi_identifiers_and_a_space_of_ten_to_the_thirty(tmp_path: Path) -> None:
    luck = np.random.default_rng(1)
    table = pd.DataFrame({f"q{index}": luck.integers(0, 100, 60) for index in range(200)})
    columns = {name: {"role": "quasi_identifier", "hierarchy": {"numbers": {"widths": [10, 50]}}} for name in table}
    out = publish(tmp_path, table, policy(5, columns, steps=50))
    assert out.groupby(list(columns)).size().min() >= 5


def test_a_ragged_or_absent_or_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        anonymise(tmp_path / "none.csv", tmp_path / "out.csv", policy(), tmp_path)
    (tmp_path / "in.csv").write_text("")
    with pytest.raises(InputError, match="no header"):
        anonymise(tmp_path / "in.csv", tmp_path / "out.csv", policy(), tmp_path)
    (tmp_path / "in.csv").write_text("age,country,born,job\n1,SE\n")
    with pytest.raises(InputError, match="does not fit its header") as told:
        anonymise(tmp_path / "in.csv", tmp_path / "out.csv", policy(), tmp_path)
    assert "SE" not in str(told.value)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2\nprotection: {k: 5}\ncolumns: {}", "version"),
        ("version: 1\nprotection: {k: 1}\ncolumns: {}", "protection.k"),
        ("version: 1\nprotection: {k: 5}\ncolumns: {a: {role: sensitive}}", "nothing to generalise"),
        ("version: 1\nprotection: {k: 5}\ncolumns: {a: {role: quasi_identifier}}", "has a hierarchy"),
        ("version: 1\nprotection: {k: 5}\ncolumns: {a: {role: sensitive, hierarchy: {csv: a}}}", "no other"),
        ("version: 1\nprotection: {k: 5}\ncolumns: {a: {role: sensitive}, a: {role: quasi_identifier}}", "twice"),
        ("version: 1\nprotection: {k: 5, l: 2}\n"
         "columns: {a: {role: quasi_identifier, hierarchy: {dates: [year]}}}", "there is none"),
        ("version: 1\nprotection: {k: 5}\n"
         "columns: {a: {role: quasi_identifier, hierarchy: {csv: a, dates: [year]}}}", "one of csv"),
    ],
)  # fmt: skip
def test_a_policy_that_asks_for_what_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        specification("p.yaml", text.encode())


# -- against the judge -------------------------------------------------------------------------------------------------

ADULT = ("sex", "age", "race", "marital-status", "education", "native-country", "workclass")


def adult(steps: int, *, exact: bool = False, **protection: Any) -> Specification:
    columns: dict[str, Any] = {
        name: {"role": "quasi_identifier", "hierarchy": {"csv": f"{name}.csv", "numeric": name == "age"},
               "exact": exact and name == "age"}
        for name in ADULT
    }  # fmt: skip
    columns |= {"occupation": {"role": "sensitive"}, "salary-class": {"role": "withhold"}}
    return policy(5, columns, steps, **protection)


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE, reason="needs GOVERNANCE_REFERENCE_DATA")
@pytest.mark.parametrize(
    ("asked", "exact", "most"),
    [({}, False, 0.0282), ({"l": 2}, False, 0.0288), ({}, True, 0.0210), ({"t": 0.2}, False, 0.43)],
    ids=["k", "l", "intervals", "t"],
)
def test_adult_loses_as_little_as_was_to_be_reached_by_the_judges_own_measure(
    tmp_path: Path, asked: dict[str, Any], exact: bool, most: float
) -> None:
    judge = Path(str(REFERENCE)) / "anonymity"
    source, hierarchies = judge / "data" / "adult.csv", judge / "data" / "hierarchies"
    ours = anonymise(
        source, tmp_path / "out.csv", adult(400_000, exact=exact, **asked), hierarchies, Manner(labels=True)
    )
    told = subprocess.run(
        [sys.executable, judge / "score.py", source, tmp_path / "out.csv", "--qi", ",".join(ADULT), "--hier",
         hierarchies, "--sensitive", "occupation", "--numeric", "age", "--queries", "300"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    theirs = defaultdict(str, (line.split(None, 1) for line in told.splitlines() if line.strip()))
    assert float(theirs["ncp"]) == pytest.approx(ours.ncp, abs=2e-6)
    assert float(theirs["ncp"]) <= most
    assert ours.queries
    assert ours.queries.median == pytest.approx(float(theirs["qerr_median"]), abs=1e-5)
    assert ours.queries.mean == pytest.approx(float(theirs["qerr_mean"]), abs=1e-5)
    assert (ours.suppressed, ours.measures.classes) == (int(theirs["suppressed"]), int(theirs["classes"]))
    measured = table_measures(tmp_path / "out.csv", ADULT, ("occupation",))
    assert (measured.k, measured.l) == (int(theirs["k"]), int(theirs["l"])) == (ours.measures.k, ours.measures.l)
    assert measured.t == pytest.approx(float(theirs["t"]), abs=1e-6)
    assert measured.k >= 5
