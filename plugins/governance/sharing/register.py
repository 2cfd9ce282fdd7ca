"""The register of recipients: providers that get the bookings which name them (F1, H1). Part of `policy.py`."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from datetime import date
from itertools import combinations
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from governance.sharing.allowances import CountryCode, KindName, Sharing
from governance.strict import Strict

SCHEMES = ("file", "sftp", "s3", "gs", "abfs")
VERSION = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$"
"""Of a contract: three numbers (Semantic Versioning 2.0.0, without pre-releases)."""
ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""Of a recipient; it names folders too."""

Option = Literal["clinical_note", "birth_date"]
"""A column that travels to those alone who ask for it here."""


class Recipient(Strict):
    """A provider that gets the bookings which name it, while its agreement lasts, as its contract says."""

    name: str
    kind: KindName
    provider_id: Annotated[int, Field(strict=True, gt=0)]  # the source's
    contract: Annotated[str, Field(pattern=VERSION)]  # pinned: another version is another agreement (E29)
    agreed_from: date
    agreed_until: date  # the last day
    country_code: CountryCode
    transfer_basis: str | None = None
    endpoint: str
    options: tuple[Option, ...] = ()
    acknowledgement_hours: Annotated[int, Field(strict=True, gt=0)]

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.agreed_until < self.agreed_from:
            raise ValueError(f"the agreement with {self.name} ends before it begins")
        problem = _endpoint_problem(self.endpoint)
        if problem:
            raise ValueError(f"the endpoint of {self.name} {problem}")
        if len(set(self.options)) < len(self.options):
            raise ValueError(f"an option of {self.name} stands there twice")
        return self

    @property
    def scheme(self) -> str:
        """How the endpoint is reached: one of `SCHEMES`."""
        return urlsplit(self.endpoint).scheme


Recipients = dict[str, Recipient]


def _endpoint_problem(endpoint: str) -> str | None:
    """What is wrong with an endpoint, in words without its text, which may hold what it must not."""
    try:
        url = urlsplit(endpoint)
        url.port  # noqa: B018 -- one that is no number is told of when it is asked for
    except ValueError:
        return "is no URL"
    checks = {
        f"begins with none of {', '.join(f'{scheme}://' for scheme in SCHEMES)}": url.scheme not in SCHEMES,
        "holds a password: secrets are no part of a policy": url.password is not None,
        "has a query or a fragment": bool(url.query or url.fragment) or endpoint.endswith(("?", "#")),
        "has a path with '..' in it": ".." in PurePosixPath(url.path).parts,
        "is no place": not _is_place(url),
    }
    return next((problem for problem, found in checks.items() if found), None)


def _is_place(url: SplitResult) -> bool:
    if url.scheme == "file":
        return not url.netloc and len(PurePosixPath(url.path).parts) > 1 and url.path.startswith("/")
    if url.scheme == "sftp":
        return bool(url.hostname and url.username and url.path.strip("/"))
    return bool(url.hostname)


def references(register: Recipients, sharing: Sharing) -> Iterator[tuple[str, str, Container[str]]]:
    """(who, whom, among what) of every name that the register uses of the rest of the policy."""
    for name, recipient in register.items():
        yield f"recipient {name}", recipient.kind, sharing.kinds
        yield from ((f"recipient {name}", basis, sharing.transfers.bases) for basis in _named(recipient))
        yield from ((f"recipient {name}", option, sharing.offered) for option in recipient.options)


def _named(recipient: Recipient) -> tuple[str, ...]:
    return (recipient.transfer_basis,) if recipient.transfer_basis else ()


def unsound(register: Recipients) -> Iterator[str]:
    """What of a register would let one delivery reach two, in words."""
    yield from (f"recipient {name!r}: an id is {ID.pattern}" for name in register if not ID.fullmatch(name))
    for (one, first), (other, second) in combinations(register.items(), 2):
        if first.provider_id == second.provider_id:
            yield f"recipients {one} and {other} are the same provider: its bookings would be delivered twice"
        places = sorted(f"{each.endpoint.rstrip('/')}/" for each in (first, second))
        if places[1].startswith(places[0]):
            yield f"recipients {one} and {other} have one endpoint, or one within the other's: each could read both"
