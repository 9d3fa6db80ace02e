"""`cath-dagster run` and `cath-dagster plan`: one job, now."""

from typing import Annotated, Any

import typer

from cath_dagster.cli.own_options import TAKES_OWN_OPTIONS
from cath_dagster.cli.runs import finish, run_in_process
from cath_dagster.console.options import Json
from cath_dagster.core.errors import ConfigurationError

app = typer.Typer()

AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="INSTANT", help="Measure every cutoff from this instant (ISO 8601, UTC)."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One of the job's own settings; may be given several times."),
]
Week = Annotated[
    str | None,
    typer.Option("--partition", metavar="KEY", help="The week, by its Monday, for a job that reports weeks."),
]


@app.command("run", context_settings=TAKES_OWN_OPTIONS)
def run_job(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="The job, as `cath-dagster jobs` lists it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")] = False,
    as_of: AsOf = None,
    max_rows: Annotated[int | None, typer.Option("--max-rows", help="Stop cleanly after so many rows.")] = None,
    allow_large: Annotated[
        bool, typer.Option("--allow-large", help="Let this run delete more than half of a table.")
    ] = False,
    partition: Week = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the result only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show all there is to say, for jobs that say it in their own words.")
    ] = False,
) -> None:
    """Run one job now, in this process: the same work as a scheduled run, with the same guards.

    Each of the job's own settings is an option too: --retention-days 30, or --confirm of one that is said or not.
    """
    given = _given(dry_run=dry_run, as_of=as_of, max_rows=max_rows, allow_large=allow_large, settings=settings)
    result = run_in_process(
        job,
        given,
        own_options=context.args,
        partition=partition,
        as_json=as_json,
        quiet=quiet,
    )
    finish(result, as_json=as_json, verbose=verbose)


@app.command("plan", context_settings=TAKES_OWN_OPTIONS)
def plan_job(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="The job, as `cath-dagster jobs` lists it.")],
    as_of: AsOf = None,
    partition: Week = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Show what a run would change now, with a few ids to look up. Changes nothing.

    Each of the job's own settings is an option too, as of `cath-dagster run`.
    """
    given = _given(dry_run=True, as_of=as_of, max_rows=None, allow_large=False, settings=settings)
    result = run_in_process(
        job,
        given,
        own_options=context.args,
        partition=partition,
        as_json=as_json,
        quiet=True,
    )
    finish(result, as_json=as_json)


def _given(
    *, dry_run: bool, as_of: str | None, max_rows: int | None, allow_large: bool, settings: list[str] | None
) -> dict[str, Any]:
    options = {"dry_run": dry_run, "as_of": as_of, "max_rows": max_rows, "allow_large": allow_large}
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    for item in settings or []:
        key, found, value = item.partition("=")
        if not found:
            raise ConfigurationError(f"--set {item}: write it as KEY=VALUE")
        given[key.strip()] = value.strip()
    return given
