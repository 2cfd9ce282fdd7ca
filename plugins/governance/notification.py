"""Who is told of a failed task, an alarm or a missed deadline, through Airflow's own notifiers.

Out of the box the task is red in the UI and its log says why. Where a connection of this name exists, it is told too:
`wellbe_alarms_smtp` (type smtp; extra `to` and `from_email`) and `wellbe_alarms_webhook` (type http; the address as
host, a bearer token as password), which gets `{"text": ..., "dag_id": ..., ...}`. A destination that fails is said in
the log and takes nothing from the others.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from airflow.sdk import Connection
from airflow.sdk.bases.notifier import BaseNotifier
from airflow.sdk.definitions.deadline import BaseDeadlineReference
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

from governance.errors import AlarmError, GovernanceError

SMTP, WEBHOOK = "wellbe_alarms_smtp", "wellbe_alarms_webhook"
SECONDS = 15
"""A destination that does not answer must not hold a worker."""
_LOG = logging.getLogger(__name__)


class FailedError(AirflowFailException):
    """One of our permanent errors as Airflow's: the task fails at once. It remembers whether anybody is to be told."""

    def __init__(self, error: GovernanceError) -> None:
        self.is_news = error.is_new if isinstance(error, AlarmError) else True
        super().__init__(f"{type(error).__name__}: {error}")


class Notifier(BaseNotifier):
    """Tells of a task that has failed for good. The text is the error's own, which never quotes a row."""

    def notify(self, context: Any) -> None:
        """Called by Airflow when the last try has failed."""
        error, instance = context.get("exception"), context["ti"]
        if not getattr(error, "is_news", True):
            return
        ours = isinstance(error, AirflowFailException | GovernanceError)
        said = str(error) if ours else f"{type(error).__name__}; see the task's log"
        where = {"dag_id": instance.dag_id, "run_id": instance.run_id, "task_id": instance.task_id}
        tell(f"{instance.dag_id}.{instance.task_id} failed: {said}", where)


class RunBegan(BaseDeadlineReference):
    """The instant at which a run was made: what its deadline counts from.

    Airflow's own DAGRUN_QUEUED_AT would do, but of a run that has it, and did not end as a success, Airflow 3.3.2 lets
    nobody clear a task: it takes the interval for a number there, and the API answers 500.
    """

    def _evaluate_with(self, **_: Any) -> datetime:
        return datetime.now(UTC)


def tell_of_deadline(context: Any = None, **_: Any) -> None:
    """Called by Airflow when a run is not over by its deadline."""
    run = dict((context or {}).get("dag_run") or {})
    where = {"dag_id": str(run.get("dag_id")), "run_id": str(run.get("dag_run_id") or run.get("run_id"))}
    tell(f"{where['dag_id']}, run {where['run_id']}, has missed its deadline: it is not over; see its tasks", where)


def tell(text: str, where: Mapping[str, str]) -> None:
    """Tell every destination that there is."""
    _LOG.error("ALARM %s", text)
    for connection_id, send in _DESTINATIONS.items():
        try:
            connection = Connection.get(connection_id)
        except AirflowNotFoundException:
            continue
        try:
            send(connection, text, where)
        except (OSError, ValueError, AirflowException) as error:  # what answers badly, or not at all
            # Without the error's text: it may hold the address with a token in it.
            _LOG.error("connection %s: nobody was told (%s); test it", connection_id, type(error).__name__)


def _by_smtp(connection: Any, text: str, _: Mapping[str, str]) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    extra = connection.extra_dejson
    with SmtpHook(smtp_conn_id=SMTP) as smtp:
        smtp.send_email_smtp(
            to=extra["to"], from_email=extra["from_email"], subject=f"[wellbe] {text[:120]}",
            html_content=f"<pre>{html.escape(text)}</pre>",
        )  # fmt: skip


def _by_webhook(connection: Any, text: str, where: Mapping[str, str]) -> None:
    import httpx

    headers = {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
    try:
        httpx.post(
            str(connection.host), json={"text": text, **where}, headers=headers, timeout=SECONDS
        ).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(type(error).__name__) from None


_DESTINATIONS: Mapping[str, Callable[[Any, str, Mapping[str, str]], None]] = MappingProxyType(
    {SMTP: _by_smtp, WEBHOOK: _by_webhook}
)
