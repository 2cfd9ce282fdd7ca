"""Whatever a row of the source holds: it is held back by its rules or kept as it came, and touches no other row.

All rows of `bad_rows` and `bad_values` stand in one partition, which is pulled, validated and published once; then the
source is mended and the partition replayed.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

import builders
from aftermath import LANDED, content, entries, governance, terms, through
from bad_rows import MARK, MEGABYTES, UNCHANGED, BadRow, is_refused, kept_as, long_texts, texts
from bad_values import VALUES
from builders import DAY, NOW, World
from governance import steps
from governance.detectors import findings
from governance.embedded.site import Site
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()
DATASETS = ("bookings", "visits")
CASES = [*texts(), *VALUES]


def by_name(cases: list[BadRow]) -> pytest.MarkDecorator:
    """A test for each case."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@dataclass
class Told:
    """What became of all rows: where each stands, and everything that was said on the way."""

    keys: dict[BadRow, str] = field(default_factory=dict)
    rules: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # dataset, row key -> what held it back
    refusals: list[str] = field(default_factory=list)
    vault: dict[tuple[str, str | None], list[dict[str, Any]]] = field(default_factory=dict)  # table, root's key
    equations: dict[str, dict[str, int]] = field(default_factory=dict)
    failed_rules: set[str] = field(default_factory=set)
    said: str = ""

    def look(self, site: Site) -> None:
        """Note where the rows stand."""
        held = builders.read(site, "SELECT dataset, row_key, rules FROM quarantine.rows")
        self.rules = {(dataset, key): set(rules) for dataset, key, rules in held}
        self.refusals = [rule for (rule,) in builders.read(site, "SELECT rule FROM quarantine.refusals ORDER BY 1")]
        for table in (*LANDED, "page_views"):
            for row in content(site, "vault", table):
                self.vault.setdefault((table, row.get("root_key", row["row_key"])), []).append(row)
        for tried in entries(site, phase="outcome"):
            self.equations[f"{tried['event']} {tried['dataset']}"] = tried["conservation"]
            self.failed_rules |= {rule["rule"] for rule in tried["rules"] if rule["failed"]}
        self.failed_rules |= set(self.refusals)


@contextmanager
def overheard(site: Site, told: Told) -> Iterator[None]:
    """Note what is logged by anybody, what our server logs, and what the run log, quarantine and analysts get."""
    spoken: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: spoken.append(f"{record.getMessage()} {record.exc_info}")  # type: ignore[method-assign]
    server = site.data_dir / "log" / "warehouse.log"
    begun = server.stat().st_size
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(listener)
        root.setLevel(level)
    open_to_others = ("quarantine.rows", "quarantine.findings", "quarantine.refusals", "control.batches",
                      "analytics.bookings", "analytics.bookings_events", "analytics.bookings_events_origins",
                      "analytics.visits_sessions", "analytics.visits_regions",
                      "analytics.visits_search_to_booking", "analytics.inquiries_funnel",
                      "analytics.releases")  # fmt: skip
    kept = [builders.read(site, f"SELECT t::text FROM {table} t") for table in open_to_others]
    leaves = builders.read(site, "SELECT audit.leaf(r) FROM audit.run_log r")
    told.said = "\n".join([*spoken, server.read_bytes()[begun:].decode("utf-8", "replace"), json.dumps([kept, leaves])])
    assert [found for (leaf,) in leaves for found in findings(leaf)] == []


@dataclass
class Story:
    """Before and after the source was mended, and how the next day took in what had been held back."""

    spoiled: Told
    mended: Told
    next_day: dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def story(site: Site) -> Iterator[Story]:
    """Both datasets with all bad rows through all hops, mended and through all hops again, and the day after."""
    world, spoiled, mended = World(site.dsn("wellbe_owner")), Told(), Told()
    world.clear()
    builders.empty_warehouse(site)
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    spoiled.keys = {case: case.plant(world) for case in CASES}
    with overheard(site, spoiled):
        for dataset in DATASETS:
            through(space, dataset, KEY)
    spoiled.look(site)
    world.clear()
    world.restart()
    # What was accepted is as it was: a row that is published already must not get another key.
    mended.keys = {case: case.plant(world, is_mended=bool(case.rules or case.refused)) for case in CASES}
    for dataset in DATASETS:
        through(space, dataset, KEY, run_id="mended")
    mended.look(site)
    for dataset in DATASETS:
        through(space, dataset, NEXT)
    after = dict(zip(DATASETS, terms(site)[-2:], strict=True))
    world.close()
    yield Story(spoiled, mended, after)


@by_name(CASES)
def test_a_bad_value_is_held_back_by_its_rules_or_kept_as_it_came(case: BadRow, story: Story) -> None:
    told, key = story.spoiled, story.spoiled.keys[case]
    assert told.rules.get((case.dataset, key), set()) == case.rules
    rows = [row for (_, root), found in told.vault.items() if root == key for row in found]
    assert bool(rows) == (not case.rules)
    if case.refused:
        assert case.refused in told.refusals
        assert ("payment_cards", key) not in told.vault
    expected = case.value if case.lands is UNCHANGED else case.lands
    for table, column in kept_as(case.place) if rows and not case.refused else ():
        own = told.vault.get((table, key))
        # A card that names no booking of the day stands for itself.
        values = [as_written(row[column], expected) for row in own or told.vault[table, None]]
        assert set(values) == {expected} if own else expected in values
    if is_refused(case.place) and isinstance(case.value, str) and case.value:
        assert not [row for row in rows if case.value in map(str, row.values())]


