"""`governance retention`: what ends, when and on what ground it stays, told beforehand and done as it was told."""

from __future__ import annotations

import argparse
from datetime import UTC

from governance import steps
from governance.embedded import site as sites
from governance.embedded import workspaces
from governance.embedded.cli import say
from governance.policy import Policy


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("retention", help="what is due by the rules of retention: tell it, or do it")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    plan = actions.add_parser("plan", help="what each rule would end now, and what stays on which ground; ends nothing")
    plan.set_defaults(run=_plan)
    apply = actions.add_parser("apply", help="do exactly what a plan told, and nothing else")
    apply.add_argument("--plan", metavar="DIGEST", required=True, help="the digest that `retention plan` printed")
    apply.set_defaults(run=_apply)


def _plan(arguments: argparse.Namespace) -> int:
    space = workspaces.workspace(sites.load())
    plan = steps.plan_retention(space, workspaces.by_hand("retention plan"))
    say(f"what is due at {plan.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    say("")
    say(f"{'RULE':<22} {'WHERE':<34} {'DOES':<7} {'DUE':>9} {'ON HOLD':>8} {'STAYS':>10}  OLDEST THAT STAYS (UTC)")
    for look in plan.looked:
        rule = space.policy.retention.rules[look.rule]
        where = f"{rule.table} (source)" if rule.store == "source" else rule.table
        oldest = "" if look.oldest_kept_at is None else f"{look.oldest_kept_at.astimezone(UTC):%Y-%m-%d %H:%M}"
        held = sum(look.on_hold.values())
        say(f"{look.rule:<22} {where:<34} {rule.act:<7} {look.due:>9,} {held:>8,} {look.kept:>10,}  {oldest}".rstrip())
        for ground, count in look.on_hold.items():
            say(f"{'':<22} on hold: {ground}, {count:,}: {_ground(space.policy, ground)}")
    say("")
    say(f"governance retention apply --plan {plan.digest}")
    return 0


def _ground(policy: Policy, name: str) -> str:
    ground = policy.retention.grounds[name]
    return f"{ground.description} ({ground.clause})"


def _apply(arguments: argparse.Namespace) -> int:
    space = workspaces.workspace(sites.load())
    ended = steps.retain(space, workspaces.by_hand("retention apply"), plan=arguments.plan)
    for rule, count in ended.items():
        if count:
            say(f"{rule:<22} {count:>9,} rows ended")
    say("everything that the plan told is done" if any(ended.values()) else "nothing was due")
    return 0
