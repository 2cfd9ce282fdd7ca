"""Each audience is a role that reaches its zone and no other: every role x table x privilege x column is tried.

Nobody logs in as a role that may read landing, vault or quarantine: a login takes it, and has nothing of it before.
What is expected stands here as tables, written by hand and not taken from the code that grants. Tables, views, columns,
functions, roles and sequences are found in the catalog, so that a new one without an expectation fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from psycopg2 import errors, sql
from psycopg2.extensions import make_dsn, parse_dsn

import builders
from builders import DAY, NOW, World
from governance import steps
from governance.embedded import provision
from governance.embedded.site import ClusterName, Site
from governance.run_log import Attempt, Batch, Digests

pytestmark = [pytest.mark.pg, pytest.mark.clause("J1")]

TAKEN = ("loader", "validator", "publisher", "sharer", "forwarder", "profiler", "screener", "steward")
ENDING = "retainer"
WORKING = ("pipeline", "recorder", "coordinator", "custodian", "sequencer", "analyst", "auditor")
ROLES = (*TAKEN, ENDING, *WORKING)
LOGINS = (*WORKING, "migrator", "airflow", "observer")
TAKES = {"pipeline": {*TAKEN, ENDING}, "migrator": {"governance_owner"}}
"""Which login may take which roles; the other logins take none."""
LOGIN_OF = {login: login for login in LOGINS} | {role: login for login, roles in TAKES.items() for role in roles}

# S: reads every column; s: reads the columns named below; I, U, D, T: insert, update, delete, truncate; -: nothing.
EXPECTED_OF_TAKEN = """
                                    loader  validator  publisher  sharer  forwarder  profiler  screener  steward
control.batches                     -       SU         S          -       -          -         -         -
control.landings                    SI      S          S          -       -          -         -         -
control.in_force                    S       S          S          S       S          -         -         -
control.purged                      -       S          S          -       -          -         -         -
control.shards                      SI      -          -          -       -          -         -         -
control.first_captures              s       -          -          -       -          -         -         -
records.bookings                    I       -          -          -       -          -         -         -
records.booking_travellers          I       -          -          -       -          -         -         -
records.booking_services            I       -          -          -       -          -         -         -
records.payment_cards               I       -          -          -       -          -         -         -
records.page_views                  I       -          -          -       -          -         -         -
records.refusals                    I       -          -          -       -          -         -         -
landing.bookings                    -       -          -          -       -          -         -         -
landing.booking_travellers          -       -          -          -       -          -         -         -
landing.booking_services            -       -          -          -       -          -         -         -
landing.payment_cards               -       -          -          -       -          -         -         -
landing.page_views                  -       -          -          -       -          -         -         -
landing.current_bookings            -       S          -          -       -          -         -         -
landing.current_booking_travellers  -       S          -          -       -          -         -         -
landing.current_booking_services    -       S          -          -       -          -         -         -
landing.current_payment_cards       -       S          -          -       -          -         -         -
landing.current_page_views          -       S          -          -       -          -         -         -
quarantine.findings                 -       sID        -          -       -          -         -         S
quarantine.rows                     -       -          -          -       -          -         -         S
quarantine.refusals                 -       -          -          -       -          -         -         S
quarantine.reviews                  -       -          -          -       -          -         -         -
quarantine.erasures                 -       -          -          -       -          -         -         -
vault.bookings                      -       -          s          s       -          -         -         -
vault.booking_travellers            -       -          -          s       -          -         -         -
vault.booking_services              -       -          s          s       -          -         -         -
vault.payment_cards                 -       -          -          -       -          s         s         -
vault.saved_cards                   -       -          -          -       -          SID       -         -
vault.card_holds                    -       -          -          -       -          -         SIUD      -
vault.page_views                    -       -          s          -       -          -         -         -
vault.release_ledger                -       -          SI         -       -          -         -         -
vault.release_people                -       -          SID        -       -          -         -         -
analytics.releases                  -       -          SI         -       S          -         -         -
analytics.bookings                  -       -          -          -       S          -         -         -
analytics.bookings_rows             -       -          SI         -       -          -         -         -
analytics.bookings_events           -       -          -          -       S          -         -         -
analytics.bookings_events_rows      -       -          SI         -       -          -         -         -
analytics.bookings_events_origins   -       -          -          -       S          -         -         -
analytics.bookings_events_origins_rows  -       -          SI         -       -          -         -         -
analytics.visits_sessions           -       -          -          -       S          -         -         -
analytics.visits_sessions_rows      -       -          SI         -       -          -         -         -
analytics.visits_regions            -       -          -          -       S          -         -         -
analytics.visits_regions_rows       -       -          SI         -       -          -         -         -
analytics.visits_search_to_booking  -       -          -          -       S          -         -         -
analytics.visits_search_to_booking_rows  -       -          SI         -       -          -         -         -
analytics.inquiries_funnel          -       -          -          -       S          -         -         -
analytics.inquiries_funnel_rows     -       -          SI         -       -          -         -         -
analytics.release_settings          -       -          SI         -       S          -         -         -
analytics.release_notes             -       -          I          -       -          -         -         -
analytics.release_bias              -       -          I          -       -          -         -         -
analytics.column_history            -       -          SI         -       -          -         -         -
analytics.privacy_budget            -       -          SI         -       S          -         -         -
analytics.data_dictionary           -       -          -          -       -          -         -         -
sharing.deliveries                  -       -          -          SIUD    -          -         -         -
sharing.delivered_rows              -       -          -          SIUD    -          -         -         -
sharing.obligations                 -       -          -          SIU     -          -         -         -
sharing.release_deliveries          -       -          -          -       SI         -         -         -
audit.run_log                       -       -          -          -       -          -         -         -
audit.pending                       -       -          -          -       -          -         -         -
audit.leaves                        -       -          -          -       -          -         -         -
audit.tiles                         -       -          -          -       -          -         -         -
audit.checkpoints                   -       -          -          -       -          -         -         -
audit.texts                         -       -          -          -       -          -         -         -
audit.sessions                      -       -          -          -       -          -         -         -
audit.release_measures              -       -          SI         -       -          -         -         -
audit.exact_counts                  -       -          I          -       -          -         -         -
audit.release_attacks               -       -          SI         -       -          -         -         -
audit.visits_daily                  -       -          -          -       -          -         -         -
public.schema_migrations            -       -          -          -       -          -         -         -
"""
EXPECTED_OF_LOGINS = """
                                    pipeline  recorder  coordinator  custodian  sequencer  analyst  auditor
