"""The whole step at real ends: a clinic's SFTP server, an agency's bucket, a hotel's folder. What fails at one keeps no
other from its deliveries; nobody receives twice, nothing is lost, and the log says what happened."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

import builders
import recipients
from aftermath import entries, through
from builders import DAY, NOON, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import AlarmError, EndpointUnavailableError, GovernanceError, RecipientError
from governance.sharing import buckets, folders
from governance.sharing.outbox import ACKNOWLEDGEMENT, MANIFEST
from governance.sharing.portions import MEDIA_TYPES
from governance.steps import Workspace
from object_server import Asked, ObjectServer, object_server
from recipients import AGENCY, CLINIC, TRAVEL, Opened
from ssh_server import SshServer, new_key, ssh_server

pytestmark = [pytest.mark.pg, pytest.mark.slow, *(pytest.mark.clause(clause) for clause in ("F1", "H1", "J1"))]

KEY = DAY.isoformat()
HOTEL = "hotel"
PROVIDERS = {CLINIC: 1, AGENCY: 2, HOTEL: 3}
ALL = {"deliveries": 3, "rows": 3, "bookings": 3}
ONE = {"deliveries": 1, "rows": 1, "bookings": 1}


@pytest.fixture(scope="module")
def store_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("objects")) as store:
        yield store


@pytest.fixture
def store(store_of_all: ObjectServer) -> ObjectServer:
    """The agency's store, with an empty bucket."""
    store_of_all.empty()
    return store_of_all


@pytest.fixture
def server() -> Iterator[SshServer]:
    """The clinic's server."""
    with ssh_server() as server:
        yield server


class Ends:
    """A site with three recipients, how each is reached, and a day that was accepted: one booking with all three."""

    def __init__(self, site: Site, world: World, server: SshServer, store: ObjectServer, folder: Path) -> None:
        self.site, self.world, self.server, self.store, self.folder = site, world, server, store, folder
        self.place(HOTEL).mkdir()
        folders.prepare(self.place(HOTEL), HOTEL)
        endpoints = {CLINIC: server.url, AGENCY: store.url, HOTEL: self.place(HOTEL).as_uri()}
        self.register = {
            name: recipients.registered(folder, provider, endpoint=endpoints[name])
            for name, provider in PROVIDERS.items()
        }
        recipients.certify(site, *PROVIDERS)
        for name, secrets in ((CLINIC, server.private), (AGENCY, store.private)):  # as README says where they go
            shutil.copytree(secrets, site.outbox_secrets_path / name, dirs_exist_ok=True)
        self._travel_provider(3)
        self.row = recipients.booking(
            site, world, services=[{}, {"service_no": 2, **TRAVEL}, {"service_no": 3, **TRAVEL, "provider_id": 3}]
        )
        through(self.space(), "bookings", KEY)

    def _travel_provider(self, number: int) -> None:
        self.world.insert(
            "providers", provider_id=number, kind="travel", name=f"Provider {number}", country_code="SE",
            active_from=NOON.date() - timedelta(days=3650), active_until=None, recorded_at=NOON - timedelta(days=900),
        )  # fmt: skip

    def place(self, name: str) -> Path:
        """Where we look for what a recipient got."""
        return self.folder / name

    def space(self, now: datetime = NOW) -> Workspace:
        return recipients.sharing(self.site, self.register, now)

    def share(self, now: datetime = NOW) -> dict[str, int]:
        return steps.share(self.space(now), KEY, builders.run("sharing"))

    def fails(self, error: type[GovernanceError], told: str) -> None:
        """One turn, of which somebody's part fails."""
        with pytest.raises(error, match=told) as trouble:
            self.share()
        for hidden in ("127.0.0.1", str(self.server.port), str(self.store.port), str(self.server.folder), "hidden"):
            assert hidden not in str(trouble.value)
            assert hidden not in str(entries(self.site, "share"))

    def got(self, name: str) -> list[Opened]:
        """What a recipient finds, opened with its own key and openssl."""
        return recipients.opened(self._fetched(name), name, self.folder)

    def rows(self) -> dict[str, int]:
        """How many rows of the booking each has."""
        return {name: sum(one.manifest["rows"] for one in self.got(name)) for name in PROVIDERS}

    def acknowledge(self) -> None:
        """Each recipient acknowledges, at its end, whatever it has not."""
        for name in PROVIDERS:
            folder = self._fetched(name)
            recipients.acknowledge(folder)
            for answer in folder.glob(f"*{ACKNOWLEDGEMENT}") if name == AGENCY else ():
                self.store.write(answer.name, answer.read_bytes())

    def _fetched(self, name: str) -> Path:
        """The folder of a recipient that has one; of a bucket, a copy as it is now."""
        if name == CLINIC:
            return self.server.inbox
        if name == AGENCY:
            shutil.rmtree(self.place(AGENCY), ignore_errors=True)
            self.place(AGENCY).mkdir()
            for path, content in self.store.names().items():
                (self.place(AGENCY) / path).parent.mkdir(exist_ok=True)
                (self.place(AGENCY) / path).write_bytes(content)
        return self.place(name)

    def ended(self) -> list[tuple[str, str, str | None]]:
        """Of every turn in the log: whose it was, how it ended, and by which error."""
        turns = entries(self.site, "share", "outcome")
        return [(e["details"]["recipient"], e["outcome"], (e.get("error") or {}).get("type")) for e in turns]

    def settled(self) -> list[tuple[str, str]]:
        """Of every delivery that an earlier try had left: whose it was, and what was found."""
        return [
            (e["details"]["recipient"], e["details"]["state"]) for e in entries(self.site, "settle_delivery", "outcome")
        ]


