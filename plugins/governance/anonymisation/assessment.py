"""What a published table shows of the people in it, and whether that is more than policy allows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from governance.anonymisation import exposure
from governance.anonymisation.cells import Cells, Tables
from governance.anonymisation.confidence import Attacks, Bounds
from governance.anonymisation.exposure import PublishedClasses, Reidentification, WorstClass
from governance.anonymisation.hierarchies import Hierarchy
from governance.anonymisation.nearest import Secret, inference, linkability
from governance.anonymisation.published import read
from governance.anonymisation.singling_out import singling_out
from governance.anonymisation.specification import Specification
from governance.errors import InputError, shown

AS_PUBLISHED, GUESSED = "as published", "guessed"


@dataclass(frozen=True)
class Attacked:
    """One kind of attack: on what, and what came of it."""

    kind: str  # as in `limits` of a policy
    detail: str
    reading: str  # cells as published, or with a value drawn for each that is generalised
    attacks: Attacks
    risk: Bounds
    chance: Bounds


@dataclass(frozen=True)
class Assessment:
    """All measures of a table."""

    rows: int
    suppressed: int
    classes: int
    counts_people: bool  # else k counts rows
    by_value: WorstClass
    by_compatible: WorstClass
    by_person: WorstClass | None  # needs the original
    prosecutor: Reidentification
    journalist: Reidentification | None  # None: too many classes to compare with the original
    marketer: float | None
    attacks: tuple[Attacked, ...]
    exceeded: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()  # limits that were not looked at


@dataclass(frozen=True)
class Files:
    """The tables, as texts and None."""

    published: pd.DataFrame
    original: pd.DataFrame | None = None
    control: pd.DataFrame | None = None


def assess(rules: Specification, hierarchies: Mapping[str, Hierarchy], files: Files) -> Assessment:
    """Measure a table.

    Raises InputError for a table without rows and a control table without an original, and where `cells.read` does.
    """
    raw = [table for table in (files.original, files.control) if table is not None]
    for name, table in (("table", files.published), ("original", files.original), ("control table", files.control)):
        if table is not None and table.empty:
            raise InputError(f"the {name} has no rows: there is nothing to measure")
    if files.control is not None and files.original is None:
        raise InputError("a control table is compared with the original; give that too")
    cells, *others = read(rules, hierarchies, files.published, raw)
    quasi = cells.of(rules.of_role("quasi_identifier"))
    people = files.published[rules.person] if rules.person in files.published.columns else None
    found = exposure.classes(quasi, people)
    columns = [
        exposure.sensitive(
            name, files.published[name], None if files.original is None else files.original[name],
            rules.protection.ordered.get(name, ()),
        )
        for name in rules.of_role("sensitive")
    ]  # fmt: skip
    original = others[0].of(quasi.names) if others else None
    journalist = _journalist(found, original, rules.protection.k)
    measured = Assessment(
        rows=len(cells),
        suppressed=int((found.of_row < 0).sum()),
        classes=len(found.people),
        counts_people=people is not None,
        by_value=exposure.by_value(found, columns),
        by_compatible=exposure.by_compatible(found, columns),
        by_person=None if original is None else exposure.by_person(found, columns, original, rules.attacks.seed),
        prosecutor=exposure.reidentification(found.people, np.maximum(found.people, 1), rules.protection.k),
        journalist=journalist,
        marketer=journalist.mean if journalist else None,
        attacks=tuple(_attacked(rules, Tables(cells, *others))) if others else (),
        exceeded=tuple(
            f"column {shown(name)} is there, which policy withholds"
            for name in rules.of_role("withhold")
            if name in files.published.columns
        ),
    )
    return judged(rules, measured)


def _journalist(found: PublishedClasses, original: Cells | None, k: int) -> Reidentification | None:
    fit = found.people if original is None else exposure.fitting(found, original)
    return None if fit is None else exposure.reidentification(found.people, np.maximum(fit, 1), k)


def _attacked(rules: Specification, tables: Tables) -> list[Attacked]:
    """Every kind of attack: on the table as published and, where it is generalised, on what a reader guesses of it."""
    plan, done = rules.attacks, []
    readings = {AS_PUBLISHED: tables}
    if tables.published.is_generalised():
        readings[GUESSED] = tables.guessed(plan.seed)
    known = rules.of_role("quasi_identifier")
    for reading, one in readings.items():
        done += _singled_out(rules, reading, one)
        if len(known) > 1:
            sides = plan.linked or (known[: len(known) // 2], known[len(known) // 2 :])
            said = f"{len(sides[0])} and {len(sides[1])} columns"
            done.append(_one("linkability", said, reading, linkability(one, sides, plan.count, plan.seed)))
        for name in rules.of_role("sensitive"):
            for majority in (False, True):
                secret = Secret(name, known, plan.tolerance.get(name), majority)
                said = f"{shown(name)}{', by majority' if majority else ''}"
                done.append(_one("inference", said, reading, inference(one, secret, plan.count, plan.seed)))
    return done


def _singled_out(rules: Specification, reading: str, tables: Tables) -> list[Attacked]:
    """By quasi-identifiers, of which others know what they say of people; what all columns add is told apart."""
    plan, known, done = rules.attacks, rules.of_role("quasi_identifier"), []
    spoken = {"singling_out": tables.of(known)}
    if len(rules.published) > len(known):
        spoken["singling_out_by_sensitive"] = tables
    for kind, one in spoken.items():
        for columns in (0, *_widths(rules, len(one.published.names))):
            said = f"{columns} columns" if columns else "one column"
            done.append(_one(kind, said, reading, singling_out(one, columns, plan.count, plan.seed)))
    return done


def _widths(rules: Specification, there: int) -> tuple[int, ...]:
    """How many columns predicates speak of, of those that are there."""
    asked = tuple(columns for columns in rules.attacks.columns if columns <= there)
    return asked or tuple(sorted({min(3, there), there}))


def _one(kind: str, detail: str, reading: str, attacks: Attacks) -> Attacked:
    return Attacked(kind, detail, reading, attacks, attacks.risk(), attacks.chance())


def judged(rules: Specification, found: Assessment) -> Assessment:
    """The same with what policy does not allow; what it limits and nobody measured is said too.

    k, l and t are judged with suppressed cells as values of their own, attacks by the upper bound of the worst.
    """
    exceeded, unmeasured = [*found.exceeded, *_models(rules, found)], []
    for name, limit in rules.limits.model_dump(exclude_none=True).items():
        measured = _measured(name, found)
        if measured is None:
            unmeasured.append(name)
        elif measured > limit:
            exceeded.append(f"{name} is {measured:.4f}, policy allows {limit:g}")
    return Assessment(**{**vars(found), "exceeded": tuple(exceeded), "unmeasured": tuple(unmeasured)})


def _models(rules: Specification, found: Assessment) -> list[str]:
    """Which models of protection the worst class does not hold."""
    said, worst, asked = [], found.by_value, rules.protection
    if worst.k is not None and worst.k < asked.k:
        said.append(f"k is {worst.k}, policy asks for {asked.k}")
    for name, one in worst.sensitive.items():
        if one.l < asked.l:
            said.append(f"{shown(name)}: l is {one.l}, policy asks for {asked.l}")
        if one.entropy_l < asked.entropy_l - 1e-9:
            said.append(f"{shown(name)}: entropy l is {one.entropy_l:.4f}, policy asks for {asked.entropy_l:g}")
        if asked.t is not None and one.t > asked.t + 1e-9:
            said.append(f"{shown(name)}: t is {one.t:.4f}, policy allows {asked.t:g}")
    return said


def _measured(limit: str, found: Assessment) -> float | None:
    """What was measured of what a limit speaks of; None: nothing."""
    if limit == "suppressed":
        return found.suppressed / found.rows
    if limit == "prosecutor":
        return found.prosecutor.highest
    if limit == "journalist":
        return found.journalist.highest if found.journalist else None
    if limit == "marketer":
        return found.marketer
    return max((one.risk.upper for one in found.attacks if one.kind == limit), default=None)
