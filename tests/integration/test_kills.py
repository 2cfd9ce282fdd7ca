"""SIGKILL in the middle of every step, at every boundary: the next try finishes it, once, and all is accounted for.

A step is done once undisturbed, and its boundaries are counted (tests/boundaries.py). Then it is killed at its first,
tried again and killed at its second, and so on, as a scheduler does that has bad luck; wherever a kill has left more
than an intent, the next try is left alone, must come to the undisturbed end, and everything is put back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import pyarrow as pa
import pytest

import boundaries
import builders
import recipients
from aftermath import entries, governance, through
from boundaries import Killed
from builders import DAY, NOW, World
from first_version import Earlier
from governance import airflow_records, history, key_audit, key_backups, steps
from governance.accounting import Action, Key, Try
from governance.airflow_records import Records
from governance.embedded import backup, control, workspaces
from governance.embedded.site import Site
from governance.encryption import Column, decrypt
from governance.errors import AlarmError, InputError
from governance.key_store import KeyStore
from governance.log_tree import LogTree
from governance.log_verification import opened_notes, verify
from governance.run_log import Batch, Conservation, Run, Shard
from governance.steps import Workspace
from kept import Kept
from run_logs import Auditor, append

pytestmark = [pytest.mark.pg, pytest.mark.beside, pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()
LATER = datetime.now(UTC) - NOW + timedelta(days=1)
"""After every instant of the database's own clock."""
AIRFLOW = builders.run(task_id="before")


@dataclass(frozen=True)
class Place:
    """Where a case happens; `folder` is for what it writes."""

    site: Site
    world: World
    space: Workspace
    folder: Path
    patch: pytest.MonkeyPatch


@dataclass(frozen=True)
class Case:
    """A step, what there is before it, and what is to be the same after it whenever it was killed."""

    prepare: Callable[[Place], object]
    work: Callable[[Place, Run], object]
    after: timedelta = timedelta()  # from the clock of what was before to that of the step
    left: Callable[[Place], object] = lambda place: None
    """What else is to be the same."""
    restore: Callable[[Place], object] = lambda place: None
    """Puts back what is kept elsewhere than on our side."""
    is_by_hand: bool = False  # nothing of Airflow's knows of it
    stride: int = 1
    """Of so many boundaries one is fatal, where there are hundreds."""


# -- what there is before ----------------------------------------------------------------------------------------------


def one_day(place: Place) -> None:
    """A day with rows that pass, one that does not, cards, one of them too old, and visitors."""
    world = place.world
    world.crowd(card={})
    world.booking(with_terms=False)
    world.booking(card={"captured_at": NOW - timedelta(days=20)})
    world.visitors()
    world.view(ip=None)


HOPS: Mapping[str, Callable[[Place, str, Run], object]] = {
    "pull": lambda place, dataset, run: steps.pull(place.space, dataset, KEY, run),
    "validate": lambda place, dataset, run: steps.validate(place.space, Batch(dataset, KEY, "test"), run),
    "publish": lambda place, dataset, run: steps.publish(place.space, Batch(dataset, KEY, "test"), run),
}


def before(event: str, dataset: str) -> Callable[[Place], None]:
    """That day, with every hop before this one done."""

    def prepare(place: Place) -> None:
        one_day(place)
        for name, hop in HOPS.items():
            if name == event:
                return
            hop(place, dataset, AIRFLOW)

    return prepare


def landed(place: Place) -> None:
    """That day, pulled: rows, keys and a log."""
    one_day(place)
    for dataset in ("bookings", "visits"):
        steps.pull(place.space, dataset, KEY, AIRFLOW)


def day_done(place: Place) -> None:
    """That day, published."""
    one_day(place)
    for dataset in ("bookings", "visits"):
        through(place.space, dataset, KEY)


def next_day(place: Place) -> None:
    """The day after that one, with rows that came late on the first day, as far as validation."""
    day_done(place)
    place.world.crowd()
    again = steps.pull(place.space, "bookings", KEY, builders.run("again", "before"))
    steps.validate(place.space, again, builders.run("again", "before"))
    place.world.day = DAY + timedelta(days=1)
    place.world.crowd()
    steps.validate(place.space, steps.pull(place.space, "bookings", NEXT, AIRFLOW), AIRFLOW)


def signed(place: Place) -> None:
    """A log of that day that was signed, and has grown since."""
    one_day(place)
    steps.pull(place.space, "visits", KEY, AIRFLOW)
    steps.checkpoint(place.space, AIRFLOW)
    append(place.site, 3)


