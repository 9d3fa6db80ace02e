"""SC-005: whether every secret that should be at GitHub is there, by what the database knows."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from cath_dagster.cloudmake.github_secrets.exclusions import Exclusions, read_exclusions
from cath_dagster.cloudmake.github_secrets.projects import Project, read_projects
from cath_dagster.cloudmake.github_secrets.targets import State
from cath_dagster.cloudmake.github_secrets.wanted import SCOPES
from cath_dagster.cloudmake.tables import secret_mappings, secret_target
from cath_dagster.core.errors import PreflightError
from cath_dagster.core.extremes import on_calendar
from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.postgres.database import Database

LONGEST_PENDING = timedelta(hours=26)
"""A nightly run, and two hours for it to come to the end."""
SHOWN = 20
NEVER = "never written"

Standing = dict[tuple[UUID, str], dict[str, tuple[State, datetime]]]
"""By project and secret, then by place: how it stands, and since when."""


def judge(database: Database, as_of: datetime) -> Verdict:
    """Judge all active projects, as of an instant; secrets that are excluded are not wanted."""
    return database.transaction(lambda connection: judge_projects(connection, read_projects(connection), as_of))


def judge_projects(connection: sa.Connection, projects: list[Project], as_of: datetime) -> Verdict:
    """Judge some projects, in the caller's transaction."""
    try:
        exclusions = read_exclusions(connection)
    except PreflightError as unreadable:
        return Verdict(passed=False, message=str(unreadable))
    standing = _read_standing(connection)
    created_at = on_calendar(sa.cast(secret_mappings.c.created_at, sa.DateTime(timezone=True)))
    mapped_at = dict(connection.execute(sa.select(secret_mappings.c.id, created_at)).tuples().all())
    wrong: list[str] = []
    subjects: dict[str, None] = {}
    tally: Counter[str] = Counter()
    for project in projects:
        for name, target, why in _find_wrong(project, exclusions, standing, mapped_at, as_of):
            tally[why] += 1
            subjects[project.slug] = None
            wrong.append(f"{project.slug}: {name} in {target} is {why}")
    checked, doubtful = sum(len(project.mappings) for project in projects), _count_doubtful(connection, projects)
    if not wrong:
        return Verdict(passed=True, details={"mappings": checked, "wrong": 0, "in_doubt": doubtful})
    counts = ", ".join(f"{count} {why}" for why, count in sorted(tally.items()))
    return Verdict(
        passed=False,
        message=f"secrets are not where they should be: {counts}; cath-dagster secrets validate tells which",
        details={"mappings": checked, "wrong": len(wrong), "in_doubt": doubtful, "which": wrong[:SHOWN]},
        subjects=tuple(subjects),
    )


def _count_doubtful(connection: sa.Connection, projects: list[Project]) -> int:
    """Return how many secrets were sent to GitHub without an answer, and may have come."""
    ids = [project.project_id for project in projects]
    is_doubtful = secret_target.c.pending_since.is_not(None)
    query = sa.select(sa.func.count()).where(
        is_doubtful, secret_target.c.project_id == sa.any_(sa.literal(ids, ARRAY(sa.Uuid)))
    )
    return connection.scalar(query) or 0


def _find_wrong(
    project: Project, exclusions: Exclusions, standing: Standing, mapped_at: dict[UUID, datetime], as_of: datetime
) -> Iterator[tuple[str, str, str]]:
    """Yield secret, place and what is wrong there."""
    oldest = as_of - LONGEST_PENDING
    for mapping in project.mappings:
        if mapping.is_excluded or exclusions.exclude(project.project_id, mapping.name):
            continue
        found = standing.get((project.project_id, mapping.name), {})
        for scope in mapping.scopes:
            if scope not in found and mapped_at[mapping.mapping_id] < oldest:
                yield mapping.name, scope, NEVER
        # A scope that the mapping has no more was wanted once.
        wanted = (target for target in sorted(found) if target not in SCOPES or target in mapping.scopes)
        for target in wanted:
            if why := _judge_place(*found[target], oldest):
                yield mapping.name, target, why


def _judge_place(state: State, since: datetime, oldest: datetime) -> str | None:
    """Return what is wrong with how a secret stands in a place; None where nothing is."""
    if state is State.PENDING:
        hours = LONGEST_PENDING.total_seconds() / 3_600
        return f"pending for more than {hours:.0f} h" if since < oldest else None
    return None if state is State.WRITTEN else state.value


def _read_standing(connection: sa.Connection) -> Standing:
    table = secret_target
    found: Standing = {}
    query = sa.select(table.c.project_id, table.c.secret_name, table.c.target, table.c.status, table.c.status_since)
    for project_id, name, target, status, since in connection.execute(query):
        found.setdefault((project_id, name), {})[target] = (State(status), since)
    return found


SC_005: Check[Database] = Check(
    name="sc_005_secrets_valid",
    asset="secret_mappings",
    description="Every secret that is mapped and not excluded is in each of its scopes at GitHub: none is in conflict, failed "
    "or without a value, and none waits for more than 26 hours.",
    severity=Severity.ERROR,
    evaluate=judge,
)
