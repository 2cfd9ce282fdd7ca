"""The schema comes by numbered migrations, keeps the rows that are there, and is what policy says that it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

import builders
from builders import DAY
from governance import policy as policies
from governance import published_tables, schema, source_grants, source_versions, sources
from governance.embedded.site import Site
from governance.errors import GovernanceError, WarehouseUnavailableError
from governance.run_log import Attempt, Batch, Digests
from governance.sources import named_query

pytestmark = pytest.mark.pg

POLICY = policies.load()
LANDED = {name: table for dataset in POLICY.datasets.values() for name, table in dataset.landed.items()}


@pytest.fixture
def database(site: Site) -> Iterator[str]:
    """The owner's DSN of an empty database in our cluster."""
    with closing(psycopg2.connect(site.dsn("postgres"))) as connection:
        connection.autocommit = True  # CREATE DATABASE knows no transaction
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE migrating OWNER governance_owner")
            cursor.execute("GRANT CONNECT ON DATABASE migrating TO analyst, migrator")
            yield site.dsn("governance_owner").replace("/governance?", "/migrating?")
            cursor.execute("DROP DATABASE migrating")


def run(dsn: str, query: str, *values: Any) -> list[tuple[object, ...]]:
    named = values[0] if values and isinstance(values[0], dict) else values or None
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query, named)
        return cursor.fetchall() if cursor.description else []


