"""An outbox that is a folder, most often of a mounted disk: drafts that take their name when the disk holds them.

A file `.outbox` in it names the recipient. It is on the mounted disk: a disk that is not mounted, or somebody else's,
is noticed before anything is written. Links are followed nowhere, for a recipient may be able to write here.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from governance import private_files
from governance.sharing import outbox
from governance.sharing.endpoints import Endpoint

MARKER = ".outbox"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a named pipe must not keep us waiting
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_LONGEST_MARKER = 200
_REASONS = {
    errno.ENOENT: "is not there: mount or make it",
    errno.ENOTDIR: "is a link or no folder",
    errno.ELOOP: "is a link or no folder",
    errno.ENOSPC: "has no room left on its disk: free some",
    errno.EDQUOT: "has no room left in its quota",
    errno.EROFS: "is mounted read-only",
    errno.EACCES: "may not be read or written by us: look at its owner and mode",
    errno.EPERM: "may not be read or written by us: look at its owner and mode",
}


def prepare(folder: Path, recipient: str) -> None:
    """Make a folder that is there the outbox of a recipient. Raises FileExistsError when it is one, OSError."""
    private_files.write(folder / MARKER, f"{recipient}\n", replace=False, mode=0o644)


class FolderOutbox:
    """An `Outbox` in a folder."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._recipient, self._path = endpoint.recipient, Path(endpoint.path)

    def put(self, delivery_id: str, files: Mapping[str, Path]) -> None:
        """Deliver files; see `Outbox`."""
        files = outbox.in_order(self._recipient, delivery_id, files)
        draft = outbox.draft_of(delivery_id)
        with self._opened() as root:
            _discard(root, draft)
            if not _mode(delivery_id, root):
                try:
                    _fill(root, draft, files)
                    # Replaces nothing but an empty folder: there was none a moment ago.
                    os.rename(draft, delivery_id, src_dir_fd=root, dst_dir_fd=root)
                finally:
                    _discard(root, draft)
            elif not _holds(root, delivery_id, files):
                raise outbox.other_bytes(self._recipient, delivery_id)
            os.fsync(root)  # of a try before, too, that was killed between name and disk

    def manifest(self, delivery_id: str) -> bytes | None:
        """The manifest of a delivery that is wholly there, else None."""
        outbox.require_id(self._recipient, delivery_id)
        with self._opened() as root:
            if not stat.S_ISDIR(_mode(delivery_id, root)):
                return None
            with _folder(delivery_id, root) as delivery:
                if not {outbox.MANIFEST, outbox.SIGNATURE} <= set(os.listdir(delivery)):
                    return None
                return _read(outbox.MANIFEST, delivery, outbox.LARGEST_MANIFEST)

    def deliveries(self) -> set[str]:
        """The ids of whatever is there under the name of a delivery."""
        with self._opened() as root:
            return set(filter(outbox.is_delivery, os.listdir(root)))

    def acknowledgements(self) -> Mapping[str, bytes]:
        """What the recipient has put beside deliveries."""
        with self._opened() as root:
            found = {name: outbox.acknowledged(name) for name in sorted(os.listdir(root))}
            return {
                delivery_id: _read(name, root, outbox.LARGEST_ACKNOWLEDGEMENT)
                for name, delivery_id in found.items()
                if delivery_id
            }

    def remove(self, delivery_id: str) -> None:
        """Take away a delivery and its acknowledgement."""
        outbox.require_id(self._recipient, delivery_id)
        draft = outbox.draft_of(delivery_id)
        with self._opened() as root:
            _discard(root, draft)
            if _mode(delivery_id, root):
                os.rename(delivery_id, draft, src_dir_fd=root, dst_dir_fd=root)  # never half there
                os.fsync(root)
                _discard(root, draft)
            _discard(root, delivery_id + outbox.ACKNOWLEDGEMENT)
            os.fsync(root)

    def discard_drafts(self) -> int:
        """Take away what killed tries have left."""
        with self._opened() as root:
            drafts = [name for name in os.listdir(root) if outbox.is_draft(name)]
            for name in drafts:
                _discard(root, name)
            return len(drafts)

    def probe(self) -> None:
        """Return when a delivery could be put now."""
        before, after = (outbox.draft_of(secrets.token_hex(32)) for _ in range(2))
        with self._opened() as root:
            try:
                os.mkdir(before, 0o700, dir_fd=root)
                with _folder(before, root) as draft, os.fdopen(_new("probe", draft), "wb") as file:
                    file.write(b"probe")
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(before, after, src_dir_fd=root, dst_dir_fd=root)
            finally:
                _discard(root, before)
                _discard(root, after)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder, which is the recipient's, for what happens within it."""
        try:
            with _folder(str(self._path)) as root:
                self._require_ours(root)
                yield root
        except OSError as error:
            why = _REASONS.get(error.errno or 0) or f"cannot be used ({error.strerror})"
            raise outbox.unavailable(self._recipient, why) from None

    def _require_ours(self, root: int) -> None:
        if not _mode(MARKER, root):
            raise outbox.unavailable(
                self._recipient,
                f"has no file {MARKER}, so its disk is not mounted, or it is not prepared: do the one or the other",
            )
        if _read(MARKER, root, _LONGEST_MARKER).strip() != self._recipient.encode():
            raise outbox.refused(
                self._recipient, f"is somebody else's, says the file {MARKER} in it: mount or register the right one"
            )


