"""What the doctor says of CloudMake itself: keys, time zones, what waits at providers, secrets in doubt, servers."""

import json

from psycopg import sql

from cath_dagster.cloudmake.findings import QUESTIONS
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.inspection.own_findings import Asked, Question
from cath_dagster.core.model.finding import Finding, Level
from tests.cloudmake.asking import ask
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import (
    NEW_KEY,
    OLD_KEY,
    OTHER_KEY,
    PLAINTEXT,
    add_metadata,
    add_signing_key,
    add_stored,
    set_keys,
)
from tests.support.command import call
from tests.support.roles import role_in


def wrong(found: list[Finding]) -> dict[str, tuple[str, str]]:
    """Return what is not in order, by subject, with what helps."""
    return {each.subject: (each.message, each.remedy or "") for each in found if each.level is not Level.OK}


def test_what_is_in_order_is_said_to_be(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, old=None)
    add_signing_key(cloudmake, days=12)
    add_stored(cloudmake, "new")

    found = ask(cloudmake)

    assert wrong(found) == {}
    said = {each.subject: each.message for each in found}
    assert "12 days old" in said["signing key"]
    assert said["values of stored_secret"].startswith("1 values are under the master key")


def test_values_are_told_by_the_key_that_they_are_under(cloudmake: CloudMake) -> None:
    set_keys(cloudmake)
    add_signing_key(cloudmake, days=1, key=OLD_KEY)
    add_signing_key(cloudmake, days=100, retired_days=1)
    lost = add_metadata(cloudmake, OTHER_KEY)

    found = wrong(ask(cloudmake))

    old, remedy = found["values of jwt_keys"]
    assert "1 values are under the master key" in old
    assert ", 1 under the old one" in old
    assert remedy == "cath-dagster run master_key_rotation --set confirm=true"
    neither, remedy = found["values of secrets_metadata"]
    assert str(lost) in neither
    assert "CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD" in remedy
    assert not any(secret in str(found) for secret in (NEW_KEY, OLD_KEY, OTHER_KEY, PLAINTEXT))


def test_an_old_key_that_nothing_is_under_may_go(cloudmake: CloudMake) -> None:
    set_keys(cloudmake)
    add_signing_key(cloudmake, days=1)

    (message, remedy) = wrong(ask(cloudmake))["master key"]

    assert "which is set still" in message
    assert remedy.startswith("remove CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD")


def test_without_an_active_key_or_with_two_the_run_that_helps_is_named(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, old=None)
    none = wrong(ask(cloudmake))["signing key"]
    for days in (1, 2):
        add_signing_key(cloudmake, days=days)
    two = wrong(ask(cloudmake))["signing key"]

    assert none == ("none is active, so that no token can be signed", "cath-dagster run jwt_key_rotation")
    assert two[0].startswith("2 are active")
    assert two[1].endswith("--set keep=KID")


def test_what_waits_is_in_doubt_or_does_not_answer_is_told(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, old=None)
    ids = {"environment_id": cloudmake.add_environment(), "project_id": (project := cloudmake.add_project())}
    for number, error in enumerate(("HTTP 500", None)):
        row = {"provider": "neon", "resource_id": f"br-{number}", "attempts": 0, "run_id": "x", "last_error": error}
        cloudmake.insert("maintenance.provider_cleanup", **ids, **row)
    state = {"project_id": project, "target": "actions", "name_at_target": "X", "run_id": "x"}
    at = cloudmake.ago(days=1)
    for name, status, pending in (("A", "written", None), ("B", "pending", at), ("C", "conflict", None)):
        row = {"secret_name": name, "status": status, "pending_since": pending, "status_since": at}
        cloudmake.insert("maintenance.secret_target", **state, **row)
    for _ in range(10):
        cloudmake.rows("SELECT maintenance.breaker_record('github', false, 'timeout')")
    cloudmake.rows("SELECT maintenance.breaker_record('neon', false, '401')")

    found = wrong(ask(cloudmake))

    assert "2 resources of archived previews" in found["previews at neon"][0]
    assert "HTTP 500" in found["previews at neon"][0]
    assert found["secrets at GitHub"][0].startswith(
        "3 are known, 1 of them in doubt since a write was cut short, 1 in conflict"
    )
    assert found["MCP server github"][0].startswith("has its breaker OPEN since 20")
    assert found["MCP server neon"][0].startswith("does not let us in (401 or 403) since 20")


def test_whose_sessions_are_in_another_zone_is_told_with_the_statement_that_helps(cloudmake: CloudMake) -> None:
    database = sql.Identifier(cloudmake.connection.info.dbname)
    cloudmake.connection.execute(sql.SQL("ALTER DATABASE {} SET timezone TO 'America/New_York'").format(database))
    with role_in(cloudmake.url, cloudmake.connection) as role:
        cloudmake.connection.execute(
            sql.SQL("ALTER ROLE {} IN DATABASE {} SET timezone TO 'Asia/Jerusalem'").format(
                sql.Identifier(role.name), database
            )
        )
        found = [each for each in ask(cloudmake, QUESTIONS[:1]) if each.level is Level.WARNING]
        for each in found:
            cloudmake.connection.execute(str(each.remedy).encode())
        after = ask(cloudmake, QUESTIONS[:1])

    assert sorted(each.message.split(" by default")[0].rpartition(" ")[2] for each in found) == [
        "America/New_York",
        "Asia/Jerusalem",
    ]
    assert [each.level for each in after] == [Level.OK]


def test_a_question_that_cannot_be_answered_keeps_none_from_being_asked(cloudmake: CloudMake) -> None:
    def refuse(asked: Asked) -> list[Finding]:
        raise MaintenanceError("nobody knows")

    def answer(asked: Asked) -> list[Finding]:
        return [Finding(subject="second", level=Level.OK, message="is well")]

    found = ask(cloudmake, [Question("first", refuse), Question("second", answer)])

    assert [(each.subject, each.level) for each in found] == [("first", Level.PROBLEM), ("second", Level.OK)]
    assert found[0].message == "cannot be told: nobody knows"


def test_the_doctor_asks_them_where_there_is_a_database_to_ask(cloudmake: CloudMake) -> None:
    cloudmake.connection.execute("DROP TABLE jwt_keys")
    with_tables = json.loads(call(cloudmake.environ, "doctor", "cloudmake", "--json").stdout)
    cloudmake.connection.execute("DROP SCHEMA maintenance CASCADE")
    without = json.loads(call(cloudmake.environ, "doctor", "cloudmake", "--json").stdout)

    said = {each["subject"]: each["says"] for each in with_tables}
    assert said["signing key"].startswith("cannot be told: ")
    assert "CLOUDMAKE_MASTER_ENCRYPTION_KEY not set" in said["master key"]
    assert said["MCP servers"] == "no breaker is open"
    levels = {each["subject"]: each["level"] for each in with_tables}
    assert levels["job mcp_load_test"] == "problem"
    assert levels["job run_migrations"] == "warning"
    assert "CLOUDMAKE_MIGRATIONS_PATH not set" in said["job run_migrations"]
    assert said["job secret_scan"] == "it has nothing to do while CLOUDMAKE_SCAN_PATH is not set"
    assert "MCP servers" not in {each["subject"] for each in without}


def test_a_key_that_is_too_short_is_told_and_not_shown(cloudmake: CloudMake) -> None:
    set_keys(cloudmake, "short" + "-key", None)

    message, _ = wrong(ask(cloudmake, QUESTIONS[1:2]))["master key"]

    assert "9 characters" in message
    assert "short-key" not in message
