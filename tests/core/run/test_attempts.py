"""A run's deadline and its repetitions: what ends where it stands, what is tried again, and who hears of it."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cath import CATH
from cath_dagster.core.errors import ConfigurationError, DatabaseUnavailableError, IncompleteRunError, PreflightError
from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.schedule import Cron, Retry
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.parallel import work_on
from cath_dagster.core.postgres.deadline import Deadline, DeadlineReached
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from tests.support.service import Service, outcome
from tests.support.waiting import FOR_EVER_SECONDS

SOON_SECONDS = 5.0
"""Within which a run ends its work once its time is up."""
entry = sa.Table(
    "entry", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("seen_at", sa.DateTime)
)
Work = Callable[[JobRun], None]


def tidy(run: JobRun) -> None:
    """Delete what is old, which is every row."""
    for planned in run.plan(Purge(table=entry, rule="old entries", predicate=entry.c.seen_at < datetime(2026, 6, 1))):
        run.purge(planned)


TIDY = JobSpec(
    location=CATH,
    name="tidy",
    schedule=Cron("0 1 * * *"),
    owner="team:test",
    summary="Tidies.",
    description="Tidies.",
    settings=PurgeSettings,
    retry=Retry(attempts=2, delay=timedelta(seconds=10), backoff=3, jitter=0),
    database=DatabaseWork(targets=("entry",)),
)


class Heard:
    """Keeps what it hears of attempts."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def on_attempt_began(self, attempt: int) -> None:
        self.said.append((attempt, "began"))

    def on_attempt(self, attempt: int, ended: RunResult | BaseException, again_in: timedelta | None) -> None:
        how = ended.status.value if isinstance(ended, RunResult) else type(ended).__name__
        self.said.append((attempt, how, again_in.total_seconds() if again_in else None))


def run(
    service: Service, work: Work, spec: JobSpec = TIDY, *, given: dict[str, Any] | None = None, **options: Any
) -> RunResult:
    options = {"sleep": lambda seconds: None, **options}
    return execute(
        replace(spec, run=lambda each, settings: work(each)),
        {"as_of": service.as_of, **(given or {})},
        run_id=options.pop("run_id", "run-1"),
        now=service.as_of,
        backends=EnvironmentBackends("CATH", service.environ),
        reporter=service.reporter,
        **options,
    )


def run_briefly(service: Service, work: Work, **options: Any) -> RunResult:
    """Run a job that has a third of a second left of its time."""
    return run(service, work, given={"timeout_seconds": 600}, spent_seconds=599.67, **options)


@pytest.fixture
def bench(service: Service) -> Service:
    """CaTH with a table of old rows for the job `tidy`."""
    service.connection.execute("CREATE TABLE entry (id int PRIMARY KEY, seen_at timestamp)")
    fill(service)
    return service


def fill(service: Service, count: int = 30) -> None:
    service.connection.execute(
        "INSERT INTO entry SELECT n, '2026-01-01' FROM generate_series(1, %s) n ON CONFLICT DO NOTHING", (count,)
    )


def is_locked(service: Service) -> bool:
    """Return whether somebody holds the job's lock."""
    with psycopg.connect(service.url) as other:
        row = other.execute("SELECT pg_try_advisory_xact_lock(hashtextextended('cath/tidy', 0))").fetchone()
    return row == (False,)


def ledger(service: Service, run_id: str) -> list[tuple[object, ...]]:
    return service.rows(
        "SELECT outcome, matched, deleted, error IS NULL FROM maintenance.purge_ledger WHERE run_id = %s AND table_name = 'entry'",
        run_id,
    )


# The deadline


def delete_and_sleep(run: JobRun) -> None:
    """Commit a deletion, then hang in the midst of a second one."""
    run.database.transaction(lambda c: c.execute(sa.text("DELETE FROM entry WHERE id <= 10")))

    def second(connection: sa.Connection) -> None:
        connection.execute(sa.text("DELETE FROM entry WHERE id <= 20"))
        connection.execute(sa.text(f"SELECT pg_sleep({FOR_EVER_SECONDS})"))

    run.database.transaction(second)


