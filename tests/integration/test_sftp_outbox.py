"""The outbox on a real OpenSSH server: one pinned key on each side, and whatever fails leaves nothing half-visible."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import psutil
import pytest

import faults
from deliveries import ONE, OTHER, RECIPIENT, digests, sealed, there
from governance.errors import EndpointUnavailableError, GovernanceError, RecipientError
from governance.sharing import outbox, sftp
from governance.sharing.outbox import MANIFEST
from ssh_server import SshServer, new_key, ssh_server

pytestmark = pytest.mark.clause("F1", "J1")


@pytest.fixture(scope="module")
def shared() -> Iterator[SshServer]:
    """A server for all tests that leave it as it is."""
    with ssh_server() as server:
        yield server


@pytest.fixture
def server(shared: SshServer) -> Iterator[SshServer]:
    """That server, with an empty folder and its first secrets."""
    kept = {path: path.read_bytes() for path in [*shared.private.iterdir(), shared.folder / "authorized_keys"]}
    yield shared
    for path, content in kept.items():
        path.write_bytes(content)
        path.chmod(0o600 if path.parent == shared.private else 0o644)
    shared.inbox.chmod(0o755)
    for name in names(shared):
        subprocess.run(["rm", "-rf", shared.inbox / name], check=True)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A delivery."""
    return sealed(tmp_path / "sealed")


def names(server: SshServer) -> set[str]:
    """What is at the endpoint."""
    return {path.name for path in server.inbox.iterdir()}


def delivered(server: SshServer, files: dict[str, Path]) -> bool:
    """Whether the endpoint holds the delivery, wholly, and nothing else."""
    return names(server) == {ONE} and there(server.inbox / ONE) == digests(files)


def say_nothing_of(server: SshServer, trouble: BaseException) -> bool:
    """Whether a message holds neither address nor secret."""
    secrets = [server.user + "@", str(server.port), str(server.folder), "PRIVATE", "ssh-ed25519", "127.0.0.1"]
    return not any(secret in str(trouble) for secret in secrets) and (
        trouble.__suppress_context__ or trouble.__context__ is None
    )


# -- keys --------------------------------------------------------------------------------------------------------------


def other_key_of_the_same_kind(server: SshServer) -> None:
    new_key(server.folder / "host_key")


def key_of_another_kind(server: SshServer) -> None:
    new_key(server.folder / "host_key", "ecdsa")


@pytest.mark.parametrize("change", [other_key_of_the_same_kind, key_of_another_kind])
def test_a_server_with_another_host_key_gets_nothing_and_a_person_must_look(
    files: dict[str, Path], change: Callable[[SshServer], None]
) -> None:
    with ssh_server() as server:
        before = (server.folder / "host_key").read_bytes()
        server.stop()
        change(server)
        server.start()
        with pytest.raises(RecipientError, match="host key") as refusal:
            server.box().put(ONE, files)
        assert say_nothing_of(server, refusal.value)
        assert names(server) == set()
        assert "Accepted publickey" not in (server.folder / "log").read_text()  # our key was not even offered
        server.stop()
        (server.folder / "host_key").write_bytes(before)
        server.start()
        server.box().put(ONE, files)
        assert delivered(server, files)


def test_a_server_that_no_pin_is_about_gets_nothing(server: SshServer, files: dict[str, Path]) -> None:
    pins = server.private / "known_hosts"
    pins.write_text(pins.read_text().replace(f":{server.port}", f":{server.port + 1}"))
    with pytest.raises(RecipientError, match="host key"):
        server.box().put(ONE, files)
    pins.write_text("")
    with pytest.raises(RecipientError, match="host key"):
        server.box().probe()
    assert names(server) == set()


