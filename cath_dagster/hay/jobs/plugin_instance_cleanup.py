"""Repair rows of plugin instances that claim to run and do not, which a crash leaves and nothing else sets right."""

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Revision
from cath_dagster.core.model.schedule import Every
from cath_dagster.core.model.settings import PacedSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER
from cath_dagster.hay.parts import note_parts
from cath_dagster.hay.tables import plugin_instances
from cath_dagster.hay.zone import check_zone

YOUNG_MINUTES: Final = 15
"""No row is touched before, whatever is set: a worker that is used shows a newer stamp within eleven minutes."""
AT_WORK = ("ready", "degraded", "starting")
OVER = ("error", "stopped")


class PluginInstanceCleanupSettings(PacedSettings):
    """When an instance that shows no sign of life has none."""

    stale_minutes: int = Field(
        default=30,
        ge=YOUNG_MINUTES,
        le=100_000,
        description="Minutes after its newest stamp for which an instance that claims to run is believed. A false alarm hides "
        "the plugin's tools until its worker starts anew.",
    )


def last_sign() -> sa.ColumnElement[datetime]:
    """Return the newest stamp of an instance; which of them are written depends on how its worker was started."""
    c = plugin_instances.c
    return sa.func.greatest(c.last_activity_at, c.last_health_check, c.last_started_at, c.created_at)


def plugin_instance_cleanup(run: JobRun, settings: PluginInstanceCleanupSettings) -> None:
    """Stop what claims to run and is silent, and take the claim from what has failed."""
    run.preflight()
    c = plugin_instances.c
    is_running = c.running.is_(sa.true())
    written = {"updated_at": sa.func.now()}
    stopped = run.revise(
        Revision(
            table=plugin_instances,
            rule=f"instances that claim to run, without a sign for {settings.stale_minutes} minutes",
            predicate=sa.and_(
                # What is over is the other rule's, which leaves its error to be seen.
                sa.or_(sa.and_(is_running, c.runtime_state.not_in(OVER)), c.runtime_state.in_(AT_WORK)),
                last_sign() < run.as_of - timedelta(minutes=settings.stale_minutes),
            ),
            values={
                "running": sa.false(),
                "runtime_state": sa.literal("stopped"),
                "status": sa.literal("stopped"),
                "process_id": sa.null(),
                "health_status": sa.literal("unknown"),
                "last_stopped_at": sa.func.now(),
                **written,
            },
            is_plain=True,
        )
    )
    corrected = run.revise(
        Revision(
            table=plugin_instances,
            rule="instances in error, or stopped, that claim to run",
            predicate=sa.and_(
                is_running, c.runtime_state.in_(OVER), last_sign() < run.as_of - timedelta(minutes=YOUNG_MINUTES)
            ),
            values={"running": sa.false(), "process_id": sa.null(), **written},
            is_plain=True,
        )
    )
    run.record(Outcome(target=plugin_instances.name, details={"stopped": stopped, "corrected": corrected}))
    note_parts(run, "plugin instances", {"silent and stopped": stopped, "in error and running no more": corrected})


SPEC = JobSpec(
    location=HAY,
    name="plugin_instance_cleanup",
    schedule=Every(timedelta(minutes=5)),
    timeout=timedelta(minutes=5),
    owner=OWNER,
    summary="Sets plugin instances right that claim to run and have shown no sign for half an hour.",
    description=(
        "Marks instances as stopped that claim to run and whose newest stamp is older than 30 minutes, and takes the claim from "
        "those in error. Only rows are changed: no worker is stopped from here. A worker that lives shows a newer stamp when it is "
        "used; one that was marked by mistake is listed again once it starts anew."
    ),
    settings=PluginInstanceCleanupSettings,
    run=plugin_instance_cleanup,
    prepare=check_zone,
    database=DatabaseWork(targets=("plugin_instances",), privileges={"plugin_instances": ("SELECT", "UPDATE")}),
)
