"""Where the source and the policy disagree, the batch stops before anything lands."""

from __future__ import annotations

from datetime import timedelta

import pytest

import builders
from aftermath import entries, outcomes, state
from builders import DAY, World
from governance import source_grants, steps
from governance.embedded.site import Site
from governance.errors import GapError, GovernanceError, SourceUnavailableError
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()

GAPS = {
    "an undeclared column": (
        "ALTER TABLE wellbe.bookings ADD COLUMN loyalty_tier text",
        "ALTER TABLE wellbe.bookings DROP COLUMN loyalty_tier",
        "bookings.loyalty_tier is not declared"),
    "a missing column": (
        "ALTER TABLE wellbe.offers DROP COLUMN status",
        "ALTER TABLE wellbe.offers ADD COLUMN status text NOT NULL DEFAULT ''; "
        "ALTER TABLE wellbe.offers ALTER COLUMN status DROP DEFAULT; GRANT SELECT (status) ON wellbe.offers TO puller",
        "offers.status is declared but missing"),
    "a renamed column": (
        "ALTER TABLE wellbe.clients RENAME COLUMN skype TO messenger",
        "ALTER TABLE wellbe.clients RENAME COLUMN messenger TO skype",
        "clients.messenger is not declared; clients.skype is declared but missing"),
    "a changed type": (
        "ALTER TABLE wellbe.page_views ALTER COLUMN app_version TYPE varchar(40)",
        "ALTER TABLE wellbe.page_views ALTER COLUMN app_version TYPE text",
        r"page_views.app_version is character varying\(40\), declared text"),
    "a new table": (
        "CREATE TABLE wellbe.allergies (client_id bigint, allergy text)", "DROP TABLE wellbe.allergies",
        "allergies.allergy is not declared; allergies.client_id is not declared"),
    "a new view": (
        "CREATE VIEW wellbe.everyone AS SELECT email FROM wellbe.clients", "DROP VIEW wellbe.everyone",
        "everyone.email is not declared"),
    "a missing table": (
        "ALTER TABLE wellbe.inquiries SET SCHEMA sample", "ALTER TABLE sample.inquiries SET SCHEMA wellbe",
        "inquiries.answered_at is declared but missing"),
}  # fmt: skip


@pytest.mark.clause("A1")
@pytest.mark.parametrize("gap", GAPS)
def test_the_batch_stops_at(gap: str, site: Site, world: World, space: Workspace) -> None:
    make, mend, named = GAPS[gap]
    world.view()
    world.booking()
    before = state(site)
    world.execute(make)
    try:
        for dataset in ("visits", "bookings"):
            with pytest.raises(GapError, match=named):
                steps.pull(space, dataset, KEY, builders.run())
        assert state(site) == before
        assert outcomes(site) == ["failed", "failed"]
        assert entries(site)[-1]["error"]["type"] == "GapError"
    finally:
        world.execute(mend)
        source_grants.grant(site.dsn("wellbe_owner"), space.policy)
    steps.pull(space, "visits", KEY, builders.run())


def test_a_policy_of_the_sources_owner_that_hides_rows_stops_the_batch(
    site: Site, world: World, space: Workspace
) -> None:
    """Hidden rows are counted as little as they are brought, so that nothing else would notice."""
    world.visitors(12)
    world.execute("ALTER TABLE wellbe.page_views ENABLE ROW LEVEL SECURITY")
    world.execute("CREATE POLICY half ON wellbe.page_views TO puller USING (view_id % 2 = 0)")
    try:
        with pytest.raises(GovernanceError, match=r"the source refused to be read \(SQLSTATE 42501\).*every row of it"):
            steps.pull(space, "visits", KEY, builders.run())
    finally:
        world.execute("DROP POLICY half ON wellbe.page_views")
        world.execute("ALTER TABLE wellbe.page_views DISABLE ROW LEVEL SECURITY")
    assert steps.pull(space, "visits", KEY, builders.run()).counts["page_views_pulled"] == 12


def test_a_source_that_stops_in_the_middle_of_its_rows_is_not_said_to_be_away(
    site: Site, world: World, space: Workspace
) -> None:
    world.views(30_000)
    world.execute("ALTER TABLE wellbe.page_views SET SCHEMA sample")
    columns = builders.read(
        site,
        "SELECT string_agg(CASE attname WHEN 'duration_ms' THEN $$(CASE WHEN view_id = (SELECT max(view_id) "
        "FROM sample.page_views) THEN 'x' ELSE '1' END)::bigint AS duration_ms$$ ELSE attname::text END, ', ' "
        "ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'sample.page_views'::regclass AND attnum > 0",
        role="wellbe_owner",
    )[0][0]
    world.execute(f"CREATE VIEW wellbe.page_views AS SELECT {columns} FROM sample.page_views")
    world.execute("GRANT SELECT ON wellbe.page_views TO puller")
    try:
        with pytest.raises(SourceUnavailableError, match="stopped in the middle of its rows, though it is there"):
            steps.pull(space, "visits", KEY, builders.run())
    finally:
        world.execute("DROP VIEW wellbe.page_views")
        world.execute("ALTER TABLE sample.page_views SET SCHEMA wellbe")
