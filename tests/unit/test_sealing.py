"""The envelope of a delivery: its recipient opens it with nothing but OpenSSL, and nobody else does (clause F1)."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certified import NOW, Certified, identity, recipient
from governance.errors import (
    IdentityError,
    ManifestError,
    RecipientError,
    SealingError,
    SealingUnavailableError,
)
from governance.sharing import cms
from governance.sharing.cms import Envelope, seal, sign, verify
from governance.sharing.identities import Identity
from governance.sharing.manifests import Part

pytestmark = pytest.mark.clause("F1")

ROWS = b'{"booking_reference":"b1"}\n{"booking_reference":"b2"}\n'
JSONL = "application/x-ndjson"


def envelope(**changes: Any) -> Envelope:
    return replace(Envelope("clinic", recipient("clinic").certificate, identity(), NOW), **changes)


@pytest.fixture
def sealed(tmp_path: Path, signing: str) -> Path:
    """One sealed part."""
    seal([ROWS], tmp_path, "rows.jsonl", JSONL, envelope())
    return tmp_path / "rows.jsonl.001.p7m"


@pytest.fixture(params=["in this process", "beside it"])
def signing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where rows are signed."""
    if request.param == "beside it":
        monkeypatch.setattr(cms, "SIGNED_HERE", 0)
    return str(request.param)


def openssl(*arguments: object) -> int:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False).returncode


def decrypted(path: Path, whose: Certified) -> bytes | None:
    """What the holder of a key finds in a part, signature and all; None when OpenSSL refuses."""
    key, certificate, out = path.parent / "key.pem", path.parent / "certificate.pem", path.parent / "signed"
    key.write_text(whose.private_key)
    certificate.write_text(whose.certificate)
    arguments = ("-in", path, "-recip", certificate, "-inkey", key, "-out", out)
    return None if openssl("cms", "-decrypt", "-binary", "-inform", "DER", *arguments) else out.read_bytes()


def opened(path: Path, whose: Certified, signer: Identity) -> bytes | None:
    """The rows of a part that somebody signed; None when OpenSSL refuses."""
    signed, pinned, out = path.parent / "signed", path.parent / "pinned.pem", path.parent / "rows"
    if decrypted(path, whose) is None:
        return None
    pinned.write_text(signer.certificate)
    trust = ("-nointern", "-certfile", pinned, "-CAfile", pinned, "-no-CApath", "-no-CAstore")
    refused = openssl("cms", "-verify", "-binary", "-inform", "DER", "-in", signed, *trust, "-out", out)
    return None if refused else out.read_bytes()


# -- who opens it ------------------------------------------------------------------------------------------------------


def test_its_recipient_opens_it_with_nothing_but_openssl(sealed: Path) -> None:
    assert opened(sealed, recipient("clinic"), identity()) == ROWS


def test_a_part_is_what_is_said_of_it(tmp_path: Path) -> None:
    (part,) = seal([ROWS[:27], b"", ROWS[27:]], tmp_path, "rows.jsonl", JSONL, envelope())
    content = (tmp_path / "rows.jsonl.001.p7m").read_bytes()
    said = (len(content), hashlib.sha256(content).hexdigest(), len(ROWS), hashlib.sha256(ROWS).hexdigest())
    assert part == Part("rows.jsonl.001.p7m", JSONL, *said)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl.001.p7m"]


def test_it_is_of_the_algorithms_that_the_page_names(sealed: Path) -> None:
    print_all = ["openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", str(sealed)]
    shown = subprocess.run(print_all, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"authEnvelopedData|rsaesOaep|aes-256-gcm|mgf1", shown) == [
        "authEnvelopedData", "authEnvelopedData", "rsaesOaep", "mgf1", "aes-256-gcm"
    ]  # fmt: skip
    assert shown.count(":sha256") == 2  # OAEP's digest and its mask's
    assert ROWS[:20] not in sealed.read_bytes()


def test_no_other_key_opens_it(sealed: Path) -> None:
    assert decrypted(sealed, recipient("other clinic")) is None
    other = Certified(recipient("clinic").certificate, recipient("other clinic").private_key)
    assert decrypted(sealed, other) is None
    assert decrypted(sealed, Certified(identity().certificate, identity().private_key)) is None


def test_what_somebody_else_signed_is_not_taken_for_ours(sealed: Path) -> None:
    assert opened(sealed, recipient("clinic"), identity("somebody else's")) is None


