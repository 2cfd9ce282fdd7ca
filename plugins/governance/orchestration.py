"""Airflow's side of the steps: tasks, schedule, defaults. With `connections.py` the only module that imports Airflow.

Tasks are defined here once and wired in `dags/`. Between them travels a `Batch` (names and counts), never a row. A
permanent error fails the task at once, a transient one is retried: that translation is `_translated` alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import (
    Asset,
    CronPartitionTimetable,
    IdentityMapper,
    PartitionedAssetTimetable,
    get_current_context,
    task,
)
from airflow.sdk.bases.sensor import PokeReturnValue
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert

from governance.connections import workspace
from governance.errors import GovernanceError, TransientError
from governance.notification import FailedError, Notifier, RunBegan
from governance.run_log import Batch, Run, Shard

TIME_ZONE = "Europe/Stockholm"

DAILY = CronPartitionTimetable(
    "0 0 * * *",
    timezone=TIME_ZONE,
    run_offset=-1,  # the run at midnight names the day that has just ended
    run_immediately=True,
    key_format="%Y-%m-%d",
)
"""At midnight in Stockholm, for the day that has just ended there; the partition key is that day."""


def on_partitions_of(updated: Asset) -> PartitionedAssetTimetable:
    """A run for each partition of an asset, when a task has updated it; its partition key is the same."""
    return PartitionedAssetTimetable(assets=updated, default_partition_mapper=IdentityMapper())


START = pendulum.datetime(2026, 1, 1, tz=TIME_ZONE)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-engineering",
    "retries": 5,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "execution_timeout": timedelta(hours=2),  # a source that stalls without closing must not hold a worker for ever
    "on_failure_callback": Notifier(),
}

DEADLINE = DeadlineAlert(
    reference=RunBegan(),
    interval=timedelta(hours=6),  # as policy's partition_due_hours
    callback=SyncCallback("governance.notification.tell_of_deadline"),
    name="a partition is out six hours after it was to begin",
)
"""Somebody is told of a run that is not over by then; the watch on partitions tells of one that never began."""

UPKEEP: dict[str, Any] = {
    "start_date": START,
    "catchup": False,
    "is_paused_upon_creation": False,
    "default_args": DEFAULT_ARGS,
    "max_active_runs": 1,
}
"""What DAGs share that keep the house, by the clock and for no partition; they run from the first start on."""

BRIEFLY: dict[str, Any] = {"retries": 1, "execution_timeout": timedelta(minutes=10)}
"""Of what is soon done again, so that it is tried again once only and keeps nothing waiting."""

WATCH: dict[str, Any] = UPKEEP | {"default_args": DEFAULT_ARGS | BRIEFLY}
"""As upkeep, briefly: the next look is soon."""


def asset(zone: str, dataset: str) -> Asset:
    """The asset that a task of a pipeline updates, such as `wellbe://analytics/bookings`."""
    return Asset(name=f"{zone}.{dataset}", uri=f"wellbe://{zone}/{dataset}")


@task(task_id="plan")
def plan(dataset: str) -> list[dict[str, Any]]:
    """Cut the partition into shards, one for each of the pulls that follow."""
    from governance import steps

    with _translated():
        key = get_current_context().get("partition_key")
        return [asdict(shard) for shard in steps.plan(workspace(), dataset, key, _run())]


@task(task_id="pull")
def pull(shard: dict[str, Any]) -> dict[str, Any]:
    """Bring a shard of the partition from the source into landing."""
    from governance import steps

    with _translated():
        part = Shard(**shard)
        return asdict(steps.pull(workspace(), part.dataset, part.partition_key, _run(), part))


@task(task_id="validate")
def validate(pulled: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Run the suite, then settle the partition into vault and quarantine."""
    from governance import steps

    with _translated():
        shards: list[dict[str, Any] | None] = [*pulled] or [None]
        return asdict(steps.validate(workspace(), Batch.joined(map(_handed, shards)), _run()))


# Looks that follow each other closely cost tries: a busy scheduler hears that one has ended after it has queued the
# next, and takes that for a task that was killed.
@task.sensor(task_id="predecessor_published", mode="reschedule", poke_interval=10, timeout=7 * 24 * 3600)
def predecessor_published(batch: dict[str, Any]) -> PokeReturnValue:
    """Wait, without holding a worker slot, until the partition before this one is published."""
    from governance import steps

    with _translated():
        waiting = _handed(batch)
        missing = steps.missing_predecessor(workspace(), waiting)
    if missing:
        told = "%s waits: partition %s has to be published first; run or backfill that one"
        logging.getLogger(__name__).info(told, waiting.label, missing)
    return PokeReturnValue(is_done=missing is None)


