"""The register of recipients: providers that get the bookings which name them (F1, H1). Part of `policy.py`."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from datetime import date
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from governance.sharing import endpoints
from governance.sharing.allowances import CountryCode, KindName, Sharing
from governance.strict import Strict

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
        if problem := endpoints.problem(self.endpoint):
            raise ValueError(f"the endpoint of {self.name} {problem}")
        if len(set(self.options)) < len(self.options):
            raise ValueError(f"an option of {self.name} stands there twice")
        return self


Recipients = dict[str, Recipient]


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
        places = endpoints.parsed(one, first.endpoint), endpoints.parsed(other, second.endpoint)
        if places[0].holds(places[1]) or places[1].holds(places[0]):
            yield f"recipients {one} and {other} have one endpoint, or one within the other's: each could read both"
