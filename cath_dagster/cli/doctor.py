"""Examine one location: its database, its blob store and its mail provider."""

from collections.abc import Callable, Iterator

from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import EnvironmentResources
from cath_dagster.core.blobs import BlobStore, BlobStoreError
from cath_dagster.core.database import translate
from cath_dagster.core.diagnosis import Finding, Level, diagnose
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.mail import MailerUnavailableError
from cath_dagster.core.spec import Location, load_specs

CONTAINERS = {"cath": ("artefact", "publications", "files")}


def examine_location(location: Location) -> list[Finding]:
    """Return every finding; what cannot be examined is a problem and stops nothing else."""
    resources = EnvironmentResources(location.prefix)
    return [*_database(location, resources), *_outside(location, resources)]


def _database(location: Location, resources: EnvironmentResources) -> Iterator[Finding]:
    subject = f"{location.prefix}_DATABASE_URL"
    try:
        engine = resources.engine("doctor")
    except MaintenanceError as error:
        yield Finding(subject=subject, level=Level.PROBLEM, says=str(error))
        return
    try:
        with engine.connect() as connection:
            yield from diagnose(connection, location, load_specs(location))
    except DBAPIError as error:
        yield Finding(subject=subject, level=Level.PROBLEM, says=str(translate(error)))
    finally:
        engine.dispose()


def _outside(location: Location, resources: EnvironmentResources) -> Iterator[Finding]:
    for container in CONTAINERS.get(location.name, ()):
        yield _store(f"container {container}", resources.blobs, container)
    if location.name in CONTAINERS:
        yield _store(f"{location.prefix}_REPORT_URL", resources.reports, "")
    if not resources.has_mail:
        yield Finding(
            subject="GOV.UK Notify",
            level=Level.WARNING,
            says="no key: messages are rendered and not delivered, and nobody is deleted who needs a warning first",
            remedy=f"set {location.prefix}_NOTIFY_API_KEY",
        )
        return
    try:
        resources.mailer().check()
    except (MailerUnavailableError, MaintenanceError) as error:
        yield Finding(subject="GOV.UK Notify", level=Level.PROBLEM, says=str(error))
    else:
        yield Finding(subject="GOV.UK Notify", level=Level.OK, says="answers, and knows every template")


def _store(subject: str, open_store: Callable[[], BlobStore], container: str) -> Finding:
    try:
        open_store().check(container)
    except (BlobStoreError, MaintenanceError) as error:
        return Finding(subject=subject, level=Level.PROBLEM, says=str(error))
    return Finding(subject=subject, level=Level.OK, says="can be listed")
