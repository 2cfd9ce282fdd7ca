"""Where alarms arrive in tests: a webhook and a mail server on 127.0.0.1, which keep what they were sent."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@dataclass
class Arrived:
    """What came, and where it was to be sent."""

    port: int = 0
    messages: list[Any] = field(default_factory=list)


@contextmanager
def _serving(server: socketserver.BaseServer, arrived: Arrived) -> Iterator[Arrived]:
    arrived.port = server.server_address[1]  # type: ignore[index]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield arrived
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def webhook() -> Iterator[Arrived]:
    """Takes JSON by POST; keeps the document with the header that authorises it."""
    arrived = Arrived()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            arrived.messages.append(body | {"authorization": self.headers.get("Authorization")})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with _serving(HTTPServer(("127.0.0.1", 0), Handler), arrived):
        yield arrived


@contextmanager
def mail() -> Iterator[Arrived]:
    """Speaks as much SMTP as it takes to be handed a message; keeps each as text."""
    arrived = Arrived()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                verb = line.split()[0].upper() if line.split() else b""
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b""
                    while not text.endswith(b"\r\n.\r\n"):
                        text += self.rfile.readline()
                    arrived.messages.append(text.decode())
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return

    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler), arrived):
        yield arrived