def apply_up_to(dsn: str, count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first migrations alone, as an earlier version of this project left them."""
    known = schema.migrations()[:count]
    with monkeypatch.context() as patch, closing(psycopg2.connect(dsn)) as connection, connection:
        patch.setattr(schema, "migrations", lambda: known)
        with connection.cursor() as cursor:
            return schema._apply_migrations(cursor)


NOISY = [name for name, _ in schema.migrations()].index("0017_noisy_counts_of_visits.sql") + 1
"""The version since which visits are published with noise."""

IN_ZONES = """
    INSERT INTO control.batches (dataset, partition_key, state, run_id, pull_attempt, source_counts, landed_counts)
        VALUES ('bookings', '2026-03-10', 'settled', 'r', 'a', '{"bookings": 1}', '{"bookings": 1}'),
               ('bookings', '2026-03-11', 'landed', 'r', 'b', '{"bookings": 1}', '{"bookings": 1}'),
               ('visits', '2026-03-10', 'landed', 'r', 'c', '{"page_views": 1}', '{"page_views": 1}');
    INSERT INTO landing.bookings (partition_key, row_key, notes_encrypted) VALUES ('2026-03-11', '2/1', 'x');
    INSERT INTO vault.bookings (row_id, partition_key, row_key, status) VALUES (1, '2026-03-10', '1/1', 'booked');
    INSERT INTO vault.page_views (row_id, partition_key, row_key) VALUES (1, '2026-03-10', '7');
    INSERT INTO landing.page_views (partition_key, row_key) VALUES ('2026-03-10', '7');
    INSERT INTO quarantine.refusals VALUES ('bookings', '2026-03-10', 'payment_cards', '9', 'K1.card_age.future');
"""
"""Rows of the versions that had a table of their own in each zone."""

IN_RECORDS = """
    INSERT INTO control.landings (landing_id, dataset, partition_key, shards_count)
        VALUES ('a', 'bookings', '2026-03-10', 1), ('b', 'bookings', '2026-03-11', 1), ('c', 'visits', '2026-03-10', 2);
    INSERT INTO control.shards VALUES (3, 0, '{"page_views": 1}', '{"page_views": 1}', '{}', '{}');
    INSERT INTO control.batches
        (dataset, partition_key, state, run_id, pull_attempt, source_counts, landed_counts, landing_no, settled_no)
        VALUES ('bookings', '2026-03-10', 'settled', 'r', 'a', '{"bookings": 1}', '{"bookings": 1}', 1, 1),
               ('bookings', '2026-03-11', 'landed', 'r', 'b', '{"bookings": 1}', '{"bookings": 1}', 2, NULL),
               ('visits', '2026-03-10', 'landed', 'r', 'c', '{"page_views": 1}', '{"page_views": 1}', 3, NULL);
    INSERT INTO records.bookings (partition_key, landing_no, row_key, notes_encrypted) VALUES
        ('2026-03-10', 1, '1/1', 'x'), ('2026-03-11', 2, '2/1', 'x');
    INSERT INTO records.page_views (partition_key, landing_no, row_key) VALUES ('2026-03-10', 3, '7');
    INSERT INTO records.refusals (dataset, partition_key, table_name, row_key, rule, landing_no)
        VALUES ('bookings', '2026-03-10', 'payment_cards', '9', 'K1.card_age.future', 1);
"""
"""Rows since each stands once, in the records."""


def filled(dsn: str, version: int) -> dict[str, list[tuple[Any, ...]]]:
    """Put a row into each table of an early version; returns what is there."""
    run(dsn, IN_ZONES if version < 7 else IN_RECORDS)
    run(
        dsn,
        """
        INSERT INTO vault.release_ledger VALUES ('bookings', '1/1', '2026-03-10', '2026-03-10', 'published'),
            ('visits', '7', '2026-03-10', '2026-03-10', 'suppressed');
        INSERT INTO quarantine.findings VALUES
            ('bookings', '2026-03-10', 'bookings', 3, '3/1', '3/1', 'r', 'A1', 'warning');
        INSERT INTO quarantine.rows (dataset, partition_key, row_id, row_key, rules, clauses, run_id)
            VALUES ('bookings', '2026-03-10', 3, '3/1', '{r}', '{A1}', 'r');
        INSERT INTO analytics.releases (dataset, partition_key, rows, suppressed, policy_digest)
            VALUES ('bookings', '2026-03-10', 1, 0, 'p');
        INSERT INTO sharing.deliveries (delivery_id, recipient_id) VALUES ('d', 'clinic');
        """,
    )
    zone = "analytics" if version < NOISY else "audit"
    run(dsn, f"INSERT INTO {zone}.visits_daily VALUES ('2026-03-10', 'SE', 'mobile', 'search', 10, 10)")
    batch = Batch("bookings", "2026-03-10", "r")
    attempt = Attempt("a", "pull", batch, builders.run(), Digests("p", None, "c"), ("R1",))
    entry = attempt.intent(entry_id="00000000-0000-4000-8000-000000000001", at=builders.NOW)
    run(dsn, "SELECT audit.append(%s)", entry.canonical())
    columns = run(
        dsn, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'analytics.bookings'::regclass AND attnum > 0"
    )
    labels = ", ".join(["'x'"] * (int(str(columns[0][0])) - 1))
    run(dsn, f"INSERT INTO analytics.bookings VALUES ('2026-03-10', {labels})")
    return content(dsn)


def content(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of the zones, and of the views that stand for one, as JSON."""
    tables = run(
        dsn,
        "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'v') AND c.relname !~ '^current_' ORDER BY 1",
        list(POLICY.zones),
    )
    return {str(name): run(dsn, f"SELECT to_jsonb(t) FROM {name} t ORDER BY 1::text") for (name,) in tables}


@pytest.mark.parametrize("version", range(1, len(schema.migrations())))
def test_an_earlier_version_with_rows_in_it_is_brought_to_the_newest_and_keeps_them(
    database: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [name for name, _ in schema.migrations()]
    assert apply_up_to(database, version, monkeypatch) == every[:version]
    before = filled(database, version)
    assert schema.migrate(database, POLICY) == every[version:]
    after = content(database)
    if "analytics.visits_daily" in before:  # 0017: exact counts are in zone audit
        before["audit.visits_daily"] = before.pop("analytics.visits_daily")
    assert before.keys() <= after.keys()
    before.pop("control.in_force", None)  # what has just been put into force
    before.pop("analytics.column_history", None)  # of what was released before it was kept, now
    for table, rows in before.items():  # a later version may add columns
        if table == "control.in_force":  # says what it was migrated for, from then on
            continue
        for row in rows if table == "sharing.deliveries" else ():
            row[0].pop("root_key", None)  # 0022: a delivery holds many bookings, in sharing.delivered_rows
        for row in rows if table == "audit.run_log" else ():
            row[0].pop("entry_sha256", None)  # 0005: the hash of its leaf says more
        assert [{name: new[name] for name in old} for (old,), (new,) in zip(rows, after[table], strict=True)] == [
            old for (old,) in rows
        ]
    assert run(database, "SELECT name FROM public.schema_migrations ORDER BY 1") == [(name,) for name in every]
    assert schema.migrate(database, POLICY) == []
    assert content(database) == after


def test_rows_that_were_delivered_lose_the_numbers_that_nobody_reads_and_keep_the_others(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_up_to(
        database, [name for name, _ in schema.migrations()].index("0024_numbers_of_the_erased.sql"), monkeypatch
    )
    run(
        database,
        "INSERT INTO sharing.delivered_rows (delivery_id, booking_id, version, service_no, traveller_no, client_id, "
        "booking_reference, service_reference, person_reference) VALUES ('d', 7, 1, 2, 3, 9, 'b', 's', 'p')",
    )
    schema.migrate(database, POLICY)
    ((row,),) = run(database, "SELECT to_jsonb(t) FROM sharing.delivered_rows t")
    assert isinstance(row, dict)
    assert not {"service_no", "traveller_no"} & row.keys()
    assert (row["delivery_id"], row["booking_id"], row["version"], row["client_id"]) == ("d", 7, 1, 9)


def test_migrating_again_changes_nothing(site: Site) -> None:
    dsn = site.dsn("governance_owner")
    rights = (
        "SELECT n.nspname, c.relname, ARRAY(SELECT a::text FROM unnest(c.relacl) a ORDER BY 1), "
        "(SELECT string_agg(a.attname || a.attacl::text, ' ' ORDER BY 1) "
        "FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY(%s) ORDER BY 1, 2"
    )
    before = builders.read(site, rights, list(POLICY.zones))
    assert schema.migrate(dsn, POLICY) == []
    assert builders.read(site, rights, list(POLICY.zones)) == before
    source_versions.migrate(site.dsn("wellbe_owner"))
    source_grants.grant(site.dsn("wellbe_owner"), POLICY)


@pytest.mark.clause("L3")
def test_what_was_in_quarantine_before_reviews_were_kept_is_in_review_since_then(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [name for name, _ in schema.migrations()]
    apply_up_to(database, every.index("0011_minors.sql"), monkeypatch)
    run(
        database,
        "INSERT INTO quarantine.rows (dataset, partition_key, row_id, row_key, rules, clauses, run_id, quarantined_at) "
        "VALUES ('bookings', '2026-03-10', 1, '1/1', '{r}', '{A1,L2}', 'r', '2026-03-11'), "
        "('bookings', '2026-03-12', 2, '1/1', '{r}', '{L1}', 'r', '2026-03-13'), "
        "('bookings', '2026-03-10', 3, '2/1', '{r}', '{A1}', 'r', '2026-03-11')",
    )
    schema.migrate(database, POLICY)
    assert run(database, "SELECT row_key, since::date FROM quarantine.reviews") == [("1/1", DAY + timedelta(days=1))]


@pytest.mark.clause("L3")
def test_an_erasure_from_before_versions_were_noted_is_of_its_numbers_where_quarantine_has_them(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [name for name, _ in schema.migrations()]
    apply_up_to(database, every.index("0015_whose_consent_and_whom.sql"), monkeypatch)
    run(database, "INSERT INTO quarantine.erasures (booking_id, travellers, clients) VALUES (1, '{2,3}', '{}')")
    run(
        database,
        "INSERT INTO quarantine.findings (dataset, partition_key, table_name, row_id, row_key, root_key, rule, clause, "
        "severity) SELECT 'bookings', '2026-03-10', 'booking_travellers', row_number() OVER (), root || '/' || n, "
        "root, 'r', 'L1', 'warning' FROM generate_series(1, 3) n, (VALUES ('1/1'), ('1/2'), ('2/1')) v (root)",
    )
    schema.migrate(database, POLICY)
    run(
        database,
        "INSERT INTO quarantine.erasures (booking_id, versions, travellers, clients) "
        "VALUES (2, '{2,10}', '{1,1}', '{}'), (3, '{}', '{}', '{7}')",
    )
    found = {booking: travellers for _, booking, travellers, *_ in run(database, named_query("minors_begun"))}
    assert found == {1: [[1, 2], [1, 3], [2, 2], [2, 3]], 2: [[2, 1], [10, 1]], 3: []}


@pytest.mark.clause("K1")
def test_cards_that_were_here_before_first_captures_were_kept_count_from_the_earliest_of_theirs(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [name for name, _ in schema.migrations()]
    apply_up_to(database, every.index("0014_first_captures.sql"), monkeypatch)
    run(
        database,
        "INSERT INTO records.payment_cards (partition_key, row_key, captured_at) VALUES ('2026-03-10', '7', "
        "'2026-03-10Z'), ('2026-03-11', '7', '2026-03-11Z'), ('2026-03-11', '8', '2026-03-11Z'), "
        "('2026-03-11', '9', NULL); "
        "INSERT INTO vault.saved_cards VALUES ('8', 1, '2026-03-09Z', true, 'x'), ('6', 1, '2026-02-01Z', true, 'x')",
    )
    schema.migrate(database, POLICY)
    days = "row_key, (captured_at AT TIME ZONE 'UTC')::date::text"
    first = run(database, f"SELECT {days.replace('row_key', 'card_key')} FROM control.first_captures ORDER BY 1")
    assert first == [("6", "2026-02-01"), ("7", "2026-03-10"), ("8", "2026-03-09")]
    there = run(database, f"SELECT {days} FROM records.payment_cards ORDER BY 1, partition_key")
    assert there == [("7", "2026-03-10"), ("7", "2026-03-10"), ("8", "2026-03-09"), ("9", None)]


@pytest.mark.clause("E1")
def test_of_releases_from_before_there_was_noise_the_exact_numbers_of_visits_go_to_zone_audit(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_up_to(database, NOISY - 1, monkeypatch)
    run(
        database,
        "INSERT INTO analytics.releases (dataset, partition_key, k, l, rows, suppressed, policy_digest) "
        "VALUES ('visits', '2026-03-10', 12, NULL, 40, 3, 'p'), ('bookings', '2026-03-10', 10, 2, 30, 4, 'p')",
    )
    schema.migrate(database, POLICY)
    released = "SELECT dataset, k, l, rows, suppressed FROM analytics.releases ORDER BY dataset"
    assert run(database, released) == [("bookings", 10, 2, 30, 4), ("visits", None, None, None, None)]
    kept = "SELECT dataset, k, l, rows, suppressed FROM audit.release_measures"
    assert run(database, kept) == [("visits", 12, None, 40, 3)]
    with pytest.raises(psycopg2.errors.CheckViolation):
        run(
            database,
            "INSERT INTO analytics.releases (dataset, partition_key, rows, policy_digest) "
            "VALUES ('visits', '2026-03-11', 1, 'p')",
        )
    with pytest.raises(psycopg2.errors.RaiseException, match="append-only"):
        run(database, "UPDATE analytics.releases SET rows = 1")


@pytest.mark.clause("L2")
def test_an_older_source_gets_what_was_added_since_and_keeps_its_rows(site: Site) -> None:
    owner = site.dsn("wellbe_owner")
    world = builders.World(owner)
    world.clear()
    key = world.booking(consents=[{}])
    run(
        owner,
        "ALTER TABLE wellbe.guardian_consents DROP guardian_birth_date, DROP withdrawn_at; DROP TABLE sample.changes",
    )
    for _ in range(2):
        source_versions.migrate(owner)
    source_grants.grant(owner, POLICY)
    world.close()
    found = run(owner, "SELECT booking_id, guardian_birth_date, withdrawn_at FROM wellbe.guardian_consents")
    assert found == [(int(key.split("/", maxsplit=1)[0]), None, None)]
    with sources.snapshot(site.dsn("puller"), "a test") as snapshot:
        sources.check_schema(snapshot.columns(), POLICY)


def test_a_database_of_a_later_version_is_left_alone(database: str) -> None:
    schema.migrate(database, POLICY)
    run(database, "INSERT INTO public.schema_migrations (name) VALUES ('9999_later.sql')")
    with pytest.raises(
        GovernanceError, match=r"migrations that this code does not know: 9999_later\.sql; update the code"
    ):
        schema.migrate(database, POLICY)


def test_a_migration_that_fails_leaves_nothing_of_itself(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [*schema.migrations(), ("9998_broken.sql", "CREATE TABLE control.half (x int); SELECT 1 / 0")]
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: known)
        with pytest.raises(GovernanceError, match="SQLSTATE 22012"):
            schema.migrate(database, POLICY)
    assert run(database, "SELECT count(*) FROM pg_namespace WHERE nspname = 'control'") == [(0,)]
    assert schema.migrate(database, POLICY) == [name for name, _ in schema.migrations()]


def test_two_migrations_at_once_take_turns(database: str) -> None:
    applied: list[list[str]] = []
    threads = [threading.Thread(target=lambda: applied.append(schema.migrate(database, POLICY))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(applied) == [[], [name for name, _ in schema.migrations()]]


def test_a_fresh_database_is_empty_until_something_was_pulled(database: str) -> None:
    schema.migrate(database, POLICY)
    assert schema.is_empty(database)
    run(database, "WITH landing AS (INSERT INTO control.landings (landing_id, dataset, partition_key, shards_count) "
                  "VALUES ('a', 'visits', %(day)s, 1) RETURNING landing_no) "
                  "INSERT INTO control.batches (dataset, partition_key, state, run_id, pull_attempt, source_counts, "
                  "landed_counts, landing_no) SELECT 'visits', %(day)s, 'landed', 'r', 'a', '{}', '{}', landing_no "
                  "FROM landing", {"day": DAY})  # fmt: skip
    assert not schema.is_empty(database)


def test_no_database_is_no_migration() -> None:
    with pytest.raises(WarehouseUnavailableError):
        schema.migrate("postgresql://governance_owner:x@127.0.0.1:1/governance", POLICY)


@pytest.mark.clause("A1")
@pytest.mark.parametrize("zone", ("landing", "vault"))
def test_the_columns_of_a_zone_are_those_that_policy_lands(site: Site, zone: str) -> None:
    found = builders.read(
        site,
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE n.nspname = %s AND c.relname = ANY(%s)",
        zone,
        list(LANDED),
    )
    own = {"row_id": "bigint", "partition_key": "date"}
    assert set(found) == {
        (name, column, kind)
        for name, table in LANDED.items()
        for column, kind in (own | {c: spec.type for c, spec in table.columns.items()}).items()
    }


@pytest.mark.clause("A1")
def test_the_columns_of_the_source_are_those_that_policy_declares(site: Site) -> None:
    with sources.snapshot(site.dsn("puller"), "a test") as snapshot:
        sources.check_schema(snapshot.columns(), POLICY)


@pytest.mark.clause("E1")
def test_what_analysts_see_is_a_quasi_identifier_a_sensitive_value_or_a_noisy_count_and_commented(site: Site) -> None:
    found = builders.read(
        site,
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum), "
        "obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE n.nspname = 'analytics' AND c.relkind IN ('r', 'v')",
    )
    assert all(len(comment or "") > 10 and len(about or "") > 10 for _, _, _, comment, about in found)
    tables = {table.name: table for table in published_tables.of_policy(POLICY)}
    releases = tables | {table.rows: table for table in tables.values()}
    told = {"settings", "notes", "bias"}
    about_releases = {"releases", "privacy_budget", "column_history", *(f"release_{about}" for about in told)}
    assert {name for name, *_ in found} == {"data_dictionary", *about_releases, *releases}
    live = {(name, column): kind for name, column, kind, *_ in found if name in releases}
    assert live == {(name, c): spec.type for name, release in releases.items() for c, spec in release.columns.items()}
    kinds = {spec.kind for release in releases.values() for spec in release.columns.values()}
    assert kinds == {"quasi_identifier", "sensitive", "noisy_count", "bound"}
    # Of bookings single rows are published: every column identifies or is sensitive, there is no third kind.
    assert {spec.kind for spec in POLICY.dataset("bookings").release.columns.values()} == {
        "quasi_identifier",
        "sensitive",
    }
    described = {(name, column): comment for name, column, _, comment, _ in found}
    for name, release in releases.items():
        for column, spec in release.columns.items():
            assert described[name, column] == f"{spec.description} ({spec.kind.replace('_', '-')})"


@pytest.mark.clause("R1")
def test_the_log_is_commented_column_by_column(site: Site) -> None:
    missing = builders.read(
        site,
        "SELECT a.attname FROM pg_attribute a WHERE a.attrelid = 'audit.run_log'::regclass AND a.attnum > 0 "
        "AND NOT a.attisdropped AND col_description(a.attrelid, a.attnum) IS NULL",
    )
    assert missing == []
