"""The keyring: the key-encryption keys, which wrap every data key of the key store. An edge: it reads and writes one
file, and the machine's randomness.

The file is JSON, readable by its owner alone, and lies outside the databases that its keys protect, their dumps and
backups, and outside the key store too:

    {"format": "governance-keyring/1",
     "keys": [{"name": "key_encryption", "version": 1, "purpose": "wraps ...",
               "created_at": "2026-11-23T09:00:00+00:00", "key": "<32 bytes in base64>"}]}

The same text may instead come from an Airflow connection, and so from any secrets backend (`Keyring.parse`). The
version of a name with the highest number is the current one. A keyring that is missing is never made anew in passing: a
new one could unwrap nothing that the old one wrapped.

A file of keys, this one or a key store, is written as a draft beside it that then takes its name. The draft always has
the same name, so that what a kill has left of one is replaced by the next, and found by `drafts`.
"""

from __future__ import annotations

import base64
import binascii
import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from governance import private_files
from governance.errors import KeyringError, KeyStoreUnavailableError
from governance.key import KEY_BYTES, Key

FORMAT = "governance-keyring/1"
KEY_ENCRYPTION = "key_encryption"
STANDARD_KEYS: Mapping[str, str] = {KEY_ENCRYPTION: "wraps the data keys of the key store"}
EARLIER_KEYS = ("at_rest", "pseudonyms", "visits")
"""Keys of the first version, which protected values themselves; migration leaves none behind."""


@dataclass(frozen=True)
class _Entry:
    key: Key
    purpose: str
    created_at: str

    @classmethod
    def fresh(cls, name: str, version: int, purpose: str, now: datetime | None) -> _Entry:
        created_at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        return cls(Key(name, version, os.urandom(KEY_BYTES)), purpose, created_at)

    @classmethod
    def from_json(cls, entry: dict[str, object]) -> _Entry:
        name, version, encoded = entry["name"], entry["version"], entry["key"]
        purpose, created_at = entry["purpose"], entry["created_at"]
        if not (isinstance(name, str) and type(version) is int and isinstance(encoded, str)):
            raise TypeError
        if not (isinstance(purpose, str) and isinstance(created_at, str)):
            raise TypeError
        if datetime.fromisoformat(created_at).tzinfo is None:
            raise ValueError
        return cls(Key(name, version, base64.b64decode(encoded, validate=True)), purpose, created_at)

    def as_json(self) -> dict[str, object]:
        encoded = base64.b64encode(self.key.secret).decode()
        head = {"name": self.key.name, "version": self.key.version, "purpose": self.purpose}
        return {**head, "created_at": self.created_at, "key": encoded}


