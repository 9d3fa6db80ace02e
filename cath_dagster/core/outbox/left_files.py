"""Files that no run can delete: left to be done by hand, said once, and listed until somebody says that it was done.

Two kinds. A path that the store can have nothing under, such as an absolute one or a URL; and one that leads nowhere,
outside of the folders in which the service is known to keep files: the file lies elsewhere. A run that was killed between
deleting such a file and noting it may name it without need; whoever looks finds nothing, and says so by settling it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from cath_dagster.core.maintenance.tables import file_by_hand, file_outbox
from cath_dagster.core.ports.blobs import Removal, RemovalResult
from cath_dagster.core.postgres.expressions import is_any

ELSEWHERE = "there is no such file, and it is in none of the folders where the service keeps files"
IDS_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class LeftFile:
    """A file that is left, and the row that it was of. A path that a person wrote may name one."""

    file_id: int
    job: str
    run_id: str
    table: str
    row_key: str
    path: str = field(repr=False)
    reason: str = field(repr=False)
    left_at: datetime


OnLeft = Callable[[sa.Connection, Sequence[LeftFile]], None]
"""Told what is left in the transaction that notes it, for a record of the service's own."""


@dataclass(frozen=True)
class Leaving:
    """Decides for one run which files are left. `folders` are those of the store in which the service keeps files."""

    folders: Collection[str]
    on_left: OnLeft | None = None

    def reasons(self, results: Mapping[str, RemovalResult]) -> dict[str, str]:
        """Return by path why a file is left, of those that are."""
        return {path: why for path, result in results.items() if (why := self._why(path, result))}

    def _why(self, path: str, result: RemovalResult) -> str | None:
        if result.is_unusable:
            return result.error
        is_elsewhere = bool(self.folders) and path.split("/", maxsplit=1)[0] not in self.folders
        return ELSEWHERE if result.removal is Removal.MISSING and is_elsewhere else None

    def note(self, connection: sa.Connection, entries: Sequence[int], reasons: Mapping[str, str]) -> None:
        """Note the entries of the queue whose paths are left, in the caller's transaction, which takes them off it."""
        if not reasons:
            return
        queued = file_outbox.c
        why = sa.case(*((queued.path == path, sa.literal(reason)) for path, reason in reasons.items()))
        values = {
            "job": queued.job,
            "run_id": queued.run_id,
            "table_name": queued.table_name,
            "row_key": queued.row_key,
            "path": queued.path,
            "reason": why,
        }
        chosen = sa.select(*values.values()).where(is_any(queued.file_id, entries), queued.path.in_(list(reasons)))
        noted = connection.execute(
            sa.insert(file_by_hand).from_select(list(values), chosen).returning(*_columns())
        ).mappings()
        found = [LeftFile(**row) for row in noted]
        if self.on_left is not None:
            self.on_left(connection, found)


def find_left(connection: sa.Connection, job: str | None = None) -> list[LeftFile]:
    """Return what is left and not settled, the oldest first, of one job or of all."""
    query = sa.select(*_columns()).where(file_by_hand.c.settled_at.is_(None)).order_by(file_by_hand.c.file_id)
    if job is not None:
        query = query.where(file_by_hand.c.job == job)
    return [LeftFile(**row) for row in connection.execute(query).mappings()]


def settle(connection: sa.Connection, file_ids: Sequence[int], *, by: str) -> list[int]:
    """Note that the files were seen to, and by whom; return which of them were open until now.

    The note stays as a proof, and the path goes: it may be personal.
    """
    statement = (
        sa.update(file_by_hand)
        .where(is_any(file_by_hand.c.file_id, file_ids), file_by_hand.c.settled_at.is_(None))
        .values(settled_at=sa.func.now(), settled_by=by, path="", reason="")
        .returning(file_by_hand.c.file_id)
    )
    return sorted(connection.scalars(statement))


def _columns() -> list[sa.ColumnElement[object]]:
    named = file_by_hand.c
    return [
        *(named.file_id, named.job, named.run_id, named.table_name.label("table"), named.row_key),
        *(named.path, named.reason, named.left_at),
    ]
