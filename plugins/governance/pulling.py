"""From a batch of source rows to a batch for landing: encrypt, tokenise, measure, keep (clauses B1, B2, J1). Pure.

What policy marks *encrypt* or *tokenise* leaves this module only encrypted or as a token, each under the key of its
holder; the columns that come out are exactly those that policy lands. The one verdict of pull is here too: which cards
are past their term, counted from their first capture (K1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from governance.datasets import LandedColumn, LandedTable, Treatment
from governance.encryption import Column, RowKeys, encrypt
from governance.errors import GapError
from governance.facts import MEASURES, Parameters
from governance.key_kinds import SCOPE_FORMATS, KeyKind
from governance.pseudonymisation import key_tokens, tokens, visitor_tokens

ARROW_TYPES = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "smallint": pa.int16(),
    "boolean": pa.bool_(),
    "double precision": pa.float64(),
    "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "bytea": pa.binary(),
}

MOVED = "K1.card_age.moved"
"""The rule that a card's instant of capture stays, or becomes an earlier one."""
CAPTURED = "payment_cards.captured_at"

VISITOR = ("page_views.device_id", "page_views.session_id", "page_views.ip", "page_views.user_agent")


@dataclass(frozen=True)
class Means:
    """What turning source rows into landing rows takes, beside the rows.

    `landing`: the number that the rows get; `keys`: per holder the key of each row; `nonces`: as for
    `encryption.encrypt`.
    """

    landing: int

    keys: Mapping[str, RowKeys]
    nonces: Callable[[int], bytes]
    parameters: Parameters


@dataclass(frozen=True)
class CardTerms:
    """Cards apart: those that may land, and the keys of those that may not, per rule."""

    kept: pa.RecordBatch
    refused: dict[str, list[str]]
    captures: list[tuple[str, datetime]]
    """Of those that are over age: key, and when it was captured."""


@dataclass(frozen=True)
class Counted:
    """Cards, each with the instant that its age is counted from, and the keys of those that came with a later one."""

    cards: pa.RecordBatch
    moved: list[str]


def landed(batch: pa.RecordBatch, table: str, spec: LandedTable, day: date, means: Means) -> pa.RecordBatch:
    """The landing rows of a batch of source rows, in the same order, with columns `partition_key` and `landing_no` in
    front.

    Raises GapError when the query does not bring what policy lands.
    """
    columns = {
        "partition_key": pa.repeat(pa.scalar(day, pa.date32()), batch.num_rows),
        "landing_no": pa.repeat(pa.scalar(means.landing, pa.int64()), batch.num_rows),
    }
    for name, column in spec.columns.items():
        columns[name] = _column(batch, Column(table, name), column, means).cast(ARROW_TYPES[column.type])
    return pa.record_batch(columns)


def scopes(batch: pa.RecordBatch, table: str, holder: str, kind: KeyKind, day: date) -> pa.Array:
    """Whom or what the key of each row is for: a string array of length n.

    A query names it in a column `<holder>_ref`; without one it is the partition's day. A row of nobody that is known
    (a booking without a client, which validation will hold back) stands for itself.
    """
    if f"{holder}_ref" not in batch.schema.names:
        return pa.array([day.isoformat()] * batch.num_rows, pa.string())
    named = batch[f"{holder}_ref"]
    if kind.scope != "person":
        return named
    return pc.coalesce(named, pc.binary_join_element_wise("row", table, batch["row_key"], " "))


def less(counts: pa.Array, row_keys: pa.Array, dropped: Mapping[str, int]) -> pa.Array:
    """Counts of what belongs to each row, less what was dropped of it on the way: an array of length n.

    `counts`: integer array of length n; `row_keys`: string array of length n; `dropped`: how many, by row key.
    """
    of_each = [dropped.get(key, 0) for key in row_keys.to_pylist()]
    return pc.subtract(counts, pa.array(of_each, counts.type))


