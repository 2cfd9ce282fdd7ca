"""The shapes of the source's tables as Arrow schemas, in the order in which they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from governance.sample.draws import Bools, Dates, Ints

_INSTANT = pa.timestamp("us", tz="UTC")
_TYPES = {
    "bigint": pa.int64(),
    "int": pa.int32(),
    "text": pa.string(),
    "date": pa.date32(),
    "instant": _INSTANT,
    "bool": pa.bool_(),
    "double": pa.float64(),
}


def _schema(columns: str) -> pa.Schema:
    return pa.schema([(name, _TYPES[kind]) for name, kind in (column.split(":") for column in columns.split())])


SCHEMAS: dict[str, pa.Schema] = {
    "providers": _schema(
        "provider_id:bigint kind:text name:text country_code:text active_from:date active_until:date "
        "recorded_at:instant"
    ),
    "clients": _schema(
        "client_id:bigint version:int given_name:text family_name:text email:text phone:text skype:text "
        "birth_date:date "
        "country_code:text postcode:text registered_at:instant recorded_at:instant"
    ),
    "terms_acceptances": _schema(
        "acceptance_id:bigint client_id:bigint terms_version:text channel:text accepted_at:instant recorded_at:instant"
    ),
    "consent_events": _schema(
        "event_id:bigint client_id:bigint purpose:text channel:text decision:text effective_at:instant "
        "received_at:instant source:text version:int recorded_at:instant"
    ),
    "inquiries": _schema(
        "inquiry_id:bigint client_id:bigint channel:text message:text received_at:instant answered_at:instant "
        "recorded_at:instant"
    ),
    "offers": _schema(
        "offer_id:bigint inquiry_id:bigint client_id:bigint provider_id:bigint status:text price_amount_minor:bigint "
        "currency_code:text opened_at:instant closed_at:instant recorded_at:instant"
    ),
    "bookings": _schema(
        "feed_id:bigint booking_id:bigint version:int client_id:bigint offer_id:bigint purpose_code:text status:text "
        "booked_at:instant changed_at:instant recorded_at:instant service_date:date nights_count:int "
        "price_amount_minor:bigint currency_code:text locale:text notes:text"
    ),
    "booking_travellers": _schema(
        "booking_id:bigint version:int traveller_no:int role:text given_name:text family_name:text birth_date:date "
        "recorded_at:instant"
    ),
    "booking_services": _schema(
        "booking_id:bigint version:int service_no:int kind:text provider_id:bigint procedure_code:text itinerary:text "
        "starts_on:date recorded_at:instant"
    ),
    "guardian_consents": _schema(
        "consent_id:bigint booking_id:bigint traveller_no:int guardian_name:text guardian_email:text "
        "guardian_phone:text "
        "relation:text given_at:instant verified_at:instant verification_method:text recorded_at:instant "
        "guardian_birth_date:date withdrawn_at:instant"
    ),
    "payment_cards": _schema(
        "card_id:bigint client_id:bigint booking_id:bigint card_number:text card_holder:text card_expiry:text cvv:text "
        "captured_at:instant save_to_profile:bool recorded_at:instant"
    ),
    "page_views": _schema(
        "view_id:bigint viewed_at:instant recorded_at:instant duration_ms:bigint ip:text user_agent:text "
        "app_version:text "
        "language:text url:text referrer:text session_id:text first_party_cookie_id:text third_party_cookie_id:text "
        "gpc:bool device_id:text device_settings:text latitude:double longitude:double"
    ),
    "subject_requests": _schema(
        "request_id:bigint client_id:bigint kind:text received_at:instant identity_checked_at:instant status:text "
        "recorded_at:instant"
    ),
    "authority_requests": _schema(
        "request_id:bigint authority:text legal_basis:text case_reference:text scope:text period_from:date "
        "period_until:date received_at:instant recorded_at:instant"
    ),
    "planted_troubles": _schema("dataset:text partition_key:text kind:text rule:text table_name:text row_key:text"),
}

Tables = dict[str, list[pa.RecordBatch]]


def instant_column(at: Ints, missing: Bools | None = None) -> pa.Array:
    """Return microseconds as instants; those marked missing are NULL."""
    return pa.array(at, type=pa.int64(), mask=missing).cast(_INSTANT)


def date_column(dates: Dates, missing: Bools | None = None) -> pa.Array:
    """Return dates as a column; those marked missing are NULL."""
    return pa.array(dates.astype("M8[D]").astype(np.int32), type=pa.int32(), mask=missing).cast(pa.date32())


def taken(values: list[str | None] | pa.Array, index: Ints, missing: Bools | None = None) -> pa.Array:
    """Return the value at each index; those marked missing are NULL."""
    pool = values if isinstance(values, pa.Array) else pa.array(values, type=pa.string())
    return pool.take(pa.array(index, type=pa.int64(), mask=missing))


def batch(table: str, columns: Mapping[str, Any]) -> pa.RecordBatch:
    """Return the columns (arrays, or one value for all rows) as a record batch of the table's schema."""
    schema = SCHEMAS[table]
    length = next(len(column) for column in columns.values() if isinstance(column, (np.ndarray, pa.Array, list)))
    arrays = []
    for field in schema:
        column = columns[field.name]
        if not isinstance(column, (np.ndarray, pa.Array, list)):
            column = pa.repeat(pa.scalar(column, type=field.type), length)
        array = column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
        arrays.append(array if array.type == field.type else array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
