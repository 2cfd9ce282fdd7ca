"""The release model part of `make bench`: sixty days of bookings, released day by day, attacked, and what that costs.

The price is the loss (NCP) of the rows that were published over that of one release of the rows of `delay` + 1 days at
once, with the same k, l and steps per row, the mean of several such pools; the first ten days, while the pool fills,
are left out of both. GOVERNANCE_REFERENCE_DATA names the folder of the public data.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.days import QUASI, SENSITIVE, Course, Day, People, course, people
from bench.measuring import say
from governance.anonymisation.composition import History, Published
from governance.anonymisation.daily import HELD, PUBLISHED, SUPPRESSED, Pool, Release, Rules, Terms, release
from governance.anonymisation.recoding import Protection
from governance.anonymisation.signatures import nobody

FILLING = 10  # days until the pool is full
FRONTIER = (
    Terms(threshold=0.01), Terms(), Terms(threshold=0.03), Terms(threshold=0.05), Terms(worth=0.0), Terms(worth=0.1),
    Terms(worth=0.3), Terms(worth=0.3, ceiling=0.5), Terms(ceiling=1.0), Terms(delay=3), Terms(delay=5),
    Terms(delay=10),
)  # fmt: skip
SUBSETS = 40


@dataclass
class Simulated:
    """What became of all rows."""

    history: History
    released: list[Release] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows_of: Counter[int] = field(default_factory=Counter)
    gone: int = 0  # rows replaced or erased while they were held
    came: int = 0
    held: int = 0  # at the end

    def of_rows(self, fate: int) -> tuple[np.ndarray, ...]:
        """Of rows of a fate, after the pool has filled: person, delay, whether returning, loss (0 unless published)."""
        found = []
        for day, (one, pool) in enumerate(zip(self.released, self.pools, strict=True)):
            some = np.flatnonzero(one.fate == fate) if day >= FILLING else np.zeros(0, dtype=np.int64)
            loss = one.loss[one.owner[some]] if fate == PUBLISHED else np.zeros(some.size)
            found.append((pool.person[some], day - pool.day[some], one.returning[some], loss))
        return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def simulate(days: Iterable[Day], rules: Rules, seed: int = 1) -> Simulated:
    """Release day by day."""
    known, held = nobody(rules.widths), None
    done = Simulated(History(rules.widths[0], rules.protection.k))
    for number, day in enumerate(days):
        done.came += len(day.new.row)
        done.rows_of.update(day.new.person.tolist())
        pool = day.new if held is None else held
        if held is not None:
            stays = ~np.isin(held.row, day.replaced) & ~np.isin(held.person, day.erased)
            done.gone += int((~stays).sum())
            pool = held.of(stays).joined(day.new)
        began = time.process_time()
        one = release(pool, known, rules, number, seed * 1000 + number)
        known = known.joined(one.remembered)
        done.seconds.append(time.process_time() - began)
        held = pool.of(one.fate == HELD)
        done.released.append(one)
        done.pools.append(pool)
        out = np.flatnonzero(one.fate == PUBLISHED)
        done.history.add(
            Published(one.low, one.high, one.owner[out], pool.person[out], pool.codes[out], pool.values[out, 0])
        )
    done.held = 0 if held is None else len(held.row)
    return done


def one_shot(days: list[Day], rules: Rules, at: int) -> float:
    """The loss of the rows of `delay` + 1 days, released at once. Every row counts as a person of its own."""
    some = days[max(0, at - rules.terms.delay)].new
    for day in days[max(0, at - rules.terms.delay) + 1 : at + 1]:
        some = some.of(~np.isin(some.row, day.replaced) & ~np.isin(some.person, day.erased)).joined(day.new)
    everybody = replace(some, person=np.arange(1, len(some.row) + 1, dtype=np.uint64))
    whole = replace(rules, terms=replace(rules.terms, threshold=1.0))
    one = release(everybody, nobody(rules.widths), whole, at, 1)
    return float(one.loss[one.owner[one.owner >= 0]].mean())


def figures(done: Simulated, days: list[Day], rules: Rules) -> dict[str, float]:
    """What is reported of a simulation."""
    person, delay, returning, loss = done.of_rows(PUBLISHED)
    lost, _, lost_returning, _ = done.of_rows(SUPPRESSED)
    once = {person for person, rows in done.rows_of.items() if rows == 1}
    is_once = np.array([one in once for one in lost.tolist()], dtype=bool)
    seen_once = sum(one in once for one in person.tolist())
    reference = float(np.mean([one_shot(days, rules, at) for at in range(FILLING + 5, len(days), 10)]))
    return {
        "ncp": float(loss.mean()), "price": float(loss.mean()) / reference, "reference": reference,
        "ncp_first": float(loss[~returning].mean()),
        "ncp_returning": float(loss[returning].mean()) if returning.any() else 0.0,
        "suppressed_first": int((~lost_returning).sum()),
        "suppressed_once": float(is_once.sum()) / max(1, seen_once + is_once.sum()),
        "returning_published": float(returning.sum()) / max(1, returning.sum() + lost_returning.sum()),
        "median": float(np.median(delay)), "p95": float(np.percentile(delay, 95)),
        "pool": float(np.mean([len(pool.row) for pool in done.pools[FILLING:]])),
        "cpu_early": float(np.mean(done.seconds[FILLING : FILLING + 10])),
        "cpu_late": float(np.mean(done.seconds[-10:])),
    }  # fmt: skip


def attacked(done: Simulated) -> dict[str, float]:
    """The worst of pairs, random subsets and the whole: people, none of whom may be; and posteriors of the whole."""
    count, rng = len(done.released), np.random.Generator(np.random.PCG64(3))
    filled = [at for at in range(count) if done.history.releases[at].person.size]
    pairs = [[int(a), int(b)] for a, b in (sorted(rng.choice(filled, 2, replace=False)) for _ in range(SUBSETS))]
    spans = [[at for at in filled if pair[0] < at <= pair[1]] for pair in pairs]
    subsets = [rng.choice(filled, int(rng.integers(2, len(filled))), replace=False).tolist() for _ in range(SUBSETS)]
    found = [done.history.attack(which) for which in (*pairs, *spans, *subsets, filled) if which]
    return {
        "attacks": len(found), "again": max(one.again for one in found),
        "gained_less": max(one.gained_less for one in found), "fewer_left": max(one.fewer_left for one in found),
        "disclosed": max(one.disclosed for one in found), "posterior": found[-1].posterior, "null": found[-1].null,
        "posterior_of_class": found[-1].posterior_of_class, "null_of_class": found[-1].null_of_class,
    }  # fmt: skip


def rules_for(of: People, k: int = 5, terms: Terms | None = None) -> Rules:
    """k people and two values."""
    return Rules(of.domains, {SENSITIVE: of.values}, Protection(k, 2), terms or Terms())


def judged(done: Simulated, of: People, data: Path, folder: Path, at: tuple[int, ...]) -> dict[str, Any]:
    """What the judge of the reference data says of the releases up to some days; rows not published are `*`."""
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
    told = subprocess.run(
        [sys.executable, str(data / "crossrelease.py"), *files, "--qi", ",".join(QUASI), "--hier",
         str(data / "data" / "hierarchies"), "--sensitive", SENSITIVE],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found: dict[str, Any] = json.loads(told)
    twice = subprocess.run(
        [sys.executable, str(data / "crossrelease.py"), *files[:2], *files[:2], "--qi", ",".join(QUASI), "--hier",
         str(data / "data" / "hierarchies"), "--sensitive", SENSITIVE],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return found | {"null": json.loads(twice)["all"]}


def main(folder: Path) -> None:
    """The frontier, the attacks, the judge, and a cost that does not follow history."""
    named = os.environ.get("GOVERNANCE_REFERENCE_DATA")
    if not named:
        say("releases: GOVERNANCE_REFERENCE_DATA names no folder with the public files; nothing measured")
        return
    data = Path(named) / "anonymity"
    folder.mkdir(parents=True, exist_ok=True)
    of = people(data / "data" / "adult.csv", data / "data" / "hierarchies")
    days = list(course(of, Course()))
    say(f"{'RELEASES OF 60 DAYS, K=5, L=2':<40}{'NCP':>8}{'PRICE':>7}{'FIRST':>8}{'AGAIN':>8}{'SUPPR.1':>9}{'ONCE':>8}"
        f"{'AGAIN%':>8}{'MED':>5}{'P95':>5}{'POOL':>7}{'CPU S':>12}")  # fmt: skip
    for terms in FRONTIER:
        rules = rules_for(of, terms=terms)
        done = simulate(days, rules)
        line(terms, figures(done, days, rules))
        if terms == Terms():
            say(f"  attacked: {attacked(done)}")
    alone = list(course(of, Course(returning=0, amended=0, cancelled=0, erased=0)))
    done = simulate(alone, rules_for(of))
    for at in ((20, 21), (20, 40), (30, 59), (15, 30, 45, 59)):
        say(f"  judge, up to days {at}: {judged(done, of, data, folder, at)}")


def line(terms: Terms, told: dict[str, float]) -> None:
    """A line of the frontier."""
    name = f"delay {terms.delay}, loss {terms.threshold:g}, worth {terms.worth:g}, ceiling {terms.ceiling:g}"
    say(
        f"{name:<40}{told['ncp']:>8.4f}{told['price']:>7.3f}{told['ncp_first']:>8.4f}{told['ncp_returning']:>8.4f}"
        f"{told['suppressed_first']:>9.0f}{told['suppressed_once']:>8.3%}{told['returning_published']:>8.1%}"
        f"{told['median']:>5.0f}{told['p95']:>5.0f}{told['pool']:>7.0f}"
        f"{told['cpu_early']:>6.2f}{told['cpu_late']:>6.2f}"
    )
