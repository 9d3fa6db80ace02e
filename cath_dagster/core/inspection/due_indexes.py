"""Find the indexes whose lack makes the question dear that an interval job asks every few seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from cath_dagster.core.model.settings import EARLIEST
from cath_dagster.core.postgres.catalogue import create_index, index_name
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.core.run.due import Moment, due_rows
from cath_dagster.core.run.job_parts import DueRows
from cath_dagster.core.run.spec import JobSpec


@dataclass(frozen=True)
class UnindexedQuestion:
    """Rows that a job asks for at every interval, and that no index finds."""

    job: str
    schema: str
    child: str
    """The table that is asked."""
    columns: tuple[str, ...]
    where: str
    """The predicate of a partial index, "" for one of all rows."""
    owner: str
    child_rows: int

    @property
    def name(self) -> str:
        """What is asked, for people."""
        return f"{self.child}.{', '.join(self.columns)}"

    @property
    def index(self) -> str:
        return index_name(self.child, *self.columns)

    @property
    def create_index(self) -> str:
        """The statement that helps."""
        statement = create_index(self.schema, self.child, *self.columns)
        return f"{statement.removesuffix(';')} WHERE {self.where};" if self.where else statement


def find_unindexed_questions(connection: sa.Connection, specs: Sequence[JobSpec]) -> Iterator[UnindexedQuestion]:
    """Yield what jobs ask at every interval and no valid index leads to, with the index that would; none of a missing table."""
    for spec in specs:
        # An index serves whatever the settings are.
        for rows in due_rows(spec, Moment(EARLIEST, {})):
            found = _missing(connection, spec, rows)
            if found is not None:
                yield found


def _missing(connection: sa.Connection, spec: JobSpec, rows: DueRows) -> UnindexedQuestion | None:
    schema = rows.table.schema or SERVICE
    columns = tuple(column.name for column in rows.index)
    given = {
        "schema": schema,
        "table": rows.table.name,
        "columns": list(columns),
        "partial": rows.index_where is not None,
    }
    row = connection.execute(_LOOK, given).one_or_none()
    if row is None or row.is_served:
        return None
    where = "" if rows.index_where is None else _literal(rows.index_where)
    return UnindexedQuestion(spec.key, schema, rows.table.name, columns, where, row.owner, row.rows)


def _literal(condition: sa.ColumnElement[bool]) -> str:
    dialect: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(condition.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


# A partial index may leave out rows that are asked for, unless the job itself says that it asks for few.
_LOOK = sa.text(
    """
    SELECT pg_get_userbyid(relation.relowner) AS owner, greatest(relation.reltuples, 0)::bigint AS rows,
           EXISTS (
               SELECT FROM pg_index AS index_of
               WHERE index_of.indrelid = relation.oid AND index_of.indisvalid
                 AND (index_of.indpred IS NULL OR :partial)
                 AND CAST(:columns AS text[]) = ARRAY(
                     SELECT column_of.attname::text
                     FROM unnest(index_of.indkey::int2[]) WITH ORDINALITY AS key (number, place)
                     JOIN pg_attribute AS column_of ON column_of.attrelid = relation.oid AND column_of.attnum = key.number
                     WHERE key.place <= cardinality(CAST(:columns AS text[])) ORDER BY key.place
                 )
           ) AS is_served
    FROM pg_class AS relation JOIN pg_namespace AS its ON its.oid = relation.relnamespace
    WHERE its.nspname = :schema AND relation.relname = :table
    """
)
