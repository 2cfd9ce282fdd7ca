"""Singling out: predicates that a reader of the table can state, and that hold for exactly one person. Pure.

As anonymeter 1.1.0 does it (`evaluators/singling_out_evaluator.py`; Giomi et al., PoPETs 2023), on tables without
duplicates: predicates are made from the published table until so many hold for exactly one row of it, each other than
all before; they succeed when they hold for exactly one row of the original. Multivariate ones take a row and some
columns, all drawn at random: equality, and of numbers "at least" above the median of the column, "at most" up to it.
Univariate ones are least and greatest numbers and values that occur once. Chance alone: random columns, values and
operators. Against a control set of another size, successes are corrected by the model of Cohen and Nissim (2020).

What is added: cells that are generalised. Equality with a label says "one of its values"; "at least" and "at most"
speak of the end that makes the predicate narrower; a suppressed cell says nothing. A published row satisfies a
predicate when all values that it may have do. For exact values this is anonymeter's.

What differs: a missing value satisfies no comparison and is asked for as missing, of texts as a value like any other;
names and values need no escaping; attempts end after `ATTEMPTS` per attack that is asked for, or when every predicate
that there is was tried (anonymeter: after ten million); the correction is fitted to the predicates that single out, as
in 1.0.0, by least squares on a grid, and to samples of different sizes also where the control set is small. That of
1.1.0 is fitted to how many predicates there are, which never changes: whatever they were, it came to the ratio of the
sizes, so that success against a smaller control set was made smaller instead of larger, and the risk too high. Either
way a correction from a control set much smaller than the original is uncertain: take one of about the same size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, log

import numpy as np

from governance.anonymisation.cells import Cells, Tables
from governance.anonymisation.confidence import Attacks
from governance.anonymisation.containment import BATCH, Stretches, batches, bits, inside, sizes

FINITE = np.finfo(np.float64).max
ATTEMPTS = 500
SIZES, REPEATS, SMALLEST = 10, 5, 1000  # of samples of the control set


@dataclass(frozen=True)
class Predicates:
    """Predicates: ends by column; a column that is not spoken of lies between infinities."""

    low: np.ndarray  # float64, predicates by columns
    high: np.ndarray
    differ: np.ndarray | None = None  # bool: a value outside of the ends is meant

    def __len__(self) -> int:
        return len(self.low)

    def counts(self, table: Cells) -> np.ndarray:
        """How many rows of a table satisfy each."""
        found = np.zeros(len(self), dtype=np.int64)
        for part in batches(len(self), len(table)):
            differ = None if self.differ is None else self.differ[part]
            found[part] = sizes(inside((self.low[part], self.high[part]), (table.low, table.high), differ))
        return found

    def which(self, chosen: np.ndarray) -> Predicates:
        """Some of them."""
        return Predicates(self.low[chosen], self.high[chosen], None if self.differ is None else self.differ[chosen])


def singling_out(tables: Tables, columns: int, tried: int, seed: int) -> Attacks:
    """Attack with predicates over so many columns; 0 columns: with univariate ones, over one.

    Risk and bounds count all attacks that were asked for, also where fewer predicates could be made: who cannot even
    make one does not succeed with it. `stated` tells how many: where attempts ended before all were tried, a patient
    attacker would find more.
    """
    chances = np.random.Generator(np.random.PCG64(seed))
    published, original = tables.published.distinct()[0], tables.original.distinct()[0]
    made = (
        multivariate(published, min(columns, len(published.names)), tried, chances)
        if columns
        else univariate(published, tried, chances)
    )
    guessed = at_random(published, min(columns, len(published.names)) or 1, tried, chances)
    succeeded = int((made.counts(original) == 1).sum())
    by_chance = int((guessed.counts(original) == 1).sum())
    if tables.control is None:
        return Attacks(tried, succeeded, by_chance, stated=len(made))
    control = tables.control.distinct()[0]
    counted = int((made.counts(control) == 1).sum())
    of_same_size = len(control) == len(original) or not counted
    factor = 1.0 if of_same_size else _correction(control, made, len(original), chances)
    return Attacks(tried, succeeded, by_chance, tried, counted * factor, counted, len(made))


def multivariate(published: Cells, columns: int, wanted: int, chances: np.random.Generator) -> Predicates:
    """Predicates from rows of the table, over so many columns, that hold for exactly one of its rows."""
    width = len(published.names)
    found: list[np.ndarray] = []
    known: set[bytes] = set()
    if len(published) == 0:
        return Predicates(np.zeros((0, width)), np.zeros((0, width)))
    said = [saying(published, column) for column in range(width)]
    whole = bits(np.ones((1, len(published)), dtype=bool))
    for _ in range(0, min(ATTEMPTS * wanted, _enough(len(published) * comb(width, columns))), BATCH):
        rows = chances.integers(len(published), size=BATCH)
        spoken = chances.random((BATCH, width)).argsort(axis=1) < columns
        sets = np.repeat(whole, BATCH, axis=0)
        for column, one in enumerate(said):
            of = np.flatnonzero(spoken[:, column])
            sets[of] &= one.stretches.sets(one.of_row[rows[of]])
        for at in np.flatnonzero(sizes(sets) == 1):
            ends = np.array([one.ends(rows[at], bool(of)) for one, of in zip(said, spoken[at], strict=True)]).T
            if (key := ends.tobytes()) not in known:
                known.add(key)
                found.append(ends)
        if len(found) >= wanted:
            break
    made = np.array(found[:wanted]).reshape(-1, 2, width)
    return Predicates(made[:, 0], made[:, 1])


def _enough(possible: int) -> int:
    """Draws after which one of so many is still missing in one case of a thousand (the coupon collector's problem)."""
    return int(possible * (log(possible) + 7)) + 1


@dataclass(frozen=True)
class Saying:
    """What predicates say of a column: equality, and of numbers the more extreme half; per distinct cell."""

    low: np.ndarray
    high: np.ndarray
    of_row: np.ndarray
    stretches: Stretches  # and which rows satisfy it

    def ends(self, row: int, is_spoken: bool) -> tuple[float, float]:
        code = self.of_row[row]
        return (float(self.low[code]), float(self.high[code])) if is_spoken else (-np.inf, np.inf)


def saying(published: Cells, column: int) -> Saying:
    low, high = published.low[:, column], published.high[:, column]
    cells, of_row = np.unique(np.column_stack([low, high]), axis=0, return_inverse=True)
    begin, end = cells.T
    if published.numeric[column]:
        is_known = np.isfinite(begin) & np.isfinite(end)
        with np.errstate(invalid="ignore"):
            middle, middles = (begin + end) / 2, (low + high) / 2
        median = np.median(middles[np.isfinite(middles)]) if np.isfinite(middles).any() else 0.0
        begin = np.where(is_known & (middle <= median), -FINITE, begin)
        end = np.where(is_known & (middle > median), FINITE, end)
    return Saying(begin, end, of_row.ravel(), Stretches((begin, end), (low, high)))


def univariate(published: Cells, wanted: int, chances: np.random.Generator) -> Predicates:
    """Predicates on one column each, of least and greatest numbers, and of cells that occur once."""
    ends: list[tuple[int, float, float]] = []
    for column in range(len(published.names)):
        low, high = published.low[:, column], published.high[:, column]
        cells, counts = np.unique(np.column_stack([low, high]), axis=0, return_counts=True)
        once = cells[(counts == 1) & ~np.isneginf(cells[:, 0])]
        ends += [(column, float(begin), float(end)) for begin, end in once]
        known = np.isfinite(low) & np.isfinite(high)
        if published.numeric[column] and known.any():
            ends += [(column, -FINITE, float(high[known].min())), (column, float(low[known].max()), FINITE)]
    shape = (len(ends), len(published.names))
    made = Predicates(np.full(shape, -np.inf), np.full(shape, np.inf))
    for at, place in enumerate(chances.permutation(len(ends))):
        column, begin, end = ends[place]
        made.low[at, column], made.high[at, column] = begin, end
    return made.which(np.flatnonzero(made.counts(published) == 1)[:wanted])


def at_random(published: Cells, columns: int, wanted: int, chances: np.random.Generator) -> Predicates:
    """Predicates over random columns, with random values of these and random operators."""
    width = len(published.names)
    low, high = np.full((wanted, width), -np.inf), np.full((wanted, width), np.inf)
    differ = np.zeros((wanted, width), dtype=bool)
    if len(published) == 0:
        return Predicates(low, high, differ)
    spoken = chances.random((wanted, width)).argsort(axis=1) < columns
    for column in range(width):
        cells = np.unique(np.column_stack([published.low[:, column], published.high[:, column]]), axis=0)
        begin, end = cells[chances.integers(len(cells), size=wanted)].T
        is_number = published.numeric[column] & np.isfinite(begin) & np.isfinite(end)
        operator = np.where(is_number, chances.integers(6, size=wanted), chances.integers(2, size=wanted))
        differ[:, column] = (operator == 1) & spoken[:, column] & ~np.isneginf(begin)
        # equal, unequal, above, below, at least, at most
        least = np.choose(operator, [begin, begin, np.nextafter(end, np.inf), -FINITE, begin, -FINITE])
        most = np.choose(operator, [end, end, FINITE, np.nextafter(begin, -np.inf), FINITE, end])
        low[:, column] = np.where(spoken[:, column], least, -np.inf)
        high[:, column] = np.where(spoken[:, column], most, np.inf)
    return Predicates(low, high, differ)


def _correction(control: Cells, predicates: Predicates, population: int, chances: np.random.Generator) -> float:
    """By how much more predicates would single out in a control set as large as the original.

    The chance that a predicate of weight w holds for exactly one of n people is n w (1 - w)^(n - 1) (Cohen and Nissim
    2020), summed over weights up to one that is fitted to samples of the control set.
    """
    numbers = np.repeat(
        np.linspace(min(SMALLEST, (len(control) + 1) // 2), len(control), SIZES).astype(np.int64), REPEATS
    )
    samples = np.zeros((len(numbers), len(control)), dtype=bool)
    for sample, size in zip(samples, numbers, strict=True):
        sample[chances.permutation(len(control))[:size]] = True
    masks = bits(samples)
    hits = np.zeros(len(numbers), dtype=np.float64)
    for part in batches(len(predicates), len(control)):
        sets = inside((predicates.low[part], predicates.high[part]), (control.low, control.high))
        hits += [(sizes(sets & mask) == 1).sum() for mask in masks]
    weight = fitted_weight(numbers.astype(np.float64), hits)
    return float(chance_of_one(np.float64(population), weight) / chance_of_one(np.float64(len(control)), weight))


def chance_of_one(people: np.ndarray | np.float64, weight: np.ndarray | float) -> np.ndarray:
    """The chance that a predicate singles out, summed over weights from 0 to `weight`."""
    share: np.ndarray = (1 - (people * weight + 1) * np.exp(people * np.log1p(-np.asarray(weight)))) / (people + 1)
    return share


def fitted_weight(people: np.ndarray, hits: np.ndarray) -> float:
    """The weight with which the model, times any factor, is nearest to what was counted: least squares on a grid."""
    low, high = -12.0, -1e-9
    weight = 0.0
    for _ in range(4):  # each time nearer
        grid = np.linspace(low, high, 400)
        model = chance_of_one(people[:, None], 10.0 ** grid[None, :])
        scale = (model * hits[:, None]).sum(axis=0) / np.maximum((model**2).sum(axis=0), 1e-300)
        best = int(((model * scale - hits[:, None]) ** 2).sum(axis=0).argmin())
        weight = float(10.0 ** grid[best])
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    return weight
