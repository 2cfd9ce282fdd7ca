"""Proof (a) of the card clause: no byte of ours ever spells a card, in no written form, at no time (K1, K4).

What may not be found is planted at the source and sent through all that is done with cards. After every step all bytes
are searched that we have written: the whole data directory of our cluster (heap, indexes, TOAST, write-ahead log,
temporary files of a statement that is under way), before a checkpoint and after it; page images of the log; logs of the
servers, the key store, checkpoints, what the process itself has written. That the search would find is shown on another
cluster, form by form. A site of its own, because the clusters of other tests are full of other tests' cards.
"""

from __future__ import annotations

import random
import string
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

import builders
from builders import DAY, World
from byte_scan import Scan, Wanted, forms, pglz
from governance import steps
from governance.embedded import control, postgres
from governance.embedded.site import Site
from governance.steps import HoldRequest

pytestmark = [pytest.mark.pg, pytest.mark.clause("K1"), pytest.mark.clause("K4")]

KEY = DAY.isoformat()
CAPTURED = datetime(2026, 3, 10, 11, 40, tzinfo=UTC)
GOES = CAPTURED.replace(minute=0) + timedelta(hours=238)
UNTIL = date(2026, 5, 1)
IN_CLEAR = "xx-Incontrol8860"
"""Stored by us as it is, so that every search is seen to find."""

CARDS: Mapping[int, Mapping[str, str]] = {
    1: {"card_number": "4000056655665556", "card_holder": "ÖRNSKÖLD SAVED 8841", "card_expiry": "11/39-kanarek-8841"},
    2: {"card_number": "5200828282828210", "card_holder": "ÅSA KANARIEFÅGEL 8842", "card_expiry": "12/38-kanarek-8842"},
    3: {"card_number": "2223003122003222", "card_holder": "KANARIA HOLDER 8843", "card_expiry": "10/37-kanarek-8843"},
    4: {"card_number": "3566002020360505", "card_holder": "KANARIA GOES 8844", "card_expiry": "09/36-kanarek-8844"},
    5: {"card_number": "6011 0009 9013 9424", "card_holder": "KANARIA TOO 8845", "card_expiry": "08/35-kanarek-8845"},
}  # fmt: skip
"""Saved, held by a token, held with its number, gone; written with spaces, and saved."""
NUMBER_IN_NOTE, CODE = "30569309025904", "kanarek-code-8846"
IN_NOTE = ["K4.no_card_number_in_text", "K4.no_cvv_in_text"]
NOTE = f"kanarek-note-8847: charge 3056 9309 025904 or {NUMBER_IN_NOTE}, expiry 07/34, CVV: 737, {CODE} " * 60

