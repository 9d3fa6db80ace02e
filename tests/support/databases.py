"""Databases of a test's own: copies of templates with a service's empty schema and our own tables."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.development.samples import samples

EMPTY = "template1"


@dataclass(frozen=True)
class Databases:
    """A server on which the suite makes databases; `templates` are those that are there, by service."""

    server: str
    templates: dict[str, str]
    _own: list[str] = field(default_factory=list)
    _sessions: list[psycopg.Connection[Any]] = field(default_factory=list)
    """The one that makes and drops databases: to log in anew takes a third as long as to make one."""

    def url(self, name: str) -> str:
        """Return the libpq URL of a database on the server."""
        head, _, query = self.server.partition("?")
        base = head.rpartition("/")[0]
        return f"{base}/{name}" + (f"?{query}" if query else "")

    @contextlib.contextmanager
    def copy(self, template: str = EMPTY) -> Iterator[str]:
        """Yield the URL of a copy of a template, by default of one with nothing in it."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._execute("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, template)
        try:
            yield self.url(name)
        finally:
            self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def template(self, service: str) -> str:
        """Return the name of a service's template, made now if it is missing."""
        return self.templates.get(service) or self.make_template(service)

    def make_template(self, service: str) -> str:
        """Make a database with a service's empty schema and our own tables; return its name."""
        (sample,) = (sample for sample in samples() if sample.name == service)
        name = f"template_{service}_{uuid.uuid4().hex[:12]}"
        self._execute("CREATE DATABASE {}", name)
        self._own.append(name)
        with psycopg.connect(self.url(name)) as connection:
            sample.create_schema(connection)
        engine = open_engine(self.url(name), variable="template", application_name="template")
        migrate(engine, sample.location)
        engine.dispose()
        self.templates[service] = name
        return name

    def drop_templates(self) -> None:
        """Drop those that were made here, and log out."""
        while self._own:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._own.pop())
        while self._sessions:
            self._sessions.pop().close()

    def _execute(self, statement: LiteralString, *names: str) -> None:
        if not self._sessions or self._sessions[-1].closed:
            self._sessions.append(psycopg.connect(self.server, autocommit=True))
        self._sessions[-1].execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
