"""The two places where a key store can be: one SQLite file, or a PostgreSQL of its own. Part of `key_store.py`.

Both speak the statements of `sql/keys/`, in which a question mark stands for a value. SQLite overwrites what it deletes
(`secure_delete`), undoes with a journal that it removes after each transaction, and waits until that removal is on the
disk, so that a power cut does not bring a destroyed key back.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg2
import psycopg2.extensions
from psycopg2.extras import execute_values

from governance import patience
from governance.errors import KeyringError, KeyStoreUnavailableError, trouble
from governance.keyring import claimed, keep_names, real, require_private
from governance.private_files import draft_of
from governance.sources import named_query

POSTGRES = ("postgresql://", "postgres://")
PATIENCE_SECONDS = 30
IDS_AT_ONCE = 10_000
_BUSY, _FULL = "somebody else keeps it busy", "the disk is full: free some, nothing needs to be repaired"
_FAILS = "the disk fails, or is full"
_PASSING = {"SQLITE_BUSY": _BUSY, "SQLITE_LOCKED": _BUSY, "SQLITE_FULL": _FULL, "SQLITE_IOERR": _FAILS}
AGAIN = "nothing of the step was kept; a task retries by itself, a command is to be repeated"

Rows = list[tuple[Any, ...]]


class Database(Protocol):
    """What a key store needs of the place where it is. Every method raises `KeyringError` when the store is not sound
    and `KeyStoreUnavailableError` when it cannot be had now."""

    place: str
    """Where it is, for messages."""
    path: Path | None
    """Where it is, when that is a file."""

    def write(self) -> AbstractContextManager[Transaction]:
        """A context: one transaction that no other writer overlaps; `rows` and `rows_of` within it are part of it."""

    def rows(self, query: str, values: Sequence[Any] = ()) -> Rows:
        """What a query brings."""

    def rows_of(self, query: str, ids: Sequence[bytes]) -> Rows:
        """What a query brings for many ids; it ends in `id`, to be followed by the list."""

    def close(self) -> None:
        """Let go of it."""


class Transaction(Protocol):
    """One transaction of a `Database`."""

    def run(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """One statement, and what it brings; question marks stand for values."""

    def many(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """The named statement of `sql/keys/` for every row."""


class SqliteDatabase:
    """A key store in one file (0600) of this machine."""

    def __init__(self, path: Path) -> None:
        self.place = f"key store {path}"
        self.path: Path | None = path
        self._check_file(path)
        with self._translated():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE_SECONDS, isolation_level=None
            )
            for pragma in ("secure_delete = ON", "journal_mode = DELETE", "synchronous = EXTRA", "temp_store = MEMORY"):
                self._connection.execute(f"PRAGMA {pragma}")

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """See `Database`."""
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield _SqliteTransaction(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[Any] = ()) -> Rows:
        """See `Database`."""
        with self._translated():
            return self._connection.execute(query, values).fetchall()

    def rows_of(self, query: str, ids: Sequence[bytes]) -> Rows:
        """See `Database`."""
        found: Rows = []
        for begin in range(0, len(ids), IDS_AT_ONCE):
            part = ids[begin : begin + IDS_AT_ONCE]
            found += self.rows(f"{query} IN ({', '.join('?' * len(part))})", part)
        return found

    def close(self) -> None:
        """See `Database`."""
        self._connection.close()

    def _check_file(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            raise KeyringError(
                f"{self.place}: there is no such file. Restore it (`governance keys restore BACKUP`); "
                "make a new one only where nothing has been encrypted yet"
            ) from None
        except OSError as error:
            raise KeyringError(f"{self.place}: cannot be read ({error.strerror})") from None
        require_private(mode, self.place)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", None) or type(error).__name__
            if why := next((why for sign, why in _PASSING.items() if name.startswith(sign)), None):
                raise KeyStoreUnavailableError(f"{self.place}: {why} ({name}); {AGAIN}") from None
            if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) and os.path.exists(self.path or ""):
                raise KeyringError(f"{self.place}: {_read_only(name)} to file and folder") from None
            raise KeyringError(f"{self.place}: {_unsound(name)}") from None


class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """See `Transaction`."""
        return self._connection.execute(statement, values).fetchall()

    def many(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """See `Transaction`."""
        self._connection.executemany(named_query(f"keys/{name}_sqlite"), rows)


class PostgresDatabase:
    """A key store in a PostgreSQL of its own, in schema `keys`."""

    def __init__(self, dsn: str) -> None:
        self.place = "key store in PostgreSQL"
        self.path: Path | None = None
        self._writing: psycopg2.extensions.cursor | None = None
        with self._translated():
            named = psycopg2.extensions.parse_dsn(dsn)
            self.place = f"key store in PostgreSQL, {named.get('host', 'local')} {named.get('dbname', '')}".rstrip()
            self._connection = patience.connect(
                dsn, application_name="wellbe-governance-keys", options="-c search_path=keys"
            )

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """See `Database`."""
        with self._translated(), self._transaction() as cursor:
            # Writers take turns, as they do on SQLite: a new key must not be wrapped by a version that is being
            # replaced.
            cursor.execute("LOCK TABLE store IN SHARE ROW EXCLUSIVE MODE")
            self._writing = cursor
            try:
                yield _PostgresTransaction(cursor)
            finally:
                self._writing = None

    def rows(self, query: str, values: Sequence[Any] = ()) -> Rows:
        """See `Database`."""
        if self._writing is not None:
            return _PostgresTransaction(self._writing).run(query, values)
        with self._translated(), self._transaction() as cursor:
            return _PostgresTransaction(cursor).run(query, values)

    @contextmanager
    def write_anew(self) -> Iterator[Transaction]:
        """One transaction that begins with making the tables. Raises `KeyringError` where there are some."""
        with self._translated(), self._transaction() as cursor:
            cursor.execute("SELECT to_regnamespace('keys') IS NULL")
            if cursor.fetchone() != (True,):
                raise KeyringError(f"{self.place}: there is one already; it is left alone")
            cursor.execute(named_query("keys/schema_postgres"))
            yield _PostgresTransaction(cursor)

    def rows_of(self, query: str, ids: Sequence[bytes]) -> Rows:
        """See `Database`."""
        return self.rows(f"{query} = ANY(?)", (list(ids),)) if ids else []

    def close(self) -> None:
        """See `Database`."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[psycopg2.extensions.cursor]:
        try:
            with self._connection.cursor() as cursor:
                yield cursor
            self._connection.commit()
        except BaseException:
            if not self._connection.closed:
                self._connection.rollback()
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            why = f"{trouble(error.pgcode, str(error))} (SQLSTATE {error.pgcode or 'none'})"
            raise KeyStoreUnavailableError(f"{self.place}: {why}; {AGAIN}") from None
        except psycopg2.Error as error:
            state = f"SQLSTATE {error.pgcode or 'none'}"
            if error.pgcode in ("25006", "42501"):
                raise KeyringError(f"{self.place}: {_read_only(state)} to the tables of schema keys") from None
            raise KeyringError(f"{self.place}: {_unsound(state)}") from None


