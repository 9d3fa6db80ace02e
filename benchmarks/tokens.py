"""Refresh many credentials by `shaam_token_refresh`, against a provider that takes its time."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import median

import psycopg

from benchmarks.databases import create_database
from benchmarks.measures import Quiet, Ratio, Say, bounded
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.bon import BON
from cath_dagster.bon.jobs.shaam_token_refresh import SPEC
from cath_dagster.bon.token_cipher import TokenCipher
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.execution import execute
from cath_dagster.development.local import REPOSITORY
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.samples.bon.sample import KEY, create_schema

DATABASE = "bench_tokens"
CREDENTIALS = 1_000
SECONDS_PER_ANSWER = 0.1
GOAL_MS = 10_000


def measure_tokens(cluster: EmbeddedPostgres, *, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield how long a run takes, beside what the answers alone would take one after the other."""
    say(f"tokens: {CREDENTIALS:,} credentials, {SECONDS_PER_ANSWER * 1_000:.0f} ms an answer, {rounds} rounds")
    with _provider() as token_url:
        times = [_measure(cluster, token_url) for _ in range(rounds)]
    yield bounded(
        f"refresh of {CREDENTIALS:,} tokens, {SECONDS_PER_ANSWER * 1_000:.0f} ms an answer (one by one: answers alone)",
        milliseconds=1_000 * median(times),
        beside=1_000 * CREDENTIALS * SECONDS_PER_ANSWER,
        goal=GOAL_MS,
    )


@contextmanager
def _provider() -> Iterator[str]:
    """Run the provider in a process of its own, as it is in the world."""
    command = [sys.executable, "-m", "cath_dagster.development.simulators.oauth", "--seconds", str(SECONDS_PER_ANSWER)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _measure(cluster: EmbeddedPostgres, token_url: str) -> float:
    create_database(cluster, DATABASE, "template1")
    url = cluster.url(DATABASE)
    cipher, tag = TokenCipher(KEY, "KEY"), uuid.uuid4().hex
    with psycopg.connect(url, autocommit=True) as connection:
        create_schema(connection)
        connection.execute("INSERT INTO users (id, email, name) VALUES (md5('o')::uuid, 'o@example.org', 'Owner')")
        connection.execute(
            "INSERT INTO businesses (id, name, business_type, registration_number, created_by_user_id)"
            " SELECT md5(n::text)::uuid, n, 'licensed_dealer', n, md5('o')::uuid FROM generate_series(1, %s) AS n",
            [CREDENTIALS],
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO business_shaam_credentials (business_id, encrypted_access_token, encrypted_refresh_token,"
                " token_expires_at) VALUES (md5(%s::text)::uuid, 'x', %s, now())",
                [(n, cipher.encrypt(f"{tag}-{n}")) for n in range(1, CREDENTIALS + 1)],
            )
    engine = open_engine(url, variable="bench", application_name="bench")
    migrate(engine, BON)
    engine.dispose()
    environ = {
        "BON_DATABASE_URL": url,
        "BON_SHAAM_TOKEN_URL": token_url,
        "BON_SHAAM_CLIENT_ID": "client",
        "BON_SHAAM_CLIENT_SECRET": "secret",
        "BON_SHAAM_ENCRYPTION_KEY": KEY,
    }
    started = time.perf_counter()
    result = execute(
        SPEC,
        {},
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        backends=EnvironmentBackends("BON", environ),
        reporter=Quiet(),
    )
    seconds = time.perf_counter() - started
    if result.status is not Status.SUCCESS or result.outcomes[0].updated != CREDENTIALS:
        raise SystemExit(f"not every token was refreshed: {result.error}")
    return seconds