WANTED = Wanted(
    {f"{name} of card {card}": value.replace(" ", "") if name == "card_number" else value
     for card, values in CARDS.items() for name, value in values.items()}
    | {f"kept digits of card {card}": values["card_number"].replace(" ", "")[:-4] for card, values in CARDS.items()}
    | {"number in a note": NUMBER_IN_NOTE, "note": "kanarek-note-8847", "code": CODE}
)  # fmt: skip


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that no other test has written to."""
    folder = tmp_path_factory.mktemp("apart")
    try:
        site = control.clusters_up(folder)
        builders.empty_warehouse(site)  # its keys begin when the tests' clock does
        yield site
    finally:
        control.down(folder)


# -- the search finds --------------------------------------------------------------------------------------------------

NEEDLE = "4000056655665556"
COMPRESSIBLE = "the same words again and again, "
MIXED = "".join(random.Random(7).choices(string.ascii_letters, k=6000))
LONG = {
    "within its row": COMPRESSIBLE * 60 + NEEDLE + COMPRESSIBLE * 60,
    "in pieces": COMPRESSIBLE * 80 + MIXED[:3000] + NEEDLE + MIXED[3000:] + COMPRESSIBLE * 60,
}
"""Values that Postgres compresses, and keeps in the row, or beside it."""


@pytest.fixture(scope="module")
def planted(apart: Site) -> Iterator[postgres.Cluster]:
    """A scratch database on the source's cluster, which is not ours, with every form of a number as a value of a row
    that was deleted, with an index, and compressed values; its log has compressed page images."""
    with closing(psycopg2.connect(apart.dsn("source_postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE scratch")
    with closing(psycopg2.connect(apart.dsn("source_postgres"), dbname="scratch")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE forms (name text PRIMARY KEY, value bytea)")
            cursor.execute("CREATE TABLE long_values (name text PRIMARY KEY, value text)")
            cursor.executemany("INSERT INTO forms VALUES (%s, %s)", list(forms(NEEDLE).items()))
            cursor.executemany("INSERT INTO long_values VALUES (%s, %s)", list(LONG.items()))
            cursor.execute("SELECT name, pg_column_compression(value) FROM long_values ORDER BY 1")
            assert cursor.fetchall() == [(name, "pglz") for name in sorted(LONG)]
            cursor.execute("DELETE FROM forms")
            cursor.execute("CHECKPOINT")
    yield postgres.Cluster(apart, "source")


def test_the_search_finds_every_form_in_files_of_another_cluster(planted: postgres.Cluster) -> None:
    scan = Scan(Wanted({"number": NEEDLE}))
    hits = scan.found(planted.folder)
    plain = {f"number: {form}" for form in forms(NEEDLE)}
    heap = {told for path, told in hits.items() for told in told if "pg_wal" not in path}
    log = {told for path, told in hits.items() for told in told if "pg_wal" in path}
    assert plain <= heap
    assert plain <= log
    assert len(plain) > 20


def test_the_search_opens_what_is_compressed_in_rows_in_pieces_and_in_the_log(planted: postgres.Cluster) -> None:
    for name, value in LONG.items():
        with closing(psycopg2.connect(planted.site.dsn("source_postgres"), dbname="scratch")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE forms") if name == "within its row" else None
                cursor.execute(sql.SQL("CREATE TABLE {} (value text)").format(sql.Identifier(name)))
                unique = value.replace(NEEDLE, f"{NEEDLE[:8]}{name[:8]}")
                cursor.execute(sql.SQL("INSERT INTO {} VALUES (%s)").format(sql.Identifier(name)), (unique,))
                cursor.execute("CHECKPOINT")
        scan = Scan(Wanted({"value": f"{NEEDLE[:8]}{name[:8]}"}))
        hits = scan.found(planted.folder)
        compressed = {path for path, told in hits.items() if "value: plain, compressed" in told}
        assert [path for path in compressed if "pg_wal" in path], name
        assert [path for path in compressed if "base" in path], name


def test_the_search_opens_compressed_page_images_of_the_log(planted: postgres.Cluster) -> None:
    unique = "kanarek-in-an-image"
    with closing(psycopg2.connect(planted.site.dsn("source_postgres"), dbname="scratch")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET wal_compression = pglz")
            cursor.execute("CREATE TABLE images (n int, value text)")
            # Other rows begin alike, so that the image has the value in parts.
            cursor.execute(
                "INSERT INTO images SELECT n, 'kanarek-in-' || repeat('x', n % 7) FROM generate_series(1, 80) n"
            )
            cursor.execute("INSERT INTO images VALUES (0, %s)", (unique,))
            cursor.execute("CHECKPOINT")
            cursor.execute("UPDATE images SET n = n + 1 WHERE n = 0")
    scan = Scan(Wanted({"value": unique}))
    assert {told for told in scan.images(planted).values() for told in told} >= {"value: plain"}


def test_what_is_no_compressed_value_is_none() -> None:
    assert pglz(b"\x00abcdefgh", 8) == b"abcdefgh"
    assert pglz(b"\x02a\x01\x01", 5) == b"aaaaa"
    for stream, size in (
        (b"\x02a\x01\x02", 5),
        (b"\x00abc", 8),
        (b"\x00abcdefgh", 4),
        (b"\x01", 3),
        (b"\x02a\x0f\x01", 30),
    ):
        assert pglz(stream, size) is None


# -- and finds nothing of ours -----------------------------------------------------------------------------------------


@contextmanager
def spilled(site: Site) -> Iterator[None]:
    """A statement under way over all rows of ours, which has to write them to temporary files."""
    with (
        closing(psycopg2.connect(site.dsn("postgres"), dbname="governance")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET work_mem = '64kB'")
        cursor.execute(
            "DECLARE spilling CURSOR FOR SELECT * FROM records.bookings b FULL JOIN records.payment_cards c ON false "
            "FULL JOIN vault.saved_cards s ON false FULL JOIN vault.card_holds h ON false, generate_series(1, 400) g "
            "ORDER BY md5(g::text)"
        )
        cursor.execute("FETCH 1 FROM spilling")
        files = [path for path in (site.data_dir / "warehouse").rglob("pgsql_tmp/*") if path.stat().st_size]
        assert files
        yield


def found(site: Site, scan: Scan, own: Path) -> dict[str, set[str]]:
    """What occurs in all that is ours: before a checkpoint, after it, in page images."""
    places = (site.data_dir, site.checkpoints_path, own)
    with spilled(site):
        hits = scan.found(*places, without=site.data_dir / "source")
    builders.read(site, "CHECKPOINT", role="postgres")
    hits |= scan.found(*places, without=site.data_dir / "source")
    return hits | scan.images(postgres.Cluster(site, "warehouse"))


def test_no_byte_of_ours_spells_a_card_at_any_time(
    apart: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    caplog.set_level("DEBUG")
    world = World(apart.dsn("wellbe_owner"))
    world.clear()
    for card, values in CARDS.items():
        world.booking(
            client_id=70 + card, locale=IN_CLEAR,
            card={"card_id": card, "client_id": 70 + card, "captured_at": CAPTURED, "cvv": CODE,
                  "save_to_profile": card in (1, 5), **values},
        )  # fmt: skip
    world.booking(notes=NOTE)
    scan = Scan(WANTED)
    space = builders.workspace(apart)
    keeping, late = (
        replace(space, policy=builders.keeping_numbers()),
        builders.workspace(apart, now=GOES),
    )
    batch = [steps.pull(space, "bookings", KEY, builders.run())]
    done = {
        "pull": lambda: None,
        "validate": lambda: batch.append(steps.validate(space, batch[-1], builders.run())),
        "publish": lambda: steps.publish(space, batch[-1], builders.run()),
        "keep_cards": lambda: steps.keep_cards(space, builders.run()),
        "a hold": lambda: steps.place_hold(space, HoldRequest("2", "fraud", "7", UNTIL), builders.run()),
        "a hold with the number": lambda: steps.place_hold(
            keeping, HoldRequest("3", "fraud", "7", UNTIL, number_is_evidence=True), builders.run()
        ),
        "checkpoint": lambda: steps.checkpoint(space, builders.run()),
        "keep_cards again": lambda: steps.keep_cards(late, builders.run()),
        "the end of keys": lambda: steps.keep_keys(late, builders.run()),
        "retain": lambda: steps.retain(late, builders.run()),
        "vacuum": lambda: vacuum(apart),
    }
    for stage, do in done.items():
        do()
        assert found(apart, scan, tmp_path) == {}, stage
        assert WANTED.told(caplog.text.encode()) == set(), stage
        if stage == "validate":  # the note, without its text
            assert builders.read(apart, "SELECT rules FROM quarantine.rows") == [(IN_NOTE,)]
    world.close()
    # All of it happened, and the search has read it.
    counted = "SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {}), (SELECT count(*) FROM {})"
    tables = ("vault.saved_cards", "vault.card_holds", "records.payment_cards")
    assert builders.read(apart, counted.format(*tables)) == [(2, 2, 0)]
    assert builders.read(apart, "SELECT count(*) FROM vault.card_holds WHERE number_encrypted IS NOT NULL") == [(1,)]
    assert builders.read(apart, "SELECT count(*) FROM wellbe.payment_cards", role="wellbe_owner") == [(0,)]
    assert scan.values > 10  # entries of the run log are long enough to be compressed
    control = Scan(Wanted({"in clear": IN_CLEAR})).found(apart.data_dir / "warehouse")
    assert [path for path in control if "pg_wal" in path]
    assert [path for path in control if "/base/" in path]


def vacuum(site: Site) -> None:
    """Every table written anew."""
    with closing(psycopg2.connect(site.dsn("postgres"), dbname="governance")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM FULL")
