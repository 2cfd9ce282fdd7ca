"""The hops as promises: once, in order, one transaction with their entry, and no value of a row in any message."""

from __future__ import annotations

import json
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
import rfc8785

import builders
from aftermath import LANDED, content, entries, outcomes, state, through
from builders import DAY, NOW, World
from governance import log_entries, pulling, steps, validation, warehouse
from governance.anonymisation import releases
from governance.embedded.site import Site
from governance.errors import (
    ContendedError,
    GovernanceError,
    KeyringError,
    PartitionError,
)
from governance.partitions import Partition
from governance.run_log import Batch
from governance.sources import Snapshot
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()


def shown(site: Site, zone: str, table: str) -> list[dict[str, Any]]:
    """The rows that a zone shows; of visits without pseudonyms, which are others whenever their day lands."""
    rows = content(site, zone, table)
    return [{k: v for k, v in row.items() if table != "page_views" or not k.endswith("_token")} for row in rows]


@pytest.mark.parametrize("dataset", ("bookings", "visits"))
def test_a_pull_repeated_lands_the_same_rows_once(site: Site, world: World, space: Workspace, dataset: str) -> None:
    world.booking(card={}, travellers=[{}, {"birth_date": date(2012, 2, 29)}], consents=[{"traveller_no": 2}])
    world.booking(with_terms=False, client={"skype": "lisa.b"})
    world.view(latitude=59.334591, longitude=18.06324, device_id="device-1")
    tables = LANDED if dataset == "bookings" else ("page_views",)
    steps.pull(space, dataset, KEY, builders.run())
    first = {table: shown(site, "landing", table) for table in tables}
    sealed = builders.read(site, "SELECT client_email_encrypted::text FROM landing.bookings")
    steps.pull(space, dataset, KEY, builders.run())
    assert {table: shown(site, "landing", table) for table in tables} == first
    assert all(first.values())
    if dataset == "bookings":
        # Fresh nonces: the same value encrypted again is another ciphertext.
        assert not set(sealed) & set(builders.read(site, "SELECT client_email_encrypted::text FROM landing.bookings"))
    assert outcomes(site) == ["passed", "passed"]


@pytest.mark.parametrize("dataset", ("bookings", "visits"))
def test_validation_and_publication_repeated_change_nothing_and_say_replayed(
    site: Site, world: World, space: Workspace, dataset: str
) -> None:
    world.crowd() if dataset == "bookings" else world.visitors()
    world.booking(with_terms=False)
    world.view(ip=None)
    pulled = steps.pull(space, dataset, KEY, builders.run())
    checked = steps.validate(space, pulled, builders.run())
    before = state(site)
    assert steps.validate(space, pulled, builders.run()) == checked
    assert state(site) == before
    published = steps.publish(space, checked, builders.run())
    assert published.counts["published"] == 10
    before = state(site)
    assert steps.publish(space, checked, builders.run()) == published
    assert state(site) == before
    assert outcomes(site) == ["passed", "passed", "replayed", "passed", "replayed"]


