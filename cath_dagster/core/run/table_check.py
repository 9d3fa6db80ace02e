"""Refuse a run, before its work, whose tables do not let it do that."""

from collections.abc import Mapping, Sequence

from cath_dagster.core.errors import PreflightError
from cath_dagster.core.maintenance.table_troubles import find_troubles
from cath_dagster.core.maintenance.tables import METADATA, SCHEMA
from cath_dagster.core.run.job_run import JobRun

ALL = ("SELECT",)
USED = {f"{SCHEMA}.{table.name}": ALL for table in METADATA.tables.values()}
"""The tables of ours that every job uses."""


def check_tables(run: JobRun, targets: Sequence[str], used: Mapping[str, Sequence[str]]) -> None:
    """Refuse a run which the tables that it uses do not let do its work, and note what does it no good.

    Raises `PreflightError`; in a dry run only where the rows cannot be read, so that nothing could be counted.
    """
    wanted = USED | dict(used)
    found = run.database.transaction(lambda connection: find_troubles(connection, wanted, targets))
    for trouble in found:
        if not trouble.refuses and not run.request.purging.vacuum:
            run.note(str(trouble))
    reasons = [str(trouble) for trouble in found if trouble.refuses]
    run.refuse(reasons)
    if any(trouble.hides for trouble in found):
        raise PreflightError(". ".join(reasons))
