"""Classes for t-closeness: dealt quotas of sensitive values, then searched by rows changing places. Compiled; pure.

Where a class has to look like the whole table (Li 2007), no class of neighbours does by itself. So all rows are lined
up such that every value comes at even intervals, and the line is cut as soon as the piece holds k, l and t: that
decides how many rows of each value a class has at first, and nothing else. Which rows these are is then searched for:
two rows change places when their classes lose less, and early on sometimes more; rows of unlike values only where
both classes hold k, l and t afterwards.

What is left open: quotas look at the sensitive column. The sizes of classes and their shares follow from the shares of
the whole table, which are published anyway; that two rows of unlike values were not let change places tells an
attacker, who knows the seed and the rest of the table, something about them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from governance.anonymisation.compiled import below, chance, generator, tight
from governance.anonymisation.losses import Losses, pair_loss
from governance.anonymisation.neighbours import orders
from governance.anonymisation.search import Told, parts

MOST_ORDERS = 12
HOTTEST, COLDEST = 0.02, 0.001  # temperatures, in units of what a class loses on average
REACH = 24
SURCHARGE = 2.0  # columns' worth, for a class that keeps nothing at all: its rows might as well not be published
ANY_KIND = 0.3

SWAPS_PER_STEP = 48  # swaps tried for each step of effort: one takes much less time, and with t there is more to gain


class Quotas(NamedTuple):
    """What every class must hold, as arrays: by sensitive column, one behind the other."""

    begin: np.ndarray  # int64 per column and one more: where its values begin in `whole`
    whole: np.ndarray  # float64 per value: its share of the table
    ordered: np.ndarray  # bool per column: whether its values have an order, that of their numbers
    k: int
    l: int  # noqa: E741
    entropy: float
    t: float


class Table(NamedTuple):
    """Rows, one by one, and the classes they are in."""

    losses: Losses
    codes: np.ndarray  # int32, tuples by columns
    tuple_of: np.ndarray  # int32 per row
    kind: np.ndarray  # int32 per place: sensitive values of who stands there, and whether it counts as a person
    owner: np.ndarray  # int32 per row: its class
    place: np.ndarray  # int32 per row: where it stands in `member`
    member: np.ndarray  # int32: rows by class
    seat: np.ndarray  # int32, columns by places: the codes of who stands there
    begin: np.ndarray  # int64 per class and one more: where it begins in `member`
    rank: np.ndarray  # int32, orders by tuples
    sorted: np.ndarray  # int32, orders by twice the rows: rows by kind, then by rank; then all rows by rank
    first: np.ndarray  # int64 per kind, for all, and one more: where it begins in `sorted`


def deal(values: np.ndarray, counted: np.ndarray, rows: np.ndarray, quotas: Quotas) -> tuple[np.ndarray, np.ndarray]:
    """Cut the line: the kind of every place in it, and where each class begins (one more at the end).

    `values`: int64, kinds by sensitive columns, places in `quotas.whole`; `counted`, `rows`: per kind. The whole table
    must hold the quotas: the last piece is joined to those before it until it does.
    """
    kind = np.repeat(np.arange(len(rows)), rows)
    within = np.arange(kind.size) - np.repeat(np.cumsum(rows) - rows, rows)
    line = kind[np.argsort((within + 0.5) / rows[kind], kind="stable")]
    cuts = np.zeros(kind.size + 1, dtype=np.int64)
    pieces = _cut(line, values, counted, quotas, cuts)
    begin = cuts[: pieces + 1].copy()
    begin[-1] = kind.size
    while len(begin) > 2 and not _holds_piece(line, values, counted, quotas, (begin[-2], begin[-1])):
        begin = np.delete(begin, -2)
    return line, begin


@tight
def _cut(line: np.ndarray, values: np.ndarray, counted: np.ndarray, quotas: Quotas, cuts: np.ndarray) -> int:
    """Write down where pieces end; how many there are. What is left behind the last one belongs to it."""
    pieces, begin = 0, 0
    for end in range(1, line.size + 1):
        if end - begin >= quotas.k and _holds_piece(line, values, counted, quotas, (begin, end)):
            pieces += 1
            cuts[pieces] = begin = end
    return max(pieces, 1)


@tight
def _holds_piece(
    line: np.ndarray, values: np.ndarray, counted: np.ndarray, quotas: Quotas, piece: tuple[int, int]
) -> bool:
    """Whether a piece of the line is a class that holds k, l and t."""
    begin, end = piece
    people = 0
    for at in range(begin, end):
        people += counted[line[at]]
    if people < quotas.k:
        return False
    for column in range(quotas.ordered.size):  # noqa: SIM110 -- compiled code knows no generators
        if not _holds_column(line, values, quotas, piece, column):
            return False
    return True


@tight
def _holds_column(line: np.ndarray, values: np.ndarray, quotas: Quotas, piece: tuple[int, int], column: int) -> bool:
    begin, end = piece
    distinct, entropy, distance, crossing = 0, 0.0, 0.0, 0.0
    for value in range(quotas.begin[column], quotas.begin[column + 1]):
        count = 0
        for at in range(begin, end):
            count += values[line[at], column] == value
        share = count / (end - begin)
        if count > 0:
            distinct += 1
            entropy -= share * np.log(share)
        crossing = crossing + share - quotas.whole[value] if quotas.ordered[column] else share - quotas.whole[value]
        distance += abs(crossing)
    steps = max(1, quotas.begin[column + 1] - quotas.begin[column] - 1) if quotas.ordered[column] else 2
    return distance / steps <= quotas.t + 1e-12 and distinct >= quotas.l and entropy >= quotas.entropy - 1e-12


def seated(
    tuples: tuple[Losses, np.ndarray], tuple_of: np.ndarray, kind: np.ndarray, dealt: tuple[np.ndarray, np.ndarray]
) -> Table:
    """Rows in the places that were dealt for their kind, near ones beside each other as far as that goes."""
    losses, codes = tuples
    line, begin = dealt
    chosen = orders(losses.width)
    chosen = [chosen[index] for index in np.unique(np.linspace(0, len(chosen) - 1, MOST_ORDERS).astype(int))]
    rank = np.empty((len(chosen), len(codes)), dtype=np.int32)
    by_rank = np.empty((len(chosen), 2 * kind.size), dtype=np.int32)
    for index, order in enumerate(chosen):
        rank[index, np.lexsort(codes.T[order[::-1]])] = np.arange(len(codes))
        by_rank[index, : kind.size] = np.lexsort((rank[index, tuple_of], kind))
        by_rank[index, kind.size :] = np.argsort(rank[index, tuple_of], kind="stable")
    member = np.empty(kind.size, dtype=np.int32)
    member[np.argsort(line, kind="stable")] = by_rank[-1, : kind.size]
    place = np.empty(kind.size, dtype=np.int32)
    place[member] = np.arange(kind.size)
    owner = np.empty(kind.size, dtype=np.int32)
    owner[member] = np.repeat(np.arange(len(begin) - 1), np.diff(begin))
    first = np.concatenate([[0], np.cumsum(np.bincount(kind)), [2 * kind.size]]).astype(np.int64)
    seat = np.ascontiguousarray(codes[tuple_of[member]].T)
    return Table(
        losses, codes, tuple_of, line.astype(np.int32), owner, place, member, seat, begin, rank, by_rank, first
    )


def improve(
    table: Table, kinds: tuple[np.ndarray, np.ndarray, Quotas], steps: int, seed: int, told: Told | None = None
) -> None:
    """Let rows of one kind change places, `steps` times SWAPS_PER_STEP, so that classes lose less."""
    classes = len(table.begin) - 1
    cost = np.zeros(classes)
    for one in range(classes):
        cost[one] = _cost(table, one)
    mean = cost.mean()
    if classes > 1 and mean > 0:
        scratch = (cost, generator(seed))
        for part in parts(steps * SWAPS_PER_STEP):
            _swap(table, kinds, scratch, part, (mean * HOTTEST, mean * COLDEST))
            if told:
                told(part[1], part[2])


@tight
def _swap(
    table: Table,
    kinds: tuple[np.ndarray, np.ndarray, Quotas],
    scratch: tuple[np.ndarray, np.ndarray],
    part: tuple[int, int, int],
    heat: tuple[float, float],
) -> None:
    cost, state = scratch
    temperature = heat[0]
    for swap in range(part[0], part[1]):
        if swap % 1024 == 0:
            temperature = heat[0] * (heat[1] / heat[0]) ** (swap / part[2])
        one = table.owner[table.member[below(state, table.member.size)]]
        outermost = _outermost(table, state, one)
        leaving = table.member[outermost]
        begin, size = table.begin[one], table.begin[one + 1] - table.begin[one]
        at = begin + (outermost - begin + 1 + below(state, max(1, size - 1))) % size
        any_kind = chance(state) < ANY_KIND
        kind = table.first.size - 2 if any_kind else table.kind[table.place[leaving]]
        coming = _candidate(table, state, table.tuple_of[table.member[at]], kind)
        other = table.owner[coming]
        if other == one or table.tuple_of[coming] == table.tuple_of[leaving]:
            continue
        _change_places(table, leaving, coming)
        mine, theirs = _cost(table, one), _cost(table, other)
        worse = mine + theirs - cost[one] - cost[other]
        taken = worse <= 0 or chance(state) < np.exp(-worse / temperature)
        if taken and any_kind:
            taken = _hold(table, kinds, one) and _hold(table, kinds, other)
        if taken:
            cost[one], cost[other] = mine, theirs
        else:
            _change_places(table, leaving, coming)


@tight
def _outermost(table: Table, state: np.ndarray, one: int) -> int:
    """The place of a row that stands at an end of its class in some column: only without it will that lose less."""
    column, side = below(state, table.seat.shape[0]), 1 if chance(state) < 0.5 else -1
    begin, size = table.begin[one], table.begin[one + 1] - table.begin[one]
    start = below(state, size)
    best = begin + start
    for step in range(1, size):
        at = begin + (start + step) % size
        if side * table.seat[column, at] > side * table.seat[column, best]:
            best = at
    return best


@tight
def _hold(table: Table, kinds: tuple[np.ndarray, np.ndarray, Quotas], one: int) -> bool:
    values, counted, quotas = kinds
    return _holds_piece(table.kind, values, counted, quotas, (table.begin[one], table.begin[one + 1]))


@tight
def _candidate(table: Table, state: np.ndarray, near: int, kind: int) -> int:
    """A row of a kind whose tuple stands near a tuple in one of the orders."""
    order = below(state, len(table.rank))
    rank = table.rank[order, near]
    low, high = table.first[kind], table.first[kind + 1]
    begin, end = low, high
    while low < high:
        middle = (low + high) // 2
        if table.rank[order, table.tuple_of[table.sorted[order, middle]]] < rank:
            low = middle + 1
        else:
            high = middle
    luck = 2 * chance(state) - 1
    return table.sorted[order, min(max(low + int(REACH * luck * luck * luck), begin), end - 1)]


@tight
def _change_places(table: Table, one: int, other: int) -> None:
    here, there = table.place[one], table.place[other]
    table.member[here], table.member[there] = other, one
    table.place[one], table.place[other] = there, here
    mine = table.owner[one]
    table.owner[one] = table.owner[other]
    table.owner[other] = mine
    kind = table.kind[here]
    table.kind[here] = table.kind[there]
    table.kind[there] = kind
    for column in range(table.seat.shape[0]):
        code = table.seat[column, here]
        table.seat[column, here] = table.seat[column, there]
        table.seat[column, there] = code


@tight
def _cost(table: Table, one: int) -> float:
    """What a class loses."""
    begin, end = table.begin[one], table.begin[one + 1]
    total = 0.0
    for column in range(table.seat.shape[0]):
        low = high = table.seat[column, begin]
        for at in range(begin + 1, end):
            low, high = min(low, table.seat[column, at]), max(high, table.seat[column, at])
        total += pair_loss(table.losses, column, low, high)
    if total > table.seat.shape[0] - 1e-6:
        total += _surcharge(table, begin, end)
    return total * (end - begin)


@tight
def _surcharge(table: Table, begin: int, end: int) -> float:
    """What a class costs more that keeps nothing, and more still the further it is from keeping something: the fewest
    rows that would have to leave for one column to be of one value."""
    fewest = end - begin
    for column in range(table.seat.shape[0]):
        others = 0
        for at in range(begin + 1, end):
            others += table.seat[column, at] != table.seat[column, begin]
        fewest = min(fewest, others)
    return SURCHARGE * (1 + fewest / (end - begin))
