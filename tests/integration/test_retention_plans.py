"""A plan tells everything that retention would end, cards and minors included; apply does exactly that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import pytest

import builders
from aftermath import entries, governance, state, through
from builders import DAY, NOON, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import InputError
from governance.steps import HoldRequest, Plan, Workspace
from kept import beginning

pytestmark = [pytest.mark.pg, pytest.mark.clause("L3"), pytest.mark.clause("K2"), pytest.mark.clause("K3")]

MINOR = date(2010, 3, 10)
DUE = NOW + timedelta(days=30)
CHOOSER, WITHDRAWER = 41, 42


def says(world: World, client: int, decision: str, at: object) -> None:
    """A client's event about cards in the profile."""
    event = {"event_id": world.number(), "client_id": client, "purpose": "profile_card", "channel": "none"}
    world.insert("consent_events", **event, decision=decision, effective_at=at, received_at=at, source="profile_page",
                 version=1, recorded_at=at)  # fmt: skip


def fill(site: Site, world: World) -> None:
    """A withdrawn card of two that are saved, an expired hold of two, a minor whose review is over of two."""
    space = builders.workspace(site)
    for card, client in ((1, CHOOSER), (2, WITHDRAWER)):
        world.booking(client_id=client, card={"card_id": card, "save_to_profile": True})
    for _ in range(2):
        world.booking(travellers=[{}, {"birth_date": MINOR, "given_name": "Li"}], notes=None)
    through(space, "bookings", DAY.isoformat())
    steps.keep_cards(space, builders.run())
    for card, until in (("1", NOW.date()), ("2", (NOW + timedelta(days=90)).date())):
        steps.place_hold(space, HoldRequest(card, "fraud", "case", until), builders.run())
    builders.read(site, "UPDATE quarantine.rows SET quarantined_at = %s", NOW)  # by the clock of the test
    steps.retain(
        builders.workspace(site, now=NOON + timedelta(days=10, hours=-2)), builders.run()
    )  # the cards, in time
    says(world, WITHDRAWER, "withdrawn", NOW + timedelta(days=3))
    builders.read(site, "UPDATE quarantine.reviews SET since = %s", NOW)
    builders.read(
        site,
        "UPDATE quarantine.reviews SET since = since + interval '1 second' WHERE row_key = "
        "(SELECT max(row_key) FROM quarantine.reviews)",
    )


@pytest.fixture(scope="module")
def begun(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[World], None]]:
    """What is due then."""
    with beginning(site, tmp_path_factory.mktemp("begun"), partial(fill, site)) as again:
        yield again


@pytest.fixture
def full(begun: Callable[[World], None], site: Site, world: World) -> Workspace:
    """That, at `DUE`."""
    begun(world)
    return builders.workspace(site, now=DUE)


def told(plan: Plan) -> dict[str, int]:
    """What a plan says is due, without the rules of retention."""
    return {look.rule: look.due for look in (*plan.exceptions, *plan.erasures) if look.due}


EXPECTED = {
    "withdrawn_cards": 1, "holds_over": 1, "minors": 1, "travellers_at_source": 1, "quarantined": 1, "findings": 1,
    "reviews": 1,
}  # fmt: skip


def test_a_plan_tells_of_cards_and_minors_and_changes_nothing(site: Site, full: Workspace) -> None:
    before = state(site)
    plan = steps.plan_retention(full, builders.run())
    assert {name: n for name, n in told(plan).items() if name != "findings"} == {
        name: n for name, n in EXPECTED.items() if name != "findings"
    }
    assert [look.kept for look in plan.exceptions] == [1, 1]
    assert state(site) == before
    assert builders.read(site, "SELECT count(*) FROM quarantine.erasures") == [(0,)]
    assert steps.plan_retention(full, builders.run()).digest == plan.digest
    (entry, *_) = [e for e in entries(site, "plan_retention", "outcome")]
    assert (entry["counts"]["due minors"], entry["details"]["plan"]) == (1, plan.digest)


def test_a_plan_tells_what_is_protected_and_why(site: Site, world: World, full: Workspace) -> None:
    world.execute("UPDATE wellbe.clients SET birth_date = %s", MINOR)
    builders.read(
        site, "INSERT INTO quarantine.erasures (booking_id, travellers, clients, booked_at) VALUES (9, '{}', %s, %s)",
        [WITHDRAWER], NOON,
    )  # fmt: skip
    plan = steps.plan_retention(full, builders.run())
    held = {look.rule: look.on_hold for look in plan.erasures if look.on_hold}
    assert held == {
        "client_amounts": {"bookkeeping": 1}, "client_card_holds": {"fraud_hold": 1},
        "client_amounts_at_source": {"bookkeeping": 1}, "client_terms_at_source": {"proof_of_terms": 1},
    }  # fmt: skip
    assert told(plan)["minors"] == 2
    assert told(plan)["client_saved_cards"] == 1


def test_apply_does_exactly_what_the_plan_told(site: Site, full: Workspace) -> None:
    plan = steps.plan_retention(full, builders.run())
    later = builders.workspace(site, now=DUE + timedelta(hours=3))
    done = steps.apply_plan(later, plan.digest, builders.run())
    assert {name: done[name] for name in ("withdrawn_cards", "holds_over", "minors")} == {
        "withdrawn_cards": 1, "holds_over": 1, "minors": 1,
    }  # fmt: skip
    assert builders.read(site, "SELECT card_key FROM vault.saved_cards") == [("1",)]
    assert builders.read(site, "SELECT card_key FROM vault.card_holds") == [("2",)]
    # The other minor's review was over a second after the plan's instant: apply leaves it alone, the next run does not.
    assert builders.read(site, "SELECT count(*) FROM quarantine.reviews") == [(1,)]
    assert steps.erase_minors(later, builders.run()) == {"due": 1, "erased": 1}


