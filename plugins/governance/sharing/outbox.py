"""An outbox: the place at a recipient's endpoint where sealed deliveries become visible, each whole or not at all (F1).

A delivery is a folder `<delivery_id>` with the sealed parts, `manifest.json` and its signature; beside it the recipient
puts `<delivery_id>.ack`. Whoever reads takes nothing that has no manifest, nor whose name begins with a dot. There are
three kinds, chosen by the scheme of the endpoint's URL: a folder, SFTP, object storage.

Transient trouble is EndpointUnavailableError, and the same bytes may be put again. RecipientError is lasting: what is
at the endpoint is not, or no longer, whom the register means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, Self

from governance.errors import EndpointUnavailableError, GovernanceError, PolicyError, RecipientError, shown
from governance.sharing import endpoints
from governance.sharing.endpoints import Endpoint

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.p7s"
ACKNOWLEDGEMENT = ".ack"

LARGEST_ACKNOWLEDGEMENT = 64 * 1024
"""Bytes; of a longer one so many and one more are read, which no longer verify as anything."""
LARGEST_MANIFEST = 16 * 1024 * 1024
BLOCK = 1024 * 1024
"""Bytes that are in memory at once of a part that is copied or compared."""

_ID = r"[0-9a-f]{64}"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Outbox(Protocol):
    """Where one recipient gets deliveries. One process at a time puts, removes and discards for a recipient.

    Every method raises EndpointUnavailableError, RecipientError.
    """

    def put(self, delivery_id: str, files: Mapping[str, Path]) -> None:
        """Deliver files, by the names that they get: all or none, durably, `manifest.json` visible last.

        Again with the same bytes: no change. Raises GovernanceError when other bytes are there under that id, and
        replaces nothing, and for names and files that make no delivery.
        """

    def manifest(self, delivery_id: str) -> bytes | None:
        """The manifest of a delivery that is wholly there, else None."""

    def deliveries(self) -> set[str]:
        """The ids of whatever is there under the name of a delivery, wholly or not."""

    def acknowledgements(self) -> Mapping[str, bytes]:
        """What the recipient has put beside deliveries, as read, by delivery id; empty where it is not a plain file."""

    def remove(self, delivery_id: str) -> None:
        """Take away a delivery and its acknowledgement; whether it may go is for the caller to know."""

    def discard_drafts(self) -> int:
        """Take away what killed tries have left, and nothing of anybody else's; returns how many there were."""

    def probe(self) -> None:
        """Return when a delivery could be put now, shown by writing and taking away a draft."""


class ObjectPath(Protocol):
    """What an outbox in object storage asks of a path: what `airflow.sdk.ObjectStoragePath` has."""

    @property
    def fs(self) -> Any:
        """The file system (fsspec) that the path is of."""

    @property
    def path(self) -> str:
        """How that file system calls it: bucket and key."""

    def __truediv__(self, name: str) -> Self: ...


At = Callable[[Endpoint, Any], ObjectPath]
"""Takes an endpoint in object storage and the file system that reaches it; the path where its outbox begins."""


def opened(recipient: str, url: str, secrets: Path, at: At | None = None) -> Outbox:
    """The outbox that a recipient's URL names. `secrets`: a folder of this site, with one folder in it for each
    recipient, by name, with what reaches its outbox. `at`: what stands for object storage, by default no more than its
    file system.

    Nothing is connected yet. Raises PolicyError for a URL that names none; RecipientError for secrets that are missing
    or open to others.
    """
    endpoint = endpoints.parsed(recipient, url)
    if not _NAME.fullmatch(recipient):
        raise PolicyError(f"recipient {shown(recipient)}: a name with other signs than letters, digits, '.', '_', '-'")
    private = secrets / recipient
    match endpoint.scheme:
        case "file":
            from governance.sharing.folders import FolderOutbox

            return FolderOutbox(endpoint)
        case "sftp":
            from governance.sharing.sftp import SftpOutbox

            return SftpOutbox(endpoint, private)
        case _:
            from governance.sharing.objects import ObjectOutbox, by_itself

            return ObjectOutbox(endpoint, private, at or by_itself)


