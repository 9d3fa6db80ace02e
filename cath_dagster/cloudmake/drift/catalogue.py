"""The real schema: what PostgreSQL's catalogue has, by a few queries over all tables at once."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from cath_dagster.cloudmake.drift.expressions import canonical
from cath_dagster.cloudmake.drift.schema_facts import BOOKKEEPING, SchemaFacts, flag, listed, shown
from cath_dagster.cloudmake.drift.types import type_name

_ACTIONS = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}
_COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}
_IDENTITIES = {"a": "always", "d": "by default"}
_DESCENDING, _NULLS_FIRST = 1, 2


@dataclass(frozen=True)
class _Relation:
    schema: str
    name: str

    @property
    def shown(self) -> str:
        return shown(self.schema, self.name)

    def canonical(self, text: str | None) -> str:
        return canonical(text, qualifiers=(self.name, self.schema)) if text else ""


@dataclass
class _Catalogue:
    """What was read so far: the tables by their oid, and their columns' names by number."""

    connection: sa.Connection
    schemas: list[str]
    facts: SchemaFacts = field(default_factory=SchemaFacts)
    tables: dict[int, _Relation] = field(default_factory=dict)
    columns: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))

    def rows(self, query: sa.TextClause) -> Iterable[Any]:
        return self.connection.execute(query, {"schemas": self.schemas, "tables": list(self.tables)})

    def names(self, table: int, numbers: Iterable[int]) -> str:
        return listed([self.columns[table].get(number, "?") for number in numbers])


def read_catalogue(connection: sa.Connection, schemas: Collection[str]) -> SchemaFacts:
    """Return what the schemas hold; what an extension brought with it, and partitions, are left out."""
    catalogue = _Catalogue(connection, sorted(schemas))
    _read_relations(catalogue)
    _read_columns(catalogue)
    _read_constraints(catalogue)
    _read_indexes(catalogue)
    _read_enums(catalogue)
    _read_policies(catalogue)
    return catalogue.facts


def default_operator_classes(connection: sa.Connection) -> frozenset[str]:
    """Return the names of operator classes that an index has without saying so."""
    return frozenset(connection.scalars(sa.text("SELECT opcname::text FROM pg_opclass WHERE opcdefault")))


def _read_relations(catalogue: _Catalogue) -> None:
    for (name,) in catalogue.rows(_SCHEMAS):
        catalogue.facts.others[f"schema {name}"] = {}
    for oid, schema, name, kind, has_security in catalogue.rows(_RELATIONS):
        relation = _Relation(schema, name)
        if kind in ("r", "p"):
            if name in BOOKKEEPING:
                continue
            catalogue.tables[oid] = relation
            catalogue.facts.tables[relation.shown] = {"row-level security": flag(has_security)}
        else:
            word = {"v": "view", "m": "materialized view", "S": "sequence"}[kind]
            catalogue.facts.others[f"{word} {relation.shown}"] = {}


def _read_columns(catalogue: _Catalogue) -> None:
    for table, number, name, kind, is_required, default, identity, generated, is_serial in catalogue.rows(_COLUMNS):
        relation = catalogue.tables[table]
        catalogue.columns[table][number] = name
        expression = relation.canonical(default)
        catalogue.facts.add(
            relation.shown,
            f"column {relation.shown}.{name}",
            {
                "type": type_name(kind),
                "nullability": flag(not is_required),
                "identity": _IDENTITIES.get(identity, ""),
                "generated": expression if generated else "",
                "default": "" if generated else "its sequence" if is_serial and "nextval" in expression else expression,
            },
        )


def _read_constraints(catalogue: _Catalogue) -> None:
    for row in catalogue.rows(_CONSTRAINTS):
        relation = catalogue.tables[row.conrelid]
        table, columns = relation.shown, catalogue.names(row.conrelid, row.conkey or ())
        if row.contype == "p":
            catalogue.facts.add(table, f"primary key {table}", {"columns": columns})
        elif row.contype == "u":
            aspects = {"name": row.conname, "nulls": flag(row.nulls_not_distinct)}
            catalogue.facts.add(table, f"unique {table} ({columns})", aspects)
        elif row.contype == "c":
            aspects = {"expression": relation.canonical(row.expression)}
            catalogue.facts.add(table, f"check {table}.{row.conname}", aspects)
        elif row.contype == "f":
            target = shown(row.target_schema, row.target)
            catalogue.facts.add(
                table,
                f"foreign key {table} ({columns}) to {target} ({listed(row.target_columns)})",
                {
                    "name": row.conname,
                    "on delete": _ACTIONS[row.confdeltype],
                    "on update": _ACTIONS[row.confupdtype],
                },
            )


def _read_indexes(catalogue: _Catalogue) -> None:
    for row in catalogue.rows(_INDEXES):
        relation = catalogue.tables[row.indrelid]
        columns = [
            [
                catalogue.columns[row.indrelid].get(number, ""),
                "desc" if option & _DESCENDING else "",
                _nulls(option),
                operator_class or "",
            ]
            for number, option, operator_class in zip(row.numbers, row.options, row.classes, strict=True)
        ]
        catalogue.facts.add(
            relation.shown,
            f"index {relation.shown}.{row.name}",
            {
                "columns": json.dumps(columns),
                **{
                    f"expression {place}": relation.canonical(expression)
                    for place, expression in enumerate(row.expressions, start=1)
                    if expression
                },
                "method": row.method,
                "unique": flag(row.indisunique),
                "predicate": relation.canonical(row.predicate),
                "parameters": listed(sorted(row.parameters or ())),
                "validity": flag(row.indisvalid),
            },
        )


