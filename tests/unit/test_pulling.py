"""From source rows to landing rows: exactly policy's columns, guarded before they leave the module."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from governance import policy as policies
from governance.datasets import Treatment
from governance.encryption import Column, RowKeys, decrypt, key_ids
from governance.errors import GapError
from governance.facts import MEASURES, Parameters
from governance.key import DataKey
from governance.pulling import ARROW_TYPES, CardTerms, Means, from_first_capture, landed, scopes, within_terms
from governance.sources import named_query

POLICY = policies.load()
LANDED = {name: table for dataset in POLICY.datasets.values() for name, table in dataset.landed.items()}
DATASET = {name: dataset for dataset in POLICY.datasets.values() for name in dataset.landed}
DAY = date(2026, 3, 10)
FACTS_OF_SQL = {
    "booked_date": pa.date32(), "first_service_date": pa.date32(), "consent_date": pa.date32(),
    "begun_at": pa.timestamp("us", "UTC"), "is_own_consent": pa.bool_(), "is_withdrawn_consent": pa.bool_(),
    "is_nameless_consent": pa.bool_(),
    "client_birth_date_state_code": pa.string(),
    "services_undated_count": pa.int32(), "client_version": pa.int32(), "terms_lead_seconds": pa.float64(),
    "lead_days": pa.int32(),
    "recording_lag_seconds": pa.float64(), "travellers_count": pa.int32(), "services_count": pa.int32(),
    "versions_missing_count": pa.int32(), "copies_count": pa.int32(), "provider_state_code": pa.string(),
    "viewed_year": pa.int32(), "viewed_minute": pa.int64(),
    "row_key": pa.string(), "root_key": pa.string(), "client_ref": pa.string(),
    "traveller_ref": pa.string(), "guardian_ref": pa.string(), "card_ref": pa.string(),
}  # fmt: skip


KNOWN = {"card_ref": "2026-03-10T11"}


LANDING = 7


def holders(table: str) -> dict[str, str]:
    """Whose keys a table's columns are under, with the kind of each."""
    used = {column.key for column in LANDED[table].columns.values() if column.key}
    return {name: kind for name, kind in DATASET[table].holders.items() if name in used}


def data_key(kind: str, scope: str) -> DataKey:
    digest = hashlib.sha512(f"{kind} {scope}".encode()).digest()
    return DataKey(digest[:16], kind, digest[32:])


def row_keys(rows: pa.RecordBatch, table: str, holder: str) -> RowKeys:
    """A key per scope, as the key service gives them."""
    kind = DATASET[table].holders[holder]
    encoded = pc.dictionary_encode(scopes(rows, table, holder, POLICY.keys[kind], DAY))
    # At least one, as the service's key of a day is there also for no rows.
    keys = [data_key(kind, scope) for scope in encoded.dictionary.to_pylist()] or [data_key(kind, DAY.isoformat())]
    return RowKeys(keys, np.asarray(pc.fill_null(encoded.indices, -1)))


def means(rows: pa.RecordBatch, table: str) -> Means:
    nonces = iter(range(10**6))
    keys = {holder: row_keys(rows, table, holder) for holder in holders(table)}
    return Means(
        LANDING,
        keys,
        lambda n: b"".join(next(nonces).to_bytes(12, "big") for _ in range(n)),
        Parameters(0.5, DATASET[table].parameters),
    )


def land(rows: pa.RecordBatch, table: str, **keys: RowKeys) -> pa.RecordBatch:
    """The landing rows, each under the key of its holder; `keys`: other ones for a holder."""
    given = means(rows, table)
    return landed(
        rows, table, LANDED[table], DAY, Means(LANDING, {**given.keys, **keys}, given.nonces, given.parameters)
    )


