"""The key part of `make bench`: encryption under one key and under many, beside its peers, and a key store of ten
million keys.

Figures are values per CPU second of the process (user and system), the median of the repetitions and their spread.
Imports and the making of the input are timed apart. Keys of people are those of the pipelines: one `subject` key per
row, found by scope. `python tests/bench/run.py keys` runs this part alone; GOVERNANCE_BENCH_KEYS=200000 before it gives
a quick look, on a store that is too small to say anything of a big one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.measuring import REPETITIONS, Job, Repeated, repeated, say, say_columns_of_repeated
from governance import envelopes, keys
from governance import policy as policies
from governance.encryption import NONCE_BYTES, Column, RowKeys, decrypt, encrypt
from governance.key import ID_BYTES, KEY_BYTES, DataKey
from governance.key_store import KeyStore
from governance.key_wrapping import StoredKey
from governance.keyring import Keyring
from governance.keys import KeyService
from governance.nonces import Nonces
from governance.steps import key_rotation

KEYS = int(os.environ.get("GOVERNANCE_BENCH_KEYS", "10_000_000"))
"""How many there are in the key store; rounded down to whole batches."""
BATCH = min(KEYS, 100_000)
KEYS -= KEYS % BATCH
VALUES, ENVELOPED = 300_000, 3_000_000
COLUMNS = ("email_encrypted", "family_name_encrypted", "phone_encrypted")
SUBJECTS = BATCH
"""Rows of three columns, each row under a key of its own."""

EMAIL = Column("clients", "email_encrypted")
NOW = datetime(2026, 3, 12, tzinfo=UTC)


def main(folder: Path) -> None:
    """All lines; the store lies in the folder."""
    say_columns_of_repeated()
    peers = [
        repeated("peer: a new AESGCM object per value", new_object_each),
        repeated("peer: Fernet per value", fernet_each),
    ]
    _say_ratios(repeated("encrypt, one key", encrypt_under_one), peers)
    repeated("decrypt, one key", decrypt_under_one)
    _say_ratios(repeated("encrypt 3 columns, a key per row, held in memory", encrypt_under_many), peers)
    repeated("envelopes of 1 MiB, seal", seal_envelopes)
    repeated("envelopes of 1 MiB, open", open_envelopes)
    say(f"key store: SQLite, {KEYS:,} subject keys")
    repeated("make keys", make_keys, folder, repetitions=KEYS // BATCH)
    size = _store(folder).stat().st_size
    say(f"    the file has {size:,} bytes, {size / KEYS:.1f} per key")
    repeated("fetch, fresh processes", fetch, folder, False, repetitions=1, processes=REPETITIONS)
    repeated("fetch, fresh processes, file not in memory", fetch, folder, True, repetitions=1, processes=REPETITIONS)
    repeated("fetch and unwrap, fresh processes", unwrap, folder, repetitions=1, processes=REPETITIONS)
    _say_ratios(repeated("encrypt 3 columns, a key per row, fetched, unwrapped", encrypt_under_stored, folder), peers)
    repeated("replace the key-encryption key, re-wrap every key", rotate, folder, repetitions=1)


def _say_ratios(ours: Repeated, peers: Sequence[Repeated]) -> None:
    ratios = (f"{ours.per_cpu_second / peer.per_cpu_second:.2f} x {peer.name.removeprefix('peer: ')}" for peer in peers)
    say(f"    = {', '.join(ratios)}")


# -- values ------------------------------------------------------------------------------------------------------------


def encrypt_under_one() -> Job:
    """E-mail-like values under one key."""
    key, values, rows, nonces = _key(), _emails(VALUES), _row_keys(VALUES), Nonces(1)
    return Job(VALUES, lambda: encrypt(values, rows, keys=RowKeys.same(key, VALUES), column=EMAIL, nonces=nonces.take))


def decrypt_under_one() -> Job:
    """The same, the other way."""
    key, rows = _key(), _row_keys(VALUES)
    sealed = encrypt(_emails(VALUES), rows, keys=RowKeys.same(key, VALUES), column=EMAIL, nonces=Nonces(1).take)
    return Job(VALUES, lambda: decrypt(sealed, rows, key_of=lambda _: key, column=EMAIL))


def encrypt_under_many() -> Job:
    """Three columns, a key per row; the keys are there, their ciphers are not."""
    held, of_row = [_key() for _ in range(SUBJECTS)], _shuffled(SUBJECTS, SUBJECTS).astype(np.int32)
    values, rows, nonces = _emails(SUBJECTS), _row_keys(SUBJECTS), Nonces(1)
    return Job(
        len(COLUMNS) * SUBJECTS, lambda: _three_columns(values, rows, keys=RowKeys(held, of_row), nonces=nonces.take)
    )


def seal_envelopes() -> Job:
    """A column of values whose key dies with them."""
    key, values, nonces = _key(), _emails(ENVELOPED), Nonces(1)
    batch = envelopes.Batch(EMAIL, "2026-03-10")
    return Job(ENVELOPED, lambda: list(envelopes.seal(values, key=key, batch=batch, nonces=nonces.take)))


def open_envelopes() -> Job:
    """The same, the other way."""
    key, batch = _key(), envelopes.Batch(EMAIL, "2026-03-10")
    sealed = list(envelopes.seal(_emails(ENVELOPED), key=key, batch=batch, nonces=Nonces(1).take))
    return Job(ENVELOPED, lambda: [envelopes.open_envelope(one, key_of=lambda _: key, batch=batch) for one in sealed])


def new_object_each() -> Job:
    """What a first draft would do: an object and a random nonce for each value. It is given bytes, and returns them."""
    secret, values, rows = os.urandom(KEY_BYTES), _emails(VALUES).to_pylist(), _row_keys(VALUES).to_pylist()
    given = [(value.encode(), row.encode()) for value, row in zip(values, rows, strict=True)]

    def run() -> list[bytes]:
        sealed = []
        for value, row in given:
            nonce = os.urandom(NONCE_BYTES)
            sealed.append(nonce + AESGCM(secret).encrypt(nonce, value, row))
        return sealed

    return Job(VALUES, run)


def fernet_each() -> Job:
    """What the library's recipe does: a token for each value, bound to nothing."""
    fernet, given = Fernet(Fernet.generate_key()), [value.encode() for value in _emails(VALUES).to_pylist()]
    return Job(VALUES, lambda: [fernet.encrypt(value) for value in given])