def put_back(place: Place) -> None:
    """A log whose database was put back to before its last checkpoint."""
    signed(place)
    with closing(Kept(place.site, place.folder)) as kept:
        steps.checkpoint(place.space, AIRFLOW)
        kept.put_back_rows()


def told_by_airflow(place: Place) -> None:
    """Tries that never reached a step, one that never came out of it, a success without an effect, and an action."""
    one_day(place)
    boundaries.run(
        lambda: steps.pull(place.space, "bookings", KEY, Run("bookings", "r0", "pull", 1, "scheduled")), "COPY"
    )
    ended = (
        Try(Key("bookings", "r0", "pull", -1, 1), "failed", NOW, False, "scheduled", None, KEY),
        Try(Key("bookings", "r1", "pull", -1, 2), "failed", NOW, True, "scheduled", None, KEY),
        Try(Key("bookings", "r1", "publish", -1, 1), "upstream_failed", NOW, True, "scheduled", None, KEY),
        Try(Key("bookings", "r2", "pull", -1, 1), "success", NOW, True, "manual", "anna", KEY),
    )
    done = (Action(1, NOW, "clear", "anna", "bookings", "r2", "pull", -1, None),)
    place.patch.setattr(airflow_records, "read", lambda dsn, since: Records(ended, frozenset(), done, (1, 1)))


def rates_of_days(place: Place) -> None:
    """Days of which hardly a row was held back, and one of which most were."""
    for number, (accepted, held_back) in enumerate([(99, 1)] * 5 + [(10, 90)]):
        builders.read(
            place.site,
            "WITH landing AS (INSERT INTO control.landings (landing_id, dataset, partition_key, shards_count) "
            "VALUES (%s, 'visits', %s, 1) RETURNING landing_no, partition_key) "
            "INSERT INTO control.batches (dataset, partition_key, state, run_id, pull_attempt, landing_no, settled_no, "
            "source_counts, landed_counts, accepted, quarantined) SELECT 'visits', partition_key, 'settled', 'r', 'a', "
            "landing_no, landing_no, %s, %s, %s, %s FROM landing",
            f"day {number}", DAY + timedelta(days=number), '{"page_views": 100}', '{"page_views": 100}', accepted,
            held_back,
        )  # fmt: skip


def unknown_column(place: Place) -> None:
    """A source with a column that policy does not know."""
    place.world.execute("ALTER TABLE wellbe.bookings ADD COLUMN loyalty_tier text")


def alarm_over(place: Place) -> None:
    """An alarm that was raised, and is over now."""
    unknown_column(place)
    with pytest.raises(AlarmError):
        steps.watch(place.space, "source_schema", builders.run("before"))
    place.world.execute("ALTER TABLE wellbe.bookings DROP COLUMN loyalty_tier")


def store_lost(place: Place) -> None:
    """A backup of the key store, a person erased since, and then no key store any more."""
    landed(place)
    backed_up(place)
    steps.destroy_key(place.space, "subject", "client 50002", "request 7", AIRFLOW)
    place.site.key_store_path.unlink()
    place.patch.setattr(workspaces, "workspace", lambda site, policy=None: builders.workspace(site))


def landed_cards(place: Place) -> None:
    """Accepted cards of three clients: one chose to save his, one chose and will withdraw, one did not choose."""
    for card, client in ((7, 71), (8, 72), (9, 73)):
        place.world.booking(
            client_id=client, card={"card_id": card, "client_id": client, "save_to_profile": client == 72}
        )
    batch = steps.pull(place.space, "bookings", KEY, AIRFLOW)
    steps.validate(place.space, batch, AIRFLOW)


def cards_to_keep(place: Place) -> None:
    """A saved card whose choice was withdrawn, another that was chosen since, and a hold that has expired."""
    landed_cards(place)
    steps.keep_cards(place.space, AIRFLOW)
    for number, (client, decision) in enumerate(((72, "withdrawn"), (71, "given")), 1):
        place.world.insert(
            "consent_events", event_id=number, client_id=client, purpose="profile_card", channel="web",
            decision=decision, effective_at=NOW, received_at=NOW, source="profile", version=1, recorded_at=NOW,
        )  # fmt: skip
    held = replace(place.space, policy=builders.keeping_numbers(place.space.policy))
    for card in ("7", "9"):
        request = steps.HoldRequest(card, "fraud", "7", NOW.date() + timedelta(days=int(card) - 7), True)
        steps.place_hold(held, request, AIRFLOW)


