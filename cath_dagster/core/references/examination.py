"""Hold a purge against the catalogue: every foreign key to a table of which rows go, whether a job knows it or not.

Plan, run, `explain`, `doctor` and the roles all ask here, so that they take and keep the same rows.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from cath_dagster.core.archive.dependents import find_relations
from cath_dagster.core.model.purge import Child, Hold, Purge
from cath_dagster.core.model.relation import Effect, Reference, Relation
from cath_dagster.core.postgres.catalogue import find_missing_privileges
from cath_dagster.core.postgres.identifiers import quote
from cath_dagster.core.postgres.relations import one_look, read_references, read_relations
from cath_dagster.core.references.declarations import children_of, find_heirs, find_mistakes
from cath_dagster.core.references.holds import with_holds

Named = tuple[str, str]
"""A table's schema and name."""


@dataclass(frozen=True)
class Examined:
    """A purge with what the catalogue adds to it."""

    purge: Purge
    """With the cascades that the settings allow as children."""
    refusals: tuple[str, ...] = ()
    """Why the run must not begin, each with what to do."""
    holds: tuple[Hold, ...] = ()
    unread: tuple[Reference, ...] = ()
    """Those that may hold rows as well, in tables that the role may not read."""
    sets: tuple[Reference, ...] = ()
    """Those by which the delete sets columns of rows that stay."""

    @property
    def complete(self) -> Purge:
        """The purge without the rows that other rows hold."""
        return with_holds(self.purge, self.holds)

    def of(self, purge: Purge) -> Purge:
        """Return a form of the examined purge, such as one that spares rows, without the rows that others hold."""
        return with_holds(purge, self.holds)


def examine(connection: sa.Connection, purge: Purge, *, allowed: Collection[str] = ()) -> Examined:
    """Return what the foreign keys to the purge's tables mean for it; `allowed` names cascades that may take rows."""
    if purge.is_checked_apart:
        return Examined(purge)
    with one_look():
        return _examine(connection, purge, allowed)


def _examine(connection: sa.Connection, purge: Purge, allowed: Collection[str]) -> Examined:
    mistakes = find_mistakes(connection, purge)
    if mistakes:
        return Examined(purge, refusals=tuple(mistakes))
    declared = purge
    purge, cascades = _with_cascades(connection, purge, allowed)
    refusals = [
        *(_describe_cascade(each, allowed) for each in cascades),
        *find_heirs(connection, purge),
        *_lacking(connection, declared, purge),
    ]
    holds, sets = _unknown(connection, purge)
    readable = _readable(connection, {(hold.reference.schema, hold.reference.child) for hold in holds})
    is_read = {hold: _is_read(hold, purge, readable) for hold in holds}
    return Examined(
        purge,
        refusals=tuple(refusals),
        holds=tuple(hold for hold in holds if is_read[hold]),
        unread=tuple(dict.fromkeys(hold.reference for hold in holds if not is_read[hold])),
        sets=tuple(sets),
    )


def describe_unread(reference: Reference) -> str:
    """Return what it means that rows of a table may hold others and cannot be read, and what to do."""
    return (
        f"rows of {reference.parent} to which {reference.name} ({reference.constraint}) refers are kept, and cannot be "
        f"counted before: {grant_to_read(reference)}"
    )


def grant_to_read(reference: Reference) -> str:
    """Return what lets the role see which rows a foreign key holds."""
    usage = "" if reference.schema == "public" else f"GRANT USAGE ON SCHEMA {quote(reference.schema)} and "
    return f"as its owner, {usage}GRANT SELECT ON {quote(reference.schema)}.{quote(reference.child)} to the role"


def adopted(declared: Purge, purge: Purge) -> list[sa.Table]:
    """Return the tables that go along since the settings allow it, in addition to the declared ones."""
    known = {child.table for _, child in children_of(declared)}
    return list(dict.fromkeys(child.table for _, child in children_of(purge) if child.table not in known))


def _lacking(connection: sa.Connection, declared: Purge, purge: Purge) -> list[str]:
    missing = [
        each
        for table in adopted(declared, purge)
        for each in find_missing_privileges(connection, table.schema or "public", {table.name: ("SELECT", "DELETE")})
    ]
    return [f"table {each.table}: {each.says}; {each.remedy}" for each in missing]


def _with_cascades(connection: sa.Connection, purge: Purge, allowed: Collection[str]) -> tuple[Purge, list[Reference]]:
    """Return the purge with the cascades that are allowed as children of it, and those that are not."""
    found: dict[Named, Relation] = {}
    ahead = find_relations(connection, [purge.table, *(child.table for _, child in children_of(purge))])
    root, known = ahead[0], {(each.schema, each.name) for each in ahead}
    cascades: list[Reference] = []
    while ahead:
        named = {(each.schema, each.name) for each in ahead}
        references = [
            each
            for each in read_references(connection, ahead)
            if each.effect is Effect.CASCADES
            and (each.parent_schema, each.parent) in named
            and not _is_known(purge, each)
            and each not in cascades
        ]
        cascades += references
        names = {(each.schema, each.child) for each in references} - known
        known |= names
        ahead = [each for each in read_relations(connection, sorted(names)) if each is not None]
        found |= {(each.schema, each.name): each for each in ahead}
    # What leads back to where it came from, or to rows that go already, could not be counted.
    taken = [
        each
        for each in cascades
        if each.constraint in allowed and (each.schema, each.child) in found and not _is_circle(each, cascades, root)
    ]
    return _adopt(purge, taken, found), [each for each in cascades if each not in taken]