def sleep_here(run: JobRun) -> None:
    time.sleep(FOR_EVER_SECONDS)


def go_on_by_items(run: JobRun) -> None:
    """Take every failure for that of an item, and go on with the next."""
    while True:
        try:
            run.database.transaction(lambda c: c.execute(sa.text("SELECT pg_sleep(0.05)")))
        except Exception as failed:  # noqa: BLE001 - what is tested
            run.fail(str(failed))


def sleep_in_threads(run: JobRun) -> None:
    def work(database: Any, item: int) -> int:
        database.transaction(lambda c: c.execute(sa.text(f"SELECT pg_sleep({FOR_EVER_SECONDS})")))
        return item

    list(work_on([1, 2], work, own=run.open_database, threads=2, stop=threading.Event()))


def sleep_in_tasks(run: JobRun) -> None:
    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(asyncio.sleep(FOR_EVER_SECONDS))

    asyncio.run(work())


def wrap(run: JobRun) -> None:
    """Raise what was raised here as a group of tasks would."""
    try:
        time.sleep(FOR_EVER_SECONDS)
    except DeadlineReached as reached:
        raise BaseExceptionGroup("tasks", [reached]) from None


LATE = (delete_and_sleep, sleep_here, go_on_by_items, sleep_in_threads, sleep_in_tasks, wrap)


def test_ends_its_work_at_the_deadline_whatever_it_is_at(bench: Service) -> None:
    for number, work in enumerate(LATE):
        run_id, heard, started = f"late-{number}", Heard(), time.monotonic()

        result = run_briefly(bench, work, run_id=run_id, listener=heard)

        assert (result.status, result.attempts) == (Status.TIMEOUT, 1), (work, result)
        assert "the run has had its 10 minutes" in (result.error or "")
        assert time.monotonic() - started < SOON_SECONDS, work
        assert not is_locked(bench), work
        assert [row[0] for row in ledger(bench, run_id)] == ["timeout"]
        assert heard.said == [(1, "began"), (1, "timeout", None)]
        assert bench.count("pg_stat_activity", "wait_event = 'PgSleep' AND datname = current_database()") == 0
    # What was committed stays, what was under way is rolled back.
    assert bench.count("entry") == 20


def test_ends_also_in_a_thread_that_no_signal_reaches(bench: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run_briefly, bench, delete_and_sleep).result(timeout=60)

    assert (result.status, bench.count("entry"), is_locked(bench)) == (Status.TIMEOUT, 20, False)


def test_begins_nothing_once_its_time_is_gone(bench: Service) -> None:
    began: list[str] = []

    result = run(bench, lambda run: began.append("work"), given={"timeout_seconds": 60}, spent_seconds=61)

    assert (result.status, result.began, began) == (Status.TIMEOUT, False, [])


def test_is_no_timeout_by_what_an_error_says(bench: Service) -> None:
    def work(run: JobRun) -> None:
        raise IncompleteRunError("upstream timeout 504")

    assert run(bench, work).status is Status.FAILED


def test_interrupts_what_is_armed_and_nothing_else() -> None:
    with Deadline(0.01) as deadline:
        time.sleep(0.05)
        deadline.check()
        with pytest.raises(DeadlineReached), deadline.armed():
            pass
        deadline.end()
        with deadline.armed():
            time.sleep(0.01)


# Repetitions


