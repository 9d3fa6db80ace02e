"""What a run of a job would delete, asked without a run."""

from collections.abc import Sequence

import sqlalchemy as sa

from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.postgres.relations import read_relations
from cath_dagster.core.run.spec import JobSpec, purged_tables


def purges_of(connection: sa.Connection, spec: JobSpec, moment: Planning, settings: JobSettings) -> Sequence[Purge]:
    """Return what a run of the job would delete; of one that alone knows its rows, a purge of none for each table."""
    purges = spec.purges_at(moment, settings)
    if purges is not None:
        return purges
    relations = read_relations(connection, [("public", table) for table in purged_tables([spec])])
    tables = [relation.as_table() for relation in relations if relation is not None and len(relation.key) == 1]
    return [Purge(table=table, rule="what the run finds", predicate=sa.false()) for table in tables]
