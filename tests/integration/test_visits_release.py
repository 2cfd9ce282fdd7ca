"""What a release of visits counts: decided where the views are, and checked here against definitions one can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extras import execute_values

from builders import DAY
from governance.embedded.site import Site
from governance.publications import Decisions, Publication
from governance.run_log import Batch

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1")]

VIEW = {
    "partition_key": DAY, "session_token": None, "country_code": "SE", "device_class": "mobile",
    "page_category": "search", "language_code": "sv", "cell_code": None, "viewed_minute": None,
}  # fmt: skip
CELL = ("country_code", "device_class", "page_category", "language_code")
CONTRIBUTIONS, PER_CELL = 3, 2


@dataclass(frozen=True)
class Counted:
    """Exact cells of sessions as (country, device, page, language, sessions, visitors), the decision on each view, and
    what else is counted."""

    cells: list[tuple[Any, ...]]
    decided: dict[str, str]
    decisions: Decisions
    regions: dict[str, int]
    delays: dict[str, int]


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

        def counted(
            accepted: list[dict[str, Any]],
            contributions: int = CONTRIBUTIONS,
            per_cell: int = PER_CELL,
            day: date = DAY,
        ) -> Counted:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM vault.release_ledger; DELETE FROM control.batches")
                for partition in {row["partition_key"] for row in accepted}:
                    _settled(cursor, partition, [row for row in accepted if row["partition_key"] == partition])
                publication = Publication(cursor, Batch("visits", day.isoformat(), "test"), day, print)
                regions, delays = (
                    dict(publication.count(query)[[label, "exact"]].itertuples(index=False, name=None))
                    for query, label in (
                        ("count_regions", "cell_code"), ("count_search_to_booking", "search_to_booking"),
                    )
                )  # fmt: skip
                cells = publication.decide_visits(contributions=contributions, per_cell=per_cell)
                decisions = publication.decisions()
                cursor.execute("SELECT row_key, decision FROM vault.release_ledger")
                decided = dict(cursor.fetchall())
            connection.rollback()
            rows = [tuple(row) for row in cells.itertuples(index=False)]
            return Counted(rows, decided, decisions, regions, delays)

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
    columns = ("row_key", "visitor_token", *VIEW)
    execute_values(
        cursor,
        f"INSERT INTO records.page_views (landing_no, {', '.join(columns)}) VALUES %s",
        [(landing, *(row[column] for column in columns)) for row in rows],
    )


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_a_session_counts_once_in_a_cell_however_much_it_looks_at_there(count: Count) -> None:
    one = {"who": "ann", "session_token": "s1"}
    found = count(viewed(*[one] * 5, {"who": "bo"}))
    assert found.cells == [("SE", "mobile", "search", "sv", 2, 2)]
    assert found.decisions == Decisions({"published": 6}, own=6)


def test_a_visitor_with_a_thousand_views_moves_no_count_by_more_than_the_bound(count: Count) -> None:
    crowd = viewed(*[{"who": f"other {number}"} for number in range(5)])
    pages = ("search", "blog", "clinics", "help")
    zealot = [
        {**VIEW, "visitor_token": "zealot", "row_key": str(1000 + n), "session_token": f"s{n % 250}",
         "page_category": pages[n % len(pages)]}
        for n in range(1000)
    ]  # fmt: skip
    without, with_it = (dict((row[:4], row[4]) for row in count(rows).cells) for rows in (crowd, crowd + zealot))
    moved = {cell: with_it[cell] - without.get(cell, 0) for cell in with_it}
    assert sum(moved.values()) == CONTRIBUTIONS
    assert max(moved.values()) <= PER_CELL
    assert without.keys() <= with_it.keys()


@pytest.mark.parametrize(("per_cell", "sessions"), ((1, 2), (2, 3), (3, 4), (4, 4)))
def test_the_bound_in_one_cell_is_the_last_session_that_counts(count: Count, per_cell: int, sessions: int) -> None:
    rows = [{"who": "ann", "session_token": f"s{number}"} for number in range(3)]
    found = count(viewed(*rows, {"who": "bo"}), contributions=4, per_cell=per_cell)
    assert found.cells == [("SE", "mobile", "search", "sv", sessions, 2)]


@pytest.mark.parametrize(("contributions", "sessions"), ((1, 1), (2, 2), (3, 3), (4, 3)))
def test_the_bound_over_all_cells_is_the_last_pair_that_counts(count: Count, contributions: int, sessions: int) -> None:
    rows = [{"who": "ann", "session_token": "s", "page_category": page} for page in ("search", "blog", "help")]
    found = count(viewed(*rows), contributions=contributions, per_cell=1)
    assert sum(row[4] for row in found.cells) == sessions
    assert Counter(found.decided.values())["published"] == sessions


def test_which_sessions_count_is_drawn_by_a_lot_that_the_days_pseudonym_decides(count: Count) -> None:
    """Keyed: whoever does not have the key of the day does not know the pseudonym, so cannot choose what counts."""
    pages = ("search", "blog", "help", "offers", "clinics", "booking")
    chosen = {
        who: tuple(row[2] for row in count(viewed(*[{"who": who, "page_category": p} for p in pages]), 2, 1).cells)
        for who in ("f3a1", "0b77", "9c20", "41de", "77aa", "12cd")
    }
    assert len(set(chosen.values())) > 1
    assert all(len(pages) == 2 for pages in chosen.values())


def test_what_a_visitor_did_not_say_reads_unknown(count: Count) -> None:
    unknown = {"country_code": None, "device_class": None, "page_category": None, "language_code": None}
    assert count(viewed(unknown, unknown)).cells == [("unknown", "unknown", "unknown", "unknown", 2, 2)]


def test_views_of_nobody_are_of_one_visitor(count: Count) -> None:
    found = count(viewed(*[{"who": None, "session_token": f"s{number}"} for number in range(9)]))
    assert found.cells == [("SE", "mobile", "search", "sv", PER_CELL, 1)]


def test_views_of_an_earlier_day_count_nowhere_and_those_of_a_later_one_wait(count: Count) -> None:
    earlier, later = {"partition_key": date(2026, 3, 9)}, {"partition_key": date(2026, 3, 11)}
    found = count(viewed(earlier, {}, {}, later))
    assert found.cells == [("SE", "mobile", "search", "sv", 2, 2)]
    assert found.decisions == Decisions({"published": 2, "suppressed": 1}, own=2)
    assert found.decided["100"] == "suppressed"
    assert "103" not in found.decided


def test_a_day_without_views_counts_nothing_but_the_classes_that_are_known(count: Count) -> None:
    found = count([])
    assert (found.cells, found.decided, found.regions) == ([], {}, {})
    assert set(found.delays.values()) == {0}


# -- places and delays -------------------------------------------------------------------------------------------------


@pytest.mark.clause("B2")
def test_a_visitor_has_one_place_a_day_however_far_it_goes(count: Count) -> None:
    home, away = "0310203120", "0310203121"
    rows = [{"who": who, "cell_code": cell} for who in ("ann", "bo", "cy") for cell in [home] * 3 + [away] * 40]
    found = count(viewed(*rows, {"who": "di"}))
    assert sum(found.regions.values()) == 3
    assert found.regions.keys() <= {home, away}


SEARCH = {"who": "ann", "page_category": "search"}
BOOKING = {"who": "ann", "page_category": "booking"}


@pytest.mark.parametrize(
    ("views", "delay"),
    (
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 100}), "under 5 minutes"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 104}), "under 5 minutes"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 105}), "5-29 minutes"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 129}), "5-29 minutes"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 130}), "30-119 minutes"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 219}), "30-119 minutes"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 220}), "2 hours or more"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 99}), "not on that day"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": None}), "not on that day"),
        ((SEARCH | {"viewed_minute": 100}, BOOKING | {"viewed_minute": 101, "who": "bo"}), "not on that day"),
        ((SEARCH | {"viewed_minute": 100}, SEARCH | {"viewed_minute": 200}, BOOKING | {"viewed_minute": 201},
          BOOKING | {"viewed_minute": 300}), "30-119 minutes"),
    ),
)  # fmt: skip
def test_who_searched_is_in_one_class_by_the_first_view_of_the_booking_pages_after_it(
    count: Count, views: tuple[dict[str, Any], ...], delay: str
) -> None:
    found = count(viewed(*views)).delays
    assert {name: n for name, n in found.items() if n} == {delay: 1}
    assert len(found) == 5


def test_who_did_not_search_or_at_no_known_time_is_in_no_class(count: Count) -> None:
    found = count(viewed(BOOKING | {"viewed_minute": 100}, SEARCH | {"viewed_minute": None}))
    assert set(found.delays.values()) == {0}


# -- laws --------------------------------------------------------------------------------------------------------------

ROW = st.fixed_dictionaries(
    {
        "visitor_token": st.sampled_from(["ann", "bo", "cy", "di"]),
        "session_token": st.sampled_from(["s1", "s2", None]),
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
    return [{**VIEW, "row_key": str(key), **row} for key, row in zip(keys, rows, strict=True)]


def cell_of(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] or "unknown" for name in CELL)


@given(accepted=views(), contributions=st.integers(1, 5), per_cell=st.integers(1, 3))
@LAWS
def test_cells_count_pairs_of_session_and_cell_of_which_no_visitor_has_more_than_the_bounds(
    count: Count, accepted: list[dict[str, Any]], contributions: int, per_cell: int
) -> None:
    found = count(accepted, contributions, per_cell)
    assert found.decided.keys() == {row["row_key"] for row in accepted}

    def pairs(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
        return {(row["visitor_token"], row["session_token"] or "", cell_of(row)) for row in rows}

    counted = pairs([row for row in accepted if found.decided[row["row_key"]] == "published"])
    sessions, people = Counter(cell for *_, cell in counted), Counter(c for _, c in {(v, c) for v, _, c in counted})
    assert found.cells == [(*cell, sessions[cell], people[cell]) for cell in sorted(sessions)]
    assert max(Counter(visitor for visitor, *_ in counted).values(), default=0) <= contributions
    assert max(Counter((visitor, cell) for visitor, _, cell in counted).values(), default=0) <= per_cell
    # Nothing is left out for nothing: who has spent neither bound counts with everything.
    for visitor, session, cell in pairs(accepted) - counted:
        in_cell = [pair for pair in counted if (pair[0], pair[2]) == (visitor, cell)]
        assert len(in_cell) == per_cell or len([p for p in counted if p[0] == visitor]) == contributions, session


@given(accepted=views(), order=st.randoms(use_true_random=False))
@LAWS
def test_the_order_of_views_changes_nothing(count: Count, accepted: list[dict[str, Any]], order: Any) -> None:
    shuffled = list(accepted)
    order.shuffle(shuffled)
    assert count(accepted) == count(shuffled)
