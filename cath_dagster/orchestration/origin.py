"""What asked for a run of Dagster's, by the tags that Dagster and our sensors put on it."""

import dagster as dg

from cath_dagster.adapters.history_writer import Origin
from cath_dagster.core.ports.orchestrator import NONCE_TAG

SCHEDULE_TAG = "dagster/schedule_name"
"""What Dagster puts on a run that a schedule asked for; it has no public name for it, nor for the next ones."""
SENSOR_TAG = "dagster/sensor_name"
BACKFILL_TAG = "dagster/backfill"
OF_SENSORS = {"startup": "startup", "dependencies": "dependency"}
"""By the name of a location's own sensor, what asked for the runs that it launches."""


def origin_of(run: dg.DagsterRun) -> Origin:
    """Return what asked for a run.

    A person may launch a run with any tag. So one that claims to come from the console is `manual` until the audit log is
    found to have its nonce.
    """
    tags = run.tags
    if BACKFILL_TAG in tags:
        return Origin(trigger="backfill")
    if SCHEDULE_TAG in tags:
        return Origin(trigger="schedule")
    if SENSOR_TAG in tags:
        return Origin(trigger=OF_SENSORS.get(tags[SENSOR_TAG], "sensor"))
    # What `dagster job execute` runs comes from no code location that is being served.
    trigger = "manual" if run.remote_job_origin is not None else "cli"
    return Origin(trigger=trigger, nonce=tags.get(NONCE_TAG))
