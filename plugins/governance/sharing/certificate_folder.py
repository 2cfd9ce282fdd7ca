"""The certificates of recipients: each in a file of its own, by fingerprint; which one is current, which are revoked.

A folder per recipient. A certificate is kept for ever, so that what was encrypted to it can be told years later. The
record is replaced whole, after the certificate itself is there; who changes it holds the folder's lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from governance import private_files
from governance.errors import CertificateError
from governance.sharing.certificates import Certificate, certificate
from governance.sharing.register import ID

RECORD = "certificates.json"
KEY_SUFFIX = ".demo-key.pem"
"""Of the private key of a certificate of the demo; no real one is ever here."""


@dataclass(frozen=True)
class Changed:
    """The certificate that was added or revoked; not `is_new` where it had been, say by a command that was killed."""

    certificate: Certificate
    is_new: bool = True


@dataclass(frozen=True)
class Kept:
    """A certificate that is kept: its facts, revocation included, its PEM, since when, and whether it is in use."""

    certificate: Certificate
    pem: bytes
    added_at: datetime
    is_current: bool
    reason: str | None = None  # of its revocation


class CertificateFolder:
    """The certificates of all recipients in one folder, made when the first one is added."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def current(self, recipient: str) -> Kept | None:
        """The one that deliveries are encrypted to, revoked or not. Raises CertificateError for a damaged folder."""
        return next((kept for kept in self.kept(recipient) if kept.is_current), None)

    def kept(self, recipient: str) -> tuple[Kept, ...]:
        """Every one that a recipient ever had, oldest first. Raises CertificateError for a damaged folder."""
        folder, record = self._folder(recipient), self._record(recipient)
        found = [
            self._read(folder, fingerprint, stated, fingerprint == record["current"])
            for fingerprint, stated in record["kept"].items()
        ]
        return tuple(sorted(found, key=lambda kept: kept.added_at))

    def recipients(self) -> tuple[str, ...]:
        """Ids of those who have one, or had."""
        return tuple(sorted(path.parent.name for path in self.path.glob(f"*/{RECORD}")))

    def add(self, recipient: str, pem: bytes, at: datetime) -> Changed:
        """Keep a recipient's first certificate and make it current. Raises CertificateError where there is another."""
        with self._alone(recipient):
            current, found = self.current(recipient), certificate(pem)
            if current is not None and not _is_in_use(current, found):
                raise CertificateError(f"recipient {recipient} has a certificate: `governance recipients rotate`")
            return self._put(recipient, pem, at)

    def rotate(self, recipient: str, pem: bytes, at: datetime) -> Changed:
        """Keep another certificate and make it current; the earlier ones stay. Raises CertificateError."""
        with self._alone(recipient):
            if self.current(recipient) is None:
                raise CertificateError(f"recipient {recipient} has no certificate yet: `governance recipients add`")
            return self._put(recipient, pem, at)

    def revoke(self, recipient: str, fingerprint: str | None, at: datetime, reason: str) -> Changed:
        """Never encrypt to a certificate again: to that whose fingerprint begins so, without one to the current one.

        Raises CertificateError when not exactly one is meant.
        """
        with self._alone(recipient):
            meant = [kept.certificate for kept in self.kept(recipient) if _is_meant(kept, fingerprint)]
            if len(meant) != 1:
                raise CertificateError(
                    f"recipient {recipient}: {len(meant)} certificates are meant, not one; nothing was revoked: "
                    f"`governance recipients show {recipient}` has their fingerprints"
                )
            if meant[0].revoked_at is not None:
                return Changed(meant[0], is_new=False)
            record = self._record(recipient)
            record["kept"][meant[0].fingerprint] |= {"revoked_at": at.astimezone(UTC).isoformat(), "reason": reason}
            self._write(recipient, record)
            return Changed(replace(meant[0], revoked_at=at))

    def put_demo_key(self, recipient: str, fingerprint: str, pem: bytes) -> Path:
        """Keep the private key of a certificate of the demo beside it."""
        path = self._folder(recipient) / f"{fingerprint}{KEY_SUFFIX}"
        private_files.write(path, pem.decode("ascii"), replace=False)
        return path

    def copy_to(self, target: Path) -> None:
        """Copy everything but private keys: of a demo, they are made anew. Nothing where there is nothing. For a
        backup; nobody changes a certificate meanwhile.
        """
        if self.path.exists():
            with self._locked():
                shutil.copytree(self.path, target, ignore=shutil.ignore_patterns(f"*{KEY_SUFFIX}"))

    # -- inside -----------------------------------------------------------------------------------------------------

    def _put(self, recipient: str, pem: bytes, at: datetime) -> Changed:
        current, found = self.current(recipient), certificate(pem)
        if current is not None and _is_in_use(current, found):
            return Changed(current.certificate, is_new=False)
        self._require_unused(recipient, found)
        record = self._record(recipient)
        private_files.write(self._folder(recipient) / f"{found.fingerprint}.pem", pem.decode("ascii"), replace=True)
        stated = {"added_at": at.astimezone(UTC).isoformat(), "revoked_at": None, "reason": None}
        record["kept"].setdefault(found.fingerprint, stated)
        record["current"] = found.fingerprint
        self._write(recipient, record)
        return Changed(found)

    def _require_unused(self, recipient: str, found: Certificate) -> None:
        """A key that was revoked stays so under whatever certificate; one of two recipients could be read by both."""
        for other in self.recipients():
            for kept in self.kept(other):
                if kept.certificate.key_digest != found.key_digest:
                    continue
                if other != recipient:
                    raise CertificateError(
                        f"recipient {recipient}: recipient {other} has the same key; each has its own"
                    )
                if kept.certificate.revoked_at is not None:
                    raise CertificateError(
                        f"recipient {recipient}: the key of that certificate was revoked; ask for one with a new key"
                    )

    def _read(self, folder: Path, fingerprint: str, stated: dict[str, Any], is_current: bool) -> Kept:
        try:
            pem = (folder / f"{fingerprint}.pem").read_bytes()
            found = certificate(pem)
            added_at = datetime.fromisoformat(stated["added_at"])
            revoked_at = datetime.fromisoformat(stated["revoked_at"]) if stated["revoked_at"] else None
        except (OSError, KeyError, TypeError, ValueError, CertificateError):
            raise _damaged(folder) from None
        if found.fingerprint != fingerprint:
            raise _damaged(folder)
        return Kept(replace(found, revoked_at=revoked_at), pem, added_at, is_current, stated.get("reason"))

    def _record(self, recipient: str) -> dict[str, Any]:
        path = self._folder(recipient) / RECORD
        try:
            record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return {"current": None, "kept": {}}
        except (OSError, ValueError):
            raise _damaged(path.parent) from None
        if not isinstance(record, dict) or not isinstance(record.get("kept"), dict) or "current" not in record:
            raise _damaged(path.parent)
        return record

    def _write(self, recipient: str, record: dict[str, Any]) -> None:
        private_files.write(self._folder(recipient) / RECORD, json.dumps(record, indent=2) + "\n", replace=True)

    def _folder(self, recipient: str) -> Path:
        if not ID.fullmatch(recipient):
            raise CertificateError("that is no id of a recipient")
        return self.path / recipient

    @contextmanager
    def _alone(self, recipient: str) -> Iterator[None]:
        """Nobody else changes a certificate meanwhile: of whomever, since keys are compared among all."""
        folder = self._folder(recipient)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            folder.mkdir(mode=0o700, exist_ok=True)
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _is_in_use(current: Kept, found: Certificate) -> bool:
    return current.certificate.fingerprint == found.fingerprint and current.certificate.revoked_at is None


def _is_meant(kept: Kept, fingerprint: str | None) -> bool:
    return kept.is_current if fingerprint is None else kept.certificate.fingerprint.startswith(fingerprint.lower())


def _damaged(folder: Path) -> CertificateError:
    return CertificateError(
        f"the certificates of recipient {folder.name} were damaged or changed: put the folder back from a backup, or "
        "set it aside and add the certificate anew"
    )
