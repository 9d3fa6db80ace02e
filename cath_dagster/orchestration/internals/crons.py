"""How the scheduler reads a cron."""

from dagster._utils.schedules import is_valid_cron_schedule, schedule_execution_time_iterator
from dagster._vendored.croniter.croniter import CroniterBadDateError

__all__ = ["CroniterBadDateError", "is_valid_cron_schedule", "schedule_execution_time_iterator"]
