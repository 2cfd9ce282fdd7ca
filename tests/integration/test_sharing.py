"""Accepted bookings reach the providers that they name: the agreed fields alone, once, sealed, on the record."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

import builders
import recipients
from aftermath import entries, through
from builders import DAY, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import GovernanceError
from governance.sharing import folders
from governance.sharing.recipients import HaltedError
from governance.steps import Workspace
from recipients import AGENCY, CLINIC, Opened, registered

pytestmark = [pytest.mark.pg, *(pytest.mark.clause(clause) for clause in ("F1", "H1", "N1"))]

KEY = DAY.isoformat()
TRAVEL = {"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "Malmö to Nice and back"}


class Place:
    """A site with a clinic and a travel agency, and folders for both."""

    def __init__(self, site: Site, world: World, folder: Path) -> None:
        self.site, self.world, self.folder = site, world, folder
        self.register = {}
        for name, provider in ((CLINIC, 1), (AGENCY, 2)):
            (folder / name).mkdir()
            folders.prepare(folder / name, name)
            self.register[name] = registered(folder / name, provider)
        recipients.certify(site, CLINIC, AGENCY)

    def space(self, now: datetime = NOW) -> Workspace:
        return recipients.sharing(self.site, self.register, now)

    def booking(self, *, consents: bool = True, **changes: object) -> str:
        """A booking of a treatment and a journey, whose client has consented to health data."""
        row = self.world.booking(**{"services": [{}, {"service_no": 2, **TRAVEL}]} | changes)
        if consents:
            self.says(row, "given", NOW - timedelta(days=30))
        return row

    def says(self, row: str, decision: str, at: datetime) -> None:
        """The client's word on health data."""
        booking = int(row.split("/")[0])
        ((client,),) = builders.read(
            self.site, "SELECT client_id FROM wellbe.bookings WHERE booking_id = %s", booking, role="wellbe_owner"
        )
        self.world.insert(
            "consent_events", event_id=self.world.number(), client_id=client, purpose="health_data", channel="web",
            decision=decision, effective_at=at, received_at=at, source="checkout", version=1, recorded_at=at,
        )  # fmt: skip

    def share(self, now: datetime = NOW, key: str = KEY) -> dict[str, int]:
        return steps.share(self.space(now), key, builders.run("sharing"))

    def got(self, name: str) -> list[Opened]:
        return recipients.opened(self.folder / name, name, self.folder)

    def accepted(self) -> None:
        through(self.space(), "bookings", KEY)


@pytest.fixture
def place(site: Site, world: World, tmp_path: Path) -> Place:
    return Place(site, world, tmp_path)


def test_each_provider_gets_its_part_of_a_booking_and_the_agreed_fields_alone(place: Place) -> None:
    place.booking(travellers=[{}, {"given_name": "Bo"}])
    place.accepted()
    assert place.share() == {"deliveries": 2, "rows": 3, "bookings": 2}
    (clinic,), (agency,) = place.got(CLINIC), place.got(AGENCY)
    assert clinic.manifest["fields"] == [
        "booking_reference", "service_reference", "person_reference", "booking_version", "replaces_version",
        "booking_status", "booking_changed_at", "given_name", "family_name", "email", "phone", "language",
        "procedure_code", "service_date",
    ]  # fmt: skip
    assert [row["given_name"] for row in agency.objects] == ["Åsa", "Bo"] or [
        row["given_name"] for row in agency.objects
    ] == ["Bo", "Åsa"]
    assert set(agency.objects[0]) == set(agency.manifest["fields"])
    assert "dental" not in str(agency.files)
    assert "Malmö" not in str(clinic.files)
