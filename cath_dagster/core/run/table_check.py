"""Refuse a run, before its work, whose tables do not let it do that."""

from collections.abc import Mapping, Sequence

from cath_dagster.core.errors import PreflightError
from cath_dagster.core.maintenance.table_troubles import find_troubles
from cath_dagster.core.maintenance.tables import METADATA, SCHEMA
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

ALL = ("SELECT",)
USED = {f"{SCHEMA}.{table.name}": ALL for table in METADATA.tables.values()}
"""The tables of ours that every job uses."""


def check_tables(run: JobRun, spec: JobSpec, settings: JobSettings) -> None:
    """Refuse a run whose tables do not let it do its work, and note what does it no good.

    Raises `PreflightError`; in a dry run only where the rows cannot be read, so that nothing could be counted.
    """
    wanted = USED | dict(_concerned(run, spec, settings))
    found = run.database.transaction(lambda connection: find_troubles(connection, wanted, spec.tables))
    for trouble in found:
        if not trouble.refuses and not run.request.purging.vacuum:
            run.note(str(trouble))
    reasons = [str(trouble) for trouble in found if trouble.refuses]
    run.refuse(reasons)
    if any(trouble.hides for trouble in found):
        raise PreflightError(". ".join(reasons))


def _concerned(run: JobRun, spec: JobSpec, settings: JobSettings) -> Mapping[str, Sequence[str]]:
    """Return what the run does to which tables; those whose purge is switched off are left out."""
    if spec.purges is None:
        return spec.privileges
    purges = spec.purges(run, settings)
    purged = {table.name for purge in purges for table in purge.every_table}
    return {name: needs for name, needs in spec.privileges.items() if name in purged or "DELETE" not in needs}
