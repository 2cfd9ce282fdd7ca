"""The release model part of `make bench`: sixty days of bookings, released day by day, attacked, and what that costs.

The price is the loss (NCP) of the rows that were published over that of one release of the rows of `delay` + 1 days at
once, with the same k, l and steps per row, the mean of several such pools; the first ten days, while the pool fills,
are left out of both. Frontiers are of one seed; the defaults with k = 5 and policy's terms with policy's k are measured
on others too. Then days of the project's own sample, with price bands as a sensitive column and as a quasi-identifier;
what attackers get (`attacking`); and a long history (`long_history`). GOVERNANCE_REFERENCE_DATA names the folder of the
public data.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from bench import attacking, long_history, sampled
from bench.days import SENSITIVE, Course, Day, People, course, people
from bench.measuring import say
from governance import policy as policies
from governance.anonymisation.composition import History, Published
from governance.anonymisation.daily import HELD, PUBLISHED, SUPPRESSED, Pool, Release, Rules, Terms, release
from governance.anonymisation.recoding import Protection
from governance.anonymisation.signatures import nobody

FILLING = 10  # days until the pool is full
FRONTIER = (
    Terms(threshold=0.01), Terms(threshold=0.05), Terms(threshold=0.01, ceiling=0.35), Terms(ceiling=0.45),
    Terms(ceiling=0.5), Terms(ceiling=1.0), Terms(worth=0.0), Terms(worth=0.1), Terms(worth=0.4), Terms(delay=3),
    Terms(delay=5), Terms(delay=10),
)  # fmt: skip
SEEDS = (7, 11, 23)  # the first one for the frontier
POLICY = policies.load()
POLICY_K = int(POLICY.value("k"))
POLICY_TERMS = Terms(**POLICY.value("bookings_release"))
CHANGES: tuple[dict[str, float], ...] = (
    {"threshold": 0.02}, {"threshold": 0.05}, {"ceiling": 0.5}, {"ceiling": 0.7}, {"worth": 0.2}, {"worth": 0.4},
    {"worth": 0.8},
)  # fmt: skip
FRONTIER_OF_POLICY = tuple(Terms(**asdict(POLICY_TERMS) | change) for change in CHANGES)
SAMPLE_DAYS, SAMPLE_ROWS = 20, 2300


@dataclass
class Simulated:
    """What became of all rows."""

    histories: list[History]  # by sensitive column
    released: list[Release] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows_of: Counter[int] = field(default_factory=Counter)
    gone: int = 0  # rows replaced or erased while they were held
    came: int = 0
    held: int = 0  # at the end
    filling: int = FILLING

    @property
    def history(self) -> History:
        """As the first sensitive column has it."""
        return self.histories[0]

    def of_rows(self, fate: int) -> tuple[np.ndarray, ...]:
        """Of rows of a fate, after the pool has filled: person, delay, whether returning, loss (0 unless published)."""
        found = []
        for day, (one, pool) in enumerate(zip(self.released, self.pools, strict=True)):
            some = np.flatnonzero(one.fate == fate) if day >= self.filling else np.zeros(0, dtype=np.int64)
            loss = one.loss[one.owner[some]] if fate == PUBLISHED else np.zeros(some.size)
            found.append((pool.person[some], day - pool.day[some], one.returning[some], loss))
        return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def simulate(days: Iterable[Day], rules: Rules, seed: int = 1) -> Simulated:
    """Release day by day."""
    known, held = nobody(rules.widths), None
    done = Simulated([History(width, rules.protection.k) for width in rules.widths])
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
        for column, history in enumerate(done.histories):
            values = pool.values[out, column]
            history.add(Published(one.low, one.high, one.owner[out], pool.person[out], pool.codes[out], values))
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


def reference(days: list[Day], rules: Rules) -> float:
    """What one release of several pools loses; the same for all terms of one delay."""
    return float(np.mean([one_shot(days, rules, at) for at in range(FILLING + 5, len(days), 10)]))


def figures(done: Simulated, least: float) -> dict[str, float]:
    """What is reported of a simulation. `least`: the loss of the pools that it is compared with."""
    person, delay, returning, loss = done.of_rows(PUBLISHED)
    lost, _, lost_returning, _ = done.of_rows(SUPPRESSED)
    once = {person for person, rows in done.rows_of.items() if rows == 1}
    is_once = np.array([one in once for one in lost.tolist()], dtype=bool)
    seen_once = sum(one in once for one in person.tolist())
    return {
        "ncp": float(loss.mean()), "price": float(loss.mean()) / least, "reference": least,
        "ncp_first": float(loss[~returning].mean()),
        "ncp_returning": float(loss[returning].mean()) if returning.any() else 0.0,
        "suppressed_first": int((~lost_returning).sum()),
        "suppressed_once": float(is_once.sum()) / max(1, seen_once + is_once.sum()),
        "returning_published": float(returning.sum()) / max(1, returning.sum() + lost_returning.sum()),
        "median": float(np.median(delay)), "p95": float(np.percentile(delay, 95)),
        "pool": float(np.mean([len(pool.row) for pool in done.pools[done.filling :]])),
        "cpu_early": float(np.mean(done.seconds[done.filling : done.filling + 10])),
        "cpu_late": float(np.mean(done.seconds[-10:])),
    }  # fmt: skip


def rules_for(of: People, k: int = 5, terms: Terms | None = None) -> Rules:
    """k people and two values."""
    return Rules(of.domains, {SENSITIVE: of.values}, Protection(k, 2), terms or Terms())


def main(folder: Path) -> None:
    """The frontier, the attacks, the judge, and a cost that does not follow history."""
    named = os.environ.get("GOVERNANCE_REFERENCE_DATA")
    if not named:
        say("releases: GOVERNANCE_REFERENCE_DATA names no folder with the public files; nothing measured")
        return
    data = Path(named) / "anonymity"
    folder.mkdir(parents=True, exist_ok=True)
    of = people(data / "data" / "adult.csv", data / "data" / "hierarchies")
    say(f"{'RELEASES OF 60 DAYS, K=5, L=2':<40}{'NCP':>8}{'PRICE':>7}{'FIRST':>8}{'AGAIN':>8}{'SUPPR.1':>9}{'ONCE':>8}"
        f"{'AGAIN%':>8}{'MED':>5}{'P95':>5}{'POOL':>7}{'CPU S':>12}")  # fmt: skip
    done = measured(of, SEEDS[0], 5)
    say(f"  attacked: {attacking.worst(done.histories)}")
    for seed in SEEDS[1:]:
        measured(of, seed, 5)
    for seed in SEEDS:
        say(f"  attacked: {attacking.worst(measured(of, seed, POLICY_K, POLICY_TERMS).histories)}")
    frontier(of, 5, FRONTIER)
    frontier(of, POLICY_K, FRONTIER_OF_POLICY)
    of_sample()
    alone = list(course(of, Course(returning=0, amended=0, cancelled=0, erased=0)))
    attacking.judge(simulate(alone, rules_for(of)), of, data, folder)
    long_history.main(done, rules_for(of))


def measured(of: People, seed: int, k: int, terms: Terms | None = None) -> Simulated:
    """Terms, or else the defaults, on a course of days."""
    days, rules = list(course(of, Course(seed=seed))), rules_for(of, k=k, terms=terms)
    done = simulate(days, rules)
    line(f"{'policy' if terms else 'defaults'}, k={k}, seed {seed}", figures(done, reference(days, rules)))
    return done


def frontier(of: People, k: int, every: Iterable[Terms]) -> None:
    """Threshold, delay, worth and ceiling, one at a time."""
    days, least = list(course(of, Course(seed=SEEDS[0]))), dict[int, float]()
    for terms in every:
        rules = rules_for(of, k=k, terms=terms)
        least[terms.delay] = least.get(terms.delay) or reference(days, rules)
        name = f"k {k}, delay {terms.delay}, loss {terms.threshold:g}, worth {terms.worth:g}, ceiling {terms.ceiling:g}"
        line(name, figures(simulate(days, rules), least[terms.delay]))


def of_sample() -> None:
    """The project's own bookings, which have two sensitive columns, or one."""
    for price in ("sensitive", "quasi_identifier"):
        of = sampled.sample(SAMPLE_DAYS, SAMPLE_ROWS, price)
        rules = of.rules(POLICY_K, POLICY_TERMS)
        done = simulate(of.days, rules)
        pools = range(FILLING, SAMPLE_DAYS, 5)
        least = float(np.mean([one_shot(of.days, rules, at) for at in pools]))
        line(f"own sample, k={POLICY_K}, price {price}", figures(done, least))
        rows = done.came - done.gone
        fates = [sum(int((one.fate == fate).sum()) for one in done.released) for fate in (PUBLISHED, SUPPRESSED)]
        say(f"  of {rows:,} rows published {fates[0] / rows:.1%}, suppressed {fates[1] / rows:.1%}, "
            f"held at the end {done.held / rows:.1%}; attacked: {attacking.worst(done.histories)}")  # fmt: skip


def line(name: str, told: dict[str, float]) -> None:
    """A line of the frontier."""
    say(
        f"{name:<40}{told['ncp']:>8.4f}{told['price']:>7.3f}{told['ncp_first']:>8.4f}{told['ncp_returning']:>8.4f}"
        f"{told['suppressed_first']:>9.0f}{told['suppressed_once']:>8.3%}{told['returning_published']:>8.1%}"
        f"{told['median']:>5.0f}{told['p95']:>5.0f}{told['pool']:>7.0f}"
        f"{told['cpu_early']:>6.2f}{told['cpu_late']:>6.2f}"
    )
