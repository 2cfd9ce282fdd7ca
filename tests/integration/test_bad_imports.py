"""`governance import` of what it cannot use: one line on stderr, an exit code, an untouched source; then it loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from bad_files import FILES, LINES, SOUND, BadFile
from bad_rows import MARK
from builders import TABLES, World
from governance.__main__ import main
from governance.embedded.site import Site
from governance.sample import cli, inputs

pytestmark = pytest.mark.pg

Given = Callable[..., int]


@pytest.fixture(scope="module")
def empty(site: Site) -> Iterator[World]:
    """A source without a row, and without one afterwards."""
    world = World(site.dsn("wellbe_owner"))
    tables = [sql.Identifier("wellbe", table) for table in TABLES]
    tables += [sql.Identifier("sample", "loads"), sql.Identifier("sample", "planted_troubles")]
    emptied = sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables))
    world.execute(emptied)
    yield world
    world.execute(emptied)
    world.close()


@pytest.fixture
def given(empty: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """`governance import` of two files that a test may have spoiled, into the empty source."""
    monkeypatch.setattr(cli, "_dsn", lambda: empty.dsn)
    monkeypatch.setattr(inputs, "FREE_UNPACKED", 1 << 20)
    for which, content in SOUND.items():
        (tmp_path / which).write_bytes(content)
    files = ("--bookings", str(tmp_path / "bookings"), "--access-log", str(tmp_path / "access_log"))
    return lambda *more: main(["import", *files, *(more or ("--until", "2026-11-20"))])


def rows(world: World) -> dict[str, int]:
    """Rows of the source by table, where there are any."""
    with psycopg2.connect(world.dsn) as connection, connection.cursor() as cursor:
        found = {}
        for table in ("sample.loads", *(f"wellbe.{name}" for name in TABLES)):
            cursor.execute(f"SELECT count(*) FROM {table}")
            (found[table],) = cursor.fetchone() or (0,)
    connection.close()
    return {table: count for table, count in found.items() if count}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_that_cannot_be_used_is_one_line_an_exit_code_and_an_untouched_source(
    file: BadFile, given: Given, empty: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.spoil(tmp_path / file.which)
    assert given() == 65
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"governance: {tmp_path / file.which}: ")
    assert file.told in said.err
    assert said.err.count("\n") == 1
    assert rows(empty) == {}


@pytest.mark.parametrize(
    ("until", "told"),
    (("0001-01-01", "2001 or later"), ("2000-12-31", "2001 or later"), ("9999-12-31", "is not over in Stockholm")),
)
def test_a_day_that_no_sample_ends_at_is_told(
    until: str, told: str, given: Given, empty: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert given("--until", until) == 65
    assert told in capsys.readouterr().err
    assert rows(empty) == {}


def test_bad_lines_are_counted_by_reason_what_is_sound_is_loaded_and_nothing_of_them_is_said(
    given: Given, empty: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for which, content in SOUND.items():
        bad = [line.line for line in LINES if line.which == which]
        (tmp_path / which).write_bytes(content + b"\n".join(bad) + b"\n")
    assert given() == 0
    said = capsys.readouterr()
    for which, table in (("bookings", "bookings"), ("access_log", "page_views")):
        sound = 2 + sum(1 for line in LINES if line.which == which and not line.reason)
        reasons = [line.reason for line in LINES if line.which == which and line.reason]
        told = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons)))
        read = sound + len(reasons)
        assert f"{which}: {read} lines read, {len(reasons)} malformed ({told})" in said.out
        assert rows(empty)[f"wellbe.{table}"] == sound
    assert MARK not in said.out + said.err
    assert (said.out + said.err).replace("\n", "").isprintable()
