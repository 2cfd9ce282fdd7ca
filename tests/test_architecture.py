"""Conventions as tests: which module may import which, who prints, what errors are, what a DAG file holds."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governance import errors
from governance.policy import load

CHECKOUT = Path(__file__).parents[1]
PLUGINS = CHECKOUT / "plugins"
PACKAGE = PLUGINS / "governance"
DAGS = sorted((CHECKOUT / "dags").glob("*.py"))
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# Arrows point down this list: a module imports from its own row and from the rows above it, never from one below.
ROWS: dict[str, tuple[str, ...]] = {
    "errors": ("errors",),
    "policy": (
        "datasets", "key_kinds", "policy", "policy_files", "retention_rules", "sharing.allowances", "sharing.endpoints",
        "sharing.register", "strict", "third_parties",
    ),
    "pure": (
        "accounting", "age", "analytics_contract", "anonymisation", "commands.clause_texts", "coverage", "detectors",
        "encoded", "encryption", "envelopes", "facts", "grids", "history", "judging", "key", "key_wrapping", "live",
        "measures", "merkle", "notes", "partitions", "precision", "processing_record", "processing_record_pages",
        "pseudonymisation", "published_tables", "pulling", "release_comparison", "release_report", "renumbering",
        "rules", "run_log", "saved_cards", "sharing", "subjects", "tiles", "watches", "web",
    ),
    "edges": (
        "airflow_records", "analytics_views", "announcements", "anonymisation.checking", "anonymisation.engine",
        "anonymisation.noise", "anonymisation.tables", "database", "erasure", "first_captures", "kept_open",
        "key_audit", "key_backups", "key_databases", "key_store", "keyring", "keys", "log_entries", "log_tree",
        "log_verification", "nonces", "obligations", "patience", "private_files", "publications", "release_attacks",
        "released", "retention", "schema", "settlements", "sharing.buckets", "sharing.certificate_folder",
        "sharing.cms", "sharing.contract_files", "sharing.demo_certificates", "sharing.folders", "sharing.identities",
        "sharing.ledger", "sharing.objects", "sharing.outbox", "sharing.sftp", "signers", "source_grants",
        "source_versions", "sources", "stored_values", "validation", "warehouse", "zone_views",
    ),
    "steps": ("door", "recording", "steps"),
    "telling": ("connections", "notification"),
    "outside": (
        "__init__", "__main__", "auditor.verify_run_log", "commands", "compiling", "embedded", "orchestration",
        "preloading", "sample", "summary",
    ),
}  # fmt: skip

MAY_IMPORT_AIRFLOW = ("connections", "orchestration", "notification", "embedded.airflow", "embedded.airflow_config")
MAY_PRINT = ("__main__", "auditor.verify_run_log", "embedded.cli", "sample.cli")

# What reaches the world, the clock or chance: nothing that a pure module has a use for.
WORLDLY_MODULES = {
    "adbc_driver_manager", "adbc_driver_postgresql", "asyncio", "fcntl", "http", "logging", "os", "psycopg2", "random",
    "requests", "secrets", "shutil", "socket", "sqlalchemy", "subprocess", "sys", "tempfile", "threading", "time",
    "urllib", "uuid",
}  # fmt: skip
WORLDLY_CALLS = {
    "now", "utcnow", "today", "open", "read_text", "read_bytes", "write_text", "write_bytes", "read_csv",
    "read_parquet", "getenv", "default_rng",
}  # fmt: skip
KNOWN_READS = {
    "anonymisation.levels": {"read_csv"},  # the country hierarchy, which is part of the policy
    # this package's own source, which names what is compiled from it, and copies of that
    "anonymisation.compiled": {"read_bytes", "write_bytes"},
}

# Exceptions that never leave the call which raises and catches them, so that nobody ever reads one.
SIGNALS = {"auditor.verify_run_log.NotVerifiedError", "sample.inputs.MalformedLineError", "database._Broken"}

LONGEST_MODULE = 320
LONGER = {"warehouse": 380}
"""Modules that were longer when this was written; they may shrink, and then the number here does."""
LONGEST_DAG_FILE = 60


def row_of(module: str) -> str:
    """The row of a module: the longest name in `ROWS` that it is, or lies in."""
    names = [(name, row) for row, listed in ROWS.items() for name in listed]
    inside = [(len(name), row) for name, row in names if module == name or module.startswith(f"{name}.")]
    return max(inside)[1] if inside else "none"


def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions and for type checkers too, as dotted names."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports here are absolute"
            base = node.module or ""
            # `from governance import age` imports a module, `from governance.age import whole_years` a name of one.
            of_package = base.startswith("governance") and base.removeprefix("governance").strip(".") in PACKAGES
            yield from (f"{base}.{alias.name}" for alias in node.names) if of_package else (base,)


PACKAGES = {"", *(name for name, path in MODULES.items() if path.name == "__init__.py")}


def own_imports(path: Path) -> set[str]:
    """Modules of this project that a file imports, without `governance.` in front."""
    return {name.removeprefix("governance.") for name in imports(path) if name.split(".")[0] == "governance"}


def calls(path: Path) -> set[str]:
    """The last name of everything that a file calls."""
    called = (node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    return {name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "") for name in called}


# -- which module may import which -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_one_way(module: str) -> None:
    rows = list(ROWS)
    assert row_of(module) in rows, f"{module} stands in no row of this file"
    here = rows.index(row_of(module))
    below = {name for name in own_imports(MODULES[module]) if row_of(name) not in rows[: here + 1]}
    assert not below, f"{module} ({rows[here]}) imports from below"


def test_every_name_in_the_rows_exists() -> None:
    assert {name for listed in ROWS.values() for name in listed} - {"__init__"} <= set(MODULES)


@pytest.mark.parametrize("module", [name for name in MODULES if name not in MAY_IMPORT_AIRFLOW])
def test_only_orchestration_imports_airflow(module: str) -> None:
    assert not {name for name in imports(MODULES[module]) if name.split(".")[0] == "airflow"}


@pytest.mark.parametrize("module", [name for name in MODULES if row_of(name) == "pure"])
def test_a_pure_module_reaches_neither_the_world_nor_the_clock_nor_chance(module: str) -> None:
    path = MODULES[module]
    assert not {name for name in imports(path) if name.split(".")[0] in WORLDLY_MODULES}
    assert not (calls(path) & WORLDLY_CALLS) - KNOWN_READS.get(module, set())


def test_nobody_imports_the_tasks_but_dag_files() -> None:
    assert not {name for name, path in MODULES.items() if "orchestration" in own_imports(path)}


def test_the_package_is_hidden_from_airflows_plugin_search() -> None:
    assert (PLUGINS / ".airflowignore").read_text("utf-8").split() == ["governance/"]


# -- who prints, what errors are, how long a file is -------------------------------------------------------------------


@pytest.mark.parametrize("module", [name for name in MODULES if name not in MAY_PRINT])
def test_only_the_command_line_prints(module: str) -> None:
    assert "print" not in calls(MODULES[module])


@pytest.mark.parametrize(
    "error",
    [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)],
    ids=lambda kind: kind.__name__,
)
def test_every_error_is_called_one_and_descends_from_ours(error: type) -> None:
    assert error.__name__.endswith("Error")
    assert issubclass(error, errors.GovernanceError)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "errors"])
def test_an_error_of_another_module_is_one_of_ours_too(module: str) -> None:
    ours = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)}
    if module == "notification":
        ours.add("AirflowFailException")  # ours, as Airflow's
    for node in ast.walk(tree(MODULES[module])):
        if isinstance(node, ast.ClassDef) and f"{module}.{node.name}" not in SIGNALS:
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            assert node.name.endswith("Error") or not any(base.endswith(("Error", "Exception")) for base in bases)
            assert not node.name.endswith("Error") or bases & ours


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_one_reads_at_once(module: str) -> None:
    length = len(MODULES[module].read_text("utf-8").splitlines())
    assert length <= LONGER.get(module, LONGEST_MODULE), f"{module} has {length} lines; split it"


@pytest.mark.parametrize("path", sorted((CHECKOUT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_no_test_module_imports_airflow_before_a_test_asks_for_it(path: Path) -> None:
    """Collecting the tests, which `governance coverage` does, stays quick."""
    top = [node for node in tree(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    named = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module or "" for node in top if isinstance(node, ast.ImportFrom)]
    assert not [name for name in named if name.split(".")[0] == "airflow" or name == "governance.orchestration"]


# -- DAG files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_a_dag_file_is_short_wires_only_and_says_what_to_do(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_DAG_FILE
    assert set(imports(path)) <= {"airflow.sdk", "governance.orchestration"}
    told = ast.get_docstring(tree(path)) or ""
    assert "**A failure means**" in told
    assert "**What to do:**" in told


PARSE = """
import json, sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
began = time.process_time()
bag = DagBag(dag_folder=sys.argv[1])
seconds = time.process_time() - began
dags = {
    name: {"tags": sorted(dag.tags), "owner": dag.owner, "doc_md": dag.doc_md, "file": dag.fileloc}
    for name, dag in bag.dags.items()
}
found = {"dags": dags, "errors": bag.import_errors, "seconds": seconds, "modules": sorted(sys.modules)}
json.dump(found, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh interpreter knows once it has parsed the whole DAG folder, as Airflow's processor does."""
    told = tmp_path_factory.mktemp("parsed") / "dags.json"
    settings = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS), "PYTHONPATH": str(PLUGINS)}
    subprocess.run(
        [sys.executable, "-c", PARSE, str(CHECKOUT / "dags"), str(told)],
        env={**os.environ, **settings}, cwd=told.parent, check=True, capture_output=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(told.read_text("utf-8"))
    return found


@pytest.mark.airflow
def test_every_dag_file_holds_one_dag_of_its_name(parsed: dict[str, Any]) -> None:
    assert not parsed["errors"]
    assert {name: Path(dag["file"]).stem for name, dag in parsed["dags"].items()} == {
        path.stem: path.stem for path in DAGS
    }


@pytest.mark.airflow
@pytest.mark.parametrize("name", [path.stem for path in DAGS])
def test_a_dag_has_an_owner_a_document_and_the_clauses_of_its_dataset_as_tags(
    parsed: dict[str, Any], name: str
) -> None:
    dag, policy = parsed["dags"][name], load()
    assert dag["owner"] not in ("", "airflow")
    assert dag["doc_md"] == ast.get_docstring(tree(CHECKOUT / "dags" / f"{name}.py"), clean=False)
    tagged = {tag for tag in dag["tags"] if tag[:1].isupper()}
    assert tagged
    assert tagged <= set(policy.clauses)
    if name in policy.datasets:
        assert tagged <= set(policy.datasets[name].clauses)


@pytest.mark.airflow
def test_parsing_the_dags_imports_nothing_heavy(parsed: dict[str, Any]) -> None:
    heavy = {"pandas", "great_expectations", "pyarrow", "governance.steps"}
    assert not heavy & set(parsed["modules"])


@pytest.mark.airflow
def test_parsing_the_dags_takes_less_than_two_seconds(parsed: dict[str, Any]) -> None:
    assert parsed["seconds"] < 2


# -- one stem everywhere -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", load().datasets)
def test_a_dataset_has_one_name_for_its_pipeline_its_policy_and_its_suite(dataset: str) -> None:
    assert (CHECKOUT / "dags" / f"{dataset}.py").exists()
    assert (PACKAGE / "policies" / f"{dataset}.yaml").exists()
    assert (CHECKOUT / "expectations" / f"{dataset}.json").exists()
