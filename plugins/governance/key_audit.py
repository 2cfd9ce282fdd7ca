"""Does the key store agree with the keyring, the policy, the clock and the run log? An edge; reads only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from governance.errors import KeyringError
from governance.key_wrapping import REFERENCE_KIND, UNKNOWN_KIND
from governance.keyring import KEY_ENCRYPTION
from governance.keys import KeyService


@dataclass
class Report:
    """What was found to be in order, and what was not; counts and kinds, never whom a key is for."""

    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, problems: list[str], fact: str) -> None:
        """The problems of one check, or the fact that there are none."""
        self.problems += problems
        if not problems:
            self.facts.append(fact)


def audit(service: KeyService, logged: Collection[bytes]) -> Report:
    """Check a store; `logged`: ids of the keys that the run log calls destroyed. Unwraps every key once."""
    report = Report()
    service.verify()
    report.facts.append(f"{service.keyring.place} fits {service.store.place}")
    _check_key_encryption_key(service, report)
    _check_keys(service, report)
    _check_deadlines(service, report)
    _check_log(service, logged, report)
    return report


def _check_key_encryption_key(service: KeyService, report: Report) -> None:
    head, versions = service.store.head(), service.keyring.versions(KEY_ENCRYPTION)
    age = service.clock() - versions[head.current_version]
    life = service.policy.key_encryption_key_life
    old = f"the key-encryption key is {age.days} days old, policy says {life.days}: `governance keys rotate`"
    report.add([old] if age > life else [], f"the key-encryption key is {age.days} days old, of at most {life.days}")
    unfinished = [f"a rotation is unfinished (versions {sorted(versions)}): `governance keys rotate` goes on with it"]
    is_unfinished = len(head.check_values) > 1 or max(versions) > head.current_version or len(versions) > 1
    report.add(unfinished if is_unfinished else [], f"version {head.current_version} is the only one there is")


def _check_keys(service: KeyService, report: Report) -> None:
    count, broken, strangers = 0, 0, set()
    for page in service.store.pages():
        for key in page:
            if key.kind not in {*service.policy.keys, REFERENCE_KIND, UNKNOWN_KIND}:
                strangers.add(key.kind)
            if not key.is_destroyed:
                count += 1
                try:
                    service.wrapper(key.version).unwrap(key)
                except KeyringError:
                    broken += 1
    lost = f"{broken} of {count} keys cannot be unwrapped: restore the store from its backup"
    report.add([lost] if broken else [], f"{count:,} keys unwrap")
    unknown = f"kinds that policy does not know: {', '.join(sorted(strangers))}; declare them in policies/keys.yaml"
    report.add([unknown] if strangers else [], "every key is of a kind that policy declares")


def _check_deadlines(service: KeyService, report: Report) -> None:
    overdue = {c.kind: c.overdue for c in service.store.census(service.clock().timestamp()) if c.overdue}
    late = [f"{n} keys of kind {kind} are past their deadline: does DAG key_upkeep run?" for kind, n in overdue.items()]
    report.add(late, "no key is past its deadline")


def _check_log(service: KeyService, logged: Collection[bytes], report: Report) -> None:
    open_acts = service.store.unrecorded()
    pending = f"{len(open_acts)} acts of destruction are not in the run log yet: the next key_upkeep records them"
    report.add([pending] if open_acts else [], "every act of destruction is recorded")
    found = service.store.fetch(logged)
    back = sum(1 for key in found.values() if not key.is_destroyed)
    returned = f"{back} keys that the run log calls destroyed are there: the next key_upkeep destroys them again"
    report.add([returned] if back else [], f"of {len(logged):,} keys that the run log calls destroyed none is there")
    acts = [act.attempt_id for act in service.store.acts() if act.is_recorded]
    recorded = {key.id for attempt_id in acts for key in service.store.destroyed_by(attempt_id)}
    missing = len(recorded - set(logged))
    gap = f"{missing} destroyed keys are in no entry of the run log: was it altered, or restored from a backup?"
    report.add([gap] if missing else [], f"{len(recorded):,} destroyed keys are in the run log")
