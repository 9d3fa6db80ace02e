"""`cath-dagster roles`: what `migrate --role` would do, for whoever may do it."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cath_dagster.adapters.terminal import out
from cath_dagster.console.options import OneLocation
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.registry import find_location

app = typer.Typer()
roles_app = typer.Typer(help="The database roles that hold what the jobs need, and no more.", no_args_is_help=True)
app.add_typer(roles_app, name="roles")

JobsRole = Annotated[
    str | None, typer.Option("--role", metavar="NAME", help="The role as which the location's jobs log in.")
]
RestoreRole = Annotated[
    str | None,
    typer.Option("--restore-role", metavar="NAME", help="The role as which `cath-dagster restore` logs in."),
]


@roles_app.command("sql")
def print_role_sql(
    location: OneLocation,
    role: JobsRole = None,
    restore_role: RestoreRole = None,
) -> None:
    """Print the statements by which `migrate --role` would change a role, for whoever may run them. Changes nothing."""
    from cath_dagster.cli.roles import Roles, write_roles

    roles = Roles(jobs=role, restore=restore_role)
    if not roles:
        raise ConfigurationError("name the role: --role, or --restore-role")
    for change in write_roles(find_location(location), roles, now=datetime.now(UTC)):
        for statement in change.statements:
            out.print(statement, markup=False, highlight=False, soft_wrap=True)
