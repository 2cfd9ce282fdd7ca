"""Local recoding by search: a first set of classes, then neighbouring classes dissolved and rebuilt. Compiled; pure.

Simulated annealing over large neighbourhoods (Pisinger & Ropke 2010): a step dissolves two or more neighbouring classes
and rebuilds them; what loses less is kept, and early on sometimes what loses more. Tuples of k people and more start in
classes of their own, exact, whose surplus people are gifts for their neighbours. Chances come from the seed alone, and
the sensitive columns are looked at only where `rebuilding` says so.
"""

from __future__ import annotations

import numpy as np

from governance.anonymisation.beginning import begin
from governance.anonymisation.bench import (
    AFTER,
    BEFORE,
    GIVING,
    GONE,
    NOISE,
    OUTSIDE,
    POOL,
    Bench,
    bench,
    clear,
    is_gone,
    pour,
)
from governance.anonymisation.classes import LOSSY, NONE, Classes, Problem
from governance.anonymisation.compiled import below, chance, tight
from governance.anonymisation.rebuilding import carry_out, rebuild

MOST_DISSOLVED = 4
HOTTEST, COLDEST = 0.5, 0.01  # temperatures, in units of what a class loses on average
TRIES = 8


def recode(problem: Problem, now: Classes, outliers_first: np.ndarray, steps: int) -> None:
    """Search for classes of little loss: first ones, then `steps` steps of improvement.

    `outliers_first`: the tuples, those far from all others first. Afterwards every cell's rows are in classes of at
    least k people and diverse values, as long as the table as a whole is so.
    """
    work = bench(problem, 64 + 8 * MOST_DISSOLVED * max(problem.k, problem.l))
    begin(problem, now, work, outliers_first)
    per_class = steps / max(1, now.counts[LOSSY])
    mean = now.cost[0] / max(1, now.counts[LOSSY])
    hot = mean * min(HOTTEST, 0.05 * np.sqrt(per_class))
    anneal(problem, now, work, steps, (max(hot, mean * COLDEST), mean * COLDEST))


@tight
def anneal(problem: Problem, now: Classes, work: Bench, steps: int, heat: tuple[float, float]) -> None:
    """Take steps while the temperature falls from the first to the second."""
    for step in range(steps):
        if now.counts[LOSSY] == 0:
            return
        clear(work)
        _choose(problem, now, work)
        if not _gather(problem, now, work):
            continue
        work.luck[NOISE] = 0.6 * chance(now.state)
        work.luck[GIVING] = 1.0 if chance(now.state) < 0.8 else 0.0
        work.luck[OUTSIDE] = 0.4 if chance(now.state) < 0.5 else 0.0
        if not rebuild(problem, now, work):
            continue
        worse = work.cost[AFTER] - work.cost[BEFORE]
        if worse <= 0 or chance(now.state) < np.exp(-worse / (heat[0] * (heat[1] / heat[0]) ** (step / steps))):
            carry_out(problem, now, work)


@tight
def _choose(problem: Problem, now: Classes, work: Bench) -> None:
    """Choose a class that loses something, and classes of tuples that lie near its own."""
    work.gone[0] = now.lossy[below(now.state, now.counts[LOSSY])]
    work.counts[GONE] = 1
    wanted = 2 + below(now.state, MOST_DISSOLVED - 1)
    for _ in range(TRIES):
        if work.counts[GONE] == wanted:
            return
        one = _beside(problem, now, work.gone[below(now.state, work.counts[GONE])])
        if one != NONE and _may_dissolve(problem, now, one) and not is_gone(work, one):
            work.gone[work.counts[GONE]] = one
            work.counts[GONE] += 1


@tight
def _beside(problem: Problem, now: Classes, one: int) -> int:
    """A class that holds a neighbour of some tuple of this class; nearer ones are likelier."""
    unit = now.first[one]
    for _ in range(below(now.state, now.units[one])):
        unit = now.after[unit]
    luck = chance(now.state)
    near = problem.near[problem.tuple_of[now.cell[unit]], int(luck * luck * problem.near.shape[1])]
    if near == NONE or now.first_of_tuple[near] == NONE:
        return NONE
    other = now.first_of_tuple[near]
    for _ in range(below(now.state, 4)):
        if now.after_of_tuple[other] != NONE:
            other = now.after_of_tuple[other]
    return now.owner[other]


@tight
def _may_dissolve(problem: Problem, now: Classes, one: int) -> bool:
    """A large class, or an exact one with much to give, stays: it costs time and never pays."""
    most = (2 if now.loss[one] == 0 else 4) * problem.k
    return now.size[one] < most and now.units[one] <= 8 * max(problem.k, problem.l)


@tight
def _gather(problem: Problem, now: Classes, work: Bench) -> bool:
    """Lay the units of the chosen classes into the pool. False when they are too many."""
    for index in range(work.counts[GONE]):
        one = work.gone[index]
        work.cost[BEFORE] += now.mass[one] * now.loss[one]
        unit = now.first[one]
        while unit != NONE:
            if work.counts[POOL] == len(work.pool) // 2:
                return False
            pour(work, now.cell[unit], now.people[unit], now.rows[unit])
            unit = now.after[unit]
    return True
