"""Keep the service's table of jobs: what has ended is marked so, what is dead is ended, what is over goes. Nothing is repeated."""

from collections.abc import Sequence
from datetime import timedelta

from cath_dagster.core.instants import midnight
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Planning
from cath_dagster.core.model.schedule import Every
from cath_dagster.core.run.job_parts import DatabaseWork, DueRows
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER, queue
from cath_dagster.hay.parts import note_parts
from cath_dagster.hay.queue import JobQueueProcessingSettings, purges
from cath_dagster.hay.tables import jobs
from cath_dagster.hay.zone import check_zone


def job_queue_processing(run: JobRun, settings: JobQueueProcessingSettings) -> None:
    """Mirror, end, cancel and scrub; then delete what ended long ago."""
    (planned,) = run.plan(*purges(run, settings))
    changes = {
        "mirrored": queue.mirrored(),
        "ended": queue.reaped(run.as_of, settings),
        "cancelled": queue.cancelled(run.as_of),
        "scrubbed": queue.scrubbed(run.as_of, settings),
    }
    done = {name: run.revise(change) for name, change in changes.items()}
    run.purge(planned)
    run.record(Outcome(target=jobs.name, details=dict(done)))
    words = {
        "mirrored": "ended as their privacy request did",
        "ended": "ended without progress",
        "cancelled": "cancelled without a request",
        "scrubbed": "freed of addresses",
    }
    note_parts(run, "jobs", {words[name]: count for name, count in done.items()})


def is_due(planning: Planning, settings: JobQueueProcessingSettings) -> Sequence[DueRows]:
    """Return what a run would find to do.

    What falls due by its age in days starts a run once a day: one for each row would be one every few seconds.
    """
    today = midnight(planning.as_of.date())
    due = (
        queue.mirrored().predicate,
        queue.reaped(planning.as_of, settings).predicate,
        queue.cancelled(planning.as_of).predicate,
        queue.scrubbed(today, settings).predicate,
        queue.is_over(today, settings),
    )
    return [DueRows(table=jobs, predicate=each, index=(jobs.c.status, jobs.c.updated_at)) for each in due]


SPEC = JobSpec(
    location=HAY,
    name="job_queue_processing",
    schedule=Every(timedelta(seconds=5)),
    timeout=timedelta(minutes=10),
    owner=OWNER,
    summary="Ends jobs of the service's queue that are over or dead, and deletes those that ended 30 days ago.",
    description=(
        "Gives open jobs of privacy requests the end of their request, ends jobs at work that have saved no progress for an hour, "
        "cancels those whose request is not there, takes addresses out of ended jobs of privacy requests after seven days, and "
        "deletes ended jobs after 30. Never repeats a job: nothing would run it. Deleted jobs cannot be brought back, unless "
        "undo_days is set."
    ),
    settings=JobQueueProcessingSettings,
    run=job_queue_processing,
    prepare=check_zone,
    database=DatabaseWork(
        targets=("jobs",),
        purges=purges,
        is_due=is_due,
        privileges={"jobs": ("SELECT", "UPDATE", "DELETE"), "privacy_requests": ("SELECT", "UPDATE")},
        age_columns={"jobs": "updated_at"},
    ),
)
