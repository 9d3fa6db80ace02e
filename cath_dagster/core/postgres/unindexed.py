"""Find the foreign keys whose check no index serves, so that every deleted parent row scans the child's table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.postgres.catalogue import (
    ASSUMED_ROWS_PER_BLOCK,
    SECONDS_PER_SCANNED_ROW,
    create_index,
    index_name,
)
from cath_dagster.core.postgres.identifiers import quote

FEW_ROWS = 100
"""So many entries of an index are read within microseconds, whatever else the key asks for."""


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key that no index serves."""

    schema: str
    child: str
    columns: tuple[str, ...]
    parent: str
    owner: str
    """The role that may create an index on the child table."""
    child_rows: int

    @property
    def name(self) -> str:
        """`table.column`, with the schema where it is not the usual one."""
        columns = self.columns[0] if len(self.columns) == 1 else f"({', '.join(self.columns)})"
        return f"{self.child}.{columns}" if self.schema == "public" else f"{self.schema}.{self.child}.{columns}"

    @property
    def seconds_per_parent(self) -> float:
        """What the missing index costs for each deleted parent row."""
        return self.child_rows * SECONDS_PER_SCANNED_ROW

    @property
    def index(self) -> str:
        return index_name(self.child, *self.columns)

    @property
    def create_index(self) -> str:
        """The statement that helps."""
        return create_index(self.schema, self.child, *self.columns)


@dataclass(frozen=True)
class _Index:
    """An index of the child's, by its key columns; None for an expression, or one that no equality can search."""

    names: tuple[str | None, ...]
    is_unique: bool
    condition: str | None

    def serves(self, columns: Sequence[str], rows_per_value: dict[str, float]) -> bool:
        """Return whether a search by all of these columns reads a few entries only."""
        if not self._has_all_rows(columns):
            return False
        led_by = 0
        while led_by < len(self.names) and self.names[led_by] in columns:
            led_by += 1
        found = [name for name in self.names[:led_by] if name is not None]
        if set(found) == set(columns) or (self.is_unique and found and led_by == len(self.names)):
            return True
        return any(rows_per_value.get(name, FEW_ROWS + 1) <= FEW_ROWS for name in found)

    def _has_all_rows(self, columns: Sequence[str]) -> bool:
        """Return whether it leaves out none but rows that refer to nothing."""
        if self.condition is None:
            return True
        rest = self.condition
        for column in columns:
            rest = rest.replace(f"({quote(column)} IS NOT NULL)", "")
        return not rest.replace("AND", "").strip("() ")


def find_unindexed_foreign_keys(
    connection: sa.Connection, parents: Sequence[str], *, with_cascades: bool = False
) -> list[ForeignKey]:
    """Return the foreign keys to the tables for which no valid index answers what the server asks at a delete.

    With cascades also those to the tables of which rows go by ON DELETE CASCADE. The children's rows are as many as their
    files hold now, at the density of the last ANALYZE. Of a partitioned child each partition is named.
    """
    given = {"parents": list(parents), "assumed": float(ASSUMED_ROWS_PER_BLOCK), "with_cascades": with_cascades}
    return [
        ForeignKey(schema, child, tuple(columns), parent, owner, rows)
        for schema, child, columns, parent, owner, rows, indexes, distinct in connection.execute(_KEYS, given)
        if not any(_as_index(each).serves(columns, _rows_per_value(rows, distinct)) for each in indexes or ())
    ]


def _as_index(values: list[Any]) -> _Index:
    names, is_unique, condition = values
    return _Index(tuple(names), is_unique, condition)


def _rows_per_value(rows: int, distinct: dict[str, float] | None) -> dict[str, float]:
    # Below nothing it is a share of the rows.
    values = {name: -each * rows if each < 0 else each for name, each in (distinct or {}).items() if each}
    return {name: rows / each for name, each in values.items() if each}


# An index column can be searched where its operator family knows the operator that the constraint compares with, or
# the same the other way round, and where it is sorted by the collation of the comparison, which is the parent's. A BRIN
# or GIN index knows it too and answers with whole blocks, or not at all.
_KEYS = sa.text(
    """
    WITH RECURSIVE enforced AS (
        SELECT * FROM pg_constraint AS fk
        WHERE contype = 'f' AND coalesce(CAST(to_jsonb(fk) ->> 'conenforced' AS boolean), true)
    ), parents AS (
        SELECT relation.oid FROM pg_class AS relation JOIN pg_namespace AS its ON its.oid = relation.relnamespace
        WHERE relation.relname = ANY(:parents) AND its.nspname = 'public'
        UNION
        SELECT conrelid FROM parents JOIN enforced ON confrelid = parents.oid AND confdeltype = 'c' AND :with_cascades
    )
    SELECT child_schema.nspname, child.relname,
           (SELECT array_agg(attname::text ORDER BY place) FROM unnest(fk.conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute ON attrelid = fk.conrelid AND attnum = number),
           parent.relname, pg_get_userbyid(child.relowner),
           round(size_of.blocks * CASE WHEN child.reltuples >= 0 AND child.relpages > 0
                                       THEN child.reltuples / child.relpages ELSE :assumed END)::bigint,
           (SELECT json_agg(json_build_array(its.names, indisunique, pg_get_expr(indpred, indrelid)))
            FROM pg_index
            JOIN pg_class AS index_class ON index_class.oid = indexrelid
            JOIN pg_am ON pg_am.oid = index_class.relam AND amname IN ('btree', 'hash', 'gist', 'spgist')
            CROSS JOIN LATERAL (
                SELECT json_agg(CASE WHEN EXISTS (
                    SELECT FROM unnest(fk.conkey, fk.confkey, fk.conpfeqop) AS pair (own, theirs, operator)
                    JOIN pg_attribute AS referred ON referred.attrelid = fk.confrelid AND referred.attnum = theirs
                    JOIN pg_operator AS equal ON equal.oid = operator
                    JOIN pg_amop ON amopfamily = opcfamily AND amopopr IN (operator, equal.oprcom)
                    WHERE own = column_of.attnum AND index_collation IN (0, referred.attcollation)
                ) THEN column_of.attname END ORDER BY ordinal) AS names
                FROM unnest(indkey, indclass, indcollation)
                     WITH ORDINALITY AS key (number, operator_class, index_collation, ordinal)
                LEFT JOIN pg_opclass ON pg_opclass.oid = operator_class
                LEFT JOIN pg_attribute AS column_of ON column_of.attrelid = indrelid AND column_of.attnum = number
                WHERE ordinal <= indnkeyatts
            ) AS its
            WHERE indrelid = child.oid AND indisvalid AND indisready),
           (SELECT json_object_agg(attname, n_distinct) FROM pg_stats
            WHERE schemaname = child_schema.nspname AND tablename = child.relname AND NOT inherited)
    FROM enforced AS fk
    JOIN pg_class AS child ON child.oid = fk.conrelid AND child.relkind = 'r'
    JOIN pg_namespace AS child_schema ON child_schema.oid = child.relnamespace
    JOIN parents ON parents.oid = fk.confrelid
    JOIN pg_class AS parent ON parent.oid = fk.confrelid
    CROSS JOIN LATERAL (
        SELECT (pg_relation_size(child.oid) / current_setting('block_size')::bigint)::float AS blocks
    ) AS size_of
    ORDER BY 6 DESC, 1, 2, 3
    """
)
