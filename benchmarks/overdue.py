"""Mark overdue invoices by `overdue_detection`, beside one UPDATE of the same rows on a fresh copy."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import psycopg

from benchmarks.databases import copy_database, create_database
from benchmarks.measures import Quiet, Ratio, Say, at_least, bounded
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.bon import BON
from cath_dagster.bon.jobs.overdue_detection import SPEC
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.execution import execute
from cath_dagster.development.postgres import EmbeddedPostgres
from cath_dagster.development.samples.bon.sample import create_schema

TEMPLATE = "bench_bon_template"
BUSINESSES = 250
GOAL_MARKING, GOAL_LONGEST_MS = 0.8, 250

# Inactive businesses: nobody is mailed, so that the marking is all that is measured. Four in five are overdue.
FILL = """
INSERT INTO users (id, email, name) VALUES (md5('owner')::uuid, 'owner@example.org', 'Owner');
INSERT INTO businesses (id, name, business_type, registration_number, is_active, deleted_at, created_by_user_id)
SELECT md5('business-' || n)::uuid, 'Business ' || n, 'licensed_dealer', n, false, now(), md5('owner')::uuid
FROM generate_series(1, {businesses}) AS n;
INSERT INTO invoices (business_id, customer_name, document_type, status, sequence_number, document_number,
    sequence_group, due_date, total_incl_vat_minor_units, updated_at)
SELECT md5('business-' || 1 + n % {businesses})::uuid, 'Customer ' || n % 5000, 'tax_invoice',
    (CASE WHEN n % 5 = 0 THEN 'paid' ELSE (ARRAY['finalized', 'sent', 'partially_paid'])[1 + n % 3] END)::invoice_status,
    n, 'INV-' || n, 'tax_document', date '2026-01-01' + n % 300, 100000 + n % 50000, timestamptz '2026-11-01'
FROM generate_series(1, {rows}) AS n;
"""
AS_OF = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)
ONE_UPDATE = """
UPDATE invoices SET is_overdue = true, updated_at = now()
WHERE status IN ('finalized', 'sent', 'partially_paid') AND due_date < '2026-11-18' AND is_overdue = false
"""


@dataclass(frozen=True)
class _Round:
    one_update: float
    marking: float
    longest: float


def measure_overdue(cluster: EmbeddedPostgres, *, rows: int, rounds: int, say: Say) -> Iterator[Ratio]:
    """Yield the ratio of the marking to one UPDATE, and the longest transaction."""
    create_database(cluster, TEMPLATE, "template1")
    with psycopg.connect(cluster.url(TEMPLATE), autocommit=True) as connection:
        create_schema(connection)
        connection.execute(FILL.format(businesses=BUSINESSES, rows=rows))
        connection.execute("VACUUM (ANALYZE, FREEZE)")
    engine = open_engine(cluster.url(TEMPLATE), variable="template", application_name="bench")
    migrate(engine, BON)
    engine.dispose()
    say(f"marking: {rows:,} invoices, 80 % overdue, {rounds} rounds")
    measured = [_measure(cluster) for _ in range(rounds)]
    yield at_least(
        "marking of overdue invoices, throughput against one UPDATE",
        [(each.marking, each.one_update) for each in measured],
        goal=GOAL_MARKING,
    )
    yield bounded(
        "marking, longest transaction (one UPDATE: the whole time)",
        milliseconds=1_000 * max(each.longest for each in measured),
        beside=1_000 * median(each.one_update for each in measured),
        goal=GOAL_LONGEST_MS,
    )


def _measure(cluster: EmbeddedPostgres) -> _Round:
    with psycopg.connect(copy_database(cluster, "bench_update", TEMPLATE), autocommit=True) as connection:
        connection.execute("SELECT count(*) FROM invoices")
        started = time.perf_counter()
        expected = connection.execute(ONE_UPDATE).rowcount
        one_update = time.perf_counter() - started
    url = copy_database(cluster, "bench_mark", TEMPLATE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT count(*) FROM invoices")
    result = execute(
        SPEC,
        {"as_of": AS_OF.isoformat()},
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        backends=EnvironmentBackends("BON", {"BON_DATABASE_URL": url}),
        reporter=Quiet(),
    )
    outcome = next(outcome for outcome in result.outcomes if outcome.target == "invoices")
    if result.status is not Status.SUCCESS or outcome.updated != expected:
        raise SystemExit(f"the two did not do the same work: {outcome.updated} and {expected} rows; {result.error}")
    return _Round(one_update, outcome.seconds, outcome.longest_transaction_seconds)
