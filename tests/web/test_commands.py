"""`cath-dagster console` and `audit`: tokens made where there is no page, the log verified, settings told before anything starts."""

import json

import psycopg
import pytest

from cath_dagster.console.exits import FAILED, WRONG_USAGE
from tests.support.command import Done, call
from tests.web.world import World


def command(world: World, *arguments: str) -> Done:
    return call({"DAGSTER_POSTGRES_URL": world.instance.url}, *arguments)


def test_a_token_is_made_shown_once_used_listed_and_revoked(world: World) -> None:
    made = command(world, "console", "token", "create", "ci", "--role", "viewer", "--location", "cath", "--json")
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)
    assert set(token) == {"id", "name", "token"}

    bearer = {"Authorization": f"Bearer {token['token']}"}
    assert world.stranger.get("/api/v1/jobs", headers=bearer).status_code == 200
    listed = command(world, "console", "token", "list")
    assert "ci  viewer in cath  without an end  last used" in listed.stdout
    assert token["token"] not in listed.stdout + command(world, "console", "token", "list", "--json").stdout

    assert command(world, "console", "token", "revoke", "ci").returncode == 0
    assert world.stranger.get("/api/v1/jobs", headers=bearer).status_code == 401
    assert command(world, "console", "token", "revoke", "ci").returncode == FAILED
    (first, second) = world.ask("GET", "/api/v1/audit").json()["items"]
    assert first["actor"] == second["actor"]
    assert second["actor"].startswith("cli:")
    assert token["token"] not in json.dumps([first, second])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ci", "--role", "owner"], "there is no role 'owner'"),
        (["ci", "--role", "viewer", "--location", "kath"], "there is no code location kath"),
        (["a b", "--role", "viewer"], "a token is named by"),
    ],
)
def test_a_token_that_cannot_be_is_refused_by_name(world: World, arguments: list[str], says: str) -> None:
    done = command(world, "console", "token", "create", *arguments)

    assert (done.returncode, done.stdout) == (WRONG_USAGE, "")
    assert says in done.stderr


def test_the_log_is_verified_against_itself_and_against_a_head_that_was_kept(world: World) -> None:
    world.token(name="a")
    world.token(name="b")
    head = command(world, "audit", "head").stdout.strip()
    assert head.startswith("2:")
    assert "2 rows, each as it was written" in command(world, "audit", "verify", "--head", head).stdout

    connection: psycopg.Connection[object] = world.instance.connection
    connection.execute(
        "SET session_replication_role = replica; DELETE FROM operations.audit_log WHERE sequence = 2;"
        " RESET session_replication_role"
    )

    assert command(world, "audit", "verify").returncode == 0
    cut = command(world, "audit", "verify", "--head", head, "--json")
    assert cut.returncode == FAILED
    assert json.loads(cut.stdout)["fault"]["sequence"] == 2
    assert command(world, "audit", "verify", "--head", "x").returncode == WRONG_USAGE


def test_without_its_variables_nothing_starts_and_the_first_is_named() -> None:
    for arguments in (["console"], ["console", "token", "list"], ["audit", "verify"]):
        done = call({}, *arguments)
        assert done.returncode == WRONG_USAGE
        assert "DAGSTER_POSTGRES_URL not set" in done.stderr
    done = call({"DAGSTER_POSTGRES_URL": "postgresql://x/y"}, "console", "--port", "1")
    assert "CONSOLE_DAGSTER_URL not set" in done.stderr


def test_the_grants_are_printed_for_whoever_may_give_them() -> None:
    done = call({}, "console", "grants", "console reader")

    assert done.returncode == 0
    assert 'GRANT USAGE ON SCHEMA operations TO "console reader";' in done.stdout
    assert "audit_log" in done.stdout