@pytest.fixture
def ends(site: Site, world: World, server: SshServer, store: ObjectServer, tmp_path: Path) -> Iterator[Ends]:
    yield Ends(site, world, server, store, tmp_path)
    for name in (CLINIC, AGENCY):
        shutil.rmtree(site.outbox_secrets_path / name)


def drafts(ends: Ends) -> int:
    """What at any end is no delivery, and no acknowledgement."""
    there = [path.name for path in (*ends.server.inbox.iterdir(), *ends.place(HOTEL).iterdir()) if path.is_dir()]
    of_store = {path.partition("/")[0] for path in ends.store.names() if "/" in path}
    whole = {path.partition("/")[0] for path in ends.store.names() if path.endswith(f"/{MANIFEST}")}
    return sum(name.startswith(".") for name in there) + len(of_store - whole)


# -- what goes well ----------------------------------------------------------------------------------------------------


def test_a_server_a_bucket_and_a_folder_each_get_their_part_once_and_open_it_with_openssl(ends: Ends) -> None:
    assert ends.share() == ALL
    (clinic,), (agency,), (hotel,) = (ends.got(name) for name in PROVIDERS)
    assert list(clinic.files) == [MEDIA_TYPES["fhir"]]
    assert b"Lindqvist" in clinic.files[MEDIA_TYPES["fhir"]] and b"dental.implant" in clinic.files[MEDIA_TYPES["fhir"]]
    for one in (agency, hotel):
        assert [(row["family_name"], row["itinerary"]) for row in one.objects] == [("Lindqvist", TRAVEL["itinerary"])]
        assert set(one.objects[0]) == set(one.manifest["fields"])
        assert b"dental" not in b"".join(one.files.values())
    assert [one.manifest["recipient"] for one in (clinic, agency, hotel)] == list(PROVIDERS)
    assert agency.objects[0]["booking_reference"] != hotel.objects[0]["booking_reference"]
    for hidden in (b"Lindqvist", b"example.com"):
        assert not any(hidden in content for content in ends.store.names().values())
    for now in (NOW, NOW + timedelta(hours=1)):
        assert ends.share(now) == {}
    assert ends.rows() == dict.fromkeys(PROVIDERS, 1)


@pytest.mark.clause("M1")
def test_acknowledgements_at_every_kind_of_end_close_deliveries_and_notices(ends: Ends) -> None:
    ends.share()
    ends.acknowledge()
    assert ends.share() == {"acknowledged": 3}
    steps.watch(ends.space(NOW + timedelta(days=30)), "acknowledgements", builders.run())
    client = recipients.client_of(ends.site, ends.row)
    ends.world.insert(
        "subject_requests", request_id=ends.world.number(), client_id=client, kind="restriction", received_at=NOW,
        identity_checked_at=None, status="received", recorded_at=NOW,
    )  # fmt: skip
    later = NOW + timedelta(hours=1)
    assert ends.share(later) == {"obligations": 3, "notices": 3, "revoked": 3}
    for name in PROVIDERS:
        _, notice = ends.got(name)
        assert [(line["action"], line["reason_code"]) for line in notice.objects] == [("restrict", "restricted")]
    with pytest.raises(AlarmError, match="F1 recipient agency: 1 deliveries are not acknowledged"):
        steps.watch(ends.space(later + timedelta(hours=48)), "acknowledgements", builders.run())
    ends.acknowledge()
    assert ends.share(later) == {"acknowledged": 3, "excluded restricted": 3}
    assert builders.read(ends.site, "SELECT count(*) FROM sharing.obligations WHERE met_at IS NULL") == [(0,)]


