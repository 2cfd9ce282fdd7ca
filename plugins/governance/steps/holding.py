"""Holds of cards for intrusion or fraud: placed before a card's deadline, with an owner and an end (K2).

A hold keeps a keyed token of the number, by which the card is known again, under a key that the role of saved cards
cannot use: kept digits and a token that can be tested would be the whole number. Only where policy says that the number
itself may be evidence does a hold keep it too, under a key of that hold alone, which dies with it. A hold keeps neither
the row of the card nor the key of its hour: both end at their time.

Tokens of one month are under one key, `card holds 2026-03`, so that a card held twice in it is known again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import pyarrow as pa

from governance.encryption import Column, key_ids
from governance.errors import InputError, PolicyError
from governance.policy import Policy
from governance.pseudonymisation import tokens
from governance.recording import new_id
from governance.retention import Looked
from governance.run_log import Outcome, Run
from governance.saved_cards import digits
from governance.sources import named_query
from governance.steps.card_desk import Desk, card_deadline, card_hour, desk, recorded
from governance.steps.keeping import destroy_keys
from governance.steps.retaining import Planned
from governance.steps.workspace import Workspace

ROLE = "screener"
NUMBER = Column("card_holds", "number_encrypted")
"""What a number that is evidence is bound to; its row key is the hold's."""
CARD = {
    "vault.payment_cards": ("row_key", "captured_at", "card_number_encrypted"),
    "vault.card_holds": (
        "hold_id", "card_key", "reason", "case_reference", "placed_by", "expires_at", "released_at", "number_encrypted",
    ),
}  # fmt: skip
HOLDS: Mapping[str, Sequence[str]] = {"vault.card_holds": ("hold_id", "expires_at", "released_at")}
OWNED: Mapping[str, Sequence[str]] = {"vault.card_holds": ("hold_id", "expires_at", "placed_by", "released_at")}
NOBODY = "unknown"
"""Owner of a hold that nobody asked for by name; whoever else is not known is not that owner."""
HOLDS_OVER = "holds_over"
LOOK = "plan_cards"
ENDED = "its hold has ended (K2)"

Reason = Literal["intrusion", "fraud"]


@dataclass(frozen=True)
class HoldRequest:
    """What a person asks for: which card, why, until when (that day included), and whether its number is evidence."""

    card_key: str
    reason: Reason
    case: str
    until: date
    number_is_evidence: bool = False


@dataclass(frozen=True)
class Hold:
    """A hold in force; `is_new` unless it stood before it was asked for."""

    hold_id: str
    is_new: bool


def place_hold(workspace: Workspace, request: HoldRequest, run: Run) -> Hold:
    """Hold an accepted card; the owner is whoever is behind the run.

    Whoever asks again for the very same, say after a command that was killed, gets the hold that is in force. Raises
    InputError for a card that is not there, or past its deadline; for an end that has been, or is later than policy
    allows; and for a number as evidence where policy does not let a hold keep it.
    """
    why = f"{request.reason}, case {request.case}"
    with recorded(workspace, "hold_card", "holds", run, ("K2",)) as told:
        workspace.require_one_time(told.attempt.batch)
        now = workspace.clock()
        expires_at, owner = _end(request, workspace.policy, now), run.triggered_by or NOBODY
        details = {"until": request.until.isoformat()}
        with desk(workspace, told, ROLE, CARD, why) as at:
            asked = (request.card_key, request.reason, request.case, owner, expires_at, request.number_is_evidence)
            if stands := at.read("cards/same_hold", *asked):
                hold = str(stands[0][0])
                told.append(told.outcome(Outcome.REPLAYED, reason=why, details={"hold": hold, **details}))
                return Hold(hold, is_new=False)
            number = _number(at, request.card_key)
            hold, listed = new_id(), f"card holds {now:%Y-%m}"
            token_key = at.keys.key("fraud_token", listed)
            (token,) = tokens(pa.array([number]), key=token_key, domain="card").to_pylist()
            evidence = _evidence(at, hold, number, expires_at) if request.number_is_evidence else None
            row = (
                hold, request.card_key, request.reason, request.case, owner, now, expires_at, listed, token, evidence,
            )  # fmt: skip
            with at.connection.ending() as (cursor, append):
                cursor.execute(named_query("cards/hold"), row)
                append(
                    told.outcome(
                        Outcome.PASSED,
                        counts={"held": 1, "numbers_kept": int(evidence is not None)},
                        reason=why,
                        details={"hold": hold, **details},
                    )
                )
    return Hold(hold, is_new=True)


def release_hold(workspace: Workspace, hold: str, why: str, run: Run) -> None:
    """Say that a hold is over; the next `keep_cards` ends it. The entry of the run says who did, and whose it was.

    Raises InputError when there is no such hold any more, and for everybody but its owner and the accounts that policy
    names for it.
    """
    with (
        recorded(workspace, "release_hold", "holds", run, ("K2",)) as told,
        desk(workspace, told, ROLE, OWNED, why) as at,
    ):
        now = workspace.clock()
        found = at.read("cards/owner", hold, now)
        if not found:
            raise InputError("there is no hold of that id, or it is over already; `governance cards holds`")
        owner = str(found[0][0])
        _require_releaser(run.triggered_by, owner, workspace.policy)
        with at.connection.ending() as (cursor, append):
            cursor.execute("UPDATE vault.card_holds SET released_at = %s WHERE hold_id = %s", (now, hold))
            details = {"hold": hold, "owner": owner}
            append(told.outcome(Outcome.PASSED, counts={"released": 1}, reason=why, details=details))


