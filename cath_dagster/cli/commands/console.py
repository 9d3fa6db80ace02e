"""`cath-dagster console` and `cath-dagster audit`: the API and its pages, who may come in by token, and who did what."""

from typing import Annotated

import typer

from cath_dagster.adapters.terminal import out
from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Json
from cath_dagster.console.output import print_json

app = typer.Typer()
console_app = typer.Typer(help="The console: an API and pages over all scheduled work.")
token_app = typer.Typer(help="Bearer tokens, by which machines come in.", no_args_is_help=True)
audit_app = typer.Typer(help="The log of who did what.", no_args_is_help=True)
console_app.add_typer(token_app, name="token")
app.add_typer(console_app, name="console")
app.add_typer(audit_app, name="audit")


@console_app.callback(invoke_without_command=True)
def start_console(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; CONSOLE_HOST, or 127.0.0.1 if it is left out.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="The port to listen on; CONSOLE_PORT, or 3001 if it is left out.", min=1, max=65_535),
    ] = None,
) -> None:
    """Answer requests until a signal comes: the API under /api/v1 and the pages.

    Needs DAGSTER_POSTGRES_URL and CONSOLE_DAGSTER_URL.
    """
    if context.invoked_subcommand is not None:
        return
    from cath_dagster.adapters.mounted import MountedEnvironment
    from cath_dagster.web.server import serve

    serve(MountedEnvironment(), host=host, port=port)


@console_app.command("grants")
def print_grants(role: Annotated[str, typer.Argument(help="The role as which the console logs in.")]) -> None:
    """Print the statements that give a role what the console needs in Dagster's database, and no more. Changes nothing."""
    from cath_dagster.web.grants import write_grants

    for statement in write_grants(role):
        out.print(statement, markup=False, highlight=False, soft_wrap=True)


@token_app.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="By which the history and the audit log know it, as token:NAME.")],
    role: Annotated[str, typer.Option(help="viewer, operator, approver or admin.")],
    location: Annotated[list[str] | None, typer.Option(help="A code location; every one if it is left out.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(help="For ever if it is left out.", min=1, max=3_650)] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it: once, since only a hash of it is kept."""
    from cath_dagster.web import commands

    made = commands.create_token(name, role, location or [], expires_in_days)
    if as_json:
        print_json({"id": made.id, "name": made.name, "token": made.token})
        return
    out.print(made.token, markup=False, highlight=False, soft_wrap=True)
    out.print("Keep it now: it is not shown again.", style="yellow")


@token_app.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List the tokens that there are, and were."""
    from cath_dagster.web import commands

    rows = commands.list_tokens()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        ends = f"until {row['expires_at']:%Y-%m-%d}" if row["expires_at"] else "without an end"
        state = f"revoked by {row['revoked_by']}" if row["revoked_at"] else ends
        used = f"last used {row['last_used_at']:%Y-%m-%d %H:%M} UTC" if row["last_used_at"] else "never used"
        out.print(f"{row['name']}  {row['role']} in {', '.join(row['locations'])}  {state}  {used}", markup=False)
    if not rows:
        out.print("no tokens")


@token_app.command("revoke")
def revoke_token(name: Annotated[str, typer.Argument(help="The token's name.")]) -> None:
    """Revoke a token: the next request with it is refused."""
    from cath_dagster.web import commands

    commands.revoke_token(name)
    out.print(f"{name} is revoked", markup=False)


@audit_app.command("verify")
def verify_audit(
    head: Annotated[
        str | None,
        typer.Option(help="What `audit head` printed before: finds rows that are missing at the end as well."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the first row of the log that was altered or is missing. Exit code 1 where there is one."""
    from cath_dagster.web import commands

    fault, newest = commands.verify_audit(head)
    if as_json:
        told = None if fault is None else {"sequence": fault.sequence, "says": fault.says}
        print_json({"intact": fault is None, "fault": told, "rows": newest.sequence, "head": str(newest)})
    elif fault is None:
        out.print(f"{newest.sequence} rows, each as it was written", markup=False)
    else:
        out.print(f"row {fault.sequence} {fault.says}", markup=False, style="red")
    if fault is not None:
        raise typer.Exit(FAILED)


@audit_app.command("head")
def print_head() -> None:
    """Print the newest row's number and hash, to be kept elsewhere."""
    from cath_dagster.web import commands

    out.print(str(commands.audit_head()), markup=False, highlight=False, soft_wrap=True)