@task(task_id="publish")
def publish(batch: dict[str, Any]) -> dict[str, Any]:
    """Publish the partition's release."""
    from governance import steps

    with _translated():
        return asdict(steps.publish(workspace(), _handed(batch), _run()))


@task(task_id="hand_over")
def hand_over() -> dict[str, Any]:
    """Hand a published release to a registered third party; the run's parameters say which, and to whom."""
    from governance import steps

    with _translated():
        return asdict(steps.hand_over(workspace(), steps.HandOver(**get_current_context()["params"]), _run()))


@task(task_id="share")
def share(*, to_now: bool = False) -> dict[str, int]:
    """Deliver bookings to the providers that they name; `to_now`: of every partition that is over, whatever the run."""
    from governance import steps

    with _translated():
        space = workspace()
        key = space.newest_partition() if to_now else get_current_context().get("partition_key")
        return steps.share(space, key, _run())


def upkeep(step: str, **settings: Any) -> Any:
    """Wire a step that concerns no partition, as a task of its name; `settings` are the task's own."""
    return task(task_id=step, **settings)(_kept)(step)


def last(name: str) -> EmptyOperator:
    """A task that does nothing: a run is judged by its last tasks alone, and so by the one before this one."""
    return EmptyOperator(task_id=name)


def _kept(step: str) -> Any:
    from governance import steps

    with _translated():
        return getattr(steps, step)(workspace(), _run())


@task(task_id="sequence")
def sequence() -> dict[str, int]:
    """Give the entries of the run log that wait their places in its tree."""
    from governance import steps

    with _translated():
        return steps.sequence(workspace())


@task(task_id="checkpoint")
def checkpoint() -> dict[str, Any]:
    """Sign and publish the head of the run log."""
    from governance import steps

    with _translated():
        signed = steps.checkpoint(workspace(), _run())
    return {"origin": signed.origin, "size": signed.size, "root": signed.root.hex()}


def watches() -> None:
    """Wire the watches, one task each: whatever one finds, the others look."""
    from governance.accounting import WATCHES

    upkeep("reconcile")
    for name in sorted(WATCHES - {"reconcile"}):
        task(task_id=name)(_watch)(name)


def _watch(name: str) -> None:
    """Fails while its alarm is on."""
    from governance import steps

    with _translated():
        steps.watch(workspace(), name, _run())


def pipeline(dataset: str) -> None:
    """Wire the three hops of a dataset: pull, in shards, validate, and, once the partition before is out, publish."""
    pulled: Any = pull.expand(shard=plan(dataset))  # what a task returns is an XComArg while it is wired
    accepted: Any = validate.override(outlets=[asset("vault", dataset)])(pulled)
    predecessor_published(accepted) >> publish.override(outlets=[asset("analytics", dataset)])(accepted)


@contextmanager
def _translated() -> Iterator[None]:
    """Our errors as Airflow's: permanent ones fail at once, transient ones rise and are retried."""
    try:
        yield
    except TransientError:
        raise
    except GovernanceError as error:
        raise FailedError(error) from None


def _handed(batch: dict[str, Any] | None) -> Batch:
    """What the task before handed on. Raises GovernanceError when that was nothing."""
    if batch is None:
        context = get_current_context()
        raise GovernanceError(
            f"dataset {context['ti'].dag_id}, partition {context.get('partition_key')}: the task before handed "
            "nothing on; it was marked a success by hand, or Airflow's database was cleaned under it: clear it with "
            "what follows it"
        )
    return Batch(**batch)


def _run() -> Run:
    """Who and what is behind this task."""
    context = get_current_context()
    dag_run, instance = context["dag_run"], context["ti"]
    return Run(
        dag_id=instance.dag_id,
        run_id=instance.run_id,
        task_id=instance.task_id,
        try_number=instance.try_number,
        trigger=str(getattr(dag_run.run_type, "value", dag_run.run_type)),
        triggered_by=dag_run.triggering_user_name,
        map_index=instance.map_index if instance.map_index is not None else -1,
    )
