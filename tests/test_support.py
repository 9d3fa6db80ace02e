"""What tests share is in `tests/support`: no test module is imported by another."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_test_module_is_imported_by_another() -> None:
    modules = {
        path.relative_to(TESTS.parent).with_suffix("").as_posix().replace("/", ".") for path in TESTS.rglob("test_*.py")
    }

    found = {(str(path), name) for path in TESTS.rglob("*.py") for name in imported(path) if name in modules}

    assert found == set()


FIXED_ROLE = re.compile(r"CREATE ROLE (?!\{|\"|another\"|careful )\w+")
"""A role's name in a statement: not a placeholder, not what must be refused, not one on a server of its own."""


def test_no_role_has_a_fixed_name() -> None:
    """Roles belong to the server, which the workers share: two tests that make one of the same name fail by turns."""
    found = {(str(path), name) for path in TESTS.rglob("*.py") for name in FIXED_ROLE.findall(path.read_text())}

    assert found == set()
