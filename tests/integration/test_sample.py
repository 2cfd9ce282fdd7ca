"""The sample against a real source: what is planted breaks its rule, and nothing else breaks any."""

from __future__ import annotations

import gzip
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions, sql

import governance
import sample_oracle
from governance.__main__ import main
from governance.embedded.site import Site
from governance.errors import InputError, SourceUnavailableError
from governance.sample import cli, hotel, kinds
from governance.sample.canaries import canary_tokens
from governance.sample.generator import generate
from governance.sample.importer import import_files
from governance.sample.load import Loaded

pytestmark = pytest.mark.pg

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
UNTIL = date(2026, 11, 22)
SCHEMA = sorted((Path(governance.__file__).parent / "sql" / "source").glob("*.sql"))
NewSource = Callable[[], str]


@pytest.fixture(scope="module")
def new_source(site: Site) -> NewSource:
    """Make empty sources, each a database of its own next to the site's; they go when the cluster does."""
    numbers = itertools.count(1)

    def make() -> str:
        name = f"sample_{next(numbers)}"
        with closing(psycopg2.connect(site.dsn("source_postgres"))) as admin:
            admin.autocommit = True  # CREATE DATABASE knows no transaction
            with admin.cursor() as cursor:
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER wellbe_owner").format(sql.Identifier(name)))
        dsn = extensions.make_dsn(site.dsn("wellbe_owner"), dbname=name)
        with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            for path in SCHEMA:
                cursor.execute(path.read_text(encoding="utf-8"))
        return dsn

    return make


def fill(dsn: str, **changes: Any) -> Loaded:
    asked: dict[str, Any] = {"bookings": 3600, "visits": 9000, "days": 3, "seed": 11, "until": UNTIL, "now": NOW}
    return generate(dsn, **{**asked, **changes})


@pytest.fixture(scope="module")
def filled(new_source: NewSource) -> str:
    dsn = new_source()
    fill(dsn)
    return dsn


