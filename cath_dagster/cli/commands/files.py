"""`cath-dagster files`: what no run can delete, listed until somebody says that it was seen to."""

import getpass
import json
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from cath_dagster.adapters.terminal import out
from cath_dagster.console.database import open_database
from cath_dagster.console.options import Json, OneLocation
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.outbox.left_files import LeftFile, find_left, settle
from cath_dagster.registry import find_location

app = typer.Typer()
files = typer.Typer(help="Files that no run can delete, and that are left to be done by hand.", no_args_is_help=True)
app.add_typer(files, name="files")


@files.command("list")
def list_files(location: OneLocation, as_json: Json = False) -> None:
    """List the files that are left, with the row that each was of and why no run can delete it."""
    with open_database(find_location(location), "files") as database:
        found = database.transaction(find_left)
    if as_json:
        out.print(json.dumps({"files": [_plain(each) for each in found]}), markup=False, soft_wrap=True)
    elif found:
        out.print(_table(found))
    else:
        out.print(f"{location}: no file is left to be done by hand")


@files.command("settle")
def settle_files(
    location: OneLocation,
    file_ids: Annotated[list[int], typer.Argument(metavar="ID…", help="As `files list` has them.")],
    as_json: Json = False,
) -> None:
    """Say that files were seen to: deleted where they lay, or found to be nowhere. They are listed no more."""
    with open_database(find_location(location), "files") as database:
        done = database.transaction(partial(settle, file_ids=file_ids, by=getpass.getuser()))
    unknown = sorted(set(file_ids) - set(done))
    if as_json:
        out.print(json.dumps({"settled": done, "not_open": unknown}), markup=False, soft_wrap=True)
    elif done:
        out.print(f"{location}: settled {', '.join(map(str, done))}")
    if unknown:
        raise ConfigurationError(
            f"{', '.join(map(str, unknown))}: no such file is open; cath-dagster files list {location} has those that are"
        )


def _table(found: list[LeftFile]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("id", justify="right")
    for name in ("left", "of", "path", "why"):
        table.add_column(name, overflow="fold")
    for each in found:
        owner = f"{each.table} {each.row_key}".strip()
        cells = (f"{each.left_at:%Y-%m-%d}", owner, each.path, each.reason)
        table.add_row(str(each.file_id), *map(escape, cells))
    return table


def _plain(found: LeftFile) -> dict[str, object]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(found).items()}
