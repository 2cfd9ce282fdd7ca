"""How precise a release is by policy, and in words what has changed since the one before. Pure.

A number that falls because groups became larger looks like a trend. So each release keeps what policy said of it, and
tells what is no longer as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from governance.policy import Policy
from governance.published_tables import PublishedTable, of_dataset

Settings = Mapping[str, str]
"""What policy says of a release: name -> value, both as text."""

READS_HIERARCHY = {"subregion": "country", "continent": "country"}
"""A level that reads the hierarchy of another name."""
TELLS_NOTHING = {"description", "person", "precise_by", "table", "columns", "origin"}
"""Of a release's policy: words, and what is told column by column."""
MEANING = {
    "k": ("groups are larger: more is suppressed or coarser", "groups are smaller: less is suppressed or coarser"),
    "l": (
        "groups are more mixed: more is suppressed or coarser",
        "groups are less mixed: less is suppressed or coarser",
    ),
    "epsilon": ("counts are less noisy", "counts are noisier"),
    "threshold": ("the bar is higher", "the bar is lower"),
    "delay": ("rows may be held longer", "rows are held for less long"),
}
"""By the last word of a setting: what it means for a reader that it rose, and that it fell."""


@dataclass(frozen=True)
class Note:
    """One thing that changed between two releases."""

    what: str
    before: str | None
    after: str | None
    told: str


def settings(policy: Policy, dataset: str) -> dict[str, str]:
    """What policy says now of how precise a release of the dataset is."""
    found: dict[str, str] = {}
    for at, release in enumerate(policy.dataset(dataset).releases):
        found |= dict(_flat({name: policy.value(name) for name in release.precise_by}, ""))
        found |= dict(_flat(release.model_dump(mode="json"), f"{release.table}." if at else ""))
    tables = of_dataset(policy.dataset(dataset))
    for table in tables:
        found |= {f"column {table.name}.{name}": _column(table, name) for name in table.columns}
    levels = {column.level for table in tables for column in table.columns.values()}
    return found | _hierarchies(policy, levels)


def notes(before: Settings, after: Settings) -> list[Note]:
    """What changed between what policy said at two releases, in the order of its names."""
    return [
        Note(what, before.get(what), after.get(what), _told(what, before.get(what), after.get(what)))
        for what in sorted(before.keys() | after.keys())
        if before.get(what) != after.get(what)
    ]


def _told(what: str, before: str | None, after: str | None) -> str:
    if before is None:
        return f"{what}: new from this release on, {after}"
    if after is None:
        return f"{what}: no longer there; it was {before}"
    meaning = MEANING.get(what.replace("_", ".").split(".")[-1])
    old, new = _number(before), _number(after)
    if old is None or new is None:
        return f"{what}: was {before}; is {after} from this release on"
    verb = "rose" if new > old else "fell"
    means = f"; {meaning[0 if new > old else 1]}" if meaning else ""
    return f"{what}: {verb} from {before} to {after}{means}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def shown(value: Any) -> str:
    """A value of the policy as text.

    >>> shown(0.5), shown(10), shown(["a", "b"]), shown(True)
    ('0.5', '10', 'a, b', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{label} from {least:g}" for label, least in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return str(value)


def _flat(part: Mapping[str, Any], under: str) -> Iterator[tuple[str, str]]:
    for name, value in part.items():
        if name in TELLS_NOTHING or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{under}{name}.")
        else:
            yield f"{under}{name}", shown(value)


def _column(table: PublishedTable, name: str) -> str:
    said = table.columns[name]
    column = said.model_dump(mode="json", exclude={"description", "origin", *(["values"] if said.bands else [])})
    return "; ".join(f"{key} {shown(value)}" for key, value in column.items() if value not in (None, [], {}, ""))


def _hierarchies(policy: Policy, levels: set[str]) -> dict[str, str]:
    """Digests of the hierarchies that the levels read: another mapping makes other groups."""
    read = {READS_HIERARCHY.get(level, level) for level in levels}
    names = {digest: PurePosixPath(name) for digest, (name, _) in policy.texts.items()}
    return {
        f"hierarchy {path.stem}": digest[:12]
        for digest, path in names.items()
        if path.parent.name == "hierarchies" and path.stem in read
    }
