"""What is due by a rule of retention, and its end: one table at a time, in our database or at the source. An edge.

The clock of a row is compared with an instant that the caller names, the real now and never a logical date, in 24-hour
days of UTC (E06). A row whose clock says nothing, or an instant to come, counts as over age (E07); to come is what has
come neither by the named instant nor by the clock of the database that has the row, so that neither a machine whose
clock is behind nor a plan that was made before takes what is fresh for that. A card at the source counts from its first
capture, where we know an earlier one than its row says (`first_captures.py`). Whoever runs this may read clocks and
surrogate keys, and nothing else of a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg2.extensions
from psycopg2 import sql

from governance.errors import ConservationError
from governance.first_captures import FirstCaptures
from governance.policy import Policy
from governance.retention_rules import RetentionRule
from governance.sources import named_query

PURGED = "control.purged"
YEAR_ONE = datetime.min.replace(tzinfo=UTC)
"""Before this no instant counts, and none can be read; what stays is younger than a term, and later than this."""


@dataclass(frozen=True)
class Looked:
    """What a rule found in its table at an instant: rows that are due and on no ground protected, and what is left."""

    rule: str
    due: int
    on_hold: dict[str, int] = field(default_factory=dict)
    """Due rows that stay, by ground; one that two grounds protect counts for the first."""
    kept: int = 0
    """Rows of the rule that are not due."""
    oldest_kept_at: datetime | None = None
    """The clock of the oldest row that is not due and on no ground protected."""
    digest: str = ""
    """Of the keys of the due rows, in no order."""


@dataclass(frozen=True)
class Breach:
    """Rows that outlived the term itself, of one hour of their clock; `hours`: by how much. No hour: nobody knows."""

    of: datetime | None
    rows: int
    hours: float | None


def threshold(policy: Policy, rule: RetentionRule, now: datetime, *, with_margin: bool = True) -> datetime | None:
    """Rows whose clock is not after this are due; None when all are.

    Raises PolicyError while the term is not decided.
    """
    if not rule.term:
        return None
    margin = float(policy.value(rule.margin)) if rule.margin and with_margin else 0.0
    return now - timedelta(days=float(policy.value(rule.term))) + timedelta(hours=margin)


class Table:
    """The rows of one rule, seen at one instant through a cursor of a session in UTC."""

    def __init__(
        self, cursor: psycopg2.extensions.cursor, policy: Policy, name: str, rule: RetentionRule, now: datetime
    ) -> None:
        self.cursor, self._policy, self._name, self._rule, self._now = cursor, policy, name, rule, now
        cursor.execute("SELECT set_config('TimeZone', 'UTC', true), statement_timestamp()")  # a date begins in UTC
        ((_, theirs),) = cursor.fetchall()
        self._to_come = max(now, theirs) + timedelta(minutes=float(policy.value("clock_tolerance_minutes")))
        self._table = sql.Identifier(*rule.table.split("."))
        self._first: FirstCaptures | None = None

    def counted_from(self, first: FirstCaptures | None) -> Table:
        """This table, whose rows count from what we know, where that is earlier."""
        self._first = first
        return self

    def look(self) -> Looked:
        """What is due, what is due and protected, and the oldest of what stays."""
        held = [sql.SQL("count(*) FILTER (WHERE held = {})").format(sql.Literal(g)) for g in self._rule.grounds]
        columns = sql.SQL(", ").join(
            [
                sql.SQL("count(*) FILTER (WHERE held IS NULL)"),
                sql.SQL("coalesce(sum(hashtextextended(named, 0)::numeric) FILTER (WHERE held IS NULL), 0)::text"),
                *held,
            ]
        )
        self.cursor.execute(sql.SQL("SELECT {} FROM ({}) AS seen").format(columns, self._seen()))
        ((due, total, *counts),) = self.cursor.fetchall()
        on_hold = {ground: n for ground, n in zip(self._rule.grounds, counts, strict=True) if n}
        digest = hashlib.sha256(f"{self._name} {due} {total} {sorted(on_hold.items())}".encode()).hexdigest()
        # Apart, so that the first needs no more than the rows that are due, and this no more than an index.
        stays = sql.SQL("SELECT count(*), min({}) FROM {} WHERE {} AND NOT ({})")
        self.cursor.execute(stays.format(self._oldest(), self._rows(), self._about(), self._due()))
        ((kept, oldest),) = self.cursor.fetchall()
        return Looked(self._name, due, on_hold, kept, oldest, digest)

    def left(self) -> int:
        """Rows that are due and on no ground protected: the proof of absence, once they have ended."""
        query = sql.SQL("SELECT count(*) FILTER (WHERE held IS NULL) FROM ({}) AS seen")
        self.cursor.execute(query.format(self._seen()))
        ((count,),) = self.cursor.fetchall()
        return int(count)

    def breaches(self) -> list[Breach]:
        """The due rows that have outlived the term itself, by hour of their clock."""
        end = threshold(self._policy, self._rule, self._now, with_margin=False)
        if not self._rule.breach or end is None:
            return []
        self.cursor.execute(
            sql.SQL(
                "SELECT date_trunc('hour', known), count(*), extract(epoch FROM %s - min(known))::float8 / 3600 FROM ("
                "SELECT CASE WHEN clock BETWEEN %s AND %s THEN clock END AS known FROM ({}) AS seen "
                "WHERE held IS NULL) AS ended WHERE known IS NULL OR known < %s GROUP BY 1 ORDER BY 1"
            ).format(self._seen()),
            (end, YEAR_ONE, self._now, end),
        )
        return [Breach(of, n, hours) for of, n, hours in self.cursor.fetchall()]

    def account(self) -> list[tuple[str, dict[str, int]]]:
        """What stays elsewhere of the rows that are to end, as (of what, counts), where a rule accounts for it.

        The first count is of all, the others are its branches. Raises ConservationError when they do not add up.
        """
        if not self._rule.account:
            return []
        query = sql.SQL(named_query(f"accounts/{self._name}").rstrip())
        due = sql.SQL("{} AND {} AND NOT ({})").format(self._about(), self._due(), self._held_at_all())
        self.cursor.execute(query.format(due=due))
        names = [column.name for column in self.cursor.description or ()][1:]
        found = [(str(of), counts) for of, *counts in self.cursor.fetchall()]
        if torn := sum(total != sum(branches) for _, (total, *branches) in found):
            raise ConservationError(f"rule {self._name}: of {torn} accounts the branches do not add up; nothing ended")
        return [(of, dict(zip(names, counts, strict=True))) for of, counts in found]

    def act(self) -> int:
        """Delete what is due, or blank its columns; returns how many rows.

        What goes before its batch is settled is noted, so that validation does not look for it.
        """
        due = sql.SQL("{} AND {} AND NOT ({})").format(self._about(), self._due(), self._held_at_all())
        if self._rule.act == "blank":
            blank = sql.SQL(", ").join(sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in self._rule.columns)
            self.cursor.execute(sql.SQL("UPDATE {} AS t SET {} WHERE {}").format(self._table, blank, due))
            return int(self.cursor.rowcount)
        delete = sql.SQL("DELETE FROM {} AS t WHERE {}").format(self._table, due)
        if not _is_of_landings(self._rule):
            self.cursor.execute(delete)
            return int(self.cursor.rowcount)
        self.cursor.execute(
            sql.SQL(
                "WITH gone AS ({} RETURNING t.landing_no), noted AS ("
                "INSERT INTO control.purged (landing_no, table_name, rows) "
                "SELECT landing_no, {}, count(*) FROM gone WHERE landing_no IS NOT NULL GROUP BY landing_no) "
                "SELECT count(*) FROM gone"
            ).format(delete, sql.Literal(self._rule.table.partition(".")[2]))
        )
        ((count,),) = self.cursor.fetchall()
        return int(count)

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _seen(self) -> sql.Composable:
        """Rows of the rule that are due: clock, the first ground that protects each, and its name."""
        held: sql.Composable = sql.SQL("NULL::text")
        if self._rule.grounds:
            cases = sql.SQL(" ").join(
                sql.SQL("WHEN {} THEN {}").format(self._ground(ground), sql.Literal(ground))
                for ground in self._rule.grounds
            )
            held = sql.SQL("CASE {} END").format(cases)
        clock = (
            sql.SQL("({})::timestamptz").format(self._counted()) if self._rule.clock else sql.SQL("NULL::timestamptz")
        )
        named = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in self._rule.key)
        return sql.SQL("SELECT {} AS clock, {} AS held, concat_ws('/', {}) AS named FROM {} WHERE {} AND {}").format(
            clock, held, named, self._rows(), self._about(), self._due()
        )

    def _rows(self) -> sql.Composable:
        rows = sql.SQL("{} AS t").format(self._table)
        return sql.SQL("{} {}").format(rows, self._first.joined(self._key())) if self._first else rows

    def _key(self) -> sql.Composable:
        return sql.SQL("t.{}").format(sql.Identifier(self._rule.key[0]))

    def _about(self) -> sql.Composable:
        if not self._rule.only:
            return sql.SQL("true")
        return sql.SQL(" AND ").join(
            sql.SQL("t.{} = {}").format(sql.Identifier(column), sql.Literal(value))
            for column, value in self._rule.only.items()
        )

    def _clock(self) -> sql.Composable:
        return sql.SQL("t.{}").format(sql.Identifier(self._rule.clock))

    def _counted(self) -> sql.Composable:
        """The clock that a row counts by; a row without an instant stays without."""
        if self._first is None:
            return self._clock()
        return sql.SQL("CASE WHEN known.captured_at < {0} THEN known.captured_at ELSE {0} END").format(self._clock())

    def _oldest(self) -> sql.Composable:
        """The clock as the rule counts it, of a row that stays."""
        if not self._rule.clock:
            return sql.SQL("NULL::timestamptz")
        instant = sql.SQL("({})::timestamptz").format(self._counted())
        return sql.SQL("date_trunc('hour', {})").format(instant) if self._rule.counted_from == "hour" else instant

    def _due(self) -> sql.Composable:
        """Three ranges of the clock as it stands in an index: a rule finds what is due without a look at the rest."""
        end = threshold(self._policy, self._rule, self._now)
        if end is None:
            there = (sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(name)) for name in self._rule.columns)
            return sql.SQL("({})").format(sql.SQL(" OR ").join(there))
        latest = self._to_come
        condition = "({clock} IS NULL OR {clock} <= {end} OR {clock} > {latest})"
        if self._rule.counted_from == "hour":  # that of a clock begins at or before an instant, or after it
            end, latest = _next_hour(end), _next_hour(latest)
            condition = "({clock} IS NULL OR {clock} < {end} OR {clock} >= {latest})"
        due = sql.SQL(condition).format(clock=self._clock(), end=sql.Literal(end), latest=sql.Literal(latest))
        return sql.SQL("({} OR {})").format(due, self._first.is_due(self._key())) if self._first else due

    def _held_at_all(self) -> sql.Composable:
        if not self._rule.grounds:
            return sql.SQL("false")
        return sql.SQL(" OR ").join(map(self._ground, self._rule.grounds))

    def _ground(self, name: str) -> sql.Composable:
        """The condition of `sql/grounds/<name>.sql`, which knows the row as t and the instant as {now}."""
        return sql.SQL(named_query(f"grounds/{name}").rstrip()).format(now=sql.Literal(self._now))


def _next_hour(instant: datetime) -> datetime:
    """The beginning of the UTC hour after that of an instant."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def first_captures(
    cursor: psycopg2.extensions.cursor, policy: Policy, rule: RetentionRule, now: datetime
) -> FirstCaptures | None:
    """What our database knows of the cards of a rule at the source; None where the term is not decided by a clock."""
    end = threshold(policy, rule, now)
    return FirstCaptures.known(cursor, _next_hour(end) if rule.counted_from == "hour" else end) if end else None


