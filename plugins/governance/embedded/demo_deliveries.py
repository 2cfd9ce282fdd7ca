"""What the recipients of a demo have got: opened in their place with openssl and their own keys, and compared with what
the source says that they may have.

Every direct field of a canary is a token found nowhere else. So the tokens in a delivery tell which fields of whom are
in it: exactly those of the contract, of exactly the canaries that may go, or else there is a problem.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from governance.commands.reading import rows
from governance.embedded import demo_recipients, workspaces
from governance.embedded.site import Site
from governance.sample import canaries
from governance.sharing import contract_files
from governance.sharing.cms import OPENSSL
from governance.sharing.fhir import PLACES
from governance.sharing.identities import Identities
from governance.sharing.manifests import ROWS
from governance.sharing.outbox import ACKNOWLEDGEMENT, MANIFEST, SIGNATURE
from governance.sharing.portions import MEDIA_TYPES
from governance.sharing.register import Recipient
from governance.sources import named_query

TOKENS: Mapping[str, tuple[str, ...]] = {
    "health": ("booking_travellers.given_name1", "booking_travellers.family_name1", "clients.email"),
    "travel": (
        "booking_travellers.given_name1", "booking_travellers.family_name1", "booking_travellers.given_name2",
        "booking_travellers.family_name2", "booking_services.itinerary",
    ),
}  # fmt: skip
"""Fields whose tokens a kind of provider gets: of a health service the first traveller, its patient, and how to reach
the client; of a travel service everybody who travels, and the itinerary."""

_OWN_TO_FHIR = {
    "Patient": {"resourceType"},
    "Appointment": {"resourceType", "id", "status", "participant", "specialty"},
}
"""Elements that say nothing of anybody, or, the specialty, no more than the code of the procedure."""


@dataclass(frozen=True)
class Opened:
    """A delivery as its recipient has it: the manifest, and what was sealed, by media type."""

    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines of the file that has JSON."""
        (lines,) = (content for kind, content in self.files.items() if kind != MEDIA_TYPES["csv"])
        return [json.loads(line) for line in lines.splitlines()]


@dataclass(frozen=True)
class Look:
    """What one recipient has got: figures, and what is wrong."""

    name: str
    contract: str
    deliveries: int
    rows: int
    fields: int
    canaries_in: int
    canaries_out: int
    kept_out: int  # bookings with this provider that must not go
    problems: tuple[str, ...]

    @property
    def line(self) -> str:
        """The figures in words."""
        return (
            f"{self.name:<13}{self.deliveries:>3} deliveries of {self.rows:,} rows, {self.fields} fields as "
            f"{self.contract} says; {self.canaries_in} canaries in, {self.canaries_out} out; "
            f"{self.kept_out} bookings that must not go did not"
        )


def look(site: Site, seed: int, days: Sequence[date]) -> list[Look]:
    """Open everything that the recipients of a demo have got of a sample, compare it, and acknowledge it."""
    policy = workspaces.workspace(site).policy
    looks = []
    for name in demo_recipients.KINDS:
        recipient = policy.all_recipients[name]
        contract = contract_files.load(recipient.kind, recipient.contract, policy.sharing)
        fields = [column.name for column in contract.travelling(recipient.options)]
        provider = policy.sharing.kinds[recipient.kind].provider
        with tempfile.TemporaryDirectory(prefix="recipient-") as scratch:
            got = [one for one in opened(site, name, Path(scratch)) if one.manifest["kind"] == ROWS]
        expected = _Expected(site, recipient, provider, seed, tuple(days))
        looks.append(_compared(name, contract.label, fields, got, expected))
        acknowledge(demo_recipients.folder_of(site, name))
    return looks


def legible(site: Site, seed: int, days: Sequence[date]) -> int:
    """How many tokens of canaries can be read in what lies in the outboxes, without any key."""
    lying = demo_recipients.folder_of(site, "all").parent.rglob("*")
    tokens = canaries.canary_tokens(seed, *days)
    return len(set().union(*(_tokens_in(path.read_bytes(), tokens) for path in lying if path.is_file())))


