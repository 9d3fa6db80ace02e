"""admin_query_benchmark: measured as a role that policies hold for, refused where that would mean nothing, and nothing stays."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cloudmake.benchmark.queries import QUERIES, TABLES
from cath_dagster.cloudmake.benchmark.results import as_text
from cath_dagster.cloudmake.benchmark.role import Guise, disguised
from cath_dagster.cloudmake.nearest_rank import nearest_rank
from cath_dagster.core.model.outcome import RunResult, Status
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.planted import Repository
from tests.support.maintained import outcome
from tests.support.roles import role_in
from tests.support.waiting import wait_until

JOB = "admin_query_benchmark"
ROOT = Path(__file__).parents[2]
FEW = {"iterations": 20, "confirm": True}
NAMES = {query.name for query in QUERIES}


@dataclass
class Measured:
    """A CloudMake with a role that services read by."""

    cloudmake: CloudMake
    role: str

    def run(self, **config: Any) -> RunResult:
        return self.cloudmake.run(JOB, **{**FEW, "gate": False, **config})

    def kept(self) -> list[tuple[Any, ...]]:
        return self.cloudmake.rows("SELECT run_id, query, measured_as, p95_ms, revision FROM maintenance.benchmark")

    def as_superuser(self, statement: str, *names: str) -> None:
        self.cloudmake.connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
def measured(cloudmake: CloudMake) -> Iterator[Measured]:
    """Yield one outside production with hardly a row; what is measured on is seeded."""
    with role_in(cloudmake.url, cloudmake.connection) as role:
        cloudmake.environ |= {"CLOUDMAKE_ENVIRONMENT": "staging", "CLOUDMAKE_BENCHMARK_ROLE": role.name}
        made = Measured(cloudmake, role.name)
        made.as_superuser(f"GRANT SELECT ON {', '.join(TABLES)} TO {{}}", role.name)
        yield made


def fill(cloudmake: CloudMake) -> None:
    """Insert as many rows as a measurement needs at least."""
    cloudmake.connection.execute(
        "WITH org AS (INSERT INTO organizations (name, slug) VALUES ('Example', 'example') RETURNING id)"
        " INSERT INTO users (org_id, email, role) SELECT org.id, n || '@example.org',"
        " (CASE WHEN n <= 5 THEN 'admin' ELSE 'user' END)::auth_role FROM org, generate_series(1, 1000) AS n"
    )
    cloudmake.connection.execute(
        "INSERT INTO admin_audit_logs (action_type, entity_type) SELECT 'x', 'x' FROM generate_series(1, 10000)"
    )


def test_the_nearest_rank_is_a_sample_that_was_measured() -> None:
    samples = [float(n) for n in range(100, 0, -1)]

    assert (nearest_rank(samples, 95), nearest_rank(samples, 50), nearest_rank([3.0], 95)) == (95, 50, 3)
    assert nearest_rank([float(n) for n in range(1, 21)], 95) == 19


def test_measures_both_ways_on_rows_that_do_not_stay_and_says_what_policies_cost(
    measured: Measured, tmp_path: Path
) -> None:
    repository = Repository.make(tmp_path / "service")
    commit = repository.commit(**{"db/migrations/0001.sql": "SELECT 1"})
    measured.cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(repository.path / "db/migrations")

    for days in (730, 731):
        measured.cloudmake.connection.execute(
            "INSERT INTO maintenance.benchmark (run_id, measured_at, query, measured_as, iterations, p50_ms, p95_ms, target_ms)"
            " VALUES (%s, %s, 'x', 'owner', 1, 1, 1, 1)",
            [str(days), measured.cloudmake.ago(days=days)],
        )

    result = measured.run(seed_rows=2_500, target_ms=0.001, gate=True)

    details = outcome(result, JOB).details
    kept = [row for row in measured.kept() if row[0] == result.run_id]
    assert (result.status, result.checks[0].passed) == (Status.FAILED, False)
    assert "sc_004_admin_p95: p95 above 0.001 ms: newest_users" in str(result.error)
    assert {(query, way) for _, query, way, _, _ in kept} == {(n, w) for n in NAMES for w in ("administrator", "owner")}
    assert {row[4] for row in kept} == {commit}
    assert {row[0] for row in measured.kept()} == {result.run_id, "730"}
    assert (details["users_rows"], details["admin_audit_logs_rows"], details["seeded"]) == (2_500, 10_000, 2_500)
    assert {name for name in details if name.endswith("_p95_ms")} == {
        f"{name}{way}_p95_ms" for name in NAMES for way in ("", "_as_owner")
    }
    for _, query, way, p95, _ in kept:
        assert details[f"{query}{'_as_owner' if way == 'owner' else ''}_p95_ms"] == p95 > 0
    called = details["called_for_each_row"]
    assert isinstance(called, list)
    assert any(each.startswith("newest_audit_logs: admin_audit_logs: ") for each in called)
    assert [measured.cloudmake.count(table) for table in (*TABLES, "organizations")] == [0] * 6
    shown = as_text(result, verbose=True)
    assert [line.split()[0] for line in shown[1:7]] == [query.name for query in QUERIES]
    assert {"called for each row:", "called once instead:"} <= set(shown)
    assert as_text(measured.run(dry_run=True), verbose=True) == []


@pytest.mark.both_versions
def test_the_form_that_is_given_is_not_called_for_each_row_any_more(measured: Measured) -> None:
    fill(measured.cloudmake)
    first = measured.run()
    remedies = outcome(first, JOB).details["called_once_instead"]
    assert isinstance(remedies, list)
    for remedy in remedies:
        measured.cloudmake.connection.execute(remedy.encode())

    second = measured.run()

    before, after = (outcome(result, JOB).details for result in (first, second))
    assert (
        "ALTER POLICY admin_audit_logs_select_admin ON public.admin_audit_logs USING (((SELECT auth.role()) ="
        in " ".join(remedies)
    )
    assert after.get("called_for_each_row") is None
    assert before["policies"] != after["policies"]
    assert first.notes != second.notes


def refusals() -> dict[str, tuple[str, str]]:
    """Return by name what is done to the database or the role, and what is said of it."""
    return {
        "a superuser": ("ALTER ROLE {} SUPERUSER", "is a superuser, so that no policy would be measured"),
        "BYPASSRLS": ("ALTER ROLE {} BYPASSRLS", "is let past row-level security (BYPASSRLS)"),
        "the owner of a table": (
            "ALTER TABLE users OWNER TO {}",
            "on users: row-level security is not enabled there, or",
        ),
        "no row-level security": (
            "ALTER TABLE admin_sessions DISABLE ROW LEVEL SECURITY",
            "on admin_sessions: row-level security is not enabled there, or",
        ),
        "no privilege": ("REVOKE SELECT ON polar_customers FROM {}", "GRANT SELECT ON polar_customers TO"),
        "no function": ("ALTER FUNCTION auth.role() RENAME TO renamed", "auth.role() not there, by which the policies"),
        "too few rows": ("SELECT 1", "users has 0 rows, fewer than 1,000"),
    }


@pytest.mark.parametrize("what", refusals())
def test_refuses_to_measure_what_would_mean_nothing(measured: Measured, what: str) -> None:
    statement, says = refusals()[what]
    measured.as_superuser(statement, *[measured.role] * statement.count("{}"))

    result, dry = measured.run(), measured.run(dry_run=True)
    measured.as_superuser("REASSIGN OWNED BY {} TO CURRENT_USER", measured.role)

    assert (result.status, dry.status) == (Status.REFUSED, Status.SUCCESS)
    assert says in str(result.error)
    assert says in str(dry.would_refuse)
    assert measured.kept() == []


def test_a_table_that_is_not_there_is_named_before_anything_is_measured(measured: Measured) -> None:
    measured.as_superuser("ALTER TABLE user_sessions RENAME TO renamed")

    result = measured.run()

    assert result.status is Status.FAILED
    assert "public has no table user_sessions" in str(result.error)
    assert measured.kept() == []


def test_a_role_that_is_not_there_or_that_nobody_named_is_an_error_with_words(measured: Measured) -> None:
    unknown = measured.run(role="nobody at all")
    del measured.cloudmake.environ["CLOUDMAKE_BENCHMARK_ROLE"]
    unnamed = measured.run()

    assert "the role nobody at all does not exist" in str(unknown.error)
    assert "CLOUDMAKE_BENCHMARK_ROLE not set" in str(unnamed.error)


def test_a_role_that_cannot_be_taken_on_is_refused_with_the_grant(measured: Measured) -> None:
    superuser, cloudmake = measured.cloudmake.environ["CLOUDMAKE_DATABASE_URL"], measured.cloudmake
    with role_in(cloudmake.url, cloudmake.connection) as jobs:
        measured.as_superuser("ALTER ROLE {} BYPASSRLS", jobs.name)
        measured.as_superuser("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}", jobs.name)
        measured.as_superuser("GRANT USAGE, CREATE ON SCHEMA maintenance TO {}", jobs.name)
        measured.as_superuser("GRANT ALL ON ALL TABLES IN SCHEMA maintenance TO {}", jobs.name)
        fill(cloudmake)
        cloudmake.environ["CLOUDMAKE_DATABASE_URL"] = jobs.url

        refused = measured.run()
        measured.as_superuser("GRANT {} TO {}", measured.role, jobs.name)
        allowed = measured.run()
        cloudmake.environ["CLOUDMAKE_DATABASE_URL"] = superuser

    assert refused.status is Status.REFUSED
    assert f'as a superuser: GRANT "{measured.role}" TO "{jobs.name}"' in str(refused.error)
    assert (allowed.status, allowed.error) == (Status.SUCCESS, None)


def test_production_needs_confirm_and_takes_no_seeded_rows(measured: Measured) -> None:
    measured.cloudmake.environ["CLOUDMAKE_ENVIRONMENT"] = "production"

    unconfirmed, seeded = measured.run(confirm=False), measured.run(seed_rows=2_500)
    measured.cloudmake.environ["CLOUDMAKE_ENVIRONMENT"] = ""

    assert (unconfirmed.status, seeded.status) == (Status.REFUSED, Status.REFUSED)
    assert "run it with confirm" in str(unconfirmed.error)
    assert "not in production" in str(seeded.error)
    assert "CLOUDMAKE_ENVIRONMENT not set" in str(measured.run().error)


def test_a_users_claim_that_sees_the_audit_fails_the_run(measured: Measured) -> None:
    measured.as_superuser("CREATE POLICY everybody ON admin_audit_logs FOR SELECT USING (true)")

    result = measured.run(seed_rows=2_500)

    assert result.status is Status.FAILED
    assert "a user's claim sees 10,000 rows of admin_audit_logs" in str(result.error)
    assert (measured.kept(), result.checks) == ([], ())


def test_an_administrators_claim_that_sees_nothing_fails_the_run(measured: Measured) -> None:
    result = measured.run(seed_rows=2_500, admin_claims='{"sub": "{user_id}", "role": "superhero"}')

    assert result.status is Status.FAILED
    assert "the administrator's claim sees 0 of 10,000 rows" in str(result.error)


def test_the_claims_are_put_where_a_service_puts_them(measured: Measured) -> None:
    for name in ("uid", "role"):
        body = f"current_setting('app.{name}', true)" + ("::uuid" if name == "uid" else "")
        measured.as_superuser(
            f"CREATE OR REPLACE FUNCTION auth.{name}() RETURNS {'uuid' if name == 'uid' else 'text'} LANGUAGE sql STABLE RETURN {body}"
        )

    result = measured.run(seed_rows=2_500, claims_setting="app.role", admin_claims="admin", user_claims="user")

    assert (result.status, result.error) == (Status.SUCCESS, None)


def test_a_query_that_takes_too_long_is_not_measured_and_fails_the_run(measured: Measured) -> None:
    fill(measured.cloudmake)
    measured.as_superuser(
        "CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN true; END $$"
    )
    measured.as_superuser("CREATE POLICY slow ON admin_sessions AS RESTRICTIVE FOR SELECT USING ((SELECT slow()))")
    user = measured.cloudmake.value("SELECT id FROM users WHERE role = 'admin' LIMIT 1")
    measured.cloudmake.insert(
        "admin_sessions", user_id=user, token_hash="x", expires_at=measured.cloudmake.ago(days=-1)
    )

    result = measured.run(statement_seconds=1)

    assert result.status is Status.FAILED
    assert result.error == "admin_sessions took longer than 1 s, and was not measured"
    assert (result.checks[0].passed, result.checks[0].message) == (False, "not measured: admin_sessions")
    assert {query for _, query, way, _, _ in measured.kept() if way == "administrator"} == NAMES - {"admin_sessions"}


def test_a_session_that_is_lost_in_the_midst_is_opened_anew_and_leaves_no_row(measured: Measured) -> None:
    cloudmake = measured.cloudmake
    settings = {"SEED_ROWS": "2500", "ITERATIONS": "20", "GATE": "false"}
    cloudmake.environ |= {f"CLOUDMAKE_{JOB.upper()}_{name}": value for name, value in settings.items()}
    waiting = "datname = current_database() AND wait_event_type = 'Lock'"

    result = cloudmake.run_beside(
        JOB,
        ("LOCK TABLE polar_customers IN SHARE MODE", []),
        then=[(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waiting}", [])],
    )

    assert (result.status, len(measured.kept())) == (Status.SUCCESS, 2 * len(QUERIES))
    assert [cloudmake.count(table) for table in TABLES] == [0] * 5


def test_a_dry_run_measures_nothing_and_keeps_nothing(measured: Measured) -> None:
    result = measured.run(dry_run=True, seed_rows=2_500)

    assert (result.status, result.would_refuse, outcome(result, JOB).matched) == (Status.SUCCESS, None, len(QUERIES))
    assert measured.kept() == []


def test_what_a_session_takes_on_ends_with_its_savepoint_also_after_an_error(measured: Measured) -> None:
    guise = Guise(role=measured.role, claims_setting="request.jwt.claims", claims="{}")
    look = sa.text(
        "SELECT current_user, current_setting('row_security'), current_setting('statement_timeout'), "
        "coalesce(nullif(current_setting('request.jwt.claims', true), ''), 'none')"
    )

    def work(connection: sa.Connection) -> list[tuple[Any, ...]]:
        seen = [tuple(connection.execute(look).one())]
        with contextlib.suppress(DBAPIError), disguised(connection, guise, timeout_ms=7_000):
            seen.append(tuple(connection.execute(look).one()))
            connection.execute(sa.text("SELECT 1 / 0"))
        return [*seen, tuple(connection.execute(look).one())]

    with EnvironmentBackends("CLOUDMAKE", measured.cloudmake.environ).database("test") as database:
        before, within, after = database.transaction(work)

    assert within == (measured.role, "on", "7s", "{}")
    assert before == after == ("postgres", "off", "0", "none")


SCRIPT = """
import sys
from datetime import UTC, datetime
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cloudmake.jobs.admin_query_benchmark import SPEC
from cath_dagster.core.run.execution import execute
from tests.support.maintained import SilentReporter
environ = dict(item.split("=", 1) for item in sys.argv[2:])
now = datetime(2026, 11, 18, 6, 0, tzinfo=UTC)
execute(SPEC, {"iterations": 20, "seed_rows": 2_500}, run_id=sys.argv[1], now=now,
    backends=EnvironmentBackends("CLOUDMAKE", environ), reporter=SilentReporter())
