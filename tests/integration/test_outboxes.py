"""What holds of every outbox alike: a folder, a real OpenSSH server, an S3 server over HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deliveries import ONE, OTHER, RECIPIENT, sealed
from governance.errors import EndpointUnavailableError, GovernanceError, RecipientError
from governance.sharing import folders, outbox
from governance.sharing.outbox import MANIFEST, SIGNATURE, Outbox
from object_server import ObjectServer, object_server
from ssh_server import SshServer, ssh_server

pytestmark = pytest.mark.clause("F1")


@dataclass
class Place:
    """An outbox, and what its recipient does there."""

    box: Outbox
    write: Callable[[str, bytes], None]
    names: Callable[[], dict[str, bytes]]


def in_folder(folder: Path, box: Outbox) -> Place:
    """A place that is a folder of this machine."""

    def write(name: str, content: bytes) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        shutil.chown(folder / name, folder.owner())
        shutil.chown((folder / name).parent, folder.owner())

    def names() -> dict[str, bytes]:
        there = [path for path in folder.rglob("*") if path.is_file() and path.name != folders.MARKER]
        return {str(path.relative_to(folder)): path.read_bytes() for path in there}

    return Place(box, write, names)


@pytest.fixture(scope="module")
def ssh() -> Iterator[SshServer]:
    """A server."""
    with ssh_server() as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A server."""
    with object_server(tmp_path_factory.mktemp("objects")) as server:
        yield server


