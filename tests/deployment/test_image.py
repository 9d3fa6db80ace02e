"""That the image is what its pods are promised: small, locked, without root, writing nowhere but to /tmp."""

import re
import shlex
from pathlib import Path

import pytest

from tests.deployment.values import ENVIRONMENTS, REPOSITORY, deployments, merged

INSTALLS = re.compile(r"\b(apt|apt-get|apk|gcc|build-essential|curl|wget|git)\b")
OURS = {"cath_dagster", "pyproject.toml", "README.md", "LICENSE", "requirements/azure.txt", "requirements/build.txt"}

Instruction = tuple[str, str]


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage, those before the first FROM left out."""
    text = re.sub(r"^\s*#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    found: list[list[Instruction]] = []
    for line in filter(None, map(str.strip, lines)):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest.strip()))
    return found


def said(name: str, stage: int = -1) -> list[str]:
    return [rest for instruction, rest in stages()[stage] if instruction == name]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in said("ENV") for pair in shlex.split(rest))


def test_the_base_image_is_named_once_by_a_tag_or_a_digest() -> None:
    (default,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)

    assert re.fullmatch(r"python:3\.11-slim-\w+(@sha256:[0-9a-f]{64})?", default)
    bases = {rest.split()[0] for stage in stages() for name, rest in stage if name == "FROM"}
    assert bases == {"${PYTHON_IMAGE}"}


def test_only_what_is_locked_with_its_hash_is_installed() -> None:
    fetching = [
        command
        for stage in stages()
        for name, rest in stage
        if name == "RUN"
        for command in rest.split("&&")
        if re.search(r"\bpip\b.*\b(install|wheel)\b", command) and "uninstall" not in command
    ]

    assert len(fetching) == 4
    for command in fetching:
        # The others take our own package, or wheels made before.
        assert "--no-deps" in command
        assert "--require-hashes" in command or "--no-index" in command or command.rstrip().endswith(" .")


@pytest.mark.parametrize("lock", ["azure", "build"])
def test_every_line_of_a_lock_has_its_hash(lock: str) -> None:
    text = (REPOSITORY / f"requirements/{lock}.txt").read_text()
    names = re.findall(r"^[a-z][\w.\-\[\]]*==", text, re.MULTILINE)

    assert len(re.findall(r"^[a-z][^\n]*\\\n\s+--hash=sha256:", text, re.MULTILINE)) == len(names) > 0


def test_no_compiler_and_no_system_package_comes_into_it() -> None:
    assert [rest for stage in range(len(stages())) for rest in said("RUN", stage) if INSTALLS.search(rest)] == []


def test_nothing_can_be_installed_in_a_running_container() -> None:
    assert any(rest.startswith("pip uninstall") for rest in said("RUN"))
    assert "--without-pip" in " ".join(said("RUN", 0))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_it_runs_as_the_user_that_the_values_demand(name: str) -> None:
    (user,) = said("USER")
    pods = [merged(name)["dagsterDaemon"], merged(name)["dagsterWebserver"], *deployments(merged(name)).values()]

    # By number, or Kubernetes cannot tell that it is not root.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    for pod in pods:
        security = pod["podSecurityContext"]
        assert user == f"{security['runAsUser']}:{security['runAsGroup']}"


def test_what_it_writes_goes_to_the_one_writable_place() -> None:
    told = environment()

    assert told["PYTHONDONTWRITEBYTECODE"] == "1"
    assert {Path(told[name]).parts[:2] for name in ("HOME", "MPLCONFIGDIR")} == {("/", "tmp")}
    for name in ENVIRONMENTS:
        pods = [merged(name)["dagsterDaemon"], merged(name)["dagsterWebserver"], *deployments(merged(name)).values()]
        assert {mount["mountPath"] for pod in pods for mount in pod["volumeMounts"]} == {"/tmp"}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_dagster_finds_its_home_where_the_chart_puts_it(name: str) -> None:
    assert environment()["DAGSTER_HOME"] == merged(name)["global"]["dagsterHome"]


def test_it_says_whether_it_is_well() -> None:
    (check,) = said("HEALTHCHECK")

    assert "grpc-health-check" in check


def test_nothing_is_copied_but_what_it_is_built_from() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copied = {word for rest in said("COPY", 0) for word in rest.split()[:-1]}

    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == OURS == copied
