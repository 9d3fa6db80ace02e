"""Keep a run that has had its time from being worked off a second time.

Dagster launches a run again whose worker was lost, never one whose op failed. It takes a run that it has ended itself for
`dagster/max_runtime` for the first kind.
"""

from datetime import timedelta
from math import inf

import dagster as dg

RETRY_TAG = "dagster/retry_number"
"""What Dagster puts on a run that it launched again by itself; it has no public name for it."""
MAX_RUNTIME_TAG = "dagster/max_runtime"
MARGIN = timedelta(minutes=1)
"""By which Dagster lets a run go on that has not ended by itself at its deadline: it ended what it was at, and hangs."""


def max_runtime(timeout: timedelta) -> str:
    """Return the value of the tag by which Dagster ends a run that did not end by itself."""
    return str(int((timeout + MARGIN).total_seconds()))


def spent_parent(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Return why a run must not work: it was launched again for one that had used up its `dagster/max_runtime`."""
    if RETRY_TAG not in run.tags or run.parent_run_id is None:
        return None
    parent = instance.get_run_record_by_id(run.parent_run_id)
    if parent is None or parent.start_time is None or parent.end_time is None:
        return None
    allowed = float(parent.dagster_run.tags.get(MAX_RUNTIME_TAG, inf))
    if parent.end_time - parent.start_time < allowed:
        return None
    return (
        f"refused: run {run.parent_run_id} was ended after the {timedelta(seconds=allowed)} that a run of this job may "
        "take, and is not repeated at once. What it committed is done, and the next scheduled run goes on from there; "
        "to go on now, launch the job anew"
    )