def query(dsn: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(text, values)
        return list(cursor.fetchall())


def content(dsn: str, before: date | None = None) -> dict[str, set[str]]:
    """Return every row as text by table; with `before`, rows recorded on earlier Stockholm days only."""
    limit = date(9999, 1, 1) if before is None else before
    at = "(recorded_at AT TIME ZONE 'Europe/Stockholm')::date < %s"
    tables = [name for (name,) in query(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'wellbe'")]
    rows = {
        name: {row[0] for row in query(dsn, f"SELECT t::text FROM wellbe.{name} t WHERE {at}", limit)}
        for name in tables
    }
    planted = query(dsn, "SELECT t::text FROM sample.planted_troubles t WHERE partition_key < %s", limit.isoformat())
    return {**rows, "planted": {row[0] for row in planted}}


def broken_and_planted(dsn: str, now: datetime = NOW) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    with closing(psycopg2.connect(dsn)) as connection:
        return sample_oracle.broken_rules(connection, now), sample_oracle.planted(connection)


def test_exactly_the_planted_rows_break_rules_each_the_one_meant_for_it(filled: str) -> None:
    broken, planted = broken_and_planted(filled)
    assert planted - broken == set()
    assert broken - planted == set()


def test_every_kind_is_planted_and_the_manifest_names_rows_that_exist(filled: str) -> None:
    names = {**kinds.BOOKING_KINDS, **kinds.VISIT_KINDS}
    found = query(filled, "SELECT DISTINCT kind, rule, dataset, table_name FROM sample.planted_troubles")
    assert sorted(found) == sorted((k.name, k.rule, k.dataset, k.table) for k in names.values())
    lost = query(
        filled,
        """SELECT row_key FROM sample.planted_troubles p WHERE table_name = 'bookings' AND NOT EXISTS
           (SELECT FROM wellbe.bookings b WHERE b.booking_id || '/' || b.version = p.row_key
            AND (b.recorded_at AT TIME ZONE 'Europe/Stockholm')::date = p.partition_key::date)""",
    )
    assert lost == []


def test_a_booking_has_at_most_one_planted_trouble_and_none_after_it(filled: str) -> None:
    rows = query(
        filled,
        """SELECT split_part(row_key, '/', 1), count(*), max(kind) FROM sample.planted_troubles
           WHERE dataset = 'bookings' GROUP BY 1""",
    )
    assert {many for _, many, _ in rows} == {1}
    troubled = [int(booking) for booking, _, kind in rows if kind != "version_gap"]
    later = query(filled, "SELECT count(*) FROM wellbe.bookings WHERE booking_id = ANY(%s) AND version > 1", troubled)
    assert later == [(0,)]


@pytest.mark.parametrize(
    ("until", "days"),
    [(date(2026, 10, 25), 2), (date(2026, 3, 29), 2), (date(2024, 2, 29), 2), (date(2025, 3, 1), 2)],
    ids=["25 hours", "23 hours", "29 February", "1 March"],
)
def test_sound_rows_are_sound_on_awkward_days_too(new_source: NewSource, until: date, days: int) -> None:
    dsn, now = new_source(), datetime(until.year, until.month, until.day, 12, tzinfo=UTC) + timedelta(days=1)
    loaded = generate(dsn, bookings=2400, visits=3000, days=days, seed=5, until=until, now=now)
    broken, planted = broken_and_planted(dsn, now)
    assert broken == planted
    outside = """SELECT count(*) FROM wellbe.{} WHERE (recorded_at AT TIME ZONE 'Europe/Stockholm')::date
                 NOT BETWEEN %s AND %s"""
    for table in ("bookings", "page_views", "payment_cards"):
        assert query(dsn, outside.format(table), loaded.first_day, until) == [(0,)]


def test_a_small_sample_plants_every_kind_within_three_days(new_source: NewSource) -> None:
    dsn = new_source()
    loaded = fill(dsn, bookings=9, visits=12)
    assert set(loaded.planted) == {*kinds.BOOKING_KINDS, *kinds.VISIT_KINDS}
    broken, planted = broken_and_planted(dsn)
    assert broken == planted


def test_the_counts_asked_for_are_reached_and_told(filled: str) -> None:
    loaded = fill(filled)
    told = {
        name: query(filled, f"SELECT count(*) FROM wellbe.{name}")[0][0]
        for name in loaded.counts
        if name != "planted_troubles"
    }
    assert loaded.counts == {**told, "planted_troubles": sum(loaded.planted.values())}
    firsts = query(filled, "SELECT count(DISTINCT booking_id) FROM wellbe.bookings")[0][0]
    assert 3600 <= firsts <= 3600 * 1.1
    assert 9000 <= told["page_views"] <= 9000 * 1.1


def test_asking_again_changes_nothing(filled: str) -> None:
    before = content(filled)
    again = fill(filled)
    assert again.added == {}
    assert content(filled) == before


def test_the_same_seed_and_end_date_give_the_same_rows(filled: str, new_source: NewSource) -> None:
    other = new_source()
    fill(other, now=NOW + timedelta(days=200))
    assert content(other) == content(filled)


def test_another_seed_gives_other_rows(filled: str, new_source: NewSource) -> None:
    other = new_source()
    fill(other, seed=12)
    assert not content(other)["bookings"] & content(filled)["bookings"]


def test_a_later_end_date_adds_the_days_since_and_touches_no_other(new_source: NewSource) -> None:
    dsn = new_source()
    fill(dsn, until=UNTIL - timedelta(days=2))
    before = content(dsn, UNTIL - timedelta(days=1))
    loaded = fill(dsn)
    assert (loaded.first_day, loaded.last_day) == (UNTIL - timedelta(days=4), UNTIL)
    after = content(dsn, UNTIL - timedelta(days=1))
    # Clients who registered before the first day and book again on a later one are recorded then as they are: long ago.
    old = {"clients", "terms_acceptances", "consent_events"}
    assert {name: after[name] for name in after.keys() - old} == {name: before[name] for name in before.keys() - old}
    assert all(before[name] <= after[name] for name in old)
    broken, planted = broken_and_planted(dsn)
    assert broken == planted


def test_days_added_one_by_one_equal_days_added_at_once(new_source: NewSource) -> None:
    one, many = new_source(), new_source()
    for back in (3, 2, 1, 0):
        fill(one, bookings=700, visits=700, until=UNTIL - timedelta(days=back))
    fill(many, bookings=700, visits=700, until=UNTIL - timedelta(days=3))
    fill(many, bookings=700, visits=700)
    assert content(one) == content(many)


def test_a_sample_of_whole_weeks_that_begins_later_has_the_same_days_but_for_older_bookings(
    new_source: NewSource,
) -> None:
    early, late = new_source(), new_source()
    fill(early, bookings=2100, visits=2100, days=7, until=UNTIL - timedelta(days=2))
    fill(early, bookings=2100, visits=2100, days=7)
    fill(late, bookings=2100, visits=2100, days=7)
    recorded = "SELECT b::text FROM wellbe.{} b WHERE recorded_at >= '2026-11-15T23:00Z'"
    for table in ("bookings", "booking_travellers", "payment_cards", "page_views"):
        of_early, of_late = (set(query(dsn, recorded.format(table))) for dsn in (early, late))
        assert of_late <= of_early
        assert len(of_early - of_late) < 0.05 * len(of_early)


@pytest.mark.parametrize(
    "change",
    [{"bookings": 3601}, {"visits": 1}, {"days": 4}, {"seed": 12}, {"canaries": False}],
    ids=lambda c: next(iter(c)),
)
def test_a_source_filled_otherwise_is_refused_with_what_to_do(filled: str, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"other parameters .*make clean"):
        fill(filled, **change)


def test_a_day_that_is_not_over_is_refused(new_source: NewSource) -> None:
    dsn = new_source()
    with pytest.raises(InputError, match="not over"):
        fill(dsn, until=date(2026, 11, 23))
    fill(dsn, bookings=1, visits=0, until=date(2026, 11, 23), now=datetime(2026, 11, 23, 23, 0, tzinfo=UTC))


def test_a_failure_on_the_way_leaves_nothing(new_source: NewSource) -> None:
    dsn = new_source()

    class StopError(Exception):
        pass

    def stop(what: str, done: int, of: int) -> None:
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        fill(dsn, progress=stop)
    assert all(not rows for rows in content(dsn).values())
    assert query(dsn, "SELECT count(*) FROM sample.loads") == [(0,)]


def test_a_source_that_is_down_is_a_transient_error() -> None:
    with pytest.raises(SourceUnavailableError, match="make up"):
        fill("host=127.0.0.1 port=1 dbname=wellbe user=wellbe_owner")


def test_canaries_share_what_is_published_and_bear_unique_tokens(filled: str) -> None:
    rows = query(
        filled,
        """SELECT c.country_code, (b.recorded_at AT TIME ZONE 'Europe/Stockholm')::date, count(DISTINCT b.client_id),
                  count(DISTINCT split_part(s.procedure_code, '.', 1)) FILTER (WHERE s.kind = 'health'),
                  max(b.service_date - b.booked_at::date) - min(b.service_date - b.booked_at::date),
                  max(b.price_amount_minor)::float / min(b.price_amount_minor), count(DISTINCT b.locale),
                  count(DISTINCT b.nights_count), count(DISTINCT b.status)
           FROM wellbe.bookings b JOIN wellbe.clients c USING (client_id)
           JOIN wellbe.booking_services s ON (s.booking_id, s.version) = (b.booking_id, b.version)
           WHERE c.given_name LIKE 'Zq%%' GROUP BY 1, 2""",
    )
    assert len(rows) == 2 * 3
    for _, _, people, specialties, leads, prices, *rest in rows:
        assert people >= 25
        assert specialties >= 3
        assert leads <= 4
        assert prices < 1.1
        assert rest == [1, 1, 1]


def test_every_canary_token_is_in_the_source_and_every_token_there_is_known(filled: str) -> None:
    days = [UNTIL - timedelta(days=n) for n in range(3)]
    everything = "\n".join(row for rows in content(filled).values() for row in rows)
    tokens = canary_tokens(11, *days)
    assert [token for token in tokens if token not in everything] == []
    letters = [token for token in tokens if token.startswith("Zq")]
    assert len(letters) == len(set(letters))
    for table, column in (("clients", "email"), ("payment_cards", "card_holder"), ("page_views", "device_id")):
        marked = query(filled, f"SELECT {column} FROM wellbe.{table} WHERE {column} LIKE 'Zq%%'")
        assert {text[:10] for (text,) in marked} <= set(letters)


def test_a_sample_without_canaries_has_none(new_source: NewSource) -> None:
    dsn = new_source()
    fill(dsn, bookings=60, visits=60, canaries=False)
    assert not [row for rows in content(dsn).values() for row in rows if "Zq" in row]


def test_distributions_are_those_of_real_data(filled: str) -> None:
    share = """SELECT avg((rank > 1)::int) FROM (
               SELECT row_number() OVER (PARTITION BY client_id ORDER BY recorded_at) AS rank
               FROM wellbe.bookings WHERE version = 1) b"""
    assert 0.05 < query(filled, share)[0][0] < 0.25  # within three days; about a sixth within seven
    mobile = "SELECT avg((user_agent ~ 'Mobile|WellbeApp|Android')::int) FROM wellbe.page_views"
    assert 0.5 < query(filled, mobile)[0][0] < 0.68
    settled = "SELECT count(*) FROM wellbe.page_views WHERE device_id IS NULL AND device_settings IS NOT NULL"
    assert query(filled, settled) == [(0,)]
    swedes = "SELECT avg((country_code = 'SE')::int) FROM wellbe.clients"
    assert 0.35 < query(filled, swedes)[0][0] < 0.55
    leap = "SELECT count(*) FROM wellbe.booking_travellers WHERE to_char(birth_date, 'MM-DD') = '02-29'"
    assert query(filled, leap)[0][0] > 5
    almost = """SELECT count(*) FROM wellbe.bookings b JOIN wellbe.booking_travellers t USING (booking_id, version)
                WHERE t.birth_date + interval '18 years' BETWEEN b.booked_at + interval '1 day' AND b.service_date"""
    assert query(filled, almost)[0][0] > 5
    assert query(filled, "SELECT count(*) FROM wellbe.payment_cards WHERE cvv IS NOT NULL") == [(0,)]
    assert query(filled, "SELECT count(*) - count(DISTINCT card_number) FROM wellbe.payment_cards") == [(0,)]
    first_names = "SELECT count(DISTINCT email) - count(DISTINCT client_id) FROM wellbe.clients WHERE version = 1"
    assert query(filled, first_names) == [(0,)]


@pytest.mark.parametrize(
    ("table", "instants"),
    [
        ("clients", ["registered_at"]),
        ("terms_acceptances", ["accepted_at"]),
        ("consent_events", ["effective_at", "received_at"]),
        ("inquiries", ["received_at", "answered_at"]),
        ("offers", ["opened_at", "closed_at"]),
        ("bookings", ["booked_at", "changed_at"]),
        ("guardian_consents", ["given_at", "verified_at"]),
        ("payment_cards", ["captured_at"]),
        ("page_views", ["viewed_at"]),
        ("subject_requests", ["received_at", "identity_checked_at"]),
        ("authority_requests", ["received_at"]),
    ],
)
def test_what_happened_was_recorded_afterwards(filled: str, table: str, instants: list[str]) -> None:
    planted = query(filled, "SELECT count(*) FROM sample.planted_troubles WHERE kind = ANY(%s)", _AHEAD.get(table, []))
    late = " OR ".join(f"{instant} > recorded_at" for instant in instants)
    rows = query(filled, f"SELECT count(*) FROM wellbe.{table} WHERE {late}")
    assert rows[0][0] <= planted[0][0]
    assert query(filled, f"SELECT count(*) > 0 FROM wellbe.{table}") == [(True,)]


_AHEAD = {"bookings": ["booked_in_future"], "payment_cards": ["card_in_future"], "page_views": ["instant_in_future"]}


def test_versions_are_gapless_later_and_complete(filled: str) -> None:
    early = """SELECT count(*) FROM wellbe.bookings a JOIN wellbe.bookings b ON a.booking_id = b.booking_id
               AND b.version = a.version + 1 WHERE b.recorded_at <= a.recorded_at OR b.changed_at <= a.changed_at"""
    assert query(filled, early) == [(0,)]
    many = dict(query(filled, "SELECT version, count(*) FROM wellbe.bookings GROUP BY 1"))
    assert set(many) == {1, 2, 3}
    order = """SELECT count(*) FROM (SELECT recorded_at < lag(recorded_at) OVER (ORDER BY feed_id) AS back
               FROM wellbe.bookings) b WHERE back"""
    assert query(filled, order) == [(0,)]


@pytest.mark.slow
def test_throughput_of_page_views_is_told(new_source: NewSource, capsys: pytest.CaptureFixture[str]) -> None:
    dsn, began, cpu = new_source(), time.perf_counter(), time.process_time()
    loaded = fill(dsn, bookings=1, visits=400_000, days=1)
    rate = loaded.counts["page_views"] / (time.perf_counter() - began)
    of_cpu = loaded.counts["page_views"] / (time.process_time() - cpu)
    with capsys.disabled():
        print(f"\npage views: {rate:,.0f} rows/s, {of_cpu:,.0f} rows per CPU second of the client")  # noqa: T201


# Imports


HEADER = ",".join(hotel.COLUMNS)
VALUES = """
City Hotel,0,10,2016,July,27,1,0,2,2,1,0,BB,PRT,Direct,Direct,0,0,0,A,A,0,No Deposit,NULL,NULL,0,Transient,75.5,0,0,
Check-Out,7/3/2016
"""
STAY = dict(zip(hotel.COLUMNS, VALUES.replace("\n", "").split(","), strict=True))
REQUEST = (
    '100.64.0.{n} - - [17/May/2015:10:05:{n:02d} +0000] "GET /page/{n} HTTP/1.1" 200 203 "-" "Mozilla/5.0 (X11; Linux)"'
)


def stay(**changes: Any) -> str:
    return ",".join(str(value) for value in {**STAY, **changes}.values())


def write(folder: Path, *stays: str, log: list[str] | None = None) -> dict[str, Path]:
    bookings, access_log = folder / "bookings.csv", folder / "access.log"
    bookings.write_text("\n".join([HEADER, *stays]) + "\n", encoding="utf-8")
    requests = [REQUEST.format(n=n) for n in range(20)] if log is None else log
    access_log.write_text("\n".join(requests) + "\n", encoding="utf-8")
    return {"bookings_csv": bookings, "access_log": access_log}


def import_(dsn: str, files: dict[str, Path], **changes: Any) -> Loaded:
    asked: dict[str, Any] = {"seed": 1, "until": UNTIL, "now": NOW}
    return import_files(dsn, **files, **{**asked, **changes})


def test_history_is_replayed_in_its_own_order_over_seven_even_days(new_source: NewSource, tmp_path: Path) -> None:
    months = ("July", "May", "January", "October", "March", "August", "June")
    stays = [stay(arrival_date_month=month, lead_time=n) for n, month in enumerate(months)]
    stays[1] = stay(
        arrival_date_month="May", is_canceled=1, reservation_status="Canceled", reservation_status_date="2016-06-25"
    )
    dsn = new_source()
    loaded = import_(dsn, write(tmp_path, *stays))
    assert (loaded.first_day, loaded.last_day) == (date(2026, 11, 16), UNTIL)
    feed = query(dsn, "SELECT changed_at, status, version, service_date FROM wellbe.bookings ORDER BY feed_id")
    assert [row[0] for row in feed] == sorted(row[0] for row in feed)
    assert Counter(status for _, status, _, _ in feed) == {"booked": 7, "cancelled": 1}
    assert {row[3] for row in feed} == {date(2016, m, 1) for m in (7, 5, 1, 10, 3, 8, 6)}
    days = "SELECT (recorded_at AT TIME ZONE 'Europe/Stockholm')::date, count(*) FROM wellbe.{} GROUP BY 1 ORDER BY 1"
    assert [many for _, many in query(dsn, days.format("bookings"))] == [2, 1, 1, 1, 1, 1, 1]
    views = query(dsn, "SELECT viewed_at FROM wellbe.page_views ORDER BY recorded_at")
    assert views == sorted(views)
    assert {many for _, many in query(dsn, days.format("page_views"))} == {2, 3}


def test_what_the_files_say_is_kept_and_what_they_lack_is_completed(new_source: NewSource, tmp_path: Path) -> None:
    dsn = new_source()
    import_(dsn, write(tmp_path, stay(country="CN"), stay(country="NULL"), stay(babies=1)))
    rows = query(
        dsn,
        """SELECT price_amount_minor, currency_code, nights_count, service_date,
                  (booked_at AT TIME ZONE 'Europe/Stockholm')::date FROM wellbe.bookings""",
    )
    assert set(rows) == {(15100, "EUR", 2, date(2016, 7, 1), date(2016, 6, 21))}
    assert sorted(query(dsn, "SELECT country_code FROM wellbe.clients"), key=str) == [("CN",), ("PT",), (None,)]
    travellers = "SELECT booking_id, count(*) FROM wellbe.booking_travellers GROUP BY 1 ORDER BY 2"
    assert [many for _, many in query(dsn, travellers)] == [3, 3, 4]
    assert query(dsn, "SELECT count(*) FROM wellbe.guardian_consents") == [(4,)]
    broken, planted = broken_and_planted(dsn)
    assert broken == planted == set()
    late = "SELECT count(*) FROM wellbe.payment_cards WHERE captured_at < recorded_at - interval '1 hour'"
    assert query(dsn, late) == [(0,)]


def test_troubles_of_a_file_stay_and_are_counted_by_rule(new_source: NewSource, tmp_path: Path) -> None:
    stays = (stay(adults=0, children=0), stay(children="NA"), stay(adr=-6.38), stay(lead_time=-3), stay())
    log = [
        'example.com - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 2 "-" "Mozilla/5.0"',
        '100.64.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 2 "-" "-"',
        '100.64.0.1 - - [17/May/2015:10:05:03 +0000] "GET http://example.com/ HTTP/1.1" 200 2 "-" "Mozilla/5.0"',
        '100.64.0.1 - - [17/May/2015:10:05:03 +0000] "-" 408 - "-" "Mozilla/5.0"',
    ]
    dsn = new_source()
    import_(dsn, write(tmp_path, *stays, log=log))
    broken, planted = broken_and_planted(dsn)
    assert planted == set()
    assert Counter(rule for rule, _ in broken) == {
        "L1.has_travellers": 1,
        "L1.birth_date_known": 1,
        "A1.plausible_price": 1,
        "A1.plausible_service_date": 1,
        "B1.plausible_address": 1,
        "B1.known_visitor": 1,
        "B1.plausible_path": 2,
    }


def test_good_and_malformed_lines_add_up_to_the_lines_read(new_source: NewSource, tmp_path: Path) -> None:
    files = write(
        tmp_path,
        stay(),
        stay() + ",1",
        stay(adr="cheap"),
        stay(arrival_date_month="Juli"),
        stay(lead_time=1e9),
        "",
        stay(),
    )
    with files["bookings_csv"].open("ab") as bookings:
        bookings.write(stay(country="PRT").replace("Direct", "Dir\udcffct").encode("utf-8", "surrogateescape") + b"\n")
        bookings.write(b"x" * 200_000 + b"\n" + stay().encode())
    with files["access_log"].open("ab") as log:
        log.write(REQUEST.format(n=7).replace("May", "Mai").encode() + b"\n" + b"no log at all\n\xff\n")
        log.write(REQUEST.format(n=7).replace("10:05", "25:05").encode())
    dsn = new_source()
    loaded = import_(dsn, files)
    assert loaded.malformed["bookings"] == {
        "wrong number of columns": 1,
        "bad number": 2,
        "bad date": 1,
        "empty line": 1,
        "not UTF-8": 1,
        "line too long": 1,
    }
    assert loaded.malformed["access_log"] == {"bad timestamp": 2, "not combined log format": 1, "not UTF-8": 1}
    good = {"bookings": loaded.counts["bookings"], "access_log": loaded.counts["page_views"]}
    assert good == {"bookings": 3, "access_log": 20}
    for name, read in loaded.lines_read.items():
        assert good[name] + sum(loaded.malformed[name].values()) == read


def _truncated(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes())[:-9])


def _damaged(path: Path) -> None:
    zipped = bytearray(gzip.compress(path.read_bytes()))
    zipped[-6] ^= 0xFF  # of the checksum
    path.write_bytes(bytes(zipped))


@pytest.mark.parametrize("name", ["bookings_csv", "access_log"])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(gzip.compress(b"")), "is empty"),
        (_truncated, "cut off"),
        (_damaged, "damaged"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    ],
    ids=["empty", "empty gzip", "truncated gzip", "damaged gzip", "missing", "a folder"],
)
def test_an_unusable_file_is_named_with_its_problem_and_nothing_is_written(
    new_source: NewSource, tmp_path: Path, name: str, spoil: Callable[[Path], Any], problem: str
) -> None:
    dsn, files = new_source(), write(tmp_path, stay(), stay())
    spoil(files[name])
    with pytest.raises(InputError, match=problem) as error:
        import_(dsn, files)
    assert str(files[name]) in str(error.value)
    assert all(not rows for rows in content(dsn).values())


