"""A source whose columns are not those that policy declares stops the batch, says which they are, and can be mended."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import builders
from bad_schemas import SCHEMAS, BadSchema
from builders import DAY, World
from governance import source_grants, steps
from governance.detectors import findings
from governance.embedded.site import Site
from governance.errors import GapError, GovernanceError
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1"), pytest.mark.clause("J1")]

KEY = DAY.isoformat()
LAST = """
    SELECT (SELECT entry FROM audit.run_log WHERE event = 'pull' AND phase = 'outcome'
            ORDER BY written_at DESC LIMIT 1),
           (SELECT md5(string_agg(t::text, '|')) FROM landing.page_views t),
           (SELECT md5(string_agg(t::text, '|')) FROM control.batches t)
"""


@pytest.fixture(scope="module")
def known(site: Site) -> Iterator[World]:
    """A source with one view, which was pulled once: what a batch that stops must leave alone."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(site)
    world.view()
    steps.pull(builders.workspace(site), "visits", KEY, builders.run())
    yield world
    world.close()
    leaves = builders.read(site, "SELECT audit.leaf(r) FROM audit.run_log r")
    assert [found for (leaf,) in leaves for found in findings(leaf)] == []


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_other_columns_stop_the_batch_and_are_named(
    schema: BadSchema, site: Site, known: World, space: Workspace
) -> None:
    ((_, *before),) = builders.read(site, LAST)
    known.execute(schema.make)
    try:
        with pytest.raises(GapError) as caught:
            steps.pull(space, "visits", KEY, builders.run())
    finally:
        known.execute(schema.mend)
    said = str(caught.value)
    counted = f"the source and the policy disagree about {schema.columns} columns: "
    assert said.startswith(f"dataset visits, partition {KEY}: {counted}{schema.told}")
    assert said.endswith(
        "; nothing was pulled; declare category, purpose and treatment in policies/ and run `make up`, or mend the "
        "source; then run the partition again"
    )
    assert said.isprintable()
    assert len(said) < 1_000
    ((told, *after),) = builders.read(site, LAST)
    entry = json.loads(told)
    assert (entry["outcome"], entry["error"]) == ("failed", {"type": "GapError", "message": said})
    assert after == before
    if schema.is_pulled_again:  # every case tells: what is left of one would be counted by the next
        assert steps.pull(space, "visits", KEY, builders.run()).counts == {"page_views_pulled": 1}


def test_a_view_in_the_place_of_a_table_is_read_once_it_is_granted(site: Site, known: World, space: Workspace) -> None:
    known.execute(
        "ALTER TABLE wellbe.page_views SET SCHEMA sample; "
        "CREATE VIEW wellbe.page_views AS SELECT * FROM sample.page_views"
    )
    try:
        with pytest.raises(GovernanceError, match=r"refused to be read \(SQLSTATE 42501\); .*that puller is granted"):
            steps.pull(space, "visits", KEY, builders.run())
        source_grants.grant(site.dsn("wellbe_owner"), space.policy)
        assert steps.pull(space, "visits", KEY, builders.run()).counts == {"page_views_pulled": 1}
    finally:
        known.execute("DROP VIEW wellbe.page_views; ALTER TABLE sample.page_views SET SCHEMA wellbe")


KEYS = {
    "bookings.booking_id": ("bookings", "bookings"),
    "bookings.version": ("bookings", "bookings"),
    "booking_travellers.traveller_no": ("bookings", "booking_travellers"),
    "booking_services.service_no": ("bookings", "booking_services"),
    "payment_cards.card_id": ("bookings", "payment_cards"),
    "page_views.view_id": ("visits", "page_views"),
}


@pytest.mark.parametrize("place", KEYS)
def test_rows_without_a_key_stop_the_batch_and_are_counted(
    place: str, site: Site, world: World, space: Workspace
) -> None:
    (dataset, table), column = KEYS[place], place.partition(".")[2]
    world.booking(card={})
    world.view()
    steps.pull(space, dataset, KEY, builders.run())
    ((_, *before),) = builders.read(site, LAST)
    kept = f"SELECT * FROM wellbe.{table}"
    world.execute(f"CREATE TABLE sample.sound AS {kept}; ALTER TABLE wellbe.{table} ALTER {column} DROP NOT NULL")
    try:
        world.execute(f"UPDATE wellbe.{table} SET {column} = NULL")
        with pytest.raises(GovernanceError) as caught:
            steps.pull(space, dataset, KEY, builders.run())
    finally:
        world.execute(
            f"TRUNCATE wellbe.{table}; INSERT INTO wellbe.{table} SELECT * FROM sample.sound; DROP TABLE sample.sound; "
            f"ALTER TABLE wellbe.{table} ALTER {column} SET NOT NULL"
        )
    said = str(caught.value)
    assert said.startswith(f"dataset {dataset}, partition {KEY}, table {table}: 1 rows have no key (NULL in ")
    assert place in said
    assert said.endswith("; nothing was kept; give them their key at the source and run the partition again")
    ((told, *after),) = builders.read(site, LAST)
    assert json.loads(told)["error"]["message"] == said
    assert after == before
    assert steps.pull(space, dataset, KEY, builders.run()).counts[f"{table}_pulled"] == 1
