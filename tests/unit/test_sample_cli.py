"""The commands that fill the source: what they ask for, and the table that they end with."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import pytest

from governance.sample import cli
from governance.sample.canaries import canary_tokens, token
from governance.sample.load import Loaded

DAY = date(2026, 11, 22)


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.register(parser.add_subparsers(required=True))
    return parser.parse_args(arguments)


def test_a_sample_has_sizes_of_its_own_accord() -> None:
    asked = parsed("sample")
    assert (asked.bookings, asked.visits, asked.days, asked.seed, asked.until) == (15_000, 150_000, 7, 1, None)
    asked = parsed("sample", "--bookings", "3", "--visits", "4", "--days", "5", "--seed", "6", "--until", "2026-11-22")
    assert (asked.bookings, asked.visits, asked.days, asked.seed, asked.until) == (3, 4, 5, 6, DAY)


def test_an_import_asks_for_both_files() -> None:
    asked = parsed("import", "--bookings", "b.csv", "--access-log", "a.log")
    assert (asked.bookings, asked.access_log) == (Path("b.csv"), Path("a.log"))
    with pytest.raises(SystemExit):
        parsed("import", "--bookings", "b.csv")


@pytest.mark.parametrize("wrong", [("--days", "-1"), ("--until", "yesterday"), ("--bookings", "many")])
def test_what_is_no_number_or_day_is_refused(wrong: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        parsed("sample", *wrong)


def test_a_load_is_told_with_tables_troubles_and_lines() -> None:
    loaded = Loaded(
        "imported",
        DAY,
        DAY,
        {"bookings": 12_345, "planted_troubles": 2},
        {"bookings": 5},
        {"email_broken": 2},
        {"access_log": {"bad timestamp": 3}, "bookings": {}},
        {"access_log": 10, "bookings": 12_345},
    )
    told = "\n".join(cli.table(loaded))
    assert "12,345" in told
    assert "2 troubles of 1 kinds" in told
    assert "access_log: 10 lines read, 3 malformed (3 bad timestamp)" in told
    assert "bookings: 12,345 lines read, 0 malformed" in told


def test_canary_tokens_can_be_computed_again_and_differ_by_seed_day_person_and_field() -> None:
    assert canary_tokens(1, DAY) == canary_tokens(1, DAY)
    letters = [found for found in canary_tokens(1, DAY) if found.startswith("Zq")]
    assert len(letters) == len(set(letters)) > 50 * 15
    assert all(len(found) == 10 and found[2:].islower() and found[2:].isalpha() for found in letters)
    assert not set(letters) & {*canary_tokens(2, DAY), *canary_tokens(1, date(2026, 11, 21))}
    assert token(1, DAY, 0, "a") != token(1, DAY, 0, "b") != token(1, DAY, 1, "b")
