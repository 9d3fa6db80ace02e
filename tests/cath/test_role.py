"""CaTH's jobs under the role that `migrate --role` gives what they need: what it can do, and what it cannot."""

import shlex
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from cath_dagster.cath import CATH
from cath_dagster.cath.views import VIEWS
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.run.spec import load_specs
from tests.support.cli import problems, result_of
from tests.support.command import call
from tests.support.expired import leave_work
from tests.support.limited_role import give, limited
from tests.support.roles import Role, role_in
from tests.support.service import Service

pytestmark = pytest.mark.both_versions

NOT_ENTITLED = "42501"
JOBS = [spec.name for spec in load_specs(CATH)]
PURGES = [spec.name for spec in load_specs(CATH) if issubclass(spec.settings, PurgeSettings)]

PAST = (
    "UPDATE maintenance.ledger_event SET deleted = 0",
    "DELETE FROM maintenance.ledger_event",
    "TRUNCATE maintenance.ledger_event",
    "DROP TABLE maintenance.ledger_event CASCADE",
    "ALTER TABLE maintenance.ledger_event DROP COLUMN deleted",
    "ALTER TABLE maintenance.ledger_event DISABLE TRIGGER ALL",
    "CREATE RULE nothing AS ON INSERT TO maintenance.ledger_event DO INSTEAD NOTHING",
    "DELETE FROM maintenance.deleted_key",
    "UPDATE maintenance.deleted_key SET key = ''",
    "TRUNCATE maintenance.deleted_key",
    "DROP VIEW maintenance.purge_ledger",
    "DROP SCHEMA maintenance CASCADE",
    "UPDATE maintenance.archived_rows SET keep_until = 'infinity'",
    "UPDATE maintenance.alembic_version SET version_num = ''",
)
"""Statements that would change what the ledger says, or do away with it."""
UNNEEDED = (
    'UPDATE public."user" SET user_id = user_id WHERE false; INSERT INTO public."user" SELECT * FROM public."user"',
    "INSERT INTO public.subscription SELECT * FROM public.subscription",
    "UPDATE public.audit_log SET action = ''",
    "TRUNCATE public.audit_log",
    "DROP TABLE public.audit_log",
    "CREATE TABLE public.mine (id int)",
    "CREATE SCHEMA mine",
    "SELECT * FROM elsewhere.secret",
    "SELECT pg_read_file('PG_VERSION')",
    "COPY public.audit_log TO PROGRAM 'cat'",
    "CREATE ROLE another",
)
"""Statements that no job needs."""


@pytest.fixture
def role(service: Service) -> Iterator[Role]:
    """Yield the jobs' role, in a database to which PUBLIC may not even connect."""
    service.connection.execute(
        f"REVOKE ALL ON DATABASE {service.connection.info.dbname} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC"
    )
    with role_in(service.url, service.connection) as made:
        give(service, made)
        yield made


def prepare(service: Service) -> None:
    """Leave something to do for every job."""
    user = service.add_user("SSO", role="INTERNAL_ADMIN_CTSC", last_signed_in_date=service.days_ago(200))
    service.add_notification(service.add_subscription(user), created_at=service.days_ago(100))
    service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="99")
    warned = service.add_user(last_signed_in_date=service.days_ago(120))
    service.add_subscription(warned)
    artefact = service.add_artefact(display_to=service.days_ago(1))
    service.insert("artefact_search", id=f"{artefact} 1", artefact_id=artefact, case_name="A v B")
    unmatched = service.add_artefact(location_id="X", no_match=True, last_received_date=service.days_ago(8))
    service.insert(
        "ingestion_log", id=uuid.uuid4(), source_system="SNL", court_id="1", status="SUCCESS", artefact_id=unmatched,
        timestamp=service.days_ago(8),
    )  # fmt: skip
    service.add_application()
    leave_work(service)


def test_every_job_does_its_work(service: Service, role: Role) -> None:
    prepare(service)

    results = {job: limited(service, role).run(job) for job in JOBS}

    assert {job: (result.status, result.error) for job, result in results.items()} == dict.fromkeys(
        JOBS, (Status.SUCCESS, None)
    )
    idle = [job for job, result in results.items() if not any(outcome.changed for outcome in result.outcomes)]
    assert idle == []
    assert service.notify.sent != []


def test_every_job_does_its_work_a_second_time(service: Service, role: Role) -> None:
    prepare(service)
    for job in JOBS:
        limited(service, role).run(job)
    prepare(service)

    later = service.as_of + timedelta(days=30)
    results = [limited(service, role).run(job, as_of=later) for job in JOBS]

    assert [(result.job, result.error) for result in results] == [(job, None) for job in JOBS]


def test_the_weekly_report_deletes_what_it_has_reported(service: Service, role: Role) -> None:
    service.add_application(status="APPROVED", applied_date=service.days_ago(8))

    result = limited(service, role).run("media_reporting", delete_reported=True)

    assert result.error is None
    assert service.count("media_application") == 0


def test_the_role_owns_the_views_that_it_refreshes_and_nothing_else(service: Service, role: Role) -> None:
    limited(service, role).run("refresh_views")

    owned = service.rows(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND pg_get_userbyid(relowner) = %s",
        role.name,
    )

    assert {name for (name,) in owned} == {view.name for view in VIEWS}


def test_views_that_another_role_made_become_the_role_s_own(service: Service) -> None:
    service.run("refresh_views")
    with role_in(service.url, service.connection) as late:
        give(service, late)
        service.add_location(1)

        result = limited(service, late).run("refresh_views")

    assert result.error is None
    assert [outcome.updated for outcome in result.outcomes if outcome.target == "sdp_mat_view_location"] == [1]


