"""Databases, roles, who may connect where. Grants inside a database belong to its migrations, which its owner runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor

from governance.embedded import workspaces
from governance.embedded.site import LOGINS, ClusterName, Site
from governance.policy import Policy
from governance.recording import new_id
from governance.run_log import Attempt, Entry, Outcome

_SUPERUSER: dict[ClusterName, str] = {"source": "source_postgres", "warehouse": "postgres"}
_OWNER = {"wellbe": "wellbe_owner", "governance": "governance_owner", "airflow": "airflow"}


_MAY_APPEND = """
SELECT CASE WHEN has_schema_privilege(to_regnamespace('audit')::oid, 'USAGE')
            THEN has_function_privilege(to_regprocedure('audit.append(text)')::oid, 'EXECUTE') END"""

_LOGIN_NOTER = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'login_noter') THEN
        CREATE ROLE login_noter NOLOGIN; -- what the owner of audit.sessions hangs on it runs as this, not as superuser
    END IF;
END $$;
"""
_NOTE = """
CREATE SCHEMA IF NOT EXISTS logins; -- the superuser's own: the owner of the tables could replace the function otherwise
ALTER SCHEMA logins OWNER TO CURRENT_USER; -- also where the owner of the database was there first
CREATE OR REPLACE FUNCTION logins.note() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_is_in_recovery() THEN
        INSERT INTO audit.sessions (process_id, database_login, application_name)
        VALUES (pg_backend_pid(), session_user, current_setting('application_name'));
    END IF;
END $$;
ALTER FUNCTION logins.note() OWNER TO login_noter;
REVOKE ALL ON FUNCTION logins.note() FROM PUBLIC;
GRANT USAGE ON SCHEMA audit TO login_noter;
GRANT INSERT ON audit.sessions TO login_noter;
"""
NOTE_LOGIN = f"{_LOGIN_NOTER}{_NOTE}"
"""What lets a database note every connection; run by its superuser, who alone can."""

# The same text as in sql/roles.sql.
_HIDE_COUNTERS = """
DO $$ BEGIN
    EXECUTE (
        SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', string_agg(oid::regprocedure::text, ', '))
        FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ concat(
            '^pg_(stat_get_(db_|xact_)?(tuples|(live|dead)_tuples|(mod|ins)_since|blocks|numscans|temp_bytes)|',
            'stat_get_(backend_)?(io|wal)$|(relation|table|indexes|total_relation|database)_size$|',
            'current_wal|control_checkpoint$)'));
    EXECUTE (
        SELECT format('REVOKE SELECT ON pg_class FROM PUBLIC; GRANT SELECT (tableoid, %s) ON pg_class TO PUBLIC',
                      string_agg(attname, ', '))
        FROM pg_attribute WHERE attrelid = 'pg_class'::regclass AND attnum > 0
            AND attname NOT IN ('reltuples', 'relpages', 'relallvisible', 'relallfrozen'));
END $$;
"""


def provision(site: Site, cluster: ClusterName, policy: Policy) -> None:
    """Make what is missing of a running cluster's databases and roles, and set all passwords to the site's.

    Idempotent. The run log says so, once there is one.
    """
    # Logins first: they are granted the roles that they may take.
    roles = [role for role, login in LOGINS.items() if login.cluster == cluster and login.user != "postgres"]
    roles.sort(key=lambda role: LOGINS[role].taken_by is not None)
    logins = [role for role in roles if not LOGINS[role].taken_by]
    databases = sorted({LOGINS[role].database for role in roles})
    admin_dsn = site.dsn(_SUPERUSER[cluster])
    with closing(psycopg2.connect(admin_dsn)) as connection:
        connection.autocommit = True  # CREATE DATABASE knows no transaction
        with connection.cursor() as c:
            for role in roles:
                _make_role(c, role, site.passwords[role] if role in logins else None)
                _lend(c, role)
            for database in databases:
                _make_database(c, database)
            for database in ("postgres", "template1"):
                _close_to_everybody(c, database)
            for role in logins:
                _run(c, "GRANT CONNECT ON DATABASE {} TO {}", LOGINS[role].database, role)
    for database in databases:
        with _as_superuser(site, admin_dsn, database, workspaces.attempt_by_hand(policy, "provision")) as c:
            c.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            _run(c, "ALTER SCHEMA public OWNER TO {}", _OWNER[database])
            # A large object belongs to no schema, so that no zone would hold it back: everybody may make one by
            # default.
            c.execute(
                "REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC"
            )
            if database == "governance":
                # To everybody who may connect Postgres says, exactly, how many rows a table was given and has: what
                # noise hides, and what is in zones that they cannot read.
                c.execute(_HIDE_COUNTERS)


