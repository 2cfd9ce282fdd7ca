"""Who is who in the versions of a booking, where a traveller's number may be somebody else's in another one. Pure.

An erasure is about a minor, and a minor is found in every version, by the number there; an adult is no part of it,
whatever number they have anywhere. Policy clause L3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date

Place = tuple[int, int]
"""(version, number of a traveller in it)."""


@dataclass(frozen=True)
class Traveller:
    """One row of a traveller. `name`: its letters, however it is spelt; empty: nobody knows it."""

    version: int
    number: int
    name: str
    born: date | None
    is_minor: bool

    @property
    def place(self) -> Place:
        """Where they stand."""
        return self.version, self.number

    def is_like(self, other: Traveller) -> bool:
        """Whether both are called and born the same."""
        return (self.name, self.born) == (other.name, other.born)


@dataclass(frozen=True)
class Party:
    """Everyone who stands in any version of one booking."""

    travellers: tuple[Traveller, ...]

    def everywhere(self, minors: Iterable[Place]) -> set[Place]:
        """Where these minors stand in every version; nowhere where an adult does."""
        found = set(minors)
        waiting = list(found)
        while waiting:
            one = self._at(waiting.pop())
            for other in self.travellers:
                if other.is_minor and other.place not in found and self._are_same(one, other):
                    found.add(other.place)
                    waiting.append(other.place)
        return found

    def is_among(self, one: Place, others: Collection[Place]) -> bool:
        """Whether somebody stands at one of these places too."""
        return any(self._are_same(self._at(one), self._at(other)) for other in others)

    def _at(self, place: Place) -> Traveller:
        """Who stands there: of somebody who is gone nothing is known but the number."""
        unknown = Traveller(*place, "", None, is_minor=True)
        return next((one for one in self.travellers if one.place == place), unknown)

    def _are_same(self, one: Traveller, other: Traveller) -> bool:
        """Called the same, or under the same number and born the same, or of no name that is known.

        Nobody stands beside themselves: whoever does is somebody else, of the same name or the same birth.
        """
        if one.version == other.version:
            return one.number == other.number
        if not one.is_like(other) and (self._stands_beside(one, other) or self._stands_beside(other, one)):
            return False
        if one.name and other.name and one.name == other.name:
            return True
        is_untold = not (one.name and other.name) or (one.born is not None and one.born == other.born)
        return one.number == other.number and is_untold

    def _stands_beside(self, one: Traveller, other: Traveller) -> bool:
        """Whether somebody like the other is another traveller of the one's version."""
        return any(
            beside.version == one.version and beside.number != one.number and beside.is_like(other)
            for beside in self.travellers
        )
