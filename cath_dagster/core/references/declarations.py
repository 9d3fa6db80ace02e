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
    tables = find_relations(connection, [purge.table, *(child.table for _, child in children_of(purge))])
    return [
        f"{', '.join(each.heirs)} inherit from {each.name}, so that a statement on {each.name} means their rows too, and a "
        f"purge goes by the places of one table's: partition {each.name} instead, or take the inheritance away "
        f"(ALTER TABLE … NO INHERIT {quote(each.name)})"
        for each in sorted(dict.fromkeys(tables), key=lambda each: each.name)
        if each.heirs
    ]


def children_of(purge: Purge) -> Iterator[tuple[sa.Table, Child]]:
    """Yield each child with the table of its parent."""

    def walk(parent: sa.Table, children: Sequence[Child]) -> Iterator[tuple[sa.Table, Child]]:
        for child in children:
            yield parent, child
            yield from walk(child.table, child.children)

    yield from walk(purge.table, purge.children)
