"""An outbox in object storage (the S3 protocol), without folders and renames: `manifest.json` commits a delivery.

Parts are written first, then the signature, and the manifest last, on the condition that there is none: what has no
manifest is a draft. Whatever is asked of the bucket is asked of the path that the outbox was opened at: in a task an
`airflow.sdk.ObjectStoragePath`; on the command line, which has not the seconds to import Airflow, a `Place`. Both stand
on the same file system, `buckets.Buckets`.
"""

from __future__ import annotations

import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

from governance.errors import GovernanceError
from governance.sharing import outbox
from governance.sharing.buckets import ACCESS, Buckets, access
from governance.sharing.endpoints import Endpoint
from governance.sharing.outbox import At, ObjectPath

_STATUS = re.compile(r"status code: (\d{3})\b")


@dataclass(frozen=True)
class Place:
    """A path and its file system, and no more."""

    fs: Any
    path: str

    def __truediv__(self, name: str) -> Place:
        return Place(self.fs, f"{self.path}/{name}")


class _OtherBytesError(GovernanceError):
    """An object and a file differ."""


@dataclass(frozen=True)
class _Compared:
    """A file whose bytes are compared with those of another, and kept nowhere."""

    other: IO[bytes]

    def write(self, content: bytes) -> None:
        if self.other.read(len(content)) != content:
            raise _OtherBytesError


def by_itself(endpoint: Endpoint, fs: Any) -> Place:
    """The root of an outbox, without Airflow."""
    return Place(fs, f"{endpoint.host}{endpoint.path}")


