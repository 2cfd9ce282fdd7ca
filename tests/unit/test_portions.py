"""Rows in chunks: in order, bounded, the same however they are cut; and notices of what may not be used any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pytest

from governance import obligations
from governance.errors import DeliveryError
from governance.sharing import portions, rows
from governance.sharing.portions import MEDIA_TYPES, NOTICE_FIELDS, REVOCATIONS, Form, chunks, revocations
from provider_rows import HEALTH, KEY, READ_AT, TRAVEL, context, frame, ordered, row, token, written

pytestmark = pytest.mark.clause("F1")

FORMS: tuple[Form, ...] = get_args(Form)
COLUMNS = {"fhir": HEALTH, "jsonl": TRAVEL, "csv": TRAVEL}


def many(count: int, columns: tuple[str, ...] = TRAVEL) -> pd.DataFrame:
    """Rows of bookings with up to three services for up to two people."""
    made = (
        row(number, service, person, given_name=f"Åsa {person}")
        for number in range(count)
        for service in range(number % 3 + 1)
        for person in range(number % 2 + 1)
    )
    return frame(ordered(made), columns)


def refused(frames: Any, form: Form = "jsonl") -> str:
    """What is said against rows."""
    with pytest.raises(DeliveryError) as error:
        list(chunks(frames, form, context()))
    assert str(error.value).startswith("recipient clinic: ")
    assert "nothing was handed over: " in str(error.value)
    assert "Astrid" not in str(error.value)
    return str(error.value)


# -- chunks ------------------------------------------------------------------------------------------------------------


def test_every_form_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == set(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_a_chunk_holds_whole_lines_and_ends_with_the_one_that_fills_it(
    form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = written(many(30, COLUMNS[form]), form)
    monkeypatch.setattr(portions, "CHUNK_BYTES", 10_000)
    cut = list(chunks(many(30, COLUMNS[form]), form, context()))
    assert b"".join(cut) == whole
    assert len(cut) > 1
    for chunk in cut:
        assert chunk.endswith(b"\n")
        *lines, _ = chunk.splitlines(keepends=True)
        assert sum(map(len, lines)) < 10_000
    assert all(len(chunk) >= 10_000 for chunk in cut[:-1])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_bytes_are_the_same_however_the_rows_are_cut(
    form: Form, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = many(20, COLUMNS[form])
    expected = written(whole, form)
    monkeypatch.setattr(rows, "SLICE_ROWS", 3)
    pieces = (whole.iloc[start : start + size] for start in range(0, len(whole), size))
    assert written(pieces, form) == written(whole, form) == expected


@pytest.mark.parametrize("form", FORMS)
def test_frames_are_asked_for_one_after_the_other(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "CHUNK_BYTES", 1)
    whole, asked = many(20, COLUMNS[form]), []

    def pieces() -> Iterator[pd.DataFrame]:
        for start in range(len(whole)):
            asked.append(start)
            yield whole.iloc[start : start + 1]

    made = chunks(pieces(), form, context())
    assert asked == []
    next(made)
    assert len(asked) < len(whole) / 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frames", [[], many(0), [many(0), many(0)]], ids=["no frame", "an empty one", "two"])
def test_no_rows_are_no_chunk(form: Form, frames: Any) -> None:
    assert list(chunks(frames, form, context())) == []


def test_csv_has_one_header_however_many_frames() -> None:
    assert written([many(0), many(2), many(0)], "csv") == written(many(2), "csv")


def test_the_rows_that_are_written_stay_as_they_are() -> None:
    before = many(5)
    after = before.copy(deep=True)
    list(chunks(before, "csv", context()))
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_written_the_same_whatever_pandas_keeps_them_as(form: Form) -> None:
    as_arrow = many(5, COLUMNS[form])
    as_objects = as_arrow.astype({"given_name": object, "booking_version": "Int64", "replaces_version": "Int64"})
    as_objects["booking_status"] = as_arrow["booking_status"].astype("category")
    as_objects["service_date"] = as_arrow["service_date"].to_numpy(dtype=object)
    as_objects.index = pd.Index(range(7, 7 + len(as_arrow)))
    assert written(as_objects, form) == written(as_arrow, form)


def test_a_truth_is_one() -> None:
    given = many(1, KEY).assign(is_first=[True])
    assert written(given, "jsonl").endswith(b'"is_first":true}\n')
    assert written(given.assign(is_first=[False]), "csv").endswith(b",false\r\n")
    assert written(given, "csv").endswith(b",true\r\n")


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_rows_out_of_order_are_refused(form: Form) -> None:
    columns = COLUMNS[form]
    descending = frame(reversed(ordered(row(number) for number in range(3))), columns)
    said = refused(descending, form)
    assert "2 rows, the first being row 2, do not come after the one before" in said


@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_is_there_twice_is_refused(form: Form) -> None:
    assert "1 rows, the first being row 2" in refused(frame([row(), row()], COLUMNS[form]), form)


def test_order_holds_from_one_frame_to_the_next() -> None:
    first, second = (frame([one], TRAVEL) for one in ordered([row(1), row(2)]))
    assert len(written([first, second], "jsonl").splitlines()) == 2
    assert "1 rows, the first being row 2" in refused([second, first])


def test_the_row_that_is_out_of_order_is_counted_over_all_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SLICE_ROWS", 2)
    rising = frame(ordered(row(number) for number in range(6)), TRAVEL)
    assert "1 rows, the first being row 6" in refused(rising.iloc[[0, 1, 2, 3, 4, 4]])


@pytest.mark.parametrize("place", range(3))
def test_order_is_by_booking_then_service_then_person(place: int) -> None:
    low, high = ["0" * 64] * 3, ["f" * 64] * place + ["0" * 64] * (3 - place)
    high[place] = "f" * 64
    low[:place] = high[:place]
    low[place + 1 :] = ["f" * 64] * (2 - place)
    rising = frame([row(**dict(zip(KEY, names, strict=True))) for names in (low, high)], TRAVEL)
    assert len(written(rising, "jsonl").splitlines()) == 2
    assert "do not come after" in refused(rising.iloc[::-1])


@pytest.mark.parametrize("column", KEY)
def test_every_part_of_the_key_is_needed(column: str) -> None:
    assert f"{column} missing" in refused(many(1).drop(columns=column))


@pytest.mark.parametrize("column", KEY)
@pytest.mark.parametrize("value", ["4711", "", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", None])
def test_a_reference_is_64_hex_digits(column: str, value: str | None) -> None:
    given = frame([{**row(), column: value}], TRAVEL)
    assert f"1 of 1: {column} is not 64 hex digits" in refused(given)


def test_a_reference_is_a_text() -> None:
    assert "2 of 2: person_reference is not 64 hex digits" in refused(
        frame([row(person_reference=1), row(person_reference=2)], TRAVEL, person_reference=pa.int64())
    )


def test_a_column_that_is_there_twice_is_refused() -> None:
    given = many(1)
    assert "a column is there twice" in refused(pd.concat([given, given[["given_name"]]], axis=1))


def test_frames_of_one_delivery_have_the_same_columns_in_the_same_order() -> None:
    given = many(2)
    for other in (given.drop(columns="itinerary"), given[[*reversed(given.columns)]]):
        assert "two frames of one delivery have different columns" in refused([given, other])


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.5]),
        pa.array([b"x"]),
        pa.array([["x"]]),
        pa.array([datetime(2026, 3, 1)], pa.timestamp("us")),  # noqa: DTZ001 -- no zone: whose noon is it?
        pa.array([timedelta(1)]),
    ],
    ids=["fraction", "bytes", "list", "instant without a zone", "duration"],
)
def test_a_column_of_a_type_that_no_file_has_is_refused(values: pa.Array) -> None:
    given = many(1, KEY).assign(x=pd.Series(values, dtype=pd.ArrowDtype(values.type)))
    assert f"1 rows: x is {values.type}" in refused(given)


@pytest.mark.parametrize("values", [["a", 1], ["\ud800", "b"], ["a\udfff", None]], ids=["mixed", "high", "low"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_text_is_refused(form: Form, values: list[Any]) -> None:
    given = frame(ordered([row(1), row(2)]), COLUMNS[form])
    given["given_name"] = pd.Series(values, dtype=object)
    assert "2 rows: given_name holds what is no text, or values of several types" in refused(given, form)


@pytest.mark.parametrize(("days", "is_refused"), [(0, False), (1, True)])
def test_a_day_is_in_a_year_of_four_digits(days: int, is_refused: bool) -> None:
    last = (date(9999, 12, 31) - date(1970, 1, 1)).days
    for count in (last + days, (date(1, 1, 1) - date(1970, 1, 1)).days - days):
        values = pa.array([count], pa.int32()).cast(pa.date32())
        given = many(1, KEY).assign(service_date=pd.Series(values, dtype=pd.ArrowDtype(pa.date32())))
        if is_refused:
            assert "1 of 1: service_date is not in the years 1 to 9999" in refused(given)
        else:
            assert b'"service_date":"' in written(given, "jsonl")


def test_an_instant_has_microseconds_of_utc_whatever_its_zone_and_unit() -> None:
    for unit, zone in (("s", "UTC"), ("ms", "Europe/Stockholm"), ("us", "+02:00"), ("ns", "UTC")):
        values = pa.array([datetime(2026, 3, 1, 12, tzinfo=UTC)], pa.timestamp(unit, zone))
        given = many(1, KEY).assign(at=pd.Series(values, dtype=pd.ArrowDtype(values.type)))
        assert written(given, "jsonl").endswith(b'"at":"2026-03-01T12:00:00.000000Z"}\n')


@pytest.mark.parametrize(("count", "kind"), [(1, pa.timestamp("ns", "UTC")), (2**60, pa.timestamp("s", "UTC"))])
def test_an_instant_that_microseconds_cannot_say_is_refused(count: int, kind: pa.DataType) -> None:
    values = pa.array([count], pa.int64()).cast(kind)
    given = many(1, KEY).assign(at=pd.Series(values, dtype=pd.ArrowDtype(kind)))
    said = refused(given)
    assert "1 rows: at has parts of a microsecond, or is too far away" in said
    assert str(count) not in said.replace("1 rows", "")


# -- what is said beside the rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"read_at": datetime(2026, 3, 1)}, "no time zone"),  # noqa: DTZ001
        ({"lawful_basis": ()}, "no lawful basis"),
        ({"namespace": "wellbe"}, "is no URI"),
        ({"namespace": "https://wellbe.example.com/"}, "is no URI"),
        ({"namespace": "urn:wellbe:"}, "is no URI"),
        ({"namespace": "http://wellbe.example.com/a"}, "is no URI"),
        ({"namespace": "https://wellbe.example.com/a b"}, "is no URI"),
    ],
)
def test_a_context_says_who_what_for_and_when(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(DeliveryError, match=f"recipient clinic: .*{rule}"):
        context(**changes)


# -- notices -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Owed:
    """That a recipient is told of a booking."""

    booking_reference: str = token("booking", 1)
    reason: str = "erased"
    rows: tuple[tuple[str, str], ...] = ((token("service", 1, 1), token("person", 1, 1)),)
    deliveries: tuple[str, ...] = (token("delivery", 1),)
    raised_at: datetime = READ_AT


def told(*owed: Owed) -> list[dict[str, Any]]:
    """The lines of a notice."""
    return [json.loads(line) for line in b"".join(revocations(owed, "clinic")).splitlines()]


@pytest.mark.clause("L3")
def test_a_notice_says_what_to_do_with_which_rows_why_and_since_when() -> None:
    (line,) = told(Owed())
    assert tuple(line) == NOTICE_FIELDS
    assert line == {
        "booking_reference": token("booking", 1),
        "service_reference": token("service", 1, 1),
        "person_reference": token("person", 1, 1),
        "delivery_ids": [token("delivery", 1)],
        "action": "delete",
        "reason_code": "erased",
        "requested_at": "2026-03-10T04:00:00.000000Z",
        "gdpr_article": "19",
    }


@pytest.mark.parametrize(
    ("reason", "code", "action", "article"),
    [
        ("erased", "erased", "delete", "19"),
        ("consent withdrawn", "consent_withdrawn", "delete", "19"),
        ("superseded", "superseded", "delete", "19"),
        ("restricted", "restricted", "restrict", "19"),
        ("objection", "objection", "restrict", "19"),
        ("cancelled", "cancelled", "cancel", None),
    ],
)
def test_a_reason_has_an_action_and_an_article(reason: str, code: str, action: str, article: str | None) -> None:
    (line,) = told(Owed(reason=reason))
    assert (line["reason_code"], line["action"], line["gdpr_article"]) == (code, action, article)


def test_every_reason_for_which_something_is_owed_is_known() -> None:
    assert set(get_args(obligations.Reason)) <= set(REVOCATIONS)


def test_a_notice_is_the_same_in_whatever_order_things_are_owed() -> None:
    pairs = tuple((token("service", 1, number), token("person", 1, person)) for number in range(3) for person in (1, 2))
    ids = tuple(token("delivery", number) for number in range(3))
    first, second = Owed(rows=pairs, deliveries=ids), Owed(token("booking", 2), "restricted")
    again = replace(first, rows=(*reversed(pairs), pairs[0]), deliveries=(*reversed(ids), ids[0]))
    assert told(first, second) == told(second, again)
    keys = [[line[name] for name in KEY] for line in told(first, second)]
    assert keys == sorted(keys)
    assert len(keys) == 7


def test_nothing_owed_is_no_notice() -> None:
    assert list(revocations([], "clinic")) == []


def test_an_instant_is_told_in_utc() -> None:
    (line,) = told(Owed(raised_at=datetime(2026, 3, 10, 6, tzinfo=timezone(timedelta(hours=2)))))
    assert line["requested_at"] == "2026-03-10T04:00:00.000000Z"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"reason": "bored"}, "its reason is none that is known"),
        ({"raised_at": datetime(2026, 3, 10)}, "no time zone"),  # noqa: DTZ001
        ({"rows": ()}, "no row, or no delivery"),
        ({"deliveries": ()}, "no row, or no delivery"),
        ({"booking_reference": "4711"}, "1 references or ids are not 64 hex digits"),
        ({"rows": (("4712", "4713"),)}, "2 references or ids are not 64 hex digits"),
        ({"deliveries": ("4714",)}, "1 references or ids are not 64 hex digits"),
        ({"deliveries": ("a" * 64 + "\n",)}, "1 references or ids are not 64 hex digits"),
    ],
)
def test_what_a_recipient_could_not_follow_is_not_told(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(DeliveryError, match=f"recipient clinic: .*{rule}") as error:
        told(replace(Owed(), **changes))
    assert "471" not in str(error.value)
