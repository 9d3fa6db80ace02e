"""What the console's role may do in Dagster's database: read, add, and change what is its own; nothing of the log of the past."""

from collections.abc import Iterator

from cath_dagster.core.maintenance.tables import SCHEMA as MAINTENANCE
from cath_dagster.core.postgres.identifiers import quote
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.web.tables import SCHEMA, audit_log

GIVEN_BY_THE_SERVER = {"sequence", "at", "previous_hash", "hash"}
"""Columns of the log that nobody who adds a row may say."""
SCHEMAS = (SERVICE, MAINTENANCE, SCHEMA)
READ = (
    f"{SERVICE}.runs",
    f"{SERVICE}.run_tags",
    f"{MAINTENANCE}.alembic_version",
    f"{MAINTENANCE}.alert",
    *(
        f"{SCHEMA}.{table}"
        for table in (
            "scheduled_job",
            "scheduled_job_history",
            "audit_log",
            "console_token",
            "console_session",
            "console_request",
            "approval",
            "job_hold",
        )
    ),
)
WRITTEN = {
    "scheduled_job": "UPDATE (enabled, next_run_at, updated_at), DELETE",
    "audit_log": f"INSERT ({', '.join(column.name for column in audit_log.c if column.name not in GIVEN_BY_THE_SERVER)})",
    "console_token": "INSERT, UPDATE (last_used_at, revoked_at, revoked_by)",
    "console_session": "INSERT, UPDATE (expires_at)",
    "console_request": "INSERT, UPDATE (run_id), DELETE",
    "approval": "INSERT, UPDATE (status, decided_by, decided_at, decision_reason, approved_run_id)",
    "job_hold": "INSERT, UPDATE, DELETE",
}


def write_grants(role: str) -> Iterator[str]:
    """Yield the statements that give a role what the console needs, and no more."""
    name = quote(role)
    for schema in SCHEMAS:
        yield f"GRANT USAGE ON SCHEMA {schema} TO {name};"
    yield f"GRANT SELECT ON {', '.join(READ)} TO {name};"
    for table, privileges in WRITTEN.items():
        yield f"GRANT {privileges} ON {SCHEMA}.{table} TO {name};"