def released(site: Site, world: World) -> None:
    """A hold is released, as of before the plan."""
    builders.read(site, "UPDATE vault.card_holds SET released_at = %s WHERE card_key = '2'", NOW)


def withdrawn(site: Site, world: World) -> None:
    """One more choice is withdrawn, as of before the plan."""
    says(world, CHOOSER, "withdrawn", NOW)


def reviewed(site: Site, world: World) -> None:
    """One more review is over."""
    builders.read(site, "UPDATE quarantine.reviews SET since = %s", NOW)


def consented(site: Site, world: World) -> None:
    """A minor's review ended otherwise."""
    builders.read(site, "DELETE FROM quarantine.reviews")


@pytest.mark.parametrize("change", [released, withdrawn, reviewed, consented])
def test_apply_refuses_a_plan_that_is_no_longer_true_of_cards_or_minors(
    site: Site, world: World, full: Workspace, change: Callable[[Site, World], None]
) -> None:
    plan = steps.plan_retention(full, builders.run())
    change(site, world)
    before = state(site)
    with pytest.raises(InputError, match="no longer what the plan told"):
        steps.apply_plan(full, plan.digest, builders.run())
    assert state(site) == before


@pytest.mark.parametrize(("client", "decision"), [(WITHDRAWER, "given"), (CHOOSER, "withdrawn")])
def test_a_choice_that_was_made_after_the_plan_keeps_apply_from_all_choices(
    site: Site, world: World, full: Workspace, client: int, decision: str
) -> None:
    plan = steps.plan_retention(full, builders.run())
    says(world, client, decision, DUE + timedelta(hours=2))
    later = builders.workspace(site, now=DUE + timedelta(hours=3))
    with pytest.raises(InputError, match="withdrawn_cards: what is due .* nothing of it was done"):
        steps.apply_plan(later, plan.digest, builders.run())
    assert builders.read(site, "SELECT card_key FROM vault.saved_cards ORDER BY 1") == [("1",), ("2",)]
    steps.keep_cards(later, builders.run())
    left = {"given": [("1",), ("2",)], "withdrawn": []}
    assert builders.read(site, "SELECT card_key FROM vault.saved_cards ORDER BY 1") == left[decision]


def test_a_plan_is_of_an_instant_that_has_come_by_both_clocks_and_so_is_its_deed(site: Site, full: Workspace) -> None:
    """Of the hold that is over at `DUE` and of the minor, a day before it, nothing is due, whichever clock is ahead."""
    before = DUE - timedelta(days=1)
    for own, database in ((DUE, before), (before, DUE)):
        apart = replace(builders.workspace(site, now=own), database_clock=lambda at=database: at)
        plan = steps.plan_retention(apart, builders.run())
        assert (plan.at, told(plan).get("minors", 0)) == (before, 0)
    plan = steps.plan_retention(full, builders.run())
    standing = state(site)
    for own, database in ((DUE, before), (before, DUE)):
        apart = replace(builders.workspace(site, now=own), database_clock=lambda at=database: at)
        with pytest.raises(InputError, match="of an instant to come; nothing was done"):
            steps.apply_plan(apart, plan.digest, builders.run())
    assert state(site) == standing
    assert steps.apply_plan(full, plan.digest, builders.run())["minors"] == 1


@pytest.mark.parametrize("instant", ["20260230T000000Z", "99999999T999999Z", "00000101T000000Z", "20260312", ""])
def test_what_names_no_instant_names_no_plan(space: Workspace, instant: str) -> None:
    with pytest.raises(InputError, match="no digest of a plan"):
        steps.apply_plan(space, f"{instant}-{'0' * 32}", builders.run())


@pytest.mark.parametrize("instant", ["00010101T000000Z", "99991231T235959Z"])
def test_a_plan_of_the_first_or_the_last_instant_is_none_of_today(space: Workspace, instant: str) -> None:
    with pytest.raises(InputError, match="older than a day, or of an instant to come"):
        steps.apply_plan(space, f"{instant}-{'0' * 32}", builders.run())


def test_quarantine_over_its_term_keeps_a_minor_for_the_planned_erasure(site: Site, full: Workspace) -> None:
    """After missed runs both are due at once: by the rows in quarantine the erasure knows whom it is about."""
    builders.read(site, "UPDATE quarantine.rows SET quarantined_at = %s", NOW - timedelta(days=200))
    plan = steps.plan_retention(full, builders.run())
    looked = {look.rule: look for look in plan.rules}["quarantined"]
    assert (looked.due, looked.on_hold) == (0, {"in_review": 2})
    done = steps.apply_plan(full, plan.digest, builders.run())
    assert (done.get("quarantined", 0), done["minors"]) == (0, 1)
    looked = {look.rule: look for look in steps.plan_retention(full, builders.run()).rules}["quarantined"]
    assert (looked.due, looked.on_hold) == (0, {"in_review": 1})  # of the other, whose review is not over


def test_the_command_prints_places_and_grounds_of_a_plan(
    here: Site, world: World, full: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    builders.read(
        here, "INSERT INTO quarantine.erasures (booking_id, travellers, clients, booked_at) VALUES (9, '{}', %s, %s)",
        [WITHDRAWER], NOON,
    )  # fmt: skip
    assert governance("retention", "plan") == 0
    out = capsys.readouterr().out
    assert "minors whose review is over (erase_minors):" in out
    assert "stays on a ground, 1 rows: fraud_hold: A hold for intrusion or fraud is about the card" in out
    assert "withdrawn_cards" in out
    assert "holds_over" in out
