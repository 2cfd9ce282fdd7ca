"""Deliveries for tests of outboxes: synthetic parts on disk, and what must never be seen at an endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from governance.sharing.outbox import MANIFEST, SIGNATURE

ONE, OTHER = "1f" * 32, "2e" * 32
RECIPIENT = "clinic_1"


def sealed(folder: Path, say: str = "sealed", *, parts: int = 2, size: int = 3_000) -> dict[str, Path]:
    """The files of a delivery, by the names that they get; `say` tells one delivery from another."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"part-{number:05}.p7m" for number in range(parts)), MANIFEST, SIGNATURE]
    for name in names:
        (folder / name).write_bytes((f"{say} {name} ".encode() * (size // 10))[:size])
    return {name: folder / name for name in names}


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """The SHA-256 of each file of a delivery."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def there(folder: Path) -> dict[str, str]:
    """The same of what is in a folder, whatever it is."""
    return digests({path.name: path for path in folder.iterdir()})
