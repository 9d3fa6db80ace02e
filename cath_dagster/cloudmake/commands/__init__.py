"""What CloudMake brings to the command line: `cath-dagster drift`, `keys` and `secrets`."""

import typer

from cath_dagster.cloudmake.commands import drift, keys, scan, secrets

app = typer.Typer()
app.add_typer(drift.app, name="drift")
app.add_typer(keys.app, name="keys")
scan.add_to(secrets.app)
app.add_typer(secrets.app, name="secrets")