control.batches                     -         -         S            -          -          -        -
control.landings                    -         -         -            -          -          -        -
control.in_force                    -         -         -            -          -          -        -
control.purged                      -         -         -            -          -          -        -
control.shards                      -         -         -            -          -          -        -
control.first_captures              -         -         -            -          -          -        -
control.purged                      -         -         -            -          -          -        -
records.bookings                    -         -         -            -          -          -        -
records.booking_travellers          -         -         -            -          -          -        -
records.booking_services            -         -         -            -          -          -        -
records.payment_cards               -         -         -            -          -          -        -
records.page_views                  -         -         -            -          -          -        -
records.refusals                    -         -         -            -          -          -        -
landing.bookings                    -         -         -            -          -          -        -
landing.booking_travellers          -         -         -            -          -          -        -
landing.booking_services            -         -         -            -          -          -        -
landing.payment_cards               -         -         -            -          -          -        -
landing.page_views                  -         -         -            -          -          -        -
landing.current_bookings            -         -         -            -          -          -        -
landing.current_booking_travellers  -         -         -            -          -          -        -
landing.current_booking_services    -         -         -            -          -          -        -
landing.current_payment_cards       -         -         -            -          -          -        -
landing.current_page_views          -         -         -            -          -          -        -
quarantine.findings                 -         -         -            -          -          -        -
quarantine.rows                     -         -         -            -          -          -        -
quarantine.refusals                 -         -         -            -          -          -        -
quarantine.reviews                  -         -         -            -          -          -        -
quarantine.erasures                 -         -         -            -          -          -        -
vault.bookings                      -         -         -            -          -          -        -
vault.booking_travellers            -         -         -            -          -          -        -
vault.booking_services              -         -         -            -          -          -        -
vault.payment_cards                 -         -         -            -          -          -        -
vault.page_views                    -         -         -            -          -          -        -
vault.release_ledger                -         -         -            -          -          -        -
vault.release_people                -         -         -            -          -          -        -
vault.saved_cards                   -         -         -            -          -          -        -
vault.card_holds                    -         -         -            -          -          -        -
analytics.releases                  -         -         S            -          -          S        -
analytics.bookings                  -         -         -            -          -          S        -
analytics.bookings_rows             -         -         -            -          -          -        -
analytics.bookings_events           -         -         -            -          -          S        -
analytics.bookings_events_rows      -         -         -            -          -          -        -
analytics.bookings_events_origins   -         -         -            -          -          S        -
analytics.bookings_events_origins_rows  -         -         -            -          -          -        -
analytics.visits_sessions           -         -         -            -          -          S        -
analytics.visits_sessions_rows      -         -         -            -          -          -        -
analytics.visits_regions            -         -         -            -          -          S        -
analytics.visits_regions_rows       -         -         -            -          -          -        -
analytics.visits_search_to_booking  -         -         -            -          -          S        -
analytics.visits_search_to_booking_rows  -         -         -            -          -          -        -
analytics.inquiries_funnel          -         -         -            -          -          S        -
analytics.inquiries_funnel_rows     -         -         -            -          -          -        -
analytics.release_settings          -         -         -            -          -          S        -
analytics.release_notes             -         -         -            -          -          S        -
analytics.release_bias              -         -         -            -          -          S        -
analytics.column_history            -         -         -            -          -          -        -
analytics.privacy_budget            -         -         -            -          -          S        -
analytics.data_dictionary           -         -         -            -          -          S        -
sharing.deliveries                  -         -         s            -          -          -        -
sharing.delivered_rows              -         -         -            -          -          -        -
sharing.obligations                 -         -         S            -          -          -        -
sharing.release_deliveries          -         -         -            -          -          -        -
audit.run_log                       -         -         -            S          S          -        S
audit.pending                       -         -         -            -          SD         -        S
audit.leaves                        -         -         -            -          SI         -        S
audit.tiles                         -         -         -            -          SIU        -        S
audit.checkpoints                   -         -         -            -          SI         -        S
audit.texts                         -         -         -            -          -          -        S
audit.sessions                      -         -         -            -          S          -        S
audit.release_measures              -         -         -            -          -          -        S
audit.exact_counts                  -         -         -            -          -          -        S
audit.release_attacks               -         -         -            -          -          -        S
audit.visits_daily                  -         -         -            -          -          -        S
public.schema_migrations            -         -         -            -          -          -        -
"""

# What the retainer may do: columns that it reads, and letters as above. It sees clocks and surrogate keys, amounts of
# clients who are erased, and, in ciphertext, what it blanks.
ENDS = {
    "control.purged": ("", "I"),
    "control.first_captures": ("card_key captured_at is_at_source met_at", "D"),
    "control.batches": ("dataset partition_key state settled_no", ""),
    "records.bookings": (
        """row_id landing_no recorded_at partition_key booking_id client_id price_amount_minor currency_code booked_at
        client_country_code client_email_defect_code client_birth_date_state_code client_age_at_booking_years
        client_age_with_guardian_years
        notes_encrypted client_given_name_encrypted client_family_name_encrypted client_email_encrypted
        client_phone_encrypted client_skype_encrypted client_birth_date_encrypted client_postcode_encrypted""",
        "D",
    ),
    "records.booking_travellers": ("row_id landing_no partition_key row_key age_at_booking_years", "D"),
    "records.booking_services": ("row_id landing_no partition_key root_key itinerary_encrypted", "D"),
    "records.payment_cards": ("row_id landing_no partition_key captured_at client_id row_key", "D"),
    "vault.saved_cards": ("card_key client_id captured_at partial_number_encrypted", "D"),
    "vault.card_holds": ("card_key card_token hold_id placed_at", "D"),
    "records.page_views": ("row_id landing_no partition_key", "D"),
    "records.refusals": ("table_name row_key rule refused_at", "D"),
    "quarantine.rows": ("dataset row_id row_key quarantined_at", "D"),
    "quarantine.findings": ("dataset row_id rule partition_key table_name row_key root_key clause", "D"),
    "quarantine.reviews": ("dataset row_key since", "D"),
    "quarantine.erasures": ("erasure_no booking_id travellers versions clients begun_at booked_at", "ID"),
    "vault.release_ledger": ("dataset accepted_partition row_key release_partition", "D"),
    "sharing.deliveries": ("delivery_id recipient_id created_at sent_at given_up_at", "D"),
    "sharing.delivered_rows": (
        "delivery_id service_reference person_reference delivered_at booking_id booking_reference revoked_at",
        "D",
    ),
    "sharing.obligations": ("delivery_id booking_reference reason", "I"),
    "analytics.releases": ("dataset partition_key", ""),
}
BLANKS = {
    "records.bookings": """notes_encrypted client_given_name_encrypted client_family_name_encrypted
        client_email_encrypted client_phone_encrypted client_skype_encrypted client_birth_date_encrypted
        client_postcode_encrypted client_country_code client_email_defect_code client_birth_date_state_code
        client_age_at_booking_years client_age_with_guardian_years""",
    "records.booking_services": "itinerary_encrypted",
    "quarantine.erasures": "travellers versions clients booked_at",
    "control.first_captures": "is_at_source",
}
"""Columns that the retainer may set, and no others: to NULL, or, of an erasure, to whoever joined it, or, of a card, to
what has become of it."""

SOME_COLUMNS = {
    **{("retainer", table): columns for table, (columns, _) in ENDS.items()},
    ("loader", "control.first_captures"): "card_key captured_at",
    (
        "coordinator",
        "sharing.deliveries",
    ): "delivery_id recipient_id kind contract_kind sent_at acknowledged_at given_up_at",
    ("validator", "quarantine.findings"): "dataset partition_key",
    ("profiler", "vault.payment_cards"): """
        partition_key row_key client_id captured_at is_saved_to_profile card_number_encrypted""",
    ("screener", "vault.payment_cards"): "partition_key row_key captured_at card_number_encrypted",
    ("publisher", "vault.bookings"): """
        partition_key row_key booking_id version client_token status nights_count price_amount_minor currency_code
        client_country_code lead_days travellers_count""",
    ("publisher", "vault.booking_services"): """
        partition_key row_key root_key service_no kind procedure_code_encrypted""",
    ("publisher", "vault.page_views"): """
        partition_key row_key visitor_token session_token viewed_minute country_code device_class page_category
        language_code cell_code""",
    ("sharer", "vault.bookings"): """
        partition_key row_key booking_id version client_id status booked_at changed_at recorded_at service_date
        nights_count price_amount_minor currency_code locale notes_encrypted client_given_name_encrypted
        client_family_name_encrypted client_email_encrypted client_phone_encrypted client_skype_encrypted
        client_birth_date_encrypted client_country_code client_postcode_encrypted terms_version terms_channel
        terms_accepted_at""",
    ("sharer", "vault.booking_travellers"): """
        partition_key row_key root_key role given_name_encrypted family_name_encrypted birth_date_encrypted
        guardian_name_encrypted guardian_email_encrypted guardian_phone_encrypted guardian_relation
        guardian_consent_given_at guardian_consent_verified_at guardian_verification_method""",
    ("sharer", "vault.booking_services"): """
        partition_key row_key root_key service_no kind provider_id procedure_code_encrypted itinerary_encrypted
        starts_on""",
}

CALLS = {
    "audit.append": {
        "loader", "validator", "publisher", "sharer", "forwarder", "profiler", "screener", "recorder", "custodian",
        "sequencer", "retainer",
    },
    "audit.keep_text": {"recorder", "custodian", "sequencer"},
    "audit.missing_texts": {"recorder", "custodian", "sequencer"},
    "audit.leaf": {"sequencer", "auditor"},
    "landing.complete": {"loader"},
    "landing.note_captures": {"loader"},
    "landing.note_landed_captures": set(),
    "landing.settle": {"validator"},
    "landing.tables": set(),
    "control.total": set(),
    "audit.refuse_change": set(),
    "quarantine.begin_review": set(),
    "quarantine.end_review": set(),
    "vault.refuse_change": set(),
    "analytics.refuse_change": set(),
    "analytics.require_budget": set(),
}  # fmt: skip
NOTES_LOGINS = (
    "SELECT n.nspname || '.' || p.proname FROM pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid "
    "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE t.evtevent = 'login'"
)
"""The one function that is the superuser's affair; nobody calls it."""

