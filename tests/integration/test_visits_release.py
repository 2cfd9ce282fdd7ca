"""What a release of visits counts: decided where the views are, and checked here against definitions one can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extras import execute_values

import builders
from aftermath import state
from builders import DAY, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import DisclosureError
from governance.publications import Decisions, Publication
from governance.run_log import Batch
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1")]

VIEW = {"partition_key": DAY, "country_code": "SE", "device_class": "mobile", "page_category": "search"}
CELL = ("country_code", "device_class", "page_category")
K, LIMIT = 3, 2


@dataclass(frozen=True)
class Counted:
    """Published cells as (country, device, page, views, visitors), and the decision on each view."""

    cells: list[tuple[Any, ...]]
    decided: dict[str, str]
    decisions: Decisions


Count = Callable[..., Counted]


def viewed(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Accepted views: each row `VIEW` with changes; `who` is the visitor, another one unless it says which."""
    return [
        {**VIEW, "visitor_token": row.get("who", f"visitor {number}"), "row_key": str(100 + number)}
        | {name: value for name, value in row.items() if name != "who"}
        for number, row in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def count(site: Site) -> Iterator[Count]:
    """Counts views of a vault that holds them alone, and forgets them."""
    with closing(psycopg2.connect(site.dsn("governance_owner"))) as connection:

        def counted(accepted: list[dict[str, Any]], k: int = K, limit: int = LIMIT, day: date = DAY) -> Counted:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM vault.release_ledger; DELETE FROM control.batches")
                for partition in {row["partition_key"] for row in accepted}:
                    _settled(cursor, partition, [row for row in accepted if row["partition_key"] == partition])
                publication = Publication(cursor, Batch("visits", day.isoformat(), "test"), day, print)
                cells = publication.decide_visits(k=k, limit=limit)
                decisions = publication.decisions()
                cursor.execute("SELECT row_key, decision FROM vault.release_ledger")
                decided = dict(cursor.fetchall())
            connection.rollback()
            return Counted([tuple(row) for row in cells.itertuples(index=False)], decided, decisions)

        yield counted


def _settled(cursor: psycopg2.extensions.cursor, day: date, rows: list[dict[str, Any]]) -> None:
    cursor.execute(
        "INSERT INTO control.landings (landing_id, dataset, partition_key, shards_count) "
        "VALUES (gen_random_uuid()::text, 'visits', %s, 1) RETURNING landing_no",
        (day,),
    )
    ((landing,),) = cursor.fetchall()
    cursor.execute(
        "INSERT INTO control.batches (dataset, partition_key, state, run_id, pull_attempt, source_counts, "
        "landed_counts, landing_no, settled_no) VALUES ('visits', %s, 'settled', 'r', 'a', '{}', '{}', %s, %s)",
        (day, landing, landing),
    )
    columns = ("partition_key", "row_key", "visitor_token", *CELL)
    execute_values(
        cursor,
        f"INSERT INTO records.page_views (landing_no, {', '.join(columns)}) VALUES %s",
        [(landing, *(row[column] for column in columns)) for row in rows],
    )


def test_a_cell_of_three_visitors_is_counted_and_one_of_two_is_not(count: Count) -> None:
    found = count(viewed({}, {}, {}, {"page_category": "blog"}, {"page_category": "blog"}))
    assert found.cells == [("SE", "mobile", "search", 3, 3)]
    assert list(found.decided.values()) == ["published"] * 3 + ["suppressed"] * 2
    assert found.decisions == Decisions({"published": 3, "suppressed": 2}, own=5)


def test_two_visitors_stay_hidden_however_much_they_look_at(count: Count) -> None:
    assert count(viewed(*[{"who": "ann"}, {"who": "bo"}] * 5), limit=20).cells == []


def test_a_visitor_counts_for_so_many_views_and_no_more(count: Count) -> None:
    found = count(viewed({"who": "ann"}, {"who": "ann"}, {"who": "ann"}, {"who": "ann"}, {"who": "bo"}, {"who": "cy"}))
    assert found.cells == [("SE", "mobile", "search", 4, 3)]  # two of ann's four
    assert list(found.decided.values()) == ["published"] * 2 + ["suppressed"] * 2 + ["published"] * 2


@pytest.mark.parametrize(("limit", "views"), ((3, 5), (4, 6), (5, 6)))
def test_the_bound_is_the_last_view_that_counts(count: Count, limit: int, views: int) -> None:
    found = count(viewed(*[{"who": "ann"}] * 4, {"who": "bo"}, {"who": "cy"}), limit=limit)
    assert found.cells == [("SE", "mobile", "search", views, 3)]


def test_the_bound_is_over_all_cells_of_a_visitor(count: Count) -> None:
    blog = {"page_category": "blog"}
    found = count(
        viewed({"who": "ann"}, {"who": "ann"}, {"who": "ann"} | blog, {"who": "bo"} | blog, {"who": "cy"} | blog)
    )
    assert found.cells == []  # ann's third view would have made the blog's three visitors


def test_what_a_visitor_did_not_say_reads_unknown(count: Count) -> None:
    unknown = {"country_code": None, "device_class": None, "page_category": None}
    assert count(viewed(unknown, unknown, unknown)).cells == [("unknown", "unknown", "unknown", 3, 3)]


def test_cells_are_sorted_by_what_is_published(count: Count) -> None:
    rows = [{"country_code": code} for code in ("SE", "DE", "SE", "DE", "SE", "DE")]
    assert [cell[0] for cell in count(viewed(*rows)).cells] == ["DE", "SE"]


def test_views_of_an_earlier_day_are_carried_in_and_those_of_a_later_one_wait(count: Count) -> None:
    earlier, later = {"partition_key": date(2026, 3, 9)}, {"partition_key": date(2026, 3, 11)}
    found = count(viewed(earlier, {}, {}, later))
    assert found.cells == [("SE", "mobile", "search", 3, 3)]
    assert found.decisions == Decisions({"published": 3}, own=2)
    assert "103" not in found.decided


def test_a_day_without_views_publishes_no_cell(count: Count) -> None:
    assert count([]) == Counted([], {}, Decisions({}, own=0))


def test_counts_that_do_not_add_up_are_refused(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.visitors(11)
    batch = steps.validate(space, steps.pull(space, "visits", DAY.isoformat(), builders.run()), builders.run())
    original = Publication.decide_visits

    def one_more(*arguments: Any, **named: Any) -> pd.DataFrame:
        return original(*arguments, **named).assign(views_count=lambda cells: cells["views_count"] + 1)

    before = state(site)
    with monkeypatch.context() as patch:
        patch.setattr(Publication, "decide_visits", one_more)
        with pytest.raises(DisclosureError, match="the published counts do not add up"):
            steps.publish(space, batch, builders.run())
    assert state(site) == before
    steps.publish(space, batch, builders.run())


# -- laws --------------------------------------------------------------------------------------------------------------

ROW = st.fixed_dictionaries(
    {
        "visitor_token": st.sampled_from(["ann", "bo", "cy", "di"]),
        "country_code": st.sampled_from(["SE", "DE", None]),
        "device_class": st.sampled_from(["mobile", "desktop"]),
        "page_category": st.sampled_from(["search", "blog"]),
    }
)
LAWS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def views(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Accepted views of a day, in the order in which they were stored; their keys are in another."""
    rows = draw(st.lists(ROW, max_size=30))
    keys = draw(st.permutations(range(len(rows))))
    return [{"partition_key": DAY, "row_key": str(key), **row} for key, row in zip(keys, rows, strict=True)]


def cell_of(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] or "unknown" for name in CELL)


@given(accepted=views(), k=st.integers(1, 4), limit=st.integers(1, 5))
@LAWS
def test_every_published_cell_holds_k_visitors_none_of_whom_counts_beyond_the_bound(
    count: Count, accepted: list[dict[str, Any]], k: int, limit: int
) -> None:
    found = count(accepted, k, limit)
    assert found.decided.keys() == {row["row_key"] for row in accepted}
    published = [row for row in accepted if found.decided[row["row_key"]] == "published"]
    cells: dict[tuple[str, ...], list[str]] = {}
    for row in published:
        cells.setdefault(cell_of(row), []).append(row["visitor_token"])
    assert found.cells == [(*cell, len(who), len(set(who))) for cell, who in sorted(cells.items())]
    assert all(len(set(visitors)) >= k for visitors in cells.values())
    spent = Counter(row["visitor_token"] for row in published)
    assert max(spent.values(), default=0) <= limit
    # Nothing is held back for nothing: what is suppressed is beyond the bound, or in a cell of too few.
    made = Counter(row["visitor_token"] for row in accepted)
    for row in accepted:
        if found.decided[row["row_key"]] == "suppressed" and cell_of(row) in cells:
            assert made[row["visitor_token"]] > limit >= spent[row["visitor_token"]]


@given(accepted=views(), k=st.integers(1, 4), limit=st.integers(1, 5), order=st.randoms(use_true_random=False))
@LAWS
def test_the_order_of_views_changes_nothing(
    count: Count, accepted: list[dict[str, Any]], k: int, limit: int, order: Any
) -> None:
    shuffled = list(accepted)
    order.shuffle(shuffled)
    assert count(accepted, k, limit) == count(shuffled, k, limit)
