"""A release on its way into the database: decided row by row, counted and appended, in one transaction."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import psycopg2.extensions
from psycopg2 import sql

from governance.errors import PolicyError
from governance.published_tables import rows_of
from governance.run_log import Batch, Entry
from governance.sources import named_query

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Published:
    """One published partition of a dataset, as analysts see it."""

    rows: int
    suppressed: int
    k: int | None
    l: int | None  # noqa: E741 -- the name of the measure


@dataclass(frozen=True)
class Decisions:
    """How many accepted rows had each decision; `own`: of them, rows of the release's own partition."""

    counts: dict[str, int]
    own: int

    def of(self, decision: str) -> int:
        """How many had this one."""
        return self.counts.get(decision, 0)

    @property
    def total(self) -> int:
        """How many rows were decided."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Publication:
    """The release of one partition, inside its transaction."""

    cursor: psycopg2.extensions.cursor
    batch: Batch
    day: date
    say: Callable[[Entry], None]  # appends to the run log, in this transaction

    def decide(self, decisions: pd.DataFrame) -> None:
        """Note decisions: a frame of row_key, accepted_partition, decision."""
        noted = decisions.assign(dataset=self.batch.dataset, release_partition=self.batch.partition_key)
        self._copy(("vault", "release_ledger"), noted)

    def decide_visits(self, *, k: int, limit: int) -> pd.DataFrame:
        """Decide every undecided view up to the partition, where the views are, however many they are.

        Returns the published cells: country_code, device_class, page_category, views_count, visitors_count.
        """
        import pandas as pd

        # Of what sorting and counting millions of views need, this much stays in memory; the rest goes to files.
        self.cursor.execute("SET LOCAL work_mem = '64MB'")
        self.cursor.execute(named_query("decide_visits"), {"day": self.day, "k": k, "limit": limit})
        names = [column.name for column in self.cursor.description or ()]
        return pd.DataFrame(self.cursor.fetchall(), columns=names)

    def decisions(self) -> Decisions:
        """What has been decided, counted in the ledger itself."""
        self.cursor.execute(named_query("decided"), (self.batch.dataset, self.day))
        found = self.cursor.fetchall()
        counts: dict[str, int] = {}
        for _, decision, count in found:
            counts[decision] = counts.get(decision, 0) + count
        return Decisions(counts, sum(count for is_own, _, count in found if is_own))

    def strangers(self, root: str, form: str) -> list[str]:
        """Earlier partitions whose rows, though they are decided now, are not as many as were accepted, in words.

        Raises PolicyError when they were landed in another form than the release's own: people would not be told apart.
        """
        query = sql.SQL(named_query("carried_in")).format(root=sql.Identifier("vault", root))
        self.cursor.execute(query, {"dataset": self.batch.dataset, "day": self.day})
        carried = self.cursor.fetchall()
        if others := [str(partition) for partition, _, _, of in carried if of not in (None, form)]:
            raise PolicyError(
                f"{self.batch.label}: it carries in rows of {', '.join(others)}, which were landed before policy "
                "declared otherwise how they are made; nothing was published; clear the runs of those partitions from "
                "their task `plan` on, then this one"
            )
        return [
            f"the vault holds {held} rows of partition {partition}, {accepted} were accepted"
            for partition, accepted, held, _ in carried
            if held != accepted
        ]

    def append(self, table: str, rows: pd.DataFrame, published: Published, entry: Entry) -> None:
        """Append rows to analytics.<table>_rows, what they are to analytics.releases, and the entry to the run log."""
        measured = (published.k, published.l, published.rows, published.suppressed)
        self.cursor.execute(
            "INSERT INTO analytics.releases (dataset, partition_key, k, l, rows, suppressed, policy_digest) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (self.batch.dataset, self.day, *measured, entry.attempt.digests.policy),
        )
        self._copy(("analytics", rows_of(table)), rows)
        self.say(entry)

    def _copy(self, table: tuple[str, str], frame: pd.DataFrame) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT CSV)").format(sql.Identifier(*table), columns)
        self.cursor.copy_expert(
            statement, io.StringIO(frame.to_csv(index=False, header=False, quoting=csv.QUOTE_NONNUMERIC))
        )
