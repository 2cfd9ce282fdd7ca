"""The release of one day: which rows of the pool are published in which class, which are held, which suppressed. Pure.

The pool is the rows that are held and the new ones. Classes are made of all of them; those that lose little are
published, and those with a row that can wait no longer; the others wait for the rows of the next day. Whatever is
published is by itself k distinct people and l values, so any union of releases is a union of disjoint classes.

Disjoint rows are not disjoint people. Whoever was published before has a signature, the set of sensitive values of the
first class they were in, and joins only classes of exactly that set (m-invariance, Xiao & Tao 2007). First a class
is built round each such row, of rows of the pool, where that is cheap; then the others are classed without them. A row
whose value is not in its person's signature fits nowhere. Of a person who was never published only the oldest row of
the pool is looked at; the others wait until that one is out.

What that leaks. First-timers are classed as the engine does it (see `engine`): by quasi-identifiers, sensitive values
veto and repair. For returning people it is different: values decide who becomes their companion, and every value comes
equally often. An attacker who takes a class for one that was built so knows that its set is somebody's signature; of
who has which value in it he learns nothing. Which rows are held depends on their loss, and for returning people also on
values: that one stays away for long makes it likelier that their signature is large or rare. With t, what is close is
close to the pool; returning people are then not published at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from governance.anonymisation.census import Census, groups
from governance.anonymisation.companions import Table, companions, room, shares
from governance.anonymisation.domains import Domain, losses
from governance.anonymisation.drafts import Drafts, losses_of
from governance.anonymisation.measuring import measure
from governance.anonymisation.recoding import Effort, Protection, Recoding, recoding
from governance.anonymisation.signatures import NONE, Ledger, bits, opened
from governance.errors import DisclosureError

PUBLISHED, HELD, SUPPRESSED = 0, 1, 2
ALIKE = 1e-6  # losses are single floats


@dataclass(frozen=True)
class Pool:
    """Rows that wait to be published, today's among them."""

    row: np.ndarray  # uint64: keyed numbers of the rows, no two the same
    person: np.ndarray  # uint64: keyed numbers of the people
    codes: np.ndarray  # int32, rows by quasi-identifiers, in the domains' codes
    values: np.ndarray  # int32, rows by sensitive columns; the codes of a value never change
    day: np.ndarray  # int64: since when the row waits

    def of(self, which: np.ndarray) -> Pool:
        """Some of the rows."""
        return Pool(self.row[which], self.person[which], self.codes[which], self.values[which], self.day[which])

    def joined(self, other: Pool) -> Pool:
        """These rows and others."""
        pairs = ((self.row, other.row), (self.person, other.person), (self.codes, other.codes),
                 (self.values, other.values), (self.day, other.day))  # fmt: skip
        return Pool(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class Terms:
    """When rows are published. The defaults come from the frontier of `make bench`."""

    delay: int = 7  # days after which a row is published in any class, or suppressed
    threshold: float = 0.02  # the loss of a row up to which a class is published at once
    worth: float = 0.2  # what a class for a returning person may lose, summed over its rows
    ceiling: float = 0.48  # the loss of a row beyond which it is suppressed rather than published
    steps: int = 40  # of the search, per row of the pool


@dataclass(frozen=True)
class Rules:
    """What holds on every day."""

    domains: tuple[Domain, ...]
    sensitive: Mapping[str, Sequence[str]]  # columns and their values by code
    protection: Protection
    terms: Terms = Terms()

    @property
    def widths(self) -> tuple[int, ...]:
        """How many values each sensitive column can have."""
        return tuple(map(len, self.sensitive.values()))


@dataclass(frozen=True)
class Release:
    """What became of the rows of a pool."""

    fate: np.ndarray  # int8 per row: PUBLISHED, HELD or SUPPRESSED
    owner: np.ndarray  # int64 per row: its class, or NONE
    low: np.ndarray  # int32, classes by quasi-identifiers: the codes that their labels stand for
    high: np.ndarray
    signature: np.ndarray  # uint64, classes by words
    loss: np.ndarray  # per class, of a row
    returning: np.ndarray  # bool per row: of people who were published before
    remembered: Ledger  # people who were published for the first time


def release(pool: Pool, ledger: Ledger, rules: Rules, day: int, seed: int) -> Release:
    """Decide about every row of a pool. `ledger`: of the pool's people at least. The seed is drawn anew for every day.

    The same rows in another order, and the same seed, give the same release. Raises DisclosureError when what is about
    to be published does not hold what it has to.
    """
    order = np.argsort(pool.row, kind="stable")
    there = np.empty_like(order)
    there[order] = np.arange(order.size)
    found = _release(pool.of(order), ledger, rules, day, seed)
    return Release(
        found.fate[there], found.owner[there], found.low, found.high, found.signature, found.loss,
        found.returning[there], found.remembered,
    )  # fmt: skip


def waiting_since(day: date, chances: Sequence[date], delay: int) -> date:
    """Since when the undecided rows of a partition have waited, of which nobody knows with which landing they came.

    `day`: the partition's; `chances`: the first release that could have had the rows of each of its landings, oldest
    first. Whatever waits is decided within `delay` days, so rows that are undecided after that came with a landing that
    was later; of several landings within one delay the first counts, so that nothing waits longer than it may. A row
    that was accepted late has up to `delay` days from then, like any other.

    >>> waiting_since(date(2026, 3, 10), [date(2026, 3, 10), date(2026, 3, 15), date(2026, 4, 2), date(2026, 4, 5)], 7)
    datetime.date(2026, 4, 2)
    """
    since = day
    for chance in chances:
        if (chance - since).days > delay:
            since = chance
    return since


def _release(pool: Pool, ledger: Ledger, rules: Rules, day: int, seed: int) -> Release:
    known = ledger.of(pool.person)
    returning = known != NONE
    table = _table(pool, ledger, known, rules)
    drafts = Drafts(rules.domains, bits(pool.values, rules.widths))
    age, first = day - pool.day, _first_of_person(pool, returning)
    in_turn = np.flatnonzero(returning)[np.argsort(-age[returning], kind="stable")]
    table.free[:] = first | returning
    if rules.protection.t is None:
        _build_round(table, drafts, in_turn, (pool, rules))
    _class_others(table, drafts, (pool, age, first, returning), rules, seed)
    fate = np.where(drafts.owner != NONE, PUBLISHED, np.where(age >= rules.terms.delay, SUPPRESSED, HELD))
    return _checked(_result(table, drafts, fate, returning), pool, ledger, rules)


def _table(pool: Pool, ledger: Ledger, known: np.ndarray, rules: Rules) -> Table:
    """The pool as compiled code takes it. Codes that are never told apart are made the same."""
    alike = [one.ends()[0][pool.codes[:, at]] for at, one in enumerate(rules.domains)]
    signature = np.zeros((known.size, ledger.signature.shape[1]), dtype=np.uint64)
    signature[known != NONE] = ledger.signature[known[known != NONE]]
    codes = np.column_stack(alike).astype(np.int32)
    place = pool.values.astype(np.int64) + np.cumsum([0, *rules.widths])[:-1]
    return Table(losses(rules.domains), codes, place, pool.person, signature, np.zeros(known.size, dtype=np.bool_))


def _first_of_person(pool: Pool, returning: np.ndarray) -> np.ndarray:
    """The oldest row of everybody who was never published."""
    order = np.lexsort((pool.row, pool.day))
    _, oldest = np.unique(pool.person[order], return_index=True)
    first = np.zeros(len(pool.row), dtype=np.bool_)
    first[order[oldest]] = True
    return first & ~returning


def _build_round(table: Table, drafts: Drafts, in_turn: np.ndarray, of: tuple[Pool, Rules]) -> None:
    """Classes round returning rows, where they lose little."""
    pool, rules = of
    work, wanted = room(table, sum(rules.widths)), opened(table.signature, rules.widths)
    for row in in_turn.tolist():
        if not table.free[row]:
            continue
        enough, work.room[:] = shares(wanted[row], rules.widths, rules.protection.k)
        size = companions(table, work, row, (enough, rules.terms.worth * len(rules.domains)))
        members = work.members[:size].copy()
        if not size or not _is_diverse(pool.values[members], rules):
            continue
        if drafts.found((work.low, work.high), members):
            table.free[members] = False


def _class_others(
    table: Table,
    drafts: Drafts,
    rows: tuple[Pool, np.ndarray, np.ndarray, np.ndarray],
    rules: Rules,
    seed: int,
) -> None:
    """Class everybody else, and keep the classes that are to be published."""
    (pool, age, first, returning), terms = rows, rules.terms
    mine = np.flatnonzero(first & table.free)
    found = _classes(table.codes[mine], pool.values[mine], rules, seed)
    if found is None:
        return
    of, classes = found
    labelled = Drafts(rules.domains, bits(pool.values[mine], rules.widths))
    owner = _dealt(of, classes, losses_of(table.losses, classes.low, classes.high), age[mine])
    for one in range(len(classes.low)):
        labelled.merge((classes.low[one, None], classes.high[one, None]), owner == one, np.zeros(mine.size, np.bool_))
    low, high = labelled.boxes()
    loss = losses_of(table.losses, low, high) / len(rules.domains)
    is_due = np.bincount(labelled.owner, age[mine] >= terms.delay, len(loss)) > 0
    publishable = (loss <= terms.threshold + ALIKE) | (is_due & (loss <= terms.ceiling + ALIKE))
    for one in np.flatnonzero(publishable).tolist():
        box = low[one, None], high[one, None]
        there = drafts.of(box)
        if there == NONE or is_due[one] or not returning[drafts.owner == there].any():
            drafts.merge(box, mine[labelled.owner == one], returning)  # else it waits, lest it change a signature


def _classes(codes: np.ndarray, values: np.ndarray, rules: Rules, seed: int) -> tuple[np.ndarray, Recoding] | None:
    """The cell of every row and the classes of cells; None when the rows as a whole do not hold the model."""
    width = codes.shape[1]
    cells, of = groups(np.column_stack([codes, values]))
    names = (*(one.name for one in rules.domains), *rules.sensitive)
    known = (*((),) * width, *(tuple(held) for held in rules.sensitive.values()))
    rows = np.bincount(of, minlength=len(cells)).astype(np.int64)
    census = Census(names, known, cells, np.ones(len(cells), dtype=np.bool_), rows)
    try:
        return of, recoding(
            census, cells[:, :width].copy(), rules.domains, rules.protection, Effort(rules.terms.steps * len(of), seed)
        )
    except DisclosureError:
        return None


def _dealt(of: np.ndarray, classes: Recoding, loss: np.ndarray, age: np.ndarray) -> np.ndarray:
    """The class of every row: of rows of one cell the oldest come into the class that loses least."""
    pieces = np.lexsort((loss[classes.owner], classes.cell))
    owner = np.empty(of.size, dtype=np.int64)
    owner[np.lexsort((-age, of))] = np.repeat(classes.owner[pieces], classes.rows[pieces])
    return owner


def _is_diverse(values: np.ndarray, rules: Rules) -> bool:
    """Whether a class of these values holds l; a signature of a day on which policy asked for less may not."""
    one = np.ones(len(values), dtype=np.int64)
    found, asked = measure(np.zeros((len(values), 1)), values, one, one), rules.protection
    return found.l >= asked.l and found.entropy_l >= asked.entropy_l - 1e-9


def _result(table: Table, drafts: Drafts, fate: np.ndarray, returning: np.ndarray) -> Release:
    signatures, (low, high) = drafts.signatures(), drafts.boxes()
    new = np.flatnonzero((drafts.owner != NONE) & ~returning)
    new = new[np.argsort(table.person[new])]
    return Release(
        fate.astype(np.int8), drafts.owner, low, high, signatures,
        losses_of(table.losses, low, high) / max(1, low.shape[1]), returning,
        Ledger(table.person[new], signatures[drafts.owner[new]]),
    )  # fmt: skip


def _checked(found: Release, pool: Pool, ledger: Ledger, rules: Rules) -> Release:
    """Look at the very rows that are to be published. Raises DisclosureError."""
    out = np.flatnonzero(found.owner != NONE)
    if not out.size:
        return found
    owner, asked = found.owner[out], rules.protection
    pairs, _ = groups(np.column_stack([owner, ranked(pool.person[out])]))
    if len(pairs) < out.size:
        raise DisclosureError(f"{out.size - len(pairs)} people were about to be published twice in one class")
    one = np.ones(out.size, dtype=np.int64)
    measures = measure(owner[:, None], pool.values[out], one, one)
    if measures.k < asked.k or measures.classes < len(found.low):
        raise DisclosureError(f"a class of {measures.k} people was about to be published, policy asks for {asked.k}")
    if rules.sensitive and (measures.l < asked.l or measures.entropy_l < asked.entropy_l - 1e-9):
        raise DisclosureError(
            f"a class with l = {measures.l} (entropy {measures.entropy_l:.2f}) was about to be published, policy asks "
            f"for {asked.l} ({asked.entropy_l:g})"
        )
    back = out[found.returning[out]]
    before = ledger.signature[ledger.of(pool.person[back])]
    differ = int((before != found.signature[found.owner[back]]).any(axis=1).sum())
    if differ:
        raise DisclosureError(f"{differ} people were about to be published again among other sensitive values")
    return found


def ranked(person: np.ndarray) -> np.ndarray:
    """People as small numbers."""
    return np.unique(person, return_inverse=True)[1].reshape(-1)
