"""That what the runbook tells an operator to type is there."""

import re
import shlex

import pytest
from typer.main import get_command

from cath_dagster.cli.main import app
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.core.run.spec import load_specs
from tests.deployment.values import ENVIRONMENTS, REPOSITORY
from tests.support.chart import of, render

RUNBOOK = (REPOSITORY / "docs/runbook.md").read_text()
CALLS = re.findall(
    r"(?:^|`)(?:CATH_DATABASE_URL=… )?(?:cath(?:-dagster)?|cloudmake) ([a-z][^`\n]+)", RUNBOOK, re.MULTILINE
)


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


def test_the_jobs_settings_and_variables_of_cloudmake_are_there() -> None:
    specs = {spec.name: spec for spec in load_specs(CLOUDMAKE)}
    runs = [words for call in CALLS if (words := shlex.split(call, comments=True))[0] in {"run", "plan"}]
    told = {(words[1], word.partition("=")[0]) for words in runs for word in words if "=" in word and words[1] in specs}
    readme = (REPOSITORY / "README.md").read_text()
    ours = set(re.findall(r"CLOUDMAKE_[A-Z_]+[A-Z]", RUNBOOK))

    assert {"jwt_key_rotation", "master_key_rotation", "github_secrets_sync", "run_migrations"} <= {
        words[1] for words in runs
    }
    assert [(job, name) for job, name in told if name not in specs[job].settings.model_fields] == []
    assert {name for name in ours if name.removesuffix("_OLD") not in readme} == {"CLOUDMAKE_SCHEDULES"}


def test_the_deployments_have_these_names() -> None:
    named = set(re.findall(r"deploy/([\w-]+)", RUNBOOK))

    assert named <= set(of(render("production"), "Deployment"))
