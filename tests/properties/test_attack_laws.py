"""Laws of what is measured of published tables, against slow and plain ways to count the same."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as some

from attack_tables import rules, tables
from governance.anonymisation import exposure
from governance.anonymisation.cells import Cells
from governance.anonymisation.confidence import Attacks
from governance.anonymisation.containment import holding, inside, pairs, sizes
from governance.anonymisation.measuring import measure
from governance.anonymisation.singling_out import Predicates

WIDTH = 3
ENDS = some.sampled_from([-np.inf, 0.0, 1.0, 2.0, 3.0, np.inf])


@some.composite
def boxes(draw: some.DrawFn, least: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes: their lower and upper ends."""
    count = draw(some.integers(least, 70))
    ends = draw(some.lists(some.tuples(ENDS, ENDS), min_size=count * WIDTH, max_size=count * WIDTH))
    table = np.array([sorted(pair) for pair in ends]).reshape(count, WIDTH, 2)
    return table[:, :, 0], table[:, :, 1]


@given(boxes(), boxes())
def test_sets_of_boxes_are_what_comparing_all_with_all_gives(
    one: tuple[np.ndarray, np.ndarray], many: tuple[np.ndarray, np.ndarray]
) -> None:
    lies = [[bool((low <= a).all() and (b <= high).all()) for a, b in zip(*many, strict=True)]
            for low, high in zip(*one, strict=True)]  # fmt: skip
    holds = [[bool((a <= low).all() and (high <= b).all()) for a, b in zip(*many, strict=True)]
             for low, high in zip(*one, strict=True)]  # fmt: skip
    for found, expected in ((inside(one, many), lies), (holding(one, many), holds)):
        assert sizes(found).tolist() == [sum(row) for row in expected]
        members = list(zip(*(part.tolist() for part in pairs(found)), strict=True))
        assert members == [(at, to) for at, row in enumerate(expected) for to, is_there in enumerate(row) if is_there]


@given(
    boxes(), some.lists(some.tuples(*[some.sampled_from([0.0, 1.0, 2.0, np.inf])] * WIDTH), max_size=70), some.data()
)
def test_predicates_hold_for_the_rows_that_they_hold_for(
    ends: tuple[np.ndarray, np.ndarray], rows: list[tuple[float, ...]], data: some.DataObject
) -> None:
    values = np.array(rows, dtype=float).reshape(-1, WIDTH)
    differ = np.array(
        data.draw(some.lists(some.booleans(), min_size=ends[0].size, max_size=ends[0].size)), dtype=bool
    ).reshape(ends[0].shape)
    flags = np.ones(WIDTH, dtype=bool)
    table = Cells(("a", "b", "c"), flags, flags, np.zeros(WIDTH), np.full(WIDTH, 3.0), values, values)

    def holds(predicate: int, row: np.ndarray) -> bool:
        within = (ends[0][predicate] <= row) & (row <= ends[1][predicate])
        return bool(np.where(differ[predicate], ~within & np.isfinite(row), within).all())

    expected = [sum(holds(at, row) for row in values) for at in range(len(differ))]
    assert Predicates(*ends, differ).counts(table).tolist() == expected


CELLS = some.sampled_from(["[0, 3]", "[0, 1]", "[2, 3]", "0", "1", "2", "3", None])
POINTS = some.sampled_from(["0", "1", "2", "3"])
GIVEN = rules({"a": {"numbers": {"widths": [2]}}, "b": {"numbers": {"widths": [2]}}}, ["secret"])
ROWS = some.lists(some.tuples(CELLS, CELLS, some.sampled_from("xyz")), min_size=1, max_size=25)
PEOPLE = some.lists(some.tuples(POINTS, POINTS, some.sampled_from("xyz")), min_size=1, max_size=25)


