"""Files that `governance import` cannot use, whole or in a line, and what a data engineer has to be told of each."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bad_rows import MARK, TEXTS
from governance.sample import hotel

STAY = {
    **dict.fromkeys(hotel.COLUMNS, "0"),
    **{"lead_time": "342", "arrival_date_year": "2015", "arrival_date_month": "July", "arrival_date_day_of_month": "1"},
    **{"stays_in_weekend_nights": "1", "stays_in_week_nights": "2", "adults": "2", "children": "1", "country": "PRT"},
    **{"adr": "75.5", "reservation_status": "Check-Out", "reservation_status_date": "2015-07-04"},
}
REQUEST = {
    "address": "100.64.0.1",
    "at": "17/May/2015:10:05:03 +0000",
    "url": "/a?b=c",
    "referrer": "https://example.com/",
    "agent": "Mozilla/5.0",
}
HEADER = ",".join(STAY)


def stay(**changes: str) -> bytes:
    """A line of the bookings file."""
    return ",".join({**STAY, **changes}.values()).encode()


def request(**changes: str) -> bytes:
    """A line of the access log."""
    log = '{address} - - [{at}] "GET {url} HTTP/1.1" 200 2326 "{referrer}" "{agent}"'
    return log.format(**{**REQUEST, **changes}).encode()


SOUND = {
    "bookings": b"\n".join([HEADER.encode(), stay(), stay(adults="1")]) + b"\n",
    "access_log": b"\n".join([request(), request(url="/b")]) + b"\n",
}


# -- whole files -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used: `spoil` puts it in the place of a sound one; `told` stands in the message."""

    name: str
    which: str
    spoil: Callable[[Path], object]
    told: str
    step: str


def holding(content: bytes) -> Callable[[Path], object]:
    """A file with this content."""
    return lambda path: path.write_bytes(content)


