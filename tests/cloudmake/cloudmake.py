"""CloudMake as a test sees it: small builders for its rows, and a way to run its jobs."""

import contextlib
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from cath_dagster.cloudmake import CLOUDMAKE
from tests.support.maintained import Maintained

_numbers = itertools.count(1)


@dataclass(kw_only=True)
class CloudMake(Maintained):
    """A CloudMake of its own."""

    location = CLOUDMAKE

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str, *, as_of: datetime) -> Iterator["CloudMake"]:
        environ = {"CLOUDMAKE_DATABASE_URL": url, "CLOUDMAKE_ENVIRONMENT": "production"}
        with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as connection:
            connection.execute("SET timezone = 'UTC'")
            yield cls(url=url, environ=environ, connection=connection, as_of=as_of)

    def ago(self, **duration: float) -> datetime:
        """Return an instant so long before `as_of`."""
        return self.as_of - timedelta(**duration)

    def naive_ago(self, **duration: float) -> datetime:
        """Return the same as a column without zone holds it."""
        return self.ago(**duration).replace(tzinfo=None)

    def add_organization(self) -> uuid.UUID:
        number = next(_numbers)
        row = {"id": uuid.uuid4(), "name": f"Organization {number}", "slug": f"organization-{number}"}
        organization_id: uuid.UUID = self.insert("organizations", **row)
        return organization_id

    def add_user(self, **values: Any) -> uuid.UUID:
        number = next(_numbers)
        org_id = values.pop("org_id", None) or self.add_organization()
        row = {"id": uuid.uuid4(), "org_id": org_id, "email": f"user{number}@example.org"}
        user_id: uuid.UUID = self.insert("users", **{**row, **values})
        return user_id

    def add_project(self, **values: Any) -> uuid.UUID:
        """Add an active project."""
        number = next(_numbers)
        org_id = values.pop("org_id", None) or self.add_organization()
        row = {"id": uuid.uuid4(), "name": f"Project {number}", "slug": f"project-{number}", "org_id": org_id}
        project_id: uuid.UUID = self.insert("projects", **{**row, "status": "active", **values})
        return project_id

    def add_environment(self, project_id: uuid.UUID | None = None, **values: Any) -> uuid.UUID:
        """Add a core environment, unless told otherwise."""
        number = next(_numbers)
        row = {
            "id": uuid.uuid4(),
            "project_id": project_id or self.add_project(),
            "name": f"core-{number}",
            "kind": "core",
            "github_branch": "main",
        }
        environment_id: uuid.UUID = self.insert("environments", **{**row, **values})
        return environment_id

    def add_preview(self, project_id: uuid.UUID | None = None, *, hours: float = 1, **values: Any) -> uuid.UUID:
        """Add a preview that expired so many hours before `as_of`."""
        number = next(_numbers)
        row = {"name": f"preview-{number}", "kind": "preview", "ttl_expires_at": self.naive_ago(hours=hours)}
        return self.add_environment(project_id, **{**row, **values})

    def audit(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what our jobs wrote into the audit, the oldest first."""
        query = (
            "SELECT action_type, changes_json FROM admin_audit_logs WHERE entity_type = 'cloudmake' ORDER BY created_at"
        )
        return [(action, changes) for action, changes in self.rows(query)]
