"""Keeping the keys: destroy what is due or told to be destroyed, record it, replace the key-encryption key.

Destruction at a deadline needs the key store, and the keyring that fits it, without which no key of it can be used
anyway. It waits for no database: it comes first, and what the run log must say of it is noted in the store until the
log has it, so that neither a database that is away nor a kill loses the record. The log in turn remembers which store
it was and how many keys it had, so that an empty or older one in its place is noticed.
Policy clauses B2, J1, K1, M1, R1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from governance import key_audit, warehouse
from governance.errors import ContendedError, InputError, KeyringError, WarehouseUnavailableError
from governance.key_kinds import landing_of
from governance.key_store import Destruction
from governance.key_wrapping import StoredKey
from governance.keys import KeyService
from governance.policy import Policy
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Outcome, Run
from governance.steps.key_rotation import rotate, rotate_in_time
from governance.steps.workspace import Workspace
from governance.warehouse import Warehouse

ROLE = "custodian"
CLAUSES = ("B2", "J1", "K1", "M1", "R1")
DEADLINE = "its deadline had come"
LANDED = "all of its landing is there"
CAME_BACK = "destroyed before, and brought back with an old copy of the key store"


def keep_keys(workspace: Workspace, run: Run, *, is_restored: bool = False) -> dict[str, int]:
    """Destroy every key that is due, that has done its work, or that the run log calls destroyed; record it; rotate
    when it is time.

    `is_restored`: somebody has just put a backup back; what it lacks is lost, and not missed any more from now on.
    Returns counts. Raises KeyringError, KeyStoreUnavailableError; WarehouseUnavailableError after the destruction,
    which the next run then records.
    """
    with closing(workspace.keys()) as service:
        now, apart = _by_both_clocks(workspace)
        due = service.store.due(now.timestamp())
        _destroy(service, due, DEADLINE)
        again = "what was due is destroyed, and the next run records it"
        with _recorded(workspace, "keep_keys", run, again) as (recorded, connection):
            lost = None if is_restored else _lacking(workspace, service)
            done = _done(workspace, service)
            _destroy(service, done, LANDED)
            returned, strange = _come_back(service, connection)
            if returned or strange:
                service.store.bury([*returned, *strange], _act(service, CAME_BACK))
            for act in service.store.unrecorded():
                _record(service, connection, recorded, act)
            alarms = [f"J1 {len(returned)} destroyed keys had come back with an old key store"] if returned else []
            alarms += (
                [f"J1 {apart}; a key is destroyed only when it is due by both, and none is replaced"] if apart else []
            )
            rewrapped = 0 if apart else rotate_in_time(service, lost, alarms)
            counts = {"destroyed": len(due) + len(done) + len(returned), "rewrapped": rewrapped}
            outcome = Outcome.PASSED if any(counts.values()) else Outcome.NO_DATA
            connection.append(recorded.outcome(outcome, counts=counts, alarms=alarms, **_identity(service, lost)))
    return counts


def _by_both_clocks(workspace: Workspace) -> tuple[datetime, str | None]:
    """The instant that has come by this machine's clock and by the database's, and what to say when they disagree.

    What is destroyed never comes back, so one clock that jumped ahead must not be enough. A database that is away
    delays nothing: then this machine's clock alone counts.
    """
    now = workspace.clock()
    try:
        apart = workspace.apart()
        return (min(now, workspace.database_clock()), apart) if apart else (now, None)
    except WarehouseUnavailableError:
        return now, None


def destroy_key(workspace: Workspace, kind: str, scope: str, reason: str, run: Run) -> StoredKey:
    """Destroy the key of a kind for a scope, for ever; returns what is left of it.

    A key that is destroyed already stays so, and its record is completed. Raises InputError when there is no such key.
    """
    if kind not in workspace.policy.keys:
        raise InputError(f"no kind of key {kind!r}; there are {', '.join(sorted(workspace.policy.keys))}")
    if not (_is_text(scope) and _is_text(reason)):
        raise InputError("what was named, or the reason, is not text in UTF-8; nothing was destroyed: type it anew")
    with closing(workspace.keys()) as service:
        key_id = service.id_of(kind, scope)
        found = service.store.fetch([key_id]).get(key_id)
        if found is None:
            raise InputError(f"there is no key of kind {kind} for what was named; nothing was destroyed")
        again = "nothing was destroyed, the key lives: repeat the command in a minute"
        with _recorded(workspace, "destroy_keys", run, again) as (recorded, connection):
            told = _identity(service, _lacking(workspace, service))
            if not found.is_destroyed:
                _destroy(service, [found], reason, recorded.attempt.attempt_id)
            for act in service.store.unrecorded():
                _record(service, connection, recorded, act, **told)
            if found.is_destroyed:
                connection.append(recorded.outcome(Outcome.REPLAYED, reason=reason, **told))
        return service.store.fetch([key_id])[key_id]


def bury_keys(workspace: Workspace, ids: Sequence[bytes], reason: str, run: Run) -> None:
    """Destroy these keys of persons, and see that none is made where there is none yet.

    Keys that are destroyed already stay so, and their record is completed. Raises ContendedError, KeyringError.
    """
    with closing(workspace.keys()) as service:
        again = "nothing was destroyed; the task retries"
        with _recorded(workspace, "destroy_keys", run, again) as (recorded, connection):
            told = _identity(service, _lacking(workspace, service))
            act = _act(service, reason, recorded.attempt.attempt_id)
            service.store.bury(ids, act)
            for left in service.store.unrecorded():
                _record(service, connection, recorded, left, **told)
            if not service.store.destroyed_by(act.attempt_id):
                connection.append(recorded.outcome(Outcome.REPLAYED, reason=reason, **told))


def destroy_keys(workspace: Workspace, ids: Sequence[bytes], reason: str, run: Run) -> int:
    """Destroy those of these keys that still live, on the record; returns how many. Repeating it changes nothing.

    What a try before has destroyed and not recorded any more is recorded. Raises ContendedError.
    """
    with closing(workspace.keys()) as service:
        living = [key for key in service.store.fetch(ids).values() if not key.is_destroyed]
        if not living and not service.store.unrecorded():
            return 0
        again = "nothing was destroyed: the task retries"
        with _recorded(workspace, "destroy_keys", run, again) as (recorded, connection):
            _destroy(service, living, reason, recorded.attempt.attempt_id)
            for act in service.store.unrecorded():
                _record(service, connection, recorded, act, **_identity(service, _lacking(workspace, service)))
            if not living:
                connection.append(recorded.outcome(Outcome.REPLAYED, reason=reason))
    return len(living)


def rotate_key(workspace: Workspace, run: Run) -> int:
    """Replace the key-encryption key, or finish a replacement that was interrupted; returns how many keys were
    re-wrapped.

    No row of data is touched. Every step can be killed: what is left is a store that works, and the next call goes on
    from there. Raises KeyringError for a store that lacks keys which the run log knows of; when the keyring comes from
    a connection that has no newer version yet; and at the end when keys do not unwrap, which the old version waits for.
    """
    again = "nothing was changed: repeat the command in a minute"
    with (
        closing(workspace.keys()) as service,
        _recorded(workspace, "rotate_key", run, again) as (recorded, connection),
    ):
        if lost := _lacking(workspace, service):
            raise KeyringError(f"{lost}. Nothing was changed")
        rotated = rotate(service)
        if rotated.stuck:
            raise KeyringError(f"{rotated.stuck}; {rotated.rewrapped:,} others are re-wrapped")
        counts, told = {"rewrapped": rotated.rewrapped}, _identity(service, None)
        told["measures"]["version"] = service.store.head().current_version
        connection.append(recorded.outcome(Outcome.PASSED, counts=counts, **told))
        return rotated.rewrapped


def logged_destructions(workspace: Workspace) -> set[bytes]:
    """Ids of all keys that the run log calls destroyed."""
    with warehouse.connect(workspace.warehouse_dsn(ROLE), "keys") as connection:
        return connection.destroyed_keys()


@contextmanager
def _recorded(workspace: Workspace, event: str, run: Run, again: str) -> Iterator[tuple[Recorded, Warehouse]]:
    """A recorded act on the keys, by nobody else at the same time.

    Raises ContendedError when somebody is at it; `again` says then what is left to do.
    """
    batch = Batch("keys", "all", run.run_id)
    digests = Digests(workspace.policy.digest, None, code_digest())
    dsn = workspace.warehouse_dsn(ROLE)
    recorded = Recorded(
        Attempt(new_id(), event, batch, run, digests, CLAUSES),
        dsn=dsn,
        clock=workspace.clock,
        texts=workspace.policy.texts,
    )
    with recorded, warehouse.connect(dsn, batch.label) as connection, ExitStack() as held:
        try:
            held.enter_context(connection.exclusive(batch))
        except ContendedError:
            raise ContendedError(f"upkeep, a rotation or a destruction of keys is running; {again}") from None
        yield recorded, connection


def _lacking(workspace: Workspace, service: KeyService) -> str | None:
    return key_audit.lacking(service.store, key_audit.known_store(workspace.warehouse_dsn(ROLE)))


def _identity(service: KeyService, lost: str | None) -> dict[str, Any]:
    """What the run log is to remember of the store; nothing of one that has lost keys, which are to stay missed."""
    if lost:
        return {}
    return {"details": {"store_id": service.store.head().store_id.hex()}, "measures": {"keys": service.store.count()}}


def _is_text(value: str) -> bool:
    """Whether it is text, and not bytes of a command line that are none."""
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _destroy(service: KeyService, keys: Sequence[StoredKey], reason: str, attempt_id: str | None = None) -> None:
    if keys:
        service.store.destroy([key.id for key in keys], _act(service, reason, attempt_id))


def _act(service: KeyService, reason: str, attempt_id: str | None = None) -> Destruction:
    return Destruction(attempt_id or new_id(), reason, int(service.clock().timestamp()), False)


def _done(workspace: Workspace, service: KeyService) -> list[StoredKey]:
    """Keys of landings that are whole: nothing more comes that would need them (B2)."""
    kinds = [name for name, spec in service.policy.keys.items() if spec.scope == "landing"]
    living = [key for kind in kinds for key in service.store.named(kind) if not key.is_destroyed]
    landings = {landing_of(key.scope or ""): key for key in living}
    if not landings:
        return []
    with warehouse.connect(workspace.warehouse_dsn("coordinator"), "keys") as connection:
        whole = {landing for (landing,) in connection.rows("SELECT pull_attempt FROM control.batches")}
    return [landings[landing] for landing in sorted(landings.keys() & whole)]


def _come_back(service: KeyService, connection: Warehouse) -> tuple[list[bytes], list[bytes]]:
    """Ids that the run log calls destroyed and the store does not, because an old one was put in the present one's
    place: those of living keys, and those that it never knew, which must not be made anew."""
    logged = connection.destroyed_keys()
    known = service.store.fetch(logged)
    return [key.id for key in known.values() if not key.is_destroyed], sorted(logged - known.keys())


def _record(service: KeyService, connection: Warehouse, recorded: Recorded, act: Destruction, **told: Any) -> None:
    """Append the outcome of an act of destruction, and note in the store that the log has it."""
    keys = service.store.destroyed_by(act.attempt_id)
    by_kind = {kind: list(group) for kind, group in groupby(sorted(keys, key=lambda k: k.kind), lambda k: k.kind)}
    counts = {f"destroyed {kind}": len(group) for kind, group in by_kind.items()}
    alarms = [alarm for kind, group in by_kind.items() for alarm in _breaches(service.policy, kind, group)]
    facts = {"counts": counts, "keys": [key.id.hex() for key in keys], "reason": act.reason, "alarms": alarms, **told}
    connection.append(recorded.outcome_of(act.attempt_id, "destroy_keys", Outcome.PASSED, **facts))
    service.store.mark_recorded(act.attempt_id)


def _breaches(policy: Policy, kind: str, keys: Sequence[StoredKey]) -> Iterator[str]:
    """What to alarm about when keys outlived not only their deadline but the margin before the end of their term."""
    spec = policy.keys.get(kind)
    if spec is None or not spec.term:
        return
    margin = timedelta(hours=float(policy.value(spec.margin)) if spec.margin else 1.0).total_seconds()
    late = [k.destroyed_at - k.expires_at - margin for k in keys if k.destroyed_at and k.expires_at is not None]
    if breaches := [seconds for seconds in late if seconds > 0]:
        yield (
            f"{spec.clause} {len(breaches)} keys of kind {kind} lived up to {max(breaches) / 3600:.1f} hours "
            "beyond their term"
        )
