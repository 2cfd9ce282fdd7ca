"""Views of our database that are made from policy: what a zone shows of the records, and what validation may see.

Run with the migrations, as the owner.
"""

from __future__ import annotations

import psycopg2.extensions
from psycopg2 import sql

from governance.policy import Policy

STRUCTURE = ("partition_key", "row_key", "root_key")
"""Columns that every purpose needs to find and join rows: keys, no content."""

ZONE_VIEWS = {
    "landing": "SELECT partition_key, landing_no FROM control.batches WHERE dataset = {} AND state = 'landed'",
    "vault": "SELECT partition_key, settled_no FROM control.batches WHERE dataset = {}",
}
"""Which landings of a partition a zone shows."""


def generate(cursor: psycopg2.extensions.cursor, policy: Policy) -> None:
    """Per landed table a view for each zone, and one of the measured facts of one partition, which is all that
    validation may see.

    Barriers: a function in somebody's condition must not see a row that the zone does not show.
    """
    for dataset in policy.datasets.values():
        for name, table in dataset.landed.items():
            records, here = (
                sql.Identifier("records", name),
                sql.SQL(", ").join(map(sql.Identifier, ["row_id", "partition_key", *table.columns])),
            )
            for zone, shown in ZONE_VIEWS.items():
                landings = sql.SQL(shown).format(sql.Literal(dataset.dataset))
                replace_view(
                    cursor,
                    sql.Identifier(zone, name),
                    sql.SQL("SELECT {} FROM {} WHERE (partition_key, landing_no) IN ({})").format(
                        here, records, landings
                    ),
                )
            root_key = sql.Identifier("root_key" if "root_key" in table.columns else "row_key")
            facts = [c for c in table.columns_for("validation") if c not in STRUCTURE]
            replace_view(
                cursor,
                sql.Identifier("landing", f"current_{name}"),
                sql.SQL(
                    "SELECT row_id, row_key, {root_key} AS root_key{comma}{columns} FROM {records} "
                    "WHERE partition_key = current_setting('governance.partition_key')::date AND landing_no = ("
                    "SELECT landing_no FROM control.batches WHERE dataset = {dataset} AND state = 'landed' "
                    "AND partition_key = current_setting('governance.partition_key')::date)"
                ).format(
                    root_key=root_key,
                    comma=sql.SQL(", " if facts else ""),
                    columns=sql.SQL(", ").join(map(sql.Identifier, facts)),
                    records=records,
                    dataset=sql.Literal(dataset.dataset),
                ),
            )
    replace_view(
        cursor,
        sql.Identifier("quarantine", "refusals"),
        sql.SQL(
            "SELECT dataset, partition_key, table_name, row_key, rule, refused_at FROM records.refusals "
            "WHERE (dataset, partition_key, landing_no) IN "
            "(SELECT dataset, partition_key, landing_no FROM control.batches)"
        ),
    )


def replace_view(cursor: psycopg2.extensions.cursor, view: sql.Identifier, query: sql.Composable) -> None:
    """Make a view, or make it anew where it is another one.

    The same one is left alone: whoever replaces a view waits for every hop that reads it, and every hop waits for him.
    """
    create = sql.SQL("CREATE {}VIEW {} WITH (security_barrier) AS {}")
    wanted = sql.Identifier("pg_temp", "wanted")
    cursor.execute(create.format(sql.SQL("TEMPORARY "), sql.Identifier("wanted"), query))
    cursor.execute(
        sql.SQL(
            "SELECT pg_get_viewdef(there.oid) = pg_get_viewdef(wanted.oid) AND there.reloptions = wanted.reloptions "
            "FROM pg_class there, pg_class wanted WHERE there.oid = to_regclass({}) AND wanted.oid = {}::regclass"
        ).format(sql.Literal(view.as_string(cursor)), sql.Literal(wanted.as_string(cursor)))
    )
    is_same = cursor.fetchone() == (True,)
    cursor.execute(sql.SQL("DROP VIEW {}").format(wanted))
    if not is_same:
        cursor.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(view))
        cursor.execute(create.format(sql.SQL(""), view, query))
