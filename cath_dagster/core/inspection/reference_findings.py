"""Say what the foreign keys of a database mean for the jobs that delete from it, as a run would find it now."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.relation import SET_NULL, Reference
from cath_dagster.core.model.settings import PurgeSettings, read_settings
from cath_dagster.core.postgres.database import translate
from cath_dagster.core.references.examination import Examined, examine, grant_to_read
from cath_dagster.core.references.holds import count_held
from cath_dagster.core.run.foreseen_purges import purges_of
from cath_dagster.core.run.spec import JobSpec


def reference_findings(connection: sa.Connection, specs: Sequence[JobSpec], moment: Planning) -> Iterator[Finding]:
    """Yield what there is to say of every purge of the jobs, each thing once."""
    told: set[Finding] = set()
    for spec in specs:
        for finding in _of_job(connection, spec, moment):
            if finding not in told:
                told.add(finding)
                yield finding


def _of_job(connection: sa.Connection, spec: JobSpec, moment: Planning) -> Iterator[Finding]:
    try:
        settings = read_settings(spec.settings, {}, location=spec.location.name, job=spec.name, environ=moment.environ)
        purges = purges_of(connection, spec, moment, settings)
    except MaintenanceError as error:
        yield _problem(spec, str(error))
        return
    allowed = settings.allowed_cascades if isinstance(settings, PurgeSettings) else frozenset[str]()
    for purge in purges:
        try:
            with connection.begin_nested():
                yield from list(_of_purge(connection, spec, examine(connection, purge, allowed=allowed)))
        except DBAPIError as error:
            yield _problem(spec, str(translate(error)))
        except MaintenanceError as error:
            yield _problem(spec, str(error))


def _of_purge(connection: sa.Connection, spec: JobSpec, examined: Examined) -> Iterator[Finding]:
    yield from (_problem(spec, reason) for reason in examined.refusals)
    yield from map(_unread, examined.unread)
    yield from map(_set, examined.sets)
    if examined.holds and not examined.refusals:
        yield from _held(connection, spec, examined.complete)


def _held(connection: sa.Connection, spec: JobSpec, purge: Purge) -> Iterator[Finding]:
    held = count_held(connection, purge)
    by_key = dict(held.by_key)
    for reference in dict.fromkeys(hold.reference for hold in purge.holds):
        rows = by_key.get(reference, 0)
        says = f"keeps the rows of {reference.parent} to which it refers ({reference.constraint})"
        now = f"; {spec.name} keeps {rows:,} rows that are due because of it" if rows else ""
        yield Finding(
            subject=f"reference {reference.name}",
            level=Level.WARNING if rows else Level.OK,
            message=says + now,
            remedy=f"delete or change the rows of {reference.child} that refer to them" if rows else None,
        )


def _set(reference: Reference) -> Finding:
    to = "null" if reference.on_delete == SET_NULL else "its default"
    return Finding(
        subject=f"reference {reference.name}",
        level=Level.OK,
        message=f"is set to {to} where the row of {reference.parent} goes ({reference.constraint})",
    )


def _unread(reference: Reference) -> Finding:
    return Finding(
        subject=f"reference {reference.name}",
        level=Level.WARNING,
        message=(
            f"keeps the rows of {reference.parent} to which it refers ({reference.constraint}), and the role may not read "
            f"{reference.child}, so that no dry run counts them"
        ),
        remedy=grant_to_read(reference),
    )


def _problem(spec: JobSpec, says: str) -> Finding:
    says, _, remedy = says.partition("; ")
    return Finding(subject=f"job {spec.name}", level=Level.PROBLEM, message=says, remedy=remedy or None)
