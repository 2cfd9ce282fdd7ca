"""The exceptions of a card: saved by its client's choice, held for intrusion or fraud, else gone (K2 K3 K4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

import builders
from aftermath import entries, governance, through
from builders import DAY, NOW, World
from governance import keys as key_services
from governance import steps
from governance.detectors import is_luhn_valid
from governance.embedded import workspaces
from governance.embedded.site import Site
from governance.encryption import Column, decrypt, key_ids
from governance.errors import AlarmError, InputError, KeyPurposeError, PolicyError, SourceUnavailableError
from governance.keyring import Keyring
from governance.policy import Policy
from governance.sources import Snapshot
from governance.steps import HoldRequest, Workspace, card_desk
from kept import beginning

pytestmark = [pytest.mark.pg, pytest.mark.beside, *map(pytest.mark.clause, ("K2", "K3", "R1"))]

KEY = DAY.isoformat()
CAPTURED = datetime(2026, 3, 10, 11, 40, tzinfo=UTC)
HOUR, LIFE = timedelta(hours=1), timedelta(hours=238)
GOES = CAPTURED.replace(minute=0) + LIFE
"""The instant at which the key of the card's hour dies."""
NUMBER = "4242424242424242"
CLIENT, OTHER = 71, 72
UNTIL = date(2026, 5, 1)


def at(site: Site, now: datetime, *, keeps_number: bool = False) -> Workspace:
    """A workspace at an instant, under a policy that lets a hold keep the number, or not."""
    policy = builders.workspace(site).policy
    if keeps_number:
        policy = builders.keeping_numbers(policy)
    return builders.workspace(site, now=now, policy=policy, keys=lambda: service(site, now, policy))


def service(site: Site, now: datetime, policy: Policy = builders.POLICY) -> key_services.KeyService:
    """The site's key service at an instant."""
    return key_services.open_service(
        str(site.key_store_path), lambda: Keyring.load(site.keyring_path), policy, lambda: now
    )


def captured(world: World, card_id: int, client: int = CLIENT, **card: Any) -> None:
    """A booking with a card, which its client does not save unless the card says so."""
    row = {"card_id": card_id, "client_id": client, "captured_at": CAPTURED, "card_number": NUMBER, **card}
    world.booking(client_id=client, card=row)


def says(world: World, decision: str, at: datetime, client: int = CLIENT, **event: Any) -> None:
    """An event about cards in the profile."""
    row = {
        "event_id": world.number(), "client_id": client, "purpose": "profile_card", "channel": "web",
        "decision": decision, "effective_at": at, "received_at": at, "source": "profile", "version": 1,
        "recorded_at": at,
    }  # fmt: skip
    world.insert("consent_events", **row | event)


def saved(site: Site, now: datetime = NOW) -> dict[str, str]:
    """Card -> what of its number is saved, opened; `destroyed` where its key is."""
    rows = builders.read(site, "SELECT card_key, partial_number_encrypted FROM vault.saved_cards ORDER BY 1")
    ids = key_ids(pa.array([bytes(value) for _, value in rows], pa.binary())).to_pylist()
    with closing(service(site, now)) as keys:
        found, gone = keys.unwrapped(set(ids))
    opened = {}
    for (card, value), id in zip(rows, ids, strict=True):
        column = Column("saved_cards", "partial_number_encrypted")
        number = ["destroyed"]
        if id not in gone:
            number = decrypt(
                pa.array([bytes(value)], pa.binary()), pa.array([card]), key_of=found.__getitem__, column=column
            ).to_pylist()
        opened[card] = number[0]
    return opened


def living(site: Site, kind: str) -> int:
    """Living keys of a kind."""
    with closing(service(site, NOW)) as keys:
        return sum(census.alive for census in keys.store.census(0) if census.kind == kind)


def told(site: Site, part: str, event: str = "keep_cards") -> list[dict[str, Any]]:
    """Outcomes of a part, oldest first."""
    return [entry for entry in entries(site, event, "outcome") if entry["partition_key"] == part]


def keep(space: Workspace) -> dict[str, int]:
    """The step."""
    return steps.keep_cards(space, builders.run())


# -- saved in the profile ----------------------------------------------------------------------------------------------