def test_pins_of_the_user_count_for_nothing(
    server: SshServer, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_bytes((server.private / "known_hosts").read_bytes())
    (tmp_path / ".ssh" / "config").write_text("Host *\n  StrictHostKeyChecking no\n")
    (server.private / "known_hosts").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(RecipientError, match="host key"):
        server.box().put(ONE, files)


def test_a_server_that_refuses_our_key_says_nothing_of_it(server: SshServer, files: dict[str, Path]) -> None:
    known = (server.folder / "authorized_keys").read_bytes()
    (server.folder / "authorized_keys").write_text("")
    with pytest.raises(RecipientError, match="refused our key") as refusal:
        server.box().put(ONE, files)
    assert say_nothing_of(server, refusal.value)
    (server.folder / "authorized_keys").write_bytes(known)
    server.box().put(ONE, files)
    assert delivered(server, files)


def test_a_server_that_asks_for_a_password_gets_none(files: dict[str, Path]) -> None:
    asking = ssh_server("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
    with asking as server, pytest.raises(RecipientError, match="refused our key"):
        server.box().put(ONE, files)


@pytest.mark.parametrize(
    ("mode", "is_taken"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o601, False)]
)
def test_a_key_that_others_can_read_is_not_used(server: SshServer, mode: int, is_taken: bool) -> None:
    (server.private / "sftp_key").chmod(mode)
    if is_taken:
        server.box().probe()
        return
    with pytest.raises(RecipientError, match="others can read") as refusal:
        server.box()
    assert say_nothing_of(server, refusal.value)


def with_passphrase(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "hidden", "-P", "", "-f", path], check=True)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("sftp_key", Path.unlink, "needs a file sftp_key"),
        ("sftp_key", lambda path: path.write_bytes(b"hidden"), "is none"),
        ("sftp_key", lambda path: path.write_bytes(path.read_bytes()[:200]), "is none"),
        ("sftp_key", with_passphrase, "passphrase"),
        ("known_hosts", Path.unlink, "needs a file"),
        ("known_hosts", lambda path: path.write_bytes(b"hidden"), "needs a file"),
        ("known_hosts", lambda path: path.write_bytes(b"\xff"), "needs a file"),
    ],
)
def test_secrets_that_are_not_there_or_broken_are_said_to_be(
    server: SshServer, name: str, change: Callable[[Path], object], told: str
) -> None:
    change(server.private / name)
    with pytest.raises(RecipientError, match=told) as refusal:
        server.box()
    assert say_nothing_of(server, refusal.value)
    assert "hidden" not in str(refusal.value)


# -- servers that fail -------------------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_tried_again(files: dict[str, Path]) -> None:
    with ssh_server() as server:
        server.stop()
        with pytest.raises(EndpointUnavailableError, match="cannot be reached") as trouble:
            server.box().put(ONE, files)
        assert say_nothing_of(server, trouble.value)
        server.start()
        server.box().put(ONE, files)
        assert delivered(server, files)