# -- a recipient's part, as docs/deliveries.md has it ------------------------------------------------------------------


def opened(site: Site, name: str, scratch: Path) -> Iterator[Opened]:
    """Every delivery in the outbox of a recipient of the demo, verified and opened. Raises CalledProcessError."""
    ours = scratch / "wellbe.pem"
    ours.write_text("".join(Identities.load(site.identity_path).certificates))
    kept = workspaces.workspace(site).certificates().kept(name)
    theirs = {}
    for one in kept:
        fingerprint = one.certificate.fingerprint
        if (key := demo_recipients.key_of(site, name, fingerprint)).exists():
            theirs[fingerprint] = scratch / f"{fingerprint}.pem"
            theirs[fingerprint].write_bytes(one.pem + key.read_bytes())
    for manifest in sorted(demo_recipients.folder_of(site, name).glob(f"[!.]*/{MANIFEST}")):
        told = json.loads(manifest.read_bytes())
        if told["recipient_fingerprint"] in theirs:  # those of a site that was set aside are not
            yield _opened(manifest.parent, ours, theirs)


def _opened(delivery: Path, ours: Path, theirs: Mapping[str, Path]) -> Opened:
    trusted = ["-nointern", "-certfile", str(ours), "-CAfile", str(ours), "-no-CApath", "-no-CAstore"]
    verify = ["-verify", "-binary", "-inform", "DER", *trusted]
    _openssl(*verify, "-in", str(delivery / SIGNATURE), "-content", str(delivery / MANIFEST), "-out", os.devnull)
    manifest = json.loads((delivery / MANIFEST).read_bytes())
    key = theirs[manifest["recipient_fingerprint"]]
    files: dict[str, bytes] = {}
    for part in manifest["parts"]:
        inner = ours.with_name("inner.der")
        _openssl("-decrypt", "-binary", "-inform", "DER", "-in", str(delivery / part["name"]), "-recip", str(key),
                 "-inkey", str(key), "-out", str(inner))  # fmt: skip
        plain = _openssl(*verify, "-in", str(inner))
        if hashlib.sha256(plain).hexdigest() == part["plaintext_sha256"]:
            files[part["format"]] = files.get(part["format"], b"") + plain
    return Opened(manifest, files)


def _openssl(*arguments: str) -> bytes:
    return subprocess.run([OPENSSL, "cms", *arguments], check=True, capture_output=True).stdout


def acknowledge(folder: Path) -> None:
    """Say of every delivery in an outbox that it has been received, as its recipient does."""
    for manifest in folder.glob(f"[!.]*/{MANIFEST}"):
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
        (folder / f"{manifest.parent.name}{ACKNOWLEDGEMENT}").write_text(f"{digest}\n")


# -- comparing ---------------------------------------------------------------------------------------------------------


class _Expected:
    """What a recipient may have of a sample, by its source."""

    def __init__(
        self, site: Site, recipient: Recipient, provider: Literal["health", "travel"], seed: int, days: tuple[date, ...]
    ) -> None:
        dsn, who = site.dsn("wellbe_owner"), {"provider": recipient.provider_id, "kind": provider}
        self.provider = provider
        places = {id_: (day, number) for day in days for number, id_ in enumerate(canaries.bookings(day))}
        may_go = dict(rows(dsn, named_query("demo_canaries"), {**who, "bookings": list(places)}))
        self.canaries = [place for booking, place in places.items() if may_go.get(booking)]
        self.others = len(places) - len(self.canaries)
        # Fictitious phone numbers are few: one that somebody else has too tells nobody apart.
        shared = {phone for (phone,) in rows(dsn, named_query("demo_shared_phones"))}
        self.tokens = {token for place in self.canaries for token in _tokens_of(provider, seed, *place)} - shared
        self.every_token = [token for token in canaries.canary_tokens(seed, *days) if token not in shared]
        must_not = rows(dsn, named_query("demo_kept_out"), who)
        self.kept_out = len({booking for booking, *_ in must_not})
        self.people_kept_out = {tuple(person) for _, *person in must_not}


