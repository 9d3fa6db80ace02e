"""What `make run` tells about each run, by the ledger."""

import uuid

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.development.local import Local
from cath_dagster.development.session import Totals, read_totals
from cath_dagster.operations import OPERATIONS

pytestmark = pytest.mark.stack

LEDGER_EVENT = """
INSERT INTO maintenance.ledger_event (run_id, kind, location, job, table_name, dry_run, as_of, matched, deleted, kept)
VALUES (%s, 'finished', 'operations', 'clean_instance', 'runs', false, now(), 3, 2, 1)
"""


def test_a_run_of_the_location_without_a_sample_is_told_by_the_ledger_in_dagsters_own_database(local: Local) -> None:
    url, run_id = local.ledger_url(OPERATIONS), str(uuid.uuid4())
    assert read_totals(url, run_id) == Totals(0, 0, 0, 0.0)

    engine = open_engine(url, variable="test", application_name="test")
    migrate(engine, OPERATIONS)
    engine.dispose()
    with psycopg.connect(url) as connection:
        connection.execute(LEDGER_EVENT, [run_id])

    assert read_totals(url, run_id) == Totals(matched=3, changed=2, kept=1, seconds=0.0)
