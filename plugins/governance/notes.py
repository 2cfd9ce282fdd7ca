"""Signed notes of C2SP with Ed25519 keys, and the two that the run log speaks: checkpoint and tlog-proof.

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-proof. Keys are written as Go's sumdb/note writes
them, so that any tool of that family reads what is signed here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from governance.errors import ProofError
from governance.merkle import HASH_BYTES

ED25519 = b"\x01"
ID_BYTES = 4
MOST_SIGNATURES = 100
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_NAME = re.compile(r"[^\s+]+")
_SIGNATURE = re.compile(r"— ([^\s+]+) (\S+)")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Verifier:
    """A public key by which the checkpoints of one log are known."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """First four bytes of the SHA-256 of name, newline, type and public key."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:ID_BYTES]

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """A verifier key (`vkey`). Raises ProofError."""
        name, key_id, public = _key_parts(text, "a verifier key is name+id+key")
        found = cls(name, public)
        if key_id != found.key_id.hex():
            raise ProofError(f"the verifier key of {name} does not fit its own id")
        return found

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(ED25519 + self.public)}"


@dataclass(frozen=True)
class Signer:
    """A private key with the name under which it signs. Its `repr` does not show the key."""

    name: str
    _key: Ed25519PrivateKey

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ProofError("the name of a key is not empty, and holds neither a space nor a plus")

    @classmethod
    def parse(cls, text: str) -> Signer:
        """A signer key, `PRIVATE+KEY+name+id+key`. Raises ProofError, without quoting it."""
        wrong = "a signer key is PRIVATE+KEY+name+id+key"
        if not text.startswith("PRIVATE+KEY+"):
            raise ProofError(wrong)
        name, key_id, seed = _key_parts(text.removeprefix("PRIVATE+KEY+"), wrong)
        found = cls(name, Ed25519PrivateKey.from_private_bytes(seed))
        if key_id != found.verifier.key_id.hex():
            raise ProofError(f"the signer key of {name} does not fit its own id")
        return found

    @classmethod
    def of_seed(cls, name: str, seed: bytes) -> Signer:
        """The key that 32 random bytes make."""
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def verifier(self) -> Verifier:
        """Its public half."""
        return Verifier(self.name, self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def secret(self) -> str:
        """The key as text; whoever reads it can sign."""
        seed = self._key.private_bytes_raw()
        return f"PRIVATE+KEY+{self.name}+{self.verifier.key_id.hex()}+{_base64(ED25519 + seed)}"

    def signature(self, text: str) -> str:
        """The signature line of a note's text."""
        signed = self.verifier.key_id + self._key.sign(text.encode())
        return f"— {self.name} {_base64(signed)}\n"


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: its origin, how many leaves it has, and their root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    def signed(self, signers: Iterable[Signer]) -> str:
        """The note: text, empty line, a signature line of each signer. Raises ProofError for what nobody could read."""
        if _checkpoint(_printable(self.text)) != self:
            raise ProofError("a checkpoint that would not be read is not signed")
        return f"{self.text}\n{''.join(signer.signature(self.text) for signer in signers)}"


def opened(note: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint of a note that one of the keys has signed, under the log's own name.

    Signatures of other keys are passed over; a wrong one by a known key is not. Raises ProofError.
    """
    text, signatures = _parts(note)
    checkpoint = _checkpoint(text)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signed = 0
    for name, signature in signatures:
        verifier = known.get((name, signature[:ID_BYTES]))
        if verifier is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(verifier.public).verify(signature[ID_BYTES:], text.encode())
        except InvalidSignature:
            raise ProofError(f"the signature of {name} on the checkpoint is wrong") from None
        signed += name == checkpoint.origin
    if not signed:
        raise ProofError(f"no key that was given has signed this checkpoint of {checkpoint.origin}")
    return checkpoint


def proof_text(index: int, proof: Sequence[bytes], note: str) -> str:
    """The tlog-proof that the leaf `index` is in the log of a checkpoint."""
    hashes = "".join(f"{_base64(hashed)}\n" for hashed in proof)
    return f"{PROOF_HEADER}\nindex {index}\n{hashes}\n{note}"


def parsed_proof(text: str) -> tuple[int, list[bytes], str]:
    """Index, hashes and checkpoint note of a tlog-proof. Raises ProofError."""
    head, divider, note = text.partition("\n\n")
    header, *lines = head.split("\n")
    if lines and lines[0].startswith("extra "):
        _decoded(lines[0].removeprefix("extra "))
        lines = lines[1:]
    if header != PROOF_HEADER or not lines or not lines[0].startswith("index "):
        raise ProofError(f"a proof begins with {PROOF_HEADER} and an index")
    if not divider:
        raise ProofError("a proof ends with a checkpoint, after an empty line")
    return _number(lines[0].removeprefix("index ")), [_hash(line) for line in lines[1:]], note


def consistency_text(old: int, proof: Sequence[bytes], note: str) -> str:
    """The proof that the log of a checkpoint begins with that of `old` leaves, as c2sp.org/tlog-witness sends it."""
    hashes = "".join(f"{_base64(hashed)}\n" for hashed in proof)
    return f"old {old}\n{hashes}\n{note}"


def _parts(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    head, divider, tail = _printable(note).rpartition("\n\n")
    if not divider or not tail.endswith("\n"):
        raise ProofError("a note has a text, an empty line and signature lines")
    if tail.count("\n") > MOST_SIGNATURES:
        raise ProofError(f"a note has no more than {MOST_SIGNATURES} signatures")
    signatures = []
    for line in tail[:-1].split("\n"):
        match = _SIGNATURE.fullmatch(line)
        if not match:
            raise ProofError("a signature line is a dash, a name and a signature")
        signature = _decoded(match[2])
        if len(signature) <= ID_BYTES:
            raise ProofError("a signature is the id of its key, four bytes, and more")
        signatures.append((match[1], signature))
    return f"{head}\n", signatures


def _printable(text: str) -> str:
    if any(ord(character) < 32 and character != "\n" for character in text):
        raise ProofError("a note holds no control characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ProofError("a note is Unicode text")
    return text


def _checkpoint(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or not lines[0]:
        raise ProofError("a checkpoint of this log has three lines: origin, size and root")
    return Checkpoint(lines[0], _number(lines[1]), _hash(lines[2]))


def _key_parts(text: str, wrong: str) -> tuple[str, str, bytes]:
    parts = text.split("+", 2)
    if len(parts) != 3 or not parts[0] or any(character.isspace() for character in text):
        raise ProofError(wrong)
    decoded = _decoded(parts[2])
    if len(decoded) != 33 or decoded[:1] != ED25519:
        raise ProofError(f"{wrong}; this one is not of Ed25519")
    return parts[0], parts[1], decoded[1:]


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ProofError("a size or an index is a number without leading zeroes")
    return int(text)


def _hash(text: str) -> bytes:
    decoded = _decoded(text)
    if len(decoded) != HASH_BYTES:
        raise ProofError(f"a hash has {HASH_BYTES} bytes, not {len(decoded)}")
    return decoded


def _decoded(text: str) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofError("what should be base64 is not") from None
    if _base64(decoded) != text:
        raise ProofError("what should be base64 is not in its standard form")
    return decoded


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
