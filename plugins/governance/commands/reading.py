"""What commands read from the embedded site's database, each as the role that may."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date
from typing import Any

from psycopg2 import sql

from governance import patience
from governance.database import translated
from governance.detectors import found_in
from governance.embedded.site import Site
from governance.errors import WarehouseUnavailableError
from governance.sources import named_query

AWAY = "the databases of this checkout do not answer; `make up` starts them"


def rows(
    dsn: str, query: str | sql.Composable, values: Sequence[Any] | Mapping[str, Any] = ()
) -> list[tuple[Any, ...]]:
    """The rows of a query. Raises WarehouseUnavailableError when there is no server."""
    try:
        with (
            translated(),
            closing(patience.connect(dsn, connect_timeout=5)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, values if isinstance(values, Mapping) else tuple(values))
            return list(cursor.fetchall())
    except WarehouseUnavailableError:
        raise WarehouseUnavailableError(AWAY) from None


Query = Callable[..., list[tuple[Any, ...]]]
"""Rows of a query and its values, through an address that was lent."""


@contextmanager
def lent(
    site: Site, command: str, role: str, columns: Mapping[str, Sequence[str]], why: str | None = None
) -> Iterator[Query]:
    """Lend a role that may read personal zones to the person at the keyboard: the run log says so first (J2)."""
    from governance import door
    from governance.embedded import workspaces
    from governance.recording import code_digest, new_id
    from governance.run_log import Attempt, Batch, Digests

    space = workspaces.workspace(site)
    run = workspaces.by_hand(command)
    digests = Digests(space.policy.digest, None, code_digest())
    attempt = Attempt(new_id(), command, Batch("by hand", "all", run.run_id), run, digests, ("J2",))
    try:
        with door.lent(space, attempt, role, columns, why) as borrowed:

            def query(text: str | sql.Composable, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
                found = rows(borrowed.dsn, text, values)
                borrowed.rows += len(found)
                return found

            yield query
    except WarehouseUnavailableError:
        raise WarehouseUnavailableError(AWAY) from None


FINDINGS = {
    "quarantine.findings": ("dataset", "partition_key", "table_name", "row_key", "rule"),
    "quarantine.refusals": ("dataset", "partition_key", "table_name", "row_key", "rule"),
}
"""What a review of quarantine reads."""


def reason(text: str) -> str:
    """A reason as an argument of the command line: it stands in the run log for ever."""
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("say why, in one line of text")
    if found := found_in(text):
        raise argparse.ArgumentTypeError(
            f"it looks like personal data ({', '.join(sorted(found))}): name a request or a ticket"
        )
    return text


def day(text: str) -> date:
    """A day as an argument of the command line."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a day as YYYY-MM-DD") from None


def log_entries(
    dsn: str, *, dataset: str | None = None, partition: str | None = None, since: date | None = None
) -> list[dict[str, Any]]:
    """Entries of the run log, oldest first, as the auditor reads it."""
    chosen = {"dataset": dataset, "partition": partition, "since": since}
    return [entry for (entry,) in rows(dsn, named_query("log_entries"), chosen)]
