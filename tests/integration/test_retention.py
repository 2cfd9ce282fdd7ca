"""Rows end when policy says so: by the real now, in our database and at the source, and the run log proves it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

import boundaries
import builders
from aftermath import entries, outcomes, through
from builders import DAY, NOON, World
from governance import steps, warehouse
from governance.embedded.site import Site
from governance.errors import (
    AlarmError,
    ContendedError,
    GovernanceError,
    InputError,
    PolicyError,
    SourceUnavailableError,
)
from governance.run_log import Batch
from governance.steps import Workspace
from kept import Kept

pytestmark = [pytest.mark.pg, pytest.mark.clause("K1"), pytest.mark.clause("R1")]

KEY = DAY.isoformat()
TERM, MARGIN = timedelta(hours=240), timedelta(hours=2)
CARD = datetime(2026, 3, 10, 11, 40, tzinfo=UTC)
CARD_GOES = CARD.replace(minute=0) + TERM - MARGIN
"""Together with the key of its hour."""


def at(site: Site, now: datetime) -> Workspace:
    """A workspace at an instant."""
    return builders.workspace(site, now=now)


def ours(site: Site, table: str = "records.payment_cards") -> int:
    """Rows of a table of ours."""
    ((count,),) = builders.read(site, f"SELECT count(*) FROM {table}")
    return int(count)


def at_source(site: Site, where: str = "true") -> int:
    """Cards that the source has."""
    ((count,),) = builders.read(site, f"SELECT count(*) FROM wellbe.payment_cards WHERE {where}", role="wellbe_owner")
    return int(count)


def told(site: Site, rule: str, event: str = "retain") -> list[dict[str, Any]]:
    """Outcomes of a rule, oldest first."""
    return [entry for entry in entries(site, event, "outcome") if entry["partition_key"] == rule]


def with_card(world: World, **card: Any) -> None:
    """A booking with a card."""
    world.booking(card={"captured_at": CARD, **card})


@pytest.mark.parametrize(
    ("before", "left"),
    [(timedelta(seconds=1), 1), (timedelta(0), 0), (-timedelta(seconds=1), 0)],
    ids=["a second before", "at the instant", "a second after"],
)
def test_a_card_goes_with_the_key_of_its_hour_here_and_at_the_source(
    site: Site, world: World, space: Workspace, before: timedelta, left: int
) -> None:
    with_card(world)
    through(space, "bookings", KEY)
    assert (ours(site), at_source(site)) == (1, 1)
    steps.retain(at(site, CARD_GOES - before), builders.run())
    assert (ours(site), at_source(site)) == (left, left)
    for rule in ("cards", "cards_at_source"):
        (entry,) = told(site, rule)
        assert entry["outcome"] == ("no_data" if left else "passed")
        assert entry["counts"] == {"due": 1 - left, "ended": 1 - left, "kept": left, "left_due": 0}
        assert entry["alarms"] == []


@pytest.mark.parametrize(
    "captured",
    [None, datetime(2999, 1, 1, tzinfo=UTC), "12000-01-01", "infinity", "-infinity", "0001-12-31 23:59:59+00 BC"],
)
def test_a_card_of_which_nobody_knows_when_it_was_captured_goes_at_once(
    site: Site, world: World, space: Workspace, captured: object
) -> None:
    with_card(world, captured_at=captured)
    with pytest.raises(AlarmError, match="1 rows of wellbe.payment_cards at the source had no instant to count from"):
        steps.retain(space, builders.run())
    assert at_source(site) == 0


@pytest.mark.parametrize(("minutes", "left"), [(-1, 1), (4, 1), (66, 0)])
def test_what_is_to_come_is_so_by_the_clock_of_the_database_too(
    site: Site, world: World, space: Workspace, minutes: int, left: int
) -> None:
    """This machine, and a plan, are months behind; tolerated are five minutes, and an hour counts whole."""
    plan = steps.plan_retention(space, builders.run())
    with_card(world, captured_at=datetime.now(UTC) + timedelta(minutes=minutes))
    if left:
        steps.apply_plan(space, plan.digest, builders.run())
    else:
        with pytest.raises(InputError, match="no longer what the plan told"):
            steps.apply_plan(space, plan.digest, builders.run())
    with contextlib.nullcontext() if left else pytest.raises(AlarmError, match="no instant to count from"):
        steps.retain(space, builders.run())
    assert at_source(site) == left


@pytest.mark.parametrize(("minutes", "left"), [(-1, 1), (4, 1), (6, 0)])
def test_what_is_quarantined_now_stays_whatever_this_machine_says(
    site: Site, world: World, space: Workspace, minutes: int, left: int
) -> None:
    world.booking(with_terms=False)
    steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    builders.read(site, "UPDATE quarantine.rows SET quarantined_at = now() + %s * interval '1 minute'", minutes)
    steps.retain(space, builders.run())
    assert builders.read(site, "SELECT count(*) FROM quarantine.rows") == [(left,)]


def test_a_card_of_the_first_instant_that_counts_has_outlived_its_term(
    site: Site, world: World, space: Workspace
) -> None:
    with_card(world, captured_at="0001-01-01 00:00:00+00")
    with pytest.raises(AlarmError, match=r"outlived their term by up to .* clock in the hour from 1-01-01 00:00 UTC"):
        steps.retain(space, builders.run())
    assert at_source(site) == 0


def test_a_code_at_the_source_goes_with_the_next_run_and_the_card_stays(
    site: Site, world: World, space: Workspace
) -> None:
    with_card(world, cvv="123")
    steps.retain(space, builders.run())
    assert (at_source(site), at_source(site, "cvv IS NOT NULL")) == (1, 0)
    (entry,) = told(site, "cvv_at_source")
    assert entry["counts"] == {"due": 1, "ended": 1, "kept": 0, "left_due": 0}


@pytest.mark.parametrize("days", [1, 3, 30])
def test_after_missed_runs_the_next_one_ends_all_and_logs_each_breach(
    site: Site, world: World, space: Workspace, days: int
) -> None:
    for hour in range(3):
        with_card(world, captured_at=CARD - timedelta(hours=hour))
    with_card(world, captured_at=CARD)
    through(space, "bookings", KEY)
    late = CARD + TERM + timedelta(days=days)
    told_once = rf"ALARM K1 4 rows of records.payment_cards outlived .* {days * 24 + 2}.0 hours \(rule cards, 3 entries"
    with pytest.raises(AlarmError, match=told_once):
        steps.retain(at(site, late), builders.run())
    assert (ours(site), at_source(site)) == (0, 0)
    for rule in ("cards", "cards_at_source"):
        breaches = told(site, rule, "breach")
        assert [entry["counts"]["rows"] for entry in breaches] == [1, 1, 2]
        assert [entry["measures"]["hours_beyond_term"] for entry in breaches] == [
            pytest.approx(days * 24 + hour) for hour in (2, 1, 0)
        ]
        (entry,) = told(site, rule)
        assert entry["counts"]["ended"] == 4
    steps.retain(at(site, late), builders.run())
    assert len(told(site, "cards", "breach")) == 3


def test_what_is_due_before_its_batch_is_validated_is_not_missed_there(
    site: Site, world: World, space: Workspace
) -> None:
    with_card(world)
    world.booking(card={"captured_at": CARD + timedelta(hours=6)})
    run = builders.run()
    late = at(site, CARD_GOES)
    batch = steps.pull(space, "bookings", KEY, run)
    steps.retain(late, builders.run())
    steps.validate(late, batch, run)
    assert (ours(site), ours(site, "vault.payment_cards")) == (1, 1)
    assert outcomes(site, "validate") == ["passed"]


def test_the_source_that_does_not_let_us_is_told_of_and_keeps_nothing_else_waiting(
    site: Site, world: World, space: Workspace
) -> None:
    with_card(world)
    through(space, "bookings", KEY)
    builders.read(site, "REVOKE DELETE ON wellbe.payment_cards FROM source_retention", role="wellbe_owner")
    try:
        with pytest.raises(GovernanceError, match=r"does not let role source_retention .*source_grants\.grant"):
            steps.retain(at(site, CARD_GOES), builders.run())
    finally:
        builders.read(site, "GRANT DELETE ON wellbe.payment_cards TO source_retention", role="wellbe_owner")
    assert (ours(site), at_source(site)) == (0, 1)
    assert [entry["outcome"] for entry in told(site, "cards_at_source")] == ["failed"]
    assert [entry["outcome"] for entry in told(site, "cards")] == ["passed"]
    away = replace(at(site, CARD_GOES), source_retention_dsn=lambda: "postgresql://x:y@127.0.0.1:1/wellbe")
    with pytest.raises(SourceUnavailableError, match=r"what is due in wellbe\.payment_cards stands there still"):
        steps.retain(away, builders.run())


@pytest.mark.parametrize("step", ["retain", "plan"])
def test_a_source_that_hides_rows_from_us_is_told_of(site: Site, world: World, space: Workspace, step: str) -> None:
    """With a policy for rows a search finds nothing, whatever stands there."""
    with_card(world)
    through(space, "bookings", KEY)
    world.execute("ALTER TABLE wellbe.payment_cards ENABLE ROW LEVEL SECURITY")
    act = {"retain": steps.retain, "plan": steps.plan_retention}[step]
    try:
        with pytest.raises(GovernanceError, match="does not let role source_retention"):
            act(at(site, CARD_GOES), builders.run())
    finally:
        world.execute("ALTER TABLE wellbe.payment_cards DISABLE ROW LEVEL SECURITY")
    assert at_source(site) == 1
    steps.retain(at(site, CARD_GOES), builders.run())
    assert at_source(site) == 0


@pytest.mark.parametrize("rule", ["cards", "cards_at_source"])
def test_two_tries_of_a_rule_do_not_tell_of_one_deed_twice(
    site: Site, world: World, space: Workspace, rule: str
) -> None:
    with_card(world)
    through(space, "bookings", KEY)
    late = at(site, CARD_GOES + timedelta(days=1))
    batch = Batch("retention", rule, "another")
    with warehouse.connect(site.dsn("recorder"), "another") as other, other.exclusive(batch):
        with pytest.raises(ContendedError, match=f"partition {rule}: another run"):
            steps.retain(late, builders.run())
        assert (ours(site), at_source(site)) == {"cards": (1, 0), "cards_at_source": (0, 1)}[rule]
    with pytest.raises(AlarmError):
        steps.retain(late, builders.run())
    assert (ours(site), at_source(site)) == (0, 0)
    assert [entry["counts"]["rows"] for entry in told(site, rule, "breach")] == [1]


def test_a_plan_tells_what_apply_does_and_apply_does_nothing_else(site: Site, world: World, space: Workspace) -> None:
    with_card(world)
    through(space, "bookings", KEY)
    now = at(site, CARD_GOES)
    plan = steps.plan_retention(now, builders.run())
    due = {look.rule: look.due for look in plan.parts if look.due}
    assert due == {"cards": 1, "cards_at_source": 1}
    with_card(world)  # one more at the source
    with pytest.raises(InputError, match="no longer what the plan told"):
        steps.apply_plan(now, plan.digest, builders.run())
    assert (ours(site), at_source(site)) == (1, 2)
    again = steps.plan_retention(now, builders.run())
    done = steps.apply_plan(at(site, CARD_GOES + timedelta(hours=3)), again.digest, builders.run())
    assert {rule: count for rule, count in done.items() if count} == {"cards": 1, "cards_at_source": 2}
    for wrong in ("", "x", again.digest[:-1] + "g", again.digest.replace("2026", "2025"), f"{again.digest} "):
        with pytest.raises(InputError):
            steps.apply_plan(now, wrong, builders.run())


def test_views_quarantine_and_refusals_end_too(site: Site, world: World, space: Workspace) -> None:
    world.visitors()
    world.view(ip="nowhere")
    through(space, "visits", KEY)
    assert ours(site, "records.page_views") == 10
    steps.retain(at(site, NOON + timedelta(days=29)), builders.run())
    assert ours(site, "records.page_views") == 10
    steps.retain(at(site, NOON + timedelta(days=31)), builders.run())
    assert ours(site, "records.page_views") == 0
    assert ours(site, "vault.release_ledger") == 10
    assert ours(site, "quarantine.findings") == 1
    steps.retain(at(site, datetime.now(UTC) + timedelta(days=91)), builders.run())
    assert [ours(site, table) for table in ("quarantine.findings", "quarantine.rows", "vault.release_ledger")] == [
        0
    ] * 3


# -- what no rule covers -----------------------------------------------------------------------------------------------

OWNER, STORE, ADMIN, STORE_ADMIN = "governance_owner", "wellbe_owner", "postgres", "source_postgres"
BATCHES, CLIENTS, CARDS = (
    "ALTER TABLE control.batches",
    "ALTER TABLE wellbe.clients",
    "ALTER TABLE wellbe.payment_cards",
)
DELIVERIES, MIGRATIONS = "ALTER TABLE sharing.deliveries ALTER created_at", "ALTER TABLE public.schema_migrations"
GAPS = {  # how it comes to be, and how it ends: whose it is, statements, what the crawl says
    "a table of ours": (OWNER, "CREATE TABLE vault.copy (x text)", "DROP TABLE vault.copy", "vault.copy has no rule"),
    "a materialised view": (
        OWNER, "CREATE MATERIALIZED VIEW analytics.peek AS SELECT 1 AS one", "DROP MATERIALIZED VIEW analytics.peek",
        "analytics.peek has no rule"),
    "a table in public": (OWNER, "CREATE TABLE public.dump ()", "DROP TABLE public.dump", "public.dump has no rule"),
    "a column of a landed table": (
        OWNER, "ALTER TABLE records.bookings ADD COLUMN diet text", "ALTER TABLE records.bookings DROP COLUMN diet",
        "records.bookings.diet is not declared"),
    "a column that names somebody where rows are kept": (
        OWNER, f"{BATCHES} ADD COLUMN client_id bigint", f"{BATCHES} DROP COLUMN client_id",
        "control.batches.client_id may name somebody, and no rule says when it ends or why it stays"),
    "bytes where rows are kept": (
        OWNER, f"{BATCHES} ADD COLUMN blob bytea", f"{BATCHES} DROP COLUMN blob", "control.batches.blob may name"),
    "a column by whose name nobody would know what it holds": (
        OWNER, f"{BATCHES} ADD COLUMN remark text DEFAULT 'asa@example.com'", f"{BATCHES} DROP COLUMN remark",
        "control.batches.remark is not declared"),
    "such a column where rows end at their time": (
        OWNER, "ALTER TABLE quarantine.rows ADD COLUMN remark text", "ALTER TABLE quarantine.rows DROP COLUMN remark",
        "quarantine.rows.remark is not declared"),
    "a column that is renamed": (
        OWNER, f"{BATCHES} RENAME COLUMN state TO remark", f"{BATCHES} RENAME COLUMN remark TO state",
        "control.batches.remark is not declared; rule batches is about control.batches.state, which is not there"),
    "a column of jsonb": (
        OWNER, f"{BATCHES} ADD COLUMN facts jsonb", f"{BATCHES} DROP COLUMN facts",
        "control.batches.facts may name somebody"),
    "an unlogged table": (
        OWNER, "CREATE UNLOGGED TABLE control.fast (n int)", "DROP TABLE control.fast", "control.fast has no rule"),
    "a partitioned table": (
        OWNER, "CREATE TABLE control.parts (n int) PARTITION BY RANGE (n)", "DROP TABLE control.parts",
        "control.parts has no rule"),
    "a partition": (
        OWNER,
        "CREATE TABLE public.parts (n int) PARTITION BY RANGE (n); "
        "CREATE TABLE vault.part PARTITION OF public.parts FOR VALUES FROM (1) TO (2)",
        "DROP TABLE public.parts", "2 gaps: public.parts has no rule; vault.part has no rule"),
    "a child of a table that has a rule": (
        OWNER, "CREATE TABLE vault.child () INHERITS (vault.saved_cards)", "DROP TABLE vault.child",
        "1 gaps: vault.child has no rule"),
    "a schema of its own": (
        OWNER, "CREATE SCHEMA aside CREATE TABLE copy (n int)", "DROP SCHEMA aside CASCADE", "aside.copy has no rule"),
    "a foreign table": (
        ADMIN,
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere; "
        "CREATE FOREIGN TABLE vault.elsewhere (n int) SERVER nowhere",
        "DROP FOREIGN DATA WRAPPER nowhere CASCADE", "vault.elsewhere has no rule"),
    "a large object": (
        ADMIN, "SELECT lo_from_bytea(17, '\\x00')", "SELECT lo_unlink(17)", "pg_catalog.pg_largeobject has no rule"),
    "a large object at the source": (
        STORE_ADMIN, "SELECT lo_from_bytea(17, '\\x00')", "SELECT lo_unlink(17)",
        "pg_catalog.pg_largeobject at the source has no rule"),
    "a table in another schema of the source": (
        STORE, "CREATE SCHEMA aside CREATE TABLE copy (n int)", "DROP SCHEMA aside CASCADE",
        "aside.copy at the source has no rule"),
    "a copy of a table of the source": (
        STORE, "CREATE TABLE wellbe.clients_old (n int)", "DROP TABLE wellbe.clients_old",
        "wellbe.clients_old at the source has no rule"),
    "a table at the source": (
        STORE, "CREATE TABLE wellbe.loyalty (client_id bigint)", "DROP TABLE wellbe.loyalty",
        "wellbe.loyalty at the source has no rule"),
    "a column at the source": (
        STORE, f"{CLIENTS} ADD COLUMN nickname text", f"{CLIENTS} DROP COLUMN nickname",
        "wellbe.clients.nickname at the source is not declared"),
    "a rule about a column that is gone": (
        STORE, f"{CARDS} RENAME COLUMN cvv TO code", f"{CARDS} RENAME COLUMN code TO cvv",
        "rule cvv_at_source is about wellbe.payment_cards.cvv, which is not there"),
    "a table in the sample's schema at the source": (
        STORE, "CREATE TABLE sample.clients_copy (n int)", "DROP TABLE sample.clients_copy",
        "1 gaps: sample.clients_copy at the source has no rule"),
    "a column of a table that no rule is about": (
        OWNER, f"{MIGRATIONS} ADD COLUMN remark text", f"{MIGRATIONS} DROP COLUMN remark",
        "1 gaps: public.schema_migrations.remark is not declared"),
    "such a column at the source": (
        STORE, "ALTER TABLE sample.loads ADD COLUMN remark text", "ALTER TABLE sample.loads DROP COLUMN remark",
        "1 gaps: sample.loads.remark is not declared at the source"),
    "a number that became text of a length": (
        OWNER, "ALTER TABLE control.shards ALTER shard_no TYPE varchar(20)",
        "ALTER TABLE control.shards ALTER shard_no TYPE integer USING shard_no::integer",
        r"1 gaps: control.shards.shard_no is character varying\(20\), which may hold anything, and not among"),
    "a number that became JSON": (
        OWNER, "ALTER TABLE analytics.releases ALTER rows TYPE jsonb USING to_jsonb(rows)",
        "ALTER TABLE analytics.releases ALTER rows TYPE bigint USING rows::bigint",
        "1 gaps: analytics.releases.rows may name somebody"),
    "the clock of rows that end, which became bytes": (
        OWNER, f"{DELIVERIES} DROP DEFAULT, ALTER created_at TYPE bytea USING NULL",
        f"{DELIVERIES} TYPE timestamptz USING now(), ALTER created_at SET DEFAULT clock_timestamp()",
        "1 gaps: sharing.deliveries.created_at is bytea, which may hold anything"),
    "numbers that became texts": (
        OWNER, "ALTER TABLE quarantine.erasures ALTER clients TYPE text[]",
        "ALTER TABLE quarantine.erasures ALTER clients TYPE bigint[] USING clients::bigint[]",
        r"1 gaps: quarantine.erasures.clients is text\[\], which may hold anything"),
    "a published column of another type": (
        OWNER, "DROP VIEW analytics.bookings; ALTER TABLE analytics.bookings_rows ALTER party_size TYPE varchar",
        "ALTER TABLE analytics.bookings_rows ALTER party_size TYPE text; "
        "CREATE VIEW analytics.bookings AS SELECT * FROM analytics.bookings_rows; "
        "GRANT SELECT ON analytics.bookings TO analyst, forwarder",
        "1 gaps: analytics.bookings_rows.party_size is character varying, declared text"),
    "a number at the source that became a text": (
        STORE, "ALTER TABLE wellbe.offers ALTER price_amount_minor TYPE text",
        "ALTER TABLE wellbe.offers ALTER price_amount_minor TYPE bigint USING price_amount_minor::bigint",
        "1 gaps: wellbe.offers.price_amount_minor is text, declared bigint, at the source"),
}  # fmt: skip


def altered(site: Site, statement: str, role: str) -> None:
    """Run what changes a schema; as a superuser in our database or the source's, not in the one of that name."""
    database = {ADMIN: "governance", STORE_ADMIN: "wellbe"}.get(role)
    dsn = f"{site.dsn(role).rsplit('/', 1)[0]}/{database}" if database else site.dsn(role)
    connection = psycopg2.connect(dsn)
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement)


