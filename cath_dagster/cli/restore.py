"""Put back what a run deleted, in whichever location the run was."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from rich import box
from rich.table import Table

from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.terminal import out
from cath_dagster.cli.run_output import print_result
from cath_dagster.console.database import open_database
from cath_dagster.core.errors import MissingConfigurationError, RefusedError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import Outcome, RunResult
from cath_dagster.core.restore.preparation import Request
from cath_dagster.core.restore.restore import UnknownRunError, restore
from cath_dagster.core.run.backends import Reporter, required
from cath_dagster.core.run.spec import load_specs


def restore_run(locations: Sequence[CodeLocation], request: Request, *, now: datetime, reporter: Reporter) -> RunResult:
    """Restore a run of the first location that knows it.

    Raises `RefusedError` where none does, and `MissingConfigurationError` if that is because none has a database.
    """
    unknown: RefusedError | None = None
    missing: MissingConfigurationError | None = None
    for location in locations:
        try:
            required(open_backends(location), "DATABASE_URL")
        except MissingConfigurationError as error:
            missing = missing or error
            continue
        restore_id = str(uuid.uuid4())
        with open_database(location, f"restore:{restore_id}") as database:
            try:
                return restore(
                    database,
                    location,
                    load_specs(location),
                    request,
                    restore_id=restore_id,
                    now=now,
                    report=reporter.progress,
                )
            except UnknownRunError as error:
                unknown = error
    raise unknown or missing or RefusedError("there is no code location")


def print_restore(result: RunResult) -> None:
    """Print what came back and what cannot, in a dry run what would, then how it ended."""
    if result.outcomes:
        dry = " (dry run)" if result.dry_run else ""
        out.print(f"{result.location}/{result.job}, run {result.undoes}{dry}", markup=False, soft_wrap=True)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("table", no_wrap=True)
        for name in ("can come back" if result.dry_run else "restored", "cannot come back", "skipped"):
            table.add_column(name, justify="right")
        for outcome in result.outcomes:
            table.add_row(outcome.target, *(f"{count:,}" for count in _counts(outcome)))
        out.print(table)
    print_result(result, outcomes=False)


def _counts(outcome: Outcome) -> tuple[int, int, int]:
    """Return how many rows come back, or refer again to one that does; how many cannot; and how many are skipped."""
    return outcome.matched - outcome.failed, outcome.failed, outcome.skipped
