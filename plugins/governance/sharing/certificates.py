"""What an X.509 certificate (RFC 5280) says of itself, as far as encrypting to its owner depends on it. Pure.

Who owns it, nobody is asked here: a person compares the fingerprint with the recipient over another way, once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

from governance.errors import CertificateError

MOST_BYTES = 65_536
FEWEST_BITS = 3072
"""Of an RSA key that is to protect beyond 2030 (NIST SP 800-57 part 1, table 2; BSI TR-02102-1)."""
DEMO = "DEMO, for no real data"
"""The organisation that a certificate of the demo names."""


@dataclass(frozen=True)
class Certificate:
    """Facts of a certificate; whom it names is none of them, it may be a person."""

    fingerprint: str  # SHA-256 of its DER, 64 hex digits
    key_digest: str  # SHA-256 of its public key (SubjectPublicKeyInfo), 64 hex digits
    not_before: datetime  # the first instant (UTC) at which it is valid
    not_after: datetime  # the last one
    key_type: str  # RSA, or what else it is
    key_bits: int  # 0 of a key that is no RSA key
    signature_hash: str  # sha256, sha1, ...
    can_encrypt: bool  # its key usage, where it states one, has keyEncipherment (RFC 5280, 4.2.1.3)
    is_demo: bool = False
    revoked_at: datetime | None = None  # by us: no list of an issuer is asked

    @property
    def weakness(self) -> str | None:
        """Why nothing may be encrypted to it whatever the day, in words; None when something may."""
        if self.key_type != "RSA":
            return f"its key is {self.key_type}, and deliveries are encrypted to RSA keys"
        if self.key_bits < FEWEST_BITS:
            return f"its RSA key has {self.key_bits} bits, fewer than {FEWEST_BITS}"
        if self.signature_hash in ("sha1", "md5", "unknown"):
            return f"it is signed with {self.signature_hash}"
        return None if self.can_encrypt else "its key usage does not allow keyEncipherment"


def certificate(pem: bytes) -> Certificate:
    """The facts of the one certificate in a PEM file.

    Raises CertificateError for what is none, for several, and for a file that holds a private key.
    """
    if len(pem) > MOST_BYTES:
        raise CertificateError(f"the file is larger than {MOST_BYTES:,} bytes: that is no certificate")
    if b"PRIVATE KEY-----" in pem:
        raise CertificateError(
            "the file holds a private key, which nobody but the recipient may have: ask for the certificate alone, "
            "with a new key; nothing was kept"
        )
    try:
        found = x509.load_pem_x509_certificates(pem)
        if len(found) != 1:
            raise CertificateError(f"the file holds {len(found)} certificates: give the recipient's own alone")
        return _facts(found[0])
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("the file is no X.509 certificate in PEM that can be read") from None


def _facts(found: x509.Certificate) -> Certificate:
    key = found.public_key()
    try:
        hashed = found.signature_hash_algorithm
    except UnsupportedAlgorithm:
        hashed = None
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    organisations = found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return Certificate(
        fingerprint=found.fingerprint(hashes.SHA256()).hex(),
        key_digest=hashlib.sha256(spki).hexdigest(),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        key_type=_key_type(found),
        key_bits=key.key_size if isinstance(key, RSAPublicKey) else 0,
        signature_hash=hashed.name if hashed else "unknown",
        can_encrypt=_can_encrypt(found),
        is_demo=any(each.value == DEMO for each in organisations),
    )


def _key_type(found: x509.Certificate) -> str:
    """RSA is what any scheme of RSA may use; a key that is for PSS alone (RFC 4055, 1.2) encrypts nothing."""
    if found.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        return "RSA for signatures alone"
    return type(found.public_key()).__name__.removesuffix("PublicKey")


def _can_encrypt(found: x509.Certificate) -> bool:
    try:
        return found.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    except x509.ExtensionNotFound:
        return True


# -- as OpenSSL has it -----------------------------------------------------------------------------------------------


def read(certificate: str) -> x509.Certificate | None:
    """The one certificate of a PEM text, whatever else stands around it; None for none or several."""
    try:
        found = x509.load_pem_x509_certificates(certificate.encode())
    except ValueError:
        return None
    return found[0] if len(found) == 1 else None


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, 64 hex digits."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def as_openssl_shows(digest: str) -> str:
    """A fingerprint as `openssl x509 -fingerprint` prints it.

    >>> as_openssl_shows("0aff")
    '0A:FF'
    """
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)).upper()


def is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether an instant lies in the validity of a certificate, both ends included (RFC 5280, 4.1.2.5)."""
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
