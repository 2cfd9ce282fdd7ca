"""What of a text can be written where a format or its readers do not take every character. Pure.

JSON Lines keep a text exactly. CSV and FHIR are written without what no reader shows and many break at: control
characters but tab, line feed and carriage return (a NUL ends a file for programs in C, U+001A on Windows),
noncharacters (XML 1.0 has none), the byte order mark. What breaks a line without being a line feed becomes a space, for
half of all readers would cut a line there. Composed and decomposed letters stay as they are: a name is what was given.
"""

from __future__ import annotations

import re

LONGEST = 1024 * 1024
"""Characters of a text that can be handed over: of a `string` of FHIR R4 (datatypes), and of the other formats too."""

_BREAKS = "\x0b\x0c\x1c-\x1f\x85\u2028\u2029"
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17)
)
_DROPPED = f"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff{_NONCHARACTERS}"
UNREADABLE = f"{_DROPPED}{_BREAKS}"
"""What `readable` takes out or replaces, as it stands in a class of a regular expression."""
_SPACES = "\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"

_IS_DROPPED = re.compile(f"[{_DROPPED}]")
_IS_BREAK = re.compile(f"[{_BREAKS}]")
_IS_UNREADABLE = re.compile(f"[{UNREADABLE}]")
_IS_SPACE = re.compile(f"[{_SPACES}]")


def readable(text: str) -> str:
    r"""A text without what breaks readers.

    >>> readable("Anna\x00\u2028Svensson")
    'Anna Svensson'
    """
    if not _IS_UNREADABLE.search(text):
        return text
    return _IS_BREAK.sub(" ", _IS_DROPPED.sub("", text))


def trimmed(text: str) -> str | None:
    r"""A text as a `string` of FHIR R4 may be (`[ \r\n\t\S]+`), trimmed; None where nothing is left of it.

    Every space but U+0020 becomes one, for what `\S` means differs between languages.

    >>> trimmed("\u3000山田\u3000花子 "), trimmed(" \x00")
    ('山田 花子', None)
    """
    return _IS_SPACE.sub(" ", readable(text)).strip() or None
