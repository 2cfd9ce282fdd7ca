"""Laws of coarsening: deterministic, idempotent, and never out of what was promised."""

from __future__ import annotations

import ipaddress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.web import (
    REGIONS,
    browsers,
    coordinate_pairs,
    device_classes,
    grid,
    ip_versions,
    language_regions,
    operating_systems,
    page_categories,
    paths,
)

DEGREES = st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 1.0, 2.5, 10.0, 90.0])


@pytest.mark.clause("B2")
@given(st.floats(-180, 180), DEGREES)
def test_a_coordinate_stays_within_half_a_cell_and_within_its_range(value: float, degrees: float) -> None:
    [centre] = grid(pa.array([value]), degrees).to_pylist()
    assert abs(centre - value) <= degrees / 2 + 1e-6
    assert abs(centre) <= 180
    if abs(value) <= 90:
        assert abs(centre) <= 90


@given(st.floats(-180, 180), DEGREES)
def test_coarsening_twice_is_coarsening_once(value: float, degrees: float) -> None:
    once = grid(pa.array([value]), degrees)
    assert grid(once, degrees).equals(once)


@pytest.mark.clause("B2")
@given(st.floats(), DEGREES, st.sampled_from([90, 180]))
def test_what_is_out_of_range_is_null_or_stays_out_of_range(value: float, degrees: float, bound: int) -> None:
    [centre] = grid(pa.array([value]), degrees).to_pylist()
    if abs(value) > bound + 1e-6:
        assert centre is None or abs(centre) > bound


@given(st.lists(st.floats(-180, 180), max_size=20), DEGREES)
def test_there_are_no_more_values_than_cells(values: list[float], degrees: float) -> None:
    centres = grid(pa.array(values, pa.float64()), degrees).to_pylist()
    assert all(abs(abs(c) / degrees % 1 - 0.5) < 1e-6 for c in centres)


FLOATS = st.lists(st.tuples(st.none() | st.floats(), st.none() | st.floats()), max_size=6)


@given(FLOATS)
def test_every_pair_of_coordinates_has_one_of_four_names(pairs: list[tuple[float | None, float | None]]) -> None:
    first, second = (pa.array([pair[i] for pair in pairs], pa.float64()) for i in (0, 1))
    assert set(coordinate_pairs(first, second).to_pylist()) <= {"both", "neither", "half", "not_finite"}


@pytest.mark.clause("B1")
@given(st.text())
def test_a_path_holds_no_query_no_fragment_and_no_control_character(url: str) -> None:
    [path] = paths(pa.array([url])).to_pylist()
    assert path is None or not set(path) & {"?", "#", ";", "\n", "\r", "\0"}


@given(st.text(max_size=60))
def test_the_path_of_a_path_is_itself(url: str) -> None:
    once = paths(pa.array(["/" + url]))
    assert paths(once).equals(once)


PREFIXES = st.dictionaries(st.text("/ab", min_size=1, max_size=4), st.text("xyz", min_size=1, max_size=3), max_size=5)


@given(st.lists(st.none() | st.text("/ab", max_size=6), max_size=6), PREFIXES)
def test_a_category_is_that_of_the_longest_prefix(values: list[str | None], prefixes: dict[str, str]) -> None:
    def slowly(path: str | None) -> str:
        matching = [prefix for prefix in prefixes if path is not None and path.startswith(prefix)]
        return prefixes[max(matching, key=len)] if matching else "other"

    assert page_categories(pa.array(values, pa.string()), prefixes).to_pylist() == [slowly(path) for path in values]


@given(st.from_regex(r"[a-z]{2,3}([-_][A-Z][a-z]{3})?[-_][A-Za-z]{2}", fullmatch=True))
def test_the_region_of_a_tag_is_assigned_or_unknown(tag: str) -> None:
    region = tag[-2:].upper()
    assert language_regions(pa.array([tag])).to_pylist() == [region if region in REGIONS else "unknown"]


@given(st.ip_addresses())
def test_every_address_has_its_version(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert ip_versions(pa.array([str(ip)])).to_pylist() == [ip.version]


@given(st.lists(st.none() | st.text(max_size=40), max_size=5))
def test_any_text_at_all_is_answered_and_no_row_depends_on_its_neighbours(values: list[str | None]) -> None:
    column = pa.array(values, pa.string())
    for fact in (device_classes, browsers, operating_systems, paths, language_regions, ip_versions):
        alone = [fact(pa.array([value], pa.string()))[0].as_py() for value in values]
        assert fact(column).to_pylist() == alone