@pytest.mark.parametrize("missing", ["adr", "country", "meal"])
def test_a_missing_column_is_named(new_source: NewSource, tmp_path: Path, missing: str) -> None:
    dsn, files = new_source(), write(tmp_path, stay())
    text = files["bookings_csv"].read_text(encoding="utf-8").replace(missing, "another", 1)
    files["bookings_csv"].write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"lacks, or has twice, {missing}") as error:
        import_(dsn, files)
    assert str(files["bookings_csv"]) in str(error.value)


def test_files_of_malformed_lines_alone_load_nothing_and_say_so(new_source: NewSource, tmp_path: Path) -> None:
    dsn = new_source()
    loaded = import_(dsn, write(tmp_path, "1,2,3", "4", log=["what", "is this"]))
    assert loaded.malformed == {
        "bookings": {"wrong number of columns": 2},
        "access_log": {"not combined log format": 2},
    }
    assert "bookings" not in loaded.counts
    assert "page_views" not in loaded.counts
    assert import_(dsn, {name: tmp_path / file for name, file in FILES.items()}).malformed == loaded.malformed


FILES = {"bookings_csv": "bookings.csv", "access_log": "access.log"}


def test_gzip_is_told_by_its_first_bytes(new_source: NewSource, tmp_path: Path) -> None:
    plain = write(tmp_path, stay(), stay())
    dsn = new_source()
    import_(dsn, plain)
    zipped = {}
    for name, path in plain.items():
        zipped[name] = path.with_name("z" + path.name)
        zipped[name].write_bytes(gzip.compress(path.read_bytes()))
    other = new_source()
    import_(other, zipped)
    assert content(dsn) == content(other)


