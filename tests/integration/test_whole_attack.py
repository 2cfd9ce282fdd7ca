"""Once a week everything that was released of bookings is attacked as a whole; while that is over a limit of policy,
nothing more is released."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import builders
from aftermath import entries, state, through
from builders import DAY, NOW, World
from governance import policy as policies
from governance import steps
from governance.commands.proofs import RunLog
from governance.embedded.site import Site
from governance.errors import AlarmError, DisclosureError
from governance.sources import named_query
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1")]

KINDS = ("dental.implant", "ophthalmology.lasik")
SECOND = f"recorded_date = '{DAY + timedelta(days=1)}'"


@pytest.fixture
def space(site: Site) -> Workspace:
    """A workspace ten days after the world's first day."""
    return builders.workspace(site, now=NOW + timedelta(days=8))


@pytest.fixture
def weeks(site: Site, world: World, space: Workspace) -> Iterator[list[str]]:
    """Two releases of ten people each, of whom one is in both, and a row that is held; row keys of the first."""
    first = alike(world, 10)
    released(world, space)
    alike(world, 10)
    at = world.day + timedelta(days=40)
    world.booking(
        client_id=client_of(first[0]), with_client=False, with_terms=False, service_date=at,
        services=[{"procedure_code": KINDS[0], "starts_on": at}],
    )  # fmt: skip
    released(world, space)
    yield first


def alike(world: World, people: int) -> list[str]:
    """Bookings of so many people with the same quasi-identifiers, counted from the world's own day."""
    at = world.day + timedelta(days=40)
    return [
        world.booking(service_date=at, services=[{"procedure_code": KINDS[number % 2], "starts_on": at}])
        for number in range(people)
    ]


def client_of(row_key: str) -> int:
    return int(row_key.split("/", maxsplit=1)[0]) + 40_000


def released(world: World, space: Workspace) -> int:
    """Release the world's day, and go on to the next; returns how many rows were published."""
    published = through(space, "bookings", world.day.isoformat()).counts["published"]
    world.day += timedelta(days=1)
    return published


def attack(space: Workspace) -> dict[str, float]:
    return steps.attack_releases(space, builders.run(task_id="attack_releases"))


def kept(site: Site) -> list[tuple[Any, ...]]:
    return builders.read(site, "SELECT releases, is_over FROM audit.release_attacks ORDER BY attack_no")


def deciding(space: Workspace, **limits: float) -> Workspace:
    """The same, where the controller has decided other limits."""
    value = space.policy.open_values["bookings_whole_attack"]
    decided = value.model_copy(update={"value": value.value | limits})
    values = {**space.policy.open_values, "bookings_whole_attack": decided}
    return replace(space, policy=space.policy.model_copy(update={"open_values": values}))


def test_an_attack_on_what_was_released_in_order_passes_and_its_figures_are_kept_with_its_entry(
    site: Site, weeks: list[str], space: Workspace
) -> None:
    figures = attack(space)
    counted = ("releases", "rows", "rows_known", "unplaced", "people", "people_again")
    assert [figures[name] for name in counted] == [2, 20, 20, 0, 19, 1]
    assert {figures[name] for name in ("short_classes", "gained_less", "fewer_left", "disclosed")} == {0}
    assert 0 < figures["singling_out_all"] < 0.005
    [entry] = entries(site, "attack_releases", "outcome")
    assert (entry["outcome"], entry["dataset"], entry["partition_key"]) == ("passed", "bookings", "all")
    assert entry["measures"] == figures
    assert kept(site) == [(2, False)]
    assert builders.read(site, "SELECT figures, policy_digest FROM audit.release_attacks") == [
        (figures, space.policy.digest)
    ]
    assert attack(space) == figures


def test_an_attack_reads_as_the_publisher_and_says_so_before(site: Site, weeks: list[str], space: Workspace) -> None:
    attack(space)
    [read] = [e for e in entries(site, "read", "outcome") if e["run"]["task_id"] == "attack_releases"]
    assert (read["reading"]["role"], read["reading"]["purpose"]) == ("publisher", "improve_services")
    assert read["counts"] == {"rows": 20}