def test_two_seals_of_the_same_rows_share_no_key(tmp_path: Path) -> None:
    first, second = (seal([ROWS], tmp_path, name, JSONL, envelope())[0] for name in ("a", "b"))
    assert first.plaintext_sha256 == second.plaintext_sha256
    assert first.sha256 != second.sha256


# -- what was changed --------------------------------------------------------------------------------------------------


def _fields(path: Path) -> dict[str, range]:
    """Where the recipient's wrapped key, the nonce, the ciphertext and the tag lie in a part."""
    parsed = subprocess.run(
        ["openssl", "asn1parse", "-inform", "DER", "-in", str(path)], capture_output=True, text=True, check=True
    ).stdout
    found = [
        (int(at) + int(head), int(length))
        for at, head, length in re.findall(r"^ *(\d+):d=\d+ +hl=(\d) l= *(\d+) prim: +OCTET STRING", parsed, re.M)
    ]
    key, nonce, *content, tag = (range(at, at + length) for at, length in found)
    assert (len(key), len(nonce), len(tag)) == (384, 12, 16)
    return {"wrapped key": key, "nonce": nonce, "first block": content[0], "last block": content[-1], "tag": tag}


@pytest.mark.parametrize("region", ["wrapped key", "nonce", "first block", "last block", "tag"])
@pytest.mark.parametrize("where", [0, -1])
def test_a_flipped_bit_is_refused_in_every_region(sealed: Path, region: str, where: int) -> None:
    content = bytearray(sealed.read_bytes())
    content[_fields(sealed)[region][where]] ^= 1
    sealed.write_bytes(content)
    assert decrypted(sealed, recipient("clinic")) is None


def test_a_part_that_was_cut_or_grew_is_refused_or_not_what_the_manifest_says(sealed: Path, tmp_path: Path) -> None:
    content = sealed.read_bytes()
    sealed.write_bytes(content[:-1])
    assert decrypted(sealed, recipient("clinic")) is None
    sealed.write_bytes(content + b"\0")  # OpenSSL reads one object and stops; the digest in the manifest does not
    assert opened(sealed, recipient("clinic"), identity()) == ROWS
    assert hashlib.sha256(sealed.read_bytes()).digest() != hashlib.sha256(content).digest()


