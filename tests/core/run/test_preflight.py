"""The look before a run's first write: what would make it fail midway, run for hours, or harm others."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cath import CATH
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings, PurgeSettings
from cath_dagster.core.postgres import followers
from cath_dagster.core.run import preflight
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.development.simulators.notify import NotifySimulator
from tests.support.servers import make_cath, primary
from tests.support.service import Service

pytestmark = pytest.mark.both_versions

PHYSICAL = "pg_create_physical_replication_slot(%s, true)"
METADATA = sa.MetaData()
entry = sa.Table("entry", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("is_old", sa.Boolean))
part = sa.Table("part", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("entry_id", sa.Integer))

OLD_ENTRIES = Purge(table=entry, rule="old entries", predicate=entry.c.is_old, lets_cascade=(part.c.entry_id,))
WITH_PARTS = replace(OLD_ENTRIES, children=(Child(part, part.c.entry_id),))


def purging(purge: Purge) -> Callable[[JobRun, JobSettings], None]:
    def work(run: JobRun, settings: JobSettings) -> None:
        del settings
        for planned in run.plan(purge):
            run.purge(planned)

    return work


SPEC = JobSpec(
    location=CATH,
    name="tidy",
    schedule=Cron("0 1 * * *"),
    owner="team:test",
    summary="Tidies.",
    description="Tidies.",
    settings=JobSettings,
    run=purging(OLD_ENTRIES),
    database=DatabaseWork(
        targets=("entry",),
        privileges={"entry": ("SELECT", "DELETE"), "part": ("SELECT", "DELETE"), "location": ("SELECT", "UPDATE")},
    ),
)


def run_tidy(
    service: Service,
    purge: Purge = OLD_ENTRIES,
    *,
    url: str | None = None,
    settings: type[JobSettings] = JobSettings,
    **config: Any,
) -> RunResult:
    return execute(
        replace(SPEC, run=purging(purge), settings=settings),
        {"as_of": service.as_of, **config},
        run_id=str(uuid.uuid4()),
        now=service.as_of,
        backends=EnvironmentBackends("CATH", {**service.environ, "CATH_DATABASE_URL": url or service.url}),
        reporter=service.reporter,
    )


@pytest.fixture
def bench(service: Service) -> Service:
    """CaTH with ten entries, three of them old, each with ten parts, and no index on the parts' foreign key."""
    furnish(service)
    return service


def furnish(service: Service) -> None:
    service.connection.execute("CREATE TABLE entry (id int PRIMARY KEY, is_old boolean)")
    service.connection.execute(
        "CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry ON DELETE CASCADE)"
    )
    service.connection.execute("INSERT INTO entry SELECT n, n <= 3 FROM generate_series(1, 10) n")
    service.connection.execute("INSERT INTO part SELECT n, 1 + n % 10 FROM generate_series(1, 100) n")
    service.connection.execute("ANALYZE entry, part")


