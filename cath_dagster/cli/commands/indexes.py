"""`cath-dagster indexes`: build what the doctor misses."""

from typing import Annotated

import typer

from cath_dagster.cli.chosen import choose
from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Json, LocationName
from cath_dagster.console.output import print_json

app = typer.Typer()
indexes = typer.Typer(help="The indexes that purges need and the service lacks.", no_args_is_help=True)
app.add_typer(indexes, name="indexes")


@indexes.command("build")
def build_indexes(
    location: LocationName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the statements, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Build the indexes on foreign keys that doctor warns of, without locking anyone out.

    As the role of the DATABASE_URL, which must own the tables. The service's own migrations own its schema: to Prisma
    these indexes are drift, so in the long run move them into the service's migrations.
    """
    from cath_dagster.cli.indexes import build_all, print_builds

    builds = {chosen.name: build_all(chosen, dry_run=dry_run) for chosen in choose(location)}
    if as_json:
        print_json({name: [build.as_json() for build in done] for name, done in builds.items()})
    else:
        for name, done in builds.items():
            print_builds(name, done, dry_run=dry_run)
    if any(build.error for done in builds.values() for build in done):
        raise typer.Exit(FAILED)
