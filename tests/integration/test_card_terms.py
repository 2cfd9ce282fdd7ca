"""A card is taken for ten days from its capture, by the real clock; its booking goes on without it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import builders
from aftermath import LANDED, content, entries
from builders import DAY, NOON, World
from governance import steps
from governance.embedded.site import Site
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()

# Ten days of 24 hours UTC, less the margin by which the key of a card's hour dies earlier.
LIFE = timedelta(hours=240 - 2)


@pytest.mark.clause("K1")
@pytest.mark.parametrize(
    "now",
    (
        datetime(2026, 3, 12, 9, tzinfo=UTC),
        datetime(2026, 4, 2, 9, tzinfo=UTC),  # ten days over the beginning of summer time: an hour less on the clock
        datetime(2026, 10, 30, 9, tzinfo=UTC),  # and over its end: an hour more
    ),
    ids=("ordinary", "into summer time", "out of summer time"),
)
def test_a_card_is_taken_as_long_as_the_key_of_its_hour_lives_and_not_a_second_longer(
    site: Site, world: World, now: datetime
) -> None:
    world.day = now.date() - timedelta(days=2)
    at = world.at()
    second = timedelta(seconds=1)
    hour = now - LIFE  # on the hour: its key dies now
    kept = {"oldest": hour + timedelta(hours=1), "newest": now, "recorded": at}
    refused = {
        "K1.card_age.over_age": hour + timedelta(hours=1) - second,
        "K1.card_age.future": now + second,
        "K1.card_age.unknown_time": None,
    }
    keys = {name: world.booking(card={"captured_at": captured}) for name, captured in (kept | refused).items()}
    space = builders.workspace(site, now=now, first=world.day)
    batch = steps.pull(space, "bookings", world.day.isoformat(), builders.run())
    assert {rule: batch.counts[rule] for rule in refused} == dict.fromkeys(refused, 1)
    pulled = entries(site, "pull", "outcome")[-1]
    assert pulled["counts"]["payment_cards_at_source"] == 6
    assert pulled["counts"]["payment_cards_pulled"] == 3
    assert {rule: pulled["counts"][f"refused {rule}"] for rule in refused} == dict.fromkeys(refused, 1)
    assert pulled["alarms"] == [f"{rule}: 1 refused at pull" for rule in sorted(refused)]
    checked = steps.validate(space, batch, builders.run())
    assert checked.counts["accepted"] == 6  # every booking goes on
    assert all(card["card_number_encrypted"] == "4242424242424242" for card in content(site, "vault", LANDED[3], now))
    with_card = {key for (key,) in builders.read(site, "SELECT root_key FROM vault.payment_cards")}
    assert with_card == {keys[name] for name in kept}
    noted = builders.read(site, "SELECT rule, table_name FROM quarantine.refusals")
    assert sorted(noted) == sorted((rule, "payment_cards") for rule in refused)


@pytest.mark.clause("K1")
def test_the_age_of_a_card_is_judged_by_the_real_now_also_in_a_backfill(site: Site, world: World) -> None:
    world.booking(card={})
    late = builders.workspace(site, now=NOON + LIFE)
    assert steps.pull(late, "bookings", KEY, builders.run()).counts["K1.card_age.over_age"] == 1
    in_time = builders.workspace(site, now=NOON + LIFE - timedelta(seconds=1))
    assert steps.pull(in_time, "bookings", KEY, builders.run("again")).counts["payment_cards_pulled"] == 1
    assert builders.read(site, "SELECT count(*) FROM quarantine.refusals") == [(0,)]


@pytest.mark.clause("J1")
def test_nothing_of_a_quarantined_booking_reaches_the_vault(site: Site, world: World, space: Workspace) -> None:
    world.booking(with_terms=False, card={}, travellers=[{}, {}])
    world.booking(card={}, travellers=[{"birth_date": None}])
    number = int(world.booking(card={}).split("/")[0])  # its second version of the day is the troubled one
    world.booking(booking_id=number, version=2, client_id=number + 40_000, price_amount_minor=-1, with_client=False)
    batch = steps.pull(space, "bookings", KEY, builders.run())
    steps.validate(space, batch, builders.run())
    held = {key for (key,) in builders.read(site, "SELECT row_key FROM quarantine.rows")}
    assert len(held) == 3
    for table in LANDED[1:]:
        assert not held & {key for (key,) in builders.read(site, f"SELECT root_key FROM vault.{table}")}
        assert builders.read(site, f"SELECT count(*) FROM landing.{table}") == [(0,)]
    assert builders.read(site, "SELECT count(*) FROM vault.payment_cards") == [(0,)]
