"""What `docs/deliveries.md` says is enough: its commands, as they stand, take an honest delivery and no other (F1)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from certified import NOW, identity, recipient
from governance.__main__ import main
from governance.sharing.cms import Envelope, seal, sign
from governance.sharing.identities import Identities
from governance.sharing.manifests import MANIFEST, SIGNATURE, Manifest, Part, acknowledgement, parse

pytestmark = pytest.mark.clause("F1")

PAGE = (Path(__file__).parents[2] / "plugins" / "governance" / "docs" / "deliveries.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
MAKE, COMPARE, OURS, YOURS, SEALED, OPEN, ROWS, JOIN, ACKNOWLEDGE = BLOCKS
CHECKS = {"ours": OURS, "yours": YOURS, "sealed": SEALED, "open": OPEN, "rows": ROWS, "join": JOIN}
CSV = [b"booking_reference,note\n", *(b"b%d,\xc3\x85re\n" % number for number in range(20))]
JSONL = [b'{"booking_reference":"b%d"}\n' % number for number in range(20)]
Files = Mapping[str, Sequence[bytes]]
FILES: Files = {"rows.csv": CSV, "rows.jsonl": JSONL}


def sh(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def deliver(folder: Path, envelope: Envelope | None = None, files: Files = FILES, **changes: Any) -> Manifest:
    """A delivery of files in parts, and beside it what the recipient has: certificate and key, and our certificate."""
    envelope = envelope or sealing()
    parts = [part for name, rows in files.items() for part in seal(rows, folder, name, "text/csv", envelope)]
    told: dict[str, Any] = {
        "delivery_id": "a" * 64, "kind": "rows", "recipient": "clinic", "contract_kind": "health_provider",
        "contract_version": "1.0.0", "purpose": 'the so-called "contract"', "lawful_basis": "GDPR 6(1)(b), 9(2)(a)",
        "fields": ("booking_reference", "note"), "rows": 20, "parts": tuple(parts), "created_at": NOW,
        "signer_fingerprint": envelope.identity.fingerprint, "recipient_fingerprint": envelope.fingerprint,
    }  # fmt: skip
    made = Manifest(**{**told, **changes})
    (folder / MANIFEST).write_bytes(made.canonical())
    (folder / SIGNATURE).write_bytes(sign(made.canonical(), envelope.identity))
    (folder / "our.pem").write_text(recipient("clinic").certificate)
    (folder / "our.key").write_text(recipient("clinic").private_key)
    (folder / "wellbe.pem").write_text(identity().certificate)
    return made


def sealing(**changes: Any) -> Envelope:
    return replace(Envelope("clinic", recipient("clinic").certificate, identity(), NOW, part_bytes=100), **changes)


def stopped_at(folder: Path) -> str | None:
    """The first check of the page that fails; None when the whole delivery was taken in."""
    for name, script in CHECKS.items():
        if sh(folder, script).returncode:
            return name
    return None


# -- an honest delivery ------------------------------------------------------------------------------------------------


def test_the_page_opens_joins_and_acknowledges_a_delivery(tmp_path: Path) -> None:
    made = deliver(tmp_path)
    assert stopped_at(tmp_path) is None
    assert (tmp_path / "rows.csv").read_bytes() == b"".join(CSV)
    assert (tmp_path / "rows.jsonl").read_bytes() == b"".join(JSONL)
    assert not list(tmp_path.glob("*.signed"))
    assert sh(tmp_path, ACKNOWLEDGE).returncode == 0
    assert (tmp_path / made.acknowledgement_name).read_bytes() == acknowledgement((tmp_path / MANIFEST).read_bytes())


def test_every_file_of_more_than_nine_parts_is_joined_in_order(tmp_path: Path) -> None:
    rows = [b"%d\n" % (10**20 + number) for number in range(12)]
    made = deliver(tmp_path, sealing(part_bytes=30), {"rows.csv": rows, "other.rows.csv": CSV[:1]})
    assert len(made.parts) == 13
    assert stopped_at(tmp_path) is None
    assert (tmp_path / "rows.csv").read_bytes() == b"".join(rows)
    assert (tmp_path / "other.rows.csv").read_bytes() == CSV[0]


def test_the_page_makes_a_certificate_that_we_take(tmp_path: Path) -> None:
    assert sh(tmp_path, MAKE).returncode == 0
    certificate, key = ((tmp_path / name).read_text() for name in ("our.pem", "our.key"))
    deliver(tmp_path, sealing(certificate=certificate, now=datetime.now(UTC)))
    (tmp_path / "our.pem").write_text(certificate)
    (tmp_path / "our.key").write_text(key)
    assert stopped_at(tmp_path) is None


def test_the_page_shows_the_fingerprint_that_we_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deliveries", "create", str(tmp_path / "identity.pem")]) == 0
    told = capsys.readouterr().out
    identities = Identities.load(tmp_path / "identity.pem")
    (tmp_path / "wellbe.pem").write_text(identities.current.certificate)
    shown = sh(tmp_path, COMPARE).stdout
    (line,) = (line for line in shown.splitlines() if "Fingerprint" in line)
    assert line in told.splitlines()


def test_both_certificates_are_trusted_while_one_follows_the_other(tmp_path: Path) -> None:
    for signer in (identity(), identity("coming")):
        deliver(tmp_path, sealing(identity=signer))
        (tmp_path / "wellbe.pem").write_text(identity().certificate + identity("coming").certificate)
        assert stopped_at(tmp_path) is None
        assert sh(tmp_path, "rm rows*").returncode == 0


# -- others ------------------------------------------------------------------------------------------------------------


def test_a_manifest_that_was_changed_is_stopped(tmp_path: Path) -> None:
    deliver(tmp_path)
    changed = (tmp_path / MANIFEST).read_bytes().replace(b'"rows":20', b'"rows":21')
    (tmp_path / MANIFEST).write_bytes(changed)
    assert parse(changed).rows == 21
    assert stopped_at(tmp_path) == "ours"


def test_what_somebody_else_signed_in_our_name_is_stopped(tmp_path: Path) -> None:
    deliver(tmp_path, sealing(identity=identity("somebody else's")))
    assert stopped_at(tmp_path) == "ours"


def test_what_a_public_authority_vouches_for_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(tmp_path, sealing(identity=identity("somebody else's")))
    (tmp_path / "authorities.pem").write_text(identity("somebody else's").certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
    careless = "openssl cms -verify -binary -inform DER -in manifest.json.p7s -content manifest.json -out /dev/null"
    assert sh(tmp_path, careless).returncode == 0
    assert stopped_at(tmp_path) == "ours"


def test_a_delivery_for_somebody_else_that_was_passed_on_is_stopped(tmp_path: Path) -> None:
    deliver(tmp_path, sealing(certificate=recipient("other clinic").certificate))
    assert stopped_at(tmp_path) == "yours"


@pytest.mark.parametrize("change", ["flipped", "cut", "gone", "swapped"])
def test_a_part_that_was_changed_is_stopped(tmp_path: Path, change: str) -> None:
    first, second, *_ = deliver(tmp_path).parts
    path, other = tmp_path / first.name, tmp_path / second.name
    content = path.read_bytes()
    if change == "flipped":
        path.write_bytes(content[:1500] + bytes([content[1500] ^ 1]) + content[1501:])
    elif change == "cut":
        path.write_bytes(content[:-1])
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    assert stopped_at(tmp_path) == "sealed"


def test_a_key_that_is_not_the_certificates_opens_nothing(tmp_path: Path) -> None:
    deliver(tmp_path)
    (tmp_path / "our.key").write_text(recipient("other clinic").private_key)
    assert stopped_at(tmp_path) == "open"
    assert not (tmp_path / "rows.csv.001").exists()


def test_a_part_that_somebody_else_signed_is_stopped_also_under_our_manifest(tmp_path: Path) -> None:
    foreign = sealing(identity=identity("somebody else's"))
    parts = seal(CSV, tmp_path, "foreign.csv", "text/csv", foreign)
    deliver(tmp_path, parts=parts)
    assert stopped_at(tmp_path) == "open"


def test_rows_that_are_not_those_of_the_manifest_are_stopped(tmp_path: Path) -> None:
    made = deliver(tmp_path)
    wrong = replace(made, parts=(replace(made.parts[0], plaintext_sha256="0" * 64), *made.parts[1:]))
    (tmp_path / MANIFEST).write_bytes(wrong.canonical())
    (tmp_path / SIGNATURE).write_bytes(sign(wrong.canonical(), identity()))
    assert stopped_at(tmp_path) == "rows"


# -- `governance deliveries verify` ------------------------------------------------------------------------------------


def verified(folder: Path, *arguments: str) -> int:
    return main(["deliveries", "verify", str(folder / MANIFEST), *arguments])


def test_the_command_says_of_a_delivery_that_it_is_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = deliver(tmp_path)
    assert verified(tmp_path, "--certificate", str(tmp_path / "wellbe.pem")) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{'a' * 64}: rows for clinic, 20 rows; the signature holds"
    assert said[1:] == [f"{part.name}: as the manifest says" for part in made.parts]


@pytest.mark.parametrize("change", ["changed", "gone"])
def test_the_command_names_a_part_that_is_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    first = tmp_path / deliver(tmp_path).parts[0].name
    first.unlink() if change == "gone" else first.write_bytes(b"another")
    assert verified(tmp_path, "--certificate", str(tmp_path / "wellbe.pem")) == 1
    said = capsys.readouterr().out
    assert f"{first.name}: NOT what the manifest says" in said
    assert said.count("NOT") == 1


def test_the_command_refuses_what_is_not_signed_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pinned = ("--certificate", str(tmp_path / "wellbe.pem"))
    deliver(tmp_path, sealing(identity=identity("somebody else's")))
    assert verified(tmp_path, *pinned) == 65
    deliver(tmp_path, signer_fingerprint="b" * 64)
    assert verified(tmp_path, *pinned) == 65
    assert "names another signer" in capsys.readouterr().err
    (tmp_path / "wellbe.pem").write_bytes(b"\xff")
    assert verified(tmp_path, *pinned) == 65
    (tmp_path / SIGNATURE).unlink()
    assert verified(tmp_path, *pinned) == 65
    assert "with its signature beside it" in capsys.readouterr().err


# -- the page itself ---------------------------------------------------------------------------------------------------


def test_the_page_names_every_key_of_a_manifest_and_of_a_part(tmp_path: Path) -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", PAGE))
    keys = {*Manifest.__dataclass_fields__, *Part.__dataclass_fields__, "format"}
    assert keys <= named