def queried(table: str) -> list[str]:
    """The columns that a query brings, by the names that it gives them."""
    text = re.sub(r"--.*", "", named_query(f"pull_{table}"))
    top = re.split(r"\nFROM ", text, maxsplit=1)[0]
    return re.findall(r'AS "?([a-z_]+(?:\.[a-z_]+)?)"?(?:,|\n|$)', top)


def batch(table: str, rows: int = 3, **values: list[Any]) -> pa.RecordBatch:
    """Source rows as the table's query brings them: NULL but for keys, the hour of a card, and what is given."""
    columns = {}
    for name in queried(table):
        kind = FACTS_OF_SQL.get(name)
        if kind is None:
            source, _, column = name.partition(".")
            kind = ARROW_TYPES[DATASET[table].source[source][column].type]
        default = [f"{n}/1" for n in range(rows)] if name in ("row_key", "root_key") else [KNOWN.get(name)] * rows
        columns[name] = pa.array(values.get(name, default), kind)
    return pa.record_batch(columns)


@pytest.mark.clause("J1")
@pytest.mark.parametrize("table", LANDED)
def test_what_lands_is_exactly_what_policy_says_also_of_rows_of_nothing(table: str) -> None:
    found = land(batch(table), table)
    assert found.schema.names == ["partition_key", "landing_no", *LANDED[table].columns]
    assert [found.schema.field(name).type for name in LANDED[table].columns] == [
        ARROW_TYPES[column.type] for column in LANDED[table].columns.values()
    ]
    assert found["partition_key"].to_pylist() == [DAY] * 3
    assert found["landing_no"].to_pylist() == [LANDING] * 3
    assert found.num_rows == 3
    empty = land(batch(table, rows=0), table)
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
    rows = batch(table, **guarded)
    found = land(rows, table)
    stored = repr([found[name].to_pylist() for name in found.schema.names if name != "row_key"])
    assert "canary" not in stored
    assert "1980" not in stored
    for name, column in LANDED[table].columns.items():
        if column.treatment is Treatment.ENCRYPT and not column.measure:
            by_id = {key.id: key for key in row_keys(rows, table, column.key).keys}
            opened = decrypt(found[name], found["row_key"], key_of=by_id.__getitem__, column=Column(table, name))
            assert opened.to_pylist() == [str(value) for value in guarded[column.origin[0]]]


# -- whose key a value is under ----------------------------------------------------------------------------------------


@pytest.mark.clause("J1")
@pytest.mark.clause("M1")
@pytest.mark.parametrize("table", LANDED)
def test_every_encrypted_value_is_under_the_key_of_its_holder(table: str) -> None:
    values: dict[str, list[Any]] = {}
    for column in LANDED[table].columns.values():
        if column.treatment is Treatment.ENCRYPT:
            source, _, name = column.origin[0].partition(".")
            text = DATASET[table].source[source][name].type == "text"
            values[column.origin[0]] = ["/a path"] * 3 if text else [date(1980, 5, 17)] * 3
    refs = {f"{holder}_ref": [f"{holder} 1", f"{holder} 2", f"{holder} 1"] for holder in holders(table)}
    rows = batch(table, **values, **refs)
    found = land(rows, table)
    seen = set()
    for name, column in LANDED[table].columns.items():
        if column.treatment is Treatment.ENCRYPT:
            expected = row_keys(rows, table, column.key)
            assert {key.kind for key in expected.keys} == {DATASET[table].holders[column.key]}
            assert key_ids(found[name]).equals(expected.ids())
            seen.add(column.key)
    assert seen
    assert seen == {c.key for c in LANDED[table].columns.values() if c.treatment is Treatment.ENCRYPT}


@pytest.mark.clause("K1")
@pytest.mark.parametrize("table", LANDED)
def test_a_query_says_whom_each_key_is_for_unless_it_is_the_partitions_day(table: str) -> None:
    needed = {*holders(table), *LANDED[table].erased_with, *filter(None, [LANDED[table].term])}
    kinds = DATASET[table].holders
    named = {f"{holder}_ref" for holder in needed if POLICY.keys[kinds[holder]].scope not in ("day", "landing")}
    assert {name for name in queried(table) if name.endswith("_ref")} == named
    assert not {name for name in LANDED[table].columns if name.endswith("_ref")}  # and none of them lands


