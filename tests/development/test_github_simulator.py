"""GitHub's own client takes the one on loopback for GitHub: it seals for it, lists what is there, and is told what fails."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cath_dagster.development.simulators.github import GitHubServer
from tests.support.certificate import make_certificate
from tests.support.parts import find_program

pytestmark = pytest.mark.stack

PLACES = {"actions": (), "dependabot": ("--app", "dependabot"), "environment:production": ("--env", "production")}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHubServer]:
    _, context = make_certificate(tmp_path)
    with GitHubServer(tls=context) as started:
        started.add_repository("acme/shop", "production")
        yield started


def gh(server: GitHubServer, folder: Path, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    host = server.url.removeprefix("https://")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GH_HOST": host,
        "GH_NO_UPDATE_NOTIFIER": "1",
        "GH_ENTERPRISE_TOKEN": server.token,
        "SSL_CERT_FILE": str(folder / "certificate.pem"),
        "GH_REPO": f"{host}/acme/shop",
    }
    command = [str(find_program("gh", "gh")), *arguments]
    return subprocess.run(command, env=environ, input=given, capture_output=True, text=True, check=False)


def test_githubs_own_client_sets_lists_and_deletes_secrets(server: GitHubServer, tmp_path: Path) -> None:
    for place, options in PLACES.items():
        done = gh(server, tmp_path, "secret", "set", "API_KEY", *options, given=f"planted in {place}")
        assert (done.returncode, done.stderr) == (0, ""), place

    assert {place: server.values("acme/shop", place) for place in PLACES} == {
        place: {"API_KEY": f"planted in {place}".encode()} for place in PLACES
    }
    for place, options in PLACES.items():
        assert gh(server, tmp_path, "secret", "list", *options).stdout.startswith("API_KEY\t"), place
        assert gh(server, tmp_path, "secret", "delete", "API_KEY", *options).returncode == 0
        assert server.values("acme/shop", place) == {}


def test_githubs_own_client_follows_its_pages_and_reads_its_limits(server: GitHubServer, tmp_path: Path) -> None:
    for number in range(100):
        server.plant("acme/shop", "actions", f"N{number:03}", b"")

    pages = gh(server, tmp_path, "api", "--paginate", "/repos/acme/shop/actions/secrets", "--jq", ".secrets[].name")
    limits = gh(server, tmp_path, "api", "/rate_limit")
    refused = gh(server, tmp_path, "secret", "set", "ONE_MORE", given="planted")

    assert pages.stdout.split() == [f"N{number:03}" for number in range(100)]
    assert set(json.loads(limits.stdout)) == {"resources"}
    assert (refused.returncode, "HTTP 422" in refused.stderr) == (1, True)
