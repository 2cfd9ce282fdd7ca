"""The record of processing activities of GDPR article 30(1), made from policy and contracts, so that it is never stale.
Pure.

One activity per purpose. What is said of data is what columns say of themselves: whose key protects them, which
fideslang category they have, which purposes may read them, and which rule ends them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from governance.policy import Policy
from governance.sharing.contracts import Contract
from governance.sharing.register import Recipient

HOLDERS = ("client", "traveller", "guardian")
VISITOR = "visitor"
NOBODY = "nobody outside Wellbe"
BRINGS_IN, PROVIDERS, RETENTION, REVIEW = "intake", "contract", "retention", "review"
ANONYMISED = {"improve_services": "analysts, anonymised releases alone", "market_research": "anonymised releases alone"}

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


@dataclass(frozen=True)
class Activity:
    """One processing activity: a name, and for each letter of article 30(1) what there is to say, in words."""

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


def markdown(record: Iterable[Activity]) -> str:
    """The record as a page: a section an activity, a line a letter."""
    lines = [
        "# Record of processing activities",
        "",
        "GDPR article 30(1). Made from `policies/` and `expectations/contracts/` by `governance record`; do not edit.",
    ]
    for one in record:
        lines += ["", f"## {one.name}", ""]
        lines += [f"- **{title}:** {'; '.join(map(_escaped, getattr(one, part)))}" for part, title in TITLES.items()]
    return "\n".join(lines) + "\n"


def as_csv(record: Iterable[Activity]) -> str:
    """The record as CSV (RFC 4180): a row an activity."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["activity", *TITLES])
    for one in record:
        writer.writerow([one.name, *("; ".join(getattr(one, part)) for part in TITLES)])
    return out.getvalue()


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|" else sign for sign in " ".join(text.split()))


@dataclass(frozen=True)
class _Record:
    policy: Policy
    contracts: tuple[Contract, ...]

    def activity(self, name: str) -> Activity:
        """The activity of a purpose."""
        spec = self.policy.purposes[name]
        said = {
            "controller": self._controller(),
            "purpose": (spec.description, spec.data_use, f"clause {spec.clause}"),
            "lawful_basis": self._basis(name),
            "subjects": self._subjects(name),
            "categories": self._categories(name),
            "recipients": self._recipients(name),
            "transfers": self._transfers(name),
            "erasure": self._erasure(name),
            "measures": self._measures(name),
        }
        return Activity(name, **{part.name: said[part.name] for part in fields(Activity) if part.name != "name"})

    def _controller(self) -> tuple[str, ...]:
        return tuple(f"{what.replace('_', ' ')}: {who}" for what, who in self.policy.value("controller").items())

    def _basis(self, name: str) -> tuple[str, ...]:
        decided: Mapping[str, str] = self.policy.value("lawful_bases")
        of_contracts = [basis for contract in self.contracts for basis in contract.lawful_basis if name == PROVIDERS]
        return tuple(dict.fromkeys([decided.get(name, "undecided"), *of_contracts]))

    def _columns(self, name: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
        """(table, holder of the key, category, holders of the row) of each column that the purpose reads."""
        every = name in (BRINGS_IN, RETENTION)
        return [
            (table, column.key, column.category, landed.erased_with)
            for dataset in self.policy.datasets.values()
            for table, landed in dataset.landed.items()
            for column in landed.columns.values()
            if every or name in column.purposes
        ]

    def _subjects(self, name: str) -> tuple[str, ...]:
        if name in ANONYMISED:
            return ("nobody who can be identified, once released; before: client, traveller, visitor",)
        found = {holder for _, key, _, holders in self._columns(name) for holder in (key, *holders)} & set(HOLDERS)
        visited = any(not holders for _, _, _, holders in self._columns(name))
        return (*(who for who in HOLDERS if who in found), *((VISITOR,) if visited else ())) or (
            "nobody: keys and rule ids",
        )

    def _categories(self, name: str) -> tuple[str, ...]:
        found = {category for _, _, category, _ in self._columns(name)}
        if name == PROVIDERS:
            found |= {column.category for contract in self.contracts for column in contract.columns}
        return tuple(sorted(found)) or ("none: what is read was anonymised, or names rows alone",)

    def _recipients(self, name: str) -> tuple[str, ...]:
        if name == PROVIDERS:
            kinds = (f"{kind} (contract {self._versions(kind)})" for kind in self.policy.sharing.kinds)
            return (*kinds, *(f"{id}: {one.name}, {one.country_code}" for id, one in self._registered))
        if name == "market_research":
            parties = self.policy.registered.items()
            return (ANONYMISED[name], *(f"{id}: {party.name}" for id, party in parties))
        return (ANONYMISED.get(name, NOBODY),)

    @property
    def _registered(self) -> list[tuple[str, Recipient]]:
        return sorted(self.policy.all_recipients.items())

    def _versions(self, kind: str) -> str:
        return ", ".join(one.version for one in self.contracts if one.kind == kind) or "none"

    def _transfers(self, name: str) -> tuple[str, ...]:
        transfers = self.policy.sharing.transfers
        found = []
        for id, one in self._registered if name == PROVIDERS else ():
            if transfers.needs_basis(one.country_code):
                basis = transfers.bases.get(one.transfer_basis or "", "no basis: nothing is handed over")
                found.append(f"{id}, {one.country_code}: {one.transfer_basis or 'none'}, {basis}")
            elif one.country_code not in transfers.free:
                found.append(f"{id}, {one.country_code}: adequacy decision, Art. 45(3)")
        return tuple(found) or ("none",)

    def _erasure(self, name: str) -> tuple[str, ...]:
        tables = {f"records.{table}" for table, *_ in self._columns(name)}
        tables |= {"sharing.delivered_rows"} if name == PROVIDERS else set()
        tables |= {"quarantine.rows", "quarantine.findings"} if name == REVIEW else set()
        terms = {
            f"{rule.table}: {self.policy.value(rule.term)} days from {rule.clock}"
            for rule in self.policy.retention.rules.values()
            if rule.store == "warehouse" and rule.term and rule.table in tables
        }
        earlier = "before that by erasure of the person, whose key is destroyed"
        return (*sorted(terms), earlier) if terms else ("releases stay: they name nobody",)

    def _measures(self, name: str) -> tuple[str, ...]:
        spec = self.policy.purposes[name]
        keys = sorted(kind for kind, key in self.policy.keys.items() if name in key.purposes)
        used = (f"may use keys of kind {', '.join(keys)}, each destroyed at its end",) if keys else ("uses no key",)
        sealed = ("sealed for the recipient's certificate (CMS, AES-256-GCM)",) if name == PROVIDERS else ()
        return (
            "personal values encrypted at rest (AES-256-GCM), a key a person, an hour or a day",
            f"works as database role {spec.role}, which reads the columns of this purpose and no others",
            *used,
            *sealed,
            "every run and every read is an entry of a signed, append-only run log",
        )
