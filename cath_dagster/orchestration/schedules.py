"""Schedules from specifications: one tick, one run, and none while another is queued or going."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.core.run.spec import JobSpec, SpecificationError
from cath_dagster.orchestration.dependencies import why_waiting
from cath_dagster.orchestration.holds import why_held
from cath_dagster.orchestration.jobs import Job
from cath_dagster.orchestration.states import why_held_back
from cath_dagster.orchestration.stopped import runs_by_default, why_stopped, withheld

ACTIVE = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
OVERLAP_SKIP = "this tick is skipped"
"""What the reason of every tick says that was skipped because of another run: the alerts go by it."""
WEEKS_A_TICK = 12
"""After a long pause the newest weeks are reported first, the others by the ticks that follow."""

Requests = Callable[[dg.ScheduleEvaluationContext, datetime], Iterable[dg.RunRequest]]


def build_schedule(
    spec: JobSpec, job: Job, *, asset_keys: Sequence[dg.AssetKey] = (), requests: Requests | None = None
) -> dg.ScheduleDefinition:
    """Return the schedule of a job: `requests` says which runs a tick asks for, one by default.

    The tick's time goes into the run config, so that neither queueing nor a retry moves a cutoff.
    Raises `SpecificationError` for a job that has none.
    """
    if spec.cron is None:
        raise SpecificationError(f"{spec.key} has no cron: {spec.schedule_text}")

    def evaluate(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        tick_at = context.scheduled_execution_time.astimezone(UTC)
        if skipped := why_skipped(context.instance, spec, asset_keys, tick_at):
            yield dg.SkipReason(skipped)
            return
        if requests is None:
            yield dg.RunRequest(run_config={"as_of": tick_at.isoformat()})
            return
        asked = list(requests(context, tick_at))
        yield from asked
        if not asked:
            yield dg.SkipReason("nothing is missing")

    return dg.ScheduleDefinition(
        name=spec.schedule_name,
        cron_schedule=spec.cron,
        execution_timezone=spec.location.timezone,
        job=job,
        execution_fn=evaluate,
        default_status=dg.DefaultScheduleStatus.RUNNING if runs_by_default(spec) else dg.DefaultScheduleStatus.STOPPED,
        description=spec.summary,
        metadata=withheld(spec),
    )


def build_schedules(jobs: Iterable[tuple[JobSpec, Job]]) -> list[dg.ScheduleDefinition]:
    """Return the schedule of each job that has one and needs nothing said about it."""
    return [build_schedule(spec, job) for spec, job in jobs if spec.cron is not None]


def missing_partitions(asset_key: dg.AssetKey, partitions: dg.WeeklyPartitionsDefinition) -> Requests:
    """Return the requests for every ended partition that was never materialised, the newest at most."""

    def requests(context: dg.ScheduleEvaluationContext, tick_at: datetime) -> Iterable[dg.RunRequest]:
        missing = unmaterialised(context.instance, asset_key, partitions, tick_at)
        for key in missing[-WEEKS_A_TICK:]:
            # Unique within the tick, as Dagster asks; and with the tick in it, so that a week whose run failed is
            # asked for again by the next.
            run_key = f"{key} {tick_at.isoformat()}"
            yield dg.RunRequest(run_key=run_key, partition_key=key, run_config={"as_of": tick_at.isoformat()})

    return requests


def unmaterialised(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, partitions: dg.WeeklyPartitionsDefinition, at: datetime
) -> list[str]:
    """Return the partitions that had ended at an instant and have no materialisation, oldest first."""
    done = instance.get_materialized_partitions(asset_key)
    return [key for key in partitions.get_partition_keys(current_time=at) if key not in done]


def why_skipped(
    instance: dg.DagsterInstance, spec: JobSpec, asset_keys: Sequence[dg.AssetKey], tick_at: datetime | None = None
) -> str | None:
    """Return why a tick of a schedule or a sensor asks for nothing, None where it may."""
    return (
        why_stopped(spec.location)
        or why_held_back(instance, spec)
        or why_held(instance, spec)
        or overlap(instance, spec, asset_keys)
        or why_waiting(instance, spec, tick_at)
    )


def overlap(instance: dg.DagsterInstance, spec: JobSpec, asset_keys: Sequence[dg.AssetKey]) -> str | None:
    """Return why a tick is skipped because of a run that is queued or going, None where there is none."""
    active = find_active_run(instance, spec, asset_keys)
    if active is None:
        return None
    return f"run {active.run_id} of {spec.key} is {active.status.value.lower()}; {OVERLAP_SKIP}"


def find_active_run(
    instance: dg.DagsterInstance, spec: JobSpec, asset_keys: Sequence[dg.AssetKey]
) -> dg.DagsterRun | None:
    """Return a run of the job, or one that materialises its assets, that is queued or going."""
    of_job = instance.get_runs(RunsFilter(tags={QUEUE_KEY: spec.key}, statuses=ACTIVE), limit=1)
    if of_job or not asset_keys:
        return of_job[0] if of_job else None
    wanted = set(asset_keys)
    for run in instance.get_runs(RunsFilter(statuses=ACTIVE)):
        if wanted & (run.asset_selection or frozenset()):
            return run
    return None
