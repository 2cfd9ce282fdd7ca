"""Recipients of a test's site: a clinic and a travel agency with folders, and what they find there, opened as they
would: with their own key and openssl alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import builders
from builders import NOW, World
from governance.embedded.demo_deliveries import Opened
from governance.embedded.site import Site
from governance.sharing import demo_certificates, folders
from governance.sharing.certificate_folder import CertificateFolder
from governance.sharing.outbox import ACKNOWLEDGEMENT, MANIFEST, SIGNATURE
from governance.sharing.register import Recipient
from governance.steps import Workspace

CLINIC, AGENCY = "clinic", "agency"
TRAVEL = {"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "Malmö to Nice and back"}


@cache
def certified(name: str) -> tuple[bytes, bytes]:
    """A recipient's certificate and private key, made once a test process."""
    return demo_certificates.made(name, NOW)


def registered(folder: Path, provider: int = 1, **changes: Any) -> Recipient:
    """A recipient with an agreement for the year, whose outbox is a folder."""
    kind = "health_provider" if provider == 1 else "travel_provider"
    entry = {
        "name": f"Provider {provider}",
        "kind": kind,
        "provider_id": provider,
        "contract": "1.0.0",
        "agreed_from": date(2026, 1, 1),
        "agreed_until": date(2026, 12, 31),
        "country_code": "SE",
        "endpoint": folder.as_uri(),
        "acknowledgement_hours": 48,
    }
    return Recipient(**{**entry, **changes})


def sharing(site: Site, register: Mapping[str, Recipient], now: datetime = NOW, **changes: Any) -> Workspace:
    """A workspace whose policy has these recipients."""
    space = builders.workspace(site, now=now, **changes)
    return replace(space, policy=space.policy.model_copy(update={"recipients": dict(register)}))


def outboxes(site: Site, folder: Path) -> dict[str, Recipient]:
    """A clinic and a travel agency with certificates, whose outboxes are below a folder."""
    register = {}
    for name, provider in ((CLINIC, 1), (AGENCY, 2)):
        place = folder / name
        place.mkdir(parents=True)
        folders.prepare(place, name)
        register[name] = registered(place, provider)
    certify(site, *register)
    return register


def client_of(site: Site, row: str) -> int:
    """Whose a booking is."""
    booking = int(row.split("/", maxsplit=1)[0])
    query = "SELECT client_id FROM wellbe.bookings WHERE booking_id = %s"
    ((client,), *_) = builders.read(site, query, booking, role="wellbe_owner")
    return int(client)


def says(site: Site, world: World, row: str, decision: str, at: datetime) -> None:
    """A client's word on health data: `given` or `withdrawn`."""
    world.insert(
        "consent_events", event_id=world.number(), client_id=client_of(site, row), purpose="health_data", channel="web",
        decision=decision, effective_at=at, received_at=at, source="checkout", version=1, recorded_at=at,
    )  # fmt: skip


def booking(site: Site, world: World, *, has_consented: bool = True, **changes: object) -> str:
    """A booking of a treatment and a journey, whose client has consented to health data."""
    row = world.booking(**{"services": [{}, {"service_no": 2, **TRAVEL}]} | changes)
    if has_consented:
        says(site, world, row, "given", NOW - timedelta(days=30))
    return row


def certify(site: Site, *names: str) -> None:
    """Give recipients their certificates."""
    kept = CertificateFolder(site.certificates_path)
    for name in names:
        if kept.current(name) is None:
            kept.add(name, certified(name)[0], NOW)


def opened(folder: Path, name: str, scratch: Path) -> list[Opened]:
    """Every delivery in a folder, in the order in which they came, verified and opened with openssl. What has no
    manifest, or a name with a dot before it, is none."""
    whole = [path.parent for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    found = [_opened(delivery, name, scratch) for delivery in whole]
    return sorted(found, key=lambda one: (one.manifest["created_at"], one.manifest["kind"]))


def _opened(delivery: Path, name: str, scratch: Path) -> Opened:
    ours, theirs = scratch / "wellbe.pem", scratch / f"{name}.pem"
    ours.write_text(builders.IDENTITY.certificate)
    theirs.write_bytes(b"".join(certified(name)))
    verify = ["-verify", "-binary", "-inform", "DER", "-nointern", "-certfile", str(ours), "-CAfile", str(ours)]
    openssl(*verify, "-in", str(delivery / SIGNATURE), "-content", str(delivery / MANIFEST), "-out", os.devnull)
    manifest = json.loads((delivery / MANIFEST).read_bytes())
    files: dict[str, bytes] = {}
    for part in manifest["parts"]:
        inner = scratch / "inner.der"
        openssl("-decrypt", "-binary", "-inform", "DER", "-in", str(delivery / part["name"]), "-inkey", str(theirs),
                "-recip", str(theirs), "-out", str(inner))  # fmt: skip
        files[part["format"]] = files.get(part["format"], b"") + openssl(*verify, "-in", str(inner))
    return Opened(manifest, files)


def openssl(*arguments: str) -> bytes:
    """`openssl cms`; raises when it refuses."""
    return subprocess.run(["openssl", "cms", *arguments], check=True, capture_output=True).stdout


def acknowledge(folder: Path) -> int:
    """Acknowledge every delivery in a folder that is not; returns how many."""
    done = 0
    for delivery in list(folder.iterdir()):
        answer = folder / f"{delivery.name}{ACKNOWLEDGEMENT}"
        if delivery.is_dir() and not answer.exists():
            digest = subprocess.run(["sha256sum", delivery / MANIFEST], check=True, capture_output=True, text=True)
            answer.write_text(digest.stdout.split()[0] + "\n")
            done += 1
    return done
