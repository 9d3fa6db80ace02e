"""What else one might write, on the same table: the usual loop, an ORM, and the physical limit."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session, registry

from benchmarks.audit_log import IS_EXPIRED, RETENTION_DAYS, AuditLog
from benchmarks.measures import BenchmarkError, Say
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath.tables import audit_log

LOOP_ROWS = 10_000
ORM_ROWS = 1_000
"""Rows of the loop's and the ORM's transactions, as they are usually written."""


@dataclass(frozen=True)
class Peer:
    """A way to delete the same rows. `ratio` is its throughput against one DELETE."""

    name: str
    seconds: float
    longest: float
    ratio: float


def measure_peers(log: AuditLog, *, rounds: int, say: Say) -> Iterator[Peer]:
    """Yield each way, the medians of its rounds."""
    say(f"peers: {log.rows:,} rows, {rounds} rounds")
    ways: dict[str, Callable[[AuditLog, str], tuple[float, float, int]]] = {
        "one DELETE": _at_once,
        "clear_audit, bulk": lambda log, url: _ours(log, url, "bulk"),
        "clear_audit, polite": lambda log, url: _ours(log, url, "polite"),
        f"loop: DELETE WHERE id IN (SELECT id … LIMIT {LOOP_ROWS:,})": _loop,
        f"ORM, row by row, a commit per {ORM_ROWS:,}": _orm,
        "DROP PARTITION, where the table is partitioned by time": _drop_partition,
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        expected = None
        for name, way in ways.items():
            seconds, longest, deleted = way(log, log.copy())
            expected = deleted if expected is None else expected
            if deleted != expected:
                raise BenchmarkError(f"{name} deleted {deleted} rows, one DELETE {expected}")
            measured[name].append((seconds, longest))
    one_delete = [seconds for seconds, _ in measured["one DELETE"]]
    for name, taken in measured.items():
        ratio = median(beside / ours for (ours, _), beside in zip(taken, one_delete, strict=True))
        yield Peer(name, median(ours for ours, _ in taken), max(longest for _, longest in taken), ratio)


def _at_once(log: AuditLog, url: str) -> tuple[float, float, int]:
    seconds, deleted = log.delete_at_once(url)
    return seconds, seconds, deleted


def _ours(log: AuditLog, url: str, pace: str) -> tuple[float, float, int]:
    run = log.purge(url, pace=pace)
    return run.whole, run.longest, run.deleted


def _loop(log: AuditLog, url: str) -> tuple[float, float, int]:
    statement = f"DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE {IS_EXPIRED} LIMIT {LOOP_ROWS})"
    total, longest, started = 0, 0.0, time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            began = time.perf_counter()
            deleted = connection.execute(statement, [log.naive_as_of]).rowcount
            longest = max(longest, time.perf_counter() - began)
            total += deleted
            if not deleted:
                return time.perf_counter() - started, longest, total


class _Entry:
    """A row as an ORM maps it."""


def _orm(log: AuditLog, url: str) -> tuple[float, float, int]:
    mappers = registry(metadata=audit_log.metadata)
    mappers.map_imperatively(_Entry, audit_log)
    engine = open_engine(url, variable="bench", application_name="bench")
    cutoff = log.naive_as_of - sa.func.make_interval(0, 0, 0, RETENTION_DAYS)
    query = sa.select(_Entry).where(audit_log.c.timestamp < cutoff).limit(ORM_ROWS)
    total, longest, started = 0, 0.0, time.perf_counter()
    with Session(engine) as session:
        while True:
            began = time.perf_counter()
            entries = session.scalars(query).all()
            for entry in entries:
                session.delete(entry)
            session.commit()
            longest = max(longest, time.perf_counter() - began)
            total += len(entries)
            if not entries:
                break
    seconds = time.perf_counter() - started
    engine.dispose()
    mappers.dispose()
    return seconds, longest, total


def _drop_partition(log: AuditLog, url: str) -> tuple[float, float, int]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"""
            ALTER TABLE audit_log RENAME TO unpartitioned;
            CREATE TABLE audit_log (LIKE unpartitioned) PARTITION BY RANGE ("timestamp");
            CREATE TABLE expired PARTITION OF audit_log FOR VALUES FROM (MINVALUE)
                TO ('{log.naive_as_of}'::timestamp - interval '{RETENTION_DAYS} days');
            CREATE TABLE kept PARTITION OF audit_log DEFAULT;
            INSERT INTO audit_log SELECT * FROM unpartitioned;
            """
        )
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT count(*) FROM expired").fetchone()
        started = time.perf_counter()
        connection.execute("ALTER TABLE audit_log DETACH PARTITION expired; DROP TABLE expired")
        seconds = time.perf_counter() - started
    return seconds, seconds, int(row[0]) if row else 0
