"""Cards in their clients' profiles (K3 K4), and the step that keeps both exceptions of a card (`holding.py`: K2).

Three parts, each a try of its own, so that one which fails keeps no other from its work: cards whose clients chose so
are saved, the number without its last digits, under the client's profile key; saved cards whose choice was withdrawn
end, and with the last one the key; holds that expired or were released end. Nothing here keeps a card, or the key of
its hour, a second longer: what was not saved by then cannot be saved any more, and is an alarm.

A client's profile key is that of `client N`; a client who withdrew every choice, which destroyed it, and chooses again
has the next one, `client N since 2`, because a destroyed key never comes back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from psycopg2.extras import execute_values

from governance import sources
from governance.encryption import Column
from governance.errors import AlarmError, GovernanceError, SourceUnavailableError, TransientError
from governance.key import ID_BYTES
from governance.keys import Keys
from governance.retention import Looked
from governance.run_log import Outcome, Run
from governance.saved_cards import Card, Choice, chosen_at, partial_number, profile_scope
from governance.sources import Snapshot, named_query
from governance.steps.card_desk import Desk, card_deadline, card_hour, desk, recorded
from governance.steps.holding import HOLDS_OVER, LOOK, end_holds, look_at_holds
from governance.steps.keeping import destroy_keys
from governance.steps.retaining import Planned
from governance.steps.workspace import Workspace

EVENT = "keep_cards"
ROLE = "profiler"
WITHDRAWN_CARDS = "withdrawn_cards"
WITHDRAWN = "the choice to keep a card in the profile was withdrawn (K3)"
PARTIAL = Column("saved_cards", "partial_number_encrypted")
"""What a saved number is bound to; its row key is the card's."""
UNSAVED = {
    "vault.payment_cards": (
        "partition_key", "row_key", "client_id", "captured_at", "is_saved_to_profile", "card_number_encrypted",
    ),
    "vault.saved_cards": ("card_key",),
}  # fmt: skip
SAVED = {
    "vault.saved_cards": ("card_key", "client_id", "captured_at", "is_saved_to_profile", "partial_number_encrypted"),
    "vault.payment_cards": ("partition_key", "row_key", "is_saved_to_profile"),
}


def keep_cards(workspace: Workspace, run: Run) -> dict[str, int]:
    """Save what clients chose, end what they withdrew, end holds; returns counts.

    Raises, once every part was tried, the first error that lasts, or AlarmError when a choice came to nothing because
    the key of its card's hour had died.
    """
    counts: dict[str, int] = {}
    errors: list[GovernanceError] = []
    for part in (_save, _end_withdrawn, end_holds):
        try:
            counts |= part(workspace, run)
        except GovernanceError as error:
            errors.append(error)
    if errors:
        lasting = [error for error in errors if not isinstance(error, TransientError)]
        raise (lasting or errors)[0]
    if counts["missed"]:
        raise AlarmError([_told(counts["missed"])])
    return counts


def look_at_exceptions(workspace: Workspace, run: Run, at: datetime) -> list[Looked]:
    """What of the exceptions of cards would end at an instant; nothing is changed."""
    with recorded(workspace, LOOK, "withdrawn", run, ("K3",)) as told, desk(workspace, told, ROLE, SAVED) as table:
        saved = _withdrawn(table, at).looked
        told.append(told.outcome(Outcome.PASSED, counts={"due": saved.due}))
    return [saved, look_at_holds(workspace, run, at)]


def end_exceptions(workspace: Workspace, run: Run, planned: Planned) -> dict[str, int]:
    """End the exceptions of cards that a plan told of, choices as of now. Raises InputError when they are others."""
    saved = _end_withdrawn(workspace, run, planned)
    return {WITHDRAWN_CARDS: saved["withdrawn"], HOLDS_OVER: end_holds(workspace, run, planned)["ended"]}


@dataclass(frozen=True)
class _Sealed:
    """A card and its ciphertext."""

    card: Card
    value: bytes

    @property
    def key_id(self) -> bytes:
        """The key that it is under."""
        return self.value[1 : 1 + ID_BYTES]


def _save(workspace: Workspace, run: Run) -> dict[str, int]:
    """Save the cards of accepted bookings whose clients' choice is in force, while the keys of their hours live."""
    with recorded(workspace, EVENT, "saved", run, ("K3", "K4")) as told, desk(workspace, told, ROLE, UNSAVED) as at:
        try:
            return _saved(at)
        except SourceUnavailableError:
            if dead := _dead(at):
                told.facts["alarms"] = [f"K3 {dead} cards ended before anybody could ask whether they are saved"]
            raise