def held(place: Place, run: Run) -> None:
    """A hold as a person asks for it, who asks again in the same words when the command was killed."""
    steps.place_hold(place.space, steps.HoldRequest("7", "fraud", "7", NOW.date() + timedelta(days=9)), run)


def saved_numbers(place: Place) -> list[object]:
    """What is saved of which card, opened."""
    rows = builders.read(place.site, "SELECT card_key, partial_number_encrypted FROM vault.saved_cards ORDER BY 1")
    column = Column("saved_cards", "partial_number_encrypted")
    with closing(place.space.keys()) as service:
        found, _ = service.unwrapped({bytes(value)[1:17] for _, value in rows})
    values, names = pa.array([bytes(value) for _, value in rows], pa.binary()), pa.array([name for name, _ in rows])
    return [[name for name, _ in rows], decrypt(values, names, key_of=found.__getitem__, column=column).to_pylist()]


# -- the steps ---------------------------------------------------------------------------------------------------------


def hop(event: str, dataset: str, stride: int = 1) -> Case:
    """One of the three hops of that day."""
    return Case(before(event, dataset), lambda place, run: HOPS[event](place, dataset, run), stride=stride)


def in_shards(place: Place, run: Run, count: int = 3) -> None:
    """A partition that was planned in so many shards, one after the other."""
    for number in range(count):
        steps.pull(place.space, "visits", KEY, run, Shard("visits", KEY, "planned once", number, count))


def alarmed(work: Callable[[], object]) -> None:
    """Work that has to raise an alarm of which somebody is told: nobody was, of a try that was killed."""
    with pytest.raises(AlarmError) as raised:
        work()
    assert raised.value.is_new


def watch(name: str) -> Callable[[Place, Run], None]:
    """A look that finds something."""
    return lambda place, run: alarmed(lambda: steps.watch(place.space, name, run))


def acknowledged(place: Place, run: Run) -> None:
    """The log goes on; a second time, when all is done, it is said that there is nothing to do."""
    with suppress(InputError):
        steps.acknowledge_restore(place.space, "request 7", run)
    origin = place.space.signers().origin
    assert origin.endswith("/2")
    assert place.space.checkpoints().latest(origin) is not None


def backed_up(place: Place) -> None:
    """A backup of the key store, where there is none yet."""
    if not (place.folder / "backup").exists():
        with closing(place.space.keys()) as service:
            key_backups.back_up(service, place.folder / "backup")


def made_anew(place: Place) -> None:
    """A keyring and a store for a new installation."""
    if not (place.folder / "new.sqlite").exists():
        governance("keys", "create", "--store", f"{place.folder}/new.sqlite", "--keyring", f"{place.folder}/ring.json")


def keys_in(path: Path) -> int:
    """How many keys a store has."""
    with closing(KeyStore.open(str(path))) as store:
        return store.count()


def minors(place: Place) -> None:
    """That day, with a minor who travels, and a client who is one."""
    one_day(place)
    born = date(2010, 3, 10)
    place.world.booking(travellers=[{}, {"birth_date": born}], consents=[{"traveller_no": 2, "verified_at": None}])
    place.world.booking(client={"birth_date": born}, card={})


def in_review(place: Place) -> None:
    """That day, validated: the minors have been in quarantine for a month."""
    minors(place)
    steps.validate(place.space, steps.pull(place.space, "bookings", KEY, AIRFLOW), AIRFLOW)
    builders.read(place.site, "UPDATE quarantine.reviews SET since = %s", NOW)


def minors_at_source(place: Place) -> None:
    """Everybody at the source again, under the same numbers."""
    place.world.clear()
    place.world.restart()
    minors(place)


def of_minors(place: Place) -> object:
    """What the source has left, and how many erasures the log calls done."""
    at_source = builders.read(
        place.site,
        "SELECT (SELECT count(*) FROM wellbe.guardian_consents), (SELECT count(*) FROM wellbe.booking_travellers), "
        "(SELECT count(*) FROM wellbe.clients WHERE email IS NULL), (SELECT count(*) FROM wellbe.payment_cards), "
        "(SELECT count(*) FROM wellbe.bookings WHERE notes IS NULL)",
        role="wellbe_owner",
    )
    return at_source, sum(entry["outcome"] == "passed" for entry in entries(place.site, "erase", "outcome"))


