"""Asks anonymeter, in its own environment: `python ask.py < request.json > answer.json`. Tables are CSV files."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any


def risks(asked: dict[str, Any]) -> list[Any]:
    """Risk, bounds and chance of numbers of successes: (tried, succeeded, by chance, on control or null)."""
    from anonymeter.stats.confidence import EvaluationResults

    found = []
    for tried, succeeded, chance, control in asked["counts"]:
        results = EvaluationResults(tried, succeeded, chance, control)
        found.append([results.risk(), results.risk(baseline=True)])
    return found


def univariate(asked: dict[str, Any]) -> dict[str, int]:
    """How many univariate predicates there are, and how many single out in the original and the control set."""
    import numpy as np
    from anonymeter.evaluators import singling_out_evaluator as evaluator

    published, original, control = (_polars(asked[name]) for name in ("published", "original", "control"))
    queries = evaluator.univariate_singling_out_queries(published, 10**6, np.random.default_rng(1))
    counts = [sum(count == 1 for count in evaluator._evaluate_queries(table, queries)) for table in (original, control)]
    return {"made": len(queries), "original": counts[0], "control": counts[1]}


def multivariate(asked: dict[str, Any]) -> list[list[int]]:
    """For every row and set of columns: how many rows of the published, original and control table satisfy it."""
    import itertools

    import numpy as np
    from anonymeter.evaluators import singling_out_evaluator as evaluator

    tables = [_polars(asked[name]) for name in ("published", "original", "control")]
    published = tables[0]
    medians = published.median().to_dicts()[0]
    types = {name: published[name].dtype for name in published.columns}
    queries = [
        evaluator._query_from_record(record, types, list(columns), medians, np.random.default_rng(1))
        for columns in itertools.combinations(published.columns, asked["columns"])
        for record in published.to_dicts()
    ]
    return [list(evaluator._evaluate_queries(table, queries)) for table in tables]


def distances(asked: dict[str, Any]) -> list[list[float]]:
    """Distances of every row of the original to all published ones, in their order."""
    import anonymeter.evaluators  # noqa: F401 -- before its neighbors, which import it back
    import numpy as np
    from anonymeter.neighbors.mixed_types_kneighbors import MixedTypeKNeighbors

    published, original = (_pandas(asked[name])[asked["names"]] for name in ("published", "original"))
    finder = MixedTypeKNeighbors(n_jobs=1, n_neighbors=len(published)).fit(published)
    away, which = finder.kneighbors(original, return_distance=True)
    return [row[np.argsort(order)].tolist() for row, order in zip(away, which, strict=True)]


def linked(asked: dict[str, Any]) -> int:
    """How many people of the original are linked, all of them attacked."""
    from anonymeter.evaluators import LinkabilityEvaluator

    published, original = _pandas(asked["published"]), _pandas(asked["original"])
    one = LinkabilityEvaluator(original, published, aux_cols=tuple(asked["sides"]), n_attacks=len(original))
    return int(one.evaluate(n_jobs=1).results().n_success)


def inferred(asked: dict[str, Any]) -> int:
    """Of how many people of the original the secret is inferred, all of them attacked."""
    from anonymeter.evaluators import InferenceEvaluator

    published, original = _pandas(asked["published"]), _pandas(asked["original"])
    one = InferenceEvaluator(
        original, published, aux_cols=asked["names"], secret=asked["secret"], n_attacks=len(original),
        regression=asked["regression"],
    )  # fmt: skip
    return int(one.evaluate(n_jobs=1).results().n_success)


def whole(asked: dict[str, Any]) -> dict[str, list[Any]]:
    """Whole attacks, as its user runs them: (tried, succeeded, by chance, on control)."""
    from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator, SinglingOutEvaluator

    published, original, control = (_pandas(asked[name]) for name in ("published", "original", "control"))
    common = {"control": control, "n_attacks": asked["tried"]}
    found = {}
    for columns in asked["columns"]:
        one = SinglingOutEvaluator(original, published, n_cols=columns, seed=1, **common)
        found[f"singling out {columns}"] = one.evaluate(mode="multivariate").results()
    linking = LinkabilityEvaluator(original, published, aux_cols=tuple(asked["sides"]), **common)
    found["linkability"] = linking.evaluate(n_jobs=1).results()
    inferring = InferenceEvaluator(original, published, aux_cols=asked["names"], secret=asked["secret"], **common)
    found["inference"] = inferring.evaluate(n_jobs=1).results()
    return {
        name: [asked["tried"], int(one.n_success), int(one.n_baseline), float(one.n_control)]
        for name, one in found.items()
    }


def release(asked: dict[str, Any]) -> dict[str, list[float]]:
    """The risks of a release, its cells as the texts that stand there: value and bounds."""
    import numpy as np
    from anonymeter.evaluators import InferenceEvaluator, SinglingOutEvaluator

    secret, known = asked["secret"], asked["names"]
    tables = [_texts(asked[name])[[*known, secret]] for name in ("published", "original", "control")]
    published, original, control = (table[known] for table in tables)
    common = {"n_attacks": asked["tried"]}
    found = {}
    for columns in asked["columns"]:
        one = SinglingOutEvaluator(
            original, published, control=control, n_cols=columns, seed=1, max_attempts=asked["attempts"], **common
        )
        found[f"singling out {columns}"] = one.evaluate(mode="multivariate").risk()
    np.random.seed(1)
    inferring = InferenceEvaluator(
        tables[1], tables[0], control=tables[2], aux_cols=known, secret=secret, regression=False, **common
    )
    found["inference"] = inferring.evaluate(n_jobs=1).risk()
    return {name: [risk.value, *risk.ci] for name, risk in found.items()}


def _texts(path: str) -> Any:
    import pandas as pd

    return pd.read_csv(path, sep=";", skipinitialspace=True, dtype=str, keep_default_na=False)


def _pandas(path: str) -> Any:
    import pandas as pd

    return pd.read_csv(path, sep=";", skipinitialspace=True)


def _polars(path: str) -> Any:
    import polars as pl
    from anonymeter.evaluators.singling_out_evaluator import _safe_column_names

    return pl.DataFrame(_safe_column_names(_pandas(path))).unique(maintain_order=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    request = json.load(sys.stdin)
    json.dump(globals()[request["ask"]](request), sys.stdout)
