"""Doors of the house that nothing goes past, where the import contracts cannot see it. What is new is shut out until named."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "cath_dagster"


def sources(*folders: Path) -> Iterator[tuple[str, ast.Module]]:
    """Yield every module below the folders, by its path in the repository."""
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield str(path.relative_to(REPOSITORY)), ast.parse(path.read_text())


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


def test_nobody_outside_the_core_opens_a_database_but_by_its_resources() -> None:
    found = {name for name, tree in sources(PACKAGE) if opens_a_database(tree)}

    assert {name for name in found if not name.startswith("cath_dagster/core/")} == {
        "cath_dagster/adapters/environment.py",
        "cath_dagster/adapters/postgres.py",
        # Says where the instance's is.
        "cath_dagster/operations/resources.py",
    }


@pytest.mark.parametrize("text", ["resources.engine('x')", "Database(engine)", "sa.create_engine(url)"])
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
