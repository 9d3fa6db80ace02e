"""Purge 20,000 artefacts to which 1 million ingestion log rows refer, with and without an index on the reference."""

import tempfile
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.databases import create_database
from benchmarks.measures import BenchmarkError, Quiet, Say
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.cath.jobs.expired_artefacts import SPEC
from cath_dagster.core.inspection.index_builds import build_missing_indexes
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.core.run.execution import execute
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.samples.cath.sample import create_schema

ARTEFACTS, LOG_ROWS = 20_000, 1_000_000
TRIED = 100
"""Artefacts deleted without the index, each at the cost of a scan; the others would cost the same."""
FILL = f"""
INSERT INTO list_types (name, allowed_provenance, updated_at) VALUES ('LIST', 'MANUAL_UPLOAD', now());
INSERT INTO artefact (artefact_id, location_id, list_type_id, content_date, sensitivity, language, display_from,
    display_to, is_flat_file, provenance, type)
SELECT md5(n::text)::uuid, '1', 1, '2026-01-01', 'PUBLIC', 'ENGLISH', '2026-01-01', '2026-01-02', false,
    'MANUAL_UPLOAD', 'LIST' FROM generate_series(1, {ARTEFACTS}) AS n;
INSERT INTO ingestion_log (id, source_system, court_id, status, artefact_id)
SELECT gen_random_uuid(), 'SYSTEM', '1', 'SUCCESS', md5((n % {ARTEFACTS} + 1)::text)::uuid
FROM generate_series(1, {LOG_ROWS}) AS n;
"""


@dataclass(frozen=True)
class ForeignKeyResult:
    """Seconds: per artefact without the index; to build it; to purge all with it. `refusal` is what a run says first."""

    refusal: str
    without: float
    building: float
    purging: float
    longest: float

    @property
    def all_without(self) -> float:
        return self.without * ARTEFACTS


def measure_foreign_key(cluster: EmbeddedPostgres, *, say: Say) -> ForeignKeyResult:
    """Return what the index is worth: the refused run, a few rows without it, the index, and all rows with it."""
    say(f"foreign key: {ARTEFACTS:,} artefacts, {LOG_ROWS:,} ingestion log rows")
    create_database(cluster, "bench_foreign_key", "template1")
    url = cluster.url("bench_foreign_key")
    with psycopg.connect(url, autocommit=True) as connection:
        create_schema(connection)
        connection.execute(FILL)
        connection.execute("VACUUM (ANALYZE)")
    engine = open_engine(url, variable="bench", application_name="bench")
    migrate(engine, CATH)
    with tempfile.TemporaryDirectory() as blobs:
        refused = _run(url, blobs)
        if refused.status is not Status.REFUSED or refused.error is None:
            raise BenchmarkError(f"the run without the index ended {refused.status.value}")
        tried = _artefacts(_run(url, blobs, max_rows=TRIED))
        started = time.perf_counter()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            build_missing_indexes(connection, [SPEC], dry_run=False, clock=time.perf_counter)
        building = time.perf_counter() - started
        purged = _artefacts(_run(url, blobs))
    engine.dispose()
    if purged.deleted != ARTEFACTS - TRIED:
        raise BenchmarkError(f"{purged.deleted} artefacts were deleted, not {ARTEFACTS - TRIED}")
    return ForeignKeyResult(
        refusal=refused.error,
        without=tried.deleting_seconds / TRIED,
        building=building,
        purging=purged.deleting_seconds * ARTEFACTS / (ARTEFACTS - TRIED),
        longest=purged.longest_transaction_seconds,
    )


def _run(url: str, blobs: str, max_rows: int | None = None) -> RunResult:
    return execute(
        SPEC,
        {"allow_large": True} | ({"max_rows": max_rows} if max_rows else {}),
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        backends=EnvironmentBackends("CATH", {"CATH_DATABASE_URL": url, "CATH_BLOB_URL": Path(blobs).as_uri()}),
        reporter=Quiet(),
    )


def _artefacts(result: RunResult) -> Outcome:
    if result.status is not Status.SUCCESS:
        raise BenchmarkError(f"{result.status.value}: {result.error}")
    return next(outcome for outcome in result.outcomes if outcome.target == "artefact")