def test_where_nothing_is_released_there_is_nothing_to_attack(site: Site, world: World, space: Workspace) -> None:
    assert attack(space) == {}
    assert [e["outcome"] for e in entries(site, "attack_releases", "outcome")] == ["no_data"]
    assert kept(site) == []


TAMPERED = {
    "a label": (
        f"UPDATE analytics.bookings_rows SET origin_country = 'NO' WHERE ctid = (SELECT min(ctid) FROM "
        f"analytics.bookings_rows WHERE recorded_date = '{DAY}')",
        r"short_classes: 10 \(published rows in a class of fewer people or values than policy asked for then\), policy "
        r"allows 0, 10 over; ALARM .*gained_less: 10 \(",
        {"short_classes": 10, "gained_less": 10, "disclosed": 0, "unplaced": 1},
    ),
    "the values of a class": (
        f"UPDATE analytics.bookings_rows SET service_specialty = 'hair' WHERE {SECOND} AND service_specialty = "
        "'ophthalmology'",
        r"ALARM E1 all 2 releases of bookings were attacked together, and nothing more is released: fewer_left: 1 "
        r".*; ALARM .*disclosed: 1 \(people of whom one value remains\), policy allows 0, 1 over",
        {"short_classes": 0, "gained_less": 0, "fewer_left": 1, "disclosed": 1},
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_after_it_was_released_is_found_and_nothing_more_is_released_until_an_attack_passes(
    site: Site, world: World, weeks: list[str], space: Workspace, what: str
) -> None:
    statement, told, found = TAMPERED[what]
    before = builders.read(site, "SELECT to_jsonb(t)::text FROM analytics.bookings_rows t ORDER BY 1")
    builders.tamper(
        site, "DROP TABLE IF EXISTS public.kept", "CREATE TABLE public.kept AS TABLE analytics.bookings_rows", statement
    )
    with pytest.raises(AlarmError, match=told):
        attack(space)
    [entry] = entries(site, "attack_releases", "outcome")
    assert (entry["outcome"], entry["error"]["type"]) == ("failed", "AlarmError")
    assert {name: entry["measures"][name] for name in found} == found
    assert kept(site) == [(2, True)]

    alike(world, 10)
    key = world.day.isoformat()
    batch = steps.validate(space, steps.pull(space, "bookings", key, builders.run()), builders.run())
    unchanged = state(site)
    measure = next(iter(name for name, count in found.items() if count))
    refusal = rf"{key}: the attack on all 2 releases of 20.* UTC is over a limit: {measure}: .*last good state stays"
    with pytest.raises(DisclosureError, match=refusal):
        steps.publish(space, batch, builders.run())
    assert state(site) == unchanged
    first = replace(batch, partition_key=DAY.isoformat())
    assert steps.publish(space, first, builders.run()).counts["published"] == 10  # it is out already

    builders.tamper(site, "TRUNCATE analytics.bookings_rows", "INSERT INTO analytics.bookings_rows TABLE public.kept",
           "DROP TABLE public.kept")  # fmt: skip
    assert builders.read(site, "SELECT to_jsonb(t)::text FROM analytics.bookings_rows t ORDER BY 1") == before
    with pytest.raises(DisclosureError):  # nobody has looked yet
        steps.publish(space, batch, builders.run())
    attack(space)
    assert kept(site) == [(2, True), (2, False)]
    assert steps.publish(space, batch, builders.run()).counts["published"] == 11


@pytest.mark.parametrize(("allowed", "is_released"), [(9, False), (10, True)])
def test_a_kept_attack_is_held_against_the_limits_of_todays_policy(
    site: Site, world: World, weeks: list[str], space: Workspace, allowed: int, is_released: bool
) -> None:
    builders.tamper(site, TAMPERED["a label"][0])
    with pytest.raises(AlarmError):
        attack(space)
    alike(world, 10)
    decided = deciding(space, gained_less=10, short_classes=allowed)
    if is_released:
        assert released(world, decided) == 11
    else:
        with pytest.raises(DisclosureError, match="short_classes: 10 .*policy allows 9, 1 over"):
            released(world, decided)


def test_limits_that_became_stricter_stop_the_next_release(
    site: Site, world: World, weeks: list[str], space: Workspace
) -> None:
    attack(space)
    alike(world, 10)
    with pytest.raises(DisclosureError, match="singling_out: 0.0019"):
        released(world, deciding(space, singling_out=0.001))


def test_who_was_erased_is_nobody_in_the_releases_that_they_are_in(
    site: Site, weeks: list[str], space: Workspace
) -> None:
    steps.destroy_key(space, "subject", f"client {client_of(weeks[0])}", "request 17", builders.run())
    figures = attack(space)
    assert (figures["rows"], figures["rows_known"], figures["unplaced"]) == (20, 18, 0)
    assert (figures["people"], figures["people_again"], figures["gained_less"]) == (18, 0, 0)


def test_releases_whose_rows_have_all_ended_are_still_counted(site: Site, weeks: list[str], space: Workspace) -> None:
    builders.tamper(site, "DELETE FROM records.bookings")
    figures = attack(space)
    assert (figures["rows"], figures["rows_known"], figures["people"], figures["short_classes"]) == (20, 0, 0, 0)


def test_releases_of_an_earlier_model_are_left_out_and_counted(site: Site, weeks: list[str], space: Workspace) -> None:
    builders.tamper(site, f"DELETE FROM analytics.release_settings WHERE partition_key = '{DAY}'")
    figures = attack(space)
    assert (figures["releases"], figures["releases_before"], figures["rows"]) == (1, 1, 10)


@pytest.mark.clause("R1")
def test_nobody_is_named_in_what_an_attack_leaves(site: Site, weeks: list[str], space: Workspace) -> None:
    figures = attack(space)
    assert {type(figure) for figure in figures.values()} <= {int, float}
    told = json.dumps([e for e in entries(site) if e["event"] == "attack_releases"])
    tokens = builders.read(site, "SELECT DISTINCT client_token, booking_id::text, row_key FROM vault.bookings")
    people = builders.read(site, "SELECT encode(person, 'hex') FROM vault.release_people")
    assert len(tokens) == 21  # the held one among them
    assert [text for row in (*tokens, *people) for text in row if text in told] == []
    assert "dental" not in told


def test_the_auditor_reads_what_every_attack_found(site: Site, weeks: list[str], space: Workspace) -> None:
    attack(space)
    builders.tamper(site, TAMPERED["the values of a class"][0])
    with pytest.raises(AlarmError):
        attack(space)
    answer = RunLog(site.dsn("auditor")).ask(named_query("evidence/release_attacks"))
    names = ("partition_key", "outcome", "releases", "fewer_left", "disclosed")
    at = [answer.columns.index(name) for name in names]
    assert [tuple(row[place] for place in at) for row in answer.rows] == [
        ("all", "failed", 2, 1, 1),
        ("all", "passed", 2, 0, 0),
        ((DAY + timedelta(days=1)).isoformat(), "passed", None, 0, 0),
        (DAY.isoformat(), "passed", None, 0, 0),
    ]


@pytest.mark.clause("R1")
def test_a_week_without_an_attack_that_passed_is_an_alarm_until_one_does(site: Site, world: World) -> None:
    def watch(days: float) -> None:
        # Releases and entries carry the database's own instants, not those of the world.
        later = builders.workspace(site, now=datetime.now(UTC) + timedelta(days=days))
        steps.watch(later, "whole_attacks", builders.run())

    space = builders.workspace(site, now=NOW + timedelta(days=8))
    watch(100)  # there is nothing to attack
    alike(world, 10)
    released(world, space)
    watch(7.9)
    with pytest.raises(AlarmError, match="no attack on all of them together has passed, the first is 8 days old"):
        watch(8)
    attack(space)
    watch(7.9)
    with pytest.raises(AlarmError, match="last passed 9 days ago; start DAG release_attack"):
        watch(9)


def test_every_measure_that_is_judged_has_its_limit_in_policy() -> None:
    from governance.anonymisation import accumulated

    value = policies.load().value("bookings_whole_attack")
    assert set(value) == {*accumulated.MEASURES, "pairs", "subsets", "attacks", "people"}
