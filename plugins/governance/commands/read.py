"""`governance read`: rows of landing, vault or quarantine for a person, through the door that everything else uses
(J2).
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from typing import Any

from psycopg2 import sql

from governance.commands.reading import lent, reason
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.embedded.site import TAKEN_ROLES
from governance.errors import GovernanceError, InputError, SiteError, TransientError, shown

NAME = re.compile(r"[a-z][a-z0-9_]*")
ZONES = ("landing", "vault", "quarantine")


MOST_ROWS = 1_000_000
"""A read is for a person to look at."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "read", help="rows of a personal zone, as CSV, for a person with a reason; the run log says who read what"
    )
    parser.add_argument("--role", required=True, choices=TAKEN_ROLES, help="the role whose purpose needs it")
    parser.add_argument(
        "--why", required=True, metavar="REASON", type=reason, help="stands in the run log: no personal data here"
    )
    parser.add_argument("--limit", type=int, default=100, metavar="ROWS", help="at most so many rows (default: 100)")
    parser.add_argument("table", metavar="ZONE.TABLE", help="such as vault.bookings")
    parser.add_argument("columns", metavar="COLUMN", nargs="+")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    zone, _, table = arguments.table.partition(".")
    if zone not in ZONES or not table:
        raise InputError(f"{arguments.table} is no table of {', '.join(ZONES)}; name it as vault.bookings")
    if not 1 <= arguments.limit <= MOST_ROWS:
        raise InputError(f"a read has at least one row, and at most {MOST_ROWS:,}")
    if odd := sum(1 for name in (table, *arguments.columns) if not NAME.fullmatch(name)):
        # Not quoted, and before anything is written to the log: whatever it is, it is no name.
        raise InputError(f"{odd} of what was given are no names of a table or of columns")
    statement = sql.SQL("SELECT {} FROM {} LIMIT %s").format(
        sql.SQL(", ").join(map(sql.Identifier, arguments.columns)), sql.Identifier(zone, table)
    )
    columns = {arguments.table: arguments.columns}
    try:
        with lent(sites.load(), "read", arguments.role, columns, arguments.why) as query:
            found = query(statement, (arguments.limit,))
    except (SiteError, TransientError):
        raise
    except GovernanceError as error:
        raise InputError(
            f"role {arguments.role} may not read that of {arguments.table}: its purpose needs none of it, or there is "
            f"no such column or table ({error})"
        ) from None
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(arguments.columns)
    is_terminal = sys.stdout.isatty()
    writer.writerows([_printed(value, is_terminal) for value in row] for row in found)
    if is_terminal:
        say(f"{len(found)} rows; the run log has the read: `governance runs --reads`")
    return 0


def _printed(value: Any, is_terminal: bool) -> Any:
    """A value for CSV: bytes in hexadecimal digits, and on a terminal a text without what that would obey."""
    if isinstance(value, memoryview):
        return f"\\x{bytes(value).hex()}"
    return shown(value, len(value)) if is_terminal and isinstance(value, str) else value
