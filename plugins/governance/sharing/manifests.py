"""The manifest of a delivery: what it holds, for whom, why, and what it replaces (clause F1). Pure.

One JSON document in canonical form (RFC 8785), signed apart (`cms.sign`). It names every part by the digests of its
ciphertext and of its rows, so that whoever has verified the manifest's signature has verified the parts too; it names
both certificates, so that a part cannot be passed on to somebody else as if it were meant for him. It holds no personal
data: counts, names and digests.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import rfc8785

from governance.errors import ManifestError

FORMAT = "wellbe-delivery/1"
MANIFEST, SIGNATURE, ACKNOWLEDGEMENT = "manifest.json", "manifest.json.p7s", ".ack"
ROWS, REVOCATION = "rows", "revocation"
LONGEST = 8 * 1024 * 1024
"""Bytes of a manifest."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Part:
    """One sealed file: its name and ciphertext (`bytes`, `sha256`), and the rows in it (`plaintext_*`).

    Joined in the order of the manifest, the parts of one format are one file. Digests are SHA-256 in hex.
    """

    name: str
    format: str  # a media type
    bytes: int
    sha256: str
    plaintext_bytes: int
    plaintext_sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a delivery is. Raises ManifestError for one that nobody could read back.

    `fields`: the columns, in the contract's order; `replaces`: earlier deliveries that this one amends or takes back;
    fingerprints are SHA-256 of a certificate's DER, in hex.
    """

    delivery_id: str
    kind: str  # rows, revocation
    recipient: str
    contract_kind: str
    contract_version: str
    purpose: str
    lawful_basis: str
    fields: tuple[str, ...]
    rows: int
    parts: tuple[Part, ...]
    created_at: datetime  # UTC, whole seconds
    signer_fingerprint: str
    recipient_fingerprint: str
    replaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for holds, wrong in _RULES:
            if not holds(self):
                raise ManifestError(f"the manifest: {wrong}")
        for part in self.parts:
            for part_holds, wrong in _PART_RULES:
                if not part_holds(part):
                    raise ManifestError(f"the manifest: a part: {wrong}")

    def canonical(self) -> bytes:
        """The bytes that are signed: `manifest.json`."""
        document = {**asdict(self), "format": FORMAT, "created_at": f"{self.created_at:%Y-%m-%dT%H:%M:%SZ}"}
        text: bytes = rfc8785.dumps(document)
        return text

    @property
    def acknowledgement_name(self) -> str:
        """The file that the recipient writes beside the manifest."""
        return f"{self.delivery_id}{ACKNOWLEDGEMENT}"


def acknowledgement(manifest: bytes) -> bytes:
    """What acknowledges a manifest: its SHA-256 in hex, and a newline.

    >>> acknowledgement(b"{}")[:10]
    b'44136fa355'
    """
    return f"{hashlib.sha256(manifest).hexdigest()}\n".encode()


def parse(text: bytes) -> Manifest:
    """The manifest of canonical bytes. Raises ManifestError, which says what is wrong and quotes nothing."""
    document = _document(text)
    if document.get("format") != FORMAT:
        raise ManifestError(f"the manifest is not of format {FORMAT}")
    _require_keys("the manifest", document, {*_TYPES, "format"})
    _require_types("the manifest", document, _TYPES)
    for part in document["parts"]:
        if not isinstance(part, dict):
            raise ManifestError("the manifest: a part is no object")
        _require_keys("a part of the manifest", part, _PART_TYPES.keys())
        _require_types("a part of the manifest", part, _PART_TYPES)
    named = {name: document[name] for name in _TYPES}
    return Manifest(
        **{
            **named,
            "fields": tuple(named["fields"]),
            "replaces": tuple(named["replaces"]),
            "parts": tuple(Part(**part) for part in named["parts"]),
            "created_at": _instant(named["created_at"]),
        }
    )


# -- its form ----------------------------------------------------------------------------------------------------------

_TYPES: Mapping[str, type] = MappingProxyType(
    {field.name: {"int": int, "str": str, "datetime": str}.get(str(field.type), list) for field in fields(Manifest)}
)
"""JSON's type of each key."""
_PART_TYPES: Mapping[str, type] = MappingProxyType(
    {field.name: {"int": int, "str": str}[str(field.type)] for field in fields(Part)}
)
_TYPE_NAMES: Mapping[type, str] = MappingProxyType({int: "whole number", str: "text", list: "list"})