def secret(recipient: str, path: Path) -> bytes:
    """A file of a recipient's private folder. Raises RecipientError, which quotes nothing of it."""
    try:
        mode, content = path.stat().st_mode & 0o777, path.read_bytes()
    except OSError:
        raise refused(recipient, f"needs a file {path.name} in this site's private folder of it: make one") from None
    if mode & 0o077:
        raise refused(recipient, f"has a file {path.name} that others can read: replace it, with mode 0600")
    return content


def in_order(recipient: str, delivery_id: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """The files of a delivery in the order in which they are written: parts, signature, manifest.

    Raises GovernanceError for what makes no delivery.
    """
    require_id(recipient, delivery_id)
    if not {MANIFEST, SIGNATURE} <= files.keys():
        raise GovernanceError(f"recipient {recipient}: a delivery without manifest and signature was to be put")
    for name, path in files.items():
        if not _NAME.fullmatch(name):
            raise GovernanceError(f"recipient {recipient}: {shown(name)} is no name for a file of a delivery")
        if not path.is_file():
            raise GovernanceError(f"recipient {recipient}: {name} was to be put, and is not there; seal it again")
    parts = sorted(files.keys() - {MANIFEST, SIGNATURE})
    return {name: files[name] for name in (*parts, SIGNATURE, MANIFEST)}


def require_id(recipient: str, delivery_id: str) -> None:
    """Raise GovernanceError for what is no delivery id, and might be a path."""
    if not re.fullmatch(_ID, delivery_id):
        raise GovernanceError(f"recipient {recipient}: a delivery id has 64 hex digits, and this one has not")


def draft_of(delivery_id: str) -> str:
    """The name of a delivery before it is whole, or when it is on its way out."""
    return f".{delivery_id}.draft"


def is_draft(name: str) -> bool:
    """Whether a name at an endpoint is that of a draft of ours.

    >>> is_draft(draft_of("0f" * 32)), is_draft(".theirs.draft")
    (True, False)
    """
    return bool(re.fullmatch(rf"\.{_ID}\.draft", name))


def is_delivery(name: str) -> bool:
    """Whether a name at an endpoint is that of a delivery.

    >>> is_delivery("0f" * 32), is_delivery(draft_of("0f" * 32)), is_delivery("inbox")
    (True, False, False)
    """
    return bool(re.fullmatch(_ID, name))


def acknowledged(name: str) -> str | None:
    """The delivery that a name at an endpoint acknowledges, or None.

    >>> acknowledged("0f" * 32 + ".ack") == "0f" * 32, acknowledged("readme.ack")
    (True, None)
    """
    delivery_id = name.removesuffix(ACKNOWLEDGEMENT)
    return delivery_id if delivery_id != name and re.fullmatch(_ID, delivery_id) else None


def are_same(one: IO[bytes], other: IO[bytes]) -> bool:
    """Whether two files hold the same bytes from here on; reads a block of each at a time."""
    while True:
        ours, theirs = one.read(BLOCK), other.read(BLOCK)
        if ours != theirs:
            return False
        if not ours:
            return True


def unavailable(recipient: str, why: str) -> EndpointUnavailableError:
    """The error of an outbox that a later try may find mended; `why` follows *its outbox*."""
    return EndpointUnavailableError(
        f"recipient {recipient}: its outbox {why}; nothing new is visible there; the task tries again"
    )


def refused(recipient: str, why: str) -> RecipientError:
    """The error of an outbox that a person must look at; `why` follows *its outbox*."""
    return RecipientError(f"recipient {recipient}: its outbox {why}; nothing was delivered")


def other_bytes(recipient: str, delivery_id: str) -> GovernanceError:
    """The error of a delivery whose name other bytes have."""
    return GovernanceError(
        f"recipient {recipient}: delivery {delivery_id} is in its outbox with other bytes; nothing was replaced: find "
        "out who put it there, and move it away"
    )
