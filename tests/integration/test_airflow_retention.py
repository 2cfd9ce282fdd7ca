"""The DAG `retention` under a live scheduler: what is due ends whatever became of the exceptions of a card."""

from __future__ import annotations

import pytest

import builders
from governance.commands.reading import rows
from governance.embedded.site import Site
from live_runs import ended, trigger, until

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow, pytest.mark.clause("K1"), pytest.mark.clause("K2")]


def states(site: Site, run_id: str) -> dict[str, str]:
    """How a run ended, under its own name, and its tasks."""
    found = dict(rows(site.dsn("airflow"), "SELECT task_id, state FROM task_instance WHERE run_id = %s", (run_id,)))
    return found | dict(rows(site.dsn("airflow"), "SELECT run_id, state FROM dag_run WHERE run_id = %s", (run_id,)))


@pytest.fixture(scope="module")
def rid(live: Site) -> Site:
    """A site of which a run has ended what others have planted there past its term, whatever it said of that."""
    known = "SELECT dag_id FROM serialized_dag WHERE dag_id = 'retention'"
    until(lambda: rows(live.dsn("airflow"), known), 120)
    trigger(live, "retention", "of-what-was-planted")
    until(ended(live, "of-what-was-planted"), 240)
    return live


@pytest.mark.parametrize("is_broken", (False, True), ids=("sound", "broken"))
def test_a_run_fails_when_the_exceptions_were_not_kept_and_ends_what_is_due_all_the_same(
    rid: Site, is_broken: bool
) -> None:
    run_id = f"exceptions-{'broken' if is_broken else 'sound'}"
    if is_broken:
        builders.read(rid, "REVOKE SELECT ON vault.card_holds FROM screener")
    try:
        trigger(rid, "retention", run_id)
        until(ended(rid, run_id), 240)
    finally:
        builders.read(rid, "GRANT SELECT ON vault.card_holds TO screener")
    assert states(rid, run_id) == {
        "keep_cards": "failed" if is_broken else "success",
        "exceptions_kept": "upstream_failed" if is_broken else "success",
        "retain": "success",
        "crawl": "success",
        "consents": "success",
        "consents_kept": "success",
        "erase_minors": "success",
        run_id: "failed" if is_broken else "success",
    }
