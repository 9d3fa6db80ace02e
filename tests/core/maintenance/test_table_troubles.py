"""What tables have against a job: rows hidden by a policy, changes that a publication forbids, claims that a crash takes."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.inspection.diagnosis import diagnose
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.spec import load_specs
from tests.bon.bon import Bon
from tests.support.cli import result_of
from tests.support.command import call
from tests.support.limited_role import give, limited
from tests.support.maintained import Maintained, outcome
from tests.support.roles import Role, role_in
from tests.support.service import Service

HIDE = "ALTER TABLE {} ENABLE ROW LEVEL SECURITY"


@pytest.fixture
def role(service: Service) -> Iterator[Role]:
    """Yield the jobs' role, with what it needs."""
    with role_in(service.url, service.connection) as made:
        give(service, made)
        yield made


def add_log(service: Service, days: float = 200) -> None:
    service.insert(
        "ingestion_log", id=uuid.uuid4(), source_system="A", court_id="1", status="SUCCESS",
        timestamp=service.days_ago(days),
    )  # fmt: skip


def findings(service: Maintained) -> list[Finding]:
    """Return what a doctor finds in the database that a location's environment names."""
    url = service.environ[f"{service.location.prefix}_DATABASE_URL"]
    engine = open_engine(url, variable="DATABASE_URL", application_name="doctor")
    with engine.connect() as connection:
        return list(diagnose(connection, service.location, load_specs(service.location)))


def problems(service: Maintained) -> dict[str, Finding]:
    return {each.subject: each for each in findings(service) if each.level is Level.PROBLEM}


def both(service: Maintained, job: str) -> tuple[RunResult, RunResult]:
    """Return a dry run and a run, which must be of one opinion."""
    return service.run(job, dry_run=True), service.run(job)


# Hidden rows


def test_a_purge_of_which_a_policy_hides_rows_is_refused(service: Service, role: Role) -> None:
    add_log(service)
    service.connection.execute(
        f"{HIDE.format('ingestion_log')}; CREATE POLICY half ON ingestion_log USING (court_id = 2::text)"
    )
    seen = limited(service, role)

    plan, done = both(seen, "clear_audit")

    assert done.status is Status.REFUSED
    for said in (plan.would_refuse, done.error, str(problems(seen)["table ingestion_log"])):
        assert f"row-level security may hide rows of it from {role.name}" in (said or "")
        assert f'ALTER ROLE "{role.name}" BYPASSRLS;' in (said or "")
    assert service.count("ingestion_log") == 1


def test_the_remedy_lets_the_purge_go_on(service: Service, role: Role) -> None:
    add_log(service)
    service.connection.execute(HIDE.format("ingestion_log"))
    error = limited(service, role).run("clear_audit").error or ""

    service.connection.execute(error.rpartition("as a superuser: ")[2])

    assert outcome(limited(service, role).run("clear_audit"), "ingestion_log").deleted == 1
    assert problems(limited(service, role)) == {}


def test_a_policy_that_is_forced_on_the_owner_hides_rows_from_the_owner(service: Service, role: Role) -> None:
    add_log(service)
    service.connection.execute(
        f'ALTER TABLE ingestion_log OWNER TO "{role.name}"; {HIDE.format("ingestion_log")};'
        "ALTER TABLE ingestion_log FORCE ROW LEVEL SECURITY"
    )
    seen = limited(service, role)

    done = seen.run("clear_audit")

    assert done.status is Status.REFUSED
    assert "ALTER TABLE public.ingestion_log NO FORCE ROW LEVEL SECURITY" in (done.error or "")
    assert "table ingestion_log" in problems(seen)


def test_a_policy_that_does_not_concern_the_owner_changes_nothing(service: Service, role: Role) -> None:
    add_log(service)
    service.connection.execute(f'ALTER TABLE ingestion_log OWNER TO "{role.name}"; {HIDE.format("ingestion_log")}')

    assert outcome(limited(service, role).run("clear_audit"), "ingestion_log").deleted == 1


