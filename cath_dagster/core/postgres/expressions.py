"""Expressions that SQLAlchemy has no word for: a row's physical place, keys as one array, a predicate over another source."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import UserDefinedType

from cath_dagster.core.model.purge import Keys
from cath_dagster.core.postgres.identifiers import qualified_name

E = TypeVar("E")


class Tid(UserDefinedType[str]):
    """A tuple's physical place, as `(block,offset)`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tid"

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindvalue, self)


class Words(UserDefinedType[Sequence[str]]):
    """An array of whatever kind of text it is compared with: the server finds out which."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "text[]"

    def bind_processor(self, dialect: Any) -> Callable[[Sequence[str] | None], str | None]:
        del dialect
        return lambda words: None if words is None else f"{{{','.join(map(_as_element, words))}}}"


def _as_element(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def tid_of(table: sa.Table) -> sa.ColumnElement[str]:
    """Return the system column that says where a row lies."""
    # A system column, added to no Table: INSERT and SELECT of all columns must not see it.
    return sa.literal_column(f"{qualified_name(table)}.ctid", Tid)


@lru_cache(maxsize=64)
def in_blocks(table: sa.Table) -> sa.ColumnElement[bool]:
    """Return whether a row lies in the blocks that a statement is executed for, with the values of `blocks`.

    One and the same expression for a table: building a statement anew for every range takes longer than a range of few
    rows.
    """
    ctid = tid_of(table)
    return sa.and_(ctid >= sa.bindparam("first_tid", type_=Tid()), ctid < sa.bindparam("end_tid", type_=Tid()))


def blocks(first: int, end: int) -> dict[str, str]:
    """Return the values for `in_blocks`, from block `first` to before `end`."""
    return {"first_tid": f"({first},0)", "end_tid": f"({end},0)"}


def rebind(expression: sa.ColumnElement[E], table: sa.Table, source: sa.FromClause) -> sa.ColumnElement[E]:
    """Return an expression over another source of the same rows: a sample, an alias, a partition."""

    def replace(element: Any, **_: Any) -> Any:
        if isinstance(element, sa.Column) and element.table is table:
            return source.c[element.key]
        return None

    result: sa.ColumnElement[E] = replacement_traverse(expression, {}, replace)
    return result


def is_any(key: sa.ColumnElement[Any], keys: Keys) -> sa.ColumnElement[bool]:
    """Return whether a key is one of many, passed as one parameter however many there are."""
    # SQLAlchemy would say of a text's array that it is one of text, which makes a char(n) a text without its blanks.
    kind = Words() if isinstance(key.type, sa.String) else ARRAY(key.type)
    return key == sa.any_(sa.literal(list(keys), kind))
