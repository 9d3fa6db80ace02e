"""Work on many surveys: a batch of bounded weight is a transaction, and each survey that fails is named."""

from collections.abc import Callable

import sqlalchemy as sa

from cath_dagster.checktick.retention import DataGovernanceSettings
from cath_dagster.checktick.tables import response
from cath_dagster.core.model.purge import Keys
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.purge.batch import BatchCounts
from cath_dagster.core.purge.batch_runner import BatchRunner, Progress
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from cath_dagster.core.purge.weighted_batches import WeightedBatches
from cath_dagster.core.run.job_run import JobRun

MAX_RESPONSES = 20_000
"""Of all surveys of a batch: about half a second, for which other writers of these surveys wait."""
REASONS_SHOWN = 10


def take_surveys(
    run: JobRun,
    survey_ids: list[int],
    settings: DataGovernanceSettings,
    work: Callable[[Keys, sa.Connection], BatchCounts],
) -> WeightedBatches:
    """Do the work on the surveys, on no more of them than there is room for; return what came of it."""
    room = run.account.room()
    chosen = survey_ids if room is None else survey_ids[:room]
    query = (
        sa.select(response.c.survey_id, sa.func.count())
        .where(is_any(response.c.survey_id, chosen))
        .group_by(response.c.survey_id)
    )
    weights = run.database.transaction(lambda connection: dict(connection.execute(query).tuples().all()))
    pacer = Pacer(PACE_LIMITS[Pace.BULK], clock=run.clock)
    batches = WeightedBatches(
        runner=BatchRunner(database=run.database, pacer=pacer, progress=Progress(), clock=run.clock),
        work=work,
        weights=weights,
        most_rows=settings.surveys_per_transaction,
        most_weight=MAX_RESPONSES,
        report=lambda done, _: run.reporter.progress("surveys", done, len(survey_ids)),
    )
    batches.take(chosen)
    return batches


def fail_for_surveys(run: JobRun, batches: WeightedBatches, purpose: str) -> None:
    """Fail the run for the surveys that were left undone, naming them all."""
    if not batches.failed:
        return
    reasons: dict[str, list[int]] = {}
    for survey_id, reason in sorted(batches.failed.items()):
        reasons.setdefault(reason, []).append(survey_id)
    shown = [f"{', '.join(map(str, ids))}: {reason}" for reason, ids in list(reasons.items())[:REASONS_SHOWN]]
    run.fail(f"{len(batches.failed)} surveys could not be {purpose} ({'; '.join(shown)}); the next run tries again")
