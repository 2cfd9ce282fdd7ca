"""A role at work on cards: what it does is recorded, it reads through the door, with the keys of its purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg2.extensions
import pyarrow as pa

from governance import door, warehouse
from governance.encryption import Column, RowKeys, decrypt, encrypt
from governance.key_kinds import SCOPE_FORMATS
from governance.keys import Keys, KeyService, Opened
from governance.policy import Policy
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Run
from governance.sources import named_query
from governance.steps.workspace import Workspace
from governance.warehouse import Warehouse

DATASET = "cards"
CARD_NUMBER = Column("payment_cards", "card_number_encrypted")

Cursor = psycopg2.extensions.cursor
PORTION = 10_000
NEXT = f"FETCH {PORTION} FROM portions"

Reads = Mapping[str, Sequence[str]]
"""Table -> columns, as the door's entry has them."""


@dataclass(frozen=True)
class Desk:
    """One try of one part, with a connection as its role that nobody else at cards has at the same time."""

    workspace: Workspace
    recorded: Recorded
    connection: Warehouse
    service: KeyService
    keys: Keys
    lent: door.Lent

    @property
    def label(self) -> str:
        """Whose step it is, for messages."""
        return self.recorded.attempt.batch.label

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of `sql/<query>.sql`, counted for the door's entry."""
        with self.connection.ending() as (cursor, _):
            cursor.execute(named_query(query), values)
            return self._fetched(cursor)

    def portions(self, cursor: Cursor, query: str, **values: Any) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a named query, some thousands at a time, in the transaction of a cursor.

        They are those that were there when it began. Memory does not grow with their number.
        """
        cursor.execute(f"DECLARE portions NO SCROLL CURSOR FOR {named_query(query)}", values)
        cursor.execute(NEXT)
        while rows := self._fetched(cursor):
            yield rows
            cursor.execute(NEXT)
        cursor.execute("CLOSE portions")

    def _fetched(self, cursor: Cursor) -> list[tuple[Any, ...]]:
        rows = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in cursor.fetchall()]
        self.lent.rows += len(rows)
        return rows

    def numbers(self, values: Sequence[bytes], card_keys: Sequence[str], opened: Opened) -> list[str | None]:
        """The card numbers of captured cards, decrypted."""
        sealed, rows = pa.array(values, pa.binary()), pa.array(card_keys, pa.string())
        found: list[str | None] = decrypt(sealed, rows, key_of=opened.key_of, column=CARD_NUMBER).to_pylist()
        return found

    def sealed(self, values: Sequence[str], row_keys: Sequence[str], keys: RowKeys, column: Column) -> list[bytes]:
        """Each value encrypted for its row."""
        plain, rows = pa.array(values, pa.string()), pa.array(row_keys, pa.string())
        found: list[bytes] = encrypt(plain, rows, keys=keys, column=column, nonces=self.keys.nonces).to_pylist()
        return found


def card_hour(captured_at: datetime) -> datetime:
    """The beginning of the hour (UTC) whose key is a card's."""
    return captured_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def card_deadline(policy: Policy, hour: datetime) -> datetime | None:
    """When what was captured in an hour is over, with its key (K1); None while the term is not decided."""
    return policy.key_deadline("card_hour", hour.strftime(SCOPE_FORMATS["hour"]), hour)


def recorded(workspace: Workspace, event: str, part: str, run: Run, clauses: tuple[str, ...]) -> Recorded:
    """A try of something that is done with cards, to be entered as a context."""
    digests = Digests(workspace.policy.digest, None, code_digest())
    attempt = Attempt(new_id(), event, Batch(DATASET, part, run.run_id), run, digests, clauses)
    dsn, texts = workspace.warehouse_dsn(door.RECORDER), workspace.policy.texts
    return Recorded(attempt, dsn=dsn, clock=workspace.clock, texts=texts)


@contextmanager
def desk(workspace: Workspace, recorded: Recorded, role: str, reads: Reads, why: str | None = None) -> Iterator[Desk]:
    """What a role needs for a recorded try: the door's loan, a connection that holds the cards, its keys.

    Raises ContendedError when somebody else is at the cards, WarehouseUnavailableError, KeyringError.
    """
    batch, purpose = recorded.attempt.batch, workspace.policy.purpose_of(role)
    with (
        closing(workspace.keys()) as service,
        door.lent(workspace, recorded.attempt, role, reads, why) as lent,
        warehouse.connect(lent.dsn, batch.label) as connection,
        connection.exclusive(Batch(DATASET, "all", batch.run_id)),
    ):
        keys = service.acting(role, purpose, recorded.refused)
        yield Desk(workspace, recorded, connection, service, keys, lent)
