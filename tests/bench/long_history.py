"""What a day's release and the attack on it cost after ten million released rows, beside a short history.

The rows are those of simulated releases, again and again, of people who never come back; so both histories give the
same answers, and only their length differs. GOVERNANCE_BENCH_RELEASED_ROWS=0 leaves it out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.measuring import say
from governance.anonymisation.composition import History
from governance.anonymisation.daily import Rules, release
from governance.anonymisation.signatures import Ledger, nobody

if TYPE_CHECKING:
    from bench.releases import Simulated

ROWS = int(os.environ.get("GOVERNANCE_BENCH_RELEASED_ROWS", "10_000_000"))
TIMES = 5


def main(done: Simulated, rules: Rules) -> None:
    """Time the last day, after the days before it alone and after many rows more."""
    if not ROWS:
        return
    day = len(done.released) - 1
    strangers = Ledger(np.arange(ROWS, dtype=np.uint64), np.ones((ROWS, 1), dtype=np.uint64))
    known = nobody(rules.widths)
    for one in done.released[:day]:
        known = known.joined(one.remembered)
    short, long_ = History(done.history.values, done.history.k), History(done.history.values, done.history.k)
    came, number = 0, 0
    began = time.process_time()
    while came < ROWS:
        one = done.history.releases[10 + number % (day - 10)]
        person = np.arange(came, came + one.person.size, dtype=np.uint64)
        long_.add(replace(one, person=person))
        came, number = came + one.person.size, number + 1
    indexed = time.process_time() - began
    for one in done.history.releases:
        short.add(one)
        long_.add(one)
    everybody = known.joined(strangers)
    say(f"{'A DAY AFTER A HISTORY OF':<40}{'ROWS':>12}{'RELEASE S':>12}{'ATTACK S':>12}")
    for name, history, ledger in (("short", short, known), ("long", long_, everybody)):
        rows = sum(one.person.size for one in history.releases)
        released = _least(lambda of=ledger: release(done.pools[day], of, rules, day, 1))  # type: ignore[misc]
        say(f"{name:<40}{rows:>12,}{released:>12.3f}{_least(history.touched):>12.4f}")
    if short.touched() != long_.touched():
        raise SystemExit("the two histories give different answers")
    say(f"  to index a day of {came // number} rows: {indexed / number:.5f} s on average")


def _least(what: Callable[[], object]) -> float:
    """CPU seconds, the least of several times."""
    found = []
    for _ in range(TIMES):
        began = time.process_time()
        what()
        found.append(time.process_time() - began)
    return min(found)
