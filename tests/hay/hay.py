"""Hay as a test sees it: small builders for its rows, and a way to run its jobs."""

import contextlib
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from cath_dagster.hay import HAY
from tests.support.maintained import Maintained

_numbers = itertools.count(1)


@dataclass(kw_only=True)
class Hay(Maintained):
    """A Hay of its own, whose exports lie in a folder of the test's."""

    location = HAY

    exports: Path

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str, folder: Path, *, as_of: datetime) -> Iterator["Hay"]:
        exports = folder / "exports"
        exports.mkdir()
        environ = {
            "HAY_DATABASE_URL": url,
            "HAY_EXPORTS_URL": exports.as_uri(),
            "HAY_RETENTION_OWNS": "true",
        }
        with psycopg.connect(url, autocommit=True, row_factory=tuple_row) as connection:
            connection.execute("SET timezone = 'UTC'")
            yield cls(url=url, environ=environ, connection=connection, as_of=as_of, exports=exports)

    def ago(self, **duration: float) -> datetime:
        """Return an instant so long before `as_of`."""
        return self.as_of - timedelta(**duration)

    def naive_ago(self, **duration: float) -> datetime:
        """Return the same as a column without zone holds it."""
        return self.ago(**duration).replace(tzinfo=None)

    def add(self, table: str, **values: Any) -> uuid.UUID:
        """Add a row with a new id, unless one is given; what is a dict or a list goes in as JSON."""
        row = {"id": uuid.uuid4(), **values}
        given = {name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in row.items()}
        key: uuid.UUID = self.insert(table, **given)
        return key

    def add_tenant(self, retention: Any = None, **values: Any) -> uuid.UUID:
        """Add an organization that keeps ended conversations for so many days, or whatever it says there; for ever by default."""
        number = next(_numbers)
        settings = {} if retention is None else {"settings": {"retentionDays": retention}}
        row = {"name": f"Tenant {number}", "slug": f"tenant-{number}", "created_at": self.ago(days=1_000)}
        return self.add("organizations", **{**row, **settings, **values})

    def add_user(self, **values: Any) -> uuid.UUID:
        row = {"email": f"user{next(_numbers)}@example.org", "password": "hashed"}
        return self.add("users", **{**row, **values})

    def add_customer(self, tenant: uuid.UUID, **values: Any) -> uuid.UUID:
        return self.add("customers", organization_id=tenant, email=f"customer{next(_numbers)}@example.org", **values)

    def add_conversation(self, tenant: uuid.UUID, *, days: float = 400, **values: Any) -> uuid.UUID:
        """Add a conversation that somebody closed so many days before `as_of`, unless told otherwise."""
        row = {
            "organization_id": tenant,
            "title": f"Question {next(_numbers)}",
            "status": "closed",
            "closed_at": self.ago(days=days),
            "created_at": self.naive_ago(days=days + 1),
            "updated_at": self.naive_ago(days=days),
            "context": {"page": "/prices"},
        }
        return self.add("conversations", **{**row, **values})

    def add_message(self, conversation: uuid.UUID, **values: Any) -> uuid.UUID:
        row = {"conversation_id": conversation, "content": "Where is my parcel?", "type": "Customer"}
        return self.add("messages", **{**row, **values})

    def add_request(self, *, customer: uuid.UUID | None = None, **values: Any) -> uuid.UUID:
        """Add a request of a user's for an export, or of a customer's; made a year before `as_of`."""
        subject = (
            {"subject_type": "customer", "customer_id": customer}
            if customer is not None
            else {"user_id": self.add_user()}
        )
        row = {
            "email": f"somebody{next(_numbers)}@example.org",
            "type": "export",
            "status": "completed",
            "created_at": self.ago(days=365),
            "updated_at": self.ago(days=365),
        }
        return self.add("privacy_requests", **{**row, **subject, **values})

    def add_job(self, tenant: uuid.UUID, **values: Any) -> uuid.UUID:
        row = {
            "organization_id": tenant,
            "status": "completed",
            "created_at": self.ago(days=1),
            "updated_at": self.ago(days=1),
        }
        return self.add("jobs", **{**row, **values})

    def add_plugin(self, **values: Any) -> uuid.UUID:
        number = next(_numbers)
        row = {
            "plugin_id": f"plugin-{number}",
            "name": "A plugin",
            "version": "1",
            "manifest": {},
            "plugin_path": "core",
        }
        return self.add("plugin_registry", **{**row, **values})

    def add_instance(self, **values: Any) -> uuid.UUID:
        """Add an instance that claims to run, made long ago."""
        row = {
            "organization_id": values.pop("organization_id", None) or self.add_tenant(),
            "plugin_id": values.pop("plugin_id", None) or self.add_plugin(),
            "running": True,
            "runtime_state": "ready",
            "status": "running",
            "created_at": self.ago(days=100),
            "updated_at": self.ago(days=100),
        }
        return self.add("plugin_instances", **{**row, **values})

    def column(self, table: str, name: str) -> dict[uuid.UUID, Any]:
        """Return by key what the rows of a table have in a column."""
        return dict(self.rows(f'SELECT id, "{name}" FROM {table}'))
