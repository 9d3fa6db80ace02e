"""`cath-dagster ledger` and `cath-dagster explain`: what was deleted, and what will be."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cath_dagster.cli.chosen import choose
from cath_dagster.console.options import Json, LocationName
from cath_dagster.console.output import print_json
from cath_dagster.registry import find_spec

app = typer.Typer()


@app.command("ledger")
def show_ledger(
    location: LocationName = None,
    days: Annotated[int, typer.Option(help="How many days back, today included.", min=1, max=36_500)] = 30,
    job: Annotated[str | None, typer.Option(help="Only this job.")] = None,
    as_json: Json = False,
) -> None:
    """Show how much was deleted each day, by which rule of which job, and which runs did not end well."""
    from cath_dagster.cli.ledger import days_as_json, print_days, read_ledger

    spec = find_spec(job) if job else None
    chosen = choose(location) if spec is None or location else (spec.location,)
    now = datetime.now(UTC)
    read = [(item, read_ledger(item, days=days, job=spec.name if spec else None, now=now)) for item in chosen]
    if as_json:
        print_json({"days": days, "rows": [row for item, found in read for row in days_as_json(item, found)]})
        return
    for item, found in read:
        print_days(item, found)


@app.command("explain")
def explain_row(
    table: Annotated[str, typer.Argument(help="A table of the service, as the database names it.")],
    key: Annotated[str, typer.Argument(help="The row's key; of several columns, a JSON array of their values.")],
    location: LocationName = None,
    as_json: Json = False,
) -> None:
    """Tell which run deleted a row, by which rule; or which rule will take it and when, or why none does."""
    from cath_dagster.cli.ledger import explain_row, explanation_as_json, print_explanation

    explanation = explain_row(choose(location), table, key, now=datetime.now(UTC))
    if as_json:
        print_json(explanation_as_json(explanation))
    else:
        print_explanation(explanation)
