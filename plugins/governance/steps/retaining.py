"""The end of data: every rule of retention, in our database and at the source (`planning.py`: told beforehand).

Each rule is a try of its own, so that one which fails keeps no other from its work. In our database rows go in the
transaction of their entry; at the source an entry with the number of rows is written before and another after. Policy
clauses K1 K4 L3 B1 R1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from governance import door, first_captures, patience, retention, warehouse
from governance.errors import (
    AlarmError,
    GovernanceError,
    InputError,
    SourceUnavailableError,
    TransientError,
    WarehouseUnavailableError,
    trouble,
)
from governance.first_captures import FirstCaptures
from governance.policy import Policy
from governance.recording import Recorded, code_digest, new_id
from governance.retention import Breach, Looked, Table
from governance.retention_rules import RetentionRule
from governance.run_log import Attempt, Batch, Digests, Entry, Outcome, Run
from governance.steps import completing
from governance.steps.workspace import Workspace
from governance.warehouse import Transaction

ROLE = "retainer"
EVENT = "retain"
BREACH = "breach"
HOUR_ENDED = "end_card_hour"
TOLD_LATER = "its try ended before it could say so; the source tells that it was done"
OF_ALL = "all"
HOUR = timedelta(hours=1)

Append = Callable[[Entry], None]


@dataclass(frozen=True)
class Planned:
    """What a plan told of an instant: the digest of each part, by name."""

    at: datetime
    digests: Mapping[str, str]

    def require(self, part: str, digest: str) -> None:
        """Raise InputError when a part is no longer what the plan told."""
        if self.digests.get(part) != digest:
            raise InputError(
                f"{part}: what is due by that plan's instant is no longer what the plan told; nothing of it was done: "
                "make a new plan"
            )


def look_at_rules(workspace: Workspace, recorded: Recorded, at: datetime) -> list[Looked]:
    """What each rule would do at an instant; nothing is changed."""
    looked = []
    for name, rule in _acting(workspace.policy).items():
        with _table_of(workspace, recorded.attempt, name, rule, at) as (table, _):
            looked.append(table.look())
    return looked


def retain(workspace: Workspace, run: Run, planned: Planned | None = None) -> dict[str, int]:
    """Execute every rule; returns the rows that ended, by rule. `planned`: exactly what a plan told.

    A rule that fails is recorded and keeps no other from its work; its error is raised at the end. Raises InputError
    when a rule would do something else than was planned, AlarmError when rows had outlived their term.
    """
    now = planned.at if planned else now_by_both_clocks(workspace)
    done: dict[str, int] = {}
    errors: list[GovernanceError] = []
    alarms = completing.untold_alarms(workspace, run)
    for name, rule in _acting(workspace.policy).items():
        try:
            done[name] = _Rule(workspace, name, rule, now, planned).execute(run, alarms)
        except GovernanceError as error:
            errors.append(error)
    lasting = [error for error in errors if not isinstance(error, TransientError)]
    if errors:
        raise (lasting or errors)[0]
    if alarms:
        raise AlarmError([*dict.fromkeys(alarms)])
    return done


def _acting(policy: Policy) -> dict[str, RetentionRule]:
    return {name: rule for name, rule in policy.retention.rules.items() if rule.act != "keep"}


def now_by_both_clocks(workspace: Workspace) -> datetime:
    """The instant that has come by this machine's clock and by the database's: what is deleted does not come back.

    A database that is away delays nothing at the source.
    """
    try:
        return workspace.instant()
    except WarehouseUnavailableError:
        return workspace.clock()


@dataclass(frozen=True)
class _Rule:
    """One rule at one instant, executed."""

    workspace: Workspace
    name: str
    spec: RetentionRule
    now: datetime
    planned: Planned | None

    def execute(self, run: Run, alarms: list[str]) -> int:
        """Returns how many rows ended; what they had outlived is added to the alarms."""
        at_source = self.spec.store == "source"
        recorded = recorded_end(self.workspace, EVENT, self.name, run, (self.spec.clause,), has_intent=not at_source)
        where = self.workspace, recorded.attempt, self.name, self.spec, self.now
        with recorded, self._alone(recorded.attempt.batch), _table_of(*where) as (table, append):
            look = table.look()
            breaches = table.breaches() if look.due else []
            if self.planned:
                self.planned.require(self.name, look.digest)
            if at_source:  # said before, because what is done there is no part of our transaction
                alarms += self._completed(recorded, table.cursor)
                told = completing.announced(table.cursor, breaches) if look.due else {}
                at = self.workspace.clock()
                intent = recorded.attempt.intent(entry_id=new_id(), at=at, counts={"due": look.due}, details=told)
                recorded.append(intent)
            accounts = table.account() if look.due else []
            ended = table.act() if look.due else 0
            if look.due and (left := table.left()):
                raise GovernanceError(
                    f"retention rule {self.name}: {left} rows of {self.spec.table} that are due were not found "
                    "when they were to end; nothing was done; the task retries"
                )
            for breach in breaches:
                append(self._breach(recorded, breach))
            for of, counts in accounts:
                append(recorded.outcome_of(new_id(), HOUR_ENDED, Outcome.PASSED, counts=counts, details={"hour": of}))
            append(self._outcome(recorded, look, ended, breaches))
        alarms += _summed(self.name, self.spec, breaches)
        return ended

    @contextmanager
    def _alone(self, batch: Batch) -> Iterator[None]:
        """One try of a rule at a time, or what ends would be told of twice; our database being away delays nothing."""
        with ExitStack() as held:
            with suppress(WarehouseUnavailableError):
                connection = warehouse.connect(self.workspace.warehouse_dsn(door.RECORDER), batch.label)
                held.enter_context(held.enter_context(connection).exclusive(batch))
            yield

    def _completed(self, recorded: Recorded, cursor: psycopg2.extensions.cursor) -> Iterator[str]:
        """Tell what tries before have ended and not told; what that had outlived, for the alarm."""
        for deed in completing.untold_deeds(self.workspace, self.name, cursor):
            counts = {"due": deed.rows, "ended": deed.rows, "left_due": 0}
            breaches = [self._breach(recorded, breach) for breach in deed.breaches]
            outcome = recorded.outcome_of(deed.attempt_id, EVENT, Outcome.PASSED, counts=counts, reason=TOLD_LATER)
            with warehouse.connect(self.workspace.warehouse_dsn(door.RECORDER), self.name) as log:
                log.append(*breaches, outcome)
            yield from (_told(self.name, self.spec, breach) for breach in deed.breaches)

    def _breach(self, recorded: Recorded, breach: Breach) -> Entry:
        error = {"type": "RetentionBreach", "message": _told(self.name, self.spec, breach)}
        hours = {} if breach.hours is None else {"hours_beyond_term": round(breach.hours, 3)}
        counts = {"rows": breach.rows}
        return recorded.outcome_of(new_id(), BREACH, Outcome.FAILED, counts=counts, measures=hours, error=error)

    def _outcome(self, recorded: Recorded, look: Looked, ended: int, breaches: Sequence[Breach]) -> Entry:
        oldest = look.oldest_kept_at
        counts = {"due": look.due + sum(look.on_hold.values()), "ended": ended, "kept": look.kept, "left_due": 0}
        return recorded.outcome(
            Outcome.PASSED if look.due or look.on_hold else Outcome.NO_DATA,
            counts=counts | {f"on hold: {ground}": n for ground, n in look.on_hold.items()},
            measures={} if oldest is None else {"oldest_kept_hours": round((self.now - oldest) / HOUR, 3)},
            alarms=_summed(self.name, self.spec, breaches),
        )


def _where(rule: RetentionRule) -> str:
    return f"{rule.table} at the source" if rule.store == "source" else rule.table


def _told(name: str, rule: RetentionRule, breach: Breach) -> str:
    where = _where(rule)
    if breach.hours is None or breach.of is None:
        return f"{rule.clause} {breach.rows} rows of {where} had no instant to count from; they are gone (rule {name})"
    return (
        f"{rule.clause} {breach.rows} rows of {where} outlived their term by up to {breach.hours:.1f} hours (rule "
        f"{name}, clock in the hour from {breach.of.astimezone(UTC):%Y-%m-%d %H:%M} UTC); they are gone"
    )


def _summed(name: str, rule: RetentionRule, breaches: Sequence[Breach]) -> list[str]:
    """One alarm of all breaches of a rule; each has an entry of its own beside it."""
    if len(breaches) < 2:
        return [_told(name, rule, breach) for breach in breaches]
    where = _where(rule)
    rows = sum(breach.rows for breach in breaches)
    unknown = sum(breach.rows for breach in breaches if breach.hours is None)
    known = max((breach.hours for breach in breaches if breach.hours is not None), default=0.0)
    undated = f", {unknown} of them without an instant to count from" if unknown else ""
    return [
        f"{rule.clause} {rows} rows of {where} outlived their term by up to {known:.1f} hours{undated} (rule {name}, "
        f"{len(breaches)} entries `{BREACH}`); they are gone"
    ]


@contextmanager
def _table_of(
    workspace: Workspace, attempt: Attempt, name: str, rule: RetentionRule, at: datetime
) -> Iterator[tuple[Table, Append]]:
    """The rows of a rule in a transaction of its store, and how entries are appended: with it; of the source, after."""
    policy, label = workspace.policy, attempt.batch.label
    if rule.store == "warehouse":
        columns: Mapping[str, Sequence[str]] = retention.columns_read(rule)
        with as_retainer(workspace, attempt, columns) as (cursor, append):
            yield Table(cursor, policy, name, rule, at), append
        return
    first: FirstCaptures | None = None
    if rule.from_first:
        with as_retainer(workspace, attempt, first_captures.READS) as (cursor, _):
            first = retention.first_captures(cursor, policy, rule, at)
    told: list[Entry] = []
    with session_at_source(workspace, label, f"what is due in {rule.table} stands there still") as cursor:
        yield Table(cursor, policy, name, rule, at).counted_from(first), told.append
    if first and told:
        with as_retainer(workspace, attempt, first_captures.READS) as (cursor, append):
            first.note_ended(cursor)
            for entry in told:
                append(entry)
        return
    with warehouse.connect(workspace.warehouse_dsn(door.RECORDER), label) as log:
        log.append(*told)


@contextmanager
def as_retainer(workspace: Workspace, attempt: Attempt, columns: Mapping[str, Sequence[str]]) -> Iterator[Transaction]:
    """A transaction in our database as the retainer, once the log says which columns it reads."""
    with (
        door.lent(workspace, attempt, ROLE, columns) as lent,
        warehouse.connect(lent.dsn, attempt.batch.label) as connection,
        connection.ending() as transaction,
    ):
        yield transaction


@contextmanager
def session_at_source(workspace: Workspace, label: str, stands: str) -> Iterator[psycopg2.extensions.cursor]:
    """A transaction there as source_retention; the driver's errors become ours, without their text.

    `stands`: what to say of the data when that fails. Raises SourceUnavailableError, GovernanceError.
    """
    try:
        with closing(patience.connect(workspace.source_retention_dsn())) as opened, opened, opened.cursor() as cursor:
            # A policy of the source's owner must not hide rows that are due: then the source refuses.
            cursor.execute("SET LOCAL row_security = off")
            yield cursor
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise SourceUnavailableError(
            f"{label}: the source {trouble(error.pgcode, str(error))} (SQLSTATE {error.pgcode or 'none'}); "
            f"{stands}; check connection wellbe_source_retention; the task retries"
        ) from None
    except psycopg2.errors.InsufficientPrivilege:
        raise GovernanceError(
            f"{label}: the source does not let role source_retention do what policy asks for; {stands}; let its owner "
            f"grant that (governance.source_grants.grant), then clear the task"
        ) from None
    except psycopg2.Error as error:
        raise GovernanceError(
            f"{label}: the source refused the step ({type(error).__name__}, SQLSTATE {error.pgcode or 'none'}); "
            f"{stands}; report it with the entry of this run"
        ) from None


def recorded_end(
    workspace: Workspace,
    event: str,
    rule: str,
    run: Run,
    clauses: tuple[str, ...] = ("R1",),
    **named: bool,
) -> Recorded:
    """A try of an end of data, to be entered as a context; `rule` says which."""
    digests = Digests(workspace.policy.digest, None, code_digest())
    attempt = Attempt(new_id(), event, Batch("retention", rule, run.run_id), run, digests, clauses)
    return Recorded(
        attempt,
        dsn=workspace.warehouse_dsn(door.RECORDER),
        clock=workspace.clock,
        texts=workspace.policy.texts,
        **named,
    )
