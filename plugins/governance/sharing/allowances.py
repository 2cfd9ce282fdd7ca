"""What policy says of handing bookings to providers: what each kind may have, what is on offer, and where it may go.

Part of `policy.py`; the file is `policies/sharing.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from governance.strict import Strict

KindName = Literal["health_provider", "travel_provider"]
LogicalType = Literal["string", "integer", "date", "timestamp"]
"""Of a column that may be handed over, as the Open Data Contract Standard calls it."""
CountryCode = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2. `NO` has to be quoted in YAML, where it is no text otherwise."""
Reason = Annotated[str, Field(min_length=1)]
Days = Annotated[int, Field(strict=True, gt=0)]

IDENTITY_DAYS = 730
LONGEST_IDENTITY_DAYS = 1095
"""A key that signs is used for one to three years (NIST SP 800-57 part 1, 5.3.6)."""
LARGEST_PART_BYTES = 256_000_000
"""Rows of a part: what the recipient's OpenSSL opens with 0.7 GB of memory."""
SMALLEST_PART_BYTES = 16_000_000
"""Rows are sealed in pieces of some megabytes, and a piece is never cut."""


class ProviderKind(Strict):
    """What recipients of one kind may have, by fideslang data category, and why not the rest (GDPR Art. 5(1)(c))."""

    provider: Literal["health", "travel"]  # `providers.kind` at the source
    allowed: dict[str, Reason]
    forbidden: dict[str, Reason]

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        both = sorted(self.allowed.keys() & self.forbidden.keys())
        if both:
            raise ValueError(f"{', '.join(both)}: allowed and forbidden to {self.provider} providers")
        return self


class OfferedColumn(Strict):
    """A column of which contracts choose: its type, fideslang data category, and the source's columns it is made of."""

    type: LogicalType
    category: str
    origin: tuple[str, ...] = Field(alias="from", min_length=1)
    on_request: bool = False  # travels to those alone whose entry in the register asks for it


class Transfers(Strict):
    """Where personal data may go without more, and on which grounds elsewhere (GDPR chapter V)."""

    free: tuple[CountryCode, ...] = ()  # EU and EEA
    adequate: tuple[CountryCode, ...] = ()  # Art. 45(3), for every recipient there
    bases: dict[str, Reason] = {}  # name -> article, and what it takes

    def needs_basis(self, country_code: str) -> bool:
        """Whether a country is a third one about which there is no decision that it is adequate as a whole."""
        return country_code not in self.free and country_code not in self.adequate


class WarnedDays(Strict):
    """From how many days before its end on somebody is told, every day, of what sharing rests on."""

    certificate: Days = 30
    identity: Days = 60
    agreement: Days = 60


class Sharing(Strict):
    """Everything that policy says of it."""

    kinds: dict[KindName, ProviderKind] = {}
    offered: dict[str, OfferedColumn] = {}
    transfers: Transfers = Transfers()
    identity_days: Annotated[Days, Field(le=LONGEST_IDENTITY_DAYS)] = IDENTITY_DAYS
    warned_days: WarnedDays = WarnedDays()
    part_bytes: Annotated[int, Field(strict=True, ge=SMALLEST_PART_BYTES, le=LARGEST_PART_BYTES)] = LARGEST_PART_BYTES

    @model_validator(mode="after")
    def _lasts_longer_than_it_warns(self) -> Self:
        if self.warned_days.identity >= self.identity_days:
            raise ValueError("an identity would be about to end from its first day on: warned_days, identity_days")
        return self

    def undecided(self, categories: set[str]) -> Iterator[str]:
        """Which of these categories some kind neither may have nor may not, in words: a gap."""
        for name, kind in self.kinds.items():
            gaps = sorted(categories - kind.allowed.keys() - kind.forbidden.keys())
            yield from (f"{category} is neither allowed nor forbidden to a {name}" for category in gaps)