@contextmanager
def _folder(name: str, within: int | None = None) -> Iterator[int]:
    opened = os.open(name, _FOLDER, dir_fd=within)
    try:
        yield opened
    finally:
        os.close(opened)


def _new(name: str, within: int) -> int:
    return os.open(name, _DRAFT, 0o640, dir_fd=within)


def _fill(root: int, draft: str, files: Mapping[str, Path]) -> None:
    """Write the files of a delivery into a draft that is not there yet, and have the disk hold them."""
    os.mkdir(draft, 0o750, dir_fd=root)
    with _folder(draft, root) as folder:
        for name, path in files.items():
            with path.open("rb") as source, os.fdopen(_new(name, folder), "wb") as file:
                shutil.copyfileobj(source, file, outbox.BLOCK)
                file.flush()
                os.fsync(file.fileno())
        os.fsync(folder)


def _holds(root: int, delivery_id: str, files: Mapping[str, Path]) -> bool:
    """Whether what has a delivery's name is a folder of exactly these files, with these bytes."""
    if not stat.S_ISDIR(_mode(delivery_id, root)):
        return False
    with _folder(delivery_id, root) as folder:
        return set(os.listdir(folder)) == files.keys() and all(
            _is_same(name, folder, path) for name, path in files.items()
        )


def _is_same(name: str, within: int, path: Path) -> bool:
    if not stat.S_ISREG(_mode(name, within)):
        return False
    with os.fdopen(os.open(name, _PLAIN, dir_fd=within), "rb") as there, path.open("rb") as ours:
        return outbox.are_same(ours, there)


def _read(name: str, within: int, longest: int) -> bytes:
    """The bytes of a plain file, and one more of one that is too long; none of anything else."""
    if not stat.S_ISREG(_mode(name, within)):
        return b""
    with os.fdopen(os.open(name, _PLAIN, dir_fd=within), "rb") as file:
        return file.read(longest + 1)


def _mode(name: str, within: int) -> int:
    """What has a name, as `stat` has its mode: a link as a link, and 0 where nothing has it."""
    try:
        return os.stat(name, dir_fd=within, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _discard(root: int, name: str) -> None:
    """Take away a folder or whatever else has a name; a link, not what it points to."""
    mode = _mode(name, root)
    if stat.S_ISDIR(mode):
        shutil.rmtree(name, dir_fd=root)
    elif mode:
        os.unlink(name, dir_fd=root)
