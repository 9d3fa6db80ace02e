"""Look at eleven healthy MCP servers by `mcp_outage_detection`, and at the slowest of them alone."""

import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.databases import create_database
from benchmarks.measures import BenchmarkError, Quiet, Ratio, Say, at_most
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.jobs.mcp_outage_detection import SPEC
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.execution import execute
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.samples.cloudmake.sample import create_schema

DATABASE = "bench_servers"
ANSWER_SECONDS = tuple(round(0.1 * number, 1) for number in range(1, 12))
"""How long each server takes for an answer, of which a look needs two: as servers elsewhere do, that leave us our processor."""
GOAL = 1.5


def measure_servers(cluster: EmbeddedPostgres, *, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield how long a run over all of them takes, beside one over the slowest."""
    say(
        f"servers: {len(ANSWER_SECONDS)} with answers of {ANSWER_SECONDS[0]} to {ANSWER_SECONDS[-1]} s, {rounds} rounds"
    )
    with _listening() as urls, tempfile.TemporaryDirectory() as folder:
        names = {f"server-{number}": url for number, url in enumerate(urls, start=1)}
        environ = {"CLOUDMAKE_DATABASE_URL": _database(cluster), "CLOUDMAKE_MCP_CONFIG": _configure(folder, names)}
        slowest = list(names)[-1]
        # The first look of a process reads the client's library, and the certificates.
        _run(environ, next(iter(names)))
        times = [(_run(environ, ""), _run(environ, slowest)) for _ in range(rounds)]
    yield at_most("mcp_outage_detection over 11 healthy servers (the slowest of them alone)", times, goal=GOAL)


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Run the servers in a process of their own."""
    command = [sys.executable, "-m", "cath_dagster.development.simulators.mcp", "http", "--seconds"]
    with subprocess.Popen(
        [*command, *map(str, ANSWER_SECONDS)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield [process.stdout.readline().strip() for _ in ANSWER_SECONDS]
        finally:
            process.terminate()


def _configure(folder: str, names: Mapping[str, str]) -> str:
    path = Path(folder) / "config.json"
    path.write_text(json.dumps({"mcpServers": {name: {"url": url} for name, url in names.items()}}))
    return str(path)


def _database(cluster: EmbeddedPostgres) -> str:
    create_database(cluster, DATABASE, "template1")
    url = cluster.url(DATABASE)
    with psycopg.connect(url, autocommit=True) as connection:
        create_schema(connection)
    engine = open_engine(url, variable="bench", application_name="bench")
    migrate(engine, CLOUDMAKE)
    engine.dispose()
    return url


def _run(environ: Mapping[str, str], servers: str) -> float:
    started = time.perf_counter()
    result = execute(
        SPEC,
        {"servers": servers},
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        backends=EnvironmentBackends(CLOUDMAKE.prefix, environ),
        reporter=Quiet(),
    )
    seconds = time.perf_counter() - started
    if result.status is not Status.SUCCESS or "unanswered" in result.outcomes[0].details:
        raise BenchmarkError(f"not every server answered: {result.error or result.outcomes[0].details}")
    return seconds
