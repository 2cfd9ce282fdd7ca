"""Free text: notes, itineraries, messages, in the languages that clients write."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from governance.sample import people
from governance.sample.draws import Bools, Dates, Draws, Ints
from governance.sample.files import spaced, words
from governance.sample.text import LOCATOR, coded, references


@dataclass(frozen=True)
class About:
    """What notes are written about: one entry per booking."""

    key: Ints
    locale: Ints  # place in the atlas's locales
    given: pa.Array
    service_date: Dates
    always: Bools  # there is a note in any case


def notes(seed: int, draws: Draws, about: About) -> pa.Array:
    """Return a note for one booking in three, else NULL; digits in it are no card's."""
    keys = about.key
    wanted = (draws.uniform("notes", keys) < 0.34) | about.always
    languages = [code.split("-")[0].replace("nn", "nb") for code in people.atlas().locales]
    by_language = words("texts")["notes"]
    templates = [by_language.get(language, by_language["en"]) for language in languages]
    turn = draws.bits("notes/which", keys[wanted]).tolist()
    blanks = _blanks(seed, draws, keys[wanted], about.service_date[wanted])
    names, places = about.given.filter(pa.array(wanted)).to_pylist(), about.locale[wanted].tolist()
    made: list[str | None] = [None] * len(keys)
    for row, place, which, name, blank in zip(
        np.flatnonzero(wanted).tolist(), places, turn, names, blanks, strict=True
    ):
        choices = templates[place]
        made[row] = choices[which % len(choices)].format(given=name, **blank)
    return pa.array(made, type=pa.string())


def itineraries(seed: int, draws: Draws, keys: Ints, service: Dates) -> pa.Array:
    """Return an itinerary for every key."""
    texts = words("texts")
    origins, destinations = spaced(texts["origins"]), spaced(texts["destinations"])
    choices, turn = texts["itineraries"], draws.bits("itinerary", keys).tolist()
    made = [
        choices[which % len(choices)].format(
            **{"from": origins[which // 7 % len(origins)], "to": destinations[which // 91 % len(destinations)]}, **blank
        )
        for which, blank in zip(turn, _blanks(seed, draws, keys, service), strict=True)
    ]
    return pa.array(made, type=pa.string())


def messages(seed: int, draws: Draws, keys: Ints) -> pa.Array:
    """Return the text of an inquiry for every key."""
    choices, pool = words("texts")["messages"], references(seed)
    turn = draws.bits("message", keys).tolist()
    made = [choices[which % len(choices)].format(ref=pool[which // 11 % len(pool)]) for which in turn]
    return pa.array(made, type=pa.string())


def _blanks(seed: int, draws: Draws, keys: Ints, service: Dates) -> list[dict[str, str]]:
    """Return what fills the blanks of a text: a long reference is always followed by something that is no digit."""
    pool, airlines = references(seed), spaced(words("texts")["airlines"])
    bits = draws.bits("blanks", keys)
    locators = coded(bits.astype(np.int64) & 0x3FFFFFFF, LOCATOR, 6).to_pylist()
    rows = zip(bits.tolist(), locators, np.datetime_as_string(service, unit="D").tolist(), strict=True)
    return [
        {
            "ref": pool[bit % len(pool)],
            "flight": f"{airlines[bit // 3 % len(airlines)]}{100 + bit // 64 % 1900}",
            "pnr": locator,
            "date": day,
            "n": str(2 + bit // 5 % 9),
        }
        for bit, locator, day in rows
    ]
