"""Days of bookings made of a public table: people who come, come again, amend, cancel, come late, and are erased.

A person is a row of the table and keeps what they are; a booking of theirs is a row of a day. Younger people come
earlier in the two months and older ones later, so that the mix drifts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from governance.anonymisation import trees
from governance.anonymisation.daily import Pool
from governance.anonymisation.domains import Domain, Treatment, domain

QUASI = ("sex", "age", "race", "marital-status", "education", "native-country", "workclass")
SENSITIVE = "occupation"


@dataclass(frozen=True)
class People:
    """The public table in codes."""

    domains: tuple[Domain, ...]
    codes: np.ndarray
    value: np.ndarray
    values: tuple[str, ...]


@dataclass(frozen=True)
class Course:
    """What happens on these days; shares of a day's rows."""

    days: int = 60
    rows: int = 500
    returning: float = 0.15
    late: float = 0.03
    amended: float = 0.02
    cancelled: float = 0.02
    erased: float = 0.003
    seed: int = 7


@dataclass(frozen=True)
class Day:
    """What comes on a day: rows, rows that take the place of others while these are held, and people to be erased."""

    new: Pool
    replaced: np.ndarray  # uint64: rows that `new` has again, in another form
    erased: np.ndarray  # uint64: people


def people(table: Path, hierarchies: Path) -> People:
    """The public table."""
    with table.open(newline="") as file:
        read = list(csv.DictReader(file, delimiter=";"))
    domains, codes = [], []
    for name in QUASI:
        held, code = np.unique([row[name] for row in read], return_inverse=True)
        treatment = Treatment(trees.from_csv(name, (hierarchies / f"{name}.csv").read_text(), numeric=name == "age"))
        one, to_domain = domain(name, held.tolist(), np.bincount(code), treatment)
        domains.append(one)
        codes.append(to_domain[code])
    values, value = np.unique([row[SENSITIVE] for row in read], return_inverse=True)
    return People(tuple(domains), np.column_stack(codes).astype(np.int32), value, tuple(values.tolist()))


def course(of: People, course: Course) -> Iterator[Day]:
    """The days, one by one. Later versions of a row come one to three days after it."""
    rng = np.random.Generator(np.random.PCG64(course.seed))
    in_turn = np.argsort(rng.random(len(of.codes)) + 0.3 * of.codes[:, QUASI.index("age")] / 60, kind="stable")
    came, number = 0, 0
    waiting: list[list[tuple[int, int, int]]] = [[] for _ in range(course.days + 8)]  # person, codes' person, replaces
    for day in range(course.days):
        again = rng.random(course.rows) < course.returning if day else np.zeros(course.rows, dtype=bool)
        fresh = in_turn[came : came + int((~again).sum())]
        before = in_turn[rng.integers(0, max(1, came), int(again.sum()))] if came else fresh[:0]
        came += fresh.size
        for person in np.concatenate([fresh, before]).tolist():
            late = int(rng.integers(1, 6)) if rng.random() < course.late else 0
            waiting[min(day + late, len(waiting) - 1)].append((person, person, -1))
        rows = waiting[day]
        numbers = np.arange(number, number + len(rows))
        number += len(rows)
        for (person, _, replaces), one in zip(rows, numbers.tolist(), strict=True):
            lot = rng.random() if replaces < 0 else 1.0
            if lot < course.amended + course.cancelled:
                # An amended booking gets other quasi-identifiers, those of some other person of the table.
                like = int(rng.integers(len(of.codes))) if lot < course.amended else person
                waiting[day + int(rng.integers(1, 4))].append((person, like, one))
        gone = in_turn[rng.integers(0, came, int(rng.binomial(course.rows, course.erased)))]
        who, like, replaces = (np.array([row[at] for row in rows], dtype=np.int64) for at in range(3))
        new = Pool(
            mixed(numbers), mixed(who), of.codes[like], of.value[who][:, None].astype(np.int32),
            np.full(len(rows), day, dtype=np.int64),
        )  # fmt: skip
        yield Day(new, mixed(replaces[replaces >= 0]), mixed(gone))


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Numbers that look like keyed ones."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return mixed * np.uint64(0xBF58476D1CE4E5B9)
