"""Whose a record is after an erasure: both sides of each instant, as a table."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from governance.subjects import Subject, acceptances_of_adults, begun_anew, renamed, succession

pytestmark = [pytest.mark.clause("L3"), pytest.mark.clause("M1")]

ERASED = datetime(2026, 3, 10, 11, 0, 0, tzinfo=UTC)
"""What a key store notes of a destruction at any moment of that second."""
SECOND = timedelta(seconds=1)
FIRST = "client 7"


def since(at: datetime) -> str:
    """The scope of the subject that begins then."""
    return f"{FIRST} since {int(at.timestamp())}"


def living(erasures: dict[str, datetime], *accepted: datetime) -> Subject | None:
    """The living subject of client 7."""

    def ended(scopes: Collection[str]) -> dict[str, datetime]:
        return {scope: erasures[scope] for scope in scopes if scope in erasures}

    return begun_anew([FIRST], ended, {FIRST: list(accepted)}).get(FIRST)


@pytest.mark.parametrize(
    ("accepted", "begins"),
    [
        (ERASED - timedelta(days=1), False),
        (ERASED, False),
        (ERASED + timedelta(microseconds=999_999), False),
        (ERASED + SECOND, True),
        (ERASED + timedelta(days=1), True),
    ],
    ids=str,
)
def test_an_acceptance_after_the_second_of_the_erasure_begins_a_new_subject(accepted: datetime, begins: bool) -> None:
    expected = Subject(since(accepted), accepted) if begins else None
    assert living({FIRST: ERASED}, ERASED - timedelta(days=9), accepted) == expected


def test_of_several_acceptances_the_first_one_after_the_erasure_begins_it() -> None:
    first, second = ERASED + timedelta(days=3), ERASED + timedelta(days=4)
    assert living({FIRST: ERASED}, ERASED, first, second) == Subject(since(first), first)


def test_whoever_was_never_erased_or_never_accepted_again_has_no_new_subject() -> None:
    assert living({}, ERASED + timedelta(days=1)) is None
    assert living({FIRST: ERASED}) is None


def test_a_second_erasure_ends_the_second_subject_and_a_third_one_may_begin() -> None:
    second, third = ERASED + timedelta(days=3), ERASED + timedelta(days=8)
    erasures = {FIRST: ERASED, since(second): ERASED + timedelta(days=5)}
    assert living(erasures, second) is None
    assert living(erasures, second, ERASED + timedelta(days=4)) is None
    assert living(erasures, second, third) == Subject(since(third), third)


@pytest.mark.parametrize(
    ("began", "scope"),
    [
        (ERASED + timedelta(days=3) - timedelta(microseconds=1), FIRST),
        (ERASED + timedelta(days=3), since(ERASED + timedelta(days=3))),
        (None, FIRST),
    ],
    ids=str,
)
def test_a_record_is_the_new_subjects_when_it_began_no_earlier(began: datetime | None, scope: str) -> None:
    subject = Subject(since(ERASED + timedelta(days=3)), ERASED + timedelta(days=3))
    scopes = pa.array([FIRST, "client 8", None], pa.string())
    found = renamed(scopes, pa.array([began] * 3, pa.timestamp("us", "UTC")), {FIRST: subject})
    assert found.to_pylist() == [scope, "client 8", None]


@pytest.mark.parametrize(
    ("born", "counts"),
    [(date(2008, 3, 13), True), (date(2008, 3, 14), False), (date(2009, 1, 1), False), (None, False)],
    ids=str,
)
def test_only_an_adult_accepts(born: date | None, counts: bool) -> None:
    at = datetime(2026, 3, 13, 9, tzinfo=UTC)
    found = pa.table(
        {
            "client_ref": [FIRST],
            "accepted_at": pa.array([at], pa.timestamp("us", "UTC")),
            "accepted_date": pa.array([date(2026, 3, 13)], pa.date32()),
            "birth_date": pa.array([born], pa.date32()),
        }
    )
    assert acceptances_of_adults(found, 18) == ({FIRST: [at]} if counts else {})


@pytest.mark.parametrize(
    ("booked", "scopes", "until"),
    [
        (ERASED - timedelta(days=1), 1, 1),
        (ERASED + timedelta(days=1) - timedelta(microseconds=1), 1, 1),
        (ERASED + timedelta(days=1), 2, 5),
        (ERASED + timedelta(days=5), 3, None),
    ],
    ids=str,
)
def test_whoever_is_erased_is_erased_as_all_whom_they_had_been_by_then(
    booked: datetime, scopes: int, until: int | None
) -> None:
    """Accepted again a day after the erasure; erased once more on the third day; accepted again on the fifth."""
    second, third = ERASED + timedelta(days=1), ERASED + timedelta(days=5)
    erasures = {FIRST: ERASED, since(second): ERASED + timedelta(days=3)}

    def ended(names: Collection[str]) -> dict[str, datetime]:
        return {name: erasures[name] for name in names if name in erasures}

    found = succession(FIRST, booked, ended, {FIRST: [second, third]})
    assert found.scopes == (FIRST, since(second), since(third))[:scopes]
    assert found.until == (None if until is None else ERASED + timedelta(days=until))


def test_whoever_was_not_erased_has_one_subject_and_no_other_begins() -> None:
    accepted = {FIRST: [ERASED + timedelta(days=1)]}
    assert succession(FIRST, ERASED, lambda _: {}, accepted).scopes == (FIRST,)
    assert succession(FIRST, ERASED, lambda _: {}, accepted).until is None