def old_cards(place: Place) -> None:
    """Accepted cards, here and at the source: one past its term, one past the margin before it, one that stays."""
    for card, at in ((7, NOW - timedelta(hours=46)), (8, NOW - timedelta(hours=11.5)), (9, NOW - timedelta(minutes=1))):
        place.world.booking(card={"card_id": card, "captured_at": at, "cvv": "123" if card == 9 else None})
    place.world.booking()
    through(place.space, "bookings", KEY)


def cards_at_source(place: Place) -> None:
    """The cards at the source again, under the same numbers."""
    place.world.clear()
    place.world.restart()
    for card, at in ((7, NOW - timedelta(hours=46)), (8, NOW - timedelta(hours=11.5)), (9, NOW - timedelta(minutes=1))):
        place.world.booking(card={"card_id": card, "captured_at": at, "cvv": "123" if card == 9 else None})
    place.world.booking()


def rules_of_cards(space: Workspace) -> Workspace:
    """The same under a policy that has the rules of cards alone; every rule is executed alike."""
    kept = {name: rule for name, rule in space.policy.retention.rules.items() if "cards" in rule.table}
    retention = space.policy.retention.model_copy(update={"rules": kept})
    return replace(space, policy=space.policy.model_copy(update={"retention": retention}))


def of_cards(place: Place) -> object:
    """What the source has left, and what the log says, effect by effect: rows that ended, breaches, accounts."""
    at_source = builders.read(
        place.site, "SELECT card_id, cvv FROM wellbe.payment_cards ORDER BY 1", role="wellbe_owner"
    )
    told = entries(place.site, phase="outcome")
    ended = [(e["partition_key"], e["counts"]["ended"]) for e in told if e["event"] == "retain" and e["counts"]]
    breaches = [(e["partition_key"], e["counts"], e["measures"]) for e in told if e["event"] == "breach"]
    accounts = [(e["details"], e["counts"]) for e in told if e["event"] == "end_card_hour"]
    return at_source, sorted(pair for pair in ended if pair[1]), sorted(breaches, key=str), sorted(accounts, key=str)


def shared_minor(place: Place) -> None:
    """A day that was published, with a minor whose consent came late, and one who was shared and whose consent was
    withdrawn."""
    born, world = date(2010, 3, 10), place.world
    late = world.booking(travellers=[{"birth_date": born}], consents=[{"verified_at": None}])
    gone = world.booking(travellers=[{"birth_date": born}], consents=[{}])
    world.booking()
    through(place.space, "bookings", KEY)
    builders.delivered(place.site, "first", gone)
    change = "UPDATE wellbe.guardian_consents SET {} WHERE booking_id = %s"
    world.execute(change.format("verified_at = given_at + interval '1 hour'"), int(late.split("/")[0]))
    world.execute(change.format(f"withdrawn_at = '{NOW.isoformat()}'"), int(gone.split("/")[0]))


def at_providers(place: Place) -> Workspace:
    """The workspace of a site with a clinic and a travel agency, their outboxes beside the case's folder."""
    folder = outboxes_of(place)
    register = {name: recipients.registered(folder / name, number) for number, name in enumerate(RECIPIENTS, 1)}
    return recipients.sharing(place.site, register, place.space.clock())


RECIPIENTS = (recipients.CLINIC, recipients.AGENCY)


def outboxes_of(place: Place) -> Path:
    return place.folder.with_name(f"{place.folder.name}-outboxes")


def for_providers(place: Place) -> None:
    """A day that was delivered, with a booking whose consent is withdrawn since, and the next one, accepted."""
    recipients.outboxes(place.site, outboxes_of(place))
    first = recipients.booking(place.site, place.world)
    through(place.space, "bookings", KEY)
    steps.share(at_providers(place), KEY, AIRFLOW)
    kept = outboxes_of(place).with_suffix(".kept")
    shutil.copytree(outboxes_of(place), kept)
    recipients.says(place.site, place.world, first, "withdrawn", NOW)
    place.world.day = DAY + timedelta(days=1)
    recipients.booking(place.site, place.world)
    later = builders.workspace(place.site, now=NOW + timedelta(days=1))
    through(later, "bookings", NEXT)


def outboxes_put_back(place: Place) -> None:
    shutil.rmtree(outboxes_of(place))
    shutil.copytree(outboxes_of(place).with_suffix(".kept"), outboxes_of(place))


