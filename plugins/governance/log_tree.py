"""The run log's tree in our database: order given to entries, tiles kept, leaves and hashes read (clause R1).

Entries are appended unordered, in the transactions of their effects. One sequencer at a time gives those that wait
their places, in one transaction: leaves, tiles and the end of the waiting are there together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2.extras import execute_values

from governance import patience
from governance.database import translated
from governance.errors import ContendedError, ProofError, RunLogError
from governance.merkle import leaf_hash
from governance.notes import Checkpoint
from governance.sources import named_query
from governance.tiles import Place, Tiles, appended, edge

LABEL = "the run log"
PAGE = 10_000
"""Entries per transaction of the sequencer, and leaves per round trip of a reader."""


@dataclass(frozen=True)
class Sequenced:
    """What one run of the sequencer did: entries that got their place, and entries that wait but are gone."""

    integrated: int
    lost: tuple[str, ...] = ()


class LogTree:
    """A connection to the run log's tree, as role sequencer or, to read, as auditor."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def connected(cls, dsn: str) -> Iterator[LogTree]:
        """A connection, closed at the end. Raises WarehouseUnavailableError."""
        with translated(LABEL):
            connection = patience.connect(dsn)
        try:
            yield cls(connection)
        finally:
            connection.close()

    # -- reading ---------------------------------------------------------------------------------------------------

    def size(self) -> int:
        """How many leaves there are."""
        ((size,),) = self._rows("SELECT coalesce(max(leaf_index) + 1, 0) FROM audit.leaves")
        return int(size)

    def hashes(self) -> Tiles:
        """Roots over any of the leaves, from the tiles as they are now."""
        return Tiles(self._tile)

    def head(self, origin: str) -> Checkpoint:
        """The head of the tree as it is now."""
        size = self.size()
        return Checkpoint(origin, size, self.hashes().hash_of(0, size))

    def place_of(self, entry_id: str) -> tuple[int, bytes] | None:
        """Index and bytes of an entry's leaf; None when it has no place in the tree."""
        rows = self._rows(
            "SELECT l.leaf_index, audit.leaf(r) FROM audit.leaves l JOIN audit.run_log r USING (entry_id) "
            "WHERE l.entry_id = %s",
            (entry_id,),
        )
        return (rows[0][0], rows[0][1].encode()) if rows else None

    def leaves(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes | None]]:
        """Leaves `[start, end)` with their index, in the order of the tree; None for one whose entry is gone."""
        # A cursor on the server: the log may be larger than memory. The first rows soon rather than all in the shortest
        # time: a plan that sorts the whole log first would leave nothing to work on meanwhile.
        with translated(LABEL), self._connection, self._connection.cursor() as settings:
            settings.execute("SET LOCAL cursor_tuple_fraction = 0.001")
            with self._connection.cursor("leaves") as cursor, ThreadPoolExecutor(1) as reading:
                cursor.execute(named_query("log/leaves"), {"start": start, "end": end})
                page = cursor.fetchmany(PAGE)
                while page:
                    # The server prepares the next page while this one is worked on.
                    following = reading.submit(cursor.fetchmany, PAGE)
                    for index, leaf in page:
                        yield index, None if leaf is None else leaf.encode()
                    page = following.result()

    def waiting(self, before: datetime) -> int:
        """How many entries that were written before an instant have no place yet."""
        ((count,),) = self._rows("SELECT count(*) FROM audit.pending WHERE written_at < %s", (before,))
        return int(count)

    def unplaced(self) -> int:
        """How many entries have neither a place nor wait for one."""
        ((count,),) = self._rows(named_query("log/unplaced"))
        return int(count)

    def unrecorded_sessions(self, since: datetime, until: datetime) -> list[tuple[int, str]]:
        """Number and login of connections that could read rows and of which the log knows nothing."""
        with self._transaction() as cursor:
            cursor.execute(named_query("log/unrecorded_sessions"), {"since": since, "until": until})
            return [(number, login) for number, login, _ in cursor.fetchall()]

    def lost_sessions(self, since: datetime, until: datetime) -> int:
        """How many connections were noted in between, and are no longer there."""
        with self._transaction() as cursor:
            cursor.execute(named_query("log/lost_sessions"), {"since": since, "until": until})
            ((lost,),) = cursor.fetchall()
            return int(lost)

    def is_noted(self) -> bool:
        """Whether this very connection was noted: otherwise none is, and none could be missed."""
        ((found,),) = self._rows(named_query("log/is_noted"))
        return bool(found)

    def loose_columns(self) -> list[str]:
        """Columns of the log that no longer say by themselves what its entries say."""
        return [name for (name,) in self._rows(named_query("log/columns_not_generated"))]

    def checkpoints(self) -> list[str]:
        """Every note that was signed here, oldest first."""
        return [note for (note,) in self._rows("SELECT note FROM audit.checkpoints ORDER BY size")]

    # -- changing --------------------------------------------------------------------------------------------------

    def sequence(self) -> Sequenced:
        """Give every entry that waits its place. Raises ContendedError while another sequencer is at it."""
        total = 0
        while True:
            page = self._sequence_page()
            total += page.integrated
            # A page of lost ones alone would come again and again.
            if page.integrated + len(page.lost) < PAGE or not page.integrated:
                return Sequenced(total, page.lost)

    def keep_checkpoint(self, checkpoint: Checkpoint, note: str) -> None:
        """Keep a note that was signed. A second one of the same size changes nothing."""
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO audit.checkpoints (size, note) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (checkpoint.size, note),
            )

    def _sequence_page(self) -> Sequenced:
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended('governance sequencer', 0))")
            if cursor.fetchone() != (True,):
                raise ContendedError(f"{LABEL}: another sequencer is at work; the task retries")
            cursor.execute(named_query("log/pending"), (PAGE,))
            waiting = cursor.fetchall()
            lost = tuple(str(entry_id) for _, entry_id, leaf in waiting if leaf is None)
            found = [(at, entry_id, leaf_hash(leaf.encode())) for at, entry_id, leaf in waiting if leaf is not None]
            if found:
                ids = [entry_id for _, entry_id, _ in found]
                self._integrate(cursor, ids, [hashed for *_, hashed in found])
                cursor.execute(named_query("log/placed"), ([at for at, _, _ in found], ids))
        return Sequenced(len(found), lost)

    def _integrate(self, cursor: psycopg2.extensions.cursor, ids: Sequence[str], hashes: Sequence[bytes]) -> None:
        cursor.execute("SELECT coalesce(max(leaf_index) + 1, 0) FROM audit.leaves")
        ((size,),) = cursor.fetchall()
        unfilled = {place: held for place in edge(size) if (held := self._tile_by(cursor, place))}
        try:
            tiles = appended(size, unfilled, hashes)
        except ProofError as error:
            raise RunLogError(
                f"{LABEL}: its tiles do not fit its {size} leaves ({error}); nothing was added; "
                "compare both with the auditor's checkpoints: `governance verify-log`"
            ) from None
        execute_values(
            cursor, "INSERT INTO audit.leaves VALUES %s", list(enumerate(ids, size)), template="(%s, %s::uuid)",
            page_size=1_000,
        )  # fmt: skip
        execute_values(
            cursor,
            "INSERT INTO audit.tiles VALUES %s ON CONFLICT (level, number) DO UPDATE SET hashes = EXCLUDED.hashes",
            [(*place, hashes) for place, hashes in tiles.items()],
        )

    # -- inside ----------------------------------------------------------------------------------------------------

    def _tile(self, place: Place) -> bytes | None:
        with self._transaction() as cursor:
            return self._tile_by(cursor, place)

    @staticmethod
    def _tile_by(cursor: psycopg2.extensions.cursor, place: Place) -> bytes | None:
        cursor.execute("SELECT hashes FROM audit.tiles WHERE level = %s AND number = %s", place)
        row = cursor.fetchone()
        return bytes(row[0]) if row else None

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._transaction() as cursor:
            cursor.execute(query, values or None)  # without values, a percent sign is one
            return list(cursor.fetchall())

    @contextmanager
    def _transaction(self) -> Iterator[psycopg2.extensions.cursor]:
        with translated(LABEL), self._connection, self._connection.cursor() as cursor:
            yield cursor
