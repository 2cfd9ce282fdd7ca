"""The rows of one booking, to be edited by a trouble."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from governance.sample import days

Row = dict[str, Any]


@dataclass
class Case:
    """The rows of one booking, to be edited; `turn` tells cases of a kind apart."""

    tables: dict[str, list[Row]]
    seed: int
    key: int
    turn: int

    @property
    def booking(self) -> Row:
        return self.tables["bookings"][0]

    @property
    def booked_date(self) -> date:
        booked: datetime = self.booking["booked_at"]
        return booked.astimezone(days.STOCKHOLM).date()

    def booking_key(self) -> str:
        return f"{self.booking['booking_id']}/{self.booking['version']}"

    def traveller_key(self, place: int) -> str:
        return f"{self.booking_key()}/{self.tables['booking_travellers'][place]['traveller_no']}"

    def between_booking_and_record(self, share: float) -> datetime:
        booked, recorded = self.booking["booked_at"], self.booking["recorded_at"]
        later: datetime = booked + (recorded - booked) * share
        return later
