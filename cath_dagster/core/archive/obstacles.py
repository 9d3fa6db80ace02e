"""Find, before a run's first write, why what a purge takes could not be archived whole, or may not be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.archive.dependents import DeletedTable, read_dependents, tables_of
from cath_dagster.core.maintenance.table_troubles import find_troubles
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.relation import CASCADE, SET_DEFAULT
from cath_dagster.core.postgres.catalogue import find_missing_privileges

PERSONAL = "personal"
"""The key in a `Table`'s `info` that names its columns with personal data, those it does not declare included."""


@dataclass(frozen=True)
class UndoPolicy:
    """How long a job's deletions can be undone, and why personal data may be kept for that."""

    days: int = 0
    because: str = ""


def find_obstacles(connection: sa.Connection, purge: Purge, policy: UndoPolicy) -> list[str]:
    """Return the reasons, each with what to do."""
    deleted_tables = read_dependents(connection, purge)
    return [
        *_personal_data(purge, policy),
        *(reason for deleted_table in deleted_tables for reason in _lost_along(deleted_table)),
        *(reason for deleted_table in deleted_tables for reason in _not_restorable(deleted_table)),
        *_unknown_copies(purge),
        *_privileges(connection, purge, deleted_tables),
    ]


def _personal_data(purge: Purge, policy: UndoPolicy) -> list[str]:
    if policy.because.strip():
        return []
    told: list[str] = []
    for table in tables_of(purge):
        columns = table.info.get(PERSONAL)
        if columns is None:
            told.append(f"{table.name} (nothing says that it is free of them)")
        elif columns:
            told.append(f"{table.name} ({', '.join(columns)})")
    if not told:
        return []
    says = (
        f"undo_days is {policy.days}, and the rows to archive hold personal data: {'; '.join(told)}. Say in words why "
        "they may be kept so long, with archive_personal_data_because, or keep nothing, with undo_days: 0"
    )
    return [says]


def _lost_along(deleted_table: DeletedTable) -> list[str]:
    name = deleted_table.table.name
    return [
        *(
            f"rows of {each.child} go with rows of {name} by {each.constraint} (ON DELETE CASCADE), and the job does not "
            "know of them, so that they could not be brought back; set undo_days: 0, or declare them as children of the "
            "purge"
            for each in deleted_table.references
            if each.on_delete == CASCADE
        ),
        *(
            f"{each.constraint} (ON DELETE SET DEFAULT) changes rows of {each.child} in a way that could not be undone; "
            "set undo_days: 0"
            for each in deleted_table.references
            if each.on_delete == SET_DEFAULT
        ),
        *(
            f"{nulled.reference.constraint} sets rows of {nulled.child.name} to null (ON DELETE SET NULL), which has no "
            "primary key by which they could be set again; set undo_days: 0"
            for nulled in deleted_table.nulled
            if not nulled.child.key
        ),
    ]


def _not_restorable(deleted_table: DeletedTable) -> list[str]:
    """Return why a restore could not tell which of the rows are there, by the key that it would go by."""
    relation = deleted_table.relation
    if not relation.key:
        says = (
            f"{relation.name} has no primary key, nor a unique index of columns that take no NULL, by which to see what "
            "exists when its rows are put back; give it one, or set undo_days: 0"
        )
        return [says]
    stored = {column.name for column in relation.stored}
    computed = [name for name in relation.key if name not in stored]
    if computed:
        columns = ", ".join(computed)
        return [f"the key of {relation.name} is computed ({columns}), and so is not archived; set undo_days: 0"]
    return []


def _unknown_copies(purge: Purge) -> list[str]:
    if purge.copies is None or purge.copy_key is not None:
        return []
    says = (
        f"the copies in {purge.copies.table.name} do not have the key of {purge.table.name}, so that they could not be "
        "removed again when its rows are put back; set undo_days: 0"
    )
    return [says]


def needed_for_undo(purge: Purge, deleted_tables: Sequence[DeletedTable]) -> Mapping[str, Sequence[str]]:
    """Return by table what archiving needs in addition to what the delete does."""
    # Rows are locked before they are archived; of those without children of their own the delete itself tells.
    locked = {each.table.name: ("UPDATE",) for each in deleted_tables if each.has_children or each.table is purge.table}
    linked = {nulled.child.name: ("SELECT",) for deleted_table in deleted_tables for nulled in deleted_table.nulled}
    return linked | locked


def _privileges(connection: sa.Connection, purge: Purge, deleted_tables: Sequence[DeletedTable]) -> list[str]:
    schema, needed = deleted_tables[0].relation.schema, needed_for_undo(purge, deleted_tables)
    missing = find_missing_privileges(connection, schema, needed)
    hidden = find_troubles(connection, {f"{schema}.{table}": ("SELECT",) for table in needed})
    return [*(f"table {found.table}: {found.says}; {found.remedy}" for found in missing), *map(str, hidden)]
