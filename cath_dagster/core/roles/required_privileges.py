"""Say what a database role needs: for all jobs of a code location, or to put back what they deleted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from cath_dagster.core.archive.dependents import read_dependents
from cath_dagster.core.archive.obstacles import needed_for_undo
from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.maintenance.tables import OURS, SCHEMA
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.relation import SET_NULL, Relation
from cath_dagster.core.model.settings import PurgeSettings, read_settings
from cath_dagster.core.postgres.relations import read_references, read_relations
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.core.postgres.vacuum import MAINTAIN_SINCE
from cath_dagster.core.references.examination import adopted, examine
from cath_dagster.core.run.foreseen_purges import purges_of
from cath_dagster.core.run.spec import JobSpec, purged_tables

REVISIONS = {"alembic_version": ("SELECT",)}
RESTORING = REVISIONS | {
    "ledger_event": ("SELECT", "INSERT"),
    "archived_rows": ("SELECT",),
    "restored_row": ("SELECT", "INSERT", "UPDATE"),
    "file_outbox": ("SELECT", "DELETE"),
}
"""What a restore does to our own tables."""

Named = tuple[str, str]
"""A relation's schema and name."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Privileges on tables and on the schema `maintenance`, and the views that the role must own to refresh them."""

    tables: Mapping[Named, frozenset[str]] = field(default_factory=dict)
    schema: frozenset[str] = frozenset({"USAGE"})
    views: tuple[str, ...] = ()

    @property
    def database(self) -> tuple[str, ...]:
        """Privileges on the database; refreshing a view makes a temporary table."""
        return ("CONNECT", "TEMPORARY") if self.views else ("CONNECT",)

    @property
    def schemas(self) -> dict[str, frozenset[str]]:
        """Privileges on each schema with a table of these."""
        return {schema: frozenset({"USAGE"}) for schema, _ in sorted(self.tables)} | {SCHEMA: self.schema}

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            tables=_merged([*self.tables.items(), *other.tables.items()]),
            schema=self.schema | other.schema,
            views=tuple(dict.fromkeys((*self.views, *other.views))),
        )


@dataclass(frozen=True)
class Moment:
    """What the jobs plan with when nobody runs them."""

    as_of: datetime
    environ: Mapping[str, str]
    run_id: str = "roles"


def needs_of_jobs(
    connection: sa.Connection, specs: Sequence[JobSpec], moment: Moment, *, views: Sequence[str]
) -> Needs:
    """Return what all the jobs need, with the settings that the environment gives them."""
    found = [((SCHEMA, table), frozenset(wanted)) for table, wanted in (OURS | REVISIONS).items()]
    schema = {"USAGE"}
    for spec in specs:
        for table, wanted in spec.privileges.items():
            if table == SCHEMA:
                schema |= set(wanted)
            else:
                found.append((_named(table), frozenset(wanted)))
        found += _of_settings(connection, spec, moment)
    return Needs(
        tables=_with_partitions(connection, _merged(found)), schema=frozenset(schema), views=tuple(sorted(views))
    )


def needs_of_restore(connection: sa.Connection, specs: Sequence[JobSpec]) -> Needs:
    """Return what it takes to put back whatever any of the jobs deletes.

    Reading the parents tells which rows have lost the one that they refer to.
    """
    undoable = [spec for spec in specs if issubclass(spec.settings, PurgeSettings)]
    found = [((SCHEMA, table), frozenset(wanted)) for table, wanted in RESTORING.items()]
    found += [(_named(table), frozenset({"SELECT", "DELETE"})) for table in _copied_into(undoable)]
    relations = _there(connection, purged_tables(undoable))
    gone = {(relation.schema, relation.name) for relation in relations}
    found += [(named, frozenset({"SELECT", "INSERT"})) for named in gone]
    for reference in read_references(connection, relations):
        child, parent = (reference.schema, reference.child), (reference.parent_schema, reference.parent)
        if child in gone:
            found.append((parent, frozenset({"SELECT"})))
        if parent in gone and reference.on_delete == SET_NULL:
            found.append((child, frozenset({"SELECT", "UPDATE"})))
    return Needs(tables=_merged(found))


