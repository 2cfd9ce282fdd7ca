"""Our database's schema: numbered migrations, then views and grants generated from policy.

Run by `make up` and `make demo` as the owner; idempotent. A migration never changes once it has been released.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from governance import analytics_views, erasure, zone_views
from governance.database import translated
from governance.errors import ContendedError, GovernanceError, OutdatedError
from governance.policy import Policy
from governance.published_tables import of_policy, rows_of
from governance.retention import grant as grant_retention
from governance.run_log import Entry
from governance.warehouse import Warehouse

MIGRATION = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

# What a role may do besides the columns that policy grants it in the vault: objects (functions with ()) -> privileges.
RIGHTS: dict[str, dict[str, str]] = {
    "loader": {
        "control.landings": "SELECT, INSERT",
        "control.in_force": "SELECT",
        "control.shards": "SELECT, INSERT",
        "records.*": "INSERT",
        "records.refusals": "INSERT",
        "control.first_captures": "SELECT (card_key, captured_at)",
        "landing.complete(bigint, text)": "EXECUTE",
        "landing.note_captures(text[], timestamp with time zone[])": "EXECUTE",
        "audit.append(text)": "EXECUTE",
    },
    "validator": {
        "control.batches": "SELECT, UPDATE",
        "control.landings": "SELECT",
        "control.purged": "SELECT",
        "control.in_force": "SELECT",
        "landing.settle(text, date, text)": "EXECUTE",
        "quarantine.findings": "INSERT, DELETE, SELECT (dataset, partition_key)",
        "audit.append(text)": "EXECUTE",
    },
    "publisher": {
        "control.batches": "SELECT",
        "control.landings": "SELECT",
        "control.purged": "SELECT",
        "control.in_force": "SELECT",
        "vault.release_ledger": "SELECT, INSERT",
        "vault.release_people": "SELECT, INSERT, DELETE",
        "analytics.releases": "SELECT, INSERT",
        "analytics.*_rows": "SELECT, INSERT",
        "analytics.privacy_budget": "SELECT, INSERT",
        "audit.release_measures, audit.release_attacks": "SELECT, INSERT",
        "audit.exact_counts": "INSERT",
        "analytics.release_settings": "SELECT, INSERT",
        "analytics.release_notes": "INSERT",
        "analytics.release_bias": "INSERT",
        "analytics.column_history": "SELECT, INSERT",
        "audit.append(text)": "EXECUTE",
    },
    "retainer": {
        "control.purged": "INSERT",
        "control.first_captures": "SELECT (card_key, captured_at, is_at_source, met_at), UPDATE (is_at_source)",
        "control.batches": "SELECT (dataset, partition_key, state, settled_no)",
        "records.booking_travellers": "SELECT (age_at_booking_years)",
        "quarantine.reviews": "SELECT",
        "quarantine.findings": "SELECT (dataset, partition_key, table_name, row_key, root_key, clause, rule)",
        "quarantine.erasures": "SELECT, INSERT, UPDATE (travellers, versions, clients, booked_at), DELETE",
        "sharing.deliveries": "SELECT (delivery_id, recipient_id, sent_at, given_up_at)",
        "sharing.delivered_rows": "SELECT (delivery_id, booking_id, booking_reference, revoked_at)",
        "sharing.obligations": "SELECT (delivery_id, booking_reference, reason), INSERT",
        "analytics.releases": "SELECT (dataset, partition_key)",
        "audit.append(text)": "EXECUTE",
    },
    "steward": {
        "quarantine.findings, quarantine.rows, quarantine.refusals": "SELECT",
    },
    "pipeline": {},
    "recorder": {
        "audit.append(text)": "EXECUTE",
        "audit.keep_text(text, text)": "EXECUTE",
        "audit.missing_texts(text[])": "EXECUTE",
    },
    "coordinator": {
        "control.batches": "SELECT",
        "analytics.releases": "SELECT",
        "sharing.obligations": "SELECT",
        "sharing.deliveries": (
            "SELECT (delivery_id, recipient_id, kind, contract_kind, sent_at, acknowledged_at, given_up_at)"
        ),
    },
    "sharer": {
        "control.in_force": "SELECT",
        "sharing.deliveries, sharing.delivered_rows": "SELECT, INSERT, UPDATE, DELETE",
        "sharing.obligations": "SELECT, INSERT, UPDATE",
        "audit.append(text)": "EXECUTE",
    },
    "profiler": {"vault.saved_cards": "SELECT, INSERT, DELETE", "audit.append(text)": "EXECUTE"},
    "screener": {"vault.card_holds": "SELECT, INSERT, UPDATE, DELETE", "audit.append(text)": "EXECUTE"},
    "custodian": {
        "audit.run_log": "SELECT",
        "audit.append(text)": "EXECUTE",
        "audit.keep_text(text, text)": "EXECUTE",
        "audit.missing_texts(text[])": "EXECUTE",
    },
    "sequencer": {
        "audit.run_log": "SELECT",
        "audit.pending": "SELECT, DELETE",
        "audit.leaves": "SELECT, INSERT",
        "audit.tiles": "SELECT, INSERT, UPDATE",
        "audit.checkpoints": "SELECT, INSERT",
        "audit.sessions": "SELECT",
        "audit.keep_text(text, text)": "EXECUTE",
        "audit.missing_texts(text[])": "EXECUTE",
        "audit.leaf(audit.run_log)": "EXECUTE",
        "audit.append(text)": "EXECUTE",
    },
    "analyst": {f"analytics.{table}": "SELECT" for table in (*analytics_views.ABOUT, analytics_views.DICTIONARY, "*")},
    "forwarder": {
        "control.in_force": "SELECT",
        "analytics.releases": "SELECT",
        "analytics.privacy_budget": "SELECT",
        "analytics.release_settings": "SELECT",
        "analytics.*": "SELECT",
        "sharing.release_deliveries": "SELECT, INSERT",
        "audit.append(text)": "EXECUTE",
    },
    "auditor": {
        "audit.run_log": "SELECT",
        "audit.pending": "SELECT",
        "audit.leaves": "SELECT",
        "audit.tiles": "SELECT",
        "audit.checkpoints": "SELECT",
        "audit.texts": "SELECT",
        "audit.sessions": "SELECT",
        "audit.release_measures, audit.exact_counts, audit.visits_daily, audit.release_attacks": "SELECT",
        "audit.leaf(audit.run_log)": "EXECUTE",
    },
}

PATIENCE_SECONDS = 30
"""While a change of the schema waits for a hop, whatever comes after it waits too."""


def migrate(owner_dsn: str, policy: Policy, entry: Entry | None = None) -> list[str]:
    """Bring our database to the newest version, then regenerate views, grants and comments from policy.

    `entry` says so in the run log, in the same transaction. Returns the names of the migrations applied. Raises
    GovernanceError when the database is newer than this code, ContendedError when a run is at work on what has to be
    changed; nothing is changed then.
    """
    with translated():
        connection = psycopg2.connect(owner_dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{PATIENCE_SECONDS}s",))
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('governance migrations', 0))")
                applied = _apply_migrations(cursor)
                zone_views.generate(cursor, policy)
                analytics_views.generate(cursor, policy)
                _generate_grants(cursor, policy)
                cursor.execute(
                    "INSERT INTO control.in_force (shape) VALUES (%s) ON CONFLICT (only_row) DO UPDATE "
                    "SET shape = EXCLUDED.shape, applied_at = clock_timestamp() "
                    "WHERE in_force.shape <> EXCLUDED.shape",
                    (shape(policy),),
                )
                if entry:
                    cursor.execute("SELECT audit.append(%s)", (entry.canonical(),))
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
            raise ContendedError(
                "the schema of our database: a run is at work on what has to be changed; nothing was changed; wait for "
                "its end, or pause the DAGs, and repeat the command"
            ) from None
        finally:
            connection.close()
    return applied


def shape(policy: Policy) -> str:
    """Digest of what a migrated database is made from: the migrations' names, and the policy's part of it."""
    return hashlib.sha256("\n".join([*(name for name, _ in migrations()), policy.access]).encode()).hexdigest()


def require(connection: Warehouse, policy: Policy, label: str) -> None:
    """Raise OutdatedError unless the database was last migrated by this version, with this policy."""
    if connection.shape() != shape(policy):
        raise OutdatedError(
            f"{label}: our database was made for another version of this code, or for other datasets, purposes or "
            f"roles of its policy; nothing was done; run `make up` (in production the compose file's airflow-init), "
            f"the task retries"
        )


def is_empty(dsn: str) -> bool:
    """Whether nothing was ever pulled into this database, so that no key can have been used."""
    with translated():
        connection = psycopg2.connect(dsn)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT NOT EXISTS (SELECT FROM control.batches)")
                return bool((cursor.fetchone() or (False,))[0])
        finally:
            connection.close()


@cache
def migrations() -> list[tuple[str, str]]:
    """Every migration as (name, SQL), in order."""
    folder = resources.files("governance").joinpath("sql", "migrations")
    names = sorted(item.name for item in folder.iterdir() if MIGRATION.fullmatch(item.name))
    return [(name, folder.joinpath(name).read_text("utf-8")) for name in names]


def _apply_migrations(cursor: psycopg2.extensions.cursor) -> list[str]:
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS public.schema_migrations "
        "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    cursor.execute("SELECT name FROM public.schema_migrations")
    done = {row[0] for row in cursor.fetchall()}
    known = migrations()
    unknown = sorted(done - {name for name, _ in known})
    if unknown:
        raise GovernanceError(
            f"the database has migrations that this code does not know: {', '.join(unknown)}; update the code"
        )
    applied = []
    for name, text in known:
        if name not in done:
            cursor.execute(text)
            cursor.execute("INSERT INTO public.schema_migrations (name) VALUES (%s)", (name,))
            applied.append(name)
    return applied


def _generate_grants(cursor: psycopg2.extensions.cursor, policy: Policy) -> None:
    for schema in policy.zones:
        cursor.execute(sql.SQL("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {} FROM PUBLIC").format(sql.Identifier(schema)))
    for name, role in policy.roles.items():
        if role.cluster == "warehouse":
            _revoke_everything(cursor, policy, name)
            _grant_role(cursor, policy, name, role.can_use)
    _grant_retainer(cursor, policy)
    for dataset in policy.datasets.values():
        for table in dataset.landed:
            view = sql.Identifier("landing", f"current_{table}")
            cursor.execute(sql.SQL("GRANT SELECT ON {} TO validator").format(view))


def _grant_retainer(cursor: psycopg2.extensions.cursor, policy: Policy) -> None:
    for rule in policy.retention.of("warehouse").values():
        if rule.act != "keep":
            grant_retention(cursor, rule, "retainer")
    for place in erasure.places(policy, "warehouse").values():
        erasure.grant(cursor, place, "retainer")


def _grant_role(cursor: psycopg2.extensions.cursor, policy: Policy, role: str, zones: tuple[str, ...]) -> None:
    for schema in zones:
        cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), sql.Identifier(role)))
    for target, privileges in RIGHTS[role].items():
        _grant(cursor, policy, role, target, privileges)
    if "vault" in zones:
        _grant_vault_columns(cursor, policy, role)


def _revoke_everything(cursor: psycopg2.extensions.cursor, policy: Policy, role: str) -> None:
    """Of tables, and through them of columns, so that what policy no longer grants is gone."""
    for schema in policy.zones:
        for statement in (
            "REVOKE ALL ON ALL TABLES IN SCHEMA {} FROM {}",
            "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {} FROM {}",
            "REVOKE ALL ON SCHEMA {} FROM {}",
        ):
            cursor.execute(sql.SQL(statement).format(sql.Identifier(schema), sql.Identifier(role)))


def _grant(cursor: psycopg2.extensions.cursor, policy: Policy, role: str, target: str, privileges: str) -> None:
    schema, _, name = target.partition(".")
    if name.startswith("*"):
        for table in _every(policy, schema, name):
            _grant(cursor, policy, role, f"{schema}.{table}", privileges)
        return
    kind = "FUNCTION " if target.endswith(")") else ""
    # Targets and privileges are the literals of RIGHTS above, never input.
    cursor.execute(
        sql.SQL("GRANT {} ON {}{} TO {}").format(
            sql.SQL(privileges), sql.SQL(kind), sql.SQL(target), sql.Identifier(role)
        )
    )


def _every(policy: Policy, schema: str, name: str) -> list[str]:
    """The tables that a star stands for: of a zone of landed rows, or of releases, as shown or (`*_rows`) as kept."""
    if schema != "analytics":
        return [table for dataset in policy.datasets.values() for table in dataset.landed]
    return [table.name if name == "*" else rows_of(table.name) for table in of_policy(policy)]


def _grant_vault_columns(cursor: psycopg2.extensions.cursor, policy: Policy, role: str) -> None:
    """SELECT on the columns of the role's purposes, and on the keys of the tables that have any."""
    by_table: dict[str, set[str]] = {}
    for table, column in policy.readable_columns(role):
        by_table.setdefault(table, {"partition_key"}).add(column)
    for table, columns in by_table.items():
        listed = sql.SQL(", ").join(map(sql.Identifier, sorted(columns)))
        cursor.execute(
            sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(
                listed, sql.Identifier("vault", table), sql.Identifier(role)
            )
        )
