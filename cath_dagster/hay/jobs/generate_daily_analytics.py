"""Count each tenant's conversations of a day, before retention takes their messages."""

from datetime import date, timedelta
from functools import partial

from pydantic import Field

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.schedule import Cron, Retry
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.job_parts import DatabaseWork, Partitions
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER
from cath_dagster.hay.analytics import DAYS_AT_ONCE, Day, count_day
from cath_dagster.hay.tables import daily_analytics
from cath_dagster.hay.zone import check_zone

JOB = "generate_daily_analytics"
TABLE = daily_analytics.name


class GenerateDailyAnalyticsSettings(JobSettings):
    """From which day on there are analytics."""

    load_only = frozenset({"start_date"})

    start_date: date = Field(
        default=date(2026, 1, 1), description="The first day that is counted. Read when the code loads."
    )


def generate_daily_analytics(run: JobRun, settings: GenerateDailyAnalyticsSettings) -> None:
    """Count the run's day; where it names none yesterday and the two days before, each with an outcome of its own."""
    del settings
    run.preflight()
    for day in _days(run):
        started = run.clock()
        counted = run.database.transaction(partial(count_day, day=day, run_id=run.run_id, dry_run=run.dry_run))
        run.record(
            Outcome(
                target=f"{TABLE}/{day}",
                matched=counted.changed,
                updated=counted.changed,
                kept=counted.frozen,
                seconds=run.clock() - started,
                details={"day": str(day), "organizations": counted.tenants, "frozen": counted.frozen},
            )
        )


def _days(run: JobRun) -> list[Day]:
    if run.request.partition is None:
        return Day.ended_before(run.as_of).earlier(DAYS_AT_ONCE)
    day = Day.of(run.request.partition)
    if day.end > run.as_of:
        raise ConfigurationError(
            f"the day {day} ends at {day.end.isoformat()}, after as_of {run.as_of.isoformat()}; only a day that has ended is counted"
        )
    return [day]


SPEC = JobSpec(
    location=HAY,
    name=JOB,
    schedule=Cron("0 1 * * *"),
    timeout=timedelta(hours=1),
    retry=Retry(attempts=3),
    owner=OWNER,
    summary="Counts each tenant's conversations, messages and sentiments of a UTC day.",
    description=(
        "Writes a row for each tenant and day into maintenance.hay_daily_analytics: conversations, how many are resolved, messages by "
        "type, and what customers' messages sounded like. Counts yesterday and the two days before, anew where they have changed; "
        "a tenant's day of which conversations were anonymised is never counted again. Nothing of the service's is changed."
    ),
    settings=GenerateDailyAnalyticsSettings,
    run=generate_daily_analytics,
    prepare=check_zone,
    is_asset=True,
    database=DatabaseWork(
        targets=(),
        privileges={
            "organizations": ("SELECT",),
            "conversations": ("SELECT",),
            "messages": ("SELECT",),
            f"maintenance.{TABLE}": ("SELECT", "INSERT", "UPDATE"),
        },
    ),
    partitions=Partitions(
        default=lambda as_of: str(Day.ended_before(as_of)), check=Day.of, span="day", is_optional=True
    ),
)
