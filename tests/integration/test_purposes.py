"""Purpose is enforced by the database: each purpose reads the columns that policy declares for it, and no other.

The expectation comes from the policy files; `test_zones.py` has the same rights written out by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta

import psycopg2
import pytest
from psycopg2 import sql

import builders
from builders import DAY, NOON, NOW, World
from governance import policy as policies
from governance import source_grants, steps
from governance.datasets import Treatment
from governance.embedded.site import Site

pytestmark = [pytest.mark.pg, pytest.mark.clause("A1"), pytest.mark.clause("J1")]

POLICY = policies.load()
LANDED = {name: table for dataset in POLICY.datasets.values() for name, table in dataset.landed.items()}
PURPOSES = {name: purpose.role for name, purpose in POLICY.purposes.items()}
ROLES = sorted(name for name, role in POLICY.roles.items() if role.cluster == "warehouse")


@pytest.fixture(scope="module")
def filled(site: Site) -> Iterator[Site]:
    """Rows in every landed table of landing and vault, and in every table of the source."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(site)
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    for _ in ("vault", "landing"):
        world.booking(card={}, consents=[{}])
        world.view()
        for dataset in ("bookings", "visits"):
            batch = steps.pull(space, dataset, world.day.isoformat(), builders.run())
            if world.day == DAY:
                steps.validate(space, batch, builders.run())
        world.day += timedelta(days=1)
    known = {
        "request_id": 1,
        "client_id": 1,
        "recorded_at": NOON,
        "received_at": NOON,
        "channel": "web",
        "status": "open",
    }
    wanted = {
        "consent_events": "client_id recorded_at received_at channel",
        "inquiries": "client_id recorded_at received_at channel",
        "offers": "client_id recorded_at status",
        "subject_requests": "request_id client_id recorded_at received_at status",
        "authority_requests": "request_id recorded_at received_at",
    }
    more = {
        "consent_events": {"event_id": 1, "purpose": "p", "decision": "given", "effective_at": NOON, "source": "s",
                           "version": 1},
        "inquiries": {"inquiry_id": 1},
        "offers": {"offer_id": 1, "opened_at": NOON},
        "subject_requests": {"kind": "access"},
        "authority_requests": {
            "authority": "a", "legal_basis": "l", "case_reference": "c", "scope": "s",
            "period_from": date(2026, 1, 1), "period_until": date(2026, 1, 2),
        },
    }  # fmt: skip
    for table, columns in wanted.items():
        world.insert(table, **{column: known[column] for column in columns.split()}, **more[table])
    yield site
    world.clear()
    world.close()
    builders.empty_warehouse(site)


def is_read(connection: psycopg2.extensions.connection, schema: str, table: str, column: str) -> bool:
    """Whether the role reads a column of a table that holds rows; anything but success and a refusal is an error."""
    query = sql.SQL("SELECT {} FROM {} LIMIT 1").format(sql.Identifier(column), sql.Identifier(schema, table))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query)
            assert len(cursor.fetchall()) == 1, (schema, table)
            return True
    except psycopg2.errors.InsufficientPrivilege:
        return False


def test_every_role_of_a_purpose_is_tried_here() -> None:
    assert set(PURPOSES.values()) <= set(ROLES)
    assert set(PURPOSES) == {
        "intake", "contract", "validation", "improve_services", "saved_cards", "fraud_prevention", "review",
        "retention", "market_research",
    }  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_of_the_vault_what_its_purposes_need_and_is_refused_the_rest(filled: Site, role: str) -> None:
    purposes = {name for name, worker in PURPOSES.items() if worker == role}
    reaches_vault = "vault" in POLICY.roles[role].can_use
    read = tried = 0
    with closing(psycopg2.connect(filled.dsn(role))) as connection:
        for table, spec in LANDED.items():
            for column, landed in spec.columns.items():
                expected = reaches_vault and bool(purposes & set(landed.purposes))
                assert is_read(connection, "vault", table, column) == expected, (role, table, column)
                tried, read = tried + 1, read + expected
    implied = sum(
        1 for spec in LANDED.values() for c in spec.columns.values() if reaches_vault and purposes & set(c.purposes)
    )
    assert (tried, read) == (sum(len(spec.columns) for spec in LANDED.values()), implied)
    # Retention sees the ledger, and of the rest not even through the views of this zone.
    assert read > 0 if purposes and reaches_vault and role != "retainer" else read == 0


