"""Purge an audit table by `clear_audit`, beside one DELETE of the same rows on a fresh copy."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import psycopg

from benchmarks.databases import Quiet, copy_database, create_database
from benchmarks.measures import Ratio, Say, at_least, bounded
from cath_dagster.adapters.environment import EnvironmentResources
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import LOCATION
from cath_dagster.cath.jobs.clear_audit import SPEC
from cath_dagster.core.execution import execute
from cath_dagster.core.migrations import migrate
from cath_dagster.core.outcome import Status
from cath_dagster.development.cath_sample import create_schema
from cath_dagster.development.postgres import EmbeddedPostgres

TEMPLATE = "bench_template"
RETENTION_DAYS = 90
SPAN_DAYS = 450
"""Rows over 450 days, so that 80 % of them are older than 90."""
GOAL_DELETING, GOAL_WHOLE, GOAL_LONGEST_MS = 0.9, 0.8, 250

FILL = f"""
INSERT INTO audit_log (id, "timestamp", action, details, user_id, user_email, user_role, user_provenance)
SELECT md5(i::text), %(as_of)s - ((i::bigint * 7919) %% {SPAN_DAYS * 1000}) * interval '86.4 s',
       'View user', 'details of row ' || i, md5((i %% 500)::text), 'user' || i %% 500 || '@example.com', 'SYSTEM_ADMIN',
       'SSO'
FROM generate_series(1, %(rows)s) AS i
"""


@dataclass(frozen=True)
class _Round:
    one_delete: float
    deleting: float
    whole: float
    longest: float


def measure_purge(cluster: EmbeddedPostgres, *, rows: int, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield the ratios of the deleting phase and of the whole run, and the longest transaction."""
    as_of = datetime.now(UTC).replace(microsecond=0)
    _make_template(cluster, rows, as_of)
    with psycopg.connect(cluster.url(TEMPLATE)) as connection:
        size, version = connection.execute(
            "SELECT pg_size_pretty(pg_table_size('audit_log')), current_setting('server_version')"
        ).fetchone() or ("?", "?")
    say(f"purge: {rows:,} rows of audit_log, 80 % expired, {size}, PostgreSQL {version}, {rounds} rounds")
    measured = [_measure(cluster, as_of) for _ in range(rounds)]
    deleting = [(each.deleting, each.one_delete) for each in measured]
    whole = [(each.whole, each.one_delete) for each in measured]
    yield at_least("purge, deleting phase, throughput against one DELETE", deleting, goal=GOAL_DELETING)
    yield at_least("purge, whole run, throughput against one DELETE", whole, goal=GOAL_WHOLE)
    yield bounded(
        "purge, longest transaction (one DELETE: the whole time)",
        milliseconds=1_000 * max(each.longest for each in measured),
        beside=1_000 * median(each.one_delete for each in measured),
        goal=GOAL_LONGEST_MS,
    )


def _make_template(cluster: EmbeddedPostgres, rows: int, as_of: datetime) -> None:
    create_database(cluster, TEMPLATE, "template1")
    with psycopg.connect(cluster.url(TEMPLATE), autocommit=True) as connection:
        create_schema(connection)
        connection.execute(FILL, {"rows": rows, "as_of": as_of.replace(tzinfo=None)})
        connection.execute("VACUUM (ANALYZE, FREEZE)")
    engine = open_engine(cluster.url(TEMPLATE), variable="template", application_name="bench")
    migrate(engine, LOCATION)
    engine.dispose()


def _measure(cluster: EmbeddedPostgres, as_of: datetime) -> _Round:
    url = copy_database(cluster, "bench_delete", TEMPLATE)
    with psycopg.connect(url, autocommit=True) as connection:
        _warm(connection)
        started = time.perf_counter()
        expected = connection.execute(
            f"""DELETE FROM audit_log WHERE "timestamp" < %s - interval '{RETENTION_DAYS} days'""",
            [as_of.replace(tzinfo=None)],
        ).rowcount
        one_delete = time.perf_counter() - started
    url = copy_database(cluster, "bench_purge", TEMPLATE)
    with psycopg.connect(url, autocommit=True) as connection:
        _warm(connection)
    started = time.perf_counter()
    result = execute(
        SPEC,
        {"as_of": as_of.isoformat(), "allow_large": True},
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        resources=EnvironmentResources("CATH", {"CATH_DATABASE_URL": url}),
        reporter=Quiet(),
    )
    whole = time.perf_counter() - started
    outcome = next(outcome for outcome in result.outcomes if outcome.target == "audit_log")
    if result.status is not Status.SUCCESS or outcome.deleted != expected:
        raise SystemExit(f"the two did not do the same work: {outcome.deleted} and {expected} rows; {result.error}")
    return _Round(one_delete, outcome.deleting_seconds, whole, outcome.longest_transaction_seconds)


def _warm(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Read the table once, so that neither side pays for the first look at a fresh copy."""
    connection.execute("SELECT count(*) FROM audit_log")
