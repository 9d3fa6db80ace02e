"""Find purges that fall behind, by what their runs observed of each table."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations.alerts import Alert, Kind
from cath_dagster.operations.trend import Point, Trend, find_trend
from cath_dagster.operations.watch.look import Look, Seen
from cath_dagster.orchestration.runs import ENDED
from cath_dagster.registry import all_specs

OTHERS = 5
"""Dry runs, and runs of other jobs on the same table, are observed as well: so many times as many are read."""
DONE = ("rows_deleted", "rows_updated", "rows_notified")


def watch_backlogs(look: Look) -> Seen:
    """Look at what the last runs of every clean-up job left behind."""
    behind = look.open_problems(Kind.FALLING_BEHIND)
    alerts = [
        alert
        for spec in all_specs()
        if not spec.is_asset
        for table in spec.targets
        for alert in _of_table(look, spec, table, behind)
    ]
    return Seen(tuple(alerts), look.now.isoformat())


def _of_table(look: Look, spec: JobSpec, table: str, behind: dict[str, datetime]) -> Iterator[Alert]:
    points = read_points(look.instance, spec, table, runs=look.settings.runs_behind)
    trend = find_trend(points, runs=look.settings.runs_behind)
    subject = f"{spec.key}:{table}"
    if trend is not None:
        yield _alert_of_backlog(spec, table, trend)
    elif subject in behind and points and points[-1].left <= 0:
        yield Alert(
            kind=Kind.FALLING_BEHIND,
            subject=subject,
            occurrence=points[-1].run_id,
            title=f"{spec.key} has caught up with {table}",
            says=("The last run left nothing that is due.",),
            at=look.now,
            path=f"/runs/{points[-1].run_id}",
            is_over=True,
        )


def read_points(instance: dg.DagsterInstance, spec: JobSpec, table: str, *, runs: int) -> list[Point]:
    """Return what the last runs of a job left of a table, oldest first."""
    key = dg.AssetKey([spec.location.name, table])
    observed = instance.fetch_observations(key, limit=runs * OTHERS).records
    found = []
    for record in observed:
        observation = record.asset_observation
        metadata: dict[str, Any] = (
            {name: one.value for name, one in observation.metadata.items()} if observation else {}
        )
        # A dry run says what matches, and not what it deleted; of one that failed nobody knows what it would have found.
        if metadata.get("job") != spec.name or "rows_deleted" not in metadata or ENDED in metadata:
            continue
        found.append(
            Point(
                run_id=record.run_id,
                at=datetime.fromtimestamp(record.timestamp, UTC),
                left=int(metadata["rows_matched"]) - sum(int(metadata.get(name) or 0) for name in DONE),
                oldest_age_days=metadata.get("oldest_age_days"),
            )
        )
    return sorted(found[:runs], key=lambda point: point.at)


def _alert_of_backlog(spec: JobSpec, table: str, trend: Trend) -> Alert:
    first, last = trend.points[0], trend.last
    grown = (
        f"Over {len(trend.points)} runs the oldest row grew from {first.oldest_age_days:,.1f} to "
        f"{last.oldest_age_days:,.1f} days old, and due rows left behind went from {first.left:,} to {last.left:,}."
    )
    outlook = (
        f"At this rate it will have caught up by {trend.caught_up_at:%Y-%m-%d}."
        if trend.caught_up_at is not None
        else "At this rate it will never catch up: more falls due than its runs delete."
    )
    return Alert(
        kind=Kind.FALLING_BEHIND,
        subject=f"{spec.key}:{table}",
        occurrence=last.run_id,
        title=f"{spec.key} falls behind on {table}",
        says=(grown, outlook),
        at=last.at,
        path=f"/runs/{last.run_id}",
    )
