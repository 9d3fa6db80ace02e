"""The sensors that watch."""

WATCHES = ("failed_runs", "failed_ticks", "missed_schedules", "failed_checks", "purges_behind")
