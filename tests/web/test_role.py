"""The console under the role that `cath-dagster console grants` describes: all of its work, and nothing else."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_pool
from cath_dagster.web.grants import write_grants
from cath_dagster.web.rights import Role
from cath_dagster.web.tables import METADATA
from tests.support.roles import Role as DatabaseRole
from tests.support.roles import role_in
from tests.web.approving import SHOWN, decide, looks_find, request
from tests.web.world import SIGN_IN_CODE, World, open_world

NOT_ENTITLED = "42501"
ADD_HISTORY = (
    "INSERT INTO operations.scheduled_job_history (location, job, trigger, started_at, status)"
    " VALUES ('cath', 'clear_audit', 'api', now(), 'success')"
)


@pytest.fixture
def limited(world: World) -> Iterator[tuple[World, DatabaseRole]]:
    """Yield a console whose database role has what it is granted, on tables that somebody else owns."""
    instance = world.instance
    with role_in(instance.url, instance.connection) as role:
        for statement in write_grants(role.name):
            instance.connection.execute(statement)
        with (
            open_pool(role.url, variable="URL", application_name="console", size=5) as engine,
            open_world(instance, engine) as opened,
        ):
            # Rows are left by others, such as runs: not by the console's own role.
            opened.add_history = world.add_history  # type: ignore[method-assign]
            opened.add_job = world.add_job  # type: ignore[method-assign]
            yield opened, role


def test_all_of_the_console_s_work_is_done_under_its_own_role(limited: tuple[World, DatabaseRole]) -> None:
    world, _ = limited
    looks_find(world, SHOWN)
    job, until = "/api/v1/jobs/cath/clear_audit", (world.now + timedelta(hours=1)).isoformat()
    run_id = world.add_history(status="refused", outcomes=SHOWN)
    world.add_job("gone", registered=False)
    bearer = {"Authorization": f"Bearer {world.token(Role.VIEWER)}"}

    statuses = [
        *(world.ask("GET", path).status_code for path in (
            "/readyz", "/metrics", "/api/v1/jobs", job, "/api/v1/runs", "/api/v1/audit", "/api/v1/alerts",
            "/api/v1/forecast", "/api/v1/tokens",
        )),
        world.stranger.get("/api/v1/jobs", headers=bearer).status_code,
        world.local.get(f"/sign-in?code={SIGN_IN_CODE}").status_code - 103,
        world.ask("PUT", f"{job}/hold", json={"reason": "r", "until": until}).status_code,
        world.ask("PUT", f"{job}/hold", json={"reason": "s", "until": until}).status_code,
        world.ask("DELETE", f"{job}/hold").status_code,
        world.ask("PUT", f"{job}/enabled", json={"enabled": False}).status_code,
        decide(world, request(world, run_id).json()["id"]).status_code,
        world.ask("POST", "/api/v1/jobs/cath/subscriptions/runs", json={}, headers={"Idempotency-Key": "k"}).status_code - 2,
        world.ask("DELETE", "/api/v1/tokens/ci").status_code - 4,
        world.ask("DELETE", "/api/v1/jobs/cath/gone").status_code - 4,
    ]  # fmt: skip

    assert statuses == [200] * len(statuses)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE operations.audit_log SET actor = 'eve'",
        "DELETE FROM operations.audit_log",
        "TRUNCATE operations.audit_log",
        "ALTER TABLE operations.audit_log DISABLE TRIGGER link",
        "INSERT INTO operations.audit_log (sequence, actor, origin, action, result) VALUES (1, 'a', '', 'run', 'done')",
        "INSERT INTO operations.audit_log (actor, origin, action, result, hash) VALUES ('a', '', 'run', 'done', 'x')",
        "INSERT INTO operations.audit_log (actor, origin, action, result, at) VALUES ('a', '', 'run', 'done', now())",
        "UPDATE operations.console_token SET role = 'admin'",
        "UPDATE operations.console_token SET secret_hash = ''",
        "UPDATE operations.approval SET counts = '{}'",
        "UPDATE operations.approval SET requested_by = 'eve'",
        "UPDATE operations.scheduled_job SET total_failures = 0",
        "DELETE FROM operations.scheduled_job_history",
        ADD_HISTORY,
        "DELETE FROM public.runs",
        "SELECT * FROM public.event_logs",
        "SELECT * FROM public.kvs",
        "UPDATE maintenance.alert SET title = ''",
        "SELECT * FROM maintenance.ledger_event",
        "CREATE TABLE operations.mine ()",
        "CREATE TABLE maintenance.mine ()",
    ],
)
def test_what_is_past_is_not_the_console_s_to_change_and_the_rest_not_to_read(
    limited: tuple[World, DatabaseRole], statement: str
) -> None:
    _, role = limited

    assert role.attempt(statement) == NOT_ENTITLED


def test_the_tables_are_as_the_migration_makes_them(world: World) -> None:
    found = sa.inspect(world.console.engine)
    for table in METADATA.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name, "operations")}
        assert columns == {column.name: column.nullable for column in table.c}
