"""`cath-dagster secrets`: the store from which secrets go to GitHub."""

import typer

app = typer.Typer(
    help="Secrets: those that go to GitHub, and those that should stand in no repository.", no_args_is_help=True
)
