"""Great Expectations suites on a landed partition, run where the rows are (pushed down to PostgreSQL).

Only ids, rules and counts come out: the raw result of Great Expectations carries values and is dropped here. Three
holes of the engine are closed: it passes on zero rows and on all-NULL columns (row counts and evaluated rows are rules
of their own), and its query of failing rows forgets row conditions (suites may not use them; `warehouse.settle` counts
again).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance import patience
from governance.database import taking
from governance.errors import GovernanceError, PolicyError, WarehouseUnavailableError
from governance.run_log import RuleOutcome
from governance.settlements import Finding

SUITE_FOLDER = Path(__file__).parents[2] / "expectations"
SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True)
class Verdict:
    """What a suite says of a batch: the outcome of each rule, and the rows that failed as queries."""

    rules: tuple[RuleOutcome, ...]
    findings: tuple[Finding, ...]

    @property
    def stopped_by(self) -> tuple[RuleOutcome, ...]:
        """Critical rules that failed: the batch must not go on."""
        return tuple(rule for rule in self.rules if rule.severity == "critical" and rule.outcome != "passed")


def load_suite(dataset: str, folder: Path = SUITE_FOLDER) -> dict[str, Any]:
    """The suite of a dataset.

    Raises PolicyError when it is missing, or an expectation lacks what this project asks of one.
    """
    path = folder / f"{dataset}.json"
    try:
        suite: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise PolicyError(f"dataset {dataset}: there is no suite {path.name} in expectations/") from None
    except ValueError as error:
        raise PolicyError(f"suite {path.name} is not JSON: {error}") from None
    for position, expectation in enumerate(suite["expectations"]):
        meta = expectation.get("meta", {})
        missing = [key for key in ("rule", "clause", "table", "reason") if not meta.get(key)]
        if missing or expectation.get("severity") not in SEVERITIES:
            raise PolicyError(f"suite {path.name}, expectation {position}: needs a severity and meta {missing or ''}")
        if "row_condition" in expectation.get("kwargs", {}):
            # Its query of failing rows would be run without the condition and name other rows.
            raise PolicyError(
                f"suite {path.name}, rule {meta['rule']}: row_condition is not supported; land a fact instead"
            )
    return suite


def validate(
    suite: Mapping[str, Any], *, dsn: str, partition_key: str, expected_rows: Mapping[str, int], label: str
) -> Verdict:
    """Run a suite on the landed partition, one pass per table.

    `expected_rows`: rows that each table of the batch must have (source less refused). Raises
    WarehouseUnavailableError when the database is away, GovernanceError when an expectation could not be evaluated.
    """
    import great_expectations as gx
    from great_expectations.datasource.fluent.interfaces import TestConnectionError
    from sqlalchemy.exc import OperationalError

    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # its errors quote statements and rows
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # its validator reads a mapping
    try:
        with _logged_in(context, _url(dsn, partition_key)) as source:
            results = [r for table in expected_rows for r in _results(context, source, suite, table, expected_rows)]
    except (OperationalError, TestConnectionError) as error:
        raise WarehouseUnavailableError(
            f"{label}: validation lost our database ({type(error).__name__}); nothing was settled; the task retries"
        ) from None
    outcomes, findings = [], []
    for meta, severity, result in results:
        outcome, finding = _outcome(meta, severity, result, label)
        outcomes.append(outcome)
        if finding:
            findings.append(finding)
    return Verdict((*outcomes, *_evaluated(suite, outcomes, expected_rows)), tuple(findings))


@contextmanager
def _logged_in(context: Any, url: str) -> Iterator[Any]:
    """A data source whose sessions end here: Great Expectations leaves them to the garbage collector."""
    source = context.data_sources.add_postgres(
        "warehouse", connection_string=url, kwargs={"connect_args": {"connection_factory": patience.Connection}}
    )
    try:
        yield source
    finally:
        source.get_execution_engine().close()
        source.get_engine().dispose()


def _url(dsn: str, partition_key: str) -> str:
    """The DSN for SQLAlchemy, each of its sessions bound to the views of landing and the partition that they show."""
    bound = patience.linked(taking(dsn, **{"governance.partition_key": partition_key, "search_path": "landing"}))
    return f"postgresql+psycopg2://{bound.split('://', 1)[1]}"


def _results(
    context: Any, source: Any, suite: Mapping[str, Any], table: str, expected_rows: Mapping[str, int]
) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
    """(meta, severity, result) of every expectation on one table."""
    import great_expectations as gx

    chosen = [dict(e) for e in suite["expectations"] if e["meta"]["table"] == table]
    # Great Expectations returns results in an order of its own; the number finds the expectation again.
    for number, expectation in enumerate(chosen):
        expectation["meta"] = {**expectation["meta"], "number": number}
    # Without its schema, so that settlement can run the queries of failing rows on facts that it has read once.
    asset = source.add_table_asset(name=table, table_name=f"current_{table}")
    batch = asset.add_batch_definition_whole_table("partition").get_batch()
    named = context.suites.add(gx.ExpectationSuite(name=f"{suite['name']}.{table}", expectations=chosen))
    answer = batch.validate(
        named,
        # All counts in one query. COMPLETE would also fetch the failing rows of every expectation, in a scan of the
        # table each; which they are, the query of those that failed says, and settlement runs it.
        result_format={
            "result_format": "BASIC",
            "return_unexpected_index_query": True,
            "unexpected_index_column_names": ["row_id", "row_key", "root_key"],
            "exclude_unexpected_values": True,
            "partial_unexpected_count": 0,
        },
        expectation_parameters={f"{name}_rows": rows for name, rows in expected_rows.items()},
    )
    by_number = {item.expectation_config.meta["number"]: item for item in answer.results}
    if len(by_number) != len(chosen):
        raise GovernanceError(
            f"suite {suite['name']}, table {table}: {len(by_number)} of {len(chosen)} expectations were evaluated"
        )
    return [(e["meta"], e["severity"], by_number[e["meta"]["number"]].to_json_dict()) for e in chosen]


def _outcome(
    meta: Mapping[str, Any], severity: str, answer: Mapping[str, Any], label: str
) -> tuple[RuleOutcome, Finding | None]:
    result, table, rule = answer["result"], meta["table"], meta["rule"]
    if "element_count" not in result and "observed_value" not in result:
        # Great Expectations keeps the error to itself. Its text stays here too: it quotes statements, maybe a row.
        if "OperationalError" in str(answer.get("exception_info")):
            raise WarehouseUnavailableError(
                f"{label}, rule {rule}: validation lost our database; nothing was settled; the task retries"
            )
        raise GovernanceError(
            f"{label}, rule {rule}: the expectation could not be evaluated on landing.current_{table}; "
            f"nothing was settled; check its column and arguments in the suite"
        )
    if "observed_value" in result:
        evaluated, failed = int(result["observed_value"]), 0 if answer["success"] else 1
    else:
        evaluated = int(result["element_count"])
        failed = int(result["unexpected_count"]) if evaluated else 0  # it is None for a table without rows
    passed = bool(answer["success"]) and failed == 0
    outcome = RuleOutcome(rule, meta["clause"], severity, table, evaluated, failed, "passed" if passed else "failed")
    if passed or "observed_value" in result:
        return outcome, None
    query = result["unexpected_index_query"]
    return outcome, Finding(table, rule, meta["clause"], severity, failed, query)


def _evaluated(
    suite: Mapping[str, Any], outcomes: list[RuleOutcome], expected_rows: Mapping[str, int]
) -> list[RuleOutcome]:
    """The rule that every expectation looked at every row of its table."""
    meta = suite["meta"]["evaluated_rows"]
    found = []
    for table, rows in expected_rows.items():
        seen = [outcome.evaluated for outcome in outcomes if outcome.table == table]
        short = sum(1 for evaluated in seen if evaluated != rows)
        state = "passed" if seen and not short else "failed"
        found.append(
            RuleOutcome(meta["rule"], meta["clause"], meta["severity"], table, min(seen, default=0), short, state)
        )
    return found
