"""Roles that may log in and no more, on the suite's server."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

PASSWORD = "made-up"


@dataclass(frozen=True)
class Role:
    """A role in one database; `url` logs in as it."""

    name: str
    url: str

    def attempt(self, statement: str) -> str | None:
        """Try a statement as the role; return the SQLSTATE by which it is refused, None if it is not."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                return error.sqlstate
        return None


@contextlib.contextmanager
def role_in(url: str, connection: psycopg.Connection[Any]) -> Iterator[Role]:
    """Yield a new role; what it owns in the end is dropped with it."""
    name = f"Role {uuid.uuid4().hex[:8]}"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(PASSWORD)))
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    try:
        yield Role(name, urlunsplit(parts._replace(netloc=f"{name.replace(' ', '%20')}:{PASSWORD}@{where}")))
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))