MINUTE = timedelta(minutes=1)
GIVEN, WITHDRAWN = "given", "withdrawn"
LATE = CAPTURED + timedelta(days=1)
CHOICES: dict[str, tuple[bool | None, Sequence[tuple[str, datetime, datetime, int]], bool]] = {
    # flag of the card, events as (decision, effective, received, id), whether the card is saved
    "no choice": (False, [], False),
    "no flag": (None, [], False),
    "the flag alone": (True, [], True),
    "given later": (False, [(GIVEN, LATE, LATE, 1)], True),
    "given before the capture": (False, [(GIVEN, CAPTURED - HOUR, CAPTURED - HOUR, 1)], True),
    "withdrawn after the flag": (True, [(WITHDRAWN, LATE, LATE, 1)], False),
    "withdrawn before the flag": (True, [(WITHDRAWN, CAPTURED - MINUTE, CAPTURED - MINUTE, 1)], True),
    "withdrawn at the instant of the flag": (True, [(WITHDRAWN, CAPTURED, CAPTURED, 1)], False),
    "withdrawn, then given": (True, [(WITHDRAWN, LATE, LATE, 1), (GIVEN, LATE + HOUR, LATE + HOUR, 2)], True),
    "given, then withdrawn": (False, [(GIVEN, LATE, LATE, 1), (WITHDRAWN, LATE + HOUR, LATE + HOUR, 2)], False),
    "withdrawn, received out of order": (
        False, [(WITHDRAWN, LATE, LATE + HOUR, 1), (GIVEN, LATE - HOUR, LATE + 2 * HOUR, 2)], False),
    "same instant, received later": (False, [(WITHDRAWN, LATE, LATE + MINUTE, 1), (GIVEN, LATE, LATE, 2)], False),
    "same instants, later event": (False, [(GIVEN, LATE, LATE, 1), (WITHDRAWN, LATE, LATE, 2)], False),
    "a tie": (False, [(GIVEN, LATE, LATE, 1), (WITHDRAWN, LATE, LATE, 1)], False),
    "a tie, told the other way": (False, [(WITHDRAWN, LATE, LATE, 1), (GIVEN, LATE, LATE, 1)], False),
    "given for later": (False, [(GIVEN, NOW + MINUTE, LATE, 1)], False),
    "given as of now": (False, [(GIVEN, NOW, LATE, 1)], True),
    "a word that is no decision": (True, [("maybe", LATE, LATE, 1)], False),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_the_choice_in_force_decides_what_is_saved(site: Site, world: World, space: Workspace, case: str) -> None:
    flag, events, is_saved = CHOICES[case]
    captured(world, 7, save_to_profile=flag)
    for decision, effective, received, number in events:
        says(world, decision, effective, received_at=received, event_id=number)
    says(world, GIVEN, LATE, client=OTHER)
    says(world, GIVEN, LATE + 2 * HOUR, purpose="newsletter")
    says(world, WITHDRAWN, LATE + 2 * HOUR, purpose="newsletter")
    through(space, "bookings", KEY)
    keep(space)
    assert saved(site) == ({"7": NUMBER[:-4]} if is_saved else {})
    (entry,) = told(site, "saved")
    looked_at = int(bool(flag) or is_saved)  # one that nobody ever chose to save is not even read
    assert entry["counts"] == {"looked_at": looked_at, "saved": int(is_saved), "no_number": 0, "missed": 0}
    assert entry["outcome"] == ("passed" if is_saved else "no_data")


@pytest.mark.clause("K4")
def test_what_is_saved_is_under_the_clients_own_key_and_never_a_code(
    site: Site, world: World, space: Workspace
) -> None:
    captured(world, 7, save_to_profile=True, cvv="123", card_number="3782 822463 10005")
    captured(world, 8, client=OTHER, save_to_profile=True)
    captured(world, 9, save_to_profile=True)
    captured(world, 10, save_to_profile=True, card_number=f"{NUMBER} 04/29")
    captured(world, 11, save_to_profile=True, card_number=None)
    captured(world, 12, save_to_profile=True, card_number=f"{NUMBER} 124")  # with its code, as nineteen digits
    through(space, "bookings", KEY)
    keep(space)
    assert saved(site) == {"7": "37828224631", "8": NUMBER[:-4], "9": NUMBER[:-4]}
    rows = builders.read(site, "SELECT card_key, client_id, partial_number_encrypted FROM vault.saved_cards ORDER BY 1")
    with closing(service(site, NOW)) as keys:
        assert [bytes(value)[1:17] for _, _, value in rows] == [
            keys.id_of("profile", f"client {client}") for _, client, _ in rows
        ]
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'vault.saved_cards'::regclass AND attnum > 0"
    assert {name for (name,) in builders.read(site, columns)} == {
        "card_key", "client_id", "captured_at", "is_saved_to_profile", "partial_number_encrypted", "saved_at",
    }  # fmt: skip
    assert told(site, "saved")[-1]["counts"]["no_number"] == 2
    keep(space)
    assert [entry["counts"]["saved"] for entry in told(site, "saved")] == [3, 0]


def test_only_cards_of_accepted_bookings_are_saved(site: Site, world: World, space: Workspace) -> None:
    world.booking(with_terms=False, card={"save_to_profile": True})
    captured(world, 7, save_to_profile=True)
    batch = steps.pull(space, "bookings", KEY, builders.run())
    keep(space)
    assert saved(site) == {}
    steps.validate(space, batch, builders.run())
    keep(space)
    assert list(saved(site)) == ["7"]


@pytest.mark.parametrize(
    "captured_at",
    (
        datetime(2026, 3, 24, 11, 40, tzinfo=UTC),  # ten days over the beginning of summer time
        datetime(2026, 10, 20, 11, 40, tzinfo=UTC),  # and over its end
        CAPTURED,
    ),
    ids=("into summer time", "out of summer time", "ordinary"),
)
@pytest.mark.parametrize("before", (timedelta(seconds=1), timedelta(0)), ids=("a second before", "at the instant"))
def test_a_card_is_saved_until_the_key_of_its_hour_dies_and_not_at_that_instant(
    site: Site, world: World, captured_at: datetime, before: timedelta
) -> None:
    world.day = captured_at.date()
    captured(world, 7, captured_at=captured_at, save_to_profile=True)
    space = builders.workspace(site, now=captured_at + timedelta(days=1), first=world.day)
    through(space, "bookings", world.day.isoformat())
    dies = captured_at.replace(minute=0) + LIFE
    late = builders.workspace(site, now=dies - before, first=world.day)
    if before:
        keep(late)
        assert saved(site) == {"7": NUMBER[:-4]}
        return
    with pytest.raises(AlarmError, match="ALARM K3 1 cards that their clients chose to save were not saved before"):
        keep(late)
    (entry,) = told(site, "saved")
    assert entry["counts"]["missed"] == len(entry["alarms"]) == 1
    steps.retain(late, builders.run())
    assert builders.read(site, "SELECT count(*) FROM records.payment_cards") == [(0,)]
    assert saved(site) == {}
    keep(late)  # it is told once


def test_a_choice_after_the_purge_brings_nothing_back_and_is_no_alarm(
    site: Site, world: World, space: Workspace
) -> None:
    captured(world, 7)
    through(space, "bookings", KEY)
    says(world, GIVEN, GOES)
    keep(at(site, GOES))  # the row is there still, its key is not
    steps.retain(at(site, GOES), builders.run())
    keep(at(site, GOES + HOUR))
    assert saved(site) == {}


def test_a_source_that_is_away_delays_nothing_and_is_an_alarm_for_the_cards_that_end(
    site: Site, world: World, space: Workspace
) -> None:
    captured(world, 7, save_to_profile=True)
    through(space, "bookings", KEY)
    away = replace(at(site, GOES - HOUR), source_uri=lambda: "postgresql://x:y@127.0.0.1:1/wellbe")
    for now, alarms in ((GOES - HOUR, 0), (GOES, 1)):
        with pytest.raises(SourceUnavailableError):
            keep(replace(away, clock=lambda now=now: now, keys=lambda now=now: service(site, now)))
        assert len(told(site, "saved")[-1]["alarms"]) == alarms
        assert told(site, "holds")[-1]["outcome"] == "no_data"  # the other parts are done all the same


def test_a_card_that_is_recorded_again_keeps_its_clock_and_two_bookings_with_one_card_have_two(
    site: Site, world: World, space: Workspace
) -> None:
    captured(world, 7)
    captured(world, 8, captured_at=CAPTURED + 5 * HOUR)
    through(space, "bookings", KEY)
    world.execute("UPDATE wellbe.payment_cards SET recorded_at = recorded_at + interval '1 day' WHERE card_id = 7")
    through(builders.workspace(site, now=NOW + timedelta(days=1)), "bookings", (DAY + timedelta(days=1)).isoformat())
    says(world, GIVEN, GOES - MINUTE)
    with pytest.raises(AlarmError, match="1 cards"):
        keep(at(site, GOES))
    assert saved(site) == {"8": NUMBER[:-4]}
    assert builders.read(site, "SELECT captured_at FROM vault.saved_cards") == [(CAPTURED + 5 * HOUR,)]


@pytest.mark.parametrize("received", [CAPTURED + 2 * HOUR, "infinity", "-infinity"])
@pytest.mark.parametrize("effective", ["infinity", "-infinity"])
def test_a_withdrawal_of_no_known_instant_takes_effect_when_it_is_received(
    site: Site, world: World, space: Workspace, effective: str, received: datetime | str
) -> None:
    captured(world, 7)
    says(world, GIVEN, CAPTURED - HOUR)
    through(space, "bookings", KEY)
    keep(space)
    assert list(saved(site)) == ["7"]
    says(world, WITHDRAWN, NOW, effective_at=effective, received_at=received)
    keep(space)
    assert saved(site) == {}


def test_a_withdrawn_choice_ends_the_row_at_the_next_run_and_with_the_last_one_the_key(
    site: Site, world: World, space: Workspace
) -> None:
    captured(world, 7, save_to_profile=True)
    captured(world, 8, save_to_profile=True, captured_at=CAPTURED + 5 * HOUR)
    captured(world, 9, client=OTHER, save_to_profile=True)
    through(space, "bookings", KEY)
    keep(space)
    assert living(site, "profile") == 2
    before = builders.read(site, "SELECT count(*) FROM records.payment_cards"), living(site, "card_hour")
    says(world, WITHDRAWN, CAPTURED + HOUR)  # before the second card's own choice
    keep(space)
    assert list(saved(site)) == ["8", "9"]
    assert living(site, "profile") == 2
    says(world, WITHDRAWN, NOW)
    keep(space)
    assert list(saved(site)) == ["9"]
    assert living(site, "profile") == 1
    assert (builders.read(site, "SELECT count(*) FROM records.payment_cards"), living(site, "card_hour")) == before
    assert [e["counts"]["withdrawn"] for e in told(site, "withdrawn")] == [0, 1, 1]
    (act,) = entries(site, "destroy_keys", "outcome")
    assert act["counts"] == {"destroyed profile": 1}
    assert act["reason"] == "the choice to keep a card in the profile was withdrawn (K3)"


def test_whoever_withdrew_and_chooses_again_has_a_new_key(site: Site, world: World, space: Workspace) -> None:
    captured(world, 7, save_to_profile=True)
    through(space, "bookings", KEY)
    for number, decision in enumerate((WITHDRAWN, GIVEN) * 2):
        keep(space)
        says(world, decision, LATE + number * HOUR)
    keep(space)
    assert saved(site) == {"7": NUMBER[:-4]}
    with closing(service(site, NOW)) as keys:
        ids = {name: keys.id_of("profile", f"client {CLIENT}{name}") for name in ("", " since 2", " since 3")}
        states = {name: keys.store.fetch([id])[id].is_destroyed for name, id in ids.items()}
    assert states == {"": True, " since 2": True, " since 3": False}


def test_a_choice_that_was_made_at_capture_still_counts_when_the_source_has_no_card_any_more(
    site: Site, world: World, space: Workspace
) -> None:
    captured(world, 7, save_to_profile=True)
    through(space, "bookings", KEY)
    keep(space)
    late = at(site, GOES + timedelta(days=100))
    with pytest.raises(AlarmError):
        steps.retain(late, builders.run())
    keep(late)
    assert saved(site) == {"7": NUMBER[:-4]}
    says(world, WITHDRAWN, GOES)
    keep(late)
    assert (saved(site), living(site, "profile")) == ({}, 0)


def recorded_again(site: Site, world: World, change: str) -> Workspace:
    """Every card is recorded on the next day too, with a change; returns that day's workspace."""
    world.execute(f"UPDATE wellbe.payment_cards SET recorded_at = recorded_at + interval '1 day', {change}")
    later = builders.workspace(site, now=NOW + timedelta(days=1))
    through(later, "bookings", (DAY + timedelta(days=1)).isoformat())
    return later


@pytest.mark.parametrize("is_kept_between", [False, True], ids=["between no run", "between a run"])
def test_the_choice_of_a_card_that_is_recorded_again_is_that_of_the_last_record(
    site: Site, world: World, space: Workspace, *, is_kept_between: bool
) -> None:
    other = "5555555555554444"
    captured(world, 7, save_to_profile=True)
    captured(world, 8, save_to_profile=False)
    captured(world, 9, client=OTHER, save_to_profile=None)
    through(space, "bookings", KEY)
    if is_kept_between:
        keep(space)
        assert saved(site) == {"7": NUMBER[:-4]}
    later = recorded_again(site, world, f"save_to_profile = NOT save_to_profile, card_number = '{other}'")
    keep(later)
    assert saved(site) == {"8": other[:-4]}


def test_a_card_that_is_recorded_again_with_another_clock_is_saved_by_the_first_and_its_key(
    site: Site, world: World, space: Workspace
) -> None:
    captured(world, 7, save_to_profile=False)
    through(space, "bookings", KEY)
    recorded_again(site, world, "captured_at = captured_at + interval '5 hours', save_to_profile = true")
    with pytest.raises(AlarmError, match="1 cards"):
        keep(at(site, GOES))
    assert saved(site) == {}
    keep(at(site, GOES - timedelta(seconds=1)))
    assert saved(site) == {"7": NUMBER[:-4]}


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions of one card."""
    monkeypatch.setattr(card_desk, "NEXT", "FETCH 1 FROM portions")


@pytest.mark.usefixtures("one_by_one")
def test_cards_are_looked_at_in_portions_whatever_they_share(site: Site, world: World, space: Workspace) -> None:
    captured(world, 7, save_to_profile=True)
    captured(world, 8, save_to_profile=True, captured_at=CAPTURED + 5 * HOUR)
    captured(world, 9, client=OTHER, save_to_profile=True)
    captured(world, 10, client=OTHER)
    captured(world, 11, client=OTHER + 1)
    through(space, "bookings", KEY)
    keep(space)
    assert saved(site) == dict.fromkeys(("7", "8", "9"), NUMBER[:-4])
    assert told(site, "saved")[-1]["counts"] == {"looked_at": 3, "saved": 3, "no_number": 0, "missed": 0}
    assert living(site, "profile") == 2
    says(world, WITHDRAWN, CAPTURED + HOUR)  # before the second card's own choice, whose key is the same
    says(world, WITHDRAWN, NOW, client=OTHER)
    keep(space)
    assert list(saved(site)) == ["8"]
    assert living(site, "profile") == 1
    assert told(site, "withdrawn")[-1]["counts"] == {"keys_destroyed": 1, "withdrawn": 2, "still_saved": 1}


@pytest.mark.usefixtures("one_by_one")
def test_a_look_that_is_broken_off_between_portions_saves_nothing(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured(world, 7, save_to_profile=True)
    captured(world, 8, save_to_profile=True)
    through(space, "bookings", KEY)
    asked = Snapshot.as_of

    def fails(self: Snapshot, query: str, *about: Any) -> pa.Table:
        queries.append(query)
        if len(queries) == 3:  # who chose, of the first card, of the second
            raise SourceUnavailableError("gone")
        return asked(self, query, *about)

    queries: list[str] = []
    with monkeypatch.context() as broken:
        broken.setattr(Snapshot, "as_of", fails)
        with pytest.raises(SourceUnavailableError, match="gone"):
            keep(space)
    assert queries[:3] == ["profile_card_givers", "profile_card_choices", "profile_card_choices"]
    assert saved(site) == {}
    assert told(site, "saved")[-1]["outcome"] == "failed"
    keep(space)
    assert list(saved(site)) == ["7", "8"]


# -- held --------------------------------------------------------------------------------------------------------------


def hold(space: Workspace, card: str = "7", **changes: Any) -> str:
    """A hold as a person asks for it."""
    request = HoldRequest(card, "fraud", "7", UNTIL)
    return steps.place_hold(space, replace(request, **changes), builders.run()).hold_id


@pytest.fixture(scope="module")
def begun(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[World], None]]:
    """Two accepted cards of one number."""

    def prepare(world: World) -> None:
        captured(world, 7)
        captured(world, 8, client=OTHER)
        through(builders.workspace(site), "bookings", KEY)

    with beginning(site, tmp_path_factory.mktemp("begun"), prepare) as again:
        yield again


@pytest.fixture
def held(begun: Callable[[World], None], site: Site, world: World) -> Site:
    """A site with two accepted cards of one number."""
    begun(world)
    return site


def test_a_hold_keeps_a_keyed_token_and_has_an_owner_a_reason_and_an_end(held: Site, space: Workspace) -> None:
    first, second = hold(space), hold(space, card="8", reason="intrusion")
    query = "SELECT hold_id, card_key, reason, case_reference, placed_by, expires_at, number_encrypted, card_token "
    one, other = builders.read(held, f"{query} FROM vault.card_holds ORDER BY card_key")
    end = datetime(2026, 5, 1, 22, tzinfo=UTC)  # with the day in Stockholm
    assert one[:-1] == (first, "7", "fraud", "7", "tester", end, None)
    assert other[:3] == (second, "8", "intrusion")
    assert one[-1] == other[-1]  # known again
    guess = hmac.digest(bytes(32), b"governance token 1\0card\0s" + NUMBER.encode(), "sha256")[:16].hex()
    assert one[-1] != guess
    placed, _ = entries(held, "hold_card", "outcome")
    assert (placed["run"]["triggered_by"], placed["reason"]) == ("tester", "fraud, case 7")
    assert placed["details"] == {"hold": first, "until": "2026-05-01"}
    reading = [e["reading"] for e in entries(held, "read", "intent") if e["reading"]["role"] == "screener"]
    assert reading[0]["columns"]["vault.payment_cards"] == ["captured_at", "card_number_encrypted", "row_key"]
    assert "card_token" not in reading[0]["columns"]["vault.card_holds"]
    assert (living(held, "hold"), living(held, "fraud_token")) == (0, 1)


@pytest.mark.parametrize(
    ("days", "is_held"),
    [
        ((date.min - NOW.date()).days, False), (-1, False), (0, True), (178, True), (179, True), (180, False),
        (9000, False), ((date.max - NOW.date()).days - 1, False), ((date.max - NOW.date()).days, False),
    ],
)  # fmt: skip
def test_a_hold_ends_after_now_and_no_later_than_policy_allows(
    held: Site, space: Workspace, days: int, is_held: bool
) -> None:
    until = NOW.date() + timedelta(days=days)
    if is_held:
        hold(space, until=until)
    else:
        with pytest.raises(InputError, match="within 180 days"):
            hold(space, until=until)
    assert len(entries(held, "hold_card", "outcome")) == 1


def test_a_hold_is_placed_before_the_cards_deadline_and_refused_at_it(held: Site) -> None:
    hold(at(held, GOES - timedelta(seconds=1)))
    with pytest.raises(InputError, match="past its deadline"):
        hold(at(held, GOES), case="8")
    with pytest.raises(InputError, match="no accepted card"):
        hold(at(held, NOW), card="999")
    assert [e["outcome"] for e in entries(held, "hold_card", "outcome")] == ["passed", "failed", "failed"]


def test_a_number_is_kept_as_evidence_only_where_policy_says_so_and_dies_with_its_hold(held: Site) -> None:
    with pytest.raises(InputError, match="hold_keeps_number"):
        hold(at(held, NOW), number_is_evidence=True)
    name = hold(at(held, NOW, keeps_number=True), number_is_evidence=True)
    ((value,),) = builders.read(held, "SELECT number_encrypted FROM vault.card_holds")
    with closing(service(held, NOW)) as keys:
        key = keys.id_of("hold", name)
        assert bytes(value)[1:17] == key
        assert keys.store.fetch([key])[key].expires_at == int(datetime(2026, 5, 1, 22, tzinfo=UTC).timestamp())
        opened = decrypt(
            pa.array([bytes(value)], pa.binary()), pa.array([name]), key_of=keys.unwrapped([key])[0].__getitem__,
            column=Column("card_holds", "number_encrypted"),
        )  # fmt: skip
    assert opened.to_pylist() == [NUMBER]
    end = datetime(2026, 5, 1, 22, tzinfo=UTC)
    keep(at(held, end - timedelta(seconds=1)))
    assert living(held, "hold") == 1
    keep(at(held, end))
    assert living(held, "hold") == 0
    assert builders.read(held, "SELECT count(*) FROM vault.card_holds") == [(0,)]
    assert told(held, "holds")[-1]["counts"] == {"hold_keys_destroyed": 1, "ended": 1, "still_held": 0}


def test_a_hold_that_is_released_ends_with_the_next_run(held: Site) -> None:
    space = at(held, NOW, keeps_number=True)
    name, other = hold(space, number_is_evidence=True), hold(space, card="8", number_is_evidence=True)
    steps.release_hold(space, name, "cleared up", builders.run())
    assert living(held, "hold") == 2
    keep(space)
    assert builders.read(held, "SELECT hold_id FROM vault.card_holds") == [(other,)]
    assert living(held, "hold") == 1
    for gone in (name, "nothing"):
        with pytest.raises(InputError, match="no hold of that id"):
            steps.release_hold(space, gone, "again", builders.run())


@pytest.mark.parametrize(
    ("owner", "releasers", "who", "may"),
    [
        ("anna", [], "anna", "anna"), ("anna", [], "bo", ""), ("anna", [], None, ""), ("anna", ["bo"], "bo", "bo"),
        ("anna", ["bo"], "anna", "anna"), ("anna", ["bo"], "cilla", ""), ("anna", ["bo"], "Bo", ""),
        (None, [], None, ""), (None, [], "unknown", ""), (None, ["unknown"], "unknown", ""), (None, ["bo"], "bo", "bo"),
    ],
)  # fmt: skip
def test_a_hold_is_released_by_its_owner_or_whom_policy_names_and_by_nobody_else(
    held: Site, owner: str | None, releasers: list[str], who: str | None, may: str
) -> None:
    space = at(held, NOW)
    values = space.policy.open_values
    named = values["hold_releasers"].model_copy(update={"value": releasers})
    decided = space.policy.model_copy(update={"open_values": {**values, "hold_releasers": named}})
    space = replace(space, policy=decided)
    request = HoldRequest("7", "fraud", "7", UNTIL)
    name = steps.place_hold(space, request, replace(builders.run(), triggered_by=owner)).hold_id
    run = replace(builders.run(), triggered_by=who)
    if may:
        steps.release_hold(space, name, "cleared up", run)
    else:
        allowed = " or ".join(sorted({*([owner] if owner else []), *releasers} - {"unknown"}))
        with pytest.raises(InputError, match=f"{f'only {allowed}' if allowed else 'nobody'} may release this hold"):
            steps.release_hold(space, name, "cleared up", run)
    assert builders.read(held, "SELECT released_at IS NOT NULL FROM vault.card_holds") == [(bool(may),)]
    (entry,) = entries(held, "release_hold", "outcome")
    assert (entry["outcome"], entry["run"]["triggered_by"]) == ("passed" if may else "failed", who)
    if may:
        assert entry["details"] == {"hold": name, "owner": owner or "unknown"}


def test_releasers_that_are_no_list_release_nothing(held: Site, space: Workspace) -> None:
    name, values = hold(space), space.policy.open_values
    named = values["hold_releasers"].model_copy(update={"value": "tester"})
    wrong = space.policy.model_copy(update={"open_values": {**values, "hold_releasers": named}})
    with pytest.raises(PolicyError, match="no list of accounts"):
        steps.release_hold(replace(space, policy=wrong), name, "cleared up", builders.run())


def test_who_acts_is_the_account_of_the_process_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody else")
    assert workspaces.by_hand("cards release").triggered_by == pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert workspaces.by_hand("cards release").triggered_by == "uid 4000000000"


def test_whoever_asks_again_for_the_same_hold_gets_the_one_that_stands(held: Site) -> None:
    space = at(held, NOW, keeps_number=True)
    request = HoldRequest("7", "fraud", "7", UNTIL)
    first, again = (steps.place_hold(space, request, builders.run()) for _ in range(2))
    assert (again.hold_id, first.is_new, again.is_new) == (first.hold_id, True, False)
    late = at(held, GOES)  # a card past its deadline is held by nobody anew, and what stands is told all the same
    assert steps.place_hold(late, request, builders.run()) == again
    assert [e["outcome"] for e in entries(held, "hold_card", "outcome")] == ["passed", "replayed", "replayed"]
    assert {e["details"]["hold"] for e in entries(held, "hold_card", "outcome")} == {first.hold_id}


@pytest.mark.parametrize(
    "change",
    (
        {"card_key": "8"}, {"reason": "intrusion"}, {"case": "8"}, {"until": UNTIL + timedelta(days=1)},
        {"number_is_evidence": True}, {}, "somebody else", "released",
    ),
    ids=str,
)  # fmt: skip
def test_a_hold_that_differs_in_anything_is_another_one(held: Site, change: Any) -> None:
    space = at(held, NOW, keeps_number=True)
    first = hold(space)
    if change == "released":
        steps.release_hold(space, first, "cleared up", builders.run())
    run = replace(builders.run(), triggered_by="anna") if change == "somebody else" else builders.run()
    request = replace(HoldRequest("7", "fraud", "7", UNTIL), **({} if isinstance(change, str) else change))
    second = steps.place_hold(space, request, run)
    assert second.is_new == bool(change)
    assert builders.read(held, "SELECT count(*) FROM vault.card_holds") == [(1 + bool(change),)]


def test_a_hold_does_not_keep_the_row_of_the_card(held: Site, space: Workspace) -> None:
    hold(space)
    keep(at(held, GOES))
    steps.keep_keys(at(held, GOES), builders.run())
    steps.retain(at(held, GOES), builders.run())
    assert builders.read(held, "SELECT count(*) FROM records.payment_cards") == [(0,)]
    assert living(held, "card_hour") == 0
    assert builders.read(held, "SELECT card_key FROM vault.card_holds") == [("7",)]


def test_no_hold_outlives_the_longest_that_policy_allows_whatever_it_says_of_itself(
    held: Site, space: Workspace
) -> None:
    hold(space)
    builders.read(held, "UPDATE vault.card_holds SET expires_at = 'infinity'")
    for days, left in ((180 - 1 / 86400, 1), (180, 0)):
        with pytest.raises(AlarmError) if left else nullcontext():
            steps.retain(at(held, NOW + timedelta(days=days)), builders.run())
        assert builders.read(held, "SELECT count(*) FROM vault.card_holds") == [(left,)]


@pytest.mark.usefixtures("here")
def test_a_person_holds_lists_and_releases_by_command(
    held: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workspaces, "workspace", lambda site, policy=None: builders.workspace(site))
    until = ("--until", UNTIL.isoformat())
    assert governance("cards", "hold", "7", "--reason", "fraud", "--case", "7", *until) == 0
    name = capsys.readouterr().out.split()[-1]
    assert governance("cards", "hold", "7", "--reason", "fraud", "--case", "7", *until) == 0
    assert f"as it was before: nothing was added: hold {name}" in capsys.readouterr().out
    assert governance("cards", "holds") == 0
    told = capsys.readouterr().out
    assert name in told
    assert "token alone" in told
    assert governance("cards", "release", name, "--why", "cleared up") == 0
    assert governance("cards", "holds") == 0
    assert "released" in capsys.readouterr().out.splitlines()[-1]
    again = ("hold", "7", "--reason", "fraud", "--case", "7", *until, "--number-is-evidence")
    assert governance("cards", *again) == 65
    for wrong in (("hold", NUMBER[:-1] + "x"), ("hold", "7", "--reason", "spite"), ("release", name)):
        with pytest.raises(SystemExit):
            governance("cards", *wrong)


# -- what becomes of every card ----------------------------------------------------------------------------------------


def test_the_branches_of_every_hour_sum_to_what_was_captured(site: Site, world: World, space: Workspace) -> None:
    for card, flag in ((1, True), (2, True), (3, False), (4, False), (5, False)):
        captured(world, card, save_to_profile=flag)
    captured(world, 6, captured_at=CAPTURED - HOUR, save_to_profile=True)
    captured(world, 7, captured_at=CAPTURED + HOUR)
    through(space, "bookings", KEY)
    for card in ("2", "3"):
        hold(space, card=card)
    keep(space)
    steps.retain(at(site, GOES), builders.run())
    counts = {e["details"]["hour"]: e["counts"] for e in entries(site, "end_card_hour", "outcome")}
    branches = ("saved_only", "held_only", "both", "gone")
    assert {hour: [count[name] for name in ("captured", *branches)] for hour, count in counts.items()} == {
        "2026-03-10T10": [1, 1, 0, 0, 0],
        "2026-03-10T11": [5, 1, 1, 1, 2],
    }
    assert all(count["captured"] == sum(count[name] for name in branches) for count in counts.values())
    steps.retain(at(site, GOES), builders.run())
    assert len(entries(site, "end_card_hour", "outcome")) == 2


# -- proof (f): what is kept never yields the number -------------------------------------------------------------------

TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
WITH_DIGITS, CANDIDATES_AT_LEAST = 4, 1000


def candidates(kept: str) -> Iterator[str]:
    """Every number that begins with the kept digits and satisfies the check digit."""
    return (number for rest in range(10**WITH_DIGITS) if is_luhn_valid(number := f"{kept}{rest:0{WITH_DIGITS}}"))


def everything_stored(site: Site) -> str:
    """Every value of every table of ours, the run log included, as text; bytes in hexadecimal digits and base64."""
    stored = []
    for (table,) in builders.read(site, TABLES, role="governance_owner"):
        for (row,) in builders.read(site, f"SELECT to_jsonb(t)::text FROM {table} t"):
            stored.append(row)
            for value in json.loads(row).values():
                if isinstance(value, str) and value.startswith("\\x"):
                    raw = bytes.fromhex(value[2:])
                    stored += [base64.b64encode(raw).decode(), raw.decode("latin-1")]
    return "\n".join(stored).lower()


def disguises(number: str, secrets: Sequence[bytes]) -> Iterator[str]:
    """What a candidate would look like in a table, to whoever has these secrets."""
    plain = number.encode()
    yield number
    for value in (
        plain,
        *(make(plain).digest() for make in (hashlib.sha256, hashlib.sha1, hashlib.md5, hashlib.sha512)),
        *(
            hmac.digest(secret, head + plain, "sha256")
            for secret in secrets
            for head in (b"", b"governance token 1\0card\0s")
        ),
    ):
        yield value.hex()[:32]  # tokens are cut to 128 bits
        yield base64.b64encode(value).decode().rstrip("=").lower()


def found_in(stored: str, kept: str, secrets: Sequence[bytes]) -> set[str]:
    """The candidates that something stored confirms."""
    return {number for number in candidates(kept) if any(shape in stored for shape in disguises(number, secrets))}


@pytest.mark.clause("K4")
def test_kept_digits_and_everything_else_that_is_stored_never_yield_the_number(
    site: Site, world: World, space: Workspace
) -> None:
    captured(world, 7, save_to_profile=True)
    through(space, "bookings", KEY)
    hold(at(site, NOW, keeps_number=True), number_is_evidence=True)
    hold(space)
    keep(space)
    late = at(site, GOES)
    keep(late)
    steps.keep_keys(late, builders.run())
    steps.retain(late, builders.run())
    steps.checkpoint(late, builders.run())
    kept = saved(site)["7"]
    assert sum(1 for _ in candidates(kept)) >= CANDIDATES_AT_LEAST
    readable = [kind for kind in builders.POLICY.keys if "profiler" in builders.POLICY.key_roles(kind)]
    assert sorted(readable) == ["card_hour", "profile"]
    with closing(service(site, GOES)) as keys:
        ids = [keys.id_of("profile", f"client {CLIENT}"), keys.id_of("card_hour", "2026-03-10T11")]
        found, gone = keys.unwrapped(ids)
        listed = keys.id_of("fraud_token", "card holds 2026-03")
        ((token_key,),) = [[key.secret for key in keys.unwrapped([listed])[0].values()]]
    secrets = [key.secret for key in found.values()]
    assert (len(secrets), len(gone)) == (1, 1)  # the key of the hour is gone for everybody
    stored = everything_stored(site)
    assert len(stored) > 10_000
    assert found_in(stored, kept, secrets) == set()
    # The same attack finds what would be there to find: the token, to whoever had its key; a hash without one.
    assert found_in(stored, kept, [token_key]) == {NUMBER}
    builders.read(site, "CREATE TABLE vault.planted (card_hash text)")
    try:
        for shape in (hashlib.sha256(NUMBER.encode()).hexdigest(), NUMBER):
            builders.read(site, "TRUNCATE vault.planted")
            builders.read(site, "INSERT INTO vault.planted VALUES (%s)", shape)
            assert found_in(everything_stored(site), kept, secrets) == {NUMBER}
    finally:
        builders.read(site, "DROP TABLE vault.planted")


def test_the_role_of_saved_cards_is_refused_the_key_of_tokens_and_the_holds(held: Site, space: Workspace) -> None:
    hold(space)
    with closing(service(held, NOW)) as keys, pytest.raises(KeyPurposeError):
        keys.acting("profiler", "saved_cards", lambda _: None).key("fraud_token", "card holds 2026-03")
    for role, table in (("profiler", "card_holds"), ("screener", "saved_cards")):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            builders.read(held, f"SELECT count(*) FROM vault.{table}", role=role)
