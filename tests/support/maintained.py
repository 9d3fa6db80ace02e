"""A maintained database as a test sees it: its rows, and a way to run its location's jobs."""

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import psycopg
from psycopg import sql

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import Outcome, RunResult
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.outbox.notices import Patience
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs
from cath_dagster.core.run.summary import summary
from tests.support.waiting import PATIENCE_SECONDS, PREVAILS, wait_until

Change = tuple[str, Sequence[Any]]
"""A statement and its parameters."""


class SilentReporter:
    """Keeps what a run said, and shows nothing."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, **values: Scalar) -> None:
        self.lines.append(message)

    def warning(self, message: str) -> None:
        self.lines.append(message)

    def progress(self, target: str, done: int, total: int) -> None:
        pass

    def ended(self, result: RunResult) -> None:
        self.lines.append(summary(result))


@dataclass(kw_only=True)
class Maintained:
    """A service's database: `environ` is what its jobs see, `as_of` what they take for now unless told otherwise."""

    location: ClassVar[CodeLocation]

    url: str
    environ: dict[str, str]
    connection: psycopg.Connection[Any]
    as_of: datetime
    reporter: SilentReporter = field(default_factory=SilentReporter)
    waited: list[float] = field(default_factory=list)
    """The pauses for a mail provider that puts messages off: none of them takes any time."""

    def run(
        self,
        job: str,
        *,
        partition: str | None = None,
        run_id: str | None = None,
        is_scheduled: bool = False,
        **config: Any,
    ) -> RunResult:
        """Run a job in this process, as of `self.as_of` unless the config says otherwise."""
        spec = next(spec for spec in load_specs(self.location) if spec.name == job)
        return execute(
            spec,
            {"as_of": self.as_of, **config},
            run_id=run_id or str(uuid.uuid4()),
            now=datetime.now(UTC) + timedelta(days=36_500),
            backends=EnvironmentBackends(self.location.prefix, self.environ),
            reporter=self.reporter,
            partition=partition,
            is_scheduled=is_scheduled,
            patience=Patience(sleep=self.waited.append),
        )

    def run_beside(self, job: str, *changes: Change, then: Sequence[Change] = ()) -> RunResult:
        """Run a job into rows that another transaction has changed or locked.

        Once the job waits for it, that transaction does what comes `then`, and commits.
        """
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with ThreadPoolExecutor(1) as pool, psycopg.connect(self.url) as other:
            other.execute(PREVAILS)
            for statement, parameters in changes:
                other.execute(statement, parameters)
            running = pool.submit(self.run, job)
            wait_until(lambda: self.value(waits) or running.done(), "the run never came to the lock")
            assert not running.done(), "the run never waited for the lock"
            for statement, parameters in then:
                other.execute(statement, parameters)
            other.commit()
            return running.result(timeout=PATIENCE_SECONDS)

    def ledger(self, run_id: str) -> dict[str, tuple[Any, ...]]:
        """Return by table what the ledger says of a run: dry_run, cutoff, matched, deleted, archived and outcome."""
        rows = self.rows(
            "SELECT table_name, dry_run, cutoff, matched, deleted, archived, outcome"
            " FROM maintenance.purge_ledger WHERE run_id = %s",
            run_id,
        )
        return {row[0]: row[1:] for row in rows}

    def count(self, table: str, condition: str = "true") -> int:
        """Return how many rows a table has; `table` as SQL writes it."""
        return int(self.value(f"SELECT count(*) FROM {table} WHERE {condition}"))

    def value(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query, parameters or None).fetchone()
        assert row is not None
        return row[0]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, parameters or None).fetchall()

    def insert(self, table: str, **values: Any) -> Any:
        """Insert one row and return its first given value."""
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(*table.split(".")),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() for _ in values),
        )
        self.connection.execute(statement, list(values.values()))
        return next(iter(values.values()))


def outcome(result: RunResult, target: str) -> Outcome:
    """Return what a run did to one target."""
    found = [outcome for outcome in result.outcomes if outcome.target == target]
    assert len(found) == 1, f"{target} in {[item.target for item in result.outcomes]}"
    return found[0]
