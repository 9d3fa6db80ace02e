"""`cath-dagster restore`: undo a run."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cath_dagster.adapters.terminal import TerminalReporter
from cath_dagster.console.exits import FAILED, IN_PART
from cath_dagster.console.options import Json
from cath_dagster.console.output import print_json
from cath_dagster.core.errors import MaintenanceError, RefusedError
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.registry import locations

app = typer.Typer()


@app.command("restore")
def restore_deleted(
    run_id: Annotated[str, typer.Argument(help="The run whose deletions to undo, as the ledger names it.")],
    table: Annotated[str | None, typer.Option(help="Put back rows of this table only.")] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Put back only rows for which this condition over their columns holds."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would come back, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put back what a run deleted, while the job's undo_days last; what exists is skipped.

    Files that wait for their deletion are taken off the queue. What was put back is left alone for as long again. Exit
    code 3 if rows cannot come back; the others do.
    """
    from cath_dagster.cli.restore import print_restore, restore_run
    from cath_dagster.core.restore.preparation import Request

    request = Request(run_id=run_id, table=table, where=where, dry_run=dry_run)
    try:
        with TerminalReporter(verbose=not as_json, quiet=True) as reporter:
            result = restore_run(locations(), request, now=datetime.now(UTC), reporter=reporter)
    except MaintenanceError as error:
        if as_json:
            status = Status.REFUSED if isinstance(error, RefusedError) else Status.FAILED
            unusable = RunResult(
                location="", job="", run_id=run_id, dry_run=dry_run, as_of=None, status=status, error=str(error)
            )
            print_json(unusable.as_json())
        raise
    if as_json:
        print_json(result.as_json())
    else:
        print_restore(result)
    if result.status is not Status.SUCCESS:
        raise typer.Exit(IN_PART if result.left_out else FAILED)