@pytest.mark.clause("J2")
def test_nobody_logs_in_for_a_purpose_of_a_pipeline_its_role_is_taken_by_the_login_that_policy_names(
    filled: Site,
) -> None:
    declared = {(name, role.taken_by) for name, role in POLICY.roles.items() if role.taken_by}
    held = builders.read(
        filled,
        "SELECT r.rolname, m.rolname FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid "
        "JOIN pg_roles m ON m.oid = a.member WHERE r.rolname = ANY(%s)",
        ROLES,
    )
    assert set(held) == declared
    logins = {name for (name,) in builders.read(filled, "SELECT rolname FROM pg_roles WHERE rolcanlogin")}
    assert set(ROLES) & logins == {name for name in ROLES if not POLICY.roles[name].taken_by}
    assert set(PURPOSES.values()) == {role for role, _ in declared}
    assert not set(PURPOSES.values()) & logins


@pytest.mark.clause("J2")
def test_a_review_reads_keys_and_rules_and_no_fact_about_a_row(filled: Site) -> None:
    held = builders.read(
        filled,
        "SELECT n.nspname, c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE a.attnum > 0 AND NOT a.attisdropped "
        "AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'v') "
        "AND has_column_privilege(%s, c.oid, a.attnum, 'SELECT')",
        PURPOSES["review"],
    )
    assert {(schema, table) for schema, table, _ in held} == {
        ("quarantine", table) for table in ("findings", "rows", "refusals")
    }
    facts = {column for spec in LANDED.values() for column in spec.columns} - {"row_key", "root_key"}
    assert len(facts) > 80
    assert facts & {column for _, _, column in held} == set()


def test_the_numbers_that_policy_implies_are_not_nothing() -> None:
    by_purpose = {purpose: sum(len(spec.columns_for(purpose)) for spec in LANDED.values()) for purpose in PURPOSES}
    # What works with keys, with values on their way, with what is published, or later.
    blind = {"intake", "review", "retention", "market_research"}
    assert {purpose for purpose, count in by_purpose.items() if count == 0} == blind
    # What looks at cards alone sees a few columns of theirs, and no other purpose sees any.
    of_cards = {"saved_cards": 5, "fraud_prevention": 3}
    assert {purpose: len(LANDED["payment_cards"].columns_for(purpose)) for purpose in of_cards} == of_cards
    assert {purpose: by_purpose[purpose] for purpose in of_cards} == of_cards
    others = by_purpose.keys() - blind - of_cards.keys()
    assert all(by_purpose[purpose] > 10 for purpose in others), by_purpose
    personal = [c for spec in LANDED.values() for c in spec.columns.values() if c.treatment is Treatment.ENCRYPT]
    assert len(personal) > 20
    assert not [column for column in personal if "validation" in column.purposes]


def test_validation_sees_the_measured_facts_of_one_partition_and_no_column_of_landing_itself(filled: Site) -> None:
    with closing(psycopg2.connect(filled.dsn("validator"))) as connection:
        for table, spec in LANDED.items():
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT set_config('governance.partition_key', %s, false)", ("2026-03-11",))
                cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("landing", f"current_{table}")))
                assert cursor.description is not None
                seen = {column.name for column in cursor.description}
            assert seen == {"row_id", "row_key", "root_key"} | set(spec.columns_for("validation")), table
            for column in (*spec.columns, "row_id", "partition_key"):
                assert not is_read(connection, "landing", table, column), (table, column)


def test_without_a_partition_validation_sees_nothing_and_with_one_only_that(filled: Site) -> None:
    with closing(psycopg2.connect(filled.dsn("validator"))) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.UndefinedObject):
            cursor.execute("SELECT count(*) FROM landing.current_bookings")
        connection.rollback()
        for key, rows in (("2026-03-10", 0), ("2026-03-11", 1)):
            cursor.execute("SELECT set_config('governance.partition_key', %s, false)", (key,))
            cursor.execute("SELECT count(*) FROM landing.current_bookings")
            assert cursor.fetchone() == (rows,)


