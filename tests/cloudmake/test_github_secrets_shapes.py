"""Both shapes of the database, roles that may not do everything, and two runs at once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cath_dagster.cli.roles import Roles, give_roles
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.core.model.outcome import Status
from cath_dagster.development.simulators.github_repositories import Request
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.secrets import JOB, Secrets
from tests.support.roles import Role, role_in
from tests.support.waiting import PATIENCE_SECONDS

AS_THE_ORM_MAKES_IT = """
DROP TABLE secret_sync_events;
CREATE TABLE secret_sync_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    actor_id uuid NOT NULL REFERENCES users ON DELETE SET NULL, operation secret_sync_operation NOT NULL,
    secret_name varchar(100), affected_scopes text[] NOT NULL, status secret_sync_event_status NOT NULL,
    success_count integer NOT NULL DEFAULT 0, failure_count integer NOT NULL DEFAULT 0, error_message text,
    correlation_id uuid NOT NULL, duration_ms integer NOT NULL, metadata jsonb, created_at timestamp NOT NULL DEFAULT now()
);
ALTER TABLE secret_mappings ALTER last_synced_at TYPE timestamp, ALTER created_at TYPE timestamp,
    ALTER updated_at TYPE timestamp;
ALTER TABLE github_api_quotas ALTER reset_at TYPE timestamp, ALTER last_checked_at TYPE timestamp,
    ALTER updated_at TYPE timestamp, DROP CONSTRAINT github_api_quotas_project_id_quota_type_key;
ALTER TABLE secret_audit ALTER occurred_at TYPE timestamp
"""
AS_THE_MIGRATION_MAKES_IT = """
ALTER TABLE secret_audit DROP COLUMN secret_ref_hash, DROP COLUMN operation, DROP COLUMN origin CASCADE,
    DROP COLUMN actor_id, DROP COLUMN metadata, ADD COLUMN action text NOT NULL
