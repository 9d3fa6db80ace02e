"""The sensors that watch over every code location, by name, for whoever looks whether they tick."""

from cath_dagster.operations import OPERATIONS

SENSORS = {
    OPERATIONS.name: frozenset(
        {
            "failed_runs",
            "failed_ticks",
            "missed_schedules",
            "failed_checks",
            "purges_behind",
            "deliver_alerts",
            "scheduler_monitor",
        }
    )
}
"""The sensors of each location that has some."""
