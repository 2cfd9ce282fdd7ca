"""The envelope of a delivery: CMS, signed inside enveloped, by OpenSSL (clause F1). An edge.

Rows go through a pipe into `openssl cms -sign`, from there into `openssl cms -encrypt`, and only the ciphertext comes
to the disk; both stream, and a delivery of any size takes some megabytes. Private keys and certificates are handed over
as files that exist in memory alone. What is sealed: AuthEnvelopedData (RFC 5083) with AES-256-GCM (RFC 5084), its key
under the recipient's RSA key by OAEP with SHA-256 (RFC 4055); within, SignedData (RFC 5652) with RSA and SHA-256.

The signature is PKCS #1 v1.5, not PSS: OpenSSL 3.0 cannot stream a signature with PSS. A part is opened in one piece by
OpenSSL, which takes 2.7 times its size of memory there; hence parts.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from governance import private_files
from governance.errors import (
    CertificateError,
    ManifestError,
    RecipientError,
    SealingError,
    SealingUnavailableError,
    shown,
)
from governance.sharing import certificates, recipients
from governance.sharing.allowances import LARGEST_PART_BYTES
from governance.sharing.identities import Identity
from governance.sharing.manifests import Part

OPENSSL = "openssl"
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "OPENSSL_CONF", "OPENSSL_MODULES", "SSL_CERT_DIR", "SSL_CERT_FILE")
"""What OpenSSL is told of our environment, in which there are passwords."""


@dataclass(frozen=True)
class Envelope:
    """For whom and by whom something is sealed: the recipient's name and certificate (PEM), our identity, the instant,
    and the most bytes of rows in a part."""

    recipient: str
    certificate: str
    identity: Identity
    now: datetime
    part_bytes: int = LARGEST_PART_BYTES

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the recipient's certificate, in hex, for the manifest. Raises RecipientError."""
        return certificates.fingerprint(self.x509)

    @property
    def x509(self) -> x509.Certificate:
        """The recipient's certificate, to which something may be encrypted now. Raises RecipientError."""
        try:
            facts = certificates.certificate(self.certificate.encode())
        except CertificateError as error:
            raise RecipientError(f"recipient {self.recipient}: {error}; nothing was sealed") from None
        recipients.require_certificate(self.recipient, facts, self.now)
        return x509.load_pem_x509_certificate(self.certificate.encode())


def seal(source: Iterable[bytes], folder: Path, name: str, format: str, envelope: Envelope) -> tuple[Part, ...]:
    """Seal rows into `NAME.001.p7m`, `NAME.002.p7m` ... of a folder, in the place of files of these names.

    `source`: whole rows, however many in each of its chunks; a part ends between two chunks. `format`: the media type.
    Every file is there whole or not at all, and no new one when anything fails. Raises RecipientError (certificate),
    IdentityError (ours), SealingError (nothing to seal, a chunk longer than a part, no OpenSSL),
    SealingUnavailableError (OpenSSL was ended or could not write), and what the source raises.
    """
    certificate = envelope.x509
    envelope.identity.require_valid(envelope.now)
    pem = certificate.public_bytes(Encoding.PEM).decode()
    done: list[Part] = []
    current: _Sealing | None = None
    try:
        for chunk in _pieces(source, name, envelope):
            if current is not None and current.size + len(chunk) > envelope.part_bytes:
                done.append(current.finish(format))
                current = None
            if current is None:
                current = _Sealing(folder / f"{name}.{len(done) + 1:03d}.p7m", pem, envelope)
            current.write(chunk)
        if current is None:
            raise SealingError(f"recipient {envelope.recipient}: {shown(name)}: no rows; an empty delivery is none")
        return (*done, current.finish(format))
    except BaseException:
        if current is not None:
            current.break_off()
        for part in done:
            (folder / part.name).unlink(missing_ok=True)
        raise


def _pieces(source: Iterable[bytes], name: str, envelope: Envelope) -> Iterator[bytes]:
    for chunk in filter(None, source):
        if len(chunk) > envelope.part_bytes:
            raise SealingError(
                f"recipient {envelope.recipient}: {shown(name)}: {len(chunk):,} bytes of rows in one piece, and a "
                f"part has {envelope.part_bytes:,}; nothing is left: write rows in smaller pieces"
            )
        yield chunk


def sign(content: bytes, identity: Identity) -> bytes:
    """A detached signature of a content that fits into memory: CMS in DER. Raises SealingError."""
    with _in_memory(identity.certificate, identity.private_key) as (certificate, key):
        command = (*_signing(certificate, key), "-outform", "DER")
        done = _run(command, (certificate, key), content)
    if done.returncode:
        raise SealingUnavailableError(f"a manifest could not be signed (openssl {_ending(done.returncode)}); try again")
    return done.stdout


def verify(content: bytes, signature: bytes, certificate: str) -> None:
    """Raises ManifestError unless the signature of a content is valid now, and by the certificate's key."""
    found = certificates.read(certificate)
    if found is None:
        raise ManifestError("the certificate to verify with is not one X.509 certificate in PEM")
    pem = found.public_bytes(Encoding.PEM).decode()
    with _in_memory(pem, content) as (pinned, signed):
        command = (
            "cms", "-verify", "-binary", "-inform", "DER", "-content", _path(signed), "-out", os.devnull, "-nointern",
            "-certfile", _path(pinned), "-CAfile", _path(pinned), "-no-CApath", "-no-CAstore",
        )  # fmt: skip
        done = _run(command, (pinned, signed), signature)
    if done.returncode:
        raise ManifestError(
            "the signature is not one of this content by this certificate, or the certificate is not valid now"
        )


