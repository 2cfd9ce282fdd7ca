"""`governance retention`: what ends, when and on what ground it stays, told beforehand and done as it was told."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import get_args

from governance import steps
from governance.commands.reading import reason
from governance.embedded import site as sites
from governance.embedded import workspaces
from governance.embedded.cli import say
from governance.obligations import Reason
from governance.policy import Policy
from governance.retention import Looked

EXCEPTIONS = {"withdrawn_cards": "vault.saved_cards, choice withdrawn", "holds_over": "vault.card_holds, hold is over"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("retention", help="what is due by the rules of retention: tell it, or do it")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    plan = actions.add_parser("plan", help="what each rule would end now, and what stays on which ground; ends nothing")
    plan.set_defaults(run=_plan)
    apply = actions.add_parser("apply", help="do exactly what a plan told, and nothing else")
    apply.add_argument("--plan", metavar="DIGEST", required=True, help="the digest that `retention plan` printed")
    apply.set_defaults(run=_apply)
    owed = actions.add_parser("obligations", help="what was shared and may not be used any more: whom to tell by when")
    owed.set_defaults(run=_obligations)
    fulfil = actions.add_parser("fulfil", help="note that the recipient of a delivery was told")
    fulfil.add_argument("delivery", metavar="DELIVERY_ID", help="as `retention obligations` prints it")
    fulfil.add_argument("--reason", required=True, choices=get_args(Reason), help="of the obligation")
    fulfil.add_argument("--how", required=True, metavar="REF", type=reason, help="its acknowledgement; in the run log")
    fulfil.set_defaults(run=_fulfil)


def _plan(arguments: argparse.Namespace) -> int:
    space = workspaces.workspace(sites.load())
    plan = steps.plan_retention(space, workspaces.by_hand("retention plan"))
    say(f"what is due at {plan.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    say("")
    say(f"{'RULE':<24} {'WHERE':<36} {'DOES':<7} {'DUE':>9} {'ON HOLD':>8} {'STAYS':>10}  OLDEST THAT STAYS (UTC)")
    for look in plan.rules:
        rule = space.policy.retention.rules[look.rule]
        _say(space.policy, look, (_where(rule.table, rule.store), rule.act, f"{look.kept:,}"))
    say("")
    say("what may stay of cards (keep_cards)")
    for look in plan.exceptions:
        _say(space.policy, look, (EXCEPTIONS[look.rule], "delete", f"{look.kept:,}"))
    minors, *places = plan.erasures
    say("")
    say(f"minors whose review is over (erase_minors): {minors.due:,} bookings")
    for look in places:
        place = space.policy.retention.erasure[look.rule]
        _say(space.policy, look, (_where(place.table, place.store), place.act, ""))
    say("")
    say(f"governance retention apply --plan {plan.digest}")
    return 0


def _where(table: str, store: str) -> str:
    return f"{table} (source)" if store == "source" else table


def _say(policy: Policy, look: Looked, about: tuple[str, str, str]) -> None:
    where, act, kept = about
    oldest = "" if look.oldest_kept_at is None else f"{look.oldest_kept_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    held = sum(look.on_hold.values())
    say(f"{look.rule:<24} {where:<36} {act:<7} {look.due:>9,} {held:>8,} {kept:>10}  {oldest}".rstrip())
    for ground, count in look.on_hold.items():
        say(f"{'':<24} stays on a ground, {count:,} rows: {_ground(policy, ground)}")


def _ground(policy: Policy, name: str) -> str:
    ground = policy.retention.grounds[name]
    return f"{name}: {ground.description} ({ground.clause})"


def _apply(arguments: argparse.Namespace) -> int:
    space = workspaces.workspace(sites.load())
    ended = steps.apply_plan(space, arguments.plan, workspaces.by_hand("retention apply"))
    for rule, count in ended.items():
        if count:
            say(f"{rule:<24} {count:>9,} {'bookings erased' if rule == 'minors' else 'rows ended'}")
    say("everything that the plan told is done" if any(ended.values()) else "nothing was due")
    return 0


def _obligations(arguments: argparse.Namespace) -> int:
    space = workspaces.workspace(sites.load())
    found, now = steps.owed(space), space.clock()
    say(f"{'DELIVERY':<36} {'RECIPIENT':<20} {'BECAUSE':<18} {'SINCE (UTC)':<16}  {'DUE (UTC)':<16}  STANDS")
    for one in found:
        stands = "past due" if one.due_at <= now else "open"
        if one.met_at is not None:
            stands = f"met {_minute(one.met_at)}"
        recipient, dates = one.recipient_id or "-", f"{_minute(one.raised_at):<16}  {_minute(one.due_at):<16}"
        say(f"{one.delivery_id:<36} {recipient:<20} {one.reason:<18} {dates}  {stands}")
    if not found:
        say("nothing is owed")
    return 0


def _minute(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M}"


def _fulfil(arguments: argparse.Namespace) -> int:
    space, run = workspaces.workspace(sites.load()), workspaces.by_hand("retention fulfil")
    steps.meet_obligation(space, arguments.delivery, arguments.reason, arguments.how, run)
    say("noted: the recipient was told")
    return 0
