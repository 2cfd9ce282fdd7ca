"""What a release tells of itself commits with its rows: columns, settings, notes, and a bias that discloses nothing."""

from __future__ import annotations

import pytest

import builders
from aftermath import state, through
from builders import DAY, World
from governance import published_tables, steps
from governance.embedded.site import Site
from governance.errors import PolicyError
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1")]

TABLES = {table.name: table for table in published_tables.of_policy(builders.POLICY)}


def test_nothing_is_published_into_a_view_that_is_no_longer_what_policy_says(
    site: Site, world: World, space: Workspace
) -> None:
    world.crowd()
    batch = steps.validate(space, steps.pull(space, "bookings", DAY.isoformat(), builders.run()), builders.run())
    builders.read(site, "ALTER VIEW analytics.bookings RENAME COLUMN party_size TO people")
    before = state(site)
    try:
        with pytest.raises(PolicyError, match=r"people would be removed.*nothing was published"):
            steps.publish(space, batch, builders.run())
        assert state(site) == before
    finally:
        builders.read(site, "ALTER VIEW analytics.bookings RENAME COLUMN people TO party_size")
    steps.publish(space, batch, builders.run())
    assert builders.read(site, "SELECT count(*) FROM analytics.bookings", role="analyst") == [(10,)]


def test_a_release_that_is_not_published_leaves_no_word_of_itself(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.crowd()
    batch = steps.validate(space, steps.pull(space, "bookings", DAY.isoformat(), builders.run()), builders.run())
    before = state(site)
    with monkeypatch.context() as patch, pytest.raises(Exception, match="killed"):
        patch.setattr("governance.publications.Publication.append", _killed)
        steps.publish(space, batch, builders.run())
    assert state(site) == before
    steps.publish(space, batch, builders.run())
    steps.publish(space, batch, builders.run())  # once more: a replay tells nothing twice
    ((settings, columns),) = builders.read(
        site,
        "SELECT (SELECT count(*) FROM analytics.release_settings), (SELECT count(*) FROM analytics.column_history)",
    )
    assert settings > 5
    assert columns == sum(len(table.columns) for table in TABLES.values() if table.dataset == "bookings")


def _killed(*_: object) -> None:
    raise PolicyError("killed")


# -- bias --------------------------------------------------------------------------------------------------------------


def test_the_bias_of_a_release_is_told_where_enough_people_are_missing_and_nowhere_else(
    site: Site, world: World, space: Workspace
) -> None:
    world.crowd(20)
    world.apart(12)
    through(space, "bookings", DAY.isoformat())
    assert builders.read(site, "SELECT rows, suppressed FROM analytics.releases") == [(20, 0)]
    told = {
        (dimension, value): (published, missing)
        for dimension, value, published, missing in builders.read(
            site, "SELECT dimension, value, published, missing_at_least FROM analytics.release_bias", role="analyst"
        )
    }
    assert told["origin_continent", "europe"] == (20, 10)
    assert told["origin_continent", "(all other values)"] == (0, 0)
    assert {missing for _, missing in told.values()} == {0, 10}
    assert ("lead_time", "under 30 days") not in told


def test_nothing_is_told_of_a_dimension_when_fewer_than_k_people_are_missing(
    site: Site, world: World, space: Workspace
) -> None:
    for key in world.crowd(20)[:9]:  # who books twice waits with the second booking
        client = int(key.split("/", maxsplit=1)[0]) + 40_000
        world.booking(client_id=client, with_client=False, with_terms=False)
    through(space, "bookings", DAY.isoformat())
    assert builders.read(site, "SELECT rows, suppressed FROM analytics.releases") == [(20, 0)]
    assert builders.read(site, "SELECT * FROM analytics.release_bias") == []
