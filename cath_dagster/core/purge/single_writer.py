"""Know that nobody but a walk itself has written since it began: then what it has passed is as it left it.

A server gives out transaction ids in turn, one to everybody who writes, in whatever database. As long as the walk's own
follow each other, no row can have been added, changed or moved behind it, and none needs to be looked at a second time.
What an unfinished transaction has written is seen by nobody; its id counts as soon as a later one is used.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.model.purge import Purge
from cath_dagster.core.purge.batch import BatchCounts
from cath_dagster.core.purge.remaining import Remaining, remaining_in_blocks

_SNAPSHOT = sa.func.pg_current_snapshot()
_NEXT_ID = sa.cast(sa.cast(sa.func.pg_snapshot_xmax(_SNAPSHOT), sa.Text), sa.BigInteger)
"""For a transaction that has written, its own: it is not finished."""
_OLDEST_ID = sa.cast(sa.cast(sa.func.pg_snapshot_xmin(_SNAPSHOT), sa.Text), sa.BigInteger)


@dataclass
class SingleWriter:
    """That of one walk, and what the walk has left behind it so far."""

    next_id: int
    """The id of the next transaction that writes, if it is the walk's."""
    left: Remaining = field(default_factory=Remaining)
    lasts: bool = True

    def is_over(self, connection: sa.Connection) -> bool:
        """Return whether somebody else has written, or a row was left that matches."""
        self.lasts = self.lasts and not self.left.matching and connection.scalar(sa.select(_NEXT_ID)) == self.next_id
        return not self.lasts

    def add(self, batch: BatchCounts) -> None:
        """Take into account what a batch has left and used."""
        if batch.left is not None:
            self.left += batch.left
            self.lasts = self.lasts and batch.next_id == self.next_id
        self.next_id += bool(batch.changed)


def watch_for_writers(connection: sa.Connection) -> SingleWriter | None:
    """Return what a walk that begins now is alone by, None while others are writing."""
    oldest, following = connection.execute(sa.select(_OLDEST_ID, _NEXT_ID)).one()
    return SingleWriter(following) if oldest == following else None


def select_remaining(purge: Purge) -> sa.Select[Any]:
    """Return the query by which `delete_and_count` looks at what a batch leaves, made once for a walk."""
    return remaining_in_blocks(purge).add_columns(_NEXT_ID)


def delete_and_count(
    work: Callable[[sa.Connection], BatchCounts],
    query: sa.Select[Any],
    values: Mapping[str, str],
    connection: sa.Connection,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> BatchCounts:
    """Do a batch, and in its transaction look at what it leaves: the pages are at hand, and not pruned before the commit."""
    done = work(connection)
    if done.is_full:
        # The same blocks are taken again.
        return done
    started = clock()
    *left, next_id = connection.execute(query, values).one()
    return replace(done, left=Remaining.of(*left), next_id=next_id, look_seconds=clock() - started)