def look_at_holds(workspace: Workspace, run: Run, at: datetime) -> Looked:
    """The holds that are over at an instant; nothing is changed."""
    with (
        recorded(workspace, LOOK, "holds", run, ("K2",)) as told,
        desk(workspace, told, ROLE, HOLDS) as table,
    ):
        found, _ = _over(table, at)
        told.append(told.outcome(Outcome.PASSED, counts={"due": found.due}))
    return found


def end_holds(workspace: Workspace, run: Run, planned: Planned | None = None) -> dict[str, int]:
    """End every hold that expired or was released: its key is destroyed, then its row deleted. Returns counts.

    `planned`: those of a plan, and no others. Raises InputError when they are others by now.
    """
    with recorded(workspace, "keep_cards", "holds", run, ("K2",)) as told, desk(workspace, told, ROLE, HOLDS) as at:
        now = planned.at if planned else workspace.instant()
        found, ends = _over(at, now)
        if planned:
            planned.require(HOLDS_OVER, found.digest)
        keys = [at.service.id_of("hold", hold) for hold in ends]
        counts = {"hold_keys_destroyed": destroy_keys(workspace, keys, ENDED, run), "ended": len(ends)}
        counts["still_held"] = found.kept
        with at.connection.ending() as (cursor, append):
            cursor.execute("DELETE FROM vault.card_holds WHERE hold_id = ANY(%s)", (ends,))
            append(told.outcome(Outcome.PASSED if ends else Outcome.NO_DATA, counts=counts))
    return counts


def _over(at: Desk, now: datetime) -> tuple[Looked, list[str]]:
    """The holds that are over at an instant: as a plan tells them, and their ids."""
    ends = sorted(hold for (hold,) in at.read("cards/holds", now))
    ((kept,),) = at.read("cards/holds_kept", now)
    digest = hashlib.sha256("\n".join(ends).encode()).hexdigest()
    return Looked(HOLDS_OVER, len(ends), kept=kept, digest=digest), ends


def _require_releaser(who: str | None, owner: str, policy: Policy) -> None:
    """Raise InputError unless an account may release a hold of an owner's."""
    releasers = policy.value("hold_releasers")
    if not isinstance(releasers, list):
        raise PolicyError("policy value hold_releasers is no list of accounts; nothing was released: write it as one")
    may = {*releasers, owner} - {NOBODY}
    if who not in may:
        named = f"only {' or '.join(sorted(map(str, may)))}" if may else "nobody"
        raise InputError(
            f"{named} may release this hold (its owner, and accounts in hold_releasers of policies/policy.yaml, K2); "
            "nothing was released; it ends by itself when it expires"
        )


def _end(request: HoldRequest, policy: Policy, now: datetime) -> datetime:
    """The instant at which a hold ends: with its last day, where policy's days begin. Raises InputError."""
    if request.number_is_evidence and not policy.value("hold_keeps_number"):
        raise InputError(
            "policy does not let a hold keep a number as evidence; nothing was held: hold the card without it, or let "
            "the controller decide hold_keeps_number (policies/policy.yaml, K2)"
        )
    days = float(policy.value("hold_days"))
    until = min(request.until, date.max - timedelta(days=1))  # no day follows the last one of the calendar
    ends = datetime.combine(until + timedelta(days=1), time(), ZoneInfo(policy.time_zone))
    if not now < ends <= now + timedelta(days=days):
        raise InputError(
            f"a hold ends after now and within {days:g} days (policy value hold_days); nothing was held: name "
            "another day"
        )
    return ends


def _number(at: Desk, card_key: str) -> str:
    """The digits of an accepted card that is not past its deadline. Raises InputError."""
    found = at.read("cards/held", card_key)
    if not found:
        raise InputError("there is no accepted card of that id; nothing was held")
    ((value, captured_at),) = found
    opened = at.keys.opening("card_hour", key_ids(pa.array([value], pa.binary())))
    deadline = card_deadline(at.workspace.policy, card_hour(captured_at))
    if opened.destroyed or (deadline is not None and deadline <= at.workspace.clock()):
        raise InputError("that card is past its deadline: a hold is placed before (K2); nothing was held")
    number = digits(at.numbers([value], [card_key], opened)[0])
    if number is None:
        raise InputError("that card has no number by which it could be known again; nothing was held")
    return number


def _evidence(at: Desk, hold: str, number: str, expires_at: datetime) -> bytes:
    keys = at.keys.sealing("hold", pa.array([hold]), expires_at=expires_at)
    return at.sealed([number], [hold], keys, NUMBER)[0]
