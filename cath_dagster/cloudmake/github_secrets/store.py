"""The store of secrets in `maintenance.stored_secret`: sealed under the master key, each for its own row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.cloudmake.environment import ALIASES, Environment
from cath_dagster.cloudmake.sealing import Keyring, Sealed, row_identity
from cath_dagster.cloudmake.tables import stored_secret
from cath_dagster.core.errors import ConfigurationError

EVERYWHERE = ""
"""The environment of a secret that belongs to none."""
MAX_VALUE_BYTES = 48 * 1024
"""GitHub's limit."""
_NAME = re.compile("[A-Z][A-Z0-9_]{0,99}")


@dataclass(frozen=True)
class StoredName:
    """A stored secret without its value."""

    environment: str
    name: str
    version: int
    key_id: str
    updated_at: datetime


def check_name(name: str) -> str:
    """Return the name; raise `ConfigurationError` for one that neither the service nor GitHub takes."""
    if not _NAME.fullmatch(name) or name.startswith("GITHUB_"):
        raise ConfigurationError(
            f"{name!r} is no name of a secret: capitals, digits and _, a capital first, at most 100, and not GITHUB_…"
        )
    return name


def check_environment(given: str | None) -> str:
    """Return the environment by our own word, "" for none; raise `ConfigurationError` for one that is not there."""
    if not given:
        return EVERYWHERE
    try:
        return ALIASES.get(given) or Environment(given)
    except ValueError:
        known = ", ".join((*Environment, *ALIASES))
        raise ConfigurationError(f"{given!r} is no environment; it may be one of {known}") from None


def find_fault(value: bytes) -> str | None:
    """Return what is wrong with a value, in words that say nothing of it; None if it may go to GitHub."""
    if not value:
        return "its value is empty"
    if len(value) > MAX_VALUE_BYTES:
        return f"its value has {len(value):,} bytes, and GitHub takes {MAX_VALUE_BYTES:,}"
    try:
        is_text = "\0" not in value.decode()
    except UnicodeDecodeError:
        is_text = False
    return None if is_text else "its value is no text in UTF-8"


def put(
    connection: sa.Connection, keyring: Keyring, project_id: UUID, environment: str, name: str, value: bytes
) -> int:
    """Store a value in the caller's transaction, in the place of the one before; return its version."""
    sealed = keyring.seal(value, _identity(project_id, environment, name))
    table = stored_secret
    row = {"project_id": project_id, "environment": environment, "name": name, "version": 1}
    values = {"key_id": sealed.key_id, "nonce": sealed.nonce, "sealed": sealed.sealed, "updated_at": sa.func.now()}
    statement = (
        insert(table)
        .values(**row, **values)
        .on_conflict_do_update(
            index_elements=table.primary_key.columns, set_={**values, "version": table.c.version + 1}
        )
        .returning(table.c.version)
    )
    version: int = connection.execute(statement).scalar_one()
    return version


def delete(connection: sa.Connection, project_id: UUID, environment: str, name: str) -> bool:
    """Delete a value in the caller's transaction; return whether there was one."""
    return connection.execute(sa.delete(stored_secret).where(*_is(project_id, environment, name))).rowcount > 0


def list_names(connection: sa.Connection, project_id: UUID) -> Sequence[StoredName]:
    """Return what is stored for a project, without values."""
    table = stored_secret
    query = (
        sa.select(table.c.environment, table.c.name, table.c.version, table.c.key_id, table.c.updated_at)
        .where(table.c.project_id == project_id)
        .order_by(table.c.name, table.c.environment)
    )
    return [StoredName(*row) for row in connection.execute(query)]


def read_sealed(connection: sa.Connection, project_id: UUID) -> dict[tuple[str, str], Sealed]:
    """Return a project's values as they are stored, by environment and name."""
    table = stored_secret
    query = sa.select(table.c.environment, table.c.name, table.c.key_id, table.c.nonce, table.c.sealed).where(
        table.c.project_id == project_id
    )
    return {
        (row.environment, row.name): Sealed(row.key_id, bytes(row.nonce), bytes(row.sealed))
        for row in connection.execute(query)
    }


def open_sealed(keyring: Keyring, sealed: Sealed, project_id: UUID, environment: str, name: str) -> bytes:
    """Return a stored value; raise `UnopenedError` where it does not open."""
    return keyring.open(sealed, _identity(project_id, environment, name))


def _identity(project_id: UUID, environment: str, name: str) -> str:
    return row_identity(stored_secret.name, project_id, environment, name)


def _is(project_id: UUID, environment: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    table = stored_secret
    return table.c.project_id == project_id, table.c.environment == environment, table.c.name == name
