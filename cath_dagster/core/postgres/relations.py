"""What the catalogue says of a table: its columns, its key, its unique indexes, and the foreign keys to and from it."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, array

from cath_dagster.core.model.relation import Column, Reference, Relation


def read_relation(connection: sa.Connection, name: str, schema: str | None = None) -> Relation | None:
    """Return the table of that name, in the first schema of the search path that has one unless told; None without."""
    return read_relations(connection, [(schema, name)])[0]


Named = tuple[str | None, str]


@dataclass
class _Seen:
    relations: dict[Named, Relation | None] = field(default_factory=dict)
    references: dict[tuple[str, str], list[Reference]] = field(default_factory=dict)
    """By schema and name of a table, the foreign keys to it and from it."""


_seen: ContextVar[_Seen | None] = ContextVar("seen_of_the_catalogue", default=None)


@contextlib.contextmanager
def one_look() -> Iterator[None]:
    """Read each table and its foreign keys once within it, so that what is asked together is answered alike.

    For the questions of one transaction: planning such a statement in a new session costs the server milliseconds. One
    within another is the same look.
    """
    token = _seen.set(_seen.get() or _Seen())
    try:
        yield
    finally:
        _seen.reset(token)


def read_relations(connection: sa.Connection, names: Sequence[Named]) -> list[Relation | None]:
    """Return the tables of these schemas and names, in their order, by one statement."""
    seen = _seen.get() or _Seen()
    unseen = [named for named in dict.fromkeys(names) if named not in seen.relations]
    if unseen:
        given = {"schemas": [schema for schema, _ in unseen], "names": [name for _, name in unseen]}
        for named, (schema, *parts) in zip(unseen, connection.execute(_RELATIONS, given), strict=True):
            seen.relations[named] = (
                None if schema is None else _as_relation(schema, named[1], *(each or [] for each in parts))
            )
    return [seen.relations[named] for named in names]


def foresee(connection: sa.Connection, names: Sequence[Named]) -> None:
    """Read tables and their foreign keys together that will be asked for one by one, within `one_look`."""
    there = [relation for relation in read_relations(connection, names) if relation is not None]
    read_references(connection, there, with_partitions=True)


def _as_relation(
    schema: str, name: str, columns: list[Any], indexes: list[Any], parts: list[Any], heirs: list[str]
) -> Relation:
    its_columns = tuple(Column(*each) for each in columns)
    uniques = [(is_primary, null_is_a_value, tuple(names)) for is_primary, null_is_a_value, names in indexes]
    take_null = {column.name for column in its_columns if column.takes_null}
    keys = (names for is_primary, _, names in uniques if is_primary or not take_null & set(names))
    return Relation(
        schema,
        name,
        its_columns,
        key=next(keys, ()),
        uniques=tuple(names for *_, names in uniques),
        partitions=frozenset((its_schema, its_name) for its_schema, its_name in parts),
        null_is_a_value=frozenset(names for _, null_is_a_value, names in uniques if null_is_a_value),
        heirs=tuple(heirs),
    )


def read_references(
    connection: sa.Connection, tables: Iterable[Relation], *, with_partitions: bool = False
) -> list[Reference]:
    """Return the foreign keys to or from any of the tables; of partitioned ones the whole table's, and if so told those
    that are to or from single partitions of them.
    """
    query = sa.text(
        """
        SELECT fk.conname, child_schema.nspname, child.relname,
               (SELECT array_agg(attname::text ORDER BY place) FROM unnest(fk.conkey) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute ON attrelid = fk.conrelid AND attnum = number),
               parent_schema.nspname, parent.relname,
               (SELECT array_agg(attname::text ORDER BY place) FROM unnest(fk.confkey) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute ON attrelid = fk.confrelid AND attnum = number),
               fk.confdeltype::text, fk.confupdtype::text, fk.condeferrable, fk.condeferred,
               -- PostgreSQL 18 has a column for it; before, every key is enforced.
               coalesce(CAST(to_jsonb(fk) ->> 'conenforced' AS boolean), true)
        FROM pg_constraint AS fk
        JOIN pg_class AS child ON child.oid = fk.conrelid
        JOIN pg_namespace AS child_schema ON child_schema.oid = child.relnamespace
        JOIN pg_class AS parent ON parent.oid = fk.confrelid
        JOIN pg_namespace AS parent_schema ON parent_schema.oid = parent.relnamespace
        WHERE fk.contype = 'f' AND fk.conparentid = 0 AND EXISTS (
            SELECT FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) AS wanted (schema_name, table_name)
            WHERE (schema_name, table_name) = (parent_schema.nspname::text, parent.relname::text)
               OR (schema_name, table_name) = (child_schema.nspname::text, child.relname::text)
        )
        """
    )
    named: set[tuple[str, str]] = set()
    for table in tables:
        named |= {(table.schema, table.name), *(table.partitions if with_partitions else ())}
    seen = _seen.get() or _Seen()
    if unseen := [each for each in named if each not in seen.references]:
        given = {"schemas": [schema for schema, _ in unseen], "names": [name for _, name in unseen]}
        seen.references |= {each: [] for each in unseen}
        for name, schema, child, columns, parent_schema, parent, parent_columns, *rules in connection.execute(
            query, given
        ):
            found = Reference(name, schema, child, tuple(columns), parent_schema, parent, tuple(parent_columns), *rules)
            for end in {(schema, child), (parent_schema, parent)}.intersection(unseen):
                seen.references[end].append(found)
    ends = dict.fromkeys(each for name in named for each in seen.references[name])
    return sorted(ends, key=lambda each: (each.schema, each.child, each.constraint))


def key_text(columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[str]:
    """Return a key as the text by which its row is known: the value's own, of several a JSON array of theirs."""
    texts = [sa.cast(column, sa.Text) for column in columns]
    return texts[0] if len(texts) == 1 else sa.cast(sa.func.to_json(array(texts)), sa.Text)


