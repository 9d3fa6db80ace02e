"""What of CaTH is an asset: the weekly report, the reporting views, and the tables they come from."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import sqlalchemy as sa

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cath import CATH, OWNER
from cath_dagster.cath.jobs import media_reporting, refresh_views
from cath_dagster.cath.views import VIEWS
from cath_dagster.core.maintenance.tables import view_state
from cath_dagster.core.model.settings import read_settings
from cath_dagster.orchestration.config import config_schema
from cath_dagster.orchestration.runs import (
    ledger_spec,
    outcome_metadata,
    raise_unless_successful,
    run_job,
    run_metadata,
)
from cath_dagster.orchestration.schedules import unmaterialised

GROUP = "cath"
TABLES = {
    "artefact": "Published hearing lists: metadata, one row a list.",
    "artefact_archive": "Metadata of lists that were removed; ours, in the schema maintenance.",
    "artefact_search": "Case names and numbers by which lists are found.",
    "audit_log": "What administrators did.",
    "ingestion_log": "Every list that was received, and what became of it.",
    "list_types": "Kinds of lists.",
    "location": "Courts and tribunals.",
    "media_application": "Journalists' applications for an account.",
    "notification_audit_log": "Every notification about a list to a subscriber.",
    "subscription": "Who wants to hear about which court or case.",
    "subscription_list_type": "Who wants to hear about which kinds of lists.",
    "user": "Users of every provenance.",
}
REPORT_KEY = dg.AssetKey([CATH.name, "media_application_report"])
VIEW_KEYS = {view.name: dg.AssetKey([CATH.name, view.name]) for view in VIEWS}
COUNTS_CHECK = "counts_equal_source"
VERIFIED_CHECK = "verified_within_a_day"
MAX_AGE = timedelta(days=1)


def _first_week() -> date:
    # Partitions exist before any run, so this one setting is read when the code loads.
    return read_settings(
        media_reporting.MediaReportingSettings,
        {},
        location=CATH.name,
        job=media_reporting.JOB,
        environ=EnvironmentBackends(CATH.prefix).environ,
    ).start_date


WEEKS = dg.WeeklyPartitionsDefinition(start_date=_first_week().isoformat(), day_offset=1, timezone="UTC")

TABLE_SPECS = [
    dg.AssetSpec(
        dg.AssetKey([CATH.name, name]),
        description=description,
        group_name=GROUP,
        kinds={"postgres", "table"},
        owners=[OWNER],
    )
    for name, description in TABLES.items()
] + [ledger_spec(CATH, OWNER)]


@dg.multi_asset(
    name="media_application_report",
    specs=[
        dg.AssetSpec(
            REPORT_KEY,
            deps=[[CATH.name, "media_application"]],
            description=media_reporting.SPEC.description,
            group_name=GROUP,
            kinds={"csv", "python"},
            owners=[OWNER],
            skippable=True,
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=8)),
        )
    ],
    partitions_def=WEEKS,
    config_schema=config_schema(media_reporting.SPEC),
    op_tags={"owner": OWNER},
)
def media_application_report(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    """Report one week. A dry run leaves an observation and no materialisation."""
    if not context.has_partition_key:
        raise dg.Failure(
            "the report is about one week: choose a partition, the week's Monday such as "
            f"{WEEKS.get_last_partition_key()}",
            allow_retries=False,
        )
    week = context.partition_key
    result = run_job(context.op_execution_context, media_reporting.SPEC, partition=week)
    raise_unless_successful(result)
    metadata = run_metadata(result)
    for outcome in result.outcomes:
        if outcome.target == "media_application":
            metadata |= outcome_metadata(outcome, result)
    if result.dry_run:
        context.log_event(dg.AssetObservation(REPORT_KEY, partition=week, metadata=metadata))
    else:
        yield dg.MaterializeResult(REPORT_KEY, metadata=metadata)


@dg.multi_asset(
    name="reporting_views",
    specs=[
        dg.AssetSpec(
            VIEW_KEYS[view.name],
            deps=[[CATH.name, source] for source in view.sources],
            description=view.title,
            group_name=GROUP,
            kinds={"postgres", "view"},
            owners=[OWNER],
            skippable=True,
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26)),
        )
        for view in VIEWS
    ],
    check_specs=[
        dg.AssetCheckSpec(COUNTS_CHECK, asset=key, description="The view has the rows of its source, in one snapshot.")
        for key in VIEW_KEYS.values()
    ],
    can_subset=True,
    config_schema=config_schema(refresh_views.SPEC),
    op_tags={"owner": OWNER},
)
def reporting_views(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetObservation | dg.AssetCheckResult]:
    """Refresh the selected views. A dry run leaves observations and no materialisation."""
    selected = frozenset(name for name, key in VIEW_KEYS.items() if key in context.selected_asset_keys)
    result = run_job(context.op_execution_context, refresh_views.SPEC, selection=selected)
    for outcome in result.outcomes:
        if outcome.target not in selected or outcome.failed or "equals_source" not in outcome.details:
            continue
        key, metadata = VIEW_KEYS[outcome.target], outcome_metadata(outcome, result)
        if result.dry_run:
            yield dg.AssetObservation(key, metadata=metadata)
            continue
        yield dg.MaterializeResult(key, metadata=metadata)
        if dg.AssetCheckKey(key, COUNTS_CHECK) in context.selected_asset_check_keys:
            counts = {name: outcome.details[name] for name in ("view_rows", "source_rows")}
            yield dg.AssetCheckResult(
                passed=outcome.details["equals_source"] is True,
                asset_key=key,
                check_name=COUNTS_CHECK,
                metadata=counts,
            )
    raise_unless_successful(result)


@dg.multi_asset_check(
    name="views_verified",
    specs=[
        dg.AssetCheckSpec(
            VERIFIED_CHECK, asset=key, description="The view was compared with its source within the last day."
        )
        for key in VIEW_KEYS.values()
    ],
    can_subset=True,
)
def views_verified(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Look up when each view was last compared with its source, refreshed or not."""
    query = sa.select(view_state.c.view_name, view_state.c.verified_at)
    with EnvironmentBackends(CATH.prefix).database("views_verified") as database:
        verified = dict(database.transaction(lambda connection: connection.execute(query).tuples().all()))
    now = datetime.now(UTC)
    for name, key in VIEW_KEYS.items():
        if dg.AssetCheckKey(key, VERIFIED_CHECK) not in context.selected_asset_check_keys:
            continue
        at = verified.get(name)
        yield dg.AssetCheckResult(
            passed=at is not None and now - at <= MAX_AGE,
            asset_key=key,
            check_name=VERIFIED_CHECK,
            metadata={"verified_at": dg.MetadataValue.timestamp(at)} if at else {},
            description=None if at else "the view was never created; materialise it",
        )


@dg.asset_check(asset=REPORT_KEY, name="no_missing_weeks", description="Every week that has ended was reported.")
def no_missing_weeks(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Name the weeks that have ended and were never materialised."""
    missing = unmaterialised(context.instance, REPORT_KEY, WEEKS, datetime.now(UTC))
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"missing_weeks": dg.MetadataValue.json(missing), "missing": len(missing)},
        description=f"missing: {', '.join(missing)}" if missing else None,
    )
