"""The attack on releases that follow one another: intersection and differencing (Ganta 2008), for any of them. Pure.

The attacker knows everybody's quasi-identifiers and in which releases they are. Differencing: what a label gained by
some releases is who came new; it should never be fewer than k people. Intersection: in each release that a person is
in, the classes that are compatible with their quasi-identifiers speak for their values; of these only such values
remain as every release allows, and their shares multiply.

The null. Shares of one release, multiplied with themselves, grow sharper too, though nobody has learned anything: that
much several looks seem to tell and do not. So a person's posterior is compared with what the attacker had got had the
most telling of their releases been all of them, as often. Per person, because the first release of one and the second
of another may be the vague one, and its vagueness is no promise that the other one breaks. The most telling is the one
that leaves the surest guess, which the attacker can see. Two more are reported beside it: the first release as often,
and the one that tells most of what is true, which nobody could choose without knowing it; that one flatters us.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from governance.anonymisation.census import groups

NOBODY = 0
"""The number of whoever is in a release and not known: attacked by nobody, and each a person of its own."""
ENOUGH = 30  # people for an interval
AT_ONCE = 512  # people compared with all classes of a release


@dataclass(frozen=True)
class Published:
    """One release as it is published, and who is in it."""

    low: np.ndarray  # int32, classes by quasi-identifiers: the codes that labels stand for
    high: np.ndarray
    owner: np.ndarray  # int64 per row: its class
    person: np.ndarray  # uint64 per row
    codes: np.ndarray  # int32, rows by quasi-identifiers
    value: np.ndarray  # int64 per row: of the sensitive column that is attacked

    def speaks_for(self, rows: np.ndarray, values: int) -> np.ndarray:
        """The shares of all values in the classes that are compatible with rows: rows by values."""
        counts = np.zeros((len(self.low), values))
        np.add.at(counts, (self.owner, self.value), 1)
        found = np.empty((rows.size, values))
        for begin in range(0, rows.size, AT_ONCE):
            some = self.codes[rows[begin : begin + AT_ONCE]]
            fits = np.ones((len(some), len(self.low)), dtype=np.bool_)
            for at in range(some.shape[1]):
                fits &= (self.low[:, at] <= some[:, at, None]) & (some[:, at, None] <= self.high[:, at])
            found[begin : begin + AT_ONCE] = fits @ counts
        return found / found.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Telling:
    """The mean posterior of the true value, over people who are in more than one release and kept their value."""

    people: int = 0
    posterior: float = 0.0
    null: float = 0.0  # had the most telling of their releases been all of them
    margin: float = 0.0  # of the difference of these two: half of its 95 % interval, person by person
    null_of_first: float = 0.0
    null_of_truth: float = 0.0
    once: float = 0.0  # by the first release alone, seen once

    @property
    def gains(self) -> bool:
        """Whether the releases together tell more than one of them repeated, by more than chance explains.

        Of few people an interval says nothing, nor does this; their classes' sets are compared one by one.
        """
        return self.people >= ENOUGH and self.posterior > self.null + self.margin


@dataclass(frozen=True)
class Composition:
    """What releases tell together."""

    people: int
    again: int  # people who are in more than one of them
    gained_less: int  # people whose label gained fewer than k people
    fewer_left: int  # people whose own classes have fewer values in common than any of them has
    disclosed: int  # people of whom one value remains, though no release leaves but one
    told: Telling = Telling()
    of_class: Telling = Telling()  # the same for an attacker who knows in which class of a release a person is


class Whereabouts:
    """Where people are: runs in order of people, merged when they have grown alike.

    So looking somebody up costs the square of the logarithm of history, and adding a row on average no more.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # person, release, row

    def add(self, release: int, person: np.ndarray) -> None:
        """Append the people of a release, by row."""
        run = (person, np.full(person.size, release), np.arange(person.size))
        while self._runs and self._runs[-1][0].size <= run[0].size:
            before = self._runs.pop()
            run = (np.concatenate([before[0], run[0]]), np.concatenate([before[1], run[1]]),
                   np.concatenate([before[2], run[2]]))  # fmt: skip
        order = np.argsort(run[0], kind="stable")
        self._runs.append((run[0][order], run[1][order], run[2][order]))

    def of(self, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Releases and rows of some people, each of whom is named once."""
        releases, rows = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for person, release, row in self._runs:
            begin, end = (np.searchsorted(person, people, side) for side in ("left", "right"))
            times = end - begin
            place = np.arange(times.sum()) + np.repeat(begin - np.cumsum(times) + times, times)
            releases.append(release[place])
            rows.append(row[place])
        return np.concatenate(releases), np.concatenate(rows)


@dataclass
class History:
    """All releases, and where in them everybody is."""

    values: int  # how many values the sensitive column can have
    k: int
    releases: list[Published] = field(default_factory=list)
    _where: Whereabouts = field(default_factory=Whereabouts)

    def add(self, one: Published) -> None:
        """Append a release."""
        self._where.add(len(self.releases), one.person)
        self.releases.append(one)

    def attack(self, which: Sequence[int]) -> Composition:
        """Attack everybody in some of the releases who is known."""
        rows = [(release, np.flatnonzero(self.releases[release].person != NOBODY)) for release in sorted(which)]
        return self._attacked(rows, sorted(which))

    def touched(self) -> Composition:
        """Attack the people of the last release, in all that they are in: the cost is that of the day."""
        last = len(self.releases) - 1
        release, row = self._where.of(np.unique(self.releases[last].person))
        rows = [(int(at), np.sort(row[release == at])) for at in np.unique(release)]
        return self._attacked(rows, [last])

    def _attacked(self, rows: list[tuple[int, np.ndarray]], gained: Iterable[int]) -> Composition:
        if not rows:
            return Composition(0, 0, 0, 0, 0)
        everybody, rows = self._again(rows)
        person = np.concatenate([self.releases[at].person[some] for at, some in rows])
        true = np.concatenate([self.releases[at].value[some] for at, some in rows])
        told = np.concatenate([self.releases[at].speaks_for(some, self.values) for at, some in rows])
        own = np.concatenate([self._own(at, some) for at, some in rows])
        people, first, of, times = np.unique(person, return_index=True, return_inverse=True, return_counts=True)
        of = of.reshape(-1)
        kept = np.bincount(of, true == true[first][of], people.size) == times  # people whose value stayed what it was
        left, alone = _left(told > 0, of, people.size)
        common, fewest = _left(own > 0, of, people.size)
        return Composition(
            everybody, people.size, self._gained_less(gained), int((common < fewest).sum()),
            int(((left == 1) & (alone > 1)).sum()), _telling(told, true, (of, kept)), _telling(own, true, (of, kept)),
        )  # fmt: skip

    def _again(self, rows: list[tuple[int, np.ndarray]]) -> tuple[int, list[tuple[int, np.ndarray]]]:
        """How many people rows are of, and the rows of those who have several: of the others releases together tell
        what the one says that they are in."""
        person = np.concatenate([self.releases[at].person[some] for at, some in rows])
        everybody, of, times = np.unique(person, return_inverse=True, return_counts=True)
        parts = np.split(times[of.reshape(-1)] > 1, np.cumsum([some.size for _, some in rows])[:-1])
        return everybody.size, [(at, some[part]) for (at, some), part in zip(rows, parts, strict=True)]

    def _own(self, release: int, rows: np.ndarray) -> np.ndarray:
        """The shares of all values in the very classes of rows."""
        one = self.releases[release]
        counts = np.zeros((len(one.low), self.values))
        np.add.at(counts, (one.owner, one.value), 1)
        return (counts / counts.sum(axis=1, keepdims=True))[one.owner[rows]]

    def _gained_less(self, which: Iterable[int]) -> int:
        """People in some releases whose label gained fewer than k distinct people by these."""
        some = [self.releases[release] for release in which]
        boxes = np.concatenate([np.column_stack([one.low, one.high])[one.owner] for one in some])
        _, label = groups(boxes)
        people, person = np.unique(np.concatenate([one.person for one in some]), return_inverse=True)
        person = person.reshape(-1)
        unknown = np.flatnonzero(people[person] == NOBODY)
        person[unknown] = people.size + np.arange(unknown.size)
        width = people.size + unknown.size
        label, person = np.divmod(np.unique(label.astype(np.int64) * width + person), width)
        return int(np.unique(person[np.bincount(label)[label] < self.k]).size)


def _left(possible: np.ndarray, of: np.ndarray, people: int) -> tuple[np.ndarray, np.ndarray]:
    """How many values every release leaves of a person, and the fewest that a single one does."""
    left = np.ones((people, possible.shape[1]), dtype=np.bool_)
    np.logical_and.at(left, of, possible)
    alone = np.full(people, possible.shape[1])
    np.minimum.at(alone, of, possible.sum(axis=1))
    return left.sum(axis=1), alone


def _telling(told: np.ndarray, true: np.ndarray, who: tuple[np.ndarray, np.ndarray]) -> Telling:
    """What shares tell of true values. `who`: the person of every row, and which people are looked at."""
    of, kept = who
    rows = np.flatnonzero(kept[of])
    if not rows.size:
        return Telling()
    _, first, of, times = np.unique(of[rows], return_index=True, return_inverse=True, return_counts=True)
    of, told, true = of.reshape(-1), told[rows], true[rows]
    with np.errstate(divide="ignore"):
        logs = np.log(told)
    joint = np.zeros((first.size, told.shape[1]))
    np.add.at(joint, of, logs)
    together, alike = _of_true(joint, true[first]), _of_true(logs * times[of, None], true)
    surest = np.lexsort((np.arange(of.size), -told.max(axis=1), of))[np.cumsum(times) - times]
    most = np.zeros(first.size)
    np.maximum.at(most, of, alike)
    gain = together - alike[surest]
    return Telling(
        first.size, float(together.mean()), float(alike[surest].mean()), float(1.96 * gain.std() / np.sqrt(gain.size)),
        float(alike[first].mean()), float(most.mean()), float(told[first, true[first]].mean()),
    )  # fmt: skip


def _of_true(logs: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The posterior of the true value, row by row."""
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    found: np.ndarray = shares[np.arange(true.size), true] / shares.sum(axis=1)
    return found