def bomb(head: bytes, line: bytes, unpacked: int = 16 << 20) -> Callable[[Path], object]:
    """A gzip file that unpacks to so many bytes of one line, written without ever holding them."""

    def write(path: Path) -> None:
        block = line * (max(1, (1 << 20) // len(line)))
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        with path.open("wb") as file:
            file.write(packer.compress(head))
            for _ in range(unpacked // len(block)):
                file.write(packer.compress(block))
            file.write(packer.flush())

    return write


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Something else than a file, in its place."""

    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def _flipped(content: bytes, place: int) -> bytes:
    zipped = bytearray(gzip.compress(content))
    zipped[place] ^= 0xFF
    return bytes(zipped)


FETCH, GIVE, LOOK, PATH, SAVE = "Fetch it again", "Give the", "Look at what it is", "Give the path", "Save it to a file"


def of_both() -> Iterator[BadFile]:
    """What no file of either kind may be."""
    for which, content in SOUND.items():
        zipped = gzip.compress(content)
        ratio = "unpacks to more than 200 times its size"
        for name, spoil, told, step in (
            ("missing", lambda path: path.unlink(), "No such file", PATH),
            ("a folder", instead(lambda path: path.mkdir()), "Is a directory", PATH),
            ("a link to itself", instead(lambda path: path.symlink_to(path.name)), "cannot be read", PATH),
            ("a pipe", instead(os.mkfifo), "a pipe or a device", SAVE),
            ("an endless device", instead(lambda path: path.symlink_to("/dev/zero")), "a pipe or a device", SAVE),
            ("empty", holding(b""), "is empty", GIVE),
            ("an empty gzip", holding(gzip.compress(b"")), "is empty", GIVE),
            ("two bytes of gzip", holding(zipped[:2]), "cut off", FETCH),
            ("a gzip header alone", holding(zipped[:10]), "cut off", FETCH),
            ("a gzip cut in its half", holding(zipped[: len(zipped) // 2]), "cut off", FETCH),
            ("a gzip cut in its checksum", holding(zipped[:-5]), "cut off", FETCH),
            ("a gzip with another checksum", holding(_flipped(content, -6)), "damaged", FETCH),
            ("a gzip with another size", holding(_flipped(content, -2)), "damaged", FETCH),
            ("a gzip of an unknown method", holding(_flipped(content, 2)), "damaged", FETCH),
            ("a gzip damaged within", holding(_flipped(content, 20)), "damaged", FETCH),
            ("a gzip with something behind it", holding(zipped + MARK.encode()), "damaged", FETCH),
            ("a zip bomb without a line", bomb(content, b"\0"), ratio, LOOK),
            ("a zip bomb of empty lines", bomb(content, b"\n"), ratio, LOOK),
            ("a zip bomb of sound lines", bomb(content, content.splitlines(keepends=True)[-1]), ratio, LOOK),
        ):
            yield BadFile(f"{which}, {name}".replace(" ", "_"), which, spoil, told, step)


def _swapped(text: str) -> bytes:
    return text.encode() + b"\n" + stay() + b"\n"


NO_HEADERS = {
    "a NUL in the header": (b"\0" + SOUND["bookings"], "is no header"),
    "UTF-16": (SOUND["bookings"].decode().encode("utf-16"), "is no header"),
    "Latin-1 in the header": (b"h\xf4tel," + SOUND["bookings"], "is no header"),
    "a byte-order mark alone": (b"\xef\xbb\xbf", "is no header"),
    "an empty first line": (b"\n" + SOUND["bookings"], "is no header"),
    "a first line of a megabyte": (b"x" * 1_000_000 + b"\n" + SOUND["bookings"], "is no header"),
    "ends of lines of an old Macintosh": (SOUND["bookings"].replace(b"\n", b"\r"), "is no header"),
    "a gzip in a gzip": (gzip.compress(gzip.compress(SOUND["bookings"])), "is no header"),
    "a zip archive": (b"PK\x03\x04\x14\0\0\0" + bytes(64), "is no header"),
    "a page that says not found": (b"<!DOCTYPE html>\n<title>404</title>\n", "lacks, or has twice, hotel, is_canceled"),
    "the other file": (SOUND["access_log"], "lacks, or has twice, hotel, is_canceled"),
    "semicolons for commas": (SOUND["bookings"].replace(b",", b";"), "lacks, or has twice, hotel, is_canceled"),
    "an unclosed quote in the header": (_swapped(HEADER.replace("adr,", '"adr,')), "lacks, or has twice, adr"),
    "a column twice": (_swapped(HEADER + ",adr"), "lacks, or has twice, adr"),
    "a column renamed": (_swapped(HEADER.replace("adr,", "rate,")), "lacks, or has twice, adr"),
    "a column in capitals": (_swapped(HEADER.replace("adr,", "ADR,")), "lacks, or has twice, adr"),
    "no header": (stay() + b"\n" + stay() + b"\n", "lacks, or has twice, hotel, is_canceled"),
    "a header alone": (HEADER.encode() + b"\n", "there is a header and no booking"),
}


def of_bookings() -> Iterator[BadFile]:
    """What the table of bookings may not be."""
    for name, (content, told) in NO_HEADERS.items():
        yield BadFile(f"bookings, {name}".replace(" ", "_"), "bookings", holding(content), told, "Give the")


FILES = [*of_both(), *of_bookings()]


# -- single lines ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BadLine:
    """A line among sound ones: counted by its `reason`, or, without one, read."""

    name: str
    which: str
    line: bytes
    reason: str | None


NUMBERS = (
    "lead_time", "arrival_date_year", "arrival_date_day_of_month", "stays_in_weekend_nights", "stays_in_week_nights",
    "adults", "children", "babies", "is_repeated_guest", "is_canceled", "adr",
)  # fmt: skip
NO_NUMBERS = {
    "NaN": "NaN", "infinity": "inf", "minus infinity": "-Infinity", "an overflow": "1e400", "5,000 digits": "9" * 5000,
    "an underscore": "1_0", "hexadecimal": "0x1F", "two signs": "--1", "SQL": "1; DROP TABLE bookings",
    "HTML": "<b>1</b>", "terminal escapes": "\x1b[31m1",
}  # fmt: skip
DATES = {
    "arrival_date_month": ("", "Juli", "july", "13", "\x1b[31mJuly", "July\u202e"),
    "arrival_date_day_of_month": ("0", "-1", "32"),
    "arrival_date_year": ("0", "1", "1995", "2101", "9999"),
    "lead_time": ("20000", "-36500"),
    "reservation_status_date": ("", "0001-01-01", "9999-12-31", "infinity", "-infinity", "2015-02-30", "30/6/2015",
                                "7/4/15", "2015-07-04T00:00:00", "'; DROP TABLE bookings; --"),
}  # fmt: skip
BROKEN = {
    "a NUL": (b"100\0", "NUL byte"),
    "a byte that is no UTF-8": (b"\xff", "not UTF-8"),
    "a character cut in its half": (b"\xe2\x82", "not UTF-8"),
    "an overlong slash": (b"\xc0\xaf", "not UTF-8"),
    "half a surrogate pair": (b"\xed\xa0\x80", "not UTF-8"),
    "a character beyond Unicode": (b"\xf4\x90\x80\x80", "not UTF-8"),
    "70 kB more": (b"x" * 70_000, "line too long"),
    "a megabyte of unclosed quotes": (b'"' * 1_000_001, "line too long"),
}
"""What either file may have in the middle of a line."""


def of_stays() -> Iterator[BadLine]:
    """Lines of bookings."""
    for column in NUMBERS:
        for kind, text in NO_NUMBERS.items():
            yield BadLine(f"{column} is {kind}", "bookings", stay(**{column: text}), "bad number")
    for column, values in DATES.items():
        for text in values:
            yield BadLine(f"{column} is {text!r}", "bookings", stay(**{column: text}), "bad date")
    free = [name for name in STAY if name not in NUMBERS and name not in DATES]
    for column in free:
        yield BadLine(f"{column} is an unclosed quote", "bookings", stay(**{column: f'"{MARK}'}), "broken quotes")
        yield BadLine(f"{column} has a comma too many", "bookings", stay(**{column: "a,b"}), "wrong number of columns")
        for kind in ("SQL", "HTML", "terminal escapes", "bidi", "NUL-like", "templates"):
            quoted = '"' + TEXTS[kind].replace('"', '""') + '"'
            yield BadLine(f"{column} is {kind}", "bookings", stay(**{column: quoted}), None)


def of_requests() -> Iterator[BadLine]:
    """Lines of an access log."""
    for field in ("url", "referrer", "agent"):
        for kind in ("SQL", "HTML", "terminal escapes", "bidi", "NUL-like", "outside the BMP"):
            yield BadLine(f"{field} is {kind}", "access_log", request(**{field: TEXTS[kind]}), None)
        yield BadLine(f"{field} has a quote", "access_log", request(**{field: '"'}), "not combined log format")
    for text in ("0001", "9999", "infinity"):
        yield BadLine(f"the year is {text}", "access_log", request(at=f"17/May/{text}:10:05:03 +0000"), "bad timestamp")
    for text in ("", "NaN", "2015-05-17T10:05:03Z", "17/May/2015:24:05:03 +0000", "31/Jun/2015:10:05:03 +0000",
                 "17/May/2015:10:05:03 +2400", "１７/May/2015:10:05:03 +0000x"):  # fmt: skip
        yield BadLine(f"the time is {text!r}", "access_log", request(at=text), "bad timestamp")
    for text in ("", " ", "\t", "null", "{}", "[", "[" * 60_000, '"' * 60_000, "\\" * 60_000):
        reason = "not combined log format" if text.strip() else "empty line"
        yield BadLine(f"{text[:9]!r} of {len(text)} alone", "access_log", text.encode(), reason)


def of_either() -> Iterator[BadLine]:
    """Lines that are broken whatever they are of."""
    for which, sound in (("bookings", stay()), ("access_log", request())):
        half = len(sound) // 2
        for kind, (piece, reason) in BROKEN.items():
            yield BadLine(f"{which}, {kind}", which, sound[:half] + piece + sound[half:], reason)
        yield BadLine(f"{which}, half of it", which, sound[:half],
                      "wrong number of columns" if which == "bookings" else "not combined log format")  # fmt: skip
        yield BadLine(f"{which}, CRLF", which, sound + b"\r", None)


LINES = [*of_stays(), *of_requests(), *of_either()]
