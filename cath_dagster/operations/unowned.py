"""What belongs to no run, and so goes with none: reported and freshness events, their checks, finished backfills.

Dagster itself never deletes any of it. Of every asset the newest event of each kind and partition stays, and the newest
execution of each check, however old: the UI, the freshness daemon and the count of missing partitions go by them.
"""

from datetime import datetime

import sqlalchemy as sa

from cath_dagster.core.instants import naive_utc
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.operations.tables import (
    asset_check_executions,
    asset_event_tags,
    backfill_tags,
    bulk_actions,
    event_logs,
    runs,
)

ENDED_BACKFILLS = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")


def unowned_purges(cutoff: datetime, failed: datetime, days: int, failed_days: int) -> list[Purge]:
    """Return the purges of what belongs to no run."""
    return [_checks(cutoff, days), _events(cutoff, days), _backfills(failed, failed_days)]


def _checks(cutoff: datetime, days: int) -> Purge:
    own = asset_check_executions
    conditions = {
        "it is past its retention": own.c.create_timestamp < naive_utc(cutoff),
        "no run made it": _has_no_run(own.c.run_id),
        "a newer execution of the check exists": _is_superseded_check(own),
    }
    return Purge(
        table=own,
        rule=f"check executions of no run older than {days} days",
        predicate=sa.and_(*conditions.values()),
        cutoff=cutoff,
        age=own.c.create_timestamp,
        reads_other_rows=True,
        conditions=conditions,
    )


def _events(cutoff: datetime, days: int) -> Purge:
    check = asset_check_executions.alias("check_of_event")
    shows = sa.exists().where(
        check.c.evaluation_event_storage_id == event_logs.c.id, sa.not_(_is_superseded_check(check))
    )
    conditions = {
        "it is past its retention": event_logs.c.timestamp < naive_utc(cutoff),
        "no run made it": _has_no_run(event_logs.c.run_id),
        "a newer event of its kind exists for the asset": sa.or_(
            event_logs.c.asset_key.is_(None), is_superseded_event(event_logs)
        ),
        "it is no asset's newest execution of a check": sa.not_(shows.correlate_except(check)),
    }
    return Purge(
        table=event_logs,
        rule=f"events of no run older than {days} days",
        predicate=sa.and_(*conditions.values()),
        cutoff=cutoff,
        age=event_logs.c.timestamp,
        reads_other_rows=True,
        children=(Child(asset_event_tags, asset_event_tags.c.event_id),),
        conditions=conditions,
    )


def _backfills(cutoff: datetime, days: int) -> Purge:
    run = runs.alias("run_of_backfill")
    of_it = sa.exists().where(run.c.backfill_id == bulk_actions.c.key).correlate_except(run)
    conditions = {
        "it has ended": bulk_actions.c.status.in_(ENDED_BACKFILLS),
        "it is past its retention": bulk_actions.c.timestamp < naive_utc(cutoff),
        "none of its runs is left": sa.not_(of_it),
    }
    return Purge(
        table=bulk_actions,
        rule=f"ended backfills older than {days} days",
        predicate=sa.and_(*conditions.values()),
        cutoff=cutoff,
        age=bulk_actions.c.timestamp,
        reads_other_rows=True,
        children=(Child(backfill_tags, backfill_tags.c.backfill_id),),
        conditions=conditions,
    )


def is_superseded_event(own: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return whether a newer event of the same kind exists for an asset's event, of its partition if it has one."""
    newer = event_logs.alias("newer_event")
    is_of_same_kind = sa.and_(
        newer.c.asset_key == own.c.asset_key,
        newer.c.dagster_event_type == own.c.dagster_event_type,
        newer.c.id > own.c.id,
    )

    def exists(is_of_same_partition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        return sa.exists().where(is_of_same_kind, is_of_same_partition).correlate_except(newer)

    # Two questions, since no index answers IS NOT DISTINCT FROM.
    return sa.case(
        (own.c.partition.is_(None), exists(newer.c.partition.is_(None))),
        else_=exists(newer.c.partition == own.c.partition),
    )


def _is_superseded_check(own: sa.FromClause) -> sa.ColumnElement[bool]:
    newer = asset_check_executions.alias("newer_check")
    superseded = sa.exists().where(
        newer.c.asset_key == own.c.asset_key,
        newer.c.check_name == own.c.check_name,
        newer.c.partition.is_not_distinct_from(own.c.partition),
        newer.c.id > own.c.id,
    )
    return superseded.correlate_except(newer)


def _has_no_run(run_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    # Also of a run whose row somebody deleted, and whose events a kill then saved.
    run = runs.alias("run_of_it")
    return sa.not_(sa.exists().where(run.c.run_id == run_id).correlate_except(run))
