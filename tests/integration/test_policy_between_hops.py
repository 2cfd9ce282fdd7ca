"""The policy is edited between the hops of a partition: each hop is under the one of its own time, and says which."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

import builders
from aftermath import entries, outcomes, state, terms
from builders import DAY, World
from governance import policy as policies
from governance import steps
from governance.commands.log_evidence import text_of
from governance.embedded.site import Site
from governance.errors import GovernanceError, PartitionError, PolicyError
from governance.policy import POLICY_FOLDER, Policy
from governance.steps import Workspace
from run_logs import own_look

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1"), pytest.mark.clause("E1")]

KEY = DAY.isoformat()
Edited = Callable[..., Workspace]


@pytest.fixture
def edited(site: Site, tmp_path: Path) -> Edited:
    """A workspace under policy files in which open values are others."""

    def make(first: date = DAY, **values: object) -> Workspace:
        folder = tmp_path / f"policies {len(list(tmp_path.iterdir()))}"
        shutil.copytree(POLICY_FOLDER, folder)
        text = (folder / "policy.yaml").read_text()
        for name, value in values.items():
            before = f"  {name}:\n    value: {builders.POLICY.value(name)}\n"
            assert before in text
            text = text.replace(before, f"  {name}:\n    value: {'null' if value is None else value}\n")
        (folder / "policy.yaml").write_text(text)
        of_site = tmp_path / f"{folder.name}.site.yaml"
        of_site.write_text(f"first_partition: {{bookings: {first}, visits: {first}}}\n")
        policy: Policy = policies.load(folder, of_site)
        return builders.workspace(site, policy=policy)

    return make


# Ten visitors of one country, in force: (at pull, at validation, at publication) -> rows published.
KS = [((10, 10, 10), 10), ((10, 12, 12), 0), ((10, 10, 12), 0), ((12, 12, 10), 10), ((12, 10, 12), 0)]


@pytest.mark.parametrize(("ks", "published"), KS)
def test_what_is_published_holds_the_k_of_its_own_time_and_every_hop_says_its_policy(
    site: Site, world: World, edited: Edited, ks: tuple[int, int, int], published: int
) -> None:
    world.visitors()
    spaces = [edited(k=k) for k in ks]
    run = builders.run()
    batch = steps.pull(spaces[0], "visits", KEY, run)
    steps.publish(spaces[2], steps.validate(spaces[1], batch, run), run)
    (term,) = terms(site)
    assert (term["published"], term["suppressed"]) == (published, 10 - published)
    for hop, space in zip(("pull", "validate", "publish"), spaces, strict=True):
        assert {entry["digests"]["policy"] for entry in entries(site, hop)} == {space.policy.digest}
        assert text_of(site, space.policy.digest)[0] == "policy"
    query = "SELECT policy_digest FROM analytics.releases"
    assert builders.read(site, query) == [(spaces[2].policy.digest,)]
    steps.checkpoint(spaces[2], builders.run())
    assert own_look(site).problems == ()


def test_what_is_out_stays_as_it_is_when_the_policy_is_weakened_afterwards(
    site: Site, world: World, edited: Edited
) -> None:
    world.visitors()
    strict, weak, run = edited(k=12), edited(k=10), builders.run()
    batch = steps.validate(strict, steps.pull(strict, "visits", KEY, run), run)
    steps.publish(strict, batch, run)
    steps.publish(weak, batch, run)
    assert outcomes(site, "publish") == ["passed", "replayed"]
    assert builders.read(site, "SELECT count(*) FROM analytics.visits_daily") == [(0,)]


TOO_EARLY = ({"first": date(2026, 3, 11)}, PartitionError, "before the dataset's first partition 2026-03-11")
NO_K = ({"k": None}, PolicyError, "'k' is not set; decide it in policies/policy.yaml")


@pytest.mark.parametrize(
    ("hop", "change", "error", "says"), [("validate", *TOO_EARLY), ("publish", *TOO_EARLY), ("publish", *NO_K)]
)
def test_a_batch_that_the_policy_no_longer_lets_on_stays_where_it_is_until_it_does(
    site: Site, world: World, edited: Edited, hop: str, change: dict[str, object], error: type[GovernanceError],
    says: str,
) -> None:  # fmt: skip
    world.visitors()
    before, after, run = edited(), edited(**change), builders.run()
    batch = steps.pull(before, "visits", KEY, run)
    if hop == "publish":
        batch = steps.validate(before, batch, run)
    kept, go = state(site), {"validate": steps.validate, "publish": steps.publish}[hop]
    with pytest.raises(error, match=says):
        go(after, batch, run)
    assert state(site) == kept
    batch = go(before, batch, run)  # put back
    if hop == "validate":
        steps.publish(before, batch, run)
    assert [term["published"] for term in terms(site)] == [10]
