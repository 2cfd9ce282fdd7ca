"""README says what the code does: its tables are compared with the DAG folder, the command line, policy and errors."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from governance import __main__, errors, policy
from governance.embedded.site import CHECKOUT

README = (CHECKOUT / "README.md").read_text("utf-8")


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(text: str) -> Iterator[str]:
    """What stands in the first column of a table, heading aside."""
    cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    yield from cells[2:]


def test_the_table_of_dags_names_every_file_in_the_dag_folder() -> None:
    assert {name.strip("`") for name in first_cells(section("DAGs"))} == {
        p.stem for p in (CHECKOUT / "dags").glob("*.py")
    }


def test_the_table_of_zones_names_every_zone_of_policy() -> None:
    assert {name.strip("`") for name in first_cells(section("Zones and roles"))} == set(policy.load().zones)


def test_every_command_that_is_named_exists() -> None:
    named = {match.split()[0] for match in re.findall(r"`governance ([a-z]+[^`]*)`", README)}
    known = set(__main__.parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr, arg-type]
    assert {"runs", "quarantine", "coverage", "psql"} <= named <= known


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z][A-Za-z]+Error)`", README))))
def test_every_error_of_the_runbook_exists(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.GovernanceError)


def test_every_target_that_is_named_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets
