"""A run from its config to its result: refusals, faults, kills, and what the ledger says of each."""

import contextlib
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.cath.media_report import Week
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import Days, JobSettings
from cath_dagster.core.postgres.database import FIRST_PAUSE_SECONDS, MAX_ATTEMPTS, Database
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.job_parts import DatabaseWork, Partitions
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.development.postgres import free_port
from tests.support.interrupted import assert_no_session, child_running, hold_up, is_asleep
from tests.support.service import Service, SilentReporter, outcome
from tests.support.waiting import PATIENCE_SECONDS, wait_until

SECRET = "s3cret-Passw0rd"
PAUSES_SECONDS = FIRST_PAUSE_SECONDS * (2 ** (MAX_ATTEMPTS - 1) - 1)
"""What a run takes at least that tries again as often as it may."""
OLD, NEW = "2026-01-01", "2026-11-17"

METADATA = sa.MetaData()
entry, letter = (
    sa.Table(name, METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("seen_at", sa.DateTime))
    for name in ("entry", "letter")
)


class TidySettings(JobSettings):
    retention_days: Days = 90


def tidy(run: JobRun, settings: TidySettings) -> None:
    cutoff = (run.as_of - timedelta(days=settings.retention_days)).replace(tzinfo=None)
    purges = [
        Purge(table=table, rule=f"old {table.name}", predicate=table.c.seen_at < cutoff, cutoff=cutoff)
        for table in (entry, letter)
    ]
    for planned in run.plan(*purges):
        run.purge(planned)


TIDY = JobSpec(
    location=CATH,
    name="tidy",
    schedule=Cron("0 1 * * *"),
    owner="team:test",
    summary="Tidies.",
    description="Tidies.",
    settings=TidySettings,
    run=tidy,
    database=DatabaseWork(
        targets=("entry", "letter"),
    ),
)


def run_tidy(service: Service, spec: JobSpec = TIDY, *, run_id: str = "run-1", **config: Any) -> RunResult:
    return execute(
        spec,
        {"as_of": service.as_of, **config},
        run_id=run_id,
        now=service.as_of,
        backends=EnvironmentBackends("CATH", service.environ),
        reporter=service.reporter,
    )


def doing(work: Callable[[JobRun], None]) -> JobSpec:
    """Return a job that does this."""
    return replace(TIDY, run=lambda run, settings: work(run))


def fill(service: Service, table: str, old: int, new: int = 0) -> None:
    service.rows(
        f"INSERT INTO {table} SELECT n, CASE WHEN n <= {old} THEN '{OLD}' ELSE '{NEW}' END::timestamp "
        f"FROM generate_series(1, {old + new}) n RETURNING id"
    )


def ledger(service: Service, run_id: str, table: str) -> dict[str, Any]:
    names = ("job", "dry_run", "matched", "deleted", "outcome", "error", "cutoff", "finished_at")
    (row,) = service.rows(
        f"SELECT {', '.join(names)} FROM maintenance.purge_ledger WHERE run_id = %s AND table_name = %s", run_id, table
    )
    return dict(zip(names, row, strict=True))


@pytest.fixture
def bench(service: Service) -> Service:
    """CaTH with two empty tables for the job `tidy`."""
    for table in ("entry", "letter"):
        service.connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, seen_at timestamp)")
    return service


# What a run says


def test_reports_every_table_and_keeps_it_in_the_ledger(bench: Service) -> None:
    fill(bench, "entry", 30, 5)

    result = run_tidy(bench)

    assert result.status is Status.SUCCESS
    assert (outcome(result, "entry").matched, outcome(result, "entry").deleted) == (30, 30)
    assert outcome(result, "letter").matched == 0
    row = ledger(bench, "run-1", "entry")
    assert (row["job"], row["matched"], row["deleted"], row["outcome"]) == ("tidy", 30, 30, "success")
    assert row["cutoff"] == datetime(2026, 8, 20, 1, 0, tzinfo=UTC)
    assert ledger(bench, "run-1", "letter")["outcome"] == "success"


