"""The kinds of data keys: what one protects, whom it is for, when it dies, and which purposes may use it. Part of
`policy.py`; declared in `policies/keys.yaml`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from pydantic import model_validator

from governance.strict import Strict

SCOPE_FORMATS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d"}


class KeyKind(Strict):
    """One kind of data key.

    `scope` says what a single key is for: an hour (UTC) or a day, by its name; a person, whose name is never stored;
    a case, by its number; one landing of a partition, whose key has done its work once all of it has landed. `term`
    (days) and `margin` (hours, by which a key dies before its term ends) name open values of the policy.
    """

    protects: str
    clause: str
    use: Literal["encrypt", "token"]
    scope: Literal["hour", "day", "person", "case", "landing"]
    created: str
    term: str = ""
    margin: str = ""
    counted_from: Literal["scope", "creation"] = "creation"
    destroyed: str
    is_backed_up: bool = True  # a key that may be destroyed at any moment must not live on in a backup of its store
    seal: tuple[str, ...]  # purposes that may encrypt or tokenise with it, and so bring one into being
    open: tuple[str, ...]  # purposes that may decrypt with it
    apart_from: tuple[str, ...] = ()  # kinds that no role may use which may use this one

    @model_validator(mode="after")
    def _counts_from_what_has_a_beginning(self) -> Self:
        if self.counted_from == "scope" and self.scope not in SCOPE_FORMATS:
            raise ValueError(f"a {self.scope} is no time to count a term from: counted_from has to be creation")
        return self

    @property
    def purposes(self) -> tuple[str, ...]:
        """Every purpose that may use a key of this kind."""
        return (*self.seal, *self.open)

    @property
    def is_named(self) -> bool:
        """Whether the store may say in clear what a key is for: never for a person."""
        return self.scope != "person"

    def counted(self, scope: str, created_at: datetime) -> datetime:
        """The instant from which the term counts. Raises ValueError when the scope is no hour or day as it should be.

        >>> kind = KeyKind(protects="", clause="K1", use="encrypt", scope="hour", created="", counted_from="scope",
        ...                destroyed="", seal=(), open=())
        >>> kind.counted("2026-03-10T11", datetime(2026, 3, 12, tzinfo=UTC)).isoformat()
        '2026-03-10T11:00:00+00:00'
        """
        started = created_at
        if self.scope in SCOPE_FORMATS:
            started = datetime.strptime(scope, SCOPE_FORMATS[self.scope]).replace(tzinfo=UTC)
        return started if self.counted_from == "scope" else created_at


def landing_scope(partition_key: str, landing_id: str) -> str:
    """The name of one landing of a partition, of whose rows a key is."""
    return f"{partition_key}/{landing_id}"


def landing_of(scope: str) -> str:
    """The id of the landing that a key is for.

    >>> landing_of(landing_scope("2026-03-10", "0195"))
    '0195'
    """
    return scope.partition("/")[2]


def life(days: float, margin_hours: float) -> timedelta:
    """How long after its beginning a key is destroyed; a day is 24 hours of UTC."""
    return timedelta(days=days) - timedelta(hours=margin_hours)
