"""`cath-dagster scheduler`: what runs, what ran, and what is to run or not to run.

Exit codes: 0 done, 1 Dagster says no or a run that was waited for did not succeed, 2 wrong usage or a missing variable.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from cath_dagster.adapters.history_writer import INSTANCE_URL, open_history
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.terminal import out
from cath_dagster.console.exits import FAILED
from cath_dagster.console.options import Json
from cath_dagster.console.output import print_json
from cath_dagster.core.errors import ConfigurationError, UnknownJobError
from cath_dagster.core.history.tables import RUNNING, STATUSES, TRIGGERS
from cath_dagster.core.maintenance.tables import check_current
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.scheduler.reading import (
    Record,
    Wanted,
    names_of,
    read_attempts,
    read_end,
    read_history,
    read_jobs,
)
from cath_dagster.registry import find_spec

app = typer.Typer(help="Every job of every location: what runs, what ran, what is on.", no_args_is_help=True)
Job = Annotated[str, typer.Argument(metavar="LOCATION/JOB", help="The job, as `cath-dagster jobs` lists it.")]
SECONDS_BETWEEN_LOOKS = 1.0
LOOKS_AFTER_THE_END = 30
"""Within which the monitor has written what the run itself could not."""
MOST = 500
UNWELL = ("failed", "timeout")


@app.command("status")
def show_status(
    job: Annotated[str | None, typer.Argument(metavar="LOCATION[/JOB]", help="Of one location, or one job.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 where the last run of a job failed or ran out of time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show every job: on or off, how its last run ended, when it runs next, how often it ran and failed."""
    now = datetime.now(UTC)
    location, _, name = (job or "").partition("/")
    with _database() as database:
        jobs = _read(database, partial(read_jobs, location=location or None, name=name or None, now=now))
        if job and not jobs:
            raise _unknown(database, job, now)
    is_stopped = _is_stopped()
    if as_json:
        print_json({"scheduling": "stopped" if is_stopped else "running", "jobs": jobs})
    else:
        from cath_dagster.operations.scheduler.shown import print_jobs

        print_jobs(jobs, now, is_stopped=is_stopped)
    if check and any(job["last_status"] in UNWELL and job["registered"] for job in jobs):
        raise typer.Exit(FAILED)