def test_tells_in_a_dry_run_what_the_run_would_do_and_does_nothing(bench: Service) -> None:
    fill(bench, "entry", 30, 5)

    dry = run_tidy(bench, run_id="dry", dry_run=True)

    assert dry.status is Status.SUCCESS
    assert {name: count for name, count in outcome(dry, "entry").counts().items() if count} == {"matched": 30}
    assert bench.count("entry") == 35
    assert (ledger(bench, "dry", "entry")["dry_run"], ledger(bench, "dry", "entry")["deleted"]) == (True, 0)
    assert outcome(run_tidy(bench, run_id="wet"), "entry").deleted == 30


def test_changes_nothing_the_second_time(bench: Service) -> None:
    fill(bench, "entry", 30, 5)
    run_tidy(bench)

    again = run_tidy(bench, run_id="run-2")

    assert again.status is Status.SUCCESS
    assert (outcome(again, "entry").matched, outcome(again, "entry").deleted) == (0, 0)


@pytest.mark.parametrize(("max_rows", "left"), [(0, (4, 4)), (3, (1, 4)), (6, (0, 2)), (8, (0, 0))])
def test_takes_no_more_than_max_rows_from_all_tables_together(
    bench: Service, max_rows: int, left: tuple[int, int]
) -> None:
    fill(bench, "entry", 4)
    fill(bench, "letter", 4)

    result = run_tidy(bench, max_rows=max_rows)

    assert result.status is Status.SUCCESS
    assert (bench.count("entry"), bench.count("letter")) == left
    assert sum(item.skipped for item in result.outcomes) == sum(left)
    assert any("max_rows" in note for note in result.notes) == (sum(left) > 0)


def test_says_in_the_result_which_settings_were_used(bench: Service) -> None:
    bench.environ["CATH_TIDY_RETENTION_DAYS"] = "7"

    assert run_tidy(bench).settings == {"retention_days": 7}


@pytest.mark.parametrize(
    "config",
    [{"nonsense": 1}, {"retention_days": -1}, {"max_rows": -1}, {"as_of": datetime(2026, 11, 19, tzinfo=UTC)}],
    ids=["unknown key", "negative setting", "negative max_rows", "future as_of"],
)
def test_does_nothing_with_a_config_it_does_not_understand(bench: Service, config: dict[str, Any]) -> None:
    fill(bench, "entry", 3)

    result = run_tidy(bench, **config)

    assert result.status is Status.FAILED
    assert next(iter(config)) in (result.error or "")
    assert bench.count("entry") == 3
    assert bench.count("maintenance.ledger_event") == 0


def test_names_the_variable_that_is_not_set(bench: Service) -> None:
    del bench.environ["CATH_DATABASE_URL"]

    result = run_tidy(bench)

    assert result.status is Status.FAILED
    assert "CATH_DATABASE_URL" in (result.error or "")


def test_names_every_variable_the_job_needs_before_anything_is_done(bench: Service) -> None:
    fill(bench, "entry", 3)
    del bench.environ["CATH_BLOB_URL"], bench.environ["CATH_TEAM_EMAIL"]

    result = run_tidy(bench, replace(TIDY, required_variables=("BLOB_URL", "TEAM_EMAIL")))

    assert result.status is Status.FAILED
    assert "CATH_BLOB_URL" in (result.error or "")
    assert "CATH_TEAM_EMAIL" in (result.error or "")
    assert bench.count("entry") == 3


def test_ends_failed_after_the_rest_is_done_when_something_due_was_left(bench: Service) -> None:
    fill(bench, "entry", 3)

    def work(run: JobRun) -> None:
        run.fail("two files could not be deleted")
        tidy(run, TidySettings())

    result = run_tidy(bench, doing(work))

    assert result.status is Status.FAILED
    assert "two files could not be deleted" in (result.error or "")
    assert bench.count("entry") == 0
    assert ledger(bench, "run-1", "entry")["outcome"] == "failed"


# The lock


@contextlib.contextmanager
def lock_held(service: Service, name: str) -> Iterator[None]:
    engine = open_engine(service.url, variable="CATH_DATABASE_URL", application_name="tidy:another-run")
    with Database(engine) as database:
        database.lock(name)
        yield


