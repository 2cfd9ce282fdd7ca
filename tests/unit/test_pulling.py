"""From source rows to landing rows: exactly policy's columns, guarded before they leave the module."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from governance import policy as policies
from governance.encryption import Column, decrypt
from governance.errors import GapError
from governance.facts import MEASURES, Parameters
from governance.key import Key
from governance.policy import Treatment
from governance.pulling import ARROW_TYPES, Means, Secrets, landed, within_terms
from governance.sources import named_query

POLICY = policies.load()
LANDED = {name: table for dataset in POLICY.datasets.values() for name, table in dataset.landed.items()}
DATASET = {name: dataset for dataset in POLICY.datasets.values() for name in dataset.landed}
DAY = date(2026, 3, 10)
AT_REST, CLIENTS, VISITS = (Key(name, 1, bytes([number]) * 32) for number, name in enumerate(("a", "b", "c")))
FACTS_OF_SQL = {
    "booked_date": pa.date32(), "client_version": pa.int32(), "terms_lead_seconds": pa.float64(),
    "lead_days": pa.int32(),
    "recording_lag_seconds": pa.float64(), "travellers_count": pa.int32(), "services_count": pa.int32(),
    "versions_missing_count": pa.int32(), "copies_count": pa.int32(), "provider_state_code": pa.string(),
    "viewed_year": pa.int32(), "row_key": pa.string(), "root_key": pa.string(),
}  # fmt: skip
CLEAR: dict[str, Any] = {"text": "canary-{}", "date": date(1980, 5, 17)}


def means(table: str) -> Means:
    nonces = iter(range(10**6))
    secrets = Secrets(AT_REST, CLIENTS, VISITS, lambda n: b"".join(next(nonces).to_bytes(12, "big") for _ in range(n)))
    return Means(secrets, Parameters(0.5, DATASET[table].parameters))


def queried(table: str) -> list[str]:
    """The columns that a query brings, by the names that it gives them."""
    text = re.sub(r"--.*", "", named_query(f"pull_{table}"))
    top = re.split(r"\nFROM ", text, maxsplit=1)[0]
    return re.findall(r'AS "?([a-z_]+(?:\.[a-z_]+)?)"?(?:,|\n|$)', top)


def batch(table: str, rows: int = 3, **values: list[Any]) -> pa.RecordBatch:
    """Source rows as the table's query brings them: NULL but for keys and what is given."""
    columns = {}
    for name in queried(table):
        kind = FACTS_OF_SQL.get(name)
        if kind is None:
            source, _, column = name.partition(".")
            kind = ARROW_TYPES[DATASET[table].source[source][column].type]
        default = [f"{n}/1" for n in range(rows)] if name in ("row_key", "root_key") else [None] * rows
        columns[name] = pa.array(values.get(name, default), kind)
    return pa.record_batch(columns)


@pytest.mark.clause("J1")
@pytest.mark.parametrize("table", LANDED)
def test_what_lands_is_exactly_what_policy_says_also_of_rows_of_nothing(table: str) -> None:
    found = landed(batch(table), table, LANDED[table], DAY, means(table))
    assert found.schema.names == ["partition_key", *LANDED[table].columns]
    assert [found.schema.field(name).type for name in LANDED[table].columns] == [
        ARROW_TYPES[column.type] for column in LANDED[table].columns.values()
    ]
    assert found["partition_key"].to_pylist() == [DAY] * 3
    assert found.num_rows == 3
    empty = landed(batch(table, rows=0), table, LANDED[table], DAY, means(table))
    assert (empty.num_rows, empty.schema) == (0, found.schema)


@pytest.mark.clause("J1")
@pytest.mark.parametrize("table", LANDED)
def test_a_guarded_value_leaves_only_as_ciphertext_token_or_measure(table: str) -> None:
    guarded = {}
    source = DATASET[table].source
    for name in queried(table):
        place, _, column = name.partition(".")
        if column and source[place][column].treatment in (Treatment.ENCRYPT, Treatment.TOKENISE):
            text = source[place][column].type == "text"
            guarded[name] = [f"canary-{n}-{name}" if text else date(1980, 5, 17) for n in range(3)]
    assert guarded
    found = landed(batch(table, **guarded), table, LANDED[table], DAY, means(table))
    stored = repr([found[name].to_pylist() for name in found.schema.names if name != "row_key"])
    assert "canary" not in stored
    assert "1980" not in stored
    for name, column in LANDED[table].columns.items():
        if column.treatment is Treatment.ENCRYPT and not column.measure:
            opened = decrypt(found[name], found["row_key"], key_of=lambda _: AT_REST, column=Column(table, name))
            assert opened.to_pylist() == [str(value) for value in guarded[column.origin[0]]]


@pytest.mark.clause("B1")
def test_tokens_are_of_their_domain_and_visitors_of_the_best_that_is_known() -> None:
    rows = batch(
        "page_views",
        **{
            "page_views.device_id": ["d", None, None],
            "page_views.session_id": ["d", "d", "d"],
            "page_views.ip": ["192.0.2.1"] * 3,
            "page_views.user_agent": ["Firefox", "Firefox", None],
        },
    )
    found = landed(rows, "page_views", LANDED["page_views"], DAY, means("page_views")).to_pydict()
    assert found["device_token"][1:] == [None, None]
    assert found["session_token"][0] == found["session_token"][1] != found["device_token"][0]
    assert len(set(found["visitor_token"])) == 3
    booked = batch("bookings", **{"bookings.client_id": [7, 7, 8]})
    tokens = landed(booked, "bookings", LANDED["bookings"], DAY, means("bookings"))["client_token"].to_pylist()
    assert tokens[0] == tokens[1] != tokens[2]
    assert tokens[0] != "7"


