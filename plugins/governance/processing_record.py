"""The record of processing activities of GDPR article 30(1), made from policy and contracts, so that it is never stale.
Pure.

One activity per purpose. What is said of data is what columns say of themselves: which source tables they come from,
which fideslang category they have, which purposes may read them, whose key protects them, and which rules end them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from governance.datasets import Dataset, LandedColumn, LandedTable
from governance.policy import UNCONFIRMED, Policy
from governance.retention_rules import ErasedPlace, RetentionRule
from governance.sharing.contracts import Contract
from governance.sharing.register import Recipient

PROVIDERS, REVIEW = "contract", "review"
EVERY_COLUMN = ("intake", "retention")
"""Purposes that handle every column, whatever its own purposes: one brings it in, the other ends it."""
ANONYMISED = ("improve_services", "market_research")
"""Purposes whose results are anonymised before anybody reads them."""

SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "bookings": ("client",),
    "clients": ("client",),
    "terms_acceptances": ("client",),
    "payment_cards": ("client",),
    "booking_services": ("client", "traveller"),
    "booking_travellers": ("traveller",),
    "guardian_consents": ("guardian",),
    "page_views": ("visitor",),
    "providers": (),  # companies
}
"""Source table -> whom its rows are about; a traveller is whoever travels or is treated, companions included."""

KEPT_FOR: Mapping[str, tuple[str, ...]] = {
    "intake": ("control.first_captures", "records.refusals"),
    "contract": ("sharing.deliveries", "sharing.delivered_rows", "sharing.obligations"),
    "improve_services": ("vault.release_ledger", "vault.release_people"),
    "market_research": ("sharing.release_deliveries",),
    "saved_cards": ("vault.saved_cards",),
    "fraud_prevention": ("vault.card_holds",),
    "retention": ("quarantine.erasures",),
    "review": ("quarantine.rows", "quarantine.findings", "quarantine.reviews"),
}
"""Purpose -> tables that it keeps beside the landed ones."""

ROLES_BESIDE: Mapping[str, tuple[str, ...]] = {
    "intake": ("puller",),
    "improve_services": ("analyst",),
    "retention": ("source_retention",),
}
"""Purpose -> database roles that work for it, or read what it makes, beside its own."""

TITLES: Mapping[str, str] = {
    "controller": "(a) controller, representative, data protection officer",
    "purpose": "(b) purpose, use (fideslang), clause",
    "lawful_basis": "lawful basis (articles 6 and 9)",
    "subjects": "(c) categories of data subjects",
    "categories": "(c) categories of personal data (fideslang)",
    "recipients": "(d) categories of recipients",
    "transfers": "(e) transfers to third countries, and safeguards",
    "erasure": "(f) time limits for erasure",
    "measures": "(g) technical and organisational measures",
}
"""What each part of an activity is called, with its letter in article 30(1)."""

UNDECIDED = "undecided"
DONE = {"delete": "deleted", "blank": "blanked"}


@dataclass(frozen=True)
class Activity:
    """One processing activity: a name, and for each letter of article 30(1) what there is to say, in statements."""

    name: str
    controller: tuple[str, ...]
    purpose: tuple[str, ...]
    lawful_basis: tuple[str, ...]
    subjects: tuple[str, ...]
    categories: tuple[str, ...]
    recipients: tuple[str, ...]
    transfers: tuple[str, ...]
    erasure: tuple[str, ...]
    measures: tuple[str, ...]


def activities(policy: Policy, contracts: Iterable[Contract]) -> tuple[Activity, ...]:
    """One activity for each purpose of the policy, in its order; `contracts`: those in force with providers."""
    made = _Record(policy, tuple(contracts))
    return tuple(made.activity(name) for name in policy.purposes)


# -- what it says ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """A landed column, and where it lies."""

    dataset: Dataset
    table: str
    landed: LandedTable
    spec: LandedColumn

    @property
    def subjects(self) -> set[str]:
        """Whom it says something about."""
        tables = {origin.partition(".")[0] for origin in self.spec.origin}
        return {who for table in tables for who in SUBJECTS.get(table, (f"undeclared: {table}",))}


@dataclass(frozen=True)
class _Record:
    policy: Policy
    contracts: tuple[Contract, ...]

    def activity(self, name: str) -> Activity:
        """The activity of a purpose."""
        spec = self.policy.purposes[name]
        return Activity(
            name,
            controller=self._controller(),
            purpose=(spec.description, spec.data_use, f"clause {spec.clause}"),
            lawful_basis=self._basis(name),
            subjects=self._subjects(name),
            categories=self._categories(name),
            recipients=tuple(self._recipients(name)),
            transfers=tuple(self._transfers(name)) or ("none",),
            erasure=tuple(dict.fromkeys(self._erasure(name))) or ("nothing personal is kept for it",),
            measures=tuple(self._measures(name)),
        )

    def _value(self, name: str) -> Any:
        """An open value as far as anybody has set it: a record says what is undecided, it does not stop there."""
        value = self.policy.open_values.get(name)
        return UNDECIDED if value is None or value.value is None else value.value

    def _status(self, name: str) -> tuple[str, ...]:
        """That nobody has confirmed an open value, where that is so."""
        value = self.policy.open_values.get(name)
        return () if value and value.is_confirmed else (UNCONFIRMED,)

    def _columns(self, name: str) -> list[_Column]:
        """The columns that a purpose handles; of a review those that name rows, for there is nothing else to see."""
        return [
            _Column(dataset, table, landed, column)
            for dataset in self.policy.datasets.values()
            for table, landed in dataset.landed.items()
            for key, column in landed.columns.items()
            if name in EVERY_COLUMN or name in column.purposes or (name == REVIEW and key in ("row_key", "root_key"))
        ]

    # (a), (b)

    def _controller(self) -> tuple[str, ...]:
        who = self._value("controller")
        told = (
            [f"{what.replace('_', ' ')}: {one}" for what, one in who.items()] if isinstance(who, dict) else [str(who)]
        )
        return (*told, *self._status("controller"))

    def _basis(self, name: str) -> tuple[str, ...]:
        decided = self._value("lawful_bases")
        basis = decided.get(name, UNDECIDED) if isinstance(decided, dict) else str(decided)
        of_contracts = (
            f"contract {one.kind} {one.version}: {'; '.join(one.lawful_basis)}"
            for one in self.contracts
            if one.purpose == name
        )
        return (basis, *of_contracts, *self._status("lawful_bases"))

    # (c)

    def _subjects(self, name: str) -> tuple[str, ...]:
        found = {who for column in self._columns(name) for who in column.subjects}
        known = dict.fromkeys(who for of_table in SUBJECTS.values() for who in of_table)
        told = (*(who for who in known if who in found), *sorted(found - known.keys()))
        return (*told, *(("nobody who can be identified in what is made of it",) if name in ANONYMISED else ()))

    def _categories(self, name: str) -> tuple[str, ...]:
        found = {column.spec.category for column in self._columns(name)}
        found |= {column.category for one in self.contracts if one.purpose == name for column in one.columns}
        return tuple(sorted(found)) or ("none: what is read was anonymised",)

    # (d)

    def _recipients(self, name: str) -> Iterator[str]:
        for role in (self.policy.purposes[name].role, *ROLES_BESIDE.get(name, ())):
            yield f"role {role}: {self.policy.roles[role].description}"
        if name == PROVIDERS:
            yield from map(self._kind, self.policy.sharing.kinds)
            yield from (self._provider(id, one) for id, one in self._registered)
        parties = [(id, party) for id, party in sorted(self.policy.registered.items()) if party.purpose == name]
        for id, party in parties:
            until, tables = f"{party.agreed_from} to {party.agreed_until}", ", ".join(party.tables)
            yield f"third party {id}: {party.name}, agreed {until}; anonymised releases of {tables} alone"
        if name != PROVIDERS and not parties:
            yield "nobody outside"

    def _kind(self, kind: str) -> str:
        gets = [_let_go(one) for one in self.contracts if one.kind == kind]
        return f"{kind}: {'; '.join(gets) or 'nothing, there is no contract'}"

    def _provider(self, id: str, one: Recipient) -> str:
        is_kept = any((kept.kind, kept.version) == (one.kind, one.contract) for kept in self.contracts)
        without = "" if is_kept else ", which is not kept: nothing is handed over"
        asked = f"; asks for {', '.join(one.options)}" if one.options else ""
        until = f"agreed {one.agreed_from} to {one.agreed_until}"
        return f"{one.kind} {id}: {one.name}, {one.country_code}, {until}, contract {one.contract}{without}{asked}"

    @property
    def _registered(self) -> list[tuple[str, Recipient]]:
        return sorted(self.policy.all_recipients.items())

    # (e)

    def _transfers(self, name: str) -> Iterator[str]:
        transfers = self.policy.sharing.transfers
        for id, one in self._registered if name == PROVIDERS else ():
            if transfers.needs_basis(one.country_code):
                basis = transfers.bases.get(one.transfer_basis or "", "no basis: nothing is handed over")
                yield f"{id}, {one.country_code}: {one.transfer_basis or 'none'}, {basis}"
            elif one.country_code not in transfers.free:
                yield f"{id}, {one.country_code}: adequacy decision, Art. 45(3)"
        if any(party.purpose == name for party in self.policy.registered.values()):
            yield "none to third parties: what they get was anonymised"

    # (f)

    def _erasure(self, name: str) -> Iterator[str]:
        columns = self._columns(name)
        tables = {*KEPT_FOR.get(name, ())}
        tables |= {f"records.{column.table}" for column in columns} if name != REVIEW else set()
        if name in EVERY_COLUMN:
            tables |= {f"wellbe.{table}" for dataset in self.policy.datasets.values() for table in dataset.source}
        rules = [rule for rule in self.policy.retention.rules.values() if rule.table in tables]
        yield from sorted(map(self._ended, rules))
        yield from (self._erased(place) for place in self.policy.retention.erasure.values() if place.table in tables)
        yield from (f"key {kind}: {self._destroyed(kind)}" for kind in self._kinds(name, columns))

    def _ended(self, rule: RetentionRule) -> str:
        of = "".join(f" ({column} {value})" for column, value in rule.only.items())
        which = f", {', '.join(rule.columns)}" if rule.columns else ""
        if rule.act == "keep":
            return f"{rule.table}: without a term; {rule.rationale}"
        if not rule.term:
            return f"{rule.table}{of}{which}: {DONE[rule.act]} with the next run"
        days = self._life(rule.term, rule.margin, rule.clock)
        grounds = "".join(f"; unless {ground}" for ground in rule.grounds)
        return f"{rule.table}{of}{which}: {DONE[rule.act]} {days}{grounds}"

    def _life(self, term: str, margin: str, clock: str) -> str:
        return f"{self._value(term)} days after {clock}{f' less {self._value(margin)} hours' if margin else ''}"

    def _erased(self, place: ErasedPlace) -> str:
        who = "somebody of the booking" if place.whose == "booking" else f"the {place.whose}"
        if place.act == "keep":
            ground = self.policy.retention.grounds[place.ground].description
            return f"{place.table}: when {who} is erased {', '.join(place.columns)} stay; {ground}"
        return f"{place.table}: {DONE[place.act]} earlier, when {who} is erased"

    def _kinds(self, name: str, columns: list[_Column]) -> list[str]:
        """The kinds of keys that a purpose may use, or that protect what it handles."""
        used = {kind for kind, spec in self.policy.keys.items() if name in spec.purposes}
        under = {column.dataset.holders[column.spec.key] for column in columns if column.spec.key}
        return [kind for kind in self.policy.keys if kind in used | under]

    def _destroyed(self, kind: str) -> str:
        spec = self.policy.keys[kind]
        clock = f"the {spec.scope} began" if spec.counted_from == "scope" else "it was made"
        return f"{self._life(spec.term, spec.margin, clock)}; {spec.destroyed}" if spec.term else spec.destroyed

    # (g)

    def _measures(self, name: str) -> Iterator[str]:
        role = self.policy.purposes[name].role
        spec = self.policy.roles[role]
        taken = f"; nobody logs in as it, {spec.taken_by} takes it, on the record" if spec.taken_by else ""
        yield f"access: database role {role} reaches {', '.join(spec.can_use)} and no other zone{taken}"
        for kind in self._kinds(name, self._columns(name)):
            key = self.policy.keys[kind]
            how = "AES-256-GCM at rest" if key.use == "encrypt" else "keyed tokens"
            may = [f"may {verb}" for verb, who in (("seal", key.seal), ("open", key.open)) if name in who]
            yield f"key {kind}, one per {key.scope}: {how}; this purpose {' and '.join(may) or 'may not use it'}"
        if name in ANONYMISED:
            yield (
                f"anonymisation: groups of {self._value('k')} people and {self._value('l')} health values at least, "
                "attacked before they are published; or counts with noise"
            )
        if name == PROVIDERS:
            yield "delivery: the columns of the contract alone, sealed for the recipient's certificate (CMS), once"
        yield "destruction: what a destroyed key protected is unreadable in every copy, dump and backup"
        yield "evidence: every run, and every read by a person, is an entry of a signed, append-only run log"


def _let_go(contract: Contract) -> str:
    """What a contract lets go, by column."""
    of_all = [column.name for column in contract.columns if not column.on_request]
    asked = [column.name for column in contract.columns if column.on_request]
    return f"by contract {contract.version} {', '.join(of_all)}; on request {', '.join(asked) or 'nothing'}"
