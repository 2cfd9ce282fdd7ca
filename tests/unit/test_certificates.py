"""What a certificate says of itself, beside what openssl says of it; which are kept, current, revoked."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import certificate_files as made
from certificate_files import NOW
from governance import private_files
from governance.errors import CertificateError
from governance.sharing import demo_certificates
from governance.sharing.certificate_folder import KEY_SUFFIX, RECORD, CertificateFolder
from governance.sharing.certificates import DEMO, MOST_BYTES, certificate

pytestmark = pytest.mark.clause("F1")

# -- facts -------------------------------------------------------------------------------------------------------------


def openssl(*arguments: str, given: bytes = b"") -> str:
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout.decode()


def test_fingerprint_and_days_are_those_that_openssl_tells() -> None:
    pem = made.pem()
    found = certificate(pem)
    told = openssl("x509", "-noout", "-fingerprint", "-sha256", "-dates", "-dateopt", "iso_8601", given=pem)
    assert found.fingerprint in told.replace(":", "").lower()
    for at in (found.not_before, found.not_after):
        assert f"{at:%Y-%m-%d %H:%M:%S}Z" in told
    assert (found.key_type, found.key_bits, found.signature_hash) == ("RSA", 3072, "sha256")
    assert found.weakness is None
    assert not found.is_demo
    assert found.revoked_at is None


def test_a_certificate_that_openssl_made_is_read(tmp_path: Path) -> None:
    openssl(
        "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-keyout", str(tmp_path / "key"), "-out",
        str(tmp_path / "pem"), "-days", "3", "-subj", "/CN=clinic.example.com",
    )  # fmt: skip
    found = certificate((tmp_path / "pem").read_bytes())
    assert found.weakness is None
    assert found.not_after - found.not_before == timedelta(days=3)


def test_whom_a_certificate_names_is_no_fact_of_it() -> None:
    assert "Exempel" not in repr(certificate(made.pem()))


def test_two_certificates_of_one_key_have_one_key_digest_and_two_fingerprints() -> None:
    one, other = certificate(made.pem(serial=1)), certificate(made.pem(serial=2))
    assert one.key_digest == other.key_digest
    assert one.fingerprint != other.fingerprint
    assert certificate(made.pem(1)).key_digest != one.key_digest


WEAK: dict[str, tuple[dict[str, Any], str | None]] = {
    "3072 bits": ({}, None),
    "3070 bits": ({"key": "rsa 3070"}, "its RSA key has 3070 bits, fewer than 3072"),
    "2048 bits": ({"key": "rsa 2048"}, "its RSA key has 2048 bits, fewer than 3072"),
    "an elliptic key": ({"key": "elliptic"}, "its key is EC, and deliveries are encrypted to RSA keys"),
    "a key of Edwards": ({"key": "edwards"}, "its key is Ed25519, and deliveries are encrypted to RSA keys"),
    "no stated usage": ({"usage": None}, None),
    "for signing": ({"usage": "digital_signature"}, "its key usage does not allow keyEncipherment"),
    "for certificates": ({"usage": "key_cert_sign"}, "its key usage does not allow keyEncipherment"),
    "for data alone": ({"usage": "data_encipherment"}, "its key usage does not allow keyEncipherment"),
}
KEYS = {
    "rsa 3070": lambda: made.rsa_key(0, 3070), "rsa 2048": lambda: made.rsa_key(0, 2048),
    "elliptic": made.elliptic_key, "edwards": made.edwards_key,
}  # fmt: skip


@pytest.mark.parametrize("what", WEAK)
def test_what_is_too_weak_says_why(what: str) -> None:
    changes, weakness = WEAK[what]
    changes = changes | ({"key": KEYS[changes["key"]]()} if "key" in changes else {})
    assert certificate(made.pem(**changes)).weakness == weakness


@pytest.mark.parametrize(
    ("digest", "weakness"),
    [("sha1", "it is signed with sha1"), ("md5", "it is signed with md5"), ("sha256", None), ("sha512", None)],
)
def test_a_signature_of_an_old_hash_is_weak(tmp_path: Path, digest: str, weakness: str | None) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(made.private_pem())
    pem = openssl("req", "-x509", "-key", str(key), "-days", "3", f"-{digest}", "-subj", "/CN=clinic.example.com")
    assert certificate(pem.encode()).weakness == weakness


def test_a_signature_of_an_unknown_hash_is_weak() -> None:
    sha256, nobodys = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("0b", "7f"))
    der = subprocess.run(["openssl", "x509", "-outform", "DER"], input=made.pem(), capture_output=True, check=True)
    assert der.stdout.count(sha256) == 2
    text = base64.encodebytes(der.stdout.replace(sha256, nobodys)).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"
    assert certificate(pem.encode()).weakness == "it is signed with unknown"


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no X.509 certificate in PEM"),
    "words": (b"a certificate", "no X.509 certificate in PEM"),
    "not base64": (b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", "no X.509 certificate in PEM"),
    "bytes": (bytes(range(256)), "no X.509 certificate in PEM"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_that_is_no_certificate_is_refused(what: str) -> None:
    content, told = BAD_FILES[what]
    with pytest.raises(CertificateError, match=told):
        certificate(content)


def test_a_file_in_der_is_refused() -> None:
    der = subprocess.run(["openssl", "x509", "-outform", "DER"], input=made.pem(), capture_output=True, check=True)
    with pytest.raises(CertificateError, match="no X.509 certificate in PEM"):
        certificate(der.stdout)


def test_a_certificate_that_was_cut_or_altered_is_refused() -> None:
    lines = made.pem().splitlines(keepends=True)
    with pytest.raises(CertificateError, match="no X.509 certificate in PEM"):
        certificate(b"".join([*lines[:3], lines[-1]]))


def test_several_certificates_in_one_file_are_refused_because_nobody_says_which() -> None:
    with pytest.raises(CertificateError, match="holds 2 certificates"):
        certificate(made.pem() + made.pem(1))


def test_a_file_with_a_private_key_is_refused_and_says_that_it_may_not_be_used_any_more() -> None:
    with pytest.raises(CertificateError, match="a private key.*with a new key"):
        certificate(made.pem() + made.private_pem())


def test_a_file_of_any_size_is_not_even_read() -> None:
    pem = made.pem()
    assert certificate(pem + b"\n" * (MOST_BYTES - len(pem))).key_bits == 3072
    with pytest.raises(CertificateError, match="larger than 65,536 bytes"):
        certificate(pem + b"\n" * (MOST_BYTES - len(pem) + 1))


def test_a_certificate_of_the_demo_is_good_says_what_it_is_and_fits_its_key() -> None:
    pem, key = demo_certificates.made("clinic_north", NOW)
    found = certificate(pem)
    assert (found.is_demo, found.weakness, found.key_bits) == (True, None, 3072)
    assert found.not_before <= NOW < found.not_after
    assert DEMO in openssl("x509", "-noout", "-subject", given=pem)
    private = load_pem_private_key(key, None)
    spki = openssl("x509", "-noout", "-pubkey", given=pem)
    assert spki == openssl("pkey", "-pubout", given=key)
    assert private.key_size == 3072  # type: ignore[union-attr]


# -- the folder --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> CertificateFolder:
    return CertificateFolder(tmp_path / "certificates")


def hours(number: int) -> datetime:
    return NOW + timedelta(hours=number)


def test_nobody_has_a_certificate_at_first(folder: CertificateFolder) -> None:
    assert folder.current("clinic") is None
    assert folder.kept("clinic") == ()
    assert folder.recipients() == ()


def test_rotation_keeps_the_old_one_and_deliveries_take_the_new_one(folder: CertificateFolder) -> None:
    first = folder.add("clinic", made.pem(0), NOW)
    second = folder.rotate("clinic", made.pem(1), hours(1))
    assert (first.is_new, second.is_new) == (True, True)
    assert [(kept.certificate, kept.is_current) for kept in folder.kept("clinic")] == [
        (first.certificate, False),
        (second.certificate, True),
    ]
    current = folder.current("clinic")
    assert current is not None
    assert (current.pem, current.added_at) == (made.pem(1), hours(1))
    assert folder.recipients() == ("clinic",)


def test_an_older_one_can_be_taken_again_and_counts_from_when_it_first_came(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW)
    folder.rotate("clinic", made.pem(1), hours(1))
    folder.rotate("clinic", made.pem(0), hours(2))
    assert [(kept.added_at, kept.is_current) for kept in folder.kept("clinic")] == [(NOW, True), (hours(1), False)]


def test_a_command_that_is_given_again_changes_nothing(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW)
    assert not folder.add("clinic", made.pem(0), hours(1)).is_new
    assert not folder.rotate("clinic", made.pem(0), hours(1)).is_new
    folder.revoke("clinic", None, hours(2), "request 7")
    again = folder.revoke("clinic", None, hours(3), "request 8")
    assert (again.is_new, again.certificate.revoked_at) == (False, hours(2))
    (kept,) = folder.kept("clinic")
    assert (kept.added_at, kept.reason) == (NOW, "request 7")


def test_the_first_one_is_added_and_others_are_rotated_to(folder: CertificateFolder) -> None:
    with pytest.raises(CertificateError, match="clinic has no certificate yet"):
        folder.rotate("clinic", made.pem(0), NOW)
    folder.add("clinic", made.pem(0), NOW)
    with pytest.raises(CertificateError, match="clinic has a certificate"):
        folder.add("clinic", made.pem(1), NOW)


def test_a_revoked_one_stays_current_and_revoked_until_there_is_another(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW)
    revoked = folder.revoke("clinic", None, hours(1), "request 7")
    current = folder.current("clinic")
    assert current is not None
    assert current.certificate == revoked.certificate
    assert (current.certificate.revoked_at, current.reason) == (hours(1), "request 7")
    folder.rotate("clinic", made.pem(1), hours(2))
    assert [kept.certificate.revoked_at for kept in folder.kept("clinic")] == [hours(1), None]


def test_a_key_that_was_revoked_does_not_come_back_under_whatever_certificate(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW)
    folder.revoke("clinic", None, hours(1), "request 7")
    for pem in (made.pem(0), made.pem(0, serial=2)):
        with pytest.raises(CertificateError, match="the key of that certificate was revoked"):
            folder.rotate("clinic", pem, hours(2))
        with pytest.raises(CertificateError, match="`governance recipients rotate`"):
            folder.add("clinic", pem, hours(2))
    assert len(folder.kept("clinic")) == 1


def test_a_key_is_one_recipients_alone(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW)
    with pytest.raises(CertificateError, match="recipient hotel: recipient clinic has the same key"):
        folder.add("hotel", made.pem(0, serial=2), NOW)
    assert folder.current("hotel") is None
    assert folder.add("hotel", made.pem(1), NOW).is_new


def test_a_certificate_is_renewed_under_the_key_that_it_had(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW)
    assert folder.rotate("clinic", made.pem(0, serial=2), NOW).is_new


def test_which_one_is_revoked_is_said_by_the_first_digits_of_its_fingerprint(folder: CertificateFolder) -> None:
    old = folder.add("clinic", made.pem(0), NOW).certificate
    folder.rotate("clinic", made.pem(1), hours(1))
    with pytest.raises(CertificateError, match="2 certificates are meant"):
        folder.revoke("clinic", "", hours(2), "request 7")
    with pytest.raises(CertificateError, match="0 certificates are meant"):
        folder.revoke("clinic", "x", hours(2), "request 7")
    with pytest.raises(CertificateError, match="0 certificates are meant"):
        folder.revoke("hotel", None, hours(2), "request 7")
    assert folder.revoke("clinic", old.fingerprint.upper(), hours(2), "request 7").is_new
    assert [kept.certificate.revoked_at for kept in folder.kept("clinic")] == [hours(2), None]


def test_a_bad_file_changes_nothing(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(CertificateError):
        folder.rotate("clinic", b"nothing", NOW)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_files_are_the_owners_alone(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW)
    key = folder.put_demo_key("clinic", "a" * 64, made.private_pem())
    assert key.name.endswith(KEY_SUFFIX)
    for path in [folder.path, *folder.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_copy_has_every_certificate_and_no_private_key(folder: CertificateFolder, tmp_path: Path) -> None:
    folder.copy_to(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    folder.add("clinic", made.pem(0), NOW)
    folder.put_demo_key("clinic", "a" * 64, made.private_pem())
    folder.copy_to(tmp_path / "copy")
    assert CertificateFolder(tmp_path / "copy").kept("clinic") == folder.kept("clinic")
    files = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert b"PRIVATE KEY" not in b"".join(path.read_bytes() for path in files)


DAMAGE = {
    "record no JSON": lambda place: (place / RECORD).write_text("{"),
    "record no object": lambda place: (place / RECORD).write_text("[]"),
    "record without what is kept": lambda place: (place / RECORD).write_text('{"current": null}'),
    "record without a current one": lambda place: (place / RECORD).write_text('{"kept": {}}'),
    "record no text": lambda place: (place / RECORD).write_bytes(b"\xff"),
    "record a folder": lambda place: ((place / RECORD).unlink(), (place / RECORD).mkdir()),
    "certificate gone": lambda place: next(place.glob("*.pem")).unlink(),
    "certificate cut": lambda place: next(place.glob("*.pem")).write_bytes(made.pem()[:100]),
    "certificate of somebody else in its place": lambda place: next(place.glob("*.pem")).write_bytes(made.pem(1)),
    "no instant": lambda place: _edit(place / RECORD, "added_at", "yesterday"),
    "an instant that is a number": lambda place: _edit(place / RECORD, "revoked_at", 7),
}


def _edit(record: Path, name: str, value: Any) -> None:
    document = json.loads(record.read_text())
    for stated in document["kept"].values():
        stated[name] = value
    record.write_text(json.dumps(document))


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_folder_is_told_and_never_taken_for_no_certificate(folder: CertificateFolder, what: str) -> None:
    folder.add("clinic", made.pem(0), NOW)
    DAMAGE[what](folder.path / "clinic")
    with pytest.raises(CertificateError, match="of recipient clinic were damaged or changed"):
        folder.current("clinic")


@pytest.mark.parametrize("name", ["..", "a/b", "", "Clinic", "a" * 64, "clinic\n"])
def test_an_id_that_is_none_names_no_folder(folder: CertificateFolder, name: str) -> None:
    with pytest.raises(CertificateError, match="no id of a recipient"):
        folder.add(name, made.pem(0), NOW)
    assert not folder.path.exists()


def test_a_kill_between_certificate_and_record_leaves_what_was_before(
    folder: CertificateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add("clinic", made.pem(0), NOW)
    write = private_files.write

    def killed(path: Path, text: str, **how: Any) -> None:
        if path.name == RECORD:
            raise KeyboardInterrupt
        write(path, text, **how)

    with monkeypatch.context() as patched:
        patched.setattr(private_files, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.rotate("clinic", made.pem(1), hours(1))
    current = folder.current("clinic")
    assert current is not None
    assert current.pem == made.pem(0)
    assert folder.rotate("clinic", made.pem(1), hours(2)).is_new


def test_of_two_who_add_at_once_one_is_told_that_there_is_one(folder: CertificateFolder) -> None:
    pems, told = [made.pem(0), made.pem(1)], []
    ready = threading.Barrier(2)

    def adds(pem: bytes) -> None:
        ready.wait()
        try:
            folder.add("clinic", pem, NOW)
            told.append("added")
        except CertificateError:
            told.append("refused")

    threads = [threading.Thread(target=adds, args=(pem,)) for pem in pems]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["added", "refused"]
    assert len(folder.kept("clinic")) == 1


def test_a_record_keeps_instants_in_utc(folder: CertificateFolder) -> None:
    folder.add("clinic", made.pem(0), NOW.astimezone())
    (stated,) = json.loads((folder.path / "clinic" / RECORD).read_text())["kept"].values()
    assert datetime.fromisoformat(stated["added_at"]).tzinfo == UTC
    assert os.listdir(folder.path) == ["clinic"]


def test_a_key_that_is_for_pss_signatures_alone_is_no_key_to_encrypt_to(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:3072", "-nodes",
         "-subj", "/CN=x", "-keyout", tmp_path / "key", "-out", tmp_path / "pem"], check=True, capture_output=True,
    )  # fmt: skip
    weakness = certificate((tmp_path / "pem").read_bytes()).weakness
    assert weakness == "its key is RSA for signatures alone, and deliveries are encrypted to RSA keys"
