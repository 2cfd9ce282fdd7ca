"""What Airflow itself loads: a listener that imports the heavy libraries once, in the scheduler, before it forks its
workers.

A task runs in a fork of a fork of the scheduler. Without this each validation spends some ten seconds importing Great
Expectations, Arrow and pandas anew; with it they are there already, in memory that all share. Nothing depends on it:
without the listener, or on another executor, tasks import what they need themselves.
"""

from __future__ import annotations

import importlib
import logging

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

HEAVY = (
    "great_expectations",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "adbc_driver_postgresql.dbapi",
    "pgpq",
    "governance.steps",
    "governance.pulling",
    "governance.anonymisation.releases",
)


class ImportOnce:
    """Listens for the start of the scheduler."""

    @hookimpl
    def on_starting(self, component: object) -> None:
        """Import in the scheduler; every other component goes without."""
        if getattr(component, "job_type", None) != "SchedulerJob":
            return
        for name in HEAVY:
            importlib.import_module(name)
        logging.getLogger(__name__).info("imported %s modules before forking workers", len(HEAVY))


class GovernancePlugin(AirflowPlugin):
    """The plugin."""

    name = "governance"
    listeners = [ImportOnce()]
