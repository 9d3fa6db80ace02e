"""What the console's pages and its API cost with a long history beside a short one, and what the history costs a run.

Left out, since it needs Dagster's own web server and daemon beside it: the overview against what Dagster's UI asks for of the
same jobs, and figures at twenty requests a second beside a daemon at work.
"""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.audit_log import AuditLog
from benchmarks.cold_start import execute_cold
from benchmarks.console_history import add_runs
from benchmarks.console_process import HEADERS, JOBS, hundred_specs
from benchmarks.databases import copy_database, create_database
from benchmarks.measures import BenchmarkError, Ratio, Rounds, Say
from cath_dagster.adapters.history_writer import History, Origin, Writer
from cath_dagster.core.history import writing
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.postgres import EmbeddedPostgres

TEMPLATE, SHORT, LONG = "bench_console", "bench_console_short", "bench_console_long"
START_SECONDS = 60
GOAL_HISTORY, GOAL_HEALTH, GOAL_WRITING, GOAL_MEMORY = 1.3, 4.0, 0.02, 1.1
OVERVIEW, LIST, HEALTH = "/", "/api/v1/jobs", "/healthz"
API_JOB, JOB = "/api/v1/jobs/cath/clear_audit", "/jobs/cath/clear_audit"
PATHS = {OVERVIEW: "the overview", LIST: "the API's list", JOB: "a job's page", API_JOB: "a job by the API"}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured."""

    few: int = 1_000
    many: int = 1_000_000
    requests: int = 100
    """Of each path in each round, alternating with what it is compared to."""
    warm: int = 1_000
    """Requests after which memory is looked at, and looked at again after ten times as many."""


def measure_console(cluster: EmbeddedPostgres, *, rounds: int, say: Say, scale: Scale | None = None) -> Iterator[Ratio]:
    """Yield the ratios of all rounds, of two consoles on two databases that differ in their history alone."""
    scale = scale or Scale()
    say(f"console: {JOBS} jobs, {scale.few:,} and {scale.many:,} rows of history, {rounds} rounds")
    short, long = _make(cluster, scale)
    with ExitStack() as stack:
        few, many = (stack.enter_context(_console(url)) for url in (short, long))
        for path, name in PATHS.items():
            times = [_compare(many, path, few, path, scale.requests) for _ in range(rounds + 1)][1:]
            yield _ratio(f"{name}, {scale.many:,} rows against {scale.few:,}", times, goal=GOAL_HISTORY)
        times = [_compare(many, LIST, many, HEALTH, scale.requests) for _ in range(rounds + 1)][1:]
        yield _ratio("the API's list against /healthz", times, goal=GOAL_HEALTH)
        yield _measure_memory(many, scale)
    yield _measure_writing(cluster, long, rounds)


def _make(cluster: EmbeddedPostgres, scale: Scale) -> tuple[str, str]:
    """Return the URLs of two databases with the same jobs, and with few and with many runs of theirs."""
    create_database(cluster, TEMPLATE, "template1")
    keys = list(hundred_specs())
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
        environ = {**os.environ, "DAGSTER_HOME": home, "DAGSTER_POSTGRES_URL": cluster.url(TEMPLATE)}
        program = str(Path(sys.executable).parent / "cath-dagster")
        subprocess.run([program, "migrate", "operations"], env=environ, check=True, capture_output=True)
    short, long = (copy_database(cluster, name, TEMPLATE) for name in (SHORT, LONG))
    add_runs(short, keys, scale.few)
    add_runs(long, keys, scale.many)
    for url in (short, long):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
    return short, long


@dataclass(frozen=True)
class _Served:
    """A console that listens, and the one connection to it."""

    client: http.client.HTTPConnection
    pid: int

    def time(self, path: str) -> float:
        """Return the seconds until the whole answer is there."""
        started = time.perf_counter()
        self.client.request("GET", path, headers=HEADERS)
        answer = self.client.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != http.client.OK:
            raise BenchmarkError(f"{path} was answered with {answer.status}: {body[:500]!r}")
        return seconds

    def memory(self) -> int:
        """Return the process's resident bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _console(url: str) -> Iterator[_Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.console_process", url, str(port)]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            _wait(client, process)
            yield _Served(client, process.pid)
        finally:
            client.close()
            process.terminate()


