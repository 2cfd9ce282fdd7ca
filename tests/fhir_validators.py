"""Two validators of HL7 FHIR R4 that know nothing of this project, asked what they make of resources."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "fhir"


@dataclass(frozen=True)
class Verdict:
    """What each has against a resource: nothing, when it is sound."""

    medplum: list[str]
    lantana: list[str]


def verdicts(lines: bytes) -> list[Verdict]:
    """Of each line, a resource as JSON."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules" / ".installed").exists():
        pytest.skip("the validators of FHIR are missing: .ci/fhir installs them, with Node.js")
    done = subprocess.run([node, "validate.cjs"], cwd=FOLDER, input=lines, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return [Verdict(**json.loads(line)) for line in done.stdout.splitlines()]


def verdicts_of(resources: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """Of each resource."""
    return verdicts("".join(f"{json.dumps(resource)}\n" for resource in resources).encode())
