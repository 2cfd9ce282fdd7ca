"""What analysts read: a stable view per published table, a dictionary of it, and comments, all made from policy.

Run with the migrations, as the owner. A published table that a migration made as `analytics.<name>` becomes
`analytics.<name>_rows`, and the view takes its name. What would break somebody's query is refused: see
`analytics_contract`.
"""

from __future__ import annotations

import psycopg2.extensions
from psycopg2 import sql

from governance import zone_views
from governance.analytics_contract import broken, kept_and_added
from governance.errors import PolicyError
from governance.policy import Policy
from governance.published_tables import ZONE, PublishedTable, of_policy
from governance.sources import named_query

Cursor = psycopg2.extensions.cursor
ABOUT = ("releases", "release_settings", "release_notes", "release_bias", "privacy_budget")
"""Tables of the zone that tell about releases; analysts read them as they are."""
DICTIONARY = "data_dictionary"


def generate(cursor: Cursor, policy: Policy) -> None:
    """Views, dictionary, comments. Raises PolicyError when a published column would be removed, renamed or retyped."""
    for table in of_policy(policy):
        _set_rows_apart(cursor, table)
        live = columns(cursor, table.name)
        require(table, live, "nothing was changed")
        _require_rows(cursor, table)
        _show(cursor, table, list(live))
    zone_views.replace_view(cursor, sql.Identifier(ZONE, DICTIONARY), _dictionary(cursor, policy))
    _comment(cursor, policy)


def columns(cursor: Cursor, name: str) -> dict[str, str]:
    """Columns of a table or view of the zone with their types, in their order; none when it is not there."""
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f"{ZONE}.{name}",),
    )
    return dict(cursor.fetchall())


def require(table: PublishedTable, live: dict[str, str], stands: str) -> None:
    """Raise PolicyError when a published table would no longer be what analysts know; `stands`: what was not done."""
    problems = list(broken(table.name, live, {name: column.type for name, column in table.columns.items()}))
    if problems:
        raise PolicyError(
            f"dataset {table.dataset}: {'; '.join(problems)}: queries of analysts would break (E1); {stands}; keep the "
            f"column in policies/{table.dataset}.yaml (NULL from now on, if need be), or publish what is new as a "
            "column or a table of another name"
        )


def _set_rows_apart(cursor: Cursor, table: PublishedTable) -> None:
    """Let the view have the name of the table that holds the rows."""
    cursor.execute("SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", (f"{ZONE}.{table.name}",))
    if cursor.fetchone() == ("r",):
        rename = sql.SQL("ALTER TABLE {} RENAME TO {}")
        cursor.execute(rename.format(sql.Identifier(ZONE, table.name), sql.Identifier(table.rows)))


def _require_rows(cursor: Cursor, table: PublishedTable) -> None:
    held = columns(cursor, table.rows)
    lacking = [name for name, column in table.columns.items() if held.get(name) != column.type]
    if lacking:
        raise PolicyError(
            f"dataset {table.dataset}: policy publishes {', '.join(lacking)}, which {ZONE}.{table.rows} does not have "
            "with that type; nothing was changed; add a migration that adds it"
        )


def _show(cursor: Cursor, table: PublishedTable, live: list[str]) -> None:
    """Make the view, or add to it; one that is as it should be is left alone, and nobody waits for it."""
    wanted = kept_and_added(live, list(table.columns))
    if live != wanted:
        cursor.execute(
            sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT {} FROM {}").format(
                sql.Identifier(ZONE, table.name),
                sql.SQL(", ").join(map(sql.Identifier, wanted)),
                sql.Identifier(ZONE, table.rows),
            )
        )
    if not live:  # releases from before since when columns are published was noted
        before = sql.SQL(named_query("analytics/columns_before")).format(rows=sql.Identifier(ZONE, table.rows))
        cursor.execute(before, (table.name, list(table.columns), table.dataset))


def _dictionary(cursor: Cursor, policy: Policy) -> sql.Composable:
    """The query of the dictionary: what policy says of each column, joined with the catalog and the first release."""
    said = [
        (table.name, name, column.kind.replace("_", "-"), column.level, list(column.values) or None)
        for table in of_policy(policy)
        for name, column in table.columns.items()
    ]
    rows = sql.SQL(", ").join(sql.SQL("({}, {}, {}, {}, {}::text[])").format(*map(sql.Literal, each)) for each in said)
    shown = [*(table.name for table in of_policy(policy)), *ABOUT]
    return sql.SQL(named_query("analytics/data_dictionary")).format(
        said=rows, shown=sql.SQL(", ").join(map(sql.Literal, shown))
    )


def _comment(cursor: Cursor, policy: Policy) -> None:
    for table in of_policy(policy):
        for kind, name in (("VIEW", table.name), ("TABLE", table.rows)):
            about = sql.SQL("COMMENT ON {} {} IS {}")
            here = sql.Identifier(ZONE, name)
            cursor.execute(about.format(sql.SQL(kind), here, sql.Literal(table.description)))
            for column, spec in table.columns.items():
                _comment_column(cursor, name, column, f"{spec.description} ({spec.kind.replace('_', '-')})")
    cursor.execute(named_query("analytics/comments_of_dictionary"))


def _comment_column(cursor: Cursor, table: str, column: str, text: str) -> None:
    cursor.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(sql.Identifier(ZONE, table, column), sql.Literal(text)))
