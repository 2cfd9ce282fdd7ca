"""What it costs to seal and to open a delivery of a gigabyte: CPU, time, and the memory of all processes together."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.measuring import in_fresh_process, say

ROW = b'{"booking_reference":"%064x","service_reference":"%064x","given_name":"Astrid","email":"astrid@example.com"}\n'
ROWS_IN_A_CHUNK = 500


@dataclass(frozen=True)
class Cost:
    """Of one piece of work: bytes of rows, parts, seconds, CPU seconds of ours and of OpenSSL's, megabytes added."""

    bytes: int
    parts: int
    wall: float
    ours: float
    openssl: float
    added_mb: float


def main(folder: Path, megabytes: int = 1000) -> None:
    """Seal, then open, so many megabytes; each in a process of its own."""
    folder.mkdir()
    say(f"{'':<44}{'MB':>8}{'PARTS':>7}{'WALL S':>8}{'MB/S':>7}{'CPU S':>7}{'OPENSSL S':>11}{'ADDED MB':>10}")
    for size in (megabytes // 10, megabytes):
        _shown("seal", in_fresh_process(_seal, folder, size))
    _shown("open a part", in_fresh_process(_open, folder))


def _shown(name: str, cost: Cost) -> None:
    say(
        f"{name:<44}{cost.bytes / 1e6:>8,.0f}{cost.parts:>7}{cost.wall:>8.2f}{cost.bytes / 1e6 / cost.wall:>7,.0f}"
        f"{cost.ours:>7.2f}{cost.openssl:>11.2f}{cost.added_mb:>10.1f}"
    )


def _rows(megabytes: int) -> Iterator[bytes]:
    chunk = b"".join(ROW % (number, number + 7) for number in range(ROWS_IN_A_CHUNK))
    for _ in range(megabytes * 1_000_000 // len(chunk)):
        yield chunk


def _seal(sender: Any, folder: Path, megabytes: int) -> None:
    from certified import NOW, identity, recipient
    from governance.sharing.cms import Envelope, seal

    envelope = Envelope("clinic", recipient("clinic").certificate, identity(), NOW)
    for name in ("certificate", "private_key"):
        (folder / name).write_text(getattr(recipient("clinic"), name))
    seal(_rows(1), folder, "warm", "application/x-ndjson", envelope)
    with _Watched() as watched:
        parts = seal(_rows(megabytes), folder, "rows", "application/x-ndjson", envelope)
    sender.send(watched.cost(sum(part.plaintext_bytes for part in parts), len(parts)))


def _open(sender: Any, folder: Path) -> None:
    sealed, signed, rows = folder / "rows.001.p7m", folder / "signed", folder / "opened"
    form = ["-binary", "-inform", "DER"]
    own = ["-recip", str(folder / "certificate"), "-inkey", str(folder / "private_key")]
    with _Watched() as watched:
        subprocess.run(["openssl", "cms", "-decrypt", *form, "-in", sealed, *own, "-out", signed], check=True)
        # Whose signature it is, the tests ask; here is what it costs to look.
        verify = ["openssl", "cms", "-verify", "-noverify", *form, "-in", signed, "-out", rows]
        subprocess.run(verify, check=True, capture_output=True)
    sender.send(watched.cost(rows.stat().st_size, 1))


class _Watched:
    """Looks at this process and at those that it started, a hundred times a second."""

    def __enter__(self) -> _Watched:
        self._over, self._peak = threading.Event(), 0.0
        self._before, self._times, self._began = _resident_mb("self"), os.times(), time.perf_counter()
        self._looking = threading.Thread(target=self._look)
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wall, after = time.perf_counter() - self._began, os.times()
        self._over.set()
        self._looking.join()
        before = self._times
        self._ours = after.user + after.system - before.user - before.system
        self._theirs = after.children_user + after.children_system - before.children_user - before.children_system

    def cost(self, size: int, parts: int) -> Cost:
        """What was seen."""
        return Cost(size, parts, self._wall, self._ours, self._theirs, self._peak - self._before)

    def _look(self) -> None:
        while not self._over.wait(0.01):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            # Until a child becomes OpenSSL its memory is ours, which is counted already.
            held = sum(_resident_mb(child) for child in children if _name(child) == "openssl")
            self._peak = max(self._peak, _resident_mb("self") + held)


def _name(process: str) -> str:
    return "".join(line.split()[1] for line in _status(process) if line.startswith("Name:"))


def _resident_mb(process: str) -> float:
    return sum(int(line.split()[1]) / 1024 for line in _status(process) if line.startswith("VmRSS:"))


def _status(process: str) -> list[str]:
    """What the kernel says of a process; nothing once it is gone."""
    try:
        return Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []
