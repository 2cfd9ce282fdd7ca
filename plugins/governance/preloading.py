"""What is imported once by the process that forks tasks, so that all of them share it in memory."""

from __future__ import annotations

HEAVY = (
    "great_expectations",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "adbc_driver_postgresql.dbapi",
    "pgpq",
    "governance.steps",  # and with it the digest of the code, which entries name
    "governance.pulling",
    "governance.anonymisation.releases",
)
"""Modules that take seconds to import; together they are most of what a task needs."""
