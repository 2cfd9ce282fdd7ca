"""A release of bookings attacked before it is published, together with the earlier ones that its people are in. Pure.

The earlier releases are read as analysts read them; what the attacker knows, where people are and what they are, comes
from our own rows. So the cost follows the people of the day. In which class of an earlier release a row went is
nowhere remembered: of the classes that its labels fit, the one that has the person's signature is taken for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from governance.anonymisation.census import groups
from governance.anonymisation.composition import NOBODY, Composition, History, Published
from governance.anonymisation.daily import Pool
from governance.anonymisation.releases import SPECIALTY, Model, coded
from governance.anonymisation.signatures import NONE, Ledger, bits, united


def earlier(rows: pd.DataFrame, shown: pd.DataFrame, of: Model, ledger: Ledger) -> list[Published]:
    """Earlier releases in which people are, in their order.

    `rows`: bookings of these people that were published, with release_partition (see `releases.coded`); `shown`: all
    rows of these releases as they are published. A row that fits no class with its person's signature, because policy
    has changed since, is left out.
    """
    pool, day = coded(rows, of), np.array([one.toordinal() for one in rows["release_partition"]], dtype=np.int64)
    return [
        placed(pool.of(day == release.toordinal()), shown[shown["recorded_date"] == release], of, ledger)
        for release in sorted(set(shown["recorded_date"]))
    ]


def placed(pool: Pool, shown: pd.DataFrame, of: Model, ledger: Ledger, *, anywhere: bool = False) -> Published:
    """One release with its people, each in a class that the labels of which fit, and which has the person's signature.

    `anywhere`: those for whom there is none come into any class whose labels fit, in which a row with their value is
    nobody's yet: so a class whose values were changed still has its people, and the attack finds them.
    """
    listed = {label: code for code, label in enumerate(of.rules.sensitive[SPECIALTY])}
    shown = shown[shown[SPECIALTY].isin(listed)]
    low, high, owner = _classes(shown, of)
    value = shown[SPECIALTY].map(listed).to_numpy(dtype=np.int64)
    person, codes = np.full(owner.size, NOBODY, dtype=np.uint64), np.zeros((owner.size, len(of.quasi)), np.int32)
    found = Published(low, high, owner, person, codes, value)
    sets, known = united(bits(value[:, None], of.rules.widths), owner, len(low)), ledger.of(pool.person)
    signature = np.zeros((known.size, sets.shape[1]), dtype=np.uint64)
    signature[known != NONE] = ledger.signature[known[known != NONE]]
    fits = np.ones((known.size, len(low)), dtype=np.bool_)
    for at in range(len(of.quasi)):
        fits &= (low[:, at] <= pool.codes[:, at, None]) & (pool.codes[:, at, None] <= high[:, at])
    left = _seated(found, pool, fits & (signature[:, None] == sets).all(axis=2), np.arange(known.size))
    if anywhere:
        _seated(found, pool, fits, left)
    return found


def _seated(found: Published, pool: Pool, may: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Put people into rows of a release that are nobody's yet; returns the rows of those for whom there is none.

    `may`: bool, rows of the pool by classes. Whoever has the least choice comes first.
    """
    left = []
    for at in rows[np.argsort(may[rows].sum(axis=1), kind="stable")].tolist():
        places = np.flatnonzero(may[at][found.owner] & (found.value == pool.values[at, 0]) & (found.person == NOBODY))
        if places.size:
            found.person[places[0]], found.codes[places[0]] = pool.person[at], pool.codes[at]
        else:
            left.append(at)
    return np.array(left, dtype=np.int64)


def _classes(published: pd.DataFrame, of: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The classes of published rows, by their labels: low, high, and the class of each row."""
    boxes = []
    for one in of.quasi:
        labels = list(published[list(one.columns)].itertuples(index=False, name=None))
        of_labels = {each: one.box(each) for each in set(labels)}
        boxes.append(np.array([of_labels[each] for each in labels], dtype=np.int32).reshape(-1, 2))
    cells, owner = groups(np.column_stack(boxes))
    return cells[:, 0::2].astype(np.int32), cells[:, 1::2].astype(np.int32), owner.astype(np.int64)


def attacked(before: list[Published], now: Published, of: Model) -> Composition:
    """The attack on the people of a release, in all releases that they are in."""
    history = History(of.rules.widths[0], of.rules.protection.k)
    for one in (*before, now):
        history.add(one)
    return history.touched()


def over(found: Composition, limits: Mapping[str, float]) -> list[str]:
    """The measures that are over policy's limits, and by how much, in words."""
    counts = {
        "gained_less": (found.gained_less, "people whose group grew by fewer than k people"),
        "fewer_left": (found.fewer_left, "people of whom fewer values remain than each release leaves"),
        "disclosed": (found.disclosed, "people of whom one value remains"),
    }
    told = [
        f"{name}: {count} {what}, policy allows {limits[name]:g}"
        for name, (count, what) in counts.items()
        if count > limits[name]
    ]
    above = found.told.posterior - found.told.null
    if found.again >= limits["people"] and above > limits["posterior_over_null"]:
        told.append(
            f"posterior_over_null: a guess is right with {found.told.posterior:.3f}, {above:.3f} more than from two "
            f"identical releases, policy allows {limits['posterior_over_null']:g}"
        )
    return told


def figures(found: Composition) -> dict[str, float]:
    """What the run log says of an attack."""
    told: dict[str, float] = {
        "attack_gained_less": found.gained_less,
        "attack_fewer_left": found.fewer_left,
        "attack_disclosed": found.disclosed,
        "attack_people_again": found.again,
    }
    if found.again:
        told |= {"attack_posterior": round(found.told.posterior, 6), "attack_null": round(found.told.null, 6)}
    return told
