"""The key service: data keys for who may use them, and nobody else. An edge.

`KeyService` joins the key store, which holds wrapped keys, with the keyring, which unwraps them, and refuses to begin
when the two do not belong together. `KeyService.acting` gives a step the keys of one role and purpose; what policy does
not let that purpose do is refused and told to `on_refusal`, which records it. Keys are made when first needed, are
valid until their deadline, whatever the store still holds, and never come back once destroyed. Policy clauses J1, J2,
K1; what a kind of key is for: `policies/keys.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.encryption import RowKeys, cut
from governance.errors import KeyDestroyedError, KeyPurposeError, KeyringError
from governance.key import KEY_BYTES, DataKey
from governance.key_store import Head, KeyStore
from governance.key_wrapping import REFERENCE_ID, REFERENCE_KIND, UNKNOWN_KIND, StoredKey, Wrapper, check_value, key_id
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.nonces import Nonces
from governance.policy import Policy

Refusal = Callable[[KeyPurposeError], None]
_TRIES = 5
"""How often the key-encryption key may be replaced under a single step before it gives up."""


def create(address: str, keyring: Keyring, *, now: datetime) -> KeyStore:
    """A new key store under the keyring's current key-encryption key. Raises `KeyringError` where there is a store."""
    key, store_id = keyring.key(KEY_ENCRYPTION), os.urandom(16)
    head = Head(store_id, key.version, {key.version: check_value(key, store_id)})
    blank = StoredKey(REFERENCE_ID, REFERENCE_KIND, None, _seconds(now), None, key.version, b"")
    # Writers are handed out by the store, which does not exist yet: it begins at 0, and goes on from 1.
    wrapped = Wrapper(key, store_id).wrap(os.urandom(KEY_BYTES), blank, Nonces(0).take(1))
    return KeyStore.create(address, head, blank._replace(wrapped=wrapped))


def open_service(
    address: str, keyring: Callable[[], Keyring], policy: Policy, clock: Callable[[], datetime]
) -> KeyService:
    """The service of the store at an address. Raises `KeyringError` when store and keyring do not belong together."""
    store = KeyStore.open(address)
    try:
        return KeyService(store, keyring, policy, clock)
    except BaseException:
        store.close()
        raise


class KeyService:
    """An open key store with its keyring, verified to belong together."""

    def __init__(
        self, store: KeyStore, keyring: Callable[[], Keyring], policy: Policy, clock: Callable[[], datetime]
    ) -> None:
        self.store = store
        self.policy = policy
        self.clock = clock
        self._load_keyring = keyring
        self._wrappers: dict[int, Wrapper] = {}
        self.keyring = keyring()
        self.verify()

    def verify(self) -> None:
        """Raises `KeyringError` when the keyring lacks the store's key-encryption key, or has another of its version.

        Not all versions need be there: those that a rotation has ended are not.
        """
        head = self.store.head()
        if head.current_version not in self.keyring.versions(KEY_ENCRYPTION):
            self.keyring = self._load_keyring()  # rotated between the two looks
        if head.current_version not in self.keyring.versions(KEY_ENCRYPTION):
            raise KeyringError(
                f"{self.keyring.place}: no key {KEY_ENCRYPTION}/{head.current_version}, which wraps "
                f"{self.store.place}; restore the keyring that has it. A backup of the store that is older than the "
                "last rotation has expired"
            )
        self._store_id = head.store_id
        for version in head.check_values.keys() & self.keyring.versions(KEY_ENCRYPTION).keys():
            key = self.keyring.key(KEY_ENCRYPTION, version)
            if check_value(key, head.store_id) != head.check_values[version]:
                raise KeyringError(
                    f"{self.keyring.place}: {KEY_ENCRYPTION}/{version} is not the one that {self.store.place} was "
                    "wrapped with; restore the keyring that belongs to it. Nothing was changed"
                )

    def acting(self, role: str, purpose: str, on_refusal: Refusal) -> Keys:
        """The keys that a role may use for a purpose; a refusal is told to `on_refusal` before it is raised."""
        return Keys(self, role, purpose, on_refusal)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    @cached_property
    def nonces(self) -> Nonces:
        """Nonces of a writer of this service's own, fetched when first needed."""
        return Nonces(self.store.new_writer(self.clock().timestamp()))

    def id_of(self, kind: str, scope: str) -> bytes:
        """The id of the key of a kind for a scope, whether there is one or not."""
        return key_id(self._reference, kind, scope)

    def wrapper(self, version: int) -> Wrapper:
        """The key-encryption key of a version. Raises `KeyringError` when the keyring has none, also read anew."""
        if version not in self._wrappers:
            if version not in self.keyring.versions(KEY_ENCRYPTION):
                self.keyring = self._load_keyring()  # rotated meanwhile
            self._wrappers[version] = Wrapper(self.keyring.key(KEY_ENCRYPTION, version), self._store_id)
        return self._wrappers[version]

    def unwrapped(self, ids: Collection[bytes]) -> tuple[dict[bytes, DataKey], dict[bytes, StoredKey]]:
        """The living, valid keys of these ids, and those that are destroyed or past their deadline."""
        now = self.clock().timestamp()
        for attempt in range(_TRIES):
            found = self.store.fetch(ids)
            gone = {key.id: key for key in found.values() if key.is_destroyed or key.is_due(now)}
            try:
                living = (key for key in found.values() if key.id not in gone)
                return {key.id: self.wrapper(key.version).unwrap(key) for key in living}, gone
            except KeyringError:
                # A rotation may have re-wrapped them and ended the version between the two looks.
                if attempt + 1 == _TRIES or self.store.fetch(ids) == found:
                    raise
        raise AssertionError("unreachable")

    def make(self, blanks: Sequence[StoredKey]) -> None:
        """Bring keys into being; of those that somebody else made meanwhile, theirs stay."""
        for _ in range(_TRIES):
            version = self.store.head().current_version
            wrapper = self.wrapper(version)
            made = [
                blank._replace(version=version, wrapped=wrapper.wrap(os.urandom(KEY_BYTES), blank, nonce))
                for blank, nonce in zip(blanks, cut(self.nonces.take(len(blanks))), strict=True)
            ]
            if self.store.add(made):
                return
        raise KeyringError(f"{self.store.place}: its key-encryption key is replaced over and over; stop that")

    def opened(self, key: StoredKey) -> DataKey | None:
        """The data key, or None when it does not unwrap."""
        try:
            return self.wrapper(key.version).unwrap(key)
        except KeyringError:
            return None

    def rewrapped(self, keys: Sequence[StoredKey], version: int) -> list[tuple[StoredKey, bytes]]:
        """Each key with its secret wrapped by another version; one that does not unwrap is left out."""
        sound = [(key, found.secret) for key in keys if (found := self.opened(key)) is not None]
        wrapper, nonces = self.wrapper(version), cut(self.nonces.take(len(sound)))
        return [(key, wrapper.wrap(secret, key, nonce)) for (key, secret), nonce in zip(sound, nonces, strict=True)]

    def require_reference(self) -> None:
        """Raises `KeyringError` when the store has lost its reference key, or that one does not unwrap."""
        self.__dict__.pop("_reference", None)
        self.id_of("", "")

    @cached_property
    def _reference(self) -> DataKey:
        keys, _ = self.unwrapped([REFERENCE_ID])
        if REFERENCE_ID not in keys:
            raise KeyringError(f"{self.store.place}: it has lost its reference key; restore it from its backup")
        return keys[REFERENCE_ID]


