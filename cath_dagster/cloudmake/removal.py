"""Work off what archived previews have left at one provider, so that whatever a kill interrupts is done by the next run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from cath_dagster.cloudmake.leftovers import (
    Leftover,
    Provider,
    Settled,
    read_leftover,
    read_unsettled,
    record_failure,
    settle,
)
from cath_dagster.cloudmake.removers import Remove, missing_variables, open_remover
from cath_dagster.core.ports.breaker import Breaker
from cath_dagster.core.ports.resources import ResourceError
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_run import JobRun

MAX_OUTAGES = 3
"""Requests in a row without an answer, each of ten seconds; the provider's others are left to the next run."""


@dataclass(frozen=True, kw_only=True)
class Worked:
    """What came of one provider's part of the outbox. `left` was not tried, and `why_left` says why."""

    provider: Provider
    settled: Counter[Settled]
    failed: int = 0
    left: int = 0
    why_left: str = ""
    errors: tuple[str, ...] = ()


def work_off(run: JobRun, database: Database, provider: Provider) -> Worked:
    """Remove what is due at one provider, one after the other; what is named again stays."""
    waiting = database.transaction(partial(read_unsettled, provider=provider))
    nothing = Worked(provider=provider, settled=Counter())
    if not waiting:
        return nothing
    if missing := missing_variables(run, provider):
        return Worked(provider=provider, settled=Counter(), left=len(waiting), why_left=f"{', '.join(missing)} not set")
    with open_remover(run, provider) as remove:
        return _remove_each(database, provider, waiting, remove)


def _remove_each(database: Database, provider: Provider, waiting: Sequence[int], remove: Remove) -> Worked:
    settled, errors, breaker = Counter[Settled](), Counter[str](), Breaker(limit=MAX_OUTAGES)
    for cleanup_id in waiting:
        # Read now, and not with the others: the service may have given it to another environment meanwhile.
        leftover = database.transaction(partial(read_leftover, provider=provider, cleanup_id=cleanup_id))
        try:
            ended = _remove(leftover, remove)
        except ResourceError as error:
            errors[str(error)] += 1
            database.transaction(partial(record_failure, cleanup_id=cleanup_id, message=str(error)))
            breaker.record(is_outage=error.is_outage)
            if error.ends_all or breaker.is_open:
                break
        else:
            breaker.record(is_outage=False)
            database.transaction(partial(settle, cleanup_id=cleanup_id, settled=ended, at=datetime.now(UTC)))
            settled[ended] += 1
    return Worked(
        provider=provider,
        settled=settled,
        failed=errors.total(),
        left=len(waiting) - settled.total() - errors.total(),
        errors=tuple(f"{count} x {message}" for message, count in errors.most_common()),
    )


def _remove(leftover: Leftover, remove: Remove) -> Settled:
    if leftover.is_wanted:
        return Settled.KEPT
    return Settled.REMOVED if remove(leftover) else Settled.MISSING