VIEWS_OF_ANALYTICS = (
    "analytics.bookings", "analytics.bookings_events", "analytics.bookings_events_origins", "analytics.visits_sessions",
    "analytics.visits_regions", "analytics.visits_search_to_booking", "analytics.inquiries_funnel",
    "analytics.data_dictionary",
)  # fmt: skip
PERSONAL = ("records", "landing", "vault", "quarantine")
IN_ZONES = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


def matrix() -> dict[tuple[str, str], str]:
    """(role, table) -> letters."""
    table = {}
    for expected, roles in ((EXPECTED_OF_TAKEN, TAKEN), (EXPECTED_OF_LOGINS, WORKING)):
        head, *lines = expected.strip().splitlines()
        assert head.split() == list(roles)
        for line in lines:
            name, *cells = line.split()
            for role, cell in zip(roles, cells, strict=True):
                table[role, name] = cell.strip("-")
    for name in {name for _, name in table}:
        columns, letters = ENDS.get(name, ("", ""))
        table[ENDING, name] = f"{'s' if columns else ''}{letters}"
    return table


def readable(role: str, table: str, columns: list[str]) -> set[str]:
    """The columns of a table that a role is to read."""
    letters = matrix()[role, table]
    if "S" in letters:
        return set(columns)
    return set(SOME_COLUMNS[role, table].split()) if "s" in letters else set()


@pytest.fixture(scope="module")
def filled(site: Site) -> Iterator[Site]:
    """A warehouse in which every table holds rows: one day through all hops, the next one pulled only."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(site)
    world.crowd(card={})
    world.visitors(200)  # who reach the threshold
    world.booking(with_terms=False)
    world.booking(card={"captured_at": world.at() - timedelta(days=30)})
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    for dataset in ("bookings", "visits"):
        batch = steps.pull(space, dataset, DAY.isoformat(), builders.run())
        steps.publish(space, steps.validate(space, batch, builders.run()), builders.run())
    steps.attack_releases(space, builders.run())
    steps.checkpoint(space, builders.run())
    world.day += timedelta(days=1)
    world.booking(card={}, consents=[{}])
    world.view()
    for dataset in ("bookings", "visits"):
        steps.pull(space, dataset, world.day.isoformat(), builders.run())
    builders.delivered(site, "1", "1/1")
    builders.read(site, "INSERT INTO sharing.release_deliveries VALUES ('institute', 'bookings', '2026-03-10', 'd')")
    builders.read(site, "INSERT INTO analytics.release_notes VALUES ('bookings', '2026-03-10', 'k', '5', '10', 'rose')")
    builders.read(site, "INSERT INTO control.purged SELECT max(landing_no), 'payment_cards', 1 FROM control.landings")
    builders.read(site, "INSERT INTO sharing.obligations (delivery_id, reason) VALUES ('1', 'erased')")
    builders.read(site, "INSERT INTO quarantine.reviews VALUES ('bookings', '1/1', now())")
    builders.read(site, "INSERT INTO quarantine.erasures (booking_id, travellers, clients) VALUES (1, '{1}', '{}')")
    builders.read(site, "INSERT INTO vault.saved_cards VALUES ('1', 1, now(), true, '\\x02')")
    builders.read(site, "INSERT INTO vault.card_holds VALUES ('1', '1', 'fraud', 'case', 'anna', now(), now() + "
                        "interval '1 day', NULL, 'list', 'token', NULL)")  # fmt: skip
    builders.read(site, "INSERT INTO audit.visits_daily VALUES ('2026-01-01', 'SE', 'mobile', 'search', 10, 10)")
    world.close()
    yield site
    builders.empty_warehouse(site)


@pytest.fixture(scope="module")
def tables(filled: Site) -> dict[str, list[str]]:
    """Every table and view of our database with its columns, from the catalog."""
    found: dict[str, list[str]] = {}
    for table, column in builders.read(
        filled,
        "SELECT n.nspname || '.' || c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        f"WHERE {IN_ZONES} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1, a.attnum",
    ):
        found.setdefault(table, []).append(column)
    return found


class Tries:
    """Statements as one role, each in a transaction that is rolled back."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg2.connect(dsn)
        self.count = 0
        self._cursor = self._connection.cursor()
        self._cursor.execute("SET governance.partition_key = '2026-03-11'")
        self._connection.commit()

    def outcome(self, statement: str | sql.Composable, *values: Any) -> str:
        """`done`, or the SQLSTATE."""
        self.count += 1
        try:
            self._cursor.execute(statement, values or None)
            return "done"
        except psycopg2.Error as error:
            return str(error.pgcode)
        finally:
            self._connection.rollback()

    def refused(self, statement: str | sql.Composable, *values: Any) -> bool:
        """Whether the database refuses the right (42501). Anything else but success fails the test."""
        outcome = self.outcome(statement, *values)
        # Constraints, defaults and append-only triggers come after the right was granted.
        assert outcome in ("done", "42501", "23502", "23505", "23514", "P0001"), (statement, outcome)
        return outcome == "42501"

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> str:
    """Each role of our database."""
    return str(request.param)