@contextlib.contextmanager
def idle_session(service: Service, *statements: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a session that has executed the statements and sits in its transaction."""
    with psycopg.connect(service.url, application_name="forgotten psql") as session:
        for statement in statements:
            session.execute(sql.SQL(statement))
        yield session
        session.rollback()


@contextlib.contextmanager
def poor_role(service: Service) -> Iterator[tuple[sql.Identifier, str]]:
    """Yield a role that may read and keep the ledger and delete nothing, and the database's URL with it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    role = sql.Identifier(name)
    service.connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'made up'").format(role))
    for statement in (
        "GRANT USAGE ON SCHEMA maintenance TO {}",
        "GRANT ALL ON ALL TABLES IN SCHEMA maintenance TO {}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}",
        "GRANT UPDATE (name) ON location TO {}",
    ):
        service.connection.execute(sql.SQL(statement).format(role))
    parts = urlsplit(service.url)
    where = parts.netloc.rpartition("@")[2]
    try:
        yield role, urlunsplit(parts._replace(netloc=f"{name}:made%20up@{where}"))
    finally:
        service.connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        service.connection.execute(sql.SQL("DROP ROLE {}").format(role))


# Foreign keys without an index


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow for 3 deleted entries × 100 scanned parts and no more, since tables of that cost take long to make."""
    monkeypatch.setattr(preflight, "MAX_SCAN_TIME", timedelta(microseconds=15))


@pytest.mark.usefixtures("impatient")
def test_allows_scans_that_cost_just_the_bound(bench: Service) -> None:
    assert run_tidy(bench).status is Status.SUCCESS


@pytest.mark.usefixtures("impatient")
def test_refuses_scans_that_cost_more_than_the_bound(bench: Service) -> None:
    bench.connection.execute("UPDATE entry SET is_old = true WHERE id = 4")

    result = run_tidy(bench)

    assert result.status is Status.REFUSED
    assert bench.count("entry") == 10


@pytest.mark.usefixtures("impatient")
def test_adds_up_what_several_keys_cost(bench: Service) -> None:
    bench.connection.execute("CREATE TABLE page (entry_id int REFERENCES entry)")
    bench.connection.execute("INSERT INTO page SELECT 10 FROM generate_series(1, 50)")
    bench.connection.execute("ANALYZE page")

    error = run_tidy(bench).error or ""

    assert "part.entry_id" in error
    assert "page.entry_id" in error


@pytest.mark.usefixtures("impatient")
def test_names_the_statement_and_the_command_that_help(bench: Service) -> None:
    bench.connection.execute("UPDATE entry SET is_old = true WHERE id = 4")
    error = run_tidy(bench).error or ""

    start = error.index("CREATE INDEX CONCURRENTLY")
    bench.connection.execute(sql.SQL(error[start : error.index(";", start)]))

    assert "cath-dagster indexes build" in error
    assert run_tidy(bench).status is Status.SUCCESS


@pytest.mark.usefixtures("impatient")
def test_counts_the_keys_to_children_that_go_along(bench: Service) -> None:
    bench.connection.execute("CREATE INDEX ON part (entry_id)")
    bench.connection.execute("CREATE TABLE note (part_id int REFERENCES part)")
    bench.connection.execute("INSERT INTO note SELECT 9 FROM generate_series(1, 11)")
    bench.connection.execute("ANALYZE note")

    error = run_tidy(bench, WITH_PARTS).error or ""

    assert "30 deleted rows of part × 11 scanned rows" in error


@pytest.mark.usefixtures("impatient")
def test_lets_a_run_go_that_max_rows_keeps_short(bench: Service) -> None:
    bench.connection.execute("UPDATE entry SET is_old = true WHERE id = 4")

    assert run_tidy(bench, max_rows=3).status is Status.SUCCESS
    assert bench.count("entry") == 7


@pytest.mark.usefixtures("impatient")
def test_estimates_the_rows_of_a_table_that_was_never_analysed(bench: Service) -> None:
    bench.connection.execute("CREATE TABLE page (entry_id int REFERENCES entry)")
    bench.connection.execute("INSERT INTO page SELECT 10 FROM generate_series(1, 1000)")

    assert "page.entry_id" in (run_tidy(bench).error or "")


def test_allows_minutes_of_scans_by_default(bench: Service) -> None:
    assert timedelta(minutes=1) < preflight.MAX_SCAN_TIME <= timedelta(minutes=10)
    assert run_tidy(bench).status is Status.SUCCESS


@pytest.mark.usefixtures("impatient")
def test_says_in_a_dry_run_that_the_run_would_be_refused(bench: Service) -> None:
    bench.connection.execute("UPDATE entry SET is_old = true WHERE id = 4")

    result = run_tidy(bench, dry_run=True)

    assert result.status is Status.SUCCESS
    assert "part.entry_id" in (result.would_refuse or "")
    assert {outcome.target: outcome.matched for outcome in result.outcomes}["entry"] == 4


@pytest.mark.usefixtures("impatient")
def test_keeps_a_refused_run_in_the_ledger(bench: Service) -> None:
    bench.connection.execute("UPDATE entry SET is_old = true WHERE id = 4")

    run_tidy(bench)

    kept = bench.rows("SELECT matched, deleted, outcome FROM maintenance.purge_ledger WHERE table_name = 'entry'")
    assert kept == [(4, 0, "refused")]


# A replica


@pytest.fixture
def replica(notify: NotifySimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Yield the bench on a server that follows another, which never says anything; nobody waits until it is promoted."""
    monkeypatch.setattr("cath_dagster.core.postgres.database.FIRST_PAUSE_SECONDS", 0.001)
    as_of = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
    with primary() as server:
        make_cath(server)
        (tmp_path / "before").mkdir()
        with Service.open(server.url("cath"), notify, tmp_path / "before", as_of=as_of) as service:
            furnish(service)
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        with Service.open(server.url("cath"), notify, tmp_path, as_of=as_of) as service:
            yield service


@pytest.mark.stack
def test_refuses_a_replica(replica: Service) -> None:
    result = run_tidy(replica)

    assert (result.status, replica.count("entry")) == (Status.REFUSED, 10)
    assert "replica" in (result.error or "")
    assert "primary" in (result.error or "")


@pytest.mark.stack
def test_counts_on_a_replica_in_a_dry_run(replica: Service) -> None:
    result = run_tidy(replica, dry_run=True)

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert "replica" in (result.would_refuse or "")
    assert {outcome.target: outcome.matched for outcome in result.outcomes} == {"entry": 3}


# Privileges


def test_refuses_a_role_without_a_privilege_and_names_the_grant_that_helps(bench: Service) -> None:
    with poor_role(bench) as (_, url):
        refused = run_tidy(bench, url=url)
        error = refused.error or ""
        grant = error[error.index("GRANT") :]
        bench.connection.execute(sql.SQL(grant))

        assert refused.status is Status.REFUSED
        assert 'GRANT DELETE ON public."entry"' in grant
        assert run_tidy(bench, url=url).status is Status.SUCCESS


def test_names_every_privilege_that_is_missing(bench: Service) -> None:
    with poor_role(bench) as (role, url):
        bench.connection.execute(sql.SQL("REVOKE UPDATE (name), SELECT ON location FROM {}").format(role))

        error = run_tidy(bench, WITH_PARTS, url=url).error or ""

    assert ["DELETE ON public" in error, "SELECT, UPDATE ON public" in error] == [True, True]
    assert "part" in error


def test_needs_no_privilege_on_a_table_whose_purge_is_switched_off(bench: Service) -> None:
    with poor_role(bench) as (role, url):
        bench.connection.execute(sql.SQL("GRANT DELETE ON entry TO {}").format(role))

        assert run_tidy(bench, url=url).status is Status.SUCCESS


def test_needs_no_privilege_on_the_partitions_of_a_child(bench: Service) -> None:
    bench.connection.execute(
        """
        DROP TABLE part;
        CREATE TABLE part (id int, entry_id int REFERENCES entry) PARTITION BY RANGE (id);
        CREATE TABLE part_1 PARTITION OF part DEFAULT;
        INSERT INTO part VALUES (1, 1)
        """
    )
    with poor_role(bench) as (role, url):
        bench.connection.execute(sql.SQL("GRANT UPDATE, DELETE ON entry, part TO {}").format(role))

        result = run_tidy(bench, WITH_PARTS, url=url, allow_large=True)

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert bench.count("part") == 0


@pytest.fixture
def partitioned(bench: Service) -> Service:
    """The same with twenty partitions, of one entry each, and without parts."""
    bench.connection.execute(
        "DROP TABLE part, entry; CREATE TABLE entry (id int PRIMARY KEY, is_old boolean) PARTITION BY LIST (id)"
    )
    for number in range(20):
        statement = f"CREATE TABLE entry_{number} PARTITION OF entry FOR VALUES IN ({number})"
        bench.connection.execute(sql.SQL(statement))
    bench.connection.execute("INSERT INTO entry SELECT n, n <= 3 FROM generate_series(0, 19) n")
    return bench


@pytest.mark.parametrize(
    "config",
    [{"undo_days": 30, "archive_personal_data_because": "there is none"}, {"max_rows": 4}],
    ids=["archived", "limited"],
)
def test_needs_to_read_the_partitions_and_no_more_where_rows_go_by_their_keys(
    partitioned: Service, config: dict[str, Any]
) -> None:
    with poor_role(partitioned) as (role, url):
        partitioned.connection.execute(sql.SQL("GRANT UPDATE, DELETE ON entry TO {}").format(role))

        assert run_tidy(partitioned, url=url, settings=PurgeSettings).status is Status.REFUSED
        done = run_tidy(partitioned, url=url, settings=PurgeSettings, **config)
        partitioned.connection.execute(sql.SQL("REVOKE SELECT ON entry_19 FROM {}").format(role))
        refused = run_tidy(partitioned, url=url, settings=PurgeSettings, **config)

    assert (done.status, partitioned.count("entry")) == (Status.SUCCESS, 16)
    assert 'GRANT SELECT ON public."entry_19"' in (refused.error or "")


def test_waits_for_nobody_who_has_locked_a_partition(partitioned: Service) -> None:
    with poor_role(partitioned) as (_, url), idle_session(partitioned, "LOCK TABLE entry_5"):
        assert "GRANT DELETE" in (run_tidy(partitioned, url=url).error or "")


def test_names_a_few_of_many_partitions(partitioned: Service) -> None:
    with poor_role(partitioned) as (role, url):
        partitioned.connection.execute(sql.SQL("GRANT DELETE ON entry TO {}").format(role))

        error = run_tidy(partitioned, url=url).error or ""

    assert error.count("GRANT DELETE ON") == preflight.PARTITIONS_NAMED
    assert f"{20 - preflight.PARTITIONS_NAMED} more partitions" in error


def test_says_in_a_dry_run_which_privilege_is_missing(bench: Service) -> None:
    with poor_role(bench) as (_, url):
        result = run_tidy(bench, url=url, dry_run=True)

    assert result.status is Status.SUCCESS
    assert "GRANT DELETE" in (result.would_refuse or "")


# Sessions idle in a transaction


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every pause in a transaction for a long one."""
    monkeypatch.setattr(preflight, "MAX_IDLE_IN_TRANSACTION", timedelta(0))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "statement",
    ["SELECT FROM entry WHERE id = 1 FOR UPDATE", "UPDATE entry SET is_old = false WHERE id = 9", "LOCK TABLE entry"],
)
def test_refuses_beside_an_idle_session_that_would_hold_the_purge_back(bench: Service, statement: str) -> None:
    with idle_session(bench, statement) as session:
        result = run_tidy(bench)

        assert result.status is Status.REFUSED
        assert f"SELECT pg_terminate_backend({session.info.backend_pid});" in (result.error or "")
        assert "forgotten psql" in (result.error or "")


@pytest.mark.usefixtures("hasty")
def test_refuses_beside_an_idle_session_that_added_a_child_to_a_row(bench: Service) -> None:
    with idle_session(bench, "INSERT INTO part VALUES (1000, 1)"):
        assert run_tidy(bench).status is Status.REFUSED


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("statement", ["SELECT count(*) FROM entry", "UPDATE entry SET is_old = true WHERE id = 0"])
def test_notes_an_idle_session_that_holds_no_row(bench: Service, statement: str) -> None:
    with idle_session(bench, statement) as session:
        result = run_tidy(bench)

        assert result.status is Status.SUCCESS
        assert [f"session {session.info.backend_pid}" in note for note in result.notes] == [True]


@pytest.mark.usefixtures("hasty")
def test_does_not_mind_an_idle_session_on_another_table(bench: Service) -> None:
    with idle_session(bench, "LOCK TABLE location"):
        result = run_tidy(bench)

    assert (result.status, result.notes) == (Status.SUCCESS, ())


@pytest.mark.usefixtures("hasty")
def test_does_not_mind_an_idle_session_where_nothing_matches(bench: Service) -> None:
    bench.connection.execute("UPDATE entry SET is_old = false")

    with idle_session(bench, "SELECT FROM entry WHERE id = 1 FOR UPDATE"):
        assert run_tidy(bench).status is Status.SUCCESS


def test_does_not_mind_a_session_that_pauses_for_a_moment(bench: Service) -> None:
    with idle_session(bench, "SELECT FROM entry WHERE id = 10 FOR UPDATE"):
        assert run_tidy(bench).status is Status.SUCCESS


@pytest.mark.usefixtures("hasty")
def test_says_in_a_dry_run_which_session_is_in_the_way(bench: Service) -> None:
    with idle_session(bench, "SELECT FROM entry WHERE id = 1 FOR UPDATE"):
        assert "pg_terminate_backend" in (run_tidy(bench, dry_run=True).would_refuse or "")


# Replication slots


@pytest.fixture(params=["logical", "physical"])
def slot(bench: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """A replication slot that nobody reads, behind by the little that was written since."""
    if bench.value("SHOW wal_level") != "logical" and request.param == "logical":
        pytest.skip("a logical replication slot needs wal_level = logical")
    makes = {"logical": "pg_create_logical_replication_slot(%s, 'pgoutput')", "physical": PHYSICAL}[request.param]
    name = f"slot_{uuid.uuid4().hex[:12]}"
    bench.connection.execute(sql.SQL(f"SELECT {makes}"), (name,))
    try:
        bench.connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000))")
        yield name
    finally:
        bench.connection.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def test_refuses_beside_a_slot_that_is_far_behind(bench: Service, slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MAX_SLOT_BYTES", 1)
    monkeypatch.setattr(followers, "NOTED_SLOT_BYTES", 0)

    result = run_tidy(bench)

    assert result.status is Status.REFUSED
    assert f"SELECT pg_drop_replication_slot('{slot}');" in (result.error or "")


def test_notes_a_slot_that_is_somewhat_behind(bench: Service, slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "NOTED_SLOT_BYTES", 0)

    result = run_tidy(bench)

    assert result.status is Status.SUCCESS
    assert any(slot in note for note in result.notes)


def test_does_not_mind_a_slot_that_keeps_up(bench: Service, slot: str) -> None:
    result = run_tidy(bench)

    assert (result.status, result.notes) == (Status.SUCCESS, ())
