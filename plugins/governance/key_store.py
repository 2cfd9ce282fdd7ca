"""The key store: wrapped data keys, the record of those that are destroyed, and the writers of nonces. An edge.

It lies outside the cluster that its keys protect, and that cluster's dumps, write-ahead log and backups: one SQLite
file, or a PostgreSQL of its own (`key_databases.py`). It knows no secret: data keys are wrapped by a key of the
keyring, which it does not hold. Who may use which key, and for what, is decided by `keys.py`.

A destroyed key stays as a row without a secret, so that nothing can bring another key of its id into being; the tables
themselves refuse to undo that, to move a deadline, or to lose a row. Policy clauses J1, K1, M1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from governance.errors import ContendedError, KeyringError
from governance.key_databases import Database, Transaction, connect, create
from governance.key_wrapping import REFERENCE_KIND, UNKNOWN_KIND, StoredKey

FORMAT = "governance-keys/1"
_COLUMNS = ", ".join(StoredKey._fields)


@dataclass(frozen=True)
class Head:
    """What a store says of itself: which one it is, and which key-encryption keys it knows (version -> check value)."""

    store_id: bytes
    current_version: int
    check_values: dict[int, bytes]


@dataclass(frozen=True)
class Destruction:
    """One act that destroyed keys; `attempt_id` is that of its entry in the run log."""

    attempt_id: str
    reason: str
    destroyed_at: int
    is_recorded: bool


@dataclass(frozen=True)
class Census:
    """Keys of one kind: how many there are and how many are gone. Instants are seconds since 1970."""

    kind: str
    alive: int
    destroyed: int
    overdue: int
    next_deadline: int | None
    last_destroyed_at: int | None


class KeyStore:
    """An open key store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.place, self.path = database.place, database.path
        rows = database.rows("SELECT format FROM store")
        if rows != [(FORMAT,)]:
            raise KeyringError(f"{self.place}: not a {FORMAT} store; use the version of this project that made it")

    @classmethod
    def create(cls, address: str, head: Head, reference: StoredKey) -> KeyStore:
        """A new, empty store at an address: the path of a file that is not there, or the URI of a PostgreSQL database.

        Raises `KeyringError` where there is a store already, and leaves that one alone.
        """

        def fill(transaction: Transaction) -> None:
            cls._begin(transaction, head, 0)
            transaction.many("add", [reference])

        create(address, fill)
        return cls.open(address)

    @classmethod
    def open(cls, address: str) -> KeyStore:
        """The store at an address. Raises `KeyringError` when there is none, and never makes one."""
        database = connect(address)
        try:
            return cls(database)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        self._database.close()

    def head(self) -> Head:
        """What the store says of itself."""
        ((store_id, version),) = self._database.rows("SELECT store_id, current_version FROM store")
        checks = {v: check for v, check in self._database.rows("SELECT version, check_value FROM wrapping_keys")}
        return Head(store_id, version, checks)

    def count(self) -> int:
        """How many keys it has ever had, the destroyed ones included; never less than before."""
        ((count,),) = self._database.rows("SELECT count(*) FROM data_keys WHERE kind <> ?", (UNKNOWN_KIND,))
        return int(count)

    def new_writer(self, now: float) -> int:
        """A number that was never handed out before, for `nonces.Nonces`."""
        milliseconds = int(now * 1000)
        with self._database.write() as transaction:
            ((last,),) = transaction.run("SELECT writer FROM store")
            writer = max(int(last) + 1, milliseconds)
            transaction.run("UPDATE store SET writer = ?", (writer,))
        return writer

    # -- keys --------------------------------------------------------------------------------------------------------

    def fetch(self, ids: Collection[bytes]) -> dict[bytes, StoredKey]:
        """The keys of these ids, the destroyed ones too; what the store does not know is missing."""
        return self._of(ids, "id")

    def destroyed(self, ids: Collection[bytes]) -> dict[bytes, StoredKey]:
        """Those of these keys that are destroyed."""
        # Where few are destroyed, all are read off their index: that costs less than to look up keys that live.
        most = 4 * len(ids)
        query = "SELECT id FROM data_keys WHERE destroyed_by IS NOT NULL ORDER BY destroyed_by LIMIT ?"
        gone = self._database.rows(query, (most,))
        return self._of(ids if len(gone) == most else set(ids) & {id for (id,) in gone}, "wrapped IS NULL AND id")

    def _of(self, ids: Collection[bytes], condition: str) -> dict[bytes, StoredKey]:
        query = f"SELECT {_COLUMNS} FROM data_keys WHERE {condition}"  # noqa: S608
        return {row[0]: StoredKey._make(row) for row in self._database.rows_of(query, sorted(set(ids)))}

    def add(self, keys: Sequence[StoredKey]) -> bool:
        """Add the keys whose ids are new; whoever came first with an id stays.

        False, and nothing is added, when a living one is wrapped by a version that is no longer the current one.
        """
        with self._database.write() as transaction:
            ((current,),) = transaction.run("SELECT current_version FROM store")
            if any(key.version != current for key in keys if not key.is_destroyed):
                return False
            # In the order of the table: out of order, a store of millions writes each of its pages over and over.
            transaction.many("add", sorted(keys, key=lambda key: key[0]))
        return True

    def destroy(self, ids: Collection[bytes], act: Destruction) -> list[StoredKey]:
        """Destroy the keys of these ids, for ever, and note the act; returns those that were alive, without secrets."""
        with self._database.write() as transaction:
            found = self._destroy(transaction, self.fetch(ids).values(), act)
        return list(self.fetch(found).values())

    def bury(self, ids: Collection[bytes], act: Destruction) -> None:
        """Destroy the keys of these ids; of an id that the store does not know, see that no key can be made."""
        with self._database.write() as transaction:
            known = self.fetch(ids)
            self._destroy(transaction, known.values(), act)
            at, by = act.destroyed_at, act.attempt_id
            if strange := sorted(set(ids) - known.keys()):
                self._note(transaction, act)
                left = [StoredKey(id, UNKNOWN_KIND, None, at, None, 0, None, at, by) for id in strange]
                transaction.many("add", left)

    def _destroy(self, transaction: Transaction, keys: Iterable[StoredKey], act: Destruction) -> list[bytes]:
        alive = [key.id for key in keys if not key.is_destroyed]
        if alive:
            self._note(transaction, act)
            transaction.many("destroy", [(act.destroyed_at, act.attempt_id, id) for id in alive])
        return alive

    def due(self, now: float) -> list[StoredKey]:
        """The keys whose deadline has come and that are still there, the longest overdue first."""
        return self._keys("wrapped IS NOT NULL AND expires_at <= ? ORDER BY expires_at", (int(now),))

    def named(self, kind: str) -> list[StoredKey]:
        """The keys of a kind whose scope can be said, in the order of their scopes."""
        return self._keys("kind = ? AND scope IS NOT NULL ORDER BY scope", (kind,)) if kind else []

    def pages(self, size: int = 10_000) -> Iterator[list[StoredKey]]:
        """Every key, a page at a time, in the order of ids; what is added behind the place of reading is not seen."""
        last = b""
        while page := self._keys("id > ? ORDER BY id LIMIT ?", (last, size)):
            yield page
            last = page[-1].id

    def census(self, now: float) -> list[Census]:
        """Counts per kind, the store's own reference key left out."""
        query = (
            "SELECT kind, sum(CASE WHEN wrapped IS NULL THEN 0 ELSE 1 END), "
            "sum(CASE WHEN wrapped IS NULL THEN 1 ELSE 0 END), "
            "sum(CASE WHEN wrapped IS NOT NULL AND expires_at <= ? THEN 1 ELSE 0 END), "
            "min(CASE WHEN wrapped IS NOT NULL THEN expires_at END), max(destroyed_at) "
            "FROM data_keys WHERE kind <> ? GROUP BY kind ORDER BY kind"
        )
        rows = self._database.rows(query, (int(now), REFERENCE_KIND))
        return [
            Census(kind, int(alive), int(destroyed), int(overdue), _whole(deadline), _whole(last))
            for kind, alive, destroyed, overdue, deadline, last in rows
        ]

    # -- destructions and the run log ----------------------------------------------------------------------------------

    def unrecorded(self) -> list[Destruction]:
        """Acts of destruction of which the run log may not know the end yet, oldest first."""
        return self._acts("WHERE is_recorded = 0 ")

    def destroyed_by(self, attempt_id: str) -> list[StoredKey]:
        """The keys that one act destroyed."""
        return self._keys("destroyed_by = ? ORDER BY id", (attempt_id,))

    def mark_recorded(self, attempt_id: str) -> None:
        """Note that the run log has the end of an act."""
        with self._database.write() as transaction:
            transaction.run("UPDATE destructions SET is_recorded = 1 WHERE attempt_id = ?", (attempt_id,))

    def acts(self) -> list[Destruction]:
        """Every act of destruction, oldest first."""
        return self._acts("")

    def copy_to(self, address: str, pages: Iterable[Sequence[StoredKey]], acts: Iterable[Destruction]) -> None:
        """A store at another address that says of itself what this one says, with these keys, and acts on them.

        Raises `KeyringError` where there is a store already, and `ContendedError` when the key-encryption key is
        replaced meanwhile; then there is no copy.
        """
        head = self.head()
        ((writer,),) = self._database.rows("SELECT writer FROM store")

        def fill(transaction: Transaction) -> None:
            self._begin(transaction, head, int(writer))
            for act in acts:
                self._note(transaction, act)
            for page in pages:
                transaction.many("add", page)
            if self.head() != head:
                raise ContendedError(f"{self.place}: its key-encryption key is being replaced; try again")

        create(address, fill)

    def merge(
        self, keys: Sequence[StoredKey], acts: Iterable[Destruction], mends: Callable[[StoredKey, StoredKey], bool]
    ) -> int:
        """Add what a backup has and this store lacks; returns how many living keys it brought.

        `mends` says of a key of the backup, and of that with its id here, whether the wrapping of the one takes the
        place of the other's. See `add`, of which this is the bulk form, for keys under any version the store knows.
        """
        with self._database.write() as transaction:
            known = {version for (version,) in transaction.run("SELECT version FROM wrapping_keys")}
            if strangers := sorted({k.version for k in keys if not k.is_destroyed} - known):
                raise KeyringError(f"{self.place}: keys under unknown key-encryption key versions {strangers}")
            present = self.fetch([key.id for key in keys])
            new = [key for key in keys if key.id not in present]
            mended = [(k, present[k.id]) for k in keys if k.id in present and mends(k, present[k.id])]
            # Those alone that destroyed something here: a backup that is put back a second time destroys nothing more.
            by = {key.destroyed_by for key in new}
            for act in acts:
                if act.attempt_id in by:
                    self._note(transaction, act)
            transaction.many("add", new)
            transaction.many("rewrap", [(key.version, key.wrapped, key.id, old.version) for key, old in mended])
        return sum(1 for key in new if not key.is_destroyed) + len(mended)

    # -- key-encryption keys -------------------------------------------------------------------------------------------

    def begin_version(self, version: int, check: bytes) -> None:
        """From now on new keys are wrapped by this version or a later one, and by no earlier one."""
        with self._database.write() as transaction:
            ((current,),) = transaction.run("SELECT current_version FROM store")
            if version <= current:
                return
            transaction.run("INSERT INTO wrapping_keys (version, check_value) VALUES (?, ?)", (version, check))
            transaction.run("UPDATE store SET current_version = ?", (version,))

    def behind(self, version: int, after: bytes, limit: int = 10_000) -> list[StoredKey]:
        """The next living keys, in the order of ids, that an earlier version than this one wraps."""
        return self._keys("id > ? AND wrapped IS NOT NULL AND version < ? ORDER BY id LIMIT ?", (after, version, limit))

    def rewrap(self, keys: Sequence[tuple[StoredKey, bytes]], version: int) -> None:
        """Replace the wrapping of keys by that of another version; one that changed meanwhile is left alone."""
        with self._database.write() as transaction:
            transaction.many("rewrap", [(version, wrapped, key.id, key.version) for key, wrapped in keys])

    def end_versions(self, current: int) -> list[int]:
        """Forget every version before this one that wraps no living key any more; returns those forgotten."""
        with self._database.write() as transaction:
            used = "SELECT DISTINCT version FROM data_keys WHERE wrapped IS NOT NULL AND version < ?"
            known = transaction.run("SELECT version FROM wrapping_keys WHERE version < ?", (current,))
            ended = sorted(version for (version,) in set(known) - set(transaction.run(used, (current,))))
            for version in ended:
                transaction.run("DELETE FROM wrapping_keys WHERE version = ?", (version,))
        return ended

    def _keys(self, condition: str, values: Sequence[Any]) -> list[StoredKey]:
        query = f"SELECT {_COLUMNS} FROM data_keys WHERE {condition}"  # noqa: S608
        return [StoredKey._make(row) for row in self._database.rows(query, values)]

    def _acts(self, condition: str) -> list[Destruction]:
        query = f"SELECT attempt_id, reason, destroyed_at, is_recorded FROM destructions {condition}"  # noqa: S608
        rows = self._database.rows(f"{query}ORDER BY destroyed_at, attempt_id")
        return [Destruction(attempt, reason, at, bool(recorded)) for attempt, reason, at, recorded in rows]

    @staticmethod
    def _begin(transaction: Transaction, head: Head, writer: int) -> None:
        transaction.run(
            "INSERT INTO store (one, format, store_id, current_version, writer) VALUES (1, ?, ?, ?, ?)",
            (FORMAT, head.store_id, head.current_version, writer),
        )
        for version, check in head.check_values.items():
            transaction.run("INSERT INTO wrapping_keys (version, check_value) VALUES (?, ?)", (version, check))

    @staticmethod
    def _note(transaction: Transaction, act: Destruction) -> None:
        transaction.run(
            "INSERT INTO destructions (attempt_id, reason, destroyed_at, is_recorded) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (attempt_id) DO NOTHING",
            (act.attempt_id, act.reason, act.destroyed_at, int(act.is_recorded)),
        )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
