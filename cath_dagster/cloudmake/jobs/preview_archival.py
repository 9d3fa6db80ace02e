"""Archive previews past their time, and remove what they leave at providers."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import sqlalchemy as sa
from pydantic import Field, field_validator

from cath_dagster.cloudmake import CLOUDMAKE, OWNER, leftovers, previews
from cath_dagster.cloudmake.audit import audit
from cath_dagster.cloudmake.leftovers import Provider, Settled
from cath_dagster.cloudmake.removal import work_off
from cath_dagster.cloudmake.tables import environments, provider_cleanup
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.outbox.tally import IDS_SHOWN
from cath_dagster.core.parallel import work_on
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

TABLE = environments.name
BATCH = 100
"""Previews that are archived in one transaction; each keeps the row of an environment locked for so long."""
OVERDUE = timedelta(hours=12)
"""Two ticks: a preview that is expired for longer was missed by one."""


class PreviewArchivalSettings(JobSettings):
    """Which previews are archived before their time."""

    force: bool = Field(
        default=False,
        description="Archive the previews of environment_ids, and no others, whatever their time to live. Without ids it "
        "changes nothing. A core environment is never archived.",
    )
    environment_ids: str = Field(default="", description="The ids of previews for force, with commas between.")

    @field_validator("environment_ids")
    @classmethod
    def _check_ids(cls, value: str) -> str:
        for each in _split(value):
            try:
                UUID(each)
            except ValueError:
                raise ValueError(f"{each} is no id; write them like 123e4567-e89b-42d3-a456-426614174000") from None
        return value

    @property
    def ids(self) -> tuple[UUID, ...]:
        """The environments that are named."""
        return tuple(map(UUID, _split(self.environment_ids)))


def _split(value: str) -> list[str]:
    return [each.strip() for each in value.split(",") if each.strip()]


@dataclass(frozen=True, kw_only=True)
class _Due:
    """Which previews a run archives, and by which rule: the same for a dry run and a real one."""

    rule: str
    predicate: sa.ColumnElement[bool]


def preview_archival(run: JobRun, settings: PreviewArchivalSettings) -> None:
    """Archive what is due in batches, then work off what was left at providers, by this run or by an earlier one."""
    run.preflight()
    archival = run.database.transaction(previews.read_archival)
    due = _due(run, settings)
    if run.dry_run:
        _foresee(run, due)
        return
    _archive_all(run, due, archival)
    _remove_all(run)


def _due(run: JobRun, settings: PreviewArchivalSettings) -> _Due:
    if settings.ids and not settings.force:
        raise ConfigurationError("environment_ids are given without force; add force=true, or leave the ids out")
    if settings.force and not settings.ids:
        run.note("force without environment_ids changes nothing: previews are archived when their time has come")
    if not settings.ids:
        return _Due(rule="previews past their time to live", predicate=previews.is_expired(run.as_of))
    _check_named(run, settings.ids)
    return _Due(rule="previews named by an operator", predicate=previews.is_named(settings.ids))


def _check_named(run: JobRun, ids: Sequence[UUID]) -> None:
    """Refuse a run that names what is no preview; name the ids that are archived already, or not there."""
    kind = sa.cast(environments.c.kind, sa.Text)
    query = sa.select(environments.c.id, kind, previews.is_live(environments)).where(environments.c.id.in_(ids))
    found = {row[0]: (row[1], row[2]) for row in run.database.transaction(lambda c: c.execute(query).all())}
    core = [str(each) for each in ids if found.get(each, ("", False))[0] == "core"]
    run.refuse([f"{', '.join(core)}: core environments are never archived; leave them out"] if core else [])
    if absent := [str(each) for each in ids if each not in found]:
        run.fail(f"there is no environment {', '.join(absent)}")
    if archived := [str(each) for each, (kind_found, is_live) in found.items() if kind_found != "core" and not is_live]:
        run.note(f"archived already: {', '.join(archived)}")


def _foresee(run: JobRun, due: _Due) -> None:
    """Count what a run would archive, and what is left of earlier ones; nothing is changed."""

    def read(connection: sa.Connection) -> tuple[int, list[str], int]:
        matched = connection.scalar(_count(due.predicate)) or 0
        sample = connection.scalars(_oldest(due).limit(5)).all()
        return matched, list(map(str, sample)), leftovers.count_resources(connection, due.predicate)

    matched, sample, resources = run.database.transaction(read)
    waiting = run.count(
        sa.select(sa.func.count()).select_from(provider_cleanup).where(provider_cleanup.c.settled_at.is_(None))
    )
    run.record(Outcome(target=TABLE, matched=matched, details={"sample_ids": sample, "resources_named": resources}))
    run.record(Outcome(target=provider_cleanup.name, matched=waiting))


def _count(which: sa.ColumnElement[bool]) -> sa.Select[tuple[int]]:
    return sa.select(sa.func.count()).select_from(environments).where(which)


def _oldest(due: _Due) -> sa.Select[tuple[UUID]]:
    at = environments.c.ttl_expires_at
    return sa.select(environments.c.id).where(due.predicate).order_by(at.nulls_last(), environments.c.id)


def _archive_all(run: JobRun, due: _Due, archival: previews.Archival) -> None:
    started, archived, queued = run.clock(), list[UUID](), 0
    matched = run.count(_count(due.predicate))
    while (room := _room(run)) > 0:
        ids, left_behind = run.database.transaction(partial(_archive, run, due=due, archival=archival, limit=room))
        run.account.take(len(ids))
        archived, queued = [*archived, *ids], queued + left_behind
        run.reporter.progress(TABLE, len(archived), max(matched, len(archived)))
        if len(ids) < min(BATCH, room):
            break
    left = run.count(_count(due.predicate))
    active = run.count(_count(previews.is_active(run.as_of)))
    run.record(
        Outcome(
            target=TABLE,
            matched=max(matched, len(archived)),
            updated=len(archived),
            skipped=left,
            seconds=run.clock() - started,
            details={
                "preview_env_active_total": active,
                "resources_queued": queued,
                "sample_ids": [str(each) for each in archived[:IDS_SHOWN]],
            },
        )
    )
    if left and run.request.options.max_rows is None:
        run.fail(f"{left} previews are locked by somebody else and were not archived; the next run tries again")
    elif left:
        run.note(f"max_rows reached: {left:,} previews are left for the next run")


def _room(run: JobRun) -> int:
    room = run.account.room()
    return BATCH if room is None else min(BATCH, room)


def _archive(
    run: JobRun, connection: sa.Connection, *, due: _Due, archival: previews.Archival, limit: int
) -> tuple[list[UUID], int]:
    """Archive the next batch with what it leaves behind, its audit and its part of the ledger, all or nothing."""
    chosen = _oldest(due).limit(limit).with_for_update(skip_locked=True)
    # The predicate stands in the UPDATE too: what was rescued while its lock was waited for survives.
    statement = (
        sa.update(environments)
        .where(environments.c.id.in_(connection.scalars(chosen).all()), due.predicate)
        .values(archival.values())
        .returning(environments.c.id)
    )
    ids = list(connection.scalars(statement))
    if not ids:
        return [], 0
    queued = leftovers.enqueue(connection, ids, run.run_id)
    audit(
        connection,
        "preview_archival",
        run_id=run.run_id,
        changes={"environment_ids": [str(each) for each in ids], "archived": len(ids), "resources_queued": queued},
    )
    run.ledger.record_batch(connection, {TABLE: {"updated": len(ids)}}, rule=due.rule)
    return ids, queued


def _remove_all(run: JobRun) -> None:
    """Work off the outbox, every provider in a thread of its own: one that hangs delays only itself."""
    started = run.clock()
    done = list(
        work_on(
            list(Provider),
            lambda database, provider: work_off(run, database, provider),
            own=run.open_database,
            threads=len(Provider),
            stop=threading.Event(),
        )
    )
    total = sum((each.settled for each in done), Counter[Settled]())
    failed, left = sum(each.failed for each in done), sum(each.left for each in done)
    run.record(
        Outcome(
            target=provider_cleanup.name,
            matched=total.total() + failed + left,
            deleted=total[Settled.REMOVED] + total[Settled.MISSING],
            kept=total[Settled.KEPT],
            failed=failed,
            skipped=left,
            seconds=run.clock() - started,
            details={
                "left_at_provider": left,
                "already_missing": total[Settled.MISSING],
                **{f"{each.provider}_removed": each.settled[Settled.REMOVED] for each in done if each.settled},
            },
        )
    )
    for each in done:
        if each.left and not each.failed:
            run.note(f"{each.left} resources are left at {each.provider}: {each.why_left}")
        if each.failed:
            more = f", {each.left} were not tried" if each.left else ""
            run.fail(
                f"{each.failed} resources at {each.provider} could not be removed ({'; '.join(each.errors)}){more}; the next run tries again"
            )


def _judge_expired(database: Database, at: datetime) -> Verdict:
    is_overdue = previews.is_expired(at - OVERDUE)
    overdue = database.count(_count(is_overdue))
    message = f"{overdue} previews expired more than 12 hours ago and are not archived" if overdue else ""
    return Verdict(not overdue, message, {"expired_previews": overdue})


NO_EXPIRED_PREVIEW = Check(
    name="no_expired_preview",
    asset=TABLE,
    description="No preview expired more than 12 hours ago, two ticks of the job, and is still there.",
    severity=Severity.WARN,
    evaluate=_judge_expired,
)

SPEC = JobSpec(
    location=CLOUDMAKE,
    name="preview_archival",
    schedule=Cron("0 */6 * * *"),
    owner=OWNER,
    summary="Archives previews past their time to live, and removes what they leave at providers.",
    description=(
        "Sets kind to archived for previews whose ttl_expires_at is past, and removes their deployments at Cloudflare, their "
        "branch at Neon, their environment at GitHub (only one whose name begins preview-) and at Postman, unless another "
        "environment names the same resource. Without a provider's credentials its resources are left and counted. An "
        "archived preview can be made one again by its kind; what was removed at a provider cannot."
    ),
    settings=PreviewArchivalSettings,
    run=preview_archival,
    timeout=timedelta(hours=1),
    database=DatabaseWork(
        targets=(TABLE,),
        privileges={
            TABLE: ("SELECT", "UPDATE"),
            "deployments": ("SELECT",),
            "projects": ("SELECT",),
            "integration_configs": ("SELECT",),
            "admin_audit_logs": ("INSERT",),
            "maintenance.provider_cleanup": ("SELECT", "INSERT", "UPDATE"),
        },
    ),
    checks=(NO_EXPIRED_PREVIEW,),
)
