"""The word lists of the sample, read once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "data"


@lru_cache(maxsize=8)
def words(name: str) -> dict[str, Any]:
    """Return the content of `data/<name>.yaml`."""
    loaded: dict[str, Any] = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def spaced(text: str) -> list[str]:
    """Return the words of a line, an underscore in them standing for a space."""
    return [word.replace("_", " ") for word in text.split()]
