"""What a run relies on stands on one page: each row with the test that holds it, the settings as the code has them."""

import ast
import re
from pathlib import Path

import pytest

from cath_dagster.core.postgres.session import PINS
from tests.support.assumptions import LEFT_ALONE, PAGE, rows, section

SETTINGS = "Settings of the session"
HANDLED = {"pinned", "checked", "refused", "pinned, or refused", "noted"}
TITLES = [title for title in re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE) if title != LEFT_ALONE]
TESTS = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE.read_text())))


def names_in(path: Path) -> set[str]:
    return {each.name for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("named", TESTS)
def test_a_test_that_the_page_names_exists(named: str) -> None:
    path, _, test = named.partition("::")

    assert (PAGE.parents[1] / path).is_file()
    assert not test or test in names_in(PAGE.parents[1] / path)


@pytest.mark.parametrize("title", [title for title in TITLES if title != SETTINGS])
def test_every_row_says_how_it_is_handled_and_by_which_test_it_is_held(title: str) -> None:
    found = rows(section(title))

    assert found != []
    assert [row for row in found if row[1] not in HANDLED] == []
    assert [row for row in found if not re.search(r"`tests/\S+\.py::test_\w+`", row[-1])] == []


def test_the_settings_are_those_of_the_code() -> None:
    listed = [(row[0], row[2], row[3]) for row in rows(section(SETTINGS))]

    assert listed == [
        (f"`{pin.name}`", "pinned, or refused" if pin.is_privileged else "pinned", pin.why) for pin in PINS
    ]
