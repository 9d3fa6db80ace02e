"""What users notice of a purge: the latencies of an open-loop load beside it, by pgbench.

Open loop: transactions come at their own times however long the earlier ones take, and a late one's waiting counts.
"""

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.audit_log import AuditLog
from benchmarks.measures import BenchmarkError, Ratio, Say, at_least, bounded

RATE = 200
"""Transactions a second: a busy court service's day on two cores, half of which the load itself takes."""
CLIENTS = 8
IDLE_SECONDS = 3
LEAD_SECONDS = 0.5
"""pgbench opens its connections."""
MIN_MEASURED = 50
"""One DELETE takes half a second; a round with fewer tells nothing, and of so few the 99th percentile is the worst."""
GOAL_P99, GOAL_POLITE_THROUGHPUT, GOAL_POLITE_LONGEST_MS = 1.5, 0.25, 30

# A request looks something up, changes a row of its own and logs it, into the very table that is purged.
SCRIPT = """
\\set row random(1, {rows})
\\set visitor random(1, 100000)
BEGIN;
SELECT * FROM audit_log WHERE id = md5(:row::text);
UPDATE visitor SET visits = visits + 1 WHERE id = :visitor;
INSERT INTO audit_log (id, "timestamp", action, details, user_id, user_email, user_role, user_provenance)
VALUES (gen_random_uuid()::text, now() AT TIME ZONE 'UTC', 'View', 'd', 'u', 'e', 'r', 'p');
COMMIT;
"""


@dataclass(frozen=True)
class Latencies:
    """Percentiles in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, milliseconds: list[float]) -> "Latencies":
        if len(milliseconds) < MIN_MEASURED:
            raise BenchmarkError(f"only {len(milliseconds)} transactions were measured")
        ordered = sorted(milliseconds)
        return cls(*(ordered[int(share * len(ordered))] for share in (0.5, 0.95, 0.99)))


@dataclass(frozen=True)
class Round:
    """One mode's round: what users waited, and the purge's seconds and longest transaction (0 when idle)."""

    mode: str
    latencies: Latencies
    seconds: float = 0.0
    longest: float = 0.0


def measure_foreground(log: AuditLog, *, rounds: int, say: Say) -> Iterator[Round]:
    """Yield a round of every mode in turn."""
    say(f"foreground: {RATE} transactions a second beside the purge of {log.rows:,} rows, {rounds} rounds")
    modes: dict[str, Callable[[str], tuple[float, float, float, float]]] = {
        "idle": _rest,
        "polite": lambda url: _purge(log, url, "polite"),
        "bulk": lambda url: _purge(log, url, "bulk"),
        "one DELETE": lambda url: _delete(log, url),
    }
    for _ in range(rounds):
        for mode, work in modes.items():
            yield _measure(log, mode, work)


def _measure(log: AuditLog, mode: str, work: Callable[[str], tuple[float, float, float, float]]) -> Round:
    url = log.copy()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE visitor AS SELECT n AS id, 0 AS visits FROM generate_series(1, 100000) AS n")
        connection.execute("ALTER TABLE visitor ADD PRIMARY KEY (id)")
        connection.execute("CHECKPOINT")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "request.sql"
        script.write_text(SCRIPT.format(rows=log.rows))
        load = subprocess.Popen(
            [
                str(log.cluster.bin / "pgbench"), "--no-vacuum", "--file", str(script), "--client", str(CLIENTS),
                "--rate", str(RATE), "--time", "600", "--log", "--log-prefix", f"{folder}/log", url,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        time.sleep(LEAD_SECONDS)
        try:
            began_at, ended_at, seconds, longest = work(url)
            time.sleep(LEAD_SECONDS)
        finally:
            # As its own timer does: it ends by itself, and writes down what it has measured.
            load.send_signal(signal.SIGALRM)
            said = load.communicate()[0]
        found = [line.split() for file in Path(folder).glob("log.*") for line in file.read_text().splitlines()]
    if not found:
        raise BenchmarkError(f"pgbench measured nothing: {said[-500:]}")
    return Round(mode, Latencies.of(_during(found, began_at, ended_at)), seconds, longest)


def _during(lines: list[list[str]], began_at: float, ended_at: float) -> list[float]:
    """Return the milliseconds of the transactions that were due within the time."""
    milliseconds = []
    for _client, _number, microseconds, _script, seconds, fraction, *_ in lines:
        took = int(microseconds) / 1e6
        if began_at <= int(seconds) + int(fraction) / 1e6 - took <= ended_at:
            milliseconds.append(1_000 * took)
    return milliseconds


def _rest(url: str) -> tuple[float, float, float, float]:
    del url
    began_at = time.time()
    time.sleep(IDLE_SECONDS)
    return began_at, time.time(), 0.0, 0.0


def _purge(log: AuditLog, url: str, pace: str) -> tuple[float, float, float, float]:
    done = log.purge(url, pace=pace)
    return done.began_at, done.ended_at, done.whole, done.longest


def _delete(log: AuditLog, url: str) -> tuple[float, float, float, float]:
    began_at = time.time()
    seconds, _ = log.delete_at_once(url)
    return began_at, time.time(), seconds, seconds


def ratios(measured: Sequence[Round], one_delete: float) -> Iterator[Ratio]:
    """Yield what the polite pace is held to; `one_delete` is its seconds with nobody else at work."""
    polite, idle = of(measured, "polite"), of(measured, "idle")
    p99 = median(a.latencies.p99 / b.latencies.p99 for a, b in zip(polite, idle, strict=True))
    yield Ratio(
        name="foreground p99 during a polite purge against idle",
        ours=f"{median_of(measured, 'polite').p99:.2f} ms",
        beside=f"{median_of(measured, 'idle').p99:.2f} ms",
        result=f"{p99:.2f}",
        goal=f"≤ {GOAL_P99:.2f}",
        is_met=p99 <= GOAL_P99,
    )
    seconds = [(each.seconds, one_delete) for each in polite]
    name = "polite purge, whole run beside that load, against one DELETE alone"
    yield at_least(name, seconds, goal=GOAL_POLITE_THROUGHPUT)
    yield bounded(
        "longest transaction, polite",
        milliseconds=1_000 * max(each.longest for each in polite),
        beside=1_000 * one_delete,
        goal=GOAL_POLITE_LONGEST_MS,
    )


def of(measured: Sequence[Round], mode: str) -> list[Round]:
    return [each for each in measured if each.mode == mode]


def median_of(measured: Sequence[Round], mode: str) -> Latencies:
    found = [each.latencies for each in of(measured, mode)]
    return Latencies(*(median(getattr(each, name) for each in found) for name in ("p50", "p95", "p99")))