def test_a_query_that_does_not_bring_what_policy_lands_is_a_gap() -> None:
    rows = batch("page_views")
    for missing in ("page_views.ip", "page_views.duration_ms"):
        fewer = rows.drop_columns([missing])
        with pytest.raises((GapError, KeyError)):
            landed(fewer, "page_views", LANDED["page_views"], DAY, means("page_views"))
    with pytest.raises(
        GapError, match="query pull_page_views brings no column 'page_views.duration_ms', which policy lands"
    ):
        landed(fewer, "page_views", LANDED["page_views"], DAY, means("page_views"))


@pytest.mark.parametrize("table", LANDED)
def test_a_query_reads_nothing_that_policy_does_not_let_land(table: str) -> None:
    origins = {origin for column in LANDED[table].columns.values() for origin in column.origin}
    brought = {name for name in queried(table) if "." in name}
    assert brought <= origins | {"bookings.booked_at", "bookings.service_date"}
    assert len(brought) > 3


def test_every_measure_that_policy_names_exists_and_every_one_that_exists_is_named() -> None:
    named = {c.measure for table in LANDED.values() for c in table.columns.values() if c.measure}
    assert named - {"sql"} == set(MEASURES)


def test_every_type_that_policy_lands_is_known() -> None:
    assert {c.type for table in LANDED.values() for c in table.columns.values()} | {"date"} == set(ARROW_TYPES)


NOON = datetime(2026, 3, 10, 11, tzinfo=UTC)
BOOKED, SERVICE = date(2026, 3, 10), date(2026, 4, 20)
MINOR = date(2010, 3, 10)


def travellers(**values: list[Any]) -> dict[str, list[Any]]:
    given = {
        "booking_travellers.birth_date": MINOR, "booked_date": BOOKED, "bookings.service_date": SERVICE,
        "bookings.booked_at": NOON, "guardian_consents.consent_id": None, "guardian_consents.given_at": None,
        "guardian_consents.verified_at": None,
    }  # fmt: skip
    rows = max(len(value) for value in values.values()) if values else 1
    filled = {name: values.get(name, [value] * rows) for name, value in given.items()}
    found = landed(
        batch("booking_travellers", rows, **filled), "booking_travellers", LANDED["booking_travellers"], DAY,
        means("booking_travellers"),
    )  # fmt: skip
    return {name: found[name].to_pylist() for name in found.schema.names if name.startswith("age_")}


@pytest.mark.clause("L1")
def test_ages_at_booking_and_at_service_are_in_whole_years_of_those_without_consent() -> None:
    found = travellers(
        **{"booking_travellers.birth_date": [date(2008, 3, 10), date(2008, 3, 11), date(2008, 4, 20), None]}
    )
    assert found["age_at_booking_years"] == [18, 17, 17, None]
    assert found["age_at_booking_without_consent_years"] == [18, 17, 17, None]
    assert found["age_at_service_without_consent_years"] == [18, 18, 18, None]
    assert found["age_under_unverified_consent_years"] == [None] * 4


@pytest.mark.clause("L2")
@pytest.mark.parametrize(
    ("given", "verified", "fact"),
    (
        (NOON - timedelta(days=1), NOON - timedelta(seconds=1), None),
        (NOON - timedelta(days=1), NOON, "age_under_late_consent_years"),
        (NOON, NOON - timedelta(days=1), "age_under_late_consent_years"),
        (NOON - timedelta(days=1), NOON + timedelta(days=1), "age_under_late_consent_years"),
        (NOON - timedelta(days=1), None, "age_under_unverified_consent_years"),
        (None, NOON - timedelta(days=1), "age_under_unverified_consent_years"),
        (None, None, "age_under_unverified_consent_years"),
    ),
)
def test_a_consent_counts_when_given_and_verified_before_the_booking(
    given: datetime | None, verified: datetime | None, fact: str | None
) -> None:
    found = travellers(
        **{
            "guardian_consents.consent_id": [1],
            "guardian_consents.given_at": [given],
            "guardian_consents.verified_at": [verified],
        }
    )
    known = {name for name, values in found.items() if values != [None]}
    assert known == {"age_at_booking_years", *([fact] if fact else [])}


@pytest.mark.clause("L2")
def test_a_consent_to_a_booking_of_unknown_instant_proves_nothing() -> None:
    found = travellers(
        **{
            "guardian_consents.consent_id": [1], "guardian_consents.given_at": [NOON],
            "guardian_consents.verified_at": [NOON], "bookings.booked_at": [None],
        }
    )  # fmt: skip
    assert found["age_under_late_consent_years"] == [16]


@pytest.mark.clause("K1")
def test_cards_are_parted_by_the_age_of_their_capture_and_none_is_lost() -> None:
    now, second = datetime(2026, 3, 30, 9, 0, 0, 1, tzinfo=UTC), timedelta(microseconds=1)
    term = timedelta(days=10)
    captured = [now, now - term, now - term - second, now + second, None, now - timedelta(days=1)]
    cards = batch("payment_cards", len(captured), **{"payment_cards.captured_at": captured})
    found = within_terms(cards, now=now, days=10)
    assert found.kept["row_key"].to_pylist() == ["0/1", "1/1", "5/1"]
    assert found.refused == {
        "K1.card_age.unknown_time": ["4/1"],
        "K1.card_age.future": ["3/1"],
        "K1.card_age.over_age": ["2/1"],
    }
    sound = within_terms(cards.slice(0, 2), now=now, days=10)
    assert (sound.kept.num_rows, sound.refused) == (2, {})
    nothing = within_terms(cards.slice(0, 0), now=now, days=10)
    assert (nothing.kept.num_rows, nothing.refused) == (0, {})
