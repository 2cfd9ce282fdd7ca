"""What Airflow's own tables say of runs, read as a login that may read that and nothing else. An edge.

The tables are Airflow's, and may change with its version: everything that is read of them is named in `READABLE` and in
`sql/airflow/`, and a test runs it on the installed version.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import psycopg2
from psycopg2 import sql

from governance import patience
from governance.accounting import Action, Key, Try
from governance.database import translated
from governance.sources import named_query

LABEL = "Airflow's metadata"
ROLE = "observer"
_OF_TRIES = (
    "dag_id", "run_id", "task_id", "map_index", "try_number", "state", "start_date", "end_date", "updated_at",
)  # fmt: skip
READABLE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "task_instance": _OF_TRIES,
        "task_instance_history": _OF_TRIES,
        "dag_run": ("dag_id", "run_id", "run_type", "state", "partition_key", "triggering_user_name"),
        "log": ("id", "dttm", "event", "owner", "dag_id", "run_id", "task_id", "map_index", "try_number", "extra"),
    }
)
"""Table -> columns that the observer may read: no connection, no variable, no result, no configuration of a run."""


@dataclass(frozen=True)
class Records:
    """What Airflow has on its tables at one moment."""

    ended: tuple[Try, ...]
    unfinished: frozenset[Key]
    actions: tuple[Action, ...]
    events: tuple[int, int] | None
    """Numbers of the oldest and the newest event in Airflow's event log; None when it is empty."""


def read(dsn: str, since: datetime) -> Records:
    """Tries that ended and actions since an instant, and tries that are unfinished now, of one snapshot.

    Raises WarehouseUnavailableError.
    """
    with translated(LABEL), closing(patience.connect(dsn)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection, connection.cursor() as cursor:

            def rows(name: str) -> list[tuple[Any, ...]]:
                cursor.execute(named_query(f"airflow/{name}"), {"since": since})
                return list(cursor.fetchall())

            ((oldest, newest),) = rows("kept_events")
            return Records(
                tuple(Try(Key(*row[:5]), *row[5:]) for row in rows("ended_tries")),
                frozenset(Key(*row) for row in rows("unfinished_tries")),
                tuple(Action(*row) for row in rows("actions")),
                None if newest is None else (oldest, newest),
            )


def grant(owner_dsn: str) -> None:
    """Let the observer read what is in `READABLE`, and nothing else; run by the owner, after Airflow's migrations."""
    with closing(psycopg2.connect(owner_dsn)) as connection, connection, connection.cursor() as cursor:
        role = sql.Identifier(ROLE)
        cursor.execute(sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(role))
        cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
        for table, columns in READABLE.items():
            listed = sql.SQL(", ").join(map(sql.Identifier, columns))
            cursor.execute(sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(listed, sql.Identifier(table), role))