@dataclass(frozen=True)
class Keyring:
    """The keys of one keyring file, as they were when it was loaded. Its repr names no key."""

    path: Path | None  # None where it did not come from a file
    _entries: tuple[_Entry, ...] = field(repr=False)

    @classmethod
    def create(cls, path: Path, keys: Mapping[str, str] = STANDARD_KEYS, *, now: datetime | None = None) -> Keyring:
        """A new keyring file (mode 0600) with a fresh first version of each key (name -> purpose).

        Raises `KeyringError` when there is a file already, and then leaves it alone.
        """
        path = real(path)
        entries = tuple(_Entry.fresh(name, 1, purpose, now) for name, purpose in keys.items())
        _require_distinct(str(path), entries)
        with alone(path, f"keyring {path}"):
            _write(path, entries, replace=False)
        return cls(path, entries)

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """The keyring in a file. Raises `KeyringError` when it is missing, open to others, or not a sound keyring."""
        return cls(path, _read(path))

    @classmethod
    def parse(cls, text: str, name: str) -> Keyring:
        """The keyring in a text, such as the password of an Airflow connection of this name. Raises `KeyringError`."""
        return cls(None, _parsed(text.encode(), name))

    @classmethod
    def remove(cls, path: Path, names: Collection[tuple[str, int]]) -> Keyring:
        """The keyring without the given (name, version) pairs: what they alone wrapped can never be read again.

        Drafts that a kill has left, and that hold them too, go as well. Two callers at once take turns. Raises
        `KeyringError` as `load` does.
        """
        path = real(path)
        with alone(path, f"keyring {path}"):
            entries = _read(path)
            kept = tuple(entry for entry in entries if (entry.key.name, entry.key.version) not in names)
            if kept != entries:
                _write(path, kept, replace=True)
        sweep(path)
        return cls(path, kept)

    @classmethod
    def add_version(cls, path: Path, name: str, purpose: str | None = None, *, now: datetime | None = None) -> Keyring:
        """The keyring with one more version of a key, which is now the current one; with a `purpose`, also of a new
        name.

        Older versions stay, to decrypt. Two callers at once take turns. Raises `KeyringError` as `load` does, and for a
        name that the keyring does not know when no purpose is given.
        """
        path = real(path)
        with alone(path, f"keyring {path}"):
            entries = _read(path)
            versions = [entry for entry in entries if entry.key.name == name]
            if not versions and purpose is None:
                raise KeyringError(f"keyring {path}: no key named {name}; give its purpose to make a new one")
            latest = max((entry.key.version for entry in versions), default=0)
            stated = purpose if purpose is not None else versions[-1].purpose
            extended = (*entries, _Entry.fresh(name, latest + 1, stated, now))
            _require_distinct(str(path), extended)
            _write(path, extended, replace=True)
        return cls(path, extended)

    def key(self, name: str, version: int | None = None) -> Key:
        """The current version of a named key, or the given one. Raises `KeyringError` when there is none."""
        versions = {entry.key.version: entry.key for entry in self._entries if entry.key.name == name}
        if not versions or version not in (None, *versions):
            wanted = name if version is None else f"{name}/{version}"
            raise KeyringError(f"{self.place}: no key {wanted}; restore the keyring that has it")
        return versions[max(versions) if version is None else version]

    def by_id(self, key_id: bytes) -> Key:
        """The key whose four-byte id a ciphertext of format 1 carries. Raises `KeyringError` when there is none."""
        for entry in self._entries:
            if entry.key.id == key_id:
                return entry.key
        raise KeyringError(f"{self.place}: no key with id {key_id.hex()}; restore the keyring that has it")

    def versions(self, name: str) -> dict[int, datetime]:
        """When each version of a name was made; empty when there is none."""
        return {e.key.version: datetime.fromisoformat(e.created_at) for e in self._entries if e.key.name == name}

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"keyring {self.path}" if self.path else "the keyring of the Airflow connection"


def _read(path: Path) -> tuple[_Entry, ...]:
    try:
        # Without waiting: a pipe in its place would have nobody at the other end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read() if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise KeyringError(
            f"keyring {path}: there is no such file. Restore it from its backup; "
            "make a new one only where nothing has been encrypted yet"
        ) from None
    except OSError as error:
        raise KeyringError(f"keyring {path}: cannot be read ({error.strerror})") from None
    require_private(mode, f"keyring {path}")
    return _parsed(text, str(path))


def _parsed(text: bytes, name: str) -> tuple[_Entry, ...]:
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError
        entries = tuple(_Entry.from_json(entry) for entry in content["keys"])
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error, KeyringError):
        # `from None`: the errors of json and base64 carry what they read, and that is keys.
        raise KeyringError(f"keyring {name}: not a sound {FORMAT} file; restore it from its backup") from None
    _require_distinct(name, entries)
    return entries


def _require_distinct(name: str, entries: tuple[_Entry, ...]) -> None:
    """Two keys of one id would make a ciphertext ambiguous; four bytes make that a one-in-millions accident."""
    if len({(entry.key.name, entry.key.version) for entry in entries}) < len(entries):
        raise KeyringError(f"keyring {name}: a version of a key is in it twice; restore it from its backup")
    if len({entry.key.id for entry in entries}) < len(entries):
        raise KeyringError(f"keyring {name}: two keys share an id; choose another name for the newer one")


