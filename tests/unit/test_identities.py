"""Certificates of recipients, and the identity that signs deliveries: made, kept, replaced (policy clause F1)."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

import certified
from certified import NOW, identity, recipient
from governance import private_files
from governance.errors import IdentityError, RecipientError
from governance.sharing import certificates, cms
from governance.sharing.identities import Identities, Identity, identity_page

pytestmark = pytest.mark.clause("F1")

SECOND = timedelta(seconds=1)


# -- a recipient's certificate -----------------------------------------------------------------------------------------


def taken(certificate: str, now: datetime = NOW) -> x509.Certificate:
    """The certificate to which an envelope would be sealed."""
    return cms.Envelope("clinic", certificate, identity(), now).x509


def refused(certificate: str, now: datetime = NOW) -> str:
    with pytest.raises(RecipientError) as raised:
        taken(certificate, now)
    assert str(raised.value).startswith("recipient clinic: ")
    return str(raised.value)


def test_a_certificate_is_taken_from_its_first_instant_to_its_last() -> None:
    begins, ends = NOW - timedelta(days=2), NOW - timedelta(days=1)
    pem = certified.certified("clinic", certified.rsa_key("clinic"), begins=begins, ends=ends).certificate
    for now in (begins, ends):
        assert taken(pem, now) == x509.load_pem_x509_certificate(pem.encode())
    assert f"its certificate is valid from {begins:%Y-%m-%d %H:%M}" in refused(pem, begins - SECOND)
    assert f"its certificate expired {ends:%Y-%m-%d %H:%M}" in refused(pem, ends + SECOND)


def test_what_is_no_certificate_or_more_than_one_is_refused() -> None:
    one = recipient("clinic").certificate
    assert taken(f"from the clinic:\n{one}")
    for text in ("", "no certificate", one + one, one.replace("M", "N"), recipient("clinic").private_key):
        assert "nothing was sealed" in refused(text)


def test_a_key_that_is_too_weak_or_made_for_something_else_is_refused() -> None:
    short = certified.certified("short", certified.rsa_key("short", 3064))
    assert "its RSA key has 3064 bits, fewer than 3072" in refused(short.certificate)
    assert "deliveries are encrypted to RSA keys" in refused(certified.elliptic("clinic").certificate)
    other_use = certified.certified("clinic", certified.rsa_key("clinic"), usage=False)
    assert "does not allow keyEncipherment" in refused(other_use.certificate)


def test_a_fingerprint_is_the_one_that_openssl_shows(tmp_path: Path) -> None:
    pem = tmp_path / "clinic.pem"
    pem.write_text(recipient("clinic").certificate)
    command = ["openssl", "x509", "-in", str(pem), "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    certificate = x509.load_pem_x509_certificate(pem.read_bytes())
    digest = certificates.fingerprint(certificate)
    assert digest == hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    assert shown == f"sha256 Fingerprint={certificates.as_openssl_shows(digest)}\n"
    assert cms.Envelope("clinic", recipient("clinic").certificate, identity(), NOW).fingerprint == digest


# -- an identity -------------------------------------------------------------------------------------------------------


def test_a_new_identity_is_an_rsa_key_of_3072_bits_for_signatures_alone() -> None:
    made = Identity.new(NOW + timedelta(microseconds=5), valid_days=10)
    key, extensions = made.x509.public_key(), made.x509.extensions
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 3072
    assert made.x509.subject == made.x509.issuer
    assert made.x509.subject.rfc4514_string() == "CN=Wellbe deliveries"
    assert (made.x509.not_valid_before_utc, made.x509.not_valid_after_utc) == (NOW, NOW + timedelta(days=10))
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, False, False)
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    made.x509.verify_directly_issued_by(made.x509)


def test_two_identities_share_neither_key_nor_number() -> None:
    one, other = identity(), identity("other")
    assert one.x509.serial_number != other.x509.serial_number
    assert one.fingerprint != other.fingerprint


def test_it_signs_from_its_first_instant_to_its_last() -> None:
    certificate = identity().x509
    for now in (certificate.not_valid_before_utc, certificate.not_valid_after_utc):
        identity().require_valid(now)
    for now in (certificate.not_valid_before_utc - SECOND, certificate.not_valid_after_utc + SECOND):
        with pytest.raises(IdentityError, match=r"and not now; nothing was signed: `governance deliveries renew`"):
            identity().require_valid(now)


def test_nothing_that_is_printed_shows_a_private_key() -> None:
    identities = Identities(identity(), identity("coming"))
    for shown in (repr(identities), repr(identity()), identity_page(identities)):
        assert "PRIVATE" not in shown
        assert identity().private_key.splitlines()[1] not in shown


# -- its file ----------------------------------------------------------------------------------------------------------


def test_a_first_identity_is_in_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    made = Identities.create(path, NOW, valid_days=10)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Identities.load(path) == made
    assert [file.name for file in tmp_path.iterdir()] == ["identity.pem"]
    with pytest.raises(IdentityError, match="holds an identity already; it is left alone"):
        Identities.create(path, NOW)
    assert Identities.ensure(path, NOW) == made


def test_where_there_is_none_one_is_made(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    assert Identities.ensure(path, NOW) == Identities.load(path)


@pytest.fixture
def kept(tmp_path: Path) -> Identities:
    """Identities in a file."""
    return Identities(identity(), path=tmp_path / "identity.pem").save()


def test_a_file_that_others_can_read_is_refused(kept: Identities) -> None:
    assert kept.path is not None
    kept.path.chmod(0o640)
    with pytest.raises(IdentityError, match=r"can be read by others \(mode 0640\)"):
        Identities.load(kept.path)


def test_a_file_that_is_gone_is_to_be_restored(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="cannot be read: restore the file"):
        Identities.load(tmp_path / "identity.pem")


def test_a_file_that_is_no_text_is_to_be_restored(kept: Identities) -> None:
    assert kept.path is not None
    kept.path.write_bytes(b"\xff")
    with pytest.raises(IdentityError, match="cannot be read: restore the file"):
        Identities.load(kept.path)


ONE, OTHER = identity(), identity("other")
MALFORMED: dict[str, tuple[str, str]] = {
    "nothing": ("", "must hold one certificate with its key, or two"),
    "a certificate alone": (ONE.certificate, "must hold one certificate with its key, or two"),
    "three with keys": (
        (ONE.certificate + ONE.private_key) * 3, "must hold one certificate with its key, or two"
    ),
    "a key alone": (ONE.private_key, "a key that is not that of the certificate before it"),
    "a key first": (ONE.private_key + ONE.certificate, "a key that is not that of the certificate before it"),
    "another's key": (ONE.certificate + OTHER.private_key, "a key that is not that of the certificate before it"),
    "a key twice": (ONE.certificate + ONE.private_key * 2, "a key that is not that of the certificate before it"),
    "a key of another kind": (
        ONE.certificate + ONE.private_key.replace("PRIVATE", "PUBLIC"),
        "a key that is not that of the certificate before it",
    ),
    "a key that is none": (
        ONE.certificate + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a key that cannot be read"
    ),
    "a certificate that is none": (
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not sound"
    ),
    "a certificate last": (
        ONE.certificate + ONE.private_key + OTHER.certificate, "a certificate without its key at the end"
    ),
    "words beside": (f"a secret {ONE.certificate}{ONE.private_key}", "is not PEM blocks alone"),
    "a block cut short": ((ONE.certificate + ONE.private_key)[:-30], "is not PEM blocks alone"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_text_that_holds_no_identity_is_refused_and_not_quoted(case: str) -> None:
    text, wrong = MALFORMED[case]
    with pytest.raises(IdentityError, match=wrong) as raised:
        Identities.parse(text, "of connection wellbe_delivery_identity")
    assert "wellbe_delivery_identity" in str(raised.value)
    assert "a secret" not in str(raised.value)


def test_an_identity_from_a_connection_is_used_and_not_written() -> None:
    parsed = Identities.parse(ONE.certificate + ONE.private_key, "of connection wellbe_delivery_identity")
    assert parsed == Identities(ONE)
    with pytest.raises(IdentityError, match="comes from a connection: put the new text there"):
        parsed.save()


def test_a_file_that_cannot_be_written_is_as_it_was(kept: Identities, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_files, "write", full)
    assert kept.path is not None
    with pytest.raises(IdentityError, match="No space left on device.; it is as it was; free some space"):
        replace(kept, current=OTHER).save()
    assert Identities.load(kept.path) == kept
    with pytest.raises(IdentityError, match="No such file"):
        monkeypatch.undo()
        replace(kept, path=kept.path.parent / "away" / "identity.pem").save()


# -- its successor -----------------------------------------------------------------------------------------------------


def test_the_coming_identity_is_pinned_before_it_signs_and_the_earlier_stays_readable(kept: Identities) -> None:
    renewed = kept.with_coming(NOW).save()
    assert renewed.path is not None
    assert Identities.load(renewed.path) == renewed
    assert renewed.current == kept.current
    assert renewed.coming is not None
    switched = renewed.switched(NOW).save()
    assert Identities.load(renewed.path) == switched
    assert switched == Identities(renewed.coming, None, (kept.current.certificate,), kept.path)
    assert kept.current.private_key not in renewed.path.read_text()
    again = switched.with_coming(NOW)
    assert again.coming is not None
    assert again.certificates == (kept.current.certificate, switched.current.certificate, again.coming.certificate)


def test_what_an_earlier_identity_signed_still_verifies(kept: Identities) -> None:
    signature = cms.sign(b"{}", kept.current)
    switched = kept.with_coming(NOW).switched(NOW)
    cms.verify(b"{}", signature, switched.certificate_of(kept.current.fingerprint))
    with pytest.raises(IdentityError, match="it was not signed here"):
        switched.certificate_of("0" * 64)


def test_one_successor_waits_at_a_time(kept: Identities) -> None:
    with pytest.raises(IdentityError, match="waits already: when every recipient has pinned it"):
        kept.with_coming(NOW).with_coming(NOW)
    with pytest.raises(IdentityError, match="no identity waits to take over"):
        kept.switched(NOW)


def test_a_successor_past_its_validity_does_not_take_over(kept: Identities) -> None:
    with pytest.raises(IdentityError, match="and not now"):
        kept.with_coming(NOW, valid_days=1).switched(NOW + timedelta(days=2))


def test_the_page_shows_what_a_recipient_pins() -> None:
    page = identity_page(Identities(ONE))
    assert ONE.certificate in page
    assert f"sha256 Fingerprint={certificates.as_openssl_shows(ONE.fingerprint)}\n" in page
    assert f"in manifests: {ONE.fingerprint}\n" in page
    assert "which signs deliveries\n" in page
    assert "pin it beside the other" not in page
    both = identity_page(Identities(ONE, OTHER))
    assert both == page + both.removeprefix(page)
    assert OTHER.certificate in both
    assert "pin it beside the other" in both


def test_a_damaged_certificate_of_ours_says_what_to_restore() -> None:
    with pytest.raises(IdentityError, match="is not sound: restore it"):
        Identities(ONE, earlier=("damaged",)).certificate_of("0" * 64)


def test_certificates_are_valid_by_this_machines_clock() -> None:
    assert abs(NOW - datetime.now(UTC)) < timedelta(hours=12)
