"""A service brings its own commands, and whoever starts the command line waits for no orchestrator that it does not need."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import typer

from cath_dagster.cli import mounting
from cath_dagster.cli.main import OWN, app
from cath_dagster.cli.mounting import service_apps
from cath_dagster.core.model.location import CodeLocation
from tests.support.command import call, environment

WITHOUT_DAGSTER = [
    ["--help"],
    ["governance", "--help"],
    ["health", "--help"],
    ["jobs", "--settings", "--json"],
    ["governance", "report", "--day", "no day"],
    ["run", "clear_audit"],
    ["plan", "data_governance"],
    ["restore", "8f7a"],
    ["ledger", "cath"],
    ["files", "list", "cath"],
    ["views", "drop", "cath"],
    ["roles", "sql", "cath", "--role", "jobs"],
    ["indexes", "build", "bon"],
    ["migrate", "bon"],
    ["doctor", "bon"],
]
PROGRAM = """
import contextlib, io, json, sys
from cath_dagster.cli.main import main

for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        main(arguments)
    loaded = sorted({name.partition(".")[0] for name in sys.modules if name.startswith("dagster")})
    assert not loaded, (arguments, loaded)
"""


def names_of(mounted: typer.Typer) -> list[str]:
    return sorted(typer.main.get_group(mounted).commands)


def test_every_command_has_a_name_of_its_own() -> None:
    brought = [name for each in (*(module.app for module in OWN), *service_apps()) for name in names_of(each)]

    assert [name for name, count in Counter(brought).items() if count > 1] == []
    assert names_of(app) == sorted(brought)


def test_a_service_s_commands_are_mounted_without_being_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brought_by_a_test").mkdir()
    (tmp_path / "brought_by_a_test" / "__init__.py").touch()
    (tmp_path / "brought_by_a_test" / "commands.py").write_text(
        "import typer\napp = typer.Typer()\n@app.command('greet')\ndef greet() -> None: print('hello')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    brings = CodeLocation(name="brings", package="brought_by_a_test")
    brings_none = CodeLocation(name="bon", package="cath_dagster.bon")
    monkeypatch.setattr(mounting, "locations", lambda: (brings, brings_none))

    (mounted,) = service_apps()

    assert [command.name for command in mounted.registered_commands] == ["greet"]


def test_people_find_the_services_commands_beside_ours() -> None:
    shown = call({}, "--help").stdout

    assert all(f" {name} " in shown for name in names_of(app))
    assert {"governance", "health", "run", "views"} <= set(names_of(app))


def test_a_command_that_needs_no_orchestrator_imports_none() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(WITHOUT_DAGSTER)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