def test_is_refused_while_another_run_of_the_job_is_at_work(bench: Service) -> None:
    fill(bench, "entry", 3)

    with lock_held(bench, "cath/tidy"):
        result = run_tidy(bench)

    assert result.status is Status.REFUSED
    assert "tidy:another-run" in (result.error or "")
    assert bench.count("entry") == 3
    assert ledger(bench, "run-1", "entry")["outcome"] == "refused"


def test_runs_again_when_the_other_run_has_ended(bench: Service) -> None:
    fill(bench, "entry", 3)
    with lock_held(bench, "cath/tidy"):
        run_tidy(bench)

    assert run_tidy(bench, run_id="run-2").status is Status.SUCCESS
    assert bench.count("entry") == 0


def test_takes_no_lock_in_a_dry_run(bench: Service) -> None:
    fill(bench, "entry", 3)

    with lock_held(bench, "cath/tidy"):
        result = run_tidy(bench, dry_run=True)

    assert result.status is Status.SUCCESS
    assert outcome(result, "entry").matched == 3


def test_locks_a_partition_of_a_job_that_works_on_one(bench: Service) -> None:
    spec = replace(TIDY, partitions=Partitions(default=lambda as_of: "2026-11-09", check=Week.of))

    def run_partition(partition: str) -> RunResult:
        backends = EnvironmentBackends("CATH", bench.environ)
        given = {"as_of": bench.as_of}
        return execute(
            spec,
            given,
            run_id=partition,
            now=bench.as_of,
            backends=backends,
            reporter=SilentReporter(),
            partition=partition,
        )

    with lock_held(bench, "cath/tidy/2026-11-09"):
        assert run_partition("2026-11-09").status is Status.REFUSED
        assert run_partition("2026-11-02").status is Status.SUCCESS


# A database that is not as it must be


def test_names_the_command_where_our_schema_is_missing(bench: Service) -> None:
    bench.connection.execute("DROP SCHEMA maintenance CASCADE")

    result = run_tidy(bench)

    assert result.status is Status.FAILED
    assert "cath-dagster migrate cath" in (result.error or "")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM maintenance.alembic_version",
        "DELETE FROM maintenance.alembic_version WHERE version_num LIKE 'cath%'",
        "UPDATE maintenance.alembic_version SET version_num = 'core_0000' WHERE version_num LIKE 'core%'",
    ],
)
def test_names_the_command_where_our_schema_is_behind(bench: Service, change: str) -> None:
    fill(bench, "entry", 3)
    bench.connection.execute(change)

    result = run_tidy(bench)

    assert result.status is Status.FAILED
    assert "cath-dagster migrate cath" in (result.error or "")
    assert bench.count("entry") == 3


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("change", "name"),
    [("ALTER TABLE entry DROP COLUMN seen_at", "seen_at"), ("DROP TABLE letter", "letter")],
    ids=["column", "table"],
)
def test_names_what_is_missing_and_shows_no_statement(bench: Service, change: str, name: str, dry_run: bool) -> None:
    bench.connection.execute(change)

    result = run_tidy(bench, dry_run=dry_run)

    assert result.status is Status.FAILED
    assert name in (result.error or "")
    assert "SELECT" not in (result.error or "")
    assert "2026" not in (result.error or "")


def test_does_nothing_to_one_table_when_another_is_missing(bench: Service) -> None:
    fill(bench, "entry", 3)
    bench.connection.execute("DROP TABLE letter")

    run_tidy(bench)

    assert bench.count("entry") == 3


def test_tells_what_was_done_before_a_table_disappeared(bench: Service) -> None:
    fill(bench, "entry", 20)
    fill(bench, "letter", 20)

    def work(run: JobRun) -> None:
        cutoff = datetime(2026, 8, 1)
        first, second = run.plan(
            *(Purge(table=table, rule="old", predicate=table.c.seen_at < cutoff) for table in (entry, letter))
        )
        run.purge(first)
        bench.connection.execute("DROP TABLE letter")
        run.purge(second)

    result = run_tidy(bench, doing(work))

    assert result.status is Status.FAILED
    assert "letter" in (result.error or "")
    assert outcome(result, "entry").deleted == 20
    assert (ledger(bench, "run-1", "entry")["deleted"], ledger(bench, "run-1", "letter")["deleted"]) == (20, 0)
    assert ledger(bench, "run-1", "letter")["outcome"] == "failed"
    assert "letter" in ledger(bench, "run-1", "letter")["error"]