class _Sealing:
    """One part that is being sealed: two processes joined by a pipe, and the draft that they write."""

    def __init__(self, path: Path, certificate: str, envelope: Envelope) -> None:
        self.size = 0
        self._path, self._draft, self._recipient = path, private_files.draft_of(path), envelope.recipient
        self._digest = hashlib.sha256()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self._begin(certificate, envelope.identity)
        except BaseException:
            self.break_off()
            raise

    def write(self, rows: bytes) -> None:
        """More rows. Raises SealingUnavailableError when OpenSSL is gone."""
        self.size += len(rows)
        self._digest.update(rows)
        try:
            self._rows.write(rows)
        except BrokenPipeError:
            raise self._failed() from None

    def finish(self, format: str) -> Part:
        """The part, whole, under its name. Raises SealingUnavailableError."""
        with suppress(BrokenPipeError):  # the exit codes say it
            self._rows.close()
        # Whichever of the two ended early, the other took what came until then for the whole.
        if any([process.wait() for process in self._processes]):
            raise self._failed()
        size, digest = self._look()
        return Part(self._path.name, format, size, digest, self.size, self._digest.hexdigest())

    def break_off(self) -> None:
        """End both processes, and leave no draft."""
        for process in self._processes:  # before the pipe is closed: its end would be taken for the end of the rows
            process.kill()
            process.wait()
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
        self._draft.unlink(missing_ok=True)

    def _begin(self, certificate: str, identity: Identity) -> None:
        texts = (identity.certificate, identity.private_key, certificate)
        with _in_memory(*texts) as (signer, key, recipient), self._drafted() as sealed:
            command = (*_signing(signer, key), "-nodetach", "-stream", "-outform", "DER")
            signing = self._start(command, (signer, key), subprocess.PIPE, subprocess.PIPE)
            self._rows, joint = cast(IO[bytes], signing.stdin), cast(IO[bytes], signing.stdout)
            command = (
                "cms", "-encrypt", "-binary", "-stream", "-outform", "DER", "-aes-256-gcm", "-recip", _path(recipient),
                "-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256",
            )  # fmt: skip
            with joint:  # our end of it: the first must notice when the second is gone
                self._start(command, (recipient,), joint, sealed)

    def _drafted(self) -> IO[bytes]:
        try:
            self._draft.unlink(missing_ok=True)
            return open(self._draft, "xb", opener=_private)
        except OSError as error:
            raise self._unavailable(f"the folder cannot be written ({error.strerror})") from None

    def _start(
        self, command: Sequence[str], kept: Sequence[int], source: int | IO[bytes], target: int | IO[bytes]
    ) -> subprocess.Popen[bytes]:
        with _openssl():
            process = subprocess.Popen(
                [OPENSSL, *command],
                stdin=source,
                stdout=target,
                stderr=subprocess.DEVNULL,
                pass_fds=kept,
                env=_environment(),
            )
        self._processes.append(process)
        return process

    def _look(self) -> tuple[int, str]:
        """Size and digest of the ciphertext, which is on the disk, and under its name, from then on."""
        try:
            with self._draft.open("rb") as file:
                os.fsync(file.fileno())
                size, digest = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
            self._draft.replace(self._path)
        except OSError as error:
            raise self._unavailable(f"the sealed part cannot be kept ({error.strerror})") from None
        return size, digest

    def _failed(self) -> SealingUnavailableError:
        """Once one of the processes has ended badly, how both did."""
        self._processes[0].kill()  # where only the second ended, the first waits for ever with a full pipe
        signed, sealed = (process.wait() for process in self._processes)
        return self._unavailable(f"openssl ended early: signing {_ending(signed)}, encrypting {_ending(sealed)}")

    def _unavailable(self, what: str) -> SealingUnavailableError:
        return SealingUnavailableError(
            f"recipient {self._recipient}: {shown(self._path.name)}: {what}; nothing is left of it; is memory and disk "
            "free? The task retries"
        )


def _signing(certificate: int, key: int) -> tuple[str, ...]:
    return ("cms", "-sign", "-binary", "-md", "sha256", "-signer", _path(certificate), "-inkey", _path(key))


def _run(command: Sequence[str], kept: Sequence[int], given: bytes) -> subprocess.CompletedProcess[bytes]:
    with _openssl():
        return subprocess.run(
            [OPENSSL, *command], input=given, capture_output=True, pass_fds=kept, env=_environment(), check=False
        )


@contextmanager
def _openssl() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise SealingError("there is no openssl here: install OpenSSL 3.0 or newer; nothing was sealed") from None


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


@contextmanager
def _in_memory(*contents: str | bytes) -> Iterator[tuple[int, ...]]:
    """Descriptors of files that have no name and are never on a disk."""
    with ExitStack() as stack:
        descriptors = []
        for content in contents:
            descriptor = os.memfd_create("governance", os.MFD_CLOEXEC)
            stack.callback(os.close, descriptor)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content.encode() if isinstance(content, str) else content)
            descriptors.append(descriptor)
        yield tuple(descriptors)


def _path(descriptor: int) -> str:
    return f"/dev/fd/{descriptor}"


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _ending(code: int) -> str:
    """
    >>> _ending(0), _ending(4), _ending(-9)
    ('with 0', 'with 4', 'by signal 9')
    """
    return f"by signal {-code}" if code < 0 else f"with {code}"
