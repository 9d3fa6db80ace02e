"""Delete the instance's past after its retention: Dagster's runs with events and logs, ticks, alerts, our own history.

What Dagster still looks at is kept: whatever is not over, the newest run of every job, and every run that made the
latest materialisation, observation or check of an asset, of each partition. Such a run is kept whole; half a run
would be none that its page could show.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field, TypeAdapter, ValidationError

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.history.tables import scheduled_job_history
from cath_dagster.core.instants import naive_utc
from cath_dagster.core.model.purge import Child, Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import Days, PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations import OPERATIONS, OWNER
from cath_dagster.operations.tables import (
    alert,
    asset_check_executions,
    asset_event_tags,
    asset_keys,
    event_logs,
    job_ticks,
    run_tags,
    runs,
)
from cath_dagster.operations.unowned import is_superseded_event, unowned_purges

REPOSITORY = ".dagster/repository"
"""The tag that says from which code location a run comes: jobs of two locations may have one name."""
NEEDED_EVENTS = ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION")

HISTORY_RETENTION = "SCHEDULER_HISTORY_RETENTION"
HISTORY_DAYS = 30


class CleanInstanceSettings(PurgeSettings):
    """How long Dagster's own history is kept."""

    retention_days: Days = Field(default=30, description="Days for which runs, their logs, and ticks are kept.")
    undo_days: Annotated[int, Field(ge=0, le=0)] = Field(
        default=0, description="Dagster's own history cannot be brought back: a run is spread over its tables."
    )
    failure_retention_days: Days = Field(
        default=90, description="Days for which failed runs and failed ticks are kept."
    )
    history_retention_days: Days | None = Field(
        default=None,
        description="Days for which operations.scheduled_job_history is kept; what it adds up to is kept for good. "
        f"Unset: {HISTORY_RETENTION}, else {HISTORY_DAYS}.",
    )


def clean_instance(run: JobRun, settings: CleanInstanceSettings) -> None:
    """Purge what is past its retention, then the compute logs of the runs that went."""
    for planned in run.plan(*purges(run, settings)):
        run.purge(planned)
    run.drain_files()


def purges(planning: Planning, settings: CleanInstanceSettings) -> list[Purge]:
    """Return the purges of runs, of what belongs to none, of ticks and alerts."""
    usual = planning.as_of - timedelta(days=settings.retention_days)
    failed = planning.as_of - timedelta(days=settings.failure_retention_days)
    kept = f"{settings.retention_days} days, failed ones {settings.failure_retention_days}"
    # When an ended run has no end, it was ended from outside; its last change is as good.
    ended_at = sa.func.coalesce(
        sa.func.to_timestamp(runs.c.end_time), sa.func.timezone("UTC", runs.c.update_timestamp), type_=_INSTANT
    )
    is_past = sa.or_(
        sa.and_(runs.c.status.in_(("SUCCESS", "CANCELED")), ended_at < usual),
        sa.and_(runs.c.status == "FAILURE", ended_at < failed),
    )
    conditions = {
        "it has ended, longer ago than its retention": is_past,
        "a newer run of its job exists": _has_newer_run(),
        "it made no asset's latest materialisation or observation": sa.not_(_made_latest_event()),
        "it made no latest check of an asset": sa.not_(_made_latest_check()),
        "no asset names it as its last run": sa.not_(
            sa.exists().where(asset_keys.c.last_run_id == runs.c.run_id).correlate_except(asset_keys)
        ),
    }
    return [
        Purge(
            table=runs,
            rule=f"runs older than {kept}",
            predicate=sa.and_(*conditions.values()),
            cutoff=usual,
            age=ended_at,
            reads_other_rows=True,
            children=(
                Child(event_logs, event_logs.c.run_id, (Child(asset_event_tags, asset_event_tags.c.event_id),)),
                Child(asset_check_executions, asset_check_executions.c.run_id),
            ),
            # Tags go by their foreign key's CASCADE: the predicate reads them until the run itself goes.
            lets_cascade=(run_tags.c.run_id,),
            # Queued under the primary key that the database knows, which is another than ours.
            files=lambda chosen: sa.select(sa.cast(runs.c.id, sa.Text), runs.c.run_id).where(chosen),
            conditions=conditions,
        ),
        *unowned_purges(usual, failed, settings.retention_days, settings.failure_retention_days),
        Purge(
            table=job_ticks,
            rule=f"ticks older than {kept}",
            predicate=sa.and_(
                sa.or_(
                    sa.and_(job_ticks.c.status.in_(("SUCCESS", "SKIPPED")), job_ticks.c.timestamp < naive_utc(usual)),
                    job_ticks.c.timestamp < naive_utc(failed),
                ),
                _has_newer_tick(),
            ),
            cutoff=usual,
            age=job_ticks.c.timestamp,
            reads_other_rows=True,
        ),
        Purge(
            table=alert,
            rule=f"alerts older than {settings.failure_retention_days} days",
            predicate=alert.c.raised_at < failed,
            cutoff=failed,
            age=alert.c.raised_at,
        ),
        _history(planning, settings),
    ]


