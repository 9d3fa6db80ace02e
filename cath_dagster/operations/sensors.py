"""The sensors: each watch records what it finds, and one sensor tells it."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.core.errors import LockHeldError
from cath_dagster.core.postgres.database import Database
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.alerts import read_alert_settings
from cath_dagster.operations.backends import open_backends
from cath_dagster.operations.channels import open_channels
from cath_dagster.operations.delivery import deliver
from cath_dagster.operations.scheduler.monitor import MONITOR, SECONDS, Cursor, look
from cath_dagster.operations.store import AlertStore
from cath_dagster.operations.watch.backlogs import watch_backlogs
from cath_dagster.operations.watch.checks import watch_checks
from cath_dagster.operations.watch.look import Look, Watch
from cath_dagster.operations.watch.runs import watch_runs
from cath_dagster.operations.watch.ticks import DELIVERY, watch_schedules, watch_ticks
from cath_dagster.orchestration.stopped import OFF, is_scheduling, sensor_status

EVERY_HALF_MINUTE, EVERY_MINUTE, EVERY_TEN_MINUTES = 30, 60, 600
"""Seconds between two ticks: of the telling, which adds to what a watch takes; of a watch; of the watch for trends, which
change with runs only, and the most frequent of those are 15 minutes apart.
"""
URLS = f"{OPERATIONS.prefix}_ALERT_URLS"


@contextlib.contextmanager
def database(instance: dg.DagsterInstance, purpose: str) -> Iterator[Database]:
    """Yield the instance's database, with our tables in it."""
    backends = open_backends(instance)
    backends.prepare()
    with backends.database(purpose) as opened:
        yield opened


def build_watch(name: str, watch: Watch, description: str, seconds: int = EVERY_MINUTE) -> dg.SensorDefinition:
    """Return the sensor of a watch; its cursor says where the last look has come to."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not is_scheduling():
            return dg.SkipReason(OFF)
        with database(context.instance, name) as opened:
            store = AlertStore(opened)
            look = Look(
                instance=context.instance,
                settings=read_alert_settings(MountedEnvironment()),
                store=store,
                now=datetime.now(UTC),
                cursor=context.cursor,
            )
            seen = watch(look)
            # Recorded before the cursor moves: a kill between the two makes the next look find the same again.
            count = store.record(seen.alerts)
        context.update_cursor(seen.cursor)
        return dg.SkipReason(f"{count} new" if count else "nothing new")

    return dg.SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        minimum_interval_seconds=seconds,
        default_status=sensor_status(OPERATIONS),
        description=description,
    )


def build_delivery() -> dg.SensorDefinition:
    """Return the sensor that tells what the others found."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not is_scheduling():
            return dg.SkipReason(OFF)
        settings = read_alert_settings(MountedEnvironment())
        if not settings.channels:
            return dg.SkipReason(f"{URLS} is not set: alerts are recorded, and nobody is told")
        channels = open_channels(settings.channels, variable=URLS)
        try:
            with database(context.instance, DELIVERY) as opened:
                delivered = deliver(opened, settings, channels, now=datetime.now(UTC))
        except LockHeldError as held:
            return dg.SkipReason(str(held))
        if delivered.errors:
            # The tick fails, so that whoever looks sees it; what failed is tried again by a later one.
            raise dg.Failure(description="; ".join(delivered.errors))
        return dg.SkipReason(f"{delivered.messages} told" if delivered.messages else "nothing to tell")

    return dg.SensorDefinition(
        name=DELIVERY,
        evaluation_fn=evaluate,
        minimum_interval_seconds=EVERY_HALF_MINUTE,
        default_status=sensor_status(OPERATIONS),
        description="Tells the operators' channels what the other sensors found; what failed is tried again, later each time.",
    )


def build_monitor() -> dg.SensorDefinition:
    """Return the sensor that keeps the registry of jobs and the history of their runs true."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = datetime.now(UTC)
        with database(context.instance, MONITOR) as opened:
            done, cursor = look(context.instance, opened, Cursor.read(context.cursor, now), now)
        context.update_cursor(cursor.write())
        return dg.SkipReason(done)

    return dg.SensorDefinition(
        name=MONITOR,
        evaluation_fn=evaluate,
        minimum_interval_seconds=SECONDS,
        # It asks for no run: what was killed is closed, also where no tick asks for one.
        default_status=sensor_status(OPERATIONS),
        description="Keeps operations.scheduled_job and its history true: registration, next runs, killed runs, skipped and missed ticks.",
    )


def build_sensors() -> list[dg.SensorDefinition]:
    """Return every sensor of this location."""
    return [
        build_watch(
            "failed_runs",
            watch_runs,
            "Finds runs of any location that failed or were refused, at the end of their retries.",
        ),
        build_watch("failed_ticks", watch_ticks, "Finds schedules and sensors of any location whose ticks fail."),
        build_watch(
            "missed_schedules",
            watch_schedules,
            "Finds jobs of any location that should have run and did not: missed by the daemon, or skipped in a row.",
        ),
        build_watch("failed_checks", watch_checks, "Finds asset checks of any location that fail."),
        build_watch(
            "purges_behind",
            watch_backlogs,
            "Finds purges of any location whose oldest due row grows older from run to run.",
            EVERY_TEN_MINUTES,
        ),
        build_delivery(),
        build_monitor(),
    ]
