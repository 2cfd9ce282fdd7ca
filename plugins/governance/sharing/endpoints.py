"""Where a recipient gets deliveries: a URL of the register, taken apart. One that holds a secret is refused.

`file:///srv/outbox/clinic-1`, `sftp://wellbe@sftp.example.com:22/inbox`, `s3://bucket/prefix`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from governance.errors import PolicyError

SCHEMES = ("file", "sftp", "s3")
SFTP_PORT = 22

_PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._~-]*)+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:]+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Endpoint:
    """A recipient's endpoint. `host`: of SFTP; of object storage the bucket. `path`: absolute, or, of a bucket, maybe
    empty; without a slash at its end."""

    recipient: str
    scheme: str
    path: str
    host: str = ""
    user: str = ""
    port: int = 0


def parsed(recipient: str, url: str) -> Endpoint:
    """The endpoint that a URL names. Raises PolicyError, which never quotes the URL.

    >>> parsed("clinic_1", "sftp://wellbe@sftp.example.com/inbox")
    Endpoint(recipient='clinic_1', scheme='sftp', path='/inbox', host='sftp.example.com', user='wellbe', port=22)
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused(recipient, "is no URL") from None
    if parts.password is not None:
        raise _refused(recipient, "holds a password: keep secrets in the site's private folder, and change this one")
    # Python drops tabs and line breaks of a URL in silence; the others mean nothing here, and nobody may rely on them.
    if parts.geturl() != url or parts.query or parts.fragment or not url.isprintable():
        raise _refused(recipient, "has something after its path, or is not written in the plain way")
    if parts.scheme not in SCHEMES:
        raise _refused(recipient, f"is none of {', '.join(SCHEMES)}")
    path = parts.path.rstrip("/")
    if not (_PATH.fullmatch(path) or (parts.scheme == "s3" and not path)):
        raise _refused(recipient, "has a path that is not absolute, or with dots, escapes or other unusual signs")
    host, user = parts.hostname or "", parts.username or ""
    if not _IS_WHOLE[parts.scheme](parts, port):
        raise _refused(recipient, f"does not look like {_LOOKS[parts.scheme]}")
    default = SFTP_PORT if parts.scheme == "sftp" else 0
    return Endpoint(recipient, parts.scheme, path, host, user, default if port is None else port)


_LOOKS = {
    "file": "file:///an/absolute/path",
    "sftp": "sftp://user@host:port/path",
    "s3": "s3://bucket/prefix, without user or port",
}


def _of_file(parts: SplitResult, port: int | None) -> bool:
    return not parts.netloc


def _of_sftp(parts: SplitResult, port: int | None) -> bool:
    named = _HOST.fullmatch(parts.hostname or "") and _USER.fullmatch(parts.username or "")
    return bool(named) and port != 0


def _of_bucket(parts: SplitResult, port: int | None) -> bool:
    return bool(_HOST.fullmatch(parts.netloc)) and ":" not in parts.netloc


_IS_WHOLE = {"file": _of_file, "sftp": _of_sftp, "s3": _of_bucket}


def _refused(recipient: str, why: str) -> PolicyError:
    return PolicyError(f"recipient {recipient}: its endpoint {why}; correct it in the register of recipients")