def _nulls(option: int) -> str:
    return "nulls first" if option & _NULLS_FIRST else ""


def _read_enums(catalogue: _Catalogue) -> None:
    for schema, name, labels in catalogue.rows(_ENUMS):
        catalogue.facts.others[f"enum {shown(schema, name)}"] = {"values": json.dumps(labels)}


def _read_policies(catalogue: _Catalogue) -> None:
    for row in catalogue.rows(_POLICIES):
        relation = catalogue.tables[row.polrelid]
        catalogue.facts.add(
            relation.shown,
            f"policy {relation.shown}.{row.polname}",
            {
                "kind": "permissive" if row.polpermissive else "restrictive",
                "command": _COMMANDS[row.polcmd],
                "using": relation.canonical(row.using),
                "with check": relation.canonical(row.with_check),
                "roles": listed(sorted(row.roles)),
            },
        )


_SCHEMAS = sa.text("SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(:schemas) AND nspname <> 'public'")
# Sequences of columns belong to them, and are no more than their defaults.
_RELATIONS = sa.text(
    """
    SELECT relation.oid, its.nspname::text, relation.relname::text, relation.relkind::text, relation.relrowsecurity
    FROM pg_class AS relation JOIN pg_namespace AS its ON its.oid = relation.relnamespace
    WHERE its.nspname = ANY(:schemas) AND relation.relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT relation.relispartition
      AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = relation.oid
        AND (deptype = 'e' OR relation.relkind = 'S' AND deptype IN ('a', 'i')))
    """
)
_COLUMNS = sa.text(
    """
    SELECT attrelid, attnum, attname::text, format_type(atttypid, atttypmod), attnotnull,
        CASE WHEN atthasdef THEN pg_get_expr(adbin, adrelid) END, attidentity::text, attgenerated <> '',
        EXISTS (SELECT FROM pg_depend JOIN pg_class AS sequence ON sequence.oid = objid AND sequence.relkind = 'S'
                WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
                  AND refobjid = attrelid AND refobjsubid = attnum AND deptype = 'a')
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = ANY(:tables) AND attnum > 0 AND NOT attisdropped
    """
)
_CONSTRAINTS = sa.text(
    """
    SELECT conrelid, contype::text, conname::text, conkey, confdeltype::text, confupdtype::text,
        CASE WHEN contype = 'c' THEN pg_get_expr(conbin, conrelid) END AS expression,
        target.relname::text AS target, target_schema.nspname::text AS target_schema,
        CASE WHEN contype = 'f' THEN ARRAY(
            SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS key (number, place)
            JOIN pg_attribute ON attrelid = confrelid AND attnum = number ORDER BY place) END AS target_columns,
        CASE WHEN contype = 'u' THEN (
            SELECT CAST(to_jsonb(pg_index) ->> 'indnullsnotdistinct' AS boolean)
            FROM pg_index WHERE indexrelid = conindid) END AS nulls_not_distinct
    FROM pg_constraint
    LEFT JOIN pg_class AS target ON target.oid = confrelid
    LEFT JOIN pg_namespace AS target_schema ON target_schema.oid = target.relnamespace
    -- A key to a partitioned table has another one to each of its partitions.
    WHERE conrelid = ANY(:tables) AND contype IN ('p', 'u', 'c', 'f') AND conparentid = 0
    """
)
_INDEXES = sa.text(
    """
    SELECT indrelid, index_class.relname::text AS name, amname::text AS method, indisunique, indisvalid,
        pg_get_expr(indpred, indrelid) AS predicate, index_class.reloptions AS parameters,
        key.numbers, key.expressions, key.options, key.classes
    FROM pg_index
    JOIN pg_class AS index_class ON index_class.oid = indexrelid
    JOIN pg_am ON pg_am.oid = index_class.relam
    CROSS JOIN LATERAL (
        SELECT array_agg(number::int ORDER BY place) AS numbers,
            array_agg(CASE WHEN number = 0 THEN pg_get_indexdef(indexrelid, place::int, false) END ORDER BY place)
                AS expressions,
            array_agg(option::int ORDER BY place) AS options,
            array_agg(CASE WHEN NOT opcdefault THEN opcname::text END ORDER BY place) AS classes
        FROM unnest(indkey, indclass, indoption) WITH ORDINALITY AS each (number, class, option, place)
        JOIN pg_opclass ON pg_opclass.oid = class
        WHERE place <= indnkeyatts
    ) AS key
    WHERE indrelid = ANY(:tables)
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
    """
)
_ENUMS = sa.text(
    """
    SELECT its.nspname::text, typname::text, array_agg(enumlabel::text ORDER BY enumsortorder)
    FROM pg_type JOIN pg_namespace AS its ON its.oid = typnamespace JOIN pg_enum ON enumtypid = pg_type.oid
    WHERE its.nspname = ANY(:schemas)
      AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_type'::regclass AND objid = pg_type.oid AND deptype = 'e')
    GROUP BY 1, 2
    """
)
_POLICIES = sa.text(
    """
    SELECT polrelid, polname::text, polcmd::text, polpermissive, pg_get_expr(polqual, polrelid) AS using,
        pg_get_expr(polwithcheck, polrelid) AS with_check,
        ARRAY(SELECT CASE WHEN role = 0 THEN 'public' ELSE pg_get_userbyid(role)::text END FROM unnest(polroles) AS role)
            AS roles
    FROM pg_policy WHERE polrelid = ANY(:tables)
    """
)
