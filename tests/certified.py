"""Recipients' certificates and our identity, made once a test process: RSA keys take a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from governance.sharing.identities import Identity

NOW = datetime.now(UTC).replace(microsecond=0)
"""OpenSSL looks at the machine's clock, so that certificates of tests have to be valid by it."""


@dataclass(frozen=True)
class Certified:
    """A certificate and its private key, both in PEM."""

    certificate: str
    private_key: str


@cache
def rsa_key(name: str, bits: int = 3072) -> rsa.RSAPrivateKey:
    """The key of somebody."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


@cache
def recipient(name: str) -> Certified:
    """A recipient's certificate, as a clinic would make it: valid for a year."""
    return certified(name, rsa_key(name))


@cache
def identity(name: str = "ours") -> Identity:
    """An identity of ours."""
    return Identity.new(NOW)


def certified(
    name: str,
    key: Any,
    *,
    begins: datetime = NOW,
    ends: datetime = NOW + timedelta(days=365),
    usage: bool | None = True,
) -> Certified:
    """A certificate that its key signed; `usage`: whether the key may encipher keys, None to say nothing of it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}.example.com")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if usage is not None:
        others = dict.fromkeys(
            ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only",
             "decipher_only"), False,
        )  # fmt: skip
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_encipherment=usage, **others), critical=True
        )
    made = builder.sign(key, hashes.SHA256())
    return Certified(
        made.public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def elliptic(name: str) -> Certified:
    """A certificate whose key is none of RSA."""
    return certified(name, ec.generate_private_key(ec.SECP256R1()))