def delivered(place: Place) -> object:
    """What each recipient opens, how often our tables and the log call it sent, and what is still owed."""
    folder, identity = outboxes_of(place), at_providers(place).identity()
    opened = {name: recipients.opened(folder / name, name, folder) for name in RECIPIENTS}
    got = {name: [(one.manifest["kind"], len(one.objects)) for one in found] for name, found in opened.items()}
    drafts = [path.name for path in folder.rglob(".*.draft")]
    drafts += [path.name for path in Path(gettempdir()).glob(f"delivery-{identity.fingerprint[:16]}.*")]
    ids = sorted(one.manifest["delivery_id"] for found in opened.values() for one in found)
    query = "SELECT delivery_id FROM sharing.deliveries WHERE sent_at IS NOT NULL AND given_up_at IS NULL ORDER BY 1"
    assert [id for (id,) in builders.read(place.site, query)] == ids, "sent, and in an outbox"
    said = {e["details"]["delivery"] for e in entries(place.site, "deliver", "outcome") if e["outcome"] == "passed"}
    settled = entries(place.site, "settle_delivery", "outcome")
    said |= {e["details"]["delivery"] for e in settled if e["details"]["state"] == "sent"}
    assert said == set(ids), "the log says what happened"
    owed = builders.read(place.site, "SELECT reason, notice_id IS NULL FROM sharing.obligations")
    return got, drafts, owed


def of_consents(place: Place) -> object:
    """What is owed, how often the log says so, and that nothing waits for validation."""
    owed = builders.read(place.site, "SELECT delivery_id, reason, met_at FROM sharing.obligations")
    told = sum(e["counts"].get("obligations", 0) for e in entries(place.site, "consents", "outcome"))
    return owed, told, builders.read(place.site, "SELECT state FROM control.batches")


CASES: Mapping[str, Case] = {
    "pull bookings": hop("pull", "bookings", stride=3),
    "pull visits": Case(before("pull", "visits"), lambda p, run: in_shards(p, run, 1), stride=2),
    "pull in shards": Case(one_day, in_shards, stride=9),
    "plan": Case(one_day, lambda p, run: steps.plan(p.space, "bookings", KEY, run)),
    "keep_keys with nothing due": Case(landed, lambda p, run: steps.keep_keys(p.space, run), stride=3),
    "keep_keys": Case(landed, lambda p, run: steps.keep_keys(p.space, run), after=timedelta(days=9), stride=3),
    "keep_cards": Case(
        cards_to_keep, lambda p, run: steps.keep_cards(p.space, run),
        after=timedelta(days=1), left=saved_numbers, stride=4,
    ),
    "cards hold": Case(landed_cards, held, is_by_hand=True),
    "keys destroy": Case(
        landed, lambda p, run: steps.destroy_key(p.space, "subject", "client 50002", "request 7", run)
    ),
    "keys rotate": Case(landed, lambda p, run: steps.rotate_key(p.space, run), stride=3),
    "keys backup": Case(
        landed, lambda p, run: backed_up(p), left=lambda p: keys_in(p.folder / "backup"), is_by_hand=True
    ),
    "keys create": Case(
        lambda p: None, lambda p, run: made_anew(p), left=lambda p: keys_in(p.folder / "new.sqlite"), is_by_hand=True
    ),
    "keys restore": Case(
        store_lost, lambda p, run: backup.restore_keys(p.site, p.folder / "backup"), is_by_hand=True, stride=2
    ),
    "erase_minors": Case(in_review, lambda p, run: steps.erase_minors(p.space, run), after=timedelta(days=31),
                         left=of_minors, restore=minors_at_source, stride=3),
    "retain": Case(
        old_cards, lambda p, run: alarmed(lambda: steps.retain(rules_of_cards(p.space), run)),
        after=timedelta(days=9, hours=12), left=of_cards, restore=cards_at_source, stride=2,
    ),
    "sequence": Case(landed, lambda p, run: steps.sequence(p.space)),
    "checkpoint, the first": Case(landed, lambda p, run: steps.checkpoint(p.space, run)),
    "checkpoint": Case(signed, lambda p, run: steps.checkpoint(p.space, run), stride=3),
    "log rotate-key": Case(signed, lambda p, run: steps.rotate_signing_key(p.space, run), stride=4),
    "log acknowledge-restore": Case(
        put_back, acknowledged, stride=3
    ),
    "log export": Case(
        signed, lambda p, run: governance("log", "export", f"{p.folder}/log"),
        left=lambda p: (p.folder / "log").read_bytes().count(b"\n"), is_by_hand=True,
    ),
    "reconcile": Case(
        told_by_airflow, lambda p, run: alarmed(lambda: steps.reconcile(p.space, run)), after=timedelta(minutes=10)
    ),
    "watch partitions": Case(before("validate", "visits"), watch("partitions"), after=timedelta(days=2)),
    "watch quarantine_rate": Case(rates_of_days, watch("quarantine_rate"), after=timedelta(days=2)),
    "watch oldest_row": Case(before("validate", "visits"), watch("oldest_row"), after=timedelta(days=2), stride=3),
    "watch merge_delay": Case(lambda p: append(p.site, 1), watch("merge_delay"), after=LATER),
    "watch source_schema": Case(unknown_column, watch("source_schema")),
    "watch that clears": Case(alarm_over, lambda p, run: steps.watch(p.space, "source_schema", run)),
    "read": Case(
        landed,
        lambda p, run: governance("read", "--role", "steward", "--why", "request 7", "quarantine.rows", "row_key"),
        is_by_hand=True,
    ),
    # From here on the parent has Great Expectations in it, which makes every fork dearer.
    "validate bookings": hop("validate", "bookings", stride=2),
    "validate visits": hop("validate", "visits", stride=2),
    "publish bookings": hop("publish", "bookings", stride=2),
    "publish visits": hop("publish", "visits"),
    "pull of a day that is settled": Case(
        day_done, lambda p, run: steps.pull(p.space, "bookings", KEY, run), stride=3
    ),
    "publish that carries rows in": Case(
        next_day, lambda p, run: steps.publish(p.space, Batch("bookings", NEXT, "test"), run), stride=3
    ),
    "share": Case(
        for_providers, lambda p, run: steps.share(at_providers(p), NEXT, run), after=timedelta(days=1), left=delivered,
        restore=outboxes_put_back, stride=9,
    ),
    "consents": Case(
        shared_minor, lambda p, run: steps.consents(p.space, run), after=timedelta(hours=1), left=of_consents, stride=9
    ),
    "re-encryption": Case(
        lambda p: Earlier(p.site, p.world),
        lambda p, run: control._bring_keys(p.site, builders.POLICY, lambda _: None),
        after=LATER, is_by_hand=True, stride=31,
    ),
    "up": Case(landed, lambda p, run: control.clusters_up(p.site.data_dir), is_by_hand=True, stride=151),
}  # fmt: skip