def _saved(at: Desk) -> dict[str, int]:
    """One transaction, portion by portion: however many cards there are, those whose choice may be so are looked at."""
    counts = dict.fromkeys(("looked_at", "saved", "no_number", "missed"), 0)
    with (
        sources.snapshot(at.workspace.source_uri(), at.label) as source,
        at.connection.ending() as (cursor, append),
    ):
        givers = source.as_of("profile_card_givers", at.workspace.clock())["client_id"].to_pylist()
        # A portion is read and written through the same cursor, so each is stored when the next one is asked for.
        for rows in at.portions(cursor, "cards/unsaved", givers=givers):
            found, stored = _portion(at, _cards(rows), source)
            counts = {name: n + found[name] for name, n in counts.items()}
            if stored:
                execute_values(cursor, named_query("cards/save"), stored)
            at.keys.forget()
        missed = counts["missed"]
        outcome = Outcome.PASSED if counts["saved"] or missed else Outcome.NO_DATA
        append(at.recorded.outcome(outcome, counts=counts, alarms=[_told(missed)] if missed else []))
    return counts


def _portion(at: Desk, cards: list[_Sealed], source: Snapshot) -> tuple[dict[str, int], list[tuple[object, ...]]]:
    """Of some cards: counts, and what is to be stored."""
    opened = at.keys.opening("card_hour", _ids(cards))
    choices = _choices(at, cards, source)
    over = _over(at, cards, opened.destroyed)
    living = [each for each in _chosen(cards, choices) if each.card.card_key not in over]
    numbers = at.numbers([each.value for each in living], [each.card.card_key for each in living], opened)
    without = int(at.workspace.policy.value("last_card_digits"))
    parts = [(each.card, partial_number(number, without)) for each, number in zip(living, numbers, strict=True)]
    saved = [(card, part) for card, part in parts if part]
    dead = [each.card for each in cards if each.card.card_key in over]
    counts = {
        "looked_at": len(cards), "saved": len(saved), "no_number": len(living) - len(saved),
        "missed": sum(_was_chosen_in_time(at.workspace, card, choices) for card in dead),
    }  # fmt: skip
    return counts, _rows(at, saved)


def _dead(at: Desk) -> int:
    """Cards in no profile whose keys have died, whatever their clients may have chosen."""
    found = [(value[1 : 1 + ID_BYTES], count) for value, count in at.read("cards/unsaved_keys")]
    gone = at.keys.opening("card_hour", pa.array([id for id, _ in found], pa.binary())).destroyed
    return sum(count for id, count in found if id in gone)


@dataclass(frozen=True)
class _Withdrawn:
    """Saved cards whose choice is no longer in force, and keys of clients who have no other."""

    ends: list[str]
    keys: list[bytes]
    still_saved: int

    @property
    def looked(self) -> Looked:
        """As a plan tells it."""
        digest = hashlib.sha256("\n".join(self.ends).encode()).hexdigest()
        return Looked(WITHDRAWN_CARDS, len(self.ends), kept=self.still_saved, digest=digest)


def _withdrawn(at: Desk, instant: datetime | None = None) -> _Withdrawn:
    ends: list[_Sealed] = []
    still_saved = 0
    with sources.snapshot(at.workspace.source_uri(), at.label) as source, at.connection.ending() as (cursor, _):
        for rows in at.portions(cursor, "cards/saved"):
            cards = _cards(rows)
            opened = at.keys.opening("profile", _ids(cards))
            # What is under a destroyed key can be read by nobody: a try before was killed, or the client was erased.
            readable = [each for each in cards if each.key_id not in opened.destroyed]
            stays = {each.card.card_key for each in _chosen(readable, _choices(at, readable, source, instant))}
            ends += [each for each in cards if each.card.card_key not in stays]
            still_saved += len(stays)
    gone = sorted(each.card.card_key for each in ends)
    beside = at.read("cards/saved_of", sorted({each.card.client_id for each in ends}), gone) if ends else []
    keys = {each.key_id for each in ends} - {value[1 : 1 + ID_BYTES] for (value,) in beside}
    return _Withdrawn(gone, sorted(keys), still_saved)