def _document(text: bytes) -> dict[str, Any]:
    if len(text) > LONGEST:
        raise ManifestError(f"the manifest is longer than {LONGEST:,} bytes")
    try:
        document = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ManifestError("the manifest is not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise ManifestError("the manifest is no JSON object")
    if _canonical(document) != text:
        raise ManifestError("the manifest is not in canonical form (RFC 8785)")
    return document


def _canonical(document: dict[str, Any]) -> bytes | None:
    try:
        text: bytes = rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, RecursionError):  # a number, a text that has none
        return None
    return text


def _require_keys(what: str, document: dict[str, Any], known: Any) -> None:
    missing, strange = sorted(known - document.keys()), document.keys() - known
    if missing:
        raise ManifestError(f"{what} lacks {', '.join(missing)}")
    if strange:
        raise ManifestError(f"{what} has {len(strange)} keys that format {FORMAT} does not know")


def _require_types(what: str, document: dict[str, Any], types: Mapping[str, type]) -> None:
    for name, kind in types.items():
        if type(document[name]) is not kind:
            raise ManifestError(f"{what}: {name} is no {_TYPE_NAMES[kind]}")


def _instant(text: str) -> datetime:
    try:
        if _INSTANT.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:  # such as the 30th of February
        pass
    raise ManifestError("the manifest: created_at is no instant of the form 2026-03-10T09:00:00Z")


# -- its rules ---------------------------------------------------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value.strip()) <= len(value) <= _LONGEST_TEXT


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _are_distinct(values: tuple[Any, ...]) -> bool:
    return len(set(values)) == len(values)


def _is_whole_second(at: datetime) -> bool:
    return at.utcoffset() == timedelta(0) and at.microsecond == 0


_TEXTS = ("recipient", "contract_kind", "contract_version", "purpose", "lawful_basis")


def _text_rule(name: str) -> tuple[Callable[[Manifest], bool], str]:
    return lambda m: _is_text(getattr(m, name)), f"{name} is empty, not printable, or over {_LONGEST_TEXT} characters"


_RULES: tuple[tuple[Callable[[Manifest], bool], str], ...] = (
    (lambda m: _is_digest(m.delivery_id), "delivery_id is not 64 hex digits"),
    (lambda m: m.kind in (ROWS, REVOCATION), f"kind is neither {ROWS} nor {REVOCATION}"),
    *map(_text_rule, _TEXTS),
    (lambda m: len(m.fields) > 0, "it names no field"),
    (lambda m: all(map(_is_text, m.fields)), "the name of a field is no printable text"),
    (lambda m: _are_distinct(m.fields), "it names a field twice"),
    (lambda m: m.rows > 0, "rows is less than 1: an empty delivery is none"),
    (lambda m: len(m.parts) > 0, "it names no part"),
    (lambda m: _are_distinct(tuple(part.name for part in m.parts)), "two parts have one name"),
    (lambda m: _is_whole_second(m.created_at), "created_at is not whole seconds of UTC"),
    (lambda m: _is_digest(m.signer_fingerprint), "signer_fingerprint is not 64 hex digits"),
    (lambda m: _is_digest(m.recipient_fingerprint), "recipient_fingerprint is not 64 hex digits"),
    (lambda m: all(map(_is_digest, m.replaces)), "replaces holds what is not 64 hex digits"),
    (lambda m: _are_distinct(m.replaces), "replaces names a delivery twice"),
    (lambda m: m.delivery_id not in m.replaces, "it replaces itself"),
    (lambda m: m.kind != REVOCATION or len(m.replaces) > 0, "a revocation names no delivery that it takes back"),
)
_PART_RULES: tuple[tuple[Callable[[Part], bool], str], ...] = (
    (lambda p: _NAME.fullmatch(p.name) is not None, "name is not letters, digits, '.', '_' and '-', or over 100"),
    (lambda p: p.name not in (MANIFEST, SIGNATURE) and not p.name.endswith(ACKNOWLEDGEMENT), "name is another file's"),
    (lambda p: _is_text(p.format), "format is no printable text"),
    (lambda p: p.bytes > 0, "bytes is less than 1"),
    (lambda p: _is_digest(p.sha256), "sha256 is not 64 hex digits"),
    (lambda p: p.plaintext_bytes > 0, "plaintext_bytes is less than 1"),
    (lambda p: _is_digest(p.plaintext_sha256), "plaintext_sha256 is not 64 hex digits"),
)