class _PostgresTransaction:
    def __init__(self, cursor: psycopg2.extensions.cursor) -> None:
        self._cursor = cursor

    def run(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """See `Transaction`."""
        self._cursor.execute(statement.replace("?", "%s"), tuple(values))
        if self._cursor.description is None:
            return []
        return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in self._cursor.fetchall()]

    def many(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """See `Transaction`."""
        if rows:
            execute_values(self._cursor, named_query(f"keys/{name}_postgres"), rows, page_size=5000)


def _unsound(code: str) -> str:
    return (
        f"not a sound key store, or it refused the step ({code}); if it is damaged, take it away and put its backup in "
        "its place (`governance keys restore BACKUP`)"
    )


def _read_only(code: str) -> str:
    return f"cannot be written ({code}); nothing of the step was kept; give the user of this process the right to write"


def connect(address: str) -> Database:
    """The place at an address: a `postgresql://` URI, or the path of a file."""
    if address.startswith(POSTGRES):
        return PostgresDatabase(address.replace("postgres://", "postgresql://", 1))
    return SqliteDatabase(real(Path(address)))


def exists(address: str) -> bool:
    """Whether there is a store, sound or not, at an address."""
    if not address.startswith(POSTGRES):
        return Path(address).exists()
    database = connect(address)
    try:
        return database.rows("SELECT to_regnamespace('keys') IS NOT NULL") == [(True,)]
    finally:
        database.close()


def create(address: str, fill: Callable[[Transaction], None]) -> None:
    """Make the tables of a store at an address and what `fill` puts into them: all of it or nothing.

    Raises `KeyringError` where there is a store already, and leaves that one alone.
    """
    if address.startswith(POSTGRES):
        database = PostgresDatabase(address.replace("postgres://", "postgresql://", 1))
        try:
            with database.write_anew() as transaction:
                fill(transaction)
        finally:
            database.close()
    else:
        _create_file(real(Path(address)), fill)


def _create_file(path: Path, fill: Callable[[Transaction], None]) -> None:
    place, draft = f"key store {path}", draft_of(path)
    try:
        if path.exists():
            raise FileExistsError
        with claimed(draft):
            try:
                _fill_file(draft, fill)
                path.hardlink_to(draft)  # unlike a rename, a link never takes the place of a file that is there
                keep_names(path)
            finally:
                draft.unlink(missing_ok=True)
    except FileExistsError:
        there = "there is a folder of that name" if path.is_dir() else "there is one already"
        raise KeyringError(f"{place}: {there}; it is left alone") from None
    except BlockingIOError:
        raise KeyStoreUnavailableError(f"{place}: somebody else is making it just now; {AGAIN}") from None
    except OSError as error:
        raise KeyringError(f"{place}: cannot be made ({error.strerror})") from None


def _fill_file(draft: Path, fill: Callable[[Transaction], None]) -> None:
    database = SqliteDatabase(draft)
    try:
        with database.write() as transaction:
            for statement in named_query("keys/schema_sqlite").split(";;"):
                transaction.run(statement)
            fill(transaction)
    finally:
        database.close()