"""


@pytest.mark.stack
@pytest.mark.parametrize("table", ["polar_customers", "maintenance.benchmark"])
def test_killed_anywhere_it_leaves_no_row(measured: Measured, table: str) -> None:
    """The process is killed while it waits: to insert the last seeded rows, and to keep its results."""
    run_id, cloudmake = str(uuid.uuid4()), measured.cloudmake
    variables = [f"{name}={value}" for name, value in cloudmake.environ.items()]
    with psycopg.connect(cloudmake.url) as other:
        mode = "EXCLUSIVE" if table.startswith("maintenance") else "SHARE"
        other.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(sql.Identifier(*table.split(".")), sql.SQL(mode)))
        command = [sys.executable, "-c", SCRIPT, run_id, *variables]
        with subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL) as child:
            waiting = "application_name LIKE %s AND wait_event_type = 'Lock'"
            wait_until(
                lambda: cloudmake.value(f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}", f"%{run_id}"),
                "the run never came to the lock",
            )
            child.kill()
            child.wait()
    wait_until(
        lambda: (
            not cloudmake.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s", f"%{run_id}")
        ),
        "the run's session is still there",
    )

    assert [cloudmake.count(table) for table in (*TABLES, "organizations", "maintenance.benchmark")] == [0] * 7
    assert measured.run(dry_run=True, seed_rows=2_500).would_refuse is None
