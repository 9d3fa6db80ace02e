"""Whether a run of an interval job would find anything to do: one question that the database answers from an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import DatabaseUnavailableError
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.postgres.database import Database, Limits, TimedOutError
from cath_dagster.core.run.execution import read_config
from cath_dagster.core.run.job_parts import DueRows
from cath_dagster.core.run.spec import JobSpec

ASKING = Limits(lock_seconds=1.0, statement_seconds=1.0)
"""The question comes every few seconds, and must stand in nobody's way."""


@dataclass(frozen=True)
class Moment:
    """What a question is derived from: a run of that reference time would take the same rows for due."""

    as_of: datetime
    environ: Mapping[str, str]
    run_id: str = "due"


def due_rows(spec: JobSpec, moment: Moment) -> Sequence[DueRows]:
    """Return what the job takes for due at that moment; nothing for a job that does not say."""
    if spec.database is None or spec.database.is_due is None:
        return ()
    config = read_config(spec, {}, environ=moment.environ, now=moment.as_of)
    settings: JobSettings = config.settings
    return spec.database.is_due(moment, settings)


def question(rows: Sequence[DueRows]) -> sa.Select[tuple[bool]]:
    """Return the one statement that says whether a row of any is there."""
    looks: list[sa.ColumnElement[Any]] = [
        sa.exists(sa.select(sa.literal(1)).select_from(each.table).where(each.predicate)) for each in rows
    ]
    return sa.select(sa.or_(sa.false(), *looks))


def is_due(spec: JobSpec, database: Database, moment: Moment) -> bool:
    """Return whether a run would find anything to do; always of a job that does not ask.

    Raises `DatabaseUnavailableError` where the answer takes longer than a second.
    """
    rows = due_rows(spec, moment)
    if spec.database is None or spec.database.is_due is None:
        return True
    try:
        return bool(
            database.transaction(lambda connection: connection.scalar(question(rows)), limits=ASKING, is_read_only=True)
        )
    except TimedOutError as late:
        raise DatabaseUnavailableError(
            f"whether anything is due for {spec.key} was not answered within {ASKING.statement_seconds:g} s ({late}); "
            f"cath-dagster indexes build {spec.location.name} builds the index that it needs"
        ) from None
