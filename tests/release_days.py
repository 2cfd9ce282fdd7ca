"""Days of bookings, released one after the other, under a policy that lets a row wait for two days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import builders
from aftermath import terms, through
from builders import DAY, NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.run_log import Batch
from governance.steps import Workspace

KINDS = ("dental.implant", "ophthalmology.lasik")
IN_BETWEEN = ("at_source", "pulled", "quarantined", "dropped_by_tombstone")
DELAY = 2


def ten_days_later(site: Site, **values: Any) -> Workspace:
    """A workspace ten days after the world's first day, where a row waits for two days; `values`: of its policy."""
    space = builders.workspace(site, now=NOW + timedelta(days=8))
    waiting = space.policy.value("bookings_release") | {"delay": DELAY}
    return deciding(space, {"bookings_release": waiting, **values})


def deciding(space: Workspace, values: Mapping[str, Any]) -> Workspace:
    """The same under a policy in which open values are others."""
    there = space.policy.open_values
    changed = {name: there[name].model_copy(update={"value": value}) for name, value in values.items()}
    return replace(space, policy=space.policy.model_copy(update={"open_values": {**there, **changed}}))


class Days:
    """Days of a world, released one after the other."""

    def __init__(self, site: Site, world: World, space: Workspace) -> None:
        self.site, self.world, self.space = site, world, space

    def alike(self, people: int, **changes: Any) -> list[str]:
        """Bookings of so many people with the same quasi-identifiers, counted from the world's own day."""
        at = self.world.day + timedelta(days=40)
        own: dict[str, Any] = {"service_date": at}
        return [
            self.world.booking(
                **(own | {"services": [{"procedure_code": KINDS[number % 2], "starts_on": at}]} | changes)
            )
            for number in range(people)
        ]

    def again(self, row_key: str, kind: str = KINDS[0], **changes: Any) -> str:
        """Another booking of the client of a booking."""
        at = self.world.day + timedelta(days=40)
        client = int(row_key.split("/", maxsplit=1)[0]) + 40_000
        services = [{"procedure_code": kind, "starts_on": at}]
        return self.world.booking(
            **{"service_date": at, "client_id": client, "with_client": False, "with_terms": False,
               "services": services} | changes
        )  # fmt: skip

    def release(self) -> dict[str, int]:
        """Release the world's day, and go on to the next; returns the terms of the equation."""
        through(self.space, "bookings", self.world.day.isoformat())
        return self._released()

    def publish(self) -> dict[str, int]:
        """The same for a day that is validated."""
        steps.publish(self.space, Batch("bookings", self.world.day.isoformat(), "test"), builders.run())
        return self._released()

    def _released(self) -> dict[str, int]:
        self.world.day += timedelta(days=1)
        return {name: count for name, count in terms(self.site)[-1].items() if count and name not in IN_BETWEEN}

    def decided(self, row_key: str) -> list[tuple[Any, ...]]:
        """On which day after the first a row was decided, and how."""
        query = "SELECT release_partition - %s, decision FROM vault.release_ledger WHERE row_key = %s"
        return builders.read(self.site, query, DAY, row_key)