@pytest.mark.clause("M1")
def test_a_row_without_a_key_lands_without_its_values_and_without_a_token() -> None:
    rows = batch(
        "bookings",
        **{
            "bookings.client_id": [7, 8, None],
            "bookings.notes": ["a", "b", "c"],
            "client_ref": ["client 7", "client 8", None],
        },
    )
    keys = row_keys(rows, "bookings", "client")
    found = land(rows, "bookings", client=RowKeys(keys.keys, np.array([0, -1, 2], np.int32)))
    assert found["notes_encrypted"].is_null().to_pylist() == [False, True, False]
    assert found["client_token"].to_pylist() == [data_key("subject", "client 7").id.hex(), None, None]
    assert found["row_key"].to_pylist() == ["0/1", "1/1", "2/1"]


def test_a_key_is_for_the_day_where_the_query_names_nobody() -> None:
    rows = batch("page_views")
    assert scopes(rows, "page_views", "views", POLICY.keys["visit_day"], DAY).to_pylist() == ["2026-03-10"] * 3
    none = scopes(rows.slice(0, 0), "page_views", "views", POLICY.keys["visit_day"], DAY)
    assert (none.to_pylist(), none.type) == ([], pa.string())


def test_a_key_is_for_whom_the_query_names_and_a_row_of_nobody_stands_for_itself() -> None:
    rows = batch("bookings", client_ref=["client 7", None, "client 7"])
    found = scopes(rows, "bookings", "client", POLICY.keys["subject"], DAY)
    assert found.to_pylist() == ["client 7", "row bookings 1/1", "client 7"]
    assert scopes(rows.slice(0, 0), "bookings", "client", POLICY.keys["subject"], DAY).to_pylist() == []


def test_a_row_of_nobody_never_shares_a_key_with_one_of_another_table() -> None:
    kind = POLICY.keys["subject"]
    tables = ("bookings", "booking_travellers", "booking_services", "payment_cards")
    named = [scopes(batch(table), table, "client", kind, DAY).to_pylist() for table in tables]
    assert len({scope for scopes in named for scope in scopes}) == 3 * len(tables)


def test_an_hour_that_is_unknown_has_no_key() -> None:
    rows = batch("payment_cards", card_ref=["2026-03-10T11", None, "2026-03-10T12"])
    found = scopes(rows, "payment_cards", "card", POLICY.keys["card_hour"], DAY)
    assert found.to_pylist() == ["2026-03-10T11", None, "2026-03-10T12"]


# -- tokens ------------------------------------------------------------------------------------------------------------


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
    found = land(rows, "page_views").to_pydict()
    assert found["device_token"][1:] == [None, None]
    assert found["session_token"][0] == found["session_token"][1] != found["device_token"][0]
    assert len(set(found["visitor_token"])) == 3


@pytest.mark.clause("B2")
def test_the_tokens_of_another_day_are_others() -> None:
    rows = batch("page_views", rows=1, **{"page_views.session_id": ["s"], "page_views.device_id": ["d"]})
    days = [RowKeys.same(data_key("visitor_day", day), 1) for day in ("2026-03-10", "2026-03-11")]
    today, tomorrow, again = (land(rows, "page_views", visitors=key) for key in (*days, days[0]))
    for name in ("session_token", "device_token", "visitor_token"):
        assert today[name] != tomorrow[name]
        assert today[name] == again[name]


