"""A release on its way into the database: decided row by row, counted and appended, in one transaction."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extras import execute_values

from governance.errors import ContendedError, DisclosureError, PolicyError
from governance.published_tables import rows_of
from governance.run_log import Batch, Entry
from governance.sources import named_query

if TYPE_CHECKING:
    import pandas as pd

    from governance.anonymisation.budgets import Charge

MISSING = r"\N"


@dataclass(frozen=True)
class Published:
    """One published partition of a dataset: rows that went into it and those that did not, and its measures.

    Of counts with noise analysts see none of it, for rows and measures are exact.
    """

    rows: int | None
    suppressed: int | None
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

    def decide_visits(self, *, contributions: int, per_cell: int) -> pd.DataFrame:
        """Decide every undecided view up to the partition, where the views are, however many they are.

        Returns the exact cells of sessions: country_code, device_class, page_category, language_code, exact, people.
        """
        # Of what sorting and counting millions of views need, this much stays in memory; the rest goes to files.
        self.cursor.execute("SET LOCAL work_mem = '64MB'")
        return self._frame("decide_visits", contributions=contributions, per_cell=per_cell)

    def count(self, query: str) -> pd.DataFrame:
        """What a named query counts exactly of the partition: cells, exact, people."""
        return self._frame(query)

    def _frame(self, query: str, **values: int) -> pd.DataFrame:
        import pandas as pd

        self.cursor.execute(named_query(query), {"day": self.day, **values})
        names = [column.name for column in self.cursor.description or ()]
        return pd.DataFrame(self.cursor.fetchall(), columns=names)

    def spend(self, charge: Charge, policy_digest: str) -> None:
        """Write to the ledger what a table of the partition costs, before any of its counts.

        Raises DisclosureError when it was spent before: noise drawn twice is half gone.
        """
        self.cursor.execute(named_query("spend"), {"day": self.day, "policy": policy_digest, **asdict(charge)})
        if self.cursor.rowcount != 1:
            raise DisclosureError(
                f"{self.batch.label}: the budget of {charge.table_name} was spent before; a period is published once; "
                "nothing was published"
            )

    def may_be_known(self, end: datetime) -> bool:
        """Whether counts of a period that ended then may have been published already: in what a restore has lost."""
        self.cursor.execute("SELECT restored_at >= %s FROM control.in_force", (end,))
        return self.cursor.fetchone() == (True,)

    def add(self, table: str, rows: pd.DataFrame) -> None:
        """Append noisy counts to analytics.<table>_rows, whose budget was spent in this transaction."""
        self._copy(("analytics", rows_of(table)), rows)

    def keep_exact(self, table: str, exact: pd.DataFrame) -> None:
        """Keep in zone audit what published counts were made from: cell (its columns in one text), exact, people."""
        self._copy(("audit", "exact_counts"), exact.assign(table_name=table, recorded_date=self.day))

    def keep_measures(self, published: Published) -> None:
        """Keep in zone audit how many rows went into a release, and its measures, which are exact."""
        self.cursor.execute(
            "INSERT INTO audit.release_measures (dataset, partition_key, k, l, rows, suppressed) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (self.batch.dataset, self.day, published.k, published.l, published.rows, published.suppressed),
        )

    def decisions(self) -> Decisions:
        """What has been decided, counted in the ledger itself."""
        self.cursor.execute(named_query("decided"), (self.batch.dataset, self.day))
        found = self.cursor.fetchall()
        counts: dict[str, int] = {}
        for _, decision, count in found:
            counts[decision] = counts.get(decision, 0) + count
        return Decisions(counts, sum(count for is_own, _, count in found if is_own))

    def held(self) -> dict[bool, int]:
        """How many rows are left undecided, counted where they are: True for those of the release's own partition."""
        self.cursor.execute(named_query(f"held_{self.batch.dataset}"), {"day": self.day})
        return dict(self.cursor.fetchall())

    def ended(self, table: str) -> int:
        """Rows of the release's own partition that retention has ended since they were accepted, undecided."""
        self.cursor.execute(named_query("ended_since"), {"table": table, "day": self.day, **self._dataset})
        ((ended,),) = self.cursor.fetchall()
        return int(ended)

    def require_settled(self, root: str) -> None:
        """Raise ContendedError while an earlier partition, of which rows wait, was landed again and is not settled.

        Some of its rows may be turned away, or gone at the source: what the vault still shows is not to be published.
        """
        query = sql.SQL(named_query("landed_again")).format(root=sql.Identifier("vault", root))
        self.cursor.execute(query, {"day": self.day, **self._dataset})
        if again := [str(day) for (day,) in self.cursor.fetchall()]:
            raise ContendedError(
                f"{self.batch.label}: rows of {', '.join(again)} wait for it, and were landed again; validate that "
                "first (clear its run from its task `validate` on, if none is at it); the task retries"
            )

    def chances(self, days: Sequence[date]) -> dict[date, list[date]]:
        """Of partitions, the first release after each of their landings, this one where there was none; oldest
        first."""
        self.cursor.execute(named_query("chances"), {"days": list(days), "day": self.day, **self._dataset})
        found: dict[date, list[date]] = {}
        for partition, first in self.cursor.fetchall():
            found.setdefault(partition, []).append(first)
        return found

    @property
    def _dataset(self) -> dict[str, str]:
        return {"dataset": self.batch.dataset}

    def people(self, numbers: Sequence[bytes]) -> list[tuple[bytes, list[str]]]:
        """Those of these people who were published before, and their signatures."""
        self.cursor.execute(
            "SELECT person, signature FROM vault.release_people WHERE person = ANY (%s) ORDER BY person",
            (list(numbers),),
        )
        return [(bytes(person), signature) for person, signature in self.cursor.fetchall()]

    def remember(self, people: Sequence[tuple[bytes, list[str]]]) -> None:
        """Note people who are published for the first time, with their signatures."""
        execute_values(self.cursor, "INSERT INTO vault.release_people (person, signature) VALUES %s", list(people))

    def forget(self, people: Sequence[bytes]) -> int:
        """End the lines of people who were erased; returns how many had one."""
        self.cursor.execute("DELETE FROM vault.release_people WHERE person = ANY (%s)", (list(people),))
        return self.cursor.rowcount

    def released(self, table: str, columns: Sequence[str], days: Sequence[date]) -> pd.DataFrame:
        """Published rows of some releases, by recorded_date."""
        import pandas as pd

        query = sql.SQL("SELECT {} FROM {} WHERE recorded_date = ANY (%s) ORDER BY recorded_date")
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        self.cursor.execute(query.format(listed, sql.Identifier("analytics", rows_of(table))), (list(days),))
        return pd.DataFrame(self.cursor.fetchall(), columns=list(columns), dtype="object")

    def strangers(self, root: str, form: str) -> list[str]:
        """Earlier partitions whose rows, though they are decided now, are not as many as were accepted, in words.

        Raises PolicyError when they were landed in another form than the release's own: people would not be told apart.
        """
        query = sql.SQL(named_query("carried_in")).format(root=sql.Identifier("vault", root))
        self.cursor.execute(query, {"table": root, "day": self.day, **self._dataset})
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
        statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT CSV, NULL {}, FORCE_NULL ({}))").format(
            sql.Identifier(*table), columns, sql.Literal(MISSING), columns
        )
        text = frame.to_csv(index=False, header=False, quoting=csv.QUOTE_NONNUMERIC, na_rep=MISSING)
        self.cursor.copy_expert(statement, io.StringIO(text))
