"""The attacks against anonymeter itself, which runs in an environment of its own (`.ci/beside` makes it)."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attack_tables import NUMBERS, TEXTS, people, rules, tables
from governance.anonymisation import engine, nearest, singling_out
from governance.anonymisation.cells import Tables
from governance.anonymisation.confidence import Attacks
from governance.anonymisation.specification import Specification

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
PYTHON = CHECKOUT / ".venv-anonymeter" / "bin" / "python"
ASK = CHECKOUT / "tests" / "anonymeter" / "ask.py"
RULES = rules({"age": NUMBERS, "postcode": TEXTS, "sex": {"parents": {"f": "*", "m": "*"}}}, ["illness"], ["income"])
NAMES = ["age", "postcode", "sex", "income", "illness"]


def ask(what: str, **asked: Any) -> Any:
    """anonymeter's answer."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON.parent.parent.name} is missing: `.ci/beside anonymeter` makes it")
    done = subprocess.run(
        [str(PYTHON), str(ASK)], input=json.dumps({"ask": what, **asked}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def saved(folder: Path, **frames: pd.DataFrame) -> dict[str, str]:
    """Paths of frames as CSV."""
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", sep=";", index=False)
    return {name: str(folder / f"{name}.csv") for name in frames}


@pytest.fixture
def three() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """A published table that differs from its original in a few rows, and a control table of another size."""
    original = people(160)
    published = original.copy()
    published.loc[::7, "age"] += 1
    published.loc[::5, "postcode"] = "a1"
    return published, original, people(70, seed=2)


def test_risks_and_their_bounds_are_those_of_anonymeter() -> None:
    counts = [
        (tried, succeeded, chance, control)
        for tried in (1, 10, 500, 2000)
        for succeeded in sorted({0, 1, tried // 3, tried - 1, tried})
        for chance in (0, tried // 4)
        for control in (None, 0, tried // 5, tried // 2)
    ]
    for (tried, succeeded, chance, control), (risk, by_chance) in zip(counts, ask("risks", counts=counts), strict=True):
        ours = Attacks(tried, succeeded, chance, 0 if control is None else tried, control or 0)
        value, ends = risk
        assert vars(ours.risk()) == pytest.approx({"value": value, "lower": ends[0], "upper": ends[1]}, abs=1e-9)
        assert ours.chance().value == pytest.approx(by_chance[0], abs=1e-9)


def test_univariate_predicates_are_as_many_and_single_out_as_often(
    three: tuple[pd.DataFrame, ...], tmp_path: Path
) -> None:
    theirs = ask("univariate", **saved(tmp_path, published=three[0], original=three[1], control=three[2]))
    ours = tables(RULES, *three)
    published, original = ours.published.distinct()[0], ours.original.distinct()[0]
    assert ours.control is not None
    made = singling_out.univariate(published, 10**6, np.random.default_rng(1))
    found = [int((made.counts(table) == 1).sum()) for table in (original, ours.control.distinct()[0])]
    assert {"made": len(made), "original": found[0], "control": found[1]} == theirs
    assert theirs["made"] > 10
    assert 0 < theirs["control"] < theirs["original"]


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_every_multivariate_predicate_holds_for_the_same_number_of_rows(
    three: tuple[pd.DataFrame, ...], tmp_path: Path, columns: int
) -> None:
    theirs = ask(
        "multivariate", columns=columns, **saved(tmp_path, published=three[0], original=three[1], control=three[2])
    )
    ours = tables(RULES, *three)
    assert ours.control is not None
    distinct = [table.distinct()[0].of(NAMES) for table in (ours.published, ours.original, ours.control)]
    said = [singling_out.saying(distinct[0], column) for column in range(len(NAMES))]
    found = [[], [], []]  # type: list[list[int]]
    for spoken in itertools.combinations(range(len(NAMES)), columns):
        ends = np.array(
            [[one.ends(row, at in spoken) for at, one in enumerate(said)] for row in range(len(distinct[0]))]
        )
        made = singling_out.Predicates(ends[:, :, 0], ends[:, :, 1])
        for at, table in enumerate(distinct):
            found[at] += made.counts(table).tolist()
    assert found == theirs
    assert 1 in found[1]
    assert len(set(found[1])) > 1


def test_distances_of_numbers_and_texts_are_the_same(three: tuple[pd.DataFrame, ...], tmp_path: Path) -> None:
    published, original = (frame.dropna(subset=["income"]) for frame in three[:2])
    theirs = ask("distances", names=NAMES, **saved(tmp_path, published=published, original=original))
    ours = tables(RULES, published, original)
    known, values = ours.published.of(NAMES), ours.original.of(NAMES)
    found = nearest.distances(known, values.low, nearest.extent(known, values))
    assert np.allclose(found, np.array(theirs), atol=1e-9)


def continuous(count: int, seed: int) -> pd.DataFrame:
    """Numbers of which no two are the same distance away, so that nothing hangs on how ties are broken."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame(draw.normal(size=(count, 5)), columns=["a", "b", "c", "d", "secret"])


WIDE = {"numbers": {"widths": [10], "whole": False}}
CONTINUOUS = rules({name: WIDE for name in "abcd"}, ["secret"])


@pytest.fixture
def noisy() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table, and the same with a little noise: nearest rows are mostly, not always, one's own."""
    original = continuous(300, 3)
    published = original + np.random.default_rng(4).normal(scale=0.08, size=original.shape)
    published["secret"] = original["secret"]
    return published, original


def test_without_ties_the_same_people_are_linked(noisy: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    sides = (["a", "b"], ["c", "d"])
    theirs = ask("linked", sides=sides, **saved(tmp_path, published=noisy[0], original=noisy[1]))
    ours = nearest.linkability(tables(CONTINUOUS, *noisy), sides, 300, 1)
    assert (ours.tried, ours.succeeded) == (300, theirs)
    assert 30 < theirs < 270


@pytest.mark.parametrize("regression", [False, True])
def test_without_ties_the_same_secrets_are_inferred(
    noisy: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, regression: bool
) -> None:
    names = ["a", "b"]
    theirs = ask(
        "inferred", names=names, secret="secret", regression=regression,
        **saved(tmp_path, published=noisy[0], original=noisy[1]),
    )  # fmt: skip
    secret = nearest.Secret("secret", tuple(names), 0.05 if regression else None)
    ours = nearest.inference(tables(CONTINUOUS, *noisy), secret, 300, 1)
    assert (ours.tried, ours.succeeded) == (300, theirs)
    assert 30 < theirs < 299


QUASI = ["sex", "age", "race", "marital-status", "education", "native-country", "workclass"]


@pytest.fixture(scope="module")
def adult() -> tuple[pd.DataFrame, Tables]:
    """UCI Adult, its first part published raw and the rest as control."""
    folder = os.environ.get("GOVERNANCE_REFERENCE_DATA")
    if not folder:
        pytest.skip("GOVERNANCE_REFERENCE_DATA names no folder with the public files")
    data = Path(folder) / "anonymity" / "data"
    given = {name: {"csv": f"{name}.csv"} for name in QUASI}
    given["age"] |= {"numeric": True}  # type: ignore[dict-item]
    frame = pd.read_csv(data / "adult.csv", sep=";", skipinitialspace=True, dtype=str)
    frame = frame.sample(frac=1, random_state=1, ignore_index=True)
    csv = {f"{name}.csv": (data / "hierarchies" / f"{name}.csv").read_text("utf-8") for name in QUASI}
    part = frame[:24_000]
    return frame, tables(rules(given, ["occupation"], ["salary-class"]), part, part, frame[24_000:], csv=csv)


def test_on_adult_the_rates_are_those_of_anonymeter(adult: tuple[pd.DataFrame, Tables], tmp_path: Path) -> None:
    frame, ours = adult
    tried, sides = 500, (QUASI[:3], QUASI[3:])
    part = frame[:24_000]
    theirs = ask(
        "whole", tried=tried, columns=[3, 7], sides=sides, names=QUASI, secret="occupation",
        **saved(tmp_path, published=part, original=part, control=frame[24_000:]),
    )  # fmt: skip
    found = {f"singling out {columns}": singling_out.singling_out(ours, columns, tried, 1) for columns in (3, 7)}
    found["linkability"] = nearest.linkability(ours, sides, tried, 1)
    found["inference"] = nearest.inference(ours, nearest.Secret("occupation", tuple(QUASI)), tried, 1)
    for name, (_, succeeded, chance, control) in theirs.items():
        one = found[name]
        assert abs(one.succeeded - succeeded) <= 4 * spread(one.succeeded, succeeded, tried), name
        if name.startswith("singling"):
            assert abs(one.by_chance - chance) <= 4 * spread(one.by_chance, chance, tried), name
        else:  # the others have a defect in 1.1.0, which the docstrings of ours name
            assert abs(one.control_succeeded - control) <= 4 * spread(one.control_succeeded, control, tried), name


def test_adult_without_exact_ages_shows_less_than_the_best_of_other_systems(
    adult: tuple[pd.DataFrame, Tables], tmp_path: Path
) -> None:
    """Upper ends for the best of each: 0.110, 0.035 and 0.061, none of which has all three at once; half of the first
    two is kept. Inference hangs on the 2,000 that are drawn, by some 0.03."""
    frame, _ = adult
    files = saved(tmp_path, original=frame[:24_000], control=frame[24_000:])
    data = Path(os.environ["GOVERNANCE_REFERENCE_DATA"]) / "anonymity" / "data"
    columns: dict[str, Any] = {
        name: {"role": "quasi_identifier", "hierarchy": {"csv": f"{name}.csv", "numeric": name == "age"}}
        for name in QUASI
    }
    columns["age"] |= {"finest": "level_1"}
    columns |= {"occupation": {"role": "sensitive"}, "salary-class": {"role": "withhold"}}
    asked = {"version": 1, "protection": {"k": 5}, "effort": {"steps": 250_000, "public_seed": 1}, "columns": columns}
    found = engine.anonymise(
        tmp_path / "original.csv", tmp_path / "published.csv", Specification.model_validate(asked),
        data / "hierarchies", engine.Manner(labels=True),
    )  # fmt: skip
    theirs = ask(
        "release", tried=2000, attempts=400_000, columns=[3, 7], names=QUASI, secret="occupation",
        published=str(tmp_path / "published.csv"), **files,
    )  # fmt: skip
    upper = {name: ends[2] for name, ends in theirs.items()}
    assert found.ncp <= 0.04
    assert upper["singling out 3"] <= 0.110 / 2
    assert upper["singling out 7"] <= 0.035 / 2
    assert upper["inference"] <= 0.061


def spread(one: float, other: float, tried: int) -> float:
    """The standard error of the difference of two numbers of successes."""
    rate = (one + other + 1) / (2 * tried + 2)
    return float(np.sqrt(2 * tried * rate * (1 - rate))) or 1.0
