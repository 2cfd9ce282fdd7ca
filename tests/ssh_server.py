"""A real OpenSSH server for tests, on 127.0.0.1, with keys and a folder of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deliveries import RECIPIENT
from governance.sharing import outbox
from governance.sharing.outbox import Outbox

NOBODY = "nobody"
"""Whom root's tests log in as, for permissions hold for others only."""


@dataclass
class SshServer:
    """A server. `folder`: what it is made of; `inbox`: the endpoint; `private`: our secrets for it."""

    folder: Path
    user: str
    port: int
    options: list[str] = field(default_factory=list)
    largest_file: int | None = None  # bytes
    running: subprocess.Popen[bytes] | None = None

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    @property
    def private(self) -> Path:
        return self.folder / "private" / RECIPIENT

    @property
    def url(self) -> str:
        return f"sftp://{self.user}@127.0.0.1:{self.port}{self.inbox}"

    def box(self, port: int = 0) -> Outbox:
        """Our side of it; `port`: of what stands between."""
        if not port:
            return outbox.opened(RECIPIENT, self.url, self.private.parent)
        pins = self.private / "known_hosts"
        if f":{port} " not in pins.read_text():
            pins.write_text(pins.read_text() + pins.read_text().replace(f":{self.port} ", f":{port} "))
        return outbox.opened(RECIPIENT, self.url.replace(f":{self.port}/", f":{port}/"), self.private.parent)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        config = self.folder / "sshd_config"
        config.write_text("\n".join([*self.options, *self._config(), ""]))  # of two values the first counts
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where the server's unprivileged half is locked up
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        assert program, "these tests need Debian's openssh-server"
        self.running = subprocess.Popen(
            [program, "-D", "-f", config, "-E", self.folder / "log"],
            restore_signals=False,  # SIGXFSZ stays ignored: a file that gets too large is a failed write
        )
        if self.largest_file:
            resource.prlimit(self.running.pid, resource.RLIMIT_FSIZE, (self.largest_file, self.largest_file))
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline and self.running.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)

    def sessions(self) -> list[psutil.Process]:
        """Its processes that serve somebody."""
        return psutil.Process(self.running.pid).children(recursive=True) if self.running else []

    def stop(self) -> None:
        """End it and whoever it serves."""
        if self.running:
            for process in [*self.sessions(), self.running]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.running.wait()
            self.running = None

    def _config(self) -> list[str]:
        subsystem = [] if any("Subsystem" in line for line in self.options) else ["Subsystem sftp internal-sftp"]
        return [
            "ListenAddress 127.0.0.1", f"Port {self.port}", f"HostKey {self.folder / 'host_key'}", "PidFile none",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}", "StrictModes no", "UsePAM no", "UseDNS no",
            "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
            "MaxStartups 100", *subsystem,
        ]  # fmt: skip


def new_key(path: Path, kind: str = "ed25519") -> str:
    """Make a key; returns its public half."""
    for old in (path, path.with_name(f"{path.name}.pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path], check=True)
    return path.with_name(f"{path.name}.pub").read_text().strip()


@contextlib.contextmanager
def ssh_server(*options: str, as_us: bool = False, largest_file: int | None = None) -> Iterator[SshServer]:
    """A running server, gone at the end. `as_us`: one logs in as who we are, instead of as nobody."""
    us = pwd.getpwuid(os.geteuid()).pw_name
    with tempfile.TemporaryDirectory() as name:  # not in one of pytest's, which nobody may enter
        folder = Path(name)
        folder.chmod(0o755)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        user = NOBODY if os.geteuid() == 0 and not as_us else us
        server = SshServer(folder, user, port, list(options), largest_file)
        server.inbox.mkdir()
        shutil.chown(server.inbox, user)
        server.private.mkdir(mode=0o700, parents=True)
        host = new_key(folder / "host_key")
        (server.private / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}\n")
        (folder / "authorized_keys").write_text(f"{new_key(server.private / 'sftp_key')}\n")
        server.start()
        try:
            yield server
        finally:
            server.stop()
