"""The tables that policy publishes, whichever dataset they come from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from governance.datasets import Dataset, PublishedColumn
from governance.errors import InputError
from governance.policy import Policy

ZONE = "analytics"
RISK = (
    "k", "l", "ncp", "delay_median", "delay_p95", "attack_gained_less", "attack_fewer_left", "attack_disclosed",
    "attack_posterior", "attack_null",
)  # fmt: skip
"""Measures of a release of rows that may go with it. The log has more: how many of its people came again, asked for a
restriction or were erased, which is for the auditor alone."""


@dataclass(frozen=True)
class PublishedTable:
    """What analysts call `analytics.<name>`: a view over all releases; publication appends to the table `rows`."""

    dataset: str
    name: str
    description: str
    columns: Mapping[str, PublishedColumn]

    @property
    def rows(self) -> str:
        """The table behind the view.

        >>> PublishedTable("bookings", "bookings", "", {}).rows
        'bookings_rows'
        """
        return rows_of(self.name)

    @property
    def day(self) -> str:
        """The column that says which release a row is of. Raises InputError when the table has none."""
        for name, column in self.columns.items():
            if column.origin == "partition":
                return name
        raise InputError(f"analytics.{self.name} has no column that says of which release a row is")

    @property
    def noisy_count(self) -> str | None:
        """The column of counts with noise, beside which nothing exact may stand; None where rows are published."""
        return next((name for name, column in self.columns.items() if column.kind == "noisy_count"), None)


def rows_of(name: str) -> str:
    """The table behind the view of that name."""
    return f"{name}_rows"


def of_dataset(dataset: Dataset) -> tuple[PublishedTable, ...]:
    """What a dataset publishes, in policy's order."""
    return tuple(
        PublishedTable(dataset.dataset, release.table, release.description, release.columns)
        for release in dataset.releases
    )


def of_policy(policy: Policy) -> tuple[PublishedTable, ...]:
    """What the whole policy publishes."""
    return tuple(table for dataset in policy.datasets.values() for table in of_dataset(dataset))


def named(policy: Policy, name: str) -> PublishedTable:
    """The published table of that name. Raises InputError when policy publishes none."""
    found = {table.name: table for table in of_policy(policy)}
    if name not in found:
        raise InputError(f"policy publishes no such table; there are {', '.join(sorted(found))}")
    return found[name]
