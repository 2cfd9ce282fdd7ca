"""Files that people bring: each malformation has its reason, and values that can be read stay as they are."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from governance.errors import InputError
from governance.sample import access_log, hotel
from governance.sample.inputs import LONGEST_LINE, MalformedLineError, lines, text_of

STAY = {
    **dict.fromkeys(hotel.COLUMNS, "0"),
    **{"lead_time": "342", "arrival_date_year": "2015", "arrival_date_month": "July", "arrival_date_day_of_month": "1"},
    **{"stays_in_weekend_nights": "1", "stays_in_week_nights": "2", "adults": "2", "children": "1", "country": "PRT"},
    **{"adr": "75.5", "reservation_status": "Check-Out", "reservation_status_date": "7/4/2015"},
}
LINE = '100.64.0.1 - frank [{at}] "{request}" 200 2326 "{referrer}" "{agent}"'
REQUEST = {
    "at": "17/May/2015:10:05:03 +0000",
    "request": "GET /a?b=c HTTP/1.1",
    "referrer": "https://example.com/",
    "agent": "Mozilla/5.0",
}


def bookings(folder: Path, **changes: str) -> hotel.HotelBookings:
    path = folder / "bookings.csv"
    path.write_text(f"{','.join(STAY)}\n{','.join({**STAY, **changes}.values())}\n", encoding="utf-8")
    return hotel.read(path)


def requests(folder: Path, *log: str) -> access_log.Requests:
    path = folder / "access.log"
    path.write_text("\n".join(log) + "\n", encoding="utf-8")
    return access_log.read(path)


def test_a_stay_is_read_with_its_own_dates(tmp_path: Path) -> None:
    read = bookings(tmp_path)
    assert read.arrival.tolist() == [date(2015, 7, 1)]
    assert read.booked.tolist() == [date(2014, 7, 24)]
    assert read.status_date.tolist() == [date(2015, 7, 4)]
    assert (read.nights.tolist(), read.rate.tolist()) == ([3], [75.5])
    assert (read.adults.tolist(), read.children.tolist(), read.babies.tolist()) == ([2], [1], [0])
    assert (read.tally.read, read.tally.malformed) == (1, {})


@pytest.mark.parametrize(
    ("code", "country"),
    [("PRT", "PT"), ("CHN", "CN"), ("CN", "CN"), ("NULL", None), ("", None), ("TMP", "TL"), ("QQQ", "QQQ")],
)
def test_countries_are_written_in_two_letters_and_unknown_codes_stay(
    tmp_path: Path, code: str, country: str | None
) -> None:
    assert bookings(tmp_path, country=code).country == [country]


@pytest.mark.parametrize(("written", "number"), [("NA", hotel.UNKNOWN), ("", hotel.UNKNOWN), ("2.0", 2), ("10", 10)])
def test_an_undefined_number_of_children_stays_unknown(tmp_path: Path, written: str, number: int) -> None:
    assert bookings(tmp_path, children=written).children.tolist() == [number]


@pytest.mark.parametrize(
    "change",
    [
        {"adr": "-6.38"},
        {"adults": "0"},
        {"lead_time": "-3"},
        {"reservation_status_date": "2015-07-04"},
        {"meal": "Undefined"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_implausible_value_is_no_malformation(tmp_path: Path, change: dict[str, str]) -> None:
    assert bookings(tmp_path, **change).tally.malformed == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lead_time": "soon"}, "bad number"),
        ({"lead_time": "36501"}, "bad number"),
        ({"adults": "61"}, "bad number"),
        ({"adults": "-1"}, "bad number"),
        ({"adults": "2.5"}, "bad number"),
        ({"adr": "nan"}, "bad number"),
        ({"adr": "1e9"}, "bad number"),
        ({"adr": "inf"}, "bad number"),
        ({"is_canceled": "2"}, "bad number"),
        ({"arrival_date_month": "Juli"}, "bad date"),
        ({"arrival_date_day_of_month": "32"}, "bad date"),
        ({"arrival_date_year": "1995"}, "bad date"),
        ({"lead_time": "20000"}, "bad date"),
        ({"reservation_status_date": "2015-02-29"}, "bad date"),
        ({"reservation_status_date": "soon"}, "bad date"),
        ({"meal": "BB,HB"}, "wrong number of columns"),
        ({"meal": '"BB'}, "broken quotes"),
        ({"meal": "B\0B"}, "NUL byte"),
    ],
)
def test_a_line_that_cannot_be_read_is_counted_by_its_reason(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    read = bookings(tmp_path, **change)
    assert (read.tally.read, read.tally.malformed, len(read.country)) == (1, {reason: 1}, 0)


def test_a_header_may_have_a_byte_order_mark_another_order_and_further_columns(tmp_path: Path) -> None:
    names = ["more", *reversed(STAY)]
    path = tmp_path / "bookings.csv"
    path.write_text(
        "\ufeff" + ",".join(names) + "\r\n" + ",".join(STAY.get(name, "x") for name in names) + "\r\n", encoding="utf-8"
    )
    assert hotel.read(path).country == ["PT"]


@pytest.mark.parametrize("column", hotel.COLUMNS)
def test_every_column_is_asked_for(tmp_path: Path, column: str) -> None:
    path = tmp_path / "bookings.csv"
    path.write_text(",".join(name for name in STAY if name != column) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"\b{column}\b"):
        hotel.read(path)


def test_a_header_alone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bookings.csv"
    path.write_text(",".join(STAY) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="no booking"):
        hotel.read(path)


@pytest.mark.parametrize("head", [b"\xff\xfe\n", b"\n", b"\x00\n"])
def test_what_is_no_header_is_told(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "bookings.csv"
    path.write_bytes(head)
    with pytest.raises(InputError, match="no header"):
        hotel.read(path)


def test_a_request_is_read_with_its_own_time(tmp_path: Path) -> None:
    read = requests(tmp_path, LINE.format(**{**REQUEST, "at": "17/May/2015:10:05:03 +0200"}))
    assert read.at.tolist() == [int(datetime(2015, 5, 17, 8, 5, 3, tzinfo=UTC).timestamp()) * 1_000_000]
    assert (read.address, read.url, read.referrer, read.agent) == (
        ["100.64.0.1"],
        ["/a?b=c"],
        ["https://example.com/"],
        ["Mozilla/5.0"],
    )


def test_a_dash_is_nothing_and_an_odd_request_stays_as_it_is(tmp_path: Path) -> None:
    read = requests(
        tmp_path,
        LINE.format(**{**REQUEST, "request": "-", "referrer": "-", "agent": "-"}),
        LINE.format(**{**REQUEST, "request": r"\x16\x03\x01", "agent": r"a \"quoted\" agent"}),
        LINE.format(**REQUEST).replace("100.64.0.1", "-"),
    )
    assert read.url == [None, r"\x16\x03\x01", "/a?b=c"]
    assert read.agent == [None, r"a \"quoted\" agent", "Mozilla/5.0"]
    assert read.address == ["100.64.0.1", "100.64.0.1", None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "empty line"),
        ("hello", "not combined log format"),
        (LINE.format(**REQUEST).rsplit(" ", 2)[0], "not combined log format"),
        (LINE.format(**REQUEST)[:-1], "not combined log format"),
        ("[" * 60_000, "not combined log format"),
        (LINE.format(**{**REQUEST, "at": "17/Mai/2015:10:05:03 +0000"}), "bad timestamp"),
        (LINE.format(**{**REQUEST, "at": "31/Feb/2015:10:05:03 +0000"}), "bad timestamp"),
        (LINE.format(**{**REQUEST, "at": "17/May/2015:24:05:03 +0000"}), "bad timestamp"),
        (LINE.format(**{**REQUEST, "at": "17/May/2015:10:05:03 +9900"}), "bad timestamp"),
        (LINE.format(**{**REQUEST, "at": "17/May/2015:10:05:03"}), "bad timestamp"),
        (LINE.format(**{**REQUEST, "at": "17/May/1970:10:05:03 +0000"}), "bad timestamp"),
    ],
)
def test_a_line_that_is_no_request_is_counted_by_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    read = requests(tmp_path, line)
    assert (read.tally.read, read.tally.malformed, len(read.at)) == (1, {reason: 1}, 0)


def test_a_line_as_long_as_allowed_is_read_and_a_longer_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a" * (LONGEST_LINE - 1) + b"\n" + b"b" * LONGEST_LINE + b"\n" + b"c" * 3 * LONGEST_LINE)
    found = list(lines(path))
    assert [None if line is None else len(line) for line in found] == [LONGEST_LINE - 1, None, None]
    with pytest.raises(MalformedLineError, match="too long"):
        text_of(None)


def test_plain_and_gzip_files_have_the_same_lines_whatever_their_names(tmp_path: Path) -> None:
    content = "é\r\n\nlast".encode()
    for name, written in (
        ("a.gz", content),
        ("b.csv", gzip.compress(content)),
        ("c", gzip.compress(content[:4]) + gzip.compress(content[4:])),
    ):
        (tmp_path / name).write_bytes(written)
        assert list(lines(tmp_path / name)) == ["é".encode(), b"", b"last"]
