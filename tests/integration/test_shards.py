"""A big partition is pulled in shards: the same rows for any number of them, shown when the last one has landed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

import builders
from aftermath import LANDED, content, entries, outcomes, state, terms
from builders import DAY, World
from faults import again, killed
from governance import steps
from governance.embedded.site import Site
from governance.errors import ContendedError, GapError, SourceUnavailableError
from governance.run_log import Batch, Shard
from governance.steps import Workspace
from governance.steps.to_landing import MOST_SHARDS
from governance.warehouse import Warehouse

pytestmark = [pytest.mark.pg, pytest.mark.beside, pytest.mark.clause("R1")]

KEY = DAY.isoformat()
TABLES = {"bookings": LANDED, "visits": ("page_views",)}


def cut(space: Workspace, rows: int) -> Workspace:
    """The workspace, with a shard for so many rows."""
    site = space.policy.site.model_copy(update={"shard_rows": rows})
    return replace(space, policy=space.policy.model_copy(update={"site": site}))


def shards(space: Workspace, dataset: str, count: int, run_id: str = "test") -> list[Shard]:
    """A plan, cut into so many."""
    (first, *_) = steps.plan(space, dataset, KEY, builders.run(run_id))
    return [replace(first, number=number, of=count) for number in range(count)]


def pulled(space: Workspace, planned: Iterable[Shard], run_id: str = "test") -> Batch:
    """The batch that the shards make, pulled one after the other."""
    return Batch.joined(steps.pull(space, s.dataset, s.partition_key, builders.run(run_id), s) for s in planned)


def landed(site: Site, zone: str, dataset: str) -> dict[str, list[dict[str, Any]]]:
    """What a zone shows of a dataset, ciphertexts opened, without tokens: their keys are others each time."""
    return {
        table: [{k: v for k, v in row.items() if not k.endswith("_token")} for row in content(site, zone, table)]
        for table in TABLES[dataset]
    }


def stored(site: Site, dataset: str) -> list[int]:
    """How many rows there are behind the zones."""
    return [builders.read(site, f"SELECT count(*) FROM records.{table}")[0][0] for table in TABLES[dataset]]


def busy_day(world: World) -> None:
    """Bookings and views of many kinds, some in order and some not, with keys that are odd."""
    world.crowd(12, card={}, travellers=[{}, {}], services=[{}, {"kind": "travel"}])
    world.booking(with_terms=False)
    world.booking(card={"captured_at": world.at().replace(year=2025)})  # over age: refused at pull
    world.visitors(14)
    world.view(ip=None)
    for view_id in (-1, -7, 2**63 - 1, -(2**63), 0):
        world.view(view_id=view_id)
    world.execute("UPDATE wellbe.payment_cards SET booking_id = NULL WHERE card_id = (SELECT min(card_id) FROM wellbe.payment_cards)")  # fmt: skip # noqa: E501


@pytest.mark.parametrize("dataset", ("bookings", "visits"))
def test_any_number_of_shards_lands_accepts_quarantines_and_publishes_the_same_rows(
    site: Site, world: World, space: Workspace, dataset: str
) -> None:
    busy_day(world)
    held = (
        "SELECT row_key, rules FROM quarantine.rows ORDER BY 1",
        "SELECT table_name, row_key, rule FROM quarantine.refusals ORDER BY 1, 2, 3",
        f"SELECT * FROM analytics.{space.policy.dataset(dataset).release.table} t ORDER BY t::text",
        "SELECT row_key FROM vault.release_ledger ORDER BY 1",
        "SELECT decision, count(*) FROM vault.release_ledger GROUP BY 1 ORDER BY 1",  # which view counts hangs on a key
        "SELECT source_counts, landed_counts, refused, accepted, quarantined FROM control.batches",
    )
    found = {}
    for count in (None, 1, 3, 8):
        builders.empty_warehouse(site)
        if count is None:
            batch = steps.pull(space, dataset, KEY, builders.run())
        else:
            batch = pulled(space, reversed(shards(space, dataset, count)))
        landing = landed(site, "landing", dataset)
        done = steps.publish(space, steps.validate(space, batch, builders.run()), builders.run())
        vault = landed(site, "vault", dataset)
        found[count] = (landing, vault, done.counts, terms(site), [builders.read(site, query) for query in held])
        assert found[count] == found[None], count
        assert len(entries(site, "pull", "outcome")) == (count or 1)
    landing, vault, *_ = found[None]
    assert all(landing.values())
    assert all(vault.values())


def test_nothing_is_shown_before_the_last_shard_and_the_last_good_state_stays_until_it_is_settled(
    site: Site, world: World, space: Workspace
) -> None:
    world.visitors(9)
    steps.validate(space, steps.pull(space, "visits", KEY, builders.run()), builders.run())
    good = landed(site, "vault", "visits")
    world.visitors(3)
    *first, last = shards(space, "visits", 4, "again")
    parts = [pulled(space, [shard], "again") for shard in first]
    assert landed(site, "landing", "visits") == {"page_views": []}
    assert builders.read(site, "SELECT state, run_id FROM control.batches") == [("settled", "test")]
    assert steps.validate(space, parts[0], builders.run("test")).counts["accepted"] == 9  # the last good state
    parts.append(pulled(space, [last], "again"))
    assert len(landed(site, "landing", "visits")["page_views"]) == 12
    assert landed(site, "vault", "visits") == good
    assert steps.validate(space, Batch.joined(parts), builders.run("again")).counts["accepted"] == 12
    assert len(landed(site, "vault", "visits")["page_views"]) == 12
    assert stored(site, "visits") == [12]


def test_shards_side_by_side_complete_the_landing_once(site: Site, world: World, space: Workspace) -> None:
    busy_day(world)
    planned = shards(space, "bookings", 6)
    threads = [threading.Thread(target=pulled, args=(space, [shard])) for shard in planned]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes(site, "pull")) == 6
    assert set(outcomes(site, "pull")) <= {"passed", "no_data"}
    assert sorted(bool(e["conservation"]) for e in entries(site, "pull", "outcome")) == [False] * 5 + [True]
    assert len(terms(site, "pull")[-1]) > 5
    assert stored(site, "bookings")[0] == 14


def test_a_shard_that_is_there_is_not_brought_again(site: Site, world: World, space: Workspace) -> None:
    world.visitors(9)
    planned = shards(space, "visits", 3)
    first = pulled(space, planned[:1])
    before = state(site)
    assert pulled(space, planned[:1]) == first
    assert outcomes(site, "pull") == ["passed", "replayed"]
    assert state(site) == before
    assert pulled(space, planned).counts == {"page_views_pulled": 9}


def test_a_shard_that_was_killed_is_tried_again_and_the_others_stay(site: Site, world: World, space: Workspace) -> None:
    world.visitors(9)
    planned = shards(space, "visits", 3)
    pulled(space, planned[:2])

    def before_its_end(stop: Any) -> None:
        Warehouse._append = staticmethod(lambda cursor, entry: stop() if entry.phase == "outcome" else None)  # type: ignore[method-assign]

    killed(lambda: pulled(space, planned[2:]), before_its_end)
    assert builders.read(site, "SELECT count(*) FROM control.batches") == [(0,)]
    again(lambda: pulled(space, planned[2:]))
    assert len(landed(site, "landing", "visits")["page_views"]) == 9


def test_a_landing_that_a_later_one_has_overtaken_is_never_shown(site: Site, world: World, space: Workspace) -> None:
    world.visitors(9)
    old = shards(space, "visits", 2, "old")
    pulled(space, old[:1], "old")
    steps.validate(space, steps.pull(space, "visits", KEY, builders.run("new")), builders.run("new"))
    before = state(site)
    late = pulled(space, old[1:], "old")
    assert entries(site, "pull", "outcome")[-1]["outcome"] == "replayed"
    assert state(site) == before
    assert stored(site, "visits") == [9]
    assert steps.validate(space, late, builders.run("old")).counts["accepted"] == 9  # what the new one settled


def test_the_same_shard_is_not_brought_by_two_at_once(site: Site, world: World, space: Workspace) -> None:
    world.visitors(9)
    planned = shards(space, "visits", 3)
    run = builders.run()
    with space.hop("pull", "loader", Batch("visits", KEY, "other"), run, planned[0]):
        with pytest.raises(ContendedError, match=f"partition {KEY}, shard 1 of 3: another run is working"):
            pulled(space, planned[:1])
        pulled(space, planned[1:])
        with pytest.raises(ContendedError, match="another run is working on this partition"):
            steps.validate(space, Batch("visits", KEY, "test"), run)


# -- the plan ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "views", "count"), ((5, 0, 1), (5, 5, 1), (5, 6, 2), (2, 9, 5), (1, 40, MOST_SHARDS)))
def test_a_partition_has_a_shard_for_so_many_rows(
    site: Site, world: World, space: Workspace, rows: int, views: int, count: int
) -> None:
    world.visitors(views)
    planned = steps.plan(cut(space, rows), "visits", KEY, builders.run())
    assert [(shard.number, shard.of) for shard in planned] == [(number, count) for number in range(count)]
    (entry,) = entries(site, "plan", "outcome")
    assert {shard.landing_id for shard in planned} == {entry["attempt_id"]}
    assert entry["counts"] == {"page_views_at_source": views, "shards": count}


def test_a_plan_for_a_source_that_is_away_or_has_other_columns_is_none(
    site: Site, world: World, space: Workspace
) -> None:
    with pytest.raises(SourceUnavailableError):
        steps.plan(
            replace(space, source_uri=lambda: "postgresql://puller:x@127.0.0.1:1/wellbe"), "visits", KEY, builders.run()
        )
    world.execute("ALTER TABLE wellbe.page_views ADD COLUMN shoe_size integer")
    try:
        with pytest.raises(GapError, match=r"page_views\.shoe_size is not declared"):
            steps.plan(space, "visits", KEY, builders.run())
    finally:
        world.execute("ALTER TABLE wellbe.page_views DROP COLUMN shoe_size")
    assert outcomes(site, "plan") == ["failed", "failed"]