def existing_keys(connection: sa.Connection, relation: Relation, keys: Sequence[str]) -> set[str]:
    """Return which of the keys, written as text, rows of the table have.

    Of a table whose key has several columns, or that has none, any column may be the one by which a job knows its rows:
    then a key counts that any of them has, and the table is read.
    """
    source = relation.as_source()
    if len(relation.key) != 1:
        names = relation.key or tuple(column.name for column in relation.columns)
        each = [key_text([source.c[name] for name in relation.key])] if relation.key else []
        texts = [*each, *(sa.cast(source.c[name], sa.Text) for name in names)]
        is_given = (sa.select(text).where(text == sa.any_(sa.literal(list(keys), ARRAY(sa.Text)))) for text in texts)
        return set(connection.scalars(sa.union(*is_given)))
    types = {column.name: column.type_name for column in relation.columns}
    (key,) = relation.key
    # By the key's own type, so that its index serves.
    given = sa.cast(sa.bindparam("keys", list(keys)), TypeNamed("text[]"))
    is_one = source.c[key] == sa.any_(sa.cast(given, TypeNamed(f"{types[key]}[]")))
    return set(connection.scalars(sa.select(sa.cast(source.c[key], sa.Text)).where(is_one)))


class TypeNamed(sa.types.UserDefinedType[object]):
    """A type of the server's, by the name that it gives it itself."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: object) -> str:
        return self.name


# With the modifier -1 a type's name casts as the type's own input does: to bpchar and "bit", which cut nothing.
# A domain's checks are left to the INSERT, which tells of one row at a time. 1042 and 1043 are char(n) and varchar(n).
_RELATIONS = sa.text(
    """
    SELECT its_schema.nspname,
        (SELECT json_agg(json_build_array(attname, format_type(base.type, -1), attgenerated <> '',
                                          attnotnull AND NOT atthasdef AND attidentity = '', NOT attnotnull,
                                          CASE WHEN base.type IN (1042, 1043) AND base.modifier > 4
                                               THEN base.modifier - 4 END)
                         ORDER BY attnum)
         FROM pg_attribute CROSS JOIN LATERAL (
             WITH RECURSIVE made_of AS (
                 SELECT atttypid AS type, atttypmod AS modifier, 0 AS depth
                 UNION ALL
                 SELECT typbasetype, typtypmod, depth + 1 FROM made_of JOIN pg_type ON oid = type AND typtype = 'd'
             )
             SELECT type, modifier FROM made_of ORDER BY depth DESC LIMIT 1
         ) AS base
         WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped),
        (SELECT json_agg(json_build_array(indisprimary, indnullsnotdistinct, its.names)
                         ORDER BY indisprimary DESC, indexrelid)
         FROM pg_index CROSS JOIN LATERAL (
             SELECT json_agg(attname ORDER BY ordinal) AS names
             FROM unnest(indkey) WITH ORDINALITY AS k (number, ordinal)
             JOIN pg_attribute ON attrelid = indrelid AND attnum = number WHERE ordinal <= indnkeyatts
         ) AS its
         WHERE indrelid = relation.oid AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL),
        (WITH RECURSIVE part AS (
             SELECT inhrelid AS oid FROM pg_inherits WHERE inhparent = relation.oid AND relation.relkind = 'p'
             UNION ALL
             SELECT inhrelid FROM part JOIN pg_inherits ON inhparent = part.oid
         )
         SELECT json_agg(json_build_array(nspname, relname))
         FROM part JOIN pg_class USING (oid) JOIN pg_namespace ON pg_namespace.oid = relnamespace),
        (SELECT json_agg(CAST(CAST(heir.oid AS regclass) AS text) ORDER BY heir.relname)
         FROM pg_inherits JOIN pg_class AS heir ON heir.oid = inhrelid
         WHERE inhparent = relation.oid AND relation.relkind = 'r' AND NOT heir.relispartition AND heir.relkind <> 'I')
    FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) WITH ORDINALITY AS wanted (schema_name, name, place)
    LEFT JOIN pg_class AS relation
        ON relation.oid = to_regclass(coalesce(quote_ident(schema_name) || '.', '') || quote_ident(name))
    LEFT JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
    ORDER BY place
    """
)