@app.command("history")
def show_history(
    job: Annotated[str | None, typer.Argument(metavar="LOCATION[/JOB]", help="Of one location, or one job.")] = None,
    status: Annotated[str | None, typer.Option("--status", help=f"One of {', '.join(STATUSES)}.")] = None,
    trigger: Annotated[str | None, typer.Option("--trigger", help=f"One of {', '.join(TRIGGERS)}.")] = None,
    run_id: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Of one run, all its attempts.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="INSTANT", help="From an instant on (ISO 8601, UTC).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST, help="So many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what ran, the newest first: runs of every kind, and ticks that were skipped, with why."""
    location, _, name = (job or "").partition("/")
    wanted = Wanted(
        location=location or None,
        job=name or None,
        status=_one_of("--status", status, STATUSES),
        trigger=_one_of("--trigger", trigger, TRIGGERS),
        run_id=run_id,
        since=_instant(since),
    )
    now = datetime.now(UTC)
    with _database() as database:
        runs = _read(database, lambda connection: read_history(connection, wanted, limit=limit))
        if job and not runs and not _read(database, partial(read_jobs, location=location, name=name or None, now=now)):
            raise _unknown(database, job, now)
    if as_json:
        print_json({"items": runs})
        return
    from cath_dagster.operations.scheduler.shown import print_history

    print_history(runs, now)


@app.command("enable")
def enable(job: Job, as_json: Json = False) -> None:
    """Let a job's schedule run, as Dagster's own switch does; it lasts over restarts and deployments."""
    _switch(job, enabled=True, as_json=as_json)


@app.command("disable")
def disable(job: Job, as_json: Json = False) -> None:
    """Keep a job's schedule from running; by hand it can still be run."""
    _switch(job, enabled=False, as_json=as_json)


def _switch(job: str, *, enabled: bool, as_json: bool) -> None:
    spec = find_spec(job)
    with _control() as control:
        control.set_enabled(spec, enabled=enabled)
    if as_json:
        print_json({"location": spec.location.name, "name": spec.name, "enabled": enabled})
    else:
        out.print(f"{spec.key} is {'on' if enabled else 'off'}", markup=False)


@app.command("run")
def run(
    job: Job,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")] = False,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="INSTANT", help="Measure every cutoff from this instant (ISO 8601, UTC)."),
    ] = None,
    max_rows: Annotated[int | None, typer.Option("--max-rows", help="Stop cleanly after so many rows.")] = None,
    partition: Annotated[
        str | None, typer.Option("--partition", metavar="KEY", help="The week, by its Monday.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One of the job's own settings; may be given several times."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end, and exit 1 where it did not succeed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a run of a job into Dagster's queue, where `cath-dagster run` does the work in this process."""
    spec = find_spec(job)
    given = {"dry_run": dry_run or None, "as_of": as_of, "max_rows": max_rows, **_settings(settings)}
    given = {name: value for name, value in given.items() if value is not None}
    if "allow_large" in given:
        raise ConfigurationError(
            "allow_large is not taken here: have the run approved, or run it by `cath-dagster run --allow-large`"
        )
    with _control() as control:
        run_id = control.run(spec, given, partition)
    if not wait:
        _print_launched(spec, run_id, as_json=as_json)
        return
    last = _ended(run_id)
    if as_json:
        print_json({"run_id": run_id, **last})
    else:
        out.print(
            f"{spec.key}: {last['status']}{': ' + last['error'] if last['error'] else ''}, run {run_id}", markup=False
        )
    if last["status"] != "success":
        raise typer.Exit(FAILED)


def _print_launched(spec: JobSpec, run_id: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"location": spec.location.name, "job": spec.name, "run_id": run_id})
    else:
        out.print(f"{spec.key} is queued, run {run_id}", markup=False)


def _ended(run_id: str) -> Record:
    """Wait for a run's end; of one that Dagster says is over, and the history does not for long, return what Dagster says."""
    looks = 0
    with _database() as database:
        while True:
            attempts = database.transaction(lambda connection: read_attempts(connection, run_id))
            if attempts and attempts[0]["status"] != RUNNING:
                return attempts[0]
            status = database.transaction(lambda connection: read_end(connection, run_id))
            looks += status is not None
            if status is not None and looks > LOOKS_AFTER_THE_END:
                return {"status": status, "error": "the history does not have it: is the monitor on?"}
            time.sleep(SECONDS_BETWEEN_LOOKS)


@app.command("cancel")
def cancel(run_id: Annotated[str, typer.Argument(metavar="RUN")], as_json: Json = False) -> None:
    """End a run that Dagster has: what it committed stays, and the next run goes on from there."""
    with _control() as control:
        control.cancel(run_id)
    if as_json:
        print_json({"run_id": run_id, "canceled": True})
    else:
        out.print(f"run {run_id} is asked to end", markup=False)


@app.command("forget")
def forget_job(job: Job, as_json: Json = False) -> None:
    """Delete what is kept of a job that the code has no more: its row, its totals and its history."""
    from cath_dagster.operations.scheduler.control import forget

    location, _, name = job.partition("/")
    if not name:
        raise ConfigurationError(f"{job} is no LOCATION/JOB: of a job that is gone nobody knows the location")
    with _database() as database:
        forget(database, location, name)
    if as_json:
        print_json({"location": location, "name": name, "forgotten": True})
    else:
        out.print(f"{job} is forgotten", markup=False)


def _unknown(database: Database, job: str, now: datetime) -> UnknownJobError:
    known = names_of(_read(database, partial(read_jobs, now=now)))
    return UnknownJobError(f"there is no job {job!r} in the registry; there are {', '.join(known) or 'none yet'}")


@contextmanager
def _database() -> Iterator[Database]:
    with open_history(MountedEnvironment(), "scheduler") as database:
        database.transaction(
            lambda connection: check_current(connection, location=OPERATIONS.name, revision=OPERATIONS.revision)
        )
        yield database


@contextmanager
def _control() -> Iterator[Any]:
    """Yield what commands Dagster; without the database there is no audit log to write to."""
    from cath_dagster.adapters.dagster_graphql import DagsterGraphQL
    from cath_dagster.operations.scheduler.control import Control, dagster_url

    environ = MountedEnvironment()
    orchestrator = DagsterGraphQL(dagster_url(environ))
    if not environ.get(INSTANCE_URL):
        yield Control(orchestrator=orchestrator, environ=environ, database=None)
        return
    with open_history(environ, "scheduler") as database:
        yield Control(orchestrator=orchestrator, environ=environ, database=database)


def _read(database: Database, query: Callable[[sa.Connection], list[Record]]) -> list[Record]:
    return database.transaction(query, is_read_only=True)


def _one_of(option: str, value: str | None, known: tuple[str, ...]) -> str | None:
    if value is not None and value not in known:
        raise ConfigurationError(f"{option} is {value!r}; it may be {', '.join(known)}")
    return value


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"--since is {text!r}; write an instant in ISO 8601, like 2026-11-20T01:00:00Z"
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _settings(items: list[str] | None) -> dict[str, str]:
    given = {}
    for item in items or []:
        key, found, value = item.partition("=")
        if not found:
            raise ConfigurationError(f"--set {item}: write it as KEY=VALUE")
        given[key.strip()] = value.strip()
    return given


def _is_stopped() -> bool:
    return (MountedEnvironment().get("SCHEDULER_ENABLED") or "true").strip().lower() == "false"
