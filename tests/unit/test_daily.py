"""Daily releases: thresholds from both sides, returning people, and attacks that find what is there to be found."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from bench.attacking import worst
from bench.days import Course, People, course
from bench.releases import figures, rules_for, simulate
from governance.anonymisation.composition import History, Published, Telling, Whereabouts
from governance.anonymisation.daily import HELD, PUBLISHED, SUPPRESSED, Pool, Rules, Terms, release
from governance.anonymisation.domains import Treatment, domain
from governance.anonymisation.hierarchies import numbers
from governance.anonymisation.recoding import Protection
from governance.anonymisation.signatures import Ledger, bits, nobody

LINE = domain("x", list(map(str, range(11))), np.ones(11), Treatment(numbers("x", [5])))[0]
VALUES = tuple("abcd")
RULES = Rules(
    (LINE,), {"value": VALUES}, Protection(2, 2), Terms(delay=2, threshold=0.4, worth=0.0, ceiling=1.0, steps=20)
)


def pool(rows: Sequence[tuple[int, int, str, int]]) -> Pool:
    """Rows of (x, person, value, day)."""
    return Pool(
        np.arange(len(rows), dtype=np.uint64) + 1,
        np.array([row[1] for row in rows], dtype=np.uint64),
        np.array([[row[0]] for row in rows], dtype=np.int32),
        np.array([[VALUES.index(row[2])] for row in rows], dtype=np.int32),
        np.array([row[3] for row in rows], dtype=np.int64),
    )


def ledger(**signatures: str) -> Ledger:
    """People p1, p2, ... and the values of their signatures."""
    held = [
        np.bitwise_or.reduce(bits(np.array([[VALUES.index(v)] for v in values]), [4])) for values in signatures.values()
    ]
    return Ledger(np.array([int(name[1:]) for name in signatures], dtype=np.uint64), np.array(held))


def fates(found: np.ndarray) -> str:
    return "".join({PUBLISHED: "p", HELD: "h", SUPPRESSED: "s"}[fate] for fate in found.tolist())


@pytest.mark.parametrize(("threshold", "expected"), [(0.3, "hh"), (0.4, "pp")])
def test_a_class_is_published_once_it_loses_no_more_than_the_threshold(threshold: float, expected: str) -> None:
    rules = replace(RULES, terms=replace(RULES.terms, threshold=threshold))
    found = release(pool([(0, 1, "a", 0), (4, 2, "b", 0)]), nobody([4]), rules, 0, 1)  # one of five buckets of 5: 0.4
    assert fates(found.fate) == expected


@pytest.mark.parametrize(("day", "expected"), [(1, "hh"), (2, "pp")])
def test_a_row_that_can_wait_no_longer_is_published_with_companions_in_any_class(day: int, expected: str) -> None:
    found = release(pool([(0, 1, "a", 0), (10, 2, "b", 1)]), nobody([4]), RULES, day, 1)
    assert fates(found.fate) == expected


@pytest.mark.parametrize(("ceiling", "expected"), [(1.0, "pp"), (0.9, "sh")])
def test_a_row_that_would_lose_more_than_the_ceiling_is_suppressed_and_its_companions_wait(
    ceiling: float, expected: str
) -> None:
    rules = replace(RULES, terms=replace(RULES.terms, ceiling=ceiling))
    found = release(pool([(0, 1, "a", 0), (10, 2, "b", 1)]), nobody([4]), rules, 2, 1)
    assert fates(found.fate) == expected


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 1, "a", 0)],
        [(0, 1, "a", 0), (0, 1, "b", 0)],
        [(0, 1, "a", 0), (0, 2, "a", 0)],
    ],
    ids=["one row", "two rows of one person", "two people of one value"],
)
def test_what_makes_no_class_is_held_and_in_the_end_suppressed(rows: list[tuple[int, int, str, int]]) -> None:
    assert set(fates(release(pool(rows), nobody([4]), RULES, 1, 1).fate)) == {"h"}
    assert set(fates(release(pool(rows), nobody([4]), RULES, 2, 1).fate)) == {"s"}


def test_of_a_person_who_is_new_the_oldest_row_goes_first() -> None:
    found = release(pool([(0, 1, "a", 1), (0, 1, "b", 0), (0, 2, "c", 1)]), nobody([4]), RULES, 1, 1)
    assert fates(found.fate) == "hpp"


COMPANIONS = [(0, 2, "b", 0), (0, 3, "c", 0)]


@pytest.mark.parametrize(
    ("signature", "value", "expected"),
    [
        ("ab", "a", "pph"),  # whoever is left over has no companion
        ("ac", "a", "php"),
        ("abc", "a", "ppp"),
        ("abcd", "a", "hpp"),  # nobody brings d
        ("ab", "d", "hpp"),  # what the person has now is not in the signature
    ],
)
def test_who_comes_again_is_published_with_companions_who_make_up_the_signature(
    signature: str, value: str, expected: str
) -> None:
    rules = replace(RULES, terms=replace(RULES.terms, worth=1.0))
    known = ledger(p1=signature)
    found = release(pool([(0, 1, value, 0), *COMPANIONS]), known, rules, 0, 1)
    assert fates(found.fate) == expected
    if expected.startswith("p"):
        assert found.signature[found.owner[0]].tolist() == known.signature[0].tolist()
    assert found.remembered.person.tolist() == [who for who in (2, 3) if expected[who - 1] == "p"]


@pytest.mark.parametrize(("worth", "expected"), [(1.5, "ppp"), (1.1, "hhh")])
def test_a_class_for_who_comes_again_may_lose_so_much(worth: float, expected: str) -> None:
    rules = replace(RULES, terms=replace(RULES.terms, worth=worth, threshold=0.0))
    rows = pool([(0, 1, "a", 0), (0, 2, "b", 0), (4, 3, "c", 0)])  # three rows of 0.4
    assert fates(release(rows, ledger(p1="abc"), rules, 0, 1).fate) == expected


@pytest.mark.parametrize(("day", "expected"), [(0, ("p", 4, "h")), (2, ("s", 10, "p"))])
def test_the_second_class_of_a_person_has_every_value_equally_often_and_no_other_class_its_label(
    day: int, expected: tuple[str, int, str]
) -> None:
    rules = replace(RULES, protection=Protection(3, 2), terms=replace(RULES.terms, worth=5.0))
    rows = pool([(0, 1, "a", 0), *((0, who, "ab"[who % 2], 0) for who in range(2, 12))])
    found = release(rows, ledger(p1="ab"), rules, day, 1)
    again, size, others = expected  # who can wait no longer goes before who comes again
    assert fates(found.fate)[0] == again
    assert (found.owner != -1).sum() == size
    assert len(found.low) == 1
    assert others in fates(found.fate)[1:]
    if again == "p":
        assert np.bincount(rows.values[found.owner == 0, 0]).tolist() == [2, 2]


TWO = replace(
    RULES, sensitive={"value": VALUES, "price": ("low", "high")}, terms=replace(RULES.terms, worth=1.0, threshold=0.0)
)


def with_prices(rows: Pool, prices: str) -> Pool:
    """Rows with a second sensitive column: l or h."""
    return replace(rows, values=np.column_stack([rows.values[:, 0], ["lh".index(one) for one in prices]]))


@pytest.mark.parametrize(("prices", "expected"), [("lh", "pp"), ("ll", "hh")])
def test_a_class_holds_l_values_of_every_sensitive_column(prices: str, expected: str) -> None:
    rows = with_prices(pool([(0, 1, "a", 0), (0, 2, "b", 0)]), prices)
    assert fates(release(rows, nobody([4, 2]), TWO, 0, 1).fate) == expected


@pytest.mark.parametrize(
    ("signature", "prices", "expected"),
    [
        ([(0, 0), (1, 1)], "lhh", "pph"),
        ([(0, 0), (1, 1)], "llh", "hhh"),  # nobody brings a high price with the value that is missing
        ([(0, 0), (1, 0)], "llh", "hhh"),  # such a class would not hold two prices
        ([(0, 0), (2, 1)], "lhh", "php"),
        ([(0, 0), (2, 1)], "hlh", "hhh"),
        ([(0, 1), (2, 0)], "hhl", "php"),
    ],
)
def test_who_comes_again_joins_a_class_of_the_same_values_of_every_sensitive_column(
    signature: list[tuple[int, int]], prices: str, expected: str
) -> None:
    known = Ledger(np.ones(1, dtype=np.uint64), np.bitwise_or.reduce(bits(np.array(signature), [4, 2]))[None])
    rows = with_prices(pool([(0, 1, "a", 0), (0, 2, "b", 0), (0, 3, "c", 0)]), prices)
    found = release(rows, known, TWO, 0, 1)
    assert fates(found.fate)[0] == expected[0]
    if expected[0] == "p":
        assert fates(found.fate) == expected
        assert found.signature[found.owner[0]].tolist() == known.signature[0].tolist()


def published(classes: Sequence[Sequence[tuple[int, int, str]]]) -> Published:
    """A release of classes of (x, person, value)."""
    low = np.array([[min(x for x, *_ in one)] for one in classes], dtype=np.int32)
    high = np.array([[max(x for x, *_ in one)] for one in classes], dtype=np.int32)
    rows = [(index, *row) for index, one in enumerate(classes) for row in one]
    return Published(
        low, high, np.array([row[0] for row in rows]), np.array([row[2] for row in rows], dtype=np.uint64),
        np.array([[row[1]] for row in rows], dtype=np.int32), np.array([VALUES.index(row[3]) for row in rows]),
    )  # fmt: skip


def test_the_attack_finds_whom_two_classes_have_in_common() -> None:
    history = History(4, 2)
    history.add(published([[(0, 1, "a"), (0, 2, "b")]]))
    history.add(published([[(0, 1, "a"), (0, 3, "c")]]))
    found = history.attack([0, 1])
    assert (found.people, found.again, found.disclosed, found.fewer_left, found.gained_less) == (3, 1, 1, 1, 0)
    assert found.told.posterior == pytest.approx(1.0)
    assert found.told.null == found.told.once == pytest.approx(0.5)
    assert history.touched() == replace(found, people=2)


def test_the_attack_finds_nobody_where_both_classes_hold_the_same_values() -> None:
    history = History(4, 2)
    history.add(published([[(0, 1, "a"), (0, 2, "b")]]))
    history.add(published([[(0, 1, "a"), (0, 3, "b")]]))
    found = history.attack([0, 1])
    assert (found.disclosed, found.fewer_left) == (0, 0)
    assert found.told.posterior == pytest.approx(found.told.null)


def test_the_null_is_the_surest_release_of_a_person_as_often_as_they_are_in_any() -> None:
    history = History(4, 2)
    history.add(published([[(0, 1, "a"), (0, 2, "b"), (0, 3, "c"), (0, 4, "d")]]))
    history.add(published([[(0, 1, "a"), (0, 5, "a"), (0, 6, "a"), (0, 7, "b")]]))
    told = history.attack([0, 1]).told
    assert (told.null_of_first, told.once) == (pytest.approx(0.25), pytest.approx(0.25))
    assert told.null == told.null_of_truth == pytest.approx(9 / 10)  # three to one, twice
    assert told.posterior == pytest.approx(3 / 4)


def test_the_surest_release_is_what_an_attacker_would_take_for_it() -> None:
    history = History(4, 2)
    history.add(published([[(0, 1, "a"), (0, 2, "b"), (0, 3, "b"), (0, 4, "b")]]))
    history.add(published([[(0, 1, "a"), (0, 5, "b")]]))
    told = history.attack([0, 1]).told
    assert told.null == pytest.approx(1 / 10)  # the first one, which is wrong
    assert told.null_of_truth == pytest.approx(1 / 2)
    assert told.posterior == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("count", "margin", "expected"), [(30, 0.05, True), (30, 0.125, False), (29, 0.05, False), (29, 0.2, False)]
)
def test_releases_gain_on_one_of_them_repeated_by_more_than_chance(count: int, margin: float, expected: bool) -> None:
    assert Telling(count, posterior=0.5, null=0.375, margin=margin).gains is expected


def test_people_are_found_in_every_release_that_they_are_in_however_many_there_were() -> None:
    rng, where = np.random.Generator(np.random.PCG64(1)), Whereabouts()
    days = [rng.choice(50, int(rng.integers(0, 30)), replace=False).astype(np.uint64) for _ in range(40)]
    for number, people_of_day in enumerate(days):
        where.add(number, people_of_day)
    asked = np.array([3, 17, 99], dtype=np.uint64)
    release_, row = where.of(asked)
    expected = {(day, at) for day, some in enumerate(days) for at in np.flatnonzero(np.isin(some, asked)).tolist()}
    assert sorted(zip(release_.tolist(), row.tolist(), strict=True)) == sorted(expected)
    assert len(expected) > 20


def test_the_attack_finds_a_label_that_gained_too_few() -> None:
    history = History(4, 2)
    history.add(published([[(0, 1, "a"), (0, 2, "b")]]))
    history.add(published([[(0, 3, "a")], [(5, 4, "a"), (5, 5, "b")]]))
    assert history.attack([1]).gained_less == 1
    assert history.attack([0, 1]).gained_less == 0


def small_town() -> People:
    """People of few kinds, drawn without chance."""
    rng = np.random.Generator(np.random.PCG64(2))
    domains = tuple(
        domain(name, list(map(str, range(width))), np.ones(width), Treatment(numbers(name, [4])))[0]
        for name, width in (("sex", 2), ("age", 30), ("work", 8))
    )
    codes = np.column_stack([rng.integers(0, one.width, 4000) for one in domains]).astype(np.int32)
    return People(domains, codes, rng.integers(0, 4, 4000), VALUES)


def test_weeks_of_bookings_are_released_without_anybody_being_found_out() -> None:
    of = small_town()
    days = list(course(of, Course(days=16, rows=120, amended=0.05, cancelled=0.05, erased=0.02, late=0.1)))
    rules = rules_for(of, k=3, terms=Terms(delay=3, threshold=0.05, worth=0.5, steps=10))
    done = simulate(days, rules)
    told, found = figures(done, 1.0), worst(done.histories)
    assert found["gained_less"] == found["fewer_left"] == found["disclosed"] == 0
    assert found["again"] > 20
    assert found["gains"] == 0
    assert told["suppressed_once"] <= 0.005
    assert told["returning_published"] > 0.2
    decided = sum(int((one.fate != HELD).sum()) for one in done.released)
    assert done.came == decided + done.held + done.gone
    assert done.gone > 10


def test_no_row_is_published_after_it_was_erased_or_replaced_in_the_pool() -> None:
    days = list(course(small_town(), Course(days=10, rows=80, amended=0.1, erased=0.05)))
    done = simulate(days, rules_for(small_town(), k=3, terms=Terms(delay=3, threshold=0.02, worth=0.2, steps=10)))
    gone: set[int] = set()
    erased = 0
    for day, (pool_, one) in enumerate(itertools.zip_longest(done.pools, done.released)):
        gone |= set(days[day].replaced.tolist())
        if day:
            before = done.pools[day - 1]
            held = before.of(done.released[day - 1].fate == HELD)
            of_erased = held.row[np.isin(held.person, days[day].erased)].tolist()
            gone |= set(of_erased)
            erased += len(of_erased)
        out = pool_.row[one.fate == PUBLISHED].tolist()
        assert not gone & set(out)
    assert erased > 0
