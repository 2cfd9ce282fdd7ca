"""Rates of success of attacks, with confidence bounds and against a control set. Pure.

Formulas are those of anonymeter 1.1.0 (`stats/confidence.py`; Giomi et al., PoPETs 2023): the Wilson score interval
(Wilson 1927), whose centre is the rate; with a control set, the excess over the success against people who are not in
the table at all, as a share of what was left to succeed at, its error propagated to first order. What differs: attacks
need not be equally many against both sets, and a rate that is wholly explained by the control set reads 0, not a
division by 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """A rate and the half width of its confidence interval."""

    value: float
    error: float


@dataclass(frozen=True)
class Bounds:
    """A risk between 0 and 1, with its confidence interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Attacks:
    """What attacks achieved: on the people of the table, by chance alone, and on people who are not in it."""

    tried: int
    succeeded: int
    by_chance: int
    control_tried: int = 0
    control_succeeded: float = 0.0  # no whole number where it is corrected for the size of the control set
    control_counted: int = 0  # before that correction
    stated: int | None = None  # predicates that could be made; where they are fewer, the risk may be higher

    def risk(self, confidence: float = CONFIDENCE) -> Bounds:
        """The risk: the rate of success, or what of it the control set does not explain. No attack tried: 0 to 1."""
        if self.tried == 0:
            return Bounds(0.0, 0.0, 1.0)
        attack = success_rate(self.tried, self.succeeded, confidence)
        if self.control_tried:
            attack = residual(attack, success_rate(self.control_tried, self.control_succeeded, confidence))
        return bound(attack)

    def chance(self, confidence: float = CONFIDENCE) -> Bounds:
        """The rate of success of who guesses; a risk that is no higher says nothing."""
        return bound(success_rate(self.tried, self.by_chance, confidence)) if self.tried else Bounds(0.0, 0.0, 1.0)


def success_rate(tried: int, succeeded: float, confidence: float = CONFIDENCE) -> Rate:
    """The Wilson score interval.

    >>> rate = success_rate(500, 500)
    >>> round(rate.value, 3), round(rate.error, 3)
    (0.996, 0.004)
    """
    z = NormalDist().inv_cdf(0.5 * (1 + confidence))
    succeeded = min(float(succeeded), float(tried))
    spread = succeeded * (tried - succeeded) / tried
    return Rate((succeeded + z * z / 2) / (tried + z * z), z / (tried + z * z) * sqrt(spread + z * z / 4))


def residual(attack: Rate, control: Rate) -> Rate:
    """What of a rate of success the control set does not explain."""
    left = 1 - control.value
    if left <= 0:
        return Rate(0.0, 1.0)
    error = sqrt((attack.error / left) ** 2 + ((attack.value - 1) / left**2 * control.error) ** 2)
    return Rate((attack.value - control.value) / left, error)


def bound(rate: Rate) -> Bounds:
    """A rate as a risk: value and bounds cut to what a risk can be.

    >>> bound(Rate(-0.1, 0.3))
    Bounds(value=0.0, lower=0.0, upper=0.19999999999999998)
    """
    value, lower, upper = (
        min(max(x, 0.0), 1.0) for x in (rate.value, rate.value - rate.error, rate.value + rate.error)
    )
    return Bounds(value, lower, upper)