class ObjectOutbox:
    """An `Outbox` in a bucket."""

    def __init__(self, endpoint: Endpoint, private: Path, at: At = by_itself) -> None:
        self._recipient = endpoint.recipient
        self._root = at(endpoint, Buckets(access(endpoint.recipient, private)))

    def put(self, delivery_id: str, files: Mapping[str, Path]) -> None:
        """Deliver files; see `Outbox`."""
        files = outbox.in_order(self._recipient, delivery_id, files)
        with self._speaking():
            there = self._sizes(delivery_id)
            if outbox.MANIFEST not in there:
                self._delete(delivery_id, there)
                if self._write(delivery_id, files):
                    return
                there = self._sizes(delivery_id)
            if not self._holds(delivery_id, there, files):
                raise outbox.other_bytes(self._recipient, delivery_id)

    def manifest(self, delivery_id: str) -> bytes | None:
        """The manifest of a delivery that is wholly there, else None."""
        outbox.require_id(self._recipient, delivery_id)
        with self._speaking():
            there = self._sizes(delivery_id)
            if not {outbox.MANIFEST, outbox.SIGNATURE} <= there.keys():
                return None
            manifest = self._root / delivery_id / outbox.MANIFEST
            return _start(manifest, there[outbox.MANIFEST], outbox.LARGEST_MANIFEST)

    def deliveries(self) -> set[str]:
        """The ids of whatever is there under the name of a delivery."""
        with self._speaking():
            found = _below(self._root, maxdepth=1)
        return {name for name, what in found.items() if what["type"] == "directory" and outbox.is_delivery(name)}

    def acknowledgements(self) -> Mapping[str, bytes]:
        """What the recipient has put beside deliveries."""
        with self._speaking():
            return {
                delivery_id: _start(self._root / name, what["size"], outbox.LARGEST_ACKNOWLEDGEMENT)
                for name, what in sorted(_below(self._root, maxdepth=1).items())
                if what["type"] == "file" and (delivery_id := outbox.acknowledged(name))
            }

    def remove(self, delivery_id: str) -> None:
        """Take away a delivery and its acknowledgement."""
        outbox.require_id(self._recipient, delivery_id)
        with self._speaking():
            self._delete(delivery_id, self._sizes(delivery_id))
            _remove(self._root / (delivery_id + outbox.ACKNOWLEDGEMENT))

    def discard_drafts(self) -> int:
        """Take away what killed tries have left, but for uploads that no listing shows."""
        with self._speaking():
            found: dict[str, set[str]] = defaultdict(set)
            for path in _below(self._root):
                delivery_id, _, name = path.partition("/")
                if name:
                    found[delivery_id].add(name)
            drafts = [
                delivery_id
                for delivery_id, names in found.items()
                if outbox.is_draft(outbox.draft_of(delivery_id)) and outbox.MANIFEST not in names
            ]
            for delivery_id in drafts:
                self._delete(delivery_id, found[delivery_id])
            return len(drafts)

    def probe(self) -> None:
        """Return when a delivery could be put now."""
        draft = self._root / secrets.token_hex(32) / "probe"
        with self._speaking():
            try:
                draft.fs.pipe_file(draft.path, b"probe", mode="create")
                draft.fs.pipe_file(draft.path, b"probe", mode="create")
            except AlreadyExistsError:
                return
            finally:
                _remove(draft)
        raise outbox.refused(
            self._recipient, "replaces what is there although asked not to (If-None-Match): take another store"
        )

    def _write(self, delivery_id: str, files: Mapping[str, Path]) -> bool:
        """Write the files of a delivery in their order; returns whether this manifest has committed it."""
        for name, path in files.items():
            there, mode = self._root / delivery_id / name, "create" if name == outbox.MANIFEST else "overwrite"
            try:
                there.fs.put_file(path, there.path, mode=mode)
            except AlreadyExistsError:  # by somebody else, or by us, when it was repeated because the answer got lost
                return False
        return True

    def _sizes(self, delivery_id: str) -> dict[str, int]:
        """What there is of a delivery, and how many bytes each is."""
        return {name: what["size"] for name, what in _below(self._root / delivery_id).items()}

    def _holds(self, delivery_id: str, there: Mapping[str, int], files: Mapping[str, Path]) -> bool:
        """Whether a delivery is exactly these files, with these bytes."""
        return there == {name: path.stat().st_size for name, path in files.items()} and all(
            _is_same(self._root / delivery_id / name, path) for name, path in files.items()
        )

    def _delete(self, delivery_id: str, names: Iterable[str]) -> None:
        """Take away objects of a delivery, its manifest first: what is left is a draft."""
        for name in sorted(names, key=lambda name: (name != outbox.MANIFEST, name)):
            _remove(self._root / delivery_id / name)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Errors in our words: those of a store hold addresses, and whatever it answered."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise self._said(error) from None

    def _said(self, error: Exception) -> GovernanceError:
        status = _STATUS.search(str(error))  # of a listing that failed, only the text of the error has it
        code = status[1] if status else ""
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or code in ("401", "403"):
            return outbox.refused(
                self._recipient,
                f"refused the key of {ACCESS}, or what it asked for, or this machine's clock: compare all three",
            )
        if isinstance(error, FileNotFoundError) or code == "404":
            why = "is not there: its bucket, or what was in it a moment ago, is missing"
        else:
            why = "cannot be reached, gave no answer for too long, or answered with an error"
        return outbox.unavailable(self._recipient, why)


def _below(place: ObjectPath, maxdepth: int | None = None) -> dict[str, dict[str, Any]]:
    """What is below a path, by its name from there on."""
    found: dict[str, dict[str, Any]] = place.fs.find(place.path, maxdepth=maxdepth)
    return {name.removeprefix(f"{place.path.rstrip('/')}/"): what for name, what in found.items()}


def _start(place: ObjectPath, size: int, longest: int) -> bytes:
    """The bytes of an object of a size, and one more of one that is too long."""
    # No store has a range of nothing.
    return bytes(place.fs.cat_file(place.path, start=0, end=min(size, longest + 1))) if size else b""


def _is_same(place: ObjectPath, path: Path) -> bool:
    """Whether an object has the bytes of a file."""
    with path.open("rb") as ours:
        try:
            place.fs.get_file(place.path, _Compared(ours))
        except _OtherBytesError:
            return False
        return not ours.read(1)


def _remove(place: ObjectPath) -> None:
    """Take away an object, or nothing where there is none."""
    place.fs.rm_file(place.path)
