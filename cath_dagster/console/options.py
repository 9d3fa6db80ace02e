"""Options that mean the same to every command that has them."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Everything = Annotated[bool, typer.Option("--all", help="Also list what is in order.")]
LocationName = Annotated[
    str | None, typer.Argument(help="A code location; all that have a DATABASE_URL if it is left out.")
]
OneLocation = Annotated[str, typer.Argument(help="A code location.")]
