"""Laws of what is handed over: read back it is what was given, whatever anybody wrote, and nothing else is in it."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.sharing import portions
from governance.sharing.tabular import original, safe
from governance.sharing.texts import readable, trimmed
from provider_rows import HEALTH, KEY, TYPES, context, frame, ordered, resources, row, token, written

pytestmark = pytest.mark.clause("F1")

NASTY = (
    "\x00\x01\t\n\r\x1a\x1b\x1f \"',;|=+-@\\\x7f\x85\x9f\xa0\u0308\u1680\u2028\u2029\u202e\u3000\ufdd0\ufeff\uff1d"
    "\ufffe"
)
TEXT = st.text(st.sampled_from(NASTY + "aÅ山𝒜\U0001ffff") | st.characters(exclude_categories=["Cs"]), max_size=12)
DAY = st.dates(date(1, 1, 1), date(9999, 12, 31))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "booking_version": st.integers(1, 2**62),
    "replaces_version": st.integers(1, 2**62),
    "booking_status": st.sampled_from(["booked", "amended"]),
    "booking_changed_at": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    "birth_date": DAY,
    "service_date": DAY,
    "nights_count": st.integers(-(2**63), 2**63 - 1),
}
OF_ROW = ("replaces_version", "procedure_code", "clinical_note", "service_date")


def values(columns: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Of one row, NULL among them."""
    return st.fixed_dictionaries({name: st.none() | VALUES.get(name, TEXT) for name in columns if name not in KEY})


@st.composite
def tables(draw: st.DrawFn, offered: tuple[str, ...] = tuple(TYPES)) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows, and the columns that a contract chooses."""
    chosen = draw(st.lists(st.sampled_from(offered[3:]), unique=True))
    columns = draw(st.permutations([*KEY, *chosen]))
    made = [{**row(number), **draw(values(columns))} for number in range(draw(st.integers(1, 4)))]
    return list(map(dict, ordered(made))), columns


@st.composite
def bookings(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of bookings with several services and people, who say the same of themselves each time."""
    chosen = draw(st.lists(st.sampled_from(HEALTH[3:]), unique=True))
    columns = draw(st.permutations([*KEY, *chosen]))
    made = []
    for number in range(draw(st.integers(1, 2))):
        of_booking = draw(values(["booking_version", "booking_status", "booking_changed_at"]))
        for person in range(draw(st.integers(1, 2))):
            of_person = draw(values([name for name in HEALTH if name not in (*OF_ROW, *of_booking)]))
            for service in range(draw(st.integers(1, 2))):
                made.append({**row(number, service, person), **of_booking, **of_person, **draw(values([*OF_ROW]))})
    return list(map(dict, ordered(made))), columns


def told(value: Any) -> Any:
    """A value as files have it."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")  # strftime does not fill up the year
    return value.isoformat() if isinstance(value, date) else value


@given(tables())
def test_json_lines_read_back_are_the_rows(table: tuple[list[dict[str, Any]], list[str]]) -> None:
    rows, columns = table
    lines = written(frame(rows, columns), "jsonl").decode()
    assert lines.splitlines(keepends=True) == [f"{line}\n" for line in lines.split("\n")[:-1]]
    read = [json.loads(line) for line in lines.splitlines()]
    assert read == [{name: told(one[name]) for name in columns} for one in rows]
    assert all(list(one) == columns for one in read)


@given(tables())
def test_csv_read_back_is_the_rows_without_what_breaks_readers(table: tuple[list[dict[str, Any]], list[str]]) -> None:
    rows, columns = table
    content = written(frame(rows, columns), "csv")
    read = list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
    expected = [[_in_csv(name, one[name]) for name in columns] for one in rows]
    assert read == [columns, *([("" if cell is None else cell) for cell in line] for line in expected)]
    again = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True, null_values=[""],
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip
    assert again.to_pylist() == [dict(zip(columns, line, strict=True)) for line in expected]
    for line, one in zip(expected, rows, strict=True):
        for name, cell in zip(columns, line, strict=True):
            if isinstance(one[name], str):
                assert original(cell or "") == readable(one[name])


def _in_csv(name: str, value: Any) -> str | None:
    if value is None:
        return None
    return safe(readable(value)) if TYPES[name] == pa.string() else str(told(value))


@given(TEXT)
def test_what_is_made_safe_can_be_made_as_it_was(text: str) -> None:
    assert original(safe(text)) == text
    assert original(text) == text or safe(text) != text


@given(TEXT, st.sampled_from([",", ";", "\t", "|"]))
def test_no_cell_begins_with_a_formula_by_whatever_a_spreadsheet_separates(text: str, separator: str) -> None:
    cells = next(
        csv.reader(io.StringIO(safe(text).replace("\r", "").replace("\n", ""), newline=""), delimiter=separator), [""]
    )
    for cell in [*cells, *safe(text).split(separator)]:
        assert cell[:1] not in ("=", "@", "\uff1d") or cell == ""


@given(TEXT)
def test_a_text_that_is_readable_stays_as_it_is_and_breaks_no_line(text: str) -> None:
    once = readable(text)
    assert readable(once) == once
    assert not set(once) & set("\x00\x1a\x1b\x1f\x7f\x85\x9f\u2028\u2029\ufdd0\ufeff\ufffe\U0001ffff")
    assert len(once.splitlines()) == len(io.StringIO(once, newline=None).readlines())
    if not set(text) & set(NASTY) and text.isprintable():
        assert once == text


@given(TEXT)
def test_a_text_of_fhir_is_never_empty_and_never_blank_at_its_ends(text: str) -> None:
    kept = trimmed(text)
    assert kept is None or (kept == kept.strip() and kept and trimmed(kept) == kept)
    assert (kept is None) == (not readable(text).strip())


@given(bookings())
def test_a_bundle_read_back_is_the_rows(table: tuple[list[dict[str, Any]], list[str]]) -> None:
    rows, columns = table
    read = [
        one for line in written(frame(rows, columns), "fhir").split(b"\n")[:-1] for one in _rows_of(json.loads(line))
    ]
    expected = [{name: _in_fhir(name, one[name]) for name in columns} for one in rows]
    for one, wanted in zip(sorted(read, key=lambda one: [one[name] for name in KEY]), expected, strict=True):
        assert {name: one[name] for name in columns} == wanted
        assert {name for name, value in one.items() if value is not None} <= set(columns)


def _in_fhir(name: str, value: Any) -> Any:
    if value is None or TYPES[name] != pa.string():
        return told(value)
    kept = trimmed(value)
    return " ".join(kept.split()) if kept and name == "procedure_code" else kept


def _rows_of(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a Bundle, read by somebody who knows R4 and the systems of our identifiers."""
    (provenance,) = resources(bundle, "Provenance")
    people = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    replaced = {
        one["what"]["reference"].rpartition("/")[0]: one["what"]["reference"] for one in provenance.get("entity", ())
    }
    read = []
    for booked in resources(bundle, "Appointment"):
        person = people[booked["participant"][0]["actor"]["reference"]]
        names = {one["system"].rpartition(":")[2]: one["value"] for one in booked["identifier"] + person["identifier"]}
        telecom = {one["system"]: one["value"] for one in person.get("telecom", ())}
        (name,) = person.get("name", [{}])
        language = person.get("communication", [{"language": {}}])[0]["language"]
        activity = provenance.get("activity", {"coding": [{"code": None}]})["coding"][0]["code"]
        version, before = booked.get("meta", {}).get("versionId"), replaced.get(f"Appointment/{booked['id']}/_history")
        read.append(
            {
                **{f"{what}_reference": value for what, value in names.items()},
                "booking_version": version and int(version),
                "replaces_version": before and int(before.rpartition("/")[2]),
                "booking_status": {"CREATE": "booked", "UPDATE": "amended", None: None}[activity],
                "booking_changed_at": provenance.get("occurredDateTime"),
                "given_name": name.get("given", [None])[0],
                "family_name": name.get("family"),
                "birth_date": person.get("birthDate"),
                "email": telecom.get("email"),
                "phone": telecom.get("phone"),
                "language": language.get("text") or language.get("coding", [{"code": None}])[0]["code"],
                "procedure_code": booked.get("serviceType", [{"coding": [{"code": None}]}])[0]["coding"][0]["code"],
                "clinical_note": booked.get("comment"),
                "service_date": booked.get("requestedPeriod", [{"start": None}])[0]["start"],
            }
        )
    return read


