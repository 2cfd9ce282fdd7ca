"""k, l, t and the risk of re-identification, on tables small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from attack_tables import NUMBERS, TEXTS, assessed, rules
from governance.anonymisation.exposure import MOST_CLASSES, reidentification
from governance.errors import InputError

COUNTRIES = {
    "parents": {"se": "north", "no": "north", "it": "south", "north": "*", "south": "*"},
    "levels": ["region", "all"],
}
RULES = rules({"country": COUNTRIES, "age": NUMBERS}, ["illness"], protection={"k": 2, "l": 2})


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    """Rows of country, age and illness."""
    return pd.DataFrame(rows, columns=["country", "age", "illness"])


def test_a_suppressed_cell_is_a_value_or_any_value() -> None:
    found = assessed(RULES, table(("se", 30, "flu"), ("se", 30, "cold"), ("se", None, "gout"), ("se", None, "flu")))
    assert (found.classes, found.suppressed) == (2, 0)
    assert found.by_value.k == 2
    assert found.by_compatible.k == 2  # of whoever is in a row without age nothing else is known to be compatible
    one = assessed(RULES, table(("se", 30, "flu"), ("se", None, "flu"), ("se", None, "flu")))
    assert one.by_value.k == 1
    assert one.by_compatible.k == 2  # who is 30 and from se fits three rows, the other two fit each other's
    assert one.by_value.sensitive["illness"].l == 1


def test_with_the_original_every_person_is_sought() -> None:
    published = table(("se", 30, "flu"), ("se", None, "flu"), ("north", None, "cold"))
    original = table(("se", 30, "flu"), ("se", 41, "flu"), ("no", 50, "cold"))
    found = assessed(RULES, published, original)
    assert found.by_person is not None
    assert (found.by_person.k, found.by_person.looked, found.by_person.unmatched) == (1, 3, 0)  # no, 50
    assert found.by_person.sensitive["illness"].l == 1
    stranger = assessed(RULES, published, table(("it", 30, "flu"), ("se", 30, "flu"), ("it", 31, "flu")))
    assert stranger.by_person is not None
    assert (stranger.by_person.k, stranger.by_person.unmatched) == (3, 2)


def test_one_column_per_level_says_the_same_as_labels() -> None:
    labels = table(("se", 30, "flu"), ("north", 30, "cold"), ("*", "[30, 39]", "flu"), ("*", "[30, 39]", "cold"))
    levels = pd.DataFrame(
        [("se", "north", "30", "[30, 39]", "flu"), (None, "north", "30", "[30, 39]", "cold"),
         (None, None, None, "[30, 39]", "flu"), (None, None, None, "[30, 39]", "cold")],
        columns=["country", "country_region", "age", "age_10", "illness"],
    )  # fmt: skip
    original = table(("se", 30, "flu"), ("no", 30, "cold"), ("it", 32, "flu"), ("se", 39, "cold"))
    assert assessed(RULES, labels, original) == assessed(RULES, levels, original)


def test_ends_of_intervals_say_the_same_as_intervals() -> None:
    exact = rules({"country": COUNTRIES, "age": NUMBERS}, ["illness"])
    labels = table(("se", "[30, 34]", "flu"), ("se", "[30, 34]", "cold"), ("it", "51", "flu"), ("it", "*", "cold"))
    ends = pd.DataFrame(
        [("se", "north", None, "30", "34", "flu"), ("se", "north", None, "30", "34", "cold"),
         ("it", "south", "51", "51", "51", "flu"), ("it", "south", None, None, None, "cold")],
        columns=["country", "country_region", "age", "age_from", "age_to", "illness"],
    )  # fmt: skip
    original = table(("se", 31, "flu"), ("se", 34, "cold"), ("it", 51, "flu"), ("it", 80, "cold"))
    assert assessed(exact, labels, original) == assessed(exact, ends, original)


@pytest.mark.parametrize(("third", "l"), [("gout", 3), ("flu", 2)])
def test_l_counts_values_and_entropy_weighs_them(third: str, l: int) -> None:  # noqa: E741
    found = assessed(RULES, table(("se", 30, "flu"), ("se", 30, "cold"), ("se", 30, third))).by_value.sensitive[
        "illness"
    ]
    assert found.l == l
    shares = np.array([1 / 3] * 3 if l == 3 else [2 / 3, 1 / 3])
    assert found.entropy_l == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert found.confidence == pytest.approx(shares.max())


def test_t_is_the_distance_from_the_whole_and_an_order_shortens_it() -> None:
    rows = [("se", 30, "low"), ("se", 30, "middle"), ("it", 50, "middle"), ("it", 50, "high")]
    found = assessed(RULES, table(*rows)).by_value.sensitive["illness"]
    assert found.t == pytest.approx(0.25)  # (1/2, 1/2, 0) from (1/4, 1/2, 1/4)
    ordered = rules({"country": COUNTRIES, "age": NUMBERS}, ["illness"],
                    protection={"k": 2, "ordered": {"illness": ["low", "middle", "high"]}})  # fmt: skip
    assert assessed(ordered, table(*rows)).by_value.sensitive["illness"].t == pytest.approx(0.25)
    apart = [("se", 30, "low"), ("se", 30, "low"), ("it", 50, "middle"), ("it", 50, "high")]
    assert assessed(RULES, table(*apart)).by_value.sensitive["illness"].t == pytest.approx(0.5)
    assert assessed(ordered, table(*apart)).by_value.sensitive["illness"].t == pytest.approx((0.5 + 0.25) / 2)
    with pytest.raises(InputError, match="illness: 1 rows with a value that its order"):
        assessed(ordered, table(*apart, ("it", 50, "unheard of")))


def test_t_is_measured_against_the_original_where_there_is_one() -> None:
    published = table(("se", 30, "flu"), ("se", 30, "cold"))
    original = table(("se", 30, "flu"), ("se", 30, "cold"), ("it", 60, "gout"), ("it", 61, "gout"))
    assert assessed(RULES, published).by_value.sensitive["illness"].t == 0.0
    assert assessed(RULES, published, original).by_value.sensitive["illness"].t == pytest.approx(0.5)


def test_people_are_counted_where_a_column_tells_them_apart() -> None:
    given = rules({"country": COUNTRIES}, ["illness"], columns={"client": {"role": "person"}})
    rows = pd.DataFrame(
        [("se", "flu", "ann"), ("se", "cold", "ann"), ("se", "flu", "bo"), ("it", "flu", "ann"), ("it", "gout", None)],
        columns=["country", "illness", "client"],
    )  # fmt: skip
    found = assessed(given, rows)
    assert found.counts_people
    assert found.by_value.k == 1  # in it, nobody counts as no one
    assert assessed(given, rows[:3]).by_value.k == 2
    assert assessed(given, rows.drop(columns="client")).by_value.k == 2


def test_wholly_suppressed_rows_are_in_no_class() -> None:
    found = assessed(RULES, table(("se", 30, "flu"), ("se", 30, "cold"), (None, None, "gout"), ("*", "*", "flu")))
    assert (found.suppressed, found.classes, found.by_value.k) == (2, 1, 2)
    nothing = assessed(
        RULES, table((None, None, "gout"), (None, None, "flu")), table(("se", 30, "flu"), ("it", 9, "gout"))
    )
    assert (nothing.suppressed, nothing.classes, nothing.by_value.k) == (2, 0, None)
    assert nothing.prosecutor.highest == 0.0
    assert nothing.by_person is not None
    assert nothing.by_person.unmatched == 2


def test_the_risks_of_el_emam_by_hand() -> None:
    people, population = np.array([1, 3, 6]), np.array([4, 3, 12])
    prosecutor = reidentification(people, people, 3)
    assert prosecutor.highest == 1.0
    assert prosecutor.mean == pytest.approx(3 / 10)  # classes over people
    assert prosecutor.above == pytest.approx(1 / 10)
    journalist = reidentification(people, population, 4)
    assert journalist.highest == pytest.approx(1 / 3)
    assert journalist.mean == pytest.approx((1 / 4 + 3 / 3 + 6 / 12) / 10)
    assert journalist.above == pytest.approx(3 / 10)


def test_the_population_is_the_original() -> None:
    published = table(("se", 30, "flu"), ("se", 30, "cold"), ("south", None, "flu"), ("south", None, "cold"))
    original = table(
        *[("se", 30, "flu")] * 8, ("it", 50, "cold"), ("it", 60, "gout"), ("it", 7, "flu"), ("no", 7, "flu")
    )
    found = assessed(RULES, published, original)
    assert found.prosecutor.highest == 0.5
    assert found.journalist is not None
    assert found.journalist.highest == pytest.approx(1 / 3)
    assert found.marketer == pytest.approx((2 / 8 + 2 / 3) / 4)
    alone = assessed(RULES, published)
    assert (alone.journalist, alone.marketer) == (alone.prosecutor, alone.prosecutor.mean)


def test_of_very_many_classes_the_smallest_are_compared_with_all() -> None:
    ages = np.repeat(np.arange(MOST_CLASSES + 50), 2)[1:]  # the first one alone
    found = assessed(rules({"age": NUMBERS}), pd.DataFrame({"age": ages}))
    assert found.classes == MOST_CLASSES + 50
    assert found.by_compatible.looked == MOST_CLASSES
    assert found.by_value.k == found.by_compatible.k == 1


def test_labels_of_texts_and_dates_are_read_without_an_original() -> None:
    given = rules({"postcode": TEXTS, "day": {"dates": ["month", "year"]}}, protection={"k": 2})
    rows = pd.DataFrame(
        {"postcode": ["1****", "1****", "2****", "2****"], "day": ["2024-01", "2024-01", "2024", "2024"]}
    )
    assert assessed(given, rows).by_value.k == 2
    original = pd.DataFrame({"postcode": ["11455", "12000", "21120", "24444"],
                             "day": ["2024-01-31", "2024-01-01", "2024-12-31", "2024-01-01"]})  # fmt: skip
    found = assessed(given, rows, original)
    assert found.by_person is not None
    assert (found.by_person.k, found.by_person.unmatched) == (2, 0)
    with pytest.raises(InputError, match="postcode: 1 cells with a label that its hierarchy does not know"):
        assessed(given, rows.replace({"postcode": {"1****": "1"}})[1:], original)


def test_a_person_in_two_classes_is_counted_once_among_compatible_rows() -> None:
    given = rules({"country": COUNTRIES}, ["illness"], columns={"client": {"role": "person"}})
    rows = pd.DataFrame(
        [("se", "flu", "ann"), ("se", "cold", "bo"), ("north", "flu", "ann"), ("north", "flu", "bo")],
        columns=["country", "illness", "client"],
    )  # fmt: skip
    found = assessed(given, rows)
    assert (found.by_value.k, found.by_compatible.k) == (2, 2)
