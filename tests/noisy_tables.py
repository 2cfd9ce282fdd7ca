"""What publishing any table of counts with noise owes, whichever dataset it is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import builders
from aftermath import state
from governance import steps
from governance.embedded.site import Site
from governance.errors import GovernanceError, PolicyError
from governance.publications import Publication
from governance.run_log import Batch
from governance.steps import Workspace

UNDECIDED: dict[str, Callable[[Any], Any]] = {
    "nobody has decided": lambda value: None,
    "without an epsilon": lambda value: {name: v for name, v in value.items() if name != "epsilon"},
    "of no noise": lambda value: value | {"epsilon": 1e6},
}
"""Budgets under which nothing may be published, by what is wrong with them."""


def validated(space: Workspace, dataset: str, key: str) -> Batch:
    """A partition that only waits to be published."""
    return steps.validate(space, steps.pull(space, dataset, key, builders.run()), builders.run())


def breaks_off(site: Site, space: Workspace, batch: Batch, method: str) -> None:
    """Publishing fails behind a method of the publication and leaves nothing; the next try publishes."""
    before, original = state(site), getattr(Publication, method)

    def breaks(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        raise GovernanceError("broken off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Publication, method, breaks)
        with pytest.raises(GovernanceError, match="broken off"):
            steps.publish(space, batch, builders.run())
    assert state(site) == before
    steps.publish(space, batch, builders.run())


def is_refused_under(site: Site, space: Workspace, batch: Batch, table: str, why: str) -> None:
    """Nothing of a batch is published under such a budget of one of its tables."""
    before, decided = state(site), space.policy.open_values[table]
    values = {**space.policy.open_values, table: decided.model_copy(update={"value": UNDECIDED[why](decided.value)})}
    policy = space.policy.model_copy(update={"open_values": values})
    with pytest.raises(PolicyError, match=f"policy value '{table}' is (not set|no budget at epsilon)"):
        steps.publish(builders.workspace(site, policy=policy), batch, builders.run())
    assert state(site) == before
