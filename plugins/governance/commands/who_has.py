"""`governance who-has`: which recipients hold something about a client, since when, and on what basis."""

from __future__ import annotations

import argparse
import re

from governance.commands.reading import reason
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.errors import InputError

_CLIENT = re.compile(r"(?:client )?([0-9]{1,18})")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    text = "who holds what about a client, since when, on what basis; asking is on the record"
    parser = subparsers.add_parser("who-has", help=text, description=text)
    parser.add_argument("client", metavar="CLIENT", help="the client's number at the source")
    parser.add_argument("--why", required=True, type=reason, help="stands in the run log; name nobody in it")
    parser.set_defaults(run=_who_has)


def _who_has(arguments: argparse.Namespace) -> int:
    from governance import steps
    from governance.embedded import workspaces

    number = _CLIENT.fullmatch(arguments.client)
    if number is None:
        raise InputError("that is no client's number; nothing was looked up")
    space = workspaces.workspace(sites.load())
    found = steps.who_has(space, int(number[1]), arguments.why, workspaces.by_hand("who-has"))
    for one in found:
        since = f"since {one['sent_at']:%Y-%m-%d %H:%M} UTC" if one["sent_at"] else "announced, perhaps not sent"
        until = f", told on {one['revoked_at']:%Y-%m-%d %H:%M} UTC to use it no more" if one["revoked_at"] else ""
        say(f"{one['recipient_id']}  {since}{until}")
        say(f"  booking {one['booking_reference'][:16]}, version {one['booking_version']}, {one['rows']} rows")
        say(f"  contract {one['contract_kind']} {one['contract_version']}, purpose {one['purpose']}")
        say(f"  basis {'; '.join(one['lawful_basis'])}")
        say(f"  fields {', '.join(one['fields'])}")
        say(f"  delivery {one['delivery_id']}, {'acknowledged' if one['acknowledged_at'] else 'not acknowledged'}")
    say(f"{len({one['recipient_id'] for one in found})} recipients, {len(found)} bookings in deliveries")
    return 0