@pytest.fixture
def kept_private(world: World) -> Iterator[None]:
    """What is written is for nobody else, as in Airflow's processes; afterwards the source's tables are as before."""
    umask = os.umask(0o077)
    yield
    os.umask(umask)
    world.execute("ALTER TABLE wellbe.bookings DROP COLUMN IF EXISTS loyalty_tier")


@pytest.mark.usefixtures("here", "kept_private")
@pytest.mark.parametrize("name", CASES, ids=lambda name: name.replace(" ", "_"))
def test_a_step_that_is_killed_anywhere_is_finished_by_the_next_try(
    site: Site, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    place = Place(site, world, builders.workspace(site), tmp_path, monkeypatch)
    case.prepare(place)
    place = replace(place, space=builders.workspace(site, now=NOW + case.after))
    with closing(Kept(site, tmp_path, lambda: case.restore(place))) as kept:
        killed_everywhere(case, place, kept)


def test_every_kind_of_boundary_is_seen(
    site: Site, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(site, world, builders.workspace(site), tmp_path, monkeypatch)
    one_day(place)
    crossed = {
        *boundaries.run(lambda: steps.pull(place.space, "bookings", KEY, AIRFLOW)),
        *boundaries.run(lambda: steps.rotate_key(place.space, AIRFLOW)),
    }
    kinds = {"connect", "SELECT audit.append(%s)", "COPY", "COPY reads", "COMMIT", "close", "ADBC execute",
             "ADBC fetch_record_batch", "SQLite: BEGIN IMMEDIATE", "SQLite: COMMIT", "half of a file is written",
             "a file is written", "the end"}  # fmt: skip
    assert kinds - crossed == set()
    assert {"open", "os.rename", "os.remove", "os.chmod"} - {what.split()[0] for what in crossed} == set()


def killed_everywhere(case: Case, place: Place, kept: Kept) -> None:
    """The test's own words."""

    def outcome() -> dict[str, Any]:
        return kept.facts(place.space.clock()) | {"left": case.left(place)}

    def tried(number: int, fatal: int = 0) -> Killed | list[str]:
        return boundaries.run(lambda: case.work(place, replace(builders.run(), try_number=number)), fatal)

    case.work(place, AIRFLOW)  # here, so that what it imports is there for every child
    expected = outcome()
    is_sound(place)
    kept.put_back()
    crossed = tried(0)
    is_as(outcome(), expected, "not killed at all")
    kept.put_back()
    untouched, tries = kept.effects(), 0
    for fatal in list(boundaries.matter(list(crossed)))[:: case.stride]:
        tries += 1
        ended = tried(tries, fatal)
        if not isinstance(ended, Killed):  # keys that were made by a try before shorten the way
            is_as(outcome(), expected, "reached the end")
            kept.put_back()
            tries, ended = 1, tried(1, fatal)
        assert isinstance(ended, Killed), f"boundary {fatal} of {len(crossed)} is not reached any more: {ended}"
        if kept.effects() != untouched:
            tried(tries + 1)
            is_as(outcome(), expected, f"killed before {ended}")
            if fatal % 15 == 0:
                is_sound(place)
            kept.put_back()
            tries = 0
    tried(tries + 1)
    is_as(outcome(), expected, "killed over and over")
    if not case.is_by_hand:
        is_accounted_for(place, tries + 1)
    is_sound(place)


def is_as(found: dict[str, Any], expected: dict[str, Any], when: str) -> None:
    """The facts are those that are expected."""
    for name, value in expected.items():
        assert found[name] == value, f"{when}, {name}: {found[name]}; expected {value}"


def is_sound(place: Place) -> None:
    """Rows are conserved, keys and files are whole, the log is what its checkpoints say, also for the auditor."""
    site, space = place.site, place.space
    for entry in entries(site, "publish", "outcome"):
        assert entry["outcome"] != "passed" or Conservation(**entry["conservation"]).imbalances() == []
    steps.keep_keys(space, builders.run("sound"))
    known = key_audit.known_store(space.warehouse_dsn("custodian"))
    with closing(space.keys()) as service:
        assert key_audit.audit(service, steps.logged_destructions(space), known).problems == []
    head, folder = steps.checkpoint(space, builders.run("sound")), space.checkpoints()
    notes = [note for note in folder.notes() if note.startswith(f"{head.origin}\n")]
    with LogTree.connected(site.dsn("auditor")) as tree:
        heads, unsound = opened_notes(notes, folder.verifiers())
        assert not unsound
        assert not verify(tree, heads, now=NOW + LATER, merge_delay=timedelta(days=2)).problems
    with TemporaryDirectory() as own:
        auditor = Auditor(site, Path(own))
        auditor.held.mkdir()
        auditor.keys.write_bytes((folder.path / "keys.txt").read_bytes())
        for number, note in enumerate(notes):
            (auditor.held / f"{number}.checkpoint").write_text(note)
        newest = auditor.held / f"{len(notes) - 1}.checkpoint"
        assert auditor.kit("log", auditor.export(), newest, auditor.held) == 0, auditor.said
    assert not list(folder.path.glob(".*"))
    assert folder.path.stat().st_mode & 0o777 == 0o755


def is_accounted_for(place: Place, tries: int) -> None:
    """Every try, as Airflow has them on its tables, has an end in the log once reconciliation has looked."""
    site, later = place.site, replace(place.space, clock=lambda: place.space.clock() + timedelta(minutes=10))
    ended = tuple(
        Try(Key("tests", "test", "test", -1, number), "up_for_retry", NOW, False, "manual", None, KEY)
        for number in range(1, tries + 1)
    )
    place.patch.setattr(airflow_records, "read", lambda dsn, since: Records(ended, frozenset(), (), None))
    steps.reconcile(later, builders.run("reconciling", "reconcile"))
    attempts = history.attempts(entries(site))
    assert [attempt for attempt in attempts if attempt.outcome == history.INTERRUPTED] == []
    told = {attempt.run["try_number"] for attempt in attempts if attempt.run["task_id"] == "test"}
    assert set(range(1, tries + 1)) <= told
    again = steps.reconcile(later, builders.run("reconciling again", "reconcile"))
    assert again["interrupted"] == again["tries without"] == 0
