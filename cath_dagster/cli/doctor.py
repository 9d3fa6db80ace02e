"""Examine one location: its database, its blob store and its mail provider."""

import importlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import EnvironmentBackends, open_backends
from cath_dagster.cli.views import views_of
from cath_dagster.core.errors import MaintenanceError, PreflightError
from cath_dagster.core.inspection.diagnosis import diagnose
from cath_dagster.core.inspection.optional_diagnosis import diagnose_optional_columns
from cath_dagster.core.inspection.own_findings import Asked, Question, ask_all
from cath_dagster.core.inspection.reference_findings import reference_findings
from cath_dagster.core.inspection.rehearsal import check_configuration, rehearse
from cath_dagster.core.inspection.view_diagnosis import diagnose_views
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.ports.blobs import BlobStoreError
from cath_dagster.core.ports.mail import MailerUnavailableError
from cath_dagster.core.postgres.database import translate
from cath_dagster.core.roles.required_privileges import Moment
from cath_dagster.core.run.spec import load_specs


def examine_location(location: CodeLocation) -> list[Finding]:
    """Return every finding; what cannot be examined is a problem and stops nothing else."""
    backends = open_backends(location)
    database = list(_database(location, backends))
    is_open = _is_open(location, database)
    own = _own(location, backends) if is_open else ()
    return [*database, *own, *_jobs(location, backends, database, is_open=is_open), *_outside(location, backends)]


def _is_open(location: CodeLocation, database: Sequence[Finding]) -> bool:
    """Return whether nothing was said of the database for which no run would get anywhere."""
    general = (f"{location.prefix}_DATABASE_URL", "server", f"schema {SCHEMA}")
    return not any(found.level is Level.PROBLEM and found.subject in general for found in database)


def _own(location: CodeLocation, backends: EnvironmentBackends) -> Iterator[Finding]:
    """Ask what the service itself asks of its database: the QUESTIONS of its `findings.py`, where it has one."""
    if find_spec(f"{location.package}.findings") is None:
        return
    questions: Sequence[Question] = importlib.import_module(f"{location.package}.findings").QUESTIONS
    with backends.database("doctor") as database:
        yield from ask_all(questions, Asked(database=database, environ=backends.environ, now=datetime.now(UTC)))


def _jobs(
    location: CodeLocation, backends: EnvironmentBackends, database: Sequence[Finding], *, is_open: bool
) -> Iterator[Finding]:
    """Ask for each job what its run asks first; not of a database of which it was said that no run gets so far."""
    now = datetime.now(UTC)
    for spec in load_specs(location):
        is_off = not spec.enabled or spec.missing_consent(backends.environ) is not None
        can_rehearse = is_open or spec.database is None
        says = rehearse(spec, backends, now=now) if can_rehearse else check_configuration(spec, backends, now=now)
        subject = f"job {spec.name}"
        if says and (spec.schedule is None or is_off):
            yield Finding(subject=subject, level=Level.WARNING, message=f"whoever starts it would be told: {says}")
        elif says:
            yield Finding(subject=subject, level=Level.PROBLEM, message=says)
        elif can_rehearse and not any(found.level is Level.PROBLEM and found.subject == subject for found in database):
            missing = spec.idle_for_want_of(backends.environ)
            says = f"it has nothing to do while {', '.join(missing)} is not set" if missing else "its run could begin"
            yield Finding(subject=subject, level=Level.OK, message=says)


def _database(location: CodeLocation, backends: EnvironmentBackends) -> Iterator[Finding]:
    subject = f"{location.prefix}_DATABASE_URL"
    if (specs := load_specs(location)) and all(spec.database is None for spec in specs):
        return
    try:
        with backends.disposed_engine("doctor") as engine, engine.connect() as connection:
            yield from diagnose(connection, location, specs)
            yield from reference_findings(connection, specs, Moment(datetime.now(UTC), backends.environ, "doctor"))
            yield from diagnose_optional_columns(connection, _tables(location))
            yield from diagnose_views(connection, views_of(location), job="refresh_views", location=location.name)
    except PreflightError as refused:
        says, _, remedy = str(refused).partition("; ")
        yield Finding(subject="connection", level=Level.PROBLEM, message=says, remedy=remedy)
    except DBAPIError as error:
        yield Finding(subject=subject, level=Level.PROBLEM, message=str(translate(error)))
    except MaintenanceError as refused:
        yield Finding(subject=subject, level=Level.PROBLEM, message=str(refused))


def _tables(location: CodeLocation) -> Sequence[sa.Table]:
    """Return the service's tables that the location's jobs know; Dagster's own database has none of a service's."""
    if find_spec(f"{location.package}.tables") is None:
        return ()
    metadata: sa.MetaData = importlib.import_module(f"{location.package}.tables").METADATA
    return metadata.sorted_tables


def _outside(location: CodeLocation, backends: EnvironmentBackends) -> Iterator[Finding]:
    for variable, containers in location.stores.items():
        for container in containers:
            yield _store(location, backends, variable, container)
    without_mail = [
        f"{spec.name}: {spec.mail.without_provider}" for spec in load_specs(location) if spec.mail is not None
    ]
    if without_mail:
        yield _mail(location, backends, without_mail)


def _mail(location: CodeLocation, backends: EnvironmentBackends, without_mail: Sequence[str]) -> Finding:
    if not backends.has_mail:
        return Finding(
            subject="mail",
            level=Level.WARNING,
            message="; ".join(["no provider, so that messages are rendered and not delivered", *without_mail]),
            remedy=f"set {location.prefix}_NOTIFY_API_KEY or {location.prefix}_SMTP_URL",
        )
    try:
        backends.mailer().check()
    except (MailerUnavailableError, MaintenanceError) as error:
        return Finding(subject="mail", level=Level.PROBLEM, message=str(error))
    return Finding(subject="mail", level=Level.OK, message="the provider answers, and lets us in")


def _store(location: CodeLocation, backends: EnvironmentBackends, variable: str, container: str) -> Finding:
    subject = f"{location.prefix}_{variable}" + (f", container {container}" if container else "")
    try:
        # A store without containers of the service is one that the jobs fill themselves.
        backends.store(variable, made_on_demand=not container).check(container)
    except (BlobStoreError, MaintenanceError) as error:
        return Finding(subject=subject, level=Level.PROBLEM, message=str(error))
    return Finding(subject=subject, level=Level.OK, message="can be listed")
