"""The public hotel bookings (Antonio, de Almeida, Nunes, Data in Brief 22, 2019): their own columns, read as they are.

A value that is there but implausible stays; it is for the pipelines to notice. Only a line that cannot be read is set
aside.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np

from governance.errors import InputError
from governance.sample.draws import Bools, Dates, Floats, Ints
from governance.sample.files import words
from governance.sample.inputs import MalformedLineError, Tally, lines, text_of

_COLUMN_TEXT = """
hotel is_canceled lead_time arrival_date_year arrival_date_month arrival_date_week_number
arrival_date_day_of_month stays_in_weekend_nights stays_in_week_nights adults children babies meal country
market_segment distribution_channel is_repeated_guest previous_cancellations previous_bookings_not_canceled
reserved_room_type assigned_room_type booking_changes deposit_type agent company days_in_waiting_list
customer_type adr required_car_parking_spaces total_of_special_requests reservation_status
reservation_status_date
"""
COLUMNS = tuple(_COLUMN_TEXT.split())
UNKNOWN = -1  # of a number of people

_MONTH_TEXT = "January February March April May June July August September October November December"
_MONTHS = {name: place for place, name in enumerate(_MONTH_TEXT.split(), 1)}
_UNDEFINED = frozenset({"", "NA", "NULL"})
_MOST_PEOPLE = 60
_EARLIEST, _LATEST = date(1996, 1, 1), date(2100, 1, 1)


@dataclass(frozen=True)
class HotelBookings:
    """One entry per good line, in the order of the file."""

    country: list[str | None]  # ISO 3166-1 alpha-2 where the file's code is known; NULL where undefined
    booked: Dates  # arrival minus lead time
    arrival: Dates
    nights: Ints
    adults: Ints
    children: Ints
    babies: Ints
    is_repeated: Bools
    is_cancelled: Bools
    status_date: Dates
    rate: Floats  # average daily rate, EUR
    tally: Tally


@dataclass(frozen=True)
class _Line:
    country: str | None
    booked: date
    arrival: date
    nights: int
    adults: int
    children: int
    babies: int
    is_repeated: bool
    is_cancelled: bool
    status_date: date
    rate: float


def read(path: Path) -> HotelBookings:
    """Return the bookings of a file. Raises InputError when it cannot be read, is empty, or lacks a column."""
    source, tally = lines(path), Tally()
    names = _header(path, next(source))
    good: list[_Line] = []
    for line in source:
        tally.read += 1
        try:
            good.append(_parsed(names, text_of(line)))
        except MalformedLineError as reason:
            tally.malformed[str(reason)] += 1
    if not tally.read:
        raise InputError(f"{path}: there is a header and no booking. Give the file as it was published.")
    return HotelBookings(
        country=[row.country for row in good],
        booked=_dates(row.booked for row in good),
        arrival=_dates(row.arrival for row in good),
        nights=np.array([row.nights for row in good], dtype=np.int64),
        adults=np.array([row.adults for row in good], dtype=np.int64),
        children=np.array([row.children for row in good], dtype=np.int64),
        babies=np.array([row.babies for row in good], dtype=np.int64),
        is_repeated=np.array([row.is_repeated for row in good], dtype=bool),
        is_cancelled=np.array([row.is_cancelled for row in good], dtype=bool),
        status_date=_dates(row.status_date for row in good),
        rate=np.array([row.rate for row in good], dtype=np.float64),
        tally=tally,
    )


def _dates(days: Iterator[date]) -> Dates:
    return np.array(list(days), dtype="M8[D]")


def _header(path: Path, line: bytes | None) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader([text_of(line)]))]
    except (MalformedLineError, csv.Error, StopIteration) as error:
        raise InputError(
            f"{path}: the first line is no header of a CSV file in UTF-8. Give the hotel bookings as published, "
            f"plain or gzip; nothing was loaded."
        ) from error
    missing = [name for name in COLUMNS if names.count(name) != 1]
    if missing:
        raise InputError(
            f"{path}: the header lacks, or has twice, {', '.join(missing)}. Give the hotel bookings with their own "
            f"{len(COLUMNS)} columns; nothing was loaded."
        )
    return names


def _parsed(names: list[str], text: str) -> _Line:
    try:
        values = next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise MalformedLineError("broken quotes") from error
    if len(values) != len(names):
        raise MalformedLineError("wrong number of columns")
    row = dict(zip(names, (value.strip() for value in values), strict=True))
    arrival = _arrival(row)
    lead = _number(row["lead_time"], -36_500, 36_500)
    try:
        booked = arrival - timedelta(days=lead)
    except OverflowError as error:
        raise MalformedLineError("bad date") from error
    if not _EARLIEST <= booked <= _LATEST:
        raise MalformedLineError("bad date")
    return _Line(
        country=_country(row["country"]),
        booked=booked,
        arrival=arrival,
        nights=_number(row["stays_in_weekend_nights"], 0, 3_650) + _number(row["stays_in_week_nights"], 0, 3_650),
        adults=_people(row["adults"]),
        children=_people(row["children"]),
        babies=_people(row["babies"]),
        is_repeated=_number(row["is_repeated_guest"], 0, 1) == 1,
        is_cancelled=_number(row["is_canceled"], 0, 1) == 1 or row["reservation_status"] in ("Canceled", "No-Show"),
        status_date=_date(row["reservation_status_date"]),
        rate=_rate(row["adr"]),
    )


def _number(text: str, least: int, most: int) -> int:
    try:
        number = int(text.replace("_", " "))  # Python would read 1_0 as ten
    except ValueError as error:
        raise MalformedLineError("bad number") from error
    if not least <= number <= most:
        raise MalformedLineError("bad number")
    return number


def _people(text: str) -> int:
    """Return a number of people; undefined stays unknown. Some editions of the file write 2 as 2.0."""
    return UNKNOWN if text in _UNDEFINED else _number(text.removesuffix(".0"), 0, _MOST_PEOPLE)


def _rate(text: str) -> float:
    try:
        rate = float(text.replace("_", " "))
    except ValueError as error:
        raise MalformedLineError("bad number") from error
    if not abs(rate) < 1e9:  # infinite and not-a-number too
        raise MalformedLineError("bad number")
    return rate


def _arrival(row: dict[str, str]) -> date:
    year = _number(row["arrival_date_year"], 0, 9999)
    day = _number(row["arrival_date_day_of_month"], -99, 99)
    try:
        arrival = date(year, _MONTHS[row["arrival_date_month"]], day)
    except (KeyError, ValueError) as error:
        raise MalformedLineError("bad date") from error
    return _bounded(arrival)


@lru_cache(maxsize=4096)
def _date(text: str) -> date:
    """Return a date as 2015-07-01, or as 7/1/2015 (month first), the two forms in which the file is published."""
    form = "%m/%d/%Y" if "/" in text else "%Y-%m-%d"
    try:
        return _bounded(datetime.strptime(text, form).date())  # noqa: DTZ007  (a calendar date has no zone)
    except ValueError as error:
        raise MalformedLineError("bad date") from error


def _bounded(day: date) -> date:
    if not _EARLIEST <= day <= _LATEST:
        raise MalformedLineError("bad date")
    return day


@lru_cache(maxsize=1)
def _two_letters() -> dict[str, str]:
    return dict(pair.split(":") for pair in words("countries")["codes"].split())


def _country(code: str) -> str | None:
    """Return the two-letter code; one that is not known stays as it is."""
    return None if code in _UNDEFINED else _two_letters().get(code, code)
