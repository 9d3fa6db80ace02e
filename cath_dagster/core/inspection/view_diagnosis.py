"""Look at the views as the next run would find them, and at what of the service's migrations they stand in the way of."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.maintenance.view import (
    ExistingView,
    View,
    check_droppable,
    find_read_columns,
    read_columns,
    read_existing,
)
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.postgres.database import translate
from cath_dagster.core.postgres.identifiers import quote


def diagnose_views(connection: sa.Connection, views: Sequence[View], *, job: str, location: str) -> Iterator[Finding]:
    """Yield a finding for each view that `job` keeps; the connection's transaction outlives what the server refuses."""
    for view in views:
        try:
            with connection.begin_nested():
                yield _examine(connection, view, job, location)
        except DBAPIError as error:
            yield Finding(
                subject=f"view {view.name}",
                level=Level.PROBLEM,
                message=f"{job} cannot make or refresh it, since the service's schema is no longer what it reads: "
                f"{translate(error)}",
                remedy="install a release of cath-dagster whose view does without; until then the view stays as it was",
            )


def _examine(connection: sa.Connection, view: View, job: str, location: str) -> Finding:
    subject = f"view {view.name}"
    columns = read_columns(connection, view)
    try:
        existing = read_existing(connection, view)
        if existing is None:
            return Finding(subject=subject, level=Level.OK, message=f"is not there: the next run of {job} makes it")
        misfit = existing.misfit(view, columns)
        if misfit:
            check_droppable(connection, view, existing, misfit)
    except DatabaseStatementError as error:
        return Finding(subject=subject, level=Level.PROBLEM, message=f"{job} fails: {error}")
    if not existing.is_owned:
        return _not_owned(connection, view, existing, job)
    holds = f"while it stands, no migration can drop or retype {', '.join(find_read_columns(connection, existing))}"
    if why := misfit or existing.lack():
        return Finding(
            subject=subject,
            level=Level.WARNING,
            message=f"{why}: the next run of {job} mends it; {holds}",
            remedy=f"cath-dagster run {job}",
        )
    return Finding(
        subject=subject,
        level=Level.OK,
        message=f"is what this release wants; {holds}",
        remedy=f"before such a migration: cath-dagster views drop {location}; the next run makes it anew",
    )


def _not_owned(connection: sa.Connection, view: View, existing: ExistingView, job: str) -> Finding:
    role = connection.scalar(sa.select(sa.func.current_user())) or ""
    return Finding(
        subject=f"view {view.name}",
        level=Level.PROBLEM,
        message=f"{job} fails: {role} may not refresh it, which takes its owner, {existing.owner}",
        remedy=f"as a member of both: ALTER MATERIALIZED VIEW {view.relation} OWNER TO {quote(role)};",
    )
