"""Classes made anew from a pool: grown one by one from a start, with gifts of neighbouring homes. Compiled; pure.

Nothing here changes the classes: a proposal is laid out on a bench, and `search` decides whether it is carried out.
Start and growth look at quasi-identifiers alone. Sensitive values veto (a gift that a home cannot spare, a unit that a
class cannot take), and let a class grow that is not yet diverse (repair).
"""

from __future__ import annotations

import numpy as np

from governance.anonymisation.bench import (
    AFTER,
    BEFORE,
    BUILT,
    GIFTS,
    GIVING,
    GONE,
    JOINED,
    MADE,
    NOISE,
    OUTSIDE,
    POOL,
    Bench,
    drop,
    is_gone,
    is_joined,
    join,
)
from governance.anonymisation.classes import NONE, Classes, Problem, absorb, dissolve, found, settle, take, unsettle
from governance.anonymisation.compiled import below, chance, tight
from governance.anonymisation.diversity import adds, diverse, diverse_with, diverse_without
from governance.anonymisation.losses import box_loss, joined_loss, narrow, widen

HOPS = 4  # classes of a neighbouring tuple that are looked at


@tight
def rebuild(problem: Problem, now: Classes, work: Bench) -> bool:
    """Find a place for the whole pool. False when there is none that holds the model."""
    rows = 0
    for index in range(work.counts[POOL]):
        rows += work.pool[index, 2]
    limit = work.cost[BEFORE] / max(1, rows)
    while work.counts[POOL] > 0:
        start = below(now.state, work.counts[POOL])
        if _comes_home(problem, now, work, start):
            continue
        if chance(now.state) < work.luck[OUTSIDE] and _joins_outside(problem, now, work, start, limit):
            continue
        if not grow(problem, now, work, start, True):
            return _place_rest(problem, now, work) and _all_diverse(problem, work)
    return _all_diverse(problem, work)


@tight
def grow(problem: Problem, now: Classes, work: Bench, start: int, cuts: bool) -> bool:
    """Make a class around one unit of the pool. False when pool and gifts do not suffice: then the class is left open.

    `cuts`: whether a unit may be cut in two when a class needs only a part of it.
    """
    made, begin = work.counts[MADE], work.counts[BUILT]
    work.border[made], work.border[made + 1] = begin, begin
    work.mass[made], work.loss[made] = 0, 0.0
    origin = problem.tuple_of[work.pool[start, 0]]
    narrow(work.low, work.high, made, problem.codes, origin)
    _add_from_pool(problem, work, start, work.pool[start, 1])
    size = work.built[begin, 1]
    while size < problem.k or not diverse(problem, work.built[begin : work.counts[BUILT]]):
        need = max(problem.k - size, 0)
        unit, price = _cheapest_of_pool(problem, now, work, need)
        giver, gift_price = _cheapest_gift(problem, now, work, origin)
        if giver != NONE and gift_price < price:
            given = _accept_gift(problem, now, work, giver, max(need, 1))
            if given == 0:
                work.luck[GIVING] = 0.0
            size += given
        elif unit != NONE:
            size += _add_from_pool(problem, work, unit, _portion(now, work.pool[unit, 1], need, cuts))
        else:
            return False
    work.counts[MADE] = made + 1
    work.cost[AFTER] += work.mass[made] * work.loss[made]
    return True


@tight
def _portion(now: Classes, people: int, need: int, cuts: bool) -> int:
    """How many of a unit's people a class takes: all, or sometimes only those that it needs."""
    if cuts and 0 < need < people and chance(now.state) < 0.7:
        return need
    if cuts and need == 0 and people > 1:
        return 1 + below(now.state, people)
    return people


@tight
def _add_from_pool(problem: Problem, work: Bench, index: int, people: int) -> int:
    """Move people of a unit of the pool into the open class."""
    cell, all_people, rows = work.pool[index, 0], work.pool[index, 1], work.pool[index, 2]
    if people == all_people:
        drop(work, index)
        _append(problem, work, (cell, people, rows), 0)
    else:
        work.pool[index, 1] -= people
        work.pool[index, 2] -= people
        _append(problem, work, (cell, people, people), 0)
    return people


