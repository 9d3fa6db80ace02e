"""`cath-dagster new-job`: a job to begin with, written into this checkout."""

from typing import Annotated

import typer

from cath_dagster.adapters.terminal import out
from cath_dagster.registry import find_location

app = typer.Typer()


@app.command("new-job")
def write_new_job(
    location: Annotated[str, typer.Argument(help="The code location whose job it will be.")],
    name: Annotated[str, typer.Argument(help="The job's name: small letters, digits and underscores.")],
    table: Annotated[str, typer.Option(help="The table whose rows expire.")],
    by: Annotated[str, typer.Option(metavar="COLUMN", help="The timestamp or date by whose age they do.")],
    days: Annotated[int, typer.Option(help="For how many days they are kept.")],
    cron: Annotated[str, typer.Option(help="When it runs, in the location's zone.")] = "0 4 * * *",
) -> None:
    """Write a job that purges a table by age into this checkout: its file, its table, its test, and what lists it.

    The columns are read from the service's database, if its DATABASE_URL is set, else from its sample's schema.
    """
    from cath_dagster.development.new_job.names import Order
    from cath_dagster.development.new_job.write import write_job

    order = Order(find_location(location), name, table, by, days, cron)
    for line in write_job(order).lines():
        out.print(line, markup=False, highlight=False, soft_wrap=True)
