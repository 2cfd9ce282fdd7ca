"""What the report about releases takes from the run log, and what it leaves there."""

from __future__ import annotations

from typing import Any

from governance.release_report import figures, page


def release(dataset: str, **exact: int | None) -> dict[str, Any]:
    return {"release_id": 1, "dataset": dataset, "partition_key": "2026-03-10", "k": None, "l": None} | exact


def entry(dataset: str, **measures: float) -> dict[str, Any]:
    return {"dataset": dataset, "partition_key": "2026-03-10", "measures": measures, "conservation": {"carried_out": 4}}


def test_measures_of_released_rows_are_shown_and_how_many_came_again_is_not() -> None:
    told = figures([release("bookings", rows=20)], [entry("bookings", k=12, ncp=0.1, rows_returning=1, restricted=2)])
    assert told["bookings"]["2026-03-10"] == {"rows": 20, "k": 12, "ncp": 0.1, "held": 4}


def test_nothing_exact_is_shown_of_counts_with_noise() -> None:
    told = figures([release("visits", rows=None)], [entry("visits", k=37, epsilon=2.5)])
    assert told["visits"]["2026-03-10"] == {"held": 4}
    assert "37" not in page(told)


def test_a_release_whose_entry_is_missing_is_shown_as_the_database_has_it() -> None:
    told = figures([release("bookings", rows=20, k=10)], [entry("visits", k=37)])
    assert told == {"bookings": {"2026-03-10": {"rows": 20, "k": 10}}}
    assert figures([], []) == {}
    assert "Nothing has been released yet." in page({})
