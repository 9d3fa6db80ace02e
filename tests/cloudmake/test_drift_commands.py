"""`cath-dagster drift check`: exit codes for a pipeline, and one comment a pull request."""

import json
from collections.abc import Iterator

import pytest
from psycopg.types.json import Jsonb

from cath_dagster.cloudmake.drift.report import MARKER
from cath_dagster.development.simulators.github import GitHubServer
from tests.cloudmake.cloudmake import CloudMake
from tests.support.command import Done, call

REPOSITORY, NUMBER = "acme/shop", 7


@pytest.fixture
def github(cloudmake: CloudMake) -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        server.add_repository(REPOSITORY)
        cloudmake.environ["CLOUDMAKE_GITHUB_TOKEN"] = server.token
        cloudmake.environ["CLOUDMAKE_GITHUB_API_URL"] = server.url
        cloudmake.environ["CLOUDMAKE_GITHUB_REPOSITORY"] = REPOSITORY
        yield server


def check(cloudmake: CloudMake, *arguments: str) -> Done:
    return call(cloudmake.environ, "drift", "check", *arguments)


def drift(cloudmake: CloudMake, *names: str) -> None:
    for name in names:
        cloudmake.insert("design_tokens", name=name, category="color", value=Jsonb("#fff"), version=1)


def settle(cloudmake: CloudMake) -> None:
    cloudmake.connection.execute("DELETE FROM design_tokens")


def test_no_drift_ends_with_0_drift_with_1_and_nothing_is_kept(cloudmake: CloudMake) -> None:
    none = check(cloudmake)
    drift(cloudmake, "brand")
    found, allowed = check(cloudmake), check(cloudmake, "--no-gate")

    assert [done.returncode for done in (none, found, allowed)] == [0, 1, 0], none.stderr
    assert "spec:tokens: no drift, 0 declared" in none.stdout
    assert "added    token brand" in found.stdout
    assert "schema: skipped, CLOUDMAKE_MIGRATIONS_PATH not set" in found.stdout
    assert cloudmake.count("mcp_drift_snapshots") == 0


def test_what_cannot_be_read_ends_with_1_whatever_the_gate(cloudmake: CloudMake) -> None:
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = "/nowhere"

    done = check(cloudmake, "--no-gate")

    assert (done.returncode, "schema: CLOUDMAKE_MIGRATIONS_PATH" in done.stdout) == (1, True)


def test_json_has_it_all(cloudmake: CloudMake) -> None:
    drift(cloudmake, "brand")

    done = check(cloudmake, "--json", "--sources", "tokens")

    found = json.loads(done.stdout)
    assert (done.returncode, found["drift"], found["comment"], found["unreadable"]) == (1, True, None, {})
    assert found["readings"] == [
        {"server_name": "spec:tokens", "source": "tokens", "declared": 0, "added": ["token brand"], "removed": [], "changed": []}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sources", "colours"], "no source colours"),
        (["--pr", "7"], "CLOUDMAKE_GITHUB_REPOSITORY"),
        (["--pr", "0"], "--pr"),
    ],
)
def test_wrong_usage_ends_with_2(cloudmake: CloudMake, arguments: list[str], says: str) -> None:
    done = check(cloudmake, *arguments)

    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_without_a_database_the_other_sources_are_looked_at(cloudmake: CloudMake) -> None:
    del cloudmake.environ["CLOUDMAKE_DATABASE_URL"]

    done = check(cloudmake)

    assert (done.returncode, "nothing was compared" in done.stderr) == (1, True)
    assert "tokens: skipped, CLOUDMAKE_DATABASE_URL not set" in done.stdout


def test_a_database_without_our_schema_will_do(cloudmake: CloudMake) -> None:
    cloudmake.connection.execute("DROP SCHEMA maintenance CASCADE")

    assert check(cloudmake).returncode == 0


# The comment