@tight
def _append(problem: Problem, work: Bench, unit: tuple[int, int, int], gift: int) -> None:
    made, end = work.counts[MADE], work.counts[BUILT]
    work.built[end, 0], work.built[end, 1], work.built[end, 2], work.built[end, 3] = unit[0], unit[1], unit[2], gift
    work.counts[BUILT] = end + 1
    work.border[made + 1] = end + 1
    widen(work.low, work.high, made, problem.codes, problem.tuple_of[unit[0]])
    work.mass[made] += unit[2]
    work.loss[made] = box_loss(problem.losses, work.low, work.high, made)


@tight
def _cheapest_of_pool(problem: Problem, now: Classes, work: Bench, need: int) -> tuple[int, float]:
    """The unit that makes the open class lose least more, give or take some luck."""
    made, best, least = work.counts[MADE], NONE, np.inf
    mine = work.built[work.border[made] : work.counts[BUILT]]
    picky = need == 0 and problem.entropy <= 0
    for index in range(work.counts[POOL]):
        cell = work.pool[index, 0]
        if picky and not adds(problem, mine, cell):
            continue
        more = joined_loss(problem.losses, work.low, work.high, problem.codes, (made, problem.tuple_of[cell]))
        price = (more - work.loss[made]) * (1 + work.luck[NOISE] * (chance(now.state) - 0.5))
        price -= 1e-6 * min(work.pool[index, 1], max(need, 1))
        if price < least:
            best, least = index, price
    return best, least


@tight
def _cheapest_gift(problem: Problem, now: Classes, work: Bench, origin: int) -> tuple[int, float]:
    """The neighbouring home whose people would cost least: they lose what they did not, unlike those of the pool."""
    made, best, least = work.counts[MADE], NONE, np.inf
    if work.luck[GIVING] == 0.0:
        return best, least
    for index in range(problem.near.shape[1]):
        tuple_ = problem.near[origin, index]
        if tuple_ == NONE:
            break
        home = now.home[tuple_]
        if home == NONE or now.size[home] <= problem.k or is_gone(work, home):
            continue
        loss = joined_loss(problem.losses, work.low, work.high, problem.codes, (made, tuple_))
        price = loss - work.loss[made]
        if work.counts[POOL] > 0:
            price = (price + 0.5 * loss) * (1 + work.luck[NOISE] * (chance(now.state) - 0.5))
        if price < least:
            best, least = home, price
    return best, least


@tight
def _accept_gift(problem: Problem, now: Classes, work: Bench, home: int, need: int) -> int:
    """Take people from one unit of a home, as many as are needed and it can spare; how many that is."""
    unit = now.first[home]
    for _ in range(below(now.state, now.units[home])):
        unit = now.after[unit]
    given, of_unit = 0, 0
    for index in range(work.counts[GIFTS]):
        if now.owner[work.gifts[index, 0]] == home:
            given += work.gifts[index, 1]
            of_unit += work.gifts[index, 1] if work.gifts[index, 0] == unit else 0
    people = min(need, now.size[home] - problem.k - given, now.people[unit] - of_unit)
    if people <= 0 or work.counts[GIFTS] >= len(work.gifts) or work.counts[BUILT] + 2 >= len(work.built) // 2:
        return 0
    rows = now.rows[unit] - of_unit if people == now.people[unit] - of_unit else people
    if problem.sensitive.shape[1] > 0 and (
        given > 0
        or not diverse_without(problem, now, unit, rows, work.paper)
        or (problem.entropy > 0 and is_joined(work, home))
    ):
        return 0
    gift = work.counts[GIFTS]
    work.gifts[gift, 0], work.gifts[gift, 1], work.gifts[gift, 2] = unit, people, rows
    work.counts[GIFTS] += 1
    _append(problem, work, (now.cell[unit], people, rows), 1)
    return people


@tight
def _comes_home(problem: Problem, now: Classes, work: Bench, index: int) -> bool:
    """Whether the tuple of a unit has a home that stays: there it loses nothing."""
    home = now.home[problem.tuple_of[work.pool[index, 0]]]
    if home == NONE or problem.entropy > 0 or is_gone(work, home):
        return False
    join(work, home, index)
    return True


@tight
def _joins_outside(problem: Problem, now: Classes, work: Bench, index: int, limit: float) -> bool:
    """Whether a unit joins a class that stays, at little more than what its rows lost on average."""
    one, price = nearest_class(problem, now, work, index)
    if one == NONE or price > 1.3 * limit * work.pool[index, 2]:
        return False
    work.cost[AFTER] += price
    join(work, one, index)
    return True