def test_secrets_that_are_missing_halt_the_recipient_that_needs_them_and_nobody_else(ends: Ends) -> None:
    (ends.site.outbox_secrets_path / CLINIC / "sftp_key").unlink()
    (ends.site.outbox_secrets_path / AGENCY / "storage.json").chmod(0o644)
    ends.fails(RecipientError, "recipient clinic: its outbox needs a file sftp_key")
    assert ends.rows() == {CLINIC: 0, AGENCY: 0, HOTEL: 1}
    assert ends.ended() == [
        (CLINIC, "failed", "RecipientError"), (AGENCY, "failed", "RecipientError"), (HOTEL, "passed", None),
    ]  # fmt: skip
    shutil.copytree(ends.server.private, ends.site.outbox_secrets_path / CLINIC, dirs_exist_ok=True)
    (ends.site.outbox_secrets_path / AGENCY / "storage.json").chmod(0o600)
    assert ends.share() == {name: 2 for name in ALL}


# -- an SFTP server that fails -----------------------------------------------------------------------------------------


def dies(ends: Ends, patch: pytest.MonkeyPatch, where: type, call: str, *, after: bool = False) -> None:
    """Have the server die at the first call of a kind, before it is answered or before its answer arrives."""
    original = getattr(where, call)

    async def dying(self: Any, *arguments: Any, **options: Any) -> Any:
        done = await original(self, *arguments, **options) if after else None
        ends.server.stop()
        if after:
            raise asyncssh.ConnectionLost("hidden")
        return done if after else await original(self, *arguments, **options)

    patch.setattr(where, call, dying)


@pytest.mark.parametrize(
    ("where", "call", "after", "found"),
    [
        (asyncssh.SFTPClientFile, "write", False, "given up"),
        (asyncssh.SFTPClient, "posix_rename", False, "given up"),
        (asyncssh.SFTPClient, "posix_rename", True, "sent"),
    ],
    ids=["in a part", "before a delivery has its name", "after it has"],
)
def test_a_server_that_dies_in_the_middle_of_a_turn_gets_the_delivery_once(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, where: type, call: str, after: bool, found: str
) -> None:
    with monkeypatch.context() as patch:
        dies(ends, patch, where, call, after=after)
        ends.fails(EndpointUnavailableError, "recipient clinic: its outbox cannot be reached")
    assert ends.rows() == {CLINIC: int(after), AGENCY: 1, HOTEL: 1}
    assert ends.ended() == [
        (CLINIC, "failed", "EndpointUnavailableError"), (AGENCY, "passed", None), (HOTEL, "passed", None),
    ]  # fmt: skip
    ends.fails(EndpointUnavailableError, "recipient clinic: its outbox cannot be reached")  # it is still down
    assert ends.settled() == []
    ends.server.start()
    assert ends.share() == ({"found_sent": 1} if after else ONE)
    assert (ends.settled(), ends.share(), drafts(ends)) == ([(CLINIC, found)], {}, 0)
    assert ends.rows() == dict.fromkeys(PROVIDERS, 1)


def refuse_our_key(ends: Ends) -> Callable[[], object]:
    keys = ends.server.folder / "authorized_keys"
    before = keys.read_text()
    keys.write_text("")
    return lambda: keys.write_text(before)


def show_another_host_key(ends: Ends) -> Callable[[], object]:
    before = (ends.server.folder / "host_key").read_bytes()
    ends.server.stop()
    new_key(ends.server.folder / "host_key")
    ends.server.start()

    def mend() -> None:
        ends.server.stop()
        (ends.server.folder / "host_key").write_bytes(before)
        ends.server.start()

    return mend


