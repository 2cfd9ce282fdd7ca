"""Where the source and the policy disagree, the batch stops before anything lands."""

from __future__ import annotations

from datetime import timedelta

import pytest

import builders
from aftermath import entries, outcomes, state
from builders import DAY, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import (
    GapError,
)
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
        "ALTER TABLE wellbe.offers ALTER COLUMN status DROP DEFAULT",
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
        from governance import sources

        sources.grant(site.dsn("wellbe_owner"), space.policy)
    steps.pull(space, "visits", KEY, builders.run())