@pytest.mark.clause("N1")
@given(st.lists(st.sampled_from(HEALTH[3:]), unique=True), st.sampled_from(["fhir", "jsonl", "csv"]))
def test_nothing_but_the_columns_of_the_contract_is_handed_over(chosen: list[str], form: portions.Form) -> None:
    secret = {
        name: token(name) for name in HEALTH if TYPES[name] == pa.string() and name not in (*KEY, "booking_status")
    }
    offered = frame([row(**secret)], HEALTH)
    projected = offered[[*KEY, *chosen]]
    content = written(projected, form).decode()
    assert {name for name, value in secret.items() if value in content} == secret.keys() & set(chosen)


@given(tables(HEALTH), st.integers(1, 3))
def test_the_same_rows_and_context_are_the_same_bytes(table: tuple[list[dict[str, Any]], list[str]], size: int) -> None:
    rows, columns = table
    whole = frame(rows, columns)
    pieces: list[pd.DataFrame] = [whole.iloc[start : start + size] for start in range(0, len(whole), size)]
    for form in ("jsonl", "csv", "fhir"):
        once = b"".join(portions.chunks(whole, form, context()))
        assert once == b"".join(portions.chunks(pieces, form, context()))


@given(tables())
def test_columns_are_written_as_value_by_value(table: tuple[list[dict[str, Any]], list[str]]) -> None:
    rows, columns = table
    said = [{name: told(one[name]) for name in columns} for one in rows]
    lines = "".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n" for one in said)
    for character in "\x85\u2028\u2029":
        lines = lines.replace(character, f"\\u{ord(character):04x}")
    assert written(frame(rows, columns), "jsonl") == lines.encode()
    cells = [",".join(_cell(name, one[name]) for name in columns) for one in said]
    assert (
        written(frame(rows, columns), "csv") == "".join(f"{line}\r\n" for line in [",".join(columns), *cells]).encode()
    )


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in KEY or TYPES[name] != pa.string():
        return str(value)
    return '"' + safe(readable(value)).replace('"', '""') + '"'


@given(st.lists(st.none() | TEXT | st.from_regex(r"\+[0-9]{1,16}\n?", fullmatch=True), min_size=1, max_size=20))
def test_a_column_of_many_texts_is_written_as_each_of_them(texts: list[str | None]) -> None:
    rows = list(map(dict, ordered([{**row(number), "itinerary": text} for number, text in enumerate(texts)])))
    content = written(frame(rows, [*KEY, "itinerary"]), "csv").decode()
    lines = [",".join([*(one[name] for name in KEY), _cell("itinerary", one["itinerary"])]) for one in rows]
    assert content == "".join(f"{line}\r\n" for line in [",".join([*KEY, "itinerary"]), *lines])
