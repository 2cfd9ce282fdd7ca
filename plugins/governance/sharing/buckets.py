"""Buckets as a file system (fsspec), which is what Airflow's ObjectStoragePath stands on: obstore's, and what it lacks.

Access is in the site's private folder of the recipient, and nothing else gives any. A kill in a large part leaves an
upload that no listing shows, and that obstore cannot end: have the bucket end incomplete uploads after a day (the
lifecycle rule AbortIncompleteMultipartUpload; README has it).
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.fsspec import FsspecStore
from obstore.store import S3Store
from pydantic import Field, SecretStr, ValidationError, field_validator

from governance.errors import shown
from governance.sharing import outbox
from governance.strict import Strict

if TYPE_CHECKING:  # there for type checkers only
    from obstore import PutMode
    from obstore.store import S3Credential

ACCESS = "storage.json"
"""`{"endpoint": "https://s3.example.com", "region": "", "access_key_id": "", "secret_access_key": ""}`, mode 0600."""
PATIENCE_SECONDS = 60.0
"""For how long a store may take for one request, and for all its repetitions."""

_PIECE = 8 * outbox.BLOCK  # a piece of a large part; S3 takes 10,000 of at least 5 MiB
_AT_ONCE = 4
_CONNECT_SECONDS = 15.0


class Access(Strict):
    """Where a store is, and as whom we go there."""

    endpoint: str = Field(repr=False)
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


class Buckets(FsspecStore):
    """The buckets that an access reaches; paths are `bucket/key`.

    obstore's own file system writes over what is there though told not to, reads whole files into memory, and lists
    what is missing, refused or broken as empty, so these are done anew; the rest is as it does it.
    """

    cachable = False  # fsspec takes instances for one whose arguments look the same, and what is secret shows nothing

    def __init__(self, access: Access) -> None:
        self._access = access
        super().__init__("s3")

    def _construct_store(self, bucket: str) -> S3Store:
        """The client for a bucket; the base class keeps it."""
        access = self._access
        return S3Store(
            bucket,
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

    # What changes something is done in the caller's own thread, and not in that of fsspec's loop: there it would go on
    # when the caller is interrupted, past the end of its lock, and write over what the next try has committed.

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write an object. With mode `create` raises AlreadyExistsError (S3: If-None-Match)."""
        self._write(path, value, mode)

    def put_file(self, lpath: str | Path, rpath: str, callback: Any = None, mode: str = "overwrite", **_: Any) -> None:
        """Write a file as an object, a large one in pieces; `mode` as above."""
        self._write(rpath, Path(lpath), mode)

    def rm_file(self, path: str, **_: Any) -> None:
        """Delete an object; one that is not there is no error."""
        bucket, key = self._split_path(path)
        self._construct_store(bucket).delete(key)

    def get_file(self, rpath: str, lpath: Any, callback: Any = None, outfile: Any = None, **_: Any) -> None:
        """Write an object to a file that is open, piece by piece."""
        bucket, key = self._split_path(rpath)
        for piece in self._construct_store(bucket).get(key).stream(min_chunk_size=outbox.BLOCK):
            lpath.write(bytes(piece))

    def _write(self, path: str, content: bytes | Path, mode: str) -> None:
        bucket, key = self._split_path(path)
        how: PutMode = "create" if mode == "create" else "overwrite"
        self._construct_store(bucket).put(key, content, mode=how, chunk_size=_PIECE, max_concurrency=_AT_ONCE)

    async def _find(self, path: str, maxdepth: int | None = None, **_: Any) -> dict[str, dict[str, Any]]:
        """All objects below a path; with any `maxdepth` what is directly below, prefixes as directories; by name."""
        bucket, prefix = self._split_path(path)
        store = self._construct_store(bucket)
        if maxdepth is None:
            objects, folders = [each async for page in store.list(prefix) for each in page], []
        else:
            level = await store.list_with_delimiter_async(prefix)
            objects, folders = [*level["objects"]], [*level["common_prefixes"]]
        found = {f"{bucket}/{each['path']}": {"size": each["size"], "type": "file"} for each in objects}
        return found | {f"{bucket}/{folder.rstrip('/')}": {"size": 0, "type": "directory"} for folder in folders}


def access(recipient: str, private: Path) -> Access:
    """How a recipient's store is reached, by what its private folder says.

    Raises RecipientError, which quotes nothing of it.
    """
    content = outbox.secret(recipient, private / ACCESS)
    try:
        return Access.model_validate_json(content)
    except ValidationError as error:
        wrong = sorted({shown(str(each["loc"][0])) if each["loc"] else "JSON" for each in error.errors()})
        raise outbox.refused(recipient, f"has a file {ACCESS} in which {', '.join(wrong)} cannot be used") from None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