def plan_digest(policy: Policy, now: datetime, looked: Sequence[Looked]) -> str:
    """Names a plan: its instant, and a digest of policy and of what each rule would do at that instant."""
    told = "".join(f"{look.rule} {look.digest}\n" for look in looked)
    digest = hashlib.sha256(f"{policy.digest}\n{now.isoformat()}\n{told}".encode()).hexdigest()
    return f"{now:%Y%m%dT%H%M%SZ}-{digest[:32]}"


def _is_of_landings(rule: RetentionRule) -> bool:
    """Whether validation counts the rows of this table."""
    return rule.schema_name == "records" and rule.table != "records.refusals"


def columns_read(rule: RetentionRule) -> dict[str, list[str]]:
    """Table -> columns that a rule reads: of its own, and of those that it accounts with or its grounds look at."""
    extra = ["landing_no"] if _is_of_landings(rule) else []
    own = [*rule.key, *rule.only, *rule.columns, *([rule.clock] if rule.clock else []), *extra]
    read = {rule.table: set(own)}
    for table, names in [*rule.account.items(), *rule.reads.items()]:
        read.setdefault(table, set()).update(names)
    return {table: sorted(names) for table, names in read.items()}


def grant(cursor: psycopg2.extensions.cursor, rule: RetentionRule, role: str) -> None:
    """Let a role do what a rule asks for, and read the columns that it reads, and no more."""

    def listed(names: Sequence[str]) -> sql.Composable:
        return sql.SQL(", ").join(map(sql.Identifier, names))

    def let(rights: sql.Composable, table: str) -> None:
        name = sql.Identifier(*table.split("."))
        cursor.execute(sql.SQL("GRANT {} ON {} TO {}").format(rights, name, sql.Identifier(role)))

    for table, names in columns_read(rule).items():
        let(sql.SQL("SELECT ({})").format(listed(names)), table)
    let(sql.SQL("DELETE") if rule.act == "delete" else sql.SQL("UPDATE ({})").format(listed(rule.columns)), rule.table)