@pytest.fixture
def tries(filled: Site, role: str) -> Iterator[Tries]:
    """A connection as the role."""
    with closing(Tries(filled.dsn(role))) as tries:
        yield tries


def names(table: str) -> sql.Composable:
    return sql.Identifier(*table.split("."))


def test_every_table_and_view_of_our_database_has_an_expectation_and_rows(
    filled: Site, tables: dict[str, list[str]]
) -> None:
    assert {table for _, table in matrix()} == set(tables)
    query = "SET LOCAL governance.partition_key = '2026-03-11'; SELECT count(*) FROM "
    assert [table for table in tables if builders.read(filled, query + table) == [(0,)]] == []


@pytest.mark.clause("A1")
def test_a_role_reads_its_columns_and_no_other(tries: Tries, role: str, tables: dict[str, list[str]]) -> None:
    for table, columns in tables.items():
        expected = readable(role, table, columns)
        assert expected <= set(columns)
        for column in columns:
            one = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), names(table))
            assert tries.refused(one) == (column not in expected), (role, table, column)
            # A column that may not be read may not be asked about either.
            where = sql.SQL("SELECT 1 FROM {} WHERE {} IS NULL").format(names(table), sql.Identifier(column))
            assert tries.refused(where) == (column not in expected), (role, table, column)
        every = sql.SQL("SELECT * FROM {}").format(names(table))
        assert tries.refused(every) == (expected != set(columns)), (role, table)
    assert tries.count == sum(2 * len(columns) + 1 for columns in tables.values()) > 400


def test_a_role_changes_what_it_has_to_and_nothing_else(
    filled: Site, tries: Tries, role: str, tables: dict[str, list[str]]
) -> None:
    views = {name for (name,) in builders.read(filled, "SELECT schemaname || '.' || viewname FROM pg_views")}
    for table, columns in tables.items():
        letters = matrix()[role, table]
        delete = sql.SQL("DELETE FROM {}").format(names(table))
        if table in views:  # of some views nobody may, which the database may notice before the right
            assert tries.outcome(delete) in ("42501", "55000"), (role, table)
        else:
            assert tries.refused(delete) == ("D" not in letters), (role, table)
        if table not in views:  # a view cannot be truncated
            assert tries.refused(sql.SQL("TRUNCATE {}").format(names(table))) == ("T" not in letters), (role, table)
        for column in columns:
            insert = sql.SQL("INSERT INTO {} ({}) VALUES (DEFAULT)").format(names(table), sql.Identifier(column))
            update = sql.SQL("UPDATE {} SET {} = DEFAULT").format(names(table), sql.Identifier(column))
            blanks = BLANKS.get(table, "").split() if role == ENDING else []
            may_insert, may_update = "I" in letters, "U" in letters or column in blanks
            if table in views:
                # Some of a view's columns cannot be written by anybody, which the database may notice first.
                assert not {tries.outcome(insert), tries.outcome(update)} & {"done"}, (role, table, column)
                continue
            assert tries.refused(insert) == (not may_insert), (role, table, column)
            assert tries.refused(update) == (not may_update), (role, table, column)


def test_no_role_holds_a_privilege_beyond_those_tried_or_may_hand_one_on(filled: Site) -> None:
    # TRUNCATE is nobody's; REFERENCES, TRIGGER and MAINTAIN let a role look at, or act on, another's rows.
    held = builders.read(
        filled,
        "SELECT r.rolname, n.nspname || '.' || c.relname, acl.privilege_type, acl.is_grantable FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) acl "
        f"LEFT JOIN pg_roles r ON r.oid = acl.grantee WHERE {IN_ZONES} AND acl.grantee <> c.relowner "
        "AND (acl.is_grantable OR r.rolname IS NULL "
        "OR acl.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))",
    )
    assert held == []
    on_columns = builders.read(
        filled,
        "SELECT DISTINCT acl.privilege_type, acl.is_grantable FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid "
        f"JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(a.attacl) acl WHERE {IN_ZONES}",
    )
    assert on_columns == [("SELECT", False), ("UPDATE", False)]


def test_every_function_is_called_by_its_roles_alone(filled: Site, tries: Tries, role: str) -> None:
    found = builders.read(
        filled,
        "SELECT n.nspname || '.' || p.proname, p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        f"WHERE {IN_ZONES}",
    )
    ((notes_logins,),) = builders.read(filled, NOTES_LOGINS)
    calls = {**CALLS, notes_logins: set()}
    assert sorted(name for name, _ in found) == sorted(calls)
    for name, oid in found:
        ((may,),) = builders.read(filled, "SELECT has_function_privilege(%s, %s::oid, 'EXECUTE')", role, oid)
        assert may == (role in calls[name]), (role, name)
    entry = Attempt(
        "a", "pull", Batch("bookings", "2026-03-10", "r"), builders.run(), Digests("p", None, "c"), ()
    ).intent(entry_id="00000000-0000-4000-8000-000000000001", at=NOW)
    for name, call, values in (
        ("audit.append", "audit.append(%s)", (entry.canonical(),)),
        ("audit.keep_text", "audit.keep_text('policy', 'a text')", ()),
        ("audit.missing_texts", "audit.missing_texts(ARRAY['a digest'])", ()),
        ("audit.leaf", "audit.leaf(NULL::audit.run_log)", ()),
        ("landing.complete", "landing.complete((SELECT max(landing_no) FROM control.landings), 'r')", ()),
        ("landing.settle", "landing.settle('bookings', '2026-03-11', 'r')", ()),
        ("landing.tables", "landing.tables('bookings')", ()),
        ("control.total", "control.total(ARRAY['{}'::jsonb])", ()),
    ):
        assert tries.refused(f"SELECT {call}", *values) == (role not in CALLS[name]), (role, name)