def _adopt(purge: Purge, cascades: Sequence[Reference], relations: dict[Named, Relation]) -> Purge:
    tables = {named: relation.as_table() for named, relation in relations.items()}

    def with_children(table: sa.Table, children: tuple[Child, ...]) -> tuple[Child, ...]:
        own = [
            _as_child(each, table, tables[each.schema, each.child])
            for each in cascades
            if each.parent == table.name and (each.schema, each.child) in tables
        ]
        return tuple(replace(child, children=with_children(child.table, child.children)) for child in (*children, *own))

    return replace(purge, children=with_children(purge.table, purge.children)) if cascades else purge


def _as_child(reference: Reference, parent: sa.Table, table: sa.Table) -> Child:
    pairs = tuple((table.c[own], parent.c.get(theirs, sa.Column(theirs))) for own, theirs in reference.pairs)
    return Child(table, pairs[0][0], pairs=pairs)


def _is_circle(reference: Reference, cascades: Sequence[Reference], root: Relation) -> bool:
    """Return whether a cascade leads to a table whose own rows lead to it again."""
    start = (reference.parent_schema, reference.parent)
    seen: set[Named] = set()
    ahead = [(reference.schema, reference.child)]
    while ahead:
        table = ahead.pop()
        if table in (start, (root.schema, root.name)):
            return True
        if table not in seen:
            seen.add(table)
            ahead += [(each.schema, each.child) for each in cascades if (each.parent_schema, each.parent) == table]
    return False


def _describe_cascade(reference: Reference, allowed: Collection[str]) -> str:
    says = (
        f"rows of {_name(reference)} would go with rows of {reference.parent} by {reference.constraint} (ON DELETE "
        f"CASCADE on {reference.name}), and the job does not know of them"
    )
    if reference.constraint in allowed:
        return (
            f"{says}. allow_cascades names it, but they belong to tables whose rows go by another key as well, or lead "
            "back to them, and could not be counted; declare them in the job, or change what the key does ON DELETE"
        )
    return f"{says}; if they may go, and shall be counted, name the key in allow_cascades"


def _unknown(connection: sa.Connection, purge: Purge) -> tuple[list[Hold], list[Reference]]:
    """Return the foreign keys that may hold rows, by each way that leads to them, and those that set columns."""
    paths = [((), purge.table), *_paths(purge.children)]
    relations = find_relations(connection, [table for _, table in paths])
    references = read_references(connection, relations, with_partitions=True)
    holds, sets = [], []
    for (path, _), relation in zip(paths, relations, strict=True):
        for each in references:
            is_to_it = (each.parent_schema, each.parent) in {(relation.schema, relation.name), *relation.partitions}
            if not is_to_it or _is_known(purge, each):
                continue
            if each.effect is Effect.BLOCKS:
                holds.append(Hold(each, path))
            elif each.effect is Effect.SETS and each not in sets:
                sets.append(each)
    return holds, sets


def _paths(children: Sequence[Child], above: tuple[Child, ...] = ()) -> Iterator[tuple[tuple[Child, ...], sa.Table]]:
    for child in children:
        yield (*above, child), child.table
        yield from _paths(child.children, (*above, child))


def _is_known(purge: Purge, reference: Reference) -> bool:
    """Return whether the purge says what becomes of the rows that refer by this key."""
    if any(
        (column.table.name, column.name) == (reference.child, reference.columns[0]) for column in purge.lets_cascade
    ):
        return True
    pairs = set(reference.pairs)
    return any(
        (parent.name, child.table.name) == (reference.parent, reference.child)
        and {(own.name, theirs.name) for own, theirs in child.pairs_to(parent)} <= pairs
        for parent, child in children_of(purge)
    )


def _readable(connection: sa.Connection, tables: Collection[Named]) -> set[Named]:
    """Return the tables all of whose rows the role may read."""
    if not tables:
        return set()
    query = sa.text(
        """
        SELECT schema_name, table_name
        FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) AS wanted (schema_name, table_name)
        JOIN pg_namespace AS its_schema ON its_schema.nspname = schema_name
        JOIN pg_class AS relation ON relation.relnamespace = its_schema.oid AND relation.relname = table_name
        WHERE has_schema_privilege(its_schema.oid, 'USAGE') AND has_table_privilege(relation.oid, 'SELECT')
          AND NOT row_security_active(relation.oid)
        """
    )
    given = {"schemas": [schema for schema, _ in tables], "names": [name for _, name in tables]}
    return {(schema, name) for schema, name in connection.execute(query, given)}


def _is_read(hold: Hold, purge: Purge, readable: Collection[Named]) -> bool:
    reference = hold.reference
    table = hold.path[-1].table if hold.path else purge.table
    # A key to a single partition says nothing of the rows of the others.
    return (reference.schema, reference.child) in readable and reference.parent == table.name


def _name(reference: Reference) -> str:
    return reference.child if reference.schema == "public" else f"{reference.schema}.{reference.child}"
