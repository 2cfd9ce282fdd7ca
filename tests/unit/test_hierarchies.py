"""Hierarchies: what a value is coarsened to, and what is no hierarchy (clauses E1 and C6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from governance.anonymisation.domains import Treatment, domain, losses
from governance.anonymisation.hierarchies import dates, intervals, numbers, texts
from governance.anonymisation.losses import box_loss
from governance.anonymisation.trees import from_csv, from_geonames, from_parents, from_table
from governance.errors import InputError, PolicyError
from governance.policy import POLICY_FOLDER

WORK = "nurse;care;*\nguide;care;*\nsmith;craft;*\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("a;x;*\nb;*\n", "line 2: 2 levels where the first line has 3"),
        ("a;x;*\nb;;*\n", "line 2: a gap, level 2 has no label"),
        ("a;x;*\na;x;*\n", "the value a stands there twice"),
        ("a;x;*\na;y;*\n", "the value a stands there twice"),
        ("a;x;p;*\nb;x;q;*\n", "no tree: x lies below two labels"),
        ("a;x;*\nb;y;all\n", "has 2 tops"),
        ("a;b;*\nb;b;*\n", "the label b overlaps"),
        ("a;x;y;*\nb;x;y;*\nc;y;x;*\n", "overlaps"),
    ],
)
def test_a_csv_that_is_no_tree_is_refused(content: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        from_csv("work", content)


def test_a_hierarchy_of_numbers_has_numbers_whose_labels_do_not_overlap() -> None:
    with pytest.raises(PolicyError, match="one is no number"):
        from_csv("age", "1;low;*\none;low;*\n", numeric=True)
    with pytest.raises(PolicyError, match="the label low overlaps"):
        from_csv("age", "1;low;*\n2;high;*\n3;low;*\n", numeric=True)
    assert from_csv("age", "3;high;*\n1;low;*\n2;low;*\n", numeric=True).path("2") == ("low", "*")


def test_names_of_levels_fit_the_levels() -> None:
    assert from_csv("work", WORK, levels=["field", "all"]).levels == ("field", "all")
    with pytest.raises(PolicyError, match="2 levels above its values, but 1 names"):
        from_csv("work", WORK, levels=["field"])


def test_parents_make_a_tree_and_a_leaf_that_stands_higher_repeats_its_label() -> None:
    tree = from_parents("place", {"Lisbon": "Portugal", "Portugal": "Europe", "Malta": "Europe"})
    assert tree.path("Lisbon") == ("Portugal", "Europe")
    assert tree.path("Malta") == ("Malta", "Europe")


@pytest.mark.parametrize(
    "parents", [{"a": "b", "b": "a"}, {"x": "a", "a": "b", "b": "a"}, {"a": "a"}, {"x": "top", "a": "b", "b": "a"}]
)
def test_a_circle_is_refused(parents: dict[str, str]) -> None:
    with pytest.raises(PolicyError, match="in a circle"):
        from_parents("place", parents)


@pytest.mark.parametrize(
    ("value", "path"),
    [("20", ("[20, 24]", "[20, 39]", "*")), ("24", ("[20, 24]", "[20, 39]", "*")),
     ("25", ("[25, 29]", "[20, 39]", "*")),
     ("-1", ("[-5, -1]", "[-20, -1]", "*")), ("x", None), ("2.5", None), ("nan", None), ("inf", None)],
)  # fmt: skip
def test_a_bucket_says_which_numbers_it_holds(value: str, path: tuple[str, ...] | None) -> None:
    assert numbers("age", [5, 20]).path(value) == path


def test_buckets_of_decimals_are_half_open() -> None:
    assert numbers("bmi", [2.5, 10], whole=False).path("22.5") == ("[22.5, 25)", "[20, 30)", "*")
    assert numbers("share", [0.1, 0.5], whole=False).path("0.3") == ("[0.3, 0.4)", "[0, 0.5)", "*")


@pytest.mark.parametrize("widths", [[5, 12], [5, 5], [20, 5], [0], [-5], [2.5]])
def test_widths_that_do_not_nest_are_refused(widths: list[float]) -> None:
    with pytest.raises(PolicyError, match="hierarchy age"):
        numbers("age", widths)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ({}, "has no level"),
        ({"group": {"a": (5, 1)}}, "ends before it begins"),
        ({"group": {"a": (0, 17), "b": (17, 64)}}, "a overlaps b"),
        ({"group": {"a": (0, 17), "b": (19, 64)}}, "a gap between 17 and 19"),
        ({"group": {"a": (0, 17), "b": (18, 64)}, "half": {"x": (0, 20), "y": (21, 64)}}, "b lies in no interval"),
    ],
)
def test_intervals_that_overlap_gap_or_do_not_nest_are_refused(levels: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        intervals("age", levels)


def test_intervals_name_what_they_hold() -> None:
    ages = intervals("age", {"group": {"minor": (0, 17), "adult": (18, 64)}})
    assert [ages.path(value) for value in ("17", "18", "65")] == [("minor", "*"), ("adult", "*"), None]


POSTAL = (
    "SE\t114 55\tStockholm\tStockholm\tAB\tStockholm\t0180\t\t\t59.3\t18.0\t4\n"
    "SE\t186 91\tVallentuna\tStockholm\tAB\tVallentuna\t0115\t\t\t59.5\t18.1\t4\n"
    "SE\t186 91\tBrottby\tStockholm\tAB\tVallentuna\t0115\t\t\t59.5\t18.2\t4\n"
    "SE\t186 91\tRimbo\tStockholm\tAB\tNorrt\u00e4lje\t0188\t\t\t59.7\t18.3\t4\n"
    "SE\t901 00\tUme\u00e5\tV\u00e4sterbotten\tAC\t\t\t\t\t63.8\t20.2\t4\n"
)


def test_postal_codes_of_geonames_lead_to_municipality_and_county() -> None:
    codes = from_geonames("postcode", POSTAL)
    assert codes.levels == ("municipality", "county", "all")
    assert codes.path("114 55") == codes.path("11455") == ("Stockholm, Stockholm", "Stockholm", "*")
    assert codes.path("186 91") == ("Vallentuna, Stockholm", "Stockholm", "*")  # where most of its places are
    assert codes.path("90100") == ("elsewhere, V\u00e4sterbotten", "V\u00e4sterbotten", "*")
    assert codes.path("999 99") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("SE\t114 55\tStockholm\tStockholm\tAB\n", "line 1: not a line of GeoNames"),
        (POSTAL + "SE\t\tA\tB\tC\tD\t1\n", "line 6: not a line"),
        (POSTAL + "SE\t111 11\tA\t\tC\tD\t1\n", "line 6: not a line"),
    ],
)
def test_a_file_that_is_none_of_geonames_is_refused(content: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        from_geonames("postcode", content)


def test_the_shipped_hierarchy_of_countries_leads_to_region_and_continent() -> None:
    text = (POLICY_FOLDER / "hierarchies" / "country.csv").read_text()
    country = from_table("country", text)
    assert country.levels == ("subregion", "continent", "all")
    assert country.path("SE") == ("northern_europe", "europe", "*")
    assert country.path("NA") == ("sub_saharan_africa", "africa", "*")
    assert len(country.paths) == len(text.splitlines()) - 1 >= 249


def test_dates_and_codes_have_their_own_levels() -> None:
    assert dates("born", ["month", "quarter", "year", "decade"]).path("1987-11-03T10:00:00") == (
        "1987-11", "1987-Q4", "1987", "1980s", "*",
    )  # fmt: skip
    assert dates("born", ["year"]).path("soon") is None
    assert texts("postcode", [3, 1]).path("114 55") == ("114**", "1****", "*")
    assert texts("postcode", [3, 1]).path("114") is None
    assert texts("procedure", separator=".").path("dental.implant") == ("dental.*", "*")
    for refused in ({"units": ["year", "month"]}, {"units": []}, {"units": ["week"]}):
        with pytest.raises(PolicyError):
            dates("born", refused["units"])
    for refused in ({}, {"prefixes": [1, 3]}, {"prefixes": [0]}, {"prefixes": [3], "separator": "."}):
        with pytest.raises(PolicyError):
            texts("postcode", **refused)  # type: ignore[arg-type]


def _domain(values: list[str | None], treatment: Treatment) -> Any:
    return domain("column", [None, *values], np.array([0] + [1] * len(values)), treatment)


def test_loss_is_leaves_less_one_over_all_leaves_less_one_or_width_over_width() -> None:
    work, codes = _domain(["smith", "nurse", "guide"], Treatment(from_csv("work", WORK)))
    low, high = sorted(codes[2:4])
    assert work.cell(low, high) == (1, 0.5)
    assert work.label(low, high) == "care"
    assert work.by_level(low, high) == (None, "care")
    assert work.cell(0, 2) == (2, 1.0)
    ages, _ = _domain(["20", "21", "24", "40"], Treatment(numbers("age", [5, 20])))
    assert ages.cell(0, 1) == (1, 0.2)  # the label says [20, 24], whatever the class holds
    exact, _ = _domain(["20", "21", "24", "40"], Treatment(numbers("age", [5, 20]), exact=True))
    assert (exact.label(0, 1), exact.cell(0, 1)[1]) == ("[20, 21]", 0.05)


def test_intervals_of_values_on_no_line_are_refused() -> None:
    with pytest.raises(InputError, match="lie on no line"):
        _domain(["nurse"], Treatment(from_csv("work", WORK), exact=True))


@pytest.mark.parametrize("exact", [False, True])
def test_a_wide_column_loses_the_same_as_one_with_a_table(monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    values: list[str | None] = [str(number) for number in range(0, 90, 3)]
    one, _ = _domain(values, Treatment(numbers("age", [5, 20]), exact=exact))
    tabled = losses([one])
    monkeypatch.setattr("governance.anonymisation.domains.WIDEST_TABLE", 1)
    walked = losses([one])
    assert walked.start[0] != tabled.start[0]
    for low in range(30):
        for high in range(low, 30):
            box = np.array([[low]], np.int32), np.array([[high]], np.int32)
            assert box_loss(walked, *box, 0) == pytest.approx(box_loss(tabled, *box, 0), abs=1e-6)
            assert box_loss(tabled, *box, 0) == pytest.approx(one.cell(low, high)[1], abs=1e-6)
