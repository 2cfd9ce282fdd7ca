"""How the models of the policy read their files."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, and no key that the model does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest(part: dict[str, Any]) -> str:
    """SHA-256 of a part of the policy, whatever the order in which its files state it."""
    return hashlib.sha256(json.dumps(part, sort_keys=True, default=str).encode()).hexdigest()
