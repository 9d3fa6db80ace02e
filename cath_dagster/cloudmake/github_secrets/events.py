"""What is written into the service's own tables about the synchronisation: events, audits of environments, quotas.

Both shapes of the database are written to, that of its migrations and that of its ORM.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_OID, UUID, uuid5

import sqlalchemy as sa

from cath_dagster.cloudmake.rows import write_row
from cath_dagster.cloudmake.tables import github_api_quotas as quotas
from cath_dagster.cloudmake.tables import secret_audit, secret_sync_events
from cath_dagster.core.errors import PreflightError
from cath_dagster.core.ports.github import Quota
from cath_dagster.core.postgres.database import translate

SYNC_ALL, CREATE, UPDATE, DELETE = "sync_all", "create", "update", "delete"
_COLUMNS = sa.text(
    """
    SELECT attname::text, attnotnull AND NOT atthasdef AND attidentity = '' FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped
    """
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event: what was done, in which places it succeeded and in which it did not."""

    project_id: UUID
    operation: str
    secret_name: str | None
    succeeded: Sequence[str]
    failed: Sequence[str]
    error: str | None
    milliseconds: int

    @property
    def status(self) -> str:
        if not self.failed:
            return "success"
        return "partial" if self.succeeded else "failure"


@dataclass(frozen=True, kw_only=True)
class Events:
    """Writes what a run tells, each function in the caller's transaction."""

    run_id: str
    as_of: datetime
    actor_id: UUID | None
    audit_columns: frozenset[str]

    def tell(self, connection: sa.Connection, told: Told) -> None:
        """Write an event; of the same project and instant not twice that all was seen to."""
        table = secret_sync_events
        if told.operation == SYNC_ALL:
            known = sa.exists().where(
                table.c.project_id == told.project_id,
                table.c.operation == SYNC_ALL,
                table.c.created_at == self.as_of,
                table.c.status == told.status,
            )
            if connection.scalar(sa.select(known)):
                return
        connection.execute(sa.insert(table).values(**self._event(told)))

    def audit(self, connection: sa.Connection, project_id: UUID, environment_id: UUID, secret: str) -> None:
        """Write down that a secret of an environment was updated."""
        reference = f"{project_id}/{environment_id}/{secret}"
        row = {
            "project_id": project_id,
            "environment_id": environment_id,
            "secret_name": secret,
            # Of where it stands, never of its value.
            "secret_ref_hash": hashlib.sha256(reference.encode()).hexdigest(),
            "operation": UPDATE,
            "action": UPDATE,
            "origin": "system",
            "actor_id": self.actor_id,
            "occurred_at": self.as_of,
            "metadata": {"run_id": self.run_id},
        }
        known = {name: value for name, value in row.items() if name in self.audit_columns}
        connection.execute(sa.insert(secret_audit).values(**known))

    def probe(self, connection: sa.Connection, project_id: UUID) -> None:
        """Try one event and take it back; raise `PreflightError` where the table would take none later."""
        told = Told(
            project_id=project_id,
            operation=SYNC_ALL,
            secret_name=None,
            succeeded=["actions"],
            failed=[],
            error=None,
            milliseconds=0,
        )
        attempt = connection.begin_nested()
        try:
            connection.execute(sa.insert(secret_sync_events).values(**self._event(told)))
        except sa.exc.DBAPIError as error:
            raise PreflightError(
                f"secret_sync_events takes no event of ours: {translate(error)}. Where its actor_id may not be null, "
                "CLOUDMAKE_SYSTEM_ACTOR_ID has to be the id of a user; better: ALTER TABLE secret_sync_events "
                "ALTER COLUMN actor_id DROP NOT NULL;"
            ) from None
        finally:
            attempt.rollback()

    def _event(self, told: Told) -> dict[str, object]:
        return {
            "project_id": told.project_id,
            "actor_id": self.actor_id,
            "operation": told.operation,
            "secret_name": told.secret_name,
            "affected_scopes": [*told.succeeded, *told.failed],
            "status": told.status,
            "success_count": len(told.succeeded),
            "failure_count": len(told.failed),
            "error_message": told.error,
            "correlation_id": correlation_id(self.run_id),
            "duration_ms": told.milliseconds,
            "metadata": {"run_id": self.run_id},
            "created_at": self.as_of,
        }


def correlation_id(run_id: str) -> UUID:
    """Return the id that all events of a run have: the run's own, where that is one."""
    try:
        return UUID(run_id)
    except ValueError:
        return uuid5(NAMESPACE_OID, run_id)


def read_audit_columns(connection: sa.Connection) -> frozenset[str]:
    """Return the columns of the service's audit; raise `PreflightError` where it wants one that we know nothing for."""
    rows = connection.execute(_COLUMNS, {"table": "public.secret_audit"})
    columns: dict[str, bool] = dict(rows.tuples().all())
    unknown = [name for name, is_required in columns.items() if is_required and name not in secret_audit.c]
    if unknown:
        statements = " ".join(f"ALTER TABLE secret_audit ALTER COLUMN {name} DROP NOT NULL;" for name in unknown)
        raise PreflightError(f"secret_audit wants {', '.join(unknown)}, of which nothing is known here: {statements}")
    return frozenset(columns)


def requires_actor(connection: sa.Connection) -> bool:
    """Return whether an event needs a user who did it."""
    columns = connection.execute(_COLUMNS, {"table": "public.secret_sync_events"})
    return any(name == "actor_id" and is_required for name, is_required in columns)


def write_quota(connection: sa.Connection, project_id: UUID, quota: Quota, *, checked_at: datetime) -> None:
    """Keep what GitHub says is left, a row for each project; in the caller's transaction."""
    values = {
        "remaining": max(0, min(quota.remaining, quota.limit)),
        "limit_value": quota.limit,
        "reset_at": quota.reset_at,
        "last_checked_at": checked_at,
        "updated_at": checked_at,
    }
    write_row(connection, quotas, key={"project_id": project_id, "quota_type": "core"}, values=values)
