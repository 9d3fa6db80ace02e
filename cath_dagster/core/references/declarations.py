"""Compare what a job declares of the tables that it purges with what the catalogue says of them."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from cath_dagster.core.archive.dependents import find_relations
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.core.model.relation import Reference
from cath_dagster.core.postgres.identifiers import quote
from cath_dagster.core.postgres.relations import read_references


def find_mistakes(connection: sa.Connection, purge: Purge) -> list[str]:
    """Return where the children that the job declares are not what the catalogue says."""
    found = []
    for parent, child in children_of(purge):
        of_child = set(read_references(connection, find_relations(connection, [child.table])))
        pairs = {(own.name, theirs.name) for own, theirs in child.pairs_to(parent)}
        named = [each for each in of_child if each.child == child.table.name and _shares(each, pairs)]
        if named and not any(each.parent == parent.name and pairs <= set(each.pairs) for each in named):
            found.append(_describe_mistake(parent, child, sorted(named, key=lambda each: each.constraint)))
    return found


def _shares(reference: Reference, pairs: set[tuple[str, str]]) -> bool:
    return bool({*reference.columns} & {own for own, _ in pairs})


def _describe_mistake(parent: sa.Table, child: Child, named: Sequence[Reference]) -> str:
    own, theirs = ([column.name for column in columns] for columns in zip(*child.pairs_to(parent), strict=True))
    keys = "; ".join(f"{each.constraint} refers to {each.parent} ({', '.join(each.parent_columns)})" for each in named)
    return (
        f"the job takes rows of {child.table.name} along by {', '.join(own)}, as the {', '.join(theirs)} of "
        f"{parent.name}, and the database says otherwise: {keys}. Rows of others would go; say in the job's `Child` what "
        "the column refers to, with refers_to"
    )


def find_heirs(connection: sa.Connection, purge: Purge) -> list[str]:
    """Return why tables that others inherit from, other than partitioned ones, cannot be purged."""
    query = sa.text(
        """
        SELECT parent.relname, string_agg(CAST(CAST(heir.oid AS regclass) AS text), ', ' ORDER BY heir.relname)
        FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) AS wanted (schema_name, table_name)
        JOIN pg_namespace AS its_schema ON its_schema.nspname = schema_name
        JOIN pg_class AS parent ON parent.relnamespace = its_schema.oid AND parent.relname = table_name
        JOIN pg_inherits ON inhparent = parent.oid
        JOIN pg_class AS heir ON heir.oid = inhrelid AND NOT heir.relispartition AND heir.relkind <> 'I'
        WHERE parent.relkind = 'r' GROUP BY parent.relname ORDER BY 1
        """
    )
    tables = find_relations(connection, [purge.table, *(child.table for _, child in children_of(purge))])
    given = {"schemas": [each.schema for each in tables], "names": [each.name for each in tables]}
    return [
        f"{heirs} inherit from {name}, so that a statement on {name} means their rows too, and a purge goes by the places "
        f"of one table's: partition {name} instead, or take the inheritance away (ALTER TABLE … NO INHERIT {quote(name)})"
        for name, heirs in connection.execute(query, given)
    ]


def children_of(purge: Purge) -> Iterator[tuple[sa.Table, Child]]:
    """Yield each child with the table of its parent."""

    def walk(parent: sa.Table, children: Sequence[Child]) -> Iterator[tuple[sa.Table, Child]]:
        for child in children:
            yield parent, child
            yield from walk(child.table, child.children)

    yield from walk(purge.table, purge.children)
