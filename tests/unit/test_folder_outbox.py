"""The outbox that is a folder: whole or not there, once, never past a link, never on a disk that is not mounted."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import boundaries
import faults
from boundaries import Killed
from deliveries import ONE, OTHER, RECIPIENT, digests, sealed, there
from governance.errors import EndpointUnavailableError, GovernanceError, PolicyError, RecipientError
from governance.sharing import folders, outbox
from governance.sharing.outbox import LARGEST_ACKNOWLEDGEMENT, MANIFEST, SIGNATURE, Outbox

pytestmark = pytest.mark.clause("F1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An endpoint."""
    place = tmp_path / "endpoint"
    place.mkdir()
    folders.prepare(place, RECIPIENT)
    return place


@pytest.fixture
def box(place: Path, tmp_path: Path) -> Outbox:
    """Its outbox."""
    return outbox.opened(RECIPIENT, place.as_uri(), tmp_path / "secrets")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A delivery."""
    return sealed(tmp_path / "sealed")


def names(place: Path) -> set[str]:
    """What is at the endpoint."""
    return {path.name for path in place.iterdir()} - {folders.MARKER}


@contextmanager
def as_nobody() -> Iterator[None]:
    """As a user who may do nothing, for whom permissions hold."""
    us = os.geteuid()
    if us == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(us)


# -- put ---------------------------------------------------------------------------------------------------------------


def test_a_delivery_is_there_whole_with_its_own_bytes(box: Outbox, place: Path, files: dict[str, Path]) -> None:
    box.put(ONE, files)
    assert names(place) == {ONE}
    assert there(place / ONE) == digests(files)
    assert box.manifest(ONE) == files[MANIFEST].read_bytes()


def test_a_delivery_may_have_no_parts(box: Outbox, place: Path, tmp_path: Path) -> None:
    box.put(ONE, sealed(tmp_path / "revocation", parts=0))
    assert set(there(place / ONE)) == {MANIFEST, SIGNATURE}


def test_the_same_bytes_again_change_nothing(box: Outbox, place: Path, files: dict[str, Path]) -> None:
    box.put(ONE, files)
    before = {path: path.stat().st_mtime_ns for path in (place / ONE).iterdir()}
    box.put(ONE, files)
    assert {path: path.stat().st_mtime_ns for path in (place / ONE).iterdir()} == before


def one_byte_more(delivery: Path) -> None:
    with (delivery / "part-00000.p7m").open("ab") as file:
        file.write(b"!")


def one_byte_other(delivery: Path) -> None:
    content = (delivery / "part-00001.p7m").read_bytes()
    (delivery / "part-00001.p7m").write_bytes(content[:-1] + b"!")


def linked(delivery: Path) -> None:
    (delivery / MANIFEST).rename(delivery.parent / "elsewhere")
    (delivery / MANIFEST).symlink_to(delivery.parent / "elsewhere")


def a_file(delivery: Path) -> None:
    delivery.rename(delivery.parent / "elsewhere")
    delivery.write_bytes(b"")


def a_link(delivery: Path) -> None:
    delivery.rename(delivery.parent / "elsewhere")
    delivery.symlink_to(delivery.parent / "elsewhere")


@pytest.mark.parametrize(
    "change",
    [
        one_byte_more,
        one_byte_other,
        lambda delivery: (delivery / "part-00000.p7m").unlink(),
        lambda delivery: (delivery / "more").touch(),
        linked,
        a_file,
        a_link,
    ],
    ids=["longer", "other", "fewer", "more", "a link within", "a file", "a link"],
)
def test_other_bytes_under_the_same_id_are_refused_and_nothing_is_replaced(
    box: Outbox, place: Path, files: dict[str, Path], change: Callable[[Path], object]
) -> None:
    box.put(ONE, files)
    change(place / ONE)
    before = (names(place), (place / ONE).is_dir() and there(place / ONE))
    with pytest.raises(GovernanceError, match="other bytes") as refusal:
        box.put(ONE, files)
    assert not isinstance(refusal.value, EndpointUnavailableError | RecipientError)
    assert (names(place), (place / ONE).is_dir() and there(place / ONE)) == before


@pytest.mark.parametrize("delivery_id", ["", "../" + ONE[3:], ONE[:-1], ONE + "0", ONE.upper(), ONE + "\n", "." + ONE])
@pytest.mark.parametrize("method", ["put", "manifest", "remove"])
def test_what_is_no_delivery_id_reaches_no_path(
    box: Outbox, place: Path, files: dict[str, Path], delivery_id: str, method: str
) -> None:
    with pytest.raises(GovernanceError, match="64 hex digits"):
        getattr(box, method)(delivery_id, *([files] if method == "put" else []))
    assert names(place) == set()


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../b", "a b", "a\n", "x" * 129])
def test_what_is_no_name_of_a_file_reaches_no_path(box: Outbox, place: Path, files: dict[str, Path], name: str) -> None:
    with pytest.raises(GovernanceError, match="no name"):
        box.put(ONE, files | {name: files[MANIFEST]})
    assert names(place) == set()


@pytest.mark.parametrize("name", ["a", "A-1_b.p7m", "x" * 128])
def test_plain_names_of_files_are_taken(box: Outbox, place: Path, files: dict[str, Path], name: str) -> None:
    box.put(ONE, files | {name: files[MANIFEST]})
    assert (place / ONE / name).exists()


@pytest.mark.parametrize("missing", [MANIFEST, SIGNATURE])
def test_without_manifest_or_signature_nothing_is_delivered(
    box: Outbox, place: Path, files: dict[str, Path], missing: str
) -> None:
    del files[missing]
    with pytest.raises(GovernanceError, match="without manifest"):
        box.put(ONE, files)
    assert names(place) == set()


def test_a_part_that_is_not_there_any_more_stops_the_delivery(box: Outbox, place: Path, files: dict[str, Path]) -> None:
    files["part-00001.p7m"].unlink()
    with pytest.raises(GovernanceError, match="seal it again") as refusal:
        box.put(ONE, files)
    assert not isinstance(refusal.value, EndpointUnavailableError)
    assert names(place) == set()


def test_an_empty_part_is_delivered(box: Outbox, place: Path, files: dict[str, Path]) -> None:
    files["part-00000.p7m"].write_bytes(b"")
    box.put(ONE, files)
    assert there(place / ONE) == digests(files)


def test_a_folder_that_takes_the_name_meanwhile_is_not_replaced(
    box: Outbox, place: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile() -> None:
        (place / ONE).mkdir()
        (place / ONE / "theirs").touch()

    faults.before(os, "rename")(meanwhile, monkeypatch.setattr)
    with pytest.raises(EndpointUnavailableError):
        box.put(ONE, files)
    assert names(place) == {ONE}
    assert set(there(place / ONE)) == {"theirs"}


# -- endpoints that cannot take it -------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_leaves_nothing_and_the_next_try_delivers_the_same_bytes(
    box: Outbox, place: Path, tmp_path: Path
) -> None:
    files = sealed(tmp_path / "large", size=200_000)
    (tmp_path / "stage").mkdir()
    with faults.small_disks(tmp_path / "stage", {place: 1024}) as disks:
        disks.fill(place, leave=300_000)
        with pytest.raises(EndpointUnavailableError, match="no room left"):
            disks.within(lambda: box.put(ONE, files))
        assert disks.within(lambda: names(place)) == {"ballast"}
        disks.free(place)
        disks.within(lambda: box.put(ONE, files))
        assert disks.within(lambda: there(place / ONE)) == digests(files)


@pytest.mark.parametrize("nth", range(1, 7))
def test_a_write_that_the_disk_does_not_keep_is_no_delivery(
    box: Outbox, place: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    def full() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        faults.before(os, "fsync", nth)(full, patch.setattr)
        with pytest.raises(EndpointUnavailableError, match=r"cannot be used \(Input/output error\)"):
            box.put(ONE, files)
    # The last is of the name itself, which is there, whole, and perhaps not after a power cut: it is tried again.
    assert names(place) == ({ONE} if nth == 6 else set())
    box.put(ONE, files)
    assert there(place / ONE) == digests(files)


def test_a_disk_that_is_mounted_read_only_is_said_to_be(box: Outbox, place: Path, tmp_path: Path) -> None:
    files = sealed(tmp_path / "sealed")
    (tmp_path / "stage").mkdir()
    with faults.small_disks(tmp_path / "stage", {place: 1024}) as disks:
        subprocess.run([*disks.prefix, "mount", "-o", "remount,bind,ro", place], check=True)
        for work in (lambda: box.put(ONE, files), box.probe):
            with pytest.raises(EndpointUnavailableError, match="read-only"):
                disks.within(work)
        assert disks.within(lambda: names(place)) == set()


def test_a_folder_that_is_not_ours_to_write_is_said_to_be() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not in one of pytest's, which nobody may enter
        files, place = sealed(Path(folder) / "sealed"), Path(folder) / "endpoint"
        place.mkdir()
        folders.prepare(place, RECIPIENT)
        Path(folder).chmod(0o755)
        place.chmod(0o555)
        box = outbox.opened(RECIPIENT, place.as_uri(), Path(folder))
        with as_nobody():
            assert box.manifest(ONE) is None  # it can be read
            for work in (lambda: box.put(ONE, files), box.probe):
                with pytest.raises(EndpointUnavailableError, match="owner and mode"):
                    work()
        assert names(place) == set()
        place.chmod(0o755)
        box.put(ONE, files)
        assert there(place / ONE) == digests(files)


@pytest.mark.parametrize(
    "name", ["put", "manifest", "deliveries", "acknowledgements", "remove", "discard_drafts", "probe"]
)
def test_a_folder_without_its_marker_may_be_a_disk_that_is_not_mounted(
    box: Outbox, place: Path, files: dict[str, Path], name: str
) -> None:
    (place / folders.MARKER).unlink()
    arguments = {"put": (ONE, files), "manifest": (ONE,), "remove": (ONE,)}.get(name, ())
    with pytest.raises(EndpointUnavailableError, match="not mounted"):
        getattr(box, name)(*arguments)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("says", ["clinic_2", "", "clinic_1 clinic_2"])
def test_a_folder_of_another_recipient_gets_nothing(
    box: Outbox, place: Path, files: dict[str, Path], says: str
) -> None:
    (place / folders.MARKER).write_text(says)
    with pytest.raises(RecipientError, match="somebody else's"):
        box.put(ONE, files)
    assert names(place) == set()


def test_a_marker_that_is_a_link_is_none(box: Outbox, place: Path) -> None:
    (place / folders.MARKER).rename(place.parent / "marker")
    (place / folders.MARKER).symlink_to(place.parent / "marker")
    with pytest.raises(RecipientError, match="somebody else's"):
        box.probe()


def test_an_outbox_is_prepared_once(place: Path) -> None:
    with pytest.raises(FileExistsError):
        folders.prepare(place, "clinic_2")


def test_a_folder_that_is_not_there_is_said_to_be_missing(box: Outbox, place: Path) -> None:
    place.rename(place.parent / "elsewhere")
    with pytest.raises(EndpointUnavailableError, match="is not there: mount"):
        box.probe()


@pytest.mark.parametrize("what", ["link", "file"])
def test_an_endpoint_that_is_a_link_or_a_file_gets_nothing(
    box: Outbox, place: Path, files: dict[str, Path], what: str
) -> None:
    elsewhere = place.rename(place.parent / "elsewhere")
    place.symlink_to(elsewhere) if what == "link" else place.touch()
    with pytest.raises(EndpointUnavailableError, match="link or no folder"):
        box.put(ONE, files)
    assert names(elsewhere) == set()


def test_a_draft_that_is_a_link_is_taken_away_and_not_followed(
    box: Outbox, place: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").touch()
    (place / f".{ONE}.draft").symlink_to(target)
    box.put(ONE, files)
    assert names(place) == {ONE}
    assert [path.name for path in target.iterdir()] == ["precious"]
    assert not (place / ONE).is_symlink()


def test_trouble_tells_no_path(box: Outbox, place: Path) -> None:
    place.rename(place.parent / "elsewhere")
    with pytest.raises(EndpointUnavailableError) as trouble:
        box.acknowledgements()
    assert RECIPIENT in str(trouble.value)
    assert str(place.parent) not in str(trouble.value)


def test_a_url_of_another_kind_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="none of file://, sftp://, s3://"):
        outbox.opened(RECIPIENT, "ftp://example.com/in", tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../clinic_1", "a/b", ".hidden", "clinic 1", "clinic\n"])
def test_a_recipient_whose_name_might_be_a_path_has_no_outbox(place: Path, name: str) -> None:
    with pytest.raises(PolicyError, match="other signs"):
        outbox.opened(name, place.as_uri(), place)


# -- what is there -----------------------------------------------------------------------------------------------------


def test_what_is_not_wholly_there_has_no_manifest(box: Outbox, place: Path, files: dict[str, Path]) -> None:
    assert box.manifest(ONE) is None
    (place / ONE).mkdir()
    assert box.manifest(ONE) is None
    (place / ONE / MANIFEST).touch()
    assert box.manifest(ONE) is None
    (place / OTHER).touch()
    assert box.manifest(OTHER) is None


def test_acknowledgements_are_what_the_recipient_put_beside_deliveries(box: Outbox, place: Path) -> None:
    (place / f"{ONE}.ack").write_bytes(b"taken")
    (place / f"{OTHER}.ack").write_bytes(b"")
    for name in (f"{ONE}.ack.tmp", "readme.ack", ".ack", f"{ONE[:-1]}.ack", f"{ONE.replace('f', 'F')}.ack", ONE):
        (place / name).write_bytes(b"no")
    assert box.acknowledgements() == {ONE: b"taken", OTHER: b""}


def test_an_acknowledgement_that_is_no_plain_file_is_empty(box: Outbox, place: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not theirs to read")
    (place / f"{ONE}.ack").symlink_to(secret)
    os.mkfifo(place / f"{OTHER}.ack")
    (place / f"{'3d' * 32}.ack").mkdir()
    assert set(box.acknowledgements().values()) == {b""}
    assert len(box.acknowledgements()) == 3


@pytest.mark.parametrize(
    ("size", "read"),
    [
        (LARGEST_ACKNOWLEDGEMENT, LARGEST_ACKNOWLEDGEMENT),
        (LARGEST_ACKNOWLEDGEMENT + 1, LARGEST_ACKNOWLEDGEMENT + 1),
        (LARGEST_ACKNOWLEDGEMENT + 2, LARGEST_ACKNOWLEDGEMENT + 1),
    ],
)
def test_a_huge_acknowledgement_is_not_read_to_its_end(box: Outbox, place: Path, size: int, read: int) -> None:
    (place / f"{ONE}.ack").write_bytes(b"x" * size)
    assert len(box.acknowledgements()[ONE]) == read


def test_what_is_removed_is_gone_with_its_acknowledgement_and_nothing_else_is(
    box: Outbox, place: Path, files: dict[str, Path]
) -> None:
    for delivery_id in (ONE, OTHER):
        box.put(delivery_id, files)
        (place / f"{delivery_id}.ack").touch()
    box.remove(ONE)
    assert names(place) == {OTHER, f"{OTHER}.ack"}
    box.remove(ONE)
    assert names(place) == {OTHER, f"{OTHER}.ack"}


def test_removing_a_link_leaves_what_it_points_to(box: Outbox, place: Path, files: dict[str, Path]) -> None:
    target = place.parent / "target"
    target.mkdir()
    (target / "precious").touch()
    (place / ONE).symlink_to(target)
    box.remove(ONE)
    assert names(place) == set()
    assert (target / "precious").exists()


def test_drafts_of_ours_are_discarded_and_nothing_else_is(box: Outbox, place: Path, files: dict[str, Path]) -> None:
    box.put(ONE, files)
    kept = {ONE, f".{ONE[:-1]}.draft", ".theirs.draft", f".{ONE}.draft.bak", f"{ONE}.draft"}
    for name in kept - {ONE}:
        (place / name).touch()
    (place / f".{OTHER}.draft").mkdir()
    (place / f".{OTHER}.draft" / "part-00000.p7m").touch()
    (place / f".{ONE}.draft").touch()
    assert box.discard_drafts() == 2
    assert names(place) == kept
    assert box.discard_drafts() == 0


def test_a_probe_leaves_nothing(box: Outbox, place: Path) -> None:
    box.probe()
    assert names(place) == set()


# -- kills -------------------------------------------------------------------------------------------------------------


def crossed(work: Callable[[], object]) -> int:
    """How many boundaries a piece of work has, left alone."""
    left_alone = boundaries.run(work)
    assert not isinstance(left_alone, Killed)
    return len(left_alone)


@pytest.mark.slow
def test_a_put_that_is_killed_anywhere_leaves_all_or_nothing_and_the_next_delivers_the_same(
    box: Outbox, place: Path, files: dict[str, Path]
) -> None:
    count = crossed(lambda: box.put(ONE, files))
    assert count > 12
    seen = set()
    for fatal in range(1, count + 1):
        box.remove(ONE)
        assert isinstance(boundaries.run(lambda: box.put(ONE, files), fatal), Killed)
        whole = (place / ONE).exists()
        seen.add(whole)
        assert not whole or there(place / ONE) == digests(files), fatal
        assert (box.manifest(ONE) is not None) == whole
        assert names(place) <= {ONE, f".{ONE}.draft"}
        box.put(ONE, files)
        assert names(place) == {ONE}, fatal
        assert there(place / ONE) == digests(files), fatal
    assert seen == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("work", ["remove", "probe"])
def test_what_else_is_killed_anywhere_leaves_drafts_alone_that_are_discarded(
    box: Outbox, place: Path, files: dict[str, Path], work: str
) -> None:
    def act() -> None:
        box.remove(ONE) if work == "remove" else box.probe()

    box.put(ONE, files)
    for fatal in range(1, crossed(act) + 1):
        box.put(ONE, files)
        assert isinstance(boundaries.run(act, fatal), Killed)
        assert not (place / ONE).exists() or there(place / ONE) == digests(files), fatal
        box.discard_drafts()
        assert names(place) <= {ONE}, fatal


def test_a_socket_by_the_name_of_a_delivery_is_refused(box: Outbox, files: dict[str, Path], place: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as theirs:
        here = os.open(place, os.O_RDONLY)
        try:
            theirs.bind(f"/proc/self/fd/{here}/{ONE}")  # a path that is not too long for a socket
        finally:
            os.close(here)
        with pytest.raises(GovernanceError, match="other bytes"):
            box.put(ONE, files)
