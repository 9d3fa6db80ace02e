"""The hook for any repository: pre-commit runs it as its manifest says, and git's own ways to commit all go through it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cath_dagster.development.local import REPOSITORY
from tests.cloudmake.planted import Repository, github_token

MANIFEST = REPOSITORY / ".pre-commit-hooks.yaml"
PROGRAMS = Path(sys.executable).parent
TOKEN = github_token()


def manifest() -> list[dict[str, Any]]:
    hooks: list[dict[str, Any]] = yaml.safe_load(MANIFEST.read_text())
    return hooks


def test_our_own_hook_runs_what_the_manifest_offers() -> None:
    (ours,) = [
        hook
        for repo in yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
        if hook["id"] == "secrets"
    ]

    for hook in manifest():
        assert ours["entry"] == f".venv/bin/{hook['entry']}"
        assert (ours["stages"], ours["pass_filenames"]) == (hook["stages"], hook["pass_filenames"])


@pytest.mark.stack
def test_pre_commit_lets_no_secret_into_a_commit_of_another_repository(tmp_path: Path) -> None:
    repository = Repository.make(tmp_path / "other")
    (hook,) = [hook for hook in manifest() if hook["language"] == "system"]
    kept = {name: value for name, value in hook.items() if name != "stages"}
    repository.write(".pre-commit-config.yaml", yaml.safe_dump({"repos": [{"repo": "local", "hooks": [kept]}]}))
    variables = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "PRE_COMMIT_HOME": str(tmp_path / "home")}
    repository.commit(secret="nothing\n")
    for arguments in (("validate-manifest", str(MANIFEST)), ("install",)):
        _pre_commit(repository, variables, *arguments)
    repository.write("secret", f"{TOKEN}\n")

    all_changes = repository.git("commit", "-a", "-m", "second", check=False, variables=variables)
    one_file = repository.git("commit", "-m", "second", "secret", check=False, variables=variables)
    repository.write("secret", "nothing more\n")
    clean = repository.git("commit", "-a", "-m", "second", check=False, variables=variables)

    for said in (all_changes, one_file):
        assert said.startswith("1 ")
        assert "betterleaks.github-pat  secret:1" in said
        assert TOKEN[4:12] not in said
    assert clean.startswith("0 ")
    assert repository.git("log", "--format=%s") == "second\nchange"


def _pre_commit(repository: Repository, variables: dict[str, str], *arguments: str) -> None:
    environ = {**{name: value for name, value in os.environ.items() if not name.startswith("GIT_")}, **variables}
    command = [str(PROGRAMS / "pre-commit"), *arguments]
    done = subprocess.run(command, cwd=repository.path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