"""


@pytest.fixture
def secrets(cloudmake: CloudMake) -> Iterator[Secrets]:
    with Secrets.open(cloudmake) as opened:
        shop = opened.add_project("shop", "production")
        opened.add(shop, "URL_PROD", "planted", "actions", "codespaces")
        yield opened


def test_a_database_of_the_services_orm_takes_the_same(secrets: Secrets) -> None:
    database = secrets.cloudmake
    database.connection.execute(AS_THE_ORM_MAKES_IT)
    project_id = database.value("SELECT id FROM projects")
    environment_id = database.add_environment(project_id, name="prod")

    without = secrets.sync()
    database.environ["CLOUDMAKE_SYSTEM_ACTOR_ID"] = "00000000-0000-0000-0000-000000000001"
    unknown = secrets.sync()
    user_id = database.add_user()
    database.environ["CLOUDMAKE_SYSTEM_ACTOR_ID"] = str(user_id)

    assert "CLOUDMAKE_SYSTEM_ACTOR_ID not set" in str(without.error)
    assert (unknown.status, "has to be the id of a user" in str(unknown.error)) == (Status.REFUSED, True)
    assert secrets.writes() == []
    assert secrets.synced() == {"synced": 3}
    assert secrets.synced() == {"skipped": 3}
    assert database.rows("SELECT last_synced_at, sync_status::text FROM secret_mappings") == [
        (database.as_of.replace(tzinfo=None), "synced")
    ]
    assert database.rows("SELECT DISTINCT actor_id, created_at FROM secret_sync_events") == [
        (user_id, database.as_of.replace(tzinfo=None))
    ]
    assert database.rows("SELECT environment_id, secret_name, operation, origin, actor_id FROM secret_audit") == [
        (environment_id, "URL", "update", "system", user_id)
    ]


def test_an_audit_of_the_services_migration_takes_what_it_has_columns_for(secrets: Secrets) -> None:
    database = secrets.cloudmake
    database.connection.execute(AS_THE_MIGRATION_MAKES_IT)
    database.add_environment(database.value("SELECT id FROM projects"), name="production")

    assert secrets.synced() == {"synced": 3}
    assert database.rows("SELECT secret_name, action FROM secret_audit") == [("URL", "update")]


def test_an_audit_that_wants_what_nobody_knows_refuses_the_run_with_the_statement(secrets: Secrets) -> None:
    secrets.cloudmake.connection.execute("ALTER TABLE secret_audit ADD COLUMN wanted text NOT NULL")

    result = secrets.sync()

    assert (result.status, secrets.github.requests) == (Status.REFUSED, [])
    assert "ALTER TABLE secret_audit ALTER COLUMN wanted DROP NOT NULL;" in str(result.error)


def test_the_partitions_of_this_month_and_the_next_are_made_once(secrets: Secrets) -> None:
    partitions = (
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'secret_sync_events'::regclass ORDER BY 1"
    )

    secrets.synced(dry_run=True)
    assert len(secrets.cloudmake.rows(partitions)) == 3
    secrets.synced()
    made = [name for (name,) in secrets.cloudmake.rows(partitions)]
    secrets.synced()

    assert made[3:] == ["secret_sync_events_2026_11", "secret_sync_events_2026_12"]
    assert len(secrets.cloudmake.rows(partitions)) == 5
    secrets.cloudmake.as_of = secrets.cloudmake.as_of.replace(month=12)
    secrets.synced()
    assert secrets.cloudmake.rows(partitions)[-1] == ("secret_sync_events_2027_01",)


def test_a_partition_of_another_name_or_a_default_one_serves_as_well(secrets: Secrets) -> None:
    secrets.cloudmake.connection.execute("CREATE TABLE other PARTITION OF secret_sync_events DEFAULT")

    secrets.synced()

    assert secrets.cloudmake.count("other") == 2


@pytest.fixture
def role(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    """Yield a role that has what the jobs need, and no more."""
    for name, value in secrets.cloudmake.environ.items():
        monkeypatch.setenv(name, value)
    with role_in(secrets.cloudmake.url, secrets.cloudmake.connection) as made:
        give_roles(CLOUDMAKE, Roles(jobs=made.name, restore=None), now=secrets.cloudmake.as_of)
        yield made


def test_a_role_that_may_not_make_partitions_is_refused_with_the_statements_and_works_once_they_are_there(
    secrets: Secrets, role: Role
) -> None:
    owner = secrets.cloudmake.connection
    limited = replace(secrets.cloudmake, environ=secrets.cloudmake.environ | {"CLOUDMAKE_DATABASE_URL": role.url})

    refused = limited.run(JOB)

    assert (refused.status, secrets.github.requests) == (Status.REFUSED, [])
    statements = str(refused.error).partition("as its owner: ")[2]
    assert statements.count("CREATE TABLE public.secret_sync_events_2026_1") == 2
    owner.execute(statements.encode())
    assert limited.run(JOB).error is None
    assert secrets.statuses() == {"URL_PROD": "synced"}


def test_two_runs_at_once_write_everything_once(secrets: Secrets) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if request.method == "PUT" and not inside.is_set():
            inside.set()
            assert go_on.wait(PATIENCE_SECONDS)

    secrets.github.before_answer = hold
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(secrets.sync)
        assert inside.wait(PATIENCE_SECONDS)
        second = secrets.sync()
        go_on.set()
        done = first.result(PATIENCE_SECONDS)

    assert (done.error, second.status) == (None, Status.REFUSED)
    assert "is at work already" in str(second.error)
    assert len(secrets.writes()) == 3
    assert secrets.synced() == {"skipped": 3}


def test_a_run_that_loses_its_lock_while_github_answers_writes_no_more_and_the_next_is_in_no_conflict(
    secrets: Secrets,
) -> None:
    session = secrets.cloudmake.connection
    end = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE '{JOB}%'"
    lock = f"hashtextextended('{CLOUDMAKE.name}/{JOB}', 0)"

    def take_over(request: Request) -> None:
        if request.method == "PUT":
            secrets.github.before_answer = lambda _: None
            session.execute(end.encode())
            session.execute(f"SELECT pg_advisory_lock({lock})".encode())

    secrets.github.before_answer = take_over
    result = secrets.sync()
    session.execute(f"SELECT pg_advisory_unlock({lock})".encode())

    assert (result.status, len(secrets.writes())) == (Status.FAILED, 1)
    assert "and with it the lock" in str(result.error)
    assert secrets.values("shop", "actions") == {"URL_PROD": "planted"}
    assert secrets.synced() == {"synced": 3}
    assert secrets.synced() == {"skipped": 3}


def test_scopes_that_are_nothing_or_stand_in_an_array_of_their_own_are_read_for_what_they_name(
    secrets: Secrets,
) -> None:
    connection = secrets.cloudmake.connection
    connection.execute("UPDATE secret_mappings SET target_scopes = ARRAY['actions', NULL, 'codespaces']")
    first = secrets.synced()
    connection.execute("UPDATE secret_mappings SET target_scopes = ARRAY[['codespaces', 'dependabot']]")

    assert (first, secrets.synced()) == ({"synced": 3}, {"synced": 1, "skipped": 3})


def test_an_owner_or_a_name_that_is_not_there_makes_no_repository(secrets: Secrets) -> None:
    secrets.github.add_repository("None/3")
    secrets.cloudmake.connection.execute(
        """UPDATE projects SET integrations = '{"github": {"owner": null, "repo": "3"}}'"""
    )

    result = secrets.sync()

    assert "has no GitHub repository" in str(result.error)
    assert secrets.writes() == []
