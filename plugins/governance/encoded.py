"""What a text says in an encoding: base64 of either alphabet, hexadecimal digits, percent signs. Pure.

Whoever is told that a card number may not be written finds one of these next. Read are encodings in encodings, two
deep. Not found: other ones (base32, ciphers, a picture), a number that is cut into several tokens, and what lies beyond
the first million characters.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance import measures

LAYERS = 2
MOST = 1_000_000  # characters of a text in which encodings are looked for; four readings of each bound the work
LEAST = measures.SHORTEST  # characters of what is worth reading
_TOKEN = rf"[A-Za-z0-9+/_-]{{{-(-LEAST * 4 // 3)},}}"
_BYTES = rf"(?:(?:[2-7][0-9A-Fa-f]|00)[ :,-]?){{{LEAST},}}"  # of ASCII or UTF-16, in hexadecimal digits
_ESCAPES = r"(?:%[0-9A-Fa-f]{2})+"
_TOKENS, _HEXES, _ESCAPED = re.compile(_TOKEN), re.compile(_BYTES), re.compile(_ESCAPES)
_READABLE = re.compile(rf"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]{{{LEAST},}}")
_URL_SAFE = str.maketrans("-_", "+/")


def decoded(text: str, layers: int = LAYERS) -> Iterator[str]:
    """Every readable text of 13 characters or more that a text holds in an encoding.

    A token may be glued to what stands before it, so base64 is read from each of four places on.

    >>> list(decoded("see NDI0Mi00MjQyLTQyNDI= and 343234322d34323432"))
    ['4242-4242-4242']
    """
    for found in _once(text[:MOST]):
        yield found
        if layers > 1:
            yield from decoded(found, layers - 1)


def card_numbers(texts: pa.Array) -> pa.Array:
    """As `measures.card_numbers`; where a text holds none in plain writing, those in an encoding are counted.

    `texts` is a string array of length n; the result is int16 of length n without NULL. Source: policy clause K4.

    >>> card_numbers(pa.array(["NDExMTExMTExMTExMTExMQ==", "physiotherapist's recommendations"])).to_pylist()
    [1, 0]
    """
    plain = measures.card_numbers(texts)
    may_hold = pc.fill_null(pc.match_substring_regex(texts, f"{_TOKEN}|{_BYTES}|{_ESCAPES}"), False)
    rows = np.flatnonzero(np.asarray(may_hold) & (np.asarray(plain) == 0))
    found = [(row, inner) for row in rows for inner in decoded(texts[int(row)].as_py())]
    if not found:
        return plain
    counts: np.ndarray = np.asarray(plain).astype(np.int64)
    hidden = measures.card_numbers(pa.array([inner for _, inner in found], pa.string()))
    np.add.at(counts, [row for row, _ in found], np.asarray(hidden))
    return pa.array(np.minimum(counts, np.iinfo(np.int16).max), pa.int16())


def _once(text: str) -> Iterator[str]:
    if (unescaped := _ESCAPED.sub(lambda escapes: _text(_of_hex(escapes[0])), text)) != text:
        yield unescaped
    for token in _TOKENS.findall(text):
        for begin in range(4):
            yield from _READABLE.findall(_text(_of_base64(token[begin:])))
    for token in _HEXES.findall(text):
        yield from _READABLE.findall(_text(_of_hex(token)))


def _of_base64(token: str) -> bytes:
    whole = token[: len(token) - (len(token) % 4 == 1)]
    return binascii.a2b_base64(whole.translate(_URL_SAFE) + "=" * (-len(whole) % 4))


def _of_hex(token: str) -> bytes:
    return bytes.fromhex(re.sub("[^0-9A-Fa-f]", "", token))


def _text(raw: bytes) -> str:
    return raw.replace(b"\0", b"").decode("utf-8", "replace")
