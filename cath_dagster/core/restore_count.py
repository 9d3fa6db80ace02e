"""Count what a restore would do, in transactions that cannot write."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.archive import pin_text
from cath_dagster.core.archived import Part, execute, is_linked, judged, link_conditions, name_of, reference_of
from cath_dagster.core.heap import quote
from cath_dagster.core.relations import Reference
from cath_dagster.core.restorable import Restorable


@dataclass(frozen=True)
class Counted:
    """Of a table's chosen rows: those that are there, that lack the row they refer to, and that would come back."""

    there: int
    lacking: int
    coming: int

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(self.there + other.there, self.lacking + other.lacking, self.coming + other.coming)


def count_rows(restorable: Restorable, group: Sequence[Part], connection: sa.Connection) -> Counted:
    """Return what a restore would do with the rows of parts of equal columns."""
    parameters = _begin(connection, group)
    references = [
        (reference, _coming(restorable, reference, parameters))
        for reference in restorable.references_of(group[0].table)
    ]
    each = judged(restorable.relations[group[0].table], restorable.chosen(group[0]), references)
    counted = execute(
        connection,
        "SELECT count(*) FILTER (WHERE is_there OR is_taken), "  # noqa: S608 - the operator's SQL, which cannot write
        "count(*) FILTER (WHERE NOT (is_there OR is_taken) AND lacks IS NOT NULL), "
        f"count(*) FILTER (WHERE NOT (is_there OR is_taken) AND lacks IS NULL) FROM ({each}) AS judged",
        **parameters,
    )
    return Counted(*counted.one())


def count_links(restorable: Restorable, group: Sequence[Part], connection: sa.Connection) -> int:
    """Return how many rows would refer again to what comes back."""
    parameters = _begin(connection, group)
    reference, relation = reference_of(group[0]), restorable.relations[group[0].table]
    found, unset = link_conditions(relation, reference)
    linked = is_linked(reference, _coming(restorable, reference, parameters))
    statement = (
        f"SELECT count(*) FROM {name_of(relation.schema, relation.name)} AS there, "  # noqa: S608 - see above
        f"({restorable.rows(group[0])}) AS given WHERE {found} AND {unset} AND {linked}"
    )
    return int(execute(connection, statement, **parameters).scalar_one())


def _begin(connection: sa.Connection, group: Sequence[Part]) -> dict[str, object]:
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    pin_text(connection)
    return {"ids": [part.archive_id for part in group]}


def _coming(restorable: Restorable, reference: Reference, parameters: dict[str, object]) -> str | None:
    """Return the query for the parents that the restore would put back before, None if there are none."""
    columns = ", ".join(map(quote, reference.parent_columns))
    queries = []
    for group in restorable.groups(reference.parent):
        name = f"parents_{len(parameters)}"
        parameters[name] = [part.archive_id for part in group]
        queries.append(f"SELECT {columns} FROM ({restorable.chosen(group[0], ids=name)}) AS coming")  # noqa: S608
    return " UNION ALL ".join(queries) or None
