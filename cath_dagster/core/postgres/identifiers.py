"""Names as SQL writes them, quoted where they must be."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect, PGIdentifierPreparer

RESERVED_SINCE = frozenset({"collation", "concurrently", "lateral", "system_user", "tablesample"})
"""Words that newer servers reserve, and SQLAlchemy does not know of."""

# In the statements that SQLAlchemy writes, too.
PGIdentifierPreparer.reserved_words = PGIdentifierPreparer.reserved_words | RESERVED_SINCE
# With this style of parameters a % in a name is no mark, and is written once.
_PREPARER = PGDialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]  # only the class is typed


def qualified_name(table: sa.Table) -> str:
    """Return the table's name as SQL writes it, quoted where it must be."""
    return _PREPARER.format_table(table)


def quote(name: str) -> str:
    """Return an identifier as SQL writes it, quoted where it must be; a `%` in it is not doubled."""
    return str(_PREPARER.quote(name))
