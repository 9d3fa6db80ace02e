"""Start `dagster job execute` cold on `clear_audit` with nothing to do, beside a hello-world job of one op."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks.audit_log import AuditLog
from benchmarks.measures import Ratio, Say, at_most
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.postgres import EmbeddedPostgres

GOAL = 1.25
HELLO = """
import dagster as dg

@dg.op
def say_hello(context):
    context.log.info("hello")

@dg.job(executor_def=dg.in_process_executor)
def hello():
    say_hello()

defs = dg.Definitions(jobs=[hello])
"""


def measure_cold_start(cluster: EmbeddedPostgres, *, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield the ratio of the two commands, both from the same folder and so with the same instance."""
    url = AuditLog.make(cluster, 1).copy()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE audit_log")
    with tempfile.TemporaryDirectory() as folder:
        hello = Path(folder) / "hello.py"
        hello.write_text(HELLO)
        ours = ["-m", "cath_dagster.cath.definitions", "-j", "clear_audit"]
        beside = ["-f", str(hello), "-j", "hello"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
        environ["CATH_DATABASE_URL"] = url
        say(f"cold start: {rounds} rounds")
        times = [(execute_cold(ours, environ), execute_cold(beside, environ)) for _ in range(rounds + 1)][1:]
    yield at_most(
        "dagster job execute of clear_audit with nothing to do, time against a hello-world job",
        times,
        goal=GOAL,
    )


def execute_cold(arguments: list[str], environ: dict[str, str]) -> float:
    """Return the seconds of one `dagster job execute`."""
    started = time.perf_counter()
    program = str(Path(sys.executable).parent / "dagster")
    done = subprocess.run(
        [program, "job", "execute", *arguments], env=environ, cwd=REPOSITORY, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr.decode(errors="replace")[-2_000:])
    return time.perf_counter() - started
