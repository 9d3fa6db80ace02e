"""What a role has set for its sessions changes neither what a run does, nor what is said of it before."""

import importlib
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.core.errors import PreflightError
from cath_dagster.core.inspection.diagnosis import diagnose
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.model.finding import Level
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.postgres.session import PINS, SERVICE, Pin
from cath_dagster.core.run.spec import load_specs
from cath_dagster.development.samples.cath import sample as cath_sample
from cath_dagster.registry import locations
from tests.support.assumptions import PAGE, settings_left_alone
from tests.support.command import call
from tests.support.limited_role import give
from tests.support.maintained import outcome
from tests.support.roles import role_in
from tests.support.service import Service

OTHERWISE = {
    "search_path": '"$user", pg_temp, pg_catalog',
    "row_security": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "session_replication_role": "replica",
    "zero_damaged_pages": "on",
    "ignore_checksum_failure": "on",
    "composite_type_mismatch": "warn",
    "transform_null_equals": "on",
    "gin_fuzzy_search_limit": "1",
    "array_nulls": "off",
    "restrict_nonsystem_relation_kind": "view",
    "client_encoding": "LATIN1",
    "TimeZone": "Pacific/Kiritimati",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "xmloption": "document",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "statement_timeout": "10s",
    "transaction_timeout": "10s",
    "idle_session_timeout": "10s",
    "exit_on_error": "on",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    "client_connection_check_interval": "10s",
    "synchronous_commit": "off",
    "enable_tidscan": "off",
    "enable_indexscan": "off",
    "enable_bitmapscan": "off",
    "enable_nestloop": "off",
    "enable_hashjoin": "off",
    "enable_partition_pruning": "off",
    "default_table_access_method": "columns",
}
"""Of every setting that we pin another value, as somebody may have it for reasons of his own."""
PRIVILEGED = [pin for pin in PINS if pin.is_privileged]


def skip_if_unknown(service: Service, name: str) -> None:
    if not service.value("SELECT count(*) FROM pg_settings WHERE name = %s", name):
        pytest.skip(f"this server has no {name}")


def set_otherwise(service: Service, name: str, value: str, role: str = "postgres") -> None:
    """Set it for the role in the service's database."""
    service.connection.execute("CREATE ACCESS METHOD columns TYPE TABLE HANDLER heap_tableam_handler")
    of = sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
        sql.Identifier(role),
        sql.Identifier(service.connection.info.dbname),
        sql.Identifier(name),
        # A list of names is none in quotes.
        sql.SQL(value) if name == "search_path" else sql.Literal(value),
    )
    service.connection.execute(of)


def shown(service: Service, name: str, url: str | None = None) -> str:
    engine = open_engine(url or service.url, variable="CATH_DATABASE_URL", application_name="test")
    with engine.connect() as connection:
        return str(connection.scalar(sa.select(sa.func.current_setting(name))))


def problems(service: Service, url: str | None = None) -> list[str]:
    """Return what a doctor's examination of the database finds wrong."""
    engine = open_engine(url or service.url, variable="CATH_DATABASE_URL", application_name="doctor")
    with engine.connect() as connection:
        found = list(diagnose(connection, CATH, load_specs(CATH)))
    return [f"{each.subject}: {each.message}" for each in found if each.level is Level.PROBLEM]


def add_log(service: Service, days: float) -> None:
    service.insert(
        "public.ingestion_log", id=uuid.uuid4(), source_system="A", court_id="1",
        status="SUCCESS", timestamp=service.days_ago(days),
    )  # fmt: skip


def test_every_setting_that_a_role_may_have_otherwise_is_pinned_or_judged(service: Service) -> None:
    """A server with settings that are neither has a newer version: decide on them."""
    query = "SELECT name FROM pg_settings WHERE context NOT IN ('internal', 'postmaster', 'sighup') AND name !~ '\\.'"
    may_differ = {name for (name,) in service.rows(query)}

    left = settings_left_alone()

    assert may_differ - left - {pin.name for pin in PINS} == set()
    assert left & {pin.name for pin in PINS} == set(), f"{PAGE.name} leaves alone what is pinned"