def _end_withdrawn(workspace: Workspace, run: Run, planned: Planned | None = None) -> dict[str, int]:
    """End saved cards whose choice is no longer in force, and the key of a client who has no other saved card."""
    with recorded(workspace, EVENT, "withdrawn", run, ("K3",)) as told, desk(workspace, told, ROLE, SAVED) as at:
        found = _withdrawn(at)  # a choice that was given again since the plan keeps its card
        if planned:
            planned.require(WITHDRAWN_CARDS, found.looked.digest)
        # The key first: a row that is still there tells the next run of a key that is left.
        counts = {"keys_destroyed": destroy_keys(workspace, found.keys, WITHDRAWN, run)}
        counts |= {"withdrawn": len(found.ends), "still_saved": found.still_saved}
        with at.connection.ending() as (cursor, append):
            cursor.execute("DELETE FROM vault.saved_cards WHERE card_key = ANY(%s)", (found.ends,))
            append(told.outcome(Outcome.PASSED if found.ends else Outcome.NO_DATA, counts=counts))
    return counts


def _told(missed: int) -> str:
    return f"K3 {missed} cards that their clients chose to save were not saved before the key of their hour died"


def _cards(rows: Sequence[tuple[Any, ...]]) -> list[_Sealed]:
    return [_Sealed(Card(*about), value) for *about, value in rows if value is not None]


def _ids(cards: Sequence[_Sealed]) -> pa.Array:
    return pa.array([each.key_id for each in cards], pa.binary())


def _choices(
    at: Desk, cards: Sequence[_Sealed], source: Snapshot, instant: datetime | None = None
) -> dict[int, Choice]:
    """Of the clients of these cards: the latest event about cards in the profile, as the operational store has it."""
    clients = {each.card.client_id for each in cards if each.card.client_id is not None}
    rows = source.as_of("profile_card_choices", instant or at.workspace.clock(), clients).to_pylist()
    return {row.pop("client_id"): Choice(**row) for row in rows}


def _chosen(cards: Sequence[_Sealed], choices: Mapping[int, Choice]) -> list[_Sealed]:
    return [each for each in cards if chosen_at(each.card, choices.get(each.card.client_id))]


def _over(at: Desk, cards: Sequence[_Sealed], destroyed: Collection[bytes]) -> set[str]:
    """Cards whose deadline has come by their first capture; the key of one that came with a later instant may live."""
    hours = {each.card.card_key: card_hour(each.card.captured_at) for each in cards}
    now = at.workspace.clock()
    deadlines = {hour: card_deadline(at.workspace.policy, hour) for hour in set(hours.values())}
    ended = {hour for hour, deadline in deadlines.items() if deadline is not None and deadline <= now}
    keys = ((each.card.card_key, each.key_id) for each in cards)
    return {card for card, key in keys if key in destroyed or hours[card] in ended}


def _was_chosen_in_time(workspace: Workspace, card: Card, choices: Mapping[int, Choice]) -> bool:
    """Whether the choice was there before the key of the card's hour died: what is chosen later comes to nothing."""
    deadline = card_deadline(workspace.policy, card_hour(card.captured_at))
    chosen = chosen_at(card, choices.get(card.client_id))
    return chosen is not None and (deadline is None or chosen < deadline)


def _rows(at: Desk, saved: Sequence[tuple[Card, str]]) -> list[tuple[object, ...]]:
    """What is stored of cards and their shortened numbers."""
    cards = [card for card, _ in saved]
    keys = at.keys.sealing("profile", _scopes(at.keys, cards))
    values = at.sealed([part for _, part in saved], [card.card_key for card in cards], keys, PARTIAL)
    return [
        (card.card_key, card.client_id, card.captured_at, bool(card.is_saved_to_profile), value)
        for card, value in zip(cards, values, strict=True)
    ]


def _scopes(keys: Keys, cards: Sequence[Card]) -> pa.Array:
    """Whose profile key each card is under: the first of the client's that is not destroyed."""
    scopes = [profile_scope(card.client_id, 1) for card in cards]
    number = 1
    while gone := keys.ended("profile", set(scopes)):
        number += 1
        scopes = [
            profile_scope(card.client_id, number) if scope in gone else scope
            for card, scope in zip(cards, scopes, strict=True)
        ]
    return pa.array(scopes, pa.string())