# -- the key store -----------------------------------------------------------------------------------------------------


def make_keys(folder: Path) -> Job:
    """A store, and one batch of keys per repetition: for every client an id, a secret, its wrapping, its row."""
    keyring = Keyring.create(_ring(folder), now=NOW)
    keys.create(str(_store(folder)), keyring, now=NOW).close()
    service, batches = _service(folder), count(0, BATCH)

    def run() -> None:
        first = next(batches)
        ids = (service.id_of("subject", f"client {number}") for number in range(first, first + BATCH))
        service.make([StoredKey(id, "subject", None, int(NOW.timestamp()), None, 0, b"") for id in ids])

    return Job(BATCH, run)


def fetch(folder: Path, from_disk: bool) -> Job:
    """Keys by id, still wrapped."""
    with closing(_service(folder)) as service:
        ids = [service.id_of("subject", scope) for scope in next(_people()).to_pylist()]
    store = KeyStore.open(str(_store(folder)))
    if from_disk:
        _forget_pages(_store(folder))
    return Job(SUBJECTS, lambda: store.fetch(ids))


def unwrap(folder: Path) -> Job:
    """Keys by id, ready for use."""
    service = _service(folder)
    ids = [service.id_of("subject", scope) for scope in next(_people()).to_pylist()]
    return Job(SUBJECTS, lambda: service.unwrapped(ids))


def encrypt_under_stored(folder: Path) -> Job:
    """What intake does: open the store, find the key of each row, encrypt three columns; other people each time."""
    values, rows, policy, people = _emails(SUBJECTS), _row_keys(SUBJECTS), policies.load(), _people()

    def run() -> list[pa.Array]:
        with closing(_service(folder, policy)) as service:
            acting = service.acting("loader", "intake", _never)
            found = acting.sealing("subject", next(people))
            return _three_columns(values, rows, keys=found, nonces=acting.nonces)

    return Job(len(COLUMNS) * SUBJECTS, run)


def rotate(folder: Path) -> Job:
    """The rotation of `governance keys rotate`, without its entry in the run log."""
    service = _service(folder)
    return Job(KEYS + 1, lambda: key_rotation.rotate(service))  # the reference key is one more


# -- input -------------------------------------------------------------------------------------------------------------


def _key() -> DataKey:
    return DataKey(os.urandom(ID_BYTES), "subject", os.urandom(KEY_BYTES))


def _emails(number: int) -> pa.Array:
    return pa.array([f"client{n}.lindqvist@example.com" for n in range(number)])


def _row_keys(number: int) -> pa.Array:
    return pa.array([f"{10_000 + n}/1" for n in range(number)])


def _three_columns(values: pa.Array, rows: pa.Array, **how: Any) -> list[pa.Array]:
    return [encrypt(values, rows, column=Column("clients", name), **how) for name in COLUMNS]


def _shuffled(among: int, number: int) -> np.ndarray:
    return np.random.default_rng().choice(among, number, replace=False)


def _people() -> Iterator[pa.Array]:
    """Scopes of clients who have keys, drawn anew each time."""
    while True:
        yield pa.array([f"client {number}" for number in _shuffled(KEYS, SUBJECTS)])


def _store(folder: Path) -> Path:
    return folder / "keys.sqlite"


def _ring(folder: Path) -> Path:
    return folder / "keyring.json"


def _service(folder: Path, policy: policies.Policy | None = None) -> KeyService:
    return keys.open_service(
        str(_store(folder)), lambda: Keyring.load(_ring(folder)), policy or policies.load(), lambda: NOW
    )


def _forget_pages(path: Path) -> None:
    """Have the operating system read the file from the disk again; this needs no privilege."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _never(error: Exception) -> NoReturn:
    raise error
