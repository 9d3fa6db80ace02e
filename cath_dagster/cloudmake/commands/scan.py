"""`cath-dagster secrets scan` and `baseline`: secrets that stand in a repository."""

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app of the others about secrets."""
    del app
