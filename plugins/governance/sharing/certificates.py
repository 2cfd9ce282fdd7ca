"""X.509 certificates of deliveries: whose key is used, until when, and how people compare them. Pure.

Source: RFC 5280 (validity, key usage); RFC 5652 (key transport).
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from governance.errors import RecipientError

SMALLEST_KEY = 2048
"""Bits of a recipient's RSA key (NIST SP 800-131A)."""


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


def require_recipient(certificate: str, recipient: str, now: datetime) -> x509.Certificate:
    """The certificate for which something may be sealed now: one, valid, RSA, not kept from enciphering keys.

    Raises RecipientError, which names the recipient; the others are not touched by it.
    """
    found = read(certificate)
    if found is None:
        raise RecipientError(
            f"recipient {recipient}: the certificate is not one X.509 certificate in PEM; nothing was sealed: "
            "ask for it"
        )
    if not is_valid(found, now):
        raise RecipientError(
            f"recipient {recipient}: the certificate is valid from {found.not_valid_before_utc:%Y-%m-%d %H:%M} until "
            f"{found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and not now; nothing was sealed: ask for a new one"
        )
    key = found.public_key()
    if not isinstance(key, RSAPublicKey) or key.key_size < SMALLEST_KEY:
        raise RecipientError(
            f"recipient {recipient}: the certificate's key is not RSA of {SMALLEST_KEY} bits or more; nothing was "
            "sealed: ask for another"
        )
    if not _may_encipher_keys(found):
        raise RecipientError(
            f"recipient {recipient}: the certificate's key usage leaves out keyEncipherment; nothing was sealed: ask "
            "for one that is made for encryption"
        )
    return found


def _may_encipher_keys(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    except x509.ExtensionNotFound:
        return True
