"""The keys that sign the run log's checkpoints, and where checkpoints are published (clause R1).

A signer file (0600) holds one key a line, the newest last; every key of it signs, so that a checkpoint of a hand-over
carries the signatures of both. Checkpoints are published into a folder that the owner of the tables has no way into
through the database; the auditor pulls them from there as somebody else, and keeps them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from governance import private_files
from governance.errors import CheckpointsUnavailableError, ProofError, RunLogError
from governance.notes import Checkpoint, Signer, Verifier, opened

SUFFIX = ".checkpoint"
KEYS_FILE = "keys.txt"
_KEYS_HEAD = (
    "# Public keys of this run log's checkpoints, one a line. Compare them once, by another way than this folder,\n"
    "# with those that the operator tells you; from then on the log itself announces a new one before it is used.\n"
)


@dataclass(frozen=True)
class Signers:
    """The keys that sign, the newest last, all under the log's origin; `path` where they are ours to replace."""

    keys: tuple[Signer, ...]
    path: Path | None = None

    @classmethod
    def parse(cls, text: str, place: str, path: Path | None = None) -> Signers:
        """The keys of a text. Raises RunLogError, which names the place and quotes nothing."""
        try:
            keys = tuple(Signer.parse(line) for line in text.split())
        except ProofError as error:
            raise RunLogError(f"the signer keys {place} cannot be read: {error}") from None
        if not keys or len({key.name for key in keys}) != 1:
            raise RunLogError(f"the signer keys {place} must be one or more, all of one origin")
        return cls(keys, path)

    @classmethod
    def load(cls, path: Path) -> Signers:
        """The keys of a file that nobody else can read. Raises RunLogError."""
        try:
            mode, text = path.stat().st_mode & 0o777, path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise RunLogError(
                f"the signer keys in {path} cannot be read: restore the file; a new key looks like a forger's"
            ) from None
        if mode & 0o077:
            raise RunLogError(f"{path} can be read by others (mode {mode:04o}): set it to 0600, and replace the key")
        return cls.parse(text, f"in {path}", path)

    @classmethod
    def create(cls, path: Path, origin: str) -> Signers:
        """A first key, in a file that does not exist yet. Raises FileExistsError."""
        return cls((_new(origin),), path).save(replace=False)

    @property
    def origin(self) -> str:
        """The log whose checkpoints they sign."""
        return self.keys[-1].name

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """Their public halves."""
        return tuple(key.verifier for key in self.keys)

    def with_new_key(self) -> Signers:
        """With one more key, not saved yet."""
        return Signers((*self.keys, _new(self.origin)), self.path)

    def of_origin(self, origin: str) -> Signers:
        """A first key of another origin in their place, not saved yet."""
        return Signers((_new(origin),), self.path)

    def newest_alone(self) -> Signers:
        """Without the keys that have been replaced, not saved yet."""
        return Signers(self.keys[-1:], self.path)

    def save(self, *, replace: bool = True) -> Signers:
        """Write their file, whole or not at all. Raises RunLogError where they come from a connection."""
        if self.path is None:
            raise RunLogError(
                "the signer keys come from a connection: put the new key there, beside the old one until the next "
                "checkpoint"
            )
        private_files.write(self.path, "".join(f"{key.secret()}\n" for key in self.keys), replace=replace)
        return self


@dataclass(frozen=True)
class CheckpointFolder:
    """Published checkpoints, one file each, named by size; readable by everybody."""

    path: Path

    def publish_keys(self, verifiers: Sequence[Verifier]) -> None:
        """Add the public keys that are new."""
        known = self.verifiers()
        new = [verifier for verifier in verifiers if verifier not in known]
        if new:
            self._write(KEYS_FILE, _KEYS_HEAD + "".join(f"{verifier}\n" for verifier in [*known, *new]))

    def publish(self, checkpoint: Checkpoint, note: str) -> None:
        """Add a checkpoint, whole or not at all."""
        self._write(f"{checkpoint.size:012d}-{checkpoint.root.hex()[:8]}{SUFFIX}", note)

    def notes(self) -> list[str]:
        """All notes, smallest first."""
        # As bytes: universal newlines would mend what was changed.
        return [self._read(path).decode("utf-8", "replace") for path in sorted(self.path.glob(f"*{SUFFIX}"))]

    def verifiers(self) -> list[Verifier]:
        """Every public key that was ever published here."""
        file = self.path / KEYS_FILE
        if not file.exists():
            return []
        try:
            lines = self._read(file).decode("utf-8").splitlines()
            return [Verifier.parse(line) for line in lines if line.strip() and not line.startswith("#")]
        except (ProofError, UnicodeDecodeError) as error:
            raise RunLogError(
                f"{file} holds a line that is no public key ({type(error).__name__}): put it back as it was; the "
                "auditor has a copy"
            ) from None

    def require_keys(self) -> None:
        """Raises CheckpointsUnavailableError where there are no public keys: the folder is away, or was emptied."""
        if not self.verifiers():
            raise CheckpointsUnavailableError(
                f"{self.path / KEYS_FILE} is missing, and the log was signed before: mount the folder, or put back "
                "what it held (the auditor has a copy); until then nothing is signed"
            )

    def latest(self, origin: str) -> tuple[Checkpoint, str] | None:
        """The largest checkpoint of a log, and its note. Raises RunLogError when one of the notes is not sound."""
        found = []
        verifiers = self.verifiers()
        if self.path.is_dir() and any(self.path.glob(f"*{SUFFIX}")):
            self.require_keys()
        for note in self.notes():
            try:
                found.append((opened(note, verifiers), note))
            except ProofError as error:
                raise RunLogError(f"a checkpoint in {self.path} is not sound ({error}): it was changed there") from None
        own = [(checkpoint, note) for checkpoint, note in found if checkpoint.origin == origin]
        return max(own, key=lambda pair: pair[0].size, default=None)

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise CheckpointsUnavailableError(
                f"{path} cannot be read ({error.strerror}): put the published file back; nothing is signed until then"
            ) from None

    def _write(self, name: str, text: str) -> None:
        draft = self.path / ".draft"  # of whichever checkpoint: none is written again, but what a kill left is replaced
        try:
            if not self.path.is_dir():
                # Under its name only when the auditor, who is somebody else, may enter, whatever the umask takes away.
                made = private_files.draft_of(self.path)
                made.mkdir(parents=True, exist_ok=True)
                made.chmod(0o755)
                made.rename(self.path)
            private_files.write(self.path / name, text, replace=True, mode=0o644, draft=draft)
        except OSError as error:
            raise CheckpointsUnavailableError(
                f"{self.path}: the checkpoint {name} cannot be published ({error.strerror}); free some space or "
                "correct the folder's rights; the task retries, and nothing is lost"
            ) from None


def new_origin() -> str:
    """An origin that no other log has."""
    return f"wellbe.example/run-log/{secrets.token_hex(4)}"


def next_origin(origin: str) -> str:
    """The origin of the log that goes on after this one was cut back by a restored database.

    >>> next_origin("wellbe.example/run-log/3f"), next_origin("wellbe.example/run-log/3f/2")
    ('wellbe.example/run-log/3f/2', 'wellbe.example/run-log/3f/3')
    """
    *head, last = origin.split("/")
    if len(head) > 2 and last.isdigit():
        return "/".join([*head, str(int(last) + 1)])
    return f"{origin}/2"


def _new(origin: str) -> Signer:
    return Signer.of_seed(origin, secrets.token_bytes(32))
