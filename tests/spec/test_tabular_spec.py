"""What a travel provider gets of a row: a line of JSON, exact, and one of CSV, of which no spreadsheet runs any."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pytest

from governance.sharing.rows import Slice
from governance.sharing.tabular import csv_lines, json_lines, original, safe
from governance.sharing.texts import readable
from provider_rows import KEY, TRAVEL, frame, row, token, written

pytestmark = pytest.mark.clause("F1")

REFERENCES = ",".join((token("booking", 1), token("service", 1, 1), token("person", 1, 1)))


def test_a_row_is_a_line_of_json() -> None:
    assert json.loads(written(frame([row()], TRAVEL), "jsonl")) == {
        "booking_reference": token("booking", 1),
        "service_reference": token("service", 1, 1),
        "person_reference": token("person", 1, 1),
        "booking_version": 1,
        "replaces_version": None,
        "booking_status": "booked",
        "booking_changed_at": "2026-03-09T14:30:00.000250Z",
        "given_name": "Astrid",
        "family_name": "Ström",
        "service_date": "2026-05-04",
        "nights_count": 3,
        "itinerary": "ARN-BUD, hotel",
    }


def test_a_row_is_a_line_of_csv_after_a_header() -> None:
    assert written(frame([row()], TRAVEL), "csv").decode() == (
        "booking_reference,service_reference,person_reference,booking_version,replaces_version,booking_status,"
        "booking_changed_at,given_name,family_name,service_date,nights_count,itinerary\r\n"
        f'{REFERENCES},1,,"booked",2026-03-09T14:30:00.000250Z,"Astrid","Ström",2026-05-04,3,"ARN-BUD, hotel"\r\n'
    )


CELLS: list[tuple[Any, bytes, bytes]] = [
    # a text, as JSON has it, as CSV has it
    (None, b"null", b""),
    ("", b'""', b'""'),
    (" ", b'" "', b'" "'),
    ("NULL", b'"NULL"', b'"NULL"'),
    ("Å,\u00f6", '"Å,ö"'.encode(), '"Å,ö"'.encode()),
    ("O\u0308", '"O\u0308"'.encode(), '"O\u0308"'.encode()),
    ("\U0001f9b7", '"🦷"'.encode(), '"🦷"'.encode()),
    ('5" pipe', rb'"5\" pipe"', b'"5"" pipe"'),
    ("a\r\nb", rb'"a\r\nb"', b'"a\r\nb"'),
    ("a\\n", rb'"a\\n"', rb'"a\n"'),
    ("a\x00\x1ab", rb'"a\u0000\u001ab"', b'"ab"'),
    ("a\x7f\ufffeb", '"a\x7f\ufffeb"'.encode(), b'"ab"'),
    ("a\u2028b\x85c", rb'"a\u2028b\u0085c"', b'"a b c"'),
    ("a\u00a0b", '"a\u00a0b"'.encode(), '"a\u00a0b"'.encode()),
    ("=1+1", b'"=1+1"', b'"\'=1+1"'),
    ("2026-05-04", b'"2026-05-04"', b'"2026-05-04"'),
]


@pytest.mark.parametrize(("text", "as_json", "as_csv"), CELLS)
def test_json_is_exact_and_csv_without_what_breaks_readers(text: Any, as_json: bytes, as_csv: bytes) -> None:
    rows = frame([row(given_name=text)], (*KEY, "given_name"))
    assert written(rows, "jsonl").endswith(b'"given_name":' + as_json + b"}\n")
    assert written(rows, "csv").endswith(f"{REFERENCES},".encode() + as_csv + b"\r\n")


SAFE = [
    ("=1+1", "'=1+1"),
    ("+1+1", "'+1+1"),
    ("-1+1", "'-1+1"),
    ("@SUM(1)", "'@SUM(1)"),
    ("\t=1", "'\t'=1"),
    ("\r=1", "'\r'=1"),
    ("\uff1d1", "'\uff1d1"),  # full-width forms, which some spreadsheets read as the plain ones
    ("\uff0b1", "'\uff0b1"),
    ("\uff0d1", "'\uff0d1"),
    ("\uff20a", "'\uff20a"),
    ("a;=1", "a;'=1"),  # behind what a spreadsheet may separate by
    ("a,=1", "a,'=1"),
    ("a|=1", "a|'=1"),
    ("a\n-b", "a\n'-b"),
    ('";=1', "\";'=1"),
    ('"=1', "'\"=1"),  # a quote that begins a cell may end at once
    ("'=1", "''=1"),
    ("+46701740605", "+46701740605"),  # a number to call (E.164) calls nothing itself
    ("+1", "+1"),
    ("+123456789012345", "+123456789012345"),
    ("+1234567890123456", "'+1234567890123456"),
    ("+46 70", "'+46 70"),
    ("'t Hooft", "'t Hooft"),
    ("Ann-Marie", "Ann-Marie"),
    ("a; -b", "a; -b"),
    ("1=1", "1=1"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "in_csv"), SAFE)
def test_no_cell_begins_with_what_a_spreadsheet_runs(text: str, in_csv: str) -> None:
    assert safe(text) == in_csv
    assert original(in_csv) == text


def test_every_column_that_somebody_wrote_into_is_made_safe() -> None:
    texts = [name for name in TRAVEL if name in ("booking_status", "given_name", "family_name", "itinerary")]
    lines = written(frame([row(**dict.fromkeys(texts, "=1"))], TRAVEL), "csv").decode()
    (read,) = csv.DictReader(io.StringIO(lines, newline=""))
    assert [name for name in TRAVEL if read[name] == "'=1"] == texts


@pytest.mark.parametrize("text", ["{}", "a{}b", "a;{}1", "{}1", "'{}"])
def test_a_character_among_many_is_written_as_by_itself(text: str) -> None:
    """A column is looked at as a whole, by another library than what then writes the texts that need it."""
    codes = [
        *range(0xD800),
        *range(0xE000, 0x11000),
        *(plane << 16 | end for plane in range(1, 17) for end in (0xFFFE, 0xFFFF)),
    ]
    texts = [text.format(chr(code)) for code in codes]
    part = Slice({"text": pa.array(texts)}, {"text": "text"})
    quoted = [safe(readable(one)).replace('"', '""') for one in texts]
    assert csv_lines(part).to_pylist() == [f'"{one}"\r\n' for one in quoted]
    for one, line in zip(texts, json_lines(part).to_pylist(), strict=True):
        assert json.loads(line) == {"text": one}
        assert line.splitlines(keepends=True) == [line]
        if one.isprintable() and not set(one) & set('"\\'):
            assert line == f'{{"text":"{one}"}}\n'
