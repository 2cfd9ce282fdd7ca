"""What breaks: the source, our database, the process itself. Nothing is half-written, and the next try mends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

import builders
import faults
from aftermath import entries, outcomes, sessions, state, through
from builders import DAY, World
from faults import after, again, before
from governance import database, history, publications, settlements, source_grants, steps, validation, warehouse
from governance.embedded.site import LOGINS, Site
from governance.errors import (
    GovernanceError,
    SourceUnavailableError,
    TransientError,
    WarehouseUnavailableError,
)
from governance.publications import Publication
from governance.run_log import Batch
from governance.sources import Snapshot
from governance.steps import Workspace, to_analytics
from governance.warehouse import Warehouse

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY = DAY.isoformat()
VIEWS = 8000


def terminate(site: Site, role: str) -> int:
    """End every backend of a role's login, as an administrator does; returns how many there were."""
    admin = "source_postgres" if role == "puller" else "postgres"
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
    return len(builders.read(site, query, LOGINS[role].taken_by or role, role=admin))


def before_call(patch: pytest.MonkeyPatch, target: Any, name: str, work: Callable[[], object]) -> None:
    """Do something before each call of a method."""
    original = getattr(target, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        work()
        return original(*args, **kwargs)

    patch.setattr(target, name, wrapper)


# -- the source --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ("bookings", "visits"))
def test_a_source_that_is_down_is_named_nothing_lands_and_the_next_try_succeeds(
    site: Site, world: World, space: Workspace, dataset: str
) -> None:
    world.booking()
    world.view()
    before = state(site)
    with faults.proxy(site.source_port) as gone:
        port = gone.port
    down = replace(space, source_uri=lambda: site.dsn("puller").replace(f":{site.source_port}/", f":{port}/"))
    with pytest.raises(SourceUnavailableError) as caught:
        steps.pull(down, dataset, KEY, builders.run())
    said = str(caught.value)
    assert said.startswith(f"dataset {dataset}, partition {KEY}: the source cannot be reached")
    assert "check connection wellbe_source" in said and site.passwords["puller"] not in said
    assert state(site) == before
    assert outcomes(site) == ["failed"]
    assert entries(site)[-1]["error"]["type"] == "SourceUnavailableError"
    steps.pull(space, dataset, KEY, builders.run())
    assert outcomes(site) == ["failed", "passed"]


def test_a_source_that_is_cut_anywhere_is_named_nothing_lands_and_the_next_try_succeeds(
    site: Site, world: World, space: Workspace
) -> None:
    import adbc_driver_postgresql.dbapi as adbc

    world.views(VIEWS)
    with faults.proxy(site.source_port) as opened, closing(adbc.connect(opened.dsn(site.dsn("puller")))):
        connected = opened.passed
    with faults.proxy(site.source_port) as whole:
        steps.pull(replace(space, source_uri=lambda: whole.dsn(site.dsn("puller"))), "visits", KEY, builders.run())
        total = whole.passed
    assert total > connected + 1_000_000
    before = state(site)
    points = [0, 1, 500, connected - 1, connected, connected + 10, connected + 90, connected + 2000]
    points += [total // 3, total // 2, total - 5000, total - 100]
    points += [total - 10]  # in the message that says that all rows were sent
    for budget in points:
        with faults.proxy(site.source_port, budget) as cut:
            broken = replace(space, source_uri=lambda cut=cut: cut.dsn(site.dsn("puller")))
            started = time.monotonic()
            with pytest.raises(SourceUnavailableError, match=f"dataset visits, partition {KEY}: .* the task retries"):
                steps.pull(broken, "visits", KEY, builders.run())
            assert time.monotonic() - started < 20, budget
    assert state(site) == before
    assert outcomes(site) == ["passed", *["failed"] * len(points)]
    assert steps.pull(space, "visits", KEY, builders.run()).counts["page_views_pulled"] == VIEWS
    assert builders.read(site, "SELECT count(*), count(DISTINCT row_key) FROM landing.page_views") == [(VIEWS, VIEWS)]


def test_a_source_that_ends_our_session_between_two_reads_is_unavailable(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.view()
    before = state(site)
    with monkeypatch.context() as patch:
        before_call(patch, Snapshot, "batches", lambda: terminate(site, "puller"))
        with pytest.raises(SourceUnavailableError, match="reading the source failed"):
            steps.pull(space, "visits", KEY, builders.run())
    assert state(site) == before
    steps.pull(space, "visits", KEY, builders.run())


def test_a_right_that_was_taken_at_the_source_is_no_outage(site: Site, world: World, space: Workspace) -> None:

    world.view()
    before = state(site)
    world.execute("REVOKE SELECT (ip) ON wellbe.page_views FROM puller")
    try:
        with pytest.raises(GovernanceError, match=r"the source refused to be read \(SQLSTATE 42501\)") as caught:
            steps.pull(space, "visits", KEY, builders.run())
        assert not isinstance(caught.value, TransientError)
    finally:
        source_grants.grant(site.dsn("wellbe_owner"), space.policy)
    assert state(site) == before


# -- our database ------------------------------------------------------------------------------------------------------


def checked(space: Workspace, batch: Batch) -> Batch:
    """The batch, settled."""
    return steps.validate(space, batch, builders.run())


def at_append(work: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Do something just before the outcome of a success is appended."""
    original = Warehouse._append

    def append(cursor: Any, entry: Any) -> None:
        if entry.phase == "outcome" and entry.error is None:
            work()
        original(cursor, entry)

    patch.setattr(Warehouse, "_append", staticmethod(append))


@pytest.mark.parametrize("event", ("pull", "validate", "publish"))
def test_a_session_of_ours_that_is_ended_in_the_middle_leaves_nothing_and_the_next_try_succeeds(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    role = {"pull": "loader", "validate": "validator", "publish": "publisher"}[event]
    world.visitors()
    world.view(ip=None)
    batch = Batch("visits", KEY, "test")
    hops: dict[str, Callable[[], Batch]] = {
        "pull": lambda: steps.pull(space, "visits", KEY, builders.run()),
        "validate": lambda: checked(space, batch),
        "publish": lambda: steps.publish(space, batch, builders.run()),
    }
    for name, hop in hops.items():
        if name == event:
            break
        hop()
    before = state(site)
    with monkeypatch.context() as patch:
        at_append(lambda: terminate(site, role), patch)
        with pytest.raises(WarehouseUnavailableError, match="cut the connection"):
            hops[event]()
    assert state(site) == before
    hops[event]()
    assert outcomes(site, event) == ["failed", "passed"]


def test_a_copy_whose_session_is_ended_is_our_database_away_and_not_the_source(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.views(VIEWS)
    original, ended = database.BinaryCopy.read, []

    def read(self: Any, size: int = -1) -> bytes:
        if len(ended) < 20:
            ended.append(terminate(site, "loader"))
        return original(self, size)

    before = state(site)
    with monkeypatch.context() as patch:
        patch.setattr(database.BinaryCopy, "read", read)
        with pytest.raises(WarehouseUnavailableError):
            steps.pull(space, "visits", KEY, builders.run())
    assert state(site) == before
    steps.pull(space, "visits", KEY, builders.run())


def test_great_expectations_loses_our_database_and_that_is_said_to_be_so(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from great_expectations.execution_engine import SqlAlchemyExecutionEngine

    world.view(url="/canary-in-path")
    batch = steps.pull(space, "visits", KEY, builders.run())
    before = state(site)
    original = SqlAlchemyExecutionEngine.execute_query

    def ended(self: Any, query: Any) -> Any:
        terminate(site, "validator")
        return original(self, query)

    with monkeypatch.context() as patch:
        patch.setattr(SqlAlchemyExecutionEngine, "execute_query", ended)
        with pytest.raises(WarehouseUnavailableError):
            steps.validate(space, batch, builders.run())
    with monkeypatch.context() as patch:
        patch.setattr(validation, "_url", lambda dsn, key: "postgresql+psycopg2://validator:x@127.0.0.1:1/governance")
        with pytest.raises(WarehouseUnavailableError, match="validation lost our database"):
            steps.validate(space, batch, builders.run())
    # What Great Expectations would say of a failed statement quotes it, and may quote a row.
    said = [record for record in caplog.records if record.name.startswith("great_expectations")]
    assert not [record for record in said if record.levelname != "INFO"]
    assert state(site) == before
    assert checked(space, batch).counts["accepted"] == 1


def test_a_wrong_suite_is_no_outage(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.view()
    batch = steps.pull(space, "visits", KEY, builders.run())
    original = validation.load_suite

    def with_wrong_column(*args: Any) -> Any:
        suite = original(*args)
        chosen = next(e for e in suite["expectations"] if e["meta"]["rule"] == "B1.known_instant")
        chosen["kwargs"]["column"] = "no_such_column"
        return suite

    monkeypatch.setattr(validation, "load_suite", with_wrong_column)
    with pytest.raises(
        GovernanceError, match=r"rule B1\.known_instant: the expectation could not be evaluated"
    ) as caught:
        checked(space, batch)
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize(
    ("query", "error"),
    (
        ("SELECT pg_sleep(20), {}::date", WarehouseUnavailableError),  # it is ended meanwhile
        ("SELECT card_number_encrypted FROM vault.payment_cards WHERE partition_key <= {}", GovernanceError),
    ),
    ids=("ended", "refused"),
)
@pytest.mark.parametrize(
    ("dataset", "reader", "parameter"),
    (("bookings", warehouse, "$1"), ("visits", publications, "%(day)s")),
    ids=("bookings", "visits"),
)
def test_accepted_rows_that_cannot_be_read_publish_nothing(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, query: str, error: type[Exception],
    dataset: str, reader: ModuleType, parameter: str,
) -> None:  # fmt: skip
    world.view()
    world.booking()
    batch = checked(space, steps.pull(space, dataset, KEY, builders.run()))
    with monkeypatch.context() as patch:
        patch.setattr(reader, "named_query", lambda name: query.format(parameter))
        ending = threading.Timer(1, terminate, (site, "publisher")) if "sleep" in query else threading.Timer(0, int)
        ending.start()
        with pytest.raises(error, match=r"nothing was published|nothing of (it|this step) was kept") as caught:
            steps.publish(space, batch, builders.run())
        ending.join()
    assert isinstance(caught.value, TransientError) == (error is WarehouseUnavailableError)
    assert builders.read(site, "SELECT count(*) FROM analytics.releases") == [(0,)]
    steps.publish(space, batch, builders.run())


@pytest.mark.parametrize(("event", "effect"), (("pull", "land"), ("validate", "settle"), ("publish", "publication")))
def test_a_session_that_is_ended_after_the_commit_hides_nothing(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, event: str, effect: str
) -> None:
    world.visitors()
    batch = Batch("visits", KEY, "test")
    original = getattr(Warehouse, effect)
    role = {"pull": "loader", "validate": "validator", "publish": "publisher"}[event]

    def ended_after(self: Warehouse, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        terminate(site, role)
        return result

    @contextmanager
    def ended_behind(self: Warehouse, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with original(self, *args, **kwargs) as entered:
            yield entered
        terminate(site, role)

    monkeypatch.setattr(Warehouse, effect, ended_behind if event == "publish" else ended_after)
    steps.pull(space, "visits", KEY, builders.run())
    steps.publish(space, checked(space, batch), builders.run())
    assert outcomes(site) == ["passed"] * 3


def test_a_hop_that_has_ended_leaves_no_session_behind(site: Site, world: World, space: Workspace) -> None:
    world.view()
    through(space, "visits", KEY)
    roles = ("loader", "validator", "publisher", "puller")
    patience = time.monotonic() + 5
    while any(sessions(site, role) for role in roles) and time.monotonic() < patience:
        time.sleep(0.05)  # a server ends a session a moment after its client has left
    assert {role: sessions(site, role) for role in roles} == {role: [] for role in roles}


def test_without_our_database_nothing_starts(site: Site, world: World, space: Workspace) -> None:
    world.view()
    away = replace(space, warehouse_dsn=lambda role: f"postgresql://{role}:x@127.0.0.1:1/governance")
    with pytest.raises(WarehouseUnavailableError, match="check connection wellbe_warehouse"):
        steps.pull(away, "visits", KEY, builders.run())
    assert entries(site) == []


# -- the process -------------------------------------------------------------------------------------------------------


POINTS = {
    # The entry of the intent is the first to be appended, that of the outcome the last; before it, that of a read.
    ("pull", "before the copy"): before(Warehouse, "_copy"),
    ("pull", "in the middle of the copy"): after(database.BinaryCopy, "read", 2),
    ("pull", "before the commit"): after(Warehouse, "_append", 2),
    ("pull", "after the commit"): after(Warehouse, "land"),
    ("validate", "in the suite"): before(validation, "_results", 2),
    ("validate", "in the middle of settling"): after(settlements, "record"),
    ("validate", "before the commit"): after(Warehouse, "_append", 3),
    ("validate", "after the commit"): after(Warehouse, "settle"),
    ("publish", "before it writes"): before(Publication, "append"),
    ("publish", "in the middle of writing"): before(Publication, "_copy", 2),
    ("publish", "before the commit"): after(Warehouse, "_append", 3),
    ("publish", "after the commit"): before(to_analytics, "_counted"),
}


@pytest.mark.parametrize(("event", "where"), POINTS, ids=lambda part: part.replace(" ", "_"))
def test_a_task_killed_and_tried_again_gives_the_same_rows_once(
    site: Site, world: World, space: Workspace, event: str, where: str
) -> None:
    keys = set(world.crowd(card={}))
    troubled = world.booking(with_terms=False)
    batch = Batch("bookings", KEY, "test")
    hops: dict[str, Callable[[], Batch]] = {
        "pull": lambda: steps.pull(space, "bookings", KEY, builders.run()),
        "validate": lambda: steps.validate(space, batch, builders.run()),
        "publish": lambda: steps.publish(space, batch, builders.run()),
    }
    for name, hop in hops.items():
        if name != event:
            hop()
            continue
        untouched = state(site)
        faults.killed(hop, POINTS[event, where])
        tries = [tried for tried in history.attempts(entries(site)) if tried.event == event]
        interrupted = where != "after the commit"
        assert [tried.outcome for tried in tries] == [history.INTERRUPTED if interrupted else "passed"]
        if interrupted:
            assert state(site) == untouched
        again(hop)
    assert builders.read(site, "SELECT count(*) FROM landing.bookings") == [(0,)]
    assert {key for (key,) in builders.read(site, "SELECT row_key FROM vault.bookings")} == keys
    for table, rows in (
        ("vault.bookings", 10), ("vault.booking_travellers", 10), ("vault.booking_services", 10),
        ("vault.payment_cards", 10),
        ("vault.release_ledger", 10), ("quarantine.rows", 1), ("quarantine.findings", 1), ("analytics.bookings", 10),
        ("analytics.releases", 1), ("control.batches", 1),
    ):  # fmt: skip
        assert builders.read(site, f"SELECT count(*) FROM {table}") == [(rows,)], table
    assert builders.read(site, "SELECT row_key FROM quarantine.rows") == [(troubled,)]
