"""Where compiled code is kept: beside the source, else in the user's own cache, else nowhere, and never elsewhere."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from governance.anonymisation import compiled
from governance.embedded.site import CHECKOUT


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of an installation that holds compiled code and, because root may write everywhere, is said to be
    read-only."""
    folder = tmp_path / "installed"
    (folder / "of_source").mkdir(parents=True)
    (folder / "of_source" / "swap.nbi").write_bytes(b"index")
    (folder / "of_source" / "swap.1.nbc").write_bytes(b"code")
    really = compiled._writable
    monkeypatch.setattr(compiled, "_writable", lambda path, *mode: path != folder and really(path, *mode))
    return folder


def test_an_installation_that_can_be_written_keeps_it(tmp_path: Path) -> None:
    assert compiled._folder(tmp_path / "new" / "one", tmp_path / "own") == tmp_path / "new" / "one"
    assert not (tmp_path / "own").exists()
    assert list((tmp_path / "new" / "one").iterdir()) == []


def test_one_that_cannot_is_copied_into_the_users_own_cache(installed: Path, tmp_path: Path) -> None:
    own = tmp_path / "home" / "own"
    assert compiled._folder(installed, own) == own
    assert {path.name: path.read_bytes() for path in (own / "of_source").iterdir()} == {
        "swap.nbi": b"index", "swap.1.nbc": b"code",
    }  # fmt: skip
    assert stat.S_IMODE(own.stat().st_mode) & 0o077 == 0


def test_what_the_user_has_compiled_since_is_not_taken_back(installed: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "of_source").mkdir(parents=True)
    (own / "of_source" / "swap.nbi").write_bytes(b"newer")
    compiled._folder(installed, own)
    assert (own / "of_source" / "swap.nbi").read_bytes() == b"newer"


def test_without_a_folder_of_the_users_nothing_is_kept(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert compiled._folder(installed, None) is None
    assert compiled._folder(installed, tmp_path / "file" / "own") is None


@pytest.mark.slow
def test_installation_compiles_all_that_a_table_needs(tmp_path: Path) -> None:
    """A process after `governance.compiling` adds nothing to what was kept."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "plugins"), "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    subprocess.run([sys.executable, "-m", "governance.compiling"], env=environment, check=True)
    before = sorted(path.name for path in (tmp_path / "kept").rglob("*.nbc"))
    assert before
    (tmp_path / "in.csv").write_text("age,job\n" + "".join(f"{at % 70},{at % 3}\n" for at in range(5000)))
    for protection in ("{k: 5}", "{k: 5, l: 2}", "{k: 5, t: 0.5}"):
        (tmp_path / "p.yaml").write_text(
            f"version: 1\nprotection: {protection}\neffort: {{steps: 1000}}\ncolumns:\n  job: {{role: sensitive}}\n"
            "  age: {role: quasi_identifier, hierarchy: {numbers: {widths: [5, 20]}}}\n"
        )
        subprocess.run(
            [sys.executable, "-m", "governance", "anonymise", tmp_path / "in.csv", tmp_path / "out.csv", "--policy",
             tmp_path / "p.yaml"],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip
    days = "from bench.days import *; from unit.test_daily import small_town; from bench.releases import *; " \
           "simulate(course(small_town(), Course(days=4, rows=60)), rules_for(small_town(), k=3))"  # fmt: skip
    paths = os.pathsep.join([environment["PYTHONPATH"], str(CHECKOUT / "tests")])
    subprocess.run([sys.executable, "-c", days], env={**environment, "PYTHONPATH": paths}, check=True)
    assert sorted(path.name for path in (tmp_path / "kept").rglob("*.nbc")) == before
