"""The auditor's kit: one short file without anything of ours, that takes an honest log and no other."""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from governance.notes import Checkpoint, Signer
from made_logs import ORIGIN, OTHER, SIGNER, START, MadeLog, line

pytestmark = pytest.mark.clause("R1")

KIT = Path(__file__).parents[2] / "plugins" / "governance" / "auditor" / "verify_run_log.py"
REFERENCE = os.environ.get("GOVERNANCE_REFERENCE_DATA")


def loaded() -> Any:
    """The kit as a module, for what is slow as a process."""
    spec = importlib.util.spec_from_file_location("kit", KIT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kit = loaded()


@pytest.fixture
def made(tmp_path: Path) -> MadeLog:
    """A log of three hours, twelve entries."""
    log = MadeLog(tmp_path)
    for _ in range(3):
        log.hour()
    return log


def verified(*arguments: object) -> str:
    """What the kit says of something sound."""
    command, keys, *files = arguments
    return str(getattr(kit, str(command))(kit.verifier_keys(keys), *files))


def refused(*arguments: object) -> str:
    """Why the kit does not take it."""
    with pytest.raises(kit.NotVerifiedError) as raised:
        verified(*arguments)
    return str(raised.value)


# -- what it is --------------------------------------------------------------------------------------------------------


def test_it_is_shorter_than_two_hundred_lines_and_needs_nothing_of_ours() -> None:
    assert len(KIT.read_text("utf-8").splitlines()) < 200
    roots = set()
    for node in ast.walk(ast.parse(KIT.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").split(".")[0])
    assert roots - set(sys.stdlib_module_names) == {"cryptography"}


def run(*arguments: object) -> tuple[int, str]:
    """The kit as the auditor runs it: exit code, and all that it said."""
    command = [sys.executable, "-I", str(KIT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_on_the_command_line_it_says_verified_not_verified_or_how_it_is_used(made: MadeLog) -> None:
    export, keys, head = made.export(), made.keys(), made.checkpoint()
    assert run("log", keys, export, head) == (
        0, f"VERIFIED: 12 entries of {ORIGIN}, with 1 checkpoints\n",
    )  # fmt: skip
    export.write_bytes(export.read_bytes().replace(b'"counts":{}', b'"counts":{"x":1}', 1))
    code, said = run("log", keys, export, head)
    assert code == 1
    assert said.startswith("NOT VERIFIED: the first 12 entries are not those that")
    for arguments in (
        (),
        ("log",),
        ("steal", keys, export, head),
        ("log", keys, "nowhere", head),
        ("entry", keys, head),
    ):
        code, said = run(*arguments)
        assert code == 2, arguments
        assert "python verify_run_log.py log KEYS EXPORT CHECKPOINT" in said
        assert "Traceback" not in said


# -- a whole log -------------------------------------------------------------------------------------------------------


def test_a_log_is_verified_with_every_checkpoint_that_the_auditor_holds(made: MadeLog, tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.mkdir()
    for size in range(1, 12):
        made.checkpoint(size).rename(held / f"{size}.checkpoint")
    said = verified("log", made.keys(), made.export(), made.checkpoint(), held)
    assert said == f"VERIFIED: 12 entries of {ORIGIN}, with 12 checkpoints"
    assert verified("log", made.keys(), made.export(), made.checkpoint(), held / "4.checkpoint", held / "9.checkpoint")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 9])
def test_logs_of_any_size_are_verified(tmp_path: Path, size: int) -> None:
    log = MadeLog(tmp_path, lines=[line("pull", START) for _ in range(size)])
    assert f"VERIFIED: {size} entries" in verified("log", log.keys(), log.export(), log.checkpoint())


def test_an_empty_log_is_verified_against_an_empty_checkpoint(tmp_path: Path) -> None:
    log = MadeLog(tmp_path)
    assert verified("log", log.keys(), log.export(), log.checkpoint()).startswith("VERIFIED: 0 entries")


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a byte": lambda lines: [lines[0].replace(b"2026-03-10", b"2026-03-11"), *lines[1:]],
    "the head": lambda lines: lines[1:],
    "a middle": lambda lines: lines[:5] + lines[6:],
    "the tail": lambda lines: lines[:-1],
    "everything": lambda lines: [],
    "two swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "one twice": lambda lines: [lines[0], *lines],
    "one inserted": lambda lines: [line("pull", START), *lines],
    "no entry": lambda lines: [b"{}", *lines[1:]],
    "an empty line": lambda lines: [b"", *lines],
    "bytes": lambda lines: [bytes(range(256)), *lines[1:]],
    "another format": lambda lines: [lines[0].replace(b"run-log/1", b"run-log/2"), *lines[1:]],
    "a line end of Windows": lambda lines: [lines[0] + b"\r", *lines[1:]],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_log_that_was_changed_is_refused(made: MadeLog, change: str) -> None:
    export = made.export(CHANGES[change](made.lines))
    assert refused("log", made.keys(), export, made.checkpoint())


def test_every_single_byte_counts(made: MadeLog) -> None:
    keys, head, sound = made.keys(), made.checkpoint(), made.export().read_bytes()
    for at in range(0, len(sound), 97):
        (made.folder / "run_log.jsonl").write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        refused("log", keys, made.folder / "run_log.jsonl", head)


def test_a_held_checkpoint_that_is_larger_says_that_the_log_was_cut(made: MadeLog) -> None:
    held = made.checkpoint()
    del made.lines[-1]
    assert "cut, or put back" in refused("log", made.keys(), made.export(), made.checkpoint(), held)


def test_a_held_checkpoint_of_another_history_is_met_at_its_own_size(made: MadeLog, tmp_path: Path) -> None:
    held = made.checkpoint(5).rename(tmp_path / "held.checkpoint")
    made.lines[2] = line("pull", START)
    said = refused("log", made.keys(), made.export(), made.checkpoint(), held)
    assert said.startswith("the first 5 entries are not those")


def test_a_checkpoint_of_another_log_is_refused(made: MadeLog, tmp_path: Path) -> None:
    stranger = Signer.of_seed("other.example/log", bytes(32))
    other = tmp_path / "other.checkpoint"
    other.write_text(Checkpoint(stranger.name, 1, bytes(32)).signed([stranger]))
    assert "is of another log" in refused("log", made.keys(SIGNER, stranger), made.export(), made.checkpoint(), other)


# -- what it tells -----------------------------------------------------------------------------------------------------


def told(made: MadeLog) -> list[str]:
    """The notices about a sound log."""
    *notices, last = verified("log", made.keys(), made.export(), made.checkpoint()).split("\n")
    assert last.startswith("VERIFIED")
    return notices


def test_a_quiet_hour_is_counted(made: MadeLog) -> None:
    made.hour(0)
    made.hour(0)
    assert told(made) == ["NOTICE: 2 times nothing happened from one heartbeat to the next"]


@pytest.mark.parametrize(("minutes", "is_told"), [(29, False), (30, False), (31, True)])
def test_an_entry_from_long_before_a_heartbeat_that_stands_after_it_is_told(
    made: MadeLog, minutes: int, is_told: bool
) -> None:
    made.lines.append(line("pull", made.now - timedelta(minutes=minutes)))
    assert (told(made) != []) == is_told
    assert not is_told or "back-dated, or a clock set back" in told(made)[0]


@pytest.mark.parametrize(("hours", "is_told"), [(2, False), (2.1, True)])
def test_a_time_without_a_heartbeat_is_told(made: MadeLog, hours: float, is_told: bool) -> None:
    made.lines += [line("pull", made.now), line("heartbeat", made.now + timedelta(hours=hours))]
    assert any("no heartbeat for two hours" in notice for notice in told(made)) == is_told


@pytest.mark.parametrize(("hours", "is_told"), [(24, False), (25, True)])
def test_an_intent_without_an_outcome_is_told_a_day_later(made: MadeLog, hours: int, is_told: bool) -> None:
    made.lines.insert(0, line("pull", made.now - timedelta(hours=hours), phase="intent", outcome=None))
    assert (told(made) != []) == is_told


def test_an_intent_with_its_outcome_is_not_told(made: MadeLog) -> None:
    for phase, outcome in (("intent", None), ("outcome", "passed")):
        made.lines.insert(0, line("pull", START - timedelta(days=2), phase=phase, outcome=outcome, attempt_id="a"))
    made.lines[:2] = made.lines[1::-1]
    assert told(made) == []


def test_alarms_and_entries_that_are_not_covered_are_told(made: MadeLog) -> None:
    made.lines[0] = line("pull", START, alarms=["K1 something"])
    head = made.checkpoint(10)
    said = verified("log", made.keys(), made.export(), head)
    assert said.split("\n")[:2] == [
        "NOTICE: 1 entries carry alarms", "NOTICE: 2 entries are newer than the checkpoint: not covered yet",
    ]  # fmt: skip


def test_a_text_that_looks_like_a_key_is_taken_for_a_text(made: MadeLog) -> None:
    made.lines[0] = line("pull", START, alarms=['"event":"heartbeat"', '"attempt_id":"x","phase":"intent"'])
    assert told(made) == ["NOTICE: 1 entries carry alarms"]


@pytest.mark.parametrize("name", ["entry_id", "event", "phase", "attempt_id", "written_at"])
def test_a_key_of_an_entry_that_stands_in_one_of_its_parts_too_is_not_taken_for_it(made: MadeLog, name: str) -> None:
    made.lines[2] = line("pull", START, details={name: "heartbeat"})
    made.lines[3] = line("pull", START, measures={name: "intent"})
    made.lines[4] = line("pull", START, run={"entry_id": "heartbeat"})
    assert told(made) == []


def test_a_heartbeat_of_somebody_else_is_none_and_is_told(made: MadeLog) -> None:
    later = made.now + timedelta(hours=3)
    made.lines += [
        *(line("heartbeat", made.now + timedelta(hours=n), database_login="recorder") for n in (1, 2)),
        line("heartbeat", later),
    ]
    assert told(made) == [
        "NOTICE: 2 entries are heartbeats of another login than the sequencer",
        "NOTICE: 1 times there was no heartbeat for two hours: nothing is proven of that time",
    ]


def test_alarms_are_those_of_the_entry_itself(made: MadeLog) -> None:
    made.lines[0] = line("pull", START, alarms=["K1 something"], run={"alarms": []}, measures={"alarms": []})
    assert told(made) == ["NOTICE: 1 entries carry alarms"]


# -- checkpoints and keys ----------------------------------------------------------------------------------------------


def rotated(note: str, at: int) -> str:
    return note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :]


def test_every_character_of_a_checkpoint_counts(made: MadeLog) -> None:
    keys, note = kit.verifier_keys(made.keys()), made.note()
    for at in range(len(note)):
        with pytest.raises(kit.NotVerifiedError):
            kit.opened(rotated(note, at), keys, Path("note"))


NOTES: dict[str, Callable[[str], str]] = {
    "nothing": lambda note: "",
    "cut short": lambda note: note[:-1],
    "without signatures": lambda note: note.split("\n\n")[0] + "\n\n",
    "with an extension line": lambda note: note.replace("\n\n", "\nmore\n\n"),
    "with a leading zero": lambda note: note.replace("\n12\n", "\n012\n"),
    "with other line ends": lambda note: note.replace("\n", "\r\n"),
    "with more after it": lambda note: note + "more\n",
    "of another key": lambda note: note.split("\n\n")[0] + "\n\n" + OTHER.signature(note.split("\n\n")[0] + "\n"),
}


@pytest.mark.parametrize("change", NOTES)
def test_a_note_that_is_no_signed_checkpoint_is_refused(made: MadeLog, change: str) -> None:
    made.checkpoint().write_text(NOTES[change](made.note()), newline="")
    assert refused("log", made.keys(), made.export(), made.folder / "12.checkpoint")


def test_a_signature_of_a_stranger_is_passed_over_and_a_wrong_one_of_a_known_key_is_not(made: MadeLog) -> None:
    both = made.note(None, SIGNER, OTHER)
    assert kit.opened(both, kit.verifier_keys(made.keys()), Path("note"))[1] == 12
    head, _, signatures = both.rpartition("\n\n")
    first, second = signatures.splitlines()
    forged = base64.b64decode(second.split(" ")[2])
    wrong = f"— {ORIGIN} {base64.b64encode(forged[:-1] + bytes([forged[-1] ^ 1])).decode()}"
    with pytest.raises(kit.NotVerifiedError, match="the signature of .* is wrong"):
        kit.opened(f"{head}\n\n{first}\n{wrong}\n", kit.verifier_keys(made.keys(SIGNER, OTHER)), Path("note"))


def test_after_a_hand_over_either_key_opens_it(made: MadeLog) -> None:
    both = made.checkpoint(None, SIGNER, OTHER)
    assert verified("log", made.keys(SIGNER), made.export(), both)
    assert verified("log", made.keys(OTHER), made.export(), both)


@pytest.mark.parametrize("text", ["nonsense", "a+b", "a+b+c", "a+00000000+AAAA", str(SIGNER.verifier)[:-4]])
def test_a_public_key_that_is_mistyped_is_said_to_be_so(made: MadeLog, text: str) -> None:
    made.keys().write_text(text + "\n")
    with pytest.raises(ValueError, match=r"public key|base64|padding|[Ii]nvalid"):
        verified("log", made.folder / "keys.txt", made.export(), made.checkpoint())


# -- proofs ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(REFERENCE is None, reason="GOVERNANCE_REFERENCE_DATA is not set; the vectors of proofs are there")
def test_proofs_agree_with_the_golden_vectors() -> None:
    vectors = json.loads(Path(str(REFERENCE), "reference", "merkle-vectors.json").read_text())
    ran = {True: 0, False: 0}
    for name, vector in vectors.items():
        proof = [base64.b64decode(hashed) for hashed in vector["proof"] or []]
        if name.startswith("inclusion/"):
            index, size = vector["leafIdx"], vector["treeSize"]
            span, part, whole = (
                (index, index + 1),
                base64.b64decode(vector["leafHash"]),
                base64.b64decode(vector["root"]),
            )
        elif name.startswith("consistency/"):
            span, size = (0, vector["size1"]), vector["size2"]
            part, whole = base64.b64decode(vector["root1"]), base64.b64decode(vector["root2"])
        else:
            continue
        try:
            kit.verify(span, size, proof, part, whole)
            is_refused = len(part) != 32 and name.startswith(
                "inclusion/"
            )  # there, it makes the hash of the leaf itself
        except kit.NotVerifiedError:
            is_refused = True
        assert is_refused == vector["wantErr"], name
        ran[is_refused] += 1
    assert ran == {True: 184, False: 12}


def test_every_entry_is_proven_without_any_other(made: MadeLog) -> None:
    for index in range(len(made.lines)):
        said = verified("entry", made.keys(), *made.entry(index))
        assert said.endswith(f"VERIFIED: this is entry {index} of 12 of {ORIGIN}")
        assert made.lines[index].decode() in said


def test_an_entry_that_was_changed_or_is_another_is_refused(made: MadeLog) -> None:
    leaf, proof = made.entry(4)
    leaf.write_bytes(made.lines[5] + b"\n")
    assert "does not lead to the log" in refused("entry", made.keys(), leaf, proof)
    leaf.write_bytes(made.lines[4].replace(b"passed", b"failed") + b"\n")
    assert refused("entry", made.keys(), leaf, proof)


def test_every_character_of_a_proof_counts(made: MadeLog) -> None:
    leaf, proof = made.entry(4)
    text, keys = proof.read_text(), made.keys()
    for at in range(0, len(text), 3):
        proof.write_text(rotated(text, at))
        refused("entry", keys, leaf, proof)


@pytest.mark.parametrize("change", ["shorter", "longer", "index", "no checkpoint", "empty"])
def test_a_proof_of_another_form_is_refused(made: MadeLog, change: str) -> None:
    leaf, proof = made.entry(4)
    lines = proof.read_text().split("\n")
    changed = {
        "shorter": [*lines[:2], *lines[3:]], "longer": [*lines[:3], lines[2], *lines[3:]],
        "index": [lines[0], "index 5", *lines[2:]], "no checkpoint": lines[:6], "empty": [],
    }[change]  # fmt: skip
    proof.write_text("\n".join(changed))
    assert refused("entry", made.keys(), leaf, proof)


@pytest.mark.parametrize("old", range(1, 13))
def test_a_later_log_is_proven_to_begin_with_an_earlier_one(made: MadeLog, old: int) -> None:
    said = verified("consistency", made.keys(), made.checkpoint(old), made.consistency(old))
    assert said.startswith(f"VERIFIED: the 12 entries of {ORIGIN} begin with the {old}")


def test_a_later_log_of_another_history_is_refused(made: MadeLog) -> None:
    held = made.checkpoint(5)
    made.lines[2] = line("pull", START)
    assert refused("consistency", made.keys(), held, made.consistency(5))
    assert "is not of the log of" in refused("consistency", made.keys(), held, made.consistency(6))


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 1000, b"{" * 100_000, b"\n\n\n", "—".encode() * 1000])
def test_garbage_is_never_a_traceback(made: MadeLog, content: bytes, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(content)
    leaf, proof = made.entry(3)
    for arguments in (
        ("log", made.keys(), made.export(), garbage), ("log", made.keys(), garbage, made.checkpoint()),
        ("entry", made.keys(), garbage, proof), ("entry", made.keys(), leaf, garbage),
        ("consistency", made.keys(), made.checkpoint(), garbage), ("log", garbage, made.export(), made.checkpoint()),
        ("log", made.keys(), tmp_path, made.checkpoint()),
    ):  # fmt: skip
        with pytest.raises((kit.NotVerifiedError, OSError, ValueError)):
            verified(*arguments)
