"""A validated batch on its way into vault and quarantine: what failed is noted row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import psycopg2.extensions
from psycopg2 import sql

from governance.errors import GovernanceError
from governance.run_log import Batch, Entry


@dataclass(frozen=True)
class Finding:
    """Rows of one landed table that failed one rule, as the query of Great Expectations that names them."""

    table: str
    rule: str
    clause: str
    severity: str
    failed: int
    rows_query: str


@dataclass(frozen=True)
class Settled:
    """Rows per landed table that went to the vault, and that did not."""

    accepted: dict[str, int]
    quarantined: dict[str, int]


SettlementEntry = Callable[[Settled], Entry]
"""Makes the outcome entry from what was settled; raising undoes the settlement."""


def record(cursor: psycopg2.extensions.cursor, batch: Batch, day: date, findings: Sequence[Finding]) -> None:
    """Note the failing rows of the findings of one table, whose facts are read once for all of them."""
    # The queries come from Great Expectations, built from a suite of ours. They name the validator's view without
    # its schema, and so read the facts that the statement gives that name.
    facts = sql.SQL("WITH {name} AS MATERIALIZED (SELECT * FROM {view})").format(
        name=sql.Identifier(f"current_{findings[0].table}"),
        view=sql.Identifier("landing", f"current_{findings[0].table}"),
    )
    failing = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, row_id, row_key, root_key FROM ({}) AS rows_of_rule").format(
            sql.Literal(number), sql.SQL(finding.rows_query.rstrip().rstrip(";").replace("%", "%%"))
        )
        for number, finding in enumerate(findings)
    )
    rules = [(number, f.rule, f.clause, f.severity) for number, f in enumerate(findings)]
    cursor.execute(
        sql.SQL(
            "{facts}, failing (number, row_id, row_key, root_key) AS MATERIALIZED ({failing}), noted AS ("
            "INSERT INTO quarantine.findings "
            "(dataset, partition_key, table_name, row_id, row_key, root_key, rule, clause, severity) "
            "SELECT DISTINCT %s, %s::date, %s, row_id, row_key, root_key, rule, clause, severity "
            "FROM failing JOIN (VALUES {rules}) AS named (number, rule, clause, severity) USING (number) "
            "ON CONFLICT DO NOTHING) "
            "SELECT number, count(DISTINCT row_id) FROM failing GROUP BY number"
        ).format(facts=facts, failing=failing, rules=sql.SQL(", ").join(map(sql.Literal, rules))),
        (batch.dataset, day, findings[0].table),
    )
    named = dict(cursor.fetchall())
    for number, finding in enumerate(findings):
        if named.get(number, 0) != finding.failed:
            raise GovernanceError(
                f"{batch.label}, rule {finding.rule}: the suite counted {finding.failed} failing rows, its query "
                f"names {named.get(number, 0)}; nothing was settled; check the expectation's conditions"
            )