@pytest.mark.clause("M1")
def test_a_clients_token_is_the_id_of_the_clients_own_key() -> None:
    named = {"bookings.client_id": [7, 7, 8], "client_ref": ["client 7", "client 7", "client 8"]}
    rows = batch("bookings", **named, **{"bookings.notes": ["a", "b", "c"]})
    found = land(rows, "bookings")
    assert found["client_token"].to_pylist() == [data_key("subject", f"client {n}").id.hex() for n in (7, 7, 8)]
    assert found["client_token"].to_pylist() == [id.hex() for id in key_ids(found["notes_encrypted"]).to_pylist()]


@pytest.mark.clause("B1")
def test_a_path_is_encrypted_without_its_query_string() -> None:
    rows = batch("page_views", rows=1, **{"page_views.url": ["/clinics?mail=a@example.com"]})
    found, place = land(rows, "page_views"), Column("page_views", "path_encrypted")
    key = data_key("visit_day", "2026-03-10")
    opened = decrypt(found["path_encrypted"], found["row_key"], key_of={key.id: key}.__getitem__, column=place)
    assert opened.to_pylist() == ["/clinics"]


# -- what query, policy and code say of each other ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "missing",
    [
        "page_views.ip",
        "page_views.duration_ms",
        "page_views.device_settings",
        "page_views.session_id",
        "page_views.latitude",
    ],
)
def test_a_query_that_does_not_bring_what_policy_lands_is_a_gap(missing: str) -> None:
    with pytest.raises(GapError):
        land(batch("page_views").drop_columns([missing]), "page_views")


def test_a_gap_names_the_query_and_the_column() -> None:
    fewer = batch("page_views").drop_columns(["page_views.duration_ms"])
    with pytest.raises(
        GapError, match="query pull_page_views brings no column 'page_views.duration_ms', which policy lands"
    ):
        land(fewer, "page_views")


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
        "booking_travellers.birth_date": MINOR, "booked_date": BOOKED, "first_service_date": SERVICE,
        "bookings.booked_at": NOON, "guardian_consents.consent_id": None, "guardian_consents.given_at": None,
        "guardian_consents.verified_at": None, "guardian_consents.guardian_birth_date": None, "consent_date": None,
        "is_own_consent": None, "is_nameless_consent": None, "is_withdrawn_consent": None,
    }  # fmt: skip
    rows = max(len(value) for value in values.values()) if values else 1
    filled = {name: values.get(name, [value] * rows) for name, value in given.items()}
    found = land(batch("booking_travellers", rows, **filled), "booking_travellers")
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
            "is_own_consent": [False],
            "is_nameless_consent": [False],
        }
    )
    known = {name for name, values in found.items() if values != [None]}
    assert known == {"age_at_booking_years", fact or "age_with_guardian_years"}


@pytest.mark.clause("L2")
def test_a_consent_to_a_booking_of_unknown_instant_proves_nothing() -> None:
    found = travellers(
        **{
            "guardian_consents.consent_id": [1], "guardian_consents.given_at": [NOON],
            "guardian_consents.verified_at": [NOON], "bookings.booked_at": [None],
        }
    )  # fmt: skip
    assert found["age_under_late_consent_years"] == [16]


ELDER, SIBLING, TOO_OLD = date(1979, 9, 3), date(2008, 3, 10), date(1915, 3, 9)


