"""The embedded source's schema, in numbered changes; a real source brings its own. An edge."""

from __future__ import annotations

from importlib import resources

import psycopg2

from governance.sources import named_query


def migrate(owner_dsn: str) -> None:
    """Create schema `wellbe` in an empty source, and bring an older one up to date."""
    with psycopg2.connect(owner_dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('wellbe.bookings') IS NOT NULL, to_regclass('sample.changes') IS NOT NULL")
        exists, noted = cursor.fetchone() or (False, False)
        if not exists:
            cursor.execute(named_query("source/0001_wellbe"))
        if not noted:
            cursor.execute("CREATE TABLE sample.changes (name text PRIMARY KEY)")
        cursor.execute("SELECT name FROM sample.changes")
        done = {name for (name,) in cursor.fetchall()}
        for name in changes():
            if name not in done:
                cursor.execute(named_query(f"source/{name}"))
                cursor.execute("INSERT INTO sample.changes (name) VALUES (%s)", (name,))
    connection.close()


def changes() -> list[str]:
    """Names of the numbered changes of the embedded source since its first schema, in order."""
    names = (item.name for item in resources.files("governance").joinpath("sql", "source").iterdir())
    return sorted(name.removesuffix(".sql") for name in names)[1:]
