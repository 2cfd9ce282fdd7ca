"""What a release tells about itself, written in its own transaction: settings, notes of what changed, and its bias.

A part of publication that an analyst needs to read the rest; it commits with the rows or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import psycopg2.extensions
from psycopg2.extras import execute_values

from governance import analytics_views, precision
from governance.anonymisation.bias import Bias
from governance.policy import Policy
from governance.published_tables import of_dataset
from governance.sources import named_query

Cursor = psycopg2.extensions.cursor


def announce(cursor: Cursor, policy: Policy, dataset: str, day: date, biases: Sequence[Bias]) -> None:
    """Tell of the release of a partition; `biases`: none where they may not be told.

    Raises PolicyError when a view that analysts read is not what policy says: what is published would not be seen.
    """
    for table in of_dataset(policy.dataset(dataset)):
        live = analytics_views.columns(cursor, table.name)
        analytics_views.require(table, live, f"partition {day}: nothing was published")
        cursor.execute(named_query("analytics/new_columns"), (table.name, list(table.columns), day))
    before, now = _previous(cursor, dataset, day), precision.settings(policy, dataset)
    _append(cursor, "release_settings (dataset, partition_key, setting, value)",
            [(dataset, day, *each) for each in sorted(now.items())])  # fmt: skip
    if before:
        notes = [(dataset, day, n.what, n.before, n.after, n.told) for n in precision.notes(before, now)]
        _append(cursor, "release_notes (dataset, partition_key, what, value_before, value_after, told)", notes)
    rows = [(dataset, day, b.dimension, b.value, b.published, b.missing_at_least, b.share_at_most) for b in biases]
    _append(cursor, "release_bias (dataset, partition_key, dimension, value, published, missing_at_least, "
                    "share_at_most)", rows)  # fmt: skip


def _previous(cursor: Cursor, dataset: str, day: date) -> dict[str, str]:
    """What policy said at the release before; nothing when there was none, or it did not say."""
    cursor.execute(
        "SELECT setting, value FROM analytics.release_settings WHERE dataset = %(dataset)s AND partition_key = "
        "(SELECT max(partition_key) FROM analytics.releases WHERE dataset = %(dataset)s AND partition_key < %(day)s)",
        {"dataset": dataset, "day": day},
    )
    return dict(cursor.fetchall())


def _append(cursor: Cursor, target: str, rows: Sequence[tuple[object, ...]]) -> None:
    # The target is a literal of this module, never input.
    execute_values(cursor, f"INSERT INTO analytics.{target} VALUES %s", rows)  # noqa: S608