def test_a_role_may_use_the_schemas_in_which_it_has_a_right_and_make_nothing_in_any(filled: Site, role: str) -> None:
    used = {table.split(".")[0] for (who, table), letters in matrix().items() if who == role and letters}
    used |= {name.split(".")[0] for name, callers in CALLS.items() if role in callers}
    held = builders.read(
        filled,
        "SELECT n.nspname, has_schema_privilege(%s, n.oid, 'USAGE'), has_schema_privilege(%s, n.oid, 'CREATE') "
        f"FROM pg_namespace n WHERE {IN_ZONES}",
        role,
        role,
    )
    assert {schema for schema, may_use, _ in held if may_use} == used
    assert len(held) >= 8
    assert not any(may_create for _, _, may_create in held)


def test_no_role_reads_or_moves_a_sequence(filled: Site, tries: Tries) -> None:
    found = builders.read(
        filled,
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE {IN_ZONES} AND c.relkind = 'S'",
    )
    assert found
    for (sequence,) in found:
        assert tries.outcome(f"SELECT last_value FROM {sequence}") == "42501"
        assert tries.outcome("SELECT nextval(%s)", sequence) == "42501"


def test_what_the_planner_knows_of_hidden_columns_stays_hidden(filled: Site, role: str) -> None:
    builders.read(filled, "ANALYZE vault.bookings; ANALYZE vault.booking_travellers; ANALYZE audit.run_log")
    seen = builders.read(
        filled, "SELECT schemaname || '.' || tablename, attname FROM pg_stats WHERE schemaname !~ '^pg_'", role=role
    )
    hidden = [(t, c) for t, c in seen if t in dict.fromkeys(t for _, t in matrix()) and c not in readable(role, t, [c])]
    assert hidden == []


COUNTERS = {
    "rows that a table was given": "SELECT n_tup_ins FROM pg_stat_user_tables",
    "rows that a table was given, by the function": "SELECT pg_stat_get_tuples_inserted(oid) FROM pg_class",
    "rows that a table has": "SELECT n_live_tup FROM pg_stat_all_tables",
    "rows of this transaction": "SELECT n_tup_ins FROM pg_stat_xact_all_tables",
    "rows read through an index": "SELECT idx_tup_read FROM pg_stat_all_indexes",
    "blocks of a table": "SELECT heap_blks_read FROM pg_statio_all_tables",
    "rows that the database was given": "SELECT tup_inserted FROM pg_stat_database",
    "rows as the planner counts them": "SELECT reltuples FROM pg_class",
    "pages as the planner counts them": "SELECT relpages FROM pg_class",
    "everything of the catalog's": "SELECT * FROM pg_class",
    "the size of a table": "SELECT pg_relation_size(oid) FROM pg_class WHERE relname = 'page_views'",
    "the size of a table with its indexes": "SELECT pg_total_relation_size(oid) FROM pg_class",
    "the size of the database": "SELECT pg_database_size('governance')",
    "how much was written": "SELECT pg_current_wal_lsn()",
    "how much was written, by the statistics": "SELECT wal_records FROM pg_stat_wal",
    "how much was written by another": "SELECT pg_stat_get_backend_wal(pid) FROM pg_stat_activity",
}
"""Exact numbers of rows, or what follows from them, which Postgres tells everybody unless told otherwise."""


@pytest.mark.clause("E1")
@pytest.mark.parametrize("what", COUNTERS)
def test_no_role_is_told_how_many_rows_there_are_where_it_may_not_count_them(what: str, tries: Tries) -> None:
    assert tries.outcome(COUNTERS[what]) == "42501"


def test_the_catalog_is_still_there_for_clients_of_the_database(filled: Site, role: str) -> None:
    """What psql's \\d asks, and what an adapter does."""
    found = builders.read(
        filled,
        "SELECT c.relname, c.relkind, c.relhasindex, c.relacl, c.tableoid FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'analytics'",
        role=role,
    )
    assert "bookings_events" in {name for name, *_ in found}


FORBIDDEN_TO_ALL = {
    "a table in a zone": "CREATE TABLE {zone}.mine (x int)",
    "a table in public": "CREATE TABLE public.mine (x int)",
    "a temporary table": "CREATE TEMP TABLE mine AS SELECT 1 AS x",
    "a view in public": "CREATE VIEW public.mine AS SELECT 1 AS x",
    "a function in public": "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a schema": "CREATE SCHEMA mine",
    "a role": "CREATE ROLE mine",
    "an extension": "CREATE EXTENSION plpgsql_check",
    "another password for the owner": "ALTER ROLE governance_owner PASSWORD 'x'",
    "itself a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "an untrusted language": "CREATE LANGUAGE plpython3u",
    "a replica that fires no triggers": "SET session_replication_role = replica",
    "password hashes": "SELECT rolpassword FROM pg_authid",
    "password hashes through the view": "SELECT passwd FROM pg_shadow",
    "raw statistics": "SELECT stavalues1 FROM pg_statistic",
    "stored large objects": "SELECT data FROM pg_largeobject",
    "a file of the server": "SELECT pg_read_file('postgresql.conf')",
    "a folder of the server": "SELECT pg_ls_dir('.')",
    "a copy to a program": "COPY (SELECT 1) TO PROGRAM 'cat'",
    "a copy to a file": "COPY (SELECT 1) TO '/tmp/governance-copy'",
    "the log without its trigger": "ALTER TABLE audit.run_log DISABLE TRIGGER ALL",
    "the log gone": "DROP TABLE audit.run_log",
    "the log for itself": "ALTER TABLE audit.run_log OWNER TO CURRENT_USER",
    "another owner's rights": "SET ROLE governance_owner",
    "the superuser's rights": "SET ROLE postgres",
    "the superuser's session": "SET SESSION AUTHORIZATION postgres",
    "another's connection": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'migrator'",
    "a large object": "SELECT lo_from_bytea(0, 'x')",
    "an empty large object": "SELECT lo_create(0)",
}
FORBIDDEN_IN_OURS = {
    "a role for its login": "GRANT publisher TO SESSION_USER",
    "a role with its rights at once": "GRANT publisher TO SESSION_USER WITH INHERIT TRUE",
    "a login where there is none": "ALTER ROLE publisher LOGIN PASSWORD 'x'",
    "connections that nobody notes": "SET event_triggers = off",
    "connections that nobody notes, by default": "ALTER DATABASE governance SET event_triggers = off",
    "logins that nobody notes": "ALTER EVENT TRIGGER note_login DISABLE",
    "the noting of logins gone": "DROP EVENT TRIGGER note_login",
    "the noting of logins for itself": "ALTER EVENT TRIGGER note_login OWNER TO CURRENT_USER",
    "the order of the log without its trigger": "ALTER TABLE audit.leaves DISABLE TRIGGER ALL",
    "the connections without their trigger": "ALTER TABLE audit.sessions DISABLE TRIGGER ALL",
}
"""What only our own database has."""
NOT_GIVEN = {"42501", "0A000"}
"""Refused, or not on this server (an extension)."""


