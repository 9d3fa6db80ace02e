"""Know which tables a purge takes rows of, and what its delete does to rows that refer to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.purge import Purge
from cath_dagster.core.relations import SET_NULL, Effect, Reference, Relation, read_references, read_relations

Declared = frozenset[tuple[str, str]]
"""Names of child tables, each with the column by which its rows go along."""


@dataclass(frozen=True)
class Link:
    """A reference that the delete sets to null, and a restore sets again, with the table that it is in."""

    reference: Reference
    child: Relation


@dataclass(frozen=True)
class Member:
    """A table whose rows go. `references` are the foreign keys to it that the purge does not know as its children's."""

    table: sa.Table
    has_children: bool
    relation: Relation
    references: tuple[Reference, ...]
    links: tuple[Link, ...]

    def unknown(self, effect: Effect) -> list[Reference]:
        """Return the foreign keys to it, not known as its children's, of one effect."""
        return [reference for reference in self.references if reference.effect is effect]


def read_family(connection: sa.Connection, purge: Purge) -> tuple[Member, ...]:
    """Return the purged table and those whose rows go along, as the catalogue has them now."""
    declared = _declared(purge)
    tables = [table for table, _ in declared]
    relations = _read(connection, [(table.schema, table.name) for table in tables])
    references = read_references(connection, relations)
    linked = list(dict.fromkeys((each.schema, each.child) for each in references if each.on_delete == SET_NULL))
    children = dict(zip(linked, _read(connection, linked) if linked else [], strict=True))
    members = []
    for (table, its_children), relation in zip(declared, relations, strict=True):
        unknown = tuple(each for each in references if _is_to(each, relation) and not _is_of(each, its_children))
        links = (Link(each, children[each.schema, each.child]) for each in unknown if each.on_delete == SET_NULL)
        members.append(Member(table, bool(its_children), relation, unknown, tuple(links)))
    return tuple(members)


def tables_of(purge: Purge) -> list[sa.Table]:
    """Return every table whose rows the purge takes, its own first."""
    return [table for table, _ in _declared(purge)]


def _declared(purge: Purge) -> list[tuple[sa.Table, Declared]]:
    found: dict[str, tuple[sa.Table, Declared]] = {}
    ahead = [(purge.table, purge.children)]
    while ahead:
        table, children = ahead.pop(0)
        _, known = found.get(table.fullname, (table, Declared()))
        found[table.fullname] = (table, known | {(child.table.name, child.column.name) for child in children})
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
    return len(reference.columns) == 1 and (reference.child, reference.columns[0]) in declared
