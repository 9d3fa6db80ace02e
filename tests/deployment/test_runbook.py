"""That what the runbook tells an operator to type is there."""

import re
import shlex

import pytest
from typer.main import get_command

from cath_dagster.cli.main import app
from tests.deployment.values import ENVIRONMENTS, REPOSITORY
from tests.support.chart import of, render

RUNBOOK = (REPOSITORY / "docs/runbook.md").read_text()
CALLS = re.findall(r"(?:^|`)(?:CATH_DATABASE_URL=… )?cath(?:-dagster)? ([a-z][^`\n]+)", RUNBOOK, re.MULTILINE)


@pytest.mark.parametrize("call", sorted(set(CALLS)))
def test_a_command_exists(call: str) -> None:
    command = get_command(app)
    words = shlex.split(call, comments=True)
    context = command.make_context("cath-dagster", [words[0], "--help"], resilient_parsing=True)
    found = command.get_command(context, words[0])  # type: ignore[attr-defined]
    assert found is not None
    if hasattr(found, "get_command"):
        found = found.get_command(context, words[1])

    assert found is not None
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_commands_were_found() -> None:
    found = {call.partition("#")[0].strip() for call in CALLS}

    assert {"views drop", "plan clear_audit", "doctor cath"} <= found
    assert any(call.startswith("migrate cath --role ") for call in found)


def test_the_files_are_there() -> None:
    named = set(re.findall(r"helm-values/[\w./$-]+", RUNBOOK))
    expanded = {name.replace("$ENV", environment) for name in named for environment in ENVIRONMENTS}

    assert len(named) > 5
    assert [name for name in sorted(expanded) if not (REPOSITORY / name.rstrip(".")).exists()] == []


def test_the_deployments_have_these_names() -> None:
    named = set(re.findall(r"deploy/([\w-]+)", RUNBOOK))

    assert named <= set(of(render("production"), "Deployment"))
