"""What the instance brings to the command line: `cath-dagster health` and `cath-dagster scheduler`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cath_dagster.adapters.terminal import out
from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Everything, Json
from cath_dagster.console.output import findings_as_json, has_problem, print_findings, print_json
from cath_dagster.operations.scheduler.commands import app as scheduler

app = typer.Typer()
app.add_typer(scheduler, name="scheduler")


@app.command("health")
def look_at_instance(
    everything: Everything = False,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="First settle the alerts that were given up: somebody has read them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look from outside whether Dagster works: daemons, ticks, runs that wait, alerts that nobody was told.

    Of the instance of DAGSTER_HOME, by its database alone: for a probe or a CronJob that is not Dagster's own.
    """
    from cath_dagster.operations.probe import acknowledge as settle_given_up
    from cath_dagster.operations.probe import look

    if acknowledge:
        count = settle_given_up(datetime.now(UTC))
        if not as_json:
            out.print(f"{count} given up alerts acknowledged")
    findings = look(datetime.now(UTC))
    is_well = not has_problem(findings)
    if as_json:
        print_json({"healthy": is_well, "findings": findings_as_json(findings)})
    else:
        print_findings(findings, everything=everything)
    if not is_well:
        raise typer.Exit(FAILED)