def test_a_signature_of_other_rows_is_refused(sealed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    seal([ROWS.replace(b"b1", b"b3")], other, "rows.jsonl", JSONL, envelope())
    ours, theirs = (decrypted(path, recipient("clinic")) for path in (sealed, other / sealed.name))
    assert ours is not None
    assert theirs is not None
    swapped = ours[:-256] + theirs[-256:]  # a signature of RSA 3072 ends the message; some of it is enough
    pinned, signed = tmp_path / "pinned.pem", tmp_path / "signed"
    pinned.write_text(identity().certificate)
    for content, wanted in ((ours, 0), (swapped, 4)):
        signed.write_bytes(content)
        trust = ("-nointern", "-certfile", pinned, "-CAfile", pinned, "-no-CApath", "-no-CAstore")
        assert (
            openssl("cms", "-verify", "-binary", "-inform", "DER", "-in", signed, *trust, "-out", os.devnull) == wanted
        )


# -- parts -------------------------------------------------------------------------------------------------------------


def sizes(tmp_path: Path, part_bytes: int, *chunks: bytes) -> list[int]:
    parts = seal(chunks, tmp_path, "rows", JSONL, envelope(part_bytes=part_bytes))
    assert [part.name for part in parts] == [f"rows.{number:03d}.p7m" for number in range(1, len(parts) + 1)]
    return [part.plaintext_bytes for part in parts]


def test_rows_that_just_fit_are_one_part(tmp_path: Path) -> None:
    assert sizes(tmp_path, 20, b"123456789\n", b"123456789\n") == [20]


def test_one_byte_more_begins_another_part(tmp_path: Path) -> None:
    assert sizes(tmp_path, 20, b"123456789\n", b"1234567890\n") == [10, 11]


def test_a_part_ends_between_two_pieces(tmp_path: Path) -> None:
    assert sizes(tmp_path, 12, b"1234\n", b"1234\n", b"1234\n", b"1234\n", b"1234\n") == [10, 10, 5]
    joined = b"".join(opened(path, recipient("clinic"), identity()) or b"" for path in sorted(tmp_path.glob("*.p7m")))
    assert joined == b"1234\n" * 5


def test_a_piece_as_long_as_a_part_is_one(tmp_path: Path) -> None:
    assert sizes(tmp_path, 5, b"1234\n") == [5]


def test_a_piece_longer_than_a_part_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(SealingError, match=r"clinic: rows: 6 bytes of rows in one piece, and a part has 5"):
        sizes(tmp_path, 5, b"1234\n", b"1234\n", b"12345\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("chunks", [(), (b"",)])
def test_an_empty_delivery_is_refused(tmp_path: Path, chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(SealingError, match="no rows"):
        sizes(tmp_path, 5, *chunks)
    assert not list(tmp_path.iterdir())


def test_a_second_try_takes_the_place_of_the_first(tmp_path: Path) -> None:
    (tmp_path / ".rows.001.p7m.draft").write_bytes(b"what a kill has left")
    sizes(tmp_path, 20, b"1\n")
    sizes(tmp_path, 20, b"2\n")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.001.p7m"]
    assert opened(tmp_path / "rows.001.p7m", recipient("clinic"), identity()) == b"2\n"


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def children() -> list[int]:
    """The processes of OpenSSL that this one has started, in the order of their beginning."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        except OSError:
            continue
        if name.endswith("(openssl") and int(rest.split()[1]) == os.getpid() and rest.split()[0] != "Z":
            found.append(pid)
    return sorted(found)


@pytest.mark.parametrize(("which", "says"), [(0, "signing by signal 9"), (1, "encrypting by signal 9")])
@pytest.mark.parametrize("when", ["before the last row", "after the last row"])
def test_an_openssl_that_is_killed_leaves_no_half_file(
    tmp_path: Path, which: int, says: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cms, "SIGNED_HERE", 0)

    def rows() -> Iterator[bytes]:
        yield b"x" * 100_000
        yield b"x" * 100_000  # does not fit into the first part
        os.kill(children()[which], signal.SIGKILL)
        yield from [b"x" * 1_000] * (100 if when == "before the last row" else 0)

    with pytest.raises(SealingUnavailableError, match=f"clinic: rows.002.p7m: .*{says}") as raised:
        seal(rows(), tmp_path, "rows", JSONL, envelope(part_bytes=199_999))
    assert not list(tmp_path.iterdir())
    assert not children()
    assert "xxx" not in str(raised.value)


def test_an_openssl_that_ends_before_it_has_encrypted_what_was_signed_here_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "openssl"
    broken.write_text("#!/bin/sh\nkill -9 $$\n")
    broken.chmod(0o755)
    monkeypatch.setattr(cms, "OPENSSL", str(broken))
    for rows in (ROWS, b"x" * 1_000_000):  # what fits into the pipe, and what does not
        with pytest.raises(SealingUnavailableError, match="ended early: encrypting by signal 9"):
            seal([rows], tmp_path, "rows", JSONL, envelope())
        assert [path.name for path in tmp_path.iterdir()] == ["openssl"]


@pytest.mark.parametrize(("size", "started"), [(4_194_304, 0), (4_194_305, 2)])
def test_what_fits_is_signed_in_this_process_and_one_byte_more_is_not(tmp_path: Path, size: int, started: int) -> None:
    seen: list[int] = []

    def rows() -> Iterator[bytes]:
        yield b"x" * 100
        yield b"x" * (size - 100)
        seen.append(len(children()))

    seal(rows(), tmp_path, "rows", JSONL, envelope())
    assert seen == [started]
    assert opened(tmp_path / "rows.001.p7m", recipient("clinic"), identity()) == b"x" * size


def test_a_source_that_breaks_leaves_no_half_file(tmp_path: Path, signing: str) -> None:
    def rows() -> Iterator[bytes]:
        yield from [b"x" * 60_000] * 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal(rows(), tmp_path, "rows", JSONL, envelope(part_bytes=100_000))
    assert not list(tmp_path.iterdir())
    assert not children()


KILLED = """
import os, signal, sys
from pathlib import Path
from certified import NOW, identity, recipient
from governance.sharing import cms
from governance.sharing.cms import Envelope, seal

cms.SIGNED_HERE = 0

def rows():
    yield from [b"x" * 100_000] * 3
    os.kill(os.getpid(), signal.SIGKILL)

envelope = Envelope("clinic", recipient("clinic").certificate, identity(), NOW)
seal(rows(), Path(sys.argv[1]), "rows", "text/csv", envelope)
"""


def test_a_process_of_ours_that_is_killed_leaves_no_part_that_looks_whole(tmp_path: Path) -> None:
    """OpenSSL, which sees the end of the rows, finishes what looks like a message; it never gets a name."""
    paths = os.pathsep.join(str(Path(__file__).parents[2] / name) for name in ("plugins", "tests"))
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}).returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".rows.001.p7m.draft"]


def test_a_folder_that_is_not_there_can_be_mended(tmp_path: Path) -> None:
    with pytest.raises(SealingUnavailableError, match="the folder cannot be written"):
        seal([ROWS], tmp_path / "away", "rows", JSONL, envelope())


def test_a_disk_that_takes_no_more_can_be_mended(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(SealingUnavailableError, match="encrypting (with [1-9]|by signal 25)"):
            seal([b"x" * 1_000_000], tmp_path, "rows", JSONL, envelope())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_by_a_folder_can_be_mended(tmp_path: Path) -> None:
    (tmp_path / "rows.001.p7m").mkdir()
    with pytest.raises(SealingUnavailableError, match="the sealed part cannot be kept"):
        seal([ROWS], tmp_path, "rows", JSONL, envelope())
    assert [path.name for path in tmp_path.iterdir()] == ["rows.001.p7m"]


def test_a_machine_without_openssl_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signing: str
) -> None:
    monkeypatch.setattr(cms, "OPENSSL", "openssl-that-is-not-there")
    with pytest.raises(SealingError, match=r"install OpenSSL 3\.0 or newer") as raised:
        seal([ROWS], tmp_path, "rows", JSONL, envelope())
    assert not isinstance(raised.value, SealingUnavailableError)
    assert not list(tmp_path.iterdir())


def test_a_certificate_that_will_not_do_stops_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RecipientError, match="recipient clinic"):
        seal([ROWS], tmp_path, "rows", JSONL, envelope(certificate="none"))
    assert not list(tmp_path.iterdir())


def test_an_identity_past_its_validity_signs_nothing(tmp_path: Path) -> None:
    ends = identity().x509.not_valid_after_utc
    long_lived = envelope(certificate=recipient("clinic").certificate)
    with pytest.raises(RecipientError):  # the clinic's certificate ends before ours
        seal([ROWS], tmp_path, "rows", JSONL, replace(long_lived, now=ends))
    with pytest.raises(IdentityError, match="valid from .* and not now"):
        identity().require_valid(ends + timedelta(seconds=1))
    identity().require_valid(ends)


def test_openssl_is_told_no_secret_as_an_argument_or_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a secret")
    monkeypatch.setattr(cms, "SIGNED_HERE", 0)
    told = []

    def rows() -> Iterator[bytes]:
        yield ROWS
        yield ROWS  # the first has been written, so both processes run
        for pid in children():
            told.append(Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes())

    seal(rows(), tmp_path, "rows", JSONL, envelope())
    assert len(told) == 2
    assert not any(b"PRIVATE KEY" in each or b"a secret" in each or str(tmp_path).encode() in each for each in told)


# -- the signature of a manifest ---------------------------------------------------------------------------------------


def test_a_signature_verifies_what_was_signed_and_nothing_else() -> None:
    signature = sign(b"{}", identity())
    verify(b"{}", signature, identity().certificate)
    with pytest.raises(ManifestError, match="the signature is not one of this content"):
        verify(b"{ }", signature, identity().certificate)


@pytest.mark.parametrize(
    "spoilt", [lambda s: s[:-1] + bytes([s[-1] ^ 1]), lambda s: s[:-1], lambda _: b"", lambda _: b"no signature"]
)
def test_a_signature_that_was_changed_verifies_nothing(spoilt: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ManifestError, match="the signature is not one of this content"):
        verify(b"{}", spoilt(sign(b"{}", identity())), identity().certificate)


def test_a_signature_by_somebody_else_who_calls_himself_the_same_is_refused() -> None:
    with pytest.raises(ManifestError, match="the signature is not one of this content"):
        verify(b"{}", sign(b"{}", identity("somebody else's")), identity().certificate)


def test_a_certificate_that_is_none_verifies_nothing() -> None:
    with pytest.raises(ManifestError, match="not one X"):
        verify(b"{}", sign(b"{}", identity()), "no certificate")


def test_an_identity_with_somebody_elses_key_signs_nothing() -> None:
    with pytest.raises(IdentityError, match="a key that is not its certificate's"):
        sign(b"{}", Identity(identity().certificate, identity("somebody else's").private_key))
