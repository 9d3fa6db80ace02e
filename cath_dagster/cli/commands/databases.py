"""`cath-dagster migrate` and `cath-dagster doctor`: the maintained databases, and what they lack."""

from datetime import UTC, datetime
from typing import Any

import typer

from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.terminal import out
from cath_dagster.cli.chosen import choose
from cath_dagster.cli.commands.roles import JobsRole, RestoreRole
from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Everything, Json, LocationName
from cath_dagster.console.output import findings_as_json, has_problem, print_findings, print_json
from cath_dagster.core.errors import ConfigurationError

app = typer.Typer()


@app.command("migrate")
def migrate_database(
    location: LocationName = None, role: JobsRole = None, restore_role: RestoreRole = None, as_json: Json = False
) -> None:
    """Create or update the schema `maintenance` in the maintained databases.

    With --role, that role gets what the location's jobs need, loses what else it held, and owns the views that they
    refresh. Log in as the owner of the tables or a superuser; the role must exist.
    """
    from sqlalchemy.exc import DBAPIError

    from cath_dagster.cli.roles import Roles, give_roles, print_roles
    from cath_dagster.core.maintenance.migrations import migrate
    from cath_dagster.core.postgres.database import translate

    roles = Roles(jobs=role, restore=restore_role)
    if roles and location is None:
        raise ConfigurationError("--role is one location's: name the location as well")
    done: dict[str, Any] = {}
    for chosen in choose(location):
        try:
            with open_backends(chosen).disposed_engine("migrate") as engine:
                done[chosen.name] = revisions = list(migrate(engine, chosen))
        except DBAPIError as error:
            raise translate(error) from None
        if not as_json:
            out.print(f"{chosen.name}: maintenance is at {', '.join(revisions)}")
        if roles:
            changes = give_roles(chosen, roles, now=datetime.now(UTC))
            done[chosen.name] = {"revisions": revisions, "roles": [vars(change) for change in changes]}
            if not as_json:
                print_roles(changes)
    if as_json:
        print_json(done)


@app.command("doctor")
def examine(
    location: LocationName = None,
    everything: Everything = False,
    as_json: Json = False,
) -> None:
    """Look for what would stop or slow the jobs: connection, schema, privileges, indexes, blob store, mail.

    Each job is asked what its run asks before its first write: settings, variables, tables and their columns.
    """
    from cath_dagster.cli.doctor import examine_location

    findings = [finding for chosen in choose(location) for finding in examine_location(chosen)]
    if as_json:
        print_json(findings_as_json(findings))
    else:
        print_findings(findings, everything=everything)
    if has_problem(findings):
        raise typer.Exit(FAILED)