@pytest.fixture(params=["file", "sftp", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty outbox of each kind."""
    if request.param == "file":
        folders.prepare(tmp_path, RECIPIENT)
        return in_folder(tmp_path, outbox.opened(RECIPIENT, tmp_path.as_uri(), tmp_path / "secrets"))
    if request.param == "s3":
        store: ObjectServer = request.getfixturevalue("store")
        store.empty()
        return Place(store.box(), store.write, store.names)
    ssh: SshServer = request.getfixturevalue("ssh")
    inbox = ssh.inbox / tmp_path.name
    inbox.mkdir()
    shutil.chown(inbox, ssh.user)
    return in_folder(inbox, outbox.opened(RECIPIENT, f"{ssh.url}/{inbox.name}", ssh.private.parent))


@pytest.fixture
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A delivery with a part of more than one block."""
    files = sealed(tmp_path_factory.mktemp("sealed"))
    files["part-00000.p7m"].write_bytes(b"0123456789abcdef" * 700_000)
    return files


def expected(files: dict[str, Path], delivery_id: str = ONE) -> dict[str, bytes]:
    """A delivery as it is there."""
    return {f"{delivery_id}/{name}": path.read_bytes() for name, path in files.items()}


def test_a_delivery_is_there_with_its_own_bytes_and_once(place: Place, files: dict[str, Path]) -> None:
    place.box.put(ONE, files)
    assert place.names() == expected(files)
    assert place.box.manifest(ONE) == files[MANIFEST].read_bytes()
    place.box.put(ONE, files)
    assert place.names() == expected(files)


def test_two_deliveries_are_beside_each_other(place: Place, files: dict[str, Path]) -> None:
    place.box.put(ONE, files)
    place.box.put(OTHER, {name: files[name] for name in (MANIFEST, SIGNATURE)})
    assert set(place.names()) == {*expected(files), f"{OTHER}/{MANIFEST}", f"{OTHER}/{SIGNATURE}"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("part-00000.p7m", lambda content: content[:-1] + b"!"),
        ("part-00000.p7m", lambda content: content[:-1]),
        ("part-00000.p7m", lambda content: content + b"!"),
        (MANIFEST, lambda content: b"!" + content[1:]),
        (SIGNATURE, lambda content: b""),
        ("more", lambda content: b""),
    ],
)
def test_other_bytes_under_the_same_id_are_refused_and_nothing_is_replaced(
    place: Place, files: dict[str, Path], name: str, change: Callable[[bytes], bytes]
) -> None:
    place.box.put(ONE, files)
    before = place.names()
    other = files | {name: files[MANIFEST].with_name("other")}
    other[name].write_bytes(change(before.get(f"{ONE}/{name}", b"")))
    with pytest.raises(GovernanceError, match="other bytes") as refusal:
        place.box.put(ONE, other)
    assert not isinstance(refusal.value, EndpointUnavailableError | RecipientError)
    assert place.names() == before


def test_a_file_by_the_name_of_a_delivery_is_none(place: Place) -> None:
    place.write(ONE, b"theirs")
    assert place.box.manifest(ONE) is None
    assert place.names() == {ONE: b"theirs"}


def test_a_delivery_without_its_signature_has_no_manifest(place: Place) -> None:
    assert place.box.manifest(ONE) is None
    place.write(f"{ONE}/{MANIFEST}", b"alone")
    assert place.box.manifest(ONE) is None


@pytest.mark.parametrize("method", ["put", "manifest", "remove"])
def test_what_is_no_delivery_id_reaches_no_endpoint(place: Place, files: dict[str, Path], method: str) -> None:
    with pytest.raises(GovernanceError, match="64 hex digits"):
        getattr(place.box, method)("../" + ONE[3:], *([files] if method == "put" else []))
    assert place.names() == {}


def test_a_delivery_without_a_manifest_reaches_no_endpoint(place: Place, files: dict[str, Path]) -> None:
    del files[MANIFEST]
    with pytest.raises(GovernanceError, match="without manifest"):
        place.box.put(ONE, files)
    assert place.names() == {}


def test_deliveries_are_told_by_their_names_and_nothing_else_is_one(place: Place, files: dict[str, Path]) -> None:
    assert place.box.deliveries() == set()
    place.box.put(ONE, files)
    place.write(f"{OTHER}/part", b"half")
    for name in (f"{ONE}.ack", "inbox/readme", f".{OTHER}.draft/part", f"{OTHER[:-1]}/part", f"x{OTHER}/part"):
        place.write(name, b"")
    assert place.box.deliveries() == {ONE, OTHER}
    place.box.remove(ONE)
    assert place.box.deliveries() == {OTHER}


def test_acknowledgements_are_read_as_they_are(place: Place) -> None:
    assert place.box.acknowledgements() == {}
    place.write(f"{ONE}.ack", b"taken")
    place.write(f"{OTHER}.ack", b"")
    place.write("readme.ack", b"no")
    assert place.box.acknowledgements() == {ONE: b"taken", OTHER: b""}


def test_what_is_removed_is_gone_with_its_acknowledgement_and_nothing_else_is(
    place: Place, files: dict[str, Path]
) -> None:
    for delivery_id in (ONE, OTHER):
        place.box.put(delivery_id, files)
        place.write(f"{delivery_id}.ack", b"taken")
    place.box.remove(ONE)
    place.box.remove(ONE)
    assert place.names() == expected(files, OTHER) | {f"{OTHER}.ack": b"taken"}


def test_what_was_removed_can_be_put_again(place: Place, files: dict[str, Path]) -> None:
    place.box.put(ONE, files)
    place.box.remove(ONE)
    assert place.box.manifest(ONE) is None
    place.box.put(ONE, files)
    assert place.names() == expected(files)


def test_nothing_is_discarded_that_is_no_draft_of_ours(place: Place, files: dict[str, Path]) -> None:
    place.box.put(ONE, files)
    theirs = {"theirs/part": b"x", "readme": b"x", f"{ONE}.ack": b"x"}
    for name, content in theirs.items():
        place.write(name, content)
    assert place.box.discard_drafts() == 0
    assert place.names() == expected(files) | theirs


def test_a_probe_leaves_nothing(place: Place) -> None:
    place.box.probe()
    assert place.names() == {}
    assert place.box.discard_drafts() == 0