@pytest.mark.parametrize("dataset", ("bookings", "visits"))
def test_a_published_partition_pulled_again_gives_the_same_rows_once(
    site: Site, world: World, space: Workspace, dataset: str
) -> None:
    world.crowd(card={}) if dataset == "bookings" else world.visitors()
    first = through(space, dataset, KEY)
    root = space.policy.dataset(dataset).root
    vault = shown(site, "vault", root)
    released = {
        table: builders.read(site, f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1")
        for table in (
            "analytics.releases",
            "analytics.bookings",
            "analytics.bookings_events",
            "analytics.bookings_events_origins",
            "analytics.visits_sessions",
            "analytics.visits_regions",
            "analytics.visits_search_to_booking",
            "analytics.privacy_budget",
            "audit.exact_counts",
            "vault.release_ledger",
        )
    }
    again = through(space, dataset, KEY, run_id="again")
    assert again.counts == first.counts
    assert shown(site, "vault", root) == vault
    assert {
        table: builders.read(site, f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1") for table in released
    } == released
    assert builders.read(site, f"SELECT count(*) FROM landing.{root}") == [(0,)]


FIELDS = {
    "format", "entry_id", "attempt_id", "event", "phase", "at", "dataset", "partition_key", "run", "digests", "clauses",
    "outcome", "counts", "conservation", "rules", "measures", "alarms", "error",
}  # fmt: skip


def test_each_hop_leaves_an_intent_and_an_outcome_of_one_attempt(site: Site, world: World, space: Workspace) -> None:
    world.crowd()
    through(space, "bookings", KEY)
    found = entries(site)
    assert [(e["event"], e["phase"]) for e in found] == [
        (event, phase) for event in ("pull", "validate", "publish") for phase in ("intent", "outcome")
    ]
    for intent, outcome in zip(found[::2], found[1::2], strict=True):
        assert intent["attempt_id"] == outcome["attempt_id"]
        assert (intent["outcome"], outcome["outcome"]) == (None, "passed")
        assert intent["digests"] == outcome["digests"]
    assert len({e["entry_id"] for e in found}) == 6
    assert len({e["attempt_id"] for e in found}) == 3
    for entry in found:
        assert set(entry) == FIELDS
        assert (entry["dataset"], entry["partition_key"], entry["format"]) == ("bookings", KEY, "wellbe-run-log/1")
        assert entry["run"] == {
            "dag_id": "tests", "run_id": "test", "task_id": "test", "try_number": 1,
            "trigger": "manual", "triggered_by": "tester",
        }  # fmt: skip
        assert all(len(entry["digests"][what]) == 64 for what in ("policy", "suite", "code"))
        assert entry["digests"]["policy"] == space.policy.digest
        assert {"A1", "E1", "J1", "L1", "L2", "R1"} <= set(entry["clauses"])
        assert entry["at"] == "2026-03-12T09:00:00.000000Z"
    pulled, checked, published = found[1::2]
    assert pulled["counts"]["bookings_at_source"] == pulled["counts"]["bookings_pulled"] == 10
    assert {rule["rule"] for rule in checked["rules"]} >= {"L1.adult_at_booking", "R1.evaluated_rows"}
    assert all(rule["outcome"] == "passed" and rule["evaluated"] in (0, 10) for rule in checked["rules"])
    measures = published["measures"]
    assert measures | {"k": 10, "l": 2, "ncp": 0.0, "delay_p95": 0.0, "attack_gained_less": 0} == measures
    assert published["conservation"] == {
        "at_source": 10, "dropped_by_tombstone": 0, "pulled": 10, "accepted": 10, "quarantined": 0, "carried_in": 0,
        "published": 10, "carried_out": 0, "suppressed": 0, "superseded": 0, "erased": 0,
    }  # fmt: skip


def test_an_entry_and_its_leaf_are_canonical_json_and_an_outcome_is_written_by_the_role_of_its_hop(
    site: Site, world: World, space: Workspace
) -> None:
    world.booking()
    world.booking(with_terms=False)
    through(space, "bookings", KEY)
    query = "SELECT r.entry, audit.leaf(r), database_role, database_login, event, phase FROM audit.run_log r"
    rows = builders.read(site, query)
    assert len(rows) == 10
    for entry, leaf, role, login, event, phase in rows:
        assert rfc8785.dumps(json.loads(entry)) == entry.encode()
        assert rfc8785.dumps(json.loads(leaf)) == leaf.encode()
        assert json.loads(leaf)["entry"] == json.loads(entry)
        # Only the outcome is written by the role that had the effect; what comes before it is taken, is not.
        working = {"pull": "loader", "validate": "validator", "publish": "publisher"}.get(event, "recorder")
        assert (role, login) == (
            (working, "pipeline" if working != "recorder" else working)
            if phase == "outcome"
            else ("recorder", "recorder")
        )


@pytest.mark.parametrize(
    "broken",
    (
        {"format": "other/1"},
        {"entry_id": None},
        {"event": None},
        {"attempt_id": None},
        {"phase": "middle"},
        {"phase": "outcome"},
        {"outcome": "passed"},
        {"phase": None},
        {"entry_id": "no-uuid"},
    ),
    ids=str,
)
def test_the_one_way_into_the_log_refuses_what_is_no_entry(
    site: Site, world: World, space: Workspace, broken: dict[str, Any]
) -> None:
    world.view()
    steps.pull(space, "visits", KEY, builders.run())
    entry = entries(site, phase="intent")[0] | {"entry_id": "00000000-0000-4000-8000-000000000001"} | broken
    with pytest.raises(psycopg2.Error):
        builders.read(site, "SELECT audit.append(%s)", json.dumps(entry), role="loader")
    assert len(entries(site)) == 2


ENTRY = {
    "format": "wellbe-run-log/1", "entry_id": "00000000-0000-4000-8000-000000000002", "attempt_id": "a",
    "event": "lunch", "phase": "outcome", "at": "2026-03-12T09:00:00.000000Z", "dataset": "bookings",
    "partition_key": "2026-03-10",
    "run": {"dag_id": "d", "run_id": "r", "task_id": "t", "try_number": 1, "trigger": "manual", "triggered_by": None},
    "digests": {"policy": "p", "suite": None, "code": "c"}, "clauses": [], "outcome": "passed", "counts": {},
    "conservation": {}, "rules": [], "measures": {}, "alarms": [], "error": None,
}  # fmt: skip
SOUND = rfc8785.dumps(ENTRY).decode()
FORMS = {
    "ends with a newline": SOUND + "\n",
    "a newline between two tokens": SOUND.replace(",", ",\n", 1),
    "a carriage return at the end": SOUND + "\r",
    "spaces between tokens": json.dumps(ENTRY),
    "a key twice": SOUND.replace('"event":', '"event":"read","event":'),
    "longer than 8 MiB": SOUND.replace('"p"', f'"{"p" * (8 << 20)}"'),
    "no JSON": SOUND[:-1],
    "a list": f"[{SOUND}]",
    **{
        f"{name} is {value}": rfc8785.dumps(ENTRY | {name: value}).decode()
        for name, value in (
            ("at", "yesterday"), ("at", None), ("run", None), ("run", {}), ("digests", []), ("clauses", "R1"),
            ("alarms", None), ("counts", {"rows": "x"}), ("dataset", None), ("partition_key", 7), ("keys", ["zz"]),
            ("keys", "00"),
        )
    },
    **{
        f"without {name}": rfc8785.dumps({other: value for other, value in ENTRY.items() if other != name}).decode()
        for name in ENTRY.keys() - {"conservation", "rules", "measures"}
    },
    "a read of nothing": rfc8785.dumps(ENTRY | {"event": "read"}).decode(),
}  # fmt: skip
SPEAKERS = {
    "heartbeat": "sequencer", "rotate_signing_key": "sequencer", "acknowledge_restore": "sequencer",
    "reconcile": "sequencer", "airflow_action": "sequencer", "alarm": "sequencer", "keep_keys": "custodian",
    "destroy_keys": "custodian", "rotate_key": "custodian",
}  # fmt: skip


@pytest.mark.parametrize("form", sorted(FORMS))
def test_an_entry_has_one_form(site: Site, world: World, form: str) -> None:
    with pytest.raises(psycopg2.Error, match="not a run-log entry|invalid input syntax"):
        builders.read(site, "SELECT audit.append(%s)", FORMS[form], role="recorder")
    assert entries(site) == []


def test_the_form_that_is_asked_for_is_taken(site: Site, world: World) -> None:
    assert builders.read(site, "SELECT audit.append(%s)::text", SOUND, role="recorder") == [(ENTRY["entry_id"],)]


@pytest.mark.parametrize("event", SPEAKERS)
def test_what_is_believed_is_said_by_one_login_alone(site: Site, world: World, event: str) -> None:
    text = rfc8785.dumps(ENTRY | {"event": event}).decode()
    for role in {"recorder", "loader", "profiler", "custodian", "sequencer"} - {SPEAKERS[event]}:
        with pytest.raises(psycopg2.Error, match=f"only {SPEAKERS[event]} appends this event"):
            builders.read(site, "SELECT audit.append(%s)", text, role=role)
    assert builders.read(site, "SELECT audit.append(%s)::text", text, role=SPEAKERS[event]) == [(ENTRY["entry_id"],)]


def test_a_look_that_failed_does_not_move_on_where_the_next_begins(site: Site, world: World) -> None:
    dsn = site.dsn("sequencer")
    for outcome in ("failed", "passed"):
        assert log_entries.last_at(dsn, "reconcile") is None
        told = ENTRY | {"event": "reconcile", "outcome": outcome, "entry_id": str(uuid.uuid4())}
        builders.read(site, "SELECT audit.append(%s)", rfc8785.dumps(told).decode(), role="sequencer")
    assert log_entries.last_at(dsn, "reconcile") is not None


def test_an_effect_without_its_entry_does_not_happen(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.visitors()

    def append(cursor: Any, entry: Any) -> None:
        if entry.outcome == "passed":
            cursor.execute("SELECT audit.append('{}')")
        original(cursor, entry)

    original = warehouse.Warehouse._append
    hops = (
        lambda batch: steps.pull(space, "visits", KEY, builders.run()),
        lambda batch: steps.validate(space, batch, builders.run()),
        lambda batch: steps.publish(space, batch, builders.run()),
    )
    batch = Batch("visits", KEY, "test")
    for hop in hops:
        before = state(site)
        with monkeypatch.context() as patch:
            patch.setattr(warehouse.Warehouse, "_append", staticmethod(append))
            with pytest.raises(GovernanceError, match="refused the step"):
                hop(batch)
        assert state(site) == before
        batch = hop(batch)
    assert outcomes(site) == ["failed", "passed"] * 3


CANARY = "Canary-Zebra-4711"


@contextmanager
def canary_in(site: Site, monkeypatch: pytest.MonkeyPatch, where: str) -> Iterator[None]:
    """Make something fail with a row's value in the text of its error."""

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError(f"could not handle {CANARY}")

    if where == "the database":
        builders.read(site, f"ALTER TABLE records.bookings ADD CONSTRAINT c CHECK (locale <> '{CANARY}')")
        try:
            yield
        finally:
            builders.read(site, "ALTER TABLE records.bookings DROP CONSTRAINT c")
        return
    target, name = {
        "a measure": (pulling, "landed"),
        "the suite": (validation, "_outcome"),
        "the release": (releases, "bookings"),
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, fail)
        yield


@pytest.mark.clause("J1")
@pytest.mark.parametrize("where", ("a measure", "the database", "the suite", "the release"))
def test_a_failure_says_what_and_where_and_never_the_value_of_a_row(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    world.booking(locale=CANARY, notes=CANARY)
    with canary_in(site, monkeypatch, where), pytest.raises(GovernanceError) as caught:
        through(space, "bookings", KEY)
    said = "".join(traceback.format_exception(caught.value))
    assert CANARY not in said
    assert f"dataset bookings, partition {KEY}" in str(caught.value) or "refused the step" in str(caught.value)
    last = entries(site)[-1]
    assert (last["phase"], last["outcome"]) == ("outcome", "failed")
    assert last["error"] == {"type": type(caught.value).__name__, "message": str(caught.value)}
    assert CANARY not in json.dumps(entries(site))
    if where != "the database":
        assert "ValueError at " in str(caught.value)
    assert through(space, "bookings", KEY).counts["accepted"] == 1  # what was mended runs


def test_an_error_inside_the_stream_keeps_its_type_and_its_text_from_the_server(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.booking()
    before = state(site)
    lost = replace(space, keys=lambda: builders.key_service(replace(site, data_dir=Path("/nowhere"))))
    with pytest.raises(KeyringError, match="no such file"):
        steps.pull(lost, "bookings", KEY, builders.run())
    original = Snapshot.batches

    def later(self: Snapshot, table: str, partition: Partition) -> Iterator[pa.RecordBatch]:
        yield from original(self, table, partition)
        raise KeyringError(f"after the first batch of {table}: {CANARY}")

    monkeypatch.setattr(Snapshot, "batches", later)
    with pytest.raises(KeyringError, match="after the first batch of booking_travellers"):
        steps.pull(space, "bookings", KEY, builders.run())
    assert state(site) == before
    assert [e["error"]["type"] for e in entries(site, phase="outcome")] == ["KeyringError", "KeyringError"]
    assert CANARY not in (site.data_dir / "log" / "warehouse.log").read_text()


@pytest.mark.parametrize("dataset", ["bookings", "visits"])
def test_a_day_before_what_is_published_is_not_published_and_its_bookings_come_with_the_next_release(
    site: Site, world: World, dataset: str
) -> None:
    """Somebody sets first_partition back, and asks for the days before."""
    space = builders.workspace(site, now=NOW + timedelta(days=2))
    planted: dict[str, Callable[[], object]] = {"bookings": world.booking, "visits": world.view}
    planted[dataset]()
    through(space, dataset, KEY)
    world.day = DAY - timedelta(days=1)
    planted[dataset]()
    before = world.day.isoformat()
    back = builders.workspace(site, now=NOW + timedelta(days=2), first=DAY - timedelta(days=3))
    # Nobody waits for days that will never be published.
    assert steps.missing_predecessor(back, Batch(dataset, before, "r")) is None
    with pytest.raises(PartitionError, match=f"that of {KEY} is out; nothing was published: first_partition was set"):
        through(back, dataset, before)
    days = builders.read(site, "SELECT partition_key::text FROM analytics.releases WHERE dataset = %s", dataset)
    assert days == [(KEY,)]
    following = (DAY + timedelta(days=1)).isoformat()
    through(space, dataset, following)
    last = entries(site, "publish", "outcome")[-1]["conservation"]
    # Bookings wait for others; a view that came after its day is counted in none.
    told = {"bookings": (2, 2, 0), "visits": (1, 0, 1)}[dataset]
    assert (last["carried_in"], last["carried_out"], last["suppressed"]) == told


def test_a_partition_waits_for_the_one_before_it(site: Site, world: World) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=2), first=DAY - timedelta(days=1))
    world.view()
    before = (DAY - timedelta(days=1)).isoformat()
    first = replace(Batch("visits", before, "r"))
    assert steps.missing_predecessor(space, first) is None
    batch = steps.validate(space, steps.pull(space, "visits", KEY, builders.run()), builders.run())
    assert steps.missing_predecessor(space, batch) == before
    with pytest.raises(ContendedError, match=f"partition {before} has to be published first"):
        steps.publish(space, batch, builders.run())
    assert builders.read(site, "SELECT count(*) FROM analytics.releases") == [(0,)]
    assert through(space, "visits", before).counts["published"] == 0  # a day without rows
    assert steps.missing_predecessor(space, batch) is None
    steps.publish(space, batch, builders.run())
    assert [
        str(day) for (day,) in builders.read(site, "SELECT partition_key FROM analytics.releases ORDER BY release_id")
    ] == [
        before,
        KEY,
    ]


@pytest.mark.parametrize("dataset", ("bookings", "visits"))
def test_a_day_without_rows_is_no_data_in_every_hop_and_lets_the_next_day_publish(
    site: Site, world: World, dataset: str
) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    batch = through(space, dataset, KEY)
    assert set(batch.counts.values()) == {0}
    assert outcomes(site) == ["no_data"] * 3
    nothing = (0, 0, None, None) if dataset == "bookings" else (None,) * 4  # nor that there was nobody
    assert builders.read(site, "SELECT rows, suppressed, k, l FROM analytics.releases") == [nothing]
    world.day += timedelta(days=1)
    world.crowd() if dataset == "bookings" else world.visitors()
    assert through(space, dataset, NEXT).counts["published"] == 10


def test_a_day_whose_rows_are_all_quarantined_publishes_nothing_and_lets_the_next_day_publish(
    site: Site, world: World
) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    world.booking(with_terms=False)
    assert through(space, "bookings", KEY).counts["quarantined"] == 1
    assert outcomes(site) == ["passed", "passed", "no_data"]
    world.day += timedelta(days=1)
    world.crowd()
    assert through(space, "bookings", NEXT).counts["published"] == 10


def test_a_partition_that_another_session_holds_is_left_alone_by_every_hop(
    site: Site, world: World, space: Workspace
) -> None:
    world.view()
    batch = Batch("visits", KEY, "test")
    hops = (
        lambda: steps.pull(space, "visits", KEY, builders.run()),
        lambda: steps.validate(space, batch, builders.run()),
        lambda: steps.publish(space, batch, builders.run()),
    )
    for hop in hops:
        before = state(site)
        with warehouse.connect(site.dsn("loader")) as other, other.exclusive(batch):
            with pytest.raises(ContendedError, match=f"dataset visits, partition {KEY}: another run is working"):
                hop()
            assert state(site) == before
            steps.pull(space, "bookings", KEY, builders.run())  # another dataset is free
        hop()
    assert outcomes(site).count("failed") == 3


def test_of_two_pulls_at_once_one_works_and_the_other_steps_back(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.view()
    original, inside, go_on = Snapshot.counts, threading.Event(), threading.Event()

    def counts(self: Snapshot, dataset: str, partition: Partition) -> dict[str, int]:
        inside.set()
        assert go_on.wait(20)
        return original(self, dataset, partition)

    monkeypatch.setattr(Snapshot, "counts", counts)
    results: list[Batch] = []
    thread = threading.Thread(
        target=lambda: results.append(steps.pull(space, "visits", KEY, builders.run("first"))), daemon=True
    )
    thread.start()
    assert inside.wait(20)
    with pytest.raises(ContendedError):
        steps.pull(space, "visits", KEY, builders.run("second"))
    go_on.set()
    thread.join(20)
    assert [batch.run_id for batch in results] == ["first"]
    assert builders.read(site, "SELECT run_id FROM control.batches") == [("first",)]
    steps.pull(space, "visits", KEY, builders.run("second"))  # free again


def test_a_run_whose_landing_another_run_has_replaced_steps_back_until_that_one_has_settled(
    site: Site, world: World, space: Workspace
) -> None:
    world.view()
    mine = steps.pull(space, "visits", KEY, builders.run("mine"))
    other = steps.pull(space, "visits", KEY, builders.run("other"))
    with pytest.raises(ContendedError, match="run other has landed this partition since"):
        steps.validate(space, mine, builders.run("mine"))
    settled = steps.validate(space, other, builders.run("other"))
    assert steps.validate(space, mine, builders.run("mine")).counts["accepted"] == settled.counts["accepted"] == 1
    assert outcomes(site, "validate") == ["failed", "passed", "replayed"]


def test_publication_waits_for_a_partition_that_was_landed_again(site: Site, world: World, space: Workspace) -> None:
    world.view()
    batch = steps.validate(space, steps.pull(space, "visits", KEY, builders.run()), builders.run())
    steps.pull(space, "visits", KEY, builders.run("other"))
    with pytest.raises(ContendedError, match="run other has landed it again and not settled it"):
        steps.publish(space, batch, builders.run())


def test_a_hop_before_its_time_is_refused_and_recorded(site: Site, world: World, space: Workspace) -> None:
    batch = Batch("visits", KEY, "test")
    for hop in (steps.validate, steps.publish):
        with pytest.raises(PartitionError, match="nothing was pulled; run the pull task of this partition first"):
            hop(space, batch, builders.run())
    for key, reason in (
        (None, "no partition"),
        ("10/3/2026", "YYYY-MM-DD"),
        ("2026-03-12", "not over"),
        ("2026-03-09", "first"),
    ):
        with pytest.raises(PartitionError, match=reason):
            steps.pull(space, "visits", key, builders.run())
    assert outcomes(site) == ["failed"] * 6
    assert [e["partition_key"] for e in entries(site, "pull", "outcome")] == [
        "none",
        "10/3/2026",
        "2026-03-12",
        "2026-03-09",
    ]


@pytest.mark.parametrize(("day", "hours"), ((date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 7, 1), 24)))
def test_a_partition_is_a_day_in_stockholm_also_when_the_clocks_change(
    site: Site, world: World, day: date, hours: int
) -> None:
    partition = Partition(day, "Europe/Stockholm")
    assert partition.end - partition.start == timedelta(hours=hours)
    second = timedelta(seconds=1)
    inside = {partition.start, partition.end - second}
    for at in (partition.start - second, *inside, partition.end):
        world.view(recorded_at=at, viewed_at=at - second)
    space = builders.workspace(site, now=partition.end, first=day)
    steps.pull(space, "visits", day.isoformat(), builders.run())
    assert {at for (at,) in builders.read(site, "SELECT recorded_at FROM landing.page_views")} == inside