def test_importing_again_changes_nothing_also_on_a_later_day(new_source: NewSource, tmp_path: Path) -> None:
    dsn, files = new_source(), write(tmp_path, stay(), stay())
    first = import_(dsn, files)
    before = content(dsn)
    again = import_(dsn, files, until=UNTIL + timedelta(days=1), now=NOW + timedelta(days=1))
    assert again.added == {}
    assert (again.counts, again.malformed, again.lines_read) == (first.counts, first.malformed, first.lines_read)
    assert (again.first_day, again.last_day) == (first.first_day, first.last_day)
    assert content(dsn) == before


def test_a_source_holds_one_sample_of_one_origin(filled: str, new_source: NewSource, tmp_path: Path) -> None:
    files = write(tmp_path, stay())
    with pytest.raises(InputError, match="other parameters"):
        import_(filled, files)
    dsn = new_source()
    import_(dsn, files)
    with pytest.raises(InputError, match="other parameters"):
        fill(dsn)
    with pytest.raises(InputError, match="other parameters"):
        import_(dsn, write(tmp_path, stay(), stay(adults=1)))


@pytest.fixture
def reference() -> Path:
    folder = os.environ.get("GOVERNANCE_REFERENCE_DATA")
    if not folder:
        pytest.skip("GOVERNANCE_REFERENCE_DATA names no folder with the public files")
    return Path(folder)


