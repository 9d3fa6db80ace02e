"""What CheckTick brings to the command line: `cath-dagster governance`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Json
from cath_dagster.console.output import print_json

app = typer.Typer()
governance = typer.Typer(help="What the law requires to be deleted, and what became of it.", no_args_is_help=True)
app.add_typer(governance, name="governance")


@governance.command("report")
def report_governance(
    day: Annotated[str | None, typer.Option(metavar="DAY", help="A day like 2026-11-20; today by default.")] = None,
    as_json: Json = False,
) -> None:
    """Show which of CheckTick's deletions were due on a day, done, held and by whose authority, and overdue and why.

    Exit code 1 if one is overdue that nothing holds.
    """
    from cath_dagster.checktick.governance import print_report, read_day, report_as_json

    report = read_day(day, now=datetime.now(UTC))
    if as_json:
        print_json(report_as_json(report))
    else:
        print_report(report)
    if report.alerts:
        raise typer.Exit(FAILED)
