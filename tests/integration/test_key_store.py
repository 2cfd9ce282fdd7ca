"""One contract for the key store, wherever it is: a SQLite file, and a PostgreSQL of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

import builders
import faults
from aftermath import entries
from builders import NOW, World
from faults import Stop
from governance import key_audit, key_backups, key_databases, keys, steps
from governance import policy as policies
from governance.embedded.site import Site
from governance.errors import GovernanceError, InputError, KeyringError, KeyStoreUnavailableError
from governance.key_store import Destruction, KeyStore
from governance.key_wrapping import StoredKey
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.keys import KeyService

pytestmark = [pytest.mark.pg, pytest.mark.clause("J1")]

POLICY = policies.load()
ACT = Destruction("act", "a test", int(NOW.timestamp()), False)


@pytest.fixture(params=("sqlite", "postgres"))
def address(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[str]:
    """Where a store may be made."""
    if request.param == "sqlite":
        yield str(tmp_path / "keys.sqlite")
        return
    # Not the cluster that the keys protect: the other one stands for a PostgreSQL of its own.
    with closing(psycopg2.connect(site.dsn("source_postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE IF EXISTS keys_of_a_test")
            cursor.execute("CREATE DATABASE keys_of_a_test")
            yield site.dsn("source_postgres").rsplit("/", 1)[0] + "/keys_of_a_test"
            cursor.execute("DROP DATABASE keys_of_a_test WITH (FORCE)")


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """A keyring file."""
    path = tmp_path / "keyring.json"
    Keyring.create(path, now=NOW)
    return path


@pytest.fixture
def service(address: str, ring: Path) -> Iterator[KeyService]:
    """A service on a new store."""
    keys.create(address, Keyring.load(ring), now=NOW).close()
    with closing(serve(address, ring)) as found:
        yield found


def serve(address: str, ring: Path, now: datetime = NOW) -> KeyService:
    return keys.open_service(address, lambda: Keyring.load(ring), POLICY, lambda: now)


def never(error: GovernanceError) -> None:
    raise AssertionError(error)


def sealing(service: KeyService, *scopes: str, kind: str = "subject") -> list[bytes]:
    """The secrets of keys, made when they are not there."""
    found = service.acting("loader", "intake", never).sealing(kind, pa.array(scopes, pa.string()))
    return [found.keys[at].secret for at in found.of_row]


def test_a_key_is_the_same_whenever_and_by_whomever_it_is_asked_for(
    service: KeyService, address: str, ring: Path
) -> None:
    first = sealing(service, "client 1", "client 2", "client 1")
    assert first[0] == first[2] != first[1]
    with closing(serve(address, ring)) as another:
        assert sealing(another, "client 2", "client 1") == [first[1], first[0]]


def test_a_new_store_is_made_where_there_is_none_and_nowhere_else(address: str, ring: Path) -> None:
    with pytest.raises(KeyringError, match="key store"):
        serve(address, ring)
    assert not key_databases.exists(address)
    keys.create(address, Keyring.load(ring), now=NOW).close()
    with closing(serve(address, ring)) as service:
        before = sealing(service, "client 1")
    with pytest.raises(KeyringError, match="there is one already; it is left alone"):
        keys.create(address, Keyring.load(ring), now=NOW)
    with closing(serve(address, ring)) as service:
        assert sealing(service, "client 1") == before


def test_another_keyring_is_refused_and_changes_nothing(service: KeyService, address: str, tmp_path: Path) -> None:
    before = sealing(service, "client 1")
    other = tmp_path / "other.json"
    Keyring.create(other)
    with pytest.raises(KeyringError, match=r"key_encryption/1 is not the one that key store .* was wrapped with"):
        serve(address, other)
    nothing = tmp_path / "nothing.json"
    Keyring.create(nothing, {"else": "not for this"})
    with pytest.raises(KeyringError, match="no key key_encryption/1, which wraps"):
        serve(address, nothing)
    assert sealing(service, "client 1") == before


def test_what_is_destroyed_is_gone_stays_gone_and_is_noted(service: KeyService) -> None:
    sealing(service, "client 1", "client 2")
    ids = [service.id_of("subject", f"client {n}") for n in (1, 2)]
    left = service.store.destroy(ids[:1], ACT)
    assert [(key.id, key.wrapped, key.destroyed_by) for key in left] == [(ids[0], None, "act")]
    assert service.store.destroy(ids[:1], replace(ACT, attempt_id="again")) == []
    assert service.store.acts() == [ACT] == service.store.unrecorded()
    service.store.mark_recorded("act")
    assert service.store.unrecorded() == []
    assert [key.id for key in service.store.destroyed_by("act")] == ids[:1]
    found = service.acting("loader", "intake", never).sealing("subject", pa.array(["client 1", "client 2"]))
    assert found.of_row.tolist() == [-1, 1]
    assert service.unwrapped(ids)[1].keys() == {ids[0]}


@pytest.mark.parametrize("elsewhere", [2, 3, 20])
def test_those_destroyed_of_keys_are_the_same_whether_they_are_few_or_many(service: KeyService, elsewhere: int) -> None:
    """Of one key that is asked for four destroyed ones are many: then it is looked up by itself."""
    scopes = [f"client {number}" for number in range(elsewhere + 3)]
    sealing(service, *scopes)
    gone, living, unknown, *others = (service.id_of("subject", scope) for scope in ["client 0", "client 1", "nobody",
                                                                                   *scopes[2:]])  # fmt: skip
    assert service.store.destroyed([gone]) == {} == service.store.destroyed([])
    service.store.destroy([gone, *others[:elsewhere]], ACT)
    for asked in ([gone], [living], [unknown], [gone, living, unknown], [gone, gone]):
        found = service.store.destroyed(asked)
        assert found == {id: key for id, key in service.store.fetch(asked).items() if key.is_destroyed}
        assert found.keys() == {gone} & set(asked)


@pytest.mark.parametrize(
    "statement",
    (
        "UPDATE data_keys SET wrapped = 'x', destroyed_at = NULL, destroyed_by = NULL WHERE kind = 'subject'",
        "UPDATE data_keys SET expires_at = expires_at + 1 WHERE kind = 'card_hour'",
        "UPDATE data_keys SET expires_at = NULL WHERE kind = 'card_hour'",
        "UPDATE data_keys SET kind = 'profile' WHERE kind = 'card_hour'",
        "DELETE FROM data_keys WHERE kind = 'subject'",
        "DELETE FROM data_keys WHERE kind = 'card_hour'",
    ),
)
@pytest.mark.clause("K1")
def test_the_tables_refuse_to_undo_a_destruction_to_move_a_deadline_or_to_lose_a_key(
    service: KeyService, statement: str
) -> None:
    sealing(service, "client 1")
    sealing(service, "2026-03-12T08", kind="card_hour")
    service.store.destroy([service.id_of("subject", "client 1")], ACT)
    before = list(service.store.pages())
    with pytest.raises(KeyringError, match="refused the step"), service.store._database.write() as transaction:
        transaction.run(statement)
    assert list(service.store.pages()) == before


def test_keys_are_due_from_their_deadline_on(service: KeyService) -> None:
    sealing(service, "2026-03-12T08", "2026-03-12T07", kind="card_hour")
    sealing(service, "client 1")
    deadline = datetime(2026, 3, 12, 7, tzinfo=UTC) + timedelta(hours=238)
    assert service.store.due((deadline - timedelta(seconds=1)).timestamp()) == []
    assert [key.scope for key in service.store.due(deadline.timestamp())] == ["2026-03-12T07"]
    later = (deadline + timedelta(hours=1)).timestamp()
    assert [key.scope for key in service.store.due(later)] == ["2026-03-12T07", "2026-03-12T08"]
    assert [key.scope for key in service.store.named("card_hour")] == ["2026-03-12T07", "2026-03-12T08"]
    counted = {c.kind: (c.alive, c.destroyed, c.overdue, c.next_deadline) for c in service.store.census(later)}
    assert counted == {"card_hour": (2, 0, 2, int(deadline.timestamp())), "subject": (1, 0, 0, None)}


def test_a_scope_that_names_a_person_is_not_in_the_store(service: KeyService, address: str, tmp_path: Path) -> None:
    sealing(service, "client 987654321", "traveller 11111/2")
    stored = [key for page in service.store.pages() for key in page]
    assert [key.scope for key in stored] == [None] * 3  # the reference key is one of them
    if not address.startswith("postgres"):
        content = Path(address).read_bytes()
        assert b"987654321" not in content
        assert b"subject" in content


def test_writers_are_never_handed_out_twice_whatever_the_clock_says(service: KeyService) -> None:
    now = NOW.timestamp()
    given = [service.store.new_writer(at) for at in (now, now, now - 1e6, now + 1, 0.0)]
    assert given == sorted(set(given))
    assert given[0] == int(now * 1000)


def _seal_in_child(address: str, ring: Path, barrier: Any, results: Any) -> None:
    with closing(serve(address, ring)) as service:
        barrier.wait(60)
        results.put(sealing(service, *[f"client {n}" for n in range(300)]))


def test_processes_that_need_the_same_keys_at_once_get_the_same(service: KeyService, address: str, ring: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    children = [context.Process(target=_seal_in_child, args=(address, ring, barrier, results)) for _ in range(4)]
    for child in children:
        child.start()
    found = [results.get(timeout=90) for _ in children]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert all(secrets == found[0] for secrets in found)
    assert len(set(found[0])) == 300
    assert sealing(service, *[f"client {n}" for n in range(300)]) == found[0]


# -- the key-encryption key --------------------------------------------------------------------------------------------


@pytest.fixture
def space(site: Site, address: str, ring: Path, world: World) -> steps.Workspace:
    """A workspace whose keys are those of the store under test, and a run log that knows of none yet."""
    return builders.workspace(site, keys=lambda: serve(address, ring))


SCOPES = [f"client {n}" for n in range(50)]


def test_rotation_wraps_every_key_anew_and_ends_the_old_version(
    service: KeyService, address: str, ring: Path, space: steps.Workspace
) -> None:
    before = sealing(service, *SCOPES)
    wrapped = {key.id: key.wrapped for page in service.store.pages() for key in page}
    old = Keyring.load(ring)
    assert steps.rotate_key(space, builders.run()) == 51
    assert Keyring.load(ring).versions(KEY_ENCRYPTION).keys() == {2}
    with closing(serve(address, ring)) as again:
        assert sealing(again, *SCOPES) == before
        after = {key.id: key.wrapped for page in again.store.pages() for key in page}
        assert after.keys() == wrapped.keys()
        assert not set(after.values()) & set(wrapped.values())
        assert {key.version for page in again.store.pages() for key in page} == {2}
    with pytest.raises(KeyringError, match="no key key_encryption/2"):
        keys.open_service(address, lambda: old, POLICY, lambda: NOW)
    # A process that has been running since before the rotation goes on.
    assert sealing(service, *SCOPES, "client 99")[:50] == before
    assert steps.rotate_key(space, builders.run()) == 52


Point = Callable[[pytest.MonkeyPatch, Stop], None]


def before(target: Any, name: str, turn: int = 1) -> Point:
    """A point before the n-th call of a method."""

    def point(patch: pytest.MonkeyPatch, stop: Stop) -> None:
        original, calls = getattr(target, name), iter(range(1, 1000))

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == turn:
                stop()
            return original(*args, **kwargs)

        patch.setattr(target, name, wrapper)

    return point


def after(target: Any, name: str, turn: int = 1) -> Point:
    """A point after the n-th call of a method."""

    def point(patch: pytest.MonkeyPatch, stop: Stop) -> None:
        original, calls = getattr(target, name), iter(range(1, 1000))

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if next(calls) == turn:
                stop()
            return result

        patch.setattr(target, name, wrapper)

    return point


POINTS: dict[str, Point] = {
    "before the keyring has a new version": before(Keyring, "add_version"),
    "with a new version in the keyring alone": after(Keyring, "add_version"),
    "within the transaction that makes it current": after(key_databases._SqliteTransaction, "run", 5),
    "with the store on the new version": after(KeyStore, "begin_version"),
    "before the first keys are wrapped anew": before(KeyStore, "rewrap"),
    "within the transaction that wraps": after(key_databases._SqliteTransaction, "many"),
    "between two pages": after(KeyStore, "rewrap"),
    "when all keys are wrapped": before(KeyStore, "end_versions"),
    "with the old version forgotten by the store": after(KeyStore, "end_versions"),
    "with the old version out of the keyring": after(Keyring, "remove"),
    "before the entry of the outcome": before(steps.keeping.Recorded, "outcome"),
}


@pytest.mark.parametrize("name", POINTS)
def test_a_rotation_that_is_killed_anywhere_leaves_a_store_that_works_and_is_finished_by_the_next(
    site: Site, world: World, tmp_path: Path, ring: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = str(tmp_path / "keys.sqlite")
    keys.create(path, Keyring.load(ring), now=NOW).close()
    with closing(serve(path, ring)) as service:
        secrets = sealing(service, *SCOPES)
    space = builders.workspace(site, keys=lambda: serve(path, ring))
    original = KeyStore.behind

    def in_small_pages(self: KeyStore, version: int, last: bytes, limit: int = 10) -> list[StoredKey]:
        return original(self, version, last, limit)

    with monkeypatch.context() as patch:
        patch.setattr(KeyStore, "behind", in_small_pages)
        faults.killed(lambda: steps.rotate_key(space, builders.run()), lambda stop: POINTS[name](patch, stop))
    with closing(serve(path, ring)) as service:
        assert sealing(service, *SCOPES, f"client new {name}")[:50] == secrets
    steps.rotate_key(space, builders.run())
    with closing(serve(path, ring)) as service:
        assert sealing(service, *SCOPES) == secrets
        current = service.store.head().current_version
        assert {key.version for page in service.store.pages() for key in page} == {current}
        assert Keyring.load(ring).versions(KEY_ENCRYPTION).keys() == {current}
        assert service.store.head().check_values.keys() == {current}
        assert key_audit.audit(service, ()).problems == []
    assert sorted(os.listdir(tmp_path)) == ["keyring.json", "keys.sqlite"]


def test_a_keyring_from_a_connection_is_rotated_where_the_connection_keeps_it(
    address: str, ring: Path, site: Site, world: World
) -> None:
    texts = [ring.read_text()]
    keys.create(address, Keyring.load(ring), now=NOW).close()

    def of_connection() -> KeyService:
        return keys.open_service(address, lambda: Keyring.parse(texts[-1], "of a test"), POLICY, lambda: NOW)

    space = builders.workspace(site, keys=of_connection)
    with closing(of_connection()) as service:
        secrets = sealing(service, *SCOPES)
    with pytest.raises(KeyringError, match=r"has no version after 1: add one \(`governance keys new-version FILE`\)"):
        steps.rotate_key(space, builders.run())
    Keyring.add_version(ring, KEY_ENCRYPTION)
    texts.append(ring.read_text())
    assert steps.rotate_key(space, builders.run()) == 51
    Keyring.remove(ring, {(KEY_ENCRYPTION, 1)})
    texts.append(ring.read_text())
    with closing(of_connection()) as service:
        assert sealing(service, *SCOPES) == secrets
    # Past its life, the hourly run asks for it and does not fail.
    late = builders.workspace(
        site, now=NOW + timedelta(days=400),
        keys=lambda: keys.open_service(address, lambda: Keyring.parse(texts[-1], "of a test"), POLICY,
                                       lambda: datetime.now(UTC) + timedelta(days=400)),
    )  # fmt: skip
    steps.keep_keys(late, builders.run("late"))
    (told,) = [e for e in entries(site, "keep_keys", "outcome") if e["run"]["run_id"] == "late"]
    assert told["alarms"] == ["J1 the key-encryption key is past its life; rotate it where the connection keeps it"]


# -- a store that is not as it should be -------------------------------------------------------------------------------


def by_hand(service: KeyService, statement: str, *values: Any) -> None:
    """Something that somebody does to the tables, past what they refuse."""
    with service.store._database.write() as transaction:
        if isinstance(service.store._database, key_databases.SqliteDatabase):
            transaction.run("DROP TRIGGER IF EXISTS data_keys_kept")
        else:
            transaction.run("ALTER TABLE data_keys DISABLE TRIGGER USER")
        transaction.run(statement, values)


def upkeep(space: steps.Workspace, site: Site) -> list[str]:
    """Alarms of one run of upkeep."""
    steps.keep_keys(space, builders.run())
    told: list[str] = entries(site, "keep_keys", "outcome")[-1]["alarms"]
    return told


MISSED = "keys that the run log knows of are not in this store"


def test_an_empty_store_in_place_of_the_right_one_is_noticed_and_expires_no_backup(
    service: KeyService, address: str, ring: Path, site: Site, world: World, tmp_path: Path
) -> None:
    in_place = [address]
    space = builders.workspace(site, keys=lambda: serve(in_place[-1], ring, NOW + timedelta(days=4)))
    dsn = site.dsn("custodian")
    assert key_audit.known_store(dsn) is None
    sealing(service, *SCOPES)
    assert upkeep(space, site) == []  # and it is time to rotate
    known = key_audit.known_store(dsn)
    assert known == key_audit.Known(service.store.head().store_id, 51)
    told = entries(site, "keep_keys", "outcome")[-1]
    assert told["details"] == {"store_id": service.store.head().store_id.hex()}
    assert told["measures"] == {"keys": 51}
    in_place.append(str(tmp_path / "empty.sqlite"))
    keys.create(in_place[-1], Keyring.load(ring), now=NOW).close()
    before = ring.read_bytes()
    with closing(space.keys()) as wrong:
        (problem,) = [found for found in key_audit.audit(wrong, (), known).problems if MISSED in found]
    assert problem.startswith("51 keys")
    for _ in range(2):  # a run that alarms does not take what it found for what there has to be
        assert [alarm for alarm in upkeep(space, site) if alarm.startswith("J1 51 keys") and MISSED in alarm]
    with pytest.raises(KeyringError, match=f"51 {MISSED}.*put the right store back"):
        steps.rotate_key(space, builders.run())
    assert ring.read_bytes() == before
    in_place.pop()
    assert upkeep(space, site) == []
    assert steps.rotate_key(space, builders.run()) == 51


def test_an_older_store_is_noticed_by_its_number_of_keys_until_a_backup_is_put_back(
    service: KeyService, space: steps.Workspace, site: Site
) -> None:
    sealing(service, *SCOPES)
    steps.destroy_key(space, "subject", "client 1", "request 17", builders.run())
    assert entries(site, "destroy_keys", "outcome")[-1]["measures"] == {"keys": 51}
    assert steps.rotate_key(space, builders.run()) == 50
    assert entries(site, "rotate_key", "outcome")[-1]["measures"] == {"keys": 51, "version": 2}
    by_hand(service, "DELETE FROM data_keys WHERE id = ?", service.id_of("subject", "client 7"))
    known = key_audit.known_store(site.dsn("custodian"))
    assert [p for p in key_audit.audit(service, (), known).problems if p.startswith(f"1 {MISSED}")]
    # What is destroyed there meanwhile is recorded, and hides nothing.
    steps.destroy_key(space, "subject", "client 2", "request 18", builders.run())
    assert [alarm for alarm in upkeep(space, site) if alarm.startswith(f"J1 1 {MISSED}")]
    with pytest.raises(KeyringError, match=f"1 {MISSED}"):
        steps.rotate_key(space, builders.run())
    steps.keep_keys(space, builders.run(), is_restored=True)
    assert upkeep(space, site) == []
    assert steps.rotate_key(space, builders.run()) == 48


def flip_a_bit(service: KeyService, key_id: bytes) -> None:
    wrapped = service.store.fetch([key_id])[key_id].wrapped or b""
    by_hand(service, "UPDATE data_keys SET wrapped = ? WHERE id = ?", wrapped[:-1] + bytes([wrapped[-1] ^ 1]), key_id)


def test_a_key_that_does_not_unwrap_stays_behind_alone_and_a_backup_mends_it(
    service: KeyService, address: str, ring: Path, space: steps.Workspace, site: Site, tmp_path: Path
) -> None:
    secrets = sealing(service, *SCOPES)
    backup = tmp_path / "backup.sqlite"
    key_backups.back_up(service, backup)
    damaged = service.id_of("subject", "client 7")
    flip_a_bit(service, damaged)
    stuck = r"1 keys cannot be unwrapped, and keep versions \[1\] of the key-encryption key alive"
    for rewrapped in (50, 0):
        with pytest.raises(KeyringError, match=f"{stuck}.*keys restore BACKUP.*{rewrapped} others are re-wrapped"):
            steps.rotate_key(space, builders.run())
        assert Keyring.load(ring).versions(KEY_ENCRYPTION).keys() == {1, 2}
    assert [alarm for alarm in upkeep(space, site) if "1 keys cannot be unwrapped" in alarm]
    with closing(serve(address, ring)) as found:
        others = [scope for scope in SCOPES if scope != "client 7"]
        assert sealing(found, *others) == [secrets[SCOPES.index(scope)] for scope in others]
        assert [p for p in key_audit.audit(found, ()).problems if p.startswith("1 of 51 keys cannot be unwrapped")]
    # The others do not wait for it: in time their key-encryption key is replaced again.
    late = builders.workspace(
        site, now=NOW + timedelta(days=4), keys=lambda: serve(address, ring, NOW + timedelta(days=4))
    )
    assert steps.keep_keys(late, builders.run())["rewrapped"] == 50
    assert Keyring.load(ring).versions(KEY_ENCRYPTION).keys() == {1, 3}
    home = key_backups.Home(address, Keyring.load(ring), POLICY)
    assert key_backups.restore(backup, home, destroyed=(), act=ACT) == 1
    assert steps.rotate_key(space, builders.run()) == 1
    assert Keyring.load(ring).versions(KEY_ENCRYPTION).keys() == {3}
    with closing(serve(address, ring)) as found:
        assert sealing(found, *SCOPES) == secrets
        assert key_audit.audit(found, ()).problems == []


def test_a_store_without_its_reference_key_is_found_out_and_not_rotated(
    service: KeyService, address: str, ring: Path, space: steps.Workspace, tmp_path: Path
) -> None:
    sealing(service, "client 1")
    backup = tmp_path / "backup.sqlite"
    key_backups.back_up(service, backup)
    before = ring.read_bytes()
    by_hand(service, "DELETE FROM data_keys WHERE kind = 'reference'")
    lost = "it has lost its reference key; restore it from its backup"
    assert [problem for problem in key_audit.audit(service, ()).problems if lost in problem]
    with pytest.raises(KeyringError, match=lost):
        steps.rotate_key(space, builders.run())
    assert ring.read_bytes() == before
    home = key_backups.Home(address, Keyring.load(ring), POLICY)
    assert key_backups.restore(backup, home, destroyed=(), act=ACT) == 1
    assert steps.rotate_key(space, builders.run()) == 2


def read_only(service: KeyService) -> KeyService:
    """The service, as it is on a store that it may not write."""
    database = service.store._database
    if isinstance(database, key_databases.SqliteDatabase):
        database._connection.execute("PRAGMA query_only = ON")
    elif isinstance(database, key_databases.PostgresDatabase):
        database._connection.set_session(readonly=True)
    return service


def without_table(service: KeyService) -> KeyService:
    """The service, once its table is gone."""
    by_hand(service, "ALTER TABLE data_keys RENAME TO lost_keys")
    return service


@pytest.mark.parametrize(
    ("spoiled", "reason"), [(read_only, "cannot be written"), (without_table, "not a sound key store")]
)
def test_a_store_that_cannot_be_used_is_found_out_before_the_keyring_is_touched(
    service: KeyService, address: str, ring: Path, site: Site, world: World,
    spoiled: Callable[[KeyService], KeyService], reason: str,
) -> None:  # fmt: skip
    before = ring.read_bytes()
    space = builders.workspace(site, keys=lambda: spoiled(serve(address, ring)))
    with pytest.raises(KeyringError, match=reason):
        steps.rotate_key(space, builders.run())
    assert ring.read_bytes() == before


def test_drafts_that_a_kill_has_left_are_reported_and_swept_by_upkeep_and_rotation(
    service: KeyService, ring: Path, space: steps.Workspace, site: Site
) -> None:
    of_ring = [ring.with_name(".keyring.json.draft"), ring.with_name(".keyring.json.0123456789abcdef")]
    of_store = [service.store.path.with_name(".keys.sqlite.draft")] if service.store.path else []
    for left, clean in (
        ([*of_ring, *of_store], lambda: upkeep(space, site)),
        (of_ring, lambda: steps.rotate_key(space, builders.run())),
    ):
        for draft in left:
            draft.write_bytes(ring.read_bytes())
        problems = [problem for problem in key_audit.audit(service, ()).problems if "was left by a kill" in problem]
        assert sorted(problem.split(" ")[0] for problem in problems) == sorted(map(str, left))
        clean()
        assert key_audit.audit(service, ()).problems == []
        assert not [draft for draft in left if draft.exists()]


# -- backups -----------------------------------------------------------------------------------------------------------


def test_a_backup_brings_lost_keys_back_but_none_that_was_destroyed_or_is_due(
    service: KeyService, address: str, ring: Path, tmp_path: Path
) -> None:
    secrets = sealing(service, *SCOPES)
    sealing(service, "2026-03-12T08", "2026-03-03T00", kind="card_hour")
    backup = tmp_path / "backup.sqlite"
    assert key_backups.back_up(service, backup).left_out == 1  # the older card key dies before the backup expires
    assert backup.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyringError, match="there is one already"):
        key_backups.back_up(service, backup)
    erased = service.id_of("subject", "client 7")
    service.store.destroy([erased], ACT)
    elsewhere = str(tmp_path / "elsewhere.sqlite")
    home = key_backups.Home(elsewhere, Keyring.load(ring), POLICY)
    when = NOW + timedelta(days=11)
    act = replace(ACT, attempt_id="restoring", destroyed_at=int(when.timestamp()))
    assert key_backups.restore(backup, home, destroyed={erased}, act=act) == 50  # 49 clients and the reference key
    with closing(serve(elsewhere, ring, when)) as found:
        got = found.acting("loader", "intake", never).sealing("subject", pa.array(SCOPES))
        assert [got.keys[at].secret if at >= 0 else None for at in got.of_row] == [
            None if n == 7 else secret for n, secret in enumerate(secrets)
        ]
        assert [key.is_destroyed for key in found.store.named("card_hour")] == [True]
    # Into the store that is still there it brings nothing that this one has destroyed.
    here = replace(home, address=address)
    assert key_backups.restore(backup, here, destroyed=(), act=replace(act, destroyed_at=1)) == 0
    assert service.store.fetch([erased])[erased].is_destroyed


def test_a_backup_expires_with_its_key_encryption_key_and_fits_no_other_store(
    service: KeyService, address: str, ring: Path, tmp_path: Path, space: steps.Workspace
) -> None:
    backup = tmp_path / "backup.sqlite"
    assert key_backups.back_up(service, backup).expires_at == NOW + timedelta(days=3)
    other = tmp_path / "other.sqlite"
    keys.create(str(other), Keyring.load(ring), now=NOW).close()
    home = key_backups.Home(str(other), Keyring.load(ring), POLICY)
    with pytest.raises(InputError, match="the backup is not one of"):
        key_backups.restore(backup, home, destroyed=(), act=ACT)
    steps.rotate_key(space, builders.run())
    elsewhere = tmp_path / "elsewhere.sqlite"
    late = key_backups.Home(str(elsewhere), Keyring.load(ring), POLICY)
    with pytest.raises(KeyringError, match="A backup of the store that is older than the last rotation has expired"):
        key_backups.restore(backup, late, destroyed=(), act=ACT)
    assert not elsewhere.exists()
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith(".")) == []


def test_a_store_that_is_kept_busy_is_an_error_that_passes(
    service: KeyService, address: str, ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_databases, "PATIENCE_SECONDS", 0.1)
    if address.startswith("postgres"):
        with pytest.raises(KeyStoreUnavailableError, match="cannot be reached"):
            serve(address.replace("127.0.0.1", "127.0.0.2"), ring)
        return
    with (
        service.store._database.write(),
        closing(serve(address, ring)) as other,
        pytest.raises(KeyStoreUnavailableError, match="busy"),
    ):
        sealing(other, "client 1")
    sealing(service, "client 1")


def test_opening_what_is_no_store_is_refused_and_leaves_it_alone(tmp_path: Path, ring: Path) -> None:
    path = tmp_path / "keys.sqlite"
    for content in (b"", b"SQLite format 3\x00" + bytes(84), b"not a database at all" * 100):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyringError, match="not a sound key store"), closing(KeyStore.open(str(path))):
            pass
        assert path.read_bytes() == content
