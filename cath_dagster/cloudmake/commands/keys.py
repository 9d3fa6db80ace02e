"""`cath-dagster keys`: new keys, and what the stored values are under."""

import typer

app = typer.Typer(help="Keys under which CloudMake's values are encrypted.", no_args_is_help=True)