def requests_of(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a piece of work asks of its server, in order."""
    asked: list[Any] = []
    original = asyncssh.sftp.SFTPClientHandler._send_request

    def counted(self: Any, kind: Any, args: Any, waiter: Any) -> None:
        asked.append(kind)
        original(self, kind, args, waiter)

    with monkeypatch.context() as patch:
        patch.setattr(asyncssh.sftp.SFTPClientHandler, "_send_request", counted)
        work()
    return asked


def at_request(number: int, happen: Callable[[], object], put: faults.Put = setattr) -> None:
    """Have something happen just before the nth request."""
    original, calls = asyncssh.sftp.SFTPClientHandler._send_request, [0]

    def counted(self: Any, kind: Any, args: Any, waiter: Any) -> None:
        calls[0] += 1
        if calls[0] == number:
            happen()
        original(self, kind, args, waiter)

    put(asyncssh.sftp.SFTPClientHandler, "_send_request", counted)


@pytest.mark.slow
def test_a_server_that_dies_anywhere_in_a_put_leaves_all_or_nothing(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_server() as server:
        box = server.box()
        asked = requests_of(lambda: box.put(ONE, files), monkeypatch)
        assert len(asked) > 20
        for number in range(1, len(asked) + 1):
            box.remove(ONE)

            def die() -> None:
                for process in server.sessions():
                    with contextlib.suppress(psutil.NoSuchProcess):  # the one before was its parent
                        process.kill()

            with monkeypatch.context() as patch:
                at_request(number, die, patch.setattr)
                with pytest.raises(EndpointUnavailableError, match="cut the connection"):
                    box.put(ONE, files)
            assert names(server) <= {f".{ONE}.draft"}, number
            box.put(ONE, files)
            assert delivered(server, files), number


@pytest.mark.slow
def test_a_connection_that_is_cut_in_a_large_part_is_tried_again(tmp_path: Path) -> None:
    files = sealed(tmp_path / "sealed", parts=1, size=20_000_000)
    with ssh_server() as server, faults.proxy(server.port, 5_000_000, counted="client") as relay:
        through = server.box(port=relay.port)
        with pytest.raises(EndpointUnavailableError, match="cut the connection"):
            through.put(ONE, files)
        assert names(server) == {f".{ONE}.draft"}
        relay.budget = None
        through.put(ONE, files)
        assert delivered(server, files)


@pytest.mark.parametrize("then", ["stall", "reset"])
def test_a_server_that_falls_silent_is_left_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    monkeypatch.setattr(sftp, "PATIENCE_SECONDS", 1.5)
    files = sealed(tmp_path / "sealed", parts=1, size=20_000_000)
    with ssh_server() as server, faults.proxy(server.port, 5_000_000, counted="client", then=then) as relay:
        through = server.box(port=relay.port)
        began = time.monotonic()
        with pytest.raises(EndpointUnavailableError):
            through.put(ONE, files)
        assert time.monotonic() - began < 10
        server.box().put(ONE, files)
        assert delivered(server, files)


def test_a_server_that_stops_answering_while_connected_is_left_after_a_while(
    server: SshServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "PATIENCE_SECONDS", 1.5)
    stopped: list[psutil.Process] = []

    def stop() -> None:
        stopped.extend(server.sessions())
        for process in stopped:
            process.suspend()

    with monkeypatch.context() as patch:
        at_request(10, stop, patch.setattr)
        try:
            with pytest.raises(EndpointUnavailableError):
                server.box().put(ONE, files)
        finally:
            for process in stopped:
                process.kill()
    assert names(server) == {f".{ONE}.draft"}
    server.box().put(ONE, files)
    assert delivered(server, files)


def test_a_listener_that_speaks_no_ssh_is_left_after_a_while(
    server: SshServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "PATIENCE_SECONDS", 0.5)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(EndpointUnavailableError, match="no answer"):
        server.box(port=silent.getsockname()[1]).put(ONE, files)


def test_something_else_than_ssh_at_the_port_is_trouble_too(server: SshServer, files: dict[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            client, _ = other.accept()
            with client:
                client.sendall(b"HTTP/1.1 400 Bad Request hidden\r\n\r\n" * 100)
                client.recv(1000)

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(EndpointUnavailableError) as trouble:
            server.box(port=other.getsockname()[1]).put(ONE, files)
        assert "hidden" not in str(trouble.value)


def test_a_disk_that_fills_up_leaves_no_draft_and_the_next_try_delivers_the_same(tmp_path: Path) -> None:
    files = sealed(tmp_path / "sealed", size=400_000)
    stage, disk = tmp_path / "stage", tmp_path / "disk"
    stage.mkdir()
    disk.mkdir()
    with faults.small_disks(stage, {disk: 2048}) as disks:
        within = " ".join([*disks.prefix[:-1], "/usr/lib/openssh/sftp-server"])
        with ssh_server(f"Subsystem sftp {within}", as_us=True) as server:
            server_url = server.url.replace(str(server.inbox), str(disk))
            box = outbox.opened(RECIPIENT, server_url, server.private.parent)
            disks.fill(disk, leave=600_000)
            with pytest.raises(EndpointUnavailableError, match="full disk"):
                box.put(ONE, files)
            assert disks.within(lambda: {path.name for path in disk.iterdir()}) == {"ballast"}
            disks.free(disk)
            box.put(ONE, files)
            assert disks.within(lambda: there(disk / ONE)) == digests(files)


def test_a_file_larger_than_the_server_takes_leaves_no_draft(tmp_path: Path) -> None:
    files = sealed(tmp_path / "sealed", parts=1, size=2_000_000)
    with ssh_server(largest_file=1_000_000) as server:
        with pytest.raises(EndpointUnavailableError, match="could not do"):
            server.box().put(ONE, files)
        assert names(server) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a folder from the server's user")
def test_a_folder_that_may_not_be_written_is_said_to_be(server: SshServer, files: dict[str, Path]) -> None:
    server.inbox.chmod(0o555)
    for work in (lambda: server.box().put(ONE, files), server.box().probe):
        with pytest.raises(EndpointUnavailableError, match="may not be read or written") as trouble:
            work()
        assert say_nothing_of(server, trouble.value)
    assert names(server) == set()
    server.inbox.chmod(0o755)
    server.box().put(ONE, files)
    assert delivered(server, files)


def test_a_rename_that_is_refused_leaves_no_draft_and_is_noticed_by_the_probe(files: dict[str, Path]) -> None:
    with ssh_server("Subsystem sftp internal-sftp -P posix-rename,rename") as server:
        for work in (lambda: server.box().put(ONE, files), server.box().probe):
            with pytest.raises(EndpointUnavailableError, match="may not be read or written"):
                work()
            assert names(server) == set()


@pytest.mark.parametrize("without", ["posix-rename", "fsync", "posix-rename,fsync"])
def test_a_server_without_extensions_of_openssh_gets_deliveries(files: dict[str, Path], without: str) -> None:
    with ssh_server(f"Subsystem sftp internal-sftp -P {without}") as server:
        server.box().probe()
        server.box().put(ONE, files)
        server.box().put(ONE, files)
        assert delivered(server, files)


def test_a_folder_that_is_missing_is_said_to_be(server: SshServer, files: dict[str, Path]) -> None:
    box = outbox.opened(RECIPIENT, f"{server.url}/missing", server.private.parent)
    with pytest.raises(EndpointUnavailableError, match="is not there"):
        box.put(ONE, files)
    assert names(server) == set()


@pytest.mark.parametrize(
    "name", ["put", "manifest", "deliveries", "acknowledgements", "remove", "discard_drafts", "probe"]
)
def test_a_server_without_sftp_is_trouble(files: dict[str, Path], name: str) -> None:
    arguments = {"put": (ONE, files), "manifest": (ONE,), "remove": (ONE,)}.get(name, ())
    with ssh_server("Subsystem sftp /bin/false") as server, pytest.raises(EndpointUnavailableError):
        getattr(server.box(), name)(*arguments)


# -- names of theirs ---------------------------------------------------------------------------------------------------


def test_a_name_that_is_no_text_is_left_alone(server: SshServer, files: dict[str, Path]) -> None:
    theirs = os.fsencode(server.inbox) + b"/r\xe4sum\xe9.txt"
    Path(os.fsdecode(theirs)).touch()
    box = server.box()
    box.put(ONE, files)
    assert box.acknowledgements() == {}
    assert box.discard_drafts() == 0
    assert Path(os.fsdecode(theirs)).exists()


def test_an_acknowledgement_that_is_no_plain_file_is_empty(server: SshServer) -> None:
    (server.inbox / f"{ONE}.ack").symlink_to("/etc/hostname")
    (server.inbox / f"{OTHER}.ack").mkdir()
    assert server.box().acknowledgements() == {ONE: b"", OTHER: b""}


def test_a_draft_with_a_folder_in_it_is_trouble_and_stays(server: SshServer, files: dict[str, Path]) -> None:
    (server.inbox / f".{ONE}.draft" / "theirs").mkdir(parents=True)
    subprocess.run(["chown", "-R", server.user, server.inbox], check=True)
    with pytest.raises(EndpointUnavailableError):
        server.box().put(ONE, files)
    assert names(server) == {f".{ONE}.draft"}


def test_other_bytes_under_the_same_id_are_no_matter_for_another_try(server: SshServer, files: dict[str, Path]) -> None:
    box = server.box()
    box.put(ONE, files)
    (server.inbox / ONE / MANIFEST).write_bytes(b"other")
    with pytest.raises(GovernanceError, match="other bytes") as refusal:
        box.put(ONE, files)
    assert not isinstance(refusal.value, EndpointUnavailableError | RecipientError)
    assert (server.inbox / ONE / MANIFEST).read_bytes() == b"other"


def test_a_link_in_a_delivery_is_no_file_of_it(server: SshServer, files: dict[str, Path]) -> None:
    server.box().put(ONE, files)
    (server.inbox / ONE / MANIFEST).rename(server.inbox / "elsewhere")
    (server.inbox / ONE / MANIFEST).symlink_to(server.inbox / "elsewhere")
    with pytest.raises(GovernanceError, match="other bytes"):
        server.box().put(ONE, files)


def test_drafts_of_ours_are_discarded_and_nothing_else_is(server: SshServer, files: dict[str, Path]) -> None:
    kept = {f".{ONE[:-1]}.draft", ".theirs.draft", f".{ONE}.draft.bak", f"{ONE}.draft"}
    for name in kept:
        (server.inbox / name).touch()
    (server.inbox / f".{OTHER}.draft").mkdir()
    (server.inbox / f".{OTHER}.draft" / "part-00000.p7m").symlink_to(files[MANIFEST])
    (server.inbox / f".{ONE}.draft").symlink_to(server.inbox)
    subprocess.run(["chown", "-R", "-h", server.user, server.inbox], check=True)
    assert server.box().discard_drafts() == 2
    assert names(server) == kept
    assert files[MANIFEST].exists()


# -- kills, and large parts --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_put_that_is_killed_anywhere_leaves_all_or_nothing_and_the_next_delivers_the_same(
    server: SshServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = server.box()
    asked = requests_of(lambda: box.put(ONE, files), monkeypatch)
    for number in range(1, len(asked) + 1):
        box.remove(ONE)
        faults.killed(lambda: box.put(ONE, files), lambda stop, number=number: at_request(number, stop))
        assert names(server) <= {f".{ONE}.draft"}, number
        assert box.manifest(ONE) is None
        box.put(ONE, files)
        assert delivered(server, files), number


def test_a_put_that_is_killed_once_it_is_done_delivers_nothing_anew(server: SshServer, files: dict[str, Path]) -> None:
    box = server.box()
    faults.killed(lambda: box.put(ONE, files), faults.before(asyncssh.SSHClientConnection, "abort"))
    assert delivered(server, files)
    before = (server.inbox / ONE).stat().st_ctime_ns
    box.put(ONE, files)
    assert (server.inbox / ONE).stat().st_ctime_ns == before


@pytest.mark.slow
def test_a_part_of_256_megabytes_streams(server: SshServer, tmp_path: Path) -> None:
    files = sealed(tmp_path / "sealed")
    with files["part-00000.p7m"].open("wb") as part:
        for _ in range(256):
            part.write(os.urandom(1 << 20))
    box = server.box()
    box.probe()  # whatever is imported once
    tracemalloc.start()
    try:
        box.put(ONE, files)
        put_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        box.put(ONE, files)  # compared
        compared_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert delivered(server, files)
    assert max(put_peak, compared_peak) < 64 << 20
