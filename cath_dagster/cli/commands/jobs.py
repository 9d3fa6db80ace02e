"""`cath-dagster jobs`: what there is to run."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cath_dagster.console.options import Json
from cath_dagster.console.output import print_json
from cath_dagster.registry import all_specs

app = typer.Typer()


@app.command("jobs")
def list_jobs(
    as_json: Json = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting with its variable.")] = False,
) -> None:
    """List all jobs: when they run next, who owns them and what they do."""
    from cath_dagster.cli.job_table import job_rows, print_jobs, print_settings, setting_rows

    specs = all_specs()
    rows = setting_rows(specs) if settings else job_rows(specs, datetime.now(UTC))
    if as_json:
        print_json(rows)
    elif settings:
        print_settings(rows)
    else:
        print_jobs(rows)