@pytest.mark.clause("L2")
@pytest.mark.parametrize(
    ("consent", "facts"),
    (
        ({"guardian_consents.guardian_birth_date": ELDER}, {"age_with_guardian_years": 46}),
        ({"guardian_consents.guardian_birth_date": SIBLING}, {"age_with_guardian_years": 17}),  # 18 tomorrow
        ({"guardian_consents.guardian_birth_date": date(2008, 3, 9)}, {"age_with_guardian_years": 18}),  # 18 today
        ({"guardian_consents.guardian_birth_date": TOO_OLD}, {"age_with_guardian_years": 111}),
        ({"guardian_consents.guardian_birth_date": None}, {"age_with_guardian_years": 16}),  # the traveller's own
        ({"consent_date": None}, {"age_with_guardian_years": 16}),
        ({"is_own_consent": True}, {"age_under_own_consent_years": 16}),
        ({"is_nameless_consent": True}, {"age_under_nameless_consent_years": 16}),
        ({"is_withdrawn_consent": True}, {"age_under_withdrawn_consent_years": 16, "age_with_guardian_years": 46}),
    ),
)
def test_who_consents_is_another_person_of_an_age_that_is_known_and_the_consent_stands(
    consent: dict[str, Any], facts: dict[str, int]
) -> None:
    sound = {
        "guardian_consents.consent_id": 1, "guardian_consents.given_at": NOON - timedelta(days=1),
        "guardian_consents.verified_at": NOON - timedelta(hours=1), "consent_date": BOOKED - timedelta(days=1),
        "guardian_consents.guardian_birth_date": ELDER, "is_own_consent": False,
        "is_nameless_consent": False, "is_withdrawn_consent": False,
    }  # fmt: skip
    found = travellers(**{name: [value] for name, value in (sound | consent).items()})
    assert {name: values[0] for name, values in found.items() if values != [None]} == {
        "age_at_booking_years": 16,
        **facts,
    }


@pytest.mark.clause("L1")
@pytest.mark.parametrize(
    ("first_service", "age"), ((date(2026, 3, 9), 17), (date(2026, 3, 10), 18), (None, None)), ids=str
)
def test_the_first_service_counts_and_a_consent_has_to_make_up_for_the_lesser_age(
    first_service: date | None, age: int | None
) -> None:
    given: dict[str, list[Any]] = {
        "booking_travellers.birth_date": [date(2008, 3, 10)],
        "first_service_date": [first_service],
    }
    assert travellers(**given)["age_at_service_without_consent_years"] == [age]
    unverified = travellers(**given, **{"guardian_consents.consent_id": [1]})
    assert unverified["age_under_unverified_consent_years"] == [18 if age is None else age]


@pytest.mark.clause("L1")
@pytest.mark.parametrize(
    ("born", "guardian", "ages"),
    (
        (date(2008, 3, 10), None, (18, 18)),
        (date(2008, 3, 11), None, (17, 17)),
        (date(2008, 3, 11), ELDER, (17, 46)),
        (date(2008, 3, 11), SIBLING, (17, 17)),
        (None, None, (None, None)),
        (date(2026, 3, 11), None, (-1, -1)),
    ),
)
def test_the_age_of_a_client_is_measured_and_that_of_the_guardian_beside_it(
    born: date | None, guardian: date | None, ages: tuple[int | None, int | None]
) -> None:
    rows = batch(
        "bookings", 1,
        **{
            "clients.birth_date": [born], "booked_date": [BOOKED], "consent_date": [BOOKED - timedelta(days=1)],
            "guardian_consents.guardian_birth_date": [guardian],
        },
    )  # fmt: skip
    found = land(rows, "bookings")
    measured = (found["client_age_at_booking_years"], found["client_age_with_guardian_years"])
    assert tuple(column[0].as_py() for column in measured) == ages


# -- cards past their term ---------------------------------------------------------------------------------------------

NINE = datetime(2026, 3, 30, 9, tzinfo=UTC)
TICK = timedelta(microseconds=1)
LIFE = timedelta(days=10)


def parted(captured: list[datetime | None], now: datetime, life: timedelta = LIFE) -> CardTerms:
    return within_terms(
        batch("payment_cards", len(captured), **{"payment_cards.captured_at": captured}), now=now, life=life
    )


@pytest.mark.clause("K1")
def test_cards_are_parted_by_the_age_of_their_capture_and_none_is_lost() -> None:
    captured = [NINE, NINE - LIFE + timedelta(hours=1), NINE - LIFE, NINE + TICK, None, NINE - timedelta(days=1)]
    found = parted(captured, NINE)
    assert found.kept["row_key"].to_pylist() == ["0/1", "1/1", "5/1"]
    assert found.refused == {
        "K1.card_age.unknown_time": ["4/1"],
        "K1.card_age.future": ["3/1"],
        "K1.card_age.over_age": ["2/1"],
    }
    sound = parted(captured[:2], NINE)
    assert (sound.kept.num_rows, sound.refused) == (2, {})
    nothing = parted([], NINE)
    assert (nothing.kept.num_rows, nothing.refused) == (0, {})