@pytest.mark.parametrize("what", FORBIDDEN_TO_ALL | FORBIDDEN_IN_OURS)
def test_no_role_gets(what: str, filled: Site, tries: Tries) -> None:
    zones = ("control", "landing", "quarantine", "vault", "analytics", "sharing", "audit")
    statement = (FORBIDDEN_TO_ALL | FORBIDDEN_IN_OURS)[what]
    with closing(psycopg2.connect(filled.dsn("migrator"))):  # somebody whose connection could be ended
        outcomes = {tries.outcome(statement.replace("{zone}", zone)) for zone in zones}
    assert outcomes <= NOT_GIVEN


@pytest.mark.parametrize("role", (*ROLES, "migrator", "governance_owner", "puller"))
def test_no_role_changes_the_server_or_makes_a_database(filled: Site, role: str) -> None:
    with closing(psycopg2.connect(filled.dsn(role))) as connection:
        connection.autocommit = True  # neither runs in a transaction
        for statement in ("ALTER SYSTEM SET log_statement = 'all'", "CREATE DATABASE mine", "DROP DATABASE postgres"):
            with connection.cursor() as cursor, pytest.raises(errors.InsufficientPrivilege):
                cursor.execute(statement)


# -- who logs in as whom, and takes what -------------------------------------------------------------------------------


def taken_by(login: str) -> set[str]:
    """The roles that a login's connection may have: itself, what it takes, what Postgres calls a database's owner."""
    return {login, *TAKES.get(login, ())} | ({"pg_database_owner"} if login in ("migrator", "airflow") else set())


def every_role(site: Site) -> list[str]:
    """All roles of the cluster, those that Postgres brings included."""
    return [name for (name,) in builders.read(site, "SELECT rolname FROM pg_roles ORDER BY 1")]


def test_the_roles_are_those_of_this_page_and_no_more_than_roles(filled: Site) -> None:
    known = {"postgres", "governance_owner", *ROLES, *LOGINS}
    found = builders.read(
        filled,
        "SELECT rolname, rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls "
        "FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'postgres'",
    )
    # Whoever notes logins may be a role of its own, which nobody takes and nobody is.
    others = {role for role, *_ in found} - known
    assert known - {role for role, *_ in found} == {"postgres"}
    assert {role for role, can_login, *_ in found if can_login} == set(LOGINS)
    assert not {role for role, _, _, *powers in found if any(powers)}
    assert len(others) <= 1
    members = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid IN (m.member, m.roleid)"
    assert builders.read(filled, f"{members} WHERE r.rolname = ANY(%s)", list(others)) == [(0,)]
    secrets = "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL"
    assert {role for (role,) in builders.read(filled, secrets, role="postgres")} == {"postgres", *LOGINS}


def test_a_membership_lets_a_login_take_a_role_and_gives_it_nothing_until_then(filled: Site) -> None:
    found = builders.read(
        filled,
        "SELECT m.rolname, r.rolname, a.admin_option, a.inherit_option, a.set_option FROM pg_auth_members a "
        "JOIN pg_roles m ON m.oid = a.member JOIN pg_roles r ON r.oid = a.roleid "
        "WHERE m.rolname !~ '^pg_' OR r.rolname !~ '^pg_'",
    )
    assert set(found) == {(login, role, False, False, True) for login, roles in TAKES.items() for role in roles}
    assert len(found) == len(TAKEN) + 2


@pytest.mark.parametrize("role", (*ROLES, "migrator", "governance_owner"))
def test_a_connection_takes_what_its_login_may_take_and_no_other_role(filled: Site, role: str) -> None:
    login = LOGIN_OF[role]
    others = every_role(filled)
    assert len(others) > 25
    assert {"postgres", "pg_read_all_data", "pg_read_server_files", "pg_signal_backend", *ROLES} <= set(others)
    with closing(Tries(filled.dsn(role))) as tries:
        taken = {other for other in others if not tries.refused(sql.SQL("SET ROLE {}").format(sql.Identifier(other)))}
        assert taken == taken_by(login)
        become = sql.SQL("SET SESSION AUTHORIZATION {}")
        became = {other for other in others if not tries.refused(become.format(sql.Identifier(other)))}
        assert became == {login}


@pytest.mark.parametrize("login", LOGINS)
def test_a_role_is_taken_at_the_connection_by_its_login_alone(filled: Site, login: str) -> None:
    taken = set()
    for role in every_role(filled):
        try:
            with closing(psycopg2.connect(filled.dsn(login), options=f"-c role={role}")) as connection:
                cursor = connection.cursor()
                cursor.execute("SELECT current_user, session_user")
                assert cursor.fetchone() == (role, login)
                taken.add(role)
        except psycopg2.OperationalError as error:
            assert "permission denied to set role" in str(error), (login, role)
    assert taken == taken_by(login)


@pytest.mark.clause("J2")
def test_nobody_logs_in_with_select_on_landing_vault_or_quarantine(filled: Site) -> None:
    held = builders.read(
        filled,
        "SELECT r.rolname, n.nspname || '.' || c.relname, has_any_column_privilege(r.oid, c.oid, 'SELECT') "
        "FROM pg_roles r CROSS JOIN pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE r.rolcanlogin AND NOT r.rolsuper AND n.nspname = ANY(%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
        list(PERSONAL),
    )
    assert {(role, table) for role, table, may_read in held if may_read} == set()
    assert {role for role, _, _ in held} == set(LOGINS)
    assert len({role for role, _, _ in held}) > 5
    assert len({table for _, table, _ in held}) > 10
    # The same question finds the roles that may, so it would find a login that may.
    ((readers,),) = builders.read(
        filled,
        "SELECT array_agg(DISTINCT r.rolname::text) FROM pg_roles r CROSS JOIN pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT r.rolsuper AND r.rolname !~ '^pg_' "
        "AND n.nspname = ANY(%s) AND has_any_column_privilege(r.oid, c.oid, 'SELECT')",
        list(PERSONAL),
    )
    assert set(readers) == {
        "validator", "publisher", "sharer", "profiler", "screener", "retainer", "steward", "governance_owner",
    }  # fmt: skip


