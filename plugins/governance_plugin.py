"""What Airflow itself loads: from when the deadline of a run counts, and a listener that imports the heavy libraries
once, in the scheduler, before it forks its workers.

With LocalExecutor a task runs in a fork of a fork of the scheduler. Without this each validation spends some ten
seconds importing Great Expectations, Arrow and pandas anew; with it they are there already, in memory that all share.
With CeleryExecutor the workers fork, and their configuration tells them to import the same. Nothing depends on it:
otherwise tasks import what they need themselves.
"""

from __future__ import annotations

import importlib
import logging
import sys

from airflow.configuration import conf
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from governance.notification import RunBegan
from governance.preloading import HEAVY


class ImportOnce:
    """Listens for the start of the scheduler."""

    @hookimpl
    def on_starting(self, component: object) -> None:
        """Import in a scheduler that forks workers; every other component goes without."""
        # The component is no help: Airflow 3.3 calls this before it has said which job it is.
        is_scheduler = sys.argv[1:2] == ["scheduler"]
        if not is_scheduler or conf.get("core", "executor") != "LocalExecutor":
            return
        for name in HEAVY:
            importlib.import_module(name)
        logging.getLogger(__name__).info("imported %s modules before forking workers", len(HEAVY))


class GovernancePlugin(AirflowPlugin):
    """The plugin."""

    name = "governance"
    listeners = [ImportOnce()]
    deadline_references = [RunBegan]
