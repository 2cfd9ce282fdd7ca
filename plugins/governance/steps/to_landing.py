"""The first hop: one partition from the source into landing, at once or shard by shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from governance import sources, warehouse
from governance.errors import ConservationError, GovernanceError, KeyringError, PolicyError, shown
from governance.key_kinds import landing_scope
from governance.run_log import Batch, Conservation, Entry, Outcome, Run, Shard
from governance.steps.workspace import Hop, Workspace
from governance.warehouse import Landed

if TYPE_CHECKING:
    import pyarrow as pa

    from governance.encryption import RowKeys
    from governance.keys import Keys
    from governance.subjects import Subject


CLIENT = "client"
"""The holder who accepts the terms, and who alone can begin anew after an erasure."""

TRAVELLER = "traveller"
"""The holder whose number may be an adult's, and was erased as a minor's of another version."""

TRAVELLERS_COUNT = "travellers_count"
"""How many travel on a booking version, as its query counts them at the source."""

MOST_SHARDS = 16
"""So many tasks of one partition are worth their start; a bigger partition has bigger shards."""


def plan(workspace: Workspace, dataset: str, key: str | None, run: Run) -> list[Shard]:
    """Cut a partition into shards, by the number of its rows and the site's `shard_rows`; most have one.

    Nothing is changed. Raises PartitionError, GapError, SourceUnavailableError, ClockError.
    """
    batch = Batch(dataset, shown(key or "none"), run.run_id)
    with workspace.recorded("plan", batch, run) as recorded:
        workspace.require_one_time(batch)
        partition = workspace.partition(dataset, key)
        with sources.snapshot(workspace.source_uri(), batch.label) as snapshot:
            workspace.require_one_time_with(snapshot, batch)
            sources.check_schema(snapshot.columns(), workspace.policy, batch.label)
            rows = snapshot.counts(dataset, partition)
        count = min(MOST_SHARDS, max(1, -(-max(rows.values()) // workspace.policy.site.shard_rows)))
        counts = {f"{table}_at_source": n for table, n in rows.items()} | {"shards": count}
        recorded.append(recorded.outcome(Outcome.PASSED, counts=counts))
    landing = recorded.attempt.attempt_id
    return [Shard(dataset, partition.key, landing, number, count) for number in range(count)]


def pull(workspace: Workspace, dataset: str, key: str | None, run: Run, shard: Shard | None = None) -> Batch:
    """Bring one partition, or a shard of it, from the source into landing: encrypted, tokenised, measured, counted.

    Without a shard, all of it, anew. A shard that is there is not brought again: to bring its partition anew, plan
    anew. Raises PartitionError, GapError, SourceUnavailableError, ContendedError, KeyringError, ConservationError;
    nothing is kept then.
    """
    batch = Batch(dataset, shown(key or "none"), run.run_id)
    with workspace.hop("pull", "loader", batch, run, shard or Shard(dataset, batch.partition_key, "whole")) as hop:
        part = shard or Shard(dataset, hop.partition.key, hop.recorded.attempt.attempt_id)
        number = hop.warehouse.open_landing(part, workspace.policy.form(dataset))
        there = hop.warehouse.landed_shard(number, part.number)
        if there is None:
            with sources.snapshot(workspace.source_uri(), batch.label, part) as snapshot:
                sources.check_schema(snapshot.columns(), workspace.policy, batch.label)
                landing = _Landing(hop, part, number, snapshot.counts(dataset, hop.partition))
                landing.require_its_keys()
                # The root last: what it counts is who landed.
                in_order = sorted(hop.spec.landed, key=lambda table: table == hop.spec.root)
                tables = [(table, landing.stream(snapshot, table)) for table in in_order]
                if hop.warehouse.land(batch, number, part, tables, summary=landing):
                    return _counted(batch, landing.counts())
        # Landed before, or a later landing of this partition has been completed meanwhile.
        hop.warehouse.append(hop.recorded.outcome(Outcome.REPLAYED))
        return _counted(batch, there or Landed({}, {}, {}, {}))


def _counted(batch: Batch, landed: Landed) -> Batch:
    return replace(batch, counts={f"{table}_pulled": n for table, n in landed.landed_counts.items()} | landed.refused)


@dataclass
class _Landing:
    """Streams source batches of a shard into landing and counts what passes; a `warehouse.LandingSummary`."""

    hop: Hop
    shard: Shard
    number: int
    source_counts: dict[str, int]
    landed_counts: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    refusals: list[tuple[str, str, str]] = field(default_factory=list)
    moved: list[tuple[str, str, str]] = field(default_factory=list)
    """Cards that came with a later instant than before; they count from their first capture, and some are refused."""
    captures: list[tuple[str, datetime]] = field(default_factory=list)
    begun_anew: dict[str, Subject | None] = field(default_factory=dict)
    """Of erased clients that were met: who they are now, the same for all tables."""
    without: Counter[str] = field(default_factory=Counter)
    """Travellers that were dropped, by the row key of their booking version: its count is of the others."""

    def require_its_keys(self) -> None:
        """Raise KeyringError when shards before had keys of this landing which the store does not know any more.

        With other keys one visitor would pass for two, and have twice the bound of one.
        """
        kinds = {kind for kind in self.hop.spec.holders.values() if self._scope_of(kind) == "landing"}
        keys = self.hop.keys("intake")
        lost = sorted(kind for kind in kinds if not keys.made(kind, [self._name]))
        if lost and any(self.hop.warehouse.landed_shard(self.number, n) for n in range(self.shard.of)):
            raise KeyringError(
                f"{self.hop.batch.label}: the key store has lost the {', '.join(lost)} key of what has landed so far "
                "(was it put back from a backup?); nothing was kept; clear this partition's run from its task `plan` on"
            )

    def stream(self, snapshot: sources.Snapshot, table: str) -> Iterator[pa.RecordBatch]:
        """The landing rows of one table, batch by batch."""
        from governance.facts import Parameters
        from governance.pulling import Means, landed

        spec, policy, keys = self.hop.spec.landed[table], self.hop.workspace.policy, self.hop.keys("intake")
        parameters = Parameters(policy.value("coordinate_grid_degrees"), self.hop.spec.parameters)
        self.landed_counts[table] = self.dropped[table] = 0
        for rows in snapshot.batches(table, self.hop.partition):
            self._require_keys(table, rows)
            timely = self._within_terms(table, spec.term, self._counted(table, rows)) if spec.term else rows
            kept = self._of_who_landed(self._without_erased(table, timely, keys))
            self.landed_counts[table] += kept.num_rows
            holders = {column.key for column in spec.columns.values() if column.key}
            held = {holder: self._keys_of(kept, table, holder, keys) for holder in holders}
            yield landed(kept, table, spec, self.hop.partition.day, Means(self.number, held, keys.nonces, parameters))

    @property
    def noted(self) -> list[tuple[str, str, str]]:
        """Table, row key and rule of every row that broke a rule on its way, refused or not."""
        return self.refusals + self.moved

    def counts(self) -> Landed:
        """What was brought. Raises ConservationError when a table landed other than the source counted."""
        rules = [rule for _, _, rule in self.refusals]
        refused_of = [table for table, _, _ in self.refusals]
        for table, at_source in self.source_counts.items():
            landed = self.landed_counts.get(table, 0) + refused_of.count(table) + self.dropped.get(table, 0)
            if landed != at_source:
                raise ConservationError(
                    f"{self.hop.recorded.attempt.batch.label}, table {table}: the source counts {at_source} rows, "
                    f"{landed} arrived; nothing was kept; the task can be run again"
                )
        refused = {rule: rules.count(rule) for rule in sorted(set(rules))}
        return Landed(self.source_counts, self.landed_counts, refused, self.dropped)

    def entry(self, landing: Landed | None) -> Entry:
        """The outcome entry: what this shard brought; the equation, of the whole partition, by the last one."""
        from governance.pulling import MOVED

        shard, root = self.counts(), self.hop.spec.root
        conservation = landing and Conservation(
            at_source=landing.source_counts[root],
            dropped_by_tombstone=landing.dropped.get(root, 0),
            pulled=landing.landed_counts[root],
        )
        return self.hop.recorded.outcome(
            Outcome.PASSED if any(self.landed_counts.values()) else Outcome.NO_DATA,
            counts={f"{table}_at_source": n for table, n in shard.source_counts.items()}
            | {f"{table}_pulled": n for table, n in shard.landed_counts.items()}
            | {f"{table}_dropped_by_tombstone": n for table, n in shard.dropped.items() if n}
            | {f"refused {rule}": n for rule, n in shard.refused.items()}
            | ({f"counted {MOVED}": len(self.moved)} if self.moved else {}),
            conservation=conservation.terms() if conservation else {},
            details={"shard": f"{self.shard.number + 1} of {self.shard.of}"} if self.shard.of > 1 else {},
            alarms=[f"{rule}: {count} refused at pull" for rule, count in shard.refused.items()]
            + ([f"{MOVED}: {len(self.moved)} counted from their first capture"] if self.moved else []),
        )

    def _require_keys(self, table: str, rows: pa.RecordBatch) -> None:
        unnamed = rows["row_key"].null_count
        if unnamed:  # a row that has no name can neither be bound to its ciphertexts nor be listed in quarantine
            columns = ", ".join(self.hop.spec.landed[table].columns["row_key"].origin)
            raise GovernanceError(
                f"{self.hop.batch.label}, table {table}: {unnamed} rows have no key (NULL in {columns}); nothing was "
                f"kept; give them their key at the source and run the partition again"
            )

    def _counted(self, table: str, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Cards with the clock of their first capture."""
        from governance.pulling import MOVED, from_first_capture

        # A connection of its own: that of the hop is busy with the rows.
        with warehouse.connect(self.hop.lent.dsn, self.hop.batch.label) as connection:
            known = connection.first_captures(rows["row_key"].to_pylist())
        counted = from_first_capture(rows, known)
        self.moved.extend((table, key, MOVED) for key in counted.moved)
        return counted.cards

    def _within_terms(self, table: str, holder: str, rows: pa.RecordBatch) -> pa.RecordBatch:
        from governance.pulling import within_terms

        policy = self.hop.workspace.policy
        kind = self.hop.spec.holders[holder]
        life = policy.key_life(kind)
        if life is None:
            raise PolicyError(f"table {table} has its term from keys of kind {kind}, which have none")
        # The real now, never a logical date: a backfill must not take an old card for a fresh one.
        terms = within_terms(rows, now=self.hop.workspace.clock(), life=life)
        for rule, keys in terms.refused.items():
            self.refusals.extend((table, key, rule) for key in keys)
        self.captures.extend(terms.captures)
        return terms.kept

    def _without_erased(self, table: str, rows: pa.RecordBatch, keys: Keys) -> pa.RecordBatch:
        """Rows of nobody who was erased since they began: what is left of a destroyed key is the tombstone (E09)."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        erased = np.zeros(rows.num_rows, bool)
        for holder in self.hop.spec.landed[table].erased_with:
            scopes = self._scopes(rows, table, holder)
            ended = keys.ended(self.hop.spec.holders[holder], pc.unique(scopes).drop_null().to_pylist())
            if ended and holder == CLIENT:
                scopes = self._of_new_subjects(rows, ended, keys)
                rows = rows.set_column(rows.schema.get_field_index(f"{CLIENT}_ref"), f"{CLIENT}_ref", scopes)
            if ended and holder == TRAVELLER:
                scopes, ended = self._of_adults(rows, ended, keys)
                rows = rows.set_column(rows.schema.get_field_index(f"{TRAVELLER}_ref"), f"{TRAVELLER}_ref", scopes)
            if ended:
                erased |= np.asarray(pc.is_in(scopes, pa.array(sorted(ended), pa.string())))
        self.dropped[table] += int(erased.sum())
        if erased.any() and f"{TRAVELLER}_ref" in rows.schema.names:
            self.without.update(rows["root_key"].filter(pa.array(erased)).to_pylist())
        return rows.filter(pa.array(~erased)) if erased.any() else rows

    def _of_who_landed(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows whose count of travellers, made at the source, has none who was dropped: they may be back there."""
        if not self.without or TRAVELLERS_COUNT not in rows.schema.names:
            return rows
        from governance.pulling import less

        counts = less(rows[TRAVELLERS_COUNT], rows["row_key"], self.without)
        return rows.set_column(rows.schema.get_field_index(TRAVELLERS_COUNT), TRAVELLERS_COUNT, counts)

    def _of_new_subjects(self, rows: pa.RecordBatch, ended: Mapping[str, datetime], keys: Keys) -> pa.Array:
        """Scopes of clients, those of erased clients replaced where they have begun anew as adults by then."""
        from governance import subjects

        if unknown := sorted(ended.keys() - self.begun_anew.keys()):
            # A connection of its own: that of the snapshot is busy with the rows.
            with sources.snapshot(self.hop.workspace.source_uri(), self.hop.batch.label) as snapshot:
                found = snapshot.acceptances(self.hop.partition, unknown)
            accepted = subjects.acceptances_of_adults(found, int(self.hop.workspace.policy.value("adult_years")))
            kind = self.hop.spec.holders[CLIENT]
            living = subjects.begun_anew(unknown, lambda names: keys.ended(kind, names), accepted)
            self.begun_anew.update({client: living.get(client) for client in unknown})
        return subjects.renamed(rows[f"{CLIENT}_ref"], rows["begun_at"], self.begun_anew)

    def _of_adults(
        self, rows: pa.RecordBatch, ended: Mapping[str, datetime], keys: Keys
    ) -> tuple[pa.Array, dict[str, datetime]]:
        """Scopes of travellers, those of adults under the number of an erased minor replaced; and all that ended."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from governance import judging, subjects

        recorded = pa.array([self.hop.partition.day] * rows.num_rows, pa.date32())
        adult_years = int(self.hop.workspace.policy.value("adult_years"))
        born = rows["booking_travellers.birth_date"]
        are_adults = pc.invert(judging.are_minors(born, recorded, rows["booked_date"], adult_years))
        kind = self.hop.spec.holders[TRAVELLER]
        made = keys.made(kind, [f"{scope}{subjects.AS_AN_ADULT}" for scope in ended])
        scopes = subjects.as_adults(rows[f"{TRAVELLER}_ref"], are_adults, made)
        return scopes, {**ended, **keys.ended(kind, made)}

    def _keys_of(self, rows: pa.RecordBatch, table: str, holder: str, keys: Keys) -> RowKeys:
        from governance.encryption import RowKeys

        kind = self.hop.spec.holders[holder]
        one = {"day": self.hop.partition.key, "landing": self._name}.get(self._scope_of(kind))
        if one is not None:
            return RowKeys.same(keys.key(kind, one), rows.num_rows)
        return keys.sealing(kind, self._scopes(rows, table, holder))

    @property
    def _name(self) -> str:
        return landing_scope(self.hop.partition.key, self.shard.landing_id)

    def _scope_of(self, kind: str) -> str:
        return self.hop.workspace.policy.keys[kind].scope

    def _scopes(self, rows: pa.RecordBatch, table: str, holder: str) -> pa.Array:
        from governance.pulling import scopes

        kind = self.hop.workspace.policy.keys[self.hop.spec.holders[holder]]
        return scopes(rows, table, holder, kind, self.hop.partition.day)
