"""The policy is edited between the hops of a partition: each hop is under the one of its own time, and says which."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

import builders
from aftermath import entries, outcomes, state, terms, through
from builders import DAY, World
from governance import policy as policies
from governance import schema, steps
from governance.commands.log_evidence import text_of
from governance.embedded.site import Site
from governance.errors import GovernanceError, OutdatedError, PartitionError, PolicyError
from governance.policy import POLICY_FOLDER, Policy
from governance.run_log import Batch, Shard
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


@pytest.fixture
def declared(site: Site, tmp_path: Path) -> Edited:
    """A workspace under policy files of which one was edited; `migrated`: and our database made for them."""

    def make(file: str, before: str, after: str, *, migrated: bool) -> Workspace:
        folder = tmp_path / f"policies {len(list(tmp_path.iterdir()))}"
        shutil.copytree(POLICY_FOLDER, folder)
        text = (folder / file).read_text()
        assert before in text
        (folder / file).write_text(text.replace(before, after, 1))
        of_site = tmp_path / f"{folder.name}.site.yaml"
        of_site.write_text(f"first_partition: {{bookings: {DAY}, visits: {DAY}}}\n")
        policy: Policy = policies.load(folder, of_site)
        if migrated:
            schema.migrate(site.dsn("governance_owner"), policy)
        return builders.workspace(site, policy=policy)

    return make


@pytest.fixture
def as_before(site: Site) -> Iterator[None]:
    """What a test's policy made of our database is made anew from the project's."""
    yield
    schema.migrate(site.dsn("governance_owner"), builders.POLICY)


# 200 visitors of one country, in force: (at pull, at validation, at publication) -> cells published.
KS = [((10, 10, 10), 1), ((10, 201, 201), 0), ((10, 10, 201), 0), ((201, 201, 10), 1), ((201, 10, 201), 0)]


@pytest.mark.parametrize(("ks", "published"), KS)
def test_what_is_published_holds_the_k_of_its_own_time_and_every_hop_says_its_policy(
    site: Site, world: World, edited: Edited, ks: tuple[int, int, int], published: int
) -> None:
    world.visitors(200)
    spaces = [edited(k=k) for k in ks]
    run = builders.run()
    batch = steps.pull(spaces[0], "visits", KEY, run)
    steps.publish(spaces[2], steps.validate(spaces[1], batch, run), run)
    (term,) = terms(site)
    assert (term["published"], term["suppressed"]) == (200, 0)
    assert builders.read(site, "SELECT count(*) FROM analytics.visits_sessions") == [(published,)]
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
    world.visitors(200)
    strict, weak, run = edited(k=201), edited(k=10), builders.run()
    batch = steps.validate(strict, steps.pull(strict, "visits", KEY, run), run)
    steps.publish(strict, batch, run)
    steps.publish(weak, batch, run)
    assert outcomes(site, "publish") == ["passed", "replayed"]
    assert builders.read(site, "SELECT count(*) FROM analytics.visits_sessions") == [(0,)]


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


# -- how rows are made, and who may read them, is declared otherwise ---------------------------------------------------

OTHERWISE_MADE = [
    ("visits.yaml", "key: visitors, domain: session,", "key: visitors, domain: device,"),
    (
        "visits.yaml",
        "type: bytea, from: [page_views.device_settings]",
        "type: text, from: [page_views.device_settings]",
    ),
    ("policy.yaml", "    value: 0.5\n    clause: B2", "    value: 1\n    clause: B2"),
]
NEW_READER = (
    "visits.yaml",
    "category: user.demographic.language, treatment: keep, purposes: []",
    "category: user.demographic.language, treatment: keep, purposes: [validation]",
)


@pytest.mark.parametrize("hop", ["validate", "publish"])
@pytest.mark.parametrize("edit", OTHERWISE_MADE)
def test_rows_that_were_made_as_policy_no_longer_has_it_go_no_further(
    site: Site, world: World, edited: Edited, declared: Edited, as_before: None, hop: str, edit: tuple[str, str, str]
) -> None:
    world.visitors()
    before, run = edited(), builders.run()
    batch = steps.pull(before, "visits", KEY, run)
    if hop == "publish":
        batch = steps.validate(before, batch, run)
    after = declared(*edit, migrated=True)
    kept = state(site)
    go = {"validate": steps.validate, "publish": steps.publish}[hop]
    with pytest.raises(PolicyError, match=r"2026-03-10: its rows were landed before .* from its task `plan` on"):
        go(after, batch, run)
    assert state(site) == kept
    if edit[2].startswith("text,"):
        return  # a type that no table has: nothing to go on with
    again = builders.run()
    batch = steps.validate(after, steps.pull(after, "visits", KEY, again), again)
    steps.publish(after, batch, again)
    assert [term["published"] for term in terms(site)] == [10]


def test_shards_of_one_landing_are_made_in_one_way(site: Site, world: World, edited: Edited, declared: Edited) -> None:
    world.visitors()
    before = edited()
    after, run = declared(*OTHERWISE_MADE[2], migrated=False), builders.run()
    first, second = Shard("visits", KEY, "planned", 0, 2), Shard("visits", KEY, "planned", 1, 2)
    steps.pull(before, "visits", KEY, run, first)
    with pytest.raises(PolicyError, match="from its task `plan` on"):
        steps.pull(after, "visits", KEY, run, second)
    assert builders.read(site, "SELECT shard_no FROM control.shards") == [(0,)]
    batch = steps.pull(before, "visits", KEY, run, second)  # put back
    assert steps.validate(before, batch, run).counts["accepted"] == 10


@pytest.mark.parametrize("hop", ["pull", "validate", "publish"])
@pytest.mark.parametrize("there", ["another", "none", "of a version before"])
def test_a_hop_waits_until_our_database_was_made_for_its_policy(
    site: Site, world: World, edited: Edited, declared: Edited, as_before: None, hop: str, there: str
) -> None:
    world.visitors()
    before, run, batch = edited(), builders.run(), Batch("visits", KEY, "none")
    if hop != "pull":
        batch = steps.pull(before, "visits", KEY, run)
    if hop == "publish":
        batch = steps.validate(before, batch, run)
    kept = state(site)
    after = declared(*NEW_READER, migrated=False) if there == "another" else before
    go = {"pull": lambda s, _, r: steps.pull(s, "visits", KEY, r), "validate": steps.validate, "publish": steps.publish}
    undo = {
        "none": "INSERT INTO control.in_force SELECT * FROM kept; DROP TABLE kept",
        "of a version before": "ALTER TABLE control.out_of_sight RENAME TO in_force",
    }
    change = {
        "none": "CREATE TABLE kept AS SELECT * FROM control.in_force; DELETE FROM control.in_force",
        "of a version before": "ALTER TABLE control.in_force RENAME TO out_of_sight",
    }
    if there in change:
        builders.read(site, change[there])
    try:
        with pytest.raises(OutdatedError, match="partition 2026-03-10: our database was made for .*make up"):
            go[hop](after, batch, run)
    finally:
        if there in undo:
            builders.read(site, undo[there])
    assert state(site) == kept
    schema.migrate(site.dsn("governance_owner"), after.policy)
    go[hop](after, batch, run)
    assert outcomes(site, hop) == ["failed", "passed"]


@pytest.mark.clause("E1")
def test_a_release_carries_in_no_rows_that_were_made_otherwise(
    site: Site, world: World, edited: Edited, declared: Edited, as_before: None
) -> None:
    """Tokens of two kinds would make two people of one."""
    world.crowd()
    late = world.booking(with_terms=False, client_id=777)
    before = edited()
    through(before, "bookings", KEY)
    at = world.at()
    world.insert(
        "terms_acceptances", acceptance_id=99, client_id=777, terms_version="1", channel="web",
        accepted_at=at - timedelta(days=5), recorded_at=at - timedelta(days=5),
    )  # fmt: skip
    through(before, "bookings", KEY)  # accepted now, after its own day's release
    after = declared(*OTHERWISE_MADE[2], migrated=False)
    world.day, following = DAY + timedelta(days=1), (DAY + timedelta(days=1)).isoformat()
    world.crowd()
    with pytest.raises(PolicyError, match=f"carries in rows of {KEY}, .*clear the runs of those partitions .*`plan`"):
        through(after, "bookings", following)
    assert builders.read(site, "SELECT count(*) FROM analytics.releases") == [(1,)]
    through(after, "bookings", KEY)
    through(after, "bookings", following)
    query = "SELECT decision IS NOT NULL FROM vault.release_ledger WHERE row_key = %s"
    assert builders.read(site, query, late) == [(True,)]


@pytest.mark.clause("E1")
def test_rows_that_are_held_while_it_is_declared_otherwise_how_they_are_made_are_made_anew_first(
    site: Site, world: World, edited: Edited, declared: Edited, as_before: None
) -> None:
    held, *_ = world.crowd(6)
    through(edited(), "bookings", KEY)
    after = declared(*OTHERWISE_MADE[2], migrated=False)
    world.day, following = DAY + timedelta(days=1), (DAY + timedelta(days=1)).isoformat()
    at = world.day + timedelta(days=40)
    world.crowd(6, service_date=at)
    with pytest.raises(PolicyError, match=f"carries in rows of {KEY}, .*clear the runs of those partitions .*`plan`"):
        through(after, "bookings", following)
    assert builders.read(site, "SELECT count(*), sum(rows) FROM analytics.releases") == [(1, 0)]
    through(after, "bookings", KEY)
    through(after, "bookings", following)
    query = "SELECT release_partition::text, decision FROM vault.release_ledger WHERE row_key = %s"
    assert builders.read(site, query, held) == [(following, "published")]
    assert [term["published"] for term in terms(site)] == [0, 12]