def _history(planning: Planning, settings: CleanInstanceSettings) -> Purge:
    """A run that is not over has no end, and is kept; so is what its job's runs add up to, which is elsewhere."""
    days = (
        history_days(planning.environ) if settings.history_retention_days is None else settings.history_retention_days
    )
    cutoff = planning.as_of - timedelta(days=days)
    return Purge(
        table=scheduled_job_history,
        rule=f"history of runs older than {days} days",
        predicate=scheduled_job_history.c.completed_at < cutoff,
        cutoff=cutoff,
        age=scheduled_job_history.c.completed_at,
    )


def history_days(environ: Mapping[str, str]) -> int:
    """Return for how many days the history is kept; raise `ConfigurationError` for what are none."""
    given = environ.get(HISTORY_RETENTION) or str(HISTORY_DAYS)
    try:
        return TypeAdapter(Days).validate_strings(given)
    except ValidationError:
        raise ConfigurationError(
            f"{HISTORY_RETENTION} is {given!r}; write a whole number of days, at most 36,500"
        ) from None


_INSTANT = sa.DateTime(timezone=True)


def _has_newer_run() -> sa.ColumnElement[bool]:
    newer = runs.alias("newer_run")
    is_of_same_job = sa.and_(
        newer.c.pipeline_name == runs.c.pipeline_name,
        newer.c.id > runs.c.id,
        _repository(newer.c.run_id).is_not_distinct_from(_repository(runs.c.run_id)),
    )
    return sa.exists().where(is_of_same_job).correlate_except(newer)


def _repository(run_id: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
    tag = run_tags.alias()
    query = sa.select(sa.func.max(tag.c.value)).where(tag.c.run_id == run_id, tag.c.key == REPOSITORY)
    return query.correlate_except(tag).scalar_subquery()


def _made_latest_event() -> sa.ColumnElement[bool]:
    own = event_logs.alias("own_event")
    is_needed = sa.and_(
        own.c.run_id == runs.c.run_id,
        own.c.dagster_event_type.in_(NEEDED_EVENTS),
        own.c.asset_key.is_not(None),
        sa.not_(is_superseded_event(own)),
    )
    return sa.exists().where(is_needed).correlate_except(own)


def _made_latest_check() -> sa.ColumnElement[bool]:
    own, newer = asset_check_executions.alias("own_check"), asset_check_executions.alias("newer_check")
    superseded = sa.exists().where(
        newer.c.asset_key == own.c.asset_key,
        newer.c.check_name == own.c.check_name,
        newer.c.partition.is_not_distinct_from(own.c.partition),
        newer.c.id > own.c.id,
    )
    is_latest = sa.and_(own.c.run_id == runs.c.run_id, sa.not_(superseded.correlate_except(newer)))
    return sa.exists().where(is_latest).correlate_except(own)


def _has_newer_tick() -> sa.ColumnElement[bool]:
    newer = job_ticks.alias("newer_tick")
    is_newer = sa.and_(newer.c.selector_id == job_ticks.c.selector_id, newer.c.timestamp > job_ticks.c.timestamp)
    return sa.exists().where(is_newer).correlate_except(newer)


SPEC = JobSpec(
    location=OPERATIONS,
    name="clean_instance",
    # Before the purges of the night, and not in the hour in which most instances begin theirs.
    schedule=Cron("20 0 * * *"),
    owner=OWNER,
    summary="Deletes Dagster's own runs, events, ticks and compute logs past their retention.",
    description=(
        "Deletes from Dagster's own database the runs that ended more than 30 days ago, failed ones 90, with their "
        "events, tags and compute logs, and as old events and check executions of no run, ended backfills and ticks. Kept are runs that are not over, the newest run of every "
        "job, and every run that made the latest materialisation, observation or check of an asset or one of its "
        "partitions, and what belongs to no run where it is the newest of its kind. The history of all runs goes after SCHEDULER_HISTORY_RETENTION, 30 days; its totals stay. What is deleted cannot be brought back; the ledger in the maintained databases is not touched."
    ),
    settings=CleanInstanceSettings,
    run=clean_instance,
    database=DatabaseWork(
        targets=("runs", "event_logs", "job_ticks"),
        purges=purges,
        privileges={
            "runs": ("SELECT", "UPDATE", "DELETE"),
            "event_logs": ("SELECT", "UPDATE", "DELETE"),
            "asset_event_tags": ("SELECT", "DELETE"),
            "asset_check_executions": ("SELECT", "UPDATE", "DELETE"),
            "bulk_actions": ("SELECT", "UPDATE", "DELETE"),
            "backfill_tags": ("SELECT", "DELETE"),
            "asset_keys": ("SELECT",),
            "run_tags": ("SELECT", "DELETE"),
            "job_ticks": ("SELECT", "UPDATE", "DELETE"),
            "maintenance.alert": ("SELECT", "INSERT", "UPDATE", "DELETE"),
            # The runs of all locations write here, as the role by which Dagster keeps its own.
            "operations.scheduled_job": ("SELECT", "INSERT", "UPDATE", "DELETE"),
            "operations.scheduled_job_history": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        },
    ),
)
