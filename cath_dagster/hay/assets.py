"""What of Hay is an asset: the daily analytics, and the tables that its jobs report on."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta

import dagster as dg

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.core.model.settings import read_settings
from cath_dagster.hay import HAY, OWNER
from cath_dagster.hay.analytics import DAYS_AT_ONCE, Day
from cath_dagster.hay.jobs import generate_daily_analytics as analytics
from cath_dagster.orchestration.config import config_schema
from cath_dagster.orchestration.runs import (
    ledger_spec,
    outcome_metadata,
    raise_unless_successful,
    run_job,
    run_metadata,
)

TABLES = {
    "audit_logs": "Who did what in which tenant.",
    "conversations": "Conversations of customers, anonymised ones included.",
    "documents": "What the agents know, and what is being imported.",
    "dpop_token": "Tokens that several servers must not take twice; ours, in the schema maintenance.",
    "embeddings": "What texts are found by.",
    "hay_audit_log_archive": "Audit rows past their retention; ours, in the schema maintenance.",
    "jobs": "Imports, and answers to privacy requests, as far as they have come.",
    "message_feedback": "What people said of the agents' messages.",
    "messages": "What was said in conversations.",
    "plugin_instances": "Each tenant's plugins, and whether their workers run.",
    "plugin_registry": "The plugins that there are.",
    "privacy_requests": "Requests for exports and erasure, and what came of them.",
}
ANALYTICS_KEY = dg.AssetKey([HAY.name, "daily_analytics"])


def _first_day() -> date:
    # Partitions exist before any run, so this one setting is read when the code loads.
    return read_settings(
        analytics.GenerateDailyAnalyticsSettings,
        {},
        location=HAY.name,
        job=analytics.JOB,
        environ=EnvironmentBackends(HAY.prefix).environ,
    ).start_date


DAYS = dg.DailyPartitionsDefinition(start_date=_first_day().isoformat(), timezone="UTC")

TABLE_SPECS = [
    dg.AssetSpec(
        dg.AssetKey([HAY.name, name]),
        description=description,
        group_name=HAY.name,
        kinds={"postgres", "table"},
        owners=[OWNER],
    )
    for name, description in TABLES.items()
] + [ledger_spec(HAY, OWNER)]


@dg.multi_asset(
    name="daily_analytics",
    specs=[
        dg.AssetSpec(
            ANALYTICS_KEY,
            deps=[[HAY.name, source] for source in ("conversations", "messages")],
            description=analytics.SPEC.description,
            group_name=HAY.name,
            kinds={"postgres", "table"},
            owners=[OWNER],
            skippable=True,
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26)),
        )
    ],
    partitions_def=DAYS,
    config_schema=config_schema(analytics.SPEC),
    op_tags={"owner": OWNER},
)
def daily_analytics(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    """Count one day. A dry run leaves an observation and no materialisation."""
    if not context.has_partition_key:
        raise dg.Failure(
            f"analytics are of a day: choose a partition, such as {DAYS.get_last_partition_key()}", allow_retries=False
        )
    day = context.partition_key
    result = run_job(context.op_execution_context, analytics.SPEC, partition=day)
    raise_unless_successful(result)
    metadata = run_metadata(result)
    for outcome in result.outcomes:
        metadata |= outcome_metadata(outcome, result)
    if result.dry_run:
        context.log_event(dg.AssetObservation(ANALYTICS_KEY, partition=day, metadata=metadata))
    else:
        yield dg.MaterializeResult(ANALYTICS_KEY, metadata=metadata)


def last_days(context: dg.ScheduleEvaluationContext, tick_at: datetime) -> Iterable[dg.RunRequest]:
    """Return the requests for yesterday and the days before: the newest first, whose messages may go first."""
    del context
    first = _first_day()
    for day in Day.ended_before(tick_at).earlier(DAYS_AT_ONCE):
        if day.date >= first:
            run_key = f"{day} {tick_at.isoformat()}"
            yield dg.RunRequest(run_key=run_key, partition_key=str(day), run_config={"as_of": tick_at.isoformat()})
