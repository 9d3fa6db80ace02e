"""Commands that services bring: the Typer app of each `<package>/commands.py` that there is."""

import importlib
from collections.abc import Iterator
from importlib.util import find_spec

import typer

from cath_dagster.registry import locations


def service_apps() -> Iterator[typer.Typer]:
    """Yield the app of every service that brings commands, to be mounted beside our own."""
    for location in locations():
        name = f"{location.package}.commands"
        if find_spec(name) is not None:
            app: typer.Typer = importlib.import_module(name).app
            yield app
