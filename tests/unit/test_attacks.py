"""Attacks on tables with known answers; against anonymeter itself they are in tests/integration/test_anonymeter.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from attack_tables import NUMBERS, TEXTS, people, rules, tables
from governance.anonymisation.confidence import Attacks, Bounds, Rate, residual, success_rate
from governance.anonymisation.nearest import Secret, inference, linkability
from governance.anonymisation.singling_out import chance_of_one, fitted_weight, singling_out

QUASI = {"age": NUMBERS, "postcode": TEXTS, "sex": {"parents": {"f": "*", "m": "*"}}}
RULES = rules(QUASI, ["illness"], ["income"])
KNOWN = ("age", "postcode", "sex")
RAW = people(400).drop_duplicates(ignore_index=True)


def suppressed(frame: pd.DataFrame, columns: tuple[str, ...] = KNOWN) -> pd.DataFrame:
    """A table of which some columns say nothing any more."""
    return frame.assign(**dict.fromkeys(columns))


def in_classes(frame: pd.DataFrame) -> pd.DataFrame:
    """A table in coarse classes."""
    low = frame["age"] // 10 * 10
    return frame.assign(age=[f"[{one}, {one + 9}]" for one in low], postcode=frame["postcode"].str[0] + "*", sex=None)


@pytest.mark.parametrize("columns", [3, 5])
def test_every_attack_on_a_raw_table_singles_somebody_out(columns: int) -> None:
    found = singling_out(tables(RULES, RAW, RAW), columns, 200, 1)
    assert found.succeeded == 200
    assert found.risk() == Attacks(200, 200, 0).risk()
    assert found.by_chance < 60


def test_who_can_state_fewer_predicates_than_asked_for_succeeds_with_no_more() -> None:
    few = RAW[:6]
    found = singling_out(tables(RULES, few, few), 1, 2000, 1)
    assert 0 < found.succeeded < 40
    assert found.tried == 2000


def test_a_raw_table_infers_what_is_told_apart_and_links_who_is_unique_on_both_sides() -> None:
    apart = pd.DataFrame({"age": range(20, 60), "postcode": "a1", "sex": "f", "illness": [str(at) for at in range(40)],
                          "income": 1.0})  # fmt: skip
    both = apart.assign(postcode=[f"{chr(97 + at // 10)}{at}" for at in range(40)])
    found = tables(RULES, both, both)
    assert inference(found, Secret("illness", KNOWN), 2000, 1).succeeded == 40
    assert linkability(found, (["age"], ["postcode"]), 2000, 1) == Attacks(40, 40, found_by_chance(found))
    assert linkability(tables(RULES, apart, apart), (["age"], ["postcode"]), 2000, 1).succeeded < 10


def found_by_chance(found: object) -> int:
    """Links by chance hang on the seed alone."""
    return linkability(found, (["age"], ["postcode"]), 2000, 1).by_chance  # type: ignore[arg-type]


@pytest.mark.parametrize("reading", ["as published", "guessed"])
def test_a_wholly_suppressed_table_gives_nobody_away(reading: str) -> None:
    nothing = suppressed(RAW, (*KNOWN, "income")).assign(illness="none")
    truth = RAW.assign(illness=["flu" if at % 4 else "none" for at in range(len(RAW))])
    found = tables(RULES, nothing, truth)
    if reading == "guessed":
        found = found.guessed(1)
    for columns in (0, 1, 3):
        risk = singling_out(found, columns, 300, 1).risk()
        assert risk.lower <= (0.03 if reading == "guessed" and columns == 3 else 1e-9), (columns, risk)
    assert linkability(found, (["age"], ["postcode", "sex"]), 300, 1).succeeded <= 6
    attacks = inference(found, Secret("illness", KNOWN), 300, 1)
    assert attacks.succeeded == pytest.approx(75, abs=25)  # the share of the one value that is left
    assert attacks.by_chance == pytest.approx(75, abs=25)


def test_classes_single_nobody_out_by_quasi_identifiers_alone() -> None:
    only = rules(QUASI)
    found = tables(only, in_classes(RAW)[list(KNOWN)], RAW[list(KNOWN)])
    twice = found.published.rows(np.repeat(np.arange(len(found.published)), 2))
    assert len(twice.distinct()[0]) < 45
    assert singling_out(found, 3, 300, 1).succeeded <= 5


def test_a_column_that_is_kept_singles_out_within_classes() -> None:
    kept = RAW.assign(income=np.arange(len(RAW), dtype=float))
    found = singling_out(tables(RULES, in_classes(kept), kept), 5, 300, 1)
    assert found.risk().lower > 0.3


def test_who_votes_among_the_nearest_infers_what_most_of_a_class_have() -> None:
    table = pd.DataFrame({"age": ["[20, 29]"] * 10 + ["[30, 39]"] * 10, "postcode": "a1", "sex": "f", "income": 1.0,
                          "illness": (["flu"] * 9 + ["none"]) + (["none"] * 9 + ["flu"])})  # fmt: skip
    truth = table.assign(age=[21] * 10 + [35] * 10)
    found = tables(RULES, table, truth)
    assert inference(found, Secret("illness", KNOWN, majority=True), 2000, 1).succeeded == 18
    assert 12 <= inference(found, Secret("illness", KNOWN), 2000, 1).succeeded <= 20


def test_the_narrowest_label_that_holds_a_value_is_nearest() -> None:
    table = pd.DataFrame({"age": ["[20, 29]", "[20, 59]", "24"], "postcode": ["a*", None, "b1"], "sex": "f",
                          "income": 1.0, "illness": ["flu", "none", "asthma"]})  # fmt: skip
    truth = pd.DataFrame({"age": [29, 50, 24], "postcode": ["a1", "b1", "b1"], "sex": "f", "income": 1.0,
                          "illness": ["flu", "none", "asthma"]})  # fmt: skip
    found = tables(RULES, table, truth)
    assert inference(found, Secret("illness", ("age",)), 2000, 1).succeeded == 3


def test_a_number_is_inferred_when_guessed_closely() -> None:
    truth = RAW.assign(income=100.0)
    for guess, right in ((100.0, 50), (105.0, 50), (106.0, 0), (95.3, 50), (95.0, 0)):  # relative to the guess
        found = tables(RULES, RAW.assign(income=guess), truth)
        assert inference(found, Secret("income", KNOWN, 0.05), 50, 1).succeeded == right, guess
        assert inference(found, Secret("income", KNOWN), 50, 1).succeeded == (50 if guess == 100 else 0)


@pytest.mark.parametrize("attack", ["singling out", "linkability", "inference"])
def test_what_works_as_well_on_strangers_is_no_risk(attack: str) -> None:
    table = people(400, seed=1)
    strangers = tables(RULES, table, people(400, seed=3), people(400, seed=4))
    theirs = tables(RULES, table, table, people(400, seed=4))

    def risk(found: object) -> Bounds:
        if attack == "singling out":
            return singling_out(found, 2, 300, 1).risk()  # type: ignore[arg-type]
        if attack == "linkability":
            return linkability(found, (["age"], ["postcode", "sex"]), 300, 1).risk()  # type: ignore[arg-type]
        return inference(found, Secret("illness", KNOWN), 300, 1).risk()  # type: ignore[arg-type]

    assert risk(strangers).lower < 0.02
    assert risk(strangers).value < 0.1
    assert attack == "linkability" or risk(theirs).lower > 0.05


def test_the_same_seed_attacks_the_same_and_another_does_not() -> None:
    found = tables(RULES, in_classes(RAW), RAW, people(100, seed=9))
    one, same, other = (singling_out(found, 2, 200, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert linkability(found, (["age"], ["sex"]), 200, 1) == linkability(found, (["age"], ["sex"]), 200, 1)
    assert inference(found, Secret("illness", KNOWN), 200, 1) == inference(found, Secret("illness", KNOWN), 200, 1)


def test_the_correction_is_that_of_a_solver() -> None:
    """anonymeter fits with scipy; here it is given successes as they should be counted."""
    people_ = np.repeat(np.linspace(1000, 5187, 10), 5)
    draw = np.random.default_rng(1)

    def model(x: np.ndarray, weight: float, factor: float) -> np.ndarray:
        return factor * chance_of_one(x, weight)

    for weight in (2e-5, 1e-4, 6e-4):
        hits = draw.poisson(2000 * chance_of_one(people_, weight) / chance_of_one(np.float64(5187), weight) * 0.2)
        ours = fitted_weight(people_, hits.astype(float))
        guess = (
            2 * weight,
            hits.max() / chance_of_one(np.float64(5187), 2 * weight),
        )  # from anonymeter's it finds none
        (theirs, _), _ = curve_fit(model, people_, hits, p0=guess, bounds=(0, (1, np.inf)))
        ratios = [
            float(chance_of_one(np.float64(16214), one) / chance_of_one(np.float64(5187), one))
            for one in (ours, theirs)
        ]
        assert ratios[0] == pytest.approx(ratios[1], rel=0.02)
        assert ratios[0] > 0.3


@pytest.mark.parametrize(
    ("succeeded", "control", "value", "upper"),
    [
        (0, 0, 0.0, 0.0054),
        (500, 0, 0.9962, 1.0),
        (500, 500, 0.0, 1.0),
        (250, 250, 0.0, 0.1235),
        (300, 200, 0.3312, 0.4171),
    ],
)
def test_a_risk_is_what_the_control_set_does_not_explain(
    succeeded: int, control: int, value: float, upper: float
) -> None:
    risk = Attacks(500, succeeded, 0, 500, control).risk()
    assert (risk.value, risk.upper) == pytest.approx((value, upper), abs=1e-4)


def test_without_attacks_or_with_a_control_that_always_succeeds_nothing_is_known() -> None:
    assert Attacks(0, 0, 0).risk() == Attacks(0, 0, 0).chance() == Bounds(0.0, 0.0, 1.0)
    assert residual(success_rate(10, 5), Rate(1.0, 0.0)) == Rate(0.0, 1.0)


def test_an_empty_published_table_is_attacked_in_vain() -> None:
    found = tables(RULES, RAW[:0], RAW)
    for attacks in (
        singling_out(found, 0, 50, 1), singling_out(found, 3, 50, 1),
        linkability(found, (["age"], ["sex"]), 50, 1), inference(found, Secret("illness", KNOWN), 50, 1),
    ):  # fmt: skip
        assert (attacks.tried, attacks.succeeded) == (50, 0)


def test_of_labels_that_hold_a_value_the_narrowest_is_nearest() -> None:
    given = rules({"age": NUMBERS, "city": {"parents": {"lund": "south", "malmo": "south", "kiruna": "north",
                                                        "south": "*", "north": "*"}}}, ["illness"])  # fmt: skip
    table = pd.DataFrame({"age": "[20, 29]", "city": ["south", "*", "kiruna"], "illness": ["flu", "cold", "gout"]})
    for city, illness in (("lund", "flu"), ("kiruna", "gout")):
        truth = pd.DataFrame({"age": [25] * 20, "city": city, "illness": illness})
        assert inference(tables(given, table, truth), Secret("illness", ("age", "city")), 20, 1).succeeded == 20


def test_of_rows_equally_near_each_is_drawn_as_often() -> None:
    given = rules({"age": NUMBERS}, ["illness"])
    table = pd.DataFrame({"age": [20, 30, 30, 30], "illness": ["flu", "cold", "cold", "gout"]})
    truth = pd.DataFrame({"age": [25] * 2000, "illness": "flu"})
    for illness, share in (("flu", 1), ("cold", 2), ("gout", 1)):
        found = inference(tables(given, table, truth.assign(illness=illness)), Secret("illness", ("age",)), 2000, 1)
        assert found.succeeded == pytest.approx(500 * share, abs=100), illness


def test_a_smaller_control_set_singles_out_less_and_is_corrected_for_it() -> None:
    table = people(3000)
    found = singling_out(tables(RULES, table, table, people(1200, seed=4)), 5, 500, 1)
    assert found.control_succeeded > 1.2 * found.control_counted > 0
    same = singling_out(tables(RULES, RAW, RAW, RAW), 3, 100, 1)
    assert same.control_succeeded == same.control_counted == same.succeeded


def test_guessing_keeps_what_is_exact_and_what_is_missing_and_draws_within_the_rest() -> None:
    table = RAW.assign(age=["[20, 24]"] * 3 + list(RAW["age"][3:]), sex=[None] * 3 + list(RAW["sex"][3:]))
    assert RAW["income"].isna().any()
    found = tables(RULES, table, RAW).published
    drawn = found.guessed(1)
    exact = found.low == found.high
    assert np.array_equal(drawn.low[exact], found.low[exact])
    assert np.array_equal(drawn.low, drawn.high)
    assert set(drawn.low[:3, 0]) <= {20, 21, 22, 23, 24}
    assert set(drawn.low[:3, 2]) <= {0, 1}
    assert not drawn.is_generalised()


def test_how_many_predicates_could_be_stated_is_told() -> None:
    few = RAW[:6]
    found = singling_out(tables(RULES, few, few), 1, 2000, 1)
    assert found.stated == found.succeeded < 40
    assert singling_out(tables(RULES, RAW, RAW), 3, 100, 1).stated == 100
