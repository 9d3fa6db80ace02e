"""Give the roles of a location what they need, or write the statements down."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.terminal import out
from cath_dagster.cli.views import views_of
from cath_dagster.core.maintenance.migrations import take_turns
from cath_dagster.core.maintenance.tables import SCHEMA, check_current
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.postgres.database import translate
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.core.roles.grants import RoleChange, give, write_changes
from cath_dagster.core.roles.required_privileges import Moment, Needs, needs_of_jobs, needs_of_restore
from cath_dagster.core.run.spec import load_specs


@dataclass(frozen=True)
class Roles:
    """The names of a location's roles, which may be one."""

    jobs: str | None
    restore: str | None

    def __bool__(self) -> bool:
        return bool(self.jobs or self.restore)


def give_roles(location: CodeLocation, roles: Roles, *, now: datetime) -> list[RoleChange]:
    """Bring the roles level with what they need, all or none."""

    def work(connection: sa.Connection) -> list[RoleChange]:
        take_turns(connection)
        return _each(connection, location, roles, now, give)

    return _in_transaction(location, work)


def write_roles(location: CodeLocation, roles: Roles, *, now: datetime) -> list[RoleChange]:
    """Return the statements that would do so."""
    return _in_transaction(location, lambda connection: _each(connection, location, roles, now, write_changes))


def _in_transaction(location: CodeLocation, work: Callable[[sa.Connection], list[RoleChange]]) -> list[RoleChange]:
    try:
        with open_backends(location).disposed_engine("roles") as engine, engine.begin() as connection:
            check_current(connection, location=location.name, revision=location.revision)
            return work(connection)
    except DBAPIError as error:
        raise translate(error) from None


def _each(
    connection: sa.Connection, location: CodeLocation, roles: Roles, now: datetime, change: Callable[..., RoleChange]
) -> list[RoleChange]:
    # The instance's own role needs all of Dagster's tables: there nothing is taken away.
    revokes_in = (SCHEMA,) if location.backends else (SERVICE, SCHEMA)
    wanted: dict[str, Needs] = {}
    for role, needs in _wanted(connection, location, roles, now):
        wanted[role] = wanted[role] | needs if role in wanted else needs
    return [change(connection, role, needs, revokes_in=revokes_in) for role, needs in wanted.items()]


def _wanted(
    connection: sa.Connection, location: CodeLocation, roles: Roles, now: datetime
) -> Iterator[tuple[str, Needs]]:
    specs = load_specs(location)
    if roles.jobs:
        views = [view.name for view in views_of(location)]
        moment = Moment(now, open_backends(location).environ)
        yield roles.jobs, needs_of_jobs(connection, specs, moment, views=views)
    if roles.restore:
        yield roles.restore, needs_of_restore(connection, specs)


def print_roles(changes: Sequence[RoleChange]) -> None:
    """Print what was done about each role, and what it may do besides."""
    for change in changes:
        for statement in change.statements:
            out.print(f"  {statement}", markup=False, highlight=False, soft_wrap=True)
        changed = f"{len(change.statements)} statements" if change.statements else "nothing to change"
        out.print(f"{change.role} holds what it needs: {changed}", markup=False)
        for excess in change.excess:
            out.print(
                f"  it may besides, as an owner or through PUBLIC or another role: {excess}",
                markup=False,
                style="yellow",
            )