def test_the_public_files_are_replayed_with_every_line_accounted_for(new_source: NewSource, reference: Path) -> None:
    dsn = new_source()
    folder = reference if (reference / "hotel_bookings.csv.gz").exists() else reference / "data"
    files = {"bookings_csv": folder / "hotel_bookings.csv.gz", "access_log": folder / "access_log.gz"}
    loaded = import_(dsn, files)
    firsts = query(dsn, "SELECT count(*) FROM wellbe.bookings WHERE version = 1")[0][0]
    good = {"bookings": firsts, "access_log": loaded.counts["page_views"]}
    for name, read in loaded.lines_read.items():
        assert good[name] + sum(loaded.malformed[name].values()) == read
    broken, planted = broken_and_planted(dsn)
    assert planted <= broken
    assert {rule for rule, _ in broken - planted} <= {"L1.has_travellers", "L1.birth_date_known", "B1.known_visitor"}
    assert len({key.split("/")[0] for _, key in planted}) <= 0.02 * firsts


def test_the_commands_fill_the_source_and_print_what_they_loaded(
    new_source: NewSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [new_source(), new_source()]
    monkeypatch.setattr(cli, "_dsn", lambda: sources[0])
    assert main(["sample", "--bookings", "20", "--visits", "50", "--days", "1", "--until", "2026-11-20"]) == 0
    told = capsys.readouterr().out
    assert "Source, generated: 2026-11-20 to 2026-11-20" in told
    assert "bookings " in told
    assert main(["sample", "--bookings", "21", "--visits", "50", "--days", "1", "--until", "2026-11-20"]) == 65
    assert "other parameters" in capsys.readouterr().err
    monkeypatch.setattr(cli, "_dsn", lambda: sources[1])
    files = write(tmp_path, stay(), "1,2")
    command = ["import", "--bookings", str(files["bookings_csv"]), "--access-log", str(files["access_log"])]
    assert main([*command, "--until", "2026-11-20"]) == 0
    told = capsys.readouterr().out
    assert "bookings: 2 lines read, 1 malformed (1 wrong number of columns)" in told
