"""Laws of the anonymiser: whatever the table, classes hold their measures, rows are conserved, boxes cover."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.anonymisation.census import Census, take
from governance.anonymisation.domains import Treatment, domain
from governance.anonymisation.hierarchies import numbers
from governance.anonymisation.measuring import measure
from governance.anonymisation.recoding import Effort, Protection, Recoding, recoding
from governance.errors import DisclosureError

ROWS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 8), st.sampled_from("abc"), st.integers(0, 30)),
    min_size=1,
    max_size=90,
)
ASKED = st.builds(
    Protection,
    k=st.integers(2, 7),
    l=st.integers(1, 3),
    entropy_l=st.sampled_from([1.0, 1.3, 2.0]),
    t=st.sampled_from([None, 0.2, 0.5]),
)


def recoded(
    rows: list[tuple[int, int, str, int]], asked: Protection, steps: int
) -> tuple[Census, np.ndarray, Recoding]:
    names = ("x", "y", "value", "who")
    columns = {name: [str(row[index]) for row in rows] for index, name in enumerate(names)}
    census = take([pa.RecordBatch.from_pydict(columns)], ["x", "y", "value"], "who")
    domains, codes = [], []
    for index, name in enumerate(("x", "y")):
        one, to_domain = domain(name, census.values[index], census.count(index), Treatment(numbers(name, [3, 9])))
        domains.append(one)
        codes.append(to_domain[census.codes[:, index]])
    coded = np.column_stack(codes)
    return census, coded, recoding(census, coded, domains, asked, Effort(steps, 1))


@settings(max_examples=150, deadline=None)
@given(ROWS, ASKED, st.sampled_from([0, 300]))
def test_classes_hold_what_was_asked_conserve_rows_and_cover_them(
    rows: list[tuple[int, int, str, int]], asked: Protection, steps: int
) -> None:
    try:
        census, codes, found = recoded(rows, asked, steps)
    except DisclosureError:
        return  # the table as a whole does not hold it: see the next law
    assert (np.bincount(found.cell, found.rows, len(census.rows)) == census.rows).all()
    assert (codes[found.cell] >= found.low[found.owner]).all()
    assert (codes[found.cell] <= found.high[found.owner]).all()
    counted = np.where(census.counted[found.cell], found.rows, 0)
    held = measure(found.owner[:, None], census.codes[found.cell, 2:], found.rows, counted)
    assert held.k >= asked.k
    assert held.l >= asked.l
    assert held.entropy_l >= asked.entropy_l - 1e-9
    assert asked.t is None or held.t <= asked.t + 1e-9


@settings(max_examples=100, deadline=None)
@given(ROWS, ASKED)
def test_a_table_is_refused_only_when_even_one_class_of_all_would_not_hold(
    rows: list[tuple[int, int, str, int]], asked: Protection
) -> None:
    share = np.unique([row[2] for row in rows], return_counts=True)[1] / len(rows)
    possible = (
        len({row[3] for row in rows}) >= asked.k
        and len(share) >= asked.l
        and np.exp(-(share * np.log(share)).sum()) >= asked.entropy_l - 1e-9
    )
    if possible:
        recoded(rows, asked, 0)
    else:
        with pytest.raises(DisclosureError):
            recoded(rows, asked, 0)