def test_the_past_of_the_ledger_stands(service: Service, role: Role) -> None:
    prepare(service)
    limited(service, role).run("clear_audit", ledger_keys=True)
    events, keys = (f"SELECT * FROM maintenance.{table} ORDER BY 1" for table in ("ledger_event", "deleted_key"))
    before = service.rows(events), service.rows(keys)
    assert all(before)

    refused = {statement: role.attempt(statement) for statement in PAST}

    assert refused == dict.fromkeys(PAST, NOT_ENTITLED)
    assert (service.rows(events), service.rows(keys)) == before


def test_what_no_job_needs_is_refused(service: Service, role: Role) -> None:
    service.connection.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.secret AS SELECT 'secret'")

    refused = {statement: role.attempt(statement) for statement in UNNEEDED}

    assert refused == dict.fromkeys(UNNEEDED, NOT_ENTITLED)


def test_what_can_be_undone_is_archived_under_the_role_and_restored_under_one_of_its_own(
    service: Service, role: Role
) -> None:
    prepare(service)
    tables = ("subscription", "notification_audit_log", "artefact", "artefact_search", "ingestion_log")
    before = {table: service.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables}
    deleted = [limited(service, role).run(job) for job in ("subscriptions", "no_match_artefacts")]
    assert [result.error for result in deleted] == [None, None]

    with role_in(service.url, service.connection) as restorer:
        give(service, restore=restorer)
        done = [call(limited(service, restorer).environ, "restore", result.run_id, "--json") for result in deleted]

        assert [result_of(each)["error"] for each in done] == [None, None]
        assert {table: service.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables} == before
        assert restorer.attempt("DELETE FROM public.subscription") == NOT_ENTITLED
        assert restorer.attempt("DELETE FROM maintenance.ledger_event") == NOT_ENTITLED
    refused = call(limited(service, role).environ, "restore", deleted[0].run_id, "--json")
    assert "GRANT INSERT" in result_of(refused)["error"]


def test_a_job_whose_undo_is_switched_on_is_given_what_that_takes(service: Service, role: Role) -> None:
    prepare(service)
    for job in PURGES:
        settings = {
            f"CATH_{job.upper()}_UNDO_DAYS": "30",
            f"CATH_{job.upper()}_ARCHIVE_PERSONAL_DATA_BECAUSE": "the court asked for it",
        }
        switched_on = replace(service, environ=service.environ | settings)
        # What the job before was given for its undo is taken away.
        give(switched_on, role)

        result = limited(switched_on, role).run(job)

        assert (job, result.status, result.error) == (job, Status.SUCCESS, None)
        assert any(outcome.changed for outcome in result.outcomes), job


def test_a_switch_that_is_off_again_takes_away_what_it_took(service: Service, role: Role) -> None:
    switched_on = replace(service, environ=service.environ | {"CATH_CLEAR_AUDIT_UNDO_DAYS": "30"})
    lock = "SELECT * FROM public.audit_log FOR UPDATE"
    give(switched_on, role)
    assert role.attempt(lock) is None

    give(service, role)

    assert role.attempt(lock) == NOT_ENTITLED


@pytest.fixture
def later_partition(service: Service, role: Role) -> str:
    """Partition the audit log, give the role what it needs, add a partition with an expired row, and return its name."""
    service.connection.execute(
        """
        ALTER TABLE audit_log RENAME TO unpartitioned;
        CREATE TABLE audit_log (LIKE unpartitioned) PARTITION BY RANGE (timestamp);
        CREATE TABLE audit_log_1 PARTITION OF audit_log FOR VALUES FROM ('2020-01-01') TO ('2026-01-01');
        CREATE TABLE audit_log_2 PARTITION OF audit_log FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)
            PARTITION BY RANGE (timestamp);
        """
    )
    give(service, role)
    service.connection.execute('CREATE TABLE "Audit 3" PARTITION OF audit_log_2 DEFAULT')
    user = service.add_user()
    service.insert(
        "audit_log", id=uuid.uuid4(), user_id=user, user_email="", user_role="", user_provenance="", action="",
        timestamp=service.days_ago(100),
    )  # fmt: skip
    return "Audit 3"


def test_a_partition_that_was_added_later_is_refused_with_the_grant_that_helps(
    service: Service, role: Role, later_partition: str
) -> None:
    refused = limited(service, role).run("clear_audit", allow_large=True)
    error = refused.error or ""

    assert refused.status is Status.REFUSED
    assert f"table {later_partition}: {role.name} may not SELECT, DELETE in this partition of audit_log" in error
    assert error.count("audit_log") == 1, "what has its grants is named too"
    service.connection.execute(error[error.index("GRANT") :])
    done = limited(service, role).run("clear_audit", allow_large=True)
    assert (done.status, done.error) == (Status.SUCCESS, None)
    assert service.count("audit_log") == 0


def test_the_command_that_the_refusal_names_gives_a_later_partition_to_the_role(
    service: Service, role: Role, later_partition: str
) -> None:
    error = limited(service, role).run("clear_audit", allow_large=True).error or ""
    command = error.partition("cath-dagster ")[2].partition(",")[0]

    assert call(service.environ, *shlex.split(command)).returncode == 0

    assert limited(service, role).run("clear_audit", allow_large=True).error is None
    assert service.count(f'"{later_partition}"') == 0


def test_doctor_names_a_partition_that_was_added_later(service: Service, role: Role, later_partition: str) -> None:
    found = problems(limited(service, role).environ)

    assert list(found) == [f"table {later_partition}"]


def test_doctor_finds_no_problem_under_the_role(service: Service, role: Role) -> None:
    done = call(limited(service, role).environ, "doctor", "cath")

    assert done.returncode == 0, done.stdout
