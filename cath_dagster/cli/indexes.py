"""Build the indexes that a location's purges need."""

import time

from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import open_resources
from cath_dagster.core.inspection.index_builds import IndexBuild, build_missing_indexes
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.postgres.database import translate
from cath_dagster.core.run.spec import load_specs


def build_all(location: CodeLocation, *, dry_run: bool) -> list[IndexBuild]:
    """Build every index that the doctor warns of; return what was done, or would be, about each."""
    try:
        with (
            open_resources(location).disposed_engine("indexes build") as engine,
            engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            return build_missing_indexes(connection, load_specs(location), dry_run=dry_run, clock=time.perf_counter)
    except DBAPIError as error:
        raise translate(error) from None
