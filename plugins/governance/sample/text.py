"""Short texts made in bulk: codes, telephone numbers, postcodes, references that look like card numbers and are
none.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from governance.sample.draws import Draws, Ints

LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = b"0123456789"
LOWER_AND_DIGITS = b"0123456789abcdefghijklmnopqrstuvwxyz"
LOCATOR = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789"

_PLAIN = str.maketrans({"ø": "o", "æ": "ae", "ß": "ss", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "œ": "oe"})


def fixed_text(characters: NDArray[np.uint8]) -> pa.Array:
    """Return a matrix of ASCII codes (rows x width) as texts."""
    count, width = characters.shape
    offsets = np.arange(count + 1, dtype=np.int32) * width
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(characters))]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def coded(numbers: Ints, alphabet: bytes, width: int) -> pa.Array:
    """Return each number written in an alphabet, the last `width` places."""
    table, base = np.frombuffer(alphabet, dtype=np.uint8), len(alphabet)
    characters = np.empty((len(numbers), width), dtype=np.uint8)
    rest = numbers.astype(np.uint64)
    for place in range(width - 1, -1, -1):
        rest, digit = np.divmod(rest, np.uint64(base))
        characters[:, place] = table[digit]
    return fixed_text(characters)


def hexadecimal(bits: NDArray[np.uint64]) -> pa.Array:
    """Return each number as 16 hexadecimal places."""
    pairs = np.frombuffer("".join(f"{n:02x}" for n in range(256)).encode(), dtype=np.uint16)
    octets = bits.astype(">u8").view(np.uint8).reshape(-1, 8)
    return fixed_text(pairs[octets].view(np.uint8).reshape(-1, 16))


def joined(*parts: pa.Array | str) -> pa.Array:
    """Return the parts of each row written one after the other; NULL where one is."""
    return pc.binary_join_element_wise(*parts, "")


def decimal(numbers: Ints) -> pa.Array:
    """Return each number in decimal places."""
    return pa.array(numbers, type=pa.int64()).cast(pa.string())


def patterned(pattern: str, bits: NDArray[np.uint64]) -> pa.Array:
    """Return a text per row after a pattern: 9 stands for a digit (the first is not 0), A for a letter."""
    characters = np.empty((len(bits), len(pattern)), dtype=np.uint8)
    rest = bits.copy()
    for place, sign in enumerate(pattern):
        if sign not in "9A":
            characters[:, place] = ord(sign)
            continue
        alphabet = DIGITS[1:] if sign == "9" and place == 0 else DIGITS if sign == "9" else LETTERS
        rest, drawn = np.divmod(rest, np.uint64(len(alphabet)))
        characters[:, place] = np.frombuffer(alphabet, dtype=np.uint8)[drawn]
    return fixed_text(characters)


def plain(name: str) -> str:
    """Return a name as it stands in an e-mail address: lower-case ASCII letters.

    >>> plain("Åsa"), plain("O'Neill"), plain("Żaneta"), plain("Олена")
    ('asa', 'oneill', 'zaneta', 'client')
    """
    folded = unicodedata.normalize("NFKD", name.lower().translate(_PLAIN))
    return "".join(sign for sign in folded if sign.isascii() and sign.isalpha()) or "client"


def luhn_valid(digits: str) -> bool:
    """Tell whether a number satisfies the Luhn check (ISO/IEC 7812-1, annex B).

    >>> luhn_valid("4242424242424242"), luhn_valid("4242424242424241")
    (True, False)
    """
    total = 0
    for place, sign in enumerate(reversed(digits)):
        value = int(sign) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def looks_like_card(digits: str) -> bool:
    """Tell whether any 13 to 19 neighbouring digits satisfy the Luhn check."""
    return any(
        luhn_valid(digits[start : start + length])
        for length in range(13, 20)
        for start in range(len(digits) - length + 1)
    )


@lru_cache(maxsize=4)
def references(seed: int) -> tuple[str, ...]:
    """Return numbers of 10 to 17 digits, as tickets and claims bear them, none of which looks like a card."""
    draws, found = Draws(seed, "references"), []
    bits = draws.bits("digits", np.arange(4000, dtype=np.int64))
    for number in bits.tolist():
        digits = f"{number:020d}"[-(10 + number % 8) :]
        if not looks_like_card(digits):
            found.append(digits)
    return tuple(found)