@tight
def nearest_class(problem: Problem, now: Classes, work: Bench, index: int) -> tuple[int, float]:
    """The class in the neighbourhood, untouched so far, in which a unit of the pool costs least, and what it costs."""
    tuple_, rows = problem.tuple_of[work.pool[index, 0]], work.pool[index, 2]
    best, least = NONE, np.inf
    for place in range(-1, problem.near.shape[1]):
        other = tuple_ if place < 0 else problem.near[tuple_, place]
        if other == NONE:
            break
        unit, hops = now.first_of_tuple[other], 0
        while unit != NONE and hops < HOPS:
            one = now.owner[unit]
            unit = now.after_of_tuple[unit]
            hops += 1
            if (now.loss[one] == 0 and problem.entropy <= 0) or is_gone(work, one) or is_joined(work, one):
                continue
            loss = joined_loss(problem.losses, now.low, now.high, problem.codes, (one, tuple_))
            price = (now.mass[one] + rows) * loss - now.mass[one] * now.loss[one]
            if price < least and diverse_with(problem, now, one, work.pool[index], work.paper):
                best, least = one, price
    return best, least


@tight
def reopen(work: Bench) -> None:
    """Put the units of a class that could not be closed back into the pool, and give its gifts back."""
    begin = work.border[work.counts[MADE]]
    for index in range(begin, work.counts[BUILT]):
        if work.built[index, 3] == 1:
            work.counts[GIFTS] -= 1
            continue
        for part in range(3):
            work.pool[work.counts[POOL], part] = work.built[index, part]
        work.counts[POOL] += 1
    work.counts[BUILT] = begin


@tight
def _place_rest(problem: Problem, now: Classes, work: Bench) -> bool:
    """Place what is left of the pool unit by unit, in new classes or in those around."""
    reopen(work)
    while work.counts[POOL] > 0:
        index = work.counts[POOL] - 1
        outside, price = nearest_class(problem, now, work, index)
        tuple_, rows = problem.tuple_of[work.pool[index, 0]], work.pool[index, 2]
        inside = NONE
        for made in range(work.counts[MADE]):
            loss = joined_loss(problem.losses, work.low, work.high, problem.codes, (made, tuple_))
            more = (work.mass[made] + rows) * loss - work.mass[made] * work.loss[made]
            if more < price:
                inside, price = made, more
        if inside == NONE and outside == NONE:
            return False
        work.cost[AFTER] += price
        if inside == NONE:
            join(work, outside, index)
        else:
            _insert(problem, work, inside, index)
    return True


@tight
def _insert(problem: Problem, work: Bench, made: int, index: int) -> None:
    """Add the last unit of the pool to a new class that is closed."""
    at = work.border[made + 1]
    for place in range(work.counts[BUILT], at, -1):
        for part in range(3):
            work.built[place, part] = work.built[place - 1, part]
    for part in range(3):
        work.built[at, part] = work.pool[index, part]
    for later in range(made + 1, work.counts[MADE] + 1):
        work.border[later] += 1
    work.counts[BUILT] += 1
    work.counts[POOL] -= 1
    widen(work.low, work.high, made, problem.codes, problem.tuple_of[work.built[at, 0]])
    work.mass[made] += work.built[at, 2]
    work.loss[made] = box_loss(problem.losses, work.low, work.high, made)


@tight
def _all_diverse(problem: Problem, work: Bench) -> bool:
    """Whether what joined a closed class left it diverse: it may have lost entropy."""
    if problem.entropy > 0:
        for made in range(work.counts[MADE]):
            if not diverse(problem, work.built[work.border[made] : work.border[made + 1]]):
                return False
    return True


@tight
def carry_out(problem: Problem, now: Classes, work: Bench) -> None:
    """Make the proposal on the bench true."""
    for index in range(work.counts[GONE]):
        dissolve(problem, now, work.gone[index])
    for index in range(work.counts[GIFTS]):
        unit = work.gifts[index, 0]
        home = now.owner[unit]
        unsettle(now, home)
        take(problem, now, unit, work.gifts[index, 1], work.gifts[index, 2])
        settle(problem, now, home)
    for index in range(work.counts[JOINED]):
        unit = (work.joined[index, 1], work.joined[index, 2], work.joined[index, 3])
        absorb(problem, now, work.joined[index, 0], unit)
    for made in range(work.counts[MADE]):
        found(problem, now, work.built[work.border[made] : work.border[made + 1]])
