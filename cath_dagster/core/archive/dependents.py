"""Know which tables a purge takes rows of, and what its delete does to rows that refer to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.core.model.relation import SET_NULL, Effect, Reference, Relation
from cath_dagster.core.postgres.relations import read_references, read_relations

Declared = frozenset[tuple[str, frozenset[tuple[str, str]]]]
"""Names of child tables, each with the columns by which its rows go along and those that they refer to."""


@dataclass(frozen=True)
class NulledReference:
    """A reference that the delete sets to null, and a restore sets again, with the table that it is in."""

    reference: Reference
    child: Relation


@dataclass(frozen=True)
class DeletedTable:
    """A table whose rows go. `references` are the foreign keys to it that the purge does not know as its children's."""

    table: sa.Table
    has_children: bool
    relation: Relation
    references: tuple[Reference, ...]
    nulled: tuple[NulledReference, ...]

    def unknown(self, effect: Effect) -> list[Reference]:
        """Return the foreign keys to it, not known as its children's, of one effect."""
        return [reference for reference in self.references if reference.effect is effect]


def read_dependents(connection: sa.Connection, purge: Purge) -> tuple[DeletedTable, ...]:
    """Return the purged table and those whose rows go along, as the catalogue has them now."""
    declared = _declared(purge)
    tables = [table for table, _ in declared]
    relations = find_relations(connection, tables)
    references = read_references(connection, relations)
    linked = list(dict.fromkeys((each.schema, each.child) for each in references if each.on_delete == SET_NULL))
    children = dict(zip(linked, _read(connection, linked) if linked else [], strict=True))
    deleted_tables = []
    for (table, its_children), relation in zip(declared, relations, strict=True):
        unknown = tuple(each for each in references if _is_to(each, relation) and not _is_of(each, its_children))
        nulled = (
            NulledReference(each, children[each.schema, each.child]) for each in unknown if each.on_delete == SET_NULL
        )
        deleted_tables.append(DeletedTable(table, bool(its_children), relation, unknown, tuple(nulled)))
    return tuple(deleted_tables)


def tables_of(purge: Purge) -> list[sa.Table]:
    """Return every table whose rows the purge takes, its own first."""
    return [table for table, _ in _declared(purge)]


def find_relations(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Relation]:
    """Return what the catalogue says of declared tables.

    Raises `DatabaseStatementError` for one that is not there.
    """
    return _read(connection, [(table.schema, table.name) for table in tables])


def _declared(purge: Purge) -> list[tuple[sa.Table, Declared]]:
    found: dict[str, tuple[sa.Table, Declared]] = {}
    ahead = [(purge.table, purge.children)]
    while ahead:
        table, children = ahead.pop(0)
        _, known = found.get(table.fullname, (table, Declared()))
        found[table.fullname] = (table, known | {_as_declared(child, table) for child in children})
        ahead += [(child.table, child.children) for child in children]
    return list(found.values())


def _read(connection: sa.Connection, names: Sequence[tuple[str | None, str]]) -> list[Relation]:
    relations = []
    for (_, name), relation in zip(names, read_relations(connection, names), strict=True):
        if relation is None:
            raise DatabaseStatementError(f"there is no table {name}; is this the right database?")
        relations.append(relation)
    return relations


def _is_to(reference: Reference, relation: Relation) -> bool:
    return (reference.parent_schema, reference.parent) == (relation.schema, relation.name)


def _is_of(reference: Reference, declared: Declared) -> bool:
    # Of a key of several columns one is enough: the rows found by it are those that the key finds, or more of them.
    pairs = frozenset(reference.pairs)
    return any(child == reference.child and its_pairs <= pairs for child, its_pairs in declared)


def _as_declared(child: Child, parent: sa.Table) -> tuple[str, frozenset[tuple[str, str]]]:
    return child.table.name, frozenset((own.name, theirs.name) for own, theirs in child.pairs_to(parent))
