"""An audit table of any size, 80 % of it expired, on a fresh copy for every round; and ways to purge it."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from benchmarks.databases import copy_database, create_database
from benchmarks.measures import BenchmarkError
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.samples.cath.sample import create_schema

RETENTION_DAYS = 90
SPAN_DAYS = 450
"""Rows over 450 days, so that 80 % of them are older than 90."""

FILL = f"""
INSERT INTO audit_log (id, "timestamp", action, details, user_id, user_email, user_role, user_provenance)
SELECT md5(i::text), %(as_of)s - ((i::bigint * 7919) %% {SPAN_DAYS * 1000}) * interval '86.4 s',
       'View user', 'details of row ' || i, md5((i %% 500)::text), 'user' || i %% 500 || '@example.com', 'SYSTEM_ADMIN',
       'SSO'
FROM generate_series(1, %(rows)s) AS i
"""
WRITES_EVERY_SECONDS = 0.01
IS_EXPIRED = f"""\"timestamp\" < %s - interval '{RETENTION_DAYS} days'"""


@dataclass(frozen=True)
class PurgeRun:
    """What one run of `clear_audit` took, in seconds, and the peak of its process's memory, in MB."""

    deleted: int
    deleting: float
    whole: float
    longest: float
    peak_mb: float
    began_at: float
    ended_at: float


@dataclass(frozen=True)
class AuditLog:
    """The table in a template database of the cluster."""

    cluster: EmbeddedPostgres
    rows: int
    as_of: datetime

    @classmethod
    def make(cls, cluster: EmbeddedPostgres, rows: int) -> "AuditLog":
        made = cls(cluster, rows, datetime.now(UTC).replace(microsecond=0))
        create_database(cluster, made.template, "template1")
        with psycopg.connect(cluster.url(made.template), autocommit=True) as connection:
            create_schema(connection)
            connection.execute(FILL, {"rows": rows, "as_of": made.naive_as_of})
            connection.execute("VACUUM (ANALYZE, FREEZE)")
        engine = open_engine(cluster.url(made.template), variable="template", application_name="bench")
        migrate(engine, CATH)
        engine.dispose()
        return made

    @property
    def template(self) -> str:
        return f"bench_audit_{self.rows}"

    @property
    def naive_as_of(self) -> datetime:
        return self.as_of.replace(tzinfo=None)

    def size(self) -> str:
        with psycopg.connect(self.cluster.url(self.template)) as connection:
            row = connection.execute("SELECT pg_size_pretty(pg_table_size('audit_log'))").fetchone()
        return str(row[0]) if row else "?"

    def copy(self) -> str:
        """Return the URL of a fresh copy, its table read once: neither side pays for the first look at it."""
        url = copy_database(self.cluster, "bench_copy", self.template)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT count(*) FROM audit_log")
        return url

    def drop(self) -> None:
        with psycopg.connect(self.cluster.url("postgres"), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.template)))

    def delete_at_once(self, url: str) -> tuple[float, int]:
        """Return the seconds and rows of one DELETE."""
        with psycopg.connect(url, autocommit=True) as connection:
            started = time.perf_counter()
            deleted = connection.execute(f"DELETE FROM audit_log WHERE {IS_EXPIRED}", [self.naive_as_of]).rowcount
            return time.perf_counter() - started, deleted

    def purge(self, url: str, *, pace: str = "bulk") -> PurgeRun:
        """Purge by `clear_audit`, in a process of its own as in production."""
        command = [sys.executable, "-m", "benchmarks.purge_process", url, self.as_of.isoformat(), pace]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(done.stderr[-2_000:])
        return PurgeRun(**json.loads(done.stdout))


@contextlib.contextmanager
def somebody_writing(url: str) -> Iterator[None]:
    """Let another session take a transaction id now and then, as one does that writes."""
    ended = threading.Event()

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not ended.wait(WRITES_EVERY_SECONDS):
                connection.execute("SELECT pg_current_xact_id()")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
