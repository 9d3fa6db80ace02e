"""Re-encrypt many values by `master_key_rotation`, beside one statement of pgcrypto that does the same."""

import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.databases import create_database
from benchmarks.measures import BenchmarkError, Quiet, Ratio, Say, at_least, bounded
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.jobs.master_key_rotation import SPEC
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.execution import execute
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.samples.cloudmake.sample import SAMPLE

VALUES = 100_000
BYTES = 200
"""Of each value, about as long as a private key."""
LONGEST_MS = 250
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
PGCRYPTO = "/usr/share/postgresql/15/extension/pgcrypto.control"
NAME, TEMPLATE = "bench_keys", "bench_keys_template"
OLD, NEW = "o" * 64, "n" * 64
ROTATE = """
UPDATE secrets_metadata SET encrypted_metadata = pgp_sym_encrypt(
    pgp_sym_decrypt(encrypted_metadata::bytea, %(old)s), %(new)s, 'cipher-algo=aes256')::text
"""
"""As an operator would do it by hand, the result as strong as ours."""


def measure_keys(*, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield the throughput of the rewriting and of the whole job, and its longest transaction; nothing without pgcrypto."""
    if not Path(PGCRYPTO).exists() or not (DEBIAN_15 / "postgres").exists():
        say("keys: not measured, because PostgreSQL 15 with pgcrypto is not installed (apt-get install postgresql-15)")
        return
    say(f"keys: {VALUES:,} values of {BYTES} bytes, {rounds} rounds")
    with _server() as cluster:
        _make_template(cluster)
        measured = [_measure(cluster) for _ in range(rounds)]
    name = f"re-encryption of {VALUES:,} values against one UPDATE by pgcrypto"
    yield at_least(name, [(each.ours, each.theirs) for each in measured], goal=1.0)
    yield at_least(
        "the whole job, every value opened before and after as well, against the same UPDATE",
        [(each.whole, each.theirs) for each in measured],
        goal=0.5,
    )
    yield bounded(
        "longest transaction of the re-encryption (the UPDATE is one)",
        milliseconds=max(each.longest_ms for each in measured),
        beside=1_000 * median(each.theirs for each in measured),
        goal=LONGEST_MS,
    )


@dataclass(frozen=True)
class _Server(EmbeddedPostgres):
    """Debian's, which has pgcrypto; the embedded one has not."""

    programs: Path = field(default=DEBIAN_15, kw_only=True)

    @property
    def bin(self) -> Path:
        return self.programs


@dataclass(frozen=True)
class _Round:
    ours: float
    whole: float
    theirs: float
    longest_ms: float


@contextlib.contextmanager
def _server() -> Iterator[_Server]:
    home = Path(tempfile.mkdtemp(prefix="cath-dagster-bench-15-"))
    cluster = _Server(home, {"shared_buffers": "'1GB'", "max_wal_size": "'8GB'", "autovacuum": "off"})
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(home)


def _make_template(cluster: EmbeddedPostgres) -> None:
    """Make a database whose values pgcrypto has written, as the service's are."""
    create_database(cluster, TEMPLATE, "template1")
    with psycopg.connect(cluster.url(TEMPLATE)) as connection:
        SAMPLE.create_schema(connection)
        connection.execute("CREATE EXTENSION IF NOT EXISTS pgcrypto")
        connection.execute(
            "INSERT INTO secrets_metadata (project_id, environment_id, name, encrypted_metadata)"
            " SELECT gen_random_uuid(), gen_random_uuid(), 'NAME',"
            " pgp_sym_encrypt(lpad(n::text, %s, 'x'), %s, 'cipher-algo=aes256')::text"
            " FROM generate_series(1, %s) AS n",
            [BYTES, OLD, VALUES],
        )
    engine = open_engine(cluster.url(TEMPLATE), variable="bench", application_name="bench")
    migrate(engine, CLOUDMAKE)
    engine.dispose()


def _measure(cluster: EmbeddedPostgres) -> _Round:
    create_database(cluster, NAME, TEMPLATE)
    started = time.perf_counter()
    with psycopg.connect(cluster.url(NAME)) as connection:
        connection.execute(ROTATE, {"old": OLD, "new": NEW})
    theirs = time.perf_counter() - started
    create_database(cluster, NAME, TEMPLATE)
    started = time.perf_counter()
    result = _rotate(cluster.url(NAME))
    whole = time.perf_counter() - started
    (outcome,) = (each for each in result.outcomes if each.target == "secrets_metadata")
    if result.status is not Status.SUCCESS or outcome.updated != VALUES:
        raise BenchmarkError(f"not every value was re-encrypted: {result.error}")
    return _Round(outcome.seconds, whole, theirs, 1_000 * outcome.longest_transaction_seconds)


def _rotate(url: str) -> RunResult:
    return execute(
        SPEC,
        {"confirm": True},
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        backends=EnvironmentBackends(
            "CLOUDMAKE",
            {
                "CLOUDMAKE_DATABASE_URL": url,
                "CLOUDMAKE_ENVIRONMENT": "staging",
                "CLOUDMAKE_MASTER_ENCRYPTION_KEY": NEW,
                "CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD": OLD,
            },
        ),
        reporter=Quiet(),
    )