NO_ROWS = {  # what a crawl leaves out, because it holds no rows of its own or not for long
    "a view": ("CREATE VIEW vault.glimpse AS SELECT * FROM records.bookings", "DROP VIEW vault.glimpse"),
    "a sequence": ("CREATE SEQUENCE vault.count", "DROP SEQUENCE vault.count"),
    "a type": ("CREATE TYPE vault.person AS (email text)", "DROP TYPE vault.person"),
    "an index": ("CREATE INDEX passing ON vault.saved_cards (saved_at)", "DROP INDEX vault.passing"),
}


@pytest.mark.parametrize("kind", NO_ROWS)
def test_what_holds_no_rows_of_its_own_needs_no_rule(site: Site, world: World, space: Workspace, kind: str) -> None:
    make, undo = NO_ROWS[kind]
    altered(site, make, OWNER)
    try:
        steps.crawl(space, builders.run())
    finally:
        altered(site, undo, OWNER)


def test_a_table_that_ends_with_its_session_needs_no_rule(site: Site, world: World, space: Workspace) -> None:
    with contextlib.closing(psycopg2.connect(site.dsn(OWNER))) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE passing (email text)")
        connection.commit()
        steps.crawl(space, builders.run())


@pytest.mark.parametrize("gap", GAPS)
def test_what_no_rule_covers_stops_the_crawl(site: Site, world: World, space: Workspace, gap: str) -> None:
    role, make, undo, says = GAPS[gap]
    altered(site, make, role)
    try:
        with pytest.raises(PolicyError, match=says):
            steps.crawl(space, builders.run())
    finally:
        altered(site, undo, role)
    steps.crawl(space, builders.run())
    assert outcomes(site, "crawl") == ["failed", "passed"]