def _tokens_of(provider: str, seed: int, day: date, number: int) -> Iterator[str]:
    for name in TOKENS[provider]:
        if number % 2 or not name.endswith("2"):  # every other canary has a child along
            yield canaries.token(seed, day, number, name)
    if provider == "health":
        yield canaries.phone(seed, day, number, "phone")


def _compared(name: str, contract: str, fields: list[str], got: list[Opened], expected: _Expected) -> Look:
    content = b"".join(content for one in got for content in one.files.values())
    found = _tokens_in(content, expected.every_token)
    people = [person for one in got for person in _people(one)]
    told = sum(one.manifest["rows"] for one in got)
    counts = {
        "tokens of canaries that may go are missing": len(expected.tokens - found),
        "tokens of canaries or fields that must not go are there": len(found - expected.tokens),
        "people of bookings that must not go are there": len(expected.people_kept_out & set(people)),
        "deliveries have other fields than the contract": sum(not _is_as_agreed(one, fields) for one in got),
        "deliveries have other rows than their manifests say": sum(_row_count(o) != o.manifest["rows"] for o in got),
    }
    problems = [f"{name}: {number} {what}" for what, number in counts.items() if number]
    if not (got and expected.canaries):
        problems.append(f"{name}: nothing was delivered, or no canary may go, so that nothing is shown")
    figures = (len(got), told, len(fields), len(expected.canaries), expected.others, expected.kept_out)
    return Look(name, contract, *figures, problems=tuple(problems))


def _tokens_in(content: bytes, tokens: Sequence[str]) -> set[str]:
    """Which of the tokens can be read."""
    words = {word.decode() for word in re.findall(rb"Zq[a-z]{8}", content)}
    return {token for token in tokens if token in words or (not token.startswith("Zq") and token.encode() in content)}


def _row_count(one: Opened) -> int:
    if MEDIA_TYPES["fhir"] not in one.files:
        return len(one.objects)
    return sum(resource["resourceType"] == "Appointment" for bundle in one.objects for resource in _resources(bundle))


def _people(one: Opened) -> Iterator[tuple[str, ...]]:
    """Given name, family name, and since when the booking is as it is."""
    for found in one.objects:
        if MEDIA_TYPES["fhir"] not in one.files:
            yield found["given_name"], found["family_name"], found["booking_changed_at"]
            continue
        resources = _resources(found)
        (changed,) = (r["occurredDateTime"] for r in resources if r["resourceType"] == "Provenance")
        names = (r["name"][0] for r in resources if r["resourceType"] == "Patient")
        yield from ((name["given"][0], name["family"], changed) for name in names)


def _is_as_agreed(one: Opened, fields: list[str]) -> bool:
    """Whether a delivery has the fields of the contract, in its manifest and its files, and none beside them."""
    if one.manifest["fields"] != fields:
        return False
    if MEDIA_TYPES["fhir"] not in one.files:
        (head, *_) = csv.reader(one.files[MEDIA_TYPES["csv"]].decode("utf-8-sig").splitlines()[:1])
        return head == fields and all(set(found) == set(fields) for found in one.objects)
    places = [PLACES[field][1].split(" ")[0].split(".")[:2] for field in fields]
    may = {kind: own | {element for of, element in places if of == kind} for kind, own in _OWN_TO_FHIR.items()}
    return all(
        resource["resourceType"] == "Provenance" or resource.keys() <= may[resource["resourceType"]]
        for bundle in one.objects
        for resource in _resources(bundle)
    )


def _resources(bundle: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"]]
