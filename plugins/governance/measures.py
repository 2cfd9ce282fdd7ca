"""Facts about values that may not land: measured while they pass, so that the suite can judge without seeing them.

A measure counts or names; it never passes or fails a row (thresholds stay in `expectations/`). Every measure here is
linear in the length of its text: Arrow's regexes are RE2, and the digits of a whole column are scanned as one array of
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import email_validator
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Where card numbers begin and how long they are: first four digits from, until (inclusive), lengths.
# Source: ISO/IEC 7812 ranges as the schemes publish them. Maestro also issued 12 digits; those are left to chance.
CARD_SCHEMES: tuple[tuple[str, int, int, range | tuple[int, ...]], ...] = (
    ("Visa", 4000, 4999, (13, 16, 19)),
    ("Mastercard", 5100, 5599, (16,)),
    ("Mastercard", 2221, 2720, (16,)),
    ("American Express", 3400, 3499, (15,)),
    ("American Express", 3700, 3799, (15,)),
    ("Discover", 6011, 6011, range(16, 20)),
    ("Discover", 6440, 6599, range(16, 20)),
    ("Diners Club", 3000, 3059, range(14, 20)),
    ("Diners Club", 3600, 3699, range(14, 20)),
    ("Diners Club", 3800, 3899, range(14, 20)),
    ("JCB", 3528, 3589, range(16, 20)),
    ("UnionPay", 6200, 6299, range(16, 20)),
    ("Maestro", 5000, 5099, range(13, 20)),
    ("Maestro", 5600, 6999, range(13, 20)),
)
SHORTEST, LONGEST = 13, 19
LONGEST_PHONE = 15  # digits after a '+' (ITU-T E.164)
# How cards print their numbers: the digits at which a new group begins, per length. In groups of four, in halves,
# 4-6-4, 4-6-5.
LAYOUTS = {length: [(), tuple(range(4, length, 4))] for length in range(SHORTEST, LONGEST + 1)}
LAYOUTS[14] += [(4, 10)]
LAYOUTS[15] += [(4, 10)]
LAYOUTS[16] += [(8,)]

# The kinds of bytes that may stand between two digits of one number, and their allowed sequences.
SPACE, MARK, CR, LF, OTHER = 1, 2, 3, 4, 5
LINE_BREAKS = ((LF,), (CR,), (CR, LF))
SEPARATORS = (
    *((), (SPACE,), (MARK,), (SPACE, MARK, SPACE)),  # 4111 1111, 4111-1111, 4111_1111, 4111 - 1111
    # a number across a line break, with a separator left before it and an indent after it
    *(
        (*before, *newline, *after)
        for newline in LINE_BREAKS
        for before in ((), (SPACE,), (MARK,))
        for after in ((), (SPACE,))
    ),
)
WIDEST = max(map(len, SEPARATORS))

CVV_WORDS = (
    r"cvv2?|cvc2?|\bcid|\bcsc|\bcav2?|security\s+code|card\s+verification\s+(?:code|value|number)"
    r"|sakerhetskod(?:en)?|sikkerhe[dt]skoden?|kartenprufnummer|prufnummer|sicherheitscode"
    r"|cryptogramme(?:\s+visuel)?|code\s+de\s+securite"
)
# The word, at most 16 other characters, three or four digits that are not the beginning of a date or of a longer
# number.
CVV_MENTION = rf"(?i)(?:{CVV_WORDS})(?:[^0-9a-z][^0-9]{{0,16}})?[0-9]{{3,4}}(?:[^0-9./:-]|[./:-](?:[^0-9]|$)|$)"

BLOCK_BYTES = 8 << 20  # how much text is scanned at once; bounds the memory of a measure, whatever the batch's size
LONGEST_EMAIL = 254  # RFC 5321 section 4.5.3.1, as corrected by RFC 3696 erratum 1690
DECIMAL_ZEROS = (0x0660, 0x06F0, 0x0966, 0x09E6, 0x0E50)  # Arabic, Persian, Devanagari, Bengali, Thai; NFKD keeps them


def card_numbers(texts: pa.Array) -> pa.Array:
    """How many payment card numbers each text holds, written as people write them.

    `texts` is a string array of length n; the result is int16 of length n without NULL (a NULL text holds none).
    Counted is a Luhn-valid number of 13 to 19 digits that begins like a card scheme's and is as long as that scheme's,
    whose digits follow each other directly or with one separator (space, dash, dot, low line, slash, one of the last
    four between spaces, line break, %20), and that is not part of a longer run of digits; overlapping readings count
    once. Where other digits stand beside it, it has to be grouped as on a card (4111 1111 1111 1111 12/27). Full-width
    and other Unicode digits count as digits.

    Not found: numbers cut by letters or by two blanks. Found though no card: one in ten numbers of such a beginning and
    length, which is all that Luhn's digit can tell (one in 25 of random 16 digits, one in ten Swedish IBANs in groups
    of four). A telephone number behind a '+' is none. Source: ISO/IEC 7812-1 annex B; policy clause K4.

    >>> card_numbers(pa.array(["pay with 4111 1111 1111 1111 please", "booking 4111111111111112", None])).to_pylist()
    [1, 0, 0]
    """
    counts: np.ndarray = np.zeros(len(texts), np.int64)
    for rows, block in _with_digits(texts, SHORTEST):
        written = pc.replace_substring(block, "%20", " ")
        np.add.at(counts, rows[_card_rows(written)], 1)
    return _saturated(counts)


def cvv_mentions(texts: pa.Array) -> pa.Array:
    """How many card verification codes each text seems to hold: a word for it, closely followed by three or four
    digits.

    `texts` is a string array of length n; the result is int16 of length n without NULL. The words are English, Swedish,
    Norwegian, Danish, German and French; case, accents and full-width letters do not matter. A bare "123" is not found:
    nothing tells it from any other number. Source: policy clause K4 (a CVV is never stored); PCI DSS requirement 3.3.

    >>> cvv_mentions(pa.array(["CVV: 123", "säkerhetskoden är 1234", "cvc skickas 2026-11-23", None])).to_pylist()
    [1, 1, 0, 0]
    """
    counts: np.ndarray = np.zeros(len(texts), np.int64)
    for rows, block in _with_digits(texts, 3):
        counts[rows] = pc.count_substring_regex(block, CVV_MENTION)
    return _saturated(counts)


def email_defects(emails: pa.Array) -> pa.Array:
    """What is wrong with each e-mail address: 'none', 'missing' (NULL or blank) or 'syntax'.

    `emails` is a string array of length n; the result is a string array of length n without NULL. Nothing is looked up:
    whether the domain exists is not known. Domains reserved for examples are sound; a domain without a dot, and one
    that no mail can reach by definition (`localhost`, `.invalid`, `.test` ...), is not. Source: RFC 5321, 5322 and 6531
    as the library email-validator reads them; GDPR article 5(1)(d).

    >>> email_defects(pa.array(["anna@example.com", "anna@example", "anna at example.com", " ", None])).to_pylist()
    ['none', 'syntax', 'syntax', 'missing', 'missing']
    """
    encoded = pc.dictionary_encode(_flat(emails))
    defects = pa.array([_email_defect(email) for email in encoded.dictionary.to_pylist()], pa.string())
    return pc.fill_null(defects.take(encoded.indices), "missing")


def _email_defect(email: str) -> str:
    if not email.strip():
        return "missing"
    if len(email) > LONGEST_EMAIL:  # also keeps the library's work per address bounded
        return "syntax"
    try:
        email_validator.validate_email(email, check_deliverability=False)
    except email_validator.EmailNotValidError:
        return "syntax"
    return "none"


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _saturated(counts: np.ndarray) -> pa.Array:
    return pa.array(np.minimum(counts, np.iinfo(np.int16).max), pa.int16())


def _with_digits(texts: pa.Array, at_least: int) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """The rows whose text has so many digits of any script, with their folded texts, block by block."""
    texts = _flat(texts)
    hits = np.array(pc.fill_null(pc.match_substring_regex(texts, rf"(?:[0-9][^0-9]*){{{at_least}}}"), False))
    # To repeat a class of Unicode, which is large, takes milliseconds before the first text: those digits are counted.
    foreign = np.flatnonzero(~np.asarray(pc.fill_null(pc.string_is_ascii(texts), True)) & ~hits)
    digits = pc.count_substring_regex(texts.take(pa.array(foreign)), r"\p{N}")
    hits[foreign] = np.asarray(digits) >= at_least
    rows = np.flatnonzero(hits)
    found = texts.take(pa.array(rows)).cast(pa.large_string())
    size: np.ndarray = np.cumsum(np.asarray(pc.binary_length(found)))
    for block in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(size // BLOCK_BYTES)) + 1):
        if len(block):
            yield rows[block], _folded(found.slice(block[0], len(block)))


def _folded(texts: pa.Array) -> pa.Array:
    """Texts with accents, width, script of digits and kinds of space and dash taken away; ASCII texts as they are."""
    foreign = pc.invert(pc.string_is_ascii(texts))
    folded = texts.filter(foreign)
    # Marks go first: normalising a long run of them takes quadratic time, and a client may write what a client likes.
    for step in ("strip", "decompose", "strip"):
        if step == "strip":
            folded = pc.replace_substring_regex(folded, r"[\p{M}\p{Cf}]+", "")
        else:
            folded = pc.utf8_normalize(folded, "NFKD")
    for kinds, plain in ((r"[\p{Pd}\x{2212}]", "-"), (r"\p{Zs}", " "), (r"[\p{Zl}\p{Zp}\x{85}]", "\n"), ("[·•∙]", ".")):
        folded = pc.replace_substring_regex(folded, kinds, plain)
    if pc.any(pc.match_substring_regex(folded, "[^\\P{Nd}0-9]")).as_py():
        for zero in DECIMAL_ZEROS:
            for digit in range(10):
                folded = pc.replace_substring(folded, chr(zero + digit), str(digit))
    return pc.replace_with_mask(texts, foreign, folded)


@dataclass(frozen=True)
class _Digits:
    """All digits of a block of texts, in order: value, row, chain; whether a run begins or ends there, or follows a
    '+'.

    A chain is a longest sequence of digits that one separator at most parts; a run is one that nothing parts.
    """

    value: np.ndarray
    row: np.ndarray
    chain: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    follows_plus: np.ndarray


def _card_rows(texts: pa.Array) -> np.ndarray:
    """The row of each card number in the texts (large_string, no NULL), one element per number."""
    digits = _digits(texts)
    numbers = sorted(((end, begin) for begin, end in _numbers(digits)), key=lambda n: (n[0], -n[1]))
    rows: list[int] = []
    free_from = 0
    for end, begin in numbers:  # the largest set of readings that do not overlap: always take the one that ends first
        if begin >= free_from:
            rows.append(int(digits.row[begin]))
            free_from = end + 1
    result: np.ndarray = np.array(rows, np.int64)
    return result


def _digits(texts: pa.Array) -> _Digits:
    _, offsets, data = texts.buffers()
    limits: np.ndarray = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    text: np.ndarray = np.frombuffer(data, np.uint8)[limits[0] : limits[-1]]
    at = np.flatnonzero((text >= ord("0")) & (text <= ord("9")))
    row: np.ndarray = np.asarray(np.searchsorted(limits[1:] - limits[0], at, side="right"))
    step, same_row = np.diff(at), np.diff(row) == 0
    code: np.ndarray = np.zeros(len(step), np.int64)
    for between in range(1, WIDEST + 1):
        kind = _KINDS[text[np.minimum(at[:-1] + between, len(text) - 1)]]
        code = np.where(between < step, code * (OTHER + 1) + kind, code)
    joined = same_row & (step <= WIDEST + 1) & _IS_SEPARATOR[code]
    parted = ~(same_row & (step == 1))
    ends: np.ndarray = np.append(parted, True)
    follows_plus = (at > (limits - limits[0])[row]) & (text[at - 1] == ord("+"))
    return _Digits(
        text[at] - ord("0"), row, np.append(0, np.cumsum(~joined)), np.append(True, parted), ends, follows_plus
    )


def _numbers(digits: _Digits) -> Iterator[tuple[int, int]]:
    """First and last digit of everything that reads as a card number."""
    value: np.ndarray = digits.value.astype(np.int64)
    doubled = np.where(value > 4, value * 2 - 9, value * 2)
    is_odd = np.arange(len(value)) % 2 == 1
    # Luhn doubles every second digit from the right: which those are depends only on whether the last position is odd.
    sums: list[np.ndarray] = [
        np.append(0, np.cumsum(np.where(is_odd == last_odd, value, doubled))) for last_odd in (False, True)
    ]
    begins = np.flatnonzero(digits.begins)
    for length in range(SHORTEST, LONGEST + 1):
        first = begins[begins <= len(value) - length]
        last = first + length - 1
        whole = digits.ends[last] & (digits.chain[first] == digits.chain[last])
        first, last = first[whole], last[whole]
        prefix = value[first] * 1000 + value[first + 1] * 100 + value[first + 2] * 10 + value[first + 3]
        total = np.where(is_odd[last], sums[1][last + 1] - sums[1][first], sums[0][last + 1] - sums[0][first])
        is_card = _IS_SCHEME[prefix, length] & (total % 10 == 0)
        first, last = first[is_card], last[is_card]
        written = _is_written_as_one(digits, first, last) & ~(digits.follows_plus[first] & (length <= LONGEST_PHONE))
        yield from zip(first[written].tolist(), last[written].tolist(), strict=True)


def _is_written_as_one(digits: _Digits, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Whether each reading (all of one length) is all that its chain holds, or has the groups of a card.

    Without this, every third pair of telephone numbers would hold a card number.
    """
    last_chain = len(digits.chain) - 1
    opens = (first == 0) | (digits.chain[first - 1] != digits.chain[first])
    closes = (last == last_chain) | (digits.chain[np.minimum(last + 1, last_chain)] != digits.chain[last])
    result: np.ndarray = opens & closes
    groups: np.ndarray = np.cumsum(digits.begins)
    for layout in LAYOUTS[int(last[0] - first[0]) + 1] if len(first) else ():
        fits = groups[last] - groups[first] == len(layout)
        for at in layout:
            fits &= digits.begins[first + at]
        result |= fits
    return result


def _scheme_table() -> np.ndarray:
    table: np.ndarray = np.zeros((10_000, LONGEST + 1), bool)
    for _, low, high, lengths in CARD_SCHEMES:
        table[low : high + 1, list(lengths)] = True
    return table


def _separator_tables() -> tuple[np.ndarray, np.ndarray]:
    """The kind of each byte, and whether a sequence of kinds, read as a number of base 6, is a separator."""
    kinds = np.full(256, OTHER)
    for kind, members in ((SPACE, " \t"), (MARK, "-._/"), (CR, "\r"), (LF, "\n")):
        kinds[[ord(member) for member in members]] = kind
    allowed = np.zeros((OTHER + 1) ** WIDEST, bool)
    for sequence in SEPARATORS:
        allowed[int("0" + "".join(map(str, sequence)), OTHER + 1)] = True
    return kinds, allowed


_IS_SCHEME = _scheme_table()
_KINDS, _IS_SEPARATOR = _separator_tables()
