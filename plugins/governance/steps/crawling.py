"""The crawl: every table and column that there is, in every schema, held against the rules of retention.

Our database and the source's are compared column by column; of the other databases of our cluster the names, and the
tables of those that policy calls empty, where the role may connect. Only catalogs are read, and no row.
"""

from __future__ import annotations

from psycopg2.extensions import make_dsn

from governance import door, live, warehouse
from governance.errors import PolicyError
from governance.policy import Policy
from governance.run_log import Outcome, Run
from governance.sources import named_query
from governance.steps.retaining import OF_ALL, ROLE, recorded_end, session_at_source
from governance.steps.workspace import Workspace
from governance.warehouse import Warehouse

EVENT = "crawl"
LABEL = "the crawl of schemas"


def crawl(workspace: Workspace, run: Run) -> None:
    """Compare the live schemas with the rules. Raises PolicyError naming every database, every table, and every column
    that names somebody or may hold anything, which policy does not cover.
    """
    policy = workspace.policy
    with recorded_end(workspace, EVENT, OF_ALL, run) as recorded:
        with (
            door.lent(workspace, recorded.attempt, ROLE, {}) as lent,  # of rows it reads nothing
            warehouse.connect(lent.dsn, LABEL) as connection,
        ):
            ours = live.tables(connection.rows(named_query("live_columns")))
            beside = _databases_beside(connection, lent.dsn, policy)
        with session_at_source(workspace, "the crawl of the source's schema", "nothing was compared") as cursor:
            cursor.execute(named_query("live_columns"))
            theirs = live.tables(cursor.fetchall())
        gaps = [
            *live.gaps_of_warehouse(ours, policy),
            *live.gaps_of_databases(beside, policy),
            *live.gaps_of_source(theirs, policy),
        ]
        counts = {
            "tables": len(ours) + len(theirs),
            "other_databases": len(beside),
            "rules": len(policy.retention.rules),
            "gaps": len(gaps),
        }
        if gaps:
            recorded.facts["counts"] = counts
            raise PolicyError(
                f"retention: {len(gaps)} gaps: {'; '.join(gaps[:10])}{' ...' if len(gaps) > 10 else ''}; say in "
                "policies/retention.yaml what becomes of them"
            )
        recorded.append(recorded.outcome(Outcome.PASSED, counts=counts))


def _databases_beside(connection: Warehouse, dsn: str, policy: Policy) -> dict[str, live.Tables | None]:
    """Every other database of our cluster; with its tables where it is to have none and the role may look."""
    found: dict[str, live.Tables | None] = {}
    for name, may_connect in connection.rows(named_query("databases")):
        known = policy.retention.databases.get(name)
        found[name] = None
        if known and known.is_empty and may_connect:
            with warehouse.connect(make_dsn(dsn, dbname=name), LABEL) as inside:
                found[name] = live.tables(inside.rows(named_query("live_columns")))
    return found
