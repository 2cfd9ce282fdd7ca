"""Kinds of data keys: who may use them, and when they die (policy clauses J1, J2, K1, B2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from governance.key_kinds import KeyKind, landing_scope, life
from governance.policy import POLICY_FOLDER, load

POLICY = load()
NOW = datetime(2026, 3, 12, 9, 30, tzinfo=UTC)


@pytest.mark.clause("K1")
def test_every_kind_has_its_life_in_days_of_24_hours_less_its_margin() -> None:
    assert {name: POLICY.key_life(name) for name in POLICY.keys} == {
        "subject": None,
        "card_hour": timedelta(days=9, hours=22),
        "profile": None,
        "hold": timedelta(days=180),
        "fraud_token": timedelta(days=365),
        "visitor_day": timedelta(days=1),
        "visit_day": timedelta(days=30),
        "release": None,
        "reference": None,
    }
    assert life(10, 0) == timedelta(days=10)
    assert life(0.5, 0.25) == timedelta(hours=11, minutes=45)


@pytest.mark.clause("K1")
@pytest.mark.parametrize("created_at", [NOW, NOW - timedelta(days=1), NOW + timedelta(days=300)])
def test_the_key_of_a_cards_hour_dies_by_that_hour_whenever_it_was_made(created_at: datetime) -> None:
    deadline = POLICY.key_deadline("card_hour", "2026-03-10T11", created_at)
    assert deadline == datetime(2026, 3, 20, 9, tzinfo=UTC)
    assert deadline <= datetime(2026, 3, 10, 11, tzinfo=UTC) + timedelta(days=10)


@pytest.mark.clause("B2")
@pytest.mark.parametrize("day", ["2026-03-10", "2020-01-01"])
def test_the_key_of_a_days_visitors_dies_by_its_creation_so_that_a_late_pull_is_published_too(day: str) -> None:
    assert POLICY.key_deadline("visitor_day", landing_scope(day, "0195"), NOW) == NOW + timedelta(days=1)


@pytest.mark.clause("B2")
def test_the_key_of_pseudonyms_alone_is_in_no_backup() -> None:
    assert {name for name, kind in POLICY.keys.items() if not kind.is_backed_up} == {"visitor_day"}


@pytest.mark.clause("M1")
@pytest.mark.parametrize("kind", ["subject", "profile"])
def test_the_key_of_a_person_has_no_deadline_and_is_never_named(kind: str) -> None:
    assert POLICY.key_deadline(kind, "client 7", NOW) is None
    assert not POLICY.keys[kind].is_named


def test_keys_of_hours_days_cases_and_landings_may_be_named() -> None:
    assert {name for name, kind in POLICY.keys.items() if kind.is_named} == set(POLICY.keys) - {"subject", "profile"}


@pytest.mark.parametrize(
    ("kind", "scope"),
    [
        ("card_hour", "2026-03-10"),
        ("card_hour", "2026-03-10T24"),
        ("card_hour", "2026-03-10T11:30"),
        ("card_hour", "client 7"),
        ("card_hour", ""),
        ("visit_day", "2026-03-10T11"),
        ("visit_day", "2026-02-30"),
        ("visit_day", "client 7"),
        ("visit_day", "today"),
    ],
)
def test_a_scope_that_is_no_hour_or_day_as_its_kind_has_it_is_an_error(kind: str, scope: str) -> None:
    with pytest.raises(ValueError, match="does not match format|unconverted data|day is out of range|must be in"):
        POLICY.key_deadline(kind, scope, NOW)


@pytest.mark.clause("K1")
@pytest.mark.parametrize(
    ("scope", "is_time"), [("hour", True), ("day", True), ("case", False), ("person", False), ("landing", False)]
)
def test_a_term_counts_from_a_scope_only_where_that_is_a_time(scope: str, is_time: bool) -> None:
    document = {**POLICY.keys["card_hour"].model_dump(), "scope": scope}
    if is_time:
        assert KeyKind.model_validate(document).counted_from == "scope"
    else:
        with pytest.raises(ValueError, match=f"a {scope} is no time to count a term from"):
            KeyKind.model_validate(document)
    assert KeyKind.model_validate({**document, "counted_from": "creation"}).scope == scope


@pytest.mark.clause("J2")
def test_the_roles_of_a_kind_are_those_that_work_for_one_of_its_purposes() -> None:
    assert {name: POLICY.key_roles(name) for name in POLICY.keys} == {
        "subject": {"loader", "sharer", "publisher"},
        "card_hour": {"loader", "profiler", "screener"},
        "profile": {"profiler"},
        "hold": {"screener"},
        "fraud_token": {"screener"},
        "visitor_day": {"loader"},
        "visit_day": {"loader", "screener"},
        "release": {"publisher"},
        "reference": {"sharer"},
    }


@pytest.mark.clause("J2")
def test_no_role_that_people_work_as_uses_a_key() -> None:
    using = {role for name in POLICY.keys for role in POLICY.key_roles(name)}
    assert not using & {"analyst", "auditor", "puller", "custodian", "validator"}


@pytest.mark.clause("J2")
def test_a_key_that_makes_tokens_opens_nothing() -> None:
    assert {name for name, kind in POLICY.keys.items() if kind.use == "token"} == {
        "visitor_day", "fraud_token", "release", "reference",
    }  # fmt: skip
    assert not any(kind.open for kind in POLICY.keys.values() if kind.use == "token")


@pytest.mark.clause("K4")
def test_who_can_test_tokens_of_cards_cannot_read_the_digits_of_saved_ones() -> None:
    assert "profile" in POLICY.keys["fraud_token"].apart_from
    assert not POLICY.key_roles("fraud_token") & POLICY.key_roles("profile")


@pytest.mark.clause("J1")
def test_a_backup_of_the_key_store_expires_before_any_deadline() -> None:
    lives = [POLICY.key_life(name) for name, kind in POLICY.keys.items() if kind.is_backed_up]
    assert timedelta(days=3) == POLICY.key_encryption_key_life < min(found for found in lives if found is not None)


@pytest.mark.clause("J2")
def test_the_page_about_keys_has_every_kind_with_those_who_encrypt_and_decrypt() -> None:
    page = (POLICY_FOLDER.parent / "docs" / "keys.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:2] == "| "]
    told = {row[0].strip("`"): (row[-2], row[-1]) for row in rows if row[0].strip("`") in POLICY.keys}
    assert told == {
        name: (", ".join(kind.seal) or "-", ", ".join(kind.open) or "-") for name, kind in POLICY.keys.items()
    }
