"""Two releases compared, in numbers that isolate nobody. Pure.

Compared are measures, what policy said, and how often each value of one column was published (of counts with noise,
what those of the value add up to): one column at a time, as two columns together would show what changed in a small
group. Values that are rare in either release, fewer than k rows, count as one. Releases are of different days: what
differs is two crowds, never what happened to a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from governance.datasets import OTHERS

Counts = Mapping[str, Mapping[str, int]]
"""Column -> value -> rows."""


def compared(
    releases: tuple[Mapping[str, Any], Mapping[str, Any]],
    settings: tuple[Mapping[str, str], Mapping[str, str]],
    counts: Mapping[str, Sequence[Counts]],
    floor: int,
) -> dict[str, Any]:
    """`measures`, `settings` that differ, and `counts` of each column, each as (before, after)."""
    before, after = releases
    measures = [name for name in after if isinstance(after[name], int | float | None) and name != "release_id"]
    said = sorted(settings[0].keys() | settings[1].keys())
    return {
        "measures": {name: (before.get(name), after[name]) for name in measures},
        "settings": {
            name: (settings[0].get(name), settings[1].get(name))
            for name in said
            if settings[0].get(name) != settings[1].get(name)
        },
        "counts": {
            f"{table}.{column}": _common(old.get(column, {}), new.get(column, {}), floor)
            for table, (old, new) in counts.items()
            for column in sorted(old.keys() | new.keys())
        },
    }


def _common(before: Mapping[str, int], after: Mapping[str, int], floor: int) -> dict[str, tuple[int, int]]:
    """Counts of the values that both releases have often enough; the others together, where these are enough.

    >>> _common({"a": 20, "b": 3, "c": 9}, {"a": 10, "c": 30}, 10)
    {'a': (20, 10), '(all other values)': (12, 30)}
    """
    often = sorted(value for value in before if min(before[value], after.get(value, 0)) >= floor)
    rest = sum(before.values()) - sum(before[v] for v in often), sum(after.values()) - sum(after[v] for v in often)
    told = {value: (before[value], after[value]) for value in often}
    if any(0 < count < floor for count in rest) and often:
        least = min(often, key=lambda value: min(told[value]))
        old, new = told.pop(least)
        rest = rest[0] + old, rest[1] + new
    return told | ({OTHERS: rest} if any(rest) else {})
