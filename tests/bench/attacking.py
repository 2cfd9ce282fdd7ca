"""Attacks on the releases of a simulation: by ourselves, and by the judge of the reference data.

The judge has one row a person and releases that hold all rows up to a day. Its posterior is of 2,000 people, so it is
compared with its null (two identical releases, the first or the last) within the interval that our own attack on the
same releases finds person by person, scaled to as many.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.days import QUASI, SENSITIVE, People
from bench.measuring import say
from governance.anonymisation.composition import Composition, History, Published
from governance.anonymisation.daily import PUBLISHED

if TYPE_CHECKING:
    from bench.releases import Simulated

SUBSETS = 40
TARGETS = 2000  # of the judge
PAIRS = 6


def worst(histories: Sequence[History]) -> dict[str, float]:
    """The worst of pairs, random subsets and the whole, over sensitive columns: people, none of whom may be found; and
    posteriors of the whole. `gains`: attacks in which releases tell more than one of them repeated, beyond chance."""
    found = [one for history in histories for one in _attacks(history)]
    whole = found[-1]
    return {
        "attacks": len(found), "again": max(one.again for one in found),
        "gained_less": max(one.gained_less for one in found), "fewer_left": max(one.fewer_left for one in found),
        "disclosed": max(one.disclosed for one in found), "gains": sum(one.told.gains for one in found),
        "posterior": whole.told.posterior, "null": whole.told.null, "margin": whole.told.margin,
        "null_of_first": whole.told.null_of_first, "null_of_truth": whole.told.null_of_truth,
        "once": whole.told.once, "class_posterior": whole.of_class.posterior, "class_null": whole.of_class.null,
        "class_margin": whole.of_class.margin, "class_once": whole.of_class.once,
    }  # fmt: skip


def _attacks(history: History) -> list[Composition]:
    count, rng = len(history.releases), np.random.Generator(np.random.PCG64(3))
    filled = [at for at in range(count) if history.releases[at].person.size]
    pairs = [[int(a), int(b)] for a, b in (sorted(rng.choice(filled, 2, replace=False)) for _ in range(SUBSETS))]
    spans = [[at for at in filled if pair[0] < at <= pair[1]] for pair in pairs]
    subsets = [rng.choice(filled, int(rng.integers(2, len(filled))), replace=False).tolist() for _ in range(SUBSETS)]
    return [history.attack(which) for which in (*pairs, *spans, *subsets, filled) if which]


def judge(done: Simulated, of: People, data: Path, folder: Path) -> None:
    """Pairs and random subsets of releases, each of all rows up to a day."""
    count, rng = len(done.released), np.random.Generator(np.random.PCG64(4))
    days = range(count // 4, count)
    chosen = [(count // 3, count // 3 + 1), *(rng.choice(days, 2, replace=False) for _ in range(PAIRS - 1)),
              *(rng.choice(days, int(rng.integers(3, 7)), replace=False) for _ in range(PAIRS // 2))]  # fmt: skip
    within = 0
    for some in chosen:
        at = tuple(sorted(int(day) for day in some))
        found = judged(done, of, data, folder, at)
        ours = _cumulated(done, at).told
        margin = ours.margin * max(1.0, np.sqrt(found["again"] / TARGETS))
        within += found["posterior"] <= found["null"] + margin
        say(f"  judge, up to days {at}: {found} within {margin:.4f}; ours, of all: {ours}")
    say(f"  judge: {within} of {len(chosen)} no higher than two identical releases")


def _cumulated(done: Simulated, at: Sequence[int]) -> Composition:
    """Our own attack on releases of all rows up to some days."""
    history = History(done.history.values, done.history.k)
    for day in at:
        some = [one for one in done.history.releases[: day + 1] if one.person.size]
        begin = np.cumsum([0, *(len(one.low) for one in some)])
        history.add(
            Published(
                np.concatenate([one.low for one in some]), np.concatenate([one.high for one in some]),
                np.concatenate([one.owner + first for one, first in zip(some, begin, strict=False)]),
                *(np.concatenate([getattr(one, name) for one in some]) for name in ("person", "codes", "value")),
            )
        )  # fmt: skip
    return history.attack(range(len(at)))


def judged(done: Simulated, of: People, data: Path, folder: Path, at: tuple[int, ...]) -> dict[str, Any]:
    """What the judge says of the releases up to some days, and of the first and the last as often."""
    files = _written(done, of, folder, at)

    def told(*which: int) -> dict[str, Any]:
        named = [name for one in which for name in files[2 * one : 2 * one + 2]]
        found: dict[str, Any] = json.loads(
            subprocess.run(
                [sys.executable, str(data / "crossrelease.py"), *named, "--qi", ",".join(QUASI), "--hier",
                 str(data / "data" / "hierarchies"), "--sensitive", SENSITIVE],
                capture_output=True, text=True, check=True,
            ).stdout
        )  # fmt: skip
        return found

    together = told(*range(len(at)))
    nulls = [told(*[one] * len(at))["all"]["mean_posterior_true"] for one in (0, len(at) - 1)]
    return {
        "again": together["all"]["targets"], "posterior": together["all"]["mean_posterior_true"],
        "null": max(nulls), "one_value_left": together["all"]["one_value_left"],
        "gain_lt5": together["delta"]["share_gain_lt5"],
    }  # fmt: skip


def _written(done: Simulated, of: People, folder: Path, at: tuple[int, ...]) -> list[str]:
    """Original and published rows up to some days, in files; rows not published are `*`."""
    files: list[str] = []
    rows: list[tuple[list[str], list[str]]] = []
    place: dict[int, int] = {}
    text = [(*one.values,) for one in of.domains]
    for day, (pool, one) in enumerate(zip(done.pools, done.released, strict=True)):
        for index, row in enumerate(pool.row.tolist()):
            value = of.values[pool.values[index, 0]]
            if row not in place:
                place[row] = len(rows)
                clear = [text[column][code] for column, code in enumerate(pool.codes[index])]
                rows.append(([*clear, value], ["*"] * len(QUASI) + [value]))
            if one.fate[index] == PUBLISHED:
                box = zip(of.domains, one.low[one.owner[index]], one.high[one.owner[index]], strict=True)
                rows[place[row]] = (
                    rows[place[row]][0],
                    [domain.label(int(low), int(high)) for domain, low, high in box] + [value],
                )
        if day in at:
            for name, side in (("original", 0), ("published", 1)):
                path = folder / f"{name}_{day}.csv"
                with path.open("w", newline="") as file:
                    writer = csv.writer(file, delimiter=";")
                    writer.writerows([[*QUASI, SENSITIVE], *(row[side] for row in rows)])
                files.append(str(path))
    return files
