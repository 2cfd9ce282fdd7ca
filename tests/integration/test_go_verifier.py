"""Go's own packages for transparency logs agree with the kit: on what is sound, and on every kind of change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from made_logs import OTHER, SIGNER, START, MadeLog, line

pytestmark = [pytest.mark.slow, pytest.mark.clause("R1")]

KIT = Path(__file__).parents[2] / "plugins" / "governance" / "auditor" / "verify_run_log.py"


def agreed(go_verifier: Path, made: MadeLog, command: str, *files: Path) -> bool:
    """Whether both take it; they have to say the same."""
    key = str(SIGNER.verifier)
    go = subprocess.run([go_verifier, command, key, *files], capture_output=True, text=True, check=False)
    assert "panic" not in go.stderr
    kit = subprocess.run(
        [sys.executable, "-I", KIT, command, made.keys(), *files], capture_output=True, text=True, check=False
    )
    assert (go.returncode, kit.returncode) in ((0, 0), (1, 1)), (go.stdout, go.stderr, kit.stdout, kit.stderr)
    return go.returncode == 0


@pytest.fixture
def made(tmp_path: Path) -> MadeLog:
    """A log of four hours, and a checkpoint of the third."""
    log = MadeLog(tmp_path)
    for entries in (3, 0, 5, 2):
        log.hour(entries)
    return log


def test_both_take_an_honest_log_its_entries_and_its_growth(go_verifier: Path, made: MadeLog) -> None:
    assert agreed(go_verifier, made, "log", made.export(), made.checkpoint(), made.checkpoint(11))
    for index in range(len(made.lines)):
        assert agreed(go_verifier, made, "entry", *made.entry(index))
    for old in range(1, len(made.lines) + 1):
        assert agreed(go_verifier, made, "consistency", made.checkpoint(old), made.consistency(old))


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a byte": lambda lines: [lines[0].replace(b"loader", b"loafer"), *lines[1:]],
    "the head deleted": lambda lines: lines[1:],
    "a middle deleted": lambda lines: lines[:5] + lines[6:],
    "the tail deleted": lambda lines: lines[:-1],
    "two swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "one inserted": lambda lines: [line("pull", START), *lines],
    "nothing left": lambda lines: [],
}


@pytest.mark.parametrize("change", CHANGES)
def test_both_refuse_a_log_that_was_changed(go_verifier: Path, made: MadeLog, change: str) -> None:
    head = made.checkpoint()
    assert not agreed(go_verifier, made, "log", made.export(CHANGES[change](made.lines)), head)


@pytest.mark.parametrize("change", ["another key", "size", "root", "signature"])
def test_both_refuse_a_checkpoint_that_was_changed(go_verifier: Path, made: MadeLog, change: str) -> None:
    path = made.checkpoint(None, OTHER if change == "another key" else SIGNER)
    lines = path.read_text("utf-8").split("\n")
    if change == "size":
        lines[1] = str(int(lines[1]) - 1)
    elif change == "root":
        lines[2] = ("A" if lines[2][0] != "A" else "B") + lines[2][1:]
    elif change == "signature":
        lines[4] = lines[4][:-9] + ("A" if lines[4][-9] != "A" else "B") + lines[4][-8:]
    path.write_text("\n".join(lines), "utf-8")
    assert not agreed(go_verifier, made, "log", made.export(), path)


def test_both_refuse_an_entry_that_was_changed_and_another_history(go_verifier: Path, made: MadeLog) -> None:
    leaf, proof = made.entry(4)
    leaf.write_bytes(made.lines[4].replace(b"loader", b"loafer") + b"\n")
    assert not agreed(go_verifier, made, "entry", leaf, proof)
    held = made.checkpoint(5)
    made.lines[2] = line("pull", START)
    assert not agreed(go_verifier, made, "consistency", held, made.consistency(5))