@pytest.mark.clause("J2")
@pytest.mark.parametrize(
    "login", [login for login in LOGINS if login not in ("airflow", "observer")]
)  # another database
def test_a_login_reads_nothing_personal_before_it_takes_a_role_nor_after_it_lets_go(
    filled: Site, tables: dict[str, list[str]], login: str
) -> None:
    personal = {table: columns for table, columns in tables.items() if table.split(".")[0] in PERSONAL}
    assert len(personal) > 10
    queries = [
        sql.SQL("SELECT {} FROM {}").format(what, names(table))
        for table, columns in personal.items()
        for what in (sql.SQL("1"), sql.SQL("count(*)"), sql.SQL("*"), sql.SQL("ctid"), *map(sql.Identifier, columns))
    ]
    with closing(Tries(filled.dsn(login))) as tries:
        for role in (None, *sorted(TAKES.get(login, ()))):
            # Taken and let go of, in the transaction that then reads.
            before = sql.SQL("") if role is None else sql.SQL("SET ROLE {}; RESET ROLE; ").format(sql.Identifier(role))
            for query in queries:
                assert tries.outcome(before + query) == "42501", (role, query)
    if login == "pipeline":
        with closing(Tries(filled.dsn("steward"))) as tries:
            assert tries.outcome("SELECT count(*) FROM quarantine.findings") == "done"
            assert tries.outcome("SET ROLE NONE; SELECT count(*) FROM quarantine.findings") == "42501"


def test_the_owners_login_owns_nothing_until_it_takes_the_owner(filled: Site, tables: dict[str, list[str]]) -> None:
    with closing(Tries(filled.dsn("migrator"))) as tries:
        for table, columns in tables.items():
            is_view = table.startswith("landing.current_") or table in VIEWS_OF_ANALYTICS
            kind = "VIEW" if is_view else "TABLE"
            for statement in (
                f"SELECT 1 FROM {table}", f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}",
                f"UPDATE {table} SET {columns[0]} = {columns[0]}", f"DROP {kind} {table}",
                f"GRANT SELECT ON {table} TO migrator", f"ALTER {kind} {table} OWNER TO migrator",
            ):  # fmt: skip
                assert tries.outcome(statement) == "42501", statement
        assert tries.outcome("GRANT publisher TO migrator") == "42501"
        assert tries.outcome("SET ROLE governance_owner; SELECT count(*) FROM vault.bookings") == "done"


@pytest.mark.parametrize("role", [*TAKEN, "governance_owner"])
def test_nobody_logs_in_as_a_role_that_is_taken(filled: Site, role: str) -> None:
    address = f"host=127.0.0.1 port={filled.warehouse_port} dbname=governance user={role}"
    for password in ("", "x", role, *filled.passwords.values()):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(address, password=password)
    # Not for want of a password: with one that is right it is not let in either.
    builders.read(filled, f"ALTER ROLE {role} PASSWORD 'right'", role="postgres")
    try:
        with pytest.raises(psycopg2.OperationalError, match="is not permitted to log in"):
            psycopg2.connect(address, password="right")
    finally:
        builders.read(filled, f"ALTER ROLE {role} PASSWORD NULL", role="postgres")


@pytest.mark.parametrize("role", (*ROLES, "migrator", "governance_owner", "airflow"))
def test_no_role_connects_to_another_database(filled: Site, role: str) -> None:
    own = parse_dsn(filled.dsn(role))["dbname"]
    for database in {"governance", "airflow", "postgres", "template1"} - {own}:
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(filled.dsn(role), dbname=database)


@pytest.mark.parametrize("login", LOGINS)
def test_nobody_connects_without_the_right_password(filled: Site, login: str) -> None:
    address = make_dsn(filled.dsn(login), password="")
    for password in ("", "wrong", filled.passwords["analyst" if login != "analyst" else "auditor"]):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(address, password=password)


@pytest.mark.clause("J2")
@pytest.mark.parametrize("role", (*ROLES, "migrator", "governance_owner"))
@pytest.mark.parametrize("setting", ("event_triggers=off", "session_replication_role=replica"))
def test_nobody_connects_past_what_notes_connections(filled: Site, role: str, setting: str) -> None:
    options = f"{parse_dsn(filled.dsn(role)).get('options', '')} -c {setting}"
    with pytest.raises(psycopg2.OperationalError, match="permission denied to set parameter"):
        psycopg2.connect(filled.dsn(role), options=options)


# -- the owner ---------------------------------------------------------------------------------------------------------

# Something harmless that a superuser alone can do, and that can be seen: on either cluster, to a role of it.
MARK = """
BEGIN
    EXECUTE (SELECT format('ALTER ROLE %I CONNECTION LIMIT 77', rolname) FROM pg_catalog.pg_roles
             WHERE rolname IN ('analyst', 'puller'));
EXCEPTION WHEN insufficient_privilege THEN NULL;
END;"""


def is_marked(site: Site, superuser: str = "postgres") -> bool:
    """Whether a superuser has run what somebody else wrote; the mark is taken off again."""
    with closing(psycopg2.connect(site.dsn(superuser))) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolconnlimit FROM pg_roles WHERE rolname IN ('analyst', 'puller')")
        [(role, limit)] = cursor.fetchall()
        cursor.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
    return bool(limit == 77)


def test_the_mark_would_be_seen(filled: Site) -> None:
    for superuser in ("postgres", "source_postgres"):
        assert not is_marked(filled, superuser)
        builders.read(filled, f"DO $$ BEGIN {MARK} END $$", role=superuser)
        assert is_marked(filled, superuser)


@pytest.mark.parametrize(
    "trigger",
    (
        "CREATE TRIGGER mark BEFORE INSERT ON audit.sessions FOR EACH ROW",
        "CREATE TRIGGER mark AFTER INSERT ON audit.sessions FOR EACH STATEMENT",
        "CREATE CONSTRAINT TRIGGER mark AFTER INSERT ON audit.sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
    ),
)
def test_what_the_owner_hangs_on_the_noted_connections_is_not_run_as_the_superuser(filled: Site, trigger: str) -> None:
    builders.read(
        filled,
        "CREATE FUNCTION public.mark() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {MARK} RETURN NEW; END $$; GRANT USAGE ON SCHEMA public TO PUBLIC",
    )
    try:
        builders.read(filled, f"{trigger} EXECUTE FUNCTION public.mark()")
        builders.read(filled, "SELECT 1", role="analyst")
        with closing(psycopg2.connect(filled.dsn("postgres"), dbname="governance")):
            pass  # the superuser's own connection is noted too
        assert not is_marked(filled)
    finally:
        builders.read(filled, "DROP FUNCTION public.mark() CASCADE; REVOKE USAGE ON SCHEMA public FROM PUBLIC")


