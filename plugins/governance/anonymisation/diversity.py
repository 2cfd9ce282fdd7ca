"""Whether the sensitive values of a class are diverse enough: distinct and entropy l. Compiled; pure.

These may veto a class or let it grow (repair); no class is chosen for them. l counts rows per value, as
Machanavajjhala et al. (2007) do: `l` distinct values, and an entropy of at least that of so many equally frequent ones.
"""

from __future__ import annotations

import numpy as np

from governance.anonymisation.classes import NONE, Classes, Problem
from governance.anonymisation.compiled import tight


@tight
def diverse(problem: Problem, units: np.ndarray) -> bool:
    """Whether units, rows of (cell, people, rows, ...), make a class that the model of protection accepts."""
    for column in range(problem.sensitive.shape[1]):  # noqa: SIM110 -- compiled code knows no generators
        if not _column_diverse(problem, units, column):
            return False
    return True


@tight
def _column_diverse(problem: Problem, units: np.ndarray, column: int) -> bool:
    total = 0
    for index in range(len(units)):
        total += units[index, 2]
    distinct, entropy = 0, 0.0
    for index in range(len(units)):
        value = problem.sensitive[units[index, 0], column]
        seen, rows = False, 0
        for other in range(len(units)):
            if problem.sensitive[units[other, 0], column] == value:
                seen = seen or (other < index and units[other, 2] > 0)
                rows += units[other, 2]
        if not seen and rows > 0:
            distinct += 1
            share = rows / total
            entropy -= share * np.log(share)
            if distinct >= problem.l and problem.entropy <= 0:
                return True
    return distinct >= problem.l and entropy >= problem.entropy - 1e-12


@tight
def adds(problem: Problem, units: np.ndarray, cell: int) -> bool:
    """Whether a cell would bring a sensitive value that none of the units has."""
    for column in range(problem.sensitive.shape[1]):
        value, seen = problem.sensitive[cell, column], False
        for index in range(len(units)):
            seen = seen or problem.sensitive[units[index, 0], column] == value
        if not seen:
            return True
    return False


@tight
def diverse_without(problem: Problem, now: Classes, unit: int, rows: int, paper: np.ndarray) -> bool:
    """Whether the class of a unit stays diverse once so many of its rows are gone. False when that is not worth finding
    out: the class has more units than there is paper."""
    one = now.owner[unit]
    if now.units[one] > len(paper):
        return False
    each, index = now.first[one], 0
    while each != NONE:
        paper[index, 0] = now.cell[each]
        paper[index, 2] = now.rows[each] - (rows if each == unit else 0)
        each = now.after[each]
        index += 1
    return diverse(problem, paper[:index])


@tight
def diverse_with(problem: Problem, now: Classes, one: int, unit: np.ndarray, paper: np.ndarray) -> bool:
    """Whether a class stays diverse with a unit more. Distinct values never grow fewer; entropy may."""
    if problem.entropy <= 0:
        return True
    if now.units[one] >= len(paper):
        return False
    each, index = now.first[one], 0
    while each != NONE:
        paper[index, 0], paper[index, 2] = now.cell[each], now.rows[each]
        each = now.after[each]
        index += 1
    paper[index, 0], paper[index, 2] = unit[0], unit[2]
    return diverse(problem, paper[: index + 1])
