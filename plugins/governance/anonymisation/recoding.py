"""Local recoding of a census: every row to a class of at least k people, in labels that cover it. Pure.

A row's label is the smallest box of its class, so rows of one tuple may end in classes of different labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from governance.anonymisation.census import Census, groups
from governance.anonymisation.classes import NONE, Classes, Problem, no_classes
from governance.anonymisation.dealing import Quotas, deal, improve, seated
from governance.anonymisation.domains import Domain, losses
from governance.anonymisation.losses import Losses
from governance.anonymisation.neighbours import neighbours, orders
from governance.anonymisation.search import Told, recode
from governance.errors import DisclosureError

NEIGHBOURS, MOST_NEIGHBOURS = 16, 128
DEFAULT_STEPS = 250_000


@dataclass(frozen=True)
class Protection:
    """The model of protection: what every class must hold."""

    k: int
    l: int = 1  # noqa: E741 -- distinct values of each sensitive column
    entropy_l: float = 1.0  # and an entropy as of so many equally frequent ones
    t: float | None = None  # and a distance of at most so much from the whole table
    ordered: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  # sensitive columns with the order of their values

    @property
    def looks_at_values(self) -> bool:
        """Whether it asks for anything of sensitive values."""
        return self.l > 1 or self.entropy_l > 1 or self.t is not None

    def orders(self, census: Census, sensitive: Sequence[str]) -> dict[int, np.ndarray]:
        """Per sensitive column that has an order: the place of each code in it.

        Raises DisclosureError when the table holds values that the order does not list.
        """
        found = {}
        for index, name in enumerate(sensitive):
            if name in self.ordered:
                at = census.columns.index(name)
                place = {value: place for place, value in enumerate(self.ordered[name])}
                strange = [
                    v for v, rows in zip(census.values[at], census.count(at), strict=True) if rows and v not in place
                ]
                if strange:
                    raise DisclosureError(f"column {name}: {len(strange)} values stand nowhere in its declared order")
                found[index] = np.array([place.get(value or "", 0) for value in census.values[at]])
        return found


@dataclass(frozen=True)
class Effort:
    """How long to search, and the seed of all chances."""

    steps: int = DEFAULT_STEPS
    seed: int = 1
    told: Told | None = None  # how many steps of how many are done


@dataclass(frozen=True)
class Recoding:
    """Which rows of which cell of a census are in which class, and the box of every class."""

    cell: np.ndarray  # int64 per piece: a cell of the census
    owner: np.ndarray  # int64 per piece: its class
    rows: np.ndarray  # int64 per piece
    low: np.ndarray  # int32, classes by quasi-identifiers: codes of the domains
    high: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Rows of every class."""
        return np.bincount(self.owner, self.rows, len(self.low)).astype(np.int64)

    def not_finer(self, domains: Sequence[Domain]) -> Recoding:
        """The same classes in boxes that are nowhere finer than what may be published."""
        ends = [one.ends() for one in domains]
        low = np.column_stack([first[self.low[:, at]] for at, (first, _) in enumerate(ends)]).astype(np.int32)
        high = np.column_stack([last[self.high[:, at]] for at, (_, last) in enumerate(ends)]).astype(np.int32)
        return replace(self, low=low, high=high)


