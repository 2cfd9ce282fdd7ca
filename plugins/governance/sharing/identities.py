"""The identity that signs deliveries: a certificate that recipients pin, and its private key (clause F1). An edge.

One file (0600) of PEM blocks, the oldest first, kept like the keys that sign the run log's checkpoints: in the site's
folder or, by a connection, in any secrets backend.

    earlier certificates, without their keys: what they signed stays verifiable
    the current certificate and its key
    perhaps the coming one and its key: recipients are told of it before anything is signed with it

The private key of an identity that was replaced is destroyed. Source: RFC 5280; NIST SP 800-57 part 1 (RSA 3072).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from governance import private_files
from governance.errors import IdentityError
from governance.sharing import certificates
from governance.sharing.allowances import IDENTITY_DAYS

SUBJECT = "Wellbe deliveries"
KEY_BITS = 3072
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----\n[A-Za-z0-9+/=\n]+-----END \1-----\n")
_CERTIFICATE, _KEY = "CERTIFICATE", "PRIVATE KEY"


@dataclass(frozen=True)
class Identity:
    """A certificate (PEM) and its private key (PEM, PKCS #8); its repr hides the key."""

    certificate: str
    private_key: str = field(repr=False)

    @classmethod
    def new(cls, now: datetime, valid_days: int = IDENTITY_DAYS) -> Identity:
        """A fresh RSA key under a certificate that it signs itself, valid from `now` for so many days."""
        key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SUBJECT)])
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
             "crl_sign", "encipher_only", "decipher_only"), False,
        )  # fmt: skip
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now.replace(microsecond=0))
            .not_valid_after(now.replace(microsecond=0) + timedelta(days=valid_days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
            # By these OpenSSL tells apart two of one name, which recipients trust side by side.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        secret = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
        return cls(made.public_bytes(pem).decode(), secret.decode())

    @cached_property
    def x509(self) -> x509.Certificate:
        """The certificate. Raises IdentityError."""
        return _read(self.certificate, "of an identity")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate's DER, 64 hex digits: what a manifest names, and recipients pin."""
        return certificates.fingerprint(self.x509)

    def require_valid(self, now: datetime) -> None:
        """Raises IdentityError outside the certificate's validity: recipients would refuse what it signs."""
        if not certificates.is_valid(self.x509, now):
            raise IdentityError(
                f"the identity that signs deliveries is valid from {_day(self.x509.not_valid_before_utc)} until "
                f"{_day(self.x509.not_valid_after_utc)}, and not now; nothing was signed: `governance deliveries "
                "renew` makes the next one, for recipients to pin"
            )


@dataclass(frozen=True)
class Identities:
    """The identity that signs, the one that will, and the certificates of those before, the oldest first."""

    current: Identity
    coming: Identity | None = None
    earlier: tuple[str, ...] = ()
    path: Path | None = None  # where it is ours to replace

    @classmethod
    def parse(cls, text: str, place: str, path: Path | None = None) -> Identities:
        """The identities of a text. Raises IdentityError, which names the place and quotes nothing."""
        if _BLOCK.sub("", text).strip():
            raise IdentityError(f"the signing identity {place} is not PEM blocks alone: restore it from its backup")
        earlier, living = [], []
        for certificate, key in _pairs(text, place):
            if key is not None:
                living.append(Identity(certificate, key))
            elif living:
                raise IdentityError(f"the signing identity {place} has a certificate without its key at the end")
            else:
                earlier.append(certificate)
        if len(living) not in (1, 2):
            raise IdentityError(f"the signing identity {place} must hold one certificate with its key, or two")
        return cls(living[0], living[1] if len(living) > 1 else None, tuple(earlier), path)

    @classmethod
    def load(cls, path: Path) -> Identities:
        """The identities of a file that nobody else can read. Raises IdentityError."""
        try:
            mode, text = path.stat().st_mode & 0o777, path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise IdentityError(
                f"the signing identity in {path} cannot be read: restore the file; recipients refuse what a new one "
                "signs"
            ) from None
        if mode & 0o077:
            raise IdentityError(
                f"{path} can be read by others (mode {mode:04o}): set it to 0600, and renew the identity"
            )
        return cls.parse(text, f"in {path}", path)

    @classmethod
    def create(cls, path: Path, now: datetime, valid_days: int = IDENTITY_DAYS) -> Identities:
        """A first identity, in a file that does not exist yet. Raises IdentityError where there is one."""
        return cls(Identity.new(now, valid_days), path=path).save(is_first=True)

    @classmethod
    def ensure(cls, path: Path, now: datetime, valid_days: int = IDENTITY_DAYS) -> Identities:
        """The identities of a file; a first one where there is no file. Raises IdentityError."""
        return cls.load(path) if path.exists() else cls.create(path, now, valid_days)

    @property
    def certificates(self) -> tuple[str, ...]:
        """Every certificate (PEM) that ever signed, or will, the oldest first."""
        coming = (self.coming.certificate,) if self.coming else ()
        return (*self.earlier, self.current.certificate, *coming)

    def certificate_of(self, fingerprint: str) -> str:
        """The certificate that a manifest names. Raises IdentityError where none of ours has that fingerprint."""
        for certificate in self.certificates:
            if certificates.fingerprint(_read(certificate, "of an identity")) == fingerprint:
                return certificate
        raise IdentityError("no identity of ours has the fingerprint that the manifest names: it was not signed here")

    def with_coming(self, now: datetime, valid_days: int = IDENTITY_DAYS) -> Identities:
        """With the identity that is to follow, not saved yet. Raises IdentityError where one waits already."""
        if self.coming is not None:
            raise IdentityError(
                "an identity waits already: when every recipient has pinned it, `governance deliveries switch`"
            )
        return replace(self, coming=Identity.new(now, valid_days))

    def switched(self, now: datetime) -> Identities:
        """With the coming identity as the current one, not saved yet. Raises IdentityError where none is coming."""
        if self.coming is None:
            raise IdentityError("no identity waits to take over: `governance deliveries renew` makes one")
        self.coming.require_valid(now)
        return replace(self, current=self.coming, coming=None, earlier=(*self.earlier, self.current.certificate))

    def text(self) -> str:
        """What `parse` reads, private keys included."""
        living = [self.current, *([self.coming] if self.coming else [])]
        return "".join(self.earlier) + "".join(identity.certificate + identity.private_key for identity in living)

    def save(self, *, is_first: bool = False) -> Identities:
        """Write their file, whole or not at all. Raises IdentityError, also where they come from a connection."""
        if self.path is None:
            raise IdentityError("the signing identity comes from a connection: put the new text there")
        try:
            private_files.write(self.path, self.text(), replace=not is_first)
        except FileExistsError:
            raise IdentityError(f"{self.path} holds an identity already; it is left alone") from None
        except OSError as error:
            advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "look at the folder's rights"
            raise IdentityError(
                f"{self.path} cannot be written ({error.strerror}); it is as it was; {advice}"
            ) from None
        return self


def identity_page(identities: Identities) -> str:
    """What a recipient pins, as text: certificate, validity, and the fingerprint to compare by another way."""
    signing = _page("signs deliveries", identities.current)
    coming = _page("will sign deliveries; pin it beside the other", identities.coming) if identities.coming else ""
    return signing + coming


def _page(what: str, identity: Identity) -> str:
    certificate = identity.x509
    return (
        f"{certificate.subject.rfc4514_string()}, which {what}\n"
        f"valid from {_day(certificate.not_valid_before_utc)} until {_day(certificate.not_valid_after_utc)}\n"
        f"in manifests: {identity.fingerprint}\n"
        f"sha256 Fingerprint={certificates.as_openssl_shows(identity.fingerprint)}\n"
        f"{identity.certificate}"
    )


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _read(certificate: str, place: str) -> x509.Certificate:
    found = certificates.read(certificate)
    if found is None:
        raise IdentityError(f"a certificate {place} is not sound: restore it from its backup")
    return found


def _pairs(text: str, place: str) -> Iterator[tuple[str, str | None]]:
    """Each certificate, with the key that follows it."""
    held: str | None = None
    for block in _BLOCK.finditer(text):
        if block[1] == _CERTIFICATE:
            if held is not None:
                yield held, None
            held = block[0]
            _read(held, place)
        elif block[1] == _KEY and held is not None and _belong_together(held, block[0], place):
            yield held, block[0]
            held = None
        else:
            raise IdentityError(f"the signing identity {place} has a key that is not that of the certificate before it")
    if held is not None:
        yield held, None


def _belong_together(certificate: str, key: str, place: str) -> bool:
    try:
        secret = serialization.load_pem_private_key(key.encode(), None)
    except ValueError:
        raise IdentityError(f"the signing identity {place} has a key that cannot be read") from None
    return secret.public_key() == _read(certificate, place).public_key()
