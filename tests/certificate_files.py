"""Certificates as recipients send them, good and bad, made on the spot; keys are kept for the session, being slow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
"""As the tests' clock says."""


@cache
def rsa_key(number: int = 0, bits: int = 3072) -> rsa.RSAPrivateKey:
    """A key of a number, the same each time."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


@cache
def elliptic_key() -> ec.EllipticCurvePrivateKey:
    """A key of P-256."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def edwards_key() -> ed25519.Ed25519PrivateKey:
    """A key that signs and can do nothing else."""
    return ed25519.Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Made:
    """What a certificate is made with; good as it stands."""

    key: Any
    begins: datetime = NOW - timedelta(days=10)
    ends: datetime = NOW + timedelta(days=355)
    usage: str | None = "key_encipherment"  # the only one it states; None: it states none
    serial: int = 1
    name: str = "Dr Alva Exempel"


USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def pem(number: int = 0, **changes: Any) -> bytes:
    """A self-signed certificate."""
    made = replace(Made(changes.pop("key", None) or rsa_key(number)), **changes)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, made.name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(made.key.public_key())
        .serial_number(made.serial)
        .not_valid_before(made.begins)
        .not_valid_after(made.ends)
    )
    if made.usage:
        usage = x509.KeyUsage(**{name: name == made.usage for name in USAGES})
        builder = builder.add_extension(usage, critical=True)
    signed_with = None if isinstance(made.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(made.key, signed_with).public_bytes(Encoding.PEM)


def private_pem(number: int = 0) -> bytes:
    """The private key of a number."""
    return rsa_key(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
