"""What our roles may read, delete and blank at the source, as policy says it. An edge; run by the source's owner."""

from __future__ import annotations

import psycopg2
from psycopg2 import sql

from governance import erasure
from governance.datasets import Treatment
from governance.policy import Policy


def grant(owner_dsn: str, policy: Policy) -> None:
    """Give `puller` SELECT on exactly the columns that policy lets land, and `source_retention` what policy deletes and
    blanks here; idempotent.

    Read is refused by the database itself for every column whose treatment is *refuse*.
    """
    with psycopg2.connect(owner_dsn) as connection, connection.cursor() as cursor:
        erasure.grant_at_source(cursor, policy)
        role = sql.Identifier("puller")
        cursor.execute(sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA wellbe FROM {}").format(role))
        cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA wellbe TO {}").format(role))
        for table, columns in policy.source_tables.items():
            name = sql.Identifier("wellbe", table)
            cursor.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
                (f"wellbe.{table}",),
            )
            live = {row[0] for row in cursor.fetchall()}
            every = sql.SQL(", ").join(sql.Identifier(column) for column in sorted(live))
            cursor.execute(sql.SQL("REVOKE SELECT ({}) ON {} FROM {}").format(every, name, role))
            readable = [c for c, spec in columns.items() if spec.treatment is not Treatment.REFUSE and c in live]
            if readable:
                listed = sql.SQL(", ").join(map(sql.Identifier, readable))
                cursor.execute(sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(listed, name, role))
    connection.close()
