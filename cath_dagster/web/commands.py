"""What the commands `console` and `audit` do: on Dagster's database alone, under whatever role DAGSTER_POSTGRES_URL has."""

import contextlib
import getpass
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.postgres import open_pool
from cath_dagster.core.errors import ConfigurationError, MissingConfigurationError
from cath_dagster.core.maintenance.tables import check_current
from cath_dagster.core.postgres.database import translate
from cath_dagster.operations import OPERATIONS
from cath_dagster.registry import locations
from cath_dagster.web import audit, tokens
from cath_dagster.web.rights import EVERYWHERE, Kind, Principal, Role

VARIABLE = "DAGSTER_POSTGRES_URL"


@contextlib.contextmanager
def opened(purpose: str) -> Iterator[sa.Connection]:
    """Yield a transaction in Dagster's database, with our tables as this version needs them."""
    url = MountedEnvironment().get(VARIABLE)
    if not url:
        raise MissingConfigurationError(
            f"{VARIABLE} not set; set it to the database in which Dagster keeps runs and events"
        )
    try:
        with (
            open_pool(url, variable=VARIABLE, application_name=purpose, size=1) as engine,
            engine.begin() as connection,
        ):
            check_current(connection, location=OPERATIONS.name, revision=OPERATIONS.revision)
            yield connection
    except DBAPIError as error:
        raise translate(error) from None


def whoever_types() -> Principal:
    """Return who the audit log says of a command: the account on this machine."""
    return Principal(actor=f"cli:{_account()}", kind=Kind.LOCAL, roles={EVERYWHERE: Role.ADMIN}, origin="cli")


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container the account has a number and no name.
        return str(os.getuid())


def create_token(name: str, role: str, where: Sequence[str], expires_in_days: int | None) -> tokens.NewToken:
    """Make a token; raise `ConfigurationError` for a role or a location that there is not."""
    if role not in list(Role):
        raise ConfigurationError(f"there is no role {role!r}; there are {', '.join(Role)}")
    known = [location.name for location in locations()]
    if unknown := sorted(set(where) - {*known, EVERYWHERE}):
        raise ConfigurationError(f"there is no code location {', '.join(unknown)}; there are {', '.join(known)}")
    now = datetime.now(UTC)
    with opened("console token") as connection:
        return tokens.create(
            connection,
            whoever_types(),
            name,
            role=Role(role),
            locations=[EVERYWHERE] if EVERYWHERE in where or not where else where,
            expires_at=now + timedelta(days=expires_in_days) if expires_in_days is not None else None,
            now=now,
        )


def list_tokens() -> list[dict[str, Any]]:
    with opened("console token") as connection:
        return [row._asdict() for row in tokens.read_tokens(connection)]


def revoke_token(name: str) -> None:
    with opened("console token") as connection:
        tokens.revoke(connection, whoever_types(), name, now=datetime.now(UTC))


def verify_audit(head: str | None) -> tuple[audit.Fault | None, audit.Head]:
    """Return the first fault of the audit log, None for none, and its newest row."""
    kept = audit.parse_head(head) if head else None
    with opened("audit") as connection:
        return audit.verify(connection, kept), audit.read_head(connection)


def audit_head() -> audit.Head:
    with opened("audit") as connection:
        return audit.read_head(connection)