def frame(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    """Rows as a table."""
    return pd.DataFrame(rows, columns=["a", "b", "secret"], dtype=object)


def covers(label: str | None, value: int) -> bool:
    """Whether a label holds a value."""
    low, _, high = (label or "[0, 3]").strip("[]").partition(", ")
    return int(low) <= value <= int(high or low)


def is_silent(row: tuple[object, ...]) -> bool:
    """Whether a row says nothing of quasi-identifiers."""
    return row[0] is None and row[1] is None


@given(ROWS)
def test_classes_by_value_are_measured_as_the_engine_measures_them(rows: list[tuple[object, ...]]) -> None:
    published = frame(rows)
    told = [row for row in rows if not is_silent(row)]
    cells = tables(GIVEN, published, frame([("0", "0", "x")])).published.of(["a", "b"])
    column = exposure.sensitive("secret", published["secret"], None, ())
    found = exposure.by_value(exposure.classes(cells, None), [column])
    if not told:
        assert found.k is None
        return
    quasi, secret = ([pd.factorize(frame(told)[name], use_na_sentinel=False)[0] for name in names]
                     for names in (["a", "b"], ["secret"]))  # fmt: skip
    ones = np.ones(len(told), dtype=np.int64)
    engine = measure(np.column_stack(quasi), np.column_stack(secret), ones, ones)
    one = found.sensitive["secret"]
    assert (found.k, one.l) == (engine.k, engine.l)
    assert np.allclose((one.entropy_l, one.confidence), (engine.entropy_l, engine.most_sure))
    if len(told) == len(rows):
        assert np.isclose(one.t, engine.t)


@given(ROWS, PEOPLE)
def test_compatible_rows_are_those_that_hold_a_persons_values(
    rows: list[tuple[object, ...]], people: list[tuple[str, ...]]
) -> None:
    published, original = frame(rows), frame(list(people))
    told = [row for row in rows if not is_silent(row)]
    both = tables(GIVEN, published, original)
    grouped = exposure.classes(both.published.of(["a", "b"]), None)
    column = exposure.sensitive("secret", published["secret"], original["secret"], ())
    found = exposure.by_person(grouped, [column], both.original.of(["a", "b"]), 1)
    fits = [[row for row in told if covers(row[0], int(a)) and covers(row[1], int(b))] for a, b, _ in people]
    matched = [rows for rows in fits if rows]
    assert found.unmatched == len(fits) - len(matched)
    assert found.k == (min(map(len, matched)) if matched else None)
    if matched:
        assert found.sensitive["secret"].l == min(len({row[2] for row in rows}) for rows in matched)


@given(ROWS)
def test_compatible_classes_are_no_larger_than_any_person_could_find(rows: list[tuple[object, ...]]) -> None:
    """Whoever a person of a row is, k of compatible rows is at most what is compatible with their values."""
    published = frame(rows)
    cells = tables(GIVEN, published, frame([("0", "0", "x")])).published.of(["a", "b"])
    grouped = exposure.classes(cells, None)
    column = exposure.sensitive("secret", published["secret"], None, ())
    by_value, found = exposure.by_value(grouped, [column]), exposure.by_compatible(grouped, [column])
    told = [row for row in rows if not is_silent(row)]
    if not told:
        assert found.k is None
        return
    least = min(
        sum(covers(other[0], a) and covers(other[1], b) for other in told)
        for row in told
        for a, b in product(range(4), range(4))
        if covers(row[0], a) and covers(row[1], b)
    )
    assert by_value.k is not None
    assert found.k is not None
    assert by_value.k <= found.k <= least
    assert by_value.sensitive["secret"].l <= found.sensitive["secret"].l


@given(some.integers(1, 3000), some.data())
def test_a_risk_lies_between_its_bounds_and_grows_with_success(tried: int, data: some.DataObject) -> None:
    succeeded = data.draw(some.integers(0, tried))
    control = data.draw(some.integers(0, tried))
    risk = Attacks(tried, succeeded, 0, tried, control).risk()
    assert 0 <= risk.lower <= risk.value <= risk.upper <= 1
    if succeeded < tried:
        assert risk.value <= Attacks(tried, succeeded + 1, 0, tried, control).risk().value
    assert risk.value <= Attacks(tried, succeeded, 0).risk().value + 1e-12


@given(some.lists(some.integers(1, 50), min_size=1, max_size=30), some.integers(1, 20))
def test_the_prosecutor_is_never_behind_the_journalist(sizes_: list[int], k: int) -> None:
    people = np.array(sizes_)
    prosecutor = exposure.reidentification(people, people, k)
    journalist = exposure.reidentification(people, people + 3, k)
    assert journalist.highest <= prosecutor.highest
    assert journalist.mean <= prosecutor.mean <= prosecutor.highest
    assert journalist.above <= prosecutor.above
    assert (prosecutor.above == 0) == (people.min() >= k)
