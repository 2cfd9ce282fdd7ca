"""An outbox in object storage (the S3 protocol), without folders and renames: `manifest.json` commits a delivery.

Parts are written first, then the signature, and the manifest last, on the condition that there is none: what has no
manifest is a draft. Access is in the site's private folder of the recipient, and nothing else gives any. A kill in a
large part leaves an upload that no listing shows, and that obstore cannot end: have the bucket end incomplete uploads
after a day (the lifecycle rule AbortIncompleteMultipartUpload; README has it).
"""

from __future__ import annotations

import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store
from pydantic import SecretStr, ValidationError, field_validator

from governance.errors import GovernanceError, shown
from governance.sharing import outbox
from governance.sharing.endpoints import Endpoint
from governance.strict import Strict

if TYPE_CHECKING:
    from obstore.store import S3Credential  # there for type checkers only

ACCESS = "storage.json"
"""`{"endpoint": "https://s3.example.com", "region": "", "access_key_id": "", "secret_access_key": ""}`, mode 0600."""
PATIENCE_SECONDS = 60.0
"""For how long a store may take for one request, and for all its repetitions."""

_PIECE = 8 * outbox.BLOCK  # a piece of a large part; S3 takes 10,000 of at least 5 MiB
_AT_ONCE = 4
_CONNECT_SECONDS = 15.0
_STATUS = re.compile(r"status code: (\d{3})\b")


class Access(Strict):
    """Where a store is, and as whom we go there."""

    endpoint: str
    region: str = "us-east-1"
    access_key_id: SecretStr
    secret_access_key: SecretStr

    @field_validator("endpoint")
    @classmethod
    def _is_private(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            raise ValueError("only this machine is spoken to without TLS")
        if parts.username or parts.query or parts.fragment:
            raise ValueError("an address and nothing else")
        return url

    def credentials(self) -> S3Credential:
        """What requests are signed with."""
        return {
            "access_key_id": self.access_key_id.get_secret_value(),
            "secret_access_key": self.secret_access_key.get_secret_value(),
            "token": None,
            "expires_at": None,
        }


class ObjectOutbox:
    """An `Outbox` in a bucket."""

    def __init__(self, endpoint: Endpoint, private: Path) -> None:
        self._recipient = endpoint.recipient
        access = _access(endpoint.recipient, private / ACCESS)
        self._store = S3Store(
            endpoint.host,
            prefix=endpoint.path.strip("/") or None,
            # Said one by one, because what is not said is taken from AWS_... in the environment.
            config={"aws_endpoint_url_s3": access.endpoint},
            region=access.region,
            credential_provider=access.credentials,
            conditional_put="etag",
            skip_signature=False,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": access.endpoint.startswith("http:"),
                "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, PATIENCE_SECONDS)),
                "timeout": timedelta(seconds=PATIENCE_SECONDS),
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=PATIENCE_SECONDS)},
        )

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
            if not {outbox.MANIFEST, outbox.SIGNATURE} <= self._sizes(delivery_id).keys():
                return None
            return self._read(f"{delivery_id}/{outbox.MANIFEST}", outbox.LARGEST_MANIFEST)

    def deliveries(self) -> set[str]:
        """The ids of whatever is there under the name of a delivery."""
        with self._speaking():
            prefixes = self._store.list_with_delimiter()["common_prefixes"]
        return {name for prefix in prefixes if outbox.is_delivery(name := prefix.rstrip("/"))}

    def acknowledgements(self) -> Mapping[str, bytes]:
        """What the recipient has put beside deliveries."""
        with self._speaking():
            beside = sorted(found["path"] for found in self._store.list_with_delimiter()["objects"])
            return {
                delivery_id: self._read(name, outbox.LARGEST_ACKNOWLEDGEMENT)
                for name in beside
                if (delivery_id := outbox.acknowledged(name))
            }

    def remove(self, delivery_id: str) -> None:
        """Take away a delivery and its acknowledgement."""
        outbox.require_id(self._recipient, delivery_id)
        with self._speaking():
            self._delete(delivery_id, self._sizes(delivery_id))
            self._store.delete(delivery_id + outbox.ACKNOWLEDGEMENT)

    def discard_drafts(self) -> int:
        """Take away what killed tries have left, but for uploads that no listing shows."""
        with self._speaking():
            found: dict[str, set[str]] = defaultdict(set)
            for page in self._store.list():
                for each in page:
                    delivery_id, _, name = each["path"].partition("/")
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
        draft = f"{secrets.token_hex(32)}/probe"
        with self._speaking():
            try:
                self._store.put(draft, b"probe", mode="create")
                self._store.put(draft, b"probe", mode="create")
            except AlreadyExistsError:
                return
            finally:
                self._store.delete(draft)
        raise outbox.refused(
            self._recipient, "replaces what is there although asked not to (If-None-Match): take another store"
        )

    def _write(self, delivery_id: str, files: Mapping[str, Path]) -> bool:
        """Write the files of a delivery in their order; returns whether this manifest has committed it."""
        for name, path in files.items():
            if name != outbox.MANIFEST:
                self._store.put(f"{delivery_id}/{name}", path, chunk_size=_PIECE, max_concurrency=_AT_ONCE)
        try:
            self._store.put(f"{delivery_id}/{outbox.MANIFEST}", files[outbox.MANIFEST], mode="create")
        except AlreadyExistsError:  # by somebody else, or by us, when it was repeated because the answer got lost
            return False
        return True

    def _sizes(self, delivery_id: str) -> dict[str, int]:
        """What there is of a delivery, and how many bytes each is."""
        pages = self._store.list(delivery_id)
        return {each["path"].removeprefix(f"{delivery_id}/"): each["size"] for page in pages for each in page}

    def _holds(self, delivery_id: str, there: Mapping[str, int], files: Mapping[str, Path]) -> bool:
        """Whether a delivery is exactly these files, with these bytes."""
        return there == {name: path.stat().st_size for name, path in files.items()} and all(
            self._is_same(f"{delivery_id}/{name}", path) for name, path in files.items()
        )

    def _is_same(self, name: str, path: Path) -> bool:
        with path.open("rb") as ours:
            for theirs in self._store.get(name).stream(min_chunk_size=outbox.BLOCK):
                if ours.read(len(theirs)) != bytes(theirs):
                    return False
            return not ours.read(1)

    def _read(self, name: str, longest: int) -> bytes:
        """The bytes of an object, and one more of one that is too long."""
        content = bytearray()
        for piece in self._store.get(name).stream(min_chunk_size=1):
            content += bytes(piece)
            if len(content) > longest:
                break
        return bytes(content[: longest + 1])

    def _delete(self, delivery_id: str, names: Iterable[str]) -> None:
        """Take away objects of a delivery, its manifest first: what is left is a draft."""
        if outbox.MANIFEST in names:
            self._store.delete(f"{delivery_id}/{outbox.MANIFEST}")
        if rest := [f"{delivery_id}/{name}" for name in names if name != outbox.MANIFEST]:
            self._store.delete(rest)

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


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _access(recipient: str, path: Path) -> Access:
    """How a recipient's store is reached. Raises RecipientError, which quotes nothing of it."""
    content = outbox.secret(recipient, path)
    try:
        return Access.model_validate_json(content)
    except ValidationError as error:
        wrong = sorted({shown(str(each["loc"][0])) if each["loc"] else "JSON" for each in error.errors()})
        raise outbox.refused(recipient, f"has a file {ACCESS} in which {', '.join(wrong)} cannot be used") from None
