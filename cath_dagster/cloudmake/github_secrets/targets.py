"""What is known of each secret in each place at GitHub, and what is therefore to be done there.

GitHub shows when a secret was last written, and never what it is. So a write of ours is announced in our own table before it is
sent, and known to have come once GitHub has said when. One that was announced and not confirmed (a kill, a lost answer) is in
doubt: what was written within the minutes in which ours may have come is written again, and no other change at GitHub is
taken for ours. docs/adr/0043-a-write-in-doubt.md goes through what a kill can do.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.cloudmake.tables import secret_target
from cath_dagster.core.ports.github import RemoteSecret

CLOCKS_APART = timedelta(minutes=2)
"""By how much our clock and GitHub's may differ."""
LONGEST_WRITE = timedelta(minutes=10)
"""From the announcement of a write until it came at last: four attempts, and three waits of at most two minutes."""


class State(enum.StrEnum):
    """What a secret in a place came to, as the table has it."""

    PENDING = "pending"
    WRITTEN = "written"
    CONFLICT = "conflict"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True)
class Known:
    """A row of ours about a secret in a place."""

    secret_name: str
    target: str
    name_at_target: str
    value_hash: str | None
    remote_updated_at: datetime | None
    pending_since: datetime | None
    pending_after: datetime | None
    state: State
    error: str | None

    @property
    def may_be_there(self) -> bool:
        """Whether it may be at GitHub by our own hand."""
        return self.value_hash is not None or self.pending_since is not None


class Action(enum.StrEnum):
    WRITE = "write"
    SKIP = "skip"
    CONFLICT = "conflict"


def decide(known: Known | None, remote: RemoteSecret | None, *, matches: Callable[[str], bool], force: bool) -> Action:
    """Return what is to be done about a secret in a place; `matches` tells whether a hash is of the wanted value."""
    if remote is None:
        return Action.WRITE
    if known is None or not _is_ours(known, remote):
        return Action.WRITE if force else Action.CONFLICT
    # What is in doubt is never taken for what it should be.
    if known.pending_since is not None or known.value_hash is None:
        return Action.WRITE
    return Action.SKIP if matches(known.value_hash) else Action.WRITE


def may_delete(known: Known, remote: RemoteSecret, *, force: bool) -> bool:
    """Return whether what is at GitHub is what we wrote there."""
    return force or _is_ours(known, remote)


def _is_ours(known: Known, remote: RemoteSecret) -> bool:
    """Return whether the last write at GitHub is ours, or may be the one of ours that is in doubt."""
    if known.remote_updated_at is not None and remote.updated_at == known.remote_updated_at:
        return True
    since = known.pending_since
    if since is None or remote.updated_at == known.pending_after:
        return False
    return since - CLOCKS_APART <= remote.updated_at <= since + LONGEST_WRITE


def read_known(connection: sa.Connection, project_id: UUID) -> dict[tuple[str, str], Known]:
    """Return what is known of a project's secrets, by secret and place."""
    table = secret_target
    query = sa.select(table).where(table.c.project_id == project_id).order_by(table.c.secret_name, table.c.target)
    return {
        (row.secret_name, row.target): Known(
            secret_name=row.secret_name,
            target=row.target,
            name_at_target=row.name_at_target,
            value_hash=row.value_hash,
            remote_updated_at=row.remote_updated_at,
            pending_since=row.pending_since,
            pending_after=row.pending_after,
            state=State(row.status),
            error=row.error,
        )
        for row in connection.execute(query)
    }


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Writes the rows of one project; each function works in the caller's transaction, under the job's lock."""

    project_id: UUID
    run_id: str
    as_of: datetime

    def announce(
        self,
        connection: sa.Connection,
        secret: str,
        target: str,
        name: str,
        *,
        sent_at: datetime,
        after: datetime | None,
    ) -> None:
        """Say that a write is about to be sent; `after` is what GitHub says of the secret as it is."""
        values = {"pending_since": sent_at, "pending_after": after, "error": None}
        self._put(connection, secret, target, name, State.PENDING, values)

    def confirm(
        self, connection: sa.Connection, secret: str, target: str, name: str, *, value_hash: str, remote_at: datetime
    ) -> None:
        """Say that the write came, and what GitHub says of the secret since."""
        values = {
            "value_hash": value_hash,
            "remote_updated_at": remote_at,
            "written_at": sa.func.now(),
            "pending_since": None,
            "pending_after": None,
            "error": None,
        }
        self._put(connection, secret, target, name, State.WRITTEN, values)

    def note(
        self,
        connection: sa.Connection,
        secret: str,
        target: str,
        name: str,
        state: State,
        error: str | None,
        *,
        in_doubt: bool = False,
    ) -> None:
        """Say how it stands otherwise; what was announced is settled by it, unless it is still in doubt."""
        settled = {} if in_doubt else {"pending_since": None, "pending_after": None}
        self._put(connection, secret, target, name, state, {"error": error, **settled})

    def forget(self, connection: sa.Connection, secret: str, target: str) -> None:
        connection.execute(sa.delete(secret_target).where(*self._is(secret, target)))

    def _put(
        self, connection: sa.Connection, secret: str, target: str, name: str, state: State, values: Mapping[str, object]
    ) -> None:
        table = secret_target
        since = sa.case((table.c.status == state, table.c.status_since), else_=self.as_of)
        row = {**values, "status": state, "name_at_target": name, "run_id": self.run_id}
        updated = connection.execute(
            sa.update(table).where(*self._is(secret, target)).values(**row, status_since=since)
        ).rowcount
        if not updated:
            key = {"project_id": self.project_id, "secret_name": secret, "target": target}
            connection.execute(sa.insert(table).values(**key, **row, status_since=self.as_of))

    def _is(self, secret: str, target: str) -> tuple[sa.ColumnElement[bool], ...]:
        table = secret_target
        return table.c.project_id == self.project_id, table.c.secret_name == secret, table.c.target == target


def count_written_lately(connection: sa.Connection) -> int:
    """Return how many secrets were written within the last hour, by whichever run."""
    lately = secret_target.c.written_at > sa.func.now() - timedelta(hours=1)
    return connection.scalar(sa.select(sa.func.count()).where(lately)) or 0