def test_the_puller_reads_each_column_that_lands_and_is_refused_each_that_policy_refuses(filled: Site) -> None:
    read, refused = set(), set()
    with closing(psycopg2.connect(filled.dsn("puller"))) as connection:
        for table, columns in POLICY.source_tables.items():
            for column, spec in columns.items():
                expected = spec.treatment is not Treatment.REFUSE
                assert is_read(connection, "wellbe", table, column) == expected, (table, column)
                (read if expected else refused).add((table, column))
    live = builders.read(
        filled,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'wellbe'",
        role="wellbe_owner",
    )
    assert read | refused == set(live)
    assert len(read) + len(refused) == sum(map(len, POLICY.source_tables.values()))
    assert {("payment_cards", "cvv"), ("page_views", "referrer"), ("page_views", "gpc")} <= refused
    assert refused >= {(table, column) for table, columns in POLICY.unpulled.items() for column in columns}
    assert len(read) > 70


@pytest.mark.parametrize("table", sorted(POLICY.unpulled))
def test_a_table_that_nothing_pulls_is_refused_as_a_whole(filled: Site, table: str) -> None:
    with closing(psycopg2.connect(filled.dsn("puller"))) as connection:
        for expression in ("count(*)", "1", "t", "ctid", "tableoid", "row_to_json(t)"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection, connection.cursor() as cursor:
                cursor.execute(f"SELECT {expression} FROM wellbe.{table} t")


def test_a_row_as_a_whole_is_refused_where_one_of_its_columns_is(filled: Site) -> None:
    with closing(psycopg2.connect(filled.dsn("puller"))) as connection:
        for expression in ("c", "row_to_json(c)", "c::text", "hashtext(c::text)"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection, connection.cursor() as cursor:
                cursor.execute(f"SELECT {expression} FROM wellbe.payment_cards c")


def test_a_grant_that_policy_no_longer_implies_is_taken_back(filled: Site) -> None:
    from governance import schema

    builders.read(filled, "GRANT SELECT (birth_date_encrypted) ON vault.booking_travellers TO publisher")
    builders.read(filled, "GRANT SELECT ON vault.bookings, vault.payment_cards, quarantine.rows TO analyst, pipeline")
    builders.read(filled, "GRANT SELECT ON landing.bookings, vault.bookings TO steward, coordinator, sequencer")
    builders.read(filled, "GRANT EXECUTE ON FUNCTION landing.settle TO pipeline, steward")
    builders.read(filled, "GRANT SELECT (cvv) ON wellbe.payment_cards TO puller", role="wellbe_owner")
    builders.read(filled, "GRANT SELECT ON wellbe.inquiries TO puller", role="wellbe_owner")
    schema.migrate(filled.dsn("governance_owner"), POLICY)
    source_grants.grant(filled.dsn("wellbe_owner"), POLICY)
    held = "SELECT has_column_privilege(%s, %s, %s, 'SELECT')"
    for role, table, column, reader in (
        ("publisher", "vault.booking_travellers", "birth_date_encrypted", "governance_owner"),
        *(
            (role, table, "row_key", "governance_owner")
            for role in ("analyst", "pipeline")
            for table in ("vault.bookings", "vault.payment_cards", "quarantine.rows")
        ),
        *(
            (role, table, "row_key", "governance_owner")
            for role in ("steward", "coordinator", "sequencer")
            for table in ("landing.bookings", "vault.bookings")
        ),
        ("puller", "wellbe.payment_cards", "cvv", "wellbe_owner"),
        ("puller", "wellbe.inquiries", "message", "wellbe_owner"),
    ):
        assert builders.read(filled, held, role, table, column, role=reader) == [(False,)], (role, table, column)
    called = "SELECT has_function_privilege(%s, 'landing.settle(text, date, text)', 'EXECUTE')"
    assert [builders.read(filled, called, role) for role in ("pipeline", "steward", "validator")] == [
        [(False,)], [(False,)], [(True,)],
    ]  # fmt: skip
