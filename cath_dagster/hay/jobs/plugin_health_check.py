"""Tell once of each plugin that does not work, and forget a health that nobody has looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.maintenance.tables import sent_notice
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Planning, Revision
from cath_dagster.core.model.schedule import Every
from cath_dagster.core.model.settings import PacedSettings
from cath_dagster.core.ports.mail import Delivery
from cath_dagster.core.run.job_parts import DatabaseWork, DueRows
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER, plugins
from cath_dagster.hay.tables import plugin_instances, plugin_registry
from cath_dagster.hay.zone import check_zone

JOB = "plugin_health_check"
INSTANCE, REGISTRY = "plugin_instance_in_error", "plugin_broken"
"""The kinds of what is told."""


class PluginHealthCheckSettings(PacedSettings):
    """Nothing of its own."""


@dataclass(frozen=True)
class _Told:
    """Whose trouble is told for the first time, and how much of what was told is over."""

    new: int
    over: int


def plugin_health_check(run: JobRun, settings: PluginHealthCheckSettings) -> None:
    """Judge and note whose trouble is new; what was told and is over may be told again."""
    del settings
    run.preflight()
    for table, kind, which in _troubles():
        told = run.database.transaction(partial(_tell, run, table=table, kind=kind, which=which))
        run.record(Outcome(target=table.name, notified=told.new, matched=told.new, details={"over": told.over}))
    run.revise(
        Revision(
            table=plugin_instances,
            rule="health at which nobody has looked for 30 minutes",
            predicate=plugins.is_stale(run.as_of),
            values={"health_status": sa.literal("unknown"), "updated_at": sa.func.now()},
            is_plain=True,
        )
    )
    for check in SPEC.checks:
        assert check.evaluate is not None  # noqa: S101 - both have one
        run.judge(check, check.evaluate(run.database, run.as_of))


def _troubles() -> tuple[tuple[sa.Table, str, sa.ColumnElement[bool]], ...]:
    return (
        (plugin_instances, INSTANCE, plugins.is_in_error()),
        (plugin_registry, REGISTRY, plugins.is_broken()),
    )


def _is_told(table: sa.Table, kind: str) -> sa.ColumnElement[bool]:
    is_about = sent_notice.c.subject_id == sa.cast(table.c.id, sa.Text)
    return sa.exists().where(sent_notice.c.job == JOB, sent_notice.c.kind == kind, is_about).correlate(table)


def _is_over(table: sa.Table, kind: str, which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    broken = sa.select(sa.cast(table.c.id, sa.Text)).where(which)
    return sa.and_(sent_notice.c.job == JOB, sent_notice.c.kind == kind, sent_notice.c.subject_id.not_in(broken))


def _tell(
    run: JobRun, connection: sa.Connection, *, table: sa.Table, kind: str, which: sa.ColumnElement[bool]
) -> _Told:
    """Note what is told from now on, and forget what is over; in a dry run only count both."""
    new = plugins.read_ids(connection, table, sa.and_(which, ~_is_told(table, kind)))
    is_over = _is_over(table, kind, which)
    if run.dry_run:
        over = connection.scalar(sa.select(sa.func.count()).select_from(sent_notice).where(is_over)) or 0
        return _Told(len(new), over)
    over = connection.execute(sa.delete(sent_notice).where(is_over)).rowcount
    rows = [
        {
            "job": JOB,
            "subject_id": subject_id,
            "kind": kind,
            "period_start": run.as_of.date(),
            "as_of": run.as_of,
            "sent_at": run.request.now,
            "status": Delivery.SENT.value,
            "reference": f"{HAY.name}/{JOB}/{subject_id}",
            "run_id": run.run_id,
        }
        for subject_id in new
    ]
    if rows:
        connection.execute(insert(sent_notice).on_conflict_do_nothing(), rows)
    return _Told(len(new), over)


def is_due(planning: Planning, settings: PluginHealthCheckSettings) -> Sequence[DueRows]:
    """Return what a run would find to tell, to take back or to forget."""
    del settings
    c, r = plugin_instances.c, plugin_registry.c
    (instances, of_instances, in_error), (registry, of_registry, broken) = _troubles()
    return [
        DueRows(table=instances, predicate=plugins.is_stale(planning.as_of), index=(c.health_status,)),
        DueRows(
            table=instances, predicate=sa.and_(in_error, ~_is_told(instances, of_instances)), index=(c.runtime_state,)
        ),
        DueRows(table=registry, predicate=sa.and_(broken, ~_is_told(registry, of_registry)), index=(r.id,)),
        *(
            DueRows(
                table=sent_notice,
                predicate=_is_over(table, kind, which),
                index=tuple(sent_notice.c[name] for name in ("job", "subject_id", "kind", "period_start")),
            )
            for table, kind, which in _troubles()
        ),
    ]


SPEC = JobSpec(
    location=HAY,
    name=JOB,
    schedule=Every(timedelta(seconds=60)),
    timeout=timedelta(minutes=5),
    owner=OWNER,
    summary="Tells once of each plugin that is in error, missing or broken; stale health becomes unknown.",
    description=(
        "Looks at the rows of plugin_instances and plugin_registry: enabled instances in error and plugins that are missing or broken "
        "fail an asset check, each told once until it works again. A health older than 30 minutes is set to unknown. No plugin is "
        "asked anything, since its port is known to its server alone."
    ),
    settings=PluginHealthCheckSettings,
    run=plugin_health_check,
    prepare=check_zone,
    checks=(plugins.INSTANCES_CHECK, plugins.REGISTRY_CHECK),
    database=DatabaseWork(
        targets=("plugin_instances", "plugin_registry"),
        is_due=is_due,
        privileges={"plugin_instances": ("SELECT", "UPDATE"), "plugin_registry": ("SELECT",)},
    ),
)