def test_a_child_whose_rows_are_hidden_refuses_the_purge_of_its_parents(service: Service, role: Role) -> None:
    orphan = service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="99")
    service.add_notification(orphan)
    service.connection.execute(HIDE.format("notification_audit_log"))

    plan, done = both(limited(service, role), "subscriptions")

    assert done.status is Status.REFUSED
    assert "table notification_audit_log: row-level security" in (plan.would_refuse or "")
    assert service.count("subscription") == 1


@pytest.mark.parametrize(
    ("job", "table"),
    [("subscriptions", "location"), ("no_match_artefacts", "location"), ("media_reporting", "media_application"),
     ("refresh_views", "artefact")],
)  # fmt: skip
def test_a_table_that_is_only_read_refuses_a_job_as_well(service: Service, role: Role, job: str, table: str) -> None:
    service.connection.execute(HIDE.format(table))
    seen = limited(service, role)

    plan, done = both(seen, job)

    assert done.status is Status.REFUSED
    assert f"table {table}: row-level security" in (done.error or "")
    assert plan.would_refuse == done.error
    assert f"table {table}" in problems(seen)


def test_a_table_whose_purge_is_switched_off_refuses_nothing(service: Service, role: Role) -> None:
    add_log(service)
    service.connection.execute(HIDE.format("audit_log"))

    done = limited(service, role).run("clear_audit", audit_log_enabled=False)

    assert (done.error, outcome(done, "ingestion_log").deleted) == (None, 1)


def test_a_partition_of_its_own_policy_refuses_the_purge(service: Service, role: Role) -> None:
    service.connection.execute(
        "ALTER TABLE ingestion_log RENAME TO unpartitioned;"
        "CREATE TABLE ingestion_log (LIKE unpartitioned) PARTITION BY RANGE (timestamp);"
        "CREATE TABLE later PARTITION OF ingestion_log DEFAULT;" + HIDE.format("later")
    )
    give(service, role)
    service.connection.execute(f'ALTER ROLE "{role.name}" NOBYPASSRLS')

    done = limited(service, role).run("clear_audit")

    assert done.status is Status.REFUSED
    assert "table later: row-level security" in (done.error or "")


def test_our_own_notices_must_not_be_hidden(service: Service, role: Role) -> None:
    service.connection.execute(HIDE.format("maintenance.sent_notice"))

    assert limited(service, role).run("inactive_verification").status is Status.REFUSED
    assert "table sent_notice" in problems(limited(service, role))


def test_a_restore_into_a_table_of_which_rows_are_hidden_is_refused(service: Service, role: Role) -> None:
    service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="99")
    deleted = limited(service, role).run("subscriptions")
    service.connection.execute(HIDE.format("subscription"))
    with role_in(service.url, service.connection) as restorer:
        give(service, restore=restorer)
        service.connection.execute(f'ALTER ROLE "{restorer.name}" NOBYPASSRLS')

        refused = call(limited(service, restorer).environ, "restore", deleted.run_id, "--json")

        assert f'ALTER ROLE "{restorer.name}" BYPASSRLS;' in result_of(refused)["error"]
    assert service.count("subscription") == 0


def test_a_reader_of_one_row_is_told_that_rows_are_hidden(service: Service, role: Role) -> None:
    service.connection.execute(HIDE.format("ingestion_log"))

    told = call(limited(service, role).environ, "explain", "ingestion_log", str(uuid.uuid4()), "cath")

    assert told.returncode != 0
    assert "BYPASSRLS" in told.stderr + told.stdout
    assert "Traceback" not in told.stderr


# Changes that a publication forbids


@pytest.mark.parametrize(
    ("identity", "publication"),
    [
        ("NOTHING", "FOR ALL TABLES"),
        ("NOTHING", "FOR TABLE ingestion_log"),
        ("NOTHING", "FOR TABLES IN SCHEMA public"),
        ("DEFAULT", "FOR TABLE ingestion_log WHERE (status = 'SUCCESS')"),
    ],
)
def test_a_delete_that_a_publication_forbids_is_refused_before_it_is_tried(
    service: Service, identity: str, publication: str
) -> None:
    add_log(service)
    service.connection.execute(
        f"ALTER TABLE ingestion_log REPLICA IDENTITY {identity}; CREATE PUBLICATION changes {publication}"
    )
    with pytest.raises(psycopg.Error, match="cannot delete"):
        service.connection.execute("DELETE FROM ingestion_log")

    plan, done = both(service, "clear_audit")

    assert done.status is Status.REFUSED
    assert "table ingestion_log: a publication of the database stands in the way" in (done.error or "")
    assert plan.would_refuse == done.error
    assert list(problems(service)) == ["table ingestion_log"]


