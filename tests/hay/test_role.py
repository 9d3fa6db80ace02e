"""Hay's jobs under the one role that `migrate --role` gives what they need, and no more."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cath_dagster.cli.roles import Roles, give_roles
from cath_dagster.core.run.spec import load_specs
from cath_dagster.hay import HAY
from tests.hay.hay import Hay
from tests.hay.work import leave_work
from tests.support.roles import Role, role_in

pytestmark = pytest.mark.both_versions

NOT_ENTITLED = "42501"
JOBS = [spec.name for spec in load_specs(HAY)]
WATCHES = {"orchestrator_watch"}


@pytest.fixture
def role(hay: Hay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    for name, value in hay.environ.items():
        monkeypatch.setenv(name, value)
    with role_in(hay.url, hay.connection) as made:
        give_roles(HAY, Roles(jobs=made.name, restore=None), now=datetime.now(UTC))
        yield made


def test_every_job_does_its_work_and_the_role_may_do_nothing_else(hay: Hay, role: Role) -> None:
    leave_work(hay)
    limited = replace(hay, environ=hay.environ | {"HAY_DATABASE_URL": role.url})

    results = {job: limited.run(job) for job in JOBS}

    assert {job: result.error for job, result in results.items()} == dict.fromkeys(JOBS)
    idle = {job for job, result in results.items() if not any(each.changed for each in result.outcomes)}
    assert idle == WATCHES
    assert limited.run("cleanup_old_privacy_requests", mode="delete").error is None
    statements = (
        "DELETE FROM conversations",
        "DELETE FROM customers",
        "SELECT * FROM customers",
        "UPDATE users SET email = ''",
        "UPDATE organizations SET settings = NULL",
        "INSERT INTO messages SELECT * FROM messages",
        "DELETE FROM plugin_instances",
        "DELETE FROM documents",
        "UPDATE plugin_registry SET status = ''",
        "INSERT INTO jobs SELECT * FROM jobs",
        "UPDATE maintenance.hay_audit_log_archive SET action = ''",
        "DELETE FROM maintenance.hay_daily_analytics",
        "INSERT INTO maintenance.dpop_token VALUES ('x', now())",
        "DELETE FROM maintenance.ledger_event",
    )
    assert {statement: role.attempt(statement) for statement in statements} == dict.fromkeys(statements, NOT_ENTITLED)
