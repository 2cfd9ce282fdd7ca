"""The one door to rows of landing, vault and quarantine: first an entry says who reads what, then a role is lent (J2).

Nobody logs in as a role that may read there. The login that takes such a role may do nothing else than write to the
log, until it takes one; what opens here commits an entry (role, run or person, purpose, columns) before it hands out an
address that takes the role, and closes the entry with the number of rows. The address carries the id of the entry, so
that every connection can be held against the log (sql/log/unrecorded_sessions.sql). Whoever writes the entry is another
login, which can take no role: that somebody wrote to the log is no leave to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from governance import warehouse
from governance.database import taking
from governance.errors import WarehouseUnavailableError
from governance.policy import Policy
from governance.recording import new_id
from governance.run_log import BY_HAND, Attempt, Outcome, Reading

RECORDER = "recorder"
EVENT = "read"


class House(Protocol):
    """What the door needs of a workspace."""

    @property
    def policy(self) -> Policy:
        """The policy in force."""

    @property
    def warehouse_dsn(self) -> Callable[[str], str]:
        """The address for a role."""

    @property
    def clock(self) -> Callable[[], datetime]:
        """Says what time it is."""


@dataclass
class Lent:
    """An address that takes the role, and how many rows were read through it so far."""

    dsn: str
    rows: int = 0


@contextmanager
def lent(
    house: House, attempt: Attempt, role: str, columns: Mapping[str, Sequence[str]], why: str | None = None
) -> Iterator[Lent]:
    """Lend a role to an attempt that the log knows; a role that reads columns, through an entry of its own.

    The borrower counts the rows in `Lent.rows`. An entry that is never closed says that the reader was killed. Raises
    WarehouseUnavailableError: what cannot be recorded is not lent.
    """
    if not columns:
        yield Lent(taking(house.warehouse_dsn(role), name=attempt.attempt_id))
        return
    reading = Reading(role, house.policy.purpose_of(role), columns, attempt.attempt_id)
    read = replace(attempt, attempt_id=new_id(), event=EVENT, clauses=("J2",))
    label = f"{attempt.batch.label}: the entry of a read"
    with warehouse.connect(house.warehouse_dsn(RECORDER), label) as connection:
        connection.append(read.intent(entry_id=new_id(), at=house.clock(), reading=reading, reason=why))
    borrowed = Lent(taking(house.warehouse_dsn(role), name=read.attempt_id))

    def close(outcome: Outcome, **facts: Mapping[str, str]) -> None:
        entry = read.outcome(
            outcome, entry_id=new_id(), at=house.clock(), reading=reading, reason=why, counts={"rows": borrowed.rows},
            **facts,
        )  # fmt: skip
        with warehouse.connect(house.warehouse_dsn(RECORDER), label) as connection:
            connection.append(entry)

    try:
        yield borrowed
    except Exception as error:
        # What went wrong stands in the entry of the attempt, or was told to whoever asked; here, how far it came.
        told = "told to the person who asked" if attempt.run.dag_id == BY_HAND else f"see attempt {attempt.attempt_id}"
        with suppress(WarehouseUnavailableError):
            close(Outcome.FAILED, error={"type": type(error).__name__, "message": told})
        raise
    close(Outcome.PASSED)