def break_deletion(service: Service, table: str, at: int) -> None:
    """Make the deletion of the `at`-th row fail."""
    service.connection.execute("CREATE SEQUENCE deletions")
    service.connection.execute(
        "CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('deletions') >= {at} THEN RAISE EXCEPTION 'no further'; END IF; RETURN OLD; END $$"
    )
    service.connection.execute(
        f"CREATE TRIGGER disturb BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION disturb()"
    )


def test_counts_what_was_committed_before_a_purge_broke_off(bench: Service) -> None:
    fill(bench, "entry", 200)
    break_deletion(bench, "entry", at=120)

    result = run_tidy(bench)

    gone = 200 - bench.count("entry")
    assert result.status is Status.FAILED
    assert 0 < gone < 120
    assert outcome(result, "entry").deleted == gone
    assert ledger(bench, "run-1", "entry")["deleted"] == gone


def test_tells_how_many_rows_matched_of_a_purge_that_broke_off(bench: Service) -> None:
    fill(bench, "entry", 200)
    break_deletion(bench, "entry", at=120)

    result = run_tidy(bench)

    assert outcome(result, "entry").matched == 200
    assert ledger(bench, "run-1", "entry")["matched"] == 200


def test_says_quickly_that_the_database_cannot_be_reached(bench: Service) -> None:
    bench.environ["CATH_DATABASE_URL"] = f"postgresql://cath:{SECRET}@127.0.0.1:{free_port()}/cath"
    started = time.monotonic()

    result = run_tidy(bench)

    assert result.status is Status.FAILED
    assert "127.0.0.1" in (result.error or "")
    assert SECRET not in "".join([result.error or "", *bench.reporter.lines])
    assert time.monotonic() - started < PAUSES_SECONDS


def test_leaves_no_session_behind(bench: Service) -> None:
    run_tidy(bench, run_id="run-to-look-for")

    assert_no_session(bench, "run-to-look-for")


# Kills


def add_old_ingestions(service: Service, count: int) -> None:
    service.connection.execute(
        "INSERT INTO ingestion_log (id, timestamp, source_system, court_id, status) "
        "SELECT gen_random_uuid(), '2026-01-01', 'SNL', '1', 'SUCCESS' FROM generate_series(1, %s)",
        (count,),
    )


@pytest.mark.stack
def test_finishes_what_a_purge_killed_midway_left(service: Service) -> None:
    add_old_ingestions(service, 300)
    hold_up(service, "ingestion_log", after=150)

    with child_running(service, "clear_audit", "killed") as child:
        wait_until(lambda: is_asleep(service))
        child.kill()
        child.wait()
    # The server notices within seconds that its client is gone.
    assert_no_session(service, "killed")
    gone = 300 - service.count("ingestion_log")
    assert 0 < gone <= 150
    killed = ledger(service, "killed", "ingestion_log")
    assert (killed["deleted"], killed["outcome"], killed["finished_at"]) == (gone, "unfinished", None)
    service.connection.execute("DROP TRIGGER slow ON ingestion_log")

    result = service.run("clear_audit", run_id="next")

    assert result.status is Status.SUCCESS
    assert service.count("ingestion_log") == 0
    assert outcome(result, "ingestion_log").deleted == 300 - gone
    assert service.value("SELECT sum(deleted) FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log'") == 300


@pytest.mark.stack
def test_tells_how_many_rows_matched_of_a_purge_that_was_killed(service: Service) -> None:
    add_old_ingestions(service, 300)
    hold_up(service, "ingestion_log", after=150)

    with child_running(service, "clear_audit", "killed") as child:
        wait_until(lambda: is_asleep(service))
        child.kill()

    assert ledger(service, "killed", "ingestion_log")["matched"] == 300