def administered(site: Site, *statements: str, database: str = "postgres") -> None:
    """Run statements as the superuser of our cluster, each for itself."""
    connection = psycopg2.connect(site.dsn(ADMIN), dbname=database)
    connection.autocommit = True  # CREATE DATABASE knows no transaction
    with contextlib.closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.mark.parametrize("rights", ["ALLOW_CONNECTIONS true", "ALLOW_CONNECTIONS false"])
def test_a_database_beside_ours_that_nobody_declared_stops_the_crawl(
    site: Site, world: World, space: Workspace, rights: str
) -> None:
    administered(site, f"CREATE DATABASE aside {rights}", "REVOKE ALL ON DATABASE aside FROM PUBLIC")
    try:
        with pytest.raises(PolicyError, match="1 gaps: database aside of our cluster is not declared"):
            steps.crawl(space, builders.run())
    finally:
        administered(site, "DROP DATABASE aside")
    steps.crawl(space, builders.run())
    assert entries(site, "crawl", "outcome")[-1]["counts"]["other_databases"] == 4


def test_a_table_in_a_database_that_is_to_be_empty_stops_the_crawl_where_it_may_connect(
    site: Site, world: World, space: Workspace
) -> None:
    administered(site, "CREATE TABLE copy (n int)")
    try:
        steps.crawl(space, builders.run())  # it may not connect there
        administered(site, "GRANT CONNECT ON DATABASE postgres TO pipeline, retainer")
        with pytest.raises(PolicyError, match=r"1 gaps: public\.copy in database postgres has no rule"):
            steps.crawl(space, builders.run())
        administered(site, "DROP TABLE copy")
        steps.crawl(space, builders.run())
    finally:
        administered(site, "DROP TABLE IF EXISTS copy", "REVOKE CONNECT ON DATABASE postgres FROM pipeline, retainer")


