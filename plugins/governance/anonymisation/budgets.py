"""What a table of noisy counts may cost, and how much noise, which threshold and which interval that means (E1). Pure.

Noise is the discrete Laplace distribution, P(Z = z) = (1 - a) / (1 + a) * a^|z| with a = exp(-1 / scale), added to
counts to which one person adds at most `contributions` in all, and at most `per_cell` in one cell. That makes the
counts epsilon-differentially private for one person in one period, with epsilon = contributions / scale. Where cells
are only published that anybody is in, a cell may show that somebody was there by being there at all; it is published
when its noisy count reaches a threshold which is so high that this happens with probability delta at most.
Source: Dwork and Roth, The Algorithmic Foundations of Differential Privacy (2014), sections 3.3 and 3.5; Ghosh,
Roughgarden and Sundararajan (2012) for the discrete distribution; Korolova et al. (2009) for the threshold.

Not protected against: somebody who comes on many days, for each day is a budget of its own; several people who act as
one; and several of our tables together, whose budgets add up (`analytics.privacy_budget` says to how much).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from governance.errors import PolicyError
from governance.strict import Strict

CONFIDENCE = 0.95


class Budget(Strict):
    """What one table spends of a person's privacy in one period, and how much one person may add to it."""

    epsilon: Annotated[float, Field(gt=0, le=10)]
    delta: Annotated[float, Field(ge=0, lt=0.001)] = 0.0
    contributions: Annotated[int, Field(ge=1)] = 1
    per_cell: Annotated[int, Field(ge=1)] = 1
    levels: tuple[Annotated[int, Field(ge=1)], ...] = ()  # of a grid: digits of its cells, finest first
    protects: str = "one visitor in one day"

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.per_cell > self.contributions:
            raise ValueError("per_cell is more than contributions")
        if list(self.levels) != sorted(set(self.levels), reverse=True):
            raise ValueError("levels go from the finest, which has most digits, to the coarsest")
        return self

    @property
    def scale(self) -> float:
        """Of the noise on each count."""
        return self.contributions / self.epsilon

    @property
    def step(self) -> Budget:
        """The budget of one level of a grid: an equal part of epsilon for each, and for all that is in no cell; of
        delta for each level."""
        parts = {"epsilon": self.epsilon / (len(self.levels) + 1), "delta": self.delta / max(len(self.levels), 1)}
        return self.model_copy(update=parts)


@dataclass(frozen=True)
class Charge:
    """A budget as it was spent, and the noise and the threshold that it came to: a row of the ledger."""

    table_name: str
    protects: str
    epsilon: float
    delta: float
    contributions: int
    per_cell: int
    noise_scale: float
    threshold: int | None  # None: every cell is published, for which cells there are is known beforehand


def budget(table: str, value: Any) -> Budget:
    """The budget of a table, as policy has it. Raises PolicyError naming the table and the key."""
    try:
        return Budget.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(str(step) for step in first["loc"]) or "its keys"
        raise PolicyError(f"policy value {table!r} is no budget at {where}: {first['msg']}") from None


def tail(at_least: int, scale: float) -> float:
    """The probability that the noise is so much or more.

    >>> round(tail(0, 1.0), 4), round(tail(1, 1.0), 4), round(tail(-1, 1.0), 4)
    (0.7311, 0.2689, 0.9011)
    """
    a = math.exp(-1 / scale)
    if at_least > 0:
        return math.exp(-at_least / scale) / (1 + a)
    return 1 - math.exp(-(1 - at_least) / scale) / (1 + a)


def threshold(budget: Budget, largest_hidden: int) -> int:
    """The least noisy count that may be published, where a cell whose count is `largest_hidden` may be there for one
    person alone.

    A person is in at most `contributions` cells; that any of them is published, which would not be without this person,
    has probability delta at most. Raises PolicyError without a delta: then there is no threshold that does.

    >>> b = Budget(epsilon=1.0, delta=1e-6, contributions=2)
    >>> least = threshold(b, 1)
    >>> 2 * tail(least - 1, b.scale) <= 1e-6 < 2 * tail(least - 2, b.scale)
    True
    """
    if budget.delta <= 0:
        raise PolicyError("counts of cells that are not known beforehand need a delta; set it beside their epsilon")
    found = largest_hidden + 1
    a = math.exp(-1 / budget.scale)
    found += max(0, math.floor(budget.scale * math.log(budget.contributions / (budget.delta * (1 + a)))) - 2)
    while budget.contributions * tail(found - largest_hidden, budget.scale) > budget.delta:
        found += 1
    return found


def half_width(scale: float, confidence: float = CONFIDENCE) -> int:
    """How far the noise stays from zero, on either side, with this probability at least.

    >>> half_width(1.0), 2 * tail(3, 1.0) > 0.05 >= 2 * tail(4, 1.0)
    (3, True)
    """
    width = 0
    while 2 * tail(width + 1, scale) > 1 - confidence:
        width += 1
    return width