def as_written(value: Any, expected: Any) -> Any:
    """A value of the vault as the case writes it: decrypted bytes as text, an instant by its day."""
    text = value.decode() if isinstance(value, bytes) else value
    return text[:10] if isinstance(text, str) and text[:10] == expected else text


@by_name([case for case in CASES if case.rules or case.refused])
def test_a_row_whose_source_is_mended_is_accepted_by_a_replay(case: BadRow, story: Story) -> None:
    key = story.mended.keys[case]
    assert (case.dataset, key) not in story.mended.rules
    table = case.table if case.refused else {"bookings": "bookings", "visits": "page_views"}[case.dataset]
    assert len(story.mended.vault[table, key]) == 1


@pytest.mark.parametrize("dataset", DATASETS)
def test_among_bad_rows_every_row_is_accounted_for_and_what_was_mended_is_published_once(
    dataset: str, story: Story
) -> None:
    first, again = story.spoiled.equations, story.mended.equations
    pulled, checked, published = (first[f"{event} {dataset}"] for event in ("pull", "validate", "publish"))
    expected = sum(1 for case in CASES if case.dataset == dataset) + 1  # one root row is there twice
    held = sum(1 for case in CASES if case.dataset == dataset and case.rules) + 1
    assert pulled["at_source"] == pulled["pulled"] == expected
    assert (checked["accepted"], checked["quarantined"]) == (expected - held, held)
    waiting = published["carried_out"]  # for company, of whom there is none among such rows
    assert published["published"] + published["suppressed"] + waiting == expected - held
    mended = again[f"validate {dataset}"]
    assert (mended["at_source"], mended["accepted"], mended["quarantined"]) == (expected - 1, expected - 1, 0)
    assert story.next_day[dataset]["carried_in"] == held - 1 + waiting


def test_the_run_log_names_every_rule_that_held_something_back_and_no_other(story: Story) -> None:
    expected = {rule for case in CASES for rule in (*case.rules, *([case.refused] if case.refused else []))}
    assert story.spoiled.failed_rules == expected
    assert story.mended.refusals == []


def test_nothing_of_a_bad_row_is_said_anywhere(story: Story) -> None:
    assert MARK not in story.spoiled.said
    assert len(story.spoiled.said) > 10_000  # what is searched is there


NEVER_NULL = {
    "bookings.status": "A1.known_status",
    "booking_services.kind": "H1.known_provider",
    "providers.kind": "H1.known_provider",
}


def test_what_the_store_once_refused_to_be_null_is_held_back_when_it_is(
    site: Site, world: World, space: Workspace
) -> None:
    cases = [BadRow(place, "NULL", None, frozenset({rule})) for place, rule in NEVER_NULL.items()]
    constraint = "ALTER TABLE wellbe.{} ALTER {} {} NOT NULL"
    for case in cases:
        world.execute(constraint.format(*case.place.split("."), "DROP"))
    try:
        keys = {case.plant(world): set(case.rules) for case in cases}
        steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    finally:
        world.clear()
        for case in cases:
            world.execute(constraint.format(*case.place.split("."), "SET"))
    held = builders.read(site, "SELECT row_key, rules FROM quarantine.rows")
    assert {key: set(rules) for key, rules in held} == keys


@pytest.mark.parametrize("is_terminal", (True, False), ids=("a terminal", "a file"))
def test_what_a_person_reads_on_a_terminal_cannot_command_it(
    is_terminal: bool, here: Site, world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in texts() if (case.place, case.kind) == ("clients.country_code", "terminal escapes"))
    case.plant(world)
    through(builders.workspace(here), "bookings", KEY)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    column = ("vault.bookings", "client_country_code")
    assert governance("read", "--role", "publisher", "--why", "a test of this", *column) == 0
    said = capsys.readouterr().out
    assert (case.value in said) is not is_terminal
    assert said.replace("\n", "").isprintable() is is_terminal
    assert MARK in said


# -- texts of ten megabytes --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_text_of_ten_megabytes_in_every_field_is_held_back_or_kept_whole(
    site: Site, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    space = builders.workspace(site)
    keys = {case: case.plant(world) for case in long_texts()}
    told = Told()
    with overheard(site, told):
        counts = {dataset: through(space, dataset, KEY).counts for dataset in DATASETS}
    held = dict(builders.read(site, "SELECT row_key, rules FROM quarantine.rows"))
    assert {case.name: set(held.get(key, ())) for case, key in keys.items()} == {
        case.name: set(case.rules) for case in keys
    }
    assert sum(found["accepted"] + found["quarantined"] for found in counts.values()) == len(keys)
    for case, key in keys.items():
        for table, column in kept_as(case.place) if not case.rules else ():
            root = "row_key" if table in ("bookings", "page_views") else "root_key"
            (size,) = builders.read(site, f"SELECT octet_length({column}) FROM vault.{table} WHERE {root} = %s", key)
            around = 45 if column.endswith("_encrypted") else 0  # format, key id, nonce and tag
            assert size[0] == MEGABYTES * 1_000_000 + around, case.name
    assert MARK not in told.said
    assert MARK not in "".join(capsys.readouterr())