def note_logins(site: Site, policy: Policy) -> None:
    """Let our database note every connection (audit.sessions); only a superuser can make it do so.

    A connection that cannot be noted is refused: it might read, and nobody would know.
    """
    attempt = workspaces.attempt_by_hand(policy, "note_logins")
    with _as_superuser(site, site.dsn("postgres"), "governance", attempt) as c:
        c.execute(NOTE_LOGIN)
        c.execute("SELECT 1 FROM pg_event_trigger WHERE evtname = 'note_login'")
        if not c.fetchone():
            c.execute("CREATE EVENT TRIGGER note_login ON login EXECUTE FUNCTION logins.note()")
        c.execute("ALTER EVENT TRIGGER note_login ENABLE ALWAYS")


def note_restore(site: Site, policy: Policy) -> None:
    """Say in our database that there may have been releases of which it knows nothing (`Publication.may_be_known`)."""
    with _as_superuser(site, site.dsn("postgres"), "governance", workspaces.attempt_by_hand(policy, "provision")) as c:
        # A backup of an earlier version has no such column; `make up` migrates after this.
        c.execute("ALTER TABLE control.in_force ADD COLUMN IF NOT EXISTS restored_at timestamptz")
        c.execute("UPDATE control.in_force SET restored_at = clock_timestamp()")


@contextmanager
def _as_superuser(site: Site, dsn: str, database: str, attempt: Attempt) -> Iterator[cursor]:
    """A transaction of the superuser's, which belongs to an entry of the run log where there is one.

    The entries are appended by the recorder: the superuser runs no function of somebody else's, who could have
    written anything into it.
    """
    with ExitStack() as stack:
        if database == "governance":
            stack.enter_context(on_record(site, attempt))
        named = psycopg2.connect(dsn, dbname=database, application_name=attempt.attempt_id)
        with closing(named) as connection, connection, connection.cursor() as c:
            yield c


@contextmanager
def on_record(site: Site, attempt: Attempt) -> Iterator[None]:
    """What the superuser does within, between two entries of the run log, where there is one."""
    has_log = _appended(site, attempt.intent(entry_id=new_id(), at=datetime.now(UTC)))
    yield
    if has_log:
        _appended(site, attempt.outcome(Outcome.PASSED, entry_id=new_id(), at=datetime.now(UTC)))


def make_login_noter(site: Site) -> None:
    """The role that notes logins, before a dump is restored that has its function."""
    with closing(psycopg2.connect(site.dsn("postgres"))) as connection, connection, connection.cursor() as c:
        c.execute(_LOGIN_NOTER)


def _appended(site: Site, entry: Entry) -> bool:
    """Whether this site has a run log already, to which the entry is appended then."""
    # Before the recorder was a login of its own, `pipeline` did this: a site of then has granted it so until it is
    # migrated.
    return any(_appended_as(site, login, entry) for login in ("recorder", "pipeline"))


def _appended_as(site: Site, login: str, entry: Entry) -> bool:
    try:
        opened = psycopg2.connect(site.dsn(login))
    except psycopg2.OperationalError:  # a site that is made just now: it may not log in yet
        return False
    with closing(opened) as connection, connection, connection.cursor() as c:
        c.execute(_MAY_APPEND)
        may_append = c.fetchone() == (True,)
        if may_append:
            c.execute("SELECT audit.append(%s)", (entry.canonical(),))
        return may_append


def _make_role(c: cursor, role: str, password: str | None) -> None:
    c.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
    if not c.fetchone():
        _run(c, "CREATE ROLE {}", role)
    options = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
    login = "LOGIN " if password else "NOLOGIN "
    c.execute(sql.SQL("ALTER ROLE {} " + login + options).format(sql.Identifier(role), sql.Literal(password)))


def _lend(c: cursor, role: str) -> None:
    """Let the login that takes a role do so; not inherited, so that it has none of its rights until then."""
    if login := LOGINS[role].taken_by:
        _run(c, "GRANT {} TO {} WITH INHERIT FALSE, SET TRUE", role, login)


def _make_database(c: cursor, database: str) -> None:
    c.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
    if not c.fetchone():
        _run(c, "CREATE DATABASE {} OWNER {}", database, _OWNER[database])
    _close_to_everybody(c, database)


def _close_to_everybody(c: cursor, database: str) -> None:
    # Postgres lets PUBLIC connect and make temporary tables unless told otherwise.
    _run(c, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)


def _run(c: cursor, statement: str, *names: str) -> None:
    c.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))
