"""`cath-dagster views`: the views of whichever service has some, which its own migrations may have to do without."""

import typer

from cath_dagster.adapters.terminal import out
from cath_dagster.cli.chosen import choose
from cath_dagster.cli.runs import finish, run_in_process
from cath_dagster.console.options import Json, LocationName
from cath_dagster.console.output import print_json

app = typer.Typer()
views = typer.Typer(help="The materialised views that refresh_views keeps.", no_args_is_help=True)
app.add_typer(views, name="views")


@views.command("drop")
def drop_views(location: LocationName = None, as_json: Json = False) -> None:
    """Drop the views, so that the service's own migrations can change the tables below them."""
    from cath_dagster.cli.views import drop_all

    dropped = {chosen.name: drop_all(chosen) for chosen in choose(location)}
    if as_json:
        print_json(dropped)
    else:
        for name, found in dropped.items():
            out.print(f"{name}: dropped {', '.join(found) or 'nothing, there were no views'}")


@views.command("create")
def create_views(as_json: Json = False) -> None:
    """Create what is missing and refresh the rest: the same as `run refresh_views`."""
    finish(run_in_process("refresh_views", {}, partition=None, as_json=as_json, quiet=True), as_json=as_json)