@pytest.mark.clause("K1")
def test_what_is_over_age_is_told_with_its_instant() -> None:
    old = NINE - LIFE
    assert parted([NINE, old, None, NINE + TICK], NINE).captures == [("1/1", old)]


@pytest.mark.clause("K1")
@pytest.mark.parametrize(
    ("captured", "known", "counts_from", "is_moved"),
    [
        (NINE, None, NINE, False),
        (NINE, NINE, NINE, False),
        (NINE, NINE - TICK, NINE - TICK, True),
        (NINE, NINE + TICK, NINE, False),
        (NINE + LIFE, NINE - timedelta(hours=1), NINE - timedelta(hours=1), True),
        (None, NINE, None, False),
    ],
    ids=["new", "as before", "a tick later", "a tick earlier", "days later", "unknown now"],
)
def test_a_card_counts_from_the_earliest_instant_that_ever_came_with_it(
    captured: datetime | None, known: datetime | None, counts_from: datetime | None, is_moved: bool
) -> None:
    hour = None if captured is None else f"{captured:%Y-%m-%dT%H}"
    instants = {"payment_cards.captured_at": [captured, NINE], "begun_at": [captured, NINE]}
    rows = batch("payment_cards", 2, **instants, card_ref=[hour, "2026-03-30T09"])
    found = from_first_capture(rows, {"0/1": known} if known else {})
    assert found.moved == ["0/1"] * is_moved
    for column in instants:
        assert found.cards[column].to_pylist() == [counts_from, NINE]
    assert found.cards["card_ref"].to_pylist() == [
        None if counts_from is None else f"{counts_from:%Y-%m-%dT%H}", "2026-03-30T09",
    ]  # fmt: skip
    assert found.cards.schema.equals(rows.schema)


@pytest.mark.clause("K1")
@pytest.mark.parametrize("minutes", [0, 1, 30, 59])
def test_a_card_ages_with_the_hour_in_which_it_was_captured(minutes: int) -> None:
    captured = NINE - LIFE + timedelta(minutes=minutes, seconds=59, microseconds=999_999)
    assert parted([captured], NINE - TICK).refused == {}
    assert parted([captured], NINE).refused == {"K1.card_age.over_age": ["0/1"]}


@pytest.mark.clause("K1")
def test_the_hour_is_of_utc_also_where_the_instant_is_written_otherwise() -> None:
    elsewhere = (NINE - LIFE + timedelta(minutes=59)).astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert parted([elsewhere], NINE - TICK).refused == {}
    assert parted([elsewhere], NINE).refused == {"K1.card_age.over_age": ["0/1"]}


@pytest.mark.clause("K1")
def test_a_card_may_land_exactly_as_long_as_the_key_of_its_hour_lives() -> None:
    life = POLICY.key_life("card_hour")
    assert life == timedelta(days=10) - timedelta(hours=2)
    near = [NINE - life + timedelta(minutes=15 * n) + tick for n in range(-6, 7) for tick in (-TICK, 0 * TICK, TICK)]
    for now in (NINE - TICK, NINE, NINE + TICK, NINE + timedelta(minutes=59)):
        kept = parted(near, now, life).kept["payment_cards.captured_at"].to_pylist()
        hours = [instant.strftime("%Y-%m-%dT%H") for instant in near]
        deadlines = [POLICY.key_deadline("card_hour", hour, now) for hour in hours]
        assert kept == [instant for instant, last in zip(near, deadlines, strict=True) if last > now]
        assert 0 < len(kept) < len(near)
