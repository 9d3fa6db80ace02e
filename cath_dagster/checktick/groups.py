"""Do work on many surveys, a group a transaction; a group that fails is tried again one by one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa

from cath_dagster.core.errors import DatabaseUnavailableError, MaintenanceError
from cath_dagster.core.postgres.database import Limits, TimedOutError
from cath_dagster.core.run.job_run import JobRun

MAX_RESPONSES = 20_000
"""Of all surveys of a group: about half a second, for which other writers of these surveys wait."""
GROUP_LIMITS = Limits(lock_seconds=1.0, statement_seconds=300.0)
"""Whoever holds a lock longer holds back one survey, not its group. No statement of a group that size takes minutes."""
REASONS_SHOWN = 10

Work = Callable[[Sequence[int], sa.Connection], int]
"""Does the work on surveys in the caller's transaction, and returns on how many it was done."""


@dataclass
class Worked:
    """What was done, and which surveys failed, with the reasons."""

    done: int = 0
    batches: int = 0
    longest_seconds: float = 0.0
    failed: dict[int, str] = field(default_factory=dict)

    def fail_run(self, run: JobRun, purpose: str) -> None:
        """Fail the run for the surveys that failed, naming them all."""
        if not self.failed:
            return
        reasons: dict[str, list[int]] = {}
        for survey_id, reason in sorted(self.failed.items()):
            reasons.setdefault(reason, []).append(survey_id)
        shown = [f"{', '.join(map(str, ids))}: {reason}" for reason, ids in list(reasons.items())[:REASONS_SHOWN]]
        run.fail(f"{len(self.failed)} surveys could not be {purpose} ({'; '.join(shown)}); the next run tries again")


def group_by_weight(survey_ids: Sequence[int], weights: Mapping[int, int], most: int) -> Iterator[list[int]]:
    """Yield the surveys in groups of at most so many, and of few enough responses unless it is one survey alone."""
    group: list[int] = []
    weight = 0
    for survey_id in survey_ids:
        more = weights.get(survey_id, 0)
        if group and (len(group) == most or weight + more > MAX_RESPONSES):
            yield group
            group, weight = [], 0
        group.append(survey_id)
        weight += more
    if group:
        yield group


def do_in_groups(run: JobRun, groups: Iterable[Sequence[int]], total: int, work: Work) -> Worked:
    """Do the work on every group; return what came of it."""
    worked, tried = Worked(), 0
    for group in groups:
        try:
            _do(run, worked, partial(work, group), GROUP_LIMITS)
        except (MaintenanceError, TimedOutError) as error:
            _check_connection(run, error)
            for survey_id in group:
                _do_one(run, worked, survey_id, work)
        tried += len(group)
        run.reporter.progress("surveys", tried, total)
    return worked


def _do_one(run: JobRun, worked: Worked, survey_id: int, work: Work) -> None:
    try:
        _do(run, worked, partial(work, [survey_id]), None)
    except MaintenanceError as error:
        _check_connection(run, error)
        worked.failed[survey_id] = str(error)


def _do(run: JobRun, worked: Worked, work: Callable[[sa.Connection], int], limits: Limits | None) -> None:
    started = run.clock()
    worked.done += run.database.transaction(work, limits=limits)
    worked.batches += 1
    worked.longest_seconds = max(worked.longest_seconds, run.clock() - started)


def _check_connection(run: JobRun, error: Exception) -> None:
    """Raise if the database is gone: no other survey would fare better. A survey that stays locked is only that one's."""
    if isinstance(error, DatabaseUnavailableError):
        run.count(sa.select(sa.literal(1)))
