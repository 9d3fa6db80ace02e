"""Build the indexes that a location's purges need."""

import time
from collections.abc import Sequence

from rich.table import Table
from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.terminal import err, out
from cath_dagster.core.inspection.index_builds import IndexBuild, build_missing_indexes
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.postgres.database import translate
from cath_dagster.core.run.spec import load_specs


def build_all(location: CodeLocation, *, dry_run: bool) -> list[IndexBuild]:
    """Build every index that the doctor warns of; return what was done, or would be, about each."""
    try:
        with (
            open_backends(location).disposed_engine("indexes build") as engine,
            engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            return build_missing_indexes(connection, load_specs(location), dry_run=dry_run, clock=time.perf_counter)
    except DBAPIError as error:
        raise translate(error) from None


def print_builds(location: str, builds: Sequence[IndexBuild], *, dry_run: bool) -> None:
    """Print what was done about each missing index; of a dry run the statements only, for a script to take."""
    if dry_run:
        for statement in (statement for build in builds for statement in build.statements):
            out.print(statement, markup=False, highlight=False, soft_wrap=True)
    elif builds:
        out.print(_build_table(location, builds))
        out.print("To Prisma these indexes are drift: in the long run move them into the service's own migrations.")
    else:
        out.print(f"{location}: no index is missing")
    for error in (build.error for build in builds if build.error):
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)


def _build_table(location: str, builds: Sequence[IndexBuild]) -> Table:
    table = Table(title=location, title_justify="left")
    for name in ("index", "table", "rows", "done", "seconds"):
        table.add_column(name, justify="right" if name in ("rows", "seconds") else "left", overflow="fold")
    for build in builds:
        done = "failed" if build.error else build.action
        table.add_row(build.index, build.table, f"{build.rows:,}", done, f"{build.seconds:.1f}")
    return table
