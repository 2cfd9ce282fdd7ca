"""Attacks on everything that was released: what is judged, on both sides of every limit, and what finds somebody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from governance import policy as policies
from governance.anonymisation import accumulated, attacking, releases
from governance.anonymisation.cells import Cells
from governance.anonymisation.composition import NOBODY, History, Published
from governance.anonymisation.daily import Pool
from governance.anonymisation.releases import SPECIALTY
from governance.anonymisation.signatures import Ledger, bits, nobody

pytestmark = pytest.mark.clause("E1")

POLICY = policies.load()
LIMITS = POLICY.value("bookings_whole_attack")
OF = releases.model(POLICY.dataset("bookings").release, k=2, l=2, terms=POLICY.value("bookings_release"))
VALUES = OF.rules.sensitive[SPECIALTY]
SOUND = {
    "tried": LIMITS["people"], "short_classes": 0, "gained_less": 0, "fewer_left": 0, "disclosed": 0,
    "singling_out_few": 0.002, "singling_out_all": 0.002, "linkability": 0.1, "inference_nearest": 0.1,
    "inference_majority": 0.2, "singling_out_few_guessed": 0.9, "linkability_chance": 0.9,
}  # fmt: skip


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({}, []),
        ({"short_classes": 1}, ["short_classes: 1"]),
        ({"gained_less": 2, "disclosed": 1}, ["gained_less: 2", "disclosed: 1"]),
        ({"fewer_left": 1}, ["fewer_left: 1"]),
        ({"posterior_over_null": 0.05}, []),
        ({"posterior_over_null": 0.06}, ["posterior_over_null: 0.06"]),
        ({"singling_out_few": 0.005}, []),
        ({"singling_out_all": 0.006}, ["singling_out: 0.006"]),
        ({"linkability": 0.2}, []),
        ({"linkability": 0.21}, ["linkability: 0.21"]),
        ({"linkability": 0.21, "tried": LIMITS["people"] - 1}, []),
        ({"inference_majority": 0.4}, []),
        ({"inference_nearest": 0.41}, ["inference: 0.41"]),
        ({"inference_nearest": 0.41, "tried": LIMITS["people"] - 1}, []),
        ({"singling_out_all": 0.006, "tried": 1}, ["singling_out: 0.006"]),
    ],
)
def test_a_figure_is_over_its_limit_when_it_is_greater_and_of_enough_people(
    figures: dict[str, float], told: list[str]
) -> None:
    assert [text.partition(" (")[0] for text in accumulated.over(SOUND | figures, LIMITS)] == told


def test_what_is_over_says_what_it_is_what_policy_allows_and_by_how_much() -> None:
    assert accumulated.over(SOUND | {"linkability": 0.25}, LIMITS) == [
        "linkability: 0.25 (rate at which two halves meet in one row, upper bound), policy allows 0.2, 0.05 over"
    ]


def test_a_measure_that_was_not_taken_is_not_judged() -> None:
    assert accumulated.over({"tried": 0}, LIMITS) == []


# -- releases ----------------------------------------------------------------------------------------------------------

ROW = dict.fromkeys(name for one in OF.quasi for name in one.columns)
"""Labels of a class that says nothing."""
ORIGIN = next(at for at, one in enumerate(OF.quasi) if one.columns[0] == "origin_country")
WIDE = np.array([one.domain.width - 1 for one in OF.quasi], dtype=np.int32)


def shown(*classes: tuple[str | None, str]) -> pd.DataFrame:
    """Published rows: per class the country of its label and the specialties of its rows, by first letter."""
    rows = [
        ROW | {"origin_country": country, SPECIALTY: next(value for value in VALUES if value.startswith(letter))}
        for country, letters in classes
        for letter in letters
    ]
    return pd.DataFrame(rows, columns=[*ROW, SPECIALTY], dtype="object")


@pytest.mark.parametrize(
    ("classes", "k", "values", "expected"),
    [
        ((("SE", "dod"),), 3, 2, 0),
        ((("SE", "dod"),), 4, 2, 3),
        ((("SE", "dod"),), 3, 3, 3),
        ((("SE", "ddd"), ("NO", "do")), 2, 2, 3),
        ((("SE", "do"), (None, "dof")), 3, 2, 2),
        ((), 3, 2, 0),
    ],
)
def test_rows_of_classes_that_are_too_small_or_too_uniform_are_counted(
    classes: Sequence[tuple[str, str]], k: int, values: int, expected: int
) -> None:
    assert accumulated.short_classes(shown(*classes), OF, k, values) == expected


def pool(*rows: tuple[int, str]) -> Pool:
    """Rows of (person, specialty by first letter), all of Sweden."""
    codes = np.zeros((len(rows), len(OF.quasi)), dtype=np.int32)
    codes[:, ORIGIN] = OF.quasi[ORIGIN].domain.values.index("SE")
    values = [[next(at for at, value in enumerate(VALUES) if value.startswith(letter))] for _, letter in rows]
    person = np.array([one for one, _ in rows], dtype=np.uint64)
    return Pool(
        person, person, codes, np.array(values, dtype=np.int32).reshape(-1, 1), np.zeros(len(rows), dtype=np.int64)
    )


def ledger(person: int, letters: str) -> Ledger:
    values = np.array([[next(at for at, value in enumerate(VALUES) if value.startswith(one))] for one in letters])
    signature = np.bitwise_or.reduce(bits(values, OF.rules.widths))
    return Ledger(np.array([person], dtype=np.uint64), signature[None])


@pytest.mark.parametrize(
    ("signature", "anywhere", "classes"),
    [("do", False, [0]), ("df", False, [1]), ("dh", False, []), ("dh", True, [0])],
)
def test_people_are_put_where_their_signature_is_and_anywhere_only_when_asked(
    signature: str, anywhere: bool, classes: list[int]
) -> None:
    release = shown((None, "do"), ("SE", "df"))
    found = attacking.placed(pool((7, "d")), release, OF, ledger(7, signature), anywhere=anywhere)
    owners = found.owner[found.person == 7]
    assert (found.low[owners, ORIGIN] == found.high[owners, ORIGIN]).astype(int).tolist() == classes


def test_whoever_has_the_least_choice_is_put_first() -> None:
    narrow = pool((1, "d"))
    other = replace(pool((2, "d")), codes=np.zeros((1, len(OF.quasi)), dtype=np.int32))
    release = shown((None, "do"), ("SE", "do"))
    both = ledger(1, "do").joined(ledger(2, "do"))
    found = attacking.placed(narrow.joined(other), release, OF, both)
    assert sorted(found.person[found.person != NOBODY].tolist()) == [1, 2]


def test_a_release_of_which_nobody_is_known_or_nothing_is_there_is_read_all_the_same() -> None:
    found = attacking.placed(pool(), shown((None, "do")), OF, nobody(OF.rules.widths), anywhere=True)
    assert found.person.tolist() == [NOBODY, NOBODY]
    assert attacking.placed(pool((7, "d")), shown(), OF, ledger(7, "do"), anywhere=True).person.size == 0


# -- attacks -----------------------------------------------------------------------------------------------------------


def published(*classes: Sequence[tuple[int, str]]) -> Published:
    """A release of classes of (person, specialty by first letter), each the only one of its label."""
    rows = [(at, *row) for at, one in enumerate(classes) for row in one]
    low = np.array([[at] * len(OF.quasi) for at in range(len(classes))], dtype=np.int32).clip(max=WIDE)
    owner = np.array([row[0] for row in rows])
    value = np.array([next(at for at, one in enumerate(VALUES) if one.startswith(row[2])) for row in rows])
    return Published(low, low, owner, np.array([row[1] for row in rows], dtype=np.uint64), low[owner], value)


def history(*released: Published, k: int = 2) -> History:
    found = History(len(VALUES), k)
    for one in released:
        found.add(one)
    return found


EFFORT = {"pairs": 3, "subsets": 2, "people": 1}


def test_whoever_is_not_known_is_attacked_by_nobody_and_is_a_person_in_every_class() -> None:
    found = history(published([(NOBODY, "d"), (NOBODY, "o")]), published([(NOBODY, "d"), (NOBODY, "f")]))
    told = accumulated.together(found, EFFORT, 1)
    assert (told["people"], told["people_again"], told["fewer_left"], told["gained_less"]) == (0, 0, 0, 0)
    assert accumulated.as_one_table(accumulated.accumulated(found, OF), 10, 1) == {"tried": 0}
    alone = history(published([(NOBODY, "d"), (NOBODY, "o")], [(NOBODY, "d"), (3, "o")]), k=3)
    assert accumulated.together(alone, EFFORT, 1)["gained_less"] == 4


def test_the_worst_of_all_attacks_is_told() -> None:
    first, good, bad = ([(1, "d"), (2, "o")], [(1, "d"), (3, "o")], [(2, "o"), (4, "f")])
    told = accumulated.together(history(published(first), published(good), published(bad)), EFFORT, 1)
    assert (told["attacks"], told["people"], told["people_again"]) == (3 + 3 + 1, 4, 2)
    assert (told["fewer_left"], told["disclosed"], told["gained_less"]) == (1, 1, 0)
    assert told["posterior_over_null"] == pytest.approx(0.5)


def test_one_release_alone_is_attacked_too() -> None:
    several = [published([(10 * at + 1, "d"), (10 * at + 2, "o")]) for at in range(5)]
    short = published([(100, "d")])
    told = accumulated.together(history(*several, short), {"pairs": 0, "subsets": 0, "people": 1}, 1)
    assert told["attacks"] == 6 + 1
    assert told["gained_less"] == 1
    assert "posterior_over_null" not in told


def test_pairs_and_subsets_are_drawn_by_the_seed_where_there_are_more() -> None:
    several = history(*(published([(1, "d"), (at + 2, "o")]) for at in range(9)))
    effort = {"pairs": 5, "subsets": 4, "people": 1}
    chosen = accumulated._chosen(several, effort, 1)
    assert [len(which) for which in chosen[:9]] == [1] * 9
    assert [len(which) for which in chosen[9:14]] == [2] * 5
    assert all(3 <= len(set(which)) < 9 for which in chosen[14:-1])
    assert chosen[-1] == list(range(9))
    assert chosen == accumulated._chosen(several, effort, 1) != accumulated._chosen(several, effort, 2)


def cells(*rows: Sequence[tuple[int, int]]) -> Cells:
    ends = np.array(rows, dtype=np.float64).reshape(len(rows), -1, 2)
    width = ends.shape[1]
    whole = np.ones(width, dtype=np.bool_)
    names = tuple("abc"[:width])
    return Cells(names, ~whole, whole, np.zeros(width), np.full(width, 9.0), ends[:, :, 0], ends[:, :, 1])


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        ([1, 2, 3, 3, 3], 1),
        ([1, 2, 3, 4, 4], 0),
        ([1, 1, 3, 4, 4], 1),
        ([1, 1, 2, 2, 2], 2),
        ([1, 1, 2, 2, 1], 1),
        ([1, 1, 1, 1, 1], 2),
        ([5, 5, 6, 7, 5], 1),
    ],  # fmt: skip
)
def test_who_is_singled_out_is_one_person_however_many_rows(people: list[int], expected: int) -> None:
    labels = cells([(0, 4), (0, 0)], [(5, 9), (1, 1)])
    original = cells([(1, 1), (0, 0)], [(2, 2), (0, 0)], [(6, 6), (1, 1)], [(7, 7), (1, 1)], [(7, 7), (1, 1)])
    kinds = accumulated.kinds(original, np.array(people, dtype=np.uint64))
    found = accumulated.singled_out(labels, kinds, 2, 2, 1)
    assert (found.tried, found.stated, found.succeeded) == (2, 2, expected)


def classes(count: int, people: int, letters: str) -> History:
    """Classes of so many people, with these specialties in turn."""
    return history(
        published(*(
            [(number * people + at + 1, letters[at % len(letters)]) for at in range(people)] for number in range(count)
        ))
    )  # fmt: skip


def test_classes_of_k_people_bound_links_and_a_mixed_class_infers_no_more_than_the_baseline() -> None:
    told = accumulated.as_one_table(accumulated.accumulated(classes(3, 100, "do"), OF), 300, 1)
    assert told["tried"] == 300
    assert told["singling_out_all"] == told["singling_out_few"] < 0.02
    assert told["linkability"] < 0.05
    assert told["inference_majority"] < 0.25
    assert set(SOUND) - {"short_classes", "gained_less", "fewer_left", "disclosed"} <= set(told)


def test_classes_of_one_person_are_singled_out_linked_and_inferred() -> None:
    alone = published(*([(at + 1, "do"[at % 2])] for at in range(3)))
    told = accumulated.as_one_table(accumulated.accumulated(history(alone), OF), 3, 1)
    assert told["linkability"] == told["inference_nearest"] == told["inference_majority"] == 1.0
    assert told["singling_out_all"] == 1.0
