"""What retention would end, told beforehand, and done exactly as it was told: rules, exceptions of cards, minors.

A plan is named by its instant and a digest of policy and of whatever would end then, by key. To apply one is to look
again at that same instant and to do it only if nothing has changed; each part then looks once more in the transaction
of its deed, and refuses what the plan did not tell. Policy clauses K1 K2 K3 L3 B1 R1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from governance import retention
from governance.errors import GovernanceError, InputError, TransientError
from governance.retention import Looked
from governance.run_log import Outcome, Run
from governance.steps.cards import end_exceptions, look_at_exceptions
from governance.steps.erasing import begin_erasures, erase_minors, look_at_minors
from governance.steps.retaining import OF_ALL, Planned, look_at_rules, now_by_both_clocks, recorded_end, retain
from governance.steps.workspace import Workspace

PLAN = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{32}")
PLAN_LASTS = timedelta(hours=24)


@dataclass(frozen=True)
class Plan:
    """What would end at an instant; `digest` names it."""

    at: datetime
    rules: tuple[Looked, ...]
    exceptions: tuple[Looked, ...]
    """Saved cards whose choice is withdrawn, and holds that are over."""
    erasures: tuple[Looked, ...]
    """Bookings of minors whose review is over, then their rows, by place."""
    digest: str

    @property
    def parts(self) -> tuple[Looked, ...]:
        """What is done as a whole or not at all: each rule, each kind of exception, and minors."""
        return (*self.rules, *self.exceptions, self.erasures[0])


def plan_retention(workspace: Workspace, run: Run, at: datetime | None = None) -> Plan:
    """What retention would do now, or at an instant that has been; nothing is changed.

    Raises ContendedError, SourceUnavailableError, WarehouseUnavailableError, KeyringError.
    """
    now = at or now_by_both_clocks(workspace).replace(microsecond=0)
    with recorded_end(workspace, "plan_retention", OF_ALL, run) as recorded:
        rules = look_at_rules(workspace, recorded, now)
        exceptions = look_at_exceptions(workspace, run, now)
        erasures = look_at_minors(workspace, recorded, now)
        looked = (*rules, *exceptions, *erasures)
        digest = retention.plan_digest(workspace.policy, now, looked)
        due = {f"due {look.rule}": look.due for look in (*rules, *exceptions, erasures[0]) if look.due}
        due |= {f"to erase {look.rule}": look.due for look in erasures[1:] if look.due}
        recorded.append(recorded.outcome(Outcome.PASSED, counts=due, details={"plan": digest}))
    return Plan(now, tuple(rules), tuple(exceptions), tuple(erasures), digest)


def apply_plan(workspace: Workspace, plan: str, run: Run) -> dict[str, int]:
    """Do what the plan of a digest told, and nothing else; returns what ended, by rule.

    A part that fails keeps no other from its work; its error is raised at the end. Raises InputError when the plan is
    no longer what would be done.
    """
    told = _still_true(workspace, plan, run)
    parts: tuple[Callable[[Workspace, Run, Planned], dict[str, int]], ...] = (end_exceptions, retain, _erase)
    planned = Planned(told.at, {look.rule: look.digest for look in told.parts})
    begin_erasures(workspace, run, planned)
    done: dict[str, int] = {}
    errors: list[GovernanceError] = []
    for part in parts:
        try:
            done |= part(workspace, run, planned)
        except GovernanceError as error:
            errors.append(error)
    if errors:
        raise next((error for error in errors if not isinstance(error, TransientError)), errors[0])
    return done


def _erase(workspace: Workspace, run: Run, planned: Planned) -> dict[str, int]:
    return {"minors": erase_minors(workspace, run, planned)["erased"]}


def _still_true(workspace: Workspace, plan: str, run: Run) -> Plan:
    """The plan of a digest, where it still is what would be done. Raises InputError."""
    try:
        told = PLAN.fullmatch(plan)
        at = datetime.strptime(told[1] if told else "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise InputError("that is no digest of a plan; `governance retention plan` prints one") from None
    now = now_by_both_clocks(workspace)
    if not now - PLAN_LASTS <= at <= now:
        raise InputError("that plan is older than a day, or of an instant to come; nothing was done: make a new one")
    again = plan_retention(workspace, run, at)
    if again.digest != plan:
        raise InputError(
            "what is due by that plan's instant is no longer what the plan told, or policy is another; nothing was "
            "done: make a new one"
        )
    return again
