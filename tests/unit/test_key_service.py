"""The key service on a SQLite store: who gets which key, until when, and what is never undone (clauses J1, J2, K1)."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import faults
from governance import key_audit, key_databases, keys
from governance import policy as policies
from governance.encryption import RowKeys, cut
from governance.errors import (
    GovernanceError,
    KeyDestroyedError,
    KeyPurposeError,
    KeyringError,
    KeyStoreUnavailableError,
)
from governance.key import DataKey
from governance.key_store import Census, Destruction, KeyStore
from governance.key_wrapping import REFERENCE_ID, StoredKey, Wrapper, check_value
from governance.keyring import KEY_ENCRYPTION, STANDARD_KEYS, Keyring, claimed, sweep
from governance.keys import Keys, KeyService, Opened

POLICY = policies.load()
NOW = datetime(2026, 3, 12, 9, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = "2026-03-12T09"
SCOPES = {"person": "client 50012", "hour": HOUR, "day": "2026-03-12", "case": "case 4711", "landing": "2026-03-12/1"}
CLIENT = SCOPES["person"]


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


def binary(*values: bytes | None) -> pa.Array:
    return pa.array(values, pa.binary())


def never(error: GovernanceError) -> None:
    raise AssertionError(error)


@dataclass
class House:
    """A keyring and a key store in a folder, with a clock that a test sets."""

    folder: Path
    now: datetime = NOW
    opened: list[KeyService] = field(default_factory=list)

    @property
    def ring(self) -> Path:
        return self.folder / "ring" / "keyring.json"

    @property
    def store(self) -> Path:
        return self.folder / "store" / "keys.sqlite"

    def service(self) -> KeyService:
        """A service of its own, as another process would open it."""
        self.opened.append(
            keys.open_service(str(self.store), lambda: Keyring.load(self.ring), POLICY, lambda: self.now)
        )
        return self.opened[-1]

    def acting(self, role: str, purpose: str, on_refusal: Callable[[KeyPurposeError], None] = never) -> Keys:
        """Keys as a step gets them that begins now."""
        return self.service().acting(role, purpose, on_refusal)

    def intake(self) -> Keys:
        return self.acting("loader", "intake")

    def destroy(self, kind: str, scope: str, attempt_id: str = "act") -> StoredKey:
        """Destroy a key that is there."""
        service = self.service()
        act = Destruction(attempt_id, "a test", int(self.now.timestamp()), False)
        (found,) = service.store.destroy([service.id_of(kind, scope)], act)
        return found

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Something that somebody does to the file by hand."""
        with closing(sqlite3.connect(self.store)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def row(self, key_id: bytes) -> tuple[Any, ...]:
        """What the file says of a key."""
        (row,) = self.sql("SELECT * FROM data_keys WHERE id = ?", key_id)
        return tuple(row)

    def count(self) -> int:
        """How many data keys there are, the reference key left out."""
        return int(self.sql("SELECT count(*) - 1 FROM data_keys")[0][0])

    def files(self) -> list[str]:
        """Names of what lies where the store lies."""
        return sorted(path.name for path in self.store.parent.iterdir())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house to copy: making one waits for the disk."""
    house = House(tmp_path_factory.mktemp("house"))
    for path in (house.ring, house.store):
        path.parent.mkdir()
    keys.create(str(house.store), Keyring.create(house.ring, now=NOW), now=NOW).close()
    return house


@pytest.fixture
def house(model: House, tmp_path: Path) -> Iterator[House]:
    """A keyring and an empty store."""
    shutil.copytree(model.folder, tmp_path, dirs_exist_ok=True)
    house = House(tmp_path)
    yield house
    for service in house.opened:
        service.close()


@pytest.fixture
def bare(house: House) -> House:
    """A keyring, and no store yet."""
    house.store.unlink()
    return house


# -- keys are made once ------------------------------------------------------------------------------------------------


def test_a_key_is_made_when_it_is_first_needed_and_is_the_same_ever_after(house: House) -> None:
    assert house.count() == 0
    first = house.intake().sealing("subject", texts("client 1", "client 2", "client 1"))
    assert house.count() == 2
    again = house.intake().sealing("subject", texts("client 2", "client 1"))
    assert house.count() == 2
    assert [first.keys[at] for at in first.of_row] == [again.keys[at] for at in again.of_row[[1, 0, 1]]]
    assert first.keys[0] != first.keys[1]
    assert {key.kind for key in first.keys} == {"subject"}
    assert {len(key.secret) for key in first.keys} == {32}


def test_the_one_key_of_a_scope_is_the_key_of_its_rows(house: House) -> None:
    alone = house.intake().key("subject", CLIENT)
    assert house.intake().sealing("subject", texts(CLIENT)).keys == [alone]
    assert house.intake().key("subject", CLIENT) == alone
    assert house.count() == 1


def test_kinds_and_scopes_have_keys_of_their_own(house: House) -> None:
    intake = house.intake()
    made = [
        intake.key("subject", "client 1"),
        intake.key("subject", "client 2"),
        intake.key("subject", "traveller 1/1"),
        intake.key("visitor_day", "2026-03-12/1"),
        intake.key("visitor_day", "2026-03-12/2"),
        intake.key("visit_day", "2026-03-12"),
        intake.key("visit_day", "2026-03-11"),
    ]
    assert len({key.id for key in made}) == len({key.secret for key in made}) == len(made)


def test_a_scope_in_another_spelling_of_unicode_has_the_same_key(house: House) -> None:
    assert house.intake().key("subject", "A\u030asa") == house.intake().key("subject", "\u00c5sa")
    one, other = house.intake().sealing("subject", texts("A\u030asa", "\u00c5sa")).ids().to_pylist()
    assert one == other
    assert house.count() == 1


def test_rows_of_nobody_have_no_key_and_make_none(house: House) -> None:
    found = house.intake().sealing("subject", texts(None, "client 1", None))
    assert found.of_row.tolist() == [-1, 0, -1]
    assert house.intake().sealing("subject", texts(None, None)).has_key.tolist() == [False, False]
    assert house.intake().sealing("subject", texts()).of_row.tolist() == []
    assert house.count() == 1


def test_rows_may_come_in_chunks(house: House) -> None:
    chunked = pa.chunked_array([["client 1", None], ["client 2", "client 1"]], pa.string())
    assert house.intake().sealing("subject", chunked).of_row.tolist() == [0, -1, 1, 0]
    assert house.intake().ended("subject", ["client 1", "client 2"]) == {}


def test_those_who_need_the_same_keys_at_once_get_the_same_keys(house: House) -> None:
    scopes, found, started = texts(*(f"client {n}" for n in range(50))), [], threading.Barrier(4)

    def make() -> None:
        with closing(
            keys.open_service(str(house.store), lambda: Keyring.load(house.ring), POLICY, lambda: NOW)
        ) as service:
            started.wait()
            found.append(service.acting("loader", "intake", never).sealing("subject", scopes).keys)

    workers = [threading.Thread(target=make) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    assert found[0] == found[1] == found[2] == found[3]
    assert house.count() == 50


def test_more_keys_than_are_asked_for_at_once_are_all_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    scopes = texts(*(f"client {n}" for n in range(10)))
    made = house.intake().sealing("subject", scopes)
    monkeypatch.setattr(key_databases, "IDS_AT_ONCE", 3)
    assert house.intake().sealing("subject", scopes).keys == made.keys


@pytest.mark.clause("M1")
def test_the_store_names_hours_days_and_cases_and_never_a_person(house: House) -> None:
    intake = house.intake()
    made = {kind: intake.key(kind, SCOPES[POLICY.keys[kind].scope]) for kind in ("subject", "card_hour", "visit_day")}
    assert {kind: house.row(key.id)[2] for kind, key in made.items()} == {
        "subject": None,
        "card_hour": HOUR,
        "visit_day": "2026-03-12",
    }
    raw = house.store.read_bytes()
    assert CLIENT.encode() not in raw
    assert b"50012" not in raw
    assert HOUR.encode() in raw  # or the two lines before could not fail


def test_every_service_writes_with_nonces_of_its_own_whatever_happens_to_clock_and_store(house: House) -> None:
    before = house.folder / "before.sqlite"
    shutil.copy(house.store, before)
    taken = [house.intake().nonces(2), house.intake().nonces(2)]  # within one millisecond
    house.now -= timedelta(days=1)  # the clock is set back
    taken.append(house.intake().nonces(2))
    house.now = NOW + SECOND
    shutil.copy(before, house.store)  # an old copy is put in the store's place, which knows of none of them
    taken.append(house.intake().nonces(2))
    found = [nonce for piece in taken for nonce in cut(piece)]
    assert len({nonce[:6] for nonce in found}) == 4
    assert len(set(found)) == len(found) == 8


def test_a_step_takes_no_writer_before_it_needs_a_nonce(house: House) -> None:
    house.intake().key("subject", CLIENT)
    (before,) = house.sql("SELECT writer FROM store")
    reader = house.acting("sharer", "contract")
    reader.opening("subject", binary(house.service().id_of("subject", CLIENT)))
    assert house.intake().key("subject", CLIENT).kind == "subject"
    assert house.sql("SELECT writer FROM store") == [before]


# -- who may use which key ---------------------------------------------------------------------------------------------

PURPOSES = [*POLICY.purposes, "resale"]
ROLES = [*POLICY.roles, "nobody"]
DECLARED = {
    (POLICY.purposes[purpose].role, purpose, kind, act)
    for kind, spec in POLICY.keys.items()
    for act, purposes in (("seal", spec.seal), ("open", spec.open))
    for purpose in purposes
}


@dataclass
class Told:
    """What was told to `on_refusal`."""

    errors: list[KeyPurposeError] = field(default_factory=list)

    def __call__(self, error: KeyPurposeError) -> None:
        self.errors.append(error)


def uses(kind: str, scope: str, key_id: bytes) -> dict[str, list[Callable[[Keys], object]]]:
    """Every way to use a key of a kind."""
    return {
        "seal": [
            lambda asked: asked.sealing(kind, texts(scope)),
            lambda asked: asked.key(kind, scope),
            lambda asked: asked.ended(kind, [scope]),
        ],
        "open": [lambda asked: asked.opening(kind, binary(key_id))],
    }


@pytest.mark.clause("J2")
@pytest.mark.parametrize("kind", POLICY.keys)
def test_exactly_what_policy_declares_of_a_kind_is_let_through_and_everything_else_is_refused(
    house: House, kind: str
) -> None:
    scope = SCOPES[POLICY.keys[kind].scope]
    sealer = POLICY.keys[kind].seal[0]
    key = house.acting(POLICY.purposes[sealer].role, sealer).key(kind, scope)
    let_through, service = set(), house.service()
    for role in ROLES:
        for purpose in PURPOSES:
            for act, ways in uses(kind, scope, key.id).items():
                for way in ways:
                    told = Told()
                    try:
                        way(service.acting(role, purpose, told))
                    except KeyPurposeError as error:
                        assert told.errors == [error]
                        assert (role, purpose, kind, act) not in DECLARED
                        assert scope not in str(error)
                        assert key.id.hex() not in str(error)
                        assert f"(role {role}, purpose {purpose}; clause J2)" in str(error)
                    else:
                        assert told.errors == []
                        let_through.add((role, purpose, kind, act))
    assert let_through == {way for way in DECLARED if way[2] == kind}
    assert house.count() == 1


@pytest.mark.clause("J2")
def test_every_kind_is_used_by_somebody_and_every_way_was_tried() -> None:
    assert {kind for _, _, kind, _ in DECLARED} == set(POLICY.keys)
    assert len(DECLARED) == sum(len(kind.seal) + len(kind.open) for kind in POLICY.keys.values())
    assert set(SCOPES) == {kind.scope for kind in POLICY.keys.values()}


@pytest.mark.clause("J2")
def test_a_kind_that_policy_does_not_declare_is_refused_like_one_that_is_not_ones_own(house: House) -> None:
    told = Told()
    asked = house.acting("loader", "intake", told)
    for ways in uses("profiles", CLIENT, bytes(16)).values():
        for way in ways:
            with pytest.raises(KeyPurposeError, match="purpose intake may not (seal|open) with keys of kind profiles"):
                way(asked)
    assert len(told.errors) == 4
    assert house.count() == 0


@pytest.mark.clause("J2")
def test_a_refusal_makes_no_key_and_looks_at_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = house.acting("analyst", "intake", Told())
    monkeypatch.setattr(KeyStore, "fetch", never)
    monkeypatch.setattr(KeyStore, "add", never)
    for ways in uses("subject", CLIENT, bytes(16)).values():
        for way in ways:
            with pytest.raises(KeyPurposeError, match="role analyst does not work for purpose intake"):
                way(asked)
    assert house.count() == 0


@pytest.mark.clause("J2")
def test_a_refusal_that_cannot_be_recorded_is_still_no_key(house: House) -> None:
    class LogIsAwayError(Exception):
        pass

    def away(_: KeyPurposeError) -> None:
        raise LogIsAwayError

    with pytest.raises(LogIsAwayError):
        house.acting("analyst", "intake", away).key("subject", CLIENT)
    assert house.count() == 0


@pytest.mark.clause("J2")
def test_the_reference_key_of_the_store_is_of_no_kind_that_anybody_may_use(house: House) -> None:
    told = Told()
    for kind in POLICY.keys:
        for purpose, spec in POLICY.purposes.items():
            with pytest.raises(KeyPurposeError):
                house.acting(spec.role, purpose, told).opening(kind, binary(REFERENCE_ID))
    assert len(told.errors) == len(POLICY.keys) * len(POLICY.purposes)


@pytest.mark.clause("J2")
@pytest.mark.parametrize("is_destroyed", [False, True])
def test_a_value_under_a_key_of_another_kind_is_refused_be_the_key_destroyed_or_not(
    house: House, is_destroyed: bool
) -> None:
    day = house.intake().key("visit_day", "2026-03-12")
    card = house.intake().key("card_hour", HOUR)
    if is_destroyed:
        house.destroy("card_hour", HOUR)
    told = Told()
    asked = house.acting("screener", "fraud_prevention", told)
    assert asked.opening("visit_day", binary(day.id)).key_of(day.id) == day
    with pytest.raises(KeyPurposeError, match="under keys of kind visit_day are under card_hour ") as refusal:
        asked.opening("visit_day", binary(day.id, card.id))
    assert told.errors == [refusal.value]
    for secret in (card.id.hex(), HOUR, "2026-03-12"):
        assert secret not in str(refusal.value)


def test_keys_that_the_store_does_not_know_are_counted_and_not_passed_over(house: House) -> None:
    key = house.intake().key("subject", CLIENT)
    asked = house.acting("sharer", "contract")
    with pytest.raises(KeyringError, match="2 of 3 keys of kind subject are not in it; restore it") as refusal:
        asked.opening("subject", binary(key.id, b"x" * 16, None, b"y" * 16, b"x" * 16))
    assert not isinstance(refusal.value, KeyDestroyedError)
    assert (b"x" * 16).hex() not in str(refusal.value)


def test_keys_are_opened_for_the_rows_that_have_one(house: House) -> None:
    made = house.intake().sealing("subject", texts("client 1", None, "client 2", "client 1"))
    ids = made.ids()
    for given in (ids, pa.chunked_array([ids.slice(0, 2), ids.slice(2)]), ids.cast(pa.large_binary())):
        found = house.acting("sharer", "contract").opening("subject", given)
        assert found.keys == {key.id: key for key in made.keys}
        assert found.is_destroyed(given).tolist() == [False] * 4
    assert house.acting("sharer", "contract").opening("subject", binary(None, None)).keys == {}
    assert house.acting("sharer", "contract").opening("subject", binary()).keys == {}


def test_a_key_that_was_not_opened_is_not_handed_out(house: House) -> None:
    key, other = house.intake().key("subject", "client 1"), house.intake().key("subject", "client 2")
    found = house.acting("sharer", "contract").opening("subject", binary(key.id))
    with pytest.raises(KeyringError, match="not among those opened") as refusal:
        found.key_of(other.id)
    assert not isinstance(refusal.value, KeyDestroyedError)


# -- deadlines ---------------------------------------------------------------------------------------------------------

OF_CARDS = datetime(2026, 3, 22, 7, tzinfo=UTC)  # ten days after 09:00 on the 12th, less two hours


def assert_alive(house: House, kind: str, scope: str, key: DataKey, opener: tuple[str, str] | None) -> None:
    assert house.intake().key(kind, scope) == key
    assert house.intake().sealing(kind, texts(scope, None)).of_row.tolist() == [0, -1]
    assert house.intake().ended(kind, [scope]) == {}
    if opener:
        found = house.acting(*opener).opening(kind, binary(key.id))
        assert (found.key_of(key.id), found.is_destroyed(binary(key.id)).tolist()) == (key, [False])


def assert_gone(house: House, kind: str, scope: str, key: DataKey, opener: tuple[str, str] | None) -> None:
    count, row = house.count(), house.row(key.id)
    with pytest.raises(KeyDestroyedError, match="destroyed or past its deadline"):
        house.intake().key(kind, scope)
    assert house.intake().sealing(kind, texts(scope, None, scope)).of_row.tolist() == [-1, -1, -1]
    assert house.intake().ended(kind, [scope, "another"]).keys() == {scope}
    if opener:
        found = house.acting(*opener).opening(kind, binary(key.id, None))
        assert found.is_destroyed(binary(key.id, None)).tolist() == [True, False]
        with pytest.raises(KeyDestroyedError, match="gone for ever"):
            found.key_of(key.id)
        assert found.keys == {}
    assert (house.count(), house.row(key.id)) == (count, row)  # nothing was made in its place


SCREENER = ("screener", "fraud_prevention")


@pytest.mark.clause("K1")
@pytest.mark.parametrize("made_at", [NOW, NOW + timedelta(days=5)])
def test_the_key_of_a_cards_hour_is_valid_until_its_deadline_and_not_at_it(house: House, made_at: datetime) -> None:
    house.now = made_at
    key = house.intake().key("card_hour", HOUR)
    house.now = OF_CARDS - SECOND
    assert_alive(house, "card_hour", HOUR, key, SCREENER)
    for later in (OF_CARDS, OF_CARDS + SECOND, OF_CARDS + timedelta(days=365)):
        house.now = later
        assert_gone(house, "card_hour", HOUR, key, SCREENER)
    assert house.row(key.id)[6] is not None  # it is still there, and nobody gets it


@pytest.mark.clause("B2")
def test_the_key_of_a_days_visitors_is_valid_for_a_day_from_its_creation(house: House) -> None:
    scope = "2026-01-05/0195"  # a landing of a day that is pulled late
    key = house.intake().key("visitor_day", scope)
    house.now = NOW + timedelta(days=1) - SECOND
    assert_alive(house, "visitor_day", scope, key, None)
    house.now = NOW + timedelta(days=1)
    assert_gone(house, "visitor_day", scope, key, None)


@pytest.mark.clause("K1")
def test_a_key_whose_deadline_has_come_is_not_made_and_one_second_before_it_is(house: House) -> None:
    house.now = OF_CARDS
    with pytest.raises(KeyDestroyedError, match=f"the key card_hour of {HOUR} is destroyed or past its deadline"):
        house.intake().key("card_hour", HOUR)
    mixed = house.intake().sealing("card_hour", texts(HOUR, "2026-03-12T10", None))
    assert mixed.of_row.tolist() == [-1, 1, -1]
    assert house.count() == 1
    house.now = OF_CARDS - SECOND
    assert house.intake().key("card_hour", HOUR).kind == "card_hour"


@pytest.mark.clause("K2")
def test_a_key_may_be_given_an_earlier_deadline_and_never_a_later_one(house: House) -> None:
    screener = house.acting(*SCREENER)
    early, late = NOW + timedelta(days=30), NOW + timedelta(days=181)
    short = screener.key("hold", "case 1", expires_at=early)
    longest = screener.key("hold", "case 2", expires_at=late)
    sealed = screener.sealing("hold", texts("case 3"), expires_at=early).keys[0]
    expiries = [house.row(key.id)[4] for key in (short, longest, sealed)]
    assert expiries == [int(at.timestamp()) for at in (early, NOW + timedelta(days=180), early)]
    house.now = early - SECOND
    assert house.acting(*SCREENER).key("hold", "case 1") == short
    house.now = early
    with pytest.raises(KeyDestroyedError, match="the key hold of case 1"):
        house.acting(*SCREENER).key("hold", "case 1")
    assert house.acting(*SCREENER).key("hold", "case 2") == longest


@pytest.mark.clause("K2")
def test_asking_again_with_another_deadline_moves_none(house: House) -> None:
    key = house.acting(*SCREENER).key("hold", "case 1", expires_at=NOW + timedelta(days=30))
    for again in (NOW + timedelta(days=5), NOW + timedelta(days=90), None):
        assert house.acting(*SCREENER).key("hold", "case 1", expires_at=again) == key
    assert house.row(key.id)[4] == int((NOW + timedelta(days=30)).timestamp())


@pytest.mark.clause("K2")
@pytest.mark.parametrize("before", [timedelta(0), SECOND, timedelta(days=1)])
def test_a_key_cannot_be_made_with_a_deadline_that_has_come(house: House, before: timedelta) -> None:
    with pytest.raises(KeyDestroyedError):
        house.acting(*SCREENER).key("hold", "case 1", expires_at=NOW - before)
    assert house.count() == 0


@pytest.mark.clause("M1")
def test_the_key_of_a_person_is_valid_until_an_act_destroys_it(house: House) -> None:
    key = house.intake().key("subject", CLIENT)
    assert house.row(key.id)[4] is None
    house.now += timedelta(days=36_500)
    assert_alive(house, "subject", CLIENT, key, ("sharer", "contract"))


def test_a_step_goes_on_with_the_keys_that_it_has_fetched_and_the_next_one_gets_none(house: House) -> None:
    house.now = OF_CARDS - SECOND
    step = house.intake()
    key = step.key("card_hour", HOUR)
    house.now = OF_CARDS
    assert step.key("card_hour", HOUR) == key
    assert step.sealing("card_hour", texts(HOUR)).keys == [key]
    with pytest.raises(KeyDestroyedError):
        house.intake().key("card_hour", HOUR)


def test_looking_who_is_destroyed_makes_no_key(house: House) -> None:
    assert house.intake().ended("subject", ["client 1", "client 2"]) == {}
    assert house.intake().ended("subject", []) == {}
    assert house.count() == 0


# -- destroyed for ever ------------------------------------------------------------------------------------------------


@pytest.mark.clause("M1")
def test_a_destroyed_key_of_a_person_is_gone_for_everybody_and_never_made_anew(house: House) -> None:
    key, other = house.intake().key("subject", CLIENT), house.intake().key("subject", "client 2")
    left = house.destroy("subject", CLIENT)
    assert left == StoredKey(key.id, "subject", None, int(NOW.timestamp()), None, 1, None, int(NOW.timestamp()), "act")
    assert_gone(house, "subject", CLIENT, key, ("sharer", "contract"))
    assert_alive(house, "subject", "client 2", other, ("sharer", "contract"))
    both = house.intake().sealing("subject", texts(CLIENT, "client 2", "client 3"))
    assert both.has_key.tolist() == [False, True, True]
    assert both.ids().to_pylist()[:2] == [None, other.id]


@pytest.mark.clause("M1")
def test_the_error_of_a_destroyed_key_names_no_person_and_names_hours_days_and_cases(house: House) -> None:
    house.intake().key("subject", CLIENT)
    house.destroy("subject", CLIENT)
    with pytest.raises(KeyDestroyedError) as refusal:
        house.intake().key("subject", CLIENT)
    assert str(refusal.value).startswith("the key subject is destroyed or past its deadline")
    assert "50012" not in str(refusal.value)
    assert "(clause M1)" in str(refusal.value)
    assert house.service().id_of("subject", CLIENT).hex() not in str(refusal.value)
    house.intake().key("visit_day", "2026-03-12")
    house.destroy("visit_day", "2026-03-12", "another act")
    with pytest.raises(KeyDestroyedError, match=r"the key visit_day of 2026-03-12 is destroyed .* \(clause B1\)"):
        house.intake().key("visit_day", "2026-03-12")


@pytest.mark.clause("M1")
def test_a_key_that_dies_between_being_made_and_being_fetched_is_no_key(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = KeyStore.add

    def add_and_lose(self: KeyStore, made: list[StoredKey]) -> bool:
        done = add(self, made)
        self.destroy([key.id for key in made], Destruction("act", "a test", int(NOW.timestamp()), False))
        return done

    monkeypatch.setattr(KeyStore, "add", add_and_lose)
    assert house.intake().sealing("subject", texts(CLIENT)).of_row.tolist() == [-1]


@pytest.mark.clause("M1")
def test_destroying_twice_notes_one_act_and_leaves_the_first_date(house: House) -> None:
    key = house.intake().key("subject", CLIENT)
    house.destroy("subject", CLIENT)
    store = house.service().store
    assert store.destroy([key.id, b"x" * 16], Destruction("second", "again", 5, False)) == []
    assert [act.attempt_id for act in store.acts()] == ["act"]
    assert house.row(key.id)[-2:] == (int(NOW.timestamp()), "act")


UNDOING = {
    "a secret that comes back": "UPDATE data_keys SET wrapped = x'00' WHERE id = :gone",
    "a secret that comes back with its dates": (
        "UPDATE data_keys SET wrapped = x'00', destroyed_at = NULL, destroyed_by = NULL WHERE id = :gone"
    ),
    "another date of destruction": "UPDATE data_keys SET destroyed_at = 5 WHERE id = :gone",
    "another act": "UPDATE data_keys SET destroyed_by = 'other' WHERE id = :gone",
    "a tombstone that is deleted": "DELETE FROM data_keys WHERE id = :gone",
    "a tombstone that is given away": "UPDATE data_keys SET id = x'00' WHERE id = :gone",
    "a living key that is deleted": "DELETE FROM data_keys WHERE id = :alive",
    "everything deleted": "DELETE FROM data_keys WHERE :gone = :gone OR :alive = :alive",
    "a later deadline": "UPDATE data_keys SET expires_at = expires_at + 1 WHERE id = :alive",
    "an earlier deadline": "UPDATE data_keys SET expires_at = expires_at - 1 WHERE id = :alive",
    "no deadline": "UPDATE data_keys SET expires_at = NULL WHERE id = :alive",
    "another creation": "UPDATE data_keys SET created_at = created_at + 1 WHERE id = :alive",
    "another kind": "UPDATE data_keys SET kind = 'visit_day' WHERE id = :alive",
    "another scope": "UPDATE data_keys SET scope = '2026-03-12T10' WHERE id = :alive",
    "no scope": "UPDATE data_keys SET scope = NULL WHERE id = :alive",
    "another id": "UPDATE data_keys SET id = x'00' WHERE id = :alive",
    "a secret that is lost without a word": "UPDATE data_keys SET wrapped = NULL WHERE id = :alive",
    "a secret that is lost without an act": ("UPDATE data_keys SET wrapped = NULL, destroyed_at = 5 WHERE id = :alive"),
}
REPLACED = {
    "a tombstone that is written over": "INSERT OR REPLACE INTO data_keys VALUES (:gone, {})",
    "a living key that is written over": "INSERT OR REPLACE INTO data_keys VALUES (:alive, {})",
}


def undo(house: House, statement: str) -> None:
    """Do something to the file by hand, with one key destroyed and one alive; nothing of it may stay."""
    alive = house.intake().key("card_hour", HOUR)
    gone = house.intake().key("card_hour", "2026-03-12T08")
    house.destroy("card_hour", "2026-03-12T08")
    before = house.sql("SELECT * FROM data_keys ORDER BY id")
    try:
        with closing(sqlite3.connect(house.store)) as connection, connection:
            connection.execute(statement, {"alive": alive.id, "gone": gone.id})
    finally:
        assert house.sql("SELECT * FROM data_keys ORDER BY id") == before
        assert_gone(house, "card_hour", "2026-03-12T08", gone, SCREENER)
        assert_alive(house, "card_hour", HOUR, alive, SCREENER)


@pytest.mark.clause("K1")
@pytest.mark.clause("M1")
@pytest.mark.parametrize("what", UNDOING)
def test_the_store_itself_refuses(house: House, what: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="a key stays what it is|never deleted|CHECK constraint failed"):
        undo(house, UNDOING[what])


@pytest.mark.clause("M1")
@pytest.mark.parametrize("what", REPLACED)
def test_the_store_itself_refuses_or_leaves_alone(house: House, what: str) -> None:
    row = "'card_hour', NULL, 0, NULL, 1, x'00', NULL, NULL"
    with suppress(sqlite3.IntegrityError):  # as good as leaving it alone
        undo(house, REPLACED[what].format(row))


@pytest.mark.clause("J1")
@pytest.mark.clause("M1")
def test_what_was_destroyed_is_nowhere_in_the_file_and_beside_it_lies_nothing(house: House) -> None:
    scopes = [f"client {n}" for n in range(300)]
    found = house.intake().sealing("subject", texts(*scopes))
    dying = [key.id for key in found.keys[::3]]
    wrapped = {id: house.row(id)[6] for id in (key.id for key in found.keys)}
    before = house.store.read_bytes()
    assert all(value in before for value in wrapped.values())
    house.service().store.destroy(dying, Destruction("act", "a test", int(NOW.timestamp()), False))
    assert house.files() == ["keys.sqlite"]
    after = house.store.read_bytes()
    assert [id for id in dying if wrapped[id] in after or wrapped[id][12:44] in after] == []
    assert all(value in after for id, value in wrapped.items() if id not in dying)


@pytest.mark.clause("J1")
def test_an_earlier_wrapping_is_nowhere_in_the_file_once_it_is_replaced(house: House) -> None:
    key = house.intake().key("subject", CLIENT)
    old = house.row(key.id)[6]
    assert old in house.store.read_bytes()
    rotate(house)
    assert house.row(key.id)[6] != old
    assert old not in house.store.read_bytes()
    assert house.files() == ["keys.sqlite"]


def test_no_secret_is_in_the_file_in_clear(house: House) -> None:
    found = house.intake().sealing("subject", texts("client 1", "client 2"))
    raw = house.store.read_bytes()
    ring = Keyring.load(house.ring).key(KEY_ENCRYPTION).secret
    for secret in (*(key.secret for key in found.keys), ring, house.service()._reference.secret):
        assert secret not in raw
    assert all(key.id in raw for key in found.keys)


# -- keyring and store belong together ---------------------------------------------------------------------------------


def rotate(house: House, *, ended: bool = True) -> None:
    """Replace the key-encryption key; unless `ended`, the old version stays for a while."""
    ring = Keyring.add_version(house.ring, KEY_ENCRYPTION, now=house.now)
    service = house.service()
    new = max(ring.versions(KEY_ENCRYPTION))
    service.store.begin_version(new, check_value(ring.key(KEY_ENCRYPTION, new), service.store.head().store_id))
    page = service.store.behind(new, b"")
    service.store.rewrap(service.rewrapped(page, new), new)
    if ended:
        service.store.end_versions(new)
        Keyring.remove(house.ring, [(KEY_ENCRYPTION, version) for version in range(1, new)])


def refused_at_open(house: House, message: str) -> None:
    before, files = house.store.read_bytes(), house.files()
    with pytest.raises(KeyringError, match=message):
        house.service()
    assert house.store.read_bytes() == before
    assert house.files() == files


@pytest.mark.clause("J1")
def test_another_keyring_is_refused_before_anything_is_done_and_the_store_is_left_as_it_was(house: House) -> None:
    house.intake().key("subject", CLIENT)
    house.ring.unlink()
    Keyring.create(house.ring, now=NOW)
    refused_at_open(house, "key_encryption/1 is not the one that key store .* was wrapped with; restore the keyring")


@pytest.mark.clause("J1")
def test_a_keyring_without_the_stores_version_is_refused(house: House) -> None:
    house.intake().key("subject", CLIENT)
    Keyring.add_version(house.ring, KEY_ENCRYPTION)
    Keyring.remove(house.ring, [(KEY_ENCRYPTION, 1)])
    refused_at_open(house, "no key key_encryption/1, which wraps key store .*; restore the keyring that has it")


@pytest.mark.clause("J1")
def test_a_keyring_without_any_key_encryption_key_is_refused(house: House) -> None:
    Keyring.add_version(house.ring, "at_rest", "of the first version")
    Keyring.remove(house.ring, [(KEY_ENCRYPTION, 1)])
    refused_at_open(house, "no key key_encryption/1")


def test_a_keyring_that_is_missing_is_an_error_and_no_new_one_is_made(house: House) -> None:
    house.ring.unlink()
    refused_at_open(house, "keyring .*: there is no such file. Restore it from its backup")
    assert not house.ring.exists()


def test_a_keyring_with_a_version_that_the_store_does_not_know_yet_fits(house: House) -> None:
    key = house.intake().key("subject", CLIENT)
    Keyring.add_version(house.ring, KEY_ENCRYPTION)
    assert house.intake().key("subject", CLIENT) == key
    assert house.row(house.intake().key("subject", "client 2").id)[5] == 1


@pytest.mark.clause("J1")
def test_an_old_copy_of_the_store_is_worth_nothing_once_the_key_encryption_key_is_replaced(house: House) -> None:
    house.intake().key("subject", CLIENT)
    old = house.folder / "old.sqlite"
    shutil.copy(house.store, old)
    rotate(house)
    shutil.copy(old, house.store)
    refused_at_open(house, "no key key_encryption/1, which wraps .*older than the last rotation has expired")


def test_replacing_the_key_encryption_key_changes_no_data_key(house: House) -> None:
    key = house.intake().key("subject", CLIENT)
    rotate(house)
    assert house.intake().key("subject", CLIENT) == key
    assert house.row(key.id)[5] == 2
    assert house.row(house.intake().key("subject", "client 2").id)[5] == 2


def test_a_keyring_that_was_read_just_before_a_rotation_is_read_again(house: House) -> None:
    before = Keyring.load(house.ring)
    rotate(house)
    read = iter((before, Keyring.load(house.ring)))
    with closing(keys.open_service(str(house.store), lambda: next(read), POLICY, lambda: NOW)) as service:
        assert service.acting("loader", "intake", never).key("subject", CLIENT).kind == "subject"


def test_a_step_that_began_before_a_rotation_goes_on_after_it(house: House) -> None:
    key = house.intake().key("subject", CLIENT)
    step = house.intake()
    rotate(house)
    assert step.key("subject", CLIENT) == key
    assert house.row(step.key("subject", "client 2").id)[5] == 2


def test_keys_that_are_re_wrapped_between_two_looks_are_looked_at_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = house.intake().key("subject", CLIENT)
    service = house.service()
    assert service._reference.id == REFERENCE_ID
    stale = service.store.fetch([key.id])
    rotate(house)
    service.keyring = Keyring.load(house.ring)
    service._wrappers.clear()
    fetch, looks = KeyStore.fetch, [stale]
    monkeypatch.setattr(KeyStore, "fetch", lambda self, ids: looks.pop() if looks else fetch(self, ids))
    assert service.acting("sharer", "contract", never).opening("subject", binary(key.id)).key_of(key.id) == key


def test_keys_that_stay_under_a_version_that_is_lost_are_an_error_and_not_an_endless_search(house: House) -> None:
    key = house.intake().key("subject", CLIENT)
    rotate(house)
    house.sql("UPDATE data_keys SET version = 9 WHERE id = ?", key.id)
    with pytest.raises(KeyringError, match="no key key_encryption/9; restore the keyring that has it"):
        house.intake().key("subject", CLIENT)


def test_a_key_encryption_key_that_is_replaced_while_keys_are_made_is_followed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = house.intake()
    step.key("subject", "client 1")
    head, rotations = KeyStore.head, [True]

    def head_before_a_rotation(self: KeyStore) -> Any:
        found = head(self)
        if rotations and rotations.pop():
            rotate(house)
        return found

    monkeypatch.setattr(KeyStore, "head", head_before_a_rotation)
    made = step.key("subject", CLIENT)
    assert house.row(made.id)[5] == 2
    assert house.intake().key("subject", CLIENT) == made


def test_a_key_encryption_key_that_is_replaced_over_and_over_is_an_error(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    monkeypatch.setattr(KeyStore, "add", lambda self, made: tries.append(len(made)))
    with pytest.raises(KeyringError, match="replaced over and over"):
        house.intake().key("subject", CLIENT)
    assert tries == [1] * 5
    assert house.count() == 0


# -- a row that was altered by hand ------------------------------------------------------------------------------------


def altered(house: House, statement: str, *values: Any) -> None:
    """Alter the file by hand, with the triggers out of the way."""
    house.sql("DROP TRIGGER data_keys_final")
    house.sql(statement, *values)


@pytest.mark.clause("K1")
def test_a_deadline_that_was_moved_in_the_file_makes_the_key_useless(house: House) -> None:
    key = house.intake().key("card_hour", HOUR)
    altered(house, "UPDATE data_keys SET expires_at = expires_at + 864000 WHERE id = ?", key.id)
    house.now = OF_CARDS
    with pytest.raises(KeyringError, match="a key of kind card_hour cannot be unwrapped: its row .* was altered"):
        house.intake().key("card_hour", HOUR)
    with pytest.raises(KeyringError, match="cannot be unwrapped"):
        house.acting(*SCREENER).opening("card_hour", binary(key.id))


@pytest.mark.clause("K1")
@pytest.mark.parametrize("change", ["expires_at = NULL", "created_at = created_at + 1", "kind = 'visit_day'"])
def test_what_else_was_altered_of_a_row_makes_its_key_useless_too(house: House, change: str) -> None:
    key = house.intake().key("card_hour", HOUR)
    altered(house, f"UPDATE data_keys SET {change} WHERE id = ?", key.id)
    with pytest.raises(KeyringError, match="cannot be unwrapped") as refusal:
        house.intake().key("card_hour", HOUR)
    assert HOUR not in str(refusal.value)


@pytest.mark.clause("M1")
def test_the_secret_of_one_key_is_of_no_use_under_the_id_of_another(house: House) -> None:
    mine, theirs = house.intake().key("subject", "client 1"), house.intake().key("subject", "client 2")
    house.sql(  # the tables let a wrapping be replaced, as a rotation does
        "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE id = ?) WHERE id = ?", theirs.id, mine.id
    )
    with pytest.raises(KeyringError, match="a key of kind subject cannot be unwrapped"):
        house.intake().key("subject", "client 1")
    assert house.intake().key("subject", "client 2") == theirs


@pytest.mark.clause("M1")
def test_a_destroyed_key_does_not_come_back_with_the_secret_of_another_one(house: House) -> None:
    gone, other = house.intake().key("subject", CLIENT), house.intake().key("subject", "client 2")
    house.destroy("subject", CLIENT)
    altered(
        house,
        "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE id = ?), destroyed_at = NULL, "
        "destroyed_by = NULL WHERE id = ?",
        other.id,
        gone.id,
    )
    with pytest.raises(KeyringError, match="cannot be unwrapped"):
        house.intake().key("subject", CLIENT)


def test_a_store_that_has_lost_its_reference_key_says_so_and_makes_no_other(house: House) -> None:
    house.sql("DROP TRIGGER data_keys_kept")
    house.sql("DELETE FROM data_keys WHERE id = ?", REFERENCE_ID)
    with pytest.raises(KeyringError, match="it has lost its reference key; restore it from its backup"):
        house.intake().key("subject", CLIENT)
    assert house.sql("SELECT count(*) FROM data_keys") == [(0,)]


# -- a store that is not sound -----------------------------------------------------------------------------------------


@pytest.mark.clause("J1")
def test_a_store_that_is_missing_is_an_error_and_never_made_anew(bare: House) -> None:
    with pytest.raises(KeyringError, match="key store .*: there is no such file. Restore it"):
        bare.service()
    with pytest.raises(KeyringError, match="there is no such file"):
        KeyStore.open(str(bare.store))
    assert bare.files() == []


@pytest.mark.clause("J1")
def test_a_store_that_vanishes_after_it_was_looked_at_is_not_made_anew_either(
    bare: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_databases.SqliteDatabase, "_check_file", lambda self, path: None)
    with pytest.raises(KeyringError, match="not a sound key store"):
        bare.service()
    assert bare.files() == []


@pytest.mark.clause("J1")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o620, 0o602, 0o644, 0o777])
def test_a_store_that_others_can_reach_is_refused(house: House, mode: int) -> None:
    house.store.chmod(mode)
    refused_at_open(house, f"mode {mode:04o} lets others than its owner in; chmod 600")
    assert house.store.stat().st_mode & 0o777 == mode


def test_a_store_of_its_owner_alone_is_opened(house: House) -> None:
    house.store.chmod(0o600)
    assert house.intake().key("subject", CLIENT).kind == "subject"


@pytest.mark.clause("J1")
@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"not a store" * 1000, b"SQLite format 3\0" + b"\0" * 84, b"SQLite format 3\0" + b"\xff" * 5000],
    ids=["empty", "a byte", "garbage", "a head and nothing", "a head and garbage"],
)
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(bare: House, content: bytes) -> None:
    bare.store.write_bytes(content)
    bare.store.chmod(0o600)
    refused_at_open(bare, "not a sound key store")
    assert bare.files() == ["keys.sqlite"]


def test_a_database_of_something_else_is_refused_and_left_as_it_is(bare: House) -> None:
    with closing(sqlite3.connect(bare.store)) as connection, connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    bare.store.chmod(0o600)
    refused_at_open(bare, "not a sound key store")


@pytest.mark.parametrize("format_", ["governance-keys/2", "governance-keys/10", ""])
def test_a_store_of_another_format_is_refused_and_left_as_it_is(house: House, format_: str) -> None:
    house.sql("UPDATE store SET format = ?", format_)
    refused_at_open(house, "not a governance-keys/1 store; use the version of this project that made it")


def test_a_store_without_a_head_is_refused(house: House) -> None:
    house.sql("DELETE FROM store")
    refused_at_open(house, "not a governance-keys/1 store")


def test_a_folder_in_place_of_the_store_is_refused(bare: House) -> None:
    bare.store.mkdir(0o700)
    with pytest.raises(KeyringError, match="not a regular file"):
        bare.service()


def test_a_pipe_in_place_of_the_store_is_refused_and_not_waited_for(bare: House) -> None:
    os.mkfifo(bare.store, 0o600)
    with pytest.raises(KeyringError, match="not a regular file"):
        bare.service()


def test_a_store_that_cannot_be_written_says_so(house: House) -> None:
    service = house.service()
    assert isinstance(service.store._database, key_databases.SqliteDatabase)
    service.store._database._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(KeyringError, match="cannot be written .SQLITE_READONLY.*the right to write to file and folder"):
        service.store.new_writer(0)


def test_a_store_behind_a_link_is_opened_and_made_where_the_link_leads(bare: House) -> None:
    link = bare.folder / "link.sqlite"
    link.symlink_to(bare.store)
    keys.create(str(link), Keyring.load(bare.ring), now=NOW).close()
    assert link.is_symlink()
    assert bare.files() == ["keys.sqlite"]
    with closing(keys.open_service(str(link), lambda: Keyring.load(bare.ring), POLICY, lambda: NOW)) as service:
        assert service.store.path == bare.store
        assert service.acting("loader", "intake", never).key("subject", CLIENT).kind == "subject"


def test_a_draft_of_a_store_that_a_kill_has_left_is_replaced_with_its_journal(bare: House) -> None:
    for name in (".keys.sqlite.draft", ".keys.sqlite.draft-journal"):
        (bare.store.parent / name).write_bytes(b"of an earlier try")
    keys.create(str(bare.store), Keyring.load(bare.ring), now=NOW).close()
    assert bare.files() == ["keys.sqlite"]
    assert bare.intake().key("subject", CLIENT).kind == "subject"


def test_a_store_in_a_place_that_cannot_be_looked_at_is_refused(bare: House) -> None:
    beneath_a_file = bare.ring / "keys.sqlite"
    with pytest.raises(KeyringError, match="cannot be read"):
        KeyStore.open(str(beneath_a_file))


@pytest.mark.clause("J1")
def test_a_table_that_was_cut_off_is_refused_at_its_first_use(house: House) -> None:
    house.intake().sealing("subject", texts(*(f"client {n}" for n in range(300))))
    whole = house.store.read_bytes()
    house.store.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KeyringError, match="not a sound key store"):
        house.intake().sealing("subject", texts(*(f"client {n}" for n in range(300))))


@pytest.mark.clause("J1")
@pytest.mark.parametrize("content", [None, b"", b"something of somebody's"])
def test_making_a_store_where_there_is_a_file_leaves_that_alone(house: House, content: bytes | None) -> None:
    if content is None:
        house.intake().key("subject", CLIENT)
    else:
        house.store.write_bytes(content)
    before = house.store.read_bytes()
    with pytest.raises(KeyringError, match="there is one already; it is left alone"):
        keys.create(str(house.store), Keyring.load(house.ring), now=NOW)
    assert house.store.read_bytes() == before
    assert house.files() == ["keys.sqlite"]


@pytest.mark.clause("J1")
def test_a_new_store_is_its_owners_alone_and_no_draft_is_left(bare: House) -> None:
    old = os.umask(0)
    try:
        keys.create(str(bare.store), Keyring.load(bare.ring), now=NOW).close()
    finally:
        os.umask(old)
    assert bare.store.stat().st_mode & 0o777 == 0o600
    assert bare.files() == ["keys.sqlite"]


def test_a_store_that_cannot_be_made_is_an_error_and_leaves_nothing(
    bare: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyringError, match="cannot be made"):
        keys.create(str(bare.folder / "nowhere" / "keys.sqlite"), Keyring.load(bare.ring), now=NOW)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(KeyStore, "_begin", full)
    with pytest.raises(KeyringError, match="cannot be made .No space left"):
        keys.create(str(bare.store), Keyring.load(bare.ring), now=NOW)
    assert bare.files() == []


def test_a_store_is_not_made_without_a_key_encryption_key(bare: House) -> None:
    Keyring.remove(bare.ring, [(KEY_ENCRYPTION, 1)])
    with pytest.raises(KeyringError, match="no key key_encryption"):
        keys.create(str(bare.store), Keyring.load(bare.ring), now=NOW)
    assert bare.files() == []


@pytest.mark.clause("J1")
def test_a_store_whose_maker_was_killed_before_it_lost_its_second_name_stays_whole(
    bare: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Keyring.load(bare.ring)
    faults.killed(
        lambda: keys.create(str(bare.store), ring, now=NOW),
        lambda stop: monkeypatch.setattr(key_databases, "keep_names", lambda _: stop()),
    )
    assert bare.files() == [".keys.sqlite.draft", "keys.sqlite"]
    whole = bare.store.read_bytes()
    with pytest.raises(KeyringError, match="there is one already"):
        keys.create(str(bare.store), ring, now=NOW)
    with closing(bare.service()) as service:
        assert [p for p in key_audit.audit(service, ()).problems if ".keys.sqlite.draft was left by a kill" in p]
    sweep(bare.store)
    assert bare.files() == ["keys.sqlite"]
    assert bare.store.read_bytes() == whole


def test_a_store_that_somebody_else_is_making_is_left_to_them(bare: House) -> None:
    draft = bare.store.with_name(".keys.sqlite.draft")
    with claimed(draft):
        sweep(bare.store)
        with pytest.raises(KeyStoreUnavailableError, match="somebody else is making it just now"):
            keys.create(str(bare.store), Keyring.load(bare.ring), now=NOW)
        assert bare.files() == [draft.name]
    sweep(bare.store)
    assert bare.files() == []


def test_two_new_stores_under_one_keyring_have_nothing_in_common(bare: House) -> None:
    ring, other = Keyring.load(bare.ring), bare.store.with_name("other.sqlite")
    found = []
    for path in (bare.store, other):
        keys.create(str(path), ring, now=NOW).close()
        with closing(keys.open_service(str(path), lambda: ring, POLICY, lambda: NOW)) as service:
            found.append((service.acting("loader", "intake", never).key("subject", CLIENT), service.store.head()))
    (key, head), (other_key, other_head) = found
    assert key.id != other_key.id
    assert key.secret != other_key.secret
    assert head.store_id != other_head.store_id
    assert head.check_values != other_head.check_values


# -- a store that is busy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_store_that_somebody_keeps_busy_is_an_error_that_passes(
    house: House, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr(key_databases, "PATIENCE_SECONDS", 0.05)
    key = house.intake().key("subject", CLIENT)
    step, reader = house.intake(), house.acting("sharer", "contract")
    with closing(sqlite3.connect(house.store, isolation_level=None)) as other:
        other.execute(f"BEGIN {lock}")
        with pytest.raises(KeyStoreUnavailableError, match=r"somebody else keeps it busy .SQLITE_BUSY.*to be repeated"):
            step.key("subject", "client 2")
        if lock == "IMMEDIATE":  # who only reads does not wait
            assert reader.opening("subject", binary(key.id)).key_of(key.id) == key
        else:
            with pytest.raises(KeyStoreUnavailableError):
                house.service()
        other.execute("ROLLBACK")
    assert house.count() == 1
    assert step.key("subject", "client 2").kind == "subject"
    assert KeyStoreUnavailableError.exit_code == 75


def test_a_write_that_fails_half_way_leaves_nothing_of_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    key = house.intake().key("subject", CLIENT)
    before = house.store.read_bytes()

    class KilledError(Exception):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    store = house.service().store
    monkeypatch.setattr("governance.key_databases._SqliteTransaction.many", killed)
    with pytest.raises(KilledError):
        store.destroy([key.id], Destruction("act", "a test", 1, False))
    assert store.acts() == []
    assert house.store.read_bytes() == before
    monkeypatch.undo()
    assert house.destroy("subject", CLIENT).is_destroyed


# -- what the store tells ----------------------------------------------------------------------------------------------


@pytest.mark.clause("K1")
def test_keys_are_due_and_counted_from_their_deadline_on(house: House) -> None:
    house.intake().key("card_hour", HOUR)
    house.intake().key("card_hour", "2026-03-12T08")
    house.intake().key("subject", CLIENT)
    store = house.service().store
    deadline = int(OF_CARDS.timestamp())
    assert [key.scope for key in store.due(deadline - 3600)] == ["2026-03-12T08"]
    assert [key.scope for key in store.due(deadline - 1)] == ["2026-03-12T08"]
    assert [key.scope for key in store.due(deadline)] == ["2026-03-12T08", HOUR]
    house.now = OF_CARDS
    house.destroy("card_hour", "2026-03-12T08")
    assert store.census(deadline) == [
        Census("card_hour", 1, 1, 1, deadline, deadline),
        Census("subject", 1, 0, 0, None, None),
    ]
    assert [key.scope for key in store.named("card_hour")] == ["2026-03-12T08", HOUR]
    assert store.named("subject") == store.named("") == []


# -- secrets stay where they are ---------------------------------------------------------------------------------------


def shown(secret: bytes) -> set[str]:
    """How a secret would look if it were shown."""
    return {repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode(), str(list(secret))}


@pytest.mark.clause("J1")
def test_nothing_shows_a_secret_or_whom_a_key_is_for(house: House) -> None:
    service = house.service()
    intake = service.acting("loader", "intake", never)
    rows = intake.sealing("subject", texts(CLIENT, "client 2"))
    key = intake.key("subject", CLIENT)
    found = service.acting("sharer", "contract", never).opening("subject", rows.ids())
    things: list[object] = [
        service, intake, rows, key, found, service.keyring, service.store, service.store.head(), service.nonces,
        service.wrapper(1), service.store.fetch([key.id]), Opened({key.id: key}, frozenset({key.id})),
        RowKeys.same(key, 2), service._reference, [key], {"key": key}, service.keyring.key(KEY_ENCRYPTION),
    ]  # fmt: skip
    secrets = [key.secret, rows.keys[1].secret, service._reference.secret, service.keyring.key(KEY_ENCRYPTION).secret]
    for thing in things:
        for text in (repr(thing), str(thing), f"{thing}"):
            assert not [form for secret in secrets for form in shown(secret) if form in text]
            assert CLIENT not in text
    assert repr(found) == "Opened()"
    assert repr(key) == "DataKey(kind='subject')"


@pytest.mark.clause("J1")
def test_no_error_shows_a_secret_or_whom_a_key_is_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_databases, "PATIENCE_SECONDS", 0.05)
    key = house.intake().key("subject", CLIENT)
    wrapped = house.row(key.id)[6]
    errors: list[BaseException] = []

    def caught(act: Callable[[], object]) -> None:
        with pytest.raises(GovernanceError) as refusal:
            act()
        errors.append(refusal.value)

    caught(lambda: house.acting("analyst", "intake", Told()).key("subject", CLIENT))
    caught(lambda: house.acting("sharer", "contract").opening("subject", binary(b"x" * 16)))
    with closing(sqlite3.connect(house.store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        caught(lambda: house.intake().key("subject", "client 2"))
    house.destroy("subject", CLIENT)
    caught(lambda: house.intake().key("subject", CLIENT))
    caught(lambda: house.acting("sharer", "contract").opening("subject", binary(key.id)).key_of(key.id))
    altered(
        house,
        "UPDATE data_keys SET wrapped = ?, destroyed_at = NULL, destroyed_by = NULL WHERE id = ?",
        wrapped[:-1] + bytes([wrapped[-1] ^ 1]),
        key.id,
    )
    caught(lambda: house.intake().key("subject", CLIENT))
    assert len(errors) == 6
    for error in errors:
        assert error.__suppress_context__ or error.__context__ is None
        assert not [form for secret in (key.secret, key.id, wrapped) for form in shown(secret) if form in str(error)]
        assert CLIENT not in str(error)
        assert "50012" not in str(error)


def test_the_standard_keyring_is_what_a_store_needs(house: House) -> None:
    assert set(STANDARD_KEYS) == {KEY_ENCRYPTION}
    head = house.service().store.head()
    assert head.check_values == {1: check_value(Keyring.load(house.ring).key(KEY_ENCRYPTION), head.store_id)}
    reference = house.service().store.fetch([REFERENCE_ID])[REFERENCE_ID]
    assert Wrapper(Keyring.load(house.ring).key(KEY_ENCRYPTION), head.store_id).unwrap(reference).id == REFERENCE_ID
    assert np.array_equal(RowKeys.same(house.service()._reference, 2).has_key, [True, True])
