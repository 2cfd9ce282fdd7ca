"""Where a recipient gets deliveries: a URL of the register, taken apart. One that holds a secret is refused, and one at
which no outbox can be opened: when the policy is read, not when a delivery is due.

`file:///srv/outbox/clinic-1`, `sftp://wellbe@sftp.example.com:22/inbox`, `s3://bucket/prefix`.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass, replace
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

    def holds(self, other: Endpoint) -> bool:
        """Whether another endpoint is this one, or within it, whoever the recipients are."""
        here, there = (astuple(replace(each, recipient="", path="")) for each in (self, other))
        return here == there and f"{other.path}/".startswith(f"{self.path}/")


def problem(url: str) -> str | None:
    """Why no outbox can be opened at a URL, in words that follow *the endpoint* and quote nothing of it.

    >>> problem("sftp://wellbe@sftp.example.com/inbox"), problem("gs://bucket")
    (None, 'is none of file://, sftp://, s3://')
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL"
    if parts.password is not None:
        return "holds a password: keep secrets in the site's private folder, and change this one"
    # Python drops tabs and line breaks of a URL in silence; the others mean nothing here, and nobody may rely on them.
    if parts.geturl() != url or parts.query or parts.fragment or not url.isprintable():
        return "has something after its path, or is not written in the plain way"
    if parts.scheme not in SCHEMES:
        return f"is none of {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
    path = parts.path.rstrip("/")
    if not (_PATH.fullmatch(path) or (parts.scheme == "s3" and not path)):
        return "has a path that is not absolute, or with hidden folders, escapes or other unusual signs"
    return None if _IS_WHOLE[parts.scheme](parts, port) else f"does not look like {_LOOKS[parts.scheme]}"


def parsed(recipient: str, url: str) -> Endpoint:
    """The endpoint that a URL names. Raises PolicyError, which never quotes the URL.

    >>> parsed("clinic_1", "sftp://wellbe@sftp.example.com/inbox")
    Endpoint(recipient='clinic_1', scheme='sftp', path='/inbox', host='sftp.example.com', user='wellbe', port=22)
    """
    if why := problem(url):
        raise PolicyError(f"recipient {recipient}: its endpoint {why}; correct it in the register of recipients")
    parts = urlsplit(url)
    default = SFTP_PORT if parts.scheme == "sftp" else 0
    host, user, port = parts.hostname or "", parts.username or "", parts.port
    return Endpoint(recipient, parts.scheme, parts.path.rstrip("/"), host, user, default if port is None else port)


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
