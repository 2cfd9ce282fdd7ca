"""The manifest of a delivery: one canonical form, and each malformation refused in its own words (policy clause F1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import rfc8785

from governance.errors import ManifestError
from governance.sharing import manifests
from governance.sharing.manifests import LONGEST, Manifest, Part, acknowledgement, parse

pytestmark = pytest.mark.clause("F1")

ID, EARLIER, DIGEST = "a" * 64, "b" * 64, "c" * 64
PART = Part("rows.csv.001.p7m", "text/csv", 2_200, DIGEST, 1_000, DIGEST)
MANIFEST = Manifest(
    delivery_id=ID,
    kind="rows",
    recipient="clinic_nordic",
    contract_kind="health_provider",
    contract_version="1.0.0",
    purpose="contract",
    lawful_basis="GDPR 6(1)(b), 9(2)(a)",
    fields=("booking_reference", "given_name"),
    rows=12,
    parts=(PART,),
    created_at=datetime(2026, 3, 10, 9, tzinfo=UTC),
    signer_fingerprint=DIGEST,
    recipient_fingerprint=DIGEST,
    replaces=(EARLIER,),
)
DOCUMENT: dict[str, Any] = json.loads(MANIFEST.canonical())


def refused(document: object) -> str:
    """Why a document, in canonical form, is no manifest."""
    return refused_text(rfc8785.dumps(document))


def refused_text(text: bytes) -> str:
    with pytest.raises(ManifestError) as raised:
        parse(text)
    return str(raised.value)


# -- its form ----------------------------------------------------------------------------------------------------------


def test_a_manifest_is_this_document() -> None:
    assert MANIFEST.canonical().decode() == (
        '{"contract_kind":"health_provider","contract_version":"1.0.0","created_at":"2026-03-10T09:00:00Z",'
        f'"delivery_id":"{ID}","fields":["booking_reference","given_name"],"format":"wellbe-delivery/1","kind":"rows",'
        '"lawful_basis":"GDPR 6(1)(b), 9(2)(a)","parts":[{"bytes":2200,"format":"text/csv","name":"rows.csv.001.p7m",'
        f'"plaintext_bytes":1000,"plaintext_sha256":"{DIGEST}","sha256":"{DIGEST}"}}],"purpose":"contract",'
        f'"recipient":"clinic_nordic","recipient_fingerprint":"{DIGEST}","replaces":["{EARLIER}"],"rows":12,'
        f'"signer_fingerprint":"{DIGEST}"}}'
    )


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        replace(MANIFEST, replaces=()),
        replace(MANIFEST, kind="revocation", rows=1),
        replace(MANIFEST, parts=(PART, replace(PART, name="rows.csv.002.p7m"))),
        replace(MANIFEST, recipient="Kurhotell Åre", purpose="x" * 300),
    ],
)
def test_what_was_written_is_read_back(manifest: Manifest) -> None:
    assert parse(manifest.canonical()) == manifest


def test_an_acknowledgement_is_the_digest_of_the_manifest_and_a_newline() -> None:
    text = MANIFEST.canonical()
    assert acknowledgement(text) == hashlib.sha256(text).hexdigest().encode() + b"\n"
    assert MANIFEST.acknowledgement_name == f"{ID}.ack"


# -- malformations: of the text ----------------------------------------------------------------------------------------


def test_a_text_of_the_most_bytes_is_read_and_one_of_more_is_not() -> None:
    assert "not JSON" in refused_text(b" " * LONGEST)
    assert "longer than 8,388,608 bytes" in refused_text(b" " * (LONGEST + 1))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"a":', b"[" * 100_000])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    assert refused_text(text) == "the manifest is not JSON in UTF-8"


def test_what_is_no_object_is_refused() -> None:
    assert refused([DOCUMENT]) == "the manifest is no JSON object"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text + b"\n",
        lambda text: text.replace(b":", b": ", 1),
        lambda text: text.replace(b'"rows":12', b'"rows":12,"rows":12'),
        lambda text: text.replace(b'"rows":12', b'"rows":12.0'),
        lambda text: text.replace(b'"rows":12', b'"rows":9007199254740993'),
        lambda text: text.replace(b'"rows":12', b'"rows":NaN'),
        lambda text: text.replace(b'"contract"', b'"\\ud800"'),
        lambda text: text.replace(b'"contract"', b'"\\u0063ontract"'),
    ],
    ids=["newline", "space", "key twice", "float", "too large", "no number", "no text", "escape"],
)
def test_another_form_of_the_same_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    spoilt = spoil(MANIFEST.canonical())
    assert spoilt != MANIFEST.canonical()
    assert refused_text(spoilt) == "the manifest is not in canonical form (RFC 8785)"


# -- malformations: of the document ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["wellbe-delivery/2", 1, None])
def test_another_format_is_refused(version: object) -> None:
    assert refused({**DOCUMENT, "format": version}) == "the manifest is not of format wellbe-delivery/1"


@pytest.mark.parametrize("name", sorted(DOCUMENT.keys() - {"format"}))
def test_a_key_that_is_missing_is_named(name: str) -> None:
    assert refused({key: value for key, value in DOCUMENT.items() if key != name}) == f"the manifest lacks {name}"


def test_a_key_that_the_format_does_not_know_is_counted_and_not_quoted() -> None:
    assert refused({**DOCUMENT, "secret": 1}) == (
        "the manifest has 1 keys that format wellbe-delivery/1 does not know"
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(DOCUMENT.keys() - {"format"}))
def test_a_value_of_another_type_is_refused(name: str) -> None:
    kind = {int: "whole number", str: "text", list: "list"}[type(DOCUMENT[name])]
    assert refused({**DOCUMENT, name: None}) == f"the manifest: {name} is no {kind}"
    assert refused({**DOCUMENT, name: True}) == f"the manifest: {name} is no {kind}"


def test_a_part_that_is_no_object_is_refused() -> None:
    assert refused({**DOCUMENT, "parts": ["rows.csv.001.p7m"]}) == "the manifest: a part is no object"


@pytest.mark.parametrize("name", sorted(DOCUMENT["parts"][0]))
def test_a_key_that_a_part_lacks_is_named(name: str) -> None:
    part = {key: value for key, value in DOCUMENT["parts"][0].items() if key != name}
    assert refused({**DOCUMENT, "parts": [part]}) == f"a part of the manifest lacks {name}"


def test_a_key_that_no_part_has_is_refused() -> None:
    part = {**DOCUMENT["parts"][0], "secret": 1}
    assert refused({**DOCUMENT, "parts": [part]}).startswith("a part of the manifest has 1 keys")


@pytest.mark.parametrize("name", sorted(DOCUMENT["parts"][0]))
def test_a_value_of_another_type_in_a_part_is_refused(name: str) -> None:
    part = {**DOCUMENT["parts"][0], name: []}
    assert refused({**DOCUMENT, "parts": [part]}).startswith(f"a part of the manifest: {name} is no ")


@pytest.mark.parametrize(
    "at", ["2026-03-10", "2026-03-10T09:00:00+00:00", "2026-03-10T09:00:00.5Z", "2026-02-30T09:00:00Z"]
)
def test_an_instant_of_another_form_is_refused(at: str) -> None:
    assert refused({**DOCUMENT, "created_at": at}) == (
        "the manifest: created_at is no instant of the form 2026-03-10T09:00:00Z"
    )


# -- malformations: of what it says ------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an id that is short": ({"delivery_id": "a" * 63}, "delivery_id is not 64 hex digits"),
    "an id in capitals": ({"delivery_id": "A" * 64}, "delivery_id is not 64 hex digits"),
    "another kind": ({"kind": "erasure"}, "kind is neither rows nor revocation"),
    "no recipient": ({"recipient": ""}, "recipient is empty, not printable, or over 300 characters"),
    "a blank recipient": ({"recipient": " "}, "recipient is empty, not printable, or over 300 characters"),
    "a kind of no contract": ({"contract_kind": ""}, "contract_kind is empty, not printable, or over 300 characters"),
    "a version of two lines": (
        {"contract_version": "1\n"}, "contract_version is empty, not printable, or over 300 characters"
    ),
    "a purpose too long": ({"purpose": "x" * 301}, "purpose is empty, not printable, or over 300 characters"),
    "no basis": ({"lawful_basis": ""}, "lawful_basis is empty, not printable, or over 300 characters"),
    "no field": ({"fields": ()}, "it names no field"),
    "a field without a name": ({"fields": ("",)}, "the name of a field is no printable text"),
    "a field that is no text": ({"fields": (1,)}, "the name of a field is no printable text"),
    "a field twice": ({"fields": ("email", "email")}, "it names a field twice"),
    "no row": ({"rows": 0}, "rows is less than 1: an empty delivery is none"),
    "no part": ({"parts": ()}, "it names no part"),
    "two parts of one name": ({"parts": (PART, PART)}, "two parts have one name"),
    "an instant of no zone": ({"created_at": datetime(2026, 3, 10)}, "created_at is not whole seconds of UTC"),  # noqa: DTZ001
    "an instant of another zone": (
        {"created_at": datetime(2026, 3, 10, tzinfo=timezone(timedelta(hours=1)))},
        "created_at is not whole seconds of UTC",
    ),
    "a part of a second": (
        {"created_at": datetime(2026, 3, 10, microsecond=1, tzinfo=UTC)}, "created_at is not whole seconds of UTC"
    ),
    "another signer": ({"signer_fingerprint": "c" * 65}, "signer_fingerprint is not 64 hex digits"),
    "another recipient's": ({"recipient_fingerprint": "C:C"}, "recipient_fingerprint is not 64 hex digits"),
    "an earlier one of no id": ({"replaces": ("b",)}, "replaces holds what is not 64 hex digits"),
    "an earlier one that is no text": ({"replaces": (7,)}, "replaces holds what is not 64 hex digits"),
    "an earlier one twice": ({"replaces": (EARLIER, EARLIER)}, "replaces names a delivery twice"),
    "itself": ({"replaces": (ID,)}, "it replaces itself"),
    "a revocation of nothing": (
        {"kind": "revocation", "replaces": ()}, "a revocation names no delivery that it takes back"
    ),
}  # fmt: skip
WRONG_PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "a name with a folder": ({"name": "../rows"}, "name is not letters, digits, '.', '_' and '-', or over 100"),
    "a name that is an option": ({"name": "-rows"}, "name is not letters, digits, '.', '_' and '-', or over 100"),
    "a hidden name": ({"name": ".rows"}, "name is not letters, digits, '.', '_' and '-', or over 100"),
    "a name of two lines": ({"name": "rows\n"}, "name is not letters, digits, '.', '_' and '-', or over 100"),
    "a name too long": ({"name": "r" * 101}, "name is not letters, digits, '.', '_' and '-', or over 100"),
    "the manifest's name": ({"name": "manifest.json"}, "name is another file's"),
    "the signature's name": ({"name": "manifest.json.p7s"}, "name is another file's"),
    "an acknowledgement's name": ({"name": f"{ID}.ack"}, "name is another file's"),
    "no format": ({"format": ""}, "format is no printable text"),
    "no ciphertext": ({"bytes": 0}, "bytes is less than 1"),
    "a digest too short": ({"sha256": "c" * 63}, "sha256 is not 64 hex digits"),
    "no plaintext": ({"plaintext_bytes": 0}, "plaintext_bytes is less than 1"),
    "a digest that is none": ({"plaintext_sha256": "g" * 64}, "plaintext_sha256 is not 64 hex digits"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_in_a_manifest_is_said(case: str) -> None:
    changes, wrong = WRONG[case]
    with pytest.raises(ManifestError) as raised:
        replace(MANIFEST, **changes)
    assert str(raised.value) == f"the manifest: {wrong}"


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_what_is_wrong_in_a_part_is_said(case: str) -> None:
    changes, wrong = WRONG_PARTS[case]
    with pytest.raises(ManifestError) as raised:
        replace(MANIFEST, parts=(PART, replace(PART, **{"name": "other", **changes})))
    assert str(raised.value) == f"the manifest: a part: {wrong}"


@pytest.mark.parametrize("name", ["r" * 100, "r", "a.B-c_9"])
def test_a_part_may_have_a_name_that_every_shell_and_store_takes(name: str) -> None:
    assert replace(MANIFEST, parts=(replace(PART, name=name),)).parts[0].name == name


def test_every_rule_has_its_malformation_here() -> None:
    for rules, cases in ((manifests._RULES, WRONG), (manifests._PART_RULES, WRONG_PARTS)):
        assert {wrong for _, wrong in rules} == {wrong for _, wrong in cases.values()}


def test_what_is_wrong_in_a_text_is_said_as_in_a_manifest() -> None:
    assert refused({**DOCUMENT, "rows": 0}) == "the manifest: rows is less than 1: an empty delivery is none"
    part = {**DOCUMENT["parts"][0], "bytes": 0}
    assert refused({**DOCUMENT, "parts": [part]}) == "the manifest: a part: bytes is less than 1"
    assert refused({**DOCUMENT, "replaces": [[]]}) == "the manifest: replaces holds what is not 64 hex digits"