def _write(path: Path, entries: tuple[_Entry, ...], *, replace: bool) -> None:
    """The whole file or none of it, also when the machine stops half-way. To be called `alone`."""
    text = json.dumps({"format": FORMAT, "keys": [entry.as_json() for entry in entries]}, indent=1)
    try:
        private_files.write(path, text, replace=replace)
    except FileExistsError:
        raise KeyringError(f"keyring {path}: there is one already; it is left alone") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise KeyStoreUnavailableError(
                f"keyring {path}: the disk is full; it is as it was; free some space and do it again"
            ) from None
        raise KeyringError(f"keyring {path}: cannot be written ({error.strerror})") from None
    keep_names(path)


# -- files of keys -----------------------------------------------------------------------------------------------------


def real(path: Path) -> Path:
    """The file behind a path, links followed: what takes the name of a link leaves the file behind it as it was.

    >>> real(Path("/nowhere/../keyring.json"))
    PosixPath('/keyring.json')
    """
    return Path(os.path.realpath(path))


def require_private(mode: int, place: str) -> None:
    """Raises `KeyringError` for what is no file, and for a file that others than its owner can reach."""
    if not stat.S_ISREG(mode):
        raise KeyringError(f"{place}: cannot be read (not a regular file); name the file itself")
    if stat.S_IMODE(mode) & 0o077:
        raise KeyringError(f"{place}: mode {stat.S_IMODE(mode):04o} lets others than its owner in; chmod 600")


def drafts(path: Path) -> list[Path]:
    """Drafts of a file, and what SQLite laid beside them, that are being written or that a kill has left."""
    path = real(path)
    # Earlier versions of this project gave a draft sixteen random digits.
    name = re.compile(rf"\.{re.escape(path.name)}\.(draft|[0-9a-f]{{16}})(-journal)?")
    return sorted(found for found in path.parent.glob(".*") if name.fullmatch(found.name))


def sweep(path: Path) -> None:
    """Remove the drafts of a file that a kill has left; one that somebody is writing stays."""
    if left := drafts(path):
        with alone(real(path), f"the drafts of {path}"):
            for draft in {found.with_name(found.name.removesuffix("-journal")) for found in left}:
                with suppress(BlockingIOError), claimed(draft):
                    draft.unlink()
        keep_names(real(path))


@contextmanager
def claimed(draft: Path) -> Iterator[None]:
    """A draft, empty, that nobody else writes meanwhile. Raises BlockingIOError when somebody does."""
    with ExitStack() as held:
        if held.enter_context(_locked(draft)):
            draft.unlink()  # and not emptied: what a kill has left may be the finished file, under its second name
            held.enter_context(_locked(draft))
        draft.with_name(f"{draft.name}-journal").unlink(missing_ok=True)  # SQLite would take it for this draft's own
        yield


@contextmanager
def _locked(draft: Path) -> Iterator[int]:
    """Hold the lock of a draft, made where there is none; gives its size."""
    file = os.open(draft, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.exists(draft) or not os.path.samestat(os.fstat(file), os.stat(draft)):
            raise BlockingIOError  # somebody finished it between the two lines
        yield os.fstat(file).st_size
    finally:
        os.close(file)


def keep_names(path: Path) -> None:
    """See to the disk which names there are in a file's folder, so that a power cut neither loses nor returns one."""
    with _folder(path, str(path)) as folder:
        os.fsync(folder)


@contextmanager
def alone(path: Path, place: str) -> Iterator[None]:
    """Nobody else writes a keyring in this folder meanwhile. Locks the folder: the file itself is replaced."""
    with _folder(path, place) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield


@contextmanager
def _folder(path: Path, place: str) -> Iterator[int]:
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise KeyringError(f"{place}: its folder cannot be opened ({error.strerror})") from None
    try:
        yield folder
    finally:
        os.close(folder)