def test_repeats_a_run_that_failed_under_its_lock_until_it_succeeds(bench: Service) -> None:
    heard = Heard()
    locked: list[bool] = []
    waits: list[float] = []
    failures = [DatabaseUnavailableError("the disk is full for now"), IncompleteRunError("the store failed")]

    def work(run: JobRun) -> None:
        tidy(run)
        run.record(Outcome(target="mail", matched=3 - len(waits), notified=1))
        if failures:
            fill(bench, 40)
            raise failures.pop(0)

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        locked.append(is_locked(bench))
        # The ledger of a run that is still at it has no end.
        assert [row[0] for row in ledger(bench, "run-1")] == ["unfinished"]
        if len(waits) == 2:
            bench.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidy:run-1'"
            )

    result = run(bench, work, listener=heard, sleep=sleep)

    assert (result.error, result.attempts, waits, locked) == (None, 3, [10.0, 30.0], [True, True])
    assert heard.said == [
        (1, "began"), (1, "failed", 10.0), (2, "began"), (2, "failed", 30.0), (3, "began"), (3, "success", None),
    ]  # fmt: skip
    # Of a table the ledger knows all attempts, of mail only they themselves.
    assert (outcome(result, "entry").deleted, outcome(result, "entry").matched) == (110, 110)
    assert (outcome(result, "mail").notified, outcome(result, "mail").matched) == (3, 3)
    assert ledger(bench, "run-1") == [("success", 110, 110, True)]
    assert any(
        "attempt 1 of 3 failed: the disk is full for now; again in 10 seconds" in line for line in bench.reporter.lines
    )


@pytest.mark.parametrize(
    ("given", "attempts"),
    [
        ({}, 3),
        ({"retry_attempts": 1}, 2),
        ({"retry_attempts": 0}, 1),
        # The wait would outlast the run's time.
        ({"timeout_seconds": 9}, 1),
        ({"retry_delay_seconds": 1, "timeout_seconds": 9}, 3),
        ({"dry_run": True}, 1),
    ],
)
def test_gives_up_after_its_attempts(bench: Service, given: dict[str, Any], attempts: int) -> None:
    def work(run: JobRun) -> None:
        raise DatabaseUnavailableError("gone")

    result = run(bench, work, given=given)

    assert (result.status, result.attempts, result.error) == (Status.FAILED, attempts, "gone")
    # Of what every job has, a run shows what somebody has set.
    assert dict(result.settings).get("retry_attempts") == given.get("retry_attempts")
    assert dict(result.settings).get("timeout_seconds") == given.get("timeout_seconds")


def test_does_not_repeat_what_no_repetition_mends(bench: Service) -> None:
    def raises(error: BaseException) -> Work:
        def work(run: JobRun) -> None:
            raise error

        return work

    cases: list[tuple[Work, Status]] = [
        (raises(PreflightError("not now")), Status.REFUSED),
        (raises(ConfigurationError("CATH_X is wrong")), Status.FAILED),
        # It has done its work but for single items.
        (lambda run: run.fail("one file"), Status.FAILED),
    ]
    for work, status in cases:
        result = run(bench, work)
        assert (result.status, result.attempts) == (status, 1), work

    heard = Heard()
    with pytest.raises(ZeroDivisionError):
        run(bench, raises(ZeroDivisionError()), listener=heard)
    assert heard.said == [(1, "began"), (1, "ZeroDivisionError", None)]


def test_counts_all_attempts_against_max_rows(bench: Service) -> None:
    fails = [True]

    def work(run: JobRun) -> None:
        if fails:
            run.database.transaction(lambda c: c.execute(sa.text("DELETE FROM entry WHERE id > 20")))
            run.account.take(10)
            fails.clear()
            raise DatabaseUnavailableError("gone")
        tidy(run)

    result = run(bench, work, given={"max_rows": 25})

    assert (result.error, bench.count("entry")) == (None, 5)


def test_hears_of_a_run_that_could_not_begin(bench: Service) -> None:
    heard = Heard()

    result = run(bench, tidy, given={"max_rows": -1}, listener=heard)

    assert (result.status, result.attempts, heard.said) == (Status.FAILED, 1, [(1, "began"), (1, "failed", None)])
