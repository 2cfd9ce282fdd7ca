"""The register of third parties that may have published releases (E2), and what an agreement lets one have. Part of
`policy.py`."""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import date
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import model_validator

from governance.errors import RecipientError
from governance.strict import Strict


class ThirdParty(Strict):
    """A company that may have released tables while its agreement lasts; its endpoint is a folder that is there."""

    name: str
    purpose: str
    agreed_from: date
    agreed_until: date  # the last day
    tables: tuple[str, ...]
    endpoint: str
    form: Literal["csv", "parquet"] = "csv"

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.agreed_until < self.agreed_from:
            raise ValueError(f"the agreement with {self.name} ends before it begins")
        if not self.tables:
            raise ValueError(f"the agreement with {self.name} is about no table")
        if not PurePosixPath(self.endpoint).is_absolute():
            raise ValueError(f"the endpoint of {self.name} is no absolute path")
        return self


Register = dict[str, ThirdParty]


def references(
    register: Register, purposes: Container[str], tables: Container[str]
) -> Iterator[tuple[str, str, Container[str]]]:
    """(who, whom, among what) of every name that the register uses of the rest of the policy."""
    for name, party in register.items():
        yield f"third party {name}", party.purpose, purposes
        yield from ((f"third party {name}", table, tables) for table in party.tables)


def agreed(register: Register, name: str, table: str, today: date) -> ThirdParty:
    """Whoever may have a table on a day. Raises RecipientError for everybody else (H1); names nobody unregistered."""
    known = register.get(name)
    if known is None:
        raise RecipientError(
            "that third party is not registered; nothing was handed over: enter it, with its agreement, in "
            "policies/third_parties.yaml or the site's file"
        )
    if today < known.agreed_from:
        raise RecipientError(
            f"the agreement with third party {name} begins on {known.agreed_from}; nothing was handed over before that"
        )
    if today > known.agreed_until:
        raise RecipientError(
            f"the agreement with third party {name} ended with {known.agreed_until}; nothing was handed over: renew it "
            "in policies/third_parties.yaml"
        )
    if table not in known.tables:
        raise RecipientError(
            f"the agreement with third party {name} is about {', '.join(known.tables)}; nothing else was handed over"
        )
    return known
