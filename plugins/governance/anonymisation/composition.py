"""The attack on releases that follow one another: intersection and differencing (Ganta 2008), for any of them. Pure.

The attacker knows everybody's quasi-identifiers and in which releases they are. Differencing: what a label gained by
some releases is who came new; it should never be fewer than k people. Intersection: in each release that a person is
in, the classes that are compatible with their quasi-identifiers speak for their values; of these only such values
remain as every release allows, and their shares multiply. The null is the same for a person who was in the first of
these releases each time: what several looks at one release seem to tell and do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from governance.anonymisation.census import groups

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
class Composition:
    """What releases tell together."""

    people: int
    again: int  # people who are in more than one of them
    gained_less: int  # people whose label gained fewer than k people
    fewer_left: int  # people whose own classes have fewer values in common than any of them has
    disclosed: int  # people of whom one value remains, though no release leaves but one
    posterior: float  # of the true value, over people who are in more than one; and for the null
    null: float
    posterior_of_class: float  # the same for an attacker who knows in which class of a release a person is
    null_of_class: float


@dataclass
class History:
    """All releases, and where in them everybody is."""

    values: int  # how many values the sensitive column can have
    k: int
    releases: list[Published] = field(default_factory=list)
    _where: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # person: release and row

    def add(self, one: Published) -> None:
        """Append a release."""
        for row, person in enumerate(one.person.tolist()):
            self._where.setdefault(person, []).append((len(self.releases), row))
        self.releases.append(one)

    def attack(self, which: Sequence[int]) -> Composition:
        """Attack everybody in some of the releases."""
        rows = [(release, np.arange(self.releases[release].person.size)) for release in sorted(which)]
        return self._attacked(rows, sorted(which))

    def touched(self) -> Composition:
        """Attack the people of the last release, in all that they are in: the cost is that of the day."""
        last = len(self.releases) - 1
        where = [place for person in set(self.releases[last].person.tolist()) for place in self._where[person]]
        by_release: dict[int, list[int]] = {}
        for release, row in where:
            by_release.setdefault(release, []).append(row)
        return self._attacked(
            [(release, np.array(sorted(rows))) for release, rows in sorted(by_release.items())], [last]
        )

    def _attacked(self, rows: list[tuple[int, np.ndarray]], gained: Iterable[int]) -> Composition:
        if not rows:
            return Composition(0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0)
        person = np.concatenate([self.releases[at].person[some] for at, some in rows])
        true = np.concatenate([self.releases[at].value[some] for at, some in rows])
        told = np.concatenate([self.releases[at].speaks_for(some, self.values) for at, some in rows])
        own = np.concatenate([self._own(at, some) for at, some in rows])
        people, first, of, times = np.unique(person, return_index=True, return_inverse=True, return_counts=True)
        of, again = of.reshape(-1), times > 1
        kept = again & (np.bincount(of, true == true[first][of]) == times)  # people whose value stayed what it was
        left, alone = _left(told > 0, of, people.size)
        common, fewest = _left(own > 0, of, people.size)
        who = (of, first, kept)
        return Composition(
            people.size, int(again.sum()), self._gained_less(gained), int((common < fewest).sum()),
            int(((left == 1) & (alone > 1)).sum()), *_posteriors(told, true, who), *_posteriors(own, true, who),
        )  # fmt: skip

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
        _, person = np.unique(np.concatenate([one.person for one in some]), return_inverse=True)
        pairs = np.unique(np.column_stack([label, person.reshape(-1)]), axis=0)
        gained = np.bincount(pairs[:, 0])
        return int(np.unique(pairs[gained[pairs[:, 0]] < self.k, 1]).size)


def _left(possible: np.ndarray, of: np.ndarray, people: int) -> tuple[np.ndarray, np.ndarray]:
    """How many values every release leaves of a person, and the fewest that a single one does."""
    left = np.ones((people, possible.shape[1]), dtype=np.bool_)
    np.logical_and.at(left, of, possible)
    alone = np.full(people, possible.shape[1])
    np.minimum.at(alone, of, possible.sum(axis=1))
    return left.sum(axis=1), alone


def _posteriors(
    told: np.ndarray, true: np.ndarray, who: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """The mean posterior of the true value, and the same had the first release been all of them."""
    of, first, kept = who
    with np.errstate(divide="ignore"):
        logs = np.log(told)
    joint = np.zeros((first.size, told.shape[1]))
    np.add.at(joint, of, logs)
    null = logs[first] * np.bincount(of)[:, None]
    return _of_true(joint[kept], true[first][kept]), _of_true(null[kept], true[first][kept])


def _of_true(logs: np.ndarray, true: np.ndarray) -> float:
    """The mean posterior of the true value."""
    if not true.size:
        return 0.0
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return float((shares[np.arange(true.size), true] / shares.sum(axis=1)).mean())
