"""An S3 server for tests (moto, in an environment of its own), and a relay before it that fails as it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deliveries import RECIPIENT
from governance.sharing import outbox
from governance.sharing.outbox import At, Outbox

PROGRAM = Path(__file__).parents[1] / ".venv-moto" / "bin" / "moto_server"
BUCKET, PREFIX = "deliveries", "wellbe/clinic_1"
SECRET = "hidden-secret"


@dataclass
class Asked:
    """A request that came to the relay."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def changes(self) -> bool:
        return self.method != "GET"


_SOMEBODY = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
"""moto wants a signature and does not look at it."""

Answer = tuple[int, bytes]
Meet = Callable[[Asked], Answer | None]
"""What happens to a request: None passes it on, a status and a body answer it, an exception hangs up."""


@dataclass
class ObjectServer:
    """A bucket. `meet` sees each request before, `met` after the store has answered it and before we hear of it; `at`
    is what stands for it on our side."""

    folder: Path
    store: int
    meet: Meet = lambda _: None
    met: Meet = lambda _: None
    port: int = 0
    at: At | None = None
    asked: list[Asked] = field(default_factory=list)
    _busy: threading.Lock = field(default_factory=threading.Lock)

    @property
    def private(self) -> Path:
        return self.folder / "private" / RECIPIENT

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{PREFIX}"

    def box(self, url: str | None = None) -> Outbox:
        """Our side of it."""
        return outbox.opened(RECIPIENT, url or self.url, self.private.parent, self.at)

    def say(self, **changed: Any) -> None:
        """Write how the store is reached."""
        access = {
            "endpoint": f"http://127.0.0.1:{self.port}", "access_key_id": "hidden-id", "secret_access_key": SECRET,
        }  # fmt: skip
        self.private.mkdir(parents=True, exist_ok=True)
        (self.private / "storage.json").write_text(json.dumps(access | changed))
        (self.private / "storage.json").chmod(0o600)

    def names(self, under: str = f"{PREFIX}/") -> dict[str, bytes]:
        """Every object, by its name, with its bytes, as the store has them."""
        keys = [
            line.split("</Key>")[0]
            for line in self.direct("GET", f"/{BUCKET}?list-type=2&prefix={under}")[1].decode().split("<Key>")[1:]
        ]
        return {key.removeprefix(under): self.direct("GET", f"/{BUCKET}/{key}")[1] for key in keys}

    def write(self, name: str, content: bytes) -> None:
        """Put an object, as the recipient does."""
        assert self.direct("PUT", f"/{BUCKET}/{PREFIX}/{name}", content)[0] == 200

    def direct(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Ask the store itself."""
        return _ask(self.store, method, path, body, {"Authorization": _SOMEBODY})[:2]

    def empty(self) -> None:
        """Take away everything, and the faults."""
        self.meet = self.met = lambda _: None
        self.direct("POST", "/moto-api/reset")
        self.direct("PUT", f"/{BUCKET}")
        self.asked.clear()
        self.say()


def _ask(port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes, Any]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def _relay(server: ObjectServer) -> type[BaseHTTPRequestHandler]:
    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers), body)
            try:
                with server._busy:
                    server.asked.append(asked)
                    headers: Any = {}
                    answer = server.meet(asked)
                    if answer is None:
                        kept = {name: value for name, value in asked.headers.items() if name != "Connection"}
                        status, content, headers = _ask(server.store, self.command, self.path, body, kept)
                        answer = server.met(asked) or (status, content)
            except ConnectionError:
                self.close_connection = True
                return
            self.send_response(answer[0])
            headers = {"ETag": '"0"', **dict(headers)}
            for name, value in headers.items():
                if name.lower() not in ("connection", "content-length", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            self.send_header(
                "Content-Length", headers.get("Content-Length") if self.command == "HEAD" else str(len(answer[1]))
            )
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever asked may be gone
                self.wfile.write(b"" if self.command == "HEAD" else answer[1])

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

        def log_message(self, *_: Any) -> None:
            pass

    return Relay


@contextlib.contextmanager
def object_server(folder: Path) -> Iterator[ObjectServer]:
    """A running server with an empty bucket, gone at the end."""
    if not PROGRAM.exists():
        pytest.skip("moto is missing: `.ci/beside moto` makes it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        store = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (folder / "moto.log").open("wb") as log, subprocess.Popen(
        [PROGRAM, "-H", "127.0.0.1", "-p", str(store)], stdout=log, stderr=log, env=environment
    ) as running:  # fmt: skip
        server = ObjectServer(folder, store)
        relay = ThreadingHTTPServer(("127.0.0.1", 0), _relay(server))
        relay.daemon_threads = True
        server.port = relay.server_address[1]
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError):
                    server.empty()
                    break
                assert time.monotonic() < deadline and running.poll() is None, (folder / "moto.log").read_text()
                time.sleep(0.1)
            yield server
        finally:
            relay.shutdown()
            relay.server_close()
            running.kill()
