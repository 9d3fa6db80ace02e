"""`cath-dagster drift`: what is declared and what is there, compared now."""

import typer

app = typer.Typer(help="Compare what is declared with what is there.", no_args_is_help=True)
