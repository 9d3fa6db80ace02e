"""BON's jobs under the one role that `migrate --role` gives what they need."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cath_dagster.bon import BON
from cath_dagster.cli.roles import Roles, give_roles
from cath_dagster.core.run.spec import load_specs
from tests.bon.bon import Bon
from tests.support.bon_work import prepare
from tests.support.roles import Role, role_in

pytestmark = pytest.mark.both_versions

NOT_ENTITLED = "42501"
JOBS = [spec.name for spec in load_specs(BON)]


@pytest.fixture
def role(bon: Bon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    for name, value in bon.environ.items():
        monkeypatch.setenv(name, value)
    with role_in(bon.url, bon.connection) as made:
        give_roles(BON, Roles(jobs=made.name, restore=None), now=datetime.now(UTC))
        yield made


def test_every_job_does_its_work(bon: Bon, role: Role) -> None:
    prepare(bon)
    limited = replace(bon, environ=bon.environ | {"BON_DATABASE_URL": role.url})

    results = {job: limited.run(job) for job in JOBS}

    assert {job: result.error for job, result in results.items()} == dict.fromkeys(JOBS)
    assert [job for job, result in results.items() if not any(each.changed for each in result.outcomes)] == []


def test_the_role_may_not_do_what_no_job_does(bon: Bon, role: Role) -> None:
    bon.connection.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.secret AS SELECT 'secret'")
    statements = (
        "SELECT * FROM elsewhere.secret",
        "DELETE FROM users",
        "UPDATE users SET email = ''",
        "DELETE FROM business_shaam_credentials",
        "INSERT INTO sessions SELECT * FROM sessions",
        "DELETE FROM shaam_audit_log",
        "UPDATE maintenance.ledger_event SET deleted = 0",
        "DELETE FROM maintenance.ledger_event",
        "TRUNCATE maintenance.deleted_key",
        "CREATE TABLE maintenance.mine (id int)",
    )

    refused = {statement: role.attempt(statement) for statement in statements}

    assert refused == dict.fromkeys(statements, NOT_ENTITLED)