def test_one_comment_is_written_edited_in_place_and_edited_to_none(cloudmake: CloudMake, github: GitHubServer) -> None:
    github.add_comment(REPOSITORY, NUMBER, "Looks good to me")
    said = [check(cloudmake, "--pr", str(NUMBER)).stdout.splitlines()[-1]]
    drift(cloudmake, "brand")
    said.append(check(cloudmake, "--pr", str(NUMBER)).stdout.splitlines()[-1])
    said.append(check(cloudmake, "--pr", str(NUMBER)).stdout.splitlines()[-1])
    drift(cloudmake, "accent")
    said.append(check(cloudmake, "--pr", str(NUMBER)).stdout.splitlines()[-1])
    _, second = github.comments(REPOSITORY, NUMBER)
    settle(cloudmake)
    last = check(cloudmake, "--pr", str(NUMBER))

    assert said == ["no comment needed", "comment written", "the comment says so already", "comment edited"]
    assert second.startswith(MARKER)
    assert "`token accent`, `token brand`" in second
    _, final = github.comments(REPOSITORY, NUMBER)
    assert (last.returncode, "None: what is there is what is declared" in final) == (0, True)
    assert [write.split()[0] for write in github.writes] == ["POST", "PATCH", "PATCH"]


def test_the_comment_is_found_behind_many_others(cloudmake: CloudMake, github: GitHubServer) -> None:
    drift(cloudmake, "brand")
    for number in range(150):
        github.add_comment(REPOSITORY, NUMBER, f"comment {number}")
    for _ in range(2):
        check(cloudmake, "--pr", str(NUMBER))

    assert sum(MARKER in comment for comment in github.comments(REPOSITORY, NUMBER)) == 1


def test_a_comment_that_quotes_ours_is_not_taken_for_it(cloudmake: CloudMake, github: GitHubServer) -> None:
    drift(cloudmake, "brand")
    github.add_comment(REPOSITORY, NUMBER, f"> {MARKER}\nwhat is this?")

    assert "comment written" in check(cloudmake, "--pr", str(NUMBER)).stdout


@pytest.mark.parametrize("has_drift", [True, False])
def test_a_token_that_may_not_comment_changes_no_exit_code_and_is_said(
    cloudmake: CloudMake, github: GitHubServer, has_drift: bool
) -> None:
    github.is_read_only = True
    github.add_comment(REPOSITORY, NUMBER, MARKER)
    if has_drift:
        drift(cloudmake, "brand")

    done = check(cloudmake, "--pr", str(NUMBER))

    assert done.returncode == has_drift
    assert f"not commented on {REPOSITORY}#{NUMBER}" in done.stdout
    assert github.token not in done.stdout + done.stderr


def test_no_token_at_all_is_said_too(cloudmake: CloudMake, github: GitHubServer) -> None:
    cloudmake.environ["CLOUDMAKE_GITHUB_TOKEN"] = ""

    done = check(cloudmake, "--pr", str(NUMBER), "--json")

    assert (done.returncode, "CLOUDMAKE_GITHUB_TOKEN" in json.loads(done.stdout)["comment"]) == (0, True)


def test_an_answer_that_was_lost_makes_no_second_comment(cloudmake: CloudMake, github: GitHubServer) -> None:
    drift(cloudmake, "brand")
    github.close_next(pattern="POST", is_done=True)
    lost = check(cloudmake, "--pr", str(NUMBER))

    again = check(cloudmake, "--pr", str(NUMBER))

    assert (lost.returncode, "not commented" in lost.stdout) == (1, True)
    assert "says so already" in again.stdout
    assert len(github.comments(REPOSITORY, NUMBER)) == 1


def test_names_can_neither_call_anybody_nor_break_the_comment_and_a_long_list_is_cut(
    cloudmake: CloudMake, github: GitHubServer
) -> None:
    drift(cloudmake, "`@everybody\n<b>", *(f"token {'x' * 300} {number}" for number in range(200)))

    check(cloudmake, "--pr", str(NUMBER))

    (comment,) = github.comments(REPOSITORY, NUMBER)
    assert "`token '@everybody <b>`" in comment
    assert "and 171 more" in comment
    assert len(comment) < 65_536


def test_what_cannot_be_read_is_in_the_comment_by_its_name_alone(cloudmake: CloudMake, github: GitHubServer) -> None:
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = "/planted/path"

    done = check(cloudmake, "--pr", str(NUMBER))

    (comment,) = github.comments(REPOSITORY, NUMBER)
    assert (done.returncode, "nobody knows: `schema`" in comment, "planted" in comment) == (1, True, False)
