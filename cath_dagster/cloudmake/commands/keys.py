"""`cath-dagster keys`: new keys, and what the stored values are under."""

from pathlib import Path
from typing import Annotated

import typer

from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Json
from cath_dagster.console.output import print_json

app = typer.Typer(help="Keys under which CloudMake's values are encrypted.", no_args_is_help=True)


@app.command("generate")
def generate_key(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The file to be made, readable by its owner alone.")
    ],
    as_json: Json = False,
) -> None:
    """Make a new master key and write it into a new file. The key itself is shown nowhere."""
    from cath_dagster.adapters.terminal import out as console
    from cath_dagster.cloudmake.keyring import NEW
    from cath_dagster.cloudmake.master_key.new_key import write_new_key

    fingerprint = write_new_key(out)
    if as_json:
        print_json({"file": str(out), "fingerprint": fingerprint})
    else:
        console.print(
            f"{out} holds a new key, {fingerprint}; it is read by {NEW}_FILE={out}", markup=False, soft_wrap=True
        )


@app.command("status")
def show_status(as_json: Json = False) -> None:
    """Count the encrypted values by table and by the key that each is under. Exit code 1 if one opens under neither."""
    from cath_dagster.adapters.environment import open_backends
    from cath_dagster.cloudmake import CLOUDMAKE
    from cath_dagster.cloudmake.keyring import read_keyring
    from cath_dagster.cloudmake.master_key.counting import count_by_key, total
    from cath_dagster.cloudmake.master_key.status import print_status, status_as_json
    from cath_dagster.console.database import open_database

    keyring = read_keyring(open_backends(CLOUDMAKE).environ)
    with open_database(CLOUDMAKE, "keys status") as database:
        counts = count_by_key(database, keyring)
    if as_json:
        print_json(status_as_json(keyring, counts))
    else:
        print_status(keyring, counts)
    if total(counts).neither:
        raise typer.Exit(FAILED)
