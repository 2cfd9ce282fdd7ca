"""`governance cards`: holds of cards for intrusion or fraud (K2), placed before a card's deadline, with an end."""

from __future__ import annotations

import argparse
from typing import get_args

from governance import steps
from governance.commands.reading import day, lent, reason
from governance.detectors import is_luhn_valid
from governance.embedded import site as sites
from governance.embedded import workspaces
from governance.embedded.cli import say
from governance.measures import SHORTEST
from governance.sources import named_query
from governance.steps.holding import Reason

HOLDS = {
    "vault.card_holds": (
        "hold_id", "card_key", "reason", "case_reference", "placed_by", "placed_at", "expires_at", "released_at",
        "number_encrypted",
    )
}  # fmt: skip


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("cards", help="holds of cards for intrusion or fraud: place, list, release")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    hold = actions.add_parser("hold", help="hold a card, before its deadline; keeps a keyed token of its number")
    hold.add_argument("card", metavar="CARD_ID", type=_card, help="the id by which the source knows the card")
    hold.add_argument("--reason", required=True, choices=get_args(Reason))
    hold.add_argument("--case", required=True, metavar="REF", type=reason, help="stands in the run log")
    hold.add_argument("--until", required=True, metavar="YYYY-MM-DD", type=day, help="the hold's last day")
    hold.add_argument(
        "--number-is-evidence",
        action="store_true",
        help="keep the number too, where policy's hold_keeps_number says so",
    )
    hold.set_defaults(run=_hold)
    holds = actions.add_parser("holds", help="every hold: card, reason, case, owner, end")
    holds.set_defaults(run=_holds)
    release = actions.add_parser("release", help="say that a hold is over; the next run of `retention` ends it")
    release.add_argument("hold", metavar="HOLD_ID", help="as `cards holds` prints it")
    release.add_argument("--why", required=True, metavar="REASON", type=reason, help="stands in the run log")
    release.set_defaults(run=_release)


def _card(text: str) -> str:
    """The id of a card as an argument of the command line."""
    is_id = text.isascii() and text.isdigit() and len(text) <= len(str(2**63))
    if not is_id or (len(text) >= SHORTEST and is_luhn_valid(text)):
        raise argparse.ArgumentTypeError("the id of a card is a number of the source; never the card's own number")
    return str(int(text))


def _hold(arguments: argparse.Namespace) -> int:
    request = steps.HoldRequest(
        arguments.card, arguments.reason, arguments.case, arguments.until, arguments.number_is_evidence
    )
    hold = steps.place_hold(workspaces.workspace(sites.load()), request, workspaces.by_hand("cards hold"))
    since = "" if hold.is_new else ", as it was before: nothing was added"
    say(f"held until the end of {arguments.until:%Y-%m-%d}{since}: hold {hold.hold_id}")
    return 0


def _holds(arguments: argparse.Namespace) -> int:
    with lent(sites.load(), "cards holds", "screener", HOLDS) as query:
        found = query(named_query("cards/list_holds"))
    say(f"{'HOLD':<36} {'CARD':>12}  {'REASON':<9} {'CASE':<20} {'OWNER':<12} {'EXPIRES (UTC)':<17} STANDS")
    for hold, card, why, case, owner, _, expires_at, released_at, has_number in found:
        stands = "released" if released_at else "with its number" if has_number else "token alone"
        say(f"{hold:<36} {card:>12}  {why:<9} {case:<20} {owner:<12} {expires_at:%Y-%m-%d %H:%M}  {stands}")
    if not found:
        say("nothing is held")
    return 0


def _release(arguments: argparse.Namespace) -> int:
    space = workspaces.workspace(sites.load())
    steps.release_hold(space, arguments.hold, arguments.why, workspaces.by_hand("cards release"))
    say("released; the next run of `retention` deletes the hold and destroys its key")
    return 0