# -- killed anywhere ---------------------------------------------------------------------------------------------------


def test_retention_that_is_killed_anywhere_is_finished_by_the_next_run(
    site: Site, world: World, space: Workspace, tmp_path: Path
) -> None:
    """Same rows at the end, one entry per effect: where a try was killed between the source's commit and its outcome,
    the next one writes it. Every boundary of the rules of cards: tests/integration/test_kills.py."""
    late = at(site, CARD_GOES)

    def at_the_source() -> None:
        world.clear()
        world.restart()
        with_card(world)
        with_card(world, captured_at=CARD + timedelta(hours=6), cvv="123")

    def retain(number: int) -> None:
        steps.retain(late, replace(builders.run(), try_number=number))

    at_the_source()
    through(space, "bookings", KEY)
    with contextlib.closing(Kept(site, tmp_path, at_the_source)) as kept:
        crossed = boundaries.run(lambda: retain(1))
        assert not isinstance(crossed, boundaries.Killed)
        places = [n for n in boundaries.matter(crossed) if "payment_cards" in crossed[n - 1] or n % 7 == 0][::3]
        for fatal in places:
            kept.put_back()
            ended = boundaries.run(lambda: retain(1), fatal)
            assert isinstance(ended, boundaries.Killed), fatal
            retain(2)
            assert (ours(site), at_source(site), at_source(site, "cvv IS NOT NULL")) == (1, 1, 0), ended
            assert sum(entry["counts"]["ended"] for entry in told(site, "cards")) == 1, ended
            for rule in ("cards_at_source", "cvv_at_source"):
                done = sum(entry["counts"]["ended"] for entry in told(site, rule))
                assert done == 1, (rule, ended)
        assert len(places) > 5