MARKED_APPEND = (
    "CREATE OR REPLACE FUNCTION audit.append(entry text) RETURNS uuid LANGUAGE plpgsql SECURITY INVOKER AS "
    f"$$ BEGIN {MARK} RETURN gen_random_uuid(); END $$"
)


def test_what_the_owner_writes_into_our_functions_is_not_run_as_the_superuser(filled: Site) -> None:
    ((sound,),) = builders.read(filled, "SELECT pg_get_functiondef('audit.append(text)'::regprocedure)")
    builders.read(filled, MARKED_APPEND)
    try:
        provision.provision(filled, "warehouse", builders.POLICY)
        provision.note_logins(filled, builders.POLICY)
        assert not is_marked(filled)
    finally:
        builders.read(filled, sound)
    assert builders.read(filled, "SELECT prosecdef FROM pg_proc WHERE proname = 'append'") == [(True,)]


@pytest.mark.parametrize(
    ("owner", "cluster", "superuser"),
    (("airflow", "warehouse", "postgres"), ("wellbe_owner", "source", "source_postgres")),
)
def test_what_calls_itself_our_log_in_another_database_is_not_run_as_the_superuser(
    filled: Site, owner: str, cluster: ClusterName, superuser: str
) -> None:
    builders.read(filled, f"CREATE SCHEMA audit; {MARKED_APPEND}", role=owner)
    try:
        provision.provision(filled, cluster, builders.POLICY)
        assert not is_marked(filled, superuser)
    finally:
        builders.read(filled, "DROP SCHEMA audit CASCADE", role=owner)


@pytest.mark.clause("J2")
def test_the_owner_cannot_end_the_noting_of_connections(filled: Site) -> None:
    ((function,),) = builders.read(filled, NOTES_LOGINS)
    schema = function.split(".")[0]
    owner = "SELECT o.rolname FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner WHERE n.nspname = %s"
    # Whoever owns a schema may drop what is in it, and the event trigger with it.
    assert builders.read(filled, owner, schema) == [("postgres",)]
    with closing(Tries(filled.dsn("governance_owner"))) as tries:
        for statement in (
            f"DROP FUNCTION {function}() CASCADE",
            f"DROP SCHEMA {schema} CASCADE",
            f"ALTER FUNCTION {function}() SECURITY INVOKER",
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
            *(s for what, s in FORBIDDEN_IN_OURS.items() if "noting" in what or "nobody notes" in what),
        ):
            assert tries.outcome(statement) == "42501", statement


@pytest.mark.clause("R1")
@pytest.mark.parametrize(
    "table",
    (
        "audit.run_log", "audit.leaves", "audit.checkpoints", "audit.texts", "audit.sessions",
        "analytics.releases", "analytics.bookings_rows", "analytics.bookings_events_rows",
        "analytics.bookings_events_origins_rows", "analytics.visits_sessions_rows",
        "analytics.visits_regions_rows", "analytics.visits_search_to_booking_rows", "analytics.inquiries_funnel_rows",
        "analytics.privacy_budget", "analytics.release_settings", "analytics.release_notes", "analytics.release_bias",
        "analytics.column_history", "audit.release_measures", "audit.exact_counts", "audit.release_attacks",
    ),
)  # fmt: skip
def test_what_is_appended_stays_also_for_the_owner(filled: Site, table: str) -> None:
    before = builders.read(filled, f"SELECT max(ctid), count(*) FROM {table}")
    assert before[0][1] > 0
    # A column that is not made by the database itself.
    columns = {"audit.run_log": "entry", "audit.leaves": "entry_id", "audit.checkpoints": "note", "audit.texts": "name",
               "audit.sessions": "application_name", "analytics.releases": "dataset",
               "analytics.column_history": "table_name", "audit.release_measures": "dataset",
               "audit.release_attacks": "dataset"}  # fmt: skip
    columns |= {f"analytics.release_{about}": "dataset" for about in ("settings", "notes", "bias")}
    column = columns.get(table, "recorded_date")
    for change in (
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f"TRUNCATE {table} CASCADE",
        f"DELETE FROM {table} WHERE false",
        f"UPDATE {table} SET {column} = {column}",
    ):
        with pytest.raises(errors.RaiseException, match="append-only"):
            builders.read(filled, change)
    after = builders.read(filled, f"SELECT max(ctid), count(*) FROM {table}")
    # Every connection that tried has been noted.
    assert after == before if table != "audit.sessions" else after[0][1] > before[0][1]


PULLER_READS_SOME = """
bookings clients terms_acceptances booking_travellers booking_services guardian_consents payment_cards page_views
providers consent_events inquiries offers subject_requests
"""


@pytest.fixture(scope="module")
def puller(filled: Site) -> Iterator[Tries]:
    """A connection to the source as the role that reads it."""
    with closing(Tries(filled.dsn("puller"))) as tries:
        yield tries


def test_the_puller_changes_nothing_at_the_source_and_counts_only_what_it_reads(filled: Site, puller: Tries) -> None:
    found = [
        name
        for (name,) in builders.read(
            filled,
            "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE {IN_ZONES} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
            role="wellbe_owner",
        )
    ]
    assert len(found) >= 16
    for table in found:
        schema, name = table.split(".")
        assert puller.outcome(f"SELECT * FROM {table}") == "42501", table  # of each, policy refuses some column
        counted = puller.outcome(f"SELECT count(*) FROM {table}")
        assert counted == ("done" if schema == "wellbe" and name in PULLER_READS_SOME.split() else "42501"), table
        for change in (
            f"DELETE FROM {table}", f"TRUNCATE {table}", f"INSERT INTO {table} DEFAULT VALUES",
            f"ALTER TABLE {table} ADD COLUMN x int", f"DROP TABLE {table}", f"LOCK TABLE {table} IN EXCLUSIVE MODE",
        ):  # fmt: skip
            assert puller.outcome(change) == "42501", change


@pytest.mark.parametrize("what", FORBIDDEN_TO_ALL)
def test_the_puller_does_not_get(what: str, filled: Site, puller: Tries) -> None:
    statement = FORBIDDEN_TO_ALL[what].replace("governance_owner", "wellbe_owner").replace("migrator", "wellbe_owner")
    statement = statement.replace("audit.run_log", "wellbe.bookings")
    with closing(psycopg2.connect(filled.dsn("wellbe_owner"))):  # somebody whose connection could be ended
        outcomes = {puller.outcome(statement.replace("{zone}", zone)) for zone in ("wellbe", "sample")}
    assert outcomes <= NOT_GIVEN


def test_the_puller_connects_to_no_other_database_of_the_source(filled: Site) -> None:
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(filled.dsn("puller").rsplit("/", 1)[0] + f"/{database}")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(
            filled.dsn("puller").replace(f":{filled.source_port}/wellbe", f":{filled.warehouse_port}/governance")
        )