def _column(batch: pa.RecordBatch, place: Column, column: LandedColumn, means: Means) -> pa.Array:
    if column.treatment is Treatment.TOKENISE:
        for name in column.origin:
            _origin(batch, place.table, name)
        return _tokens(batch, column, means.keys[column.key])
    if column.treatment is Treatment.ENCRYPT:
        values = _origin(batch, place.table, column.origin[0])
        if column.measure:
            values = MEASURES[column.measure](batch, means.parameters, column.origin[0])
        keys = means.keys[column.key]
        return encrypt(values, batch["row_key"], keys=keys, column=place, nonces=means.nonces)
    if column.treatment is Treatment.GENERALISE and column.measure != "sql":
        _origin(batch, place.table, column.origin[0])
        return MEASURES[column.measure](batch, means.parameters, column.origin[0])
    return _origin(batch, place.table, place.name if place.name in batch.schema.names else column.origin[0])


def _tokens(batch: pa.RecordBatch, column: LandedColumn, keys: RowKeys) -> pa.Array:
    if column.domain == "key":
        return key_tokens(keys.ids(), batch[column.origin[0]])
    if column.domain == "visitor":
        return visitor_tokens(*(batch[name] for name in VISITOR), key=keys.keys[0])
    return tokens(batch[column.origin[0]], key=keys.keys[0], domain=column.domain)


def _origin(batch: pa.RecordBatch, table: str, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise GapError(f"query pull_{table} brings no column {name!r}, which policy lands")
    return batch[name]


def from_first_capture(cards: pa.RecordBatch, known: Mapping[str, datetime]) -> Counted:
    """Count cards from their first capture, whatever their rows say by now: an update resets no clock (K1).

    `known`: row key -> the earliest instant that ever came with a card. A card that comes with an earlier one counts
    from that, and one without an instant stays without.
    """
    captured = cards[CAPTURED].cast(ARROW_TYPES["timestamp with time zone"])
    first = pa.array([known.get(key) for key in cards["row_key"].to_pylist()], captured.type)
    is_moved = pc.fill_null(pc.greater(captured, first), False)
    if not pc.any(is_moved).as_py():
        return Counted(cards, [])
    hour = pc.strftime(first, SCOPE_FORMATS["hour"])
    for name, values in ((CAPTURED, first), ("begun_at", first), ("card_ref", hour)):
        column = pc.if_else(is_moved, values.cast(cards[name].type), cards[name])
        cards = cards.set_column(cards.schema.get_field_index(name), name, column)
    return Counted(cards, cards["row_key"].filter(is_moved).to_pylist())


def within_terms(cards: pa.RecordBatch, *, now: datetime, life: timedelta) -> CardTerms:
    """Split cards by the age of their capture against the real now, never a logical date (K1, E06, E07).

    A card may land as long as the key of its capture's hour (UTC) lives: `life` from the beginning of that hour. An
    unknown instant of capture, and one in the future, is refused like one that is too old.
    """
    captured = cards[CAPTURED]
    instant = pa.scalar(now, captured.type)
    begun = pc.floor_temporal(captured, unit="hour")
    over_age = pc.fill_null(pc.less_equal(begun, pa.scalar(now - life, captured.type)), False)
    verdicts = {
        "K1.card_age.unknown_time": pc.is_null(captured),
        "K1.card_age.future": pc.fill_null(pc.greater(captured, instant), False),
        "K1.card_age.over_age": over_age,
    }
    refused = {rule: cards["row_key"].filter(verdict).to_pylist() for rule, verdict in verdicts.items()}
    kept = pc.and_(pc.less_equal(captured, instant), pc.invert(over_age))
    old = cards.filter(over_age)
    return CardTerms(
        kept=cards.filter(pc.fill_null(kept, False)),
        refused={rule: keys for rule, keys in refused.items() if keys},
        captures=list(zip(old["row_key"].to_pylist(), old[CAPTURED].to_pylist(), strict=True)),
    )
