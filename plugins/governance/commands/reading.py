"""What commands read from the embedded site's database, each as the role that may."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from typing import Any

import psycopg2

from governance.database import translated
from governance.errors import SiteError, WarehouseUnavailableError
from governance.sources import named_query


def rows(dsn: str, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of a query. Raises SiteError when there is no server."""
    try:
        with (
            translated(),
            closing(psycopg2.connect(dsn, connect_timeout=5)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, tuple(values))
            return list(cursor.fetchall())
    except WarehouseUnavailableError:
        raise SiteError("the databases of this checkout do not answer; `make up` starts them") from None


def day(text: str) -> date:
    """A day as an argument of the command line."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a day as YYYY-MM-DD") from None


def log_entries(dsn: str) -> list[dict[str, Any]]:
    """Every entry of the run log, oldest first, as the auditor reads it."""
    return [entry for (entry,) in rows(dsn, named_query("log_entries"))]