def refuse_renames(ends: Ends) -> Callable[[], object]:
    def again(*options: str) -> None:
        ends.server.stop()
        ends.server.options = list(options)
        ends.server.start()

    again("Subsystem sftp internal-sftp -P posix-rename,rename")
    return again


# -- a store that fails ------------------------------------------------------------------------------------------------


def remove_the_bucket(ends: Ends) -> Callable[[], object]:
    ends.store.direct("DELETE", "/deliveries")
    return ends.store.empty


def deny(method: str) -> Callable[[Ends], Callable[[], object]]:
    def denied(ends: Ends) -> Callable[[], object]:
        body = b"<Error><Code>AccessDenied</Code><Message>hidden</Message></Error>"
        ends.store.meet = lambda asked: (403, body) if asked.method == method else None
        return lambda: setattr(ends.store, "meet", lambda _: None)

    return denied


@pytest.mark.parametrize(
    ("who", "breaks", "error", "told", "is_announced"),
    [
        (CLINIC, refuse_our_key, RecipientError, "refused our key", False),
        (CLINIC, show_another_host_key, RecipientError, "host key", False),
        (CLINIC, refuse_renames, EndpointUnavailableError, "may not be read or written", True),
        (AGENCY, remove_the_bucket, EndpointUnavailableError, "is not there", False),
        (AGENCY, deny("GET"), RecipientError, "refused the key of storage.json", False),
        (AGENCY, deny("PUT"), RecipientError, "refused the key of storage.json", True),
    ],
    ids=["key refused", "another host key", "rename refused", "no bucket", "listing denied", "writing denied"],
)
def test_an_end_that_refuses_gets_its_delivery_when_it_is_mended_and_the_others_at_once(
    ends: Ends, who: str, breaks: Callable[[Ends], Callable[[], object]], error: type[GovernanceError], told: str,
    is_announced: bool,
) -> None:  # fmt: skip
    mend = breaks(ends)
    for _ in range(2):
        ends.fails(error, f"recipient {who}: its outbox .*{told}")
    turns = {
        (name, "failed" if name == who else "passed", error.__name__ if name == who else None) for name in PROVIDERS
    }
    assert set(ends.ended()[:3]) == turns
    mend()
    assert ends.share() == ONE
    assert (ends.share(), drafts(ends), ends.rows()) == ({}, 0, dict.fromkeys(PROVIDERS, 1))
    # Each try that came as far as to announce is given up by the next.
    assert ends.settled() == [(who, "given up")] * (2 * is_announced)


@pytest.mark.parametrize(
    ("name", "after", "found"),
    [(".p7m", False, "given up"), (MANIFEST, False, "given up"), (MANIFEST, True, "sent")],
    ids=["in a part", "before the manifest is there", "after it is there"],
)
def test_a_store_that_dies_in_the_middle_of_a_turn_gets_the_delivery_once(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, name: str, after: bool, found: str
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 1.0)
    dead: list[str] = []

    def die(asked: Asked) -> None:
        if dead or (asked.method == "PUT" and asked.path.endswith(name)):
            dead.append(asked.path)
            raise ConnectionResetError

    setattr(ends.store, "met" if after else "meet", die)
    ends.fails(EndpointUnavailableError, "recipient agency: its outbox cannot be reached")
    assert ends.rows() == {CLINIC: 1, AGENCY: int(after), HOTEL: 1}
    assert [turn for turn in ends.ended() if turn[1] == "failed"] == [(AGENCY, "failed", "EndpointUnavailableError")]
    ends.store.meet = ends.store.met = lambda _: None
    assert ends.share() == ({"found_sent": 1} if after else ONE)
    assert (ends.settled(), ends.share(), drafts(ends)) == ([(AGENCY, found)], {}, 0)
    assert ends.rows() == dict.fromkeys(PROVIDERS, 1)


def test_tables_that_were_put_back_to_before_a_delivery_do_not_make_it_again_at_any_end(ends: Ends) -> None:
    ends.share()
    builders.tamper(ends.site, "DELETE FROM sharing.deliveries", "DELETE FROM sharing.delivered_rows")
    assert ends.share() == ALL
    assert ends.rows() == dict.fromkeys(PROVIDERS, 1)
    assert [e["outcome"] for e in entries(ends.site, "deliver", "outcome")] == ["passed"] * 3 + ["replayed"] * 3
