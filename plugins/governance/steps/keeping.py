"""Keeping the keys: destroy what is due or told to be destroyed, record it, replace the key-encryption key.

Destruction at a deadline depends on nothing but the key store: it comes first, and what the run log must say of it is
noted in the store until the log has it, so that neither a database that is away nor a kill loses the record. Policy
clauses J1, K1, M1, R1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from itertools import groupby

from governance import warehouse
from governance.errors import InputError, KeyringError
from governance.key_store import Destruction
from governance.key_wrapping import StoredKey, check_value
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.keys import KeyService
from governance.policy import Policy
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Outcome, Run
from governance.steps.workspace import Workspace
from governance.warehouse import Warehouse

ROLE = "custodian"
CLAUSES = ("J1", "K1", "M1", "R1")
DEADLINE = "its deadline had come"
CAME_BACK = "destroyed before, and brought back with an old copy of the key store"


def keep_keys(workspace: Workspace, run: Run) -> dict[str, int]:
    """Destroy every key that is due, and every one that the run log calls destroyed; record it; rotate when it is time.

    Returns counts. Raises KeyringError, KeyStoreUnavailableError; WarehouseUnavailableError after the destruction,
    which the next run then records.
    """
    with closing(workspace.keys()) as service:
        due = service.store.due(workspace.clock().timestamp())
        _destroy(service, due, DEADLINE)
        with _recorded(workspace, "keep_keys", run) as (recorded, connection):
            returned, strange = _come_back(service, connection)
            if returned or strange:
                service.store.bury([*returned, *strange], _act(service, CAME_BACK))
            for act in service.store.unrecorded():
                _record(service, connection, recorded, act)
            alarms = [f"J1 {len(returned)} destroyed keys had come back with an old key store"] if returned else []
            rewrapped = 0
            if _is_old(service):
                if service.keyring.path is None:
                    alarms.append("J1 the key-encryption key is past its life; rotate it where the connection keeps it")
                else:
                    rewrapped = _rotate(service)
            counts = {"destroyed": len(due) + len(returned), "rewrapped": rewrapped}
            outcome = Outcome.PASSED if any(counts.values()) else Outcome.NO_DATA
            connection.append(recorded.outcome(outcome, counts=counts, alarms=alarms))
    return counts


def destroy_key(workspace: Workspace, kind: str, scope: str, reason: str, run: Run) -> StoredKey:
    """Destroy the key of a kind for a scope, for ever; returns what is left of it.

    A key that is destroyed already stays so, and its record is completed. Raises InputError when there is no such key.
    """
    with closing(workspace.keys()) as service:
        if kind not in workspace.policy.keys:
            raise InputError(f"no kind of key {kind!r}; there are {', '.join(sorted(workspace.policy.keys))}")
        key_id = service.id_of(kind, scope)
        found = service.store.fetch([key_id]).get(key_id)
        if found is None:
            raise InputError(f"there is no key of kind {kind} for what was named; nothing was destroyed")
        with _recorded(workspace, "destroy_keys", run) as (recorded, connection):
            if found.is_destroyed:
                for act in service.store.unrecorded():
                    _record(service, connection, recorded, act)
                connection.append(recorded.outcome(Outcome.REPLAYED, reason=reason))
                return found
            _destroy(service, [found], reason, recorded.attempt.attempt_id)
            for act in service.store.unrecorded():
                _record(service, connection, recorded, act)
        return service.store.fetch([key_id])[key_id]


def rotate_key(workspace: Workspace, run: Run) -> int:
    """Replace the key-encryption key, or finish a replacement that was interrupted; returns how many keys were
    re-wrapped.

    No row of data is touched. Every step can be killed: what is left is a store that works, and the next call goes on
    from there. Raises KeyringError when the keyring comes from a connection that has no newer version yet.
    """
    with closing(workspace.keys()) as service, _recorded(workspace, "rotate_key", run) as (recorded, connection):
        rewrapped = _rotate(service)
        version = service.store.head().current_version
        counts = {"rewrapped": rewrapped}
        connection.append(recorded.outcome(Outcome.PASSED, counts=counts, measures={"version": version}))
        return rewrapped


def logged_destructions(workspace: Workspace) -> set[bytes]:
    """Ids of all keys that the run log calls destroyed."""
    with warehouse.connect(workspace.warehouse_dsn(ROLE), "keys") as connection:
        return connection.destroyed_keys()


@contextmanager
def _recorded(workspace: Workspace, event: str, run: Run) -> Iterator[tuple[Recorded, Warehouse]]:
    """A recorded act on the keys, by nobody else at the same time. Raises ContendedError when somebody is at it."""
    batch = Batch("keys", "all", run.run_id)
    digests = Digests(workspace.policy.digest, None, code_digest())
    dsn = workspace.warehouse_dsn(ROLE)
    recorded = Recorded(
        Attempt(new_id(), event, batch, run, digests, CLAUSES),
        dsn=dsn,
        clock=workspace.clock,
        texts=workspace.policy.texts,
    )
    with recorded, warehouse.connect(dsn, batch.label) as connection, connection.exclusive(batch):
        yield recorded, connection


def _destroy(service: KeyService, keys: Sequence[StoredKey], reason: str, attempt_id: str | None = None) -> None:
    if keys:
        service.store.destroy([key.id for key in keys], _act(service, reason, attempt_id))


def _act(service: KeyService, reason: str, attempt_id: str | None = None) -> Destruction:
    return Destruction(attempt_id or new_id(), reason, int(service.clock().timestamp()), False)


def _come_back(service: KeyService, connection: Warehouse) -> tuple[list[bytes], list[bytes]]:
    """Ids that the run log calls destroyed and the store does not, because an old one was put in the present one's
    place: those of living keys, and those that it never knew, which must not be made anew."""
    logged = connection.destroyed_keys()
    known = service.store.fetch(logged)
    return [key.id for key in known.values() if not key.is_destroyed], sorted(logged - known.keys())


def _record(service: KeyService, connection: Warehouse, recorded: Recorded, act: Destruction) -> None:
    """Append the outcome of an act of destruction, and note in the store that the log has it."""
    keys = service.store.destroyed_by(act.attempt_id)
    by_kind = {kind: list(group) for kind, group in groupby(sorted(keys, key=lambda k: k.kind), lambda k: k.kind)}
    counts = {f"destroyed {kind}": len(group) for kind, group in by_kind.items()}
    alarms = [alarm for kind, group in by_kind.items() for alarm in _breaches(service.policy, kind, group)]
    facts = {"counts": counts, "keys": [key.id.hex() for key in keys], "reason": act.reason, "alarms": alarms}
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


def _is_old(service: KeyService) -> bool:
    version = service.store.head().current_version
    made_at: datetime = service.keyring.versions(KEY_ENCRYPTION)[version]
    return made_at + service.policy.key_encryption_key_life <= service.clock()


def _rotate(service: KeyService) -> int:
    """Each step leaves a store that works: the keyring has every version that wraps a key, and the store knows it."""
    store, keyring, path = service.store, service.keyring, service.keyring.path
    head, newest = store.head(), max(keyring.versions(KEY_ENCRYPTION))
    is_unfinished = (
        newest > head.current_version or len(head.check_values) > 1 or len(keyring.versions(KEY_ENCRYPTION)) > 1
    )
    if not is_unfinished:
        if path is None:
            raise KeyringError(
                f"{keyring.place} has no version after {newest}: add one (`governance keys new-version FILE`), rotate "
                f"again, and take version {newest} out of it when that is done"
            )
        keyring = Keyring.add_version(path, KEY_ENCRYPTION, now=service.clock())
        newest = max(keyring.versions(KEY_ENCRYPTION))
    service.keyring = keyring
    store.begin_version(newest, check_value(keyring.key(KEY_ENCRYPTION, newest), head.store_id))
    rewrapped, last = 0, b""
    while page := store.behind(newest, last):
        store.rewrap(service.rewrapped(page, newest), newest)
        rewrapped, last = rewrapped + len(page), page[-1].id
    store.end_versions(newest)
    if path is not None:
        old = {(KEY_ENCRYPTION, version) for version in keyring.versions(KEY_ENCRYPTION) if version < newest}
        service.keyring = Keyring.remove(path, old)
    return rewrapped
