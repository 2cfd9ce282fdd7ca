"""Laws of daily releases: whatever comes on whatever day, and whoever comes again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.anonymisation.composition import History, Published
from governance.anonymisation.daily import HELD, PUBLISHED, SUPPRESSED, Pool, Release, Rules, Terms, release
from governance.anonymisation.domains import Domain, Treatment, domain
from governance.anonymisation.hierarchies import numbers
from governance.anonymisation.recoding import Protection
from governance.anonymisation.signatures import NONE, Ledger, nobody

VALUES, OTHERS = ("a", "b", "c", "d"), ("x", "y", "z")
ROW = st.tuples(st.integers(0, 11), st.integers(0, 5), st.integers(0, 24), st.integers(0, 3))
DAYS = st.lists(st.lists(ROW, max_size=30), min_size=1, max_size=4)
RULES = st.builds(
    lambda sensitive, protection, terms: Rules((XS, YS), sensitive, protection, terms),
    st.sampled_from([{"value": VALUES}, {"value": VALUES, "other": OTHERS}]),
    st.builds(Protection, st.integers(2, 4), st.integers(1, 2), st.sampled_from([1.0, 1.0, 1.5])),
    st.builds(
        Terms,
        delay=st.integers(0, 2),
        threshold=st.sampled_from([0.0, 0.1, 1.0]),
        worth=st.sampled_from([0.0, 1.0, 9.0]),
        ceiling=st.sampled_from([0.5, 1.0]),
        steps=st.just(5),
    ),
)


def line(name: str, count: int) -> Domain:
    return domain(name, list(map(str, range(count))), np.ones(count), Treatment(numbers(name, [3])))[0]


XS, YS = line("x", 12), line("y", 6)


def pool(rows: list[tuple[int, int, int, int]], day: int, columns: int = 1) -> Pool:
    """Rows of a day. Half of the people have the same value whenever they come, the others what the row says."""
    codes = np.array([row[:2] for row in rows], dtype=np.int32).reshape(-1, 2)
    value = [row[2] // 2 % 4 if row[2] % 2 else row[3] for row in rows]
    return Pool(
        np.arange(len(rows), dtype=np.uint64) * 7919 % 1009 + day * 10_000,
        np.array([row[2] for row in rows], dtype=np.uint64) + 1,
        codes,
        np.array([(one, (one + row[2]) % 3) for one, row in zip(value, rows, strict=True)], dtype=np.int32).reshape(
            -1, 2
        )[:, :columns],
        np.full(len(rows), day),
    )


def course(days: list[list[tuple[int, int, int, int]]], rules: Rules) -> list[tuple[Pool, Ledger, Release]]:
    """What each day had before it, and its release."""
    known, held, found = nobody(rules.widths), pool([], 0, len(rules.widths)), []
    for number, rows in enumerate(days):
        waiting = held.joined(pool(rows, number, len(rules.widths)))
        one = release(waiting, known, rules, number, 5)
        found.append((waiting, known, one))
        known, held = known.joined(one.remembered), waiting.of(one.fate == HELD)
    return found


@settings(max_examples=120)
@given(DAYS, RULES)
def test_published_classes_hold_k_people_and_l_values_and_cover_their_rows(
    days: list[list[tuple[int, int, int, int]]], rules: Rules
) -> None:
    for waiting, _, one in course(days, rules):
        boxes = np.column_stack([one.low, one.high])
        assert len(np.unique(boxes, axis=0)) == len(boxes)
        for index in range(len(boxes)):
            mine = one.owner == index
            assert np.unique(waiting.person[mine]).size == mine.sum() >= rules.protection.k
            for column in waiting.values[mine].T:
                count = np.bincount(column)
                share = count[count > 0] / mine.sum()
                assert share.size >= rules.protection.l
                assert np.exp(-(share * np.log(share)).sum()) >= rules.protection.entropy_l - 1e-9
            assert (waiting.codes[mine] >= one.low[index]).all()
            assert (waiting.codes[mine] <= one.high[index]).all()


@settings(max_examples=120)
@given(DAYS, RULES)
def test_every_row_is_published_once_or_held_until_its_day_or_suppressed_on_it(
    days: list[list[tuple[int, int, int, int]]], rules: Rules
) -> None:
    done: list[int] = []
    held = 0
    for number, (waiting, _, one) in enumerate(course(days, rules)):
        age = number - waiting.day
        assert len(waiting.row) == held + len(days[number])
        assert ((one.owner != NONE) == (one.fate == PUBLISHED)).all()
        assert (age[one.fate == HELD] < rules.terms.delay).all()
        assert (age[one.fate == SUPPRESSED] >= rules.terms.delay).all()
        done += waiting.row[one.fate != HELD].tolist()
        held = int((one.fate == HELD).sum())
    assert len(done) == len(set(done)) == sum(map(len, days)) - held


@settings(max_examples=120)
@given(DAYS, RULES)
def test_whoever_is_published_again_is_so_in_a_class_of_the_same_values(
    days: list[list[tuple[int, int, int, int]]], rules: Rules
) -> None:
    sets: dict[int, set[tuple[tuple[int, ...], ...]]] = {}
    for waiting, known, one in course(days, rules):
        for index in range(len(one.low)):
            mine = one.owner == index
            held = tuple(tuple(np.unique(column).tolist()) for column in waiting.values[mine].T)
            for person in waiting.person[mine].tolist():
                sets.setdefault(person, set()).add(held)
        assert (one.returning == (known.of(waiting.person) != NONE)).all()
        assert not np.isin(one.remembered.person, known.person).any()
    assert all(len(found) == 1 for found in sets.values())


@settings(max_examples=120)
@given(DAYS, RULES)
def test_no_union_of_releases_tells_what_no_release_tells(
    days: list[list[tuple[int, int, int, int]]], rules: Rules
) -> None:
    history = History(len(VALUES), rules.protection.k)
    for waiting, _, one in course(days, rules):
        out = one.owner != NONE
        history.add(
            Published(
                one.low, one.high, one.owner[out], waiting.person[out], waiting.codes[out], waiting.values[out, 0]
            )
        )
        for found in (history.touched(), history.attack(range(len(history.releases)))):
            assert found.gained_less == found.fewer_left == 0


@settings(max_examples=60)
@given(DAYS, RULES, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_and_a_seed_decides(
    days: list[list[tuple[int, int, int, int]]], rules: Rules, luck: object
) -> None:
    waiting, known, one = course(days, rules)[-1]
    order = np.arange(len(waiting.row))
    luck.shuffle(order)  # type: ignore[attr-defined]
    day = len(days) - 1
    again = release(waiting.of(order), known, rules, day, 5)
    assert (again.fate == one.fate[order]).all()
    assert (again.owner == one.owner[order]).all()
    assert (again.low == one.low).all()
    assert (again.high == one.high).all()


@settings(max_examples=60)
@given(DAYS, RULES)
def test_a_history_that_is_not_of_the_pools_people_changes_nothing(
    days: list[list[tuple[int, int, int, int]]], rules: Rules
) -> None:
    waiting, known, one = course(days, rules)[-1]
    strangers = Ledger(np.arange(1000, 1100, dtype=np.uint64), np.ones((100, 1), dtype=np.uint64))
    found = release(waiting, known.joined(strangers), replace(rules), len(days) - 1, 5)
    assert (found.owner == one.owner).all()