# -- clocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "captured", [datetime(2026, 3, 24, 11, 0, tzinfo=UTC), datetime(2026, 10, 20, 11, 0, tzinfo=UTC)],
    ids=["summer time begins", "summer time ends"],
)  # fmt: skip
def test_ten_days_are_240_hours_whatever_a_clock_on_the_wall_does(site: Site, world: World, captured: datetime) -> None:
    world.day = captured.date()
    with_card(world, captured_at=captured)
    for now, left in ((captured + TERM - MARGIN - timedelta(seconds=1), 1), (captured + TERM - MARGIN, 0)):
        steps.retain(at(site, now), builders.run())
        assert at_source(site) == left


@pytest.mark.parametrize(("own", "database", "left"), [(10, 0, 1), (0, 10, 1), (10, 10, 0)])
def test_a_clock_that_jumped_ahead_alone_ends_nothing(
    site: Site, world: World, space: Workspace, own: int, database: int, left: int
) -> None:
    with_card(world)
    through(space, "bookings", KEY)
    wrong = replace(at(site, CARD + timedelta(days=own)), database_clock=lambda: CARD + timedelta(days=database))
    if left:
        steps.retain(wrong, builders.run())
    else:
        with contextlib.suppress(AlarmError):
            steps.retain(wrong, builders.run())
    assert (ours(site), at_source(site)) == (left, left)


def test_a_card_that_retention_does_not_come_for_is_an_alarm_until_it_is_gone(
    site: Site, world: World, space: Workspace
) -> None:
    with_card(world)
    through(space, "bookings", KEY)
    steps.retain(space, builders.run())
    for hours, is_on in ((238, False), (239.5, True), (250, True)):
        now = at(site, CARD.replace(minute=0) + timedelta(hours=hours))
        if is_on:
            with pytest.raises(AlarmError, match=r"K1 records\.payment_cards \(rule cards\): the oldest row"):
                steps.watch(now, "oldest_card", builders.run())
        else:
            steps.watch(now, "oldest_card", builders.run())
    with pytest.raises(AlarmError, match="outlived their term"):
        steps.retain(now, builders.run())
    steps.watch(now, "oldest_card", builders.run())
