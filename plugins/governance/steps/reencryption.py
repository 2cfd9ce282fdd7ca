"""From the keys of the first version to those of the key store: every value opened once more and encrypted anew.

The first version encrypted everything under one key of the keyring (format 1), which can only die as a whole. This
runs once, when a site is brought up by a version that has the key store; what it has done stays done, so it can be
interrupted anywhere and goes on at the next start. Only when no value of format 1 is left do the old keys leave the
keyring, and with them everything that older dumps, backups and the write-ahead log still hold. Policy clauses J1, K1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from governance import stored_values
from governance.datasets import Dataset
from governance.encryption import EARLIER_FORMAT, FORMAT
from governance.errors import KeyringError
from governance.keyring import EARLIER_KEYS, Keyring
from governance.keys import Keys
from governance.policy import Policy
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Entry, Outcome, Run
from governance.steps.workspace import Workspace
from governance.stored_values import Place, Rewritten

if TYPE_CHECKING:
    import pyarrow as pa

    from governance.encryption import RowKeys

OWNER = "governance_owner"


def has_earlier_keys(keyring: Keyring) -> bool:
    """Whether a keyring still holds keys of the first version."""
    return any(keyring.versions(name) for name in EARLIER_KEYS)


def uses_key_store(owner_dsn: str, policy: Policy) -> bool:
    """Whether any stored value is under a key of a key store, so that a new store could not read it."""
    return any(stored_values.partitions(owner_dsn, place, FORMAT) for _, place in _places(policy))


def reencrypt(workspace: Workspace, earlier: Keyring, run: Run) -> int:
    """Encrypt anew what the first version encrypted, partition by partition; returns the number of rows.

    Then the keys of the first version leave the keyring. Raises KeyringError for values that they do not open; what
    was done before stays done.
    """
    dsn, total = workspace.warehouse_dsn(OWNER), 0
    with closing(workspace.keys()) as service:
        keys = service.acting("loader", "intake", lambda _: None)
        for dataset, place in _places(workspace.policy):
            for day in stored_values.partitions(dsn, place, EARLIER_FORMAT):
                total += _Part(workspace, dataset, place, day, earlier, keys).rewrite(run)
    places = [place for _, place in _places(workspace.policy)]
    left = [str(day) for place in places for day in stored_values.partitions(dsn, place, EARLIER_FORMAT)]
    if left or earlier.path is None:
        raise KeyringError(f"partitions {', '.join(left)} are still under keys of the first version; none was removed")
    Keyring.remove(earlier.path, {(name, v) for name in EARLIER_KEYS for v in earlier.versions(name)})
    return total


def _places(policy: Policy) -> Iterator[tuple[Dataset, Place]]:
    for dataset in policy.datasets.values():
        for zone in ("landing", "vault"):
            for table, landed in dataset.landed.items():
                encrypted = tuple(name for name in landed.columns if name.endswith("_encrypted"))
                tokens = tuple(name for name, column in landed.columns.items() if column.domain == "key")
                yield dataset, Place(zone, table, encrypted, tokens)


@dataclass
class _Part:
    """One partition of one table."""

    workspace: Workspace
    dataset: Dataset
    place: Place
    day: date
    earlier: Keyring
    keys: Keys
    counts: dict[str, int] = field(default_factory=lambda: {"rows": 0, "values_past_term": 0})

    def rewrite(self, run: Run) -> int:
        """Its rows, under keys of the key store; returns how many there were."""
        dsn = self.workspace.warehouse_dsn(OWNER)
        batch = Batch(self.dataset.dataset, self.day.isoformat(), run.run_id)
        digests = Digests(self.workspace.policy.digest, None, code_digest())
        attempt = Attempt(new_id(), "reencrypt", batch, run, digests, ("J1", "K1"))
        with Recorded(attempt, dsn=dsn, clock=self.workspace.clock) as recorded:
            counted = f"{self.place.zone}.{self.place.table}"

            def entry() -> Entry:
                counts = {f"{counted} {name}": count for name, count in self.counts.items()}
                return recorded.outcome(Outcome.PASSED, counts=counts)

            stored_values.rewrite(dsn, self.place, self.day, self._changed, entry)
        return self.counts["rows"]

    def _changed(self, rows: pa.Table) -> Rewritten:
        import pyarrow as pa

        from governance.encryption import Column, decrypt, encrypt
        from governance.pseudonymisation import key_tokens

        (batch,) = rows.combine_chunks().to_batches()
        held: dict[str, RowKeys] = {}
        new: Rewritten = {"row_id": batch["row_id"].to_pylist()}
        for name, column in self.dataset.landed[self.place.table].columns.items():
            if name in self.place.tokens + self.place.encrypted and column.key not in held:
                held[column.key] = self._keys_of(batch, column.key)
            if name in self.place.tokens:
                new[name] = key_tokens(held[column.key].ids(), batch["client_id"]).to_pylist()
            elif name in self.place.encrypted:
                place, row_keys = Column(self.place.table, name), held[column.key]
                opened = decrypt(
                    batch[name], batch["row_key"], key_of=self.earlier.by_id, column=place, as_type=pa.binary()
                )
                sealed = encrypt(opened, batch["row_key"], keys=row_keys, column=place, nonces=self.keys.nonces)
                self.counts["values_past_term"] += sealed.null_count - opened.null_count
                new[name] = sealed.to_pylist()
        self.counts["rows"] += batch.num_rows
        return new

    def _keys_of(self, batch: pa.RecordBatch, holder: str) -> RowKeys:
        from governance.pulling import scopes

        kind = self.dataset.holders[holder]
        named = scopes(batch, self.place.table, holder, self.workspace.policy.keys[kind], self.day)
        return self.keys.sealing(kind, named)