def test_a_delete_that_a_publication_takes_goes_on(service: Service) -> None:
    add_log(service)
    service.connection.execute("CREATE PUBLICATION changes FOR ALL TABLES; ALTER TABLE audit_log REPLICA IDENTITY FULL")

    assert outcome(service.run("clear_audit"), "ingestion_log").deleted == 1
    assert problems(service) == {}


def test_the_remedy_for_a_forbidden_delete_helps(service: Service) -> None:
    add_log(service)
    service.connection.execute(
        "ALTER TABLE ingestion_log REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR ALL TABLES"
    )
    error = service.run("clear_audit").error or ""

    service.connection.execute(error[error.index("ALTER TABLE") :].partition(";")[0])

    assert outcome(service.run("clear_audit"), "ingestion_log").deleted == 1


def test_a_publication_of_inserts_forbids_no_delete(service: Service) -> None:
    add_log(service)
    service.connection.execute(
        "ALTER TABLE ingestion_log REPLICA IDENTITY NOTHING;"
        "CREATE PUBLICATION changes FOR ALL TABLES WITH (publish = 'insert')"
    )

    assert outcome(service.run("clear_audit"), "ingestion_log").deleted == 1


def test_an_update_that_a_publication_forbids_is_refused(bon: Bon) -> None:
    bon.add_overdue(bon.add_business(bon.add_user()))
    bon.connection.execute(
        "ALTER TABLE invoices REPLICA IDENTITY NOTHING; CREATE PUBLICATION changes FOR TABLE invoices"
    )

    plan, done = both(bon, "overdue_detection")

    assert done.status is Status.REFUSED
    assert "table invoices: a publication of the database stands in the way: cannot update" in (done.error or "")
    assert plan.would_refuse == done.error
    assert "table invoices" in problems(bon)


def test_rows_that_are_only_locked_need_no_identity(service: Service) -> None:
    service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="99")
    service.connection.execute("ALTER TABLE location REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE location")

    assert outcome(service.run("subscriptions"), "subscription").deleted == 1


def test_a_locked_table_is_not_waited_for(service: Service) -> None:
    add_log(service)
    service.connection.execute("CREATE PUBLICATION changes FOR ALL TABLES")
    with psycopg.connect(service.url) as other:
        other.execute("LOCK TABLE ingestion_log IN SHARE MODE")

        plan = service.run("clear_audit", dry_run=True)

    assert (plan.status, outcome(plan, "ingestion_log").matched) == (Status.SUCCESS, 1)


# Tables of another make


def test_a_ledger_that_a_crash_would_empty_is_refused(service: Service) -> None:
    service.connection.execute("ALTER TABLE maintenance.sent_notice SET UNLOGGED")

    plan, done = both(service, "clear_audit")

    assert done.status is Status.REFUSED
    assert "ALTER TABLE maintenance.sent_notice SET LOGGED;" in (done.error or "")
    assert plan.would_refuse == done.error
    assert list(problems(service)) == ["table sent_notice"]


def test_a_table_that_is_never_vacuumed_is_noted(service: Service) -> None:
    add_log(service)
    service.connection.execute("ALTER TABLE ingestion_log SET (autovacuum_enabled = off)")

    done = service.run("clear_audit")

    assert outcome(done, "ingestion_log").deleted == 1
    assert any("autovacuum is switched off" in note for note in done.notes)
    warned = [each for each in findings(service) if "autovacuum is switched off" in each.message]
    assert [(each.subject, each.level) for each in warned] == [("table ingestion_log", Level.WARNING)]


def test_an_unlogged_table_of_the_service_is_purged_as_any_other(service: Service) -> None:
    add_log(service)
    service.connection.execute("ALTER TABLE ingestion_log SET UNLOGGED")

    assert outcome(service.run("clear_audit"), "ingestion_log").deleted == 1
    assert problems(replace(service)) == {}
