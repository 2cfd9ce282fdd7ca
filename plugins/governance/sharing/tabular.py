r"""Rows as JSON Lines and as CSV, line by line. Pure.

JSON Lines (RFC 8259, a row an object, `\n`) are exact: every character of a text, NULL as null, members in the order of
the contract. Only what some readers would break a line at is written as an escape.

CSV (RFC 4180, a header, UTF-8 without a byte order mark, `\r\n`) is for people with a spreadsheet, and a spreadsheet
runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return. So what a client wrote must not begin a
cell like that: an apostrophe is put in front, also behind a comma, semicolon, tab, bar or line break inside of a text,
where a spreadsheet that separates by these begins a cell (in Sweden the semicolon). A telephone number (E.164) stays
as it is, for it calls nothing. `original` takes the apostrophes away again. Texts are quoted and NULL is not, so that
an empty text is another thing than no text; what breaks readers is left out of texts (`texts.readable`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from governance.sharing.rows import Slice, Value
from governance.sharing.texts import readable

_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_FIRST = "=+\\-@\t\r\uff1d\uff0b\uff0d\uff20"  # the last four are the full-width forms of the first four
_CELL = r"(?:(?<=[,;\t|\r\n])|^)"
_RUN = f"""(?=["']*[{_FIRST}])"""
_UNSAFE = re.compile(_CELL + _RUN)
_MADE_SAFE = re.compile(f"{_CELL}'{_RUN}")
_TELEPHONE = re.compile(r"\+[0-9]{1,15}")


def json_lines(part: Slice) -> Iterator[str]:
    """Each row as a line of JSON."""
    for row in part.rows():
        line = _encoded(row)
        if not line.isascii():
            line = line.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        yield f"{line}\n"


def csv_header(names: Iterable[str]) -> str:
    """The first line.

    >>> csv_header(["given_name", "nights_count"])
    'given_name,nights_count\\r\\n'
    """
    return f"{','.join(names)}\r\n"


def csv_lines(part: Slice) -> Iterator[str]:
    """Each row as a line of CSV."""
    columns = [
        list(map(_quoted if part.kinds[name] == "text" else _bare, values)) for name, values in part.columns.items()
    ]
    return (f"{','.join(cells)}\r\n" for cells in zip(*columns, strict=True))


def safe(text: str) -> str:
    r"""A text of which a spreadsheet runs nothing (CWE-1236).

    >>> safe("=1+1"), safe("a;=1"), safe("+46701234567"), safe("'t Hooft")
    ("'=1+1", "a;'=1", '+46701234567', "'t Hooft")
    """
    if not _UNSAFE.search(text) or _TELEPHONE.fullmatch(text):
        return text
    return _UNSAFE.sub("'", text)


def original(text: str) -> str:
    """What was made safe, as it was.

    >>> original("a;'=1"), original("'t Hooft")
    ('a;=1', "'t Hooft")
    """
    return _MADE_SAFE.sub("", text)


def _quoted(value: Value) -> str:
    if value is None:
        return ""
    text = safe(readable(str(value)))
    return '"' + text.replace('"', '""') + '"'


def _bare(value: Value) -> str:
    """References, numbers, truths (true, false), days and instants, into which nobody can have written anything."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