def test_another_value_is_tried_for_every_pinned_setting() -> None:
    assert list(OTHERWISE) == [pin.name for pin in PINS]


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: pin.name)
def test_a_setting_that_a_role_has_otherwise_changes_nothing(service: Service, pin: Pin) -> None:
    for days in (89, 90, 91, 200):
        add_log(service, days)
    skip_if_unknown(service, pin.name)
    usual = shown(service, pin.name)
    set_otherwise(service, pin.name, OTHERWISE[pin.name])

    found, plan = problems(service), service.run("clear_audit", dry_run=True)
    done, again = service.run("clear_audit"), service.run("clear_audit")

    assert shown(service, pin.name) == usual
    assert found == []
    assert (plan.status, plan.error, plan.would_refuse) == (Status.SUCCESS, None, None)
    assert outcome(plan, "ingestion_log").matched == 2
    assert (done.status, done.error, outcome(done, "ingestion_log").deleted) == (Status.SUCCESS, None, 2)
    assert (again.status, outcome(again, "ingestion_log").matched) == (Status.SUCCESS, 0)
    assert service.count("public.ingestion_log") == 2


@pytest.mark.parametrize("pin", PRIVILEGED, ids=lambda pin: pin.name)
def test_what_only_a_superuser_may_set_back_is_refused_to_others(service: Service, pin: Pin) -> None:
    skip_if_unknown(service, pin.name)
    add_log(service, 200)
    with role_in(service.url, service.connection) as role:
        set_otherwise(service, pin.name, OTHERWISE[pin.name], role.name)
        service.environ["CATH_DATABASE_URL"] = role.url

        plan, done = service.run("clear_audit", dry_run=True), service.run("clear_audit")

        with pytest.raises(PreflightError, match=f"ALTER ROLE .* RESET {pin.name}"):
            problems(service, role.url)
    for each in (plan, done):
        assert each.status is Status.REFUSED
        assert f"{pin.name} is {OTHERWISE[pin.name]}" in (each.error or "")
    assert service.count("public.ingestion_log") == 1


@pytest.mark.parametrize("value", ["local", "remote_apply"])
def test_a_commit_that_waits_for_as_much_or_more_is_let_be(service: Service, value: str) -> None:
    set_otherwise(service, "synchronous_commit", value)

    assert shown(service, "synchronous_commit") == value


# Schemas


def test_a_table_in_a_schema_named_as_the_role_is_not_taken_for_the_service_s(service: Service) -> None:
    service.connection.execute(
        "CREATE SCHEMA postgres; CREATE TABLE postgres.ingestion_log (LIKE public.ingestion_log INCLUDING ALL);"
        "SET search_path = public"
    )
    add_log(service, 200)
    service.connection.execute("INSERT INTO postgres.ingestion_log SELECT * FROM public.ingestion_log")

    done = service.run("clear_audit", undo_days=30, archive_personal_data_because="it is a test")

    assert outcome(done, "ingestion_log").deleted == 1
    assert service.count("public.ingestion_log") == 0
    assert service.count("postgres.ingestion_log") == 1


def test_a_temporary_table_is_not_taken_for_the_service_s(service: Service) -> None:
    engine = open_engine(service.url, variable="CATH_DATABASE_URL", application_name="test")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TEMPORARY TABLE location (n int) ON COMMIT DROP"))

        assert connection.scalar(sa.text("SELECT 'location'::regclass = 'public.location'::regclass")) is True


def test_a_trigger_of_the_service_finds_what_it_needs_in_a_schema_further_back(service: Service) -> None:
    service.connection.execute(
        """
        CREATE SCHEMA extensions;
        CREATE TABLE extensions.gone (id uuid);
        CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO gone VALUES (OLD.id); RETURN OLD; END $$;
        CREATE TRIGGER tell BEFORE DELETE ON public.ingestion_log FOR EACH ROW EXECUTE FUNCTION public.tell()
        """
    )
    set_otherwise(service, "search_path", '"$user", public, extensions')
    add_log(service, 200)

    done = service.run("clear_audit")

    assert done.error is None
    assert service.count("extensions.gone") == 1