def recoding(
    census: Census, codes: np.ndarray, domains: Sequence[Domain], protection: Protection, effort: Effort
) -> Recoding:
    """Recode a census. `codes`: int32, its cells by quasi-identifiers, in the domains' codes; columns of the census
    beyond these are its sensitive ones.

    Raises DisclosureError when the whole table, as one class, would not hold the model: then nothing can be published.
    """
    sensitive = census.codes[:, codes.shape[1] :]
    _require_possible(census, sensitive, protection)
    tuples, tuple_of = groups(codes)
    if protection.t is not None:
        return _closely(census, (losses(domains), tuples, tuple_of), sensitive, protection, effort)
    watched = sensitive if protection.looks_at_values else sensitive[:, :0]
    # Rows that count as a person and rows that do not are never alike: only giving away the former changes k.
    alike = np.column_stack([tuple_of, census.counted, watched]).astype(np.int32)
    cells, cell_of = groups(alike)
    rows = np.bincount(cell_of, census.rows, len(cells)).astype(np.int64)
    lost = losses(domains)
    near, distance = neighbours(tuples, lost, int(np.clip(2 * protection.k, NEIGHBOURS, MOST_NEIGHBOURS)))
    problem = Problem(
        lost, tuples, near, cells[:, 0].copy(), np.where(cells[:, 1] == 1, rows, 0), rows, cells[:, 2:].copy(),
        protection.k, protection.l, float(np.log(protection.entropy_l)),
    )  # fmt: skip
    now = no_classes(problem, effort.seed)
    outliers_first = np.argsort(-distance[:, NEIGHBOURS // 4], kind="stable")
    in_turn = (outliers_first, np.lexsort(tuples.T[orders(lost.width)[-1][::-1]]))
    recode(problem, now, in_turn, effort.steps, effort.told)
    return _spread(now, cell_of, census.rows, effort.seed)


def _closely(
    census: Census,
    tuples: tuple[Losses, np.ndarray, np.ndarray],
    sensitive: np.ndarray,
    protection: Protection,
    effort: Effort,
) -> Recoding:
    """Classes that are t-close: dealt, then improved."""
    lost, codes, tuple_of = tuples
    kinds, kind_of = groups(np.column_stack([sensitive, census.counted]))
    quotas, values = _quotas(census, kinds[:, :-1], protection)
    rows = np.bincount(kind_of, census.rows, len(kinds)).astype(np.int64)
    counted = kinds[:, -1].astype(np.int64)
    dealt = deal(values, counted, rows, quotas)
    cell = np.repeat(np.arange(len(census.rows)), census.rows)
    table = seated((lost, codes), tuple_of[cell].astype(np.int32), kind_of[cell].astype(np.int32), dealt)
    improve(table, (values, counted, quotas), effort.steps, effort.seed, effort.told)
    classes = len(table.begin) - 1
    low, high = (np.empty((classes, codes.shape[1]), dtype=np.int32) for _ in range(2))
    low[:] = np.minimum.reduceat(codes[table.tuple_of[table.member]], table.begin[:-1])
    high[:] = np.maximum.reduceat(codes[table.tuple_of[table.member]], table.begin[:-1])
    boxes, merged = groups(np.column_stack([low, high]))
    pairs, times = np.unique(np.column_stack([cell, merged[table.owner]]), axis=0, return_counts=True)
    return Recoding(pairs[:, 0], pairs[:, 1], times, boxes[:, : codes.shape[1]], boxes[:, codes.shape[1] :])


def _quotas(census: Census, kinds: np.ndarray, protection: Protection) -> tuple[Quotas, np.ndarray]:
    """What classes must hold, and the values of every kind as places in it."""
    names = census.columns[len(census.columns) - kinds.shape[1] :]
    places = protection.orders(census, names)
    begin, whole, values = [0], [], []
    for index, name in enumerate(names):
        at = census.columns.index(name)
        place = places.get(index, np.arange(len(census.values[at])))
        whole.append(np.bincount(place, census.count(at)) / census.rows.sum())
        values.append(place[kinds[:, index]] + begin[-1])
        begin.append(begin[-1] + len(whole[-1]))
    ordered = np.array([index in places for index in range(len(names))])
    entropy = float(np.log(protection.entropy_l))
    limits = (protection.k, protection.l, entropy, float(protection.t or 0))
    return Quotas(np.array(begin), np.concatenate(whole), ordered, *limits), np.column_stack(values).astype(np.int64)


def _require_possible(census: Census, sensitive: np.ndarray, protection: Protection) -> None:
    people = int(census.people.sum())
    if people < protection.k:
        raise DisclosureError(f"the table holds {people} people, policy asks for classes of {protection.k}")
    if not protection.looks_at_values:
        return
    for name, codes in zip(census.columns[-sensitive.shape[1] :], sensitive.T, strict=True):
        share = np.bincount(codes, census.rows)
        share = share[share > 0] / census.rows.sum()
        if share.size < protection.l:
            raise DisclosureError(
                f"column {name} has {share.size} values in the whole table, policy asks for {protection.l} per class"
            )
        if -(share * np.log(share)).sum() < np.log(protection.entropy_l) - 1e-12:
            raise DisclosureError(
                f"column {name}: the whole table has an entropy of l = {np.exp(-(share * np.log(share)).sum()):.2f}, "
                f"policy asks for {protection.entropy_l:g} in every class"
            )


def _spread(now: Classes, cell_of: np.ndarray, rows: np.ndarray, seed: int) -> Recoding:
    """From units of the search's cells to pieces of the census's, which are finer.

    Both divide the rows of a search's cell; laid on one line, their borders cut it into pieces. The census's cells lie
    there in an order that the seed draws, so that what a class gets of a tuple does not hang on sensitive values.
    """
    units = np.flatnonzero(now.owner != NONE)
    units = units[np.lexsort((now.owner[units], now.cell[units]))]
    luck = np.random.Generator(np.random.PCG64(seed)).random(cell_of.size)
    cells = np.lexsort((luck, cell_of))
    ends_of_units, ends_of_cells = np.cumsum(now.rows[units]), np.cumsum(rows[cells])
    ends = np.union1d(ends_of_units, ends_of_cells)
    of_unit = np.searchsorted(ends_of_units, ends)
    of_cell = np.searchsorted(ends_of_cells, ends)
    boxes = np.column_stack([now.low, now.high])[now.owner[units]]
    merged, class_of_unit = groups(boxes)  # classes of one box are one class
    columns = now.low.shape[1]
    return Recoding(
        cells[of_cell], class_of_unit[of_unit], np.diff(ends, prepend=0),
        merged[:, :columns].copy(), merged[:, columns:].copy(),
    )  # fmt: skip
