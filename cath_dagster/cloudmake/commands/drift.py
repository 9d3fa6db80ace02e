"""`cath-dagster drift`: what is declared and what is there, compared now."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.terminal import out
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Json
from cath_dagster.console.output import print_error, print_json
from cath_dagster.core.postgres.database import Database

app = typer.Typer(help="Compare what is declared with what is there.", no_args_is_help=True)


@app.callback()
def drift() -> None:
    """Compare what is declared with what is there."""


@app.command("check")
def check(
    pull_request: Annotated[
        int | None,
        typer.Option("--pr", metavar="N", min=1, help="Comment on this pull request of CLOUDMAKE_GITHUB_REPOSITORY."),
    ] = None,
    sources: Annotated[
        str, typer.Option("--sources", help="Sources, with commas between; all that are configured by default.")
    ] = "",
    gate: Annotated[bool, typer.Option(help="End with 1 where there is drift, as a pipeline wants it.")] = True,
    as_json: Json = False,
) -> None:
    """Look at every source now, and keep nothing: for a pipeline, before a merge.

    Exit code 1 on drift, and on what cannot be read. With --pr one comment says so, which is edited by the next check.
    """
    # The sources bring parsers and clients with them, which no other command needs.
    from cath_dagster.cloudmake.drift import pull_request as pull_requests
    from cath_dagster.cloudmake.drift import report
    from cath_dagster.cloudmake.drift.source import Surroundings
    from cath_dagster.cloudmake.drift.sources import choose, look_at_sources

    environ = open_backends(CLOUDMAKE).environ
    repository = pull_requests.read_repository(environ) if pull_request else None
    chosen = choose(sources)
    with _database() as database:
        surroundings = Surroundings(prefix=CLOUDMAKE.prefix, environ=environ, database=database)
        looked = look_at_sources(surroundings, chosen)
    told = pull_requests.tell(looked, environ, repository, pull_request) if repository and pull_request else None
    if as_json:
        print_json(report.as_json(looked, comment=told))
    else:
        for line in [*report.lines(looked), *([told] if told else [])]:
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if looked.is_nothing:
        print_error("no source is configured, so that nothing was compared")
    if looked.is_nothing or looked.unreadable or (gate and looked.drifted):
        raise typer.Exit(FAILED)


@contextmanager
def _database() -> Iterator[Database | None]:
    """Yield the database, None where none is configured: a pipeline may have none, and other sources need none."""
    backends = open_backends(CLOUDMAKE)
    if not backends.is_configured:
        yield None
        return
    with backends.database("drift check") as database:
        yield database