@pytest.mark.parametrize("location", locations(), ids=lambda location: location.name)
def test_every_table_of_a_location_is_named_with_its_schema(location: CodeLocation) -> None:
    tables = importlib.import_module(f"{location.package}.tables").METADATA.tables.values()

    assert tables
    assert {table.schema for table in tables} <= {SERVICE, SCHEMA}


# What a session keeps to


def test_a_row_rescued_while_the_purge_waits_survives_a_stricter_default(service: Service) -> None:
    user = service.add_user("SSO", last_signed_in_date=service.days_ago(200), role="INTERNAL_ADMIN_CTSC")
    set_otherwise(service, "default_transaction_isolation", "repeatable read")

    rescue = 'UPDATE public."user" SET last_signed_in_date = %s WHERE user_id = %s'
    done = service.run_beside("inactive_verification", (rescue, (service.days_ago(0), user)))

    assert done.error is None
    assert service.count('public."user"') == 1


def test_a_login_that_becomes_the_jobs_role_does_the_jobs_work(service: Service) -> None:
    """As where credentials are made for a day, each a member of the role that lasts."""
    add_log(service, 200)
    with role_in(service.url, service.connection) as jobs, role_in(service.url, service.connection) as login:
        give(service, jobs)
        service.connection.execute(
            f'GRANT "{jobs.name}" TO "{login.name}"; ALTER ROLE "{login.name}" SET role = "{jobs.name}"'
        )
        service.environ["CATH_DATABASE_URL"] = login.url

        done = service.run("clear_audit")

        assert (done.error, outcome(done, "ingestion_log").deleted) == (None, 1)
        assert problems(service, login.url) == []


def test_the_settings_are_had_again_after_a_lost_connection(service: Service) -> None:
    set_otherwise(service, "row_security", "on")
    engine = open_engine(service.url, variable="CATH_DATABASE_URL", application_name="test")

    for _ in range(2):
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SHOW row_security")) == "off"
            connection.invalidate()


@pytest.fixture
def old_database(service: Service) -> Iterator[str]:
    """Yield the URL of a database whose encoding is none."""
    here = service.connection.info.dbname
    name = f"{here}_ascii"
    service.connection.execute(
        f"CREATE DATABASE {name} ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    yield service.url.replace(here, name)
    service.connection.execute(f"DROP DATABASE {name}")


def test_a_database_of_no_encoding_is_refused_in_words(service: Service, old_database: str) -> None:
    service.environ["CATH_DATABASE_URL"] = old_database

    done = service.run("clear_audit")

    assert done.status is Status.REFUSED
    assert "the database's encoding is SQL_ASCII" in (done.error or "")
    with pytest.raises(PreflightError, match="UTF8"):
        problems(service, old_database)


@pytest.mark.parametrize("command", ["migrate", "doctor"])
def test_a_command_on_a_database_of_no_encoding_says_so(service: Service, old_database: str, command: str) -> None:
    done = call({**service.environ, "CATH_DATABASE_URL": old_database}, command, "cath")

    assert "Traceback" not in done.stderr
    assert "SQL_ASCII" in done.stdout + done.stderr


def test_a_database_of_an_older_alphabet_is_served(service: Service) -> None:
    here = service.connection.info.dbname
    service.connection.execute(
        f"CREATE DATABASE {here}_latin ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    url = service.url.replace(here, f"{here}_latin")
    with psycopg.connect(url, autocommit=True) as latin:
        cath_sample.create_schema(latin)
        engine = open_engine(url, variable="CATH_DATABASE_URL", application_name="migrate")
        migrate(engine, CATH)
        engine.dispose()
        latin.execute(
            "INSERT INTO ingestion_log (id, timestamp, source_system, court_id, status)"
            " VALUES (gen_random_uuid(), %s, 'Zürich', '1', 'SUCCESS')",
            [service.days_ago(200)],
        )
        service.environ["CATH_DATABASE_URL"] = url

        done = service.run("clear_audit", undo_days=30, archive_personal_data_because="é is a letter of it")

        assert (done.error, outcome(done, "ingestion_log").deleted) == (None, 1)
        assert problems(service, url) == []
    service.connection.execute(f"DROP DATABASE {here}_latin WITH (FORCE)")
