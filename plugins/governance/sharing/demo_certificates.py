"""A certificate and its key for a recipient that is not real; the key is ours, which no real one ever is."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from governance.sharing.certificates import DEMO, FEWEST_BITS

LASTING = timedelta(days=365)


def made(recipient: str, now: datetime) -> tuple[bytes, bytes]:
    """A self-signed certificate and its private key, both PEM; it says that it is for a demo."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=FEWEST_BITS)
    names = ((NameOID.ORGANIZATION_NAME, DEMO), (NameOID.COMMON_NAME, f"demo {recipient}"[:64]))
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=True, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # a recipient's clock may be behind
        .not_valid_after(now + LASTING)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    # Without a passphrase: it opens what synthetic people are in, and the file is its owner's alone.
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private