@pytest.mark.stack
def test_finishes_what_a_removal_of_files_killed_midway_left(service: Service) -> None:
    artefacts = [service.add_artefact(display_to=service.days_ago(3)) for _ in range(3)]
    files = [service.add_file(f"artefact/{artefact_id}.json") for artefact_id in artefacts]
    hold_up(service, "maintenance.file_outbox")

    with child_running(service, "expired_artefacts", "killed") as child:
        wait_until(lambda: is_asleep(service))
        child.kill()
        child.wait()
    assert_no_session(service, "killed")
    assert service.count("artefact") == 0
    assert service.count("maintenance.artefact_archive") == 3
    assert service.count("maintenance.file_outbox") > 0
    service.connection.execute("DROP TRIGGER slow ON maintenance.file_outbox")

    result = service.run("expired_artefacts", run_id="next")

    assert result.status is Status.SUCCESS
    assert service.count("maintenance.file_outbox") == 0
    assert not any(file.exists() for file in files)
    assert service.value("SELECT sum(deleted) FROM maintenance.purge_ledger WHERE table_name = 'artefact'") == 3


def test_deletes_files_that_a_run_killed_before_it_began_with_them_left(service: Service) -> None:
    file = service.add_file(f"artefact/{uuid.uuid4()}.pdf")
    path = str(file.relative_to(service.blob_root))
    service.insert("maintenance.file_outbox", path=path, job="expired_artefacts", run_id="killed")

    result = service.run("expired_artefacts")

    assert outcome(result, "files").deleted == 1
    assert not file.exists()


@pytest.mark.parametrize(
    ("number", "handled"), [(signal.SIGINT, False), (signal.SIGTERM, True)], ids=["ctrl-c", "terminate"]
)
@pytest.mark.stack
def test_ends_the_statement_on_the_server_when_it_is_interrupted(
    service: Service, number: signal.Signals, handled: bool
) -> None:
    """An orchestrator turns SIGTERM into an exception of its own in the running process."""
    add_old_ingestions(service, 300)
    hold_up(service, "ingestion_log", after=150)

    with child_running(service, "clear_audit", "stopped", handled=handled) as child:
        wait_until(lambda: is_asleep(service))
        child.send_signal(number)
        wait_until(lambda: not is_asleep(service), "the statement runs on")
        assert child.wait(timeout=PATIENCE_SECONDS) != 0
    assert_no_session(service, "stopped")

    gone = 300 - service.count("ingestion_log")
    assert 0 < gone <= 150
    stopped = ledger(service, "stopped", "ingestion_log")
    assert stopped["deleted"] == gone
    assert stopped["outcome"] == "interrupted"


@pytest.mark.stack
def test_ends_the_statement_on_the_server_when_sigterm_ends_the_process(service: Service) -> None:
    add_old_ingestions(service, 300)
    hold_up(service, "ingestion_log", after=150)

    with child_running(service, "clear_audit", "stopped") as child:
        wait_until(lambda: is_asleep(service))
        child.terminate()
        # The server looks every two seconds whether its client is there.
        assert_no_session(service, "stopped")

    assert ledger(service, "stopped", "ingestion_log")["deleted"] == 300 - service.count("ingestion_log")


def test_goes_on_when_its_connection_is_cut_in_mid_purge(service: Service) -> None:
    add_old_ingestions(service, 300)
    service.connection.execute("CREATE SEQUENCE cuts")
    service.connection.execute(
        "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('cuts') IN (150, 400) THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; "
        "RETURN OLD; END $$"
    )
    service.connection.execute("CREATE TRIGGER cut BEFORE DELETE ON ingestion_log FOR EACH ROW EXECUTE FUNCTION cut()")

    result = service.run("clear_audit", run_id="cut")

    assert result.status is Status.SUCCESS
    assert service.count("ingestion_log") == 0
    assert outcome(result, "ingestion_log").deleted == 300
    assert ledger(service, "cut", "ingestion_log")["deleted"] == 300


def test_raises_a_mistake_in_the_program(bench: Service) -> None:
    def work(run: JobRun) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_tidy(bench, doing(work))
