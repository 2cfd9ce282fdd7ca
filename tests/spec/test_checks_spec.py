"""The checks that code makes outside Great Expectations (the suites' `checks`): both sides of each threshold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from governance import policy as policies
from governance.anonymisation.releases import require
from governance.errors import DisclosureError, GapError, PolicyError
from governance.policy import POLICY_FOLDER, Policy
from governance.pulling import within_terms
from governance.run_log import Conservation
from governance.sources import check_schema

POLICY = policies.load()
NOW = datetime(2026, 3, 12, 9, tzinfo=UTC)
TERM = timedelta(days=10)


def group(people: int, services: int, rows_each: int = 1) -> tuple[pd.DataFrame, pd.Series]:
    """One class of that many people, with that many different services between them; and who each row is."""
    who = [f"person {number}" for number in range(people) for _ in range(rows_each)]
    service = [f"service {number % services}" for number in range(len(who))]
    return pd.DataFrame({"region": ["northern_europe"] * len(who), "service": service}), pd.Series(who)


@pytest.mark.clause("E1")
@pytest.mark.parametrize(("people", "services"), [(10, 2), (11, 2), (10, 3)])
def test_a_class_is_published_from_ten_people_and_two_services_on(people: int, services: int) -> None:
    rows, who = group(people, services)
    assert require(rows, ["region"], ["service"], who, k=10, l=2).k == people


@pytest.mark.clause("E1")
def test_ten_bookings_of_one_client_hide_nobody() -> None:
    rows, who = group(people=5, services=2, rows_each=4)
    with pytest.raises(DisclosureError, match="a class of 5 people"):
        require(rows, ["region"], ["service"], who, k=10, l=2)


@pytest.mark.clause("E1")
@pytest.mark.parametrize(("people", "services"), [(9, 2), (10, 1), (1, 1)])
def test_rows_that_do_not_hold_k_or_l_are_refused(people: int, services: int) -> None:
    rows, who = group(people, services)
    with pytest.raises(DisclosureError, match="nothing was published"):
        require(rows, ["region"], ["service"], who, k=10, l=2)


@pytest.mark.clause("E1")
def test_a_release_says_the_k_and_l_that_its_rows_have() -> None:
    rows, who = group(people=12, services=3)
    measured = require(rows, ["region"], ["service"], who, k=10, l=2)
    assert (measured.k, measured.l) == (12, 3)


def source() -> dict[str, dict[str, str]]:
    """The source's columns exactly as the policy declares them."""
    return {table: {name: c.type for name, c in columns.items()} for table, columns in POLICY.source_tables.items()}


@pytest.mark.clause("J1")
@pytest.mark.clause("B1")
def test_a_source_that_is_as_declared_passes() -> None:
    check_schema(source(), POLICY)


@pytest.mark.clause("J1")
@pytest.mark.clause("B1")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["page_views"].update(fingerprint="text"), "page_views.fingerprint is not declared"),
        (lambda s: s["clients"].pop("email"), "clients.email is declared but missing"),
        (lambda s: s["clients"].update(birth_date="text"), "clients.birth_date is text, declared date"),
        (lambda s: s.update(chats={"message": "text"}), "chats.message is not declared"),
    ],
    ids=["a new column", "a missing column", "another type", "a new table"],
)
def test_a_source_that_is_not_as_declared_stops_the_batch(change: Callable[[dict], object], told: str) -> None:
    found = source()
    change(found)
    with pytest.raises(GapError, match=told):
        check_schema(found, POLICY)


def policy_with(folder: Path, name: str, old: str, new: str) -> Policy:
    """The policy with one change in one of its files."""
    copy = folder / "policies"
    shutil.copytree(POLICY_FOLDER, copy)
    text = (copy / name).read_text("utf-8")
    assert text.count(old) == 1, "the change must hit one place"
    (copy / name).write_text(text.replace(old, new), "utf-8")
    return policies.load(copy)


@pytest.mark.clause("J1")
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (
            "bookings.yaml",
            "{type: bytea, from: [clients.email], category: user.contact.email, treatment: encrypt",
            "{type: text, from: [clients.email], category: user.contact.email, treatment: keep",
        ),
        (
            "visits.yaml",
            "category: user.unique_id.pseudonymous, treatment: tokenise, key: visitors, domain: device",
            "category: user.unique_id.pseudonymous, treatment: keep",
        ),
    ],
    ids=["an e-mail address", "a device"],
)
def test_a_policy_that_would_land_a_guarded_column_in_clear_is_refused(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    with pytest.raises(PolicyError, match="as it is, though its treatment is"):
        policy_with(tmp_path, file, old, new)


@pytest.mark.clause("J1")
@pytest.mark.clause("I2")
def test_a_policy_that_would_land_a_refused_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="which is refused"):
        policy_with(
            tmp_path,
            "visits.yaml",
            "from: [page_views.session_id], category",
            "from: [page_views.first_party_cookie_id], category",
        )


@pytest.mark.clause("K1")
@pytest.mark.parametrize(
    ("captured", "rule"),
    [
        (NOW, None),
        (datetime(2026, 3, 2, 12, tzinfo=UTC), None),
        (datetime(2026, 3, 2, 11, 59, 59, 999_999, tzinfo=UTC), "K1.card_age.over_age"),
        (datetime(2026, 3, 2, 11, tzinfo=UTC), "K1.card_age.over_age"),
        (NOW - TERM + timedelta(microseconds=1), "K1.card_age.over_age"),
        (NOW - TERM, "K1.card_age.over_age"),
        (NOW + timedelta(microseconds=1), "K1.card_age.future"),
        (None, "K1.card_age.unknown_time"),
    ],
    ids=[
        "just captured",
        "in the oldest hour whose key lives",
        "a microsecond before that hour",
        "in the hour whose key dies now",
        "a microsecond less than ten days",
        "exactly ten days",
        "a microsecond ahead",
        "unknown",
    ],
)
def test_a_card_lands_as_long_as_the_key_of_its_hour_lives(captured: datetime | None, rule: str | None) -> None:
    cards = pa.record_batch(
        {
            "row_key": pa.array(["card"]),
            "payment_cards.captured_at": pa.array([captured], pa.timestamp("us", "UTC")),
        }
    )
    life = POLICY.key_life("card_hour")
    assert life == TERM - timedelta(hours=2)
    terms = within_terms(cards, now=NOW, life=life)
    assert terms.kept.num_rows == (1 if rule is None else 0)
    assert terms.refused == ({} if rule is None else {rule: ["card"]})


SOUND = Conservation(
    at_source=10, pulled=10, accepted=7, quarantined=3, carried_in=2, published=6, suppressed=2, superseded=1
)


@pytest.mark.clause("R1")
def test_rows_that_are_conserved_balance() -> None:
    assert SOUND.imbalances() == []


@pytest.mark.clause("R1")
@pytest.mark.parametrize(
    "term", ["at_source", "quarantined", "carried_in", "published", "suppressed", "superseded", "erased"]
)
@pytest.mark.parametrize("by", [-1, 1])
def test_one_row_too_many_or_too_few_in_any_term_is_noticed(term: str, by: int) -> None:
    assert len(replace(SOUND, **{term: getattr(SOUND, term) + by}).imbalances()) == 1
