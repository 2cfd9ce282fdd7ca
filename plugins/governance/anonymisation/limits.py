"""What a published table may at most show of people, and how it is attacked to find out. Part of a specification."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from governance.strict import Strict

MOST_ATTACKS = 1_000_000
Share = Annotated[float, Field(ge=0, le=1)]


class Limits(Strict):
    """Nothing said, nothing asked. Risks of attacks are the upper bounds of their 95 % confidence intervals."""

    suppressed: Share | None = None  # rows of which nothing is left but sensitive values
    prosecutor: Share | None = None  # the highest of any person
    journalist: Share | None = None
    marketer: Share | None = None
    singling_out: Share | None = None  # by quasi-identifiers
    singling_out_by_sensitive: Share | None = None  # and by all that is published
    linkability: Share | None = None
    inference: Share | None = None


class AttackPlan(Strict):
    """How the table is attacked."""

    count: int = Field(default=2000, ge=1, le=MOST_ATTACKS)
    seed: int = Field(default=1, ge=0)
    columns: tuple[Annotated[int, Field(ge=1)], ...] = ()  # of predicates; none: 3, and all that are there
    linked: tuple[tuple[str, ...], tuple[str, ...]] | None = None  # what two other tables know; none: half each
    tolerance: dict[str, Share] = {}  # sensitive numbers that are inferred when guessed so closely, relatively
