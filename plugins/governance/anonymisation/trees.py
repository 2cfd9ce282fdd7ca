"""Hierarchies that list their leaves, checked: each is one tree without gaps, circles or double meanings. Pure."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

from governance.anonymisation.hierarchies import TOP, Path, Tree, as_number
from governance.errors import PolicyError, shown


def from_csv(name: str, content: str, *, numeric: bool = False, levels: Sequence[str] = ()) -> Tree:
    """A hierarchy from CSV as ARX writes it: `;`, no header, a line per leaf, leaf first and top last.

    Raises PolicyError, naming the hierarchy and the line, when it is no tree: see `tree`.
    """
    try:
        lines = list(csv.reader(io.StringIO(content.lstrip("\ufeff")), delimiter=";", skipinitialspace=True))
    except csv.Error:
        raise PolicyError(f"hierarchy {name} is no CSV that can be read") from None
    rows = [(at, [label.strip() for label in line]) for at, line in enumerate(lines, 1) if any(line)]
    if not rows:
        raise PolicyError(f"hierarchy {name} is empty")
    width = len(rows[0][1])
    for at, line in rows:
        if len(line) != width:
            raise PolicyError(f"hierarchy {name}, line {at}: {len(line)} levels where the first line has {width}")
        if "" in line:
            raise PolicyError(f"hierarchy {name}, line {at}: a gap, level {line.index('') + 1} has no label")
    return tree(name, [line for _, line in rows], numeric=numeric, levels=levels)


def from_table(name: str, content: str) -> Tree:
    """A hierarchy from CSV with `,` and a header that names the columns, the leaf's first; the top is added.

    Raises PolicyError where `tree` does.
    """
    header, *lines = csv.reader(io.StringIO(content))
    return tree(name, [[*line, TOP] for line in lines], levels=[*header[1:], "all"])


POSTAL_FIELDS = 7
"""Of a line of GeoNames' postal codes, up to the code of the municipality; places and coordinates follow."""


def from_geonames(name: str, content: str) -> Tree:
    """Postal codes to municipality, county and top, from a country's file of GeoNames' postal codes (`SE.txt`).

    Format: https://download.geonames.org/export/zip/readme.txt (CC BY: name GeoNames where you publish). A code of
    several places belongs to the municipality of most of them. A municipality is named with its county, since many
    have the county's name. Codes are known with and without the space. Raises PolicyError, naming the line, for a line
    with fewer fields, without a code or without a county, and where `tree` does.
    """
    places: dict[str, Counter[tuple[str, str]]] = {}
    for at, line in enumerate(content.splitlines(), 1):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) < POSTAL_FIELDS or not fields[1] or not fields[3]:
            raise PolicyError(f"hierarchy {name}, line {at}: not a line of GeoNames' postal codes with code and county")
        county, municipality = fields[3], fields[5] or "elsewhere"
        places.setdefault(fields[1].replace(" ", ""), Counter())[f"{municipality}, {county}", county] += 1
    if not places:
        raise PolicyError(f"hierarchy {name} is empty")
    of_most = {code: max(sorted(found), key=found.__getitem__) for code, found in places.items()}
    plain = [(code, *above, TOP) for code, above in of_most.items()]
    spaced = [(f"{code[:3]} {code[3:]}", *above) for code, *above in plain if len(code) > len("999")]
    return tree(name, [*plain, *spaced], levels=("municipality", "county", "all"))


def from_parents(name: str, parents: Mapping[str, str], levels: Sequence[str] = ()) -> Tree:
    """A hierarchy from a mapping of every label to the one above; leaves are the labels that are above none.

    A leaf that stands higher than others repeats its label on the levels that it lacks. Raises PolicyError for a cycle,
    and where `tree` does.
    """
    above = set(parents.values())
    chains = [_chain(name, leaf, parents) for leaf in parents if leaf not in above]
    if not chains:
        raise PolicyError(f"hierarchy {name} goes in a circle: no label is a leaf")
    for label in parents:  # what no leaf leads to
        _chain(name, label, parents)
    depth = max(len(chain) for chain in chains)
    return tree(name, [[chain[0]] * (depth - len(chain)) + chain for chain in chains], levels=levels)


def _chain(name: str, leaf: str, parents: Mapping[str, str]) -> list[str]:
    chain = [leaf]
    while (label := parents.get(chain[-1])) is not None:
        if label in chain:
            raise PolicyError(f"hierarchy {name} goes in a circle at {shown(label)}")
        chain.append(label)
    return chain


def tree(name: str, lines: Sequence[Sequence[str]], *, numeric: bool = False, levels: Sequence[str] = ()) -> Tree:
    """A hierarchy from lines of labels, leaf first and top last; all of the same length.

    Raises PolicyError for a leaf that stands there twice, a label below two others, a label that means different values
    on different levels, more tops than one, leaves that are no numbers where `numeric`, and names that do not fit.
    """
    paths: dict[str, Path] = {}
    for leaf, *labels in lines:
        if leaf in paths:
            raise PolicyError(f"hierarchy {name}: the value {shown(leaf)} stands there twice")
        if numeric and as_number(leaf) is None:
            raise PolicyError(f"hierarchy {name}: the value {shown(leaf)} is no number")
        paths[leaf] = tuple(labels) or (TOP,)
    _one_parent_each(name, paths)
    _one_meaning_each(name, paths)
    if numeric:
        _in_one_piece(name, paths)
    tops = {path[-1] for path in paths.values()}
    if len(tops) > 1:
        raise PolicyError(f"hierarchy {name} has {len(tops)} tops; give all lines one last label, such as {TOP}")
    depth = len(next(iter(paths.values())))
    if levels and len(levels) != depth:
        raise PolicyError(f"hierarchy {name} has {depth} levels above its values, but {len(levels)} names of levels")
    return Tree(tuple(levels) or tuple(f"level_{level}" for level in range(1, depth + 1)), paths, numeric)


def _one_parent_each(name: str, paths: Mapping[str, Path]) -> None:
    above: dict[tuple[int, str], Path] = {}
    for path in paths.values():
        for level, label in enumerate(path):
            if above.setdefault((level, label), path[level + 1 :]) != path[level + 1 :]:
                raise PolicyError(f"hierarchy {name} is no tree: {shown(label)} lies below two labels")


def _one_meaning_each(name: str, paths: Mapping[str, Path]) -> None:
    """A label on two levels is one node that has no other child in between, or it would mean two things."""
    leaves: dict[tuple[str, int], set[str]] = {}
    for leaf, path in paths.items():
        for level, label in enumerate((leaf, *path)):
            leaves.setdefault((label, level), set()).add(leaf)
    meaning: dict[str, set[str]] = {}
    for (label, _), values in leaves.items():
        if meaning.setdefault(label, values) != values:
            raise PolicyError(
                f"hierarchy {name}: the label {shown(label)} overlaps, it stands for different values on two levels "
                f"(or above itself)"
            )


def _in_one_piece(name: str, paths: Mapping[str, Path]) -> None:
    """Labels of numbers are intervals: on no level does another label's number lie between two of one label's."""
    ordered = sorted(paths, key=float)
    for level in range(len(next(iter(paths.values())))):
        ended: set[str] = set()
        last = paths[ordered[0]][level]
        for leaf in ordered[1:]:
            label = paths[leaf][level]
            if label != last:
                ended.add(last)
                last = label
            if label in ended:
                raise PolicyError(f"hierarchy {name}: the label {shown(label)} overlaps with one between its numbers")