def _wait(client: http.client.HTTPConnection, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            client.connect()
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > until:
                raise BenchmarkError("the console does not listen") from None
            time.sleep(0.1)
        else:
            return


def _compare(ours: _Served, path: str, beside: _Served, other: str, requests: int) -> tuple[float, float]:
    """Return the median seconds of both, request by request one after the other: what disturbs one disturbs both."""
    times = [(ours.time(path), beside.time(other)) for _ in range(requests)]
    return median(each for each, _ in times), median(each for _, each in times)


def _ratio(name: str, rounds: Rounds, *, goal: float) -> Ratio:
    value = median(ours / beside for ours, beside in rounds)
    return Ratio(
        name=name,
        ours=f"{1_000 * median(ours for ours, _ in rounds):.2f} ms",
        beside=f"{1_000 * median(beside for _, beside in rounds):.2f} ms",
        result=f"{value:.3f}" if goal < 1 else f"{value:.2f}",
        goal=f"≤ {goal:.2f}",
        is_met=value <= goal,
    )


def _measure_memory(console: _Served, scale: Scale) -> Ratio:
    """Ask for every path in turn: as often as warms it, and then until it is ten times as often."""
    paths = [*PATHS, HEALTH]
    seen = []
    for number in range(1, 10 * scale.warm + 1):
        console.time(paths[number % len(paths)])
        if number in {scale.warm, 10 * scale.warm}:
            seen.append(console.memory())
    before, after = seen
    return Ratio(
        name=f"the console's memory after {10 * scale.warm:,} requests against {scale.warm:,}",
        ours=f"{after / 2**20:.0f} MB",
        beside=f"{before / 2**20:.0f} MB",
        result=f"{after / before:.2f}",
        goal=f"≤ {GOAL_MEMORY:.2f}",
        is_met=after <= GOAL_MEMORY * before,
    )


def _measure_writing(cluster: EmbeddedPostgres, url: str, rounds: int) -> Ratio:
    """Compare all that the history writes of a run, as if the run waited for it, with the time of a run with nothing to do."""
    log = AuditLog.make(cluster, 1).copy()
    with psycopg.connect(log, autocommit=True) as connection:
        connection.execute("TRUNCATE audit_log")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
    environ["CATH_DATABASE_URL"] = log
    arguments = ["-m", "cath_dagster.cath.definitions", "-j", "clear_audit"]
    times = [(_write(url), execute_cold(arguments, environ)) for _ in range(rounds + 1)][1:]
    name = "writing the history of a run against an idle run of clear_audit by dagster job execute"
    return _ratio(name, times, goal=GOAL_WRITING)


def _write(url: str) -> float:
    """Return the seconds that it takes to connect, and to write that a run began and how it ended."""
    run_id, now = str(uuid.uuid4()), datetime.now(UTC)
    begun = writing.Begun(location="cath", job="clear_audit", run_id=run_id, trigger="schedule", started_at=now)
    ended = writing.Ended(status="success", completed_at=now, outcomes=[{"target": "audit_log", "matched": 0}])
    started = time.perf_counter()
    writer = Writer(History(url=url, origin=Origin(trigger="schedule")), run_id)
    writer.hold(begun)
    writer.write(lambda connection: writing.begin(connection, begun))
    writer.write(lambda connection: writing.end(connection, begun, ended))
    writer.close()
    writer.wait(START_SECONDS)
    seconds = time.perf_counter() - started
    if writer.trouble is not None:
        raise BenchmarkError(writer.trouble)
    return seconds
