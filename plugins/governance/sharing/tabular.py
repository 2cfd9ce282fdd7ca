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
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from governance.sharing.rows import Slice
from governance.sharing.texts import UNREADABLE, readable

_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_FIRST = "=+\\-@\t\r\uff1d\uff0b\uff0d\uff20"  # the last four are the full-width forms of the first four
_CELL = r"(?:(?<=[,;\t|\r\n])|^)"
_RUN = f"""(?=["']*[{_FIRST}])"""
_UNSAFE = re.compile(_CELL + _RUN)
_MADE_SAFE = re.compile(f"{_CELL}'{_RUN}")
_TELEPHONE = r"\+[0-9]{1,15}"
_IS_TELEPHONE = re.compile(_TELEPHONE)

# What Arrow looks for, value by value (RE2): texts that do not stand in a file as they are.
_ESCAPED = '["\\\\\x00-\x1f\x85\u2028\u2029]'
_QUOTED = f"""["{UNREADABLE}]|(?:^|[,;\t|\r\n])["']*[{_FIRST}]"""
_LARGE = pa.large_string()  # a slice of long texts has more bytes than 32 bits count


def json_lines(part: Slice) -> pa.LargeStringArray:
    """Each row as a line of JSON."""
    pieces: list[pa.Scalar | pa.Array] = []
    for name, values in part.columns.items():
        pieces += [_text(f"{',' if pieces else '{'}{_member(name)}:"), values.cast(_LARGE)]
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            escaped = _but(pieces[-1], _among(pieces[-1], _ESCAPED), lambda text: _member(text)[1:-1])
            pieces[-1] = _joined(_text('"'), escaped, _text('"'))
    return _joined(*pieces, _text("}\n"), null="null")


def csv_header(names: Iterable[str]) -> str:
    """The first line.

    >>> csv_header(["given_name", "nights_count"])
    'given_name,nights_count\\r\\n'
    """
    return f"{','.join(names)}\r\n"


def csv_lines(part: Slice) -> pa.LargeStringArray:
    """Each row as a line of CSV."""
    pieces: list[pa.Scalar | pa.Array] = []
    for name, values in part.columns.items():
        pieces += [_text(","), values.cast(_LARGE)]
        if part.kinds[name] == "text":
            careful = pc.and_not(_among(pieces[-1], _QUOTED), _among(pieces[-1], rf"^{_TELEPHONE}\z"))
            pieces[-1] = _joined(_text('"'), _but(pieces[-1], careful, _quoted), _text('"'))
    return _joined(*pieces[1:], _text("\r\n"), null="")


def safe(text: str) -> str:
    r"""A text of which a spreadsheet runs nothing (CWE-1236).

    >>> safe("=1+1"), safe("a;=1"), safe("+46701234567"), safe("'t Hooft")
    ("'=1+1", "a;'=1", '+46701234567', "'t Hooft")
    """
    if not _UNSAFE.search(text) or _IS_TELEPHONE.fullmatch(text):
        return text
    return _UNSAFE.sub("'", text)


def original(text: str) -> str:
    """What was made safe, as it was.

    >>> original("a;'=1"), original("'t Hooft")
    ('a;=1', "'t Hooft")
    """
    return _MADE_SAFE.sub("", text)


def _member(text: str) -> str:
    """A text as JSON, without what some readers would break a line at."""
    encoded = _encoded(text)
    return encoded.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _quoted(text: str) -> str:
    """What stands between quotes."""
    return safe(readable(text)).replace('"', '""')


def _among(texts: pa.Array, pattern: str) -> pa.BooleanArray:
    """Where the pattern is found; NULL is not."""
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)


def _but(texts: pa.Array, where: pa.BooleanArray, by: Callable[[str], str]) -> pa.Array:
    """The texts, those of some places written anew."""
    if not pc.any(where).as_py():
        return texts
    return pc.replace_with_mask(texts, where, pa.array(map(by, texts.filter(where).to_pylist()), _LARGE))


def _text(text: str) -> pa.Scalar:
    return pa.scalar(text, _LARGE)


def _joined(*pieces: pa.Scalar | pa.Array, null: str | None = None) -> pa.Array:
    """Pieces as one text, row by row; NULL where one is, or with what stands for NULL."""
    nulls = {} if null is None else {"null_handling": "replace", "null_replacement": null}
    return pc.binary_join_element_wise(*pieces, _text(""), **nulls)
