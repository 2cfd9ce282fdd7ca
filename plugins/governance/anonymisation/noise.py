"""Noise for counts, drawn by OpenDP from the operating system's randomness: no seed, and no drawing again (E1).

Of OpenDP (0.16) the mechanisms are taken, and its proof of epsilon; thresholds are ours (`budgets.threshold`). Its own
arithmetic of delta counts noise *above* the distance to the threshold, while its mechanism publishes a count that is
*equal* to the threshold too: for whole numbers its delta is too small, by a factor of exp(1 / scale).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from governance.errors import DisclosureError

SLACK = 1e-9
"""Of epsilon: OpenDP rounds up."""
WHOLE = "i64"
"""As the database has counts; Python's `int` would be 32 bits to OpenDP, where noisy counts stop at the largest."""


@cache
def _opendp() -> Any:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    return dp


def on_all(counts: Sequence[int], scale: float, *, adds: int, epsilon: float) -> list[int]:
    """Each count with noise: a list of the same length.

    `adds`: what one person adds to all of them at most. Raises DisclosureError when that would cost more than
    `epsilon`.
    """
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T=WHOLE)), dp.l1_distance(T=WHOLE)
    mechanism = dp.m.make_laplace(*space, scale=scale)
    _require(mechanism.map(adds), epsilon)
    return [int(count) for count in mechanism([int(count) for count in counts])] if len(counts) else []


def on_large(counts: Mapping[int, int], scale: float, threshold: int, *, adds: int, epsilon: float) -> dict[int, int]:
    """Counts by place, with noise, without those that stay below the threshold with it.

    Raises as `on_all`. That the threshold is high enough is `budgets.threshold`'s to see to.
    """
    dp = _opendp()
    whole = dp.atom_domain(T=WHOLE)
    space = dp.map_domain(whole, whole), dp.l01inf_distance(dp.absolute_distance(T=WHOLE))
    mechanism = dp.m.make_laplace_threshold(*space, scale=scale, threshold=threshold)
    _require(mechanism.map((adds, adds, adds))[0], epsilon)
    return {int(place): int(count) for place, count in mechanism(dict(counts)).items()} if counts else {}


def _require(spent: float, epsilon: float) -> None:
    if spent > epsilon * (1 + SLACK):
        raise DisclosureError(
            f"noise would cost an epsilon of {spent:.6g}, policy allows {epsilon:.6g}; nothing was published"
        )