@dataclass(frozen=True, eq=False)
class Opened:
    """Keys to decrypt with, by id, and the ids of those that are destroyed; its repr shows neither."""

    keys: dict[bytes, DataKey] = field(repr=False)
    destroyed: frozenset[bytes] = field(repr=False)

    def key_of(self, id: bytes) -> DataKey:
        """The key of an id. Raises `KeyDestroyedError` when it is gone, `KeyringError` when it was not asked for."""
        if id in self.destroyed:
            raise KeyDestroyedError("a key was destroyed: what it protected is gone for ever")
        if id not in self.keys:
            raise KeyringError("a value is under a key that is not among those opened; open the keys of its column")
        return self.keys[id]

    def is_destroyed(self, ids: pa.Array) -> np.ndarray:
        """Boolean array of length n: which of these ids (binary, NULL allowed) are of destroyed keys."""
        gone = pc.is_in(ids, pa.array(sorted(self.destroyed), ids.type))
        found: np.ndarray = np.asarray(pc.fill_null(gone, False))
        return found


class Keys:
    """The keys of one role for one purpose. A key, once fetched, is used to the end of the step that fetched it."""

    def __init__(self, service: KeyService, role: str, purpose: str, on_refusal: Refusal) -> None:
        self._service = service
        self._role = role
        self._purpose = purpose
        self._on_refusal = on_refusal
        self._known: dict[str, dict[str, DataKey | None]] = {}

    def sealing(self, kind: str, scopes: pa.Array, *, expires_at: datetime | None = None) -> RowKeys:
        """The key of each row to encrypt or tokenise with, made where there is none yet.

        `scopes`: string array of length n, whom or what each row's key is for; NULL has no key, and neither has a scope
        whose key is destroyed or past its deadline. `expires_at`: an earlier deadline than the kind's own, for keys
        that are made now. Raises `KeyPurposeError`.
        """
        self._require(kind, "seal")
        encoded = pc.dictionary_encode(_flat(scopes))
        keys = self._sealing(kind, encoded.dictionary.to_pylist(), expires_at)
        places = np.array([-1 if key is None else at for at, key in enumerate(keys)] + [-1], np.int32)
        of_row = places[np.asarray(pc.fill_null(encoded.indices, len(keys)))]
        # A scope without a key has a place all the same, which no row points to.
        return RowKeys([key or _NO_KEY for key in keys], of_row)

    def key(self, kind: str, scope: str, *, expires_at: datetime | None = None) -> DataKey:
        """The one key of a scope to encrypt or tokenise with. Raises `KeyDestroyedError` when it is gone."""
        self._require(kind, "seal")
        (key,) = self._sealing(kind, [scope], expires_at)
        if key is None:
            spec = self._service.policy.keys[kind]
            of = f" of {scope}" if spec.is_named else ""
            raise KeyDestroyedError(
                f"the key {kind}{of} is destroyed or past its deadline; what it is for cannot be processed any more "
                f"(clause {spec.clause}): {spec.destroyed}"
            )
        return key

    def ended(self, kind: str, scopes: Collection[str]) -> dict[str, datetime]:
        """When the keys of scopes were destroyed or had their deadline, of those whose key has ended. Makes no key."""
        self._require(kind, "seal")
        by_id = {self._service.id_of(kind, scope): scope for scope in scopes}
        now = self._service.clock().timestamp()
        gone = [k for k in self._service.store.fetch(list(by_id)).values() if k.is_destroyed or k.is_due(now)]
        return {by_id[k.id]: datetime.fromtimestamp(k.destroyed_at or k.expires_at or 0, UTC) for k in gone}

    def made(self, kind: str, scopes: Collection[str]) -> set[str]:
        """Those of scopes for which a key was ever made. Makes none."""
        by_id = {self._service.id_of(kind, scope): scope for scope in scopes}
        return {by_id[id] for id in self._service.store.fetch(list(by_id))}

    def opening(self, kind: str, ids: pa.Array) -> Opened:
        """The keys of these ids (binary array, NULL allowed) to decrypt with.

        Raises `KeyPurposeError`, also when an id is of a key of another kind, and `KeyringError` for unknown ids.
        """
        self._require(kind, "open")
        wanted = set(pc.unique(_flat(ids)).drop_null().to_pylist())
        keys, gone = self._service.unwrapped(wanted)
        if lost := wanted - keys.keys() - gone.keys():
            raise KeyringError(
                f"{self._service.store.place}: {len(lost)} of {len(wanted)} keys of kind {kind} are not in it; "
                "restore it from its backup (plugins/governance/docs/keys.md)"
            )
        kinds = {key.kind for key in keys.values()} | {key.kind for key in gone.values()}
        if others := kinds - {kind, UNKNOWN_KIND}:
            self._refuse(f"values that should be under keys of kind {kind} are under {', '.join(sorted(others))}")
        return Opened(keys, frozenset(gone))

    def forget(self) -> None:
        """Let go of the keys that were fetched to seal with: the next rows are of others."""
        self._known.clear()

    def nonces(self, count: int) -> bytes:
        """Nonces for `encryption.encrypt`; see `Nonces.take`."""
        return self._service.nonces.take(count)

    def _sealing(self, kind: str, scopes: Sequence[str], expires_at: datetime | None) -> list[DataKey | None]:
        known = self._known.setdefault(kind, {})
        new = {scope: self._service.id_of(kind, scope) for scope in scopes if scope not in known}
        keys, gone = self._service.unwrapped(new.values())
        absent = {scope: id for scope, id in new.items() if id not in keys and id not in gone}
        if blanks := list(self._blanks(kind, absent, expires_at)):
            self._service.make(blanks)
            made, _ = self._service.unwrapped([blank.id for blank in blanks])
            keys |= made
        known.update(zip(new, map(keys.get, new.values()), strict=True))
        return [known[scope] for scope in scopes]

    def _blanks(self, kind: str, ids: dict[str, bytes], expires_at: datetime | None) -> Iterable[StoredKey]:
        """What the store will say of new keys; nothing for a scope whose deadline has come already."""
        spec, now = self._service.policy.keys[kind], self._service.clock()
        for scope, id in ids.items():
            last = self._service.policy.key_deadline(kind, scope, now)
            deadline = min((d for d in (last, expires_at) if d is not None), default=None)
            if deadline is None or deadline > now:
                expires = None if deadline is None else _seconds(deadline)
                yield StoredKey(id, kind, scope if spec.is_named else None, _seconds(now), expires, 0, b"")

    def _require(self, kind: str, act: str) -> None:
        spec, purpose = self._service.policy.keys.get(kind), self._service.policy.purposes.get(self._purpose)
        if purpose is None or purpose.role != self._role:
            self._refuse(f"role {self._role} does not work for purpose {self._purpose}")
        if spec is None or self._purpose not in (spec.seal if act == "seal" else spec.open):
            self._refuse(f"purpose {self._purpose} may not {act} with keys of kind {kind}")

    def _refuse(self, reason: str) -> NoReturn:
        error = KeyPurposeError(
            f"refused a key: {reason} (role {self._role}, purpose {self._purpose}; clause J2); "
            "policies/keys.yaml says who may"
        )
        self._on_refusal(error)
        raise error


_NO_KEY = DataKey(bytes(16), "none", bytes(KEY_BYTES))


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _seconds(instant: datetime) -> int:
    return int(instant.astimezone(UTC).timestamp())
