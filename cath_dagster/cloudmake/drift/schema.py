"""The source `schema`: the schema that drizzle-kit's newest snapshot declares, and the one that the database has."""

from pathlib import Path

import sqlalchemy as sa

from cath_dagster.cloudmake.drift.catalogue import default_operator_classes, read_catalogue
from cath_dagster.cloudmake.drift.deparsing import deparse
from cath_dagster.cloudmake.drift.drizzle_snapshot import Snapshot, read_newest_snapshot
from cath_dagster.cloudmake.drift.schema_facts import OURS, SchemaFacts, compare_schemas, doubtful, restate
from cath_dagster.cloudmake.drift.source import Look, Source, Surroundings, UnreadableError, whole

VARIABLE = "MIGRATIONS_PATH"


def look(surroundings: Surroundings) -> Look:
    """Compare them; only schemas of which the snapshot speaks count."""
    variable = f"{surroundings.prefix}_{VARIABLE}"
    snapshot = read_newest_snapshot(Path(surroundings.variable(VARIABLE)), variable)
    database = surroundings.opened()
    declared, real = database.transaction(lambda connection: _read_at_once(connection, snapshot))
    return whole("schema", compare_schemas(declared, real), declared=declared.count)


def _read_at_once(connection: sa.Connection, snapshot: Snapshot) -> tuple[SchemaFacts, SchemaFacts]:
    """Return both as of one instant: a migration that commits between two queries is no drift."""
    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    return read_both(connection, snapshot)


def read_both(connection: sa.Connection, snapshot: Snapshot) -> tuple[SchemaFacts, SchemaFacts]:
    """Return what is declared, in the server's words where ours leave a doubt, and what is there."""
    try:
        declared = snapshot.facts(default_operator_classes(connection))
        schemas = snapshot.schemas - OURS
    except (AttributeError, KeyError, TypeError):
        raise UnreadableError(f"{snapshot.name} is not as drizzle-kit writes it; generate it anew") from None
    real = read_catalogue(connection, schemas)
    restate(declared, deparse(connection, doubtful(declared, real)))
    return declared, real


SOURCE = Source(name="schema", look=look, variables=(VARIABLE,), needs_database=True)
