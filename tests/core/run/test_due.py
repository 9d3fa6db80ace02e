"""The question whether anything is due: its answer, and the index that makes it cheap."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.core.inspection.diagnosis import _unindexed_questions
from cath_dagster.core.inspection.due_indexes import find_unindexed_questions
from cath_dagster.core.inspection.index_builds import build_missing_indexes
from cath_dagster.core.model.finding import Level
from cath_dagster.core.model.schedule import Every
from cath_dagster.core.run.due import Moment, is_due
from cath_dagster.core.run.job_parts import DatabaseWork, DueRows
from cath_dagster.registry import find_spec
from tests.support.service import Service

columns = ("id", "artefact_id", "source_system")
log = sa.Table("ingestion_log", sa.MetaData(), *(sa.Column(name, sa.Text) for name in columns))
gone = sa.Table("not_there", sa.MetaData(), sa.Column("id", sa.Integer))


def test_the_doctor_names_and_builds_the_index_of_a_question(service: Service) -> None:
    def ask(settings: Any) -> list[DueRows]:
        return [
            DueRows(table=log, predicate=log.c.source_system == "X", index=(log.c.source_system, log.c.artefact_id)),
            DueRows(
                table=log,
                predicate=log.c.artefact_id.is_(None),
                index=(log.c.artefact_id,),
                index_where=log.c.artefact_id.is_(None) & (log.c.source_system != "it's"),
            ),
            DueRows(table=gone, predicate=gone.c.id > 0, index=(gone.c.id,)),
        ]

    work = DatabaseWork(targets=(), is_due=lambda moment, settings: ask(settings))
    spec = replace(find_spec("cath/clear_audit"), schedule=Every(timedelta(seconds=5)), database=work)
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), now(), 'SNL', '1', 'SUCCESS' FROM generate_series(1, 12000)"
    )
    service.connection.execute("ANALYZE ingestion_log")
    with EnvironmentBackends("CATH", service.environ).disposed_engine("test") as engine:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        told = list(_unindexed_questions(connection, [spec]))
        built = build_missing_indexes(connection, [spec], dry_run=False, clock=time.perf_counter)
        left = list(find_unindexed_questions(connection, [spec]))
        connection.close()

    assert [(each.subject, each.level) for each in told] == [
        ("question ingestion_log.source_system, artefact_id", Level.WARNING),
        ("question ingestion_log.artefact_id", Level.WARNING),
    ]
    assert "cath/clear_audit asks every 5 seconds whether anything is due, and reads 12,000 rows" in told[0].message
    assert "WHERE ingestion_log.artefact_id IS NULL AND ingestion_log.source_system != 'it''s';" in (
        told[1].remedy or ""
    )
    assert [(each.column, each.error) for each in built] == [
        ("source_system, artefact_id", None),
        ("artefact_id", None),
    ]
    assert left == []


def test_a_job_that_asks_for_nothing_is_never_due_and_one_that_does_not_ask_always_is(service: Service) -> None:
    spec = find_spec("cath/clear_audit")
    asks = replace(spec, database=DatabaseWork(targets=(), is_due=lambda moment, settings: []))
    with EnvironmentBackends("CATH", service.environ).database("test") as database:
        moment = Moment(service.as_of, service.environ)
        assert (is_due(spec, database, moment), is_due(asks, database, moment)) == (True, False)
