"""Does the key store agree with the keyring, the policy, the clock and the run log? An edge; reads only."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field

from governance import patience
from governance.database import translated
from governance.errors import KeyringError
from governance.key_backups import made_at
from governance.key_store import KeyStore
from governance.key_wrapping import REFERENCE_KIND, UNKNOWN_KIND
from governance.keyring import KEY_ENCRYPTION, drafts
from governance.keys import KeyService
from governance.sources import named_query


@dataclass(frozen=True)
class Known:
    """What the run log last said of the key store: which one it is, and how many keys it had ever had."""

    store_id: bytes
    keys: int


def known_store(dsn: str) -> Known | None:
    """What the run log last said of the key store; None where it has said nothing yet."""
    with (
        translated("dataset keys"),
        closing(patience.connect(dsn)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(named_query("key_store_known"))
        rows = cursor.fetchall()
    return Known(bytes.fromhex(rows[0][0]), int(rows[0][1])) if rows else None


def missing(store: KeyStore, known: Known | None) -> int:
    """How many keys that the run log knows of cannot be in a store: all of them, when it is another one."""
    if known is None:
        return 0
    return known.keys if store.head().store_id != known.store_id else max(0, known.keys - store.count())


def lacking(store: KeyStore, known: Known | None) -> str | None:
    """What to say of a store that is not the one that the run log knows, or an older state of it; None when it is."""
    if lost := missing(store, known):
        return (
            f"{lost:,} keys that the run log knows of are not in this store ({store.place}): put the right store back, "
            "or restore its backup (`governance keys restore BACKUP`)"
        )
    return None


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


def audit(service: KeyService, logged: Collection[bytes], known: Known | None = None) -> Report:
    """Check a store; `logged`: ids of the keys that the run log calls destroyed. Unwraps every key once."""
    report = Report()
    service.verify()
    report.facts.append(f"{service.keyring.place} fits {service.store.place}")
    lost = lacking(service.store, known)
    report.add([lost] if lost else [], "every key that the run log knows of is in the store")
    _check_key_encryption_key(service, report)
    _check_drafts(service, report)
    _check_keys(service, report)
    _check_deadlines(service, report)
    _check_log(service, logged, report)
    return report


def _check_key_encryption_key(service: KeyService, report: Report) -> None:
    age = service.clock() - made_at(service)
    head, versions = service.store.head(), service.keyring.versions(KEY_ENCRYPTION)
    life = service.policy.key_encryption_key_life
    old = f"the key-encryption key is {age.days} days old, policy says {life.days}: `governance keys rotate`"
    report.add([old] if age > life else [], f"the key-encryption key is {age.days} days old, of at most {life.days}")
    unfinished = [f"a rotation is unfinished (versions {sorted(versions)}): `governance keys rotate` goes on with it"]
    is_unfinished = len(head.check_values) > 1 or max(versions) > head.current_version or len(versions) > 1
    report.add(unfinished if is_unfinished else [], f"version {head.current_version} is the only one there is")


def _check_drafts(service: KeyService, report: Report) -> None:
    left = [draft for path in (service.keyring.path, service.store.path) if path for draft in drafts(path)]
    found = [
        f"{draft} was left by a kill, and holds keys (unless one is being written now): the next key_upkeep removes it"
        for draft in left
    ]
    report.add(found, "no draft of keyring or store is left")


def _check_keys(service: KeyService, report: Report) -> None:
    count, broken, strangers = 0, 0, set()
    for page in service.store.pages():
        for key in page:
            if key.kind not in {*service.policy.keys, REFERENCE_KIND, UNKNOWN_KIND}:
                strangers.add(key.kind)
            if not key.is_destroyed:
                count += 1
                broken += service.opened(key) is None
    lost = f"{broken} of {count} keys cannot be unwrapped: `governance keys restore BACKUP` mends those that it has"
    report.add([lost] if broken else [], f"{count:,} keys unwrap")
    try:
        service.require_reference()
    except KeyringError as error:
        report.problems.append(str(error))
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