def _of_settings(connection: sa.Connection, spec: JobSpec, moment: Moment) -> Iterator[tuple[Named, frozenset[str]]]:
    """Yield what a job needs because of how it is set: to archive what it deletes, and to vacuum afterwards."""
    settings = read_settings(spec.settings, {}, location=spec.location.name, job=spec.name, environ=moment.environ)
    if not isinstance(settings, PurgeSettings):
        return
    version = connection.scalar(sa.text("SELECT current_setting('server_version_num')::int")) or 0
    if settings.vacuum and version >= MAINTAIN_SINCE:
        yield from ((_named(table), frozenset({"MAINTAIN"})) for table in purged_tables([spec]))
    for purge in purges_of(connection, spec, moment, settings):
        yield from _of_references(connection, purge, settings)


def _of_references(
    connection: sa.Connection, purge: Purge, settings: PurgeSettings
) -> Iterator[tuple[Named, frozenset[str]]]:
    """Yield what a purge needs because of foreign keys: to see what holds its rows, and to take what goes along."""
    try:
        examined = examine(connection, purge, allowed=settings.allowed_cascades)
    except DatabaseStatementError:
        # Without the table there is nothing to be granted.
        return
    for reference in (*(hold.reference for hold in examined.holds), *examined.unread):
        # Other schemas are not the role's to look into, unless their owner lets it.
        if reference.schema == SERVICE:
            yield (reference.schema, reference.child), frozenset({"SELECT"})
    for table in adopted(purge, examined.purge):
        if table.schema == SERVICE:
            yield (SERVICE, table.name), frozenset({"SELECT", "DELETE"})
    if settings.undo_days:
        yield from _of_undo(connection, examined.purge)


def _of_undo(connection: sa.Connection, purge: Purge) -> Iterator[tuple[Named, frozenset[str]]]:
    deleted_tables = read_dependents(connection, purge)
    for table, wanted in needed_for_undo(purge, deleted_tables).items():
        yield (deleted_tables[0].relation.schema, table), frozenset(wanted)


def _copied_into(specs: Sequence[JobSpec]) -> list[str]:
    """Return the tables of ours, in addition to those that every location has, into which a job copies what it deletes."""
    return [
        table
        for spec in specs
        for table, wanted in spec.privileges.items()
        if table.startswith(f"{SCHEMA}.") and "INSERT" in wanted
    ]


def _there(connection: sa.Connection, tables: Sequence[str]) -> list[Relation]:
    found = read_relations(connection, [(SERVICE, table) for table in tables])
    return [relation for relation in found if relation is not None]


def _named(table: str) -> Named:
    schema, _, name = table.rpartition(".")
    return schema or SERVICE, name


def _merged(found: Sequence[tuple[Named, frozenset[str]]]) -> dict[Named, frozenset[str]]:
    merged: dict[Named, frozenset[str]] = {}
    for named, wanted in found:
        merged[named] = merged.get(named, frozenset()) | wanted
    return merged


def _with_partitions(
    connection: sa.Connection, tables: Mapping[Named, frozenset[str]]
) -> Mapping[Named, frozenset[str]]:
    """Add the partitions of each table: a purge walks the heap of each by its own name."""
    query = sa.text(
        """
        SELECT root_schema.nspname, root.relname, leaf_schema.nspname, leaf.relname
        FROM pg_class AS root
        JOIN pg_namespace AS root_schema ON root_schema.oid = root.relnamespace
        CROSS JOIN LATERAL pg_partition_tree(root.oid) AS part
        JOIN pg_class AS leaf ON leaf.oid = part.relid AND leaf.oid <> root.oid
        JOIN pg_namespace AS leaf_schema ON leaf_schema.oid = leaf.relnamespace
        WHERE root.relkind = 'p'
          AND (root_schema.nspname::text, root.relname::text) IN
              (SELECT * FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[])))
        """
    )
    given = {"schemas": [schema for schema, _ in tables], "names": [name for _, name in tables]}
    parts = [
        ((leaf_schema, leaf), tables[schema, name])
        for schema, name, leaf_schema, leaf in connection.execute(query, given)
    ]
    return _merged([*tables.items(), *parts])
