"""Files that are there whole or not at all, also when the machine stops half-way: keyring, signer keys, checkpoints."""

from __future__ import annotations

import os
from pathlib import Path


def draft_of(path: Path) -> Path:
    """Where a file is written before it takes its name: one place a file, so that the next write replaces what a kill
    left."""
    return path.with_name(f".{path.name}.draft")


def write(path: Path, text: str, *, replace: bool, mode: int = 0o600, draft: Path | None = None) -> None:
    """Write a file; `replace` one that is there, or raise FileExistsError for it. Raises OSError."""
    draft = draft or draft_of(path)
    try:
        draft.unlink(missing_ok=True)
        with open(draft, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
        if replace:
            draft.replace(path)
        else:
            path.hardlink_to(draft)  # unlike a rename, a link never takes the place of a file that is there
    finally:
        draft.unlink(missing_ok=True)
