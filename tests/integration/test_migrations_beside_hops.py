"""`make up` brings views and grants up to date while a hop is in the middle of its transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2.extensions
import pytest

import builders
from aftermath import outcomes, terms, through
from builders import DAY, POLICY, World
from governance import schema, steps
from governance.embedded.site import Site
from governance.errors import ContendedError
from governance.policy import Policy
from governance.run_log import Batch, Entry
from governance.steps import Workspace
from governance.warehouse import Warehouse

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY = DAY.isoformat()
HOPS = ("pull", "validate", "publish")
PATIENCE = 60


@dataclass
class InTheMiddle:
    """A hop that has done its work and not committed it yet."""

    hop: Future[Batch]
    go_on: threading.Event

    def end(self) -> Batch:
        self.go_on.set()
        return self.hop.result(PATIENCE)


@contextmanager
def in_the_middle(space: Workspace, hop: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[InTheMiddle]:
    """A hop that waits in its transaction, before it appends the entry of its effect."""
    work: Callable[[], Batch] = lambda: steps.pull(space, "visits", KEY, builders.run())  # noqa: E731
    if hop != "pull":
        batch = steps.pull(space, "visits", KEY, builders.run())
        work = lambda: steps.validate(space, batch, builders.run())  # noqa: E731
    if hop == "publish":
        settled = work()
        work = lambda: steps.publish(space, settled, builders.run())  # noqa: E731
    reached, go_on, append = threading.Event(), threading.Event(), Warehouse._append

    def held(cursor: psycopg2.extensions.cursor, entry: Entry) -> None:
        if (entry.attempt.event, entry.phase) == (hop, "outcome"):
            reached.set()
            assert go_on.wait(PATIENCE)
        append(cursor, entry)

    monkeypatch.setattr(Warehouse, "_append", staticmethod(held))
    with ThreadPoolExecutor(1) as pool:
        middle = InTheMiddle(pool.submit(work), go_on)
        assert reached.wait(PATIENCE)
        try:
            yield middle
        finally:
            go_on.set()


def definitions(site: Site) -> list[tuple[object, ...]]:
    """Every view with the number that it was made under, and what each role may do with it."""
    return builders.read(
        site,
        "SELECT c.oid, relname, pg_get_viewdef(c.oid), relacl::text FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'v' AND nspname IN ('landing', 'vault') "
        "ORDER BY 2, 1",
    )


def changed(policy: Policy) -> Policy:
    """A policy under which validation sees a column less of page views."""
    visits = policy.datasets["visits"]
    table = visits.landed["page_views"]
    column = table.columns["duration_ms"]
    less = column.model_copy(update={"purposes": tuple(set(column.purposes) - {"validation"})})
    assert less.purposes != column.purposes
    columns = table.model_copy(update={"columns": {**table.columns, "duration_ms": less}})
    landed = visits.model_copy(update={"landed": {**visits.landed, "page_views": columns}})
    return policy.model_copy(update={"datasets": {**policy.datasets, "visits": landed}})


@pytest.mark.parametrize("hop", HOPS)
def test_a_migration_that_changes_nothing_waits_for_no_hop_and_no_hop_for_it(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, hop: str
) -> None:
    world.visitors()
    before = definitions(site)
    with in_the_middle(space, hop, monkeypatch) as middle:
        assert schema.migrate(site.dsn("governance_owner"), POLICY) == []
        assert not middle.hop.done()
        middle.end()
    assert definitions(site) == before
    through(space, "visits", KEY)
    assert [t["published"] for t in terms(site)] == [10]
    assert "failed" not in outcomes(site)


def test_a_migration_that_has_to_change_what_a_hop_reads_gives_up_and_changes_nothing(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.visitors()
    world.view(duration_ms=-1)  # settlement asks the view which rows failed
    before = definitions(site)
    monkeypatch.setattr(schema, "PATIENCE_SECONDS", 1)
    with in_the_middle(space, "validate", monkeypatch) as middle:
        with pytest.raises(ContendedError, match="nothing was changed; wait for its end, or pause the DAGs"):
            schema.migrate(site.dsn("governance_owner"), changed(POLICY))
        middle.end()
    assert definitions(site) == before
    assert "failed" not in outcomes(site)
    try:
        schema.migrate(site.dsn("governance_owner"), changed(POLICY))  # the hop is over
        assert "duration_ms" not in dict((name, text) for _, name, text, _ in definitions(site))["current_page_views"]
    finally:
        schema.migrate(site.dsn("governance_owner"), POLICY)
    assert [row[1:] for row in definitions(site)] == [row[1:] for row in before]
