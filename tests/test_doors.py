"""Doors of the house that nothing goes past, where the import contracts cannot see it. What is new is shut out until named."""

import ast
import gc
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "cath_dagster"


# One process parses the tree for all of them.
pytestmark = pytest.mark.xdist_group("doors")


@cache
def sources(folder: Path) -> list[tuple[str, ast.Module]]:
    """Return every module below a folder, by its path in the repository."""
    paths = sorted(folder.rglob("*.py"))
    # Trees stay as long as the process: to look through them for garbage takes longer than to parse.
    gc.disable()
    try:
        return [(str(path.relative_to(REPOSITORY)), ast.parse(path.read_text())) for path in paths]
    finally:
        gc.freeze()
        gc.enable()


def calls(tree: ast.Module) -> Iterator[str]:
    """Yield the last name of everything that a module calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                yield function.attr
            elif isinstance(function, ast.Name):
                yield function.id


# One way to a database


def opens_a_database(tree: ast.Module) -> bool:
    return not {"engine", "open_engine", "create_engine", "dispose", "Database"}.isdisjoint(calls(tree))


def test_nobody_outside_the_core_opens_a_database_but_by_its_backends() -> None:
    found = {name for name, tree in sources(PACKAGE) if opens_a_database(tree)}

    assert {name for name in found if not name.startswith("cath_dagster/core/")} == {
        "cath_dagster/adapters/environment.py",
        "cath_dagster/adapters/postgres.py",
        # Runs of every location are recorded in the instance's, beside their own.
        "cath_dagster/adapters/history_writer.py",
        # Says where the instance's is.
        "cath_dagster/operations/backends.py",
    }


@pytest.mark.parametrize("text", ["backends.engine('x')", "Database(engine)", "sa.create_engine(url)"])
def test_who_would_open_one_past_it_is_seen(text: str) -> None:
    assert opens_a_database(ast.parse(text))


# One envelope around a run


def test_nobody_runs_a_job_without_its_envelope() -> None:
    runs = {
        name
        for name, tree in sources(PACKAGE)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cath_dagster.core.run.")
        if "execute" in {each.name for each in node.names}
    }

    assert runs == {"cath_dagster/adapters/envelope.py"}


# One door to what Dagster keeps private

PRIVATE = re.compile(r"dagster\w*\._|dagster_shared\b")
DAGSTERS = {"dg", "dagster", "instance"}
INTERNALS = (
    "cath_dagster/orchestration/internals/",
    "tests/support/dagster_internals.py",
    # Names the programs of Dagster's that it starts, by the modules that they import.
    "tests/support/warm.py",
)


def private_parts(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports or reaches for that Dagster gives no public name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (name for each in node.names if PRIVATE.match(name := f"{node.module}.{each.name}"))
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names if PRIVATE.match(each.name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and PRIVATE.match(node.value):
            yield node.value  # a name that is patched or imported by its text
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = ast.unparse(node.value).rpartition(".")[2]
            yield from (f"{owner}.{node.attr}" for _ in [0] if owner in DAGSTERS)


def test_nobody_reaches_into_dagster_past_its_door() -> None:
    past = {
        (name, part)
        for folder in (PACKAGE, REPOSITORY / "tests", REPOSITORY / "benchmarks")
        for name, tree in sources(folder)
        if not name.startswith(INTERNALS) and name != "tests/test_doors.py"
        for part in private_parts(tree)
    }

    assert past == set()


def test_nothing_else_of_ours_reaches_for_another_object_s_private_parts() -> None:
    """Ruff's SLF001 says so of each; this says that nobody silences it."""
    silenced = {name for name, _ in sources(PACKAGE) if "SLF001" in (REPOSITORY / name).read_text()}

    assert {name for name in silenced if not name.startswith(INTERNALS)} == set()


@pytest.mark.parametrize(
    "text",
    [
        "from dagster._core.errors import DagsterError",
        "import dagster._core",
        "from dagster import _check",
        "from dagster_postgres._core import x",
        "from dagster_shared.error import x",
        "monkeypatch.setattr('dagster._time.get_current_datetime', now)",
        "dg._core.errors",
        "context.instance._event_storage",
    ],
)
def test_who_would_reach_past_it_is_seen(text: str) -> None:
    assert list(private_parts(ast.parse(text)))


# Types of ours are imported as they are


def test_what_is_imported_for_types_alone_is_heavy_and_of_others() -> None:
    blocks = [
        (name, block)
        for name, tree in sources(PACKAGE)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
    ]
    ours = {name for name, block in blocks if f"{PACKAGE.name}" in ast.unparse(block)}
    unreasoned = {name for name, block in blocks if not reason_at(name, block.lineno + 1)}

    assert (ours, unreasoned) == (set(), set())


def reason_at(name: str, line: int) -> bool:
    return (REPOSITORY / name).read_text().splitlines()[line - 1].strip().startswith("# ")


# Contracts that fail closed

CONFIGURATION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
FORBIDDEN = [each for each in CONFIGURATION["tool"]["importlinter"]["contracts"] if each["type"] == "forbidden"]
SHUT_OUT = {
    "dagster": "bon/fresh.py",
    "opentelemetry": "adapters/fresh.py",
    "requests": "cli/fresh.py",
    "typer": "bon/fresh.py",
}


@pytest.mark.parametrize("contract", FORBIDDEN, ids=lambda contract: str(contract["name"]))
def test_a_contract_holds_for_modules_that_are_not_written_yet(contract: dict[str, Any]) -> None:
    assert contract["source_modules"] == [PACKAGE.name]
    assert contract["unmatched_ignore_imports_alerting"] == "error"


def test_the_contract_on_dagster_names_every_part_of_it_that_is_installed() -> None:
    installed = {name for name in packages_distributions() if re.match(r"dagster(_\w+)?$", name)}
    (contract,) = (each for each in FORBIDDEN if "dagster" in each["forbidden_modules"])

    assert installed <= set(contract["forbidden_modules"])


def test_a_new_module_is_shut_out_until_it_is_let_in(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for library, name in SHUT_OUT.items():
        with (tmp_path / PACKAGE.name / name).open("a") as module:
            module.write(f"import {library}\n")

    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    for library, name in SHUT_OUT.items():
        assert f"{PACKAGE.name}.{name.removesuffix('.py').replace('/', '.')} -> {library} " in done.stdout
